"""Slices of every evaluated variant, worst first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.metrics.transforms import scaled
from quantcurve.report import words
from quantcurve.report.matrix import ACCURACY, Matrix, MatrixRow
from quantcurve.results import RunResult
from quantcurve.scorecard_records import BUILT_IN, Scorecard, SliceResult
from quantcurve.slices.compare import SliceFigure


class SliceColumn(NamedTuple):
    """One column."""

    title: str
    """With its unit."""
    cell: Callable[[SliceResult], Figure | str]


class SliceView(NamedTuple):
    """Columns for one kind of page."""

    columns: tuple[SliceColumn, ...]
    legend: str


def lost_points(found: SliceResult) -> Figure:
    """Points right that a variant loses on a slice, above 0 where it is worse; Missing where nothing was judged."""
    whole = _judged(found)
    return scaled(whole.evidence.loss, 100, "points") if whole else Missing(missing="no item of it was judged")


def _judged(found: SliceResult) -> SliceFigure | None:
    """Right answers, or the values of a check."""
    return found.whole("right") or found.whole("value")


def slice_matrices(run: RunResult, view: SliceView) -> Iterator[Matrix]:
    """One for every evaluated variant; what is the same of all is said under the first."""
    said = set[str]()
    for variant in run.variants:
        card = variant.scorecard
        if card is None or not card.slices:
            continue
        below = [s for s in (view.legend, *_limits(card), *_refusals(card)) if s not in said]
        said.update(below)
        worst_first = sorted(card.slices, key=lambda one: -_greatest_loss(one))
        rows = tuple(
            MatrixRow(words.plain(s.name), tuple(column.cell(s) for column in view.columns)) for s in worst_first
        )
        titles = tuple(column.title for column in view.columns)
        heading = f"Slices of {words.plain(variant.name)}, worst first"
        yield Matrix(heading, "slice", titles, rows, ACCURACY, tuple(map(words.plain, below)))


def refusal_error() -> str:
    """How often the built-in judge of refusals is wrong."""
    from quantcurve.slices.refusal_judge import error_rates  # many expressions to compile

    missed, false_alarms = error_rates()
    counts = [figure.n if isinstance(figure, Estimate) else 0 for figure in (missed, false_alarms)]
    return (
        f"what refuses is told by rules that err: of {counts[0]} made-up refusals that they were not tried on they "
        f"missed {words.bounds(missed, 100, '%')}, and of {counts[1]} other answers they took "
        f"{words.bounds(false_alarms, 100, '%')} for refusals; the reference and the variants are judged alike."
    )


def refusals_by_rules(found: SliceResult) -> bool:
    """Whether what is right on a slice is what the built-in judge of refusals says."""
    return found.kind == "refusal" and found.judge == BUILT_IN


def _limits(card: Scorecard) -> Iterator[str]:
    """Why slices can show little; what a budget says of its own slice comes before what holds without one."""
    blocked = {b.budget.name: b.blocked for b in card.verdict.budgets if b.budget.part == "quality"}
    for one in card.slices:
        if note := blocked.get(one.name) or one.note:
            yield f"{one.name}: {note}."


def _refusals(card: Scorecard) -> Iterator[str]:
    if names := [one.name for one in card.slices if refusals_by_rules(one)]:
        yield f"{words.listed(names)}: {refusal_error()}"


def _greatest_loss(found: SliceResult) -> float:
    loss = lost_points(found)
    return loss.high if isinstance(loss, Estimate) else -math.inf


def _right(found: SliceResult, side: str) -> Figure:
    whole = found.whole("right")
    if whole is None:
        return Missing(missing="no item of it was judged")
    return scaled(whole.reference if side == "reference" else whole.variant, 100, "%")


def _both(found: SliceResult) -> str:
    if check := found.whole("value"):
        values = (check.reference, check.variant)
        return " -> ".join(f"{s.value:.3f}" if isinstance(s, Estimate) else "-" for s in values) + " value"
    sides = (_right(found, side) for side in ("reference", "variant"))
    return " -> ".join(f"{side.value:.1f}" if isinstance(side, Estimate) else "-" for side in sides)


def _well_formed(found: SliceResult) -> str:
    whole = found.whole("well_formed")
    sides = (whole.reference, whole.variant) if whole else ()
    return " -> ".join(f"{100 * s.value:.1f}" if isinstance(s, Estimate) else "?" for s in sides) or "-"


def _flips(found: SliceResult) -> tuple[str, str]:
    whole = _judged(found)
    counts = (whole.evidence.lost, whole.evidence.won) if whole else (None, None)
    lost, won = ("-" if count is None else f"{count:,}" for count in counts)
    return lost, won


def _visible(found: SliceResult) -> str:
    whole = _judged(found)
    effect = whole.evidence.smallest_effect if whole else None
    return "-" if effect is None else f"{100 * effect:.1f}"


def _followed(found: SliceResult) -> Figure:
    whole = found.whole("answer_likelihood")
    return whole.evidence.loss if whole else Missing(missing="nothing is generated")


def _items(found: SliceResult) -> str:
    return f"{found.items:,}"


_ORDER = "Worst first by the upper end of the lost points."
COMPACT = SliceView(
    (
        SliceColumn("items", _items),
        SliceColumn("right (%)", _both),
        SliceColumn("lost (points)", lost_points),
        SliceColumn("lost, won", lambda s: ", ".join(_flips(s))),
        SliceColumn("visible (points)", _visible),
        SliceColumn("lost (nats/token)", _followed),
    ),
    "Right: of the reference -> of the variant; lost points are the first less the second, paired, above 0 if the "
    "variant is worse (of a check: means of its values, and hundredths of them). Lost, won: items that only the "
    "reference has right, and only the variant. Visible: the smallest loss that so many items show with a probability "
    f"of 80 %. Lost nats: log-likelihood of the reference's answer, its own less the variant's. {_ORDER}",
)
FULL = SliceView(
    (
        SliceColumn("items", _items),
        SliceColumn("right on the reference (%)", lambda s: _right(s, "reference")),
        SliceColumn("right on the variant (%)", lambda s: _right(s, "variant")),
        SliceColumn("well formed (%)", _well_formed),
        SliceColumn("lost (points)", lost_points),
        SliceColumn("items lost", lambda s: _flips(s)[0]),
        SliceColumn("items won", lambda s: _flips(s)[1]),
        SliceColumn("smallest visible loss (points)", _visible),
        SliceColumn("lost along the reference's answer (nats/token)", _followed),
    ),
    "Lost: paired, above 0 if the variant is worse. Items lost and won: that only the reference has right, and only "
    "the variant. Smallest visible loss: that so many items show with a probability of 80 %. Along the reference's "
    f"answer: its log-likelihood on the reference less that on the variant. {_ORDER}",
)
