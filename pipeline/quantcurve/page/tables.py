"""Tables as the page lays them out."""

from __future__ import annotations

from typing import NamedTuple


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    value: float | None = None
    """What it is sorted by; None: by its text, behind all numbers."""


class PageTable(NamedTuple):
    """A table with names in its first column."""

    heading: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    below: tuple[str, ...] = ()
