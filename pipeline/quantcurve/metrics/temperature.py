"""How much surer a model is of its choices than another: one temperature for all items.

Temperature: the T by which a variant's log-likelihoods are divided so that they are closest to the reference's
probabilities: least sum over items of KL(reference, softmax(variant / T)). Above 1 the variant is surer than the
reference, 1.15 where all its logits are 1.15 times the reference's. The sum is convex in 1 / T; its derivative, that is
the sum of each item's (mean log-likelihood under the variant at T, less that under the reference), has its root there.
The interval is a percentile bootstrap of ln(T) over items. Coverage of nominal 95 %, 400 samples each (standard error
0.011), of logits N(0, 1.5) of four choices times 1.15, with noise N(0, 0.5): 8 items 0.865, 32 0.928, 200 0.970
(tests/test_confidence_metrics.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped, unused-ignore]
from scipy.special import log_softmax, softmax  # type: ignore[import-untyped, unused-ignore]

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.item_changes import RESAMPLES, none_differs, resampled_roots
from quantcurve.metrics.paired import MIN_ITEMS, Values
from quantcurve.metrics.statistics import LEVEL

FARTHEST = 100.0
"""Temperatures from 1 / FARTHEST to FARTHEST are found."""
TOLERANCE = 1e-9
"""Relative, of a temperature."""
NODES, REACH = 65, 8.0
"""Temperatures at which resamples are looked at, and how many standard errors they go to either side."""


class _Slopes(NamedTuple):
    """Where a temperature is looked for."""

    of: Callable[[float], Doubles]
    """Derivatives of the items' KL in 1 / T, (n,), at T = exp(-x)."""
    at: float | Missing
    """Root of their sum."""


def closest_temperature(reference: Sequence[Values], variant: Sequence[Values]) -> float:
    """As `temperature` without its interval; 1 where none is known."""
    if len(reference) < MIN_ITEMS:
        return 1.0
    at = _slopes(choice_table(reference), choice_table(variant)).at
    return 1.0 if isinstance(at, Missing) else math.exp(-at)


def temperature(reference: Sequence[Values], variant: Sequence[Values]) -> Figure:
    """Temperature that rescales a variant's log-likelihoods to the reference's, 1 where it need not (see the module).

    Args:
        reference: of each item's choices, (k,) nats.
        variant: of the same choices.

    Raises:
        ValueError: other choices, no items, fewer than two choices, or values that are not finite.
    """
    wanted, scores = choice_table(reference), choice_table(variant)
    _check_choices(wanted, scores)
    if (n := len(scores)) < MIN_ITEMS:
        return Missing(missing=f"{n} item; an interval needs {MIN_ITEMS}")
    if np.array_equal(log_softmax(wanted, axis=1), log_softmax(scores, axis=1)):
        return none_differs(1, n, "temperature")
    slopes = _slopes(wanted, scores)
    return slopes.at if isinstance(slopes.at, Missing) else _bootstrapped(slopes.of, slopes.at, n)


def _check_choices(wanted: Doubles, scores: Doubles) -> None:
    known = np.isfinite(wanted)
    if known.shape != scores.shape or (known != np.isfinite(scores)).any():
        raise ValueError("the reference and the variant have other items or other numbers of choices")


def _slopes(wanted: Doubles, scores: Doubles) -> _Slopes:
    _check_choices(wanted, scores)
    known = np.isfinite(wanted)
    scores = np.where(known, scores - scores.max(1, keepdims=True), 0)
    target = (np.exp(log_softmax(wanted, axis=1)) * scores).sum(1)

    def slopes(x: float) -> Doubles:
        found = softmax(np.where(known, scores * math.exp(x), -np.inf), axis=1)
        return np.asarray((found * scores).sum(1) - target)

    far = math.log(FARTHEST)
    ends = float(slopes(-far).sum()), float(slopes(far).sum())
    if not ends[0] < 0 < ends[1]:
        why = (
            f"no temperature from {1 / FARTHEST:g} to {FARTHEST:g} fits best: one model's choices are about equally "
            "likely, or it is sure where the other doubts"
        )
        return _Slopes(slopes, Missing(missing=why))
    return _Slopes(slopes, float(brentq(lambda x: float(slopes(x).sum()), -far, far, xtol=TOLERANCE / 10)))


def choice_table(log_likelihoods: Sequence[Values]) -> Doubles:
    """(n, most choices), minus infinity where an item has fewer.

    Raises:
        ValueError: no items, fewer than two choices, or values that are not finite.
    """
    rows = [np.asarray(x, np.float64) for x in log_likelihoods]
    for i, row in enumerate(rows):
        if row.ndim != 1 or len(row) < 2 or not np.isfinite(row).all():
            raise ValueError(f"item {i}: two or more finite log-likelihoods are needed; shape {row.shape} given")
    if not rows:
        raise ValueError("no items")
    table = np.full((len(rows), max(map(len, rows))), -np.inf)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    return table


def _bootstrapped(slopes: Callable[[float], Doubles], at: float, n: int) -> Figure:
    """Interval of a temperature.

    Args:
        slopes: items' slopes (n,) at -ln(T), whose sum rises.
        at: its root.
        n: items.
    """
    step, value = 1e-4, math.exp(-at)
    curvature = float((slopes(at + step) - slopes(at - step)).sum()) / (2 * step)
    if curvature <= 0:
        return Missing(missing=f"temperatures around {value:.4g} all fit alike")
    error = float(np.linalg.norm(slopes(at))) / curvature
    if error <= TOLERANCE:
        return Estimate(value=value, low=value * (1 - TOLERANCE), high=value * (1 + TOLERANCE), n=n,
                        unit="temperature", method=f"the same of all {n} items, but for rounding")  # fmt: skip
    far = math.log(FARTHEST)
    nodes = np.linspace(max(-far, at - REACH * error), min(far, at + REACH * error), NODES)
    roots = resampled_roots(np.stack([slopes(x) for x in nodes], axis=1), nodes)
    low, high = (math.exp(-float(x)) for x in np.quantile(roots, [(1 + LEVEL) / 2, (1 - LEVEL) / 2]))
    method = f"least KL of {n} items; percentile bootstrap of its logarithm, {RESAMPLES} resamples over items"
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n, unit="temperature", method=method)
