"""`quantcurve explain`; see cli.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from quantcurve.console import JsonOption, RunArgument, console

if TYPE_CHECKING:
    from quantcurve.encoder_results import EncoderVariantResult
    from quantcurve.results import VariantResult


def explain(
    run: RunArgument,
    variant: Annotated[str | None, typer.Argument(help="Name of a variant.  [default: all under control]")] = None,
    json: JsonOption = False,
) -> None:
    """Show what accuracy control restored, as a map by layer and module.

    Example: quantcurve explain runs/smollm2-135m-openvino OV-W8A8+ac
    """
    import json as json_module

    from quantcurve.errors import RecipeError
    from quantcurve.report import folder
    from quantcurve.report.explain import explanation

    variants: Sequence[VariantResult | EncoderVariantResult] = folder.load_any(run).variants
    found = [v for v in variants if v.accuracy_control and variant in {None, v.name}]
    if not found:
        names = ", ".join(v.name for v in variants if v.accuracy_control) or "none of its variants was"
        raise RecipeError(f"{variant or run}: not under accuracy control; in this run: {names}")
    if json:
        typer.echo(json_module.dumps({v.name: v.accuracy_control.model_dump() for v in found if v.accuracy_control}))
        return
    for part in (part for v in found for part in explanation(v)):
        console().print(part, soft_wrap=isinstance(part, str))
