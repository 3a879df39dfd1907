"""What another account of the machine tries on a run's Ray: prints, as JSON, what it could do.

    python other_account.py GCS_ADDRESS FOLDER

As root, which becomes the account "nobody" once Ray is imported.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import _raylet

_NOBODY = 65534
_core: Any = _raylet


def _as(mode: str, token: str) -> None:
    os.environ.update(RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN=token)
    _core.Config.initialize("")
    _core.AuthenticationTokenLoader.instance().reset_cache()


def _attempts(address: str) -> dict[str, Callable[[], object]]:
    def client() -> Any:
        return _core.GcsClient(address=address)

    return {
        "list the pickled functions": lambda: client().internal_kv_keys(b"", b"fun", timeout=5),
        "read one": lambda: client().internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=5),
        "replace one": lambda: client().internal_kv_put(b"planted", b"by nobody", True, b"fun", timeout=5),
        "list nodes": lambda: client().get_all_node_info(timeout=5),
    }


def _opened(folder: Path) -> list[str]:
    """Files and folders that can be read, and sockets that can be connected to."""
    known = (folder, folder / "r", folder / "r" / "session_latest", folder / "token")
    found = [f"read {path.name}" for path in known if os.access(path, os.R_OK)]
    for below, _, names in os.walk(folder):
        for path in (Path(below, name) for name in names):
            if stat.S_ISSOCK(path.lstat().st_mode):
                with socket.socket(socket.AF_UNIX) as tried:
                    if tried.connect_ex(str(path)) == 0:
                        found.append(f"connect to {path.name}")
    return found


def main(address: str, folder: Path) -> None:
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    done = _opened(folder)
    for mode, token in (("disabled", ""), ("token", "f" * 64)):
        _as(mode, token)
        for name, attempt in _attempts(address).items():
            try:
                attempt()
                done.append(f"{name} ({mode})")
            except Exception as error:
                print(f"{name} ({mode}): {type(error).__name__}: {error}", file=sys.stderr)
    print(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
