"""What the commands of cli.py share: options, printing, progress, and how a command ends. Only cli.py uses it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantcurve import interrupts

if TYPE_CHECKING:
    from rich.console import Console

    from quantcurve.recipe import LoadedRecipe
    from quantcurve.results import RunResult
    from quantcurve.session import Event, Progress

BUG, INTERRUPTED = 70, 130
PIPED_WIDTH = 170
"""Columns of what does not go to a terminal: a trade-off table of both lanes with every figure."""


class Device(StrEnum):
    """Where engines compute."""

    cpu = "cpu"
    gpu = "gpu"


class Stage(StrEnum):
    """Stages that can be redone."""

    resolve = "resolve"
    tokenize = "tokenize"
    calibrate = "calibrate"
    export = "export"
    tokenizer_gate = "tokenizer_gate"
    imatrix = "imatrix"
    quantize = "quantize"
    compress = "compress"
    screen = "screen"
    kv_cache = "kv_cache"
    loss_split = "loss_split"
    benchmark = "benchmark"
    latency = "latency"
    genai = "genai"


RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder or its results.json.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Table for a pull request or a model card.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads.  [default: physical cores]")]
DeviceOption = Annotated[Device, typer.Option(help="Where engines compute.")]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of the store.  [default: $QUANTCURVE_CACHE or the user's cache]")
]


def print_version(wanted: bool) -> None:
    """Answer --version and end."""
    if wanted:
        from quantcurve import __version__

        typer.echo(__version__)
        raise typer.Exit


def load_recipe(recipe: str) -> LoadedRecipe:
    """A recipe by its path, or by the name of a shipped one."""
    from quantcurve.encoder_recipe import is_encoder
    from quantcurve.errors import RecipeError
    from quantcurve.recipe import load

    path = recipe_path(recipe)
    if is_encoder(path):
        raise RecipeError(f"{path}: a recipe of kind encoder is for quantcurve plan and quantcurve run")
    return load(path)


def recipe_path(recipe: str) -> Path:
    """The file of a recipe, by its path or by the name of a shipped one."""
    from quantcurve import resources

    path = Path(recipe)
    shipped = resources.folder("recipes") / f"{recipe}.yaml"
    return shipped if not path.exists() and path.suffix == "" and shipped.is_file() else path


def show(result: RunResult, json: bool, markdown: bool) -> None:
    """Print a run on standard output in one of the three forms."""
    if json:
        typer.echo(result.model_dump_json(indent=1))
    elif markdown:
        from quantcurve.report.markdown import markdown as render

        typer.echo(render(result))
    else:
        from quantcurve.report.table import table

        console().print(table(result))


def console() -> Console:
    """Standard output with rich, colours only on a terminal; elsewhere all columns, unless COLUMNS says how wide."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(width=width, soft_wrap=False, highlight=False)


def say(text: str, quiet: bool) -> None:
    """A line for the user, on standard error."""
    if not quiet:
        typer.echo(text, err=True)


AGAIN = "run the same command again to go on from what was finished"


@contextmanager
def interruptible() -> Iterator[None]:
    """On Ctrl-C and SIGTERM say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"quantcurve: interrupted; {AGAIN}", quiet=False)
        raise typer.Exit(INTERRUPTED) from None
    except interrupts.Terminated:
        say(f"quantcurve: terminated; {AGAIN}", quiet=False)
        raise


def traceback_text() -> str:
    """The traceback of the exception that is being handled."""
    import traceback

    return traceback.format_exc()


def crash_log() -> str:
    """Write that traceback to a file and give its path."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="quantcurve-crash-", suffix=".log", delete=False) as log:
        log.write(traceback_text())
    return log.name


@contextmanager
def watched(quiet: bool, verbose: bool) -> Iterator[Progress]:
    """Progress as bars on a terminal, as lines elsewhere, or none. Each of its events is also a place to end a run."""
    from quantcurve.report.progress import bars, lines, nothing

    if quiet:
        yield _checked(nothing)
    elif sys.stderr.isatty() and not verbose:
        with bars() as progress:
            yield _checked(progress)
    else:
        yield _checked(lines(verbose))


def _checked(progress: Progress) -> Progress:
    def show(event: Event) -> None:
        interrupts.check()
        progress(event)

    return show
