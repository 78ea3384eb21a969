"""`quantcurve pick`; see cli.py."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from quantcurve.console import JsonOption, RunArgument


class TargetName(StrEnum):
    """What is to run the variant."""

    llama_cpp = "llama.cpp"
    cpu = "cpu"
    gpu = "gpu"


def pick(
    run: RunArgument,
    max_kl: Annotated[float | None, typer.Option(min=0, help="Mean KL divergence, nats.")] = None,
    max_perplexity_increase: Annotated[float | None, typer.Option(help="Percent over the reference.")] = None,
    min_top1_agreement: Annotated[float | None, typer.Option(min=0, max=1, help="Share of tokens, 0 to 1.")] = None,
    max_size: Annotated[str | None, typer.Option(help="File size, such as 120MB or 1.5GiB.")] = None,
    min_decode_tokens_per_s: Annotated[float | None, typer.Option(min=0, help="On this machine.")] = None,
    max_time_to_first_token: Annotated[float | None, typer.Option(min=0, help="Seconds.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Peak memory, such as 500MB.")] = None,
    target: Annotated[
        TargetName | None,
        typer.Option(help="GGUF variants for llama.cpp, or OpenVINO variants that were measured on a CPU or a GPU."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Name the variant to ship, and why not the others.

    With what the next ones would cost; where none is inside every limit (exit code 1), with the nearest miss and what
    to try. A limit is met only if the figure's whole interval is inside it.

    Example: quantcurve pick runs/smollm2-135m --max-kl 0.05 --max-size 120MB --target cpu
    """
    from quantcurve.pick import pick as choose
    from quantcurve.pick_records import Limits
    from quantcurve.report import folder
    from quantcurve.report.choice import choice_lines
    from quantcurve.units import parse_size

    limits = Limits(
        max_kl=max_kl,
        max_perplexity_increase_percent=max_perplexity_increase,
        min_top1_agreement=min_top1_agreement,
        max_size_bytes=parse_size(max_size) if max_size else None,
        min_decode_tokens_per_s=min_decode_tokens_per_s,
        max_time_to_first_token_s=max_time_to_first_token,
        max_memory_bytes=parse_size(max_memory) if max_memory else None,
        target=target.value if target else None,
    )
    choice = choose(folder.load(run), limits)
    if json:
        typer.echo(choice.model_dump_json(indent=1))
    else:
        for line in choice_lines(choice):
            typer.echo(line)
    if choice.name is None:
        raise typer.Exit(1)
