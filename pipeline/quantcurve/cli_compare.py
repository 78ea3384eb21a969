"""`quantcurve compare`; see cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantcurve.console import JsonOption, console


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Runs' folders or their results.json, the base first.")
    ],
    json: JsonOption = False,
) -> None:
    """Show what changed between runs of one recipe, against the first of them.

    Example: quantcurve compare runs/before runs/after
    """
    from quantcurve.compare_runs import NamedRun
    from quantcurve.compare_runs import compare as compared
    from quantcurve.report import loading
    from quantcurve.report.compare import comparison

    found = compared([NamedRun(str(path), loading.load(path)) for path in runs])
    if json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for part in comparison(found):
        console().print(part)
