"""From a variant's samples beside the reference's to its scorecard."""

from __future__ import annotations

from collections.abc import Mapping

from quantcurve.budgets import Pairs, note
from quantcurve.metrics.behaviour import behaviour, first_divergence
from quantcurve.recipe_contract import Contract
from quantcurve.scorecard import Scored
from quantcurve.scorecard_records import FailingItem, Scorecard, SliceResult
from quantcurve.slices.certainty import certainty_change, confidences
from quantcurve.slices.compare import chosen, figures, is_right
from quantcurve.slices.records import SliceSample


def scorecard_of(one: Scored, judges: Mapping[str, str], contract: Contract) -> Scorecard:
    """The scorecard.

    Args:
        one: verdict and samples.
        judges: of each slice (SliceResult.judge).
        contract: what is kept of failing items.
    """
    return Scorecard(
        verdict=one.verdict,
        slices=tuple(_slice(name, pairs, judges[name]) for name, pairs in one.pairs.items() if pairs),
        failing=tuple(_failing(one, contract)),
    )


def _slice(name: str, pairs: Pairs, judge: str) -> SliceResult:
    reference, variant = ([pair[side] for pair in pairs] for side in (0, 1))
    answers = [(a.answer, b.answer) for a, b in pairs if a.answer and b.answer]
    sure = confidences(pairs)
    return SliceResult(
        name=name,
        kind=reference[0].kind,
        items=len(pairs),
        figures=tuple(figures(reference, variant)),
        behaviour=behaviour([a for a, _ in answers], [b for _, b in answers]) if answers else None,
        confidence=certainty_change(pairs),
        reference_confidence=sure[0] if sure else None,
        variant_confidence=sure[1] if sure else None,
        judge=judge,
        note=note(pairs),
    )


def _failing(one: Scored, contract: Contract) -> list[FailingItem]:
    """Items that the variant loses: where a budget is not kept, or always, or never, as the recipe says."""
    kept = all(b.decision == "pass" for b in one.verdict.budgets)
    if contract.debug.keep == "none" or (contract.debug.keep == "failing" and kept):
        return []
    lost = (sorted((p for p in pairs if _loss(*p) > 0), key=lambda p: -_loss(*p)) for pairs in one.pairs.values())
    return [failing_item(a, b) for some in lost for a, b in some[: contract.debug.items]]


def _loss(reference: SliceSample, variant: SliceSample) -> float:
    """Of an item: 1 where a right answer is lost, what a check's value has lost; 0 for none."""
    if reference.value is not None and variant.value is not None:
        return max(0.0, reference.value - variant.value)
    return float(is_right(reference) == 1 and is_right(variant) == 0)


def failing_item(reference: SliceSample, variant: SliceSample) -> FailingItem:
    """Of one item that is lost."""
    said, why, divergent = ("", ""), "a lower value", None
    if reference.value is not None and variant.value is not None:
        said = (f"{reference.value:g}", f"{variant.value:g}")
    elif reference.right is not None:
        said = (f"choice {chosen(reference)}", f"choice {chosen(variant)}")
        why = f"another choice is the likeliest by length; {reference.right} is right, counted from 0"
    elif reference.answer and variant.answer and variant.judgement:
        said, why = (reference.answer.text, variant.answer.text), variant.judgement.why
        divergent = first_divergence(reference.answer.tokens, variant.answer.tokens)
    return FailingItem(
        slice=reference.slice,
        item=reference.item,
        reference=said[0],
        variant=said[1],
        first_divergent_token=divergent,
        why=why,
    )
