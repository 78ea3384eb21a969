"""The Pareto front under ties that are not transitive, and the warnings about noise."""

from __future__ import annotations

from graphlib import TopologicalSorter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from numpy.typing import NDArray

from quantcurve.estimates import Estimate, Missing
from quantcurve.stages.frontier import Point, Standing, is_faster, pareto, speed_ratio, speed_warnings
from quantcurve.stages.route import Route

WINDOWS = 16
NOISE = np.array([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0] * 2)  # mean 0, and little of it at low frequency


def kl(mean: float, noise: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """Window means of KL divergence with a disturbance of their own."""
    wobble = np.random.default_rng(seed).normal(size=WINDOWS)
    return np.asarray(mean + noise * (wobble - wobble.mean()))


def along(*counts: int) -> Route:
    """Windows of texts, visited in their order."""
    return Route(np.arange(sum(counts), dtype=np.int32), counts, whole=True)


def standings(*points: Point) -> dict[str, Standing]:
    return {s.name: s for s in pareto(points, along(WINDOWS))}


def test_better_on_one_axis_and_equal_on_the_others_dominates() -> None:
    found = standings(Point("small", kl(0.1), 90), Point("big", kl(0.1), 91))
    assert found["big"].dominated_by == ("small",)
    assert not found["big"].on_front
    assert found["small"] == Standing("small", True, (), ("big",))


def test_a_trade_off_keeps_both() -> None:
    found = standings(Point("good", kl(0.1), 100), Point("small", kl(0.2), 90))
    assert all(s.on_front and not s.tied_with for s in found.values())


def test_a_difference_within_the_interval_does_not_dominate() -> None:
    better, worse = kl(0.100, 0.02, seed=1), kl(0.101, 0.02, seed=2)
    assert better.mean() < worse.mean()
    found = standings(Point("better", better, 90), Point("worse", worse, 90))
    assert found["worse"] == Standing("worse", True, (), ("better",))


def test_a_tie_in_kl_does_not_let_a_worse_point_value_win_by_size() -> None:
    better, worse = kl(0.100, 0.02, seed=1), kl(0.101, 0.02, seed=2)
    found = standings(Point("better", better, 91), Point("worse", worse, 90))
    assert found["better"].on_front
    assert found["worse"].on_front


def test_ties_are_not_transitive() -> None:
    wobble = 0.02 * NOISE * np.linspace(0.2, 2, WINDOWS)
    a, b, c = kl(0.100), kl(0.104) + wobble - wobble.mean(), kl(0.108)
    found = standings(Point("a", a, 90), Point("b", b, 90), Point("c", c, 90))
    assert found["b"].tied_with == ("a", "c")
    assert found["a"].tied_with == ("b",)
    assert found["c"].tied_with == ("b",)
    assert {name: s.dominated_by for name, s in found.items()} == {"a": (), "b": (), "c": ("a",)}


def test_a_circle_through_ties_does_not_empty_the_front() -> None:
    # if a tie counted as equal, a (closer) would beat b, b (faster) c, c (closer) d and d (faster) a
    wobble = 0.03 * np.random.default_rng(5).normal(size=WINDOWS)
    wobble -= wobble.mean()
    jitter = np.exp([0.3, -0.3, 0.28, -0.28])
    points = (
        Point("a", kl(0.100), 90, tuple(1.08 * jitter)),
        Point("b", kl(0.110), 90, (1.0, 1.0, 1.0, 1.0)),
        Point("c", kl(0.105) + wobble, 90, (1.1, 1.1, 1.1, 1.1)),
        Point("d", kl(0.108) + wobble, 90, tuple(1.05 * jitter)),
    )
    found = standings(*points)
    a, b, c, d = points
    assert "b" not in found["a"].tied_with
    assert "d" not in found["c"].tied_with
    assert "c" in found["b"].tied_with
    assert "a" in found["d"].tied_with
    assert is_faster(b.decode_s, c.decode_s)
    assert is_faster(d.decode_s, a.decode_s)
    assert not is_faster(b.decode_s, a.decode_s)
    assert not is_faster(d.decode_s, c.decode_s)
    assert all(s.on_front for s in found.values())


def test_speed_decides_only_if_it_can_be_told_apart() -> None:
    steady, slower = (1.00, 1.01, 0.99, 1.00), (1.10, 1.12, 1.09, 1.10)
    noisy = (0.9, 1.4, 1.0, 1.3)
    assert standings(Point("fast", kl(0.1), 90, steady), Point("slow", kl(0.1), 90, slower))["slow"].dominated_by
    found = standings(Point("fast", kl(0.1), 90, steady), Point("noisy", kl(0.1), 90, noisy))
    assert found["noisy"].on_front


def test_a_point_without_speed_neither_dominates_nor_is_dominated() -> None:
    found = standings(Point("timed", kl(0.1), 90, (1.0, 1.0, 1.0)), Point("untimed", kl(0.05), 80))
    assert all(s.on_front for s in found.values())


def test_intervals_follow_the_texts() -> None:
    # the same windows as two texts: the variance inside each is what counts
    steps = np.repeat([0.0, 0.02], WINDOWS // 2) + 0.0005 * NOISE
    points = [Point("a", kl(0.1), 90), Point("b", kl(0.1) + steps, 90)]
    assert pareto(points, along(WINDOWS))[1].tied_with == ("a",)
    assert pareto(points, along(WINDOWS // 2, WINDOWS // 2))[1].tied_with == ()


@given(some.data())
def test_domination_has_no_cycle_and_the_front_is_never_empty(data: some.DataObject) -> None:
    value = some.sampled_from([0.1, 0.11, 0.12, 0.2, 0.4])
    seconds = some.lists(some.sampled_from([0.9, 1.0, 1.05, 1.5]), min_size=4, max_size=4)
    count = data.draw(some.integers(1, 6))
    points = [
        Point(
            str(i),
            np.array(data.draw(some.lists(value, min_size=4, max_size=4))),
            data.draw(some.integers(1, 2)),
            tuple(data.draw(some.one_of(some.just([]), seconds))),
        )
        for i in range(count)
    ]
    found = pareto(points, along(4))
    tuple(TopologicalSorter({s.name: s.dominated_by for s in found}).static_order())  # raises CycleError
    assert any(s.on_front for s in found)
    assert all(s.on_front == (not s.dominated_by) for s in found)
    ties = {(s.name, other) for s in found for other in s.tied_with}
    assert ties == {(b, a) for a, b in ties}


def test_no_points_no_standings() -> None:
    assert pareto([], along(WINDOWS)) == ()


def test_ratio_is_of_speeds_and_not_of_seconds() -> None:
    ratio = speed_ratio((1.0, 1.1, 1.2), (2.0, 2.2, 2.4))
    assert isinstance(ratio, Estimate)
    assert ratio.value == pytest.approx(2)
    assert is_faster((1.0, 1.1, 1.2), (2.0, 2.2, 2.4))
    assert not is_faster((2.0, 2.2, 2.4), (1.0, 1.1, 1.2))


def test_unpaired_rounds_are_missing() -> None:
    assert speed_ratio((1.0, 1.0, 1.0), (1.0, 1.0)) == Missing(missing="3 and 2 rounds cannot be paired")


def timed(name: str, *seconds: float) -> Point:
    return Point(name, kl(0.1), 90, seconds)


def test_noise_between_neighbours_is_said_with_ratio_and_interval() -> None:
    points = [timed("slow", 1.0, 1.6, 0.9, 1.4), timed("fast", 1.1, 0.9, 1.3, 1.0)]
    (sentence,) = speed_warnings(points, 32)
    ratio = speed_ratio(points[1].decode_s, points[0].decode_s)
    assert isinstance(ratio, Estimate)
    assert sentence.startswith(
        "the machine was too noisy to tell the decode speeds of fast (median 30 tokens/s) and slow"
    )
    assert f"ratio is {ratio.value:.2f}, 95 % interval {ratio.low:.2f} to {ratio.high:.2f}" in sentence


def test_no_warning_where_speeds_differ_or_are_surely_alike() -> None:
    alike = [timed("a", 1.00, 1.01, 1.00, 1.01), timed("b", 1.01, 1.00, 1.01, 1.00)]
    different = [timed("a", 1.0, 1.1, 1.0, 1.1), timed("b", 2.0, 2.6, 2.0, 2.7)]
    assert speed_warnings(alike, 32) == ()
    assert speed_warnings(different, 32) == ()
    assert speed_warnings([Point("a", kl(0.1), 90), Point("b", kl(0.1), 90)], 32) == ()


def test_only_neighbours_are_compared() -> None:
    noisy = (1.0, 1.6, 0.9, 1.4)
    points = [timed("a", *noisy), timed("b", *reversed(noisy)), timed("c", *(noisy[2:] + noisy[:2]))]
    assert len(speed_warnings(points, 32)) == 2
