"""A run's own Ray, which asks nobody for a token, is reached from this machine alone."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.faults import descendants

pytestmark = pytest.mark.cluster

_LISTENS = "0A"  # in the kernel's tables


def _sockets(pid: int) -> set[str]:
    """The inodes of a process' sockets."""
    names = set()
    for file in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            names.add(os.readlink(file))
        except OSError:  # closed by now
            continue
    return {name[len("socket:[") : -1] for name in names if name.startswith("socket:[")}


def _listening(pids: list[int]) -> Iterator[tuple[str, int]]:
    """Address and port of the sockets on which processes wait for others."""
    own = {inode for pid in pids for inode in _sockets(pid)}
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS and inode in own:
                address, port = local.split(":")
                words = bytes.fromhex(address)
                turned = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                yield socket.inet_ntop(family, turned), int(port, 16)


def _is_loopback(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def test_nothing_of_a_runs_own_ray_listens_to_other_machines():
    import ray

    from gradatlas.sweeps.workers.cluster import own_ray

    with own_ray(1):
        assert ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid()  # a worker is there
        heard = list(_listening([os.getpid(), *descendants(os.getpid())]))
    assert len(heard) >= 5
    assert [place for place in heard if not _is_loopback(place[0])] == []
