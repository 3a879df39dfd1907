"""The answer in a few sentences, made from the tables. What the data do not support is not said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from gradatlas.analysis.measures.regions import StableRange, outcome_shares, regime_shares, stable_ranges
from gradatlas.analysis.words import count, features, joined, network, number, percent, word

_MOST_NAMED = 5  # activations or kinds of networks in one sentence
_MIN_SHARE_CELLS = 8  # behind a share that a sentence states
_VERBS = {"vanishing": "vanish", "exploding": "explode"}


def sentences(cells: pl.LazyFrame, trials: pl.LazyFrame) -> list[str]:
    """About three sentences: where gradients are stable, what norms and skips change, what training did.

    Of a study in parts each speaks of one, the part that has most to say of it, and names it.
    """
    measured = cells.filter(pl.col("regime").is_not_null())
    plain = (pl.col("norm") == "none") & (pl.col("skip") == "none")
    found = []
    for write, rows, size in (
        (stable_sentence, measured, plain.sum()),
        (kinds_sentence, measured, pl.len()),
        (training_sentence, trials, pl.col("outcome").is_not_null().sum()),
    ):
        sizes = rows.group_by("part").agg(size=size).sort(-pl.col("size").cast(pl.Int64), "part")
        parts = sizes.collect()["part"]
        said = ((part, write(rows.filter(pl.col("part") == part))) for part in parts)
        part, sentence = next(((part, text) for part, text in said if text), ("", ""))
        prefix = f"Part {part} (of {len(parts)}): " if len(parts) > 1 else ""
        found.append(prefix + sentence if sentence else "")
    return [sentence for sentence in found if sentence]


def _baseline(cells: pl.LazyFrame) -> tuple[str, str] | None:
    """(norm, skip) of the plainest networks there are."""
    kinds = cells.select("norm", "skip").unique().collect().rows()
    return min(kinds, key=lambda kind: ((kind[0] != "none") + (kind[1] != "none"), kind)) if kinds else None


def stable_sentence(cells: pl.LazyFrame) -> str:
    """Over which σ_w the plainest networks are stable, by activation, at the greatest depth that shows it."""
    kind = _baseline(cells)
    if kind is None:
        return ""
    plain = cells.filter(pl.col("norm") == kind[0], pl.col("skip") == kind[1])
    rows = [row for row in stable_ranges(plain, ["activation"]) if row["range"].kind != "few"]
    if not rows:
        return ""
    depth = _telling_depth(rows)
    chosen = [row for row in rows if row["depth_high"] == depth]
    chosen.sort(key=lambda row: (_ORDER.index(row["range"].kind), word("activation", row["activation"])))
    phrases = [f"{_phrase(row['range'])} with {word('activation', row['activation'])}" for row in chosen]
    where = joined(phrases[:_MOST_NAMED])
    layers = count(depth, "hidden layer")
    if chosen[0]["depth_low"] < depth:
        layers = f"{chosen[0]['depth_low']} to {layers}"
    return f"In {network(*kind)} of {layers}, gradients are stable {where}."


_ORDER = ("range", "all", "most", "mixed", "none", "few")


def _telling_depth(rows: Sequence[Mapping[str, Any]]) -> int:
    """The end of the depth band where most activations have some stable σ_w, the deepest such band."""

    def score(depth: int) -> tuple[int, int]:
        kinds = [row["range"].kind for row in rows if row["depth_high"] == depth]
        return sum(kind not in ("none", "mixed") for kind in kinds), depth

    depths: set[int] = {row["depth_high"] for row in rows}
    return max(depths, key=score)


def _phrase(found: StableRange) -> str:
    return {
        "all": "at every σ_w tried",
        "most": f"in {percent(found.stable_share)} of the cases at any σ_w tried",
        "none": f"in none of the {found.cells} cases",
        "mixed": f"in {percent(found.stable_share)} of the cases",
    }.get(found.kind) or f"for σ_w {range_words(found)}"


def range_words(found: StableRange) -> str:
    """'from 0.9 to 1.5', 'from the smallest tried to 1.5', 'from 0.9 to the largest tried'."""
    assert found.low is not None
    assert found.high is not None
    low, high = number(found.low), number(found.high)
    if found.open_low:
        return f"from the smallest tried to {high}"
    if found.open_high:
        return f"from {low} to the largest tried"
    return f"around {low}" if low == high else f"from {low} to {high}"


def kinds_sentence(cells: pl.LazyFrame) -> str:
    """How the regimes' shares differ between kinds of networks (norm × skip), the plainest first."""
    kind = _baseline(cells)
    shares = regime_shares(cells, ["norm", "skip"]).filter(pl.col("cells") >= _MIN_SHARE_CELLS).collect()
    rows = sorted(
        shares.rows(named=True), key=lambda row: ((row["norm"], row["skip"]) != kind, -row["stable"])
    )
    if len(rows) < 2 or (rows[0]["norm"], rows[0]["skip"]) != kind:
        return ""
    first, others = rows[0], rows[1:_MOST_NAMED]
    phrases = [
        f"{percent(first['stable'])} of the {network(*kind)} are stable ({_rest(first)})",
        *(
            f"{percent(row['stable'])} with {features(row['norm'], row['skip'])} ({_rest(row)})"
            for row in others
        ),
    ]
    return f"Over all depths and weight scales tried, {joined(phrases)}."


def _rest(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{percent(row[name]) if row[name] else 'none'} {verb}" for name, verb in _VERBS.items())


def training_sentence(trials: pl.LazyFrame) -> str:
    """The share that learned by regime, and how many diverged."""
    trained = trials.filter(pl.col("outcome").is_not_null())
    shares = outcome_shares(trained.filter(pl.col("regime").is_not_null()), ["regime"]).collect()
    rows = {row["regime"]: row for row in shares.rows(named=True) if row["trials"] >= _MIN_SHARE_CELLS}
    if not rows:
        return ""
    steps = trained.select("steps").unique().collect()["steps"].to_list()
    when = f"After {count(steps[0], 'training step')}" if len(steps) == 1 else "After training"
    phrases = [
        f"{percent(rows[name]['learned'])} of the {word_for}" for name, word_for in _GROUPS if name in rows
    ]
    diverged = trained.filter(pl.col("outcome") == "diverged").select(pl.len()).collect().item()
    total = trained.select(pl.len()).collect().item()
    tail = f"{count(diverged, 'trial')} of {total:,} diverged" if diverged else "no trial diverged"
    return f"{when}, {joined(phrases)} had learned; {tail}."


_GROUPS = (
    ("stable", "networks whose gradient was stable at the start"),
    ("vanishing", "ones where it vanished"),
    ("exploding", "ones where it exploded"),
)
