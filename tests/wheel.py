"""This repository's distributions, built without a network, and environments that they are installed in."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def built(source: Path, out: Path, target: str) -> Path:
    """The wheel or the sdist of a source folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (file,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return file


def environment(folder: Path, *wheels: Path) -> Path:
    """The commands' folder of a new environment: these wheels, and what this Python has but gradatlas.

    A line of a .pth file adds a folder and not what .pth files of that folder do, as an editable install's.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    inner = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (inner / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    for wheel in wheels:
        subprocess.run([*pip, "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    return python.parent
