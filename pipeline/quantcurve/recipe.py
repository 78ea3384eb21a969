"""The recipe: everything that changes a result, in one YAML file. Flags only say where and how.

`load` reads it with ruamel.yaml (which keeps line numbers and refuses duplicate keys) and validates it with
pydantic. Errors read `FILE:LINE: field: what is wrong (got VALUE); did you mean NAME?`.
"""

from __future__ import annotations

import difflib
import io
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.errors import RecipeError
from quantcurve.results import Frozen

MIN_WINDOWS = 2
"""An interval needs two windows; llama-perplexity refuses less as well."""


class Model(Frozen):
    """Which model, and what its variants are compared with."""

    source: str = Field(
        min_length=1,
        description="package:MODULE/FILE.gguf, a GGUF file, a Hugging Face folder, or hf:OWNER/NAME[@REVISION][#FILE]",
    )
    reference: Literal["auto", "F16", "BF16"] = Field(
        "auto", description="precision of the reference; auto takes the file as it is where it is F16 or BF16 already"
    )


class Text(Frozen):
    """One evaluation text; figures are given for each and for all together."""

    name: str = Field(min_length=1, max_length=40, pattern=r"^[\w.+-]+$")
    source: str = Field(
        min_length=1,
        description="embedded:STRATUM (held-out part), pydoc:topics, a text or JSONL file, or "
        "hf:OWNER/NAME[@REVISION]#FILE in a data set repository",
    )
    field: str | None = Field(
        None, description="for JSONL, JSON and Parquet: the field with the text, dots for nesting"
    )
    windows: int | None = Field(
        None, ge=MIN_WINDOWS, description="at most so many windows of this text, in place of windows.limit"
    )


class Windows(Frozen):
    """How texts are cut: disjoint windows, the second half of each is scored (llama-perplexity's rule)."""

    tokens: int = Field(512, ge=16, le=1_048_576, description="length of a window; even")
    limit: int | None = Field(None, ge=MIN_WINDOWS, description="at most so many windows of each text")
    choose: Literal["first", "random"] = Field(
        "first",
        description="which windows, where there is a limit: the first ones (as llama-perplexity --chunks) or a "
        "seeded sample",
    )

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


class Benchmark(Frozen):
    """The speed workload, as in llama-bench: pp, tg, depth and repetitions."""

    prompt_tokens: int = Field(512, ge=1, le=1_048_576, description="prefill and time to first token (llama-bench -p)")
    decode_tokens: int = Field(128, ge=1, le=1_048_576, description="tokens decoded one by one (llama-bench -n)")
    decode_context_tokens: int = Field(0, ge=0, le=1_048_576, description="context filled before decoding (-d)")
    repetitions: int = Field(5, ge=3, le=1000, description="rounds over all variants (-r)")


def _known_type(value: str) -> str:
    if value not in BY_NAME:
        raise PydanticCustomError("gguf_type", "unknown GGUF type", {"candidates": list(BY_NAME)})
    return value


GgufType = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(BY_NAME)})]


class Variants(Frozen):
    """Which variants are made."""

    gguf: tuple[GgufType, ...] = Field(min_length=1, description="file types as `quantcurve types` lists them")

    @field_validator("gguf")
    @classmethod
    def _check(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := {v for v in values if values.count(v) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        return values


class Recipe(Frozen):
    """One model, its variants, and how they are measured."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$", description="names the run's folder")
    model: Model
    texts: tuple[Text, ...] = Field(min_length=1)
    variants: Variants
    windows: Windows = Windows()
    screen: Screen = Screen()
    engine: EngineSettings = EngineSettings()
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

    def window_limit(self, text: Text) -> int | None:
        """Largest number of windows of one text: its own, or the recipe's for all."""
        return self.windows.limit if text.windows is None else text.windows


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
        raise RecipeError(_unreadable(path, error)) from error
    data = _parse(path, text)
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain_all(path, data, error.errors(include_url=False)))) from error
    return LoadedRecipe(recipe, path, text)


@contextmanager
def at(loaded: LoadedRecipe, *location: str | int) -> Iterator[None]:
    """Put the place in the recipe before the message of a RecipeError that leaves the block."""
    try:
        yield
    except RecipeError as error:
        line = _line(_parse(loaded.path, loaded.text), location)
        field = ".".join(str(part) for part in location)
        raise RecipeError(f"{loaded.path}:{line}: {field}: {error}") from error


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"{path}:{line}: the recipe is not UTF-8 text (byte {error.start}); save it as UTF-8"
    near = ""
    if path.parent.is_dir():
        names = [p.name for p in path.parent.iterdir() if p.suffix in {".yaml", ".yml"}]
        near = _suggest(path.name, names)
    return f"{path}: the recipe cannot be read ({error.strerror}){near}"


def _parse(path: Path, text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        data = YAML(typ="rt").load(io.StringIO(text))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = (error.problem or str(error)).strip()
        raise RecipeError(f"{path}:{line}: not valid YAML: {problem}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}:1: not valid YAML: {str(error).strip().splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: a recipe is a mapping of keys (got {_show(data)}); see `quantcurve schema`")
    return data


def _explain_all(path: Path, data: Any, details: list[ErrorDetails]) -> list[str]:
    """One line for each mistake, in the file's order; a list is not blamed for its items."""
    places = [detail["loc"] for detail in details]
    leaves = [d for d in details if not any(d["loc"] == p[: len(d["loc"])] and d["loc"] != p for p in places)]
    return [_explain(path, data, d) for d in sorted(leaves, key=lambda d: _line(data, d["loc"]))]


def _explain(path: Path, data: Any, detail: ErrorDetails) -> str:
    location = [part for part in detail["loc"] if part not in {"function-after", "nullable"}]
    field = ".".join(str(part) for part in location) or "recipe"
    line = _line(data, location)
    what, candidates = _what(detail, location)
    value = detail["input"]
    got = "" if detail["type"] == "missing" else f" (got {_show(value)})"
    wrong_name = str(location[-1]) if detail["type"] == "extra_forbidden" and location else str(value)
    return f"{path}:{line}: {field}: {what}{got}{_suggest(wrong_name, candidates)}"


def _what(detail: ErrorDetails, location: Sequence[int | str]) -> tuple[str, list[str]]:
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return "unknown key", _keys_at(location[:-1])
    if detail["type"] == "missing":
        return "required key is missing", []
    if detail["type"] == "literal_error":
        expected = str(context["expected"])
        return f"must be one of {expected}", [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    message = detail["msg"]
    return message[0].lower() + message[1:], list(context.get("candidates", []))


def _keys_at(location: Sequence[int | str]) -> list[str]:
    """Names of the keys that a place in the recipe may have."""
    here: Any = Recipe
    for part in location:
        if isinstance(part, str) and isinstance(here, type) and issubclass(here, BaseModel):
            here = _model_in(here.model_fields[part].annotation) if part in here.model_fields else None
    return list(here.model_fields) if here is not None else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for arg in typing.get_args(annotation) if (m := _model_in(arg))), None)


def _line(data: Any, location: Sequence[int | str]) -> int:
    """Line of the deepest part of a location that the file has, counted from 1."""
    line = 0
    here: Any = data
    for part in location:
        try:
            place = here.lc  # ruamel's record of lines and columns
            line = place.key(part)[0] if isinstance(part, str) else place.item(part)[0]
            here = here[part]
        except (KeyError, IndexError, TypeError, AttributeError):
            break
    return line + 1


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _suggest(name: str, candidates: Sequence[str]) -> str:
    folded = {c.casefold(): c for c in candidates}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]}?" if near else ""
