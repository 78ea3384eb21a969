"""What suggestions share: the run they are made from, and how a changed variant becomes lines of a recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from quantcurve.estimates import Figure
from quantcurve.pick_recipe import Entries
from quantcurve.pick_records import Limits, Mitigation, Place, RecipeLines
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.report import words
from quantcurve.results import RunResult

Entry = GgufVariant | OpenVinoVariant
AnyEntry = TypeVar("AnyEntry", GgufVariant, OpenVinoVariant)
UNKNOWN_COST = "the run does not tell how many bytes the file gains or loses; `quantcurve plan` does"
_PLAIN = re.compile(r"[A-Za-z][\w.+-]*", re.ASCII)
_READ_OTHERWISE = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
"""Plain words that YAML may read as something else than text."""
_LONGEST_NAME = 60
_UNTOLD = {"name", "group_size_fallback"}


class Missed(NamedTuple):
    """A run of which no variant is inside every limit."""

    run: RunResult
    known: Entries
    candidates: Sequence[Candidate]
    """That were compared with the limits."""
    nearest: Candidate | None
    limits: Limits


class Idea(NamedTuple):
    """A variant to try."""

    what: str
    why: str
    entry: Entry | None
    """None: NNCF would refuse it."""
    extra_bytes: int | None = 0
    cost: str = ""
    """What it takes beside the bytes."""
    also: RecipeLines | None = None
    variant: str | None = None
    """That it starts from, where that is not the candidate."""


def changed(entry: AnyEntry, name: str | None = None, **fields: Any) -> AnyEntry | None:
    """A variant with other fields; None where it could not be.

    Args:
        entry: what it is made from.
        name: of the new one; None for the one that it makes of itself.
        fields: values as a recipe has them.
    """
    try:
        return type(entry).model_validate(entry.model_dump() | fields | {"name": name and _name(name)})
    except ValidationError:
        return None


def same(a: Entry, b: Entry) -> bool:
    """Whether two are the same but for their names, and for what happens where a group does not fit."""
    return type(a) is type(b) and a.model_dump(exclude=_UNTOLD) == b.model_dump(exclude=_UNTOLD)


def mitigations_of(ideas: Iterator[Idea], start: Candidate | None, missed: Missed) -> Iterator[Mitigation]:
    """Suggestions of variants that are possible, and not in the recipe."""
    there: list[Entry] = [*missed.known.gguf.values(), *missed.known.openvino.values()]
    for idea in ideas:
        if idea.entry is None or any(same(idea.entry, other) for other in there):
            continue
        entry = _apart(idea.entry, [other.label for other in there])
        there.append(entry)
        under: Place = "variants.gguf" if isinstance(entry, GgufVariant) else "variants.openvino"
        yield Mitigation(
            what=idea.what,
            variant=start.name if start else idea.variant,
            why=idea.why,
            under=under,
            recipe_lines=f"- {flow(entry.model_dump(exclude_defaults=True, mode='json'))}",
            also=idea.also,
            extra_bytes=idea.extra_bytes,
            cost=cost(idea.extra_bytes, idea.cost),
        )


def cost(extra_bytes: int | None, beside: str = "") -> str:
    """What something takes, in words."""
    if extra_bytes is None:
        size = UNKNOWN_COST
    elif abs(extra_bytes) < words.MIB / 100:
        size = "the file stays about as large"
    else:
        size = f"the file is about {words.mib(abs(extra_bytes))} {'larger' if extra_bytes > 0 else 'smaller'}"
    return "; ".join(part for part in (size, beside) if part)


def flow(value: object) -> str:
    """YAML of a recipe's values, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(of)}" for key, of in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if not isinstance(value, str):
        return str(value)
    plain = _PLAIN.fullmatch(value) and value.lower() not in _READ_OTHERWISE
    return value if plain else "'" + value.replace("'", "''") + "'"


def loss(candidate: Candidate) -> str:
    """What a variant loses, in words."""
    return f"{candidate.name} loses {nats(candidate.kl)}"


def nats(figure: Figure) -> str:
    """A KL divergence with its interval."""
    return words.bounds(figure, unit="nats")


def candidate_of(missed: Missed, entry: Entry) -> Candidate | None:
    """The measured variant that is this entry but for its name."""
    known: Mapping[str, Entry] = missed.known.gguf if isinstance(entry, GgufVariant) else missed.known.openvino
    names = {name for name, other in known.items() if same(entry, other)}
    return next((one for one in missed.candidates if one.name in names), None)


def shown(missed: Missed, entries: Collection[AnyEntry], **without: Any) -> str:
    """What a choice was worth in this run: the first two variants that differ in nothing else; or empty.

    Args:
        missed: the run.
        entries: those to look at, that have it.
        without: the fields of the same variant without it.
    """
    for entry in entries:
        plain = changed(entry, **without)
        before = candidate_of(missed, plain) if plain else None
        after = candidate_of(missed, entry)
        if before and after and before is not after:
            return f"{after.name} loses {nats(after.kl)} where {before.name} loses {nats(before.kl)}"
    return ""


def _apart(entry: Entry, taken: Sequence[str]) -> Entry:
    """With a name that no other has."""
    found, number = entry, 2
    while found.label in taken:
        found = entry.model_copy(update={"name": _name(f"{entry.label}-{number}")})
        number += 1
    return found


def _name(text: str) -> str:
    return re.sub(r"[^\w.+-]", "-", text)[:_LONGEST_NAME]
