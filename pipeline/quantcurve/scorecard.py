"""A contract over slices: item by item, look by look, until a verdict stands; whatever asks the models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from quantcurve.budgets import Pairs, quality
from quantcurve.budgets_behaviour import behavioural
from quantcurve.metrics.evidence import Evidence, over_all_looks
from quantcurve.recipe_contract import Contract
from quantcurve.records import REFERENCE
from quantcurve.scorecard_plan import FULL_LOOKS, FULL_WEIGHTS, QUICK_ROUNDS, cuts, time_left
from quantcurve.slices.compare import paired
from quantcurve.slices.records import SliceSample
from quantcurve.verdicts import Judged, VariantVerdict, not_evaluated, verdicts

NO_BUDGETS = not_evaluated("figures only: the contract has no budgets")


class Answered(NamedTuple):
    """Items of a slice on one model."""

    samples: Sequence[SliceSample]
    seconds: float
    """That they took when they were asked."""


Ask = Callable[[str, str, range], Answered]
"""From a model's name (REFERENCE: the reference), a slice's name and places of its items to their samples."""


System = Callable[[str], Sequence[Judged]]
"""From a variant's name to its budgets on the system."""


class Card(NamedTuple):
    """What is asked, and what must hold."""

    contract: Contract
    items: Mapping[str, int]
    """Of each slice."""


class Scored(NamedTuple):
    """What was found out about one variant."""

    verdict: VariantVerdict
    pairs: Mapping[str, Pairs]
    """Of each slice the items that were asked."""


class _Open:
    """A variant while it is evaluated."""

    def __init__(self, card: Card) -> None:
        self.pairs: dict[str, list[tuple[SliceSample, SliceSample]]] = {name: [] for name in card.items}
        self.looks: list[list[Judged]] = []
        self.seconds = 0.0
        self.done = False

    def look(self, contract: Contract) -> None:
        """Judge what is known by now."""
        self.looks.append([*quality(contract, self.pairs), *behavioural(contract, self.pairs)])

    def judged(self, weights: Sequence[float]) -> list[Judged]:
        """Budgets with evidence that allows for all looks so far. A budget that there was nothing of at a look (a
        language that came later) has no evidence of that look."""
        found = []
        for last in self.looks[-1]:
            same = [[one.evidence for one in look if one.budget == last.budget] for look in self.looks]
            history = [some[0] if some else Evidence(loss=last.evidence.loss) for some in same]
            found.append(last._replace(evidence=over_all_looks(history, weights)))
        return found


def evaluate(card: Card, variants: Sequence[str], ask: Ask, system: System) -> dict[str, Scored]:
    """Ask the reference and the variants, and judge them: in full mode after every look, and a variant that is decided
    is not asked on; in quick mode once, when all items are asked or the time is over.

    Args:
        card: contract and slices; without budgets all items are asked, and there is no verdict.
        variants: names.
        ask: asks a model some items of a slice.
        system: a variant's budgets on the system.

    Raises:
        RecipeError: a variant was asked otherwise than the reference.
    """
    opened = {name: _Open(card) for name in variants}
    found = (_quick if card.contract.mode == "quick" else _full)(card, opened, ask, system)
    return {name: Scored(found.get(name, NO_BUDGETS), one.pairs) for name, one in opened.items()}


def _full(card: Card, opened: Mapping[str, _Open], ask: Ask, system: System) -> dict[str, VariantVerdict]:
    found: dict[str, VariantVerdict] = {}
    for parts in _rounds(card, FULL_LOOKS):
        left = {name: one for name, one in opened.items() if not one.done}
        _ask(parts, left, ask)
        for one in left.values():
            one.look(card.contract)
        found = _verdicts(opened, FULL_WEIGHTS, system)
        for name, verdict in found.items():
            opened[name].done = _decided(verdict)
        if all(one.done for one in opened.values()):
            break
    return found


def _quick(card: Card, opened: Mapping[str, _Open], ask: Ask, system: System) -> dict[str, VariantVerdict]:
    """Rounds end by time alone, which knows nothing of the answers: one look at the end is all that there is."""
    left = dict(opened)
    for number, parts in enumerate(_rounds(card, QUICK_ROUNDS), 1):
        _ask(parts, left, ask)
        left = {name: one for name, one in left.items() if time_left(one.seconds, number)}
    for one in opened.values():
        one.look(card.contract)
    return _verdicts(opened, (1.0,), system)


def _rounds(card: Card, shares: Sequence[float]) -> list[dict[str, range]]:
    """Of each slice the items that are new, round by round."""
    parts = {name: cuts(items, shares) for name, items in card.items.items()}
    return [{name: some[i] for name, some in parts.items() if some[i]} for i in range(len(shares))]


def _verdicts(opened: Mapping[str, _Open], weights: Sequence[float], system: System) -> dict[str, VariantVerdict]:
    judged = {name: [*one.judged(weights), *system(name)] for name, one in opened.items()}
    return verdicts({name: budgets for name, budgets in judged.items() if budgets})


def _ask(parts: Mapping[str, range], left: Mapping[str, _Open], ask: Ask) -> None:
    for name, part in parts.items() if left else ():
        reference = ask(REFERENCE, name, part).samples
        for variant, one in left.items():
            answered = ask(variant, name, part)
            one.pairs[name] += paired(reference, answered.samples)
            one.seconds += answered.seconds


def _decided(verdict: VariantVerdict) -> bool:
    """Whether more items would change nothing: it has failed, or every budget on items is decided."""
    on_items = [b for b in verdict.budgets if b.budget.part != "system"]
    return verdict.decision == "fail" or all(b.decision != "undecided" for b in on_items)
