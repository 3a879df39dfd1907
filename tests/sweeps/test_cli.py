"""The command: messages, exit codes, nothing left behind. Runs on a real Ray are in test_runs.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradatlas.sweeps.spec.presets import preset_files


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["no-such-preset"],
            "is neither a preset (atlas, claims, clipping, phase, quickstart, ",
        ),
        (["missing.toml"], "there is no such file"),
        (["{spec}", "--set", "search.points=0"], "search.points: must be >= 1, but got 0"),
        (["{spec}", "--set", "scientific.activation=['rel']"], "did you mean 'relu'?"),
        (["{spec}", "--set", "points"], "--set points: must read table.key=VALUE"),
        (["{spec}", "--name", "a/b"], "--name: must be letters, digits"),
        (["{spec}", "--name", ".."], "--name: must be letters, digits"),
        (["{spec}", "--cpus", "1", "--set", "schedule.cpus_per_pack=4"], "must be <= the 1 CPUs of the run"),
        (["{spec}", "--set", "schedule.gpus_per_pack=64"], "GPUs that torch finds here, but got 64"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_a_users_mistake_is_one_line_and_exit_code_2(
    command, spec, tmp_path, monkeypatch, arguments, message, dry
):
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(spec=spec) for argument in arguments]
    ended = command("run", *filled, *(["--dry-run"] if dry else []))
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.err.startswith("gradatlas: ")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "gradatlas: no such command 'nope'; see: gradatlas --help"),
        (["run"], "gradatlas run: missing argument 'SPEC'; see: gradatlas run --help"),
        (["run", "quickstart", "--cpu"], "gradatlas run: no such option: --cpu (Possible options: --cpus"),
        (["profile", "--dept", "3"], "gradatlas profile: no such option: --dept"),
    ],
)
def test_a_command_line_that_cannot_be_read_is_one_line(command, arguments, message):
    ended = command(*arguments)
    assert ended.code == 2
    assert ended.err.startswith(message)
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.out == ""


def test_without_arguments_the_help_is_shown(command):
    ended = command()
    assert ended.code == 2
    assert "Usage: gradatlas" in ended.out + ended.err


def test_a_folder_that_cannot_be_written_is_told(command, spec):
    ended = command("run", spec, "--runs", spec)  # a file, not a folder
    assert ended.code == 2
    assert "the run folder cannot be written: Not a directory" in ended.err


def test_an_existing_run_is_never_overwritten(command, planned_run, spec):
    before = sorted(planned_run.folder.rglob("*"))
    ended = command("run", spec, "--runs", planned_run.folder.parent, "--name", "small")
    assert ended.code == 2
    assert "the run's name must be new" in ended.err
    assert f"gradatlas resume {planned_run.folder}" in ended.err
    assert sorted(planned_run.folder.rglob("*")) == before


def test_a_plan_that_cannot_be_written_leaves_no_folder(command, spec, tmp_path, monkeypatch):
    from gradatlas.sweeps.store.ledger import Ledger

    def full(self: Ledger, *unused: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "write_plan", full)
    ended = command("run", spec, "--runs", tmp_path / "runs", "--name", "x")
    assert ended.code == 2
    assert "No space left on device" in ended.err
    assert not (tmp_path / "runs" / "x").exists()


def test_a_dry_run_says_what_would_run_and_starts_nothing(command, spec, tmp_path):
    ended = command("run", spec, "--dry-run", "--runs", tmp_path / "runs")
    assert ended.code == 0
    lines = dict(line.split(maxsplit=1) for line in ended.out.strip().splitlines())
    assert lines["rows"] == "24"
    assert lines["packs"].startswith("6, of ")
    assert {"memory", "time"} <= set(lines)
    assert not (tmp_path / "runs").exists()


def test_resuming_a_finished_run_does_nothing(command, finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.folder.rglob("*")}
    ended = command("resume", finished_run.folder)
    assert ended.code == 0
    assert "all 24 trials are done; nothing to resume" in ended.out
    assert {path: path.stat().st_mtime_ns for path in finished_run.folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["resume", "status", "report"])
def test_a_folder_that_is_no_run_is_told(command, tmp_path, name):
    ended = command(name, tmp_path)
    assert ended.code == 2
    assert "is not a run folder" in ended.err


def test_status_reads_the_ledger_alone(command, finished_run):
    assert "complete, 24 of 24 trials, 6 of 6 packs" in command("status", finished_run.folder).out
    victim = sorted(finished_run.results.glob("*.parquet"))[0]
    victim.write_bytes(b"PAR1")
    ended = command("status", finished_run.folder)
    assert ended.code == 0
    assert "not complete, 19 of 24 trials" in ended.out
    assert f"left out: results/{victim.name}: not a whole Parquet file" in ended.out


def test_list_and_version(command, finished_run, tmp_path):
    assert "24/24 trials  complete" in command("list", "--runs", finished_run.folder.parent).out
    assert "start one with" in command("list", "--runs", tmp_path / "none").out
    assert command("--version").out.strip() == "gradatlas 0.1.0"


def test_presets_says_what_a_dry_run_says_of_the_time(command, monkeypatch):
    monkeypatch.setattr("gradatlas.sweeps.planning.forecast.slowness", lambda: 1.0)
    shown = command("presets").out.splitlines()
    assert [line.split(": ")[0] for line in shown[:-1]] == list(preset_files())
    dry = command("run", "phase", "--dry-run").out.splitlines()
    told = next(line for line in shown if line.startswith("phase: "))
    assert f"({dry[0].split()[1]} trials, about " in told
    seconds, forecast = (int(re.findall(r"about (\d+) s", line)[0]) for line in (told, dry[-1]))
    assert seconds == pytest.approx(forecast, rel=0.1)  # which knows when the last pack ends


def test_a_report_without_results_is_told(command, planned_run):
    ended = command("report", planned_run.folder)
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert str(planned_run.folder) in ended.err


@pytest.mark.thorough
def test_what_cannot_be_read_is_named_and_the_rest_is_reported(command, finished_run, tmp_path):
    victim = sorted(finished_run.results.glob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:200])
    finished_run.sweep_file.write_text("[limits]\nstable_decades = = 2")
    ended = command("report", finished_run.folder, "--out", tmp_path / "r.html")
    assert ended.code == 0
    assert victim.name in ended.err
    assert "the report takes the default limits" in ended.err
    assert f"report: {tmp_path / 'r.html'}" in ended.out
    assert victim.name in (tmp_path / "r.html").read_text()
    assert "must be a file's name" in command("report", finished_run.folder, "--out", tmp_path).err


def test_a_sweep_without_axes_has_one_point_of_everything(command, tmp_path):
    (tmp_path / "one.toml").write_text("[fixed]\nwidth = 8\nsteps = 1\n[search]\npoints = 2\nseeds = 3")
    lines = dict(
        line.split(maxsplit=1) for line in command("run", tmp_path / "one.toml", "--dry-run").out.splitlines()
    )
    assert lines["rows"] == "6"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[scientific]\nnorm = ["none", "batch"]\nbatch_size = [64, 1]\n[search]\npoints = 16',
            r"part main, point \d+ \(norm = 'batch', batch_size = 1\): batch_size: must be >= 2 with",
        ),
        (
            '[fixed]\nfamily = "rnn"\n[scientific]\ntask = ["adding", "digit_rows"]\ndepth = [8, 9]',
            r"depth: must be 8, the time steps of task 'digit_rows', but got 9",
        ),
        ("[fixed]\nweight_gain = 1" + "0" * 400, r"weight_gain: must be a finite number"),
        ("[search]\npoints = 1" + "0" * 400, r"search\.points: must be <= 10000000"),
        ("a = " + "[" * 5000, r"not TOML"),
        ("\ufeff[search]\npoints = 0", r"search\.points: must be >= 1"),
        ("[limits]\nstable_decades = nan", r"limits\.stable_decades: must be"),
    ],
    ids=[
        "norm and batch",
        "task and depth",
        "huge gain",
        "huge points",
        "nested",
        "byte order mark",
        "nan limit",
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry"])
def test_what_only_meets_at_some_points_is_one_line_too(command, tmp_path, text, message, dry):
    (tmp_path / "bad.toml").write_text(text, encoding="utf-8")
    ended = command("run", tmp_path / "bad.toml", "--runs", tmp_path / "runs", *dry)
    assert ended.code == 2
    assert re.search(message, ended.err)
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_a_start_that_was_killed_before_its_plan_is_no_run(command, spec, tmp_path, monkeypatch):
    from gradatlas.sweeps.running.runs import create_run
    from gradatlas.sweeps.spec.sweep import load_sweep
    from gradatlas.sweeps.store.ledger import Ledger

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write_plan", lambda *unused: (_ for _ in ()).throw(SystemExit(9)))
        patch.setattr(Ledger, "remove", lambda self: None)  # a kill cleans nothing up
        assert command("run", spec, "--runs", tmp_path / "runs", "--name", "x").code == 9
    assert "is not a run folder" in command("status", tmp_path / "runs" / "x").err
    assert "is not a run folder" in command("resume", tmp_path / "runs" / "x").err
    assert create_run(tmp_path / "runs" / "x", load_sweep(spec), "", cpus=1).pending_packs()


@pytest.mark.parametrize("damage", ["missing", "empty"])
@pytest.mark.parametrize("name", ["status", "resume"])
def test_a_run_without_its_plan_is_not_complete(command, finished_run, damage, name):
    (plan,) = finished_run.plans.glob("*.parquet")
    plan.write_bytes(b"") if damage == "empty" else plan.unlink()
    ended = command(name, finished_run.folder)
    assert ended.code == 2
    assert "run sweep.toml again under a new --name" in ended.err


def test_foreign_files_among_the_results_change_nothing(command, finished_run):
    import polars as pl

    pl.DataFrame({"a": [1]}).write_parquet(finished_run.results / "other.parquet")
    assert "complete, 24 of 24 trials" in command("status", finished_run.folder).out
    assert "24/24 trials" in command("list", "--runs", finished_run.folder.parent).out


def test_a_tilde_is_the_home_and_a_star_a_star_in_the_runs_folder(command, spec, tmp_path, monkeypatch):
    from gradatlas.sweeps.running.runs import create_run, run_folder
    from gradatlas.sweeps.spec.sweep import load_sweep

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(spec)
    for runs in ("~/gx", "g[1]*"):
        folder = run_folder(sweep, spec, runs=Path(runs), name="n")
        assert create_run(folder, sweep, "small.toml", cpus=1).pack_sizes()
    assert (tmp_path / "home" / "gx" / "n").is_dir()
    assert (tmp_path / "g[1]*" / "n").is_dir()


READER = """
import sys
from gradatlas.sweeps.cli import main
sys.argv = ["gradatlas", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    loaded = {"torch", "scipy", "optuna", "ray", "seaborn"} & set(sys.modules)
    print(f"code {ended.code or 0}, loaded: {sorted(loaded)}")
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("status", "{run}"), 0),
        (("list", "--runs", "{runs}"), 0),
        (("presets",), 0),
        (("run", "{typo}"), 2),
        (("run", "{runs}/missing.toml"), 2),
        (("status", "{runs}/missing"), 2),
    ],
    ids=["status", "list", "presets", "typo", "missing sweep", "missing run"],
)
def test_a_command_that_reads_or_refuses_loads_nothing_that_takes_seconds(
    finished_run, tmp_path, arguments, code
):
    typo = tmp_path / "typo.toml"
    typo.write_text("[scientific]\ndepht = [2, 3]\n")
    places = {"run": finished_run.folder, "runs": finished_run.folder.parent, "typo": typo}
    called = [argument.format(**places) for argument in arguments]
    ended = subprocess.run([sys.executable, "-c", READER, *called], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == f"code {code}, loaded: []", ended.stderr


def test_a_run_says_what_it_is_going_to_do_before_anything_that_takes_seconds(spec, tmp_path):
    program = READER.replace(
        "try:",
        "import gradatlas.sweeps.running.runs as runs\nruns.plan_run = lambda *unused: sys.exit()\ntry:",
    )
    called = [sys.executable, "-c", program, "run", spec, "--runs", tmp_path, "--name", "r"]
    ended = subprocess.run(list(map(str, called)), capture_output=True, text=True)
    assert ended.stdout.startswith("24 trials on "), ended.stderr
    assert ended.stdout.endswith("loaded: []\n")
