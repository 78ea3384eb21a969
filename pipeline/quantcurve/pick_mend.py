"""What to try where no variant of a run is inside every limit, cheapest first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from quantcurve import mend_gguf, mend_openvino, mend_openvino_loss
from quantcurve.mend_base import Entry, Idea, Missed, mitigations_of
from quantcurve.mend_calibration import calibrated
from quantcurve.pick_records import Mitigation
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_gguf import GgufVariant


def mitigations(missed: Missed) -> tuple[Mitigation, ...]:
    """Suggestions by the bytes that they add, those that are not known last; none that the run shows to break the limit
    on size."""
    if not missed.candidates:
        found = list(mitigations_of(_first(missed), None, missed))
    else:
        closer = (one for one in _closer(missed) if _fits(one, missed))
        found = [*closer, *(one for one in _smaller(missed) if one.extra_bytes is None or _fits(one, missed))]
    once: dict[str, Mitigation] = {}
    for one in found:
        once.setdefault(one.under + one.recipe_lines, one)
    return tuple(sorted(once.values(), key=lambda one: (one.extra_bytes is None, one.extra_bytes or 0)))


def _first(missed: Missed) -> Iterator[Idea]:
    """Where no variant is for the target."""
    target = missed.limits.target
    if target == "llama.cpp":
        yield from mend_gguf.measured(missed)
    elif target:
        yield from mend_openvino.first(missed, target)


def _closer(missed: Missed) -> Iterator[Mitigation]:
    """What loses less: of the nearest miss if it loses too much and is not too large, else of the one that only loses
    too much."""
    start = missed.nearest
    if start and (_breaks(start, "size") or not _breaks(start, "quality")):
        only = [c for c in missed.candidates if {b.kind for b in c.breaches} == {"quality"}]
        start = min((c for c in only if c.worst_excess < math.inf), key=lambda c: c.worst_excess, default=None)
    entry = _entry(missed, start)
    if start is None or entry is None:
        return
    yield from mitigations_of(_closer_ideas(missed, start, entry), start, missed)
    yield from calibrated(missed, start, entry)


def _closer_ideas(missed: Missed, start: Candidate, entry: Entry) -> Iterator[Idea]:
    if isinstance(entry, GgufVariant):
        yield from mend_gguf.closer(missed, start, entry)
    else:
        yield from mend_openvino.closer(missed, start, entry)
        yield from mend_openvino_loss.controlled(missed, start, entry)


def _smaller(missed: Missed) -> Iterator[Mitigation]:
    """What takes fewer bytes, is faster or needs less memory than the nearest miss."""
    nearest = missed.nearest
    if nearest is None:
        return
    starts = [nearest] * (_breaks(nearest, "size") or _breaks(nearest, "memory"))
    if _breaks(nearest, "speed"):
        starts += [min((c for c in missed.candidates if c.decode_s), key=lambda c: median(c.decode_s), default=nearest)]
    for start in starts:
        if entry := _entry(missed, start):
            yield from mitigations_of(_smaller_ideas(missed, start, entry), start, missed)


def _smaller_ideas(missed: Missed, start: Candidate, entry: Entry) -> Iterator[Idea]:
    if isinstance(entry, GgufVariant):
        if _breaks(start, "memory"):
            yield from mend_gguf.smaller_cache(missed, start, entry)
        yield from mend_gguf.smaller(missed, start, entry)
    else:
        if _breaks(start, "memory"):
            yield from mend_openvino.smaller_cache(start, entry)
        yield from mend_openvino.smaller(start, entry)


def _breaks(candidate: Candidate, kind: str) -> bool:
    return any(breach.kind == kind for breach in candidate.breaches)


def _entry(missed: Missed, start: Candidate | None) -> Entry | None:
    if start is None:
        return None
    return missed.known.gguf.get(start.name) or missed.known.openvino.get(start.name)


def _fits(one: Mitigation, missed: Missed) -> bool:
    """Whether a file may be inside the limit on size, as far as it is known."""
    limit = missed.limits.max_size_bytes
    start = next((c for c in missed.candidates if c.name == one.variant), None)
    return limit is None or start is None or start.size_bytes + (one.extra_bytes or 0) <= limit
