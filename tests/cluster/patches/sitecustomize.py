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


FAULTS = {
    "broken trial": _broken_trial,
    "killed for memory": _killed_for_memory,
    "jumping clock": _jumping_clock,
}


class _AfterImport(importlib.abc.MetaPathFinder):
    """Runs the fault as soon as study.training is there."""

    def find_spec(self, name, path=None, target=None):
        if name != "study.training":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def patched(module):
            execute(module)
            FAULTS[os.environ["FAULT"]](module)

        spec.loader.exec_module = patched
        return spec


if os.environ.get("FAULT"):
    sys.meta_path.insert(0, _AfterImport())
