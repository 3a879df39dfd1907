"""What must never land in a run folder, and what is never run from one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradatlas.study.experiment import results
from gradatlas.sweeps.running.runs import create_run
from gradatlas.sweeps.spec.sweep import load_sweep

ROOT = Path(__file__).parents[2]
SECRETS = {
    name: f"planted-{number}-secret"
    for number, name in enumerate(
        ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "GITHUB_TOKEN", "DATABASE_PASSWORD")
    )
}


@pytest.mark.thorough
def test_secrets_of_the_environment_land_in_no_file_of_a_run(command, spec, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    ledger = create_run(tmp_path / "run", load_sweep(spec), "small.toml", cpus=2)
    pack = ledger.pending_packs()[0]
    ledger.write_result(pack, results(ledger.pack_trials(pack)))
    assert command("report", ledger.folder).code == 0
    files = [path for path in ledger.folder.rglob("*") if path.is_file()]
    assert {"environment.json", "report.html", "sweep.toml"} <= {path.name for path in files}
    for path in files:
        assert not re.search(rb"planted-\d-secret", path.read_bytes()), path


@pytest.mark.parametrize("package", ["study", "sweeps", "analysis"])
def test_nothing_unpickles(package):
    for path in (ROOT / package).rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        used = re.findall(
            r"^\s*(?:import|from) (?:pickle|cloudpickle|joblib|dill|marshal|shelve)\b", code, re.M
        )
        used += re.findall(r"torch\.load\(|allow_pickle=True|read_pickle|(?<![\w.])(?:eval|exec)\(", code)
        assert used == [], path
