"""The ledger: what a run leaves on disk, and the only truth about it.

A plan is written before a pack starts; a result file appears under its pack's name, whole or not at all.
Whatever was killed when, the packs still to do are those of the plan without a readable result file. What is
known of a pack before its result stands in `states/PACK`, and goes when the result is there.

The folder is on a disk or in an object store, which the ledger does not ask: `sweeps.store.location`. What
is read again and again, plans and tasks' files, is on the machine or is copied to it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.study.choices.own_data import is_file_name
from gradatlas.study.records import Role
from gradatlas.study.result_files import file_fault, pack_codes, plan_fault, printable
from gradatlas.study.trial import Trial
from gradatlas.sweeps.errors import UserError, reason_of
from gradatlas.sweeps.planning.costs import cost
from gradatlas.sweeps.planning.packing import Planned, pack_name, trial_of_row
from gradatlas.sweeps.store.location import Folder, Hold, Location, Stamp
from gradatlas.sweeps.store.parquet import schema, write_table
from gradatlas.sweeps.store.storage import location_of

_PLAN_ROLES: tuple[Role, ...] = ("identity", "parameter")


@cache
def _plan_schema() -> pl.Schema:
    """The columns of a plan: what results repeat of it, and the predicted cost in seconds."""
    return pl.Schema({**schema(*_PLAN_ROLES), "cost": pl.Float64()})


class Ledger:
    """A run folder: `sweep.toml`, `environment.json`, `data/`, `plans/`, `states/`, `results/`, `report/`.

    Where a task is a user's file, the tables name it relative to the folder ("data/wine.npz"), trials by
    its path.
    """

    def __init__(self, folder: Path | Location) -> None:
        self.folder = location_of(folder)
        self.sweep_file = self.folder / "sweep.toml"
        self.environment_file = self.folder / "environment.json"
        self.plans, self.results = self.folder / "plans", self.folder / "results"
        self.states = self.folder / "states"
        self._driver_file = self.states / "driver"
        self._hold: Hold | None = None
        self._data: Path | None = None  # where the tasks' files are on this machine
        self._seen: dict[Location, tuple[Stamp, str]] = {}  # files that were checked, and what is wrong
        self._codes: dict[Location, dict[str, str]] = {}  # of each plan: its packs' trials

    @classmethod
    def opened(cls, folder: Path | Location) -> Ledger:
        """The ledger of an existing run; raises UserError where there is none."""
        ledger = cls(folder)
        ledger._reject_no_run()
        if not ledger.is_begun:
            raise UserError(
                f"{folder}: sweep.toml must tell the sweep, but it is empty, as after a power cut; put it "
                "back from a copy, or run the sweep under a new --name"
            )
        return ledger

    def _reject_no_run(self) -> None:
        if not self.sweep_file.is_file():
            raise UserError(
                f"{self.folder}: is not a run folder (it has no sweep.toml); `gradatlas list` shows the runs"
            )

    @property
    def is_begun(self) -> bool:
        """Whether this is a run: `sweep.toml`, the last thing that a start writes, is there, not empty."""
        return self.sweep_file.is_file() and bool(self.sweep_file.read_bytes().strip())

    @contextmanager
    def locked(self, *, take_over: bool = False) -> Iterator[None]:
        """Holds the run for this process; raises HeldError where another one does.

        A ledger whose run is held stays so. `take_over`: a run in a store is taken from a process that is
        dead or cut off.
        """
        if self._hold is not None:
            yield
            return
        with self._held(take_over=take_over, make=False):
            if not self.sweep_file.is_file():  # its last holder removed it
                self.folder.remove_hold()
            self._reject_no_run()
            self.results.mkdir(exist_ok=True)
            yield

    @contextmanager
    def locked_for_start(self, *, take_over: bool = False) -> Iterator[None]:
        """Holds a folder, made if it was missing, in which a run may start; writes nothing into it."""
        with self._held(take_over=take_over, make=True):
            yield

    @contextmanager
    def _held(self, *, take_over: bool, make: bool) -> Iterator[None]:
        with self.folder.held(take_over=take_over, make=make) as self._hold:
            try:
                yield
            finally:
                self._hold = None

    def begin(self, environment_json: str) -> None:
        """Makes the held folder that of a new run, a run once `write_sweep` ends it.

        What an earlier start left is removed. `environment.json` is there before and after everything else:
        a folder that has it and no `sweep.toml` is that of a start which did not end.
        """
        self._clear_parts()
        self.environment_file.write_whole(environment_json.encode())
        self.plans.mkdir(exist_ok=True)
        self.results.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Removes the run, and the folder where nothing else is in it; only what this process holds."""
        if self._hold is None or self._hold.is_lost:
            return
        self._clear_parts()
        self.environment_file.unlink(missing_ok=True)
        self.folder.remove_hold()

    def _clear_parts(self) -> None:
        """Removes all of a run but `environment.json`."""
        self.sweep_file.unlink(missing_ok=True)  # first: without its plan it is no run
        for part in (self.folder / "data", self.plans, self.results, self.states):
            part.remove_tree()
        self._clear_drafts(self.folder)

    def _reject_lost(self) -> None:
        if self.is_lost:
            raise UserError(f"{self.folder}: another process took the run over; this one writes no more")

    @staticmethod
    def _clear_drafts(*folders: Location) -> None:
        """Removes what killed processes had not written to its end."""
        for folder in folders:
            for draft in folder.glob(".*.draft"):
                draft.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_hold": None}  # Tune pickles what a run is told; a hold stays where it is

    @property
    def is_lost(self) -> bool:
        """Whether another process took the run from this one, which must write no more."""
        return self._hold is not None and self._hold.is_lost

    def write_driver(self, driver: str) -> None:
        """Tells workers whose they are; those of a driver that died see another's name."""
        self.states.mkdir(exist_ok=True)
        self._driver_file.write_whole(driver.encode(), lasting=False)

    def remove_driver(self) -> None:
        """Tells workers to stop; for that there is room on a full disk too."""
        if self.is_lost:
            return
        self._driver_file.unlink(missing_ok=True)

    def driver(self) -> str | None:
        """Whose workers may go on; None if nobody's."""
        try:
            return self._driver_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def clear_states(self) -> None:
        """Removes what killed processes left: states of packs with a result, drafts, a dead driver's name.

        Only for the process that holds the run.
        """
        if self.is_lost:
            return
        self.remove_driver()
        for pack in self.states.names() & self.finished_packs():
            (self.states / pack).remove_tree()
        self._clear_drafts(self.results, self.states, self.plans, self.folder / "data", self.folder)
        self.states.remove_if_empty()  # where no pack is still to do

    def write_sweep(self, sweep_toml: str) -> None:
        """Makes the folder a run: written last, so that a killed start leaves no run without a plan."""
        self._reject_lost()
        self.sweep_file.write_whole(sweep_toml.encode())

    def write_data(self, name: str, content: bytes) -> None:
        """Writes a task's file, named relative to the folder."""
        self._reject_lost()
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_whole(content)

    def write_plan(
        self,
        packs: Sequence[Sequence[Planned]],
        stored: Mapping[str, str] | None = None,
        *,
        plan: int = 0,
        first_pack: int = 0,
        note: str = "",
    ) -> list[str]:
        """Writes down every trial of these packs as a plan of this number; the packs' names.

        `stored` gives the names of tasks' files in the folder; `note` is for whoever reads `plan_notes`.
        """
        self._reject_lost()
        names = [pack_name(first_pack + number) for number in range(len(packs))]
        rows = [entry.row(name) for name, pack in zip(names, packs, strict=True) for entry in pack]
        for row in rows:
            row["task"] = (stored or {}).get(row["task"], row["task"])
        frame = pl.DataFrame(rows, _plan_schema(), orient="row")
        write_table(self.plans / f"plan-{plan:06d}.parquet", frame, {"gradatlas.note": note})
        return names

    def plan_notes(self) -> list[tuple[str, pl.DataFrame]]:
        """Of each plan in the order of writing: its note, and its rows in the order of their trials."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = []
        files: list[Path] = sorted((self.here("plans") / "plans").glob("*.parquet"))
        for file in files:
            content = pa.BufferReader(file.read_bytes())
            noted = (pq.read_metadata(content).metadata or {}).get(b"gradatlas.note", b"").decode()
            found.append((noted, pl.read_parquet(file.read_bytes()).sort("trial")))
        return found

    def result_rows(self, pack: str, columns: Sequence[str]) -> list[dict[str, Any]] | None:
        """Some columns of a pack's rows; None where there is no whole result."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self.results / f"{pack}.parquet"
        try:
            content = file.read_bytes()
            trials = self._check_plans().get(pack)
            if file.can_be_damaged and file_fault(content, pl, name=pack, trials=trials):
                return None
            return list(pq.read_table(pa.BufferReader(content), columns=list(columns)).to_pylist())
        except (FileNotFoundError, pa.ArrowInvalid):
            return None

    def here(self, *names: Folder) -> Path:
        """The run's folder on this machine, with these folders as they are now."""
        return self.folder.cached(*names)

    def plan(self) -> pl.LazyFrame:
        """Identity, parameters and predicted cost of every planned trial."""
        files = sorted((self.here("plans") / "plans").resolve().glob("*.parquet"))
        self._check_plans()
        # Resolved and without globbing: Polars gives "~" and "*" in a path a meaning of its own.
        # Plans of version 0.1.0 have no cost.
        return pl.scan_parquet(files, schema=_plan_schema(), missing_columns="insert", glob=False)

    def pack_rows(self, pack: str) -> list[dict[str, Any]]:
        """The plan's rows of one pack, in the pack's order."""
        return self.plan().filter(pl.col("pack") == pack).collect(engine="in-memory").to_dicts()

    def pack_trials(self, pack: str) -> list[Trial]:
        """The trials of one pack."""
        return [self._trial(row) for row in self.pack_rows(pack)]

    def pack_costs(self, pack: str) -> list[float]:
        """Predicted cost of each trial of one pack."""
        return [self._cost(row) for row in self.pack_rows(pack)]

    def _cost(self, row: dict[str, Any]) -> float:
        """The predicted cost of a plan's row, computed where the plan has none."""
        return cost(self._trial(row)) if row["cost"] is None else row["cost"]

    def _trial(self, row: dict[str, Any]) -> Trial:
        """The trial of a plan's row, its task's file found in the folder."""
        task = row["task"]
        if is_file_name(task):
            local = self.here("data") if self._data is None else self._data
            self._data = local
            task = str(local / task)
        return trial_of_row(row | {"task": task})

    def pending_costs(self) -> dict[str, float]:
        """Predicted cost of each pack without a result."""
        costs = dict.fromkeys(self.pending_packs(), 0.0)
        pending = self.plan().filter(pl.col("pack").is_in(list(costs)))
        known = pending.group_by("pack").agg(pl.col("cost").sum()).collect()
        costs |= dict(known.iter_rows())
        for row in pending.filter(pl.col("cost").is_null()).collect().iter_rows(named=True):
            costs[row["pack"]] += self._cost(row)
        return costs

    def pending_cost(self) -> float:
        """Predicted cost of all packs without a result."""
        return sum(self.pending_costs().values())

    def mean_cost(self) -> float:
        """Predicted cost of a trial: the mean over the first thousand of the plan."""
        rows = self.plan().head(1000).collect(engine="in-memory").to_dicts()
        return sum(map(self._cost, rows)) / len(rows)

    def pack_sizes(self) -> dict[str, int]:
        """Trials of each planned pack, in the order in which they run."""
        sizes = self.plan().group_by("pack").len().sort("pack").collect()
        return dict(sizes.iter_rows())

    def write_result(self, pack: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes a pack's results and removes its states; identity and task's name come from the plan."""
        identity = (*schema("identity"), "task")
        file = self.results / f"{pack}.parquet"
        planned = [{name: row[name] for name in identity} for row in self.pack_rows(pack)]
        whole = [{**row, **who} for row, who in zip(rows, planned, strict=True)]
        trials = [row["trial"] for row in planned]
        if file.can_be_damaged and not file.is_file():
            file.remove_tree()  # a folder of that name, which no file can replace
        write_table(file, pl.DataFrame(whole, schema(), orient="row"), trials=trials)
        (self.states / pack).remove_tree()

    def _check_plans(self) -> dict[str, str]:
        """The packs of all plans and codes of their trials; raises UserError where a plan is not sound.

        Each file is read once as long as it stays as it is.
        """
        folder = location_of(self.here("plans") / "plans")
        files = {file: stamp for file, stamp in folder.files().items() if file.name.endswith(".parquet")}
        fault = "" if files else "plans/ holds no plan"
        codes: dict[str, str] = {}
        for file, stamp in files.items():
            if self._seen.get(file, (None,))[0] != stamp:
                wrong, found = _checked_plan(file)
                self._seen[file], self._codes[file] = (stamp, wrong), found
            wrong, found = self._seen[file][1], self._codes[file]
            if not wrong and found.keys() & codes.keys():
                wrong = "has packs that another plan has too"
            fault = fault or (f"plans/{file.name} cannot be read: {wrong}" if wrong else "")
            codes |= found
        if fault:
            raise UserError(
                f"{self.folder}: {fault}; put it back from a copy, or run sweep.toml again under a new --name"
            )
        return codes

    def results_found(self) -> tuple[set[str], dict[str, str]]:
        """(packs with a sound result, what is wrong with each other file or folder of `results/`).

        A result is sound if it is as it was written, and holds the trials that the plan has for its pack. In
        a store, where an upload is whole or not there, only the names are compared with the plan. Of one
        listing: what appears later is not there yet.
        """
        codes, listed = self._check_plans(), self.results.files()
        faults = {file.name: self._fault(file, stamp, codes) for file, stamp in listed.items()}
        known = {file.name for file in listed}
        finished = {name.removesuffix(".parquet") for name, fault in faults.items() if not fault}
        wrong = {printable(name): why for name, why in faults.items() if why and not name.startswith(".")}
        if self.results.can_be_damaged:  # a store has no folders, pipes or links
            for name in sorted(self.results.names() - known):
                if name.removesuffix(".parquet") in codes and not (self.results / name).is_file():
                    wrong[name] = "must be a file, but is none"
        return finished, wrong

    def _fault(self, file: Location, stamp: Stamp, codes: Mapping[str, str]) -> str:
        """What is wrong with a file of `results/`; it is read once as long as it stays as it is."""
        if not file.name.endswith(".parquet") or file.stem not in codes:
            return "is not the result of a pack of the plan"
        if not file.can_be_damaged:
            return ""
        if self._seen.get(file, (None,))[0] != stamp:
            try:
                fault = file_fault(file.read_bytes(), pl, name=file.stem, trials=codes[file.stem])
            except OSError as error:
                fault = f"cannot be read ({reason_of(error)})"
            self._seen[file] = stamp, fault
        return self._seen[file][1]

    def finished_packs(self) -> set[str]:
        """Packs that have a sound result."""
        return self.results_found()[0]

    def pending_packs(self) -> list[str]:
        """Planned packs without a result."""
        finished = self.finished_packs()
        return [pack for pack in self.pack_sizes() if pack not in finished]


def _checked_plan(file: Location) -> tuple[str, dict[str, str]]:
    """(what is wrong with a plan's file, the code of each of its packs' trials)."""
    try:
        content = file.read_bytes()
        wrong = file_fault(content, pl, name=file.stem)
        frame = None if wrong else pl.read_parquet(content)
        wrong = wrong if frame is None else plan_fault(frame)
        return wrong, {} if wrong else pack_codes(frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        return f"cannot be read ({str(error).splitlines()[0]})", {}
