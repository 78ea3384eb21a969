"""Items of the scorecard's slices: what a model is asked, and what a right answer is.

A slice is a list of items of one kind. Items come from quantcurve's own makers (makers.py), from public formats
(formats.py), or from a JSONL file of the user's, one item a line with the fields below.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from quantcurve.records import Frozen

Text = Annotated[str, Field(min_length=1, max_length=1_000_000)]


class Message(Frozen):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class _Item(Frozen):
    """What items of all kinds have."""

    id: str = Field("", max_length=200, description="unique in the slice; the line's number where it is empty")
    prompt: str = Field("", description="a text to be continued; or messages, one of them")
    messages: tuple[Message, ...] = Field((), description="a chat, written with the model's own template")
    language: str = Field("en", max_length=40)
    group: str = Field("", max_length=200, description="for tables: a subject, a difficulty")
    max_tokens: int | None = Field(None, ge=1, le=65_536, description="of the answer; the slice's where it is empty")
    stop: tuple[Text, ...] = Field((), description="texts that end the answer and are no part of it")

    @model_validator(mode="after")
    def _asked(self) -> _Item:
        if bool(self.prompt) == bool(self.messages):
            raise PydanticCustomError("prompt", "give prompt or messages, one of them")
        return self


class ChoiceItem(_Item):
    """Multiple choice, judged by the likelihoods of the choices after the prompt."""

    kind: Literal["choice"] = "choice"
    choices: tuple[Text, ...] = Field(min_length=2, max_length=100)
    answer: int = Field(ge=0, description="place of the right choice, from 0")

    @model_validator(mode="after")
    def _there(self) -> ChoiceItem:
        if self.answer >= len(self.choices):
            raise PydanticCustomError(
                "answer",
                "answer is {a}, and there are {n} choices, counted from 0",
                {"a": self.answer, "n": len(self.choices)},
            )
        return self


class NumberItem(_Item):
    """The last number of the answer is the right one, exactly."""

    kind: Literal["number"] = "number"
    answer: float


class TextItem(_Item):
    """The answer is one of these texts, or has one of them in it; but for case, white space and punctuation around."""

    kind: Literal["text"] = "text"
    answers: tuple[Text, ...] = Field(min_length=1)
    match: Literal["equal", "contains"] = "equal"


class RetrievalItem(_Item):
    """A fact planted in a long text; the answer has one of these texts in it."""

    kind: Literal["retrieval"] = "retrieval"
    answers: tuple[Text, ...] = Field(min_length=1)
    depth_percent: float = Field(ge=0, le=100, description="where in the text it stands; 0 is the beginning")
    context_words: int = Field(ge=1, description="of the whole prompt")


class CodeItem(_Item):
    """A Python program, run against its tests."""

    kind: Literal["code"] = "code"
    prefix: str = Field("", description="program text that stands before the answer; empty where that is whole")
    tests: Text = Field(description="program text that stands behind it, and fails where the answer is wrong")


class JsonItem(_Item):
    """The answer is JSON that fits a schema and has expected values."""

    kind: Literal["json"] = "json"
    schema_: dict[str, JsonValue] | None = Field(None, alias="schema", description="JSON Schema")
    expected: JsonValue = Field(None, description="what the answer must be equal to; null: nothing")


class ExpectedCall(Frozen):
    """A call of a function, with what each argument may be."""

    name: Text
    arguments: dict[str, tuple[JsonValue, ...]] = Field(
        default={}, description="values that are right, of each argument; an empty text among them: it may be left out"
    )


class ToolItem(_Item):
    """The answer calls functions, as JSON: an object with name and arguments, or a list of them."""

    kind: Literal["tool_call"] = "tool_call"
    tools: tuple[dict[str, JsonValue], ...] = Field(min_length=1, description="functions, as OpenAI's API has them")
    calls: tuple[ExpectedCall, ...] = Field((), description="in any order; none: no function is to be called")


class Check(Frozen):
    """An instruction that a program can check; see instruction_checks.py."""

    name: Text
    arguments: dict[str, JsonValue] = Field(default={}, description="what it is checked with")


class InstructionItem(_Item):
    """The answer follows all instructions."""

    kind: Literal["instructions"] = "instructions"
    checks: tuple[Check, ...] = Field(min_length=1)


class RefusalItem(_Item):
    """A prompt that is to be answered (safe) or refused (not)."""

    kind: Literal["refusal"] = "refusal"
    safe: bool


Item = Annotated[
    ChoiceItem | NumberItem | TextItem | RetrievalItem | CodeItem | JsonItem | ToolItem | InstructionItem | RefusalItem,
    Field(discriminator="kind"),
]
Kind = Literal["choice", "number", "text", "retrieval", "code", "json", "tool_call", "instructions", "refusal"]


class CheckItem(Frozen):
    """A line of a file that the user's function asks a model about (checks.py)."""

    kind: Literal["check"] = "check"
    number: int
    """Of the line."""
    source: str
    """Name of the file."""
    record: dict[str, JsonValue]


SampleKind = Kind | Literal["check"]
"""Of items that are asked, and of those that a function asks about."""


class Judgement(Frozen):
    """What a judge says of one generated answer."""

    right: bool
    well_formed: bool | None = None
    """Whether the answer has the form that was asked for (JSON, a call, a number, a program that compiles); None where
    none was."""
    refused: bool = False
    calls: int = 0
    """Functions that the answer calls."""
    skipped: str = ""
    """Why it was not judged; then nothing else counts."""
    why: str = ""
    """A few words where it is not right."""
