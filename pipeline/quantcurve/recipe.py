"""The recipe: everything that changes a result, in one YAML file. Flags only say where and how.

`load` reads it with ruamel.yaml (which keeps line numbers and refuses duplicate keys) and validates it with
pydantic. Errors read `FILE:LINE: field: what is wrong (got VALUE); did you mean NAME?`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve import recipe_errors
from quantcurve.calibration import Calibration, Source
from quantcurve.engines.base import FLOAT_CACHE_TYPES
from quantcurve.errors import RecipeError
from quantcurve.latency_records import DECODE_STEPS, GenAiWorkload
from quantcurve.recipe_accuracy import Validation, refusal
from quantcurve.recipe_contract import Contract
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.recipe_openvino import FLOOR, OpenVino, OpenVinoVariant
from quantcurve.recipe_tasks import Evaluation
from quantcurve.recipe_text import Text, WindowCount
from quantcurve.records import Frozen


class Model(Frozen):
    """Which model, and what its variants are compared with."""

    source: Source = Field(
        description="package:MODULE/FILE.gguf, a GGUF file, a Hugging Face folder, or hf:OWNER/NAME[@REVISION][#FILE]",
    )
    reference: Literal["auto", "F16", "BF16"] = Field("auto", description="auto takes an F16 or BF16 file as it is")


class Windows(Frozen):
    """How texts are cut: disjoint windows, the second half of each is scored (llama-perplexity's rule)."""

    tokens: int = Field(512, ge=16, le=1_048_576, description="length of a window; even")
    limit: WindowCount | None = Field(None, description="at most so many windows of each text")
    choose: Literal["first", "random"] = Field(
        "first",
        description="which windows, where there is a limit: the first ones (as llama-perplexity --chunks) or a "
        "seeded sample",
    )

    def limit_of(self, text: Text) -> int | None:
        """Largest number of windows of one text: its own, or the limit of all."""
        return self.limit if text.windows is None else text.windows

    @field_validator("tokens")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise PydanticCustomError("even", "must be even, since half of a window is scored")
        return value


class Screen(Frozen):
    """The perplexity lines, in percent of increase over the reference."""

    discard_above_percent: float = Field(5.0, gt=0, le=1000)
    suspect_above_percent: float = Field(3.0, gt=0, le=1000)
    exhaustive: bool = Field(
        False, description="measure every variant on every window; else each stops when it is judged"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Screen:
        if self.suspect_above_percent > self.discard_above_percent:
            raise PydanticCustomError(
                "order",
                "suspect_above_percent ({suspect}) must not be above discard_above_percent ({discard})",
                {"suspect": self.suspect_above_percent, "discard": self.discard_above_percent},
            )
        return self


class EngineSettings(Frozen):
    """What is set in llama.cpp for every measurement."""

    batch_tokens: int = Field(2048, ge=32, le=1_048_576)
    micro_batch_tokens: int = Field(512, ge=32, le=1_048_576)
    flash_attention: Literal["auto", "on", "off"] = "auto"


class Latency(Frozen):
    """What OpenVINO's benchmark_app times."""

    contexts: tuple[Annotated[int, Field(ge=1, le=1_048_576)], ...] = Field(
        (32, 512, 2048), min_length=1, max_length=20, description="tokens in the cache when decoding begins; ascending"
    )
    rounds: int = Field(5, ge=1, le=1000, description="over all variants; fewer than 3 have no interval")

    @field_validator("contexts")
    @classmethod
    def _apart(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if any(b < a + DECODE_STEPS for a, b in pairwise(values)):
            raise PydanticCustomError(
                "contexts", "must ascend by at least the {steps} tokens decoded at each", {"steps": DECODE_STEPS}
            )
        return values


class Benchmark(Frozen):
    """The speed workload, as in llama-bench: pp, tg, depth and repetitions."""

    prompt_tokens: int = Field(512, ge=1, le=1_048_576, description="prefill and time to first token (llama-bench -p)")
    decode_tokens: int = Field(128, ge=1, le=1_048_576, description="tokens decoded one by one (llama-bench -n)")
    decode_context_tokens: int = Field(0, ge=0, le=1_048_576, description="context filled before decoding (-d)")
    repetitions: int = Field(5, ge=3, le=1000, description="rounds over all variants (-r)")
    latency: Latency | None = Field(Latency(), description="of OpenVINO variants by benchmark_app; null leaves it out")
    genai: GenAiWorkload | None = Field(GenAiWorkload(), description="OpenVINO GenAI's own figures; null: none")


class Variants(Frozen):
    """Which variants are made."""

    gguf: tuple[GgufVariant, ...] = Field((), description="for llama.cpp")
    openvino: tuple[OpenVinoVariant, ...] = Field((), description="for Intel CPUs, GPUs and NPUs")

    @property
    def labels(self) -> tuple[str, ...]:
        """Of all variants, in order."""
        return (*(v.label for v in self.gguf), *(v.label for v in self.openvino))

    @field_validator("gguf", "openvino")
    @classmethod
    def _distinct(cls, values: tuple[GgufVariant | OpenVinoVariant, ...]) -> tuple[GgufVariant | OpenVinoVariant, ...]:
        _check_labels([v.label for v in values])
        return values

    @model_validator(mode="after")
    def _some(self) -> Variants:
        if not self.labels:
            raise PydanticCustomError("empty", "no variants: list some under gguf or openvino")
        _check_labels(self.labels)
        return self


def _check_labels(labels: Sequence[str]) -> None:
    if repeated := {n for n in labels if labels.count(n) > 1}:
        raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
    if taken := {"reference", FLOOR.casefold()} & {n.casefold() for n in labels}:
        raise PydanticCustomError("reserved", "a variant cannot be named '{name}'", {"name": taken.pop()})


class Imatrix(Frozen):
    """The importance matrix of variants with `imatrix: true`: a file, or else computed on the calibration set."""

    file: str | None = Field(None, min_length=1, description="one that you have (GGUF or .dat), relative to the recipe")


class KvCache(Frozen):
    """How variants with another KV cache are compared with the same weights and an F16 cache."""

    long_context_tokens: int = Field(4096, ge=64, le=1_048_576, multiple_of=2, description="beside windows.tokens")
    long_windows: WindowCount = Field(4, description="at most so many windows of the long context")
    short_windows: WindowCount = Field(32, description="at most so many windows of windows.tokens")


class Recipe(Frozen):
    """One model, its variants, and how they are measured."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$", description="names the run's folder")
    model: Model
    texts: tuple[Text, ...] = Field(min_length=1)
    variants: Variants
    windows: Windows = Windows()
    validations: tuple[Validation, ...] = Field((), max_length=20, description="for accuracy control")
    screen: Screen = Screen()
    calibration: Calibration = Calibration()
    imatrix: Imatrix = Imatrix()
    kv_cache: KvCache = KvCache()
    openvino: OpenVino = OpenVino()
    engine: EngineSettings = EngineSettings()
    evaluate: Evaluation | None = Field(None, description="tasks of lm-evaluation-harness, and slices; null: none")
    contract: Contract = Field(Contract(), description="what a variant must win, and what it may lose")
    benchmark: Benchmark | None = Field(Benchmark(), description="null leaves speed out")
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @field_validator("texts")
    @classmethod
    def _distinct(cls, values: tuple[Text, ...]) -> tuple[Text, ...]:
        names = [t.name for t in values]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        if "all" in names:
            raise PydanticCustomError("reserved", "a text cannot be named 'all': that is the name of all together")
        return values

    @model_validator(mode="after")
    def _validated(self) -> Recipe:
        names = [v.name for v in self.validations]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        for variant in self.variants.openvino:
            if variant.accuracy_control and (reason := refusal(variant.accuracy_control, self.validations)):
                raise PydanticCustomError("control", "{label}: {why}", {"label": variant.label, "why": reason})
        return self

    @model_validator(mode="after")
    def _quantiles(self) -> Recipe:
        named = [name for name, _ in self.contract.system.limits() if name in ("latency_p95", "latency_p99")]
        if not named or self.benchmark is None:
            return self
        from quantcurve.budgets_system import QUANTILES
        from quantcurve.metrics.step_latency import LEAST_STEPS

        for name in named:
            if (tokens := self.benchmark.decode_tokens) < (least := LEAST_STEPS[QUANTILES[name]]):
                raise PydanticCustomError(
                    "quantile",
                    "contract.system.{name} needs {least} decoded tokens, and benchmark.decode_tokens is {tokens}",
                    {"name": name, "least": least, "tokens": tokens},
                )
        return self

    @model_validator(mode="after")
    def _flash(self) -> Recipe:
        needing = [v.label for v in self.variants.gguf if v.cache.v not in FLOAT_CACHE_TYPES]
        if needing and self.engine.flash_attention == "off":
            raise PydanticCustomError(
                "flash",
                "engine.flash_attention is off, and the quantised V cache of {names} needs it",
                {"names": ", ".join(needing)},
            )
        return self


class LoadedRecipe(typing.NamedTuple):
    """A recipe with the file it came from."""

    recipe: Recipe
    path: Path
    text: str


def load(path: Path | str) -> LoadedRecipe:
    """Read and check a recipe.

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
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(
            "\n".join(recipe_errors.explain_all(path, data, error.errors(include_url=False), Recipe))
        ) from error
    return LoadedRecipe(recipe, path, text)


@contextmanager
def at(loaded: LoadedRecipe, *location: str | int) -> Iterator[None]:
    """Put the place in the recipe before the message of a RecipeError that leaves the block."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{place(loaded, *location)}: {error}") from error


def place(loaded: LoadedRecipe, *location: str | int) -> str:
    """A place in the recipe as errors name it: FILE:LINE: field."""
    line = recipe_errors.line_of(recipe_errors.parse(loaded.path, loaded.text), location)
    return f"{loaded.path}:{line}: {recipe_errors.field_of(location)}"
