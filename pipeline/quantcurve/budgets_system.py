"""From a contract and what models take on this machine to evidence: size, memory, speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.energy import joules_per_token
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.evidence import Evidence, Lines, missing, of_estimate
from quantcurve.metrics.statistics import log_ratio_estimate
from quantcurve.metrics.step_latency import round_quantiles
from quantcurve.metrics.transforms import log_estimate
from quantcurve.recipe_contract import Contract, SystemLimit, rises
from quantcurve.records import SpeedSamples
from quantcurve.verdicts import Budget, Judged

QUANTILES = {"latency_p95": 0.95, "latency_p99": 0.99}
"""Of a repetition's decoded tokens."""


class SystemFigures(NamedTuple):
    """What a model takes on this machine."""

    size_bytes: int
    speed: SpeedSamples | None = None
    """Raw seconds, round by round."""
    peak_memory_bytes: int | None = None
    prompt_tokens: int = 0
    """Of the timed prompt."""
    decode_tokens: int = 0


def system(contract: Contract, reference: SystemFigures, variant: SystemFigures) -> list[Judged]:
    """Budgets on size, memory and speed; losses are logarithms of ratios, or of a figure over its bound."""
    found = []
    for name, limit in contract.system.limits():
        budget = Budget(part="system", name=name, words=limit.words, scale="percent")
        found.append(Judged(budget, _system(name, limit, reference, variant)))
    return found


def _system(name: str, limit: SystemLimit, reference: SystemFigures, variant: SystemFigures) -> Evidence:
    before, after = (_samples(name, one) for one in (reference, variant))
    if isinstance(after, str):
        return missing(after)
    if limit.kind != "change":
        return _bounded(name, limit, after)
    if isinstance(before, str):
        return missing(before)
    line = math.log1p(limit.amount) * (-1 if rises(name) else 1)
    ratio = _ratio(after, before) if not rises(name) else _ratio(before, after)
    return of_estimate(ratio, Lines(line, line))


def _bounded(name: str, limit: SystemLimit, after: Sequence[float]) -> Evidence:
    bound = [limit.amount] * len(after)
    ratio = _ratio(after, bound) if not rises(name) else _ratio(bound, after)
    return of_estimate(ratio, Lines(0.0, 0.0))


def _ratio(a: Sequence[float], b: Sequence[float]) -> Figure:
    """Logarithm of a / b: round by round, or exact of a figure that has no rounds."""
    if len(a) == len(b) == 1:
        value = math.log(a[0] / b[0])
        return Estimate(value=value, low=value, high=value, n=1, unit="ln", method="exact")
    if len(a) != len(b):
        return Missing(missing=f"{len(a)} and {len(b)} rounds cannot be paired")
    return log_estimate(log_ratio_estimate(np.array(a), np.array(b), "ratio"))


def _samples(name: str, figures: SystemFigures) -> Sequence[float] | str:
    """Raw values round by round, or one that is exact; a text: why there is none."""
    if name == "size":
        return [float(figures.size_bytes)]
    if name == "peak_memory":
        known = figures.peak_memory_bytes
        return [float(known)] if known else "memory was not measured: the recipe leaves speed out"
    speed = figures.speed
    if speed is None:
        return "speed was not measured: the recipe leaves it out, or it failed"
    if name == "decode_tokens_per_s":
        return [figures.decode_tokens / s for s in speed.decode_s]
    if name == "prefill_tokens_per_s":
        return [figures.prompt_tokens / s for s in speed.prefill_s]
    if name == "time_to_first_token":
        return list(speed.first_token_s)
    if name == "energy_per_token":
        found = joules_per_token(speed, figures.decode_tokens)
    else:
        found = round_quantiles(speed.decode_steps_s, QUANTILES[name])
    return found.missing if isinstance(found, Missing) else found
