"""The recipe's slices: what the scorecard asks, beside lm-evaluation-harness's tasks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.recipe_accuracy import OF_RECORDS, OF_WINDOWS
from quantcurve.records import Frozen
from quantcurve.slices.formats import NAMES as FORMATS
from quantcurve.slices.items import Kind
from quantcurve.slices.makers import NAMES as MADE

Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w.+-]+$")]

ASKED_HERE = ("made", "kind", "format", "judge", "max_tokens", "system")
"""Fields of slices whose items quantcurve asks and judges."""


class SliceEntry(Frozen):
    """One slice: made by quantcurve (a name alone), or read from a file of the user's."""

    name: Name
    made: str | None = Field(None, description=f"one of {', '.join(MADE)}; else the slice's own name")
    file: str | None = Field(None, min_length=1, max_length=1000, description="JSONL, relative to the recipe")
    kind: Kind | None = Field(None, description="of the file's items, where its lines do not say")
    format: str | None = Field(None, description=f"of the file, if it is a public set: {', '.join(FORMATS)}")
    items: int | None = Field(None, ge=2, le=1_000_000, description="at most; else what the contract's mode needs")
    max_tokens: int | None = Field(None, ge=1, le=65_536, description="of an answer, where its item does not say")
    system: str | None = Field(None, max_length=100_000, description="system message of chats that bring none")
    judge: str | None = Field(
        None, max_length=1000, description="FILE.py:FUNCTION in place of the built-in judge, relative to the recipe"
    )
    function: str | None = Field(
        None,
        max_length=1000,
        description="a check: FILE.py:FUNCTION, called with a model and the file's records, relative to the recipe; or "
        f"one of {', '.join(OF_RECORDS)}",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("function")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value in OF_WINDOWS:
            raise PydanticCustomError(
                "function", "takes windows of texts; of records: {known}", {"known": ", ".join(OF_RECORDS)}
            )
        if value is not None and value not in OF_RECORDS and ".py:" not in value:
            raise PydanticCustomError(
                "function", "neither built in nor FILE.py:FUNCTION", {"candidates": list(OF_RECORDS)}
            )
        return value

    @model_validator(mode="after")
    def _possible_check(self) -> SliceEntry:
        if self.function is None:
            return self
        if not self.file:
            raise PydanticCustomError("function", "a function judges a model on records: give their file")
        others = [name for name in ASKED_HERE if getattr(self, name) is not None]
        if others:
            words = {"others": " and ".join(others)}
            raise PydanticCustomError("function", "{others}: a function asks and judges itself; leave it out", words)
        return self

    @model_validator(mode="after")
    def _possible(self) -> SliceEntry:
        if self.made and self.file:
            raise PydanticCustomError("slice", "give made or file, one of them")
        if not self.file and self.maker not in MADE:
            raise PydanticCustomError(
                "slice",
                "quantcurve makes no slice {name}; give file, or made: one of {known}",
                {"name": self.maker, "known": ", ".join(MADE), "candidates": list(MADE)},
            )
        if not self.file and (self.kind or self.format):
            raise PydanticCustomError("slice", "kind and format are of a file")
        if self.format is not None and self.format not in FORMATS:
            raise PydanticCustomError("format", "no format that is read", {"candidates": list(FORMATS)})
        if self.judge is not None and ".py:" not in self.judge:
            raise PydanticCustomError("judge", "not FILE.py:FUNCTION")
        return self

    @property
    def maker(self) -> str:
        """Name of quantcurve's slice that is meant, where there is no file."""
        return self.made or self.name
