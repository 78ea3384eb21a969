"""How far a variant is beyond what accuracy control, the screen and the contract allow, relative to that."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from pydantic import ValidationError

from quantcurve.estimates import Estimate
from quantcurve.recipe import Recipe
from quantcurve.recipe_contract import Contract, QualityLimit, SystemLimit, rises
from quantcurve.report import words
from quantcurve.report.explain import summary
from quantcurve.results import VariantResult
from quantcurve.scorecard_records import Scorecard
from quantcurve.verdicts import BudgetVerdict

Kind = Literal["quality", "size", "memory", "speed"]
"""What a limit is on; behaviour is quality."""
TINY = 1e-12
"""Stands in for a limit of zero where an excess is taken relative to it."""


class Breach(NamedTuple):
    """A limit that a variant does not surely keep to."""

    kind: Kind
    sentence: str
    excess: float
    """How far the worse end of the interval is beyond the limit, as a share of the limit; infinite: not known."""


def never_taken(variant: VariantResult, recipe: Recipe | None) -> Iterator[Breach]:
    """Reasons for which a variant is not taken whatever the limits.

    Args:
        variant: that was measured.
        recipe: of the run, if it can be read.
    """
    if variant.verdict and variant.verdict.decision == "discard":
        said = f"discarded by the screen: {variant.verdict.sentence}"
        yield Breach("quality", words.plain(said), _beyond_screen(variant, recipe))
    control = variant.accuracy_control
    if control and control.verdict == "fail":
        worst = control.drop.high if isinstance(control.drop, Estimate) else math.inf
        beyond = relative(worst - control.max_drop, control.max_drop)
        yield Breach("quality", words.plain(f"accuracy control: {summary(control)}"), beyond)
    if variant.scorecard and variant.scorecard.verdict.decision == "fail":
        yield from _broken(variant.scorecard, recipe.contract.margin if recipe else Contract().margin)


def relative(excess: float, limit: float) -> float:
    """An excess as a share of its limit."""
    return excess / max(abs(limit), TINY)


def _beyond_screen(variant: VariantResult, recipe: Recipe | None) -> float:
    judged = variant.verdict.judged if variant.verdict else None
    if recipe is None or not isinstance(judged, Estimate):
        return math.inf
    line = recipe.screen.discard_above_percent
    return relative(100 * math.expm1(judged.high) - line, line)


def _broken(card: Scorecard, margin: QualityLimit) -> Iterator[Breach]:
    broken = [one for one in card.verdict.budgets if one.decision == "fail"]
    if not broken:
        yield Breach("quality", words.plain(f"breaks the contract: {card.verdict.sentence}"), math.inf)
    for one in broken:
        sentence = words.plain(f"breaks the contract: {one.sentence}")
        yield Breach(_kind(one), sentence, _beyond_budget(one, card, margin))


def _kind(broken: BudgetVerdict) -> Kind:
    if broken.budget.part != "system":
        return "quality"
    of: dict[str, Kind] = {"size": "size", "peak_memory": "memory"}
    return of.get(broken.budget.name, "speed")


def _beyond_budget(broken: BudgetVerdict, card: Scorecard, margin: QualityLimit) -> float:
    loss, budget = broken.evidence.loss, broken.budget
    if not isinstance(loss, Estimate):
        return math.inf
    try:
        read = Contract.model_validate({budget.part: {budget.name: budget.words}})
    except ValidationError:
        return math.inf
    if budget.part == "system":
        limit = next(iter(read.system.limits()))[1]
        return math.expm1(loss.high - _system_line(budget.name, limit))
    if budget.part == "behaviour":
        moved = read.behaviour[budget.name]
        if moved.kind == "within":
            return relative(max(abs(loss.low), abs(loss.high)) - math.log1p(moved.amount), math.log1p(moved.amount))
        most = margin.amount if moved.kind == "no_more" else moved.amount
        return relative(loss.high - most, most)
    most = _allowed(read.quality[budget.name], margin, budget.name, card)
    return relative(loss.high - most, most)


def _system_line(name: str, limit: SystemLimit) -> float:
    """As budgets_system has it: the logarithm of the ratio that is allowed."""
    if limit.kind != "change":
        return 0.0
    return math.log1p(limit.amount) * (-1 if rises(name) else 1)


def _allowed(limit: QualityLimit, margin: QualityLimit, name: str, card: Scorecard) -> float:
    """What may be lost, in the unit of the loss; not a number where the record does not tell."""
    if limit.kind == "no_regression":
        return margin.amount
    if limit.kind != "share":
        return limit.amount
    slice_ = next((one for one in card.slices if one.name == name), None)
    figure = (slice_.whole("right") or slice_.whole("value")) if slice_ else None
    reference = figure.reference if figure else None
    return limit.amount * abs(reference.value) if isinstance(reference, Estimate) else math.nan
