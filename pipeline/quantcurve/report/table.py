"""The trade-off table for a terminal or a log file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from quantcurve.estimates import Figure
from quantcurve.report import words
from quantcurve.report.levels import levels
from quantcurve.report.matrices import matrices
from quantcurve.report.matrix import Matrix
from quantcurve.report.notes import Section, sections
from quantcurve.report.rows import COLUMNS, Column, Row, legend, rows
from quantcurve.results import RunResult

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType
    from rich.table import Table

STYLES = {
    "reference": "bold",
    "keep": "green",
    "at line": "yellow",
    "suspect": "yellow",
    "discard": "red",
    "failed": "red",
}
UNLIMITED_WIDTH = 10_000


def table(run: RunResult) -> Group:
    """Table by size, the reference first, and the notes below it; fits any width from 60 columns on.

    Columns that do not fit are left out, and named. Nothing from the run is read as markup.
    """
    from rich.console import Group
    from rich.text import Text

    return Group(
        Text(words.plain(f"{run.name}: accuracy against speed"), style="bold"),
        _TradeOff(rows(run)),
        Text(legend(run)),
        Text(f"± reaches the farther end of the interval ({levels(run)}); t/s is tokens per second."),
        *(_Parts(matrix) for matrix in matrices(run)),
        *(_section(section) for section in sections(run)),
    )


class _TradeOff:
    """The table with as many columns as the width allows."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.text import Text

        filled = [c for c in COLUMNS if any(c.compact(row) != "-" for row in self.rows)]
        shown = [column for column in filled if not column.rank]
        for column in sorted((c for c in filled if c.rank), key=lambda c: c.rank):
            tried = [c for c in filled if c in shown or c is column]
            if _width(console, _trade_off(self.rows, tried)) <= options.max_width:
                shown = tried
        yield _trade_off(self.rows, shown)
        left_out = [c.title for c in filled if c not in shown]
        if left_out:
            yield Text(f"Left out at {options.max_width} columns: {', '.join(left_out)}.")


class _Parts:
    """A matrix in as many tables below one another as the width demands."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.text import Text

        yield Text(f"\n{self.matrix.heading}", style="bold")
        start, count = 0, len(self.matrix.columns)
        while start < count:
            stop = count
            while stop > start + 1 and _width(console, _matrix_table(self.matrix, start, stop)) > options.max_width:
                stop -= 1
            yield _matrix_table(self.matrix, start, stop)
            if stop < count:
                yield Text("")
            start = stop
        yield from map(Text, self.matrix.below)


def _trade_off(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    from rich.text import Text

    made = _empty_table()
    made.add_column("name", overflow="fold")
    made.add_column("screen", overflow="fold")
    made.add_column("")
    for column in columns:
        header = "\n".join((*column.title.split(), *((column.unit,) if column.unit else ())))
        made.add_column(Text(header), justify="right", overflow="fold")
    for row in rows:
        cells = (Text(column.compact(row)) for column in columns)
        made.add_row(Text(row.name), Text(row.verdict, style=STYLES.get(row.verdict, "")), Text(row.marks), *cells)
    return made


def _matrix_table(matrix: Matrix, start: int, stop: int) -> Table:
    from rich.text import Text

    made = _empty_table()
    made.add_column(matrix.corner, overflow="fold")
    for name in matrix.columns[start:stop]:
        made.add_column(Text(name), justify="right", overflow="fold")
    for row in matrix.rows:
        made.add_row(Text(row.name), *(Text(_cell(cell)) for cell in row.cells[start:stop]))
    return made


def _cell(cell: Figure | str) -> str:
    return cell if isinstance(cell, str) else words.spread(cell)


def _section(section: Section) -> Group:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for sentence in section.sentences:
        grid.add_row("-", Text(sentence))
    return Group(Text(f"\n{section.heading}", style="bold"), grid)


def _empty_table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)


def _width(console: Console, made: Table) -> int:
    """Columns the table takes if nothing is wrapped."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=UNLIMITED_WIDTH), made).maximum
