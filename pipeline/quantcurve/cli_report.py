"""`quantcurve report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantcurve.console import JsonOption, MarkdownOption, say, show


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or their results.json.")],
    out: Annotated[
        Path | None, typer.Option(help="The page.  [default: report.html in the run's folder; of several runs here]")
    ] = None,
    json: JsonOption = False,
    markdown: MarkdownOption = False,
    picture: Annotated[Path | None, typer.Option(help="Draw the curve into this .svg or .png file.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write every figure into this .csv or .parquet file.")] = None,
) -> None:
    """Write the page of a finished run, or of several, and print its table again.

    With --json, --markdown, --picture or --table only that is made.

    Example: quantcurve report runs/smollm2-135m
    """
    from quantcurve.errors import RecipeError
    from quantcurve.page.render import PageRun, save_page
    from quantcurve.report import folder

    loaded = [PageRun(folder.load(path), str(path if path.is_dir() else path.parent)) for path in runs]
    if json or markdown or picture or table:
        if len(runs) > 1:
            raise RecipeError(f"{len(runs)} runs: --json, --markdown, --picture and --table take one; leave them out")
        _parts(runs[0], json, markdown, picture, table)
        return
    file = out or (Path(loaded[0].folder) if len(runs) == 1 else Path()) / folder.PAGE
    save_page(loaded, file)
    if len(runs) == 1:
        show(loaded[0].run, json=False, markdown=False)
    say(f"page: {file}", quiet=False)


def _parts(path: Path, json: bool, markdown: bool, picture: Path | None, table: Path | None) -> None:
    from quantcurve.report import folder
    from quantcurve.report.exports import save_table
    from quantcurve.report.picture import save_picture

    run = folder.load(path)
    if picture:
        save_picture(run, picture)
        say(f"picture: {picture}", quiet=False)
    if table:
        save_table(run, table)
        say(f"table: {table}", quiet=False)
    if json or markdown:
        show(run, json, markdown)
