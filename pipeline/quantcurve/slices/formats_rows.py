"""Rows of public sets: columns that a format needs, and values of the kind that it has."""

from __future__ import annotations

from typing import Any, NamedTuple

from quantcurve.errors import RecipeError
from quantcurve.slices.errors import listed, mistake, near
from quantcurve.text_files import Record


class Row(NamedTuple):
    """A row of a public set; a column that is null counts as absent."""

    format: str
    record: Record
    """Its row is an object."""

    def schema(self, *schemas: tuple[str, ...]) -> int:
        """Place of the first of these sets of columns that the row has.

        Raises:
            RecipeError: it has none of them; with what the nearest one misses.
        """
        missing = [[column for column in columns if not self.has(column)] for columns in schemas]
        if [] in missing:
            return missing.index([])
        nearest = min(missing, key=len)
        there = [column for column in self.record.row if self.has(column)]
        spare = [column for column in there if not any(column in columns for columns in schemas)]
        similar = [other for column in nearest if (other := near(column, spare))]
        rename = f"if {listed(similar)} is meant, rename it; else " if similar else ""
        rows = " or ".join(f"({', '.join(columns)})" for columns in schemas)
        raise mistake(
            self.record,
            ", ".join(nearest),
            f"missing in the row, which has: {listed(there)}",
            f"{rename}check that the file has rows of format {self.format}: {rows}",
        )

    def has(self, column: str) -> bool:
        """Whether there is a value in a column."""
        return self.record.row.get(column) is not None

    def value(self, column: str) -> Any:
        """What stands in a column."""
        return self.record.row[column]

    def text(self, column: str) -> str:
        """A text that is not blank.

        Raises:
            RecipeError: it is something else.
        """
        found = self.value(column)
        if not isinstance(found, str) or not found.strip():
            raise self.wrong(column, "a text that is not blank")
        return found

    def texts(self, column: str) -> list[str]:
        """A list of texts, one at least, none of them blank.

        Raises:
            RecipeError: it is something else.
        """
        found = self.value(column)
        if not isinstance(found, list) or not found or not all(isinstance(t, str) and t.strip() for t in found):
            raise self.wrong(column, "a list of texts")
        return list(found)

    def name(self, column: str) -> str:
        """An id, a text or a whole number; empty where there is none.

        Raises:
            RecipeError: it is something else.
        """
        found = self.record.row.get(column, "")
        if found is None or (isinstance(found, str | int) and not isinstance(found, bool)):
            return "" if found is None else str(found)
        raise self.wrong(column, "a text or a whole number")

    def wrong(self, column: str, wanted: str) -> RecipeError:
        """An error on what stands in a column.

        Args:
            column: of the row.
            wanted: what should stand there.
        """
        step = f"check that the file has rows of format {self.format}"
        return mistake(self.record, column, f"must be {wanted}", step, self.value(column))
