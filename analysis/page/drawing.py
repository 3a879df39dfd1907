"""Figures of a report, drawn in processes of their own.

Drawing is most of a report's time and runs on one core, so figures are shared out. A process imports what
drawing needs, which takes seconds, says on standard output which figures there are, and draws each one whose
name it reads. By then the job, a folder, holds `trials.parquet` (the labelled trials that the figures show)
and `job.json` (the limits and where files go); each figure leaves its files and a `NAME.json` with what the
report says of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import polars as pl

import gradatlas
from gradatlas.study.regimes import Limits

if TYPE_CHECKING:
    from gradatlas.analysis.figures.plot import Plot

Say = Callable[[str], None]

# Without the working directory, in which a user's files may bear any name (-P), and with the folder that
# gradatlas is in, last of all: the code of a job on a cluster is not installed.
_PROGRAM = """
import sys
from pathlib import Path
sys.path.append(sys.argv[1])
from gradatlas.analysis.page.drawing import work
work(Path(sys.argv[2]))
"""


def draw_figure(
    plot: Plot, trials: pl.LazyFrame, limits: Limits, folder: Path, scratch: Path
) -> dict[str, Any]:
    """What the report needs of a figure; writes its files: wide SVG and PNG, narrow SVG in `scratch`."""
    from gradatlas.analysis.figures.plot import Drawing, save
    from gradatlas.analysis.figures.theme import NARROW, WIDE

    files = [folder / f"{plot.name}.{suffix}" for suffix in ("svg", "png")]
    for file in files:
        file.unlink(missing_ok=True)
    table = plot.table(trials, limits)
    told = {"name": plot.name, "title": plot.title, "section": plot.section}
    if table.is_empty():
        return told | {"absent": plot.absent}
    phone = scratch / f"{plot.name}-narrow.svg"
    wide = save(plot, Drawing(table, limits, WIDE), files)
    narrow = save(plot, Drawing(table, limits, NARROW), [phone])
    return told | {
        "title": plot.heading(table, limits),
        "absent": "",
        "reading": plot.reading(table, limits),
        "alt": plot.alt(table, limits),
        "wide": {"file": str(files[0]), "width": round(wide[0]), "height": round(wide[1])},
        "narrow": {"file": str(phone), "width": round(narrow[0]), "height": round(narrow[1])},
    }


class FigureProcess:
    """A process that draws figures; `names` waits until it is ready and tells which there are."""

    def __init__(self, job: Path, number: int) -> None:
        self._errors = job / f"errors-{number}.txt"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(Path(gradatlas.__file__).parents[1]), str(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                # Beside others on the same cores a process is fastest with one thread.
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    @cached_property
    def names(self) -> list[str]:
        """The names of the figures that the process draws, in the report's order."""
        return list(json.loads(self._answer()))

    def draw(self, name: str) -> None:
        """Draws a figure of the job; raises RuntimeError where that fails, ValueError where there is none."""
        assert self._process.stdin is not None
        if name not in self.names:
            raise ValueError(f"name: must be a figure ({', '.join(self.names)}), but got {name!r}")
        try:
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: there is no answer, and the reason is told
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._errors.read_text(encoding="utf-8", errors="replace").strip()
            raise RuntimeError(
                f"a process that draws figures ended with {self._process.wait()}: {said[-2000:]}"
            )
        return line

    def stop(self) -> None:
        """Ends the process, also while it draws."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def figure_processes(job: Path, workers: int) -> Iterator[list[FigureProcess]]:
    """Processes that get ready while other work is done; none for `workers` <= 1."""
    processes = [FigureProcess(job, number) for number in range(workers)] if workers > 1 else []
    try:
        yield processes
    finally:
        for process in processes:
            process.stop()


def draw_figures(
    trials: pl.DataFrame, limits: Limits, folder: Path, job: Path, *, processes: list[FigureProcess], say: Say
) -> dict[str, dict[str, Any]]:
    """`draw_figure` of every figure, by the processes or, without any, in this process."""
    if not processes:
        return _drawn_here(trials, limits, folder, job, say)
    trials.write_parquet(job / "trials.parquet", compression="lz4")
    (job / "job.json").write_text(json.dumps({"limits": asdict(limits), "folder": str(folder)}))
    names = processes[0].names
    waiting: SimpleQueue[str] = SimpleQueue()
    for name in names:
        waiting.put(name)
    with ThreadPoolExecutor(len(processes)) as pool:
        list(pool.map(lambda process: _keep_busy(process, waiting, say), processes))
    return {name: json.loads((job / f"{name}.json").read_text(encoding="utf-8")) for name in names}


def _keep_busy(process: FigureProcess, waiting: SimpleQueue[str], say: Say) -> None:
    while True:
        try:
            name = waiting.get_nowait()
        except Empty:
            return
        process.draw(name)
        say(_said(name))


def _drawn_here(
    trials: pl.DataFrame, limits: Limits, folder: Path, job: Path, say: Say
) -> dict[str, dict[str, Any]]:
    from gradatlas.analysis.figures import registry

    found = {}
    for name, plot in registry.FIGURES.items():
        found[name] = draw_figure(plot, trials.lazy(), limits, folder, job)
        say(_said(name))
    return found


def _said(name: str) -> str:
    return f"drew {name.replace('_', ' ')}"


def work(job: Path) -> None:
    """Draws the figures of a job that standard input names, until it ends; what `_PROGRAM` runs."""
    from gradatlas.analysis.figures.registry import FIGURES

    print(json.dumps(list(FIGURES)), flush=True)
    for line in sys.stdin:
        name = line.strip()
        told = json.loads((job / "job.json").read_text())
        trials = pl.read_parquet(job / "trials.parquet", glob=False).lazy()
        found = draw_figure(FIGURES[name], trials, Limits(**told["limits"]), Path(told["folder"]), job)
        (job / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
        print(name, flush=True)
