"""The command line: the only place that prints or sets an exit code.

Exit codes: 0 done; 1 done, but nothing passed or a variant failed; 2 usage or recipe; 3 something is missing on
the machine; 70 a bug; 130 interrupted. Standard output carries results only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from quantcurve.recipe import LoadedRecipe
    from quantcurve.results import RunResult
    from quantcurve.session import Progress

USAGE, BUG, INTERRUPTED = 2, 70, 130

app = typer.Typer(
    name="quantcurve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which quantised variant of a model to ship: how much each loses, how fast and how big it is on this machine.",
    epilog="Start with: quantcurve doctor; quantcurve plan smollm2-135m; quantcurve run smollm2-135m",
)
cache_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The store of finished steps.")
app.add_typer(cache_app, name="cache")


class Device(StrEnum):
    """Where engines compute."""

    cpu = "cpu"
    gpu = "gpu"


class Stage(StrEnum):
    """Stages that can be redone."""

    resolve = "resolve"
    tokenize = "tokenize"
    quantize = "quantize"
    screen = "screen"
    benchmark = "benchmark"


RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder or its results.json.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Table for a pull request or a model card.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads.  [default: physical cores]")]
DeviceOption = Annotated[Device, typer.Option(help="Where engines compute.")]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="Folder of the store.  [default: $QUANTCURVE_CACHE or the user's cache]")
]


@app.command()
def run(
    recipe: RecipeArgument,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.  [default: runs/NAME]")] = None,
    json: JsonOption = False,
    markdown: MarkdownOption = False,
    threads: ThreadsOption = None,
    device: DeviceOption = Device.cpu,
    cache: CacheOption = None,
    force: Annotated[list[Stage] | None, typer.Option(help="Redo a stage although it is in the store.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say each step, and tracebacks.")] = False,
) -> None:
    """Run a recipe and print its trade-off table. Run it again to go on where it stopped.

    Example: quantcurve run recipes/smollm2-135m.yaml --threads 8
    """
    from quantcurve.report import folder
    from quantcurve.run import Where
    from quantcurve.run import run as run_recipe

    loaded = _load(recipe)
    target = out or Path("runs") / loaded.recipe.name
    folder.prepare(target)
    stages = frozenset(stage.value for stage in force or ())
    where = Where(threads, device.value, cache, target / "logs", stages)
    with _interruptible(), _progress(quiet, verbose) as progress:
        result = run_recipe(loaded, where, progress)
        folder.save(result, target)
    _show(result, json, markdown)
    _say(f"results: {target / folder.RESULTS}, {target / 'curve.svg'}", quiet)
    if not any(v.verdict and v.verdict.decision != "discard" for v in result.variants) or any(
        v.status == "failed" for v in result.variants
    ):
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipeArgument,
    json: JsonOption = False,
    threads: ThreadsOption = None,
    device: DeviceOption = Device.cpu,
    cache: CacheOption = None,
) -> None:
    """Say what a run would do, what is in the store, and what it will take. Writes nothing.

    Example: quantcurve plan smollm2-135m
    """
    from quantcurve.planning import plan as make_plan
    from quantcurve.report.plan import plan_table
    from quantcurve.run import Where

    planned = make_plan(_load(recipe), Where(threads, device.value, cache))
    if json:
        typer.echo(planned.model_dump_json(indent=1))
    else:
        _console().print(plan_table(planned))


@app.command()
def report(
    run: RunArgument,
    json: JsonOption = False,
    markdown: MarkdownOption = False,
    picture: Annotated[Path | None, typer.Option(help="Draw the curve into this .svg or .png file.")] = None,
) -> None:
    """Print a finished run again, or draw its curve.

    Example: quantcurve report runs/smollm2-135m --markdown
    """
    from quantcurve.report import folder
    from quantcurve.report.picture import save_picture

    result = folder.load(run)
    if picture:
        save_picture(result, picture)
        _say(f"picture: {picture}", quiet=False)
    if json or markdown or not picture:
        _show(result, json, markdown)


@app.command()
def pick(
    run: RunArgument,
    max_kl: Annotated[float | None, typer.Option(min=0, help="Mean KL divergence, nats.")] = None,
    max_perplexity_increase: Annotated[float | None, typer.Option(help="Percent over the reference.")] = None,
    min_top1_agreement: Annotated[float | None, typer.Option(min=0, max=1, help="Share of tokens, 0 to 1.")] = None,
    max_size: Annotated[str | None, typer.Option(help="File size, such as 120MB or 1.5GiB.")] = None,
    min_decode_tokens_per_s: Annotated[float | None, typer.Option(min=0, help="On this machine.")] = None,
    max_time_to_first_token: Annotated[float | None, typer.Option(min=0, help="Seconds.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Peak memory, such as 500MB.")] = None,
    json: JsonOption = False,
) -> None:
    """Name the variant to ship within limits, and say why the others were not taken.

    A limit is met only if the figure's whole interval is inside it.

    Example: quantcurve pick runs/smollm2-135m --max-kl 0.05 --max-size 120MB
    """
    from quantcurve.pick import Limits, parse_size
    from quantcurve.pick import pick as choose
    from quantcurve.report import folder

    limits = Limits(
        max_kl=max_kl,
        max_perplexity_increase_percent=max_perplexity_increase,
        min_top1_agreement=min_top1_agreement,
        max_size_bytes=parse_size(max_size) if max_size else None,
        min_decode_tokens_per_s=min_decode_tokens_per_s,
        max_time_to_first_token_s=max_time_to_first_token,
        max_memory_bytes=parse_size(max_memory) if max_memory else None,
    )
    choice = choose(folder.load(run), limits)
    if json:
        typer.echo(choice.model_dump_json(indent=1))
    else:
        typer.echo(choice.name or "none")
        typer.echo(f"  {choice.why}")
        for rejected in choice.rejected:
            typer.echo(f"  not {rejected.name}: {rejected.why}")
        if choice.name is None and choice.nearest_miss:
            typer.echo(f"  nearest miss: {choice.nearest_miss}")
        typer.echo(f"  reference: {choice.provenance}")
    if choice.name is None:
        raise typer.Exit(1)


@app.command()
def types(json: JsonOption = False) -> None:
    """List the GGUF file types of the installed llama.cpp, smallest first.

    Example: quantcurve types
    """
    from quantcurve.report.types import types_json, types_table

    if json:
        typer.echo(types_json())
    else:
        _console().print(types_table())


@app.command()
def recipes() -> None:
    """List the shipped recipes."""
    from quantcurve import resources

    for path in sorted(resources.folder("recipes").rglob("*.yaml")):
        typer.echo(f"{path.stem}  {path}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors.

    Example: quantcurve schema > recipe.schema.json
    """
    import json as json_module

    from quantcurve.recipe import Recipe

    typer.echo(json_module.dumps(Recipe.model_json_schema(), indent=1))


@app.command()
def doctor(json: JsonOption = False, cache: CacheOption = None) -> None:
    """Check this machine: compiler, CPU, disk, memory, packages, hub; each finding with the command that fixes it."""
    import json as json_module

    from quantcurve.doctor import examine
    from quantcurve.report.doctor import doctor_lines
    from quantcurve.store import default_folder

    checks = examine(cache or default_folder())
    if json:
        typer.echo(json_module.dumps([c.model_dump() for c in checks], indent=1))
    else:
        _console().print(doctor_lines(checks), soft_wrap=True)
    if any(c.status == "missing" for c in checks):
        raise typer.Exit(3)


@cache_app.command("dir")
def cache_dir(cache: CacheOption = None) -> None:
    """Print the store's folder."""
    from quantcurve.store import Store

    typer.echo(str(Store(cache).folder))


@cache_app.command("size")
def cache_size(cache: CacheOption = None) -> None:
    """Print what each stage holds."""
    from quantcurve.store import Store

    usage = Store(cache).usage()
    for stage in usage:
        typer.echo(f"{stage.stage:<12} {stage.artifacts:6d} steps {stage.size_bytes / 1e6:12,.1f} MB")
    typer.echo(
        f"{'all':<12} {sum(s.artifacts for s in usage):6d} steps {sum(s.size_bytes for s in usage) / 1e6:12,.1f} MB"
    )


@cache_app.command("prune")
def cache_prune(
    cache: CacheOption = None,
    older_than_days: Annotated[float, typer.Option(min=0, help="Only steps not used for so long.")] = 0.0,
) -> None:
    """Remove finished steps and what stopped runs left behind; steps of running processes stay."""
    from quantcurve.store import Store

    typer.echo(f"freed {Store(cache).prune(older_than_days) / 1e6:,.1f} MB")


def main() -> None:
    """Entry point: errors become one message on standard error and an exit code."""
    from quantcurve.errors import QuantcurveError

    verbose = bool({"-v", "--verbose"} & set(sys.argv))
    try:
        app()
    except QuantcurveError as error:
        if verbose:
            _say(_traceback(), quiet=False)
        _say(f"quantcurve: {error}", quiet=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        _say(f"quantcurve: a bug in quantcurve: {type(error).__name__}: {error}\n  log: {_crash_log()}", quiet=False)
        sys.exit(BUG)


def _load(recipe: str) -> LoadedRecipe:
    """A recipe by its path, or by the name of a shipped one."""
    from quantcurve import resources
    from quantcurve.recipe import load

    path = Path(recipe)
    shipped = resources.folder("recipes") / f"{recipe}.yaml"
    return load(shipped if not path.exists() and path.suffix == "" and shipped.is_file() else path)


def _show(result: RunResult, json: bool, markdown: bool) -> None:
    if json:
        typer.echo(result.model_dump_json(indent=1))
    elif markdown:
        from quantcurve.report.markdown import markdown as render

        typer.echo(render(result))
    else:
        from quantcurve.report.table import table

        _console().print(table(result))


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=False, highlight=False)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        typer.echo(text, err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """On Ctrl-C say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        _say("quantcurve: interrupted; run the same command again to go on from what was finished", quiet=False)
        raise typer.Exit(INTERRUPTED) from None


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def _crash_log() -> str:
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="quantcurve-crash-", suffix=".log", delete=False) as log:
        log.write(_traceback())
    return log.name


@contextmanager
def _progress(quiet: bool, verbose: bool) -> Iterator[Progress]:
    from quantcurve.report.progress import bars, lines, nothing

    if quiet:
        yield nothing
    elif sys.stderr.isatty() and not verbose:
        with bars() as progress:
            yield progress
    else:
        yield lines(verbose)


if __name__ == "__main__":
    main()
