"""Calibration sets: the recipe's key, the mixes of strata (calib/mixes), and the record of a set that was made.

recipe.py imports this module, so that nothing here imports recipe.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve import recipe_errors, resources
from quantcurve.errors import RecipeError
from quantcurve.records import Frozen

EMBEDDED = ("chat", "code", "math_reasoning", "multilingual", "retrieval_long_context", "safety_refusal", "tool_use")
"""Strata that calib/strata has texts of."""
DOMAIN = "domain"
"""The stratum of what the user's own traffic looks like."""
STRATUM_NAMES = (*EMBEDDED, DOMAIN)
LEAST_WINDOWS = 8
"""Fewer windows give the mean squares of activations no chance to settle."""

Source = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f]+$")]
FieldPath = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(gt=0, le=1e6)]
Stratum = Literal[
    "chat", "code", "math_reasoning", "multilingual", "retrieval_long_context", "safety_refusal", "tool_use", "domain"
]


class CalibrationSource(Frozen):
    """Calibration texts of the user's own."""

    name: str = Field(min_length=1, max_length=40, pattern=r"^[\w.+-]+$")
    stratum: Stratum = Field("domain", description="which stratum of the mix they belong to")
    source: Source = Field(
        description="a text, JSONL, JSON or Parquet file, hf:OWNER/NAME[@REVISION]#FILE in a data set repository, "
        "embedded:STRATUM/calibration, or pydoc:topics",
    )
    field: FieldPath | None = Field(
        None,
        description="for records: the field with a text, or with a list of messages (role, content), dots for nesting; "
        "`messages` if there is one",
    )
    share: Share = Field(1.0, description="of its stratum, relative to the other sources of that stratum")


class Calibration(Frozen):
    """The one set of texts that the importance matrix and NNCF are calibrated on."""

    mix: str = Field(
        "default",
        min_length=1,
        max_length=1000,
        description="weights of the strata: a shipped mix (default, coding-assistant, support-bot) or a .yaml file",
    )
    sources: tuple[CalibrationSource, ...] = Field((), max_length=100, description="texts of your own")
    # As much as the shipped texts hold at the default mix's shares (SmolLM2's vocabulary). llama-imatrix and NNCF see
    # 64 windows, half of NNCF's usual 128 samples; ask for more with sources of your own.
    tokens: int = Field(32_768, ge=16, le=2**30, description="size of the whole set")
    # The context of llama-imatrix and of the evaluation windows.
    window_tokens: int = Field(512, ge=16, le=1_048_576, description="length of every window")

    @field_validator("sources")
    @classmethod
    def _distinct(cls, values: tuple[CalibrationSource, ...]) -> tuple[CalibrationSource, ...]:
        names = [s.name for s in values]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        return values

    @model_validator(mode="after")
    def _enough(self) -> Calibration:
        least = LEAST_WINDOWS * self.window_tokens
        if self.tokens < least:
            raise PydanticCustomError(
                "tokens",
                "tokens ({tokens}) must be at least {least}, {windows} windows of {length}",
                {"tokens": self.tokens, "least": least, "windows": LEAST_WINDOWS, "length": self.window_tokens},
            )
        return self


class MixSource(Frozen):
    """Texts that a mix names."""

    source: Source
    field: FieldPath | None = None
    share: Share = 1.0


class MixStratum(Frozen):
    """One stratum of a mix."""

    name: Stratum
    weight: Share = Field(description="relative to the others; the shipped mixes add up to 100")
    sources: tuple[MixSource, ...] = ()


class Mix(Frozen):
    """How much of each stratum a calibration set has."""

    strata: tuple[MixStratum, ...] = Field(min_length=1)

    @field_validator("strata")
    @classmethod
    def _distinct(cls, values: tuple[MixStratum, ...]) -> tuple[MixStratum, ...]:
        names = [s.name for s in values]
        if repeated := {n for n in names if names.count(n) > 1}:
            raise PydanticCustomError("repeated", "named twice: {names}", {"names": ", ".join(sorted(repeated))})
        return values


class StratumCoverage(Frozen):
    """One stratum of a set. Items that are left out are counted once, by the first reason that holds."""

    name: str
    wanted_share: float
    """0 to 1; after the spread of strata without sources."""
    reached_share: float
    """Of the set's tokens, 0 to 1."""
    tokens: int
    wanted_tokens: int
    available_tokens: int
    """Of all items that may be used."""
    offered: int
    """Items of all sources."""
    used: int
    duplicates: int
    near_duplicates: int
    overlapping: int
    """Are a held-out text, or share a passage with one (see near_duplicates.HeldOut)."""
    refused: int
    """The model's chat template takes them in no form."""


class LanguageCoverage(Frozen):
    """Items and tokens of one language; `not said` where the records do not name it."""

    language: str
    items: int
    tokens: int


class LengthCoverage(Frozen):
    """Quantiles of the length of the items in use, in tokens."""

    shortest: int
    lower_quartile: int
    median: int
    upper_quartile: int
    longest: int


class SpecialToken(Frozen):
    """A control token of the vocabulary that occurs in the set."""

    text: str
    count: int


class CalibrationResult(Frozen):
    """A calibration set as it was made."""

    mix: str
    tokens: int
    windows: int
    window_tokens: int
    content_hash: str
    """SHA-256 of the token ids and shape."""
    chat_template: Literal["model", "none", "unusable"]
    """Whose template chats were written with; without one, or with one that refuses every chat, they are plain text."""
    strata: tuple[StratumCoverage, ...]
    languages: tuple[LanguageCoverage, ...]
    lengths: LengthCoverage
    special_tokens: tuple[SpecialToken, ...]
    special_tokens_missing: tuple[str, ...]
    """Control tokens that the chat template names and the set has not."""
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def mix_path(mix: str, base: Path) -> Path:
    """File of a mix: a shipped one by its name, or a path relative to `base`.

    Raises:
        RecipeError: no shipped mix has this name.
    """
    if Path(mix).suffix in {".yaml", ".yml"} or "/" in mix:
        return base / mix
    shipped = {p.stem: p for p in sorted((resources.folder("calib") / "mixes").glob("*.yaml"))}
    if mix not in shipped:
        near = difflib.get_close_matches(mix, shipped, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RecipeError(f"no mix {mix!r}: there are {', '.join(shipped)}, or give a .yaml file{hint}")
    return shipped[mix]


def load_mix(path: Path) -> Mix:
    """Read and check a mix.

    Raises:
        RecipeError: the file cannot be read, is no YAML, or does not fit; one line for each mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: the mix cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: the mix is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    data = recipe_errors.parse(path, text)
    try:
        return Mix.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise RecipeError("\n".join(recipe_errors.explain_all(path, data, details, Mix))) from error


def without_sources(mix: Mix, sources: Sequence[CalibrationSource]) -> tuple[str, ...]:
    """Strata of a mix that nobody gives texts for."""
    given = {s.stratum for s in sources}
    return tuple(s.name for s in mix.strata if not s.sources and s.name not in given)
