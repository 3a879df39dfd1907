"""Commands on damaged run folders: no traceback, no hang, nothing silently wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.running.runs import create_run, state
from gradatlas.sweeps.spec.sweep import load_sweep
from gradatlas.sweeps.store.ledger import Ledger
from tests.attack.damaged_ledgers import DAMAGES
from tests.sweeps.conftest import SMALL, command  # noqa: F401


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(SMALL)
    ledger = create_run(folder / "run", load_sweep(folder / "small.toml"), "small.toml", cpus=2)
    for pack in ledger.pending_packs():
        ledger.write_result(pack, results(ledger.pack_trials(pack)))
    return folder / "run"


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_read_or_refused_by_name(name, template, tmp_path, command):  # noqa: F811
    run = tmp_path / "run"
    shutil.copytree(template, run)
    DAMAGES[name](run)
    for arguments in (("status", run), ("list", "--runs", tmp_path), ("claims", run)):
        ended = command(*arguments)
        assert ended.code in (0, 2), ended
        assert "Traceback" not in ended.out + ended.err
    if name.startswith("results/") and "gone" not in name:
        now = state(Ledger(run))
        assert (now.finished, len(now.damaged)) == (19, 1)
        assert "pack-000001.parquet" in command("status", run).out
