"""The formats that NNCF 3.4 compresses weights to, and what it does where a recipe says nothing
(nncf/quantization/algorithms/weight_compression/algorithm.py, get_weight_compression_configuration)."""

from __future__ import annotations

UNCOMPRESSED = ("F32", "F16")
INT8 = ("INT8_ASYM", "INT8_SYM")
INTEGER_4_BIT = ("INT4_ASYM", "INT4_SYM", "W4A8")
LOOKUP = ("NF4", "CB4")
MICROSCALING = ("MXFP4", "MXFP8_E4M3", "NVFP4")
FLOATS = ("FP8_E4M3", "FP4")
STATIC = ("W8A8",)
WEIGHTS = (*UNCOMPRESSED, *INT8, *INTEGER_4_BIT, *LOOKUP, *MICROSCALING, *FLOATS, *STATIC)
"""F32 and F16 store the weights as they are; W4A8 is INT4_SYM with activations quantised to 8 bits as they come; W8A8
is nncf.quantize, with activations in ranges that were measured on the calibration set; the rest are modes of
nncf.compress_weights."""
BITS = {"F32": 32, "F16": 16} | dict.fromkeys((*INT8, *STATIC, "MXFP8_E4M3", "FP8_E4M3"), 8)
"""Of a weight without its scale; those not named have 4."""
METHODS = ("awq", "scale_estimation", "gptq", "lora_correction")
"""Options of a variant that need calibration texts and change the weights."""
DEFAULT_GROUP = 128
"""Of formats below 8 bits and of FLOATS, unless they fix another or are in WHOLE_CHANNEL."""
WHOLE_CHANNEL = (*INT8, *STATIC, "CB4")
"""Formats that have one scale a channel unless the recipe says another group; INT8 takes no other."""
GROUP_SIZES = {"MXFP4": 32, "MXFP8_E4M3": 32, "NVFP4": 16}
"""Group sizes that a format fixes."""
LEAST_ADJUSTED_GROUP = 32
"""The smallest group that `group_size_fallback: adjust` takes."""
W4A8_GROUP = 32
"""Activations that share a scale in W4A8, unless the recipe says another number."""


def nncf_mode(weights: str) -> str:
    """The format of the weights as NNCF names it."""
    return {"W4A8": "INT4_SYM", "W8A8": "INT8_SYM"}.get(weights, weights)


def bits(weights: str) -> int:
    """Of a weight without its scale."""
    return BITS.get(weights, 4)


def group_of(weights: str, asked: int | None = None) -> int:
    """Weights that share a scale; -1: a whole channel.

    Args:
        weights: a compressed format.
        asked: what the recipe says, if anything.
    """
    return GROUP_SIZES.get(weights) or asked or (-1 if weights in WHOLE_CHANNEL else DEFAULT_GROUP)


def default_backup(weights: str) -> str:
    """Format of the head, the embedding and the sensitive layers, where the recipe says none."""
    if weights in {"MXFP4", "MXFP8_E4M3"}:
        return "mxfp8_e4m3"
    return "fp8_e4m3" if weights in FLOATS else "int8_asym"


def backup_group(weights: str, asked: int | None, backup: str | None) -> int:
    """Weights that share a scale in the backup format; -1: a whole channel, or no scale at all
    (algorithm.py, _get_backup_config: FP8 has the variant's own group, never adjusted).

    Args:
        weights: format of the other layers.
        asked: their group, if the recipe says one.
        backup: as the recipe says it, if at all.
    """
    name = backup or default_backup(weights)
    if name == "fp8_e4m3":
        return group_of(weights, asked)
    return GROUP_SIZES.get(name.upper(), -1)


def adjusted_group(columns: int) -> int | None:
    """The group that `group_size_fallback: adjust` takes where the asked one does not fit: the largest power of two
    that divides the columns (algorithm.py, _handle_adjust_group_size_fallback); None: it has none, and the layer gets
    the backup format."""
    largest = columns & -columns
    return largest if largest >= LEAST_ADJUSTED_GROUP else None
