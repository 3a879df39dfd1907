"""A user's examples in a sweep: found, read, kept in the run folder, and every mistake told."""

from __future__ import annotations

import io
import shutil
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_wine

from gradatlas.study.choices.own_data import read_examples
from gradatlas.study.experiment import results
from gradatlas.study.trial import Trial
from gradatlas.sweeps.errors import SpecError
from gradatlas.sweeps.running.runs import create_run, sweep_of
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.spec.task_files import stored_names, task_notes
from gradatlas.sweeps.store.ledger import Ledger

WINE = load_wine(as_frame=True)
SWEEP = """
[scientific]
depth = [2, 3]
{axis}
[fixed]
width = 8
steps = 3
batch_size = 16
learning_rate = 0.01
{fixed}
[search]
points = 8
[schedule]
pack_size = 3
"""


def _wine() -> pl.DataFrame:
    return pl.DataFrame({name: WINE.data[name].to_numpy() for name in WINE.data}).with_columns(
        label=pl.Series(WINE.target.to_numpy())
    )


def _spec(folder: Path, *, axis: str = "", fixed: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "own.toml"
    path.write_text(SWEEP.format(axis=axis, fixed=fixed))
    return path


def _created(spec: Path, run: Path) -> Ledger:
    return create_run(run, load_sweep(spec), str(spec), cpus=2)


def _finished(ledger: Ledger) -> pl.DataFrame:
    for pack in ledger.pending_packs():
        ledger.write_result(pack, results(ledger.pack_trials(pack)))
    return pl.read_parquet(ledger.results / "*.parquet").sort("trial")


@pytest.mark.parametrize("labels", ["label", "labels"])
def test_parquet_becomes_the_npz_that_a_user_would_have_saved(tmp_path, labels):
    _wine().rename({"label": labels}).write_parquet(tmp_path / "wine.parquet")
    ledger = _created(_spec(tmp_path, fixed='task = "wine.parquet"'), tmp_path / "run")
    with np.load(ledger.folder / "data" / "wine.npz") as stored:
        np.testing.assert_array_equal(stored["features"], WINE.data.to_numpy())
        np.testing.assert_array_equal(stored["labels"], WINE.target.to_numpy())
        assert stored["labels"].dtype.kind == "i"


def test_float_labels_of_parquet_are_values_and_columns_keep_their_order(tmp_path):
    frame = pl.DataFrame(
        {
            "b": pl.Series([1, 2, 3, 4, 5, 6], dtype=pl.UInt8),
            "label": [0.5, 1.5, 2.0, 3.0, 4.0, 5.0],
            "a": pl.Series([1.5] * 5 + [2.5], dtype=pl.Float32),
            "c": [True, False] * 3,
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    examples = read_examples(tmp_path / "x.parquet")
    np.testing.assert_array_equal(examples.features[[0, 5]], [[1.0, 1.5, 1.0], [6.0, 2.5, 0.0]])
    assert examples.labels.tolist() == [0.5, 1.5, 2.0, 3.0, 4.0, 5.0]
    assert not examples.are_classes


def test_a_run_needs_neither_the_original_nor_its_own_place(tmp_path, monkeypatch):
    original = tmp_path / "study" / "wine.npz"
    spec = _spec(tmp_path / "study", fixed='task = "wine.npz"')
    np.savez(original, features=WINE.data, labels=WINE.target, notes=np.array(["mine"]))
    monkeypatch.chdir(tmp_path)
    ledger = _created(spec, Path("runs") / "first")
    expected = results(
        [Trial(**{**vars(trial), "task": str(original)}) for trial in ledger.pack_trials("pack-000000")]
    )
    shutil.rmtree(tmp_path / "study")
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "runs" / "first", tmp_path / "moved" / "second")
    monkeypatch.chdir(tmp_path / "moved")
    ledger = Ledger.opened(Path("second"))
    assert sweep_of(ledger).trials == 8
    assert ledger.pending_cost() > 0
    rows = _finished(ledger)
    assert rows["task"].unique().to_list() == ["data/wine.npz"]
    by_seed = {row["seed"]: row for row in rows.to_dicts()}
    for row in expected:
        assert by_seed[row["seed"]]["losses"] == row["losses"]
    assert tomllib.loads(ledger.sweep_file.read_text())["fixed"]["task"] == "data/wine.npz"


def test_the_resolved_sweep_of_a_run_runs_again(tmp_path):
    _wine().write_parquet(tmp_path / "wine.parquet")
    first = _created(_spec(tmp_path, fixed='task = "wine.parquet"'), tmp_path / "first")
    second = _created(first.sweep_file, tmp_path / "second")
    shutil.rmtree(first.folder)
    assert _finished(second)["losses"].null_count() == 0
    assert tomllib.loads(second.sweep_file.read_text())["fixed"]["task"] == "data/wine.npz"


def test_files_are_an_axis_and_two_of_one_name_stay_apart(tmp_path):
    for folder, target in (("a", WINE.target.to_numpy()), ("b", WINE.target.to_numpy() == 0)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "wine.npz", features=WINE.data, labels=target)
    axis = 'task = ["digits", "a/wine.npz", "b/wine.npz", "teacher:5"]'
    rows = _finished(_created(_spec(tmp_path, axis=axis), tmp_path / "run"))
    assert set(rows["task"]) == {"digits", "data/wine.npz", "data/wine-2.npz", "teacher:5"}
    with np.load(tmp_path / "run" / "data" / "wine-2.npz") as stored:
        assert set(stored["labels"].tolist()) == {0, 1}
    regression = rows.filter(task="teacher:5")
    assert regression["final_accuracy"].null_count() == len(regression) > 0


def test_parts_have_files_of_their_own(tmp_path):
    np.savez(tmp_path / "wine.npz", features=WINE.data, labels=WINE.target)
    spec = _spec(tmp_path)
    spec.write_text(
        spec.read_text()
        + '[[part]]\nname = "own"\nfixed = { task = "wine.npz" }\n[[part]]\nname = "digits"\n'
    )
    rows = _finished(_created(spec, tmp_path / "run"))
    assert set(rows.select("part", "task").unique().rows()) == {
        ("own", "data/wine.npz"),
        ("digits", "digits"),
    }


def test_a_path_is_from_the_sweep_files_folder_and_then_from_the_working_directory(tmp_path, monkeypatch):
    for folder in ("sweep", "here"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "both.npz", features=WINE.data, labels=WINE.target)
    np.savez(tmp_path / "here" / "one.npz", features=WINE.data, labels=WINE.target)
    monkeypatch.chdir(tmp_path / "here")
    for name, folder in (
        ("both.npz", "sweep"),
        ("one.npz", "here"),
        (str(tmp_path / "here" / "one.npz"), "here"),
    ):
        spec = _spec(tmp_path / "sweep", fixed=f'task = "{name}"')
        (found,) = stored_names(load_sweep(spec).document)
        assert Path(found).parent.name == folder
    spec = _spec(tmp_path / "sweep")
    assert load_sweep(spec, ("fixed.task=one.npz",)).parts[0].fixed["task"] == str(
        tmp_path / "here" / "one.npz"
    )


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
FRAME = pl.DataFrame({"x": X[:, 0], "label": Y})
BAD = {
    "missing": ("none.npz", None, "there is no file none.npz in "),
    "missing parquet": ("none.parquet", None, "there is no file none.parquet in "),
    "other format": ("own.csv", b"1,2", "must be one of digits, "),
    "no npz": ("own.npz", b"1,2", "must be an .npz file, but is none"),
    "missing key": ("own.npz", _npz(x=X, y=Y), "'features' is missing (it holds x, y)"),
    "objects": ("own.npz", _npz(features=X.astype(object), labels=Y), "never unpickled"),
    "nan": ("own.npz", _npz(features=X * np.nan, labels=Y), "features[0, 0] is nan (40 such)"),
    "few for the batch": ("own.npz", _npz(features=X[:10], labels=Y[:10]), "batch_size: must be <= 8"),
    "no parquet": ("own.parquet", b"1,2", "must be a Parquet file, but cannot be read as one"),
    "words": (
        "own.parquet",
        _parquet(FRAME.with_columns(town=pl.lit("a"))),
        "columns must be numbers, but 'town' is String; drop it",
    ),
    "word labels": (
        "own.parquet",
        _parquet(FRAME.cast({"label": pl.String})),
        "but 'label' is String; number the classes",
    ),
    "nulls": (
        "own.parquet",
        _parquet(FRAME.with_columns(y=pl.Series([None, *range(19)]))),
        "'y' has 1 nulls; drop or fill",
    ),
    "no label": (
        "own.parquet",
        _parquet(FRAME.drop("label")),
        "must have one column 'label' or 'labels', but has neither among x",
    ),
    "two labels": (
        "own.parquet",
        _parquet(FRAME.with_columns(labels=1)),
        "but has label and labels among x, label, labels",
    ),
    "labels alone": (
        "own.parquet",
        _parquet(FRAME.drop("x")),
        "at least 1 dimension, but has the shape (20, 0)",
    ),
    "parquet nan": (
        "own.parquet",
        _parquet(FRAME.with_columns(y=pl.lit(float("nan")))),
        "features[0, 1] is nan (20 such)",
    ),
    "empty": ("own.parquet", _parquet(FRAME.clear()), "at least 5 examples"),
    "one class": (
        "own.parquet",
        _parquet(FRAME.with_columns(label=1)),
        "at least two classes among the 16 training",
    ),
}


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(command, tmp_path, monkeypatch, mistake, dry):
    name, content, message = BAD[mistake]
    monkeypatch.chdir(tmp_path)
    spec = _spec(tmp_path, fixed=f'task = "{name}"')
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    ended = command("run", spec, *(["--dry-run"] if dry else []))
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert ended.err.startswith("gradatlas: own.toml: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_with_a_users_file_writes_nothing(command, tmp_path):
    _wine().write_parquet(tmp_path / "wine.parquet")
    spec = _spec(tmp_path, fixed='task = "wine.parquet"')
    before = sorted(tmp_path.rglob("*"))
    assert command("run", spec, "--dry-run", "--runs", tmp_path / "runs").code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_an_original_that_goes_bad_before_it_is_copied_leaves_no_run(tmp_path):
    np.savez(tmp_path / "wine.npz", features=WINE.data, labels=WINE.target)
    sweep = load_sweep(_spec(tmp_path, fixed='task = "wine.npz"'))
    (tmp_path / "wine.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be an \.npz file"):
        create_run(tmp_path / "run", sweep, "own.toml", cpus=2)
    assert not (tmp_path / "run").exists()


def test_a_run_that_lost_its_examples_is_told(command, tmp_path):
    np.savez(tmp_path / "wine.npz", features=WINE.data, labels=WINE.target)
    ledger = _created(_spec(tmp_path, fixed='task = "wine.npz"'), tmp_path / "run")
    (ledger.folder / "data" / "wine.npz").unlink()
    with pytest.raises(SpecError, match=r"sweep\.toml: task: there is no file data/wine\.npz in"):
        sweep_of(ledger)
    assert command("resume", ledger.folder).code == 2
    assert command("status", ledger.folder).code == 0


def _noise(rows: int = 40) -> dict[str, np.ndarray]:
    draw = np.random.Generator(np.random.Philox(3))
    return {"a": draw.normal(size=rows), "b": draw.normal(size=rows), "label": np.arange(rows) // (rows // 2)}


def test_the_index_that_pandas_hides_in_a_file_is_no_feature_and_is_told(command, tmp_path):
    import pandas as pd

    shuffled = pd.DataFrame(_noise()).sample(frac=1, random_state=0)
    named = shuffled.rename_axis("row")
    for frame, hidden in ((shuffled, "__index_level_0__"), (named, "row")):
        frame.to_parquet(tmp_path / "noise.parquet")
        assert hidden in pl.read_parquet(tmp_path / "noise.parquet").columns
        features, labels = read_examples(tmp_path / "noise.parquet")
        np.testing.assert_array_equal(features, frame[["a", "b"]].to_numpy())
        np.testing.assert_array_equal(labels, frame["label"].to_numpy())
        spec = _spec(tmp_path, fixed='task = "noise.parquet"')
        ended = command("run", spec, "--dry-run")
        assert ended.code == 0
        assert f"noise.parquet: left out, since pandas calls it the index: {hidden}\n" in ended.err


def test_a_frame_without_an_index_of_its_own_is_read_as_it_is(command, tmp_path):
    import pandas as pd

    pd.DataFrame(_noise()).to_parquet(tmp_path / "noise.parquet")  # a RangeIndex, which is no column
    assert read_examples(tmp_path / "noise.parquet").features.shape == (40, 2)
    assert command("run", _spec(tmp_path, fixed='task = "noise.parquet"'), "--dry-run").err == ""


@pytest.mark.parametrize("said", ["", "[", '{"index_columns": 3}', '{"index_columns": [{}, 1]}', "[" * 9999])
def test_metadata_that_says_nothing_leaves_all_columns_in(tmp_path, said):
    pl.DataFrame(_noise()).write_parquet(tmp_path / "noise.parquet", metadata={"pandas": said})
    assert read_examples(tmp_path / "noise.parquet").features.shape == (40, 2)


def test_columns_that_are_hardly_features_are_told_and_kept(tmp_path):
    noise = _noise()
    odd = {"id": np.arange(40)[::-1], "same": noise["label"], "one": np.ones(40), "few": np.arange(40) % 7}
    pl.DataFrame(noise | odd).write_parquet(tmp_path / "odd.parquet")
    path = str(tmp_path / "odd.parquet")
    assert task_notes({"fixed": {"task": path}}) == [
        f"{path}: constant: one; the same as the label: same; another in each row: id"
    ]
    assert read_examples(tmp_path / "odd.parquet").features.shape == (40, 6)
    np.savez(tmp_path / "odd.npz", features=np.array([*odd.values()]).T.astype(int), labels=noise["label"])
    path = str(tmp_path / "odd.npz")
    assert task_notes({"fixed": {"task": path}}) == [
        f"{path}: constant: column 2; the same as the label: column 1; another in each row: column 0"
    ]


def test_a_few_bytes_that_stand_for_very_many_rows_are_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("gradatlas.sweeps.spec.task_files.LARGEST_FILE", 2**20)
    pl.DataFrame({"x": np.zeros(10**6), "label": np.zeros(10**6, int)}).write_parquet(
        tmp_path / "bomb.parquet"
    )
    assert (tmp_path / "bomb.parquet").stat().st_size < 2**20
    with pytest.raises(ValueError, match="1 MiB of numbers, but has 1000000 rows of 2 columns"):
        read_examples(tmp_path / "bomb.parquet")
