"""`quantcurve serve`; see cli.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantcurve.console import INTERRUPTED, say

PORT = 8765


def serve(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the runs are.")] = Path("runs"),
    host: Annotated[str, typer.Option(help="Address to listen at; another one is for everyone who reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = PORT,
) -> None:
    """List the runs in a folder with their verdicts in a browser, and open their pages; Ctrl-C ends it.

    Example: quantcurve serve runs
    """
    from quantcurve.serving import served
    from quantcurve.serving_http import open_server

    def log(line: str) -> None:
        say(f"quantcurve: {line}", quiet=False)

    with open_server(served(folder), host, port, log) as server:
        if not server.loopback:
            log(f"warning: everyone who reaches {server.url} reads the runs in {folder}")
        typer.echo(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log("stopped")
            raise typer.Exit(INTERRUPTED) from None
