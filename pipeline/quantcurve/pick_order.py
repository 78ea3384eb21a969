"""Which candidate is taken, and which would be next: fastest, then least KL divergence, then smallest file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import median
from typing import NamedTuple

from quantcurve.estimates import Missing
from quantcurve.pick_records import RunnerUp
from quantcurve.pick_weigh import Candidate
from quantcurve.report import words
from quantcurve.stages.frontier import is_faster, speed_ratio

MOST_RUNNERS_UP = 3
NOT_BOTH = Missing(missing="decode speed was not measured of both")


class Best(NamedTuple):
    """The three steps from all passing candidates to one."""

    fastest: Candidate | None
    """None if no decode speed was measured."""
    fast: tuple[Candidate, ...]
    """Those that cannot be told apart from the fastest in decode speed; all, if none was measured."""
    least_kl: Candidate
    """Of the fast ones."""
    tied: tuple[Candidate, ...]
    """The fast ones that cannot be told apart from that in KL divergence."""
    chosen: Candidate
    """The smallest file of these."""


def best(passing: Sequence[Candidate]) -> Best:
    """The one to take of some, at least one."""
    timed = [c for c in passing if c.decode_s]
    fastest = min(timed, key=lambda c: median(c.decode_s), default=None)
    fast = tuple(c for c in timed if not is_faster(fastest.decode_s, c.decode_s)) if fastest else tuple(passing)
    least_kl = min(fast, key=lambda c: (c.kl.value, c.size_bytes, c.name))
    tied = tuple(c for c in fast if c is least_kl or c.name in least_kl.variant.tied_with)
    chosen = min(tied, key=lambda c: (c.size_bytes, c.kl.value, c.name))
    return Best(fastest, fast, least_kl, tied, chosen)


def runners_up(passing: Sequence[Candidate], chosen: Candidate) -> tuple[RunnerUp, ...]:
    """Those that would be chosen, one after the other, if the ones before them were not there."""
    return tuple(_against(one, chosen) for one in islice(_in_turn(passing, chosen), MOST_RUNNERS_UP))


def _in_turn(passing: Sequence[Candidate], chosen: Candidate) -> Iterator[Candidate]:
    left = [c for c in passing if c is not chosen]
    while left:
        following = best(left).chosen
        yield following
        left.remove(following)


def _against(other: Candidate, chosen: Candidate) -> RunnerUp:
    tied = other.name in chosen.variant.tied_with
    ratio = speed_ratio(other.decode_s, chosen.decode_s) if other.decode_s and chosen.decode_s else NOT_BOTH
    faster = is_faster(other.decode_s, chosen.decode_s) or is_faster(chosen.decode_s, other.decode_s)
    found = RunnerUp(
        name=other.name,
        kl_difference_nats=other.kl.value - chosen.kl.value,
        kl_tied=tied,
        speed_ratio=ratio,
        size_difference_bytes=other.size_bytes - chosen.size_bytes,
        contract=other.variant.scorecard.verdict.decision if other.variant.scorecard else None,
        apart=faster or not tied,
        sentence="",
    )
    return found.model_copy(update={"sentence": _sentence(found, chosen.name)})


def _sentence(one: RunnerUp, chosen: str) -> str:
    difference = f"mean KL divergence {one.kl_difference_nats:+.2g} nats"
    parts = [f"{difference} (cannot be told apart)" if one.kl_tied else difference]
    if isinstance(one.speed_ratio, Missing):
        parts.append(f"speed not compared: {one.speed_ratio.missing}")
    else:
        parts.append(f"{words.bounds(one.speed_ratio)} times as fast")
    parts.append(f"{one.size_difference_bytes / words.MIB:+.1f} MiB")
    if one.contract:
        parts.append(f"contract: {one.contract}")
    return f"against {chosen}: {', '.join(parts)}"
