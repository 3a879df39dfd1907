"""A store that speaks S3 over HTTP on the loopback, in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradatlas.sweeps.store import remote

_KEYS = {
    "AWS_ACCESS_KEY_ID": "tests",
    "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-store",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def store_served() -> Iterator[dict[str, str]]:
    """The environment variables that reach a new, empty store with the bucket `bucket`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.failing_store", str(port)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 120
    try:
        while not _has_made_bucket(url):
            assert time.monotonic() < deadline, "no store within two minutes"
            assert process.poll() is None, "the store ended"
            time.sleep(0.1)
        remote._filesystem.cache_clear()  # of the stores that other tests had under these names
        yield {**_KEYS, "AWS_ENDPOINT_URL": url}
    finally:
        process.kill()
        process.wait()


def _has_made_bucket(url: str) -> bool:
    request = urllib.request.Request(f"{url}/bucket", method="PUT", data=b"")
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def let_fail(every: int) -> None:
    """Lets every `every`-th request to the store that the environment names fail; 0: none."""
    url = os.environ["AWS_ENDPOINT_URL"]
    request = urllib.request.Request(f"{url}/_fail/{every}", method="PUT", data=b"")
    with urllib.request.urlopen(request, timeout=5):
        pass
