"""Output that neither a reader who goes away nor a terminal's encoding breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradatlas.sweeps.command.streams import json_text, lasting_streams

COMMANDS = {
    "profile": "profile --depth 3 --width 8 --norm layer",
    "gru": "profile --family gru --depth 8 --width 8",
    "theory": "theory --activation tanh --sigma-w 1.5",
    "chain": "chain --activation tanh --weights 0.5,2 --input 1",
    "presets": "presets",
    "help": "--help",
    "dry run": "run {spec} --dry-run",
    "claims": "claims {run}",
    "status": "status {run}",
    "list": "list --runs {runs}",
    "compare": "compare {run} {run}",
    "mistake": "run χ≤σ.toml",
}
ENCODINGS = ("ascii", "latin-1", "cp1252")


def _line(name: str, finished_run) -> list[str]:
    folder = finished_run.folder
    named = {"spec": folder.parents[1] / "small.toml", "run": folder, "runs": folder.parent}
    return [part.format(**named) for part in COMMANDS[name].split()]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command):
    """What the command writes to outputs of an encoding; in files, so that the streams have descriptors."""

    def of(arguments: list[str], encoding: str) -> tuple[int, str, str]:
        files = [tmp_path / "out.txt", tmp_path / "err.txt"]
        opened = [file.open("w", encoding=encoding, errors="strict") for file in files]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", opened[0])
            patch.setattr(sys, "stderr", opened[1])
            code = command(*arguments).code
        for file in opened:
            file.close()
        return code, *(file.read_text(encoding=encoding) for file in files)

    return of


@pytest.mark.parametrize("name", COMMANDS)
def test_what_an_encoding_lacks_is_shown_otherwise(name, finished_run, shown):
    arguments = _line(name, finished_run)
    code, out, err = shown(arguments, "utf-8")
    assert code == (2 if name == "mistake" else 0), err
    for encoding in ENCODINGS:
        found = shown(arguments, encoding)
        assert found[0] == code, (encoding, found)
        assert len(found[1].splitlines()) == len(out.splitlines()), encoding
        assert len(found[2].splitlines()) == len(err.splitlines()), encoding
        assert "Traceback" not in found[2]


def test_greek_letters_have_their_names(finished_run, shown):
    assert "lecun sigma_w 1 sigma_b 0" in shown(_line("profile", finished_run), "ascii")[1]
    assert "gradatlas: chi<=sigma.toml" in shown(_line("mistake", finished_run), "ascii")[2]
    assert "±" in shown(_line("profile", finished_run), "latin-1")[1]


@pytest.mark.parametrize("command_line", ["profile --depth 3 --width 8 --json", "claims {run} --json"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_loses_nothing_in_any_encoding(command_line, encoding, finished_run, shown):
    arguments = [part.format(run=finished_run.folder) for part in command_line.split()]
    expected, found = (shown(arguments, name)[1] for name in ("utf-8", encoding))
    told = [json.loads(text) for text in (expected, found)]
    if "profile" in arguments:  # but for how long it took
        told = [[row | {"seconds": 0} for row in one["seeds"]] for one in told]
    assert told[0] == told[1]


def test_json_is_escaped_where_the_output_has_no_unicode(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert json_text({"σ": 1}) == '{"\\u03c3": 1}'
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        assert json_text({"σ": 1}) == '{"σ": 1}'


def test_bytes_of_a_files_name_stay_what_they_were(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with lasting_streams():
            print(os.fsdecode(b"r\xffn"))
    assert (tmp_path / "out").read_bytes() == b"r\xffn\n"


def test_the_streams_are_pythons_own_again(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with lasting_streams():
            assert sys.stdout is not file
        assert sys.stdout is file


@pytest.mark.parametrize("raised", [OSError(9, "of the command"), KeyboardInterrupt()])
def test_what_the_command_raises_goes_before_what_was_not_shown(monkeypatch, raised):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(type(raised)) as found:
            _print_and_raise(raised)
    assert found.value is raised


def _print_and_raise(raised: BaseException) -> None:
    with lasting_streams():
        print("lost")
        raise raised


def _run(line: str, run: Path) -> subprocess.CompletedProcess[str]:
    """A line of bash with the real command as `g`; it ends as the command does, not as its reader."""
    program = f'set -o pipefail; g() {{ "{sys.executable}" -m gradatlas "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", program, "bash", str(run)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ('g claims "$1" | head -1', 0, ""),
        ('g claims "$1" --json | true', 0, ""),
        ("g presets >&-", 0, ""),
        ("g presets 2>&-", 0, ""),
        ("g run missing 2>&-", 2, ""),
        ("g run missing >&- <&-", 2, "gradatlas: missing"),
        ("g run missing >/dev/full", 2, "gradatlas: missing"),
        ('g status "$1" >/dev/full', 1, "gradatlas: standard output: No space left on device\n"),
    ],
)
def test_a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one(line, code, err, finished_run):
    ended = _run(line, finished_run.folder)
    assert ended.returncode == code, ended
    assert ended.stderr.startswith(err) if err else ended.stderr == ""
