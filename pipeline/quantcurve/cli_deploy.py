"""`quantcurve deploy`, `verify` and `push`; see cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantcurve.console import CacheOption, JsonOption, say

if TYPE_CHECKING:
    from quantcurve.deploy.deploying import Deployed

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a bundle.")]


def deploy(
    to: Annotated[Path, typer.Option("--to", help="Folder of the bundle.")],
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run's folder or its results.json.")] = None,
    variant: Annotated[str | None, typer.Argument(help="Name of the variant, as `quantcurve pick` gives it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Though it failed its contract; the bundle says so.")] = False,
    context: Annotated[
        int | None, typer.Option(min=64, help="Tokens of a chat.  [default: the longest that was measured]")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Bring back the bundle before it.")] = False,
    json: JsonOption = False,
    cache: CacheOption = None,
) -> None:
    """Write a variant as a bundle that runs without quantcurve, and verify it against what was measured.

    Example: quantcurve deploy runs/smollm2-135m Q5_K_M --to bundles/smollm2
    """
    from quantcurve.deploy import deploying, writing
    from quantcurve.errors import RecipeError
    from quantcurve.report import folder

    if rollback:
        if run or variant:
            raise RecipeError("--rollback takes no run and no variant: it brings back what stood in the folder before")
        manifest = writing.rollback(to)
        typer.echo(f"{to}: {manifest.run} {manifest.variant} is back; the same command undoes that")
        return
    if run is None or variant is None:
        raise RecipeError("name a run and a variant: quantcurve deploy RUN VARIANT --to FOLDER")
    wish = deploying.Wish(folder.load(run), run, variant, to, force, context, cache)
    deployed = deploying.deploy(wish, lambda line: say(line, quiet=json))
    if json:
        typer.echo(deployed.verification.model_dump_json(indent=1))
    else:
        _show(deployed)


def verify(folder: FolderArgument, json: JsonOption = False) -> None:
    """Check a bundle: files, settings, prompts, and one token from every recorded prefix, in a fresh process.

    Example: quantcurve verify bundles/smollm2
    """
    from quantcurve.deploy.verification import verify as check

    found = check(folder)
    if json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        typer.echo("\n".join(found.lines()))
    if not found.verified:
        raise typer.Exit(3 if found.missing else 1)


def push(
    folder: FolderArgument,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="OWNER/NAME on the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
    upload: Annotated[bool, typer.Option("--upload", help="Do it; else only say what would be done.")] = False,
) -> None:
    """Upload a bundle to a repository on the hub; says what it would do, and does it with --upload.

    The token comes from HF_TOKEN and is written nowhere. Files that the repository has and the bundle has not are left.

    Example: quantcurve push bundles/smollm2 me/smollm2-135m-q5 --private --upload
    """
    from quantcurve.deploy import pushing
    from quantcurve.report.words import mib

    planned = pushing.plan(folder, repository)
    for file in planned.files:
        typer.echo(f"{file.name}  {mib(file.size_bytes)}")
    kind = "a private" if private else "a public"
    if not upload:
        typer.echo(
            f"{len(planned.files)} files, {mib(planned.size_bytes)}, would go to {repository} (if it is not there, "
            f"{kind} one is made); nothing was sent: add --upload to do it"
        )
        return
    url = pushing.push(planned, private)
    typer.echo(f"{len(planned.files)} files, {mib(planned.size_bytes)}, are at {url}")


def _show(deployed: Deployed) -> None:
    manifest = deployed.manifest
    for line in deployed.verification.lines():
        typer.echo(line)
    for reason in manifest.forced:
        typer.echo(f"deployed by force: {reason}")
    for untried in manifest.not_verified:
        typer.echo(f"written and not verified: {untried}")
    typer.echo(f"{manifest.variant} is deployed in {deployed.folder}; README.md there says how to start it")
    if deployed.replaced:
        typer.echo(f"the bundle before it is kept: quantcurve deploy --rollback --to {deployed.folder}")
