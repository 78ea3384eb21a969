"""The recipe's OpenVINO variants: what NNCF makes of the weights, and what it would refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.tensor_types import regular
from quantcurve.records import Frozen

FLOOR = "OV-reference"
"""Name of the float32 IR that is run exactly: how far it is from the reference is what the two engines differ by."""
UNCOMPRESSED = ("F32", "F16")
INT8 = ("INT8_ASYM", "INT8_SYM")
INTEGER_4_BIT = ("INT4_ASYM", "INT4_SYM", "W4A8")
LOOKUP = ("NF4", "CB4")
MICROSCALING = ("MXFP4", "MXFP8_E4M3", "NVFP4")
FLOATS = ("FP8_E4M3", "FP4")
WEIGHTS = (*UNCOMPRESSED, *INT8, *INTEGER_4_BIT, *LOOKUP, *MICROSCALING, *FLOATS)
"""F32 and F16 store the weights as they are; W4A8 is INT4_SYM with activations quantised to 8 bits as they come; the
rest are modes of nncf.compress_weights."""
BITS = {"F32": 32, "F16": 16} | dict.fromkeys((*INT8, "MXFP8_E4M3", "FP8_E4M3"), 8)
"""Of a weight without its scale; those not named have 4."""
METHODS = ("awq", "scale_estimation", "gptq", "lora_correction")
"""Options of a variant that need calibration texts and change the weights."""
DEFAULT_GROUP = 128
"""Of NNCF's formats below 8 bits, unless they fix another or are in WHOLE_CHANNEL."""
WHOLE_CHANNEL = ("CB4",)
"""Formats below 8 bits that have one scale a channel unless the recipe says another group."""
GROUP_SIZES = {"MXFP4": 32, "MXFP8_E4M3": 32, "NVFP4": 16}
"""Group sizes that a format fixes."""
W4A8_GROUP = 32
"""Activations that share a scale in W4A8, unless the recipe says another number."""

Sensitivity = Literal[
    "weight_quantization_error",
    "hessian_input_activation",
    "mean_activation_variance",
    "max_activation_variance",
    "mean_activation_magnitude",
]


def _known(value: str) -> str:
    if value not in WEIGHTS:
        raise PydanticCustomError("weights", "unknown weight format", {"candidates": list(WEIGHTS)})
    return value


WeightFormat = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(WEIGHTS)})]
GroupSize = Annotated[int, Field(ge=-1, le=65_536, description="weights that share a scale; -1: a whole channel")]


class LayerRule(Frozen):
    """Gives the layers that it matches one format."""

    match: Annotated[str, AfterValidator(regular)] = Field(
        min_length=1, description=r"regular expression for a layer's whole name, such as model\.layers\.0\.mlp\..*"
    )
    weights: WeightFormat = Field(description="format, such as INT8_ASYM; F32 leaves a layer as it is")
    group_size: GroupSize | None = None


def _or_weights(schema: dict[str, Any]) -> None:
    """A variant may be written as its format alone."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string", "enum": list(WEIGHTS)}, whole]


class OpenVinoVariant(Frozen):
    """One variant: what becomes of the weights, and how the device runs it. `INT8_ASYM` is short for
    {weights: INT8_ASYM}."""

    model_config = ConfigDict(json_schema_extra=_or_weights)

    weights: WeightFormat = Field(description=f"one of {', '.join(WEIGHTS)}")
    name: str | None = Field(None, min_length=1, max_length=80, pattern=r"^[\w.+-]+$")
    group_size: GroupSize | None = None
    group_size_fallback: Literal["error", "ignore", "adjust"] = Field(
        "error",
        description="for layers whose width is no multiple of the group: refuse, leave them as they are, or the "
        "largest power of two that fits (32 at least)",
    )
    ratio: float | None = Field(None, ge=0, le=1, description="share of weights in this format, the rest in `backup`")
    backup: Literal["none", "int8_sym", "int8_asym", "mxfp8_e4m3", "fp8_e4m3"] | None = None
    all_layers: bool = Field(False, description="embeddings and the head too, which get `backup` otherwise")
    sensitivity: Sensitivity | None = Field(None, description="which layers get `backup`, with a ratio below 1")
    awq: bool = False
    scale_estimation: bool = False
    gptq: bool = False
    lora_correction: bool = False
    layers: tuple[LayerRule, ...] = Field((), description="formats of single layers; the first pattern that matches")
    runtime: OpenVinoRuntime = OpenVinoRuntime()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"weights": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _possible(self) -> OpenVinoVariant:
        if reason := refusal(self):
            raise PydanticCustomError("nncf", "{reason}", {"reason": reason})
        return self

    @property
    def mode(self) -> str:
        """Format of the weights as NNCF names it."""
        return "INT4_SYM" if self.weights == "W4A8" else self.weights

    @property
    def data_aware(self) -> bool:
        """Whether calibration texts are needed."""
        measured = self.sensitivity not in {None, "weight_quantization_error"}
        return measured or any(getattr(self, method) for method in METHODS)

    @property
    def least_bits(self) -> int:
        """Of a weight, without scales and without what is kept in more bits."""
        return min(BITS.get(weights, 4) for weights in (self.weights, *(rule.weights for rule in self.layers)))

    @property
    def as_run(self) -> OpenVinoRuntime:
        """How the device runs it; W4A8 says how activations are quantised where the recipe does not."""
        if self.weights == "W4A8" and self.runtime.dynamic_quantization_group is None:
            return self.runtime.model_copy(update={"dynamic_quantization_group": W4A8_GROUP})
        return self.runtime

    @property
    def label(self) -> str:
        """Its name, or one made of what it is."""
        parts = (
            f"OV-{self.weights}",
            f"g{self.group_size}" if self.group_size not in {None, -1} else "",
            f"r{self.ratio:g}" if self.ratio not in {None, 1} else "",
            "awq" * self.awq,
            "se" * self.scale_estimation,
            "gptq" * self.gptq,
            "lora" * self.lora_correction,
            "all" * self.all_layers,
            "layers" * bool(self.layers),
            self.runtime.label(),
        )
        return self.name or "+".join(part for part in parts if part)


class OpenVino(Frozen):
    """How OpenVINO variants are looked into."""

    split_windows: Annotated[int, Field(ge=2, le=10_000_000)] | None = Field(
        8, description="windows on which a loss is split into weights, activations and KV cache; null: not at all"
    )


def refusal(variant: OpenVinoVariant) -> str | None:
    """Why NNCF 3.4 would refuse a variant after the model was loaded, or None
    (nncf/quantization/quantize_model.py, compress_weights; algorithms/weight_compression/algorithm.py,
    check_user_compression_configuration)."""
    methods = [n for n in METHODS if getattr(variant, n)]
    given = [n for n in ("group_size", "ratio", "backup", "sensitivity") if getattr(variant, n) is not None]
    options = methods + given + ["all_layers"] * variant.all_layers
    weights = variant.weights
    if weights in UNCOMPRESSED and (options or variant.layers):
        return f"{weights} leaves the weights as they are: it takes no {', '.join(options or ['layers'])}"
    if weights in INT8:
        extra = [
            n
            for n in options
            if not (n == "ratio" and variant.ratio == 1) and (n, variant.group_size) != ("group_size", -1)
        ]
        if extra:
            return f"{weights} gives every layer one scale a channel: NNCF takes no {', '.join(extra)} with it"
    if methods and weights in (*MICROSCALING, *FLOATS):
        return f"NNCF has no {', '.join(methods)} for {weights}"
    if variant.gptq and variant.lora_correction:
        return "NNCF takes gptq or lora_correction, not both"
    return _group_refusal(variant) or _mixture_refusal(variant)


def width_refusal(variant: OpenVinoVariant, widths: Mapping[str, int]) -> str | None:
    """Why NNCF would refuse a variant of a model, or None: layers whose width is no multiple of the group.

    Args:
        variant: of which; one whose fallback is not `error` is never refused.
        widths: input width of every layer that would be compressed, by its name.
    """
    if variant.weights in (*UNCOMPRESSED, *INT8) or variant.group_size_fallback != "error":
        return None
    default = -1 if variant.weights in WHOLE_CHANNEL else DEFAULT_GROUP
    group = GROUP_SIZES.get(variant.weights, variant.group_size or default)
    odd = [name for name, width in widths.items() if group > 0 and width % group]
    if not odd:
        return None
    fitting = [size for size in (128, 64, 32, 16) if all(width % size == 0 for width in widths.values())]
    smaller = f"group_size: {fitting[0]}, or " if fitting and variant.weights not in GROUP_SIZES else ""
    more = f" and {len(odd) - 1} more layers" if len(odd) > 1 else ""
    return (
        f"a group of {group} does not divide the {widths[odd[0]]} columns of {odd[0]}{more}: give {smaller}"
        "group_size_fallback: adjust"
    )


def _group_refusal(variant: OpenVinoVariant) -> str | None:
    fixed = GROUP_SIZES.get(variant.weights)
    if fixed and variant.group_size not in {None, fixed}:
        return f"{variant.weights} has groups of {fixed}, no others"
    if fixed and variant.group_size_fallback == "adjust":
        return f"group_size_fallback: adjust cannot change the groups of {variant.weights}, which are {fixed}"
    if variant.group_size == 0:
        return "group_size 0: give a number of weights, or -1 for a whole channel"
    return None


def _mixture_refusal(variant: OpenVinoVariant) -> str | None:
    if variant.ratio == 0:
        return f"ratio 0 means no layer in {variant.weights}; NNCF reads it as 1: name the backup format instead"
    if variant.sensitivity and variant.ratio in {None, 1}:
        return "sensitivity chooses the layers of a mixture: give a ratio below 1"
    if any(rule.weights == "W4A8" for rule in variant.layers):
        return "W4A8 is set for a whole model: use INT4_SYM for single layers"
    if any(rule.weights == "F16" for rule in variant.layers):
        return "F16 is how a whole model is stored: use F32 to leave single layers as they are"
    return None
