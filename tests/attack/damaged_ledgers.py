"""Damages of a finished run folder. A line more is a damage more: its name, and a function of the folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

Damage = Callable[[Path], None]

_FILES = ("results/pack-000001.parquet", "plans/plan-000000.parquet", "sweep.toml", "environment.json")


def _cut(name: str, share: float, run: Path) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: int(len(content) * share)])


def _flip(name: str, share: float, run: Path) -> None:
    content = bytearray((run / name).read_bytes())
    content[int(len(content) * share)] ^= 0x41
    (run / name).write_bytes(content)


def _other(name: str, kind: str, run: Path) -> None:
    (run / name).unlink()
    if kind == "folder":
        (run / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "circle":
        (run / name).symlink_to(run / name)
    elif kind == "text":
        (run / name).write_text("not what it was\n" * 20)
    elif kind == "deep":
        (run / name).write_text("[" * 100_000)
    elif kind == "another":
        shutil.copy(run / "results/pack-000000.parquet", run / name)


def _added(name: str, original: str, run: Path) -> None:
    shutil.copy(run / original, run / name)


DAMAGES: dict[str, Damage] = {
    **{
        f"{name} cut at {share}": partial(_cut, name, share)
        for name in _FILES
        for share in (0, 0.25, 0.5, 0.99)
    },
    **{
        f"{name} flipped at {share}": partial(_flip, name, share)
        for name in _FILES[:2]
        for share in (0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9999)
    },
    **{
        f"{name} is {kind}": partial(_other, name, kind)
        for name in _FILES
        for kind in ("gone", "folder", "pipe", "circle", "text", "deep", "another")
    },
    "a copy": partial(_added, "results/copy of pack.parquet", _FILES[0]),
    "the plan twice": partial(_added, "plans/plan-000001.parquet", _FILES[1]),
    "a name that is not UTF-8": partial(_added, os.fsdecode(b"results/\xff.parquet"), _FILES[0]),
}  # fmt: skip
