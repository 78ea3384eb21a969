"""Weight compression by NNCF; everything here runs inside a child process (see child.py).

Variants that optimum-intel's OVWeightQuantizationConfig can describe go through it, so that the folder says what it
holds in the form that optimum-intel reads; the others go to nncf.compress_weights as they are.

NNCF reads what is at its `statistics_path` whatever it was collected on, and writes that path into the graph
(nncf/openvino/quantization/quantize_model.py, compress_weights_impl): the path is of an artifact whose key has the
calibration set's hash, and it is taken out of the graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nncf
import openvino as ov
from nncf.common.factory import build_graph
from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
from nncf.quantization.statistics_caching import cache_weight_compression_statistics
from optimum.intel import OVConfig, OVWeightQuantizationConfig

from quantcurve.engines.base import Tokens
from quantcurve.engines.openvino_graphs import refusals, unpin_cache
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.engines.openvino_layers import Layer, layers, rule_of_constant
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from quantcurve.weight_formats import INT8, METHODS, UNCOMPRESSED

OPTIMUM = {
    "INT8_ASYM": ("int8", False),
    "INT8_SYM": ("int8", True),
    "INT4_ASYM": ("int4", False),
    "INT4_SYM": ("int4", True),
    "NF4": ("nf4", False),
    "CB4": ("cb4", False),
    "MXFP4": ("mxfp4", False),
}
"""Formats that optimum-intel has a configuration for: the type it gives them, and whether they are symmetric."""
OPTIMUM_BACKUPS = (None, "none", "int8_sym", "int8_asym")
WEIGHTED = frozenset({"MatMul", "Gather", "Convolution", "GroupConvolution"})
"""Operations that NNCF looks for weights at."""
LOG_COLUMNS = "120"
"""Width of what NNCF prints, whatever the terminal is: stages.ir_check reads it."""
ADVANCED = ["nncf", "weight_compression", "advanced_parameters"]


class Calibrated(NamedTuple):
    """What a variant is calibrated on."""

    windows: Tokens
    """(n, T)."""
    statistics: Path | None
    """Folder of what `collect` measured on them; None: NNCF measures what the variant needs."""


def collect(source: Path, target: Path, windows: Tokens) -> None:
    """Measure the activations of an IR once for all variants: what AWQ, scale estimation, LoRA correction and every
    sensitivity metric need of all layers but the head and the embedding.

    Args:
        source: folder with the uncompressed IR.
        target: folder for the statistics.
        windows: calibration tokens (n, T).

    Raises:
        ModelFileError: the source is cut short or no IR.
        BackendError: NNCF or OpenVINO failed, or the model has inputs that are none of a language model's.
    """
    check_weights(source)
    with refusals(f"statistics: NNCF cannot collect them on {source / MODEL}"):
        model = remove_friendly_name_duplicates(ov.Core().read_model(source / MODEL))
        dataset = dataset_of(model, source, windows)
        cache_weight_compression_statistics(model, build_graph(model), dataset, len(windows), target)


def compress(
    source: Path, target: Path, variant: OpenVinoVariant, calibrated: Calibrated | None, halve: bool = False
) -> None:
    """Write a variant of an IR into a folder; its KV cache is left to the device.

    Args:
        source: folder with the uncompressed IR.
        target: folder, there already.
        variant: what to do.
        calibrated: what on, if the variant needs it.
        halve: store what is left uncompressed as float16.

    Raises:
        ModelFileError: the source is cut short or no IR.
        RecipeError: a rule for single layers matches none.
        BackendError: NNCF refused, OpenVINO failed, or the model to calibrate has inputs that are none of a language
            model's.
    """
    check_weights(source)
    os.environ["COLUMNS"] = LOG_COLUMNS
    with refusals(f"{variant.label}: OpenVINO cannot read {source / MODEL}"):
        model = ov.Core().read_model(source / MODEL)
    if variant.weights not in UNCOMPRESSED:
        with refusals(f"{variant.label}: NNCF cannot compress it"):
            model = _compressed(model, source, variant, calibrated)
    unpin_cache(model)
    with refusals(f"{variant.label}: the IR cannot be written"):
        ov.save_model(model, target / MODEL, compress_to_fp16=halve or variant.weights == "F16")
        if is_described(variant) and not variant.layers:
            OVConfig(quantization_config=optimum_configuration(variant, _count(calibrated))).save_pretrained(target)


def _compressed(model: Any, source: Path, variant: OpenVinoVariant, calibrated: Calibrated | None) -> Any:
    dataset = dataset_of(model, source, calibrated.windows) if calibrated else None
    own, *rules = passes(model, layers(source), variant, _count(calibrated))
    if calibrated and calibrated.statistics:
        own["advanced_parameters"].statistics_path = str(calibrated.statistics)
    model = nncf.compress_weights(model, dataset=dataset, **own)
    if calibrated and calibrated.statistics:
        told = model.get_rt_info(ADVANCED).astype(str)
        model.set_rt_info(told.replace(repr(str(calibrated.statistics)), "None"), ADVANCED)
    for arguments in rules:
        model = nncf.compress_weights(model, **arguments)
    return model


def dataset_of(model: Any, source: Path, windows: Tokens) -> nncf.Dataset:
    """Calibration windows (n, T) as NNCF takes them, one sequence a sample; it resets the KV cache before each."""
    names = input_names(model)
    return nncf.Dataset([feed(source, names, w[None], 0) for w in windows])


def _count(calibrated: Calibrated | None) -> int | None:
    return None if calibrated is None else len(calibrated.windows)


def passes(
    model: Any, found: Sequence[Layer], variant: OpenVinoVariant, samples: int | None
) -> Iterator[dict[str, Any]]:
    """Arguments of one nncf.compress_weights call after the other: the variant's own for the layers that no rule
    names, then one for each rule. NNCF has no map from layers to formats.

    The rules come last, so that activations are measured on the uncompressed model. A call is told to ignore all that
    is not its own: NNCF takes FP8 weights for uncompressed ones (nncf/quantization/algorithms/weight_compression/
    algorithm.py, SUPPORTED_DATA_TYPES).

    Args:
        model: uncompressed.
        found: its layers.
        variant: what to do.
        samples: number of calibration windows, if there are any; they are for the first call.

    Raises:
        RecipeError: a rule matches no layer.
    """
    rules = rule_of_constant(found, variant.layers)
    every = [op.get_friendly_name() for op in model.get_ops() if op.get_type_name() in WEIGHTED]
    yield own_arguments(variant, samples) | _without([layer.node for layer in found if layer.constant in rules])
    for rule in variant.layers:
        own = {layer.node for layer in found if rules.get(layer.constant) == rule}
        if own and rule.weights not in UNCOMPRESSED:
            yield rule_arguments(rule, variant) | _without([node for node in every if node not in own])


def _without(nodes: Sequence[str]) -> dict[str, Any]:
    return {"ignored_scope": nncf.IgnoredScope(names=list(nodes), validate=False)} if nodes else {}


def is_described(variant: OpenVinoVariant) -> bool:
    """Whether optimum-intel has a configuration for a variant
    (optimum/intel/openvino/configuration.py, OVWeightQuantizationConfig.post_init)."""
    return variant.mode in OPTIMUM and variant.backup in OPTIMUM_BACKUPS


def optimum_configuration(variant: OpenVinoVariant, samples: int | None) -> OVWeightQuantizationConfig:
    """A variant as optimum-intel describes it, without its rules for single layers.

    Args:
        variant: one that `is_described`.
        samples: number of calibration windows, if there are any; optimum-intel would take 128 at most.
    """
    dtype, symmetric = OPTIMUM[variant.mode]
    return OVWeightQuantizationConfig(
        bits=8 if dtype == "int8" else 4,
        dtype=dtype,
        sym=symmetric,
        group_size=variant.group_size,
        ratio=1.0 if variant.ratio is None else variant.ratio,
        all_layers=variant.all_layers or None,
        sensitivity_metric=variant.sensitivity,
        quant_method="awq" if variant.awq else "default",
        scale_estimation=variant.scale_estimation or None,
        gptq=variant.gptq or None,
        lora_correction=variant.lora_correction or None,
        backup_precision=variant.backup,
        num_samples=samples,
        group_size_fallback=None if dtype == "int8" else variant.group_size_fallback,
    )


def own_arguments(variant: OpenVinoVariant, samples: int | None) -> dict[str, Any]:
    """Arguments of nncf.compress_weights for the layers that no rule names.

    Args:
        variant: what to do.
        samples: number of calibration windows, if there are any; all are used.
    """
    arguments: dict[str, Any]
    if is_described(variant):
        arguments = optimum_configuration(variant, samples).to_nncf_dict()
        arguments.pop("weight_only", None)
    else:
        arguments = {
            "mode": nncf.CompressWeightsMode(variant.mode.lower()),
            "ratio": variant.ratio,
            "group_size": variant.group_size,
            "all_layers": variant.all_layers or None,
            "sensitivity_metric": nncf.SensitivityMetric(variant.sensitivity) if variant.sensitivity else None,
            "backup_mode": nncf.BackupMode(variant.backup) if variant.backup else None,
            **{method: True for method in METHODS if getattr(variant, method)},
        }
    if variant.weights not in INT8:
        arguments["advanced_parameters"] = _advanced(variant, samples)
    return arguments | ({"subset_size": samples} if samples else {})


def rule_arguments(rule: LayerRule, variant: OpenVinoVariant) -> dict[str, Any]:
    """Arguments of nncf.compress_weights for the layers of one rule, the head and the embedding among them."""
    arguments: dict[str, Any] = {"mode": nncf.CompressWeightsMode(rule.weights.lower())}
    if rule.weights in INT8:
        return arguments
    arguments["advanced_parameters"] = _advanced(variant, None)
    arguments["group_size"] = rule.group_size
    arguments["all_layers"] = True
    if variant.backup and rule.weights == variant.mode:
        arguments["backup_mode"] = nncf.BackupMode(variant.backup)
    return arguments


def _advanced(variant: OpenVinoVariant, samples: int | None) -> nncf.AdvancedCompressionParameters:
    """GPTQ has a number of windows of its own, 128 if it is not told; the other methods work on what was collected."""
    return nncf.AdvancedCompressionParameters(
        group_size_fallback_mode=nncf.GroupSizeFallbackMode(variant.group_size_fallback),
        gptq_params=nncf.AdvancedGPTQParameters(subset_size=samples) if samples else nncf.AdvancedGPTQParameters(),
    )
