"""The list of runs as a page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from quantcurve.errors import printable
from quantcurve.report.loading import PAGE, RESULTS
from quantcurve.serving_rows import RunRow

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "serve.html.j2"


def run_list(folder: Path, rows: Sequence[RunRow], nonce: str) -> str:
    """The page as HTML; nothing of a run is read as markup.

    Args:
        folder: that is served, as the user named it.
        rows: its runs, in order.
        nonce: of the content security policy, for the style.
    """
    return _template().render(folder=printable(str(folder)), rows=rows, nonce=nonce, page=PAGE, results=RESULTS)


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template(TEMPLATE)
