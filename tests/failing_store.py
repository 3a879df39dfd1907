"""The store of the tests, made to fail: python -m tests.failing_store PORT.

`PUT /_fail/N` lets every N-th request after it fail with status 503, as a busy S3 does; 0: none.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_ANSWER = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class _Failing:
    """A store of which every `every`-th request fails."""

    def __init__(self) -> None:
        self._store = DomainDispatcherApplication(create_backend_app)
        self._every, self._count = 0, itertools.count(1)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path.startswith("/_fail/"):
            self._every, self._count = int(path.rpartition("/")[2]), itertools.count(1)
            start_response("200 OK", [("Content-Length", "0")])
            return [b""]
        if self._every and next(self._count) % self._every == 0:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            length = ("Content-Length", str(len(_ANSWER)))
            start_response("503 Slow Down", [("Content-Type", "application/xml"), length])
            return [_ANSWER if environ["REQUEST_METHOD"] != "HEAD" else b""]
        answer: Iterable[bytes] = self._store(environ, start_response)
        return answer


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), _Failing(), threaded=True)
