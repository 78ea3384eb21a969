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

from quantcurve.metrics.statistics import excludes_zero, log_ratio_estimate, paired_difference
from quantcurve.results import Estimate, Figure, Missing

NOISY_HALF_WIDTH = 0.05  # of a speed ratio's interval: above it the machine, not the models, decides


class Point(NamedTuple):
    """One variant in the space of the trade-off."""

    name: str
    kl_windows: NDArray[np.float64]
    """Mean KL divergence of every window, nats, (W,); the same windows for all points."""
    size_bytes: int
    decode_s: tuple[float, ...] = ()
    """Raw seconds of every round, round r of all points at r; empty if speed was not measured."""


class Standing(NamedTuple):
    """Where one variant stands among the others."""

    name: str
    on_front: bool
    dominated_by: tuple[str, ...]
    tied_with: tuple[str, ...]
    """Variants whose paired difference in mean KL divergence has an interval that contains zero."""


def pareto(points: Sequence[Point], segments: Sequence[int]) -> tuple[Standing, ...]:
    """Standing of every point, in the order given.

    A dominates B if its KL divergence, size and median decode time are all at least as good, and at least one is
    distinguishably better: the smaller file, or an interval of the paired difference that excludes zero (of the
    paired ratio, one). Since "at least as good" compares plain values, domination has no cycles and the front of
    one or more points is never empty, although ties are not transitive. Of a point whose speed was measured
    and one whose speed was not, neither dominates the other.

    segments: number of windows of each text, summing to W. ValueError as in `metrics.statistics.clustered_mean`.
    """
    return tuple(_standing(point, points, segments) for point in points)


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


def _standing(point: Point, points: Sequence[Point], segments: Sequence[int]) -> Standing:
    others = [other for other in points if other is not point]
    dominated_by = tuple(other.name for other in others if _dominates(other, point, segments))
    tied_with = tuple(other.name for other in others if not _differ_in_kl(other, point, segments))
    return Standing(point.name, not dominated_by, dominated_by, tied_with)


def _dominates(a: Point, b: Point, segments: Sequence[int]) -> bool:
    if bool(a.decode_s) != bool(b.decode_s):
        return False
    a_values, b_values = _values(a), _values(b)
    if any(x > y for x, y in zip(a_values, b_values, strict=True)):
        return False
    kl, size, decode = (x < y for x, y in zip(a_values, b_values, strict=True))
    return size or (kl and _differ_in_kl(a, b, segments)) or (decode and is_faster(a.decode_s, b.decode_s))


def _values(point: Point) -> tuple[float, float, float]:
    """Mean KL divergence, size and median decode time: the less, the better."""
    return float(np.mean(point.kl_windows)), point.size_bytes, median(point.decode_s) if point.decode_s else 0.0


def _differ_in_kl(a: Point, b: Point, segments: Sequence[int]) -> bool:
    return excludes_zero(paired_difference(a.kl_windows[:, None], b.kl_windows[:, None], segments, "nats"))


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
