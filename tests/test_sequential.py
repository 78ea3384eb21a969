"""Confidence sequences: the formula, and how often a screen that looks again and again is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from quantcurve.metrics import sequential as seq
from quantcurve.recipe import Screen
from quantcurve.results import ScreenVerdict
from quantcurve.stages.route import LOOK_WINDOWS, Route
from quantcurve.stages.screen import CLOSE_ENOUGH, LEVEL_ALPHA, Race

SERIES = 2000
DISCARD = math.log(1.05)
Floats = NDArray[np.float64]


def autocorrelated(rng: np.random.Generator, windows: int, rho: float) -> Floats:
    """Normal series of an AR(1), (SERIES, windows)."""
    noise = rng.standard_normal((windows, SERIES))
    series = np.empty_like(noise)
    series[0] = noise[0]
    for t in range(1, windows):
        series[t] = rho * series[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    return series.T


SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "normal": lambda z: z,
    "right-skewed": np.exp,  # skewness 6
    "left-skewed": lambda z: -np.exp(0.25 * z),  # skewness -0.8
    "uniform": ndtr,
}


def ever_above(texts: Floats, line: float, alpha: float, rng: np.random.Generator) -> float:
    """Share of texts whose sequence lies wholly above a line at any look, in random order; (SERIES, windows)."""
    visited = rng.permuted(texts, axis=1)
    n = np.arange(1, texts.shape[1] + 1)
    mean = np.cumsum(visited, axis=1) / n
    spread = np.sqrt(np.maximum(np.cumsum(visited**2, axis=1) / n - mean**2, 0) * n / np.maximum(n - 1, 1))
    looks = np.arange(seq.MIN_WINDOWS, texts.shape[1], LOOK_WINDOWS)
    factors = np.array([seq.half_width_factor(int(k), alpha) for k in looks])
    return float((mean[:, looks - 1] - factors * spread[:, looks - 1] > line).any(axis=1).mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("windows", [80, 600])
def test_wrong_discards_stay_under_their_level(shape: str, rho: float, windows: int) -> None:
    """Texts whose own value lies exactly at the line, the hardest case: any discard is wrong."""
    rng = np.random.default_rng(7)
    texts = SHAPES[shape](autocorrelated(rng, windows, rho))
    texts = 0.05 * (texts - texts.mean(axis=1, keepdims=True)) / texts.std(axis=1, keepdims=True) + DISCARD
    assert ever_above(texts, DISCARD, LEVEL_ALPHA, rng) <= LEVEL_ALPHA


def test_an_interval_that_ignores_the_looking_would_be_wrong_too_often() -> None:
    """So the test above can fail: looks at a plain 99 % interval discard wrongly several times as often."""
    rng = np.random.default_rng(7)
    texts = autocorrelated(rng, 600, 0.6)
    texts -= texts.mean(axis=1, keepdims=True)
    visited = rng.permuted(texts, axis=1)
    looks = np.arange(8, 300, 4)
    mean = np.cumsum(visited, axis=1)[:, looks - 1] / looks
    spread = np.stack([visited[:, :k].std(axis=1, ddof=1) for k in looks], axis=1)
    assert (mean - 2.576 / np.sqrt(looks) * spread > 0).any(axis=1).mean() > 2 * LEVEL_ALPHA


def test_a_clear_loss_is_found_at_the_first_look() -> None:
    rng = np.random.default_rng(3)
    texts = 0.05 * autocorrelated(rng, 600, 0.6) + 0.2
    assert ever_above(texts[:, : seq.MIN_WINDOWS + 1], DISCARD, LEVEL_ALPHA / 8, rng) > 0.99


def test_the_formula() -> None:
    values = np.random.default_rng(0).normal(0.1, 0.3, 64)
    found = seq.confidence_sequence(values, 0.01, "nats")
    x = 64 * seq.mixture_scale(0.01) ** 2
    half = values.std(ddof=1) * math.sqrt(2 * (x + 1) / (64 * x) * math.log(math.sqrt(x + 1) / 0.01))
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    assert (found.n, found.level) == (64, 0.99)
    others = [64 * scale**2 for scale in (seq.mixture_scale(0.01) * 0.9, seq.mixture_scale(0.01) * 1.1)]
    widths = [math.sqrt(2 * (x + 1) / (64 * x) * math.log(math.sqrt(x + 1) / 0.01)) for x in others]
    assert seq.half_width_factor(64, 0.01) < min(widths)  # narrowest where it is tuned


def test_too_few_windows_and_broken_values_are_refused() -> None:
    with pytest.raises(ValueError, match="31 windows; a confidence sequence starts at 32"):
        seq.confidence_sequence(np.zeros(31), 0.01, "nats")
    with pytest.raises(ValueError, match="1 of 40 values are not finite"):
        seq.confidence_sequence(np.array([np.nan] + [0.0] * 39), 0.01, "nats")


def race(total: int = 200, whole: bool = True, exhaustive: bool = False) -> Race:
    return Race(Screen(exhaustive=exhaustive), LEVEL_ALPHA, Route(np.arange(total, dtype=np.int32), (total,), whole))


def windows(n: int, mean: float, spread: float = 0.0, seed: int = 0) -> Floats:
    """Scores (n, 1) with exactly this mean and standard deviation."""
    noise = np.random.default_rng(seed).standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return (mean + spread * noise)[:, None]


PRECISE, VAGUE = windows(32, 0.1), windows(32, 0.1, 0.1)


def look(
    n: int, mean: float, spread: float, kl: Floats | None = None, rules: Race | None = None
) -> tuple[str | None, bool]:
    verdict, through = (rules or race()).look(windows(n, mean, spread), windows(n, 0.1) if kl is None else kl, None)
    return verdict.decision if verdict else None, through


def test_when_a_variant_stops() -> None:
    assert look(24, 0.3, 0.001) == (None, False)  # too early to tell
    assert look(32, 0.3, 0.01) == ("discard", True)
    assert look(32, 0.3, 0.01, VAGUE) == ("discard", True)  # its KL divergence does not matter any more
    assert look(32, 0.001, 0.01) == ("keep", True)
    assert look(32, 0.001, 0.01, VAGUE) == ("keep", False)  # goes on for its KL divergence
    assert look(32, 0.04, 0.005) == ("suspect", True)
    assert look(32, DISCARD, 0.2) == (None, False)
    assert look(32, DISCARD, 0.9 * CLOSE_ENOUGH / seq.half_width_factor(32, LEVEL_ALPHA)) == ("at_line", True)
    assert look(32, DISCARD, 1.1 * CLOSE_ENOUGH / seq.half_width_factor(32, LEVEL_ALPHA)) == (None, False)


def test_nothing_stops_early_where_all_is_wanted() -> None:
    rules = race(exhaustive=True)
    assert look(100, 0.3, 0.001, rules=rules) == (None, False)
    assert look(200, 0.3, 0.001, rules=rules) == ("discard", True)


def test_the_end_of_the_text_is_exact_and_of_a_part_of_it_is_not() -> None:
    slightly = DISCARD + 0.001
    assert look(200, slightly, 0.5) == ("discard", True)
    verdict, _ = race().look(windows(200, slightly, 0.5), windows(200, 0.1), None)
    assert verdict and verdict.judged and "on the whole text" in verdict.sentence
    assert look(200, slightly, 0.5, rules=race(whole=False)) == ("at_line", True)


def test_a_verdict_stays_while_the_kl_divergence_goes_on() -> None:
    before = race().look(windows(32, 0.001, 0.01), VAGUE, None)[0]
    assert isinstance(before, ScreenVerdict)
    again, through = race().look(windows(40, 0.001, 0.01), windows(40, 0.1), before)
    assert again is before and through
