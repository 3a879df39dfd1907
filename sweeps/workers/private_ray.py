"""What keeps a run's own Ray from the other accounts of its machine: a private folder and a token.

Every account of a machine reaches its loopback, and Ray runs any code that reaches its ports: so whoever
connects must show a token, which stands in a folder that is closed to others. Ray's sockets and logs, which
it leaves open to all, are in the same folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import _raylet
from ray.exceptions import AuthenticationError
from ray.tune.execution import class_cache

from gradatlas.sweeps.errors import UserError

_core: Any = _raylet  # which has no types

# Tune would copy the cloud's keys out of the environment into its actors' settings, which Ray logs. Workers
# have the environment of their node.
class_cache.ENV_VARS_TO_PROPAGATE.clear()

PREFIX = "gradatlas-ray-"  # 8 characters of chance follow

# The path of a socket may have 107 bytes, of which Ray's part takes 64 where processes have 7-digit numbers:
# /session_2026-01-31_12-00-00_000000_1234567/sockets/plasma_store.
_LONGEST = 43

_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_ANSWER_SECONDS = 10


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder that no other account can look into, of a path short enough for Ray's sockets.

    It is locked as long as this process lives; those of this account that are not, which killed processes
    left, are removed first. Raises UserError where no such folder can be made.
    """
    folder, lock = _made()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    """A new private folder and the descriptor that holds its lock."""
    said = (tempfile.gettempdir(), "/tmp", "/var/tmp", os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm")
    reasons = []
    for parent in dict.fromkeys(said):
        if not parent or len(os.fsencode(parent)) > _LONGEST - len(f"/{PREFIX}12345678/r"):
            continue
        try:
            _remove_abandoned(Path(parent))
            return _locked(parent)
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror or error}")
    raise UserError(
        f"no temporary folder for Ray can be made ({'; '.join(reasons)}); set TMPDIR to a folder that can be "
        f"written, of at most {_LONGEST - len(f'/{PREFIX}12345678/r')} characters"
    )


def _locked(parent: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # of mode 0700 whatever the umask
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process took it for abandoned
            continue
        with suppress(OSError):  # on a file system without locks it is never taken for abandoned either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Removes the private folders of this account that no living process holds."""
    for folder in parent.glob(f"{PREFIX}????????"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # its process lives
        finally:
            os.close(lock)


def is_of_this_account(address: str) -> bool:
    """Whether a Ray process of this account, on this machine, is part of the cluster at HOST:PORT."""
    named = address.encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.geteuid() and named in (process / "cmdline").read_bytes():
                return True
        except OSError:  # it has ended
            continue
    return False


@contextmanager
def own_token(file: Path) -> Iterator[None]:
    """A new token in this file, asked for by the Ray that this process starts and shown by its processes.

    Its path alone is in the environment, and the token of a cluster, if one was there, is not.
    """
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as opened:
        opened.write(secrets.token_hex(32))
    with _authentication(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(file)):
        yield


@contextmanager
def _authentication(**variables: str) -> Iterator[None]:
    """Ray's variables of authentication in the place of those that are set, read anew by its core."""
    before = {name: os.environ.pop(name, None) for name in _VARIABLES}
    os.environ.update(variables)
    read_authentication()
    try:
        yield
    finally:
        for name in _VARIABLES:
            os.environ.pop(name, None)
        os.environ.update({name: value for name, value in before.items() if value is not None})
        read_authentication()


def read_authentication() -> None:
    """Lets Ray's core, which reads them once, see the variables of authentication as they are now."""
    _core.Config.initialize("")
    _core.AuthenticationTokenLoader.instance().reset_cache()


def is_open(address: str) -> bool:
    """Whether a cluster, HOST:PORT, answers somebody without a token; raises OSError where none answers."""
    with _authentication(RAY_AUTH_MODE="disabled"):
        try:
            client = _core.GcsClient(address=address)
            client.internal_kv_exists(b"session_name", b"session", timeout=_ANSWER_SECONDS)
        except AuthenticationError:
            return False
        except Exception as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise OSError(said) from None
    return True
