"""What messages say, and what they never do."""

from __future__ import annotations

import pytest

from gradatlas.sweeps.errors import masked, said_of

SECRET = "hunter2"
HIDDEN = {
    f"postgresql://me:{SECRET}@host/db": "postgresql://…@host/db",
    f"postgresql+psycopg2://me:{SECRET}@host:5432/db": "postgresql+psycopg2://…@host:5432/db",
    f"mysql+pymysql://{SECRET}@host/db": "mysql+pymysql://…@host/db",
    f"redis://:{SECRET}@host:6379/0": "redis://…@host:6379/0",
    f"https://{SECRET}@host/x": "https://…@host/x",
    f"s3://AKIA:{SECRET}@bucket/runs": "s3://…@bucket/runs",
    f"s3://bucket/runs?access_key=A{SECRET}&scheme=http": "s3://bucket/runs?access_key=…&scheme=http",
    f"s3://bucket?scheme=http&secret_key={SECRET}": "s3://bucket?scheme=http&secret_key=…",
    f"abfss://runs:{SECRET}@account.dfs.core.windows.net/x": "abfss://runs:…@account.dfs.core.windows.net/x",
    f"https://account.blob.core.windows.net/x?sv=2&sig={SECRET}": "https://account.blob.core.windows.net/x?sv=2&sig=…",
    f"postgresql://host/db?user=me&password={SECRET}": "postgresql://host/db?user=me&password=…",
    f"(OperationalError) at mysql://me:{SECRET}@h/d; try": "(OperationalError) at mysql://…@h/d; try",
}
KEPT = (
    "abfss://runs@account.dfs.core.windows.net/x",
    "s3://bucket/runs?scheme=http&endpoint_override=127.0.0.1:9000",
    "journal:///home/me/study.log",
    "me@example.org wrote small.toml: scientific.depth: low < high must hold",
)


@pytest.mark.parametrize("text", HIDDEN)
def test_what_may_be_a_secret_in_a_url_is_not_shown(text):
    assert masked(text) == HIDDEN[text]
    assert SECRET not in masked(text)


@pytest.mark.parametrize("text", KEPT)
def test_what_is_no_secret_stays(text):
    assert masked(text) == text


@pytest.mark.parametrize(
    "url",
    [url for url in HIDDEN if url.startswith(("s3", "abfss"))] + [f"gs://{SECRET}@bucket/runs"],
)
def test_runs_are_not_kept_at_a_url_that_holds_a_key(command, spec, url):
    for ended in (command("run", spec, "--runs", url), command("status", url)):
        assert ended.code == 2
        assert "must hold no keys, since it is written down and shown" in ended.err
        assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize("url", [url for url in HIDDEN if url.startswith(("postgresql", "mysql", "redis"))])
def test_an_export_that_fails_does_not_tell_the_password(command, finished_run, url):
    ended = command("export", finished_run.folder, "--optuna-storage", url)
    assert ended.code == 2
    assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
        (
            OSError("AF_UNIX path length cannot exceed 107 bytes"),
            "AF_UNIX path length cannot exceed 107 bytes",
        ),
        (OSError(), "OSError"),
    ],
)
def test_an_error_of_the_system_always_says_something(error, said):
    assert said_of(error) == said


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (OSError("a path that is too long"), 1, "gradatlas: a path that is too long\n"),
        (MemoryError(), 1, "gradatlas: there is not enough memory for this\n"),
        (MemoryError("Unable to allocate 8 GiB"), 1, "memory for this (Unable to allocate 8 GiB)\n"),
    ],
)
def test_the_command_says_it_in_one_line(command, finished_run, monkeypatch, raised, code, said):
    def failing(*unused: object) -> None:
        raise raised

    monkeypatch.setattr("gradatlas.sweeps.running.runs.state", failing)
    ended = command("status", finished_run.folder)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.endswith(said)
    assert len(ended.err.splitlines()) == 1
