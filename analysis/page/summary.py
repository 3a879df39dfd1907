"""The answer in a few sentences, made from the tables. What the data do not support is not said."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import polars as pl

from gradatlas.analysis.measures.regions import outcome_shares, regime_shares
from gradatlas.analysis.page.stable_windows import baseline, stable_sentence
from gradatlas.analysis.words import count, features, joined, network, number, percent
from gradatlas.study.regimes import DEFAULT_LIMITS, Limits

_MOST_NAMED = 5  # kinds of networks in one sentence
_MIN_SHARE_CELLS = 8  # behind a share that a sentence states
_VERBS = {"vanishing": "vanish", "exploding": "explode"}


def sentences(
    cells: pl.LazyFrame,
    trials: pl.LazyFrame,
    limits: Limits = DEFAULT_LIMITS,
    sweep: Mapping[str, Any] | None = None,
) -> list[str]:
    """About three sentences: where gradients are stable, what norms and skips change, what training did.

    Of a study in parts each speaks of one, the part that has most to say of it, and names it. The sweep file
    says whether learning rates were drawn at random.
    """
    measured = cells.filter(pl.col("regime").is_not_null())
    plain = (pl.col("norm") == "none") & (pl.col("skip") == "none")
    found = []
    for write, rows, size in (
        (partial(stable_sentence, limits=limits), measured, plain.sum()),
        (kinds_sentence, measured, pl.len()),
        (partial(training_sentence, sweep=sweep or {}), trials, pl.col("outcome").is_not_null().sum()),
    ):
        sizes = rows.group_by("part").agg(size=size).sort(-pl.col("size").cast(pl.Int64), "part")
        parts = sizes.collect()["part"]
        said = ((part, write(rows.filter(pl.col("part") == part))) for part in parts)
        part, sentence = next(((part, text) for part, text in said if text), ("", ""))
        prefix = f"Part {part} (of {len(parts)}): " if len(parts) > 1 else ""
        found.append(prefix + sentence if sentence else "")
    return [sentence for sentence in found if sentence]


def kinds_sentence(cells: pl.LazyFrame) -> str:
    """How the regimes' shares differ between kinds of networks (norm × skip), the plainest first."""
    kind = baseline(cells)
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


def training_sentence(trials: pl.LazyFrame, sweep: Mapping[str, Any]) -> str:
    """The share that learned by regime, at which learning rates, and how many diverged."""
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
    return f"{when}{_rates(trained, sweep)}, {joined(phrases)} had learned; {tail}."


def _rates(trained: pl.LazyFrame, sweep: Mapping[str, Any]) -> str:
    """' at a learning rate of 0.1', ' at one learning rate for each point, drawn at random from 0.001 to 1'.

    A share of what learned at one random learning rate is not that of what can learn, so it must be said.
    """
    rate = pl.col("learning_rate")
    known = trained.filter(rate.is_not_null())
    low, high = known.select(low=rate.min(), high=rate.max()).collect().row(0)
    if low is None:
        return ""
    if low == high:
        return f" at a learning rate of {number(low)}"
    ends = f"from {number(low)} to {number(high)}"
    part = known.select("part").first().collect().item()
    if not _is_drawn("learning_rate", sweep, part):
        return f" at learning rates {ends}"
    counts = known.group_by("part", "point").agg(rates=rate.n_unique()).collect()["rates"]
    most = int(counts.max())  # type: ignore[arg-type]
    each = "one learning rate" if most == 1 else f"up to {most} learning rates"
    return f" at {each} for each point, drawn at random {ends}"


def _is_drawn(name: str, sweep: Mapping[str, Any], part: str) -> bool:
    """Whether the sweep file has a parameter of a part drawn at random inside each point."""
    search, parts = sweep.get("search"), sweep.get("part")
    if isinstance(search, Mapping) and search.get("sampler", "qmc") not in _AT_RANDOM:
        return False
    own = [table for table in parts if table.get("name") == part] if isinstance(parts, list) else []
    roles = [role for table in (*own, sweep) for role in _ROLES if name in table.get(role, {})]
    return roles[:1] == ["nuisance"]


_ROLES = ("scientific", "nuisance", "fixed")
_AT_RANDOM = ("qmc", "random", "grid")  # samplers that do not learn; a grid has nuisance parameters random


_GROUPS = (
    ("stable", "networks whose gradient was stable at the start"),
    ("vanishing", "ones where it vanished"),
    ("exploding", "ones where it exploded"),
)
