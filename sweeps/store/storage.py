"""Which location a path or a URL names. The only module that asks of what kind a location is."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gradatlas.sweeps.errors import UserError, masked
from gradatlas.sweeps.store.local import Local
from gradatlas.sweeps.store.location import Location

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")


def location_of(named: str | Path | Location) -> Location:
    """The location that a path or a URL names; raises UserError for a URL that is none of ours."""
    if isinstance(named, Path):
        return Local(named)
    return _parsed(named) if isinstance(named, str) else named


def _parsed(text: str) -> Location:
    if not _URL.match(text):
        return Local(text)
    url = urlsplit(text)
    if url.scheme == "file":
        return Local(unquote(url.path))
    if url.scheme not in SCHEMES:
        raise UserError(f"{text}: must be a folder or a URL of file, {', '.join(SCHEMES)}")
    if masked(text) != text:
        raise UserError(
            f"{masked(text)}: must hold no keys, since it is written down and shown; give them in the "
            "environment (AWS_ACCESS_KEY_ID, …)"
        )
    if not url.netloc:
        raise UserError(f"{text}: must name a bucket, for example {url.scheme}://bucket/folder")
    from gradatlas.sweeps.store.remote import Remote  # pyarrow's file systems take a tenth of a second

    return Remote(f"{url.scheme}://{url.netloc}", unquote(url.path).strip("/"), url.query)
