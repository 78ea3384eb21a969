"""From a contract and a model's answers to evidence: length, format, refusals, repetition, stops, certainty."""

from __future__ import annotations

import math
from collections.abc import Mapping

from quantcurve.budgets import Pairs
from quantcurve.estimates import Figure, Missing
from quantcurve.generation import StopReason
from quantcurve.metrics.behaviour import behaviour, loops
from quantcurve.metrics.evidence import Evidence, Lines, missing, of_both_sides, of_estimate, of_items
from quantcurve.metrics.item_changes import ratio_of_means
from quantcurve.metrics.transforms import log_estimate
from quantcurve.recipe_contract import RATES, BehaviourLimit, Contract, QualityLimit, parts
from quantcurve.slices.certainty import certainty_change
from quantcurve.slices.records import SliceSample
from quantcurve.verdicts import Budget, Judged, Scale


def behavioural(contract: Contract, slices: Mapping[str, Pairs]) -> list[Judged]:
    """Budgets on how answers are, over all slices or one."""
    found = []
    for name, limit in contract.behaviour.items():
        figure, on = parts(name)
        pairs = slices.get(on, ()) if on else [pair for some in slices.values() for pair in some]
        scale: Scale = "percent" if limit.kind == "within" else "points"
        budget = Budget(part="behaviour", name=name, words=limit.words, scale=scale)
        found.append(Judged(budget, _behavioural(figure, limit, contract.margin, pairs), _at_floor(figure, pairs)))
    return found


def _at_floor(figure: str, pairs: Pairs) -> str:
    """Why no answer can be found to have got a fault: all of the reference's have it. To call a function is none."""
    if figure not in RATES or figure == "tool_calls":
        return ""
    known = [found for a, _ in pairs if (found := _is(figure, a, a.stop_reason)) is not None]
    if not known or not all(known):
        return ""
    return f"all {len(known):,} answers of the reference are so already; take items that it does better on"


def _behavioural(figure: str, limit: BehaviourLimit, margin: QualityLimit, pairs: Pairs) -> Evidence:
    lines = Lines(margin.amount, 0.0) if limit.kind == "no_more" else Lines(limit.amount, limit.amount)
    if figure in RATES:
        return _rate(figure, pairs, lines)
    if figure == "calibration_error":
        return _calibration(pairs, lines)
    ratio = _behaviour_ratio(figure, pairs)
    if isinstance(ratio, Missing):
        return missing(ratio.missing)
    return of_both_sides(ratio, math.log1p(limit.amount))


def _rate(figure: str, pairs: Pairs, lines: Lines) -> Evidence:
    """Of answers that are so; more of them is a loss, and `of_items` wants higher to be better."""
    both = [(_is(figure, a, a.stop_reason), _is(figure, b, a.stop_reason)) for a, b in pairs]
    known = [(x, y) for x, y in both if x is not None and y is not None]
    if not known:
        return missing("no answer tells")
    return of_items([1.0 - x for x, _ in known], [1.0 - y for _, y in known], lines, "share")


def _is(figure: str, sample: SliceSample, reference_stop: StopReason | None) -> bool | None:
    answer, judged = sample.answer, sample.judgement
    if answer is None:
        return None
    if figure == "loops":
        return loops(answer.tokens)
    if figure == "cut_off":
        return answer.stop_reason == "limit"
    if figure == "wrong_stops":
        return None if reference_stop != "end" else answer.stop_reason != "end"
    if judged is None or judged.skipped:
        return None
    if figure == "invalid_format":
        return None if judged.well_formed is None else not judged.well_formed
    if figure == "tool_calls":
        return judged.calls > 0 if sample.kind == "tool_call" else None
    if figure == "refusal":
        return None if sample.safe is False else judged.refused
    return not judged.refused if sample.safe is False else None


def _behaviour_ratio(figure: str, pairs: Pairs) -> Figure:
    """Logarithm of the variant's figure over the reference's."""
    if figure in {"entropy", "margin"}:
        both = [
            (getattr(a.followed, figure), getattr(b.followed, figure)) for a, b in pairs if a.followed and b.followed
        ]
        if not both:
            return Missing(missing="no answer was followed")
        return log_estimate(ratio_of_means([y for _, y in both], [x for x, _ in both], "ratio"))
    answers = [(a.answer, b.answer) for a, b in pairs if a.answer and b.answer]
    if not answers:
        return Missing(missing="no answer was generated")
    found = behaviour([a for a, _ in answers], [b for _, b in answers])
    if figure == "mean_output_tokens":
        return log_estimate(found.length_ratio)
    if figure == "verbosity":
        return log_estimate(found.verbosity_ratio)
    change, reference = found.tokens_p95.change, found.tokens_p95.reference
    if isinstance(change, Missing):
        return change
    if isinstance(reference, Missing) or reference.value <= 0:
        return Missing(missing="the reference's 95th percentile is not known, or 0")
    scaled = {name: 1 + getattr(change, name) / reference.value for name in ("value", "low", "high")}
    return log_estimate(change.model_copy(update=scaled))


def _calibration(pairs: Pairs, lines: Lines) -> Evidence:
    found = certainty_change(pairs)
    return of_estimate(found.calibration[0].change, lines) if found else missing("no multiple choice was asked")
