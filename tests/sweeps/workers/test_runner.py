"""What the runner decides without a Ray: requests that never fit, and when a run is to stop."""

from __future__ import annotations

import pickle
import signal
import threading

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from gradatlas.sweeps.errors import UserError
from gradatlas.sweeps.spec.sweep import Schedule
from gradatlas.sweeps.workers import stopping
from gradatlas.sweeps.workers.runner import reject_unschedulable
from gradatlas.sweeps.workers.stopping import Stop, hangup_as_sigterm, hangups_blocked
from gradatlas.sweeps.workers.trainable import PackTrainable


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (
            {"gpus_per_pack": 2.0},
            r"schedule\.gpus_per_pack: must be <= the 1 GPUs that Ray has on a node, but got 2",
        ),
        (
            {"cpus_per_pack": 5},
            r"schedule\.cpus_per_pack: must be <= the 4 CPUs that Ray has on a node, but got 5",
        ),
    ],
)
def test_a_pack_that_ray_can_never_run_is_told_before_it_waits(schedule, message):
    with pytest.raises(UserError, match=message):
        reject_unschedulable(Schedule(**schedule), [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0}])


def test_packs_that_fit_are_let_through():
    reject_unschedulable(Schedule(gpus_per_pack=0.25, cpus_per_pack=4), [{"CPU": 4.0, "GPU": 1.0}])
    reject_unschedulable(Schedule(), [{"CPU": 1.0}])


def test_the_first_reason_to_stop_stands_and_is_told_once(planned_run):
    stop = Stop(planned_run, seconds=None)
    planned_run.write_driver("driver")
    stop.tell_workers()
    assert planned_run.driver() == "driver"
    stop.request("preempted")
    stop.request("no room")
    stop.tell_workers()
    assert stop.reason == "preempted"
    assert planned_run.driver() is None
    planned_run.write_driver("another")
    stop.tell_workers()
    assert planned_run.driver() == "another"


def test_a_time_budget_is_a_reason_once_it_is_spent(planned_run):
    ample, spent = Stop(planned_run, seconds=1e6), Stop(planned_run, seconds=0.0)
    ample.tell_workers()
    spent.tell_workers()
    assert (ample.reason, spent.reason) == (None, "out of time")


def test_ctrl_c_is_a_request_the_second_one_an_end_and_handlers_come_back(planned_run):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    stop = Stop(planned_run, seconds=None)
    with stop.on_signals():
        signal.raise_signal(signal.SIGINT)
        assert stop.reason == "interrupted"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_tune_can_pickle_what_it_is_given(planned_run, spec, tmp_path):
    from gradatlas.sweeps.running.feed import QueueFeed
    from gradatlas.sweeps.running.learning import Learner
    from gradatlas.sweeps.running.runs import create_run
    from gradatlas.sweeps.spec.sweep import load_sweep
    from gradatlas.sweeps.workers.runner import _Reporter
    from gradatlas.sweeps.workers.searchers import PackSearcher

    stop = Stop(planned_run, seconds=1.0)
    sweep = load_sweep(spec, ("search.sampler=tpe",))
    feed = QueueFeed(["a"], Learner(create_run(tmp_path / "tpe", sweep, "", cpus=2), sweep, 2))
    for given in (PackSearcher(feed, {}, stop), _Reporter(object(), stop, patience=3)):  # type: ignore[arg-type]
        pickle.loads(pickle.dumps(given))


def test_a_worker_takes_the_threads_that_it_asked_for(tmp_path):
    before, worker = torch.get_num_threads(), PackTrainable.__new__(PackTrainable)
    with threadpool_limits(1):
        try:
            worker.setup({"run": str(tmp_path), "threads": 2, "gpus": 0, "is_fitted": False})
            assert torch.get_num_threads() == 2
            assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
        finally:
            torch.set_num_threads(before)
            torch.set_grad_enabled(True)


def test_a_pack_that_is_done_leaves_no_statistics_in_the_driver(planned_run):
    from ray.tune.experiment import Trial

    from gradatlas.sweeps.workers.runner import _Reporter

    trial = Trial("unused", stub=True, trial_id="1")
    for progress in (0.5, 1.0):  # as Tune does for every report
        trial.update_last_result({"trials": 4, "progress": progress, "training_iteration": 1})
    kept = len(pickle.dumps((trial.metric_analysis, trial.metric_n_steps)))
    _Reporter(watcher=None, stop=Stop(planned_run, seconds=None), patience=1).on_trial_complete(1, [], trial)
    assert len(pickle.dumps((trial.metric_analysis, trial.metric_n_steps))) < kept / 20
    assert trial.last_result["progress"] == 1.0


def test_a_terminal_that_goes_away_is_a_preemption_and_under_nohup_nothing(planned_run):
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    stop = Stop(planned_run, seconds=None, grace=1e6)
    with hangup_as_sigterm(), stop.on_signals():
        with hangups_blocked():
            signal.raise_signal(signal.SIGHUP)
            assert stop.reason is None
        assert stop.reason == "preempted"
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hangup_as_sigterm():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("reason", [None, "preempted"])
def test_a_head_process_that_died_ends_the_run_unless_it_is_ending(planned_run, monkeypatch, reason):
    left = threading.Event()
    monkeypatch.setattr(stopping, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(stopping, "_leave_without_head", lambda ledger: left.set())
    looks = threading.Semaphore(0)
    stop = Stop(planned_run, seconds=None)
    stop.reason = reason
    with stop.watches_head(lambda: looks.release() or True):
        for _ in range(3):
            looks.acquire()
        assert left.is_set() == (reason is None)
