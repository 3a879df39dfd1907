"""The Ray that a run is on: one of its own on this machine, or an existing cluster that it joins.

Whoever reaches Ray's ports runs any code there. A run's own Ray listens on the loopback alone and asks for a
token that no other account has; a cluster that others made is joined with the token that the environment
gives, and one that asks for none only where the user says so.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

# Before Ray is imported: Tune's own tables, loggers and saved states would only repeat what the ledger holds,
# and Ctrl-C is ours to handle.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray
from ray._private import ray_constants
from ray._private.services import canonicalize_bootstrap_address
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import gradatlas
from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.planning.machine import Node, gpu_count, gpu_memory_bytes, memory_bytes, memory_of_pack
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.storage import location_of
from gradatlas.sweeps.workers.private_ray import (
    is_of_this_account,
    is_open,
    own_token,
    private_folder,
    read_authentication,
)

_OBJECT_STORE = 100 * 2**20  # bytes; nothing travels through it, Ray would take 30 % of the memory
_ANSWER_SECONDS = 120.0  # within which a node must answer; importing torch there takes some of them

# Variables that give Ray's processes, and our code in them, paths which may be relative.
_PATHS = {
    "PYTHONPATH", "TMPDIR", "RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH", "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS",
}  # fmt: skip


@contextmanager
def own_ray(cpus: int) -> Iterator[None]:
    """A Ray of this process, which listens on the loopback and which no other account can use."""
    with _no_other_machines(), private_folder() as folder, own_token(folder / "token"):
        try:
            with _started_from(folder):
                ray.init(
                    address="local",  # RAY_ADDRESS may name a cluster that was not asked for
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    object_store_memory=_OBJECT_STORE,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(folder / "r"),  # Ray opens its own folder to all
                )
            yield
        finally:
            ray.shutdown()


@contextmanager
def _no_other_machines() -> Iterator[None]:
    """Lets Ray's processes think that they are on a system without clusters.

    Elsewhere it takes 127.0.0.1 for the machine's address in the network, and listens on all of them.
    """
    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    said = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(name)
        if said is not None:
            os.environ[name] = said


@contextmanager
def joined(address: str, *, insecure: bool = False) -> Iterator[None]:
    """An existing cluster, "auto" or HOST:PORT; raises UserError where there is none that can be joined.

    Its nodes get this code by way of the cluster (`py_modules`); what it imports must be installed there.
    `insecure`: also one that asks nobody for a token.
    """
    reject_bad_address(address)
    _reject_silence(address)
    _find_token()
    _reject_untrusted(address, insecure=insecure)
    with private_folder() as folder:
        _join(address, folder)
        try:
            yield
        finally:
            ray.shutdown()


def _join(address: str, folder: Path) -> None:
    try:
        with _started_from(folder):
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": [str(Path(gradatlas.__file__).parent)]},
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"--address {address}: no Ray cluster can be joined there ({said}); is it up (`ray status`), and "
            "are RAY_AUTH_MODE and the token the same here as there?"
        ) from None


def _reject_untrusted(address: str, *, insecure: bool) -> None:
    """Raises UserError where a cluster asks for no token, or where "auto" found another account's."""
    named = canonicalize_bootstrap_address(address)
    if named is None:
        return  # Ray says that it found none
    if address == "auto" and not os.environ.get("RAY_ADDRESS") and not is_of_this_account(named):
        raise UserError(
            f"--address auto: found {named}, which is not this account's and would get your code "
            f"and your token; if you trust it, say --address {named}"
        )
    if insecure:
        return
    try:
        asks_nobody = is_open(named)
    except OSError as error:
        raise UserError(f"--address {address}: no Ray cluster can be joined there ({error})") from None
    if asks_nobody:
        raise UserError(
            f"--address {address}: this cluster asks for no token, so whoever reaches it can run code with "
            "your rights; start it with RAY_AUTH_MODE=token (`gradatlas job` prints how), or join it with "
            "--insecure"
        )


@contextmanager
def _started_from(folder: Path) -> Iterator[None]:
    """Makes an empty folder the working directory while Ray starts.

    Ray puts the folder in which it was started first on its workers' `sys.path`, before the standard library:
    in a user's own, which may hold a random.py or a torch.py, every worker would die at once. Only code that
    is not installed and was started in its own folder is found by way of that folder.
    """
    if Path(gradatlas.__file__).resolve().parents[1] == Path.cwd():
        yield
        return
    for name in _PATHS & os.environ.keys():
        os.environ[name] = absolute(os.environ[name])
    (folder / "empty").mkdir()
    with chdir(folder / "empty"):
        yield


def absolute(paths: str) -> str:
    """A variable's paths, relative ones made those of the working directory, nothing left as it is.

    "PYTHONPATH=:/x" has such a nothing before the colon, which a process takes for the folder it is in.
    """
    return os.pathsep.join(path and os.path.abspath(path) for path in paths.split(os.pathsep))


def reject_bad_address(address: str) -> None:
    """Raises UserError for what is no address of a cluster that this machine is part of."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise UserError(
            f"--address {address}: Ray's client would keep the driver on this machine and lose the run with "
            "it; submit the run to the cluster instead: gradatlas submit SPEC --address http://HOST:8265"
        )
    if address != "auto" and not (host and port.isdecimal() and "/" not in host):
        raise UserError(f"--address {address}: must be auto or HOST:PORT, for example 10.0.0.1:6379")


def _reject_silence(address: str) -> None:
    """Raises UserError at once where nothing listens; Ray would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address {address}: no Ray cluster can be joined there ({error})") from None


def _find_token() -> None:
    """Turns token authentication on where a token is there and nothing was said: Ray does so for "auto"."""
    there = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if there or Path("~/.ray/auth_token").expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    read_authentication()


def all_nodes() -> list[dict[str, Any]]:
    """Ray's nodes, also those that died."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return found


def alive_nodes() -> list[dict[str, Any]]:
    """Ray's nodes that live and can work."""
    return [node for node in all_nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def nodes() -> list[Node]:
    """What Ray may use of each node, its memory as the node itself sees it."""
    found = alive_nodes()
    seen = on_each_node(_memory, [node["NodeID"] for node in found])
    return [
        Node(int(node["Resources"]["CPU"]), int(node["Resources"].get("GPU", 0)), memory, gpu_memory)
        for node, (memory, gpu_memory) in zip(found, seen, strict=True)
    ]


def memory_of_worker(gpus: float, cpus: int) -> float:
    """Bytes that a pack may take with the worker that asks, which has so many GPUs and CPUs of its node."""
    name = ray.get_runtime_context().get_node_id()
    node_cpus = next(int(node["Resources"]["CPU"]) for node in all_nodes() if node["NodeID"] == name)
    here = Node(node_cpus, int(gpus > 0), *_memory())
    return memory_of_pack(here, max(1, node_cpus // cpus), gpus_per_pack=gpus)


def _memory() -> tuple[int, int]:
    return memory_bytes(), gpu_memory_bytes() if gpu_count() else 0


def on_each_node(ask: Callable[..., Any], ids: Sequence[str], *arguments: Any) -> list[Any]:
    """What a function returns on each node; raises UserError where one does not answer."""
    asked = ray.remote(num_cpus=0, max_retries=0)(ask)
    answers = [
        asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(*arguments)
        for name in ids
    ]
    try:
        return ray.get(answers, timeout=_ANSWER_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(
            f"--address: a node of the cluster cannot run gradatlas ({said}); its Python must be this one's, "
            "with the same packages"
        ) from None


def reject_unshared_folder(ledger: Ledger) -> None:
    """Raises UserError where a node does not see the run folder; the driver's name in it is the proof."""
    found = alive_nodes()
    seen = on_each_node(_driver_seen, [node["NodeID"] for node in found], str(ledger.folder.resolve()))
    blind = [
        node["NodeManagerHostname"] for node, name in zip(found, seen, strict=True) if name != ledger.driver()
    ]
    if blind:
        raise UserError(
            f"{ledger.folder}: must be a folder that all nodes share, but {', '.join(sorted(set(blind)))} "
            "does not see it; take a shared folder or a URL for --runs, for example s3://bucket/runs"
        )


def _driver_seen(run: str) -> str | None:
    try:
        return Ledger(location_of(run)).driver()
    except OSError as error:
        return f"{type(error).__name__}"
