"""What NNCF's accuracy control is asked for, and what it found; crosses the process boundary (see child.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from quantcurve.engines.base import OpenVinoConfig
from quantcurve.records import Frozen


class Settings(Frozen):
    """What an accuracy control is to reach, and on what."""

    item_numbers: tuple[int, ...]
    reference: tuple[float, ...] | None = None
    """The float reference's values, where it is not to be judged on the configuration that the others are judged on."""
    max_drop: float
    """Of the mean over the items, absolute, from the float reference's."""
    ranking_items: int
    """Items that groups are ranked on: those that lose most."""
    max_iterations: int | None = None
    """Groups that may be restored, counting those that were taken back."""
    max_seconds: float | None = None
    """After which no validation is begun; of this process, a resumed search has as long again."""
    config: OpenVinoConfig
    """All graphs are judged on, the reference among them."""
    journal: Path
    """Of finished validations; of one source, variant, calibration, judge and configuration."""


class Step(Frozen):
    """A validation on all items."""

    seconds: float
    """Since the start."""
    reverted_groups: int
    operations: tuple[str, ...]
    """That were restored, by the graph's names."""
    removed_quantizers: tuple[str, ...]
    mean: float

    @property
    def reverted_operations(self) -> int:
        """Their number."""
        return len(self.operations)


class Outcome(Frozen):
    """What an accuracy control found. The three times add up to the wall time."""

    reached: bool
    """Whether the file that was written, judged again on all items, is within the budget."""
    limit: Literal["max_iterations", "max_seconds"] | None
    """What ended the search before the budget was reached; None: it was, or NNCF had nothing left to try."""
    reference_mean: float
    plain_mean: float
    """With all layers quantised."""
    final_mean: float
    """Of the file that was written."""
    reverted_operations: tuple[str, ...]
    removed_quantizers: tuple[str, ...]
    groups: int
    reverted_groups: int
    iterations: int
    rankings: int
    """Times that all groups which were left were ranked."""
    validations: int
    """On all items: the reference, the plain model, one for each iteration, and the file that was written."""
    ranking_validations: int
    inferred: int
    """Validations that needed an inference; the others were in the journal."""
    judged_items: int
    """Items in those."""
    validation_s: float
    """Inference and whatever else the judge does."""
    compilation_s: float
    rest_s: float
    """Calibration, quantization, and NNCF's copies of the model."""
    trace: tuple[Step, ...]
    """The plain model, then one step for each iteration."""
