"""Verdicts over a contract: pass, fail or undecided, of each budget and of each variant.

A variant passes if every one of its budgets is shown to be kept: an intersection-union test (Berger 1982,
"Multiparameter hypothesis testing and acceptance sampling", Technometrics 24, 295-300), whose p value is the largest of
its budgets', so that each budget is tested at its own level; over the variants Holm's correction. A variant fails if
one of its budgets is shown to be broken, by Holm's correction over all budgets of all variants. Else it is undecided,
and the number of items that would decide it is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.evidence import ALPHA, Evidence, holm
from quantcurve.records import Frozen

Decision = Literal["pass", "fail", "undecided"]
Part = Literal["system", "quality", "behaviour"]
Scale = Literal["points", "nats", "percent", "plain"]
"""How a loss is told: hundredths of a share, nats, a logarithm of a ratio as percent, or as it is."""


class Budget(Frozen):
    """A limit, and what it is on."""

    part: Part
    name: str
    """Figure or slice."""
    words: str
    """Of the recipe."""
    scale: Scale


class Judged(NamedTuple):
    """A budget of one variant, measured."""

    budget: Budget
    evidence: Evidence
    blocked: str = ""
    """Why the data cannot show that it is kept, whatever they say; empty if they can."""


class BudgetVerdict(Frozen):
    """What is said of one budget."""

    budget: Budget
    decision: Decision
    evidence: Evidence
    further_items: int | None
    """Items (of the system's budgets rounds of the benchmark) that would decide it, with a probability of 80 %, if the
    loss is what it seems; None where none would, or it is decided."""
    blocked: str
    sentence: str


class VariantVerdict(Frozen):
    """What is said of one variant."""

    decision: Decision | Literal["not evaluated"]
    sentence: str
    budgets: tuple[BudgetVerdict, ...] = ()

    def others(self) -> tuple[str, ...]:
        """Sentences of the budgets that its own sentence does not tell."""
        return tuple(one.sentence for one in self.budgets if one.sentence not in self.sentence)


def not_evaluated(why: str) -> VariantVerdict:
    """Of a variant that is not on the shortlist."""
    return VariantVerdict(decision="not evaluated", sentence=why)


def refused(why: str) -> VariantVerdict:
    """Of a variant that must not be deployed as it is, whatever its weights are worth: it fails, and nothing of it was
    measured."""
    return VariantVerdict(decision="fail", sentence=why)


def verdicts(judged: Mapping[str, Sequence[Judged]], alpha: float = ALPHA) -> dict[str, VariantVerdict]:
    """Verdicts of all variants that were evaluated.

    Args:
        judged: budgets by variant, one at least of each.
        alpha: probability of any wrong `fail`, and of any wrong `pass`, one-sided.

    Raises:
        ValueError: a variant without budgets.
    """
    if empty := [name for name, budgets in judged.items() if not budgets]:
        raise ValueError(f"no budgets of {', '.join(empty)}")
    every = [(name, i) for name, budgets in judged.items() for i in range(len(budgets))]
    breaks = dict(zip(every, holm([judged[name][i].evidence.p_breaks for name, i in every]), strict=True))
    keeps = dict(zip(judged, holm([max(map(_p_keeps, budgets)) for budgets in judged.values()]), strict=True))
    found = {}
    for name, budgets in judged.items():
        told = tuple(_budget(one, breaks[name, i], alpha) for i, one in enumerate(budgets))
        found[name] = _variant(told, keeps[name] <= alpha)
    return found


def missed(found: Iterable[VariantVerdict]) -> bool:
    """Whether a run's contract is not kept: a variant fails, or of those that were evaluated none passes."""
    decisions = {verdict.decision for verdict in found}
    return "fail" in decisions or ("undecided" in decisions and "pass" not in decisions)


def _p_keeps(one: Judged) -> float:
    return 1.0 if one.blocked else one.evidence.p_keeps


def _budget(one: Judged, breaks: float, alpha: float) -> BudgetVerdict:
    decision: Decision = "fail" if breaks <= alpha else "pass" if _p_keeps(one) <= alpha else "undecided"
    further = _further(one) if decision == "undecided" else None
    return BudgetVerdict(
        budget=one.budget,
        decision=decision,
        evidence=one.evidence,
        further_items=further,
        blocked=one.blocked,
        sentence=_sentence(one, decision, further),
    )


def _further(one: Judged) -> int | None:
    found = one.evidence
    if one.blocked or found.items_needed is None or isinstance(found.loss, Missing):
        return None
    return max(1, found.items_needed - found.loss.n)


def _sentence(one: Judged, decision: Decision, further: int | None) -> str:
    budget, loss = one.budget, one.evidence.loss
    if isinstance(loss, Missing):
        return f"{budget.name}: undecided, since there is no figure: {loss.missing}"
    against = " from the bound" if budget.part == "system" and budget.words[:1] in {"<", ">"} else ""
    measured = f"{budget.name}: {told(loss, budget.scale)}{against}, {_wanted(budget)}"
    if decision != "undecided":
        return f"{measured}: {'kept' if decision == 'pass' else 'broken'}"
    if one.blocked:
        return f"{measured}: cannot be shown to be kept: {one.blocked}"
    units = "rounds" if budget.part == "system" else "items"
    more = f"{further:,} more {units} would decide" if further else f"no number of {units} would decide"
    return f"{measured}: undecided; {more}"


def _wanted(budget: Budget) -> str:
    return f"wanted {budget.words}" if budget.part == "system" else f"allowed {budget.words}"


def told(loss: Estimate, scale: Scale) -> str:
    """A loss with its interval, in words: what is lost is above 0."""
    values = [_scaled(x, scale) for x in (loss.value, loss.low, loss.high)]
    digits = 1 if scale in {"points", "percent"} else 3
    unit = {"points": " points", "percent": " %", "nats": " nats", "plain": f" {loss.unit}".rstrip()}[scale]
    value, low, high = (f"{x:+.{digits}f}" for x in values)
    return f"{value}{unit}" if loss.low == loss.high else f"{value}{unit} [{low}, {high}]"


def _scaled(value: float, scale: Scale) -> float:
    if scale == "points":
        return 100 * value
    return 100 * math.expm1(value) if scale == "percent" else value


def _variant(budgets: tuple[BudgetVerdict, ...], kept: bool) -> VariantVerdict:
    broken = [b for b in budgets if b.decision == "fail"]
    decision: Decision = "fail" if broken else "pass" if kept else "undecided"
    return VariantVerdict(decision=decision, sentence=_why(decision, budgets, broken), budgets=budgets)


def _why(decision: Decision, budgets: Sequence[BudgetVerdict], broken: Sequence[BudgetVerdict]) -> str:
    if decision == "fail":
        worst = min(broken, key=lambda b: b.evidence.p_breaks)
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        return f"{worst.sentence}{more}"
    if decision == "pass":
        closest = max(budgets, key=lambda b: b.evidence.p_keeps)
        return (
            f"all {len(budgets)} budgets are kept; the closest: {closest.sentence}" if budgets[1:] else closest.sentence
        )
    left = [b for b in budgets if b.decision == "undecided"]
    if not left:
        return "every budget is kept alone, but not all variants together by Holm's correction; more items would tell"
    hardest = max(left, key=lambda b: (b.further_items is None, b.further_items or 0))
    others = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
    return f"{hardest.sentence}{others}"
