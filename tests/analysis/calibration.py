"""How often intervals hold the truth and verdicts are wrong, counted over planted studies.

`python -m tests.analysis.calibration` prints the table of the documentation. Every row plants a truth that is
known, draws a study from it anew, asks the analysis, and counts.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from gradatlas.analysis.claims.rules import MATTERS, Finding, above, found
from gradatlas.analysis.measures.effects import Effect, difference, matched, median, share
from gradatlas.analysis.measures.level_crossing import crossing
from gradatlas.study.theory.meanfield import Structure, expected
from gradatlas.study.theory.predictions import gaussian_statistics, networks_at

REPETITIONS = 2_000
_STRATA = ("activation", "octave", "scale")
_ACTIVATIONS = 3


@dataclass(frozen=True)
class Row:
    """One line of the table: what was counted over which design, the share found, and what it may be."""

    kind: str
    design: str
    counted: str
    share: float
    least: float
    most: float
    repetitions: int = REPETITIONS

    @property
    def holds(self) -> bool:
        """Whether the share is inside its bounds, but for what so many repetitions leave to chance."""
        return self.least - self._chance(self.least) <= self.share <= self.most + self._chance(self.most)

    def _chance(self, bound: float) -> float:
        return 3 * math.sqrt(bound * (1 - bound) / self.repetitions)


def covered(kind: str, design: str, hits: list[bool], *, most: float = 0.97) -> Row:
    """A row of how often an interval holds the truth; `most` is 1 where it is wide on purpose."""
    return Row(kind, design, "holds the truth", float(np.mean(hits)), 0.93, most, len(hits))


Counter = Callable[[np.random.Generator], Row]


def share_of(chance: float, cells: int, rng: np.random.Generator) -> Row:
    """Wilson's interval of a share of scattered cells."""
    hits = []
    for _ in range(REPETITIONS):
        effect = share(_cells(cells, so=rng.random(cells) < chance), "so")
        assert effect is not None
        hits.append(effect.low <= chance <= effect.high)
    wide = min(chance, 1 - chance) * cells < 5
    return covered("share", f"{cells} cells, true share {chance:g}", hits, most=1.0 if wide else 0.97)


def median_of(cells: int, rng: np.random.Generator) -> Row:
    """The interval of a median of skewed numbers."""
    hits = []
    for _ in range(REPETITIONS):
        effect = median(_cells(cells, v=rng.exponential(size=cells)), "v")
        assert effect is not None
        hits.append(effect.low <= math.log(2) <= effect.high)
    return covered("median", f"{cells} cells, exponential", hits)


def matched_slopes(cells: int, rng: np.random.Generator) -> Row:
    """The median difference of pairs: slopes rise with σ_w, and the arm adds 0.1."""
    hits = []
    for _ in range(REPETITIONS // 2):
        depth, sigma = 2 * 50 ** rng.random(cells), 0.25 * 16 ** rng.random(cells)
        arm = rng.random(cells) < 0.5
        slope = np.log10(sigma) + 0.1 * arm + 0.1 * rng.normal(size=cells)
        table = _cells(cells, depth=depth, sigma_w=sigma, arm=arm, slope=slope).with_columns(one=pl.lit(1))
        effect = matched(table, "slope", "arm", ["one"])
        assert effect is not None
        hits.append(effect.low <= 0.1 <= effect.high)
    return covered("matched difference", f"{cells} cells in one group", hits)


def difference_of_regimes(cells: int, treated: float, rng: np.random.Generator) -> Row:
    """The difference of a regime's share: cells scattered over depth and σ_w, nearly determined by them.

    The arm moves the critical σ_w by a half. The truth is that of the strata, from two million cells, with
    the weights of the cells that were drawn.
    """
    truth = _by_stratum(_regimes(2_000_000, 0.5, np.random.default_rng(rng.integers(2**63))))
    hits = []
    for _ in range(REPETITIONS):
        table = _regimes(cells, treated, rng)
        effect = difference(table, "so", "arm", _STRATA)
        if effect is not None:
            known = _by_stratum(table).join(truth, on=_STRATA, suffix="_true")
            weight = (known["n1"] * known["n0"] / (known["n1"] + known["n0"])).to_numpy()
            real = float(np.average((known["p1_true"] - known["p0_true"]).to_numpy(), weights=weight))
            hits.append(effect.low <= real <= effect.high)
    design = f"{cells} cells, {treated:.0%} of them treated, nearly determined by depth and σ_w"
    return covered("difference of shares", design, hits, most=1.0 if cells * treated < 300 else 0.97)


def _regimes(cells: int, treated: float, rng: np.random.Generator) -> pl.DataFrame:
    depth, sigma = 2 * 50 ** rng.random(cells), 0.25 * 32 ** rng.random(cells)
    arm, activation = rng.random(cells) < treated, rng.integers(0, 2, cells)
    critical = np.where(arm, 1.4, 2.1) * np.where(activation, 1, 1.5)
    g = (depth - 1) * np.log10(sigma / critical) + 0.15 * np.sqrt(depth) * rng.normal(size=cells)
    places = {"octave": np.floor(np.log2(depth)), "scale": np.floor(2 * np.log2(sigma))}
    return _cells(cells, arm=arm, activation=activation, so=g > 1.3, **places)


def _by_stratum(table: pl.DataFrame) -> pl.DataFrame:
    arm, so = pl.col("arm"), pl.col("so").cast(pl.Float64)
    counts = {"n1": arm.sum().cast(pl.Float64), "n0": (~arm).sum().cast(pl.Float64)}
    means = {"p1": so.filter(arm).mean(), "p0": so.filter(~arm).mean()}
    return table.group_by(_STRATA).agg(**counts, **means).filter(pl.col("n1") > 0, pl.col("n0") > 0)


def difference_of_outcomes(cells: int, treated: float, rng: np.random.Generator) -> Row:
    """The difference of an outcome's share, which differs between strata and is chance inside them."""
    hits = []
    for _ in range(REPETITIONS):
        effect = _outcome_effect(_outcomes(cells, treated, [0.2] * _ACTIVATIONS, rng))
        assert effect is not None
        hits.append(effect.low <= 0.2 <= effect.high)
    design = f"{cells} cells, {treated:.0%} of them treated, chance inside each stratum"
    return covered("difference of shares", design, hits, most=1.0 if cells < 100 else 0.97)


def _outcomes(
    cells: int, treated: float, effects: list[float], rng: np.random.Generator, base: float = 0.3
) -> pl.DataFrame:
    """Trials with an outcome of their stratum's chance, plus their activation's effect if treated."""
    activation, octave = rng.integers(0, len(effects), cells), rng.integers(0, 3, cells)
    arm = rng.random(cells) < treated
    chance = base * (0.6 + 0.4 * octave) + np.array(effects)[activation] * arm
    columns = {"arm": arm, "activation": activation, "octave": octave, "scale": np.zeros(cells, int)}
    return _cells(cells, so=rng.random(cells) < np.clip(chance, 0, 1), **columns)


_outcome_effect: Callable[[pl.DataFrame], Effect | None] = partial(
    difference, what="so", arm="arm", strata=_STRATA
)


def _finding(table: pl.DataFrame) -> Finding:
    """What a question of a study is answered with: the rule, over all cells and by activation."""
    settings = [
        (str(name), _outcome_effect(table.filter(pl.col("activation") == name)))
        for name in range(_ACTIVATIONS)
    ]
    finding = found(above(0.0, matters=MATTERS), _outcome_effect(table), {"activation": settings})
    assert finding is not None
    return finding


def slope_curve(activation: str, depth: int = 30) -> tuple[np.ndarray, np.ndarray, float]:
    """(log10 σ_w, decades per layer by mean field, log10 of the critical σ_w) of plain networks."""
    sigma = np.geomspace(0.2, 40, 800)
    inputs = gaussian_statistics(64, 1.0)
    networks = networks_at(sigma, sigma_b=0.0, depth=depth, width=64, inputs=inputs, family="mlp")
    slope = expected(Structure(activation=activation), networks).gradient_decades() / (depth - 1)
    last = np.flatnonzero((slope[:-1] < 0) & (slope[1:] >= 0))[-1]
    x, y = np.log10(sigma), slope
    return x, y, float(x[last] - y[last] * (x[last + 1] - x[last]) / (y[last + 1] - y[last]))


def scattered_slopes(
    x: np.ndarray, y: np.ndarray, cells: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log10 σ_w, decades per layer, their variances up to a factor) of scattered cells of one seed each."""
    at = np.log10(0.25) + np.log10(128) * rng.random(cells)
    depth = 8 * (100 / 8) ** rng.random(cells)
    noise = 0.217 * np.sqrt(3 * depth / 64) / (depth - 1)
    return at, np.interp(at, x, y) + noise * rng.normal(size=cells), 1 / (depth - 1)


def critical_weights(activation: str, cells: int, rng: np.random.Generator) -> Row:
    """The interval of the critical σ_w, wide on purpose: of the curve it assumes only that it rises."""
    x, y, truth = slope_curve(activation)
    hits = []
    for _ in range(REPETITIONS):
        at, slope, variance = scattered_slopes(x, y, cells, rng)
        line = crossing(at, slope, variance=variance)
        if line.low is not None and line.high is not None:
            hits.append(line.low <= truth <= line.high)
    return covered("critical σ_w", f"{cells} cells, {activation}", hits, most=1.0)


@dataclass(frozen=True)
class Planted:
    """A planted study of verdicts: the effect of each activation, its size, and what is counted."""

    counted: str
    words: str
    effects: tuple[float, float, float]
    cells: int
    least: float
    most: float
    base: float = 0.1


PLANTED = (
    Planted("yes", "no effect", (0, 0, 0), 600, 0, 0.025),
    Planted("no", "the smallest effect that matters", (MATTERS,) * 3, 600, 0, 0.025),
    Planted("depends", "no effect", (0, 0, 0), 600, 0, 0.05),
    Planted("depends", "one effect of 20 points", (0.2,) * 3, 600, 0, 0.05),
    Planted("depends", "effects of 10, 30 and 50 points", (0.1, 0.3, 0.5), 2400, 0, 0.05),
    Planted("depends", "effects of 10, 30 and 50 points", (0.1, 0.3, 0.5), 10_000, 0, 0.05),
    Planted("yes", "twice the smallest that matters", (2 * MATTERS,) * 3, 600, 0.8, 1),
    Planted("no", "no effect", (0, 0, 0), 900, 0.8, 1, base=0.05),
    Planted("depends", "effects of 0, 0 and 40 points", (0, 0, 0.4), 2000, 0.8, 1, base=0.03),
)


def verdicts(planted: Planted, rng: np.random.Generator) -> Row:
    """How often a planted study gets a verdict."""
    told = [
        _finding(_outcomes(planted.cells, 0.5, list(planted.effects), rng, planted.base)).verdict
        for _ in range(REPETITIONS)
    ]
    rate = float(np.mean([verdict == planted.counted for verdict in told]))
    design = f"{planted.cells:,} cells, {planted.words}"
    return Row("verdict", design, f"“{planted.counted}”", rate, planted.least, planted.most)


def _cells(count: int, **columns: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"rows": np.ones(count, int)} | columns)


COUNTERS: dict[str, Counter] = {
    **{
        f"share {chance:g} of {cells}": partial(share_of, chance, cells)
        for chance in (0.02, 0.3, 0.5)
        for cells in (20, 100, 600)
    },
    **{f"median of {cells}": partial(median_of, cells) for cells in (8, 20, 200)},
    **{f"matched {cells}": partial(matched_slopes, cells) for cells in (150, 600)},
    **{
        f"regimes {cells} {treated:g}": partial(difference_of_regimes, cells, treated)
        for cells, treated in ((200, 0.5), (600, 0.5), (2000, 0.5), (2000, 0.2))
    },
    **{
        f"outcomes {cells} {treated:g}": partial(difference_of_outcomes, cells, treated)
        for cells, treated in ((60, 0.5), (300, 0.5), (300, 0.2), (1200, 0.5))
    },
    **{
        f"critical σ_w {activation} {cells}": partial(critical_weights, activation, cells)
        for activation in ("tanh", "relu")
        for cells in (30, 300)
    },
    **{
        f"{planted.counted}: {planted.words}, {planted.cells}": partial(verdicts, planted)
        for planted in PLANTED
    },
}


def main() -> None:
    """Prints the table as Markdown."""
    print("| kind | design | counted | share | bounds |\n| --- | --- | --- | --- | --- |")
    for counter in COUNTERS.values():
        row = counter(np.random.default_rng(secrets.randbits(64)))
        bounds = f"{row.least:.0%} to {row.most:.0%}" if row.least else f"≤ {row.most:.1%}"
        mark = "" if row.holds else " ✗"
        print(f"| {row.kind} | {row.design} | {row.counted} | {row.share:.1%}{mark} | {bounds} |", flush=True)


if __name__ == "__main__":
    main()
