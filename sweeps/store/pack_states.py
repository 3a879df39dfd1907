"""What a pack leaves in `states/PACK` before its result: its journal, its pieces' states and their rows.

A piece is a run of the pack's trials (`sweeps.store.journal`). While it is worked on its state stands in the
folder FIRST-LAST; when it is done its rows stand in FIRST-LAST.parquet, until the pack is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from gradatlas.study.result_files import file_fault
from gradatlas.sweeps.store.journal import Journal, Piece, journal_bytes, read_journal
from gradatlas.sweeps.store.location import Location
from gradatlas.sweeps.store.parquet import schema, write_table


class PackStates:
    """The states of one pack, in a folder of its own (`Ledger.states` / PACK)."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def journal(self, trials: int) -> Journal:
        """What earlier workers of the pack, which has so many trials, left to say."""
        return read_journal(self._folder / "journal.json", trials)

    def write_journal(self, journal: Journal) -> None:
        """Writes the journal for the next worker."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "journal.json").write_whole(journal_bytes(journal), lasting=False)

    def piece_folder(self, piece: Piece) -> Location:
        """Where the state of a piece is kept while it is worked on."""
        return self._folder / f"{piece[0]}-{piece[1]}"

    def save_piece(self, piece: Piece, save: Callable[[Path], None]) -> None:
        """Keeps what `save` writes into a local folder."""
        with self.piece_folder(piece).written_locally() as folder:
            save(folder)

    def load_piece(self, piece: Piece, load: Callable[[Path], None]) -> None:
        """Gives `load` a local folder with what `save_piece` kept."""
        with self.piece_folder(piece).local_copy() as folder:
            load(folder)

    def drop_piece(self, piece: Piece) -> None:
        """Removes what `save_piece` kept."""
        self.piece_folder(piece).remove_tree()

    def _rows_file(self, piece: Piece) -> Location:
        return self._folder / f"{piece[0]}-{piece[1]}.parquet"

    def has_rows(self, piece: Piece) -> bool:
        """Whether the rows of a piece are written, and as they were written."""
        file = self._rows_file(piece)
        try:
            return file.is_file() and not file_fault(file.read_bytes(), pl, name=self._name(piece))
        except OSError:
            return False

    def _name(self, piece: Piece) -> str:
        """What the seal of a piece's rows says; rows of a piece have no trials' numbers yet."""
        return f"{self._folder.name}.{piece[0]}-{piece[1]}"

    def write_rows(self, piece: Piece, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes the rows of a piece, until the pack is whole."""
        frame = pl.DataFrame(rows, schema(), orient="row")
        write_table(self._rows_file(piece), frame, name=self._name(piece))

    def rows(self, piece: Piece) -> list[dict[str, Any]]:
        """The rows that `write_rows` wrote; without the identity, which comes from the plan."""
        return pl.read_parquet(BytesIO(self._rows_file(piece).read_bytes())).to_dicts()
