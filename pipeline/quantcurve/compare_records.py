"""What `compare` gives."""

from __future__ import annotations

from typing import Literal

from quantcurve.estimates import Figure, Missing
from quantcurve.records import Frozen

Told = Literal["same", "rose", "fell", "no change that can be told", "not judged"]
NONE = "none"
"""In place of a setting or a verdict that is not there."""
FigureName = Literal["KL mean", "PPL ratio", "top-1", "decode", "prefill", "TTFT"]


class WordChange(Frozen):
    """Something in words: a setting, a verdict, a text."""

    what: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        """Whether it is another."""
        return self.before != self.after


class FigureChange(Frozen):
    """A figure with its interval, of one variant in both runs."""

    figure: FigureName
    before: Figure
    after: Figure
    by: Literal["difference", "ratio"]
    change: Figure
    """After less before in the figure's unit, or after over before; unpaired."""
    told: Told


class BytesChange(Frozen):
    """A number of bytes, without an interval."""

    figure: Literal["size", "memory"]
    before: int | Missing
    after: int | Missing
    told: Told
    """Peak memory is measured once in a run: if it is another, that is not judged."""


class VariantChange(Frozen):
    """A variant that was measured in both runs."""

    name: str
    same_file: bool | None
    """By SHA-256; None where one of the files is not on record."""
    bytes: tuple[BytesChange, ...]
    figures: tuple[FigureChange, ...]
    verdicts: tuple[WordChange, ...]
    """The screen's, the contract's, and whether it is on the Pareto front."""


class FailedVariant(Frozen):
    """A variant that failed, and why."""

    name: str
    why: str


class RecipeDiff(Frozen):
    """How one recipe's text differs from another."""

    lines: tuple[str, ...]
    """A unified diff without its header, with one line of context; the first so many lines."""
    left_out: int
    """Lines that are not in `lines`."""


class RunChange(Frozen):
    """One run against the base."""

    run: str
    """Where it is from, as the user named it."""
    first: tuple[str, ...]
    """What has to be known before any figure is read."""
    settings: tuple[WordChange, ...]
    """Machine, versions, workload, threads: those that differ."""
    recipe: RecipeDiff
    reference: WordChange
    texts: tuple[WordChange, ...]
    """Evaluation texts that differ, came or went."""
    came: tuple[str, ...]
    """Variants that only this run has."""
    went: tuple[str, ...]
    """Variants that only the base has."""
    fails_now: tuple[FailedVariant, ...]
    works_now: tuple[FailedVariant, ...]
    """With why they failed in the base."""
    fails_in_both: tuple[str, ...]
    variants: tuple[VariantChange, ...]
    """Those that both runs measured, in the order of the base."""


class Comparison(Frozen):
    """Runs against the first of them."""

    base: str
    rule: str
    """What is called a change."""
    runs: tuple[RunChange, ...]
