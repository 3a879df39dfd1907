"""The search of a sampler that learns: plans are written batch by batch, each from what is known by then.

A batch is asked (what is planned and not known yet counts as a constant liar's), written as a plan, and only
then run. Its note names the part and the trials of which the sampler had been told: with the results that is
the whole history, from which another process builds the same studies, and proposes the same next.

An Optuna trial is a point with one draw, counted from 0 in each part; its repetitions are rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gradatlas.sweeps.planning.packing import batch_points, packs, trials_of_points
from gradatlas.sweeps.sampling.domains import chosen_value
from gradatlas.sweeps.sampling.learned import Proposer
from gradatlas.sweeps.sampling.objectives import OBJECTIVES, values
from gradatlas.sweeps.sampling.pure import distributions, further_draws
from gradatlas.sweeps.spec.parts import Part
from gradatlas.sweeps.spec.sweep import Sweep
from gradatlas.sweeps.spec.task_files import stored_names
from gradatlas.sweeps.store.ledger import Ledger


@dataclass
class _Study:
    """A part's study and what is on its way to it."""

    part: Part
    proposer: Proposer
    asked: int = 0  # Optuna trials
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # that came in, by Optuna trial
    told: list[int] = field(default_factory=list)  # since the last batch

    def complete(self) -> list[int]:
        """Optuna trials all of whose rows came in."""
        return sorted(number for number, rows in self.rows.items() if len(rows) == self.part.seeds)

    def tell(self, number: int, objective: str) -> None:
        """Tells what came of an Optuna trial."""
        self.proposer.tell(number, values(objective, self.rows.pop(number)))
        self.told.append(number)


class Learner:
    """Plans a run's batches; one per driver, which holds the run."""

    def __init__(self, ledger: Ledger, sweep: Sweep, workers: int) -> None:
        self._ledger, self._sweep = ledger, sweep
        self._workers = workers
        self._stored = stored_names(sweep.document)
        search = sweep.search
        self._studies = {
            part.name: _Study(
                part,
                Proposer(
                    search.sampler,
                    search.options,
                    part.space,
                    seed=search.seed,
                    part=part.name,
                    objectives=len(OBJECTIVES[search.objective]),
                ),
            )
            for part in sweep.parts
        }
        self._where: dict[int, tuple[str, int]] = {}  # of a row's number: part and Optuna trial
        self._seen: set[int] = set()  # rows that came in
        self._plans = self._packs = self._point = 0
        self._rebuild()

    def _rebuild(self) -> None:
        """The studies as the ledger tells them."""
        plans = self._ledger.plan_notes()
        results = self._results([frame for _, frame in plans])
        for note, frame in plans:
            told = json.loads(note or "{}").get("told", [])
            study = self._studies[frame["part"][0]]
            for number in told:
                if number in study.rows and len(study.rows[number]) == study.part.seeds:
                    study.tell(number, self._sweep.search.objective)
            study.told.clear()
            study.proposer.begin(self._plans)
            first_rows = frame.filter(pl.col("repetition") == 0)
            for row in first_rows.iter_rows(named=True):
                chosen = self._parameters(study.part, row)
                (study.proposer.add if row["draw"] else study.proposer.repeat)(chosen)
            self._note_rows(study, frame["trial"].to_list())
            self._take(results[trial] for trial in frame["trial"] if trial in results)
            self._plans += 1
            self._point = max(self._point, int(frame["point"].max()) + 1)  # type: ignore[arg-type]
            self._packs += frame["pack"].n_unique()

    def _results(self, frames: Sequence[pl.DataFrame]) -> dict[int, dict[str, Any]]:
        """What is known of each trial."""
        packs = [pack for frame in frames for pack in frame["pack"].unique().sort()]
        return {row["trial"]: row for pack in packs for row in self._read(pack)}

    def _read(self, pack: str) -> list[dict[str, Any]]:
        goals = OBJECTIVES[self._sweep.search.objective]
        return self._ledger.result_rows(pack, ["trial", "outcome", *(goal.column for goal in goals)]) or []

    def _note_rows(self, study: _Study, trials: Sequence[int]) -> None:
        """Counts the Optuna trials of rows that are in the plan, each with its repetitions in a stretch."""
        for place, trial in enumerate(trials):
            self._where[trial] = study.part.name, study.asked + place // study.part.seeds
        study.asked += len(trials) // study.part.seeds

    def _parameters(self, part: Part, row: Mapping[str, Any]) -> dict[str, Any]:
        """What was proposed, from a row of the plan."""
        files = {name: path for path, name in self._stored.items()}
        stored = {**row, "task": files.get(row["task"], row["task"])}
        return {name: chosen_value(domain, stored[name]) for name, domain in part.space.items()}

    def finished(self, pack: str) -> None:
        """A pack has its result: the sampler is told before it is asked again."""
        self._take(self._read(pack))

    def _take(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows on their way to their studies, each once."""
        for row in rows:
            if row["trial"] not in self._seen:
                self._seen.add(row["trial"])
                part, number = self._where[row["trial"]]
                self._studies[part].rows.setdefault(number, []).append(row)

    @property
    def has_more(self) -> bool:
        """Whether the plan is not whole yet."""
        return bool(self._behind())

    def _behind(self) -> dict[str, float]:
        """The share that is planned of each part whose plan is not whole."""
        draws = self._sweep.search.nuisance_draws
        shares = {name: s.asked / (s.part.points * draws) for name, s in self._studies.items()}
        return {name: share for name, share in shares.items() if share < 1}

    def next_packs(self, *, on_gpu: bool | None = None) -> list[str]:
        """Plans another batch, of the part that is furthest behind; no packs once all is planned.

        `on_gpu` tells what its worker computes on where a run has both kinds.
        """
        draws, behind = self._sweep.search.nuisance_draws, self._behind()
        if not behind:
            return []
        study = self._studies[min(behind, key=behind.__getitem__)]
        for number in study.complete():
            study.tell(number, self._sweep.search.objective)
        study.proposer.begin(self._plans)
        if on_gpu is None:
            on_gpu = bool(self._sweep.schedule.gpus_per_pack)
        batch = batch_points(self._sweep, self._workers, on_gpu=on_gpu)
        count = min(batch, study.part.points - study.asked // draws)
        proposals = [setting for _ in range(count) for setting in self._asked_point(study)]
        return self._written(study, proposals)

    def _asked_point(self, study: _Study) -> list[dict[str, Any]]:
        """A point as the sampler proposes it, and further draws at it."""
        chosen, draws = study.proposer.ask(), self._sweep.search.nuisance_draws
        if draws == 1:
            return [chosen]
        settings = further_draws(distributions(study.part.space), study.part.nuisance, chosen, draws)
        for setting in settings[1:]:
            study.proposer.add(setting)
        return settings

    def _written(self, study: _Study, proposals: Sequence[Mapping[str, Any]]) -> list[str]:
        """The batch in the ledger, cut where trials cannot be stacked."""
        number = len(self._where)
        entries = list(trials_of_points(self._sweep, study.part, proposals, number=number, point=self._point))
        whole = self._sweep.schedule.model_copy(update={"pack_size": len(entries)})
        if self._sweep.schedule.pack_size != "auto":
            whole = self._sweep.schedule
        names = self._ledger.write_plan(
            packs(entries, whole, 1),
            self._stored,
            plan=self._plans,
            first_pack=self._packs,
            note=json.dumps({"told": study.told}),
        )
        study.told = []
        self._note_rows(study, [entry.number for entry in entries])
        self._plans, self._packs = self._plans + 1, self._packs + len(names)
        self._point += len(proposals) // self._sweep.search.nuisance_draws
        return names
