"""Which variants are worth having: the Pareto front, what cannot be told apart, and where the machine was too noisy.

All comparisons are paired: KL divergence window by window, decode speed round by round.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.statistics import excludes_zero, log_ratio_estimate, paired_difference
from quantcurve.stages.route import Route

NOISY_HALF_WIDTH = 0.05  # of a speed ratio's interval: above it the machine, not the models, decides


class Point(NamedTuple):
    """One variant in the space of the trade-off."""

    name: str
    kl_windows: NDArray[np.float64]
    """Mean KL divergence of the first n windows of the route, nats, (n,); points are compared on those both have."""
    size_bytes: int
    decode_s: tuple[float, ...] = ()
    """Raw seconds of every round, round r of all points at r; empty if speed was not measured."""
    cache_bytes_per_token: float | None = 0.0
    """Size of the KV cache; None: not known."""


class Standing(NamedTuple):
    """Where one variant stands among the others."""

    name: str
    on_front: bool
    dominated_by: tuple[str, ...]
    tied_with: tuple[str, ...]
    """Variants whose paired difference in mean KL divergence has an interval that contains zero."""


def pareto(points: Sequence[Point], along: Route) -> tuple[Standing, ...]:
    """Standing of every point, in the order given.

    A dominates B if its KL divergence, size, cache size and median decode time are all at least as good, and at least
    one is distinguishably better: the smaller file or cache, or an interval of the paired difference that excludes
    zero (of the paired ratio, one). "At least as good" compares plain values over the windows that both visited; so
    domination has no cycles and the front of one or more points is never empty, although ties are not transitive
    (points of the same size, cache and decode time to the last digit, but different windows, set aside). Of a point
    whose speed was measured and one whose speed was not, neither dominates the other; so with the size of the cache.

    along: the route over the windows. ValueError as in `metrics.statistics.clustered_mean`.
    """
    return tuple(_standing(point, points, along) for point in points)


def speed_ratio(a_s: Sequence[float], b_s: Sequence[float]) -> Figure:
    """How many times as fast as b is a, from raw seconds of paired rounds; Missing if they cannot be paired."""
    if len(a_s) != len(b_s):
        return Missing(missing=f"{len(a_s)} and {len(b_s)} rounds cannot be paired")
    return log_ratio_estimate(np.array(b_s), np.array(a_s), "ratio of speeds")


def is_faster(a_s: Sequence[float], b_s: Sequence[float]) -> bool:
    """Whether a is distinguishably faster than b: the interval of `speed_ratio` lies above one."""
    ratio = speed_ratio(a_s, b_s)
    return isinstance(ratio, Estimate) and ratio.low > 1


def speed_warnings(points: Sequence[Point], decode_tokens: int) -> tuple[str, ...]:
    """A sentence for each two neighbours in decode speed that noise, not likeness, makes indistinguishable.

    decode_tokens: tokens decoded in a round.
    """
    fastest_first = sorted((p for p in points if p.decode_s), key=lambda p: median(p.decode_s))
    sentences = (_noise_sentence(fast, slow, decode_tokens) for fast, slow in pairwise(fastest_first))
    return tuple(sentence for sentence in sentences if sentence)


def _standing(point: Point, points: Sequence[Point], along: Route) -> Standing:
    others = [other for other in points if other is not point]
    dominated_by = tuple(other.name for other in others if _dominates(other, point, along))
    tied_with = tuple(other.name for other in others if not excludes_zero(_kl_difference(other, point, along)))
    return Standing(point.name, not dominated_by, dominated_by, tied_with)


def _dominates(a: Point, b: Point, along: Route) -> bool:
    if bool(a.decode_s) != bool(b.decode_s) or (a.cache_bytes_per_token is None) != (b.cache_bytes_per_token is None):
        return False
    a_sizes, b_sizes = ((p.size_bytes, p.cache_bytes_per_token or 0.0) for p in (a, b))
    a_decode, b_decode = (median(p.decode_s) if p.decode_s else 0.0 for p in (a, b))
    kl = _kl_difference(a, b, along)
    if a_decode > b_decode or kl.value > 0 or any(x > y for x, y in zip(a_sizes, b_sizes, strict=True)):
        return False
    faster = a_decode < b_decode and is_faster(a.decode_s, b.decode_s)
    return a_sizes != b_sizes or (kl.value < 0 and excludes_zero(kl)) or faster


def _kl_difference(a: Point, b: Point, along: Route) -> Estimate:
    """Mean of a's minus b's KL divergence over the windows that both visited."""
    rows, segments = along.sorted_rows(min(len(a.kl_windows), len(b.kl_windows)))
    return paired_difference(a.kl_windows[rows, None], b.kl_windows[rows, None], segments, "nats")


def _noise_sentence(fast: Point, slow: Point, decode_tokens: int) -> str | None:
    ratio = speed_ratio(fast.decode_s, slow.decode_s)
    if isinstance(ratio, Missing) or ratio.low > 1 or ratio.high < 1:
        return None
    if (ratio.high - ratio.low) / 2 <= NOISY_HALF_WIDTH:
        return None
    speeds = (f"{p.name} (median {decode_tokens / median(p.decode_s):,.0f} tokens/s)" for p in (fast, slow))
    return (
        f"the machine was too noisy to tell the decode speeds of {' and '.join(speeds)} apart: round by round the "
        f"ratio is {ratio.value:.2f}, {100 * ratio.level:.4g} % interval {ratio.low:.2f} to {ratio.high:.2f}"
    )
