"""The recipe's OpenVINO variants: what NNCF makes of the weights, and how the device runs them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.tensor_types import regular
from quantcurve.nncf_refusals import refusal
from quantcurve.recipe_accuracy import AccuracyControl
from quantcurve.records import Frozen
from quantcurve.weight_formats import METHODS, STATIC, W4A8_GROUP, WEIGHTS, bits, nncf_mode

FLOOR = "OV-reference"
"""Name of the float32 IR that is run exactly: how far it is from the reference is what the two engines differ by."""

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
    preset: Literal["mixed", "performance"] | None = Field(
        None, description="of W8A8: mixed (asymmetric activations; the default) or performance (symmetric)"
    )
    smooth_quant: bool | None = Field(None, description="of W8A8: move outliers of activations into weights (default)")
    accuracy_control: AccuracyControl | None = Field(
        None, description="restore layers until a validation loses no more than this"
    )
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
        return nncf_mode(self.weights)

    @property
    def data_aware(self) -> bool:
        """Whether calibration texts are needed."""
        measured = self.weights in STATIC or self.sensitivity not in {None, "weight_quantization_error"}
        return measured or any(getattr(self, method) for method in METHODS)

    @property
    def least_bits(self) -> int:
        """Of a weight, without scales and without what is kept in more bits."""
        return min(bits(weights) for weights in (self.weights, *(rule.weights for rule in self.layers)))

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
            self.preset or "",
            "" if self.smooth_quant is None else ("sq" if self.smooth_quant else "no-sq"),
            "ac" * bool(self.accuracy_control),
            self.runtime.label(),
        )
        return self.name or "+".join(part for part in parts if part)


class OpenVino(Frozen):
    """How OpenVINO variants are looked into."""

    split_windows: Annotated[int, Field(ge=2, le=10_000_000)] | None = Field(
        8, description="windows on which a loss is split into weights, activations and KV cache; null: not at all"
    )
