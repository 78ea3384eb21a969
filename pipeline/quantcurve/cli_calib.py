"""The commands of `quantcurve calib`."""

from __future__ import annotations

import typer

from quantcurve.console import CacheOption, JsonOption, RecipeArgument, console, interruptible, load_recipe, watched

calib_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The calibration set of a recipe.")


@calib_app.callback()
def calib() -> None:
    """The calibration set of a recipe."""  # with a callback, a single command keeps its name


@calib_app.command("check")
def calib_check(recipe: RecipeArgument, json: JsonOption = False, cache: CacheOption = None) -> None:
    """Print what the calibration set covers, and what it lacks: strata, languages, lengths, control tokens.

    Makes the reference and the set, which a run then finds in the store. Warnings leave the exit code as it is.

    Example: quantcurve calib check smollm2-135m
    """
    from quantcurve.calibration_items import load_offered
    from quantcurve.recipe import at
    from quantcurve.report.calibration import coverage
    from quantcurve.run import Where, open_session
    from quantcurve.stages.calibrate import calibrate
    from quantcurve.stages.resolve import resolve
    from quantcurve.texts import load_texts

    loaded = load_recipe(recipe)
    settings = loaded.recipe.calibration
    offered = load_offered(loaded, settings, load_texts(loaded))
    with interruptible(), watched(quiet=False, verbose=False) as progress:
        session = open_session(Where(cache=cache), progress)
        with session.store.in_use():
            with at(loaded, "model", "source"):
                reference = resolve(loaded.recipe.model, loaded.path.parent, session)
            with at(loaded, "calibration"):
                result = calibrate(offered, settings, loaded.recipe.seed, reference, session).result
    if json:
        typer.echo(result.model_dump_json(indent=1))
    else:
        console().print(coverage(result))
