"""A table of figures below the trade-off table, without its looks."""

from __future__ import annotations

from typing import NamedTuple

from quantcurve.estimates import Figure

ACCURACY, LATENCY = "accuracy", "latency"


class MatrixRow(NamedTuple):
    """One row of figures."""

    name: str
    cells: tuple[Figure | str, ...]
    """Figures with an interval, or words."""


class Matrix(NamedTuple):
    """Figures by row and column; all have one unit, or the columns name theirs."""

    heading: str
    corner: str
    """What the rows are."""
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    kind: str
    """Of its figures: what the level of their intervals is said of."""
    below: tuple[str, ...] = ()
    """Sentences under the table."""
