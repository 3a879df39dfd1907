"""What a run writes down of its machine."""

from __future__ import annotations

import json
from importlib import metadata

from gradatlas.sweeps.store import environment


def test_a_package_that_is_missing_is_said_to_be(monkeypatch):
    def version(name: str) -> str:
        if name == "numba":
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr(environment, "version", version)
    described = json.loads(environment.environment("r", "r.toml", 2))
    assert described["packages"]["numba"] == "not installed"
    assert described["packages"]["torch"] == metadata.version("torch")
