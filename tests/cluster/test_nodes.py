"""A cluster of several node processes, with the run in a store: nodes go and come, and the head dies."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from gradatlas.sweeps.store.storage import location_of
from tests.cluster.faults import (
    LOOPBACK,
    PATCHES,
    Command,
    assert_undisturbed,
    expected_rows,
    states,
    sweep_text,
    wait_until,
)
from tests.store import store_served

pytestmark = pytest.mark.cluster

_SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without CPUs of its own, in processes of its own on the loopback."""
    for name, value in LOOPBACK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")  # five that fail, and a node counts as dead
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_SMALL})
    yield made
    made.shutdown()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A store that this process and those that it starts reach."""
    with store_served() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


def test_nodes_go_and_come_and_the_head_dies(tmp_path, store, cluster):
    first, second = (cluster.add_node(num_cpus=1, **_SMALL) for _ in range(2))
    text = sweep_text(points=192)  # 24 packs: many more than end while the nodes are removed
    (tmp_path / "sweep.toml").write_text(text)
    run = location_of("s3://bucket/runs/run")
    results, states = run / "results", run / "states"
    driver = Command(
        "run", tmp_path / "sweep.toml", "--runs", run.parent, "--name", "run", "--no-report",
        "--address", cluster.address, "--insecure",
    )  # fmt: skip
    started = time.monotonic()

    def is_going(packs: int) -> bool:
        assert driver.process.poll() is None, driver.ended()
        return len(results.files()) >= packs and any(states.glob("*/*/training.npz"))

    wait_until(lambda: is_going(2), "packs in hand")
    cluster.remove_node(first, allow_graceful=False)
    third = cluster.add_node(num_cpus=1, **_SMALL)
    seen = len(results.files())
    wait_until(lambda: is_going(seen + 1), "a pack more")
    cluster.remove_node(second, allow_graceful=False)
    seen = len(results.files())
    wait_until(lambda: is_going(seen + 2), "two packs more, on the node that came")
    cluster.remove_node(third, allow_graceful=False)
    driver.process.kill()
    cluster.shutdown()
    driver.ended()
    assert len(results.files()) < 24
    print(f"{time.monotonic() - started:.0f} s in the cluster")
    resumed = Command("resume", run, "--no-report")
    code, _, err = resumed.ended()
    assert code == 0, err
    with run.local_copy("plans", "results") as copy:
        (copy / ".lock").touch()  # which a store does not have
        assert_undisturbed(copy, expected_rows(text, tmp_path / "expected"))
    left = {file.key.split("/")[2] for file in run.files(below=True)}
    assert left == {"sweep.toml", "environment.json", "plans", "results"}


def test_a_cluster_that_asks_for_no_token_is_joined_only_where_the_user_says_so(tmp_path, cluster):
    (tmp_path / "sweep.toml").write_text(sweep_text(points=8))
    named = (tmp_path / "sweep.toml", "--runs", tmp_path, "--name", "run")
    code, out, err = Command("run", *named, "--address", cluster.address).ended()
    assert (code, out) == (2, "")
    assert f"--address {cluster.address}: this cluster asks for no token" in err
    assert not (tmp_path / "run").exists()


def test_nodes_with_and_without_a_gpu_share_a_run_and_its_rows(tmp_path, cluster):
    """The GPU is one on paper, worth one CPU: what is asked of it is computed by a CPU."""
    path = os.pathsep.join((PATCHES, os.environ.get("PYTHONPATH", "")))
    cluster.add_node(num_cpus=1, **_SMALL)
    with_gpu = cluster.add_node(
        num_cpus=1, num_gpus=1, env_vars={"PYTHONPATH": path, "FAULT": "paper GPU"}, **_SMALL
    )
    text = sweep_text(points=64, steps=1200).replace(
        '["relu", "tanh"]', '["relu", "tanh", "gelu", "sigmoid"]'
    )
    text = text.replace("pack_size = 8", "gpus_per_pack = 0.01")
    (tmp_path / "sweep.toml").write_text(text)
    run = tmp_path / "run"
    driver = Command(
        "run", tmp_path / "sweep.toml", "--runs", tmp_path, "--name", "run", "--no-report",
        "--address", cluster.address, "--insecure",
    )  # fmt: skip

    def devices() -> set[str]:
        return {
            name for file in (run / "results").glob("*.parquet") for name in pl.read_parquet(file)["device"]
        }

    def are_in_hand() -> bool:
        assert driver.process.poll() is None, driver.ended()
        return len({path.parents[1] for path in states(run)}) == 2

    wait_until(are_in_hand, "a pack on each node")
    wait_until(lambda: driver.process.poll() is not None or len(devices()) == 2, "a result of each node")
    wait_until(are_in_hand, "another pack on each node")
    cluster.remove_node(with_gpu, allow_graceful=False)
    code, _, err = driver.ended()
    assert code == 0, err
    assert devices() == {"cpu", "paper GPU"}
    on_cpus = text.replace("gpus_per_pack = 0.01", "pack_size = 256")
    assert_undisturbed(run, expected_rows(on_cpus, tmp_path / "expected"))
