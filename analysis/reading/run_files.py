"""Where runs stand, for reading: a folder, or the URL of one in an object store (s3://, gs://, …)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pyarrow import ArrowException, fs

Run = Path | str


def is_url(run: Run) -> bool:
    """Whether a run is named by a URL."""
    return "://" in str(run)


def parquet_files(run: Run, folder: str) -> list[str] | None:
    """The Parquet files of a run's folder, in order, hidden ones left out; None where there is no run.

    Raises OSError where a store does not answer.
    """
    if not is_url(run):
        if not Path(run).is_dir():
            return None
        found = [file for file in (Path(run) / folder).glob("*.parquet") if not file.name.startswith(".")]
        return sorted(str(file) for file in found)
    store, root = _store(str(run))
    there = store.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
    if not there:
        return None
    scheme = urlsplit(str(run)).scheme
    return sorted(
        f"{scheme}://{info.path}"
        for info in there
        if info.path.rpartition("/")[0] == f"{root}/{folder}"
        and info.base_name.endswith(".parquet")
        and not info.base_name.startswith(".")
    )


def read_text(run: Run, name: str) -> str:
    """The text of a run's file; empty where it cannot be read."""
    try:
        if not is_url(run):
            return (Path(run) / name).read_text(encoding="utf-8")
        store, root = _store(str(run))
        with store.open_input_file(f"{root}/{name}") as file:
            return file.read().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def storage_options(run: Run) -> dict[str, str] | None:
    """What Polars must know of a store beyond the environment: the endpoint that the URL names."""
    named = parse_qs(urlsplit(str(run)).query) if is_url(run) else {}
    if "endpoint_override" not in named:
        return None
    scheme = named.get("scheme", ["https"])[0]
    return {
        "aws_endpoint_url": f"{scheme}://{named['endpoint_override'][0]}",
        "aws_allow_http": str(scheme == "http").lower(),
    }


def _store(url: str) -> tuple[fs.FileSystem, str]:
    try:
        store, root = fs.FileSystem.from_uri(url)
    except (ArrowException, ValueError) as error:
        raise OSError(f"{url}: cannot be reached: {str(error).splitlines()[0]}") from None
    return store, root.rstrip("/")
