"""A store that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store import store_served


@pytest.fixture(scope="package")
def store() -> Iterator[None]:
    """A store, reached through the environment as a user's is."""
    with store_served() as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
