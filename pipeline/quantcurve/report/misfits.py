"""What is wrong with a record that does not fit its model: one field by its path, in words, and how many more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from quantcurve.errors import printable

if TYPE_CHECKING:
    from pydantic import ValidationError

SAID = {"missing": "is not there", "extra_forbidden": "is not known"}
"""By pydantic's name of an error; of others its own sentence is told."""


class _Tried(NamedTuple):
    """A model that was tried on a field where one of several may stand."""

    path: str
    model: str


class _Misfit(NamedTuple):
    """A field that is wrong."""

    tried: tuple[_Tried, ...]
    """From the outermost field inwards."""
    path: str
    what: str


def first_misfit(error: ValidationError, record: dict[str, Any]) -> tuple[str, int]:
    """The first field that is wrong and what is wrong with it, and the number of other fields that are.

    Args:
        error: of a pydantic model.
        record: what was validated. Where one of several models may stand, the one that all but fits is spoken of.
    """
    found = [_misfit(one["loc"], one["type"], one["msg"], one["input"], record) for one in error.errors()]
    kept: dict[str, str] = {}
    for misfit in _closest(found, 0):
        kept.setdefault(misfit.path, misfit.what)
    path, what = next(iter(kept.items()))
    return f"{path} {what}", len(kept) - 1


def _closest(found: Iterable[_Misfit], depth: int) -> list[_Misfit]:
    """Of the models that were tried on one field, those misfits alone that the one with the fewest has."""

    def field(misfit: _Misfit) -> str | None:
        return misfit.tried[depth].path if len(misfit.tried) > depth else None

    kept = list[_Misfit]()
    for path, group in groupby(found, key=field):
        if path is None:
            kept += group
            continue
        models: dict[str, list[_Misfit]] = {}
        for misfit in group:
            models.setdefault(misfit.tried[depth].model, []).append(misfit)
        fewest = min((_closest(misfits, depth + 1) for misfits in models.values()), key=len)
        kept += fewest
    return kept


def _misfit(place: Sequence[int | str], kind: str, message: str, value: object, record: object) -> _Misfit:
    """The path as the record has it: pydantic also puts the names of tried models into it."""
    path, tried, at = "", list[_Tried](), record
    for i, step in enumerate(place):
        if isinstance(step, int):
            path, at = f"{path}[{step}]", at[step] if isinstance(at, list) and step < len(at) else None
        elif (isinstance(at, dict) and step in at) or (kind == "missing" and i == len(place) - 1):
            path, at = f"{path}.{step}", at.get(step) if isinstance(at, dict) else None
        else:
            tried.append(_Tried(path, step))
    what = SAID.get(kind) or f"is {_shown(value)}: {message[:1].lower()}{message[1:]}"
    return _Misfit(tuple(tried), printable(path.removeprefix(".")) or "the record", what)


def _shown(value: object) -> str:
    return printable(json.dumps(value, default=str), 60)
