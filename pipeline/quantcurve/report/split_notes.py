"""What is said of OpenVINO variants: how the device ran them, and where their loss comes from."""

from __future__ import annotations

from collections.abc import Iterator

from quantcurve.records import OpenVinoEffective
from quantcurve.report import words
from quantcurve.results import LossSplit, Missing, RunResult, VariantResult


def openvino_sentences(run: RunResult) -> tuple[str, ...]:
    """For each OpenVINO variant: the configuration as read back, then the split of its loss."""
    if run.openvino is None:
        return ()
    sentences = [f"By {run.openvino.name} {run.openvino.version}."]
    sentences += [s for v in run.variants if v.engine == "OpenVINO" for s in _of_variant(v)]
    return tuple(words.plain(s) for s in sentences)


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
    group = config.dynamic_quantization_group
    activations = f"activations quantised in groups of {group}" if group else "activations not quantised"
    same = config.key_cache_precision == config.value_cache_precision
    cache = config.key_cache_precision if same else f"K {config.key_cache_precision}, V {config.value_cache_precision}"
    mode = config.execution_mode.lower()
    return f"{mode} mode, {config.inference_precision} arithmetic, {activations}, KV cache {cache}"
