"""How sure a variant is of its choices, and whether it is as often right: from the likelihoods of multiple choice.

Probabilities of an item's choices are the softmax of their log-likelihoods (nats), as they are or divided by lengths
(`normalised`); the model takes the likeliest, the first of equals. Items are taken for independent and are paired:
changes are variant less reference, but for the accuracy's drop, which is reference less variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import entr, log_softmax  # type: ignore[import-untyped, unused-ignore]

from quantcurve.engines.base import Doubles
from quantcurve.estimates import Figure
from quantcurve.metrics.calibration_error import BinKind, CalibrationError, calibration_change, calibration_errors
from quantcurve.metrics.item_changes import change, ratio_of_means
from quantcurve.metrics.paired import Values, item_mean, paired_drop
from quantcurve.metrics.temperature import choice_table, temperature
from quantcurve.records import Frozen


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
    table = choice_table(choices.log_likelihoods)
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
