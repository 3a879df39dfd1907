"""Sweep files and calls of the command that must be refused: a new one is a line.

`VALUES` are put into a small sound sweep file, one at a time, in place of what it says of that key. `SPECS`
are whole sweep files, `TASKS` files of examples that `fixed.task` names, `CALLS` command lines.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np
import polars as pl

SOUND = {
    "question": '"q"',
    "scientific.depth": "[2, 3]",
    "fixed.width": "8",
    "fixed.steps": "2",
    "fixed.batch_size": "8",
    "search.points": "2",
    "schedule.cpus": "1",
}
NINES = "9" * 6000
LONG = "a" * 5000


def spec_text(change: str = "") -> str:
    """The sound sweep file with one key changed, "table.key = VALUE"; "= nothing" takes the key out."""
    key, _, value = change.partition(" = ")
    keys = SOUND | ({key: value} if key else {})
    return "".join(f"{name} = {text}\n" for name, text in keys.items() if text != "nothing")


VALUES = f"""
fixed.width = 0
fixed.width = -3
fixed.width = 2.5
fixed.width = "8"
fixed.width = true
fixed.width = [8, 9]
fixed.width = {{ low = 2, high = 9 }}
fixed.width = nan
fixed.width = 1979-05-27
fixed.width = 10000000
fixed.width = 100000000000000
fixed.width = 9223372036854775807
fixed.width = 9223372036854775808
fixed.width = 0x{"f" * 5000}
fixed.width = {NINES}
fixed.width = -{NINES}
fixed.width = 1e400
fixed.wıdth = 8
fixed.Width = 8
fixed."width " = 8
fixed.widht = 8
fixed."" = 8
fixed."a\\u0000b" = 8
fixed."a\\nb" = 8
fixed.{LONG} = 8
fixed.seed = 3
fixed.depth = 3
fixed.steps = -1
fixed.steps = 1.0
fixed.steps = 1000000000000
fixed.steps = 9223372036854775807
fixed.measure_steps = -1
fixed.measure_steps = "all"
fixed.probe_size = -1
fixed.probe_size = 1438
fixed.probe_size = 1.5
fixed.batch_size = 0
fixed.batch_size = 1438
fixed.batch_size = 1000000000000
fixed.activation = "rel"
fixed.activation = "RELU"
fixed.activation = "rеlu"
fixed.activation = ""
fixed.activation = 3
fixed.activation = ["relu"]
fixed.activation = "relu\\u0000"
fixed.activation = "{LONG}"
fixed.init = "he "
fixed.norm = "group"
fixed.norm = false
fixed.norm_position = "between"
fixed.skip = "resnet"
fixed.family = "transformer"
fixed.family = "lstm"
fixed.optimizer = "lbfgs"
fixed.dtype = "float16"
fixed.weight_gain = -1
fixed.weight_gain = nan
fixed.weight_gain = inf
fixed.weight_gain = "1"
fixed.weight_gain = {NINES}
fixed.bias_std = -0.5
fixed.input_gain = -inf
fixed.norm_eps = -1e-9
fixed.learning_rate = 0
fixed.learning_rate = -0.1
fixed.learning_rate = inf
fixed.momentum = 1
fixed.momentum = 1.5
fixed.adam_beta1 = 1.0
fixed.adam_beta2 = -0.1
fixed.adam_eps = 0
fixed.clip_norm = 0
fixed.clip_norm = "none"
fixed.clip_norm = -1
fixed.clip_value = nan
fixed.clip_adaptive = inf
fixed.task = "digit"
fixed.task = "teacher:0"
fixed.task = "teacher:65537"
fixed.task = "teacher:99999999"
fixed.task = "teacher:{NINES}"
fixed.task = "adding"
fixed.task = "missing.npz"
fixed.task = "~nosuchuser/x.npz"
fixed.task = "a\\u0000b.npz"
fixed.task = "a\\nb.npz"
fixed.task = "{LONG}.npz"
fixed.task = "{"a/" * 3000}x.npz"
fixed.task = "/dev/zero.npz"
fixed.task = ".npz"
fixed.task = "http://example.org/x.npz"
fixed.task = 7
fixed.task = ["digits", "spirals"]
fixed = 3
fixed = []
fixed = "width"
scientific.depth = []
scientific.depth = 3
scientific.depth = "deep"
scientific.depth = [0]
scientific.depth = [2, 2]
scientific.depth = [2, "3"]
scientific.depth = [2, [3]]
scientific.depth = [2.0]
scientific.depth = [1000000000]
scientific.depth = [2, 1000000000000]
scientific.depth = [9223372036854775807]
scientific.depth = {{}}
scientific.depth = {{ low = 2 }}
scientific.depth = {{ high = 2 }}
scientific.depth = {{ low = 3, high = 2 }}
scientific.depth = {{ low = 2, high = 2 }}
scientific.depth = {{ low = 2, high = inf }}
scientific.depth = {{ low = nan, high = 3 }}
scientific.depth = {{ low = "2", high = 3 }}
scientific.depth = {{ low = 2, high = 3, step = 1 }}
scientific.depth = {{ low = 2, high = 3, log = 1 }}
scientific.depth = {{ low = 2, high = 3, levels = 0 }}
scientific.depth = {{ low = 2, high = 3, levels = 2.0 }}
scientific.depth = {{ low = 2, high = 3, levels = true }}
scientific.depth = {{ low = 2, high = 3, levels = 1000000000000 }}
scientific.depth = {{ low = 2, high = 3, levels = 0x{"f" * 4000} }}
scientific.depth = {{ low = 2, high = 1000000000000 }}
scientific.depth = {{ low = 2, high = {NINES} }}
scientific.depth = {{ low = {{ low = 2, high = 3 }}, high = 3 }}
scientific.width = [8, 16]
scientific.weight_gain = {{ low = 0, high = 1, log = true }}
scientific.weight_gain = {{ low = 0.5, high = 1, levels = 1000000000000 }}
scientific.weight_gain = [1, "off"]
scientific.weight_gain = [nan]
scientific.clip_norm = {{ low = "off", high = 1 }}
scientific.activation = {{ low = 1, high = 2 }}
scientific.activation = ["relu", "relu"]
scientific.activation = ["relu", "tahn"]
scientific.activation = [{",".join('"relu"' for _ in range(3000))}]
scientific.task = ["digits", "missing.npz"]
scientific.task = ["digits", "copy"]
scientific.family = ["mlp", "rnn"]
scientific.momentun = [0.1]
scientific = ["depth"]
nuisance.learning_rate = 0.1
nuisance.learning_rate = {{ low = 0.1, high = 0.01 }}
nuisance.learning_rate = {{ low = -1, high = 1 }}
nuisance.depth = [4]
nuisance.width = [8]
nuisance = true
question = 3
question = ["a"]
question = {{ a = 1 }}
nuisanse.learning_rate = [0.1]
search.points = 0
search.points = -1
search.points = 1.5
search.points = "2"
search.points = true
search.points = [2]
search.points = 10000001
search.points = 0x{"f" * 5000}
search.points = {NINES}
search.point = 3
search.nuisance_draws = 0
search.nuisance_draws = 1000000000000
search.nuisance_draws = 5000001
search.seeds = 0
search.seeds = 1000000000000
search.seeds = 1.0
search.seed = -1
search.seed = 9223372036854775808
search.seed = 0x{"f" * 5000}
search.sampler = "sobol"
search.sampler = ""
search.sampler = 3
search.sampler = "."
search.sampler = ".."
search.sampler = "..a"
search.sampler = "a."
search.sampler = ".a.b"
search.sampler = "a..b"
search.sampler = "no_such_module.Sampler"
search.sampler = "os.system"
search.sampler = "os.path"
search.sampler = "optuna.samplers.TPESample"
search.sampler = "optuna.samplers.BaseSampler"
search.sampler = "optuna.samplers.BruteForceSampler\\u0000"
search.sampler = "a b.c d"
search.sampler = "a\\nb.c"
search.sampler = "{LONG}.{LONG}"
search.options = {{ n_startup_trials = 3 }}
search.options = 3
search.objective = "loss"
search.objective = 3
search.objectives = "both"
search = 3
search = [1]
schedule.cpus = 0
schedule.cpus = 1.5
schedule.cpus = 1000000000000
schedule.cpus = 100000
schedule.cpus = {NINES}
schedule.cpus_per_pack = 0
schedule.cpus_per_pack = 2
schedule.cpus_per_pack = 1000000000000
schedule.gpus_per_pack = -1
schedule.gpus_per_pack = 1.5
schedule.gpus_per_pack = 1000000000000
schedule.gpus_per_pack = nan
schedule.gpus_per_pack = inf
schedule.gpus_per_pack = 0x{"f" * 5000}
schedule.pack_size = 0
schedule.pack_size = "Auto"
schedule.pack_size = 2.0
schedule.pack_size = -1
schedule.pack_size = 9223372036854775808
schedule.pack_size = 0x{"f" * 5000}
schedule.max_failures = -1
schedule.max_failures = 9223372036854775808
schedule.max_failures = 0x{"f" * 5000}
schedule.save_interval = -1
schedule.save_interval = inf
schedule.save_interval = "1h"
schedule.save_interval = {NINES}
schedule.time_budget = 0
schedule.time_budget = "soon"
schedule.time_budget = "-3h"
schedule.time_budget = ""
schedule.time_budget = "1.2.3h"
schedule.time_budget = "{"9" * 400}h"
schedule.time_budget = [1]
schedule.grace = -1
schedule.grace = nan
schedule.grace = false
schedule.concurrency = 0
schedule.concurrency = 9223372036854775808
schedule.concurrency = 0x{"f" * 5000}
schedule.gpu = 1
schedule = "fast"
storage.runs = ""
storage.runs = 3
storage.runs = "~nosuchuser/x"
storage.runs = "a\\u0000b"
storage.runs = "a\\nb"
storage.runs = "ftp://host/runs"
storage.runs = "s3://"
storage.runs = "s3://key:secret@bucket/runs"
storage.runs = "{LONG}"
storage.runs = ["runs"]
storage.run = "runs"
storage = "runs"
limits.stable_decades = 0
limits.stable_decades = -1
limits.stable_decades = nan
limits.stable_decades = inf
limits.stable_decades = "1"
limits.stable_decades = [1]
limits.stable_decades = {{ a = 1 }}
limits.stable_decades = 1979-05-27T07:32:00Z
limits.stable_decades = {NINES}
limits.stable_decades = 0x{"f" * 5000}
limits.stable_decades = 5
limits.severe_decades = 1
limits.learned_share = 0
limits.diverged_factor = false
limits.diverged = 3
limits = 3
limits = [[1]]
part = []
part = 3
part = [1]
part = {{ name = "a" }}
part = [{{}}]
part = [{{ name = "" }}]
part = [{{ name = 3 }}]
part = [{{ name = "a" }}, {{ name = "a" }}]
part = [{{ name = "a", fixed = 3 }}]
part = [{{ name = "a", fixed = {{ widht = 8 }} }}]
part = [{{ name = "a", scientific = {{ depth = [] }} }}]
part = [{{ name = "a", scientific = {{ width = [8] }}, fixed = {{ width = 8 }} }}]
part = [{{ name = "a", search = {{ sampler = "grid" }} }}]
part = [{{ name = "a", search = {{ points = 0 }} }}]
part = [{{ name = "a", search = {{ seeds = 1000000000000 }} }}]
part = [{{ name = "a", search = {{ points = 10000000 }} }}, {{ name = "b" }}]
part = [{{ name = "a", schedule = {{ cpus = 1 }} }}]
part = [{{ name = "a", part = [] }}]
part = [{{ name = "a\\nb" }}]
part = [{{ name = "a\\u0000b" }}]
part = [{{ name = "{LONG}" }}]
""".strip().splitlines()

TPE = 'search.sampler = "tpe"\n'
GRID = 'search.sampler = "grid"\nscientific.weight_gain = { low = 1, high = 2, levels = LEVELS }\n'


def _spec(*more: str, without: str = "") -> bytes:
    lines = [line for line in spec_text().splitlines() if not (without and line.startswith(without))]
    return "\n".join([*more, *lines]).encode()


# Whole sweep files, by what they are.
SPECS: dict[str, bytes] = {
    "not TOML": b"depth: 3\n",
    "JSON": b'{"scientific": {"depth": [2]}}',
    "binary": bytes(range(256)) * 8,
    "Latin-1": 'question = "Größe"'.encode("latin-1"),
    "UTF-16": _spec().decode().encode("utf-16"),
    "a NUL": b"question = 'a\0b'",
    "a lone carriage return": b"question = 'a'\rsearch.points = 2",
    "a key twice": _spec("search.points = 3"),
    "a table twice": b"[fixed]\nwidth = 8\n[fixed]\nsteps = 2\n",
    "unclosed": b"[scientific]\ndepth = [2, 3\n",
    "nested arrays": b"question = " + b"[" * 20000 + b"]" * 20000,
    "nested tables": b"search.options = " + b"{a=" * 300 + b"1" + b"}" * 300,
    "nested options": _spec(TPE + "search.options.seed = " + "[" * 90 + "]" * 90),
    "one key of 50,000 names": b"a" + b".a" * 50_000 + b" = 1",
    "one quoted key of 50,000 names": b'"a"' + b" . 'a'" * 50_000 + b" = 1",
    "50,000 dotted keys": b"".join(b"a.b.c%d = 1\n" % number for number in range(50_000)),
    "50,000 tables": b"".join(b"[a%d.b.c]\n" % number for number in range(50_000)),
    "a head of 20,000 names": b"[a" + b".a" * 20_000 + b"]",
    "50 MB of comment": b"#" + b"x" * 50_000_000,
    "50 MB of newlines": b"\n" * 50_000_000,
    "a list of 100,000": _spec(f"scientific.width = {list(range(1, 100_001))}", without="fixed.width"),
    "tpe with grid's options": _spec(TPE + "search.options.levels = 3"),
    "tpe with a seed": _spec(TPE + "search.options.seed = 3"),
    "tpe with a wrong option": _spec(TPE + 'search.options.n_startup_trials = "a"'),
    "tpe with too many points": _spec(TPE + "search.points = 10001", without="search.points"),
    "tpe with too many draws": _spec(TPE + "search.nuisance_draws = 1000000000000"),
    "tpe without steps": _spec(TPE + "fixed.steps = 0", without="fixed.steps"),
    "tpe without a parameter": _spec(TPE, without="scientific"),
    "cmaes with two objectives": _spec('search.sampler = "cmaes"\nsearch.objective = "both"'),
    "gp with too many points": _spec('search.sampler = "gp"\nsearch.points = 1001', without="search.points"),
    "an option that is a huge number": _spec(TPE + f"search.options.n_startup_trials = 0x{'f' * 5000}"),
    "grid with points": _spec(GRID.replace("LEVELS", "5")),
    "a grid without levels": _spec(GRID.replace(", levels = LEVELS", ""), without="search.points"),
    "a grid of 10^12 levels": _spec(GRID.replace("LEVELS", str(10**12)), without="search.points"),
    "a grid of 10^8 points": _spec(
        GRID.replace("LEVELS", str(10**4)) + "scientific.bias_std = { low = 0, high = 1, levels = 10000 }",
        without="search.points",
    ),
    "a grid of six thousandfold axes": _spec(
        'search.sampler = "grid"',
        *(
            f"scientific.{name} = {{ low = 0.1, high = 0.9, levels = 1000 }}"
            for name in ("weight_gain", "bias_std", "input_gain", "learning_rate", "momentum", "norm_eps")
        ),
        without="search.points",
    ),
    "batch norm of one example": _spec(
        'fixed.norm = "batch"\nfixed.batch_size = 1', without="fixed.batch_size"
    ),
    "a recurrent net with a norm": _spec('fixed.family = "rnn"\nfixed.task = "copy"\nfixed.norm = "layer"'),
    "digit rows of another length": _spec('fixed.family = "rnn"\nfixed.task = "digit_rows"'),
    "a sequence of 10^7 steps": _spec(
        'fixed.family = "rnn"\nfixed.task = "adding"\nscientific.depth = [10000000]', without="scientific"
    ),
    "wide and deep": _spec(
        "scientific.depth = [2, 4000]\nscientific.width = [8, 100000]", without="scientific"
    ).replace(b"fixed.width = 8\n", b""),
    "bfloat16 in a grid of 10^7 widths": _spec(
        'fixed.dtype = "bfloat16"\nscientific.width = { low = 8, high = 10000000 }'
    ).replace(b"fixed.width = 8\n", b""),
    "a role for every key": b"scientific.width = [1]\nnuisance.width = [1]\nfixed.width = 1\n",
    "an environment variable": b'storage.runs = "$HOME/\\u0001"\n',
}
SPECS["parts that plan too much"] = _spec() + b"".join(
    b'\n[[part]]\nname = "p%d"\nsearch.points = 200000' % number for number in range(60)
)
SPECS["parts of two sizes"] = (
    _spec() + b'\n[[part]]\nname = "a"\n[[part]]\nname = "b"\nfixed.width = 10000000'
)
SPECS["a thousand parts, one of them wrong"] = (
    _spec()
    + b"".join(b'\n[[part]]\nname = "p%d"' % number for number in range(500))
    + b'\n[[part]]\nname = "p3"'
)


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


def _npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _npy(shape: str, data: bytes = b"\0" * 80, descr: str = "<f8") -> bytes:
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(head + b"\n").to_bytes(2, "little") + head + b"\n" + data


def _zipped(*, compressed: bool = False, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def _encrypted() -> bytes:
    """A whole .npz whose members say that they are encrypted."""
    content = bytearray(_npz(features=X, labels=Y))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 4)
    return bytes(content)


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FRAME = pl.DataFrame({"x": X[:, 0], "label": Y})
LABELS = _npy("(10,)", descr="<i8")
# Files of examples, by name and content.
TASKS: dict[str, tuple[str, bytes]] = {
    "encrypted": ("d.npz", _encrypted()),
    "an impossible head": ("d.npz", _zipped(features=_npy("(1125899906842624, 10)"), labels=LABELS)),
    "a head beyond 64 bits": ("d.npz", _zipped(features=_npy(f"({10**30}, 10)"), labels=LABELS)),
    "a negative head": ("d.npz", _zipped(features=_npy("(-1, 10)"), labels=LABELS)),
    "a head of words": ("d.npz", _zipped(features=_npy("('a', 2)"), labels=LABELS)),
    "a head that runs code": ("d.npz", _zipped(features=_npy("(exit(), 2)"), labels=LABELS)),
    "a nested head": ("d.npz", _zipped(features=_npy("(" * 500 + ")" * 500), labels=LABELS)),
    "a long head": ("d.npz", _zipped(features=_npy("(" + "1," * 20_000 + ")"), labels=LABELS)),
    "a deflated bomb": (
        "d.npz",
        _zipped(compressed=True, features=_npy("(50000, 100)", b"\0" * 40_000_000), labels=LABELS),
    ),
    "more data than its head says": ("d.npz", _zipped(features=_npy("(10, 2)"), labels=LABELS)),
    "a cut archive": ("d.npz", _npz(features=X, labels=Y)[:-30]),
    "damaged inside": ("d.npz", _npz(features=X, labels=Y).replace(b"\x00\x00\xf0?", b"\x01\x00\xf0?", 1)),
    "an empty file": ("d.npz", b""),
    "one zero": ("d.npz", b"\0"),
    "text": ("d.npz", b"1,2,3\n"),
    "a bare array": ("d.npz", _npy("(5, 2)")),
    "a pickle": ("d.npz", b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94."),
    "an archive of a pickle": ("d.npz", _zipped(features=b"\x80\x04K\x01.", labels=LABELS)),
    "Python objects": ("d.npz", _npz(features=X.astype(object), labels=Y)),
    "no labels": ("d.npz", _npz(features=X)),
    "other names": ("d.npz", _npz(x=X, y=Y)),
    "words": ("d.npz", _npz(features=X.astype(str), labels=Y)),
    "complex numbers": ("d.npz", _npz(features=X * 1j, labels=Y)),
    "records": ("d.npz", _npz(features=np.zeros(20, "i4,f8"), labels=Y)),
    "dates": ("d.npz", _npz(features=X.astype("datetime64[s]"), labels=Y)),
    "three axes": ("d.npz", _npz(features=X[:, :, None], labels=Y)),
    "no axis": ("d.npz", _npz(features=np.float64(3), labels=Y)),
    "no column": ("d.npz", _npz(features=X[:, :0], labels=Y)),
    "no example": ("d.npz", _npz(features=X[:0], labels=Y[:0])),
    "two lengths": ("d.npz", _npz(features=X, labels=Y[:-1])),
    "nan": ("d.npz", _npz(features=X * np.nan, labels=Y)),
    "an infinite label": ("d.npz", _npz(features=X, labels=np.full(20, np.inf))),
    "a huge label": ("d.npz", _npz(features=X, labels=np.full(20, 1e300))),
    "a class too many": ("d.npz", _npz(features=X, labels=Y + 10**9)),
    "a class of 2^63": ("d.npz", _npz(features=X, labels=Y.astype("u8") + np.uint64(2**63))),
    "a negative class": ("d.npz", _npz(features=X, labels=Y - 1)),
    "one class": ("d.npz", _npz(features=X, labels=Y * 0)),
    "constant features": ("d.npz", _npz(features=X * 0, labels=Y)),
    "features of 1e308": ("d.npz", _npz(features=X * 1e306, labels=Y)),
    "fewer than a batch": ("d.npz", _npz(features=X[:8], labels=Y[:8])),
    "text as Parquet": ("d.parquet", b"1,2,3\n"),
    "Parquet's marks alone": ("d.parquet", b"PAR1PAR1"),
    "a huge footer": ("d.parquet", b"PAR1" + b"\0" * 40 + (2**31 - 1).to_bytes(4, "little") + b"PAR1"),
    "a damaged footer": ("d.parquet", _parquet(FRAME)[:-40] + b"\xff" * 32 + _parquet(FRAME)[-8:]),
    "damaged pages": ("d.parquet", b"PAR1" + b"\xff" * 60 + _parquet(FRAME)[64:]),
    "an .npz called Parquet": ("d.parquet", _npz(features=X, labels=Y)),
    "Parquet called .npz": ("d.npz", _parquet(FRAME)),
    "lists": ("d.parquet", _parquet(FRAME.with_columns(y=pl.lit([1.0])))),
    "structures": ("d.parquet", _parquet(FRAME.with_columns(y=pl.struct("x")))),
    "strings": ("d.parquet", _parquet(FRAME.with_columns(y=pl.lit("a")))),
    "gaps": ("d.parquet", _parquet(FRAME.with_columns(y=pl.Series([None, *range(19)])))),
    "no label column": ("d.parquet", _parquet(FRAME.drop("label"))),
    "two label columns": ("d.parquet", _parquet(FRAME.with_columns(labels=1))),
    "labels alone": ("d.parquet", _parquet(FRAME.drop("x"))),
    "no rows": ("d.parquet", _parquet(FRAME.clear())),
}

# Command lines; what stands in braces is made for them: a sweep file, a folder, a FIFO, a file of text.
CALLS = rf"""
nope
run
run ''
run ' '
run {{folder}}
run {{fifo}}
run {{fifo}}.toml
run /dev/zero
run /dev/null
run /dev/stdin
run /proc/self/mem
run {{text}}
run {{link}}
run missing.toml
run ~nosuchuser/a.toml
run {LONG}.toml
run {LONG}
run quickstart.tom
run Quickstart
run {{spec}} extra
run {{spec}} --cpus 0
run {{spec}} --cpus -1
run {{spec}} --cpus 1.5
run {{spec}} --cpus nan
run {{spec}} --cpus many
run {{spec}} --cpus 1000000000000
run {{spec}} --cpus 100000
run {{spec}} --cpus {NINES}
run {{spec}} --cpus
run {{spec}} --cpus 1 --cpus x
run {{spec}} --name ''
run {{spec}} --name ..
run {{spec}} --name a/b
run {{spec}} --name /a
run {{spec}} --name -a
run {{spec}} --name 'a b'
run {{spec}} --name 'a\nb'
run {{spec}} --name '{LONG}'
run {{spec}} --name .hidden
run {{spec}} --runs ''
run {{spec}} --runs {{text}}
run {{spec}} --runs /dev/null
run {{spec}} --runs /proc/x
run {{spec}} --runs ~nosuchuser/runs
run {{spec}} --runs {LONG}
run {{spec}} --runs 'a\nb'
run {{spec}} --runs ftp://host/x
run {{spec}} --runs s3://
run {{spec}} --runs s3://k:v@bucket/x
run {{spec}} --runs http://
run {{spec}} --runs 'file://['
run {{spec}} --runs 's3://[bucket/x'
run {{spec}} --set
run {{spec}} --set x
run {{spec}} --set =
run {{spec}} --set =3
run {{spec}} --set search.points
run {{spec}} --set search.points=
run {{spec}} --set search..points=3
run {{spec}} --set .points=3
run {{spec}} --set search.points=0
run {{spec}} --set search.points={NINES}
run {{spec}} --set search.points=0x{"f" * 5000}
run {{spec}} --set search.points=[
run {{spec}} --set search.points='3\n4'
run {{spec}} --set 'search.points=3\nsearch.seeds=2'
run {{spec}} --set search.points.x=3
run {{spec}} --set fixed.width.a=3
run {{spec}} --set search.options.{".".join("a" * 20000)}=1
run {{spec}} --set search.options={"[" * 20000}
run {{spec}} --set search.options={"{a=" * 300}1{"}" * 300}
run {{spec}} --set {".".join("a" * 20000)}=1
run {{spec}} --set fixed.task=~nosuchuser/x.npz
run {{spec}} --set fixed.task=missing.npz
run {{spec}} --set fixed.task=/dev/zero
run {{spec}} --set fixed.task={{fifo}}.npz
run {{spec}} --set fixed.task={{fifo}}.parquet
run {{spec}} --set fixed.task={{folder}}.npz
run {{spec}} --set fixed.task={{zero}}.npz
run {{spec}} --set fixed.task={{sparse}}.npz
run {{spec}} --set fixed.task={{sparse}}.parquet
run {{spec}} --set fixed.width=wide
run {{spec}} --set fixed.width=10000000
run {{spec}} --set name=x --set names=y
run {{spec}} --address
run {{spec}} --address ''
run {{spec}} --address x
run {{spec}} --address 'a b:1'
run {{spec}} --address 127.0.0.1
run {{spec}} --address 127.0.0.1:0
run {{spec}} --address 127.0.0.1:99999
run {{spec}} --address 127.0.0.1:-1
run {{spec}} --address 127.0.0.1:x
run {{spec}} --address ':6379'
run {{spec}} --address '127.0.0.1:63\n79'
run {{spec}} --address ray://
run {{spec}} --address http://127.0.0.1:8265
run {{spec}} --address auto --cpus 1
run {{spec}} --resume
run {{spec}} --resume --name a/b
run {{spec}} --nosuch
run {{spec}} --dry-run=maybe
resume
resume {{folder}}
resume {{text}}
resume {{fifo}}
resume missing
resume ~nosuchuser/x
resume 'a\nb'
resume {LONG}
resume s3://
resume {{folder}} --cpus x
extend {{folder}}
extend {{folder}} --points 0
extend {{folder}} --points x
extend {{folder}} --points 3
extend {{folder}} --points {NINES}
status
status missing
status {{folder}}
status {{text}}
status {{fifo}}
status ~nosuchuser/x
status ftp://x/y
list --runs ~nosuchuser/x
list --runs ftp://x/y
list --runs s3://
list extra
report missing
report {{folder}}
report {{folder}} --out {{folder}}
report {{folder}} --out ''
claims missing
claims {{folder}}
claims {{folder}} --jsn
tables {{folder}}
tables {{folder}} --out {{text}}
tables {{folder}} --out tables
compare {{folder}}
compare {{folder}} {{folder}}
compare missing missing
export {{folder}}
export {{folder}} --optuna-storage x
export missing --optuna-storage journal://x
run {{spec}} --runs . --name planned
run {{spec}} --runs {{planned}} --name plans
run {{spec}} --runs {{fifo}}
run {{spec}} --runs {{link}}
extend {{planned}} --points 0
extend {{planned}} --points 10000001
extend {{planned}} --points 1000000000000
extend {{planned}} --points {NINES}
extend {{planned}} --points 1 --cpus 1000000000000
resume {{planned}} --cpus 0
resume {{planned}} --cpus 1000000000000
resume {{planned}} --address x
report {{planned}}
report {{planned}} --out {{folder}}
report {{planned}} --out ''
report {{planned}} --out missing/x.html
report {{planned}} --out /dev/full/x.html
claims {{planned}}
tables {{planned}}
tables {{planned}} --out ''
tables {{planned}} --out {{text}}
tables {{planned}} --out {{fifo}}
tables {{planned}} --out new
compare {{planned}} {{planned}}
compare {{planned}} missing
theory --activation relu --plot x.png --measured {{planned}}
theory --activation relu --plot x.png --measured missing
theory --activation relu --plot x.png --measured ''
export {{planned}}
export {{planned}} --optuna-storage ''
export {{planned}} --optuna-storage ' '
export {{planned}} --optuna-storage nosuch://x
export {{planned}} --optuna-storage ://
export {{planned}} --optuna-storage journal://
export {{planned}} --optuna-storage journal://missing/x
export {{planned}} --optuna-storage {{folder}}
export {{planned}} --optuna-storage {{text}}
export {{planned}} --optuna-storage {{fifo}}
export {{planned}} --optuna-storage /dev/zero
export {{planned}} --optuna-storage sqlite:///missing/x.db
export {{planned}} --optuna-storage sqlite:///{{folder}}
export {{planned}} --optuna-storage sqlite:///{{text}}
export {{planned}} --optuna-storage nosuch+driver://u:p@localhost/x
export {{planned}} --optuna-storage mysql://localhost:x/y
export {{planned}} --optuna-storage postgresql://nosuch.invalid/x
presets extra
profile --depth 0
profile --depth x
profile --depth 1.5
profile --depth nan
profile --depth 1000000000000
profile --depth {NINES}
profile --width 10000000
profile --width 0
profile --width inf
profile --width 9223372036854775808
profile --activation rel
profile --activation ''
profile --activation 'a\nb'
profile --family x
profile --weight-gain -1
profile --weight-gain nan
profile --weight-gain x
profile --bias-std inf
profile --norm x
profile --skip x
profile --batch-size 0
profile --batch-size 100000000000
profile --task nope
profile --task missing.npz
profile --task ~nosuchuser/x.npz
profile --task {{fifo}}.npz
profile --task {{zero}}.npz
profile --task teacher:99999999
profile --task digits --input-std 2
profile --input-std 0
profile --input-std nan
profile --input-std x
profile --seeds 0
profile --seeds x
profile --seeds 1e3
profile --seeds 1000000000000
profile --seeds {NINES}
profile --plot x.txt
profile --plot {{folder}}
profile --plot x.png --json
profile --plot missing/x.png
profile --plot 'a\nb/x.png'
profile --learning-rate 1
profile extra
theory --activation rel
theory --activation ''
theory --sigma-w x
theory --sigma-w -1
theory --sigma-w nan
theory --sigma-w inf
theory --sigma-b x
theory --sigma-b -1
theory --sigma-b inf
theory --depth 0
theory --depth x
theory --depth 2.5
theory --depth 1000000000000
theory --depth {NINES}
theory --width 0
theory --width nan
theory --width {NINES}
theory --batch-size 0
theory --batch-size x
theory --input-std 0
theory --input-std -1
theory --input-std nan
theory --norm x
theory --norm-position x
theory --skip x
theory --family x
theory --critical --sigma-w 2
theory --plot x.png
theory --plot x.txt --activation relu
theory --plot missing/x.png --activation relu
theory --plot {{folder}}/x.png --activation relu --json
theory --measured {{folder}}
theory --measured {{folder}} --plot x.png --activation relu
theory extra
chain
chain --activation relu
chain --activation rel --weights 1 --input 1
chain --activation relu --weights '' --input 1
chain --activation relu --weights 1,,2 --input 1
chain --activation relu --weights 1;2 --input 1
chain --activation relu --weights nan --input 1
chain --activation relu --weights 1,inf --input 1
chain --activation relu --weights 1e400 --input 1
chain --activation relu --weights {NINES} --input 1
chain --activation relu --weights 1 --input x
chain --activation relu --weights 1 --input nan
chain --activation relu --weights 1 --input 1,2
chain --activation relu --weights 1 --input 1 --biases 1,2
chain --activation relu --weights 1 --input 1 --biases x
chain --activation relu --weights 1 --input 1 --target inf
chain --activation relu --weights 1 --input 1 --target ''
submit
submit {{spec}}
submit {{spec}} --address http://127.0.0.1:1 --runs relative
submit {{spec}} --address http://127.0.0.1:1 --runs ''
submit missing.toml --address http://127.0.0.1:1 --runs /tmp/x
submit {{spec}} --address http://127.0.0.1:1 --runs /tmp/x --name a/b
submit {{spec}} --address http://127.0.0.1:1 --runs /tmp/x --set search.points=0
submit {{spec}} --address http://127.0.0.1:1 --runs /tmp/x --set fixed.steps=1000000000000
submit {{spec}} --address http://127.0.0.1:1 --runs '/tmp/a\nb'
job
job slurm
job nope --spec phase --runs /shared --name a
job slurm --spec phase --runs /shared --name A
job slurm --spec phase --runs /shared --name 'a\nb'
job slurm --spec phase --runs /shared --name ''
job slurm --spec phase --runs /shared --name a --nodes 0
job slurm --spec phase --runs /shared --name a --cpus x
job slurm --spec phase --runs /shared --name a --gpus -1
job slurm --spec phase --runs /shared --name a --memory 0
job slurm --spec phase --runs /shared --name a --time '1:00\n#SBATCH --uid=0'
job slurm --spec phase --runs /shared --name a --time '1:00; id'
job slurm --spec phase --runs /shared --name a --time ''
job slurm --spec phase --runs '/shared\nid' --name a
job slurm --spec phase --runs '' --name a
job slurm --spec 'phase\nid' --runs /shared --name a
job slurm --spec '' --runs /shared --name a
job slurm --spec phase --runs /shared --name a --setup 'true\nid'
job slurm --spec phase --runs /shared --name a --nodes {NINES}
job slurm --spec phase --runs /shared --name a --cpus 1000000000000
job machines --spec phase --runs '/shared\rid' --name a
job machines --spec phase --runs '/shared\x1b[2J' --name a
job ray --spec phase --runs /shared --name a --hosts ''
job ray --spec phase --runs /shared --name a --hosts 'a\nb,c'
job ray --spec phase --runs /shared --name a --hosts 'a;id,c'
job ray --spec phase --runs /shared --name a --hosts ',,'
job ray --spec phase --runs /shared --name a --user 'a\nb'
job ray --spec phase --runs /shared --name a --user 'a b'
job ray --spec phase --runs /shared --name a --user -oProxyCommand=id
job kuberay --spec phase --runs /shared --name a --image 'a\nb'
job kuberay --spec phase --runs /shared --name a --image ''
job kuberay --spec missing.toml --runs /shared --name a
job kuberay --spec {{fifo}} --runs /shared --name a
job kuberay --spec {{folder}} --runs /shared --name a
""".strip().splitlines()
