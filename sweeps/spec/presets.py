"""The sweep files that come with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from gradatlas.study.input_files import reject_bad_path
from gradatlas.sweeps.errors import UserError

_FOLDER = Path(str(files("gradatlas.sweeps") / "presets"))


def preset_files() -> dict[str, Path]:
    """The presets' sweep files, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.toml"))}


def core_seconds() -> dict[str, float]:
    """What the packs of each preset take in all, in seconds of one core: `planning.forecast.core_seconds`.

    Kept in a file, since computing it means planning a hundred thousand trials.
    """
    found: dict[str, float] = json.loads((_FOLDER / "core_seconds.json").read_text(encoding="utf-8"))
    return found


def spec_file(spec: str) -> Path:
    """The file of a preset's name or a path; raises UserError for neither."""
    presets = preset_files()
    if spec in presets:
        return presets[spec]
    try:
        reject_bad_path(spec)
    except ValueError as error:
        raise UserError(f"SPEC: {error}") from None
    if not spec.endswith(".toml") and not Path(spec).exists():
        raise UserError(f"{spec}: is neither a preset ({', '.join(presets)}) nor a TOML file")
    return Path(spec)
