"""The scorecard of a variant, as the run's record has it."""

from __future__ import annotations

from quantcurve.metrics.behaviour import Behaviour, first_divergence
from quantcurve.metrics.confidence import ConfidenceChange
from quantcurve.records import Frozen
from quantcurve.slices.compare import SliceFigure, Statistic
from quantcurve.slices.items import SampleKind
from quantcurve.slices.records import SliceSample
from quantcurve.verdicts import VariantVerdict

BUILT_IN = "built-in"
"""Stands for quantcurve's own judges."""


class SliceResult(Frozen):
    """A slice of one variant against the reference."""

    name: str
    kind: SampleKind
    items: int
    """That were asked; fewer than there are where the verdict stood before."""
    figures: tuple[SliceFigure, ...]
    behaviour: Behaviour | None
    """None where nothing is generated."""
    confidence: ConfidenceChange | None
    """Of multiple choice."""
    judge: str = BUILT_IN
    """Or the user's, FILE.py:FUNCTION."""
    note: str = ""
    """Why it can show little, whatever the budget; empty: it can show something."""

    def whole(self, statistic: Statistic) -> SliceFigure | None:
        """A figure over all of its items; None where no item has it."""
        return next((one for one in self.figures if one.statistic == statistic and not one.part), None)


class FailingItem(Frozen):
    """An item that the reference has right and the variant wrong, or of a check that is worth less."""

    slice: str
    item: str
    reference: str
    """Its answer, or a check's value."""
    variant: str
    first_divergent_token: int | None
    why: str

    @classmethod
    def of(cls, reference: SliceSample, variant: SliceSample) -> FailingItem:
        """Of one item's samples."""
        where = {"slice": reference.slice, "item": reference.item}
        if reference.value is not None and variant.value is not None:
            values = {"reference": f"{reference.value:g}", "variant": f"{variant.value:g}"}
            return cls(**where, **values, first_divergent_token=None, why="a lower value")
        a, b = reference.answer, variant.answer
        assert a and b and variant.judgement
        return cls(
            **where,
            reference=a.text,
            variant=b.text,
            first_divergent_token=first_divergence(a.tokens, b.tokens),
            why=variant.judgement.why,
        )


class Scorecard(Frozen):
    """What was found out about a variant."""

    verdict: VariantVerdict
    slices: tuple[SliceResult, ...] = ()
    failing: tuple[FailingItem, ...] = ()
    """As many of each slice as the contract keeps."""
