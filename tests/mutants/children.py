"""Tests run in a fork of this process, which has imported the libraries that take long, and not gradatlas."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_LIBRARIES = (
    "torch", "numpy", "scipy.stats", "scipy.optimize", "polars", "pyarrow.parquet", "pyarrow.fs", "pandas",
    "optuna", "pydantic", "typer", "rich.console", "jinja2", "pytest",
)  # fmt: skip
MARKED = "not slow and not cluster"  # the tests of `make test` that need no Ray


def import_libraries() -> None:
    """Makes the forks quick; one thread each, so that the libraries start none before the fork."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name in _LIBRARIES:
        import_module(name)


def copied_checkout(copy: Path) -> Path:
    """The copy, holding what the working tree holds and git does not ignore; what did not change stays."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = {name for name in listed.stdout.split("\0") if name and os.path.lexists(ROOT / name)}
    for name in wanted:
        source, target = ROOT / name, copy / name
        if not target.exists() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    for path in copy.rglob("*"):
        is_ours = path.suffix in (".py", ".toml", ".html", ".md") and ".hypothesis" not in path.parts
        if path.is_file() and is_ours and str(path.relative_to(copy)) not in wanted:
            path.unlink()
    return copy


def run_child(copy: Path, work: Callable[[], int], *, seconds: float, log: Path) -> int | None:
    """The exit code of `work` in a fork whose folder is the copy; None if it took longer.

    All processes that it started and all files in its temporary folder end with it.
    """
    scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
    child = os.fork()
    if child == 0:
        code = 3
        try:
            _settle(copy, scratch, log)
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = _exit_code(child, seconds)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    shutil.rmtree(scratch, ignore_errors=True)
    return code


def _exit_code(child: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _settle(copy: Path, scratch: Path, log: Path) -> None:
    """Makes this process one that began in the copy."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), "TMPDIR": str(scratch)}
    tempfile.tempdir = None
    elsewhere = {"", str(ROOT), os.path.realpath(ROOT)}
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in elsewhere)]
    sys.path_importer_cache.clear()
    for name in list(sys.modules):
        if name.split(".")[0] in ("tests", "gradatlas"):
            del sys.modules[name]


def run_pytest(arguments: Sequence[str], plugin: Any) -> int:
    """pytest's exit code, of the marked tests."""
    import pytest

    assert Path.cwd() != ROOT
    common = ["-q", "-m", MARKED, "-p", "no:xdist", "-p", "no:cacheprovider"]
    return int(pytest.main([*common, *arguments], plugins=[plugin]))
