"""Monotone functions of estimates, bounds included."""

from __future__ import annotations

import math
from collections.abc import Callable

from quantcurve.estimates import Estimate, Figure, Missing


def transformed(estimate: Estimate, function: Callable[[float], float], unit: str, words: str) -> Estimate:
    """A rising function of an estimate and of its bounds, in another unit; `words` say which, before its method."""
    bounds = {name: function(getattr(estimate, name)) for name in ("value", "low", "high")}
    return Estimate(**bounds, level=estimate.level, n=estimate.n, unit=unit, method=f"{words}: {estimate.method}")


def scaled(figure: Figure, factor: float, unit: str) -> Figure:
    """A figure in a smaller or larger unit; factor above 0."""
    if isinstance(figure, Missing):
        return figure
    return transformed(figure, lambda x: factor * x, unit, f"{factor:g} times")


def exp_estimate(estimate: Estimate, unit: str) -> Estimate:
    """Take exp of an estimate and its bounds (perplexity from nats per token); ValueError if beyond float64."""
    try:
        return transformed(estimate, math.exp, unit, "exp of")
    except OverflowError:
        raise ValueError(f"exp of [{estimate.low:g}, {estimate.high:g}] is beyond float64") from None


def log_estimate(ratio: Figure) -> Figure:
    """Logarithm of a ratio with its interval; Missing where that reaches 0."""
    if isinstance(ratio, Missing):
        return ratio
    if ratio.low <= 0:
        return Missing(missing=f"the ratio's interval reaches {ratio.low:.3g}")
    return transformed(ratio, math.log, "ln", "logarithm")
