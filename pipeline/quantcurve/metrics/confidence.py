"""How sure a variant is of its choices, and whether it is as often right: from the likelihoods of multiple choice.

Probabilities of an item's choices are the softmax of their log-likelihoods (nats), as they are or divided by lengths
(`normalised`); the model takes the likeliest, the first of equals. Items are taken for independent and are paired:
changes are variant less reference, but for the accuracy's drop, which is reference less variant.

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
from scipy.special import entr, log_softmax, softmax  # type: ignore[import-untyped, unused-ignore]

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.calibration_error import BinKind, CalibrationError, calibration_change, calibration_errors
from quantcurve.metrics.item_changes import RESAMPLES, change, none_differs, ratio_of_means, resampled_roots
from quantcurve.metrics.paired import MIN_ITEMS, Values, item_mean, paired_drop
from quantcurve.metrics.statistics import LEVEL
from quantcurve.records import Frozen

FARTHEST = 100.0
"""Temperatures from 1 / FARTHEST to FARTHEST are found."""
TOLERANCE = 1e-9
"""Relative, of a temperature."""
NODES, REACH = 65, 8.0
"""Temperatures at which resamples are looked at, and how many standard errors they go to either side."""


class Choices(NamedTuple):
    """Multiple choice on one model."""

    log_likelihoods: Sequence[Values]
    """Of each item's choices, (k,) nats, k from 2 on."""
    right: Sequence[int]
    """Place of each item's right choice."""


class ItemConfidence(NamedTuple):
    """By item, (n,)."""

    right: Doubles
    """1 where the likeliest choice is the right one, else 0."""
    confidence: Doubles
    """Probability of the likeliest choice."""
    brier: Doubles
    """Sum over choices of (probability - (1 if it is right else 0))^2, 0 to 2 (Brier 1950, Mon. Weather Rev. 78)."""
    negative_log_likelihood: Doubles
    """Of the right choice, nats."""
    entropy: Doubles
    """Of the distribution over choices, nats."""


class Confidence(Frozen):
    """One model."""

    items: int
    accuracy: Figure
    confidence: Figure
    gap: Figure
    """Accuracy less confidence: below 0 where the model is surer than right."""
    brier: Figure
    negative_log_likelihood: Figure
    entropy: Figure
    calibration: tuple[CalibrationError, ...]
    """With each of calibration_error.BINNINGS."""


class CalibrationChange(Frozen):
    """Change of ECE with one binning."""

    kind: BinKind
    bins: int
    change: Figure


class ConfidenceChange(Frozen):
    """A variant beside the reference."""

    items: int
    accuracy_drop: Figure
    confidence: Figure
    gap: Figure
    brier: Figure
    negative_log_likelihood: Figure
    entropy: Figure
    calibration: tuple[CalibrationChange, ...]
    temperature: Figure


class StepConfidence(NamedTuple):
    """Steps of one answer or text, (S,)."""

    entropy: Values
    margin: Values


class TokenConfidence(Frozen):
    """Of the same tokens; sum over all steps on the variant over that on the reference."""

    entropy_ratio: Figure
    margin_ratio: Figure


def normalised(log_likelihoods: Sequence[Values], lengths: Sequence[Sequence[int]]) -> list[Doubles]:
    """Log-likelihoods (k,) of each item by the length (k,) of each choice, in bytes, characters or tokens.

    Raises:
        ValueError: other numbers of lengths, or one that is not above 0.
    """
    pairs = [(np.asarray(x, np.float64), np.asarray(y)) for x, y in zip(log_likelihoods, lengths, strict=True)]
    for i, (nats, units) in enumerate(pairs):
        if nats.shape != units.shape or not (units > 0).all():
            raise ValueError(f"item {i}: {nats.size} log-likelihoods and lengths {units.tolist()}, all above 0 needed")
    return [nats / units for nats, units in pairs]


def item_confidence(choices: Choices) -> ItemConfidence:
    """Figures of each item.

    Raises:
        ValueError: no items, fewer than two choices, a right place that is none, or values that are not finite.
    """
    table = _table(choices.log_likelihoods)
    counts, places = np.isfinite(table).sum(1), np.asarray(choices.right)
    if places.shape != counts.shape or places.dtype.kind not in "iu" or ((places < 0) | (places >= counts)).any():
        raise ValueError(f"{len(table)} items need places of right choices, from 0; {places.tolist()!s:.200} given")
    logs, rows = np.asarray(log_softmax(table, axis=1)), np.arange(len(table))
    found = np.exp(logs)
    wanted = np.arange(table.shape[1]) == places[:, None]
    return ItemConfidence(
        right=(table.argmax(1) == places).astype(np.float64),
        confidence=np.minimum(found.max(1), 1),
        brier=((found - wanted) ** 2).sum(1),
        negative_log_likelihood=-logs[rows, places],
        entropy=np.asarray(entr(found).sum(1)),
    )


def confidence(choices: Choices) -> Confidence:
    """Figures of one model; ValueError as `item_confidence`."""
    items = item_confidence(choices)
    return Confidence(
        items=len(items.right),
        accuracy=item_mean(items.right, "share"),
        confidence=item_mean(items.confidence, "probability"),
        gap=paired_drop(items.right, items.confidence, "probability"),
        brier=item_mean(items.brier, "Brier score"),
        negative_log_likelihood=item_mean(items.negative_log_likelihood, "nats"),
        entropy=item_mean(items.entropy, "nats"),
        calibration=calibration_errors(items.confidence, items.right),
    )


def confidence_change(reference: Choices, variant: Choices) -> ConfidenceChange:
    """Paired changes.

    Args:
        reference: items on the reference.
        variant: the same items, with the same choices, on the variant.

    Raises:
        ValueError: other items, or as `item_confidence`.
    """
    if not np.array_equal(reference.right, variant.right):
        raise ValueError("the right places are not the same: other items, or in another order")
    a, b = item_confidence(reference), item_confidence(variant)
    errors = zip(*(calibration_errors(one.confidence, one.right) for one in (a, b)), strict=True)
    return ConfidenceChange(
        items=len(a.right),
        accuracy_drop=paired_drop(a.right, b.right, "share"),
        confidence=change(a.confidence, b.confidence, "probability"),
        gap=change(a.right - a.confidence, b.right - b.confidence, "probability"),
        brier=change(a.brier, b.brier, "Brier score"),
        negative_log_likelihood=change(a.negative_log_likelihood, b.negative_log_likelihood, "nats"),
        entropy=change(a.entropy, b.entropy, "nats"),
        calibration=tuple(
            CalibrationChange(kind=x.kind, bins=x.bins, change=calibration_change(x, y)) for x, y in errors
        ),
        temperature=temperature(reference.log_likelihoods, variant.log_likelihoods),
    )


def temperature(reference: Sequence[Values], variant: Sequence[Values]) -> Figure:
    """Temperature that rescales a variant's log-likelihoods to the reference's, 1 where it need not (see the module).

    Args:
        reference: of each item's choices, (k,) nats.
        variant: of the same choices.

    Raises:
        ValueError: other choices, no items, fewer than two choices, or values that are not finite.
    """
    wanted, scores = _table(reference), _table(variant)
    known = np.isfinite(wanted)
    if known.shape != scores.shape or (known != np.isfinite(scores)).any():
        raise ValueError("the reference and the variant have other items or other numbers of choices")
    if (n := len(scores)) < MIN_ITEMS:
        return Missing(missing=f"{n} item; an interval needs {MIN_ITEMS}")
    logs = log_softmax(wanted, axis=1)
    if np.array_equal(logs, log_softmax(scores, axis=1)):
        return none_differs(1, n, "temperature")
    scores = np.where(known, scores - scores.max(1, keepdims=True), 0)
    target = (np.exp(logs) * scores).sum(1)

    def slopes(x: float) -> Doubles:
        """Derivatives of the items' KL in 1 / T, at T = exp(-x)."""
        found = softmax(np.where(known, scores * math.exp(x), -np.inf), axis=1)
        return np.asarray((found * scores).sum(1) - target)

    far = math.log(FARTHEST)
    ends = float(slopes(-far).sum()), float(slopes(far).sum())
    if not ends[0] < 0 < ends[1]:
        return Missing(missing=f"no temperature from {1 / FARTHEST:g} to {FARTHEST:g} fits best: one model's choices "
                       "are about equally likely, or it is sure where the other doubts")  # fmt: skip
    at = float(brentq(lambda x: float(slopes(x).sum()), -far, far, xtol=TOLERANCE / 10))
    return _bootstrapped(slopes, at, n)


def token_confidence(reference: Sequence[StepConfidence], variant: Sequence[StepConfidence]) -> TokenConfidence:
    """Ratios of entropy and of margin along the same tokens, variant over reference; items are drawn, not steps.

    Args:
        reference: of each item.
        variant: of the same steps of each item.

    Raises:
        ValueError: other items or steps, none, or values that are negative or not finite.
    """
    if len(reference) != len(variant) or not reference:
        raise ValueError(f"steps of {len(reference)} items on the reference and {len(variant)} on the variant")
    for i, (one, other) in enumerate(zip(reference, variant, strict=True)):
        if len(found := {len(steps) for steps in (*one, *other)}) > 1:
            raise ValueError(f"item {i} has {sorted(found)} steps; those after the same tokens are compared")
    (x, u), (y, v) = ([[float(np.sum(one[k])) for one in some] for k in (0, 1)] for some in (reference, variant))
    return TokenConfidence(entropy_ratio=ratio_of_means(y, x, "ratio"), margin_ratio=ratio_of_means(v, u, "ratio"))


def _table(log_likelihoods: Sequence[Values]) -> Doubles:
    """(n, most choices), minus infinity where an item has fewer."""
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
