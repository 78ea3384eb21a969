"""The recipe's accuracy control: how a model is judged, and what may be lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.calibration import Source
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.recipe_text import Text
from quantcurve.records import Frozen

BUILT_IN = (
    *("token_accuracy", "negative_cross_entropy", "negative_kl_divergence", "answer_log_likelihood"),
    *("multiple_choice", "exact_match", "json_validity"),
)
"""Validation functions that quantcurve brings (validation_functions.py)."""
OF_WINDOWS, OF_RECORDS = BUILT_IN[:3], BUILT_IN[3:]
"""What they take: windows of texts, or records."""
ZERO_ON_THE_REFERENCE = "negative_kl_divergence"
"""A function whose value is 0 on the float reference, so that there is no share of it to lose."""

Name = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[\w.+-]+$")]
Items = Annotated[int, Field(ge=2, le=1_000_000)]


class Records(Frozen):
    """Items of the user's own, one a line."""

    source: Source = Field(description="a JSONL, JSON or Parquet file, or hf:OWNER/NAME[@REVISION]#FILE")


class Validation(Frozen):
    """A function that judges a model, and what it is judged on. The items that the search sees and those that only the
    finished model is judged on are disjoint."""

    name: Name
    function: str = Field(
        min_length=1,
        max_length=1000,
        description=f"FILE.py:FUNCTION, relative to the recipe, or one of {', '.join(BUILT_IN)}",
    )
    texts: tuple[Text, ...] = Field((), description="texts that are cut into windows; each window is an item")
    records: Records | None = Field(None, description="in place of texts: each record is an item")
    item_tokens: int = Field(64, ge=16, le=1_048_576, multiple_of=2, description="length of a window")
    items: Items = Field(32, description="that the search sees")
    held_out: Items = Field(32, description="that only the finished model is judged on")

    @field_validator("function")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in BUILT_IN and ".py:" not in value:
            raise PydanticCustomError(
                "function", "neither built in nor FILE.py:FUNCTION", {"candidates": list(BUILT_IN)}
            )
        return value

    @model_validator(mode="after")
    def _fits(self) -> Validation:
        if bool(self.texts) == bool(self.records):
            raise PydanticCustomError("items", "give texts or records, one of the two")
        if self.function in BUILT_IN and (self.function in OF_WINDOWS) != bool(self.texts):
            wanted = "texts" if self.function in OF_WINDOWS else "records"
            raise PydanticCustomError("items", "{f} takes {wanted}", {"f": self.function, "wanted": wanted})
        return self


class AccuracyControl(Frozen):
    """What a variant may lose, and how layers are found that are to be restored for that."""

    validation: Name | None = Field(None, description="name of one; left out where the recipe has only one")
    max_drop: float = Field(gt=0, le=1e9, description="of the mean value, from the float reference's")
    drop: Literal["absolute", "relative"] = Field(
        "absolute", description="relative: in shares of the reference's mean value, which must not be 0"
    )
    ranking: Literal["fast", "nncf"] = Field(
        "fast", description="nncf: quantize_with_accuracy_control's own; fast: the same scores from one compilation"
    )
    ranking_items: Items = Field(8, description="items that layers are ranked on: those that lose most")
    max_reverted: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="groups of layers that may be restored (NNCF's max_num_iterations)"
    )
    max_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = Field(None, description="of the search")
    price: Literal["bytes", "latency"] = Field(
        "bytes", description="of compressed weights: what a restored layer costs; latency: by benchmark_app's counters"
    )
    runtime: OpenVinoRuntime | None = Field(None, description="to validate on; the variant's own if left out")


def chosen(control: AccuracyControl, validations: Sequence[Validation]) -> Validation | None:
    """The validation that an accuracy control means; None if there is none of that name, or none is named and there
    are several."""
    if control.validation is None:
        return validations[0] if len(validations) == 1 else None
    return next((v for v in validations if v.name == control.validation), None)


def refusal(control: AccuracyControl, validations: Sequence[Validation]) -> str | None:
    """Why an accuracy control cannot be, seen from the recipe alone."""
    validation = chosen(control, validations)
    if validation is None:
        names = ", ".join(v.name for v in validations) or "none: add one under validations"
        return f"accuracy_control.validation: {control.validation or 'not given'}; the recipe has {names}"
    if control.drop == "relative" and validation.function == ZERO_ON_THE_REFERENCE:
        return f"{validation.function} is 0 on the reference, so that no share of it can be lost: use drop: absolute"
    if control.ranking_items > validation.items:
        return f"ranking_items ({control.ranking_items}) is more than the {validation.items} items of {validation.name}"
    return None
