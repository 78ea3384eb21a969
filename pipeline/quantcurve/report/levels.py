"""Confidence levels of all intervals that a report shows, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from quantcurve.estimates import Estimate
from quantcurve.report import words
from quantcurve.report.matrices import detailed_matrices
from quantcurve.report.matrix import ACCURACY, LATENCY
from quantcurve.report.rows import COLUMNS, rows
from quantcurve.results import RunResult

TABLE_KINDS = {"tokens/s": "speed", "s": "speed", "ms": LATENCY}
"""By the unit of a figure in the trade-off table; accuracy has all other units."""


def levels(run: RunResult) -> str:
    """Accuracy's level, and those of speed and latency where they are others: these follow from the number of
    repetitions."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for kind, figure in _estimates(run):
        level = f"{100 * figure.level:.4g} %"
        if kind not in kinds[level]:
            kinds[level].append(kind)
    accuracy_first = sorted(kinds, key=lambda level: ACCURACY not in kinds[level])
    return words.listed([_said(level, kinds[level]) for level in accuracy_first]) or "95 %"


def _said(level: str, kinds: Sequence[str]) -> str:
    return level if ACCURACY in kinds else f"{level} for {words.listed(kinds)}"


def _estimates(run: RunResult) -> Iterator[tuple[str, Estimate]]:
    """All figures with an interval, in the trade-off table and in those below it, and of what kind they are."""
    for row in rows(run):
        for column in COLUMNS:
            if isinstance(cell := column.cell(row), Estimate):
                yield TABLE_KINDS.get(cell.unit, ACCURACY), cell
    for matrix in detailed_matrices(run):
        yield from ((matrix.kind, cell) for row in matrix.rows for cell in row.cells if isinstance(cell, Estimate))
