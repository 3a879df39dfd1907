"""Every bad sweep file and call is refused: exit code 2, one line, at once, and nothing is left behind."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attack.bad_calls import CALLS, SPECS, TASKS, VALUES, spec_text
from tests.attack.guard import guarded


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with what command lines name, and a temporary folder beside it."""
    from gradatlas.sweeps.running.runs import create_run
    from gradatlas.sweeps.spec.sweep import load_sweep

    place = tmp_path_factory.mktemp("attack")
    work = place / "work"
    for made in (work, place / "tmp", work / "folder", work / "folder.npz"):
        made.mkdir()
    (work / "text").write_text("no run, no sweep\n")
    for name in ("fifo", "fifo.toml", "fifo.npz", "fifo.parquet"):
        os.mkfifo(work / name)
    for name in ("link", "zero.npz"):
        (work / name).symlink_to("/dev/zero")
    for name in ("sparse.npz", "sparse.parquet"):
        with (work / name).open("wb") as file:
            file.truncate(2**42)
    spec = work / "sound.toml"
    spec.write_text(spec_text())
    create_run(work / "planned", load_sweep(spec), "sound.toml", cpus=1)
    return place


@pytest.fixture
def folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, with a sound sweep file; nothing can be run in it."""
    from gradatlas.sweeps.command import execution

    def started(*unused: object, **named: object) -> None:
        raise AssertionError("the run was started")

    (place / "work" / "sound.toml").write_text(spec_text())
    monkeypatch.setattr(execution, "_run_watched", started)
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    monkeypatch.chdir(place / "work")
    yield place
    for name in ("d.npz", "d.parquet"):
        (place / "work" / name).unlink(missing_ok=True)


def _tree(folder: Path) -> dict[str, int]:
    """Every file with its time; of folders only that they are there. A run that was held has its `.lock`."""
    return {
        str(path.relative_to(folder)): 0 if path.is_dir() else path.lstat().st_mtime_ns
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def _assert_refused(command, folder: Path, *arguments: object) -> None:
    before = _tree(folder)
    with guarded():
        ended = command(*arguments)
    assert ended.code == 2, ended
    # That code of a module is going to run is said before it does.
    said = [line for line in ended.err.splitlines() if not line.startswith("imports ")]
    assert len(said) == 1, ended.err
    assert said[0].startswith("gradatlas")
    assert ended.out == ""
    assert _tree(folder) == before


def _short(cases: list[str]) -> list[object]:
    return [pytest.param(case, id=f"{number}: {ascii(case)[:60]}") for number, case in enumerate(cases)]


def _arguments(line: str) -> list[str]:
    names = ("planned", "folder", "fifo", "text", "link", "zero", "sparse")
    filled = line.replace("{spec}", "sound.toml")
    for name in names:
        filled = filled.replace(f"{{{name}}}", name)
    for escape, character in (("\\n", "\n"), ("\\r", "\r"), ("\\x1b", "\x1b")):
        filled = filled.replace(escape, character)
    return shlex.split(filled)


@pytest.mark.parametrize("change", _short(VALUES))
def test_a_bad_value_is_refused(command, folder, change):
    (folder / "work" / "sound.toml").write_text(spec_text(change))
    _assert_refused(command, folder, "run", "sound.toml")


@pytest.mark.parametrize("name", SPECS)
def test_a_bad_sweep_file_is_refused(command, folder, name):
    (folder / "work" / "sound.toml").write_bytes(SPECS[name])
    _assert_refused(command, folder, "run", "sound.toml")


@pytest.mark.parametrize("name", TASKS)
def test_a_bad_file_of_examples_is_refused(command, folder, name):
    file, content = TASKS[name]
    (folder / "work" / file).write_bytes(content)
    (folder / "work" / "sound.toml").write_text(spec_text(f'fixed.task = "{file}"'))
    _assert_refused(command, folder, "run", "sound.toml")


@pytest.mark.parametrize("line", _short(CALLS))
def test_a_bad_call_is_refused(command, folder, line):
    _assert_refused(command, folder, *_arguments(line))


def test_there_are_over_two_hundred():
    assert len(VALUES) + len(SPECS) + len(TASKS) + len(CALLS) >= 200


# What is also asked of the real command: the arguments, and a change of the sound sweep file.
REAL = [
    ("run {fifo}", ""),
    ("run {fifo}.toml", ""),
    ("run /dev/zero", ""),
    ("run {link}", ""),
    ("run {folder}", ""),
    ("run {spec} --set fixed.task={fifo}.npz", ""),
    ("run {spec} --set fixed.task={zero}.npz", ""),
    ("run {spec} --set fixed.task={sparse}.parquet", ""),
    ("run {spec} --set search.points=" + "9" * 6000, ""),
    ("run {spec} --set " + ".".join("a" * 20_000) + "=1", ""),
    ("run {spec} --runs ~nosuchuser/runs", ""),
    ("run {spec} --cpus 1000000000000", ""),
    ("run {spec}", 'storage.runs = "a\\u0000b"'),
    ("run {spec}", f"fixed.width = 0x{'f' * 5000}"),
    ("run {spec}", "fixed.width = 10000000"),
    ("run {spec}", "scientific.depth = [1000000000]"),
    ("run {spec}", "fixed.steps = 1000000000000"),
    ("run {spec}", "search.nuisance_draws = 1000000000000"),
    ("run {spec}", 'search.sampler = "..a"'),
    ("job slurm --spec phase --runs /shared --name a --time '1:00\\n#SBATCH --uid=0'", ""),
    ("profile --width 10000000", ""),
]


def test_the_real_command_refuses_them_too(folder):
    def asked(number: int) -> str | None:
        line, change = REAL[number]
        spec = f"sound-{number}.toml"
        program = Path(sys.executable).with_name("gradatlas")
        ended = subprocess.run(
            [program, *_arguments(line.replace("{spec}", spec))],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        is_right = ended.returncode == 2 and len(ended.stderr.splitlines()) == 1 and not ended.stdout
        return None if is_right and ended.stderr.startswith("gradatlas") else f"{line} {change}: {ended}"

    for number, (_, change) in enumerate(REAL):
        (folder / "work" / f"sound-{number}.toml").write_text(spec_text(change))
    before = _tree(folder)
    with ThreadPoolExecutor(2) as pool:
        wrong = [said for said in pool.map(asked, range(len(REAL))) if said]
    assert wrong == []
    assert _tree(folder) == before
