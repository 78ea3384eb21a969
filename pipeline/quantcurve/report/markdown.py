"""The trade-off table for a pull request or a model card (GitHub-flavoured Markdown)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from quantcurve.estimates import Figure
from quantcurve.report import words
from quantcurve.report.levels import levels
from quantcurve.report.matrices import detailed_matrices
from quantcurve.report.matrix import Matrix
from quantcurve.report.notes import CONTRACT, Section, sections
from quantcurve.report.rows import COLUMNS, legend, rows
from quantcurve.results import RunResult

_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^[#>+-](?=\s)|^>")


def markdown(run: RunResult) -> str:
    """Table with the bounds of all intervals, and the notes below it; text from the run is escaped. The contract's
    verdicts stand first, other than in a terminal, where the last lines are what is seen."""
    found = sections(run)
    verdicts, noted = ([_noted(s) for s in found if (s.heading == CONTRACT) is first] for first in (True, False))
    parts = [
        f"## {escape(words.plain(run.name))}: accuracy against speed",
        *verdicts,
        _trade_off(run),
        escape(f"{legend(run)}   [low, high]: {levels(run)} interval"),
        *(part for matrix in detailed_matrices(run) for part in _matrix(matrix)),
        *noted,
    ]
    return "\n\n".join(parts) + "\n"


def _noted(section: Section) -> str:
    listed = "\n".join(f"- {escape(sentence)}" for sentence in section.sentences)
    return f"### {section.heading}\n\n{listed}"


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is, also inside a table."""
    html = text.replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], html)


def _trade_off(run: RunResult) -> str:
    header = ("name", "screen", "", *(column.full_title for column in COLUMNS))
    body = ((row.name, row.verdict, row.marks, *(column.full(row) for column in COLUMNS)) for row in rows(run))
    return plain_table(header, body, left=3)


def _matrix(matrix: Matrix) -> Iterator[str]:
    yield f"### {escape(matrix.heading)}"
    yield _matrix_table(matrix)
    yield from map(escape, matrix.below)


def _matrix_table(matrix: Matrix) -> str:
    body = ((row.name, *(_cell(cell) for cell in row.cells)) for row in matrix.rows)
    return plain_table((matrix.corner, *matrix.columns), body, left=1)


def _cell(cell: Figure | str) -> str:
    return cell if isinstance(cell, str) else words.bounds(cell)


def plain_table(header: Sequence[str], body: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table whose first columns are names, and whose others are figures."""
    rule = [":---"] * left + ["---:"] * (len(header) - left)
    lines = [_line(header), f"| {' | '.join(rule)} |", *(_line(cells) for cells in body)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(cell) for cell in cells)} |"
