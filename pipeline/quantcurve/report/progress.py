"""Progress on standard error: bars with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from quantcurve.session import Event, Progress

LINE_EVERY_S = 10.0


def nothing(event: Event) -> None:
    """Progress that is not shown."""


@contextmanager
def bars() -> Iterator[Progress]:
    """One bar a stage."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.fields[stage]:>9}"),
        BarColumn(24),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks = {}

        def show(event: Event) -> None:
            if event.stage not in tasks:
                tasks[event.stage] = shown.add_task(event.what, total=event.total, stage=event.stage)
            shown.update(tasks[event.stage], completed=event.done, total=event.total, description=event.what)

        yield show


def lines(every_step: bool) -> Progress:
    """A line when a stage starts and every ten seconds, or for every step."""
    last_stage, last_time, started = "", 0.0, time.monotonic()

    def show(event: Event) -> None:
        nonlocal last_stage, last_time, started
        now = time.monotonic()
        if event.stage != last_stage:
            started = now
        elif not every_step and now - last_time < LINE_EVERY_S:
            return
        last_stage, last_time = event.stage, now
        left = (now - started) * (event.total - event.done) / event.done if event.done else None
        remaining = f", {left:.0f} s left" if left is not None and now - started > 2 else ""
        sys.stderr.write(f"{event.stage}: {event.done:g}/{event.total:g} {event.what}{remaining}\n")
        sys.stderr.flush()

    return show
