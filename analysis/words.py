"""How values and numbers are written in titles, tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from gradatlas.study.trial import PARAMETERS

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NAMELESS = ("part", "activation", "norm", "norm_position", "skip", "init", "family", "optimizer", "task")


def word(column: str, value: object) -> str:
    """A parameter's value for a reader: 'ReLU', 'batch norm', 'no skip', 'width 64'."""
    table = PARAMETERS[column].table if column in _NAMELESS[1:] else {}
    if str(value) in table:
        return table[str(value)].title
    if value is None and column in _NAMELESS:
        return f"{column.replace('_', ' ')} not recorded"
    text = number(value) if isinstance(value, float) else str(value)
    if column in _NAMELESS:
        return text if column == "part" else text.replace("_", " ")
    return f"{column.replace('_', ' ')} {'off' if value is None else text}"


def shortened(text: str, most: int) -> str:
    """The text, or as much of it as an axis has room for, with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def features(norm: str, skip: str) -> str:
    """What a kind of network has: 'batch norm and residual skips'; empty for plain ones."""
    parts = [word(column, value) for column, value in (("norm", norm), ("skip", skip)) if value != "none"]
    return joined([f"{part} skips" if part.endswith("residual") else part for part in parts])


def network(norm: str, skip: str) -> str:
    """A kind of network: 'plain networks (no norm, no skip)', 'networks with batch norm'."""
    found = features(norm, skip)
    return f"networks with {found}" if found else "plain networks (no norm, no skip)"


def number(value: float, digits: int = 2) -> str:
    """Two (or so many) significant digits: 0.25, 1.4, 16, 130; below a ten-thousandth 1.1·10⁻¹⁵."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("inf", "∞").replace("-", "−")
    if abs(value) < 1e-4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−")
    places = digits - 1 - math.floor(math.log10(abs(value)))
    # Half is rounded up, as by hand: 1.25 is 1.3. Python's own rounding makes 1.2 of it.
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    text = f"{rounded:.{max(0, places)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def plain_weights(sigma_w: float, width: int) -> str:
    """A weight scale as weights of a square layer: 'σ_w = 1.2 at width 64: weights of about ±0.15'.

    That is their standard deviation, σ_w / √width. A σ_w above 1 is not weights above 1.
    """
    return (
        f"σ_w = {number(sigma_w, 3)} at width {width}: weights of about ±{number(sigma_w / math.sqrt(width))}"
    )


def percent(share: float | None) -> str:
    """A share in whole percent; '<1 %' and '>99 %' where rounding would claim none or all."""
    if share is None or math.isnan(share):
        return "–"
    if 0 < share < 0.005:
        return "<1\u00a0%"
    if 0.995 <= share < 1:
        return ">99\u00a0%"
    return f"{100 * share:.0f}\u00a0%"


def count(value: int, singular: str, plural: str | None = None) -> str:
    """'1 trial', '2,048 trials'."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def joined(items: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def span(low: int, high: int) -> str:
    """A band of whole numbers: '4–7', '64'."""
    return f"{low}" if low == high else f"{low}–{high}"
