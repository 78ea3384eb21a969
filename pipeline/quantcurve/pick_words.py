"""Why one variant was taken and another was not, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from quantcurve.estimates import Missing
from quantcurve.pick_order import Best
from quantcurve.pick_records import Limits, RunnerUp
from quantcurve.pick_weigh import Candidate
from quantcurve.report import words
from quantcurve.results import VariantResult
from quantcurve.stages.frontier import speed_ratio


def why(best: Best, passing: Sequence[Candidate], next_one: RunnerUp | None, limits: Limits) -> str:
    """Why one was taken; the first sentence tells if the next one cannot be told apart from it."""
    chosen, doubt = best.chosen, _doubt(best.chosen.variant)
    if next_one is None:
        return f"the only variant that is {_inside(limits)}{doubt}"
    parts = [f"{len(passing)} variants are {_inside(limits)}"]
    if best.fastest is None:
        parts.append("decode speed was not measured")
    elif len(best.fast) == 1:
        parts.append(f"of these {chosen.name} decodes fastest ({words.bounds(best.fastest.decode, unit='tokens/s')})")
    else:
        others = words.listed([c.name for c in best.fast if c is not best.fastest])
        parts.append(f"of these {best.fastest.name} decodes fastest, and {others} cannot be told apart from it")
    if len(best.fast) > 1:
        parts.append(f"among them {best.least_kl.name} has the smallest mean KL divergence ({_kl(best.least_kl)})")
    if len(best.tied) > 1:
        others = words.listed([c.name for c in best.tied if c is not best.least_kl])
        parts.append(f"{others} cannot be told apart from it in that; the smallest file is {chosen.name}'s")
    return _same(chosen.name, next_one) + "; ".join(parts) + doubt


def why_lost(lost: Candidate, best: Best) -> str:
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


def why_none(weighed: Sequence[Candidate], limits: Limits) -> str:
    """Why nothing was taken."""
    if weighed or limits.target is None:
        return "no variant is inside every limit with its whole interval"
    if limits.target == "llama.cpp":
        return "no variant is for the target llama.cpp: the run measured no GGUF file"
    return f"no variant is for the target {limits.target}: the run measured no OpenVINO model on one"


def _inside(limits: Limits) -> str:
    if any(limit is not None for _, limit in limits):
        return "inside every limit"
    return "not ruled out"


def _same(chosen: str, next_one: RunnerUp) -> str:
    if next_one.apart:
        return ""
    smaller = f"{chosen} is taken, whose file is {abs(next_one.size_difference_bytes) / words.MIB:.1f} MiB smaller"
    taken = smaller if next_one.size_difference_bytes > 0 else f"{chosen} is taken"
    speed = "" if isinstance(next_one.speed_ratio, Missing) else " or in decode speed"
    return f"{chosen} and {next_one.name} cannot be told apart in mean KL divergence{speed}: {taken}. "


def _doubt(chosen: VariantResult) -> str:
    """What the screen and the contract hold against a variant that may be taken."""
    contract, verdict = _contract(chosen), chosen.verdict
    if verdict is None or verdict.decision == "keep":
        return contract
    word = "suspect" if verdict.decision == "suspect" else "undecided (at a line)"
    return f"; but the perplexity screen calls it {word}: {verdict.sentence}{contract}"


def _contract(variant: VariantResult) -> str:
    """What keeps the contract from saying that it passes; empty where it passes, or there is none."""
    if variant.scorecard is None or variant.scorecard.verdict.decision == "pass":
        return ""
    verdict = variant.scorecard.verdict
    said = verdict.sentence if verdict.decision == "not evaluated" else f"{verdict.decision}: {verdict.sentence}"
    return words.plain(f"; by the contract it is {said}")


def _kl(candidate: Candidate) -> str:
    return words.bounds(candidate.kl, unit="nats")
