"""`gradatlas job KIND`: what a cluster's own tools need to run a sweep, rendered from the templates here."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from gradatlas.sweeps.errors import UserError

KINDS = {
    "slurm": "slurm.sh",
    "kuberay": "kuberay.yaml",
    "ray": "ray.yaml",
    "machines": "machines.sh",
}

_MOST = 10**6  # nodes, CPUs, GPUs, GiB


def job(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.", show_default=False)],
    spec: Annotated[str, typer.Option(metavar="SPEC", help="A preset's name or a sweep file.")],
    runs: Annotated[str, typer.Option(metavar="DIR", help="A folder that all nodes share, or a URL.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the run.")],
    nodes: Annotated[int, typer.Option(metavar="N", min=1, max=_MOST, help="Nodes, the head included.")] = 2,
    cpus: Annotated[int, typer.Option(metavar="N", min=1, max=_MOST, help="CPUs of each node.")] = 8,
    gpus: Annotated[int, typer.Option(metavar="N", min=0, max=_MOST, help="GPUs of each node.")] = 0,
    memory: Annotated[
        int, typer.Option(metavar="GIB", min=1, max=_MOST, help="GiB of each node (kuberay).")
    ] = 16,
    time: Annotated[str, typer.Option(metavar="TIME", help="Time limit (slurm).")] = "04:00:00",
    setup: Annotated[
        str, typer.Option(metavar="COMMAND", help="Makes `gradatlas` and `ray` callable on a node.")
    ] = "source .venv/bin/activate",
    image: Annotated[
        str, typer.Option(metavar="IMAGE", help="Image with gradatlas installed (kuberay).")
    ] = "gradatlas:latest",
    hosts: Annotated[
        str, typer.Option(metavar="A,B,…", help="Machines, the head first (ray).")
    ] = "head.example,worker.example",
    user: Annotated[str, typer.Option(metavar="USER", help="Who may log in there (ray).")] = "ubuntu",
) -> None:
    """Print a batch script, a manifest or a recipe that runs a sweep on a cluster, and resumes it."""
    given = {"spec": spec, "runs": runs, "time": time, "setup": setup, "image": image, "user": user}
    for option, value in given.items():
        _reject(option, value)
    names = [host.strip() for host in hosts.split(",")]
    for host in names:
        _reject("hosts", host)
    values = {
        "spec": spec,
        "runs": runs,
        "name": _name(name),
        # Of a short path, since Ray's sockets are in it, and the same on all machines.
        "closed": f"/tmp/gradatlas-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        "nodes": nodes,
        "cpus": cpus,
        "gpus": gpus,
        "memory": memory,
        "time": time,
        "setup": setup,
        "image": image,
        "hosts": names,
        "user": user,
        "sweep_text": _sweep_text(spec) if kind == "kuberay" else "",
    }
    print(rendered(kind, values), end="")


def rendered(kind: str, values: dict[str, Any]) -> str:
    """The file of a kind; raises UserError for one that there is none of."""
    if kind not in KINDS:
        raise UserError(f"job {kind}: must be one of {', '.join(KINDS)}")
    import jinja2

    environment = jinja2.Environment(
        autoescape=False,  # shells and YAML: every value goes through `quoted` or `yaml`
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"quoted": lambda value: shlex.quote(str(value)), "yaml": json.dumps}
    return environment.get_template(f"{KINDS[kind]}.jinja").render(values)


# What the values of options look like: they stand in scripts and manifests.
_FORMS = {
    "time": (r"[0-9]+([:-][0-9]+){0,3}", "a time limit as SLURM writes it, for example 04:00:00"),
    "hosts": (r"[A-Za-z0-9\[][A-Za-z0-9.:\]_-]*", "machines' names or addresses, separated by commas"),
    "user": (r"[A-Za-z_][A-Za-z0-9._-]*", "a user's name"),
    "image": (r"[A-Za-z0-9][\w./:@-]*", "an image's name"),
}
_ANY = (r"[^\x00-\x1f\x7f]+", "one line that is not empty")


def _reject(option: str, value: str) -> None:
    form, words = _FORMS.get(option, _ANY)
    if not re.fullmatch(form, value):
        raise UserError(f"--{option}: must be {words}, but got {value!r}")


def _name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?", name):
        raise UserError(f"--name: must be up to 42 of a-z, 0-9 and '-' inside, but got {name!r}")
    return name


def _sweep_text(spec: str) -> str:
    from gradatlas.sweeps.spec.document import spec_text
    from gradatlas.sweeps.spec.presets import spec_file
    from gradatlas.sweeps.spec.sweep import load_sweep

    file = spec_file(spec)
    load_sweep(file)
    return spec_text(file)
