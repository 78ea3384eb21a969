"""The doctor's findings as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantcurve.doctor import Check

if TYPE_CHECKING:
    from rich.console import RenderableType


def doctor_table(checks: Sequence[Check]) -> RenderableType:
    """One row a finding, with the command that fixes it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("check", "status", "finding", "fix"):
        table.add_column(name, overflow="fold")
    for check in checks:
        table.add_row(check.name, check.status, Text(check.finding), Text(check.fix or ""))
    missing = [c.name for c in checks if c.status == "missing"]
    verdict = f"missing: {', '.join(missing)}" if missing else "Ready: nothing that quantcurve needs is missing."
    return Group(table, Text(verdict))
