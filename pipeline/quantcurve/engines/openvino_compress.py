"""Weight compression by NNCF; everything here runs inside a child process (see child.py).

Options that optimum-intel's OVWeightQuantizationConfig has go through it, so that the folder says what it holds in the
form that optimum-intel reads; the others go to nncf.compress_weights as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
from optimum.intel import OVConfig, OVWeightQuantizationConfig

from quantcurve.engines.base import Tokens
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.errors import BackendError, RecipeError
from quantcurve.recipe_openvino import UNCOMPRESSED, LayerRule, OpenVinoVariant

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
REFUSALS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(e for e in vars(nncf.errors).values() if isinstance(e, type) and issubclass(e, Exception)),
)
CACHE_PRECISION = ["runtime_options", "KV_CACHE_PRECISION"]


def compress(source: Path, target: Path, variant: OpenVinoVariant, windows: Tokens | None, statistics: Path) -> None:
    """Write a variant of an IR into a folder.

    Args:
        source: folder with the uncompressed IR.
        target: folder, there already.
        variant: what to do.
        windows: calibration tokens (n, T), if the variant needs any.
        statistics: folder for the statistics that NNCF collects on them; of these windows and this model only.

    Raises:
        ModelFileError: the source is cut short or no IR.
        RecipeError: a rule for single layers matches none.
        BackendError: NNCF refused, or the model to calibrate has inputs that are none of a language model's.
    """
    check_weights(source)
    model = ov.Core().read_model(source / MODEL)
    if variant.weights in UNCOMPRESSED:
        ov.save_model(model, target / MODEL, compress_to_fp16=variant.weights == "F16")
        return
    names = input_names(model)
    dataset = nncf.Dataset([feed(source, names, w[None], 0) for w in windows]) if windows is not None else None
    calls = list(passes(model, variant, statistics if dataset else None))
    try:
        for arguments in calls:
            model = nncf.compress_weights(model, dataset=dataset if arguments is calls[-1] else None, **arguments)
    except REFUSALS as error:
        raise BackendError(f"{variant.label}: NNCF cannot compress it: {str(error).strip()}") from error
    unpin_cache(model)
    ov.save_model(model, target / MODEL, compress_to_fp16=False)
    if variant.mode in OPTIMUM and not variant.layers:
        OVConfig(quantization_config=optimum_configuration(variant)).save_pretrained(target)


def passes(model: Any, variant: OpenVinoVariant, statistics: Path | None) -> Iterator[dict[str, Any]]:
    """Arguments of one nncf.compress_weights call after the other: one for each rule, then the variant's own for the
    rest. NNCF has no map from layers to formats; a call leaves alone what an earlier one did.

    Raises:
        RecipeError: a rule matches no layer.
    """
    layers = layer_names(model)
    assigned = assign(list(layers.values()), variant.layers)
    for rule in variant.layers:
        if rule.weights not in UNCOMPRESSED:
            others = [node for node, name in layers.items() if assigned.get(name) != rule]
            yield plain_arguments(rule.weights, rule.group_size, variant, others)
    kept = [node for node, name in layers.items() if name in assigned and assigned[name].weights in UNCOMPRESSED]
    arguments = _optimum_arguments(variant, statistics) if variant.mode in OPTIMUM else None
    if arguments is None:
        arguments = plain_arguments(variant.mode, variant.group_size, variant, kept)
    elif kept:
        arguments["ignored_scope"] = nncf.IgnoredScope(names=kept, validate=False)
    yield arguments


def optimum_configuration(variant: OpenVinoVariant, statistics: Path | None = None) -> OVWeightQuantizationConfig:
    """A variant as optimum-intel describes it, without its rules for single layers."""
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
        statistics_path=str(statistics) if statistics else None,
        group_size_fallback=None if dtype == "int8" else variant.group_size_fallback,
    )


def _optimum_arguments(variant: OpenVinoVariant, statistics: Path | None) -> dict[str, Any]:
    arguments = optimum_configuration(variant, statistics).to_nncf_dict()
    return {name: value for name, value in arguments.items() if name != "weight_only"}


def plain_arguments(
    mode: str, group_size: int | None, variant: OpenVinoVariant, ignored: Sequence[str]
) -> dict[str, Any]:
    """Arguments of nncf.compress_weights for one format, all layers but the ignored ones."""
    arguments: dict[str, Any] = {"mode": nncf.CompressWeightsMode(mode.lower())}
    if ignored:
        arguments["ignored_scope"] = nncf.IgnoredScope(names=list(ignored), validate=False)
    if mode.startswith("INT8"):
        return arguments
    fallback = nncf.GroupSizeFallbackMode(variant.group_size_fallback)
    arguments["advanced_parameters"] = nncf.AdvancedCompressionParameters(group_size_fallback_mode=fallback)
    arguments["group_size"] = group_size
    arguments["all_layers"] = True
    if variant.backup and mode == variant.mode:
        arguments["backup_mode"] = nncf.BackupMode(variant.backup)
    return arguments


def layer_names(model: Any) -> dict[str, str]:
    """Names of the layers that hold weights, by the graph's names of their operations:
    `__module.model.layers.0.mlp.up_proj/ov_ext::linear/MatMul` is `model.layers.0.mlp.up_proj`."""
    found = {}
    for node in model.get_ops():
        if node.get_type_name() not in {"MatMul", "Gather"}:
            continue
        name = node.get_friendly_name()
        if name.startswith("__module."):
            found[name] = name.removeprefix("__module.").partition("/")[0]
    return found


def assign(names: Sequence[str], rules: Sequence[LayerRule]) -> dict[str, LayerRule]:
    """The rule of every layer that one matches; the first one wins.

    Raises:
        RecipeError: a rule matches none, or earlier ones take all that it matches.
    """
    taken: dict[str, LayerRule] = {}
    for rule in rules:
        pattern = re.compile(rule.match)
        matched = [name for name in dict.fromkeys(names) if pattern.fullmatch(name)]
        if not matched:
            some = ", ".join(list(dict.fromkeys(names))[:3])
            raise RecipeError(
                f"layer rule {rule.match!r} ({rule.weights}) matches none of the model's {len(set(names))} layers; it "
                f"must match a layer's whole name, such as {some}"
            )
        if all(name in taken for name in matched):
            raise RecipeError(
                f"layer rule {rule.match!r} ({rule.weights}) is never reached: its {len(matched)} layers "
                f"({matched[0]} ...) all go to earlier rules; the first match wins: move it up or take it out"
            )
        taken |= {name: rule for name in matched if name not in taken}
    return taken


def unpin_cache(model: Any) -> None:
    """An uncompressed export asks for a float16 KV cache; without that a device takes its own, as optimum-intel leaves
    it after compression (optimum/intel/openvino/quantization.py, _remove_f16_kv_cache_precision_flag)."""
    if model.has_rt_info(CACHE_PRECISION):
        options = model.rt_info["runtime_options"]
        kept = {name: value.astype(str) for name, value in options.items() if name != CACHE_PRECISION[1]}
        model.set_rt_info(kept, ["runtime_options"])
