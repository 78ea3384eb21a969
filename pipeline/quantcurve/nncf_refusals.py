"""What NNCF 3.4 would refuse of a variant after it loaded the model, said before: from the recipe alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quantcurve.weight_formats import FLOATS, GROUP_SIZES, INT8, METHODS, MICROSCALING, STATIC, UNCOMPRESSED

if TYPE_CHECKING:
    from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant

CHOICES = ("group_size", "ratio", "backup", "sensitivity")
"""Options of a variant that are None unless the recipe gives them."""


def refusal(variant: OpenVinoVariant) -> str | None:
    """Why NNCF would refuse a variant, or leave out what it asks for without a word; None where it does neither
    (nncf/quantization/quantize_model.py, compress_weights; algorithms/weight_compression/algorithm.py,
    check_user_compression_configuration; lora_correction.py, calculate_low_rank_matrices)."""
    return (
        _option_refusal(variant)
        or _static_refusal(variant)
        or _method_refusal(variant)
        or _group_refusal(variant.weights, variant.group_size, variant.group_size_fallback)
        or _mixture_refusal(variant)
        or next((said for rule in variant.layers if (said := _rule_refusal(rule, variant))), None)
    )


def _option_refusal(variant: OpenVinoVariant) -> str | None:
    options = [n for n in METHODS if getattr(variant, n)]
    options += [n for n in CHOICES if getattr(variant, n) is not None]
    options += ["all_layers"] * variant.all_layers
    if variant.weights in UNCOMPRESSED:
        options += ["group_size_fallback"] * (variant.group_size_fallback != "error")
        options += ["layers"] * bool(variant.layers)
        options += ["accuracy_control"] * (variant.accuracy_control is not None)
        if options:
            return f"{variant.weights} leaves the weights as they are: it takes no {', '.join(options)}"
    if variant.weights in STATIC:
        options += ["group_size_fallback"] * (variant.group_size_fallback != "error")
        if options:
            return f"{variant.weights} is nncf.quantize, which takes no {', '.join(options)}"
    if variant.weights in INT8:
        same = {"ratio": variant.ratio == 1, "group_size": variant.group_size == -1}
        extra = [n for n in options if not same.get(n, False)]
        if extra:
            return f"{variant.weights} gives every layer one scale a channel: NNCF takes no {', '.join(extra)} with it"
    return None


def _static_refusal(variant: OpenVinoVariant) -> str | None:
    if variant.weights in STATIC:
        if other := next((rule for rule in variant.layers if rule.weights != "F32"), None):
            return f"layer rule {other.match!r}: {variant.weights} takes no other format than F32"
        if variant.accuracy_control and variant.accuracy_control.price == "latency":
            return f"accuracy_control.price: latency is for compressed weights: a group of {variant.weights} costs 1"
        return None
    if variant.accuracy_control and variant.accuracy_control.ranking == "nncf":
        return (
            f"accuracy_control.ranking: nncf is only for {', '.join(STATIC)}: NNCF has no loop over compressed weights"
        )
    given = [n for n in ("preset", "smooth_quant") if getattr(variant, n) is not None]
    if given:
        return f"{', '.join(given)}: only of {', '.join(STATIC)}, whose activations are quantised in measured ranges"
    return None


def _method_refusal(variant: OpenVinoVariant) -> str | None:
    methods = [n for n in METHODS if getattr(variant, n)]
    if methods and variant.weights in (*MICROSCALING, *FLOATS):
        return f"NNCF has no {', '.join(methods)} for {variant.weights}"
    if variant.lora_correction and variant.weights == "CB4":
        return "NNCF has no lora_correction for CB4: leave it out, or take NF4, INT4_SYM or INT4_ASYM"
    if variant.gptq and variant.lora_correction:
        return "NNCF takes gptq or lora_correction, not both"
    return None


def _group_refusal(weights: str, group_size: int | None, fallback: str) -> str | None:
    fixed = GROUP_SIZES.get(weights)
    if fixed and group_size not in {None, fixed}:
        return f"{weights} has groups of {fixed}, no others"
    if fixed and fallback == "adjust":
        return f"group_size_fallback: adjust cannot change the groups of {weights}, which are {fixed}"
    if group_size == 0:
        return "group_size 0: give a number of weights, or -1 for a whole channel"
    return None


def _mixture_refusal(variant: OpenVinoVariant) -> str | None:
    if variant.ratio == 0:
        return f"ratio 0 means no layer in {variant.weights}; NNCF reads it as 1: name the backup format instead"
    if variant.sensitivity and variant.ratio in {None, 1}:
        return "sensitivity chooses the layers of a mixture: give a ratio below 1"
    return None


def _rule_refusal(rule: LayerRule, variant: OpenVinoVariant) -> str | None:
    """Why a rule for single layers would be refused, or a part of it dropped."""
    said = _rule_format_refusal(rule) or _group_refusal(rule.weights, rule.group_size, variant.group_size_fallback)
    return f"layer rule {rule.match!r}: {said}" if said else None


def _rule_format_refusal(rule: LayerRule) -> str | None:
    if rule.weights == "W4A8":
        return "W4A8 is set for a whole model: use INT4_SYM for single layers"
    if rule.weights == "F16":
        return "F16 is how a whole model is stored: use F32 to leave single layers as they are"
    if rule.weights in UNCOMPRESSED and rule.group_size is not None:
        return f"{rule.weights} leaves its layers as they are: it takes no group_size"
    if rule.weights in INT8 and rule.group_size not in {None, -1}:
        return f"{rule.weights} gives every layer one scale a channel: it takes no group_size"
    return None
