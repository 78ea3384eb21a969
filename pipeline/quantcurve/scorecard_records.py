"""The scorecard of a variant, as the run's record has it."""

from __future__ import annotations

from quantcurve.metrics.behaviour import Behaviour
from quantcurve.metrics.confidence import Confidence, ConfidenceChange
from quantcurve.records import Frozen
from quantcurve.slices.compare import SliceFigure, Statistic
from quantcurve.slices.items import SampleKind
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
    reference_confidence: Confidence | None = None
    """Of multiple choice, with its reliability by bin."""
    variant_confidence: Confidence | None = None
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
    """Its answer, the place of its choice, or a check's value."""
    variant: str
    first_divergent_token: int | None
    why: str


class Scorecard(Frozen):
    """What was found out about a variant."""

    verdict: VariantVerdict
    slices: tuple[SliceResult, ...] = ()
    failing: tuple[FailingItem, ...] = ()
    """As many of each slice as the contract keeps."""
