"""What `pick` prints: the variant, why, what the next ones would cost; or the nearest miss and what to try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantcurve.pick_records import Choice, Mitigation, Rejection
from quantcurve.report import words

MOST_MITIGATIONS = 4
"""That are printed; the record has all."""


def choice_lines(choice: Choice) -> Iterator[str]:
    """Lines for a terminal; the first one is the variant's name, or none."""
    yield choice.name or "none"
    yield f"  {choice.why}"
    others = choice.rejected
    if choice.name is None:
        yield from _nearest(choice)
        yield from _tries(choice)
        others = tuple(one for one in others if one.name != choice.nearest_miss)
    for place, one in enumerate(choice.runners_up, 1):
        yield f"  runner-up {place}, {one.name}, {one.sentence}"
    next_ones = {one.name for one in choice.runners_up}
    yield from _not([one for one in others if one.name not in next_ones])
    yield f"  reference: {choice.provenance}"


def _not(rejected: Sequence[Rejection]) -> Iterator[str]:
    """One line for each reason."""
    for why in dict.fromkeys(one.why for one in rejected):
        yield f"  not {words.listed([one.name for one in rejected if one.why == why])}: {why}"


def _nearest(choice: Choice) -> Iterator[str]:
    found: Rejection | None = next((one for one in choice.rejected if one.name == choice.nearest_miss), None)
    if found:
        yield f"  nearest miss: {found.name}: {found.why}"


def _tries(choice: Choice) -> Iterator[str]:
    if not choice.mitigations:
        return
    yield "  to try, cheapest first (add the lines to the recipe, then `quantcurve run` measures only what is new):"
    for number, one in enumerate(choice.mitigations[:MOST_MITIGATIONS], 1):
        yield from _try(number, one)
    if len(choice.mitigations) > MOST_MITIGATIONS:
        yield f"    {len(choice.mitigations) - MOST_MITIGATIONS} more with --json"


def _try(number: int, one: Mitigation) -> Iterator[str]:
    of = f"{one.variant}: " if one.variant and one.variant not in one.what else ""
    yield f"    {number}. {of}{one.what}: {one.cost}"
    yield f"       {one.why}"
    for under, lines in ((one.under, one.recipe_lines), *(((one.also.under, one.also.lines),) if one.also else ())):
        yield f"       under {under}:"
        yield from (f"         {line}" for line in lines.splitlines())
