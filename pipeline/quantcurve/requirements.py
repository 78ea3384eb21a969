"""The packages that quantcurve's own metadata asks for."""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple


class Requirement(NamedTuple):
    """One package."""

    name: str
    pinned: str | None
    """The only version, where one is required."""
    extra: str | None
    """The extra that asks for it; None: always required."""


def read() -> list[Requirement]:
    """All of them; none where quantcurve is not installed as a package."""
    try:
        return [parse(text) for text in metadata.requires("quantcurve") or ()]
    except metadata.PackageNotFoundError:
        return []


def parse(text: str) -> Requirement:
    """One requirement as metadata has it: `gguf==0.18.0; extra == 'convert'`."""
    name = re.match(r"[\w.-]+", text)
    pinned = re.search(r"==\s*([\w.]+)", text.partition(";")[0])
    extra = re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", text)
    return Requirement(name[0] if name else text, pinned[1] if pinned else None, extra[1] if extra else None)
