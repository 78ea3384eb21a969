"""From a contract and a model's slices to evidence, budget by budget: quality. budgets_system.py and
budgets_behaviour.py have the other parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from quantcurve.estimates import Estimate
from quantcurve.metrics.evidence import Lines, missing, of_items, of_shares
from quantcurve.metrics.paired import Values, item_mean
from quantcurve.recipe_contract import Contract, QualityLimit
from quantcurve.slices.compare import EXACT, Statistic, length_of, values
from quantcurve.slices.records import SliceSample
from quantcurve.verdicts import Budget, Judged, Scale

Pairs = Sequence[tuple[SliceSample, SliceSample]]
"""The same items on the reference and on the variant."""
IN_POINTS: tuple[Statistic, ...] = ("right",)
IN_NATS: tuple[Statistic, ...] = ("right_choice_likelihood", "answer_likelihood")
"""What limits are on, the first of them that a slice has; of a check in both cases its values."""


def quality(contract: Contract, slices: Mapping[str, Pairs]) -> list[Judged]:
    """Budgets on slices, and on parts of all of them but checks, whose values have units of their own.

    Args:
        contract: the recipe's.
        slices: pairs by slice; a slice of the contract that is not there has no evidence.
    """
    found = []
    for name, limit in contract.quality.items():
        for label, pairs in _named(name, slices):
            found.append(_quality(label, limit, contract.margin, pairs))
    return found


def _named(name: str, slices: Mapping[str, Pairs]) -> list[tuple[str, Pairs]]:
    if name == "every slice":
        return list(slices.items())
    every = [pair for pairs in slices.values() for pair in pairs if pair[0].kind != "check"]
    if name == "every language":
        return [(f"language {key}", [p for p in every if p[0].language == key]) for key in _keys(every, "language")]
    if name == "every prompt length":
        lengths = sorted({length_of(a.prompt_tokens) for a, _ in every})
        return [(key, [p for p in every if length_of(p[0].prompt_tokens) == key]) for key in lengths]
    return [(name, slices.get(name, ()))]


def _keys(pairs: Pairs, field: str) -> list[str]:
    return sorted({str(getattr(a, field)) for a, _ in pairs})


def _quality(name: str, limit: QualityLimit, margin: QualityLimit, pairs: Pairs) -> Judged:
    in_nats = limit.kind == "nats"
    scale: Scale = "nats" if in_nats else "points"
    budget = Budget(part="quality", name=name, words=limit.words, scale=scale)
    names = (*(IN_NATS if in_nats else IN_POINTS), "value")
    found = next(((s, a, b) for s in names for a, b in [values(pairs, s)] if a), None)
    if found is None:
        return Judged(budget, missing("no item of it was judged"))
    statistic, before, after = found
    lines = lines_of(limit, margin, float(np.mean(before)))
    unit = "value" if statistic == "value" else "nats per token" if in_nats else "share"
    rates = statistic == "right" or (statistic == "value" and {*before, *after} <= {0.0, 1.0})
    graded = statistic == "value" and all(0 <= value <= 1 for value in (*before, *after))
    evidence = (of_shares if graded else of_items)(before, after, lines, unit)
    return Judged(budget, evidence, floor(pairs, before, lines) if rates else "")


def lines_of(limit: QualityLimit, margin: QualityLimit, mean: float) -> Lines:
    """Lines of a limit on quality.

    Args:
        limit: what may be lost.
        margin: what "no significant regression" must have excluded.
        mean: the reference's value, which shares are of.
    """
    if limit.kind == "no_regression":
        return Lines(_amount(margin, mean), 0.0)
    amount = _amount(limit, mean)
    return Lines(amount, amount)


def _amount(limit: QualityLimit, mean: float) -> float:
    return limit.amount * abs(mean) if limit.kind == "share" else limit.amount


EASIER = "; give easier items"


def note(pairs: Pairs) -> str:
    """Why a slice shows little, whatever its budget: items without a judgement, a reference at the floor; or empty."""
    skipped = Counter(s.judgement.skipped for pair in pairs for s in pair if s.judgement and s.judgement.skipped)
    if skipped:
        reason, _ = skipped.most_common(1)[0]
        count = sum(any(s.judgement and s.judgement.skipped for s in pair) for pair in pairs)
        return f"{count} of {len(pairs)} items were not judged: {reason}"
    before, _ = values(pairs, "right")
    return floor(pairs, before, EXACT) if before else ""


def floor(pairs: Pairs, before: Sequence[float], lines: Lines) -> str:
    """Why a slice cannot show that a budget is kept: the reference is so near to what guessing gives that losing all of
    the rest would not show."""
    shares = [1 / len(a.likelihoods) for a, _ in pairs if a.likelihoods]
    found = at_floor(before, float(np.mean(shares)) if len(shares) == len(pairs) else 0.0, lines)
    cut = sum(a.stop_reason == "limit" for a, _ in pairs)
    if not found or 2 * cut <= len(pairs):
        return found
    answers = f"{cut} of its {len(pairs)} answers were cut off"
    return f"{found.removesuffix(EASIER)}; {answers}: raise max_tokens or give easier items"


def at_floor(before: Values, chance: float, lines: Lines) -> str:
    """The same of values between 0 and 1.

    Args:
        before: (n,), of the reference.
        chance: mean that guessing gives.
        lines: of the budget.
    """
    reference = item_mean(before, "share")
    low = reference.low if isinstance(reference, Estimate) else chance
    if low > chance + max(lines.keeps, 0.0):
        return ""
    guess = f"{100 * chance:.0f} % is chance" if chance else "none is right by chance"
    found = f"{100 * float(np.mean(before)):.1f} % right"
    return f"the reference is at the floor: it has {found}, and {guess}{EASIER}"
