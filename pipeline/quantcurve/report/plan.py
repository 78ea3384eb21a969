"""A plan as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantcurve.plan_steps import PlannedStep
from quantcurve.planning import Plan

if TYPE_CHECKING:
    from rich.console import RenderableType

MB = 1e6


def plan_table(plan: Plan) -> RenderableType:
    """Steps with what is in the store and estimates; totals below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Plan of {plan.name}"), title_justify="left")
    for name, side in (("stage", "left"), ("what", "left"), ("state", "left"), ("disk MB", "right"), ("time", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for step in plan.steps:
        state = "in the store" if step.cached else "to do"
        disk = f"{step.disk_bytes / MB:,.0f}" if step.disk_bytes and not step.cached else ""
        what = f"{step.what} ({step.note})" if step.note else step.what
        table.add_row(
            step.stage,
            Text(what),
            state,
            disk,
            _time(step),
        )
    memory = f"{plan.memory_bytes / MB:,.0f} MB of memory ({plan.memory_available_bytes / MB:,.0f} available)"
    disk = f"{plan.disk_bytes / MB:,.0f} MB of disk ({plan.disk_free_bytes / MB:,.0f} free)"
    unknown = any(step.seconds is None and not step.cached for step in plan.steps)
    lines = [
        f"about {_duration(plan.seconds)}{' and the steps marked ?' if unknown else ''}, {disk}, {memory}",
        "Estimates from a short measurement of this machine; nothing was written.",
    ]
    if plan.disk_bytes > plan.disk_free_bytes:
        lines.append("The disk is too small: quantcurve cache prune, or set QUANTCURVE_CACHE to another one.")
    if plan.memory_bytes > plan.memory_available_bytes:
        lines.append("Memory is short: models will be opened one at a time, and it may still not be enough.")
    return Group(table, *(Text(line) for line in lines))


def _time(step: PlannedStep) -> str:
    if step.cached:
        return ""
    return "?" if step.seconds is None else _duration(step.seconds)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
