"""A pack on its way to its result: worked on in small steps, saved, taken up again, halved if it breaks."""

from __future__ import annotations

import time
from math import inf

import torch

from gradatlas.study.experiment import Experiment, Row
from gradatlas.study.networks.memory import pack_memory
from gradatlas.study.regimes import Limits
from gradatlas.sweeps.store.journal import Journal, Piece
from gradatlas.sweeps.store.ledger import Ledger
from gradatlas.sweeps.store.pack_states import PackStates

_CHUNK_SECONDS = 0.5  # of work between two looks at the clock and the driver's orders
_KILLED = "its worker died {} times without a word, as from a kill by the system for memory"


class PackRun:
    """One worker's hold on a pack: `advance` computes and touches no file, `keep` writes what is due.

    Whatever the engine raises halves the piece at hand until the trial at fault is alone; that trial's row
    says `failed` and why. Errors of the operating system (a full disk, a file that is gone) are no trial's
    fault and leave `advance` and `keep` as they came.
    """

    def __init__(
        self,
        ledger: Ledger,
        pack: str,
        *,
        driver: str,
        device: torch.device,
        limits: Limits,
        save_interval: float,
        max_failures: int,
        memory: float = inf,
    ) -> None:
        """`memory` are the bytes that this worker has for a pack: pieces that would take more are halved."""
        self._ledger, self._pack, self._states = ledger, pack, PackStates(ledger.states / pack)
        self._device, self._limits = device, limits
        self._save_interval, self._max_failures = save_interval, max_failures
        self.trials = ledger.pack_trials(pack)
        self._costs = ledger.pack_costs(pack)
        self._experiment: Experiment | None = None
        self._chunk = 1  # steps
        self._saved_at = time.monotonic()
        self._finished_rows: list[Row] | None = None  # of the piece at hand
        self._failure: str | None = None
        self.rows: list[Row] | None = None  # all of them, once they are written
        self._journal = self._states.journal(len(self.trials)).taken_by(driver)
        self._states.write_journal(self._journal)
        self._waiting = [piece for piece in self._journal.pieces if not self._states.has_rows(piece)]
        self._halve_what_does_not_fit(memory)
        self._judge_deaths()

    def _halve_what_does_not_fit(self, memory: float) -> None:
        """The plan may have been cut for a larger GPU, or for a GPU at all."""
        index = 0
        while index < len(self._waiting):
            piece = self._waiting[index]
            fits = piece[1] - piece[0] == 1 or pack_memory(self.trials[slice(*piece)]) <= memory
            if fits:
                index += 1
            else:
                self._halve(piece)

    def _judge_deaths(self) -> None:
        """What earlier workers' deaths mean for the piece that they died on."""
        if not self._waiting:
            return
        piece = self._waiting[0]
        if self._journal.must_halve(piece):
            self._halve(piece)
        elif self._journal.must_give_up(piece, self._max_failures):
            self._failure = _KILLED.format(self._journal.deaths_of_driver)

    @property
    def cost(self) -> float:
        """Predicted cost of the pack."""
        return sum(self._costs)

    @property
    def progress(self) -> float:
        """Share of the pack's cost that is behind it."""
        left = sum(sum(self._costs[first:last]) for first, last in self._waiting)
        if self._waiting and self._experiment is not None:
            first, last = self._waiting[0]
            steps = max(self.trials[0].steps, 1)
            left -= sum(self._costs[first:last]) * self._experiment.steps_done / steps
        return 1.0 - left / sum(self._costs)

    def advance(self) -> None:
        """Works for about half a second, in memory alone."""
        experiment = self._experiment = self._experiment or self._opened(self._waiting[0])
        started = time.monotonic()
        try:
            experiment.advance(self._chunk)
            if experiment.finished:
                self._finished_rows = experiment.rows()
        except OSError:
            raise
        except Exception as error:
            self._failure = _one_line(error)
        pace = _CHUNK_SECONDS / max(time.monotonic() - started, 1e-9)
        self._chunk = max(1, int(self._chunk * min(pace, 2.0)))

    def _opened(self, piece: Piece) -> Experiment:
        """The experiment of a piece, taken up where it was saved."""
        self._saved_at = time.monotonic()
        experiment = self._new(piece)
        try:
            self._states.load_piece(piece, experiment.load)
        except OSError:
            raise
        except Exception:  # a state that a power cut left half written, or whose tensors fit another net
            self._states.drop_piece(piece)
            return self._new(piece)
        return experiment

    def _new(self, piece: Piece) -> Experiment:
        return Experiment(self.trials[slice(*piece)], device=self._device, limits=self._limits)

    def keep(self) -> None:
        """Writes what is due: a finished piece, the cut of a broken one, or the state after an interval."""
        if self._failure is not None:
            self._after_failure(self._waiting[0], self._failure)
        elif self._finished_rows is not None:
            self._finish_piece(self._waiting[0], self._finished_rows)
        elif self._waiting and time.monotonic() - self._saved_at >= self._save_interval:
            self._save()
        if not self._waiting and self.rows is None:
            self._finish(None)

    def leave(self) -> None:
        """Ends in order before the pack does: its state is kept, and no death is suspected."""
        self._save()
        self._write(Journal(self._journal.cuts))

    def _save(self) -> None:
        if self._waiting and self._experiment is not None:
            self._states.save_piece(self._waiting[0], self._experiment.save)
            self._saved_at = time.monotonic()
            self._write(self._journal.alive)

    def _write(self, journal: Journal) -> None:
        if journal != self._journal:
            self._journal = journal
            self._states.write_journal(journal)

    def _after_failure(self, piece: Piece, reason: str) -> None:
        if piece[1] - piece[0] > 1:
            self._halve(piece)
        else:
            experiment = self._experiment or self._new(piece)
            self._finish_piece(piece, experiment.failed_rows(reason))

    def _halve(self, piece: Piece) -> None:
        """Both halves start anew, after the memory of the whole was given back."""
        self._drop_experiment()
        self._states.drop_piece(piece)
        self._write(self._journal.halved(piece))
        index, middle = self._waiting.index(piece), sum(piece) // 2
        self._waiting[index : index + 1] = [(piece[0], middle), (middle, piece[1])]

    def _drop_experiment(self) -> None:
        self._experiment, self._finished_rows, self._failure, self._chunk = None, None, None, 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _finish_piece(self, piece: Piece, rows: list[Row]) -> None:
        """The result, if the piece is the whole pack; a file of its own beside the others if not."""
        if piece == (0, len(self.trials)):
            self._finish(rows)
            return
        self._states.write_rows(piece, rows)
        self._states.drop_piece(piece)
        self._drop_experiment()
        del self._waiting[0]
        self._write(self._journal.alive)

    def _finish(self, rows: list[Row] | None) -> None:
        """Writes the pack's one result file; from the pieces' files unless the rows are given."""
        if rows is None:
            rows = [row for piece in self._journal.pieces for row in self._states.rows(piece)]
        self._ledger.write_result(self._pack, rows)
        self._waiting, self.rows = [], rows


def _one_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
