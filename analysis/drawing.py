"""Figures of a report, drawn in processes of their own: `python -m analysis.drawing JOB NAME…`.

Drawing is most of a report's time and runs on one core, so the figures are shared out. A job is a folder
with `trials.parquet` (the labelled trials that the figures show) and `job.json` (the limits and where files
go); each figure leaves its files, a `NAME.json` with what the report says of it, and its name on standard
output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from analysis.figures import FIGURES, Drawing, Plot, save
from analysis.figures.theme import NARROW, WIDE
from study.regimes import Limits

Say = Callable[[str], None]


def draw_figure(
    plot: Plot, trials: pl.LazyFrame, limits: Limits, folder: Path, scratch: Path
) -> dict[str, Any]:
    """What the report needs of a figure; writes its files: wide SVG and PNG, narrow SVG in `scratch`."""
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
        "absent": "",
        "reading": plot.reading(table, limits),
        "alt": plot.alt(table, limits),
        "wide": {"file": str(files[0]), "width": round(wide[0]), "height": round(wide[1])},
        "narrow": {"file": str(phone), "width": round(narrow[0]), "height": round(narrow[1])},
    }


def draw_figures(
    trials: pl.DataFrame, limits: Limits, folder: Path, scratch: Path, *, workers: int, say: Say
) -> dict[str, dict[str, Any]]:
    """`draw_figure` of every figure, in this process or in `workers` others."""
    if workers <= 1:
        found = {}
        for name, plot in FIGURES.items():
            found[name] = draw_figure(plot, trials.lazy(), limits, folder, scratch)
            say(_said(name))
        return found
    trials.write_parquet(scratch / "trials.parquet", compression="lz4")
    (scratch / "job.json").write_text(json.dumps({"limits": asdict(limits), "folder": str(folder)}))
    shares = [list(FIGURES)[place::workers] for place in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda names: _run_worker(scratch, names, say), shares))
    return {name: json.loads((scratch / f"{name}.json").read_text(encoding="utf-8")) for name in FIGURES}


def _said(name: str) -> str:
    return f"drew {name.replace('_', ' ')}"


def _run_worker(scratch: Path, names: Sequence[str], say: Say) -> None:
    root = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "analysis.drawing", str(scratch), *names]
    environment = os.environ | {"PYTHONPATH": paths}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        for line in worker.stdout:
            say(_said(line.strip()))
        errors = worker.stderr.read()
    if worker.returncode:
        raise RuntimeError(
            f"a process that draws figures ended with {worker.returncode}: {errors.strip()[-2000:]}"
        )


def _work(scratch: Path, names: Sequence[str]) -> Iterator[str]:
    job = json.loads((scratch / "job.json").read_text())
    trials = pl.read_parquet(scratch / "trials.parquet").lazy()
    for name in names:
        found = draw_figure(FIGURES[name], trials, Limits(**job["limits"]), Path(job["folder"]), scratch)
        (scratch / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
        yield name


if __name__ == "__main__":
    for done in _work(Path(sys.argv[1]), sys.argv[2:]):
        print(done, flush=True)
