"""How sure models are of multiple choice, and how right apart from that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantcurve.metrics.confidence import (
    Choices,
    Confidence,
    ConfidenceChange,
    confidence,
    confidence_change,
    item_confidence,
    normalised,
)
from quantcurve.metrics.temperature import TOLERANCE, closest_temperature
from quantcurve.slices.records import SliceSample


def certainty_change(pairs: Sequence[tuple[SliceSample, SliceSample]]) -> ConfidenceChange | None:
    """How sure both models are of their choices, by their likelihoods by length; None without multiple choice."""
    known = [(a, b) for a, b in pairs if a.right is not None and b.right is not None]
    return confidence_change(*(_choices([pair[side] for pair in known]) for side in (0, 1))) if known else None


def confidences(pairs: Sequence[tuple[SliceSample, SliceSample]]) -> tuple[Confidence, Confidence] | None:
    """Of the reference and of the variant, with their reliability by bin; None without multiple choice."""
    known = [(a, b) for a, b in pairs if a.right is not None and b.right is not None]
    if not known:
        return None
    reference, variant = (confidence(_choices([pair[side] for pair in known])) for side in (0, 1))
    return reference, variant


def right_shares(pairs: Sequence[tuple[SliceSample, SliceSample]]) -> tuple[list[float], list[float]]:
    """Log-probability of each right choice among its item's choices, the variant's likelihoods divided by the
    temperature that brings it closest to the reference (temperature.py): a model that is only surer loses nothing.
    Differences within what the temperature is known to are none: they lie all on one side, and are no finding."""
    known = [(a, b) for a, b in pairs if a.right is not None and b.right is not None]
    if not known:
        return [], []
    before, after = (_choices([pair[side] for pair in known]) for side in (0, 1))
    at = closest_temperature(before.log_likelihoods, after.log_likelihoods)
    scaled = after._replace(log_likelihoods=[np.asarray(x) / at for x in after.log_likelihoods])
    first, second = (-item_confidence(one).negative_log_likelihood for one in (before, scaled))
    resolved = 2 * TOLERANCE * np.array([np.ptp(x) for x in after.log_likelihoods])
    return first.tolist(), np.where(np.abs(first - second) <= resolved, first, second).tolist()


def _choices(samples: Sequence[SliceSample]) -> Choices:
    likelihoods = normalised([s.likelihoods for s in samples], [s.lengths for s in samples])
    return Choices(likelihoods, [s.right or 0 for s in samples])
