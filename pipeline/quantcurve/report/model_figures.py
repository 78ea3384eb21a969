"""Figures of the reference or a variant, read alike for the page and other programs; Missing where there is none."""

from __future__ import annotations

from collections.abc import Callable

from quantcurve.estimates import Estimate, Figure
from quantcurve.latency_records import VariantLatency
from quantcurve.report.rows import NO_FIGURE
from quantcurve.results import Divergence, ReferenceResult, Speed, VariantResult

Model = ReferenceResult | VariantResult


def of_divergence(pick: Callable[[Divergence], Figure]) -> Callable[[Model], Figure]:
    """A figure of divergence over all texts."""
    return lambda model: pick(model.overall.divergence) if model.overall and model.overall.divergence else NO_FIGURE


def of_speed(pick: Callable[[Speed], Figure]) -> Callable[[Model], Figure]:
    """A figure of the speed benchmark."""
    return lambda model: pick(model.speed) if isinstance(model.speed, Speed) else model.speed


def benchmark_app(model: Model) -> Figure:
    """Milliseconds of a decoded token by benchmark_app, at the middle one of its contexts."""
    found = model.latency if isinstance(model, VariantResult) else None
    if not isinstance(found, VariantLatency):
        return NO_FIGURE
    return found.contexts[len(found.contexts) // 2].decode_ms_per_token


def exact(value: float, unit: str) -> Estimate:
    """A figure without an interval."""
    return Estimate(value=value, low=value, high=value, n=1, unit=unit, method="exact")
