"""A text of the recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from quantcurve.calibration import Source
from quantcurve.records import Frozen

MIN_WINDOWS = 2
"""An interval needs two windows; llama-perplexity refuses less as well."""

WindowCount = Annotated[int, Field(ge=MIN_WINDOWS, le=10_000_000)]


class Text(Frozen):
    """One evaluation text; figures are given for each and for all together."""

    name: str = Field(min_length=1, max_length=40, pattern=r"^[\w.+-]+$")
    source: Source = Field(
        description="embedded:STRATUM (held-out part), pydoc:topics, a text or JSONL file, or "
        "hf:OWNER/NAME[@REVISION]#FILE in a data set repository",
    )
    field: str | None = Field(
        None, description="for JSONL, JSON and Parquet: the field with the text, dots for nesting"
    )
    windows: WindowCount | None = Field(None, description="at most so many of this text, in place of windows.limit")
