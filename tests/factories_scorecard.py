"""Made-up scorecards, with figures that the real comparison gives of made-up samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factories import Made, make_run
from quantcurve.results import RunResult
from quantcurve.scorecard_records import Scorecard, SliceResult
from quantcurve.slices.compare import figures
from quantcurve.slices.records import SliceSample
from quantcurve.verdicts import BudgetVerdict, VariantVerdict
from slice_samples import followed, generated


def flipped(name: str, lost: int, won: int, items: int = 40, nats: float = -1.5, **more: Any) -> SliceResult:
    """A slice of which the first half is right on the reference; so many of it are lost, of the others won."""
    half = items // 2
    reference = [generated(i, slice=name, right=i < half, followed=followed(-1 - i / 100)) for i in range(items)]
    variant = [
        generated(i, slice=name, right=(i >= lost) if i < half else (i < half + won), followed=followed(nats - i / 90))
        for i in range(items)
    ]
    return make_slice_result(reference, variant, **more)


def make_slice_result(reference: Sequence[SliceSample], variant: Sequence[SliceSample], **more: Any) -> SliceResult:
    found = SliceResult(
        name=reference[0].slice,
        kind=reference[0].kind,
        items=len(reference),
        figures=tuple(figures(reference, variant)),
        behaviour=None,
        confidence=None,
    )
    return found.model_copy(update=more)


def make_card(*slices: SliceResult, budgets: Sequence[BudgetVerdict] = ()) -> Scorecard:
    verdict = VariantVerdict(decision="undecided", sentence="more items would decide", budgets=tuple(budgets))
    return Scorecard(verdict=verdict, slices=slices)


def run_with(cards: Mapping[str, Scorecard], kl: Sequence[float] = (), texts: Sequence[str] = ("wiki",)) -> RunResult:
    """A run whose variants have these scorecards, and KL divergences of 0.01, 0.02 and so on."""
    values = kl or [0.01 * (i + 1) for i in range(len(cards))]
    run = make_run(
        [Made(name, value, 90 - i) for i, (name, value) in enumerate(zip(cards, values, strict=True))], texts=texts
    )
    return run.model_copy(
        update={"variants": tuple(v.model_copy(update={"scorecard": cards[v.name]}) for v in run.variants)}
    )
