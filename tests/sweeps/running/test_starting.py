"""How a run begins: whatever is killed, stopped or started twice, no run is lost, no other folder touched."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.machine import this_node
from gradatlas.sweeps.running.runs import complete_plan, create_run, extend_run, state, sweep_of
from gradatlas.sweeps.running.starting import RunExistsError, new_run
from gradatlas.sweeps.spec.sweep import Sweep, load_sweep
from gradatlas.sweeps.store import lease, local, remote
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.location import HeldError, Location
from gradatlas.sweeps.store.storage import location_of
from tests.store import store_served

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


class Killed(BaseException):
    """In the place of a SIGKILL: from then on nothing is written or removed any more."""


class _Steps:
    """Sees every change of a file or folder below `root` before it is made, on a disk and in the store."""

    def __init__(self) -> None:
        self.root = self.see = None  # type: ignore[var-annotated]

    def audit(self, event: str, arguments: tuple) -> None:
        """Python's own hook for what it asks of the operating system."""
        if self.root is None or not (event in _CHANGES or event == "open"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 0o103):
            return  # opened for reading
        path = str(arguments[0])
        # Whole trees are removed by names relative to an open folder.
        if path.startswith(self.root) or (event in ("os.remove", "os.rmdir") and arguments[1] != -1):
            self.see(event, path)

    def request(self, name: str, path: str) -> None:
        """A request that changes the store."""
        if self.see is not None:
            self.see(name, path)


STEPS = _Steps()
sys.addaudithook(STEPS.audit)


@contextmanager
def _seen_by(see: Callable[[str, str], None], folder: Location) -> Iterator[None]:
    STEPS.see, STEPS.root = see, str(folder.parent)
    try:
        yield
    finally:
        STEPS.see = STEPS.root = None


class _Store:
    """The store, whose changes are steps."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        does = getattr(self._store, name)
        if name not in ("open_output_stream", "delete_file", "delete_dir", "delete_dir_contents"):
            return does

        def change(path: str) -> object:
            STEPS.request(name, path)
            return does(path)

        return change


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, str]]:
    """A store."""
    with store_served() as variables:
        yield variables


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path, monkeypatch) -> Location:
    """Where a run of one test goes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "disk":
        (tmp_path / "runs").mkdir()
        return location_of(tmp_path / "runs" / "run")
    for name, value in request.getfixturevalue("served").items():
        monkeypatch.setenv(name, value)
    reach = remote._filesystem
    monkeypatch.setattr(remote, "_filesystem", lambda *url: (_Store(reach(*url)[0]), reach(*url)[1]))
    return location_of(f"s3://bucket/{tmp_path.name}/run")


@pytest.fixture
def sweep(spec: Path, tmp_path: Path) -> Sweep:
    """A small sweep with a user's file."""
    import numpy as np

    chance = np.random.Generator(np.random.Philox(0))
    np.savez(tmp_path / "own.npz", features=chance.normal(size=(40, 3)), labels=np.arange(40) % 2)
    spec.write_text(spec.read_text().replace("[fixed]", '[fixed]\ntask = "own.npz"'))
    return load_sweep(spec)


def _content(folder: Location) -> dict[str, bytes]:
    """What a folder holds, beside holds."""
    files = {str(file)[len(str(folder)) :]: file.read_bytes() for file in folder.files(below=True)}
    return {name: content for name, content in files.items() if "lease" not in name and ".lock" not in name}


def _lasting(folder: Location) -> dict[str, bytes]:
    """What two runs of the same sweep and name have in common."""
    return {name: what for name, what in _content(folder).items() if name != "/environment.json"}


def _killed_after(steps: int, folder: Location, act: Callable[[], object]) -> bool:
    """Acts until so many changes are made, and dies before the next; whether it came to that."""
    left = steps

    def count(event: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with _seen_by(count, folder):
        try:
            act()
        except Killed:
            return True
    return False


def _every_kill(folder: Location, act: Callable[[], object]) -> Iterator[int]:
    """Acts again and again, killed one change later each time, until it comes to its end."""
    steps = 0
    while _killed_after(steps, folder, act):
        yield steps
        steps += 1
    yield steps


@pytest.fixture(autouse=True)
def _killed_means_dead(monkeypatch):
    """What is killed here is this process, whose claims on a store would count as alive."""
    monkeypatch.setattr(lease, "_is_dead", lambda content: content.get("dead", True))


def test_a_start_that_is_killed_at_any_step_starts_anew_or_is_a_run(folder, sweep, tmp_path):
    whole = _lasting(create_run(folder.parent / "whole" / "run", sweep, "small.toml", cpus=2).folder)
    begun: list[bool] = []
    for step in _every_kill(folder, partial(create_run, folder, sweep, "small.toml", cpus=2)):
        begun.append(Ledger(folder).is_begun)
        if begun[-1]:
            with pytest.raises(RunExistsError, match="go on with `gradatlas resume"):
                create_run(folder, sweep, "small.toml", cpus=2)
            with Ledger.opened(folder).locked():
                Ledger(folder).clear_states()
        else:
            create_run(folder, sweep, "small.toml", cpus=2)
        assert _lasting(folder) == whole, f"killed at step {step}"
        folder.remove_tree()
    assert len(begun) > (6 if folder.can_be_damaged is False else 15)
    assert begun == sorted(begun)  # first steps that start anew, then a run
    assert begun[-1]


@pytest.mark.thorough
def test_a_start_that_is_killed_while_it_clears_another_starts_anew(folder, sweep):
    def left_over() -> None:
        assert _killed_after(almost, folder, start)
        assert not Ledger(folder).is_begun

    almost = _steps_before_the_end(folder, sweep)
    start = partial(create_run, folder, sweep, "small.toml", cpus=2)
    whole = _lasting(create_run(folder.parent / "whole" / "run", sweep, "small.toml", cpus=2).folder)
    steps, died = 0, True
    while died:
        left_over()
        died = _killed_after(steps, folder, start)
        if not Ledger(folder).is_begun:
            start()
        assert _lasting(folder).keys() >= whole.keys(), f"killed at step {steps}"
        folder.remove_tree()
        steps += 1


def _steps_before_the_end(folder: Location, sweep: Sweep) -> int:
    """Steps of a start before it writes sweep.toml."""
    count, found = 0, []

    def see(event: str, path: str) -> None:
        nonlocal count
        if "sweep.toml" in path and not found and event in ("open", "open_output_stream"):
            found.append(count)
        count += 1

    with _seen_by(see, folder):
        create_run(folder, sweep, "small.toml", cpus=2)
    folder.remove_tree()
    return found[0]


def test_an_extension_that_is_killed_at_any_step_is_made_up_for(folder, sweep):
    def extended(points: int) -> None:
        ledger = Ledger.opened(folder)
        with ledger.locked():
            complete_plan(ledger, extend_run(ledger, points) if points else sweep_of(ledger), [this_node(2)])

    def fresh() -> None:
        folder.remove_tree()
        create_run(folder, sweep, "small.toml", cpus=2)

    fresh()
    extended(5)
    whole = Ledger(folder).plan().sort("trial").collect()
    steps, died = 0, True
    while died:
        fresh()
        died = _killed_after(steps, folder, partial(extended, 5))
        asked = state(Ledger.opened(folder)).planned
        assert asked in (24, 29)
        extended(0)  # as resume does
        with Ledger(folder).locked():
            Ledger(folder).clear_states()
        plan = Ledger(folder).plan().sort("trial").collect()
        assert plan.equals(whole.head(asked)), f"killed at step {steps}"
        assert not [name for name in _content(folder) if name.endswith(".draft")]
        steps += 1
    assert steps > 2


def test_a_start_that_fails_removes_what_it_made_and_nothing_else(folder, sweep, monkeypatch):
    def full(*unused: object, **more: object) -> None:
        (folder / "thesis.txt").write_whole(b"mine")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Ledger, "write_plan", full)
    with pytest.raises(UserError, match="plan and data cannot be written: No space left on device"):
        create_run(folder, sweep, "small.toml", cpus=2)
    assert _content(folder) == {"/thesis.txt": b"mine"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"thesis.txt": b"mine"}, "holds thesis.txt, which no start of a run left"),
        ({"data/measured.npz": b"mine"}, "holds data, which no start of a run left"),
        ({"environment.json": b"{}", "plans/plan-000000.parquet": b""}, "which no start of a run left"),
        ({"environment.json": b'{"gradatlas": "1"}', "results/pack-000000.parquet": b"1"}, "holds results"),
        ({"sweep.toml": b"", "results/pack-000000.parquet": b"1"}, "holds results, and no sweep.toml"),
        ({"sweep.toml": b" \n"}, "holds sweep.toml, which no start of a run left"),
    ],
)
def test_what_no_start_left_is_refused_and_stays(folder, sweep, files, message):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_whole(content)
    before = folder.names(), _content(folder)
    with pytest.raises(UserError, match=message) as refused:
        create_run(folder, sweep, "small.toml", cpus=2)
    assert "remove" not in str(refused.value)
    assert (folder.names(), _content(folder)) == before


def test_an_empty_sweep_file_is_no_run_of_defaults(command, planned_run, spec):
    planned_run.sweep_file.write_text("")
    for name in ("status", "resume"):
        ended = command(name, planned_run.folder)
        assert ended.code == 2
        assert "sweep.toml must tell the sweep, but it is empty, as after a power cut" in ended.err
    create_run(planned_run.folder, load_sweep(spec), "small.toml", cpus=2)  # it had no result
    assert Ledger.opened(planned_run.folder).pending_packs()


def test_a_name_that_was_generated_is_the_next_free_one(folder, sweep):
    made = []
    for _ in range(2):
        with new_run(folder, "small.toml", 2, numbered=True) as ledger:
            made.append(ledger.folder)
            with new_run(folder, "small.toml", 2, numbered=True) as inner:  # while another holds it
                made.append(inner.folder)
                inner.write_sweep("x = 1")
            ledger.write_sweep("x = 1")
    assert [place.name for place in made] == ["run", "run-2", "run-3", "run-4"]
    assert {json.loads((place / "environment.json").read_bytes())["run"] for place in made} == {
        place.name for place in made
    }


def test_runs_that_start_in_one_moment_have_names_of_their_own(folder, sweep, monkeypatch):
    monkeypatch.setattr(lease, "_is_dead", lambda content: False)
    together, made = threading.Barrier(4), []

    def start() -> None:
        together.wait()
        with new_run(folder, "small.toml", 2, numbered=True) as ledger:
            made.append(ledger.folder)
            ledger.write_sweep("x = 1")

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4
    assert all(Ledger(place).is_begun for place in made)


def test_a_lock_whose_file_was_removed_holds_nothing(tmp_path):
    """A folder that was removed and made anew between opening its lock and locking it."""
    folder = location_of(tmp_path / "run")
    flock, others = local.fcntl.flock, []

    def late(file: int, how: int) -> None:
        if not others:  # the last holder removes its folder, and another one makes and holds it
            others.append(location_of(folder).held(take_over=False, make=True))
            (folder / ".lock").unlink()
            folder.rmdir()
            others[0].__enter__()
        flock(file, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.fcntl, "flock", late)
        with pytest.raises(HeldError), folder.held(take_over=False, make=True):
            pass
    others[0].__exit__(None, None, None)
    with folder.held(take_over=False):
        pass


def test_whoever_slept_while_the_run_was_taken_over_writes_and_removes_nothing(folder, sweep, monkeypatch):
    if folder.can_be_damaged:
        pytest.skip("a lock is not taken over")
    monkeypatch.setattr(lease, "_is_dead", lambda content: False)
    monkeypatch.setattr(remote, "Lease", partial(lease.Lease, lives=0.0, renewed=1e6))
    written = {}

    def sleep_through_it() -> None:
        with new_run(folder, "small.toml", 2) as asleep:
            with new_run(folder, "small.toml", 2, take_over=True) as taker:
                taker.write_sweep("x = 1")
            written.update(_content(folder))
            asleep.write_sweep("y = 2")

    with pytest.raises(UserError, match="another process took the run over"):
        sleep_through_it()
    assert _content(folder) == written != {}


# A start in a process of its own that stops before each change and goes on at a line on its standard input.
STOPPING = """
import sys
from pathlib import Path
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store import remote
from gradatlas.sweeps.store.storage import location_of
from tests.sweeps.running import test_starting as tests

folder, sweep = location_of(sys.argv[2]), load_sweep(Path(sys.argv[1]))
reach = remote._filesystem
remote._filesystem = lambda *url: (tests._Store(reach(*url)[0]), reach(*url)[1])

def stop(event, path):
    print(f"before {event} {path}", flush=True)
    sys.stdin.readline()

with tests._seen_by(stop, folder):
    try:
        create_run(folder, sweep, "small.toml", cpus=2)
        print("planned", flush=True)
    except UserError as error:
        print(f"refused: {error}", flush=True)
"""


@contextmanager
def _stopping(spec: Path, folder: Location) -> Iterator[subprocess.Popen[str]]:
    called = [sys.executable, "-c", STOPPING, str(spec), str(folder)]
    root = Path(__file__).parents[3]
    pipe = subprocess.PIPE
    with subprocess.Popen(called, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        try:
            yield process
        finally:
            process.kill()


def _goes_on(process: subprocess.Popen[str]) -> str:
    """Lets it make its next change; where it stops after that, or how it ended."""
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_a_start_that_is_stopped_anywhere_is_neither_removed_nor_run_by_another(
    command, spec, sweep, folder, monkeypatch
):
    monkeypatch.setattr(lease, "_is_dead", lambda content: False)
    with _stopping(spec, folder) as process:
        at = process.stdout.readline().strip()
        while not (".lock" in at or "lease" in at):  # folders above it
            at = _goes_on(process)
        at, windows = _goes_on(process), 0  # it holds the folder
        while at.startswith("before") and not ("lease" in at and Ledger(folder).is_begun):  # its claim goes
            before = _content(folder)
            for more in (), ("--resume",):
                ended = command("run", spec, "--runs", folder.parent, "--name", folder.name, *more)
                assert ended.code == 2, at
                assert _content(folder) == before, at
                assert "remove" not in ended.err
                assert "wait for it or stop it" in ended.err or (Ledger(folder).is_begun and not more), at
            at, windows = _goes_on(process), windows + 1
        while at.startswith("before"):
            at = _goes_on(process)
    assert at == "planned"
    assert windows >= (6 if folder.can_be_damaged is False else 14)
    assert Ledger.opened(folder).pending_packs()


def test_a_start_that_comes_second_touches_nothing_wherever_it_was_stopped(spec, sweep, folder):
    if not folder.can_be_damaged:
        folder.parent.mkdir()
    with _stopping(spec, folder) as process:
        at = process.stdout.readline().strip()
        while not (".lock" in at or "lease" in at):
            at = _goes_on(process)
        with new_run(folder, "small.toml", 2) as first:  # before the other has its lock
            at = _goes_on(process)
            while at.startswith("before"):
                at = _goes_on(process)
            first.write_sweep("x = 1")
        assert at.startswith(f"refused: {folder}: ")
        assert "wait for it or stop it" in at
    assert (folder / "sweep.toml").read_bytes() == b"x = 1"
