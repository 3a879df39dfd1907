"""What a run shows: counts and times by hand, and a JSON object a line."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from gradatlas.sweeps.command import display
from gradatlas.sweeps.command.display import Display, JsonLines, Tally
from gradatlas.sweeps.planning.machine import CpuUse, memory_bytes, memory_of_pack, this_node


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _report(pack: str, progress: float, *, cost: float = 5.0, **more: object) -> dict:
    return {"pack": pack, "trials": 10, "cost": cost, "progress": progress, "done": False, **more}


def _done(pack: str, *, cost: float = 5.0, failed: tuple[str, ...] = ()) -> dict:
    counts = {"regimes": {"stable": 10}, "outcomes": {"learned": 9, "stalled": 1}, "failed": failed}
    return {**_report(pack, 1.0, cost=cost), "done": True, **counts}


def test_rates_count_packs_in_hand_by_their_share_and_time_left_goes_by_cost():
    clock = Clock()
    tally = Tally(100, 40, cost=30.0, clock=clock)
    clock.now += 50  # Ray starts
    tally.started()
    assert (tally.trials_per_second(), tally.seconds_left()) == (None, None)
    clock.now += 4
    tally.reported(_report("a", 0.2))
    tally.reported(_report("b", 0.4, cost=10.0))
    assert tally.trials_per_second() == (2 + 4) / 4
    assert tally.seconds_left() == 4 * (30 - 5) / 5
    clock.now += 4
    tally.reported(_done("a"))
    assert tally.done == 50
    assert tally.trials_per_second() == (10 + 4) / 8
    assert tally.seconds_left() == 8 * (30 - 9) / 9
    assert tally.line() == "50/100 trials; 1.8 trials/s, 0:19 left; 10 stable, 9 learned, 1 stalled"


def test_a_pack_that_was_left_or_failed_counts_no_trials():
    tally = Tally(20, 0, cost=10.0, clock=Clock())
    tally.reported(_report("a", 0.5))
    tally.reported({**_report("a", 0.0), "done": True, "left": True})
    tally.reported({**_report("b", 0.0), "done": True, "failure": "No space left", "no_room": True})
    tally.reported(_done("c", failed=("ValueError: no",)))
    assert tally.done == 10
    assert list(tally.failures) == ["b: No space left", "c: ValueError: no"]


def test_a_log_gets_a_line_when_it_is_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(display, "_LINE_INTERVAL", 0.0)
    out = io.StringIO()
    with Display(20, 0, 10.0, Console(file=out, width=200)) as shown:
        shown.started()
        shown.reported(_done("a"))
        shown.tick()
        assert out.getvalue().startswith("10/20 trials; ")
    assert len(out.getvalue().splitlines()) == 2


def test_a_log_says_what_failed_once_and_which_packs_start_again():
    out = io.StringIO()
    with Display(30, 0, 10.0, Console(file=out, width=200)) as shown:
        for pack in ("a", "b"):
            shown.reported(_done(pack, failed=("ValueError: [bold]no",)))
        shown.reported({**_report("c", 0.0), "done": True, "failure": "No space left", "no_room": True})
        shown.restarted("d")
    assert out.getvalue().splitlines()[:-1] == [
        "a: failed: ValueError: [bold]no",
        "c: failed: No space left",
        "d: its worker died; the pack goes on where it was saved",
    ]


@pytest.mark.parametrize(
    ("cost", "words"), [(10.0, "0:05 left"), (1445.0, "24:00 left"), (86405.0, "24:00:00 left")]
)
def test_the_time_left_is_minutes_or_hours(cost, words):
    clock = Clock()
    tally = Tally(100, 0, cost=cost, clock=clock)
    tally.started()
    clock.now += 5
    tally.reported(_done("a"))
    assert tally.pace() == f"2.0 trials/s, {words}"


def test_a_run_that_stops_says_so_at_once_and_once():
    log, terminal = io.StringIO(), io.StringIO()
    with Display(20, 0, 10.0, Console(file=log, width=200)) as shown:
        shown.tick()
        for _ in range(2):
            shown.tick(stopping=True)
    assert log.getvalue().splitlines()[0] == "stopping: saving packs …"
    assert log.getvalue().count("stopping") == 1
    with Display(20, 0, 10.0, Console(file=terminal, width=100, force_terminal=True)) as shown:
        shown.tick(stopping=True)
        shown.reported(_done("a"))
        shown._live.refresh()  # type: ignore[union-attr]
    last = terminal.getvalue().split("trials")[-1]
    assert "10/20" in last
    assert "stopping: saving packs" in last


@pytest.mark.parametrize("width", [60, 100])
def test_a_narrow_terminal_has_whole_numbers_and_room_for_the_echo_of_ctrl_c(width):
    out = io.StringIO()
    with Display(2048, 0, 10.0, Console(file=out, width=width, force_terminal=True)) as shown:
        shown.reported(_done("a", failed=("ValueError: " + 20 * "long ",)))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= width - 2
    assert any("10/2048" in line and " left" in line for line in lines)


def test_a_pack_that_starts_again_has_not_failed():
    out = io.StringIO()
    with Display(20, 0, 10.0, Console(file=out, width=100, force_terminal=True)) as shown:
        shown.restarted("a")
    assert "restarted a: its worker died" in out.getvalue()
    assert "failed" not in out.getvalue()


def test_a_terminal_sees_counts_use_and_the_last_failures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(display, "_USE_INTERVAL", 0.0)
    out = io.StringIO()
    with Display(20, 0, 10.0, Console(file=out, width=100, force_terminal=True)) as shown:
        shown.reported(_done("a", failed=("ValueError: [bold]no",)))
        shown._use._cpu = type("Half", (), {"share": lambda self: 0.5})()  # type: ignore[assignment]
        shown.tick()
    seen = out.getvalue()
    for text in ("10/20", "10 stable", "9 learned", "CPU 50 %", "a: ValueError: [bold]no"):
        assert text in seen


def test_every_event_is_one_json_object_with_its_documented_keys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(display, "_LINE_INTERVAL", 0.0)
    lines: list[str] = []
    with JsonLines(20, 0, 10.0, lines.append) as shown:
        shown.started()
        shown.reported(_report("a", 0.5))
        shown.reported(_done("a", failed=("ValueError: a\nb",)))
        shown.reported({**_report("b", 0.0), "done": True, "failure": "No space", "no_room": True})
        shown.restarted("b")
        shown.tick()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == [
        "workers",
        "pack",
        "failure",
        "failure",
        "restart",
        "progress",
        "progress",
    ]
    assert set(events[1]) == {"event", "pack", "done", "trials", "regimes", "outcomes"}
    assert events[3] == {"event": "failure", "pack": "b", "reason": "No space"}
    assert set(events[5]) == {
        *("event", "done", "planned", "trials_per_second", "seconds_left", "regimes", "outcomes"),
        *("cpu", "gpu"),
    }
    assert not any("\n" in line for line in lines)


def test_cpu_use_is_the_busy_share_of_the_ticks_between(tmp_path: Path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2\n")
    use = CpuUse(stat)
    stat.write_text("cpu  160 0 60 820 60 0 0 0 0 0\ncpu0 1 2\n")
    assert use.share() == pytest.approx(70 / 100)
    assert use.share() is None  # no tick in between
    assert CpuUse(tmp_path / "none").share() is None


def test_a_packs_memory_is_its_share_of_what_there_is():
    assert 2**28 < memory_bytes() < 2**50
    two, four = (memory_of_pack(this_node(4), workers, gpus_per_pack=0.0) for workers in (2, 4))
    assert two > four
    assert 4 * (four + 2**29) == pytest.approx(2 * (two + 2**29))
