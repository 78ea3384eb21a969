"""The figures of a variant that may be taken, and the limits that it does not surely keep to."""

from __future__ import annotations

import math
from typing import NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.pick_contract import Breach, Kind, never_taken, relative
from quantcurve.pick_recipe import Entries
from quantcurve.pick_records import Limits, Rejection, Target
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import OpenVinoEffective
from quantcurve.report import words
from quantcurve.results import Speed, VariantResult

NO_VARIANT = "the reference's weights run exactly by OpenVINO: a measure of how far the engines differ, no variant"
GPU_NAMES = ("GPU", "Graphics")
NPU_NAMES = ("NPU", "AI Boost")
"""In the full names that OpenVINO gives devices."""


class Candidate(NamedTuple):
    """The figures of a variant that may be taken."""

    variant: VariantResult
    kl: Estimate
    perplexity_ratio: Figure
    top1_agreement: Figure
    size_bytes: int
    decode: Figure
    first_token: Figure
    memory_bytes: int | Missing
    decode_s: tuple[float, ...]
    breaches: tuple[Breach, ...] = ()

    @property
    def name(self) -> str:
        """Of the variant."""
        return self.variant.name

    @property
    def worst_excess(self) -> float:
        """Over any limit, relative to it; negative: there is none."""
        excesses = [math.inf if math.isnan(breach.excess) else breach.excess for breach in self.breaches]
        return max(excesses, default=-math.inf)


def weigh(variant: VariantResult, limits: Limits, entries: Entries) -> Candidate | Rejection:
    """A variant with what keeps it from being taken, or why it is not even compared with the limits."""
    name, divergence = variant.name, variant.overall.divergence if variant.overall else None
    if name == FLOOR:
        return Rejection(name=name, why=NO_VARIANT)
    if variant.status == "failed":
        return Rejection(name=name, why=words.plain(f"failed: {variant.failure or 'no reason given'}"))
    if other := _other_target(variant, limits.target, entries):
        return Rejection(name=name, why=other)
    never = tuple(never_taken(variant, entries.recipe))
    if variant.file is None or divergence is None or isinstance(divergence.kl_mean, Missing):
        missing = divergence.kl_mean if divergence else None
        why = f"mean KL divergence is missing: {missing.missing}" if isinstance(missing, Missing) else ""
        said = [b.sentence for b in never] or [f"its {why or 'KL divergence was not measured'}"]
        return Rejection(name=name, why="; ".join(said))
    speed = variant.speed
    found = Candidate(
        variant=variant,
        kl=divergence.kl_mean,
        perplexity_ratio=divergence.perplexity_ratio,
        top1_agreement=divergence.top1_agreement,
        size_bytes=variant.file.size_bytes,
        decode=speed.decode_tokens_per_s if isinstance(speed, Speed) else speed,
        first_token=speed.time_to_first_token_s if isinstance(speed, Speed) else speed,
        memory_bytes=speed.peak_memory_bytes if isinstance(speed, Speed) else speed,
        decode_s=speed.samples.decode_s if isinstance(speed, Speed) else (),
    )
    return found._replace(breaches=never + _breaches(found, limits))


def device_of(variant: VariantResult, entries: Entries) -> str:
    """Kind of device that an OpenVINO variant ran on: cpu, gpu or npu."""
    entry = entries.openvino.get(variant.name)
    named = entry.runtime.device.partition(".")[0].lower() if entry else ""
    if named in {"cpu", "gpu", "npu"}:
        return named
    config = variant.scoring_config
    device = config.device if isinstance(config, OpenVinoEffective) else ""
    if any(word in device for word in GPU_NAMES):
        return "gpu"
    return "npu" if any(word in device for word in NPU_NAMES) else "cpu"


def _other_target(variant: VariantResult, target: Target | None, entries: Entries) -> str | None:
    """Why a variant is not for the target; None if it is."""
    if target is None or (target == "llama.cpp" and variant.engine == "llama.cpp"):
        return None
    if target == "llama.cpp":
        return "not for the target llama.cpp: it is an OpenVINO model"
    if variant.engine == "llama.cpp":
        return f"not for the target {target}: it is a GGUF file for llama.cpp, and {target} takes OpenVINO models"
    device = device_of(variant, entries)
    if device == target:
        return None
    return f"not for the target {target}: it was measured on the {device.upper()} only"


def _breaches(of: Candidate, limits: Limits) -> tuple[Breach, ...]:
    increase = _percent_increase(of.perplexity_ratio)
    found = (
        _above("quality", "mean KL divergence", of.kl, limits.max_kl, "nats"),
        _above("quality", "perplexity increase", increase, limits.max_perplexity_increase_percent, "%"),
        _below("quality", "top-1 agreement", of.top1_agreement, limits.min_top1_agreement, ""),
        _larger("size", "file size", of.size_bytes, limits.max_size_bytes),
        _below("speed", "decode speed", of.decode, limits.min_decode_tokens_per_s, "tokens/s"),
        _above("speed", "time to first token", of.first_token, limits.max_time_to_first_token_s, "s"),
        _larger("memory", "peak memory", of.memory_bytes, limits.max_memory_bytes),
    )
    return tuple(breach for breach in found if breach)


def _above(kind: Kind, title: str, figure: Figure, limit: float | None, unit: str) -> Breach | None:
    if limit is None:
        return None
    if isinstance(figure, Missing):
        return _unknown(kind, title, figure)
    if figure.high <= limit:
        return None
    side = "above" if figure.low > limit else None
    return Breach(kind, _sentence(title, figure, limit, unit, side), relative(figure.high - limit, limit))


def _below(kind: Kind, title: str, figure: Figure, limit: float | None, unit: str) -> Breach | None:
    if limit is None:
        return None
    if isinstance(figure, Missing):
        return _unknown(kind, title, figure)
    if figure.low >= limit:
        return None
    side = "below" if figure.high < limit else None
    return Breach(kind, _sentence(title, figure, limit, unit, side), relative(limit - figure.low, limit))


def _sentence(title: str, figure: Estimate, limit: float, unit: str, side: str | None) -> str:
    """A breach on one side of the limit, or undecided if the interval contains it."""
    found, line = f"{title} {words.bounds(figure, unit=unit)}", f"{limit:g} {unit}".strip()
    if side is None:
        return f"undecided: the interval of {found} contains the limit of {line}"
    return f"{found} is {side} the limit of {line}"


def _larger(kind: Kind, title: str, size_bytes: int | Missing, limit: int | None) -> Breach | None:
    if limit is None:
        return None
    if isinstance(size_bytes, Missing):
        return _unknown(kind, title, size_bytes)
    if size_bytes <= limit:
        return None
    found, line = (f"{n:,} bytes ({words.mib(n)})" for n in (size_bytes, limit))
    return Breach(kind, f"{title} {found} is above the limit of {line}", relative(size_bytes - limit, limit))


def _unknown(kind: Kind, title: str, figure: Missing) -> Breach:
    return Breach(kind, f"{title} is limited, but missing: {figure.missing}", math.inf)


def _percent_increase(ratio: Figure) -> Figure:
    if isinstance(ratio, Missing):
        return ratio
    value, low, high = (100 * (x - 1) for x in (ratio.value, ratio.low, ratio.high))
    return ratio.model_copy(update={"value": value, "low": low, "high": high, "unit": "%"})
