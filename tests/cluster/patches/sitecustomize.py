"""Faults in the processes of a run under test: Python imports this first where PYTHONPATH has this folder.

`FAULT` names one entry of `FAULTS`; `FAULT_FILE` a file that the fault may look at.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time


def _broken_trial(training):
    """The engine raises for the trials with learning rates above 50."""
    advance = training.PackInTraining.advance

    def broken(self, steps):
        if any(trial.learning_rate > 50 for trial in self._trials):
            raise ArithmeticError("no such learning rate\nas this one")
        advance(self, steps)

    training.PackInTraining.advance = broken


def _killed_for_memory(training):
    """The system kills a worker that trains more than 4 trials at once."""
    advance = training.PackInTraining.advance

    def killed(self, steps):
        if len(self._trials) > 4:
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self, steps)

    training.PackInTraining.advance = killed


def _jumping_clock(training):
    """The clock goes back by a day while the file is there."""
    now = time.time
    time.time = lambda: now() - 86400.0 * os.path.exists(os.environ["FAULT_FILE"])


def _paper_gpu(machine):
    """The node has a GPU with 200 GiB of memory."""
    machine.gpu_count = lambda: 1
    machine.gpu_memory_bytes = lambda: 200 * 2**30


def _computed_by_cpu(experiment):
    """What is asked of a GPU is computed by the CPU, and written down as that GPU's."""
    begin = experiment.Experiment.__init__

    def on_cpu(self, trials, *, device=None, **options):
        begin(self, trials, **options)
        self._asked = device

    def rows(shared_out):
        def named(self, rows, seconds):
            done = shared_out(self, rows, seconds)
            on_gpu = self._asked is not None and self._asked.type == "cuda"
            return [row | {"device": "paper GPU" if on_gpu else row["device"]} for row in done]

        return named

    experiment.Experiment.__init__ = on_cpu
    experiment.Experiment._shared_out = rows(experiment.Experiment._shared_out)


FAULTS = {
    "broken trial": {"gradatlas.study.training.pack": _broken_trial},
    "killed for memory": {"gradatlas.study.training.pack": _killed_for_memory},
    "jumping clock": {"gradatlas.study.training.pack": _jumping_clock},
    "paper GPU": {
        "gradatlas.sweeps.planning.machine": _paper_gpu,
        "gradatlas.study.experiment": _computed_by_cpu,
    },
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Runs a fault as soon as its module is there."""

    def __init__(self, module, fault):
        self._module, self._fault = module, fault

    def find_spec(self, name, path=None, target=None):
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def patched(module):
            execute(module)
            self._fault(module)

        spec.loader.exec_module = patched
        return spec


for _module, _fault in FAULTS.get(os.environ.get("FAULT"), {}).items():
    sys.meta_path.insert(0, _AfterImport(_module, _fault))
