"""A user's own .npz: what it becomes, and what each mistake is told."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_wine
from sklearn.preprocessing import StandardScaler

from gradatlas.study.choices.losses import CROSS_ENTROPY, SQUARED_ERROR
from gradatlas.study.choices.tasks import task_named
from gradatlas.study.experiment import results
from gradatlas.study.randomness import stream
from gradatlas.study.trial import Trial

WINE, DIABETES = load_wine(), load_diabetes()


def _saved(path: Path, features: object, labels: object) -> str:
    np.savez(path, features=features, labels=labels)
    return str(path)


def _sorted_rows(*columns: np.ndarray) -> np.ndarray:
    rows = np.column_stack(columns)
    return rows[np.lexsort(rows.T)]


def test_whole_number_labels_are_classes(tmp_path):
    task = task_named(_saved(tmp_path / "wine.npz", WINE.data, WINE.target))
    data = task.load()
    assert (task.loss, task.features, task.outputs, task.training_examples) == (CROSS_ENTROPY, 13, 3, 142)
    assert len(data.test_targets) == 36
    assert data.targets.dtype == torch.int64
    # One mean and one deviation: scikit-learn's scaler of the training inputs as a single column.
    inputs = torch.cat([data.inputs, data.test_inputs]).numpy()
    deviation = (WINE.data.max() - WINE.data.min()) / (inputs.max() - inputs.min())
    mean = WINE.data.max() - inputs.max() * deviation
    restored = inputs * deviation + mean
    labels = torch.cat([data.targets, data.test_targets]).numpy()
    np.testing.assert_allclose(
        _sorted_rows(restored.round(6), labels), _sorted_rows(WINE.data.round(6), WINE.target), atol=2e-6
    )
    scaler = StandardScaler().fit(restored[:142].reshape(-1, 1))
    np.testing.assert_allclose(
        scaler.transform(restored.reshape(-1, 1)).reshape(inputs.shape), inputs, atol=1e-9
    )


def test_float_labels_are_values_and_stay_as_they_are(tmp_path):
    task = task_named(_saved(tmp_path / "diabetes.npz", DIABETES.data, DIABETES.target))
    data = task.load()
    assert (task.loss, task.features, task.outputs, task.training_examples) == (SQUARED_ERROR, 10, 1, 353)
    assert sorted(torch.cat([data.targets, data.test_targets]).flatten().tolist()) == sorted(DIABETES.target)


def test_float_labels_may_have_several_outputs(tmp_path):
    labels = np.stack([DIABETES.target / 100, -DIABETES.target], axis=1)
    task = task_named(_saved(tmp_path / "two.npz", DIABETES.data.astype(np.float32), labels))
    assert task.outputs == 2
    assert task.load().targets.shape == (353, 2)


def test_integer_features_and_true_or_false_labels_are_taken(tmp_path):
    task = task_named(
        _saved(tmp_path / "bits.npz", np.arange(40, dtype=np.uint8).reshape(20, 2), np.arange(20) % 2 == 0)
    )
    assert (task.loss, task.outputs) == (CROSS_ENTROPY, 2)


def test_the_split_depends_on_nothing_but_the_number_of_examples(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    first = task_named(_saved(tmp_path / "a.npz", WINE.data, WINE.target)).load()
    again = task_named(_saved(tmp_path / "elsewhere" / "b.npz", WINE.data, WINE.target)).load()
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.test_targets, again.test_targets)


def test_a_file_that_changed_is_read_again(tmp_path):
    name = _saved(tmp_path / "a.npz", WINE.data, WINE.target)
    assert task_named(name).outputs == 3
    _saved(tmp_path / "a.npz", WINE.data[:, :4], WINE.target == 1)
    os.utime(name, ns=(1, 1))  # two writes may fall into one tick of the clock
    assert (task_named(name).features, task_named(name).outputs) == (4, 2)


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_a_pack_learns_a_users_file(tmp_path, kind):
    scaled = (WINE.data - WINE.data.mean(axis=0)) / WINE.data.std(axis=0)
    labels = WINE.target if kind == "classes" else WINE.target.astype(float)
    name = _saved(tmp_path / "wine.npz", scaled, labels)
    for row in results(
        [Trial(task=name, depth=d, seed=d, activation="tanh", learning_rate=0.05) for d in (4, 2)]
    ):
        assert row["outcome"] == "learned"
        assert row["task"] == name
        assert (row["final_accuracy"] is None) == (kind == "values")


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2


def _with(array: np.ndarray, place: object, value: float) -> np.ndarray:
    changed = array.astype(float)
    changed[place] = value
    return changed


BAD = {
    "objects": (
        np.array([None, 1.0] * 10).reshape(10, 2),
        Y,
        "features must be an array of numbers, but holds Python objects, which are never",
    ),
    "object labels": (X, Y.astype(object), "labels must be an array of numbers, but holds Python objects"),
    "words": (
        X,
        np.array(["a", "b"] * 5),
        r"labels must be whole or floating-point numbers, but is of type <U1; number",
    ),
    "complex": (
        X.astype(complex),
        Y,
        "features must be whole or floating-point numbers, but is of type complex128; turn",
    ),
    "flat features": (
        X[:, 0],
        Y,
        r"features must have the shape \(examples, dimensions\), but has \(10,\); reshape",
    ),
    "images": (X.reshape(5, 2, 2), Y[:5], r"features must have the shape .* but has \(5, 2, 2\); reshape"),
    "empty": (X[:0], Y[:0], r"features must hold at least 5 examples .*, but has the shape \(0, 2\)"),
    "no dimension": (X[:, :0], Y, r"at least 1 dimension, but has the shape \(10, 0\)"),
    "few": (X[:4], Y[:4], r"at least 5 examples .*, but has the shape \(4, 2\)"),
    "classes in columns": (
        X,
        np.eye(2, dtype=int)[Y],
        r"labels must have the shape \(examples,\).* but has \(10, 2\) of int64; give classes",
    ),
    "one label": (X, np.int64(1), r"labels must have the shape .* but has \(\) of int64"),
    "no outputs": (X, np.empty((10, 0)), r"labels must have the shape .* but has \(10, 0\) of float64"),
    "lengths": (X, Y[:9], "features and labels must have the same length, but have 10 and 9; drop"),
    "nan": (
        _with(X, (3, 1), np.nan),
        Y,
        r"features must be finite, but features\[3, 1\] is nan \(1 such\); drop or fill",
    ),
    "infinite": (_with(X, (0, 0), np.inf), Y, r"features must be finite, but features\[0, 0\] is inf"),
    "nan labels": (X, _with(Y, 7, np.nan), r"labels must be finite, but labels\[7\] is nan"),
    "one class": (
        X,
        np.ones(10, int),
        "labels must be of at least two classes among the 8 training .*, but all are 1",
    ),
    "one value": (X, np.full(10, 0.5), "labels must be of at least two values among the 8 training"),
    "negative": (
        X,
        Y - 1,
        "labels of whole numbers are classes and must be >= 0, but one is -1; number the classes",
    ),
    "far class": (X, Y * 10, "must be below the number of examples, 10, but one is 10; number the classes"),
    "huge": (X, _with(Y, 2, 1e30), r"labels must be within ±1e\+18, but one is 1e\+30 in size; divide"),
    "constant": (np.full((10, 2), 0.1), Y, "features must differ, by a finite amount, but the deviation"),
    "endless": (
        _with(X, slice(None, None, 2), 1e200),
        Y,
        "features must differ, by a finite amount, .* is (inf|nan)",
    ),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_told_in_one_line_with_file_rule_and_value(mistake, tmp_path):
    features, labels, message = BAD[mistake]
    name = _saved(tmp_path / "own.npz", features, labels)
    with pytest.raises(ValueError, match=message) as caught:
        Trial(task=name, batch_size=2)
    assert str(caught.value).startswith(f"task: {name}: ")
    assert "\n" not in str(caught.value)


def _zip_of_text(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("features", "1,2")
        file.writestr("labels", "1")


def _damaged(path: Path) -> None:
    _saved(path, X, Y)
    content = bytearray(path.read_bytes())
    content[150] ^= 255  # inside the first array
    path.write_bytes(content)


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, X)


NO_NPZ = {
    "text": (
        lambda path: path.write_text("1,2\n3,4\n"),
        "must be an .npz file, but is none; save it with numpy.savez",
    ),
    "nothing": (lambda path: path.write_bytes(b""), "must be an .npz file, but is none"),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps({"features": 1})),
        "must be an .npz file, but is none",
    ),
    "cut": (
        lambda path: path.write_bytes(Path(_saved(path, X, Y)).read_bytes()[:200]),
        "must be an .npz file, but is none",
    ),
    "one array": (_one_array, "must be an .npz file, but holds one bare array; save it with"),
    "damaged": (_damaged, "features is damaged .*; save the file again"),
    "no arrays": (_zip_of_text, "features is damaged .*; save the file again"),
    "missing key": (
        lambda path: np.savez(path, x=X, labels=Y),
        r"must hold .* but 'features' is missing \(it holds x, labels\); save it with",
    ),
    "no key": (lambda path: np.savez(path), r"but 'features' is missing \(it holds nothing\)"),
    "folder": (lambda path: path.mkdir(), "must be a regular file, but is a folder"),
}


@pytest.mark.parametrize("mistake", NO_NPZ)
def test_a_file_that_is_no_npz_of_features_and_labels_is_told(mistake, tmp_path):
    make, message = NO_NPZ[mistake]
    make(tmp_path / "own.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message) as caught:
            task_named(str(tmp_path / "own.npz"))
    assert str(caught.value).startswith(str(tmp_path / "own.npz"))
    assert "\n" not in str(caught.value)


def test_nothing_is_ever_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    for features in (np.array([[Trap()] * 2] * 10), X):
        labels = Y if features is not X else np.array([Trap()] * 10)
        with pytest.raises(ValueError, match="never unpickled"):
            task_named(_saved(tmp_path / "trap.npz", features, labels))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is none"):
        task_named(str(tmp_path / "bare.npz"))
    assert not (tmp_path / "sprung").exists()


def test_a_batch_larger_than_the_training_examples_is_told(tmp_path):
    name = _saved(tmp_path / "own.npz", X, Y)
    Trial(task=name, batch_size=8)
    with pytest.raises(ValueError, match=r"batch_size: must be <= 8, .* of task .*own\.npz', but got 9"):
        Trial(task=name, batch_size=9)


def test_examples_of_any_size_do_not_depend_on_their_scale(tmp_path):
    draw = stream(0, "scale").standard_normal((50, 3))
    labels = np.arange(50) % 2
    small = task_named(_saved(tmp_path / "small.npz", draw * 1e-100, labels)).load()
    large = task_named(_saved(tmp_path / "large.npz", draw * 1e100, labels)).load()
    torch.testing.assert_close(small.inputs, large.inputs, rtol=1e-12, atol=1e-12)


def test_an_array_that_is_packed_small_and_large_unpacked_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("gradatlas.study.choices.own_data.LARGEST_FILE", 10**6)
    np.savez_compressed(tmp_path / "bomb.npz", features=np.zeros((10**5, 2)), labels=Y)
    assert (tmp_path / "bomb.npz").stat().st_size < 10**5
    with pytest.raises(
        ValueError, match="features must have at most 1000000 bytes unpacked, but has 1600128"
    ):
        task_named(str(tmp_path / "bomb.npz"))
