"""What is said of OpenVINO variants: tokenizers, how the device ran them, where their loss is from, latency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.latency_records import Agreement, VariantLatency
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import OpenVinoEffective
from quantcurve.report import words
from quantcurve.report.rows import kl_mean
from quantcurve.results import LossSplit, RunResult, VariantResult


def openvino_sentences(run: RunResult) -> tuple[str, ...]:
    """For each OpenVINO variant: the configuration as read back, then the split of its loss."""
    if run.openvino is None:
        return ()
    variants = [v for v in run.variants if v.engine == "OpenVINO"]
    sentences = [
        f"By {run.openvino.name} {run.openvino.version}.",
        *_tokenizers(run),
        *_floor(variants, run.reference.name),
    ]
    sentences += [s for v in variants for s in _of_variant(v)]
    sentences += _latency(variants)
    return tuple(words.plain(s) for s in sentences)


def _tokenizers(run: RunResult) -> Iterator[str]:
    if agreed := run.tokenizers:
        yield (
            f"The tokenizers of {words.listed(agreed.lanes)} give the same ids on the {len(run.texts)} texts and "
            f"{agreed.strings - len(run.texts)} adversarial strings ({agreed.tokens:,} tokens)."
        )


def _floor(variants: Sequence[VariantResult], reference: str) -> Iterator[str]:
    floor = next((v for v in variants if v.name == FLOOR), None)
    kl = kl_mean(floor.overall) if floor else None
    if floor is None or not isinstance(kl, Estimate):
        return
    bounds = f"{kl.value:.2g} [{kl.low:.2g}, {kl.high:.2g}] nats"
    if floor.weights_from == "reference":
        yield (
            f"Engine floor: {FLOOR} is the reference's weights in float32, run exactly; its KL divergence of {bounds} "
            "is what the two engines differ by."
        )
    else:
        yield (
            f"Engine floor: {FLOOR} is the model's folder in float32, run exactly, since transformers does not read "
            f"the reference's file; its KL divergence of {bounds} is what the two engines differ by and what the "
            f"reference's rounding to {reference} costs."
        )
    yield "It is no variant to choose: it stands on no front, and pick leaves it out."


def _latency(variants: Sequence[VariantResult]) -> Iterator[str]:
    """Whether a direct loop on the deployed model says the same as benchmark_app, and where it does not."""
    every = [_Check(v.name, *c) for v in variants for c in _checks(v)]
    checked = [c for c in every if isinstance(c.ratio, Estimate)]
    if checked:
        agreeing = sum(c.agreement == "agrees" for c in checked)
        yield (
            f"benchmark_app agrees with a direct loop on the deployed model in {agreeing} of {len(checked)} latencies "
            "(the interval of the ratio meets [0.9, 1.1] and is no wider than 10 % of the ratio)."
        )
    for check in checked:
        if check.agreement != "agrees":
            what = f"{check.variant}, {check.what}"
            yield f"{what}: {check.agreement}: benchmark_app over the direct loop {words.bounds(check.ratio)}."
    yield from _not_checked(every)


def _not_checked(checks: Sequence[_Check]) -> Iterator[str]:
    """One sentence for each reason."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for check in checks:
        if isinstance(check.ratio, Missing):
            names[check.ratio.missing][check.variant] = None
    for reason, who in names.items():
        listed = words.listed(tuple(who))
        yield f"{listed}: latency is not checked against a direct loop on the deployed model: {reason}."


class _Check(NamedTuple):
    """A latency by benchmark_app over the same by the direct loop."""

    variant: str
    what: str
    ratio: Figure
    agreement: Agreement


def _checks(variant: VariantResult) -> Iterator[tuple[str, Figure, Agreement]]:
    if isinstance(variant.latency, VariantLatency):
        for c in variant.latency.contexts:
            yield f"prefill of {c.context_tokens} tokens", c.prefill_ratio_to_direct_loop, c.prefill_agreement
            yield f"decoding at {c.context_tokens} tokens", c.ratio_to_direct_loop, c.agreement


def _of_variant(variant: VariantResult) -> Iterator[str]:
    config, split = variant.scoring_config, variant.loss_split
    if isinstance(config, OpenVinoEffective):
        yield f"{variant.name}: {_setting(config)}."
    if isinstance(split, Missing):
        yield f"{variant.name}: the loss was not split: {split.missing}"
    if isinstance(split, LossSplit):
        yield (
            f"{variant.name} on {split.windows} windows: KL divergence {words.bounds(split.kl_deployed, unit='nats')}; "
            f"weights {words.bounds(split.kl_weights)}, activations {words.bounds(split.kl_activations)}, KV cache "
            f"{words.bounds(split.kl_cache)}, interaction {words.bounds(split.kl_interaction)}"
        )


def _setting(config: OpenVinoEffective) -> str:
    mode = f"{config.execution_mode.lower()} mode" if config.execution_mode else f"mode {words.NOT_TOLD}"
    arithmetic = f"{config.inference_precision} arithmetic" if config.inference_precision else "arithmetic not told"
    key, value = words.told(config.key_cache_precision), words.told(config.value_cache_precision)
    cache = key if key == value else f"K {key}, V {value}"
    return f"{mode}, {arithmetic}, {_activations(config)}, KV cache {cache}"


def _activations(config: OpenVinoEffective) -> str:
    match config.activations:
        case "quantised":
            return f"activations quantised in groups of {words.told(config.dynamic_quantization_group)}"
        case "partly quantised":
            return f"activations of some layers quantised in groups of {words.told(config.dynamic_quantization_group)}"
        case "float":
            return "activations not quantised"
        case "measured ranges":
            return "activations quantised in measured ranges"
        case "not applicable":
            return "activations not quantised since no weights are integers"
        case None:
            return f"whether activations are quantised {words.NOT_TOLD}"
