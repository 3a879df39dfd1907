"""`gradatlas submit`: a run as a job of a Ray cluster, which goes on when this machine is switched off."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

import gradatlas
from gradatlas.sweeps.errors import FAILURE, UserError

if TYPE_CHECKING:
    from gradatlas.sweeps.spec.sweep import Sweep

_PATIENCE = 90.0  # seconds that a cluster's job server may take to be ready


def submit(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name or a sweep file (TOML).")],
    address: Annotated[
        str, typer.Option(metavar="http://HOST:8265", help="The cluster's job server (dashboard).")
    ],
    runs: Annotated[
        str, typer.Option(metavar="DIR", help="A URL, or an absolute folder that all nodes share.")
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the run.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key. Repeatable.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show its log until it ends.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Submit to a cluster that asks for no token.")
    ] = False,
) -> None:
    """Run a sweep on a cluster as a job: code, sweep and data are sent, what they import must be there."""
    from gradatlas.sweeps.planning.impossible import reject_impossible
    from gradatlas.sweeps.running.runs import run_folder
    from gradatlas.sweeps.spec.presets import spec_file
    from gradatlas.sweeps.spec.sweep import load_sweep
    from gradatlas.sweeps.spec.task_files import task_notes

    if "://" not in runs and not Path(runs).is_absolute():
        raise UserError(f"--runs {runs}: must be a URL, or an absolute folder that all nodes share")
    file = spec_file(spec)
    sweep = load_sweep(file, tuple(overrides or ()))
    reject_impossible(sweep, ())
    for note in task_notes(sweep.document):
        print(f"note: {note}", file=sys.stderr)
    folder = run_folder(sweep, file, runs=runs, name=name)
    # The job resumes the run of its name, which no other job of the same second may have.
    name = folder.name if name else f"{folder.name}-{uuid4().hex[:6]}"
    if not insecure:
        _reject_open(address)
    client = _client(address)
    command = f"run sweep.toml --runs {shlex.quote(runs)} --name {name} --resume --take-over --address auto"
    command += " --insecure" * insecure
    with tempfile.TemporaryDirectory(prefix="gradatlas-") as scratch:
        _fill(Path(scratch), sweep, name)
        entrypoint = f"python -m gradatlas {command}"
        job = _submitted(client, address, entrypoint=entrypoint, runtime_env={"working_dir": scratch})
    print(f"job {job}: the run goes to {runs.rstrip('/')}/{name}", flush=True)
    if follow:
        raise typer.Exit(_follow(client, job))
    print(f"its log: ray job logs --address {address} --follow {job}")


def _reject_open(address: str) -> None:
    """Raises UserError for a job server that says of itself that it asks for no token."""
    if not address.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/api/authentication_mode", timeout=10) as answer:
            said = answer.read(1000)
    except (OSError, ValueError, HTTPException):
        return  # it asks already, or is not there, which the submission will find
    if b'"token"' not in said:
        raise UserError(
            f"--address {address}: this cluster asks for no token, so whoever reaches it can run code with "
            "your rights; start it with RAY_AUTH_MODE=token (`gradatlas job` prints how), or submit with "
            "--insecure"
        )


def _client(address: str) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(address)
    except (ImportError, RuntimeError) as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(
            f"--address {address}: jobs cannot be submitted ({said}); this needs pip install 'ray[default]', "
            "and where the cluster wants a token, RAY_AUTH_MODE=token with that token"
        ) from None
    except (ConnectionError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise UserError(f"--address {address}: no job server answers there ({said})") from None


def _submitted(client: Any, address: str, **job: Any) -> str:
    """The job's name; a cluster that has just started takes none for a while, and is asked again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return str(client.submit_job(**job))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                said = str(error).strip().splitlines()[0]
                raise UserError(f"--address {address}: the job was not taken ({said})") from None
        time.sleep(2.0)


def _fill(folder: Path, sweep: Sweep, name: str) -> None:
    """Code, resolved sweep and copies of the user's files: what the job finds in its working directory."""
    from gradatlas.sweeps.spec.sweep import dump_sweep
    from gradatlas.sweeps.spec.task_files import npz_bytes, stored_names

    left_out = shutil.ignore_patterns("__pycache__", "gallery")
    shutil.copytree(Path(gradatlas.__file__).parent, folder / "gradatlas", ignore=left_out)
    stored = stored_names(sweep.document)
    for original, copy in stored.items():
        (folder / copy).parent.mkdir(exist_ok=True)
        (folder / copy).write_bytes(npz_bytes(Path(original)))
    (folder / "sweep.toml").write_text(dump_sweep(sweep, name, stored), encoding="utf-8")


def _follow(client: Any, job: str) -> int:
    """Shows the job's log to its end; 0 if it succeeded."""

    async def show() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    with suppress(KeyboardInterrupt):
        asyncio.run(show())
    status = client.get_job_status(job)
    print(f"job {job}: {str(status.value).lower()}")
    return 0 if status.value == "SUCCEEDED" else FAILURE
