"""What measured differences say for and against a budget: p values on both sides of its lines, and their corrections.

A budget is a limit on a loss (a number that is larger the worse a variant is): a variant keeps it if the loss is below
`keeps`, and breaks it if the loss is above `breaks`. For a plain limit ("at most 1 point") both are the same; for "no
significant regression" a loss above 0 breaks it, and only a loss that is shown to be below a margin keeps it. All tests
are one-sided; at a level of 2.5 % they say what a 95 % interval says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr  # type: ignore[import-untyped, unused-ignore]

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.paired import Values, paired_drop
from quantcurve.metrics.paired_rates import Discordant, p_above, p_below
from quantcurve.metrics.statistics import LEVEL
from quantcurve.records import Frozen

ALPHA = (1 - LEVEL) / 2
"""Level of a one-sided test."""
POWER = 0.8
MIN_ITEMS = 8
"""Items below which nothing is decided: t and score tests of fewer err more often than they say."""
MOST_ITEMS = 10_000_000
"""A number of items above it is told as none: the loss is as good as on the line."""


class Lines(NamedTuple):
    """Of a budget, in the unit of the loss."""

    keeps: float
    breaks: float


class Evidence(Frozen):
    """What the data say about one budget of one variant."""

    loss: Figure
    """Above 0 where the variant is worse."""
    p_keeps: float = 1.0
    """Of H0: the loss is at least `Lines.keeps`."""
    p_breaks: float = 1.0
    """Of H0: the loss is at most `Lines.breaks`."""
    lost: int | None = None
    """Items that are worse than the reference's, where items are compared."""
    won: int | None = None
    smallest_effect: float | None = None
    """Loss above `Lines.breaks` that so many items show with a probability of 80 %."""
    items_needed: int | None = None
    """In all, for a decision with a probability of 80 % if the loss is what it seems; None: no number of them, or
    nothing is known of how items scatter."""


def missing(why: str) -> Evidence:
    """No evidence at all."""
    return Evidence(loss=Missing(missing=why))


def of_items(reference: Values, variant: Values, lines: Lines, unit: str) -> Evidence:
    """Evidence from values of the same items, higher is better.

    Rates are judged by Tango's test, other values by Student's. That one says too much of few values of about one size,
    such as differences by rounding: all 8 of them fall on one side by chance once in 256, whatever t says. So its p
    value is never told below 2^-n, the least that a test can say which takes chance to be symmetric and nothing more
    (tests/test_evidence.py).

    Args:
        reference: (n,), of the float reference.
        variant: (n,), of the same items.
        lines: in the values' unit.
        unit: of the values.

    Raises:
        ValueError: see `paired.paired_drop`.
    """
    loss = paired_drop(reference, variant, unit)
    a, b = np.asarray(reference, np.float64), np.asarray(variant, np.float64)
    lost, won, n = int((b < a).sum()), int((b > a).sum()), len(a)
    found = Evidence(loss=loss, lost=lost, won=won)
    if n < MIN_ITEMS:
        return found
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        counts = Discordant(lost, won, n)
        p, q = (lost + 1) / (n + 2), (won + 1) / (n + 2)
        spread, mean = math.sqrt(p + q - (p - q) ** 2), counts.difference
        keeps, breaks = p_below(counts, _rate(lines.keeps)), p_above(counts, _rate(lines.breaks))
    else:
        spread, mean = float((a - b).std(ddof=1)), float((a - b).mean())
        error, least = spread / math.sqrt(n), 0.5**n
        keeps = max(least, _t_below(mean, error, n, lines.keeps))
        breaks = max(least, _t_below(-mean, error, n, -lines.breaks))
    return found.model_copy(
        update={
            "p_keeps": keeps,
            "p_breaks": breaks,
            "smallest_effect": (_z(ALPHA) + _z(1 - POWER)) * spread / math.sqrt(n),
            "items_needed": items_needed(mean, spread, lines),
        }
    )


def of_shares(reference: Values, variant: Values, lines: Lines, unit: str) -> Evidence:
    """Evidence from values in [0, 1] of the same items, higher is better, of which few may differ.

    Where all are 0 or 1 this is `of_items`. Else t alone knows nothing of items that differ and were not drawn: of 24
    to 300 items of which 1 to 4 % differ, it calls a budget kept that lies on the expected loss in 5 to 79 % of all
    samples, in place of 2.5 %. So on each side one item is added, as far off as the farthest, and where no item
    differs, the interval is that of rates: in none to 2 % (our own addition; tests/test_evidence.py).

    Args:
        reference: (n,), of the float reference.
        variant: (n,), of the same items.
        lines: in the values' unit.
        unit: of the values.

    Raises:
        ValueError: see `paired.paired_drop`.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(variant, np.float64)
    if np.array_equal(a, b) and a.size:
        return of_items(np.ones_like(a), np.ones_like(b), lines, unit)
    found = of_items(a, b, lines, unit)
    if len(a) < MIN_ITEMS or (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        return found
    far = np.abs(a - b).max()
    worse = of_items(np.append(a, far), np.append(b, 0), lines, unit)
    better = of_items(np.append(a, 0), np.append(b, far), lines, unit)
    if isinstance(found.loss, Missing) or isinstance(worse.loss, Missing) or isinstance(better.loss, Missing):
        return found
    method = f"{found.loss.method}, one more on each side as far off as the farthest"
    loss = found.loss.model_copy(update={"low": better.loss.low, "high": worse.loss.high, "method": method})
    return found.model_copy(update={"loss": loss, "p_keeps": worse.p_keeps, "p_breaks": better.p_breaks})


def of_estimate(loss: Figure, lines: Lines) -> Evidence:
    """Evidence from a figure with a t interval (or one that is about that on each of its sides).

    Args:
        loss: on a scale on which it is about normal; the logarithm of a ratio, say.
        lines: on the same scale.
    """
    if isinstance(loss, Missing):
        return Evidence(loss=loss)
    if loss.low == loss.high:
        return of_constant(loss, lines)
    wide = float(ndtri((1 + loss.level) / 2))
    up, down = (loss.high - loss.value) / wide, (loss.value - loss.low) / wide
    return Evidence(
        loss=loss,
        p_keeps=_normal_below(loss.value, up, lines.keeps),
        p_breaks=_normal_below(-loss.value, down, -lines.breaks),
        items_needed=items_needed(loss.value, max(up, down) * math.sqrt(loss.n), lines),
    )


def of_constant(loss: Estimate, lines: Lines) -> Evidence:
    """Evidence from a figure that is exact: the size of a file."""
    return Evidence(
        loss=loss,
        p_keeps=float(loss.value > lines.keeps),
        p_breaks=float(loss.value <= lines.breaks),
    )


def of_both_sides(difference: Figure, half_width: float) -> Evidence:
    """Evidence for a figure that may go neither up nor down by more: two one-sided tests (Schuirmann 1987) for keeping
    the budget, and the smaller p value of both sides, doubled, for breaking it."""
    above = of_estimate(difference, Lines(half_width, half_width))
    if isinstance(difference, Missing):
        return above
    turned = difference.model_copy(
        update={"value": -difference.value, "low": -difference.high, "high": -difference.low}
    )
    below = of_estimate(turned, Lines(half_width, half_width))
    needed = [e.items_needed for e in (above, below)]
    return above.model_copy(
        update={
            "p_keeps": max(above.p_keeps, below.p_keeps),
            "p_breaks": min(1.0, 2 * min(above.p_breaks, below.p_breaks)),
            "items_needed": max((n for n in needed if n), default=None) if all(needed) else None,
        }
    )


def items_needed(mean: float, spread: float, lines: Lines) -> int | None:
    """Items for a decision on either side with a power of POWER at the level ALPHA, were the loss `mean` and the
    standard deviation of an item's `spread`: ((z_alpha + z_beta) spread / distance)^2."""
    distances = [d for d in (lines.keeps - mean, mean - lines.breaks) if d > 0]
    if not distances or not spread:
        return None
    count = math.ceil(((_z(ALPHA) + _z(1 - POWER)) * spread / max(distances)) ** 2)
    return max(count, MIN_ITEMS) if count <= MOST_ITEMS else None


def over_looks(p_values: Sequence[float], weights: Sequence[float]) -> float:
    """One p value of tests on the same growing sample: min over looks of p / weight, 1 at most. By Bonferroni's
    inequality it is below a level with a probability of at most that level, whatever look one stops at, if the weights
    of all looks that were planned sum to 1.

    Args:
        p_values: of the looks so far, in order.
        weights: of all looks that were planned.

    Raises:
        ValueError: more looks than were planned, or weights that are none.
    """
    if len(p_values) > len(weights) or not math.isclose(sum(weights), 1) or min(weights) <= 0:
        raise ValueError(f"{len(p_values)} looks with weights {list(weights)}")
    return min((1.0, *(p / w for p, w in zip(p_values, weights, strict=False))))


def over_all_looks(looks: Sequence[Evidence], weights: Sequence[float]) -> Evidence:
    """Evidence of the last look with p values that allow for those before it (`over_looks`)."""
    return looks[-1].model_copy(
        update={
            "p_keeps": over_looks([look.p_keeps for look in looks], weights),
            "p_breaks": over_looks([look.p_breaks for look in looks], weights),
        }
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that keep the probability of any false rejection below a level (Holm 1979, "A simple
    sequentially rejective multiple test procedure", Scand. J. Statist. 6, 65-70), in the order given."""
    p: npt.NDArray[np.float64] = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(x) for x in adjusted]


def _rate(line: float) -> float:
    return min(max(line, -1.0), 1.0)


def _t_below(mean: float, error: float, n: int, line: float) -> float:
    """P value of H0: the expected mean is at least `line`; 0 or 1 where no item differs from another."""
    if error == 0:
        return float(mean >= line)
    return float(stdtr(n - 1, (mean - line) / error))


def _normal_below(value: float, error: float, line: float) -> float:
    if error == 0:
        return float(value >= line)
    from scipy.special import ndtr

    return float(ndtr((value - line) / error))


def _z(tail: float) -> float:
    return -float(ndtri(tail))
