"""What accuracy control did to a variant, and what that is worth."""

from __future__ import annotations

from typing import Literal

from quantcurve.estimates import Figure
from quantcurve.records import Frozen

Verdict = Literal["pass", "fail", "undecided"]


class RestoredGroup(Frozen):
    """Layers that were restored together: what one quantizer feeds is restored with it."""

    layers: tuple[str, ...]
    """By their names in the model, as model.layers.0.mlp.up_proj; of others than layers, by their kind."""
    operations: tuple[str, ...]
    """By the graph's names."""
    to: str
    """F32, or the format that the weights have now."""
    score: float | None
    """Mean value of the validation on the ranking items by which this group was ranked: of W8A8 with this group alone
    quantised, of compressed weights with this group alone restored; None where NNCF's ranking chose it, which does not
    tell."""


class ControlSeconds(Frozen):
    """Wall time of accuracy control; what an interrupted run had done before is not in it."""

    total: float
    validation: float
    """The validation function, with all inference."""
    compilation: float
    """Models made and compiled to be validated."""

    @property
    def rest(self) -> float:
        """Quantization, saving, and what else there is."""
        return self.total - self.validation - self.compilation


class ControlResult(Frozen):
    """One variant's accuracy control."""

    validation: str
    """Its name in the recipe."""
    function: str
    ranking: Literal["fast", "nncf"]
    max_drop: float
    """Absolute, in the unit of the validation's value."""
    relative_max_drop: float | None
    """In shares of the reference's mean, where the recipe says it so."""
    items: int
    """That the search saw."""
    held_out_items: int
    leaked_items: int
    """Left out, since they share a passage with texts of calibration or evaluation."""
    reached: bool
    """Whether the mean drop over the search's items is within the budget."""
    verdict: Verdict
    """On held-out items: pass or fail where the drop's whole interval is on one side of the budget."""
    reference_mean: float
    """Of the float reference, on held-out items."""
    drop: Figure
    """Of the saved model as it is deployed, on held-out items, paired with the reference's."""
    plain_drop: Figure
    """The same without anything restored."""
    search_drop: float
    """On the search's items."""
    search_plain_drop: float
    restored: tuple[RestoredGroup, ...]
    """In the order of the ranking, the one that won most first."""
    groups: int
    """That there are to restore."""
    layers: tuple[str, ...]
    """All that are quantised in the plain variant."""
    operations: int
    """Quantised operations of the plain variant."""
    restored_share: float
    """How much of `share_of` is not quantised any more, or has more bits; 0 to 1."""
    share_of: Literal["multiplications by weights", "compressed weights"]
    validations: int
    """Sets of layers that were validated, on some items or all."""
    item_evaluations: int
    """Items that a model was judged on; those that an interrupted run had judged are not judged again."""
    seconds: ControlSeconds
    stopped: str | None = None
    """The limit that ended the search before the budget was kept."""

    @property
    def restored_operations(self) -> int:
        """Operations that run as floats again."""
        return sum(len(group.operations) for group in self.restored)
