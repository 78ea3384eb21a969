"""Which variant to ship: those whose figures are inside every limit with their whole interval, then the fastest.

Of the variants that cannot be told apart from the fastest, the one with the smallest mean KL divergence is taken;
of those tied with that one in KL divergence, the smallest file. Where there is none inside, the nearest miss is named
and what to try (pick_mend.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from quantcurve.errors import RecipeError
from quantcurve.mend_base import Missed
from quantcurve.pick_mend import mitigations
from quantcurve.pick_order import best, runners_up
from quantcurve.pick_recipe import entries
from quantcurve.pick_records import Choice, Limits, Rejection
from quantcurve.pick_weigh import Candidate, weigh
from quantcurve.pick_words import why, why_lost, why_none
from quantcurve.results import RunResult


def pick(run: RunResult, limits: Limits) -> Choice:
    """Choose a variant of a run; those that failed, that the screen discarded or that break the contract are never
    taken, nor is the engine floor.

    Raises:
        RecipeError: a limit that no figure could have.
    """
    _check(limits)
    known = entries(run)
    weighed = [weigh(variant, limits, known) for variant in run.variants]
    rejected = [item for item in weighed if isinstance(item, Rejection)]
    candidates = [item for item in weighed if isinstance(item, Candidate)]
    rejected += [_broken(candidate) for candidate in candidates if candidate.breaches]
    origin = run.reference.provenance.statement
    passing = [candidate for candidate in candidates if not candidate.breaches]
    if not passing:
        nearest = _nearest(candidates)
        return Choice(
            name=None,
            why=why_none(candidates, limits),
            rejected=_in_order(run, rejected),
            nearest_miss=nearest.name if nearest else None,
            mitigations=mitigations(Missed(run, known, candidates, nearest, limits)),
            provenance=origin,
        )
    found = best(passing)
    following = runners_up(passing, found.chosen)
    rejected += [Rejection(name=c.name, why=why_lost(c, found)) for c in passing if c is not found.chosen]
    return Choice(
        name=found.chosen.name,
        why=why(found, passing, following[0] if following else None, limits),
        runners_up=following,
        rejected=_in_order(run, rejected),
        provenance=origin,
    )


def _check(limits: Limits) -> None:
    for name, limit in limits:
        if isinstance(limit, int | float) and limit < 0 and name != "max_perplexity_increase_percent":
            raise RecipeError(f"{name}: {limit:g} is negative; give a limit of at least 0, or none")
    agreement = limits.min_top1_agreement
    if agreement is not None and agreement > 1:
        raise RecipeError(f"min_top1_agreement: {agreement:g} is not a share from 0 to 1; 95 % is written 0.95")


def _broken(candidate: Candidate) -> Rejection:
    return Rejection(name=candidate.name, why="; ".join(breach.sentence for breach in candidate.breaches))


def _nearest(candidates: Sequence[Candidate]) -> Candidate | None:
    nearest = min(candidates, key=lambda candidate: candidate.worst_excess, default=None)
    return nearest if nearest is not None and nearest.worst_excess < math.inf else None


def _in_order(run: RunResult, rejected: Sequence[Rejection]) -> tuple[Rejection, ...]:
    order = [variant.name for variant in run.variants]
    return tuple(sorted(rejected, key=lambda rejection: order.index(rejection.name)))
