"""The doctor's findings as lines: what is missing last, where it is seen, with commands that can be copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quantcurve.doctor import Check

if TYPE_CHECKING:
    from rich.text import Text

ORDER = ("ok", "warning", "missing")
COLOURS = ("green", "yellow", "red")


def doctor_lines(checks: Sequence[Check]) -> Text:
    """A line a finding; below it the command that fixes it, unwrapped."""
    from rich.text import Text

    text = Text()
    width = max(len(c.name) for c in checks)
    for check in sorted(checks, key=lambda c: ORDER.index(c.status)):
        text.append(f"{check.status:<8}", COLOURS[ORDER.index(check.status)])
        text.append(f"{check.name:<{width}}  {check.finding}\n")
        if check.fix:
            text.append(f"{'':8}{'fix:':<{width}}  {check.fix}\n", "bold")
    missing = [c.name for c in checks if c.status == "missing"]
    text.append(f"Missing: {', '.join(missing)}." if missing else "Ready: nothing that quantcurve needs is missing.")
    return text
