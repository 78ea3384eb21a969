"""The command line: with the other modules called cli_ the only place that prints or sets an exit code.

Exit codes: 0 done; 1 done, but nothing passed, a variant failed or lost more than it may; 2 usage or recipe; 3
something is missing on the machine; 70 a bug; 130 interrupted; 143 terminated. Standard output carries results only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from quantcurve import interrupts
from quantcurve.cli_cache import cache_app
from quantcurve.cli_calib import calib_app
from quantcurve.cli_compare import compare
from quantcurve.cli_deploy import deploy, push, verify
from quantcurve.cli_explain import explain
from quantcurve.cli_pick import pick
from quantcurve.cli_report import report
from quantcurve.cli_serve import serve
from quantcurve.console import (
    BUG,
    CacheOption,
    Device,
    DeviceOption,
    JsonOption,
    MarkdownOption,
    RecipeArgument,
    Stage,
    ThreadsOption,
    console,
    crash_log,
    interruptible,
    load_recipe,
    print_version,
    recipe_path,
    say,
    show,
    traceback_text,
    watched,
)

app = typer.Typer(
    name="quantcurve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which quantised variant of a model to ship: how much each loses, how fast and how big it is on this machine.",
    epilog="Start with: quantcurve doctor; quantcurve plan smollm2-135m; quantcurve run smollm2-135m",
)
app.add_typer(cache_app, name="cache")
app.add_typer(calib_app, name="calib")


@app.callback()
def quantcurve(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which quantised variant of a model to ship: how much each loses, how fast and how big it is on this machine."""


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
    from quantcurve import verdicts
    from quantcurve.cli_encoder import run_encoder
    from quantcurve.encoder_recipe import is_encoder
    from quantcurve.report import folder
    from quantcurve.run import Where
    from quantcurve.run import run as run_recipe

    stages = frozenset(stage.value for stage in force or ())
    if is_encoder(recipe_path(recipe)):
        where = Where(threads, cache=cache, force=stages)
        run_encoder(recipe_path(recipe), where, out, json, markdown, quiet, verbose)
        return
    loaded = load_recipe(recipe)
    target = out or Path("runs") / loaded.recipe.name
    folder.prepare(target)
    where = Where(threads, device.value, cache, target / "logs", stages)
    with interruptible(), watched(quiet, verbose) as progress:
        result = run_recipe(loaded, where, progress)
        folder.save(result, target)
    show(result, json, markdown)
    say(f"results: {target / folder.RESULTS}; page: {target / folder.PAGE}", quiet)
    kept = [v for v in result.variants if v.verdict and v.verdict.decision != "discard"]
    missed = [v for v in result.variants if v.accuracy_control and v.accuracy_control.verdict == "fail"]
    missed_contract = verdicts.missed(v.scorecard.verdict for v in result.variants if v.scorecard)
    if not kept or missed or missed_contract or any(v.status == "failed" for v in result.variants):
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipeArgument,
    json: JsonOption = False,
    threads: ThreadsOption = None,
    device: DeviceOption = Device.cpu,
    cache: CacheOption = None,
) -> None:
    """Say what a run would do and take; writes nothing.

    Example: quantcurve plan smollm2-135m
    """
    from quantcurve import encoder_planning, encoder_recipe, planning
    from quantcurve.report.plan import plan_table
    from quantcurve.run import Where

    path, where = recipe_path(recipe), Where(threads, device.value, cache)
    if encoder_recipe.is_encoder(path):
        planned = encoder_planning.plan(encoder_recipe.load(path), where)
    else:
        planned = planning.plan(load_recipe(recipe), where)
    if json:
        typer.echo(planned.model_dump_json(indent=1))
    else:
        console().print(plan_table(planned))


app.command()(report)
app.command()(pick)
app.command()(explain)
app.command()(compare)
app.command()(serve)
app.command()(deploy)
app.command()(verify)
app.command()(push)


@app.command()
def types(json: JsonOption = False) -> None:
    """List the GGUF file types, smallest first.

    Example: quantcurve types
    """
    from quantcurve.report.types import types_json, types_table

    if json:
        typer.echo(types_json())
    else:
        console().print(types_table())


@app.command()
def recipes() -> None:
    """List the shipped recipes."""
    from quantcurve import resources

    for path in sorted(resources.folder("recipes").rglob("*.yaml")):
        typer.echo(f"{path.stem}  {path}")


@app.command()
def schema(
    encoder: Annotated[bool, typer.Option("--encoder", help="Of a recipe of kind encoder.")] = False,
) -> None:
    """Print the JSON schema of a recipe, for editors.

    Example: quantcurve schema > recipe.schema.json
    """
    import json as json_module

    from quantcurve.encoder_recipe import EncoderRecipe
    from quantcurve.recipe import Recipe

    typer.echo(json_module.dumps((EncoderRecipe if encoder else Recipe).model_json_schema(), indent=1))


@app.command()
def doctor(json: JsonOption = False, cache: CacheOption = None) -> None:
    """Check this machine, with the command that fixes each finding.

    Compiler, CPU features, disk, memory, packages, llama.cpp itself, hub access.
    """
    import json as json_module

    from quantcurve.doctor import examine
    from quantcurve.report.doctor import doctor_lines
    from quantcurve.store import default_folder

    checks = examine(cache or default_folder())
    if json:
        typer.echo(json_module.dumps([c.model_dump() for c in checks], indent=1))
    else:
        console().print(doctor_lines(checks), soft_wrap=True)
    if any(c.status == "missing" for c in checks):
        raise typer.Exit(3)


def main() -> None:
    """Entry point: errors become one message on standard error and an exit code."""
    from quantcurve.errors import QuantcurveError

    verbose = bool({"-v", "--verbose"} & set(sys.argv))
    interrupts.install()
    try:
        app()
    except QuantcurveError as error:
        if verbose:
            say(traceback_text(), quiet=False)
        say(f"quantcurve: {error}", quiet=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        say(f"quantcurve: a bug in quantcurve: {type(error).__name__}: {error}\n  log: {crash_log()}", quiet=False)
        sys.exit(BUG)


if __name__ == "__main__":
    main()
