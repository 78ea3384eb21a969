"""From runs to report.html: one file, no network, everything in it escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from quantcurve import disk
from quantcurve.page.content import content
from quantcurve.page.curve import Curve, curve
from quantcurve.results import RunResult

HERE = Path(__file__).parent
FIX = "free some space there, or give another file with --out"


class PageRun(NamedTuple):
    """A run, and the folder that it was read from."""

    run: RunResult
    folder: str


def save_page(runs: Sequence[PageRun], file: Path) -> None:
    """Write the page of one or more runs; it appears whole or not at all.

    Raises:
        RecipeError: the file cannot be written.
        PrerequisiteError: its disk is full.
    """
    text = page(runs)
    with disk.written(file, "the page", FIX) as draft:
        draft.write_text(text, encoding="utf-8")


def page(runs: Sequence[PageRun]) -> str:
    """HTML of one or more runs. What runs hold (names, answers of models, recipes) is text there, never markup; the
    content security policy allows only the page's own scripts, by their hashes, and no network."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = curve([one.run for one in runs])
    scripts = (_vega(), (HERE / "page.js").read_text(encoding="utf-8"))
    return environment.get_template("page.html.j2").render(
        runs=[content(one.run, i, one.folder) for i, one in enumerate(runs)],
        curve=drawn,
        data=_in_script(drawn.model_dump_json()),
        chart=_in_script((HERE / "chart.json").read_text(encoding="utf-8")),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        lanes=sorted({point.lane for point in drawn.points}),
        used=_used(drawn),
    )


def _used(drawn: Curve) -> list[int]:
    """Axes that some variant has a figure on."""
    return [i for i in range(len(drawn.axes)) if any(point.spans[i] for point in drawn.points)]


@cache
def _vega() -> str:
    """Vega and vega-embed (BSD 3-Clause), as vl-convert brings them, fit for a script element."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("</script", "<\\/script")


def _in_script(json: str) -> str:
    """JSON inside a script element: nothing there can end it."""
    return json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
