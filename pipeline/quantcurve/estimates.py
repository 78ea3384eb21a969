"""A figure with its interval, or the reason why there is none."""

from __future__ import annotations

from quantcurve.records import Frozen


class Estimate(Frozen):
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    """Confidence level of [low, high]."""
    n: int
    """Number of independent units behind the interval (windows or repetitions, not tokens)."""
    unit: str
    method: str


class Missing(Frozen):
    """A figure that could not be had, and why."""

    missing: str


Figure = Estimate | Missing
