"""A lease lives for as many seconds as it says, by the clock of the store."""

from __future__ import annotations

import os
import time

import pytest

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.store.lease import LIVES, Lease
from gradatlas.sweeps.store.storage import location_of


@pytest.fixture
def folder(tmp_path):
    """A folder of a disk, where a test can say when a claim was written; a lease takes any location."""
    (tmp_path / "run" / "lease").mkdir(parents=True)
    return location_of(tmp_path / "run")


def _claimed(folder, seconds_ago: float):
    claim = folder / "lease" / "another"
    claim.write_whole(b'{"owner": "somebody", "since": "noon"}')
    written = time.time() - seconds_ago
    os.utime(claim, (written, written))
    return claim


@pytest.mark.parametrize("seconds_ago", [0, 30, LIVES - 10])
def test_a_claim_that_was_renewed_within_its_life_keeps_others_out(folder, seconds_ago):
    claim = _claimed(folder, seconds_ago)
    left = rf"{seconds_ago:.0f} s ago; .* wait {LIVES - seconds_ago:.0f} s or"
    with pytest.raises(UserError, match=left), Lease(folder).held(take_over=False):
        pass
    assert set(folder.files(below=True)) == {claim}


@pytest.mark.parametrize("seconds_ago", [LIVES + 10, 1000 * LIVES])
def test_a_claim_that_outlived_itself_goes(folder, seconds_ago):
    claim = _claimed(folder, seconds_ago)
    with Lease(folder).held(take_over=False):
        assert not claim.exists()
