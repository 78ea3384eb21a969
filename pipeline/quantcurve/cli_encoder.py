"""`quantcurve run` for recipes of kind encoder; see cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from quantcurve.console import console, interruptible, say, watched

if TYPE_CHECKING:
    from quantcurve.run import Where


def run_encoder(
    path: Path, where: Where, target: Path | None, json: bool, markdown: bool, quiet: bool, verbose: bool
) -> None:
    """Run an encoder's recipe and print its table.

    Args:
        path: of the recipe.
        where: threads, cache, and stages to redo.
        target: folder of the results; None: runs/NAME.
        json: print the record instead of the table.
        markdown: print the table in Markdown.
        quiet: without progress.
        verbose: with every step.
    """
    from quantcurve import verdicts
    from quantcurve.encoder_recipe import load
    from quantcurve.encoder_run import run
    from quantcurve.report import folder
    from quantcurve.report.encoder_table import encoder_markdown, encoder_table, sentences
    from quantcurve.run import open_session

    loaded = load(path)
    out = target or Path("runs") / loaded.recipe.name
    folder.prepare(out)
    with interruptible(), watched(quiet, verbose) as progress:
        session = open_session(where._replace(logs=out / "logs"), progress, openvino_too=True)
        result = run(loaded, session)
        folder.save_encoder(result, out)
    if json:
        typer.echo(result.model_dump_json(indent=1))
    elif markdown:
        typer.echo(encoder_markdown(result))
    else:
        console().print(encoder_table(result))
        for sentence in sentences(result):
            console().print(sentence, soft_wrap=True)
    say(f"results: {out / folder.RESULTS}", quiet)
    missed = [v for v in result.variants if v.accuracy_control and v.accuracy_control.verdict == "fail"]
    missed_contract = verdicts.missed(v.verdict for v in result.variants if v.verdict)
    if missed or missed_contract or any(v.status == "failed" for v in result.variants):
        raise typer.Exit(1)
