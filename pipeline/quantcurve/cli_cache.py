"""The commands of `quantcurve cache`."""

from __future__ import annotations

from typing import Annotated

import typer

from quantcurve.console import CacheOption

cache_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The store of finished steps.")


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


@cache_app.command("verify")
def cache_verify(cache: CacheOption = None) -> None:
    """Read every finished step again and remove what is damaged; the next run makes it anew.

    Small files are verified whenever they are read, files over 4 MiB when their date or size has changed.
    """
    from quantcurve.store import Store

    store = Store(cache)
    damaged = store.verify()
    for found in damaged:
        typer.echo(f"{found.stage} {found.key[:12]}: {found.what}; removed")
    typer.echo(f"{sum(s.artifacts for s in store.usage())} steps are as they were stored, {len(damaged)} were damaged")
