"""Which layers to restore so that a validation loses no more than a budget: rank them, find the shortest prefix of the
ranking that keeps the budget, and prove it on the model as it is going to be deployed.

Two ways of running a model with some layers restored are searched with. `quick` needs no compilation for each set
(engines/openvino_switch.py, openvino_weight_swap.py) and runs quantised layers as floats on a grid, so it is close to
the deployed form and not the same; `built` is the deployed form, made and compiled anew for each set. So `quick` ranks
and brackets, its offset from `built` taken off where both ran the same model, and `built` has the last word: the chosen
prefix passes and the next shorter one fails, on every item.

A step is ranked by what is won where it alone is taken, or by what is lost where it alone is not (`Task.ranked_alone`).
NNCF does the first. But where every layer rounds what it is given, a change in one of them moves what is rounded behind
it by a step here and there, and on a few items that noise is larger than what most layers lose. In the second way
nothing else is rounded. tools/bench_accuracy_control.py compares how many groups either takes.

A drop is the mean over items of the reference's value less the model's. `quick` looks at items in chunks and stops when
the verdict over all of them is as good as certain (metrics/paired.py, decided).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from quantcurve.engines.base import Doubles
from quantcurve.metrics.paired import decided

CHUNK_ITEMS = 8
"""Items between two looks at whether a verdict is certain."""

Restored = frozenset[int]


class Trial(Protocol):
    """Runs the model with some layers restored."""

    def values(self, restored: Restored, items: Sequence[int]) -> list[float]:
        """Of the validation function, for items by their place among the search's."""
        ...

    def covers(self, restored: Restored) -> bool:
        """Whether it can restore just these."""
        ...

    def cost_s(self, items: int) -> float:
        """Seconds that a set of layers takes which was not validated yet, on so many items, by what was measured so
        far; 0 where nothing was."""
        ...


class Step(NamedTuple):
    """Something that can be restored."""

    number: int
    price: float = 1.0
    """Of restoring it; only ratios count."""


class Task(NamedTuple):
    """What is searched."""

    reference: Doubles
    """(N,) values of the float reference."""
    max_drop: float
    """Absolute."""
    rungs: tuple[tuple[Step, ...], ...]
    """What is restored first, and what where that is not enough: a step of a later rung takes the place of the step of
    an earlier one."""
    ranking_items: int
    ranked_alone: bool = False
    """Whether steps are ranked by what is lost where all others are taken. Those that lose nothing at all, as values of
    0 and 1 have it, are ranked by what is won where they alone are taken."""
    max_restored: int | None = None
    time_is_up: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda words: None
    """Gets what is being done."""

    @property
    def whole(self) -> Restored:
        """Everything restored."""
        return frozenset(step.number for rung in self.rungs for step in rung)


class Outcome(NamedTuple):
    """What was found."""

    restored: tuple[int, ...]
    """Steps in the order of the ranking."""
    reached: bool
    """Whether the built model keeps the budget on all items."""
    drop: float
    plain_drop: float
    """With nothing restored."""
    scores: dict[int, float]
    """Mean value on the ranking items by which a step was ranked first: with it alone taken, or with all others."""
    stopped: str | None = None
    """Why the search ended before the budget was kept."""


class TimeIsUpError(Exception):
    """The search may take no longer."""


class UnreachableError(Exception):
    """Not even the model with everything restored keeps the budget."""

    def __init__(self, drop: float) -> None:
        super().__init__(drop)
        self.drop = drop


class _Search:
    """One search: what it knows so far."""

    def __init__(self, task: Task, quick: Trial, built: Trial) -> None:
        self.task, self.quick, self.built = task, quick, built
        self.everything = tuple(range(len(task.reference)))
        self.order: list[int] = []
        self.scores: dict[int, float] = {}
        self.offset = 0.0
        self.known: dict[int, float] = {}
        """Drop of the built model by length of the prefix."""

    def drop(self, trial: Trial, restored: Restored, items: Sequence[int] | None = None) -> float:
        chosen = self.everything if items is None else items
        if self.known and self.task.time_is_up():
            raise TimeIsUpError
        found = trial.values(restored, chosen)
        return float(np.mean(self.task.reference[list(chosen)] - np.array(found)))

    def built_drop(self, length: int) -> float:
        if length not in self.known:
            self.task.say(f"{length} restored, as deployed")
            self.known[length] = self.drop(self.built, frozenset(self.order[:length]))
        return self.known[length]

    def passes(self, length: int) -> bool:
        return self.built_drop(length) <= self.task.max_drop

    def quick_passes(self, length: int) -> bool:
        """By the quick way if it can; its verdict is that of the built model but for single cases."""
        restored = frozenset(self.order[:length])
        if not self.quick.covers(restored):
            return self.passes(length)
        self.task.say(f"{length} restored")
        budget, seen = self.task.max_drop + self.offset, np.empty(0)
        for start in range(0, len(self.everything), CHUNK_ITEMS):
            chunk = self.everything[start : start + CHUNK_ITEMS]
            if self.task.time_is_up():
                raise TimeIsUpError
            values = np.array(self.quick.values(restored, chunk))
            seen = np.append(seen, self.task.reference[list(chunk)] - values)
            if verdict := decided(seen, len(self.everything), budget):
                return verdict == "pass"
        return bool(seen.mean() <= budget)


def search(task: Task, quick: Trial, built: Trial) -> Outcome:
    """Find what to restore.

    Args:
        task: what is searched.
        quick: runs sets of layers without compiling; where it covers none, `built` does all.
        built: runs sets of layers as they are going to be deployed.

    Raises:
        UnreachableError: even with everything restored, the built model loses more than the budget.
    """
    state = _Search(task, quick, built)
    try:
        plain = state.built_drop(0)
        if plain <= task.max_drop:
            return Outcome((), True, plain, plain, {})
        whole = state.drop(built, task.whole)
        if whole > task.max_drop:
            raise UnreachableError(whole)
        if quick.covers(frozenset()):
            state.offset = state.drop(quick, frozenset()) - plain
        length = _bracket(state)
        length = _shortest(state, length)
    except TimeIsUpError:
        return _best_so_far(state)
    restored, drop = tuple(state.order[:length]), state.built_drop(length)
    stopped = None if drop <= task.max_drop else f"max_reverted: {length} are restored"
    return Outcome(restored, drop <= task.max_drop, drop, state.known[0], state.scores, stopped)


def _bracket(state: _Search) -> int:
    """Length of the shortest prefix that passes by the quick way, if shorter ones lose more; rung after rung."""
    task = state.task
    most = task.max_restored or sum(map(len, task.rungs))
    for rung in task.rungs:
        below = len(state.order)
        state.order += _ranked(state, rung)
        top = min(len(state.order), most)
        step, low = 1, below
        while low < top:
            high = min(low + step, top)
            if state.quick_passes(high):
                return _bisect(state.quick_passes, low, high)
            low, step = high, 2 * step
        if top == most:
            break
    return min(len(state.order), most)


def _ranked(state: _Search, rung: Sequence[Step]) -> list[int]:
    """Steps of a rung, best first, by what each is worth for its price on the items that lose most."""
    task, before = state.task, frozenset(state.order)
    loss = task.reference - np.array(state.built.values(before, state.everything))
    items = tuple(int(i) for i in np.sort(np.argsort(-loss, kind="stable")[: task.ranking_items]))
    if not task.ranked_alone:
        won = _scored(state, rung, before, items)
        return [step.number for step in sorted(rung, key=lambda s: -won[s.number])]
    lost = _scored(state, rung, task.whole, items)
    silent = [step for step in rung if lost[step.number] == 0]
    won = _scored(state, silent, before, items)
    return [step.number for step in sorted(rung, key=lambda s: (-lost[s.number], -won.get(s.number, 0)))]


def _scored(state: _Search, steps: Sequence[Step], around: Restored, items: Sequence[int]) -> dict[int, float]:
    """What each step is worth for its price: how far the drop moves where it alone is taken beside what is restored
    already, or where it alone is left out of it."""
    task, found = state.task, dict[int, float]()
    if not steps:
        return found
    trial, start = _cheaper(state, around, items)
    for place, step in enumerate(steps, 1):
        task.say(f"ranking {place} of {len(steps)}")
        restored = around ^ {step.number}
        drop = state.drop(trial if trial.covers(restored) else state.built, restored, items)
        state.scores.setdefault(step.number, float(np.mean(task.reference[list(items)])) - drop)
        worth = drop - start if step.number in around else start - drop
        found[step.number] = worth / step.price
    return found


def _cheaper(state: _Search, before: Restored, items: Sequence[int]) -> tuple[Trial, float]:
    """The way of running that ranks in less time, by what was measured, and the drop of what is restored already. For a
    function that generates token by token models may be made and compiled faster than run on floats."""
    if not state.quick.covers(before):
        return state.built, state.drop(state.built, before, items)
    drop = state.drop(state.quick, before, items)
    if state.quick.cost_s(len(items)) <= state.built.cost_s(len(items)):
        return state.quick, drop
    return state.built, state.drop(state.built, before, items)


def _bisect(passes: Callable[[int], bool], low: int, high: int) -> int:
    """The shortest length above `low`, which fails, up to `high`, which passes."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def _shortest(state: _Search, length: int) -> int:
    """From a length that the quick way found, the nearest one where the built model passes and fails with one less."""
    most = min(len(state.order), state.task.max_restored or len(state.order))
    step = 1
    if state.passes(length):
        high = length
        while high > 0 and state.passes(low := max(high - step, 0)):
            high, step = low, 2 * step
        return _bisect(state.passes, max(high - step, 0), high) if high else 0
    low = length
    while low < most:
        high = min(low + step, most)
        if state.passes(high):
            return _bisect(state.passes, low, high)
        low, step = high, 2 * step
    return most


def _best_so_far(state: _Search) -> Outcome:
    """What was built when the time was up: the shortest that passes, else what loses least."""
    known = state.known
    passing = [n for n, drop in known.items() if drop <= state.task.max_drop]
    length = min(passing) if passing else min(known, key=lambda n: known[n])
    stopped = "max_minutes: the time was up"
    return Outcome(tuple(state.order[:length]), bool(passing), known[length], known[0], state.scores, stopped)
