"""The recipe of an embedding model: `kind: encoder`, its variants, and what they are judged on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve import recipe_errors
from quantcurve.calibration import FieldPath, Source
from quantcurve.encoder_limits import SYSTEM, mistakes
from quantcurve.errors import RecipeError
from quantcurve.recipe_accuracy import Items
from quantcurve.recipe_contract import Contract
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import Frozen
from quantcurve.weight_formats import METHODS, STATIC

KIND = "encoder"
"""What stands under `kind` in a recipe of this form."""
SAID = re.compile(rf"kind\s*:\s*['\"]?{KIND}['\"]?\s*(#.*)?$")
LEAST_PAIRS = 10
"""Fewer pairs have no rank correlation to speak of."""
LEAST_SENTENCES = 8
BUILT_IN = ("sentence_similarity", "embedding_agreement")
"""Validation functions of an encoder by name (encoder_validation.py)."""


class EncoderModel(Frozen):
    """Which model."""

    source: Source = Field(
        description="package:MODULE/FOLDER, a Hugging Face folder, or hf:OWNER/NAME[@REVISION]: a "
        "sentence-transformers model, or an encoder that its tokens are averaged of"
    )


class Similarity(Frozen):
    """Pairs of sentences that people have graded."""

    source: Source = Field("embedded:similarity", description="a JSONL, JSON or Parquet file, or hf:OWNER/NAME#FILE")
    sentence1: FieldPath = "sentence1"
    sentence2: FieldPath = "sentence2"
    score: FieldPath = Field("score", description="how similar; any scale, more is more similar")
    limit: Annotated[int, Field(ge=LEAST_PAIRS, le=1_000_000)] | None = Field(
        None, description="a seeded sample of so many pairs"
    )


class Retrieval(Frozen):
    """Queries, passages, and which of these answer which of those."""

    source: Source = Field(
        "embedded:retrieval",
        description="a JSONL, JSON or Parquet file of records {id, passage} and {id, query, relevant: [id, ...]}, both "
        "with a domain if there are several",
    )
    depths: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (1, 10), min_length=1, max_length=10, description="k of recall@k and of overlap@k; ascending"
    )

    @field_validator("depths")
    @classmethod
    def _ascending(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if list(values) != sorted(set(values)):
            raise PydanticCustomError("depths", "must ascend")
        return values


class CalibrationTexts(Frozen):
    """Texts that the ranges of activations are measured on."""

    source: Source = Field("embedded:calibration", description="a JSONL, JSON or Parquet file, or hf:OWNER/NAME#FILE")
    field: FieldPath = Field("text", description="the one with the text, dots for nesting")


class EncoderCalibration(Frozen):
    """The calibration set: a seeded sample of all sources, without what the model is judged on."""

    sources: tuple[CalibrationTexts, ...] = Field((CalibrationTexts(),), min_length=1, max_length=100)
    sentences: int = Field(300, ge=LEAST_SENTENCES, le=1_000_000, description="at most so many (NNCF's subset_size)")


class EncoderValidation(Frozen):
    """A function that judges a variant under accuracy control, on graded pairs: the search sees some of them, and only
    the finished model is judged on the others."""

    name: Literal["similarity"] = "similarity"
    function: str = Field(
        BUILT_IN[0],
        min_length=1,
        max_length=1000,
        description=f"FILE.py:FUNCTION, relative to the recipe, or one of {', '.join(BUILT_IN)}",
    )
    items: Items = Field(64, description="that the search sees")
    held_out: Items = Field(64, description="that only the finished model is judged on")

    @field_validator("function")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in BUILT_IN and ".py:" not in value:
            raise PydanticCustomError(
                "function", "neither built in nor FILE.py:FUNCTION", {"candidates": list(BUILT_IN)}
            )
        return value

    @property
    def built_in(self) -> bool:
        """Whether it is quantcurve's own."""
        return self.function in BUILT_IN


class EncoderBenchmark(Frozen):
    """What is timed: one forward pass over random tokens."""

    tokens: int = Field(128, ge=2, le=1_048_576, description="of every text")
    batch: int = Field(1, ge=1, le=4096, description="texts that go through the model together")
    repetitions: int = Field(9, ge=3, le=1000, description="rounds over all variants")
    passes: int = Field(10, ge=1, le=10_000, description="in a round, which counts by their median")
    benchmark_app: bool = Field(True, description="OpenVINO's own tool beside it, on static shapes")


class EncoderVariants(Frozen):
    """Which variants are made."""

    openvino: tuple[OpenVinoVariant, ...] = Field(min_length=1)

    @field_validator("openvino")
    @classmethod
    def _fitting(cls, values: tuple[OpenVinoVariant, ...]) -> tuple[OpenVinoVariant, ...]:
        labels = [v.label for v in values]
        if repeated := {n for n in labels if labels.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        if FLOOR.casefold() in {n.casefold() for n in labels}:
            raise PydanticCustomError("reserved", "a variant cannot be named '{name}'", {"name": FLOOR})
        for variant in values:
            if reason := refusal(variant):
                raise PydanticCustomError("encoder", "{label}: {why}", {"label": variant.label, "why": reason})
        return values


def refusal(variant: OpenVinoVariant) -> str | None:
    """What an encoder has not, of what a variant asks for."""
    runtime = variant.runtime
    if methods := [m for m in METHODS if getattr(variant, m)]:
        return f"{', '.join(methods)}: an encoder's weights are compressed without data; leave it out, or take W8A8"
    if variant.sensitivity not in {None, "weight_quantization_error"}:
        return f"sensitivity {variant.sensitivity} needs data; an encoder takes weight_quantization_error"
    if runtime.kv_cache or runtime.attention:
        return "runtime.kv_cache and runtime.attention are of language models: an encoder has no cache"
    return None


def control_refusal(variant: OpenVinoVariant, validation: EncoderValidation) -> str | None:
    """Why an encoder cannot be under the accuracy control that a variant asks for, seen from the recipe alone."""
    control = variant.accuracy_control
    assert control
    if variant.weights not in STATIC:
        return (
            f"accuracy_control of an encoder restores layers of {', '.join(sorted(STATIC))}, not of compressed weights"
        )
    if control.ranking == "nncf":
        return "accuracy_control.ranking: nncf is of language models; leave it out"
    if control.validation not in {None, validation.name}:
        return f"accuracy_control.validation: {control.validation}; an encoder has one, under validation: leave it out"
    if control.ranking_items > validation.items:
        return f"ranking_items ({control.ranking_items}) is more than the {validation.items} items of validation"
    return None


class EncoderRecipe(Frozen):
    """One embedding model, its variants, and how they are measured."""

    kind: Literal["encoder"]
    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$", description="names the run's folder")
    model: EncoderModel
    variants: EncoderVariants
    similarity: Similarity = Similarity()
    retrieval: Retrieval = Retrieval()
    calibration: EncoderCalibration = EncoderCalibration()
    validation: EncoderValidation = EncoderValidation()
    contract: Contract = Field(
        Contract(),
        description="what a variant must win, and what it may lose. quality: ranking (recall at the largest of "
        "retrieval.depths), ndcg, both also as ranking@K and ranking on DOMAIN; every domain; similarity (points are "
        f"hundredths of rho). system: {', '.join(SYSTEM)}, of a forward pass. Every variant is judged on all "
        "queries and pairs at once: mode, shortlist and debug change nothing",
    )
    benchmark: EncoderBenchmark | None = Field(EncoderBenchmark(), description="null leaves latency out")
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _controlled(self) -> EncoderRecipe:
        for variant in self.variants.openvino:
            if variant.accuracy_control and (reason := control_refusal(variant, self.validation)):
                raise PydanticCustomError("control", "{label}: {why}", {"label": variant.label, "why": reason})
        return self


class LoadedEncoder(NamedTuple):
    """An encoder's recipe with the file it came from."""

    recipe: EncoderRecipe
    path: Path
    text: str


def is_encoder(path: Path) -> bool:
    """Whether a recipe says `kind: encoder`; a file that cannot be read says nothing."""
    try:
        return any(SAID.match(line) for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False


def load(path: Path | str) -> LoadedEncoder:
    """Read and check an encoder's recipe.

    Raises:
        RecipeError: the file cannot be read, is no YAML, or does not fit; one line for each mistake.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(recipe_errors.unreadable(path, error)) from error
    data = recipe_errors.parse(path, text)
    try:
        recipe = EncoderRecipe.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise RecipeError("\n".join(recipe_errors.explain_all(path, data, details, EncoderRecipe))) from error
    loaded = LoadedEncoder(recipe, path, text)
    refuse(loaded)
    return loaded


def refuse(loaded: LoadedEncoder, domains: Sequence[str] | None = None) -> None:
    """Refuse a contract that an embedding model can neither keep nor break.

    Args:
        loaded: the recipe.
        domains: of the queries; None: they have not been read yet.

    Raises:
        RecipeError: one line for each mistake.
    """
    if found := list(mistakes(loaded.recipe, domains)):
        raise RecipeError("\n".join(f"{place(loaded, where)}: {why}" for where, why in found))


@contextmanager
def at(loaded: LoadedEncoder, *location: str | int) -> Iterator[None]:
    """Put the place in the recipe before the message of a RecipeError that leaves the block."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{place(loaded, location)}: {error}") from error


def place(loaded: LoadedEncoder, location: Sequence[str | int]) -> str:
    """A place in the recipe as errors name it: FILE:LINE: field."""
    line = recipe_errors.line_of(recipe_errors.parse(loaded.path, loaded.text), location)
    return f"{loaded.path}:{line}: {recipe_errors.field_of(location)}"
