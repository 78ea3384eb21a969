"""The search for layers to restore, on models whose losses are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest

from quantcurve.accuracy_search import Outcome, Restored, Step, Task, UnreachableError, search

ITEMS = 40


@dataclass
class Known:
    """A model with steps 0 .. n - 1, each of which takes its loss away when it is restored."""

    losses: Sequence[float]
    bias: float = 0.0
    """Of every item's drop, whatever is restored."""
    noise: float = 0.0
    """Standard deviation over items."""
    seed: int = 0
    per_set_s: float = 0.0
    none: bool = False
    """Whether it covers nothing."""
    interaction: Callable[[Restored], float] = field(default=lambda restored: 0.0)
    asked: list[tuple[Restored, tuple[int, ...]]] = field(default_factory=list)

    def values(self, restored: Restored, items: Sequence[int]) -> list[float]:
        """Item i has a drop in proportion to its weight, which is 1 on average."""
        self.asked.append((restored, tuple(items)))
        drop = sum(loss for i, loss in enumerate(self.losses) if i not in restored) + self.interaction(restored)
        rng = np.random.default_rng(self.seed)
        weights = 1 + self.noise * rng.standard_normal(ITEMS)
        return [-(drop * float(weights[i]) + self.bias) for i in items]

    def covers(self, restored: Restored) -> bool:
        """All or none."""
        return not self.none

    def cost_s(self, items: int) -> float:
        """Of a set."""
        return self.per_set_s

    @property
    def sets(self) -> int:
        """Sets that were asked for."""
        return len({restored for restored, _ in self.asked})


def task(steps: int, max_drop: float, **options) -> Task:
    rung = tuple(Step(i) for i in range(steps))
    return Task(np.zeros(ITEMS), max_drop, **({"rungs": (rung,), "ranking_items": 8} | options))


def run(losses: Sequence[float], max_drop: float, **options) -> tuple[Outcome, Known, Known]:
    quick, built = Known(losses), Known(losses)
    return search(task(len(losses), max_drop, **options), quick, built), quick, built


def test_the_worst_layers_are_restored_and_no_more_than_are_needed():
    losses = [0.01, 0.5, 0.02, 0.3, 0.01, 0.1]
    found, _, built = run(losses, 0.2)
    assert found.restored == (1, 3)
    assert found.reached and found.drop == pytest.approx(0.14) and found.plain_drop == pytest.approx(0.94)
    whole = {restored for restored, items in built.asked if len(items) == ITEMS}
    assert {frozenset({1}), frozenset({1, 3})} <= whole, "the chosen prefix and the next smaller one, on every item"


def test_a_plain_model_inside_the_budget_is_left_as_it_is():
    found, quick, built = run([0.01, 0.02], 0.05)
    assert found.restored == () and found.reached and found.scores == {}
    assert not quick.asked and built.sets == 1


def test_a_budget_that_not_even_everything_restored_keeps_is_an_error():
    built = Known([0.1, 0.1], bias=0.3)
    with pytest.raises(UnreachableError) as caught:
        search(task(2, 0.2), Known([0.1, 0.1]), built)
    assert caught.value.drop == pytest.approx(0.3)


@pytest.mark.parametrize("needed", [1, 2, 7, 30, 31, 99, 100])
def test_few_models_are_built_however_many_layers_are_needed(needed: int):
    losses = [1.0] * 100
    found, quick, built = run(losses, 100 - needed + 0.5)
    assert len(found.restored) == needed
    assert built.sets <= 5, "plain, everything, the prefix, the next smaller one, and one more"
    assert quick.sets <= 100 + 1 + 2 * 7 + 2


def test_an_offset_of_the_quick_way_is_taken_off():
    losses = [0.1] * 50
    exact, off = Known(losses), Known(losses, bias=0.7)
    assert search(task(50, 2.05), off, Known(losses)).restored == search(task(50, 2.05), exact, Known(losses)).restored


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.3, 2.0])
def test_the_built_model_has_the_last_word(scale: float):
    """The quick way loses more or less than the built one: the length is still right."""
    losses = [0.1] * 40
    quick = Known([scale * loss for loss in losses])
    found = search(task(40, 1.05), quick, Known(losses))
    assert len(found.restored) == 30 and found.reached


def test_without_a_quick_way_everything_is_built():
    built = Known([0.5, 0.01, 0.3])
    found = search(task(3, 0.1), Known([], none=True), built)
    assert set(found.restored) == {0, 2} and found.reached


def test_the_way_that_costs_less_ranks():
    losses = [0.5, 0.01, 0.3]
    for quick_s, built_s in ((1.0, 9.0), (9.0, 1.0)):
        quick, built = Known(losses, per_set_s=quick_s), Known(losses, per_set_s=built_s)
        search(task(3, 0.1), quick, built)
        ranked = quick if quick_s < built_s else built
        assert {frozenset({i}) for i in range(3)} <= {restored for restored, items in ranked.asked if len(items) == 8}


def test_ranking_is_on_the_items_that_lose_most():
    built = Known([1.0, 1.0], noise=0.5)
    quick = Known([1.0, 1.0], noise=0.5)
    search(task(2, 0.5), quick, built)
    values = built.values(frozenset(), range(ITEMS))
    worst = set(np.argsort(values)[:8])
    ranked = {items for restored, items in quick.asked if len(restored) == 1 and len(items) == 8}
    ranked.discard(tuple(range(8)))  # the first look at a prefix of one
    assert ranked and all(set(items) == worst for items in ranked)


def test_the_price_counts():
    """Half the loss at a tenth of the price goes first."""
    rung = (Step(0, 10.0), Step(1, 1.0))
    found = search(task(2, 0.65, rungs=(rung,)), Known([0.6, 0.3]), Known([0.6, 0.3]))
    assert found.restored == (1,)


def test_a_second_rung_is_reached_where_the_first_is_not_enough():
    """Steps 0 and 1 take a part of what 2 and 3 take whole."""

    def values(model: Known) -> Known:
        def interaction(restored: Restored) -> float:
            return sum((0.0 if i + 2 in restored else 0.3 if i in restored else 1.0) for i in range(2))

        model.interaction = interaction
        return model

    rungs = ((Step(0), Step(1)), (Step(2), Step(3)))
    found = search(task(4, 0.35, rungs=rungs), values(Known([])), values(Known([])))
    assert set(found.restored[:2]) == {0, 1} and len(found.restored) == 3 and found.reached
    assert search(task(4, 0.7, rungs=rungs), values(Known([])), values(Known([]))).restored in {(0, 1), (1, 0)}


def test_a_limit_on_restored_layers_ends_the_search():
    found, _, _ = run([0.5, 0.4, 0.3], 0.1, max_restored=2)
    assert found.restored == (0, 1) and not found.reached and found.stopped and "max_reverted" in found.stopped


def test_a_limit_on_time_leaves_the_best_that_was_built():
    clock = count()
    found, _, _ = run([0.1] * 30, 0.5, time_is_up=lambda: next(clock) > 50)
    assert found.stopped and "max_minutes" in found.stopped
    assert found.drop <= found.plain_drop
    early, _, _ = run([0.1] * 30, 0.5, time_is_up=lambda: True)
    assert early.restored == () and not early.reached and early.drop == early.plain_drop


def test_layers_that_only_help_together_are_found():
    """Restoring 0 alone wins nothing, but 0 and 1 together win all: the prefix grows until it passes."""

    def both(restored: Restored) -> float:
        return 0.0 if {0, 1} <= restored else 1.0

    quick, built = Known([0.0] * 10, interaction=both), Known([0.0] * 10, interaction=both)
    found = search(task(10, 0.5), quick, built)
    assert found.reached and {0, 1} <= set(found.restored)


def test_noise_over_items_stops_no_verdict_too_early():
    rng = np.random.default_rng(3)
    for seed in range(20):
        losses = rng.exponential(0.1, 30)
        quick, built = (Known(losses, noise=0.6, seed=seed) for _ in range(2))
        found = search(task(30, float(sum(losses)) / 2), quick, built)
        before = frozenset(found.restored[:-1])
        assert found.reached
        assert np.mean(-np.array(built.values(before, range(ITEMS)))) > float(sum(losses)) / 2


def rounding(restored: Restored) -> float:
    """Noise that hangs on the whole set, as long as much is quantised: larger than what most layers lose."""
    quantised = 30 - len(restored)
    return float(np.random.default_rng(hash(restored) % 2**32).uniform(0, 0.3)) if quantised > 2 else 0.0


def test_layers_are_ranked_alone_where_others_hide_them():
    losses = [0.2 if i in {3, 11, 19, 27} else 0.004 for i in range(30)]
    lengths = {}
    for alone in (False, True):
        known = [Known(losses, interaction=rounding) for _ in range(2)]
        found = search(task(30, 0.42, ranked_alone=alone), *known)
        assert found.reached
        lengths[alone] = len(found.restored)
    assert lengths[True] <= 4 < lengths[False]


def test_layers_that_lose_nothing_alone_are_ranked_by_what_they_win():
    """Values of 0 and 1: a single layer turns no item over."""

    @dataclass
    class Answers(Known):
        def values(self, restored: Restored, items: Sequence[int]) -> list[float]:
            drops = super().values(restored, items)
            return [float(drop > -1.0) for drop in drops]

    losses = [0.05] * 10 + [0.6] + [0.05] * 9
    judged = task(20, 0.1, ranked_alone=True)._replace(reference=np.ones(ITEMS))
    found = search(judged, Answers(losses), Answers(losses))
    assert found.reached and found.restored[0] == 10


def test_in_parts_each_is_ranked_among_what_is_not_quantised():
    found = search(task(12, 0.25, ranked_alone=True), Parts([0.1] * 6 + [0.3] * 6), Known([0.1] * 6 + [0.3] * 6))
    assert found.reached and set(found.restored[:6]) == set(range(6, 12))


class Parts(Known):
    """Covers sets within a half, and all of the other half with any of a half."""

    def covers(self, restored: Restored) -> bool:
        halves = frozenset(range(6)), frozenset(range(6, 12))
        return any(restored <= half or restored >= half for half in halves)
