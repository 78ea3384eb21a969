"""What a scorecard asks: which variants, how many items of each slice, in which looks; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from quantcurve.metrics.evidence import Lines, items_needed
from quantcurve.recipe_contract import EVERY, Contract, QualityLimit

QUICK_ITEMS = 48
"""Of a slice in quick mode, at most: as many of them as QUICK_SECONDS allow are asked."""
QUICK_SECONDS = 360.0
"""Of each variant in quick mode; what was asked before counts with the seconds that it took then."""
QUICK_ROUNDS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the items after which the time is looked at, and nothing else."""
LEAST_ITEMS, MOST_ITEMS = 100, 2000
"""Of a slice in full mode, where its entry does not say."""
DISCORDANT = 0.1
"""Share of items that two models are taken to judge differently, before anything is known."""
FULL_LOOKS = (0.25, 0.5, 1.0)
"""Shares of the items after which verdicts are looked at."""
FULL_WEIGHTS = (0.2, 0.3, 0.5)
"""Of the looks, in Bonferroni's sum (evidence.over_looks)."""


class Candidate(NamedTuple):
    """A variant that may be evaluated."""

    name: str
    lane: Literal["llama.cpp", "OpenVINO"]
    size_bytes: int
    kl: float
    """Mean KL divergence from the reference, nats."""
    discarded: bool
    """By the screen."""


def time_left(seconds: float, rounds: int) -> bool:
    """Whether one more round fits into quick mode's time, after some that took so many seconds together."""
    return seconds * (rounds + 1) / rounds <= QUICK_SECONDS


def items_of(contract: Contract, name: str, given: int | None, available: int | None) -> int:
    """Items of a slice that are asked.

    Args:
        contract: budgets on the slice, and the mode.
        name: of the slice.
        given: by its entry.
        available: that there are; None: more than are ever asked.
    """
    wanted = given or (QUICK_ITEMS if contract.mode == "quick" else _by_power(contract, name))
    return wanted if available is None else min(wanted, available)


def _by_power(contract: Contract, name: str) -> int:
    """For the tightest budget on it, if nothing is lost and a tenth of the items flips."""
    limits = [contract.quality[n] for n in (name, *EVERY) if n in contract.quality]
    distances = [d for limit in limits if (d := _distance(limit, contract.margin))]
    if not distances:
        return LEAST_ITEMS
    needed = items_needed(0.0, math.sqrt(DISCORDANT), Lines(min(distances), min(distances)))
    return min(max(needed or MOST_ITEMS, LEAST_ITEMS), MOST_ITEMS)


def _distance(limit: QualityLimit, margin: QualityLimit) -> float:
    """From no loss to the line that must be excluded; 0 where it is not in points."""
    judged = margin if limit.kind == "no_regression" else limit
    return judged.amount if judged.kind in {"points", "share"} else 0.0


def cuts(items: int, shares: Sequence[float]) -> list[range]:
    """Places of the items that are new at each look, disjoint, all together 0 to items."""
    ends = [max(1, round(items * share)) for share in shares]
    return [range(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def shortlist(candidates: Sequence[Candidate], count: int) -> dict[str, str]:
    """Why a variant is not evaluated, by name; empty for those that are.

    Of each lane those on the front of size and KL divergence that the screen kept, spread evenly from the smallest to
    the largest, ends included.

    Args:
        candidates: all variants that did not fail.
        count: of each lane, at most.
    """
    found: dict[str, str] = {}
    for lane in ("llama.cpp", "OpenVINO"):
        some = [c for c in candidates if c.lane == lane]
        kept = sorted((c for c in some if not c.discarded), key=lambda c: (c.size_bytes, c.kl))
        front = [c for i, c in enumerate(kept) if all(c.kl < other.kl for other in kept[:i])]
        places = {round(i * (len(front) - 1) / max(count - 1, 1)) for i in range(count)} if front else set()
        chosen = {front[place].name for place in places}
        found |= {c.name: _reason(c, c in front, c.name in chosen, count) for c in some}
    return found


def _reason(candidate: Candidate, on_front: bool, chosen: bool, count: int) -> str:
    if chosen:
        return ""
    if candidate.discarded:
        return "not evaluated: the screen discarded it"
    if not on_front:
        return "not evaluated: another variant of its lane is smaller and has less KL divergence"
    return f"not evaluated: the shortlist has {count} of each lane; contract.shortlist raises that"
