"""Which variant to ship: those whose figures are inside every limit with their whole interval, then the fastest.

Of the variants that cannot be told apart from the fastest, the one with the smallest mean KL divergence is taken;
of those tied with that one in KL divergence, the smallest file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.pick_records import Choice, Rejection
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import Frozen
from quantcurve.report import words
from quantcurve.report.explain import summary
from quantcurve.results import RunResult, Speed, VariantResult
from quantcurve.stages.frontier import is_faster, speed_ratio

TINY = 1e-12  # stands in for a limit of zero where an excess is taken relative to it
NO_VARIANT = "the reference's weights run exactly by OpenVINO: a measure of how far the engines differ, no variant"


class Limits(Frozen):
    """What the variant to be shipped has to keep to; None is no limit."""

    max_kl: float | None = None
    """Mean KL divergence, nats."""
    max_perplexity_increase_percent: float | None = None
    """Over the reference."""
    min_top1_agreement: float | None = None
    """Share of tokens, 0 to 1."""
    max_size_bytes: int | None = None
    min_decode_tokens_per_s: float | None = None
    max_time_to_first_token_s: float | None = None
    max_memory_bytes: int | None = None


class _Breach(NamedTuple):
    """A limit that a variant does not surely keep to."""

    sentence: str
    excess: float
    """How far the worse end of the interval is beyond the limit, as a share of the limit."""


class _Candidate(NamedTuple):
    """The figures of a variant that may be taken."""

    name: str
    decision: str
    screened: str
    """The screen's sentence."""
    contract: str
    """What keeps the contract from saying that it passes; empty where it passes, or there is none."""
    kl: Estimate
    perplexity_ratio: Figure
    top1_agreement: Figure
    size_bytes: int
    decode: Figure
    first_token: Figure
    memory_bytes: int | Missing
    decode_s: tuple[float, ...]
    tied_with: tuple[str, ...]


class _Best(NamedTuple):
    """The three steps from all passing candidates to one."""

    fastest: _Candidate | None
    """None if no decode speed was measured."""
    fast: tuple[_Candidate, ...]
    """Those that cannot be told apart from the fastest in decode speed; all, if none was measured."""
    least_kl: _Candidate
    """Of the fast ones."""
    tied: tuple[_Candidate, ...]
    """The fast ones that cannot be told apart from that in KL divergence."""
    chosen: _Candidate
    """The smallest file of these."""


def pick(run: RunResult, limits: Limits) -> Choice:
    """Choose a variant of a run; those that failed, that the screen discarded or that break the contract are never
    taken, nor is the engine floor.

    RecipeError: a limit that no figure could have.
    """
    _check(limits)
    weighed = [_candidate(variant) for variant in run.variants]
    rejected = [item for item in weighed if isinstance(item, Rejection)]
    candidates = [item for item in weighed if isinstance(item, _Candidate)]
    breaches = {candidate.name: _breaches(candidate, limits) for candidate in candidates}
    passing = [candidate for candidate in candidates if not breaches[candidate.name]]
    rejected += [
        Rejection(name=name, why="; ".join(b.sentence for b in found)) for name, found in breaches.items() if found
    ]
    origin = run.reference.provenance.statement
    if not passing:
        why, nearest = "no variant is inside every limit with its whole interval", _nearest_miss(breaches)
        return Choice(name=None, why=why, rejected=_in_order(run, rejected), nearest_miss=nearest, provenance=origin)
    best = _best(passing)
    rejected += [Rejection(name=c.name, why=_why_lost(c, best)) for c in passing if c is not best.chosen]
    return Choice(name=best.chosen.name, why=_why(best, passing), rejected=_in_order(run, rejected), provenance=origin)


def _check(limits: Limits) -> None:
    for name, limit in limits:
        if limit is not None and limit < 0 and name != "max_perplexity_increase_percent":
            raise RecipeError(f"{name}: {limit:g} is negative; give a limit of at least 0, or none")
    agreement = limits.min_top1_agreement
    if agreement is not None and agreement > 1:
        raise RecipeError(f"min_top1_agreement: {agreement:g} is not a share from 0 to 1; 95 % is written 0.95")


def _candidate(variant: VariantResult) -> _Candidate | Rejection:
    """The variant's figures, or why it is not even compared with the limits."""
    name, divergence = variant.name, variant.overall.divergence if variant.overall else None
    if name == FLOOR:
        return Rejection(name=name, why=NO_VARIANT)
    if variant.status == "failed":
        return Rejection(name=name, why=words.plain(f"failed: {variant.failure or 'no reason given'}"))
    if variant.verdict and variant.verdict.decision == "discard":
        return Rejection(name=name, why=words.plain(f"discarded by the screen: {variant.verdict.sentence}"))
    if variant.accuracy_control and variant.accuracy_control.verdict == "fail":
        return Rejection(name=name, why=words.plain(f"accuracy control: {summary(variant.accuracy_control)}"))
    if variant.scorecard and variant.scorecard.verdict.decision == "fail":
        return Rejection(name=name, why=words.plain(f"breaks the contract: {variant.scorecard.verdict.sentence}"))
    if variant.file is None or divergence is None:
        return Rejection(name=name, why="its KL divergence was not measured")
    if isinstance(divergence.kl_mean, Missing):
        return Rejection(name=name, why=f"its mean KL divergence is missing: {divergence.kl_mean.missing}")
    speed = variant.speed
    return _Candidate(
        name=name,
        decision=variant.verdict.decision if variant.verdict else "keep",
        screened=variant.verdict.sentence if variant.verdict else "",
        contract=_contract(variant),
        kl=divergence.kl_mean,
        perplexity_ratio=divergence.perplexity_ratio,
        top1_agreement=divergence.top1_agreement,
        size_bytes=variant.file.size_bytes,
        decode=speed.decode_tokens_per_s if isinstance(speed, Speed) else speed,
        first_token=speed.time_to_first_token_s if isinstance(speed, Speed) else speed,
        memory_bytes=speed.peak_memory_bytes if isinstance(speed, Speed) else speed,
        decode_s=speed.samples.decode_s if isinstance(speed, Speed) else (),
        tied_with=variant.tied_with,
    )


def _contract(variant: VariantResult) -> str:
    if variant.scorecard is None or variant.scorecard.verdict.decision == "pass":
        return ""
    verdict = variant.scorecard.verdict
    said = verdict.sentence if verdict.decision == "not evaluated" else f"{verdict.decision}: {verdict.sentence}"
    return words.plain(f"; by the contract it is {said}")


def _breaches(of: _Candidate, limits: Limits) -> tuple[_Breach, ...]:
    increase = _percent_increase(of.perplexity_ratio)
    found = (
        _above("mean KL divergence", of.kl, limits.max_kl, "nats"),
        _above("perplexity increase", increase, limits.max_perplexity_increase_percent, "%"),
        _below("top-1 agreement", of.top1_agreement, limits.min_top1_agreement, ""),
        _larger("file size", of.size_bytes, limits.max_size_bytes),
        _below("decode speed", of.decode, limits.min_decode_tokens_per_s, "tokens/s"),
        _above("time to first token", of.first_token, limits.max_time_to_first_token_s, "s"),
        _larger("peak memory", of.memory_bytes, limits.max_memory_bytes),
    )
    return tuple(breach for breach in found if breach)


def _above(title: str, figure: Figure, limit: float | None, unit: str) -> _Breach | None:
    if limit is None:
        return None
    if isinstance(figure, Missing):
        return _unknown(title, figure)
    if figure.high <= limit:
        return None
    return _breach(title, figure, limit, unit, "above" if figure.low > limit else None, figure.high - limit)


def _below(title: str, figure: Figure, limit: float | None, unit: str) -> _Breach | None:
    if limit is None:
        return None
    if isinstance(figure, Missing):
        return _unknown(title, figure)
    if figure.low >= limit:
        return None
    return _breach(title, figure, limit, unit, "below" if figure.high < limit else None, limit - figure.low)


def _breach(title: str, figure: Estimate, limit: float, unit: str, side: str | None, excess: float) -> _Breach:
    """A breach on one side of the limit, or undecided if the interval contains it."""
    found, line = f"{title} {words.bounds(figure, unit=unit)}", f"{limit:g} {unit}".strip()
    relative = excess / max(abs(limit), TINY)
    if side is None:
        return _Breach(f"undecided: the interval of {found} contains the limit of {line}", relative)
    return _Breach(f"{found} is {side} the limit of {line}", relative)


def _larger(title: str, size_bytes: int | Missing, limit: int | None) -> _Breach | None:
    if limit is None:
        return None
    if isinstance(size_bytes, Missing):
        return _unknown(title, size_bytes)
    if size_bytes <= limit:
        return None
    found, line = (f"{n:,} bytes ({words.mib(n)})" for n in (size_bytes, limit))
    sentence = f"{title} {found} is above the limit of {line}"
    return _Breach(sentence, (size_bytes - limit) / max(limit, TINY))


def _unknown(title: str, figure: Missing) -> _Breach:
    return _Breach(f"{title} is limited, but missing: {figure.missing}", math.inf)


def _percent_increase(ratio: Figure) -> Figure:
    if isinstance(ratio, Missing):
        return ratio
    value, low, high = (100 * (x - 1) for x in (ratio.value, ratio.low, ratio.high))
    return ratio.model_copy(update={"value": value, "low": low, "high": high, "unit": "%"})


def _nearest_miss(breaches: dict[str, tuple[_Breach, ...]]) -> str | None:
    worst = {name: max(breach.excess for breach in found) for name, found in breaches.items()}
    nearest = min(worst, key=lambda name: worst[name], default=None)
    return nearest if nearest is not None and worst[nearest] < math.inf else None


def _in_order(run: RunResult, rejected: Sequence[Rejection]) -> tuple[Rejection, ...]:
    order = [variant.name for variant in run.variants]
    return tuple(sorted(rejected, key=lambda rejection: order.index(rejection.name)))


def _best(passing: Sequence[_Candidate]) -> _Best:
    timed = [c for c in passing if c.decode_s]
    fastest = min(timed, key=lambda c: median(c.decode_s), default=None)
    fast = tuple(c for c in timed if not is_faster(fastest.decode_s, c.decode_s)) if fastest else tuple(passing)
    least_kl = min(fast, key=lambda c: (c.kl.value, c.size_bytes, c.name))
    tied = tuple(c for c in fast if c is least_kl or c.name in least_kl.tied_with)
    chosen = min(tied, key=lambda c: (c.size_bytes, c.kl.value, c.name))
    return _Best(fastest, fast, least_kl, tied, chosen)


def _why(best: _Best, passing: Sequence[_Candidate]) -> str:
    chosen, doubt = best.chosen, _doubt(best.chosen)
    if len(passing) == 1:
        return f"the only variant inside every limit{doubt}"
    parts = [f"{len(passing)} variants are inside every limit"]
    if best.fastest is None:
        parts.append("decode speed was not measured")
    elif len(best.fast) == 1:
        parts.append(f"{chosen.name} decodes fastest ({words.bounds(best.fastest.decode, unit='tokens/s')})")
    else:
        others = words.listed([c.name for c in best.fast if c is not best.fastest])
        parts.append(f"{best.fastest.name} decodes fastest, and {others} cannot be told apart from it")
    if len(best.fast) > 1:
        parts.append(f"of these {best.least_kl.name} has the smallest mean KL divergence ({_kl(best.least_kl)})")
    if len(best.tied) > 1:
        others = words.listed([c.name for c in best.tied if c is not best.least_kl])
        parts.append(f"{others} cannot be told apart from it in that; the smallest file is {chosen.name}'s")
    return "; ".join(parts) + doubt


def _doubt(chosen: _Candidate) -> str:
    """What the screen and the contract hold against a variant that may be taken."""
    if chosen.decision == "keep":
        return chosen.contract
    word = "suspect" if chosen.decision == "suspect" else "undecided (at a line)"
    return f"; but the perplexity screen calls it {word}: {chosen.screened}{chosen.contract}"


def _why_lost(lost: _Candidate, best: _Best) -> str:
    """Why a candidate inside every limit was not taken."""
    if best.fastest and lost not in best.fast:
        if not lost.decode_s:
            return "inside every limit, but its decode speed was not measured"
        ratio = words.bounds(speed_ratio(lost.decode_s, best.fastest.decode_s))
        return f"inside every limit, but slower: it decodes at {ratio} times the speed of {best.fastest.name}"
    if lost not in best.tied:
        least = f"{best.least_kl.name}'s {_kl(best.least_kl)}"
        return f"inside every limit, but its mean KL divergence {_kl(lost)} is above {least}"
    if lost.size_bytes == best.chosen.size_bytes:
        return f"inside every limit, but neither faster, closer to the reference nor smaller than {best.chosen.name}"
    sizes = f"{words.mib(lost.size_bytes)}, not {words.mib(best.chosen.size_bytes)}"
    return f"inside every limit, but its file is larger than {best.chosen.name}'s: {sizes}"


def _kl(candidate: _Candidate) -> str:
    return words.bounds(candidate.kl, unit="nats")
