"""What a slice's items ask of a model: the same tokens, limits and stops for the reference and for every variant."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.generation import Request
from quantcurve.likelihood import Pair
from quantcurve.records import Frozen
from quantcurve.slices.items import ChoiceItem, Item, Kind
from quantcurve.task_records import AnswerRecord

ANSWER_TOKENS: dict[Kind, int] = {
    "number": 192,
    "text": 32,
    "retrieval": 32,
    "code": 256,
    "json": 192,
    "tool_call": 128,
    "instructions": 256,
    "refusal": 96,
}
"""Of an answer, where neither its item nor its slice says."""


class AskSettings(Frozen):
    """How all items of a slice are asked."""

    ends: tuple[int, ...]
    """Tokens that end answers: the reference's, on every model."""
    context_tokens: int
    """Longest prompt with its answer."""
    max_tokens: int | None = None
    """Of an answer whose item does not say; None: ANSWER_TOKENS."""
    system: str | None = None
    """System message of chats that bring none."""


class Asked(NamedTuple):
    """One item as a model gets it: an answer is wanted, or the likelihoods of its choices."""

    item: Item
    request: Request | None
    pairs: tuple[Pair, ...]

    @property
    def prompt(self) -> Tokens:
        """(n,) ids; of multiple choice what all choices go on from."""
        if self.request:
            return self.request.prompt
        return min((pair.context for pair in self.pairs), key=len)

    @property
    def prompt_hash(self) -> str:
        """Of everything that the model gets."""
        total = hashlib.sha256()
        for ids in [self.request.prompt] if self.request else [ids for p in self.pairs for ids in p[:2]]:
            total.update(np.asarray(ids, np.int32).tobytes() + b"|")
        return total.hexdigest()


def ask(slice_name: str, items: Sequence[Item], text: TextSide, settings: AskSettings) -> list[Asked]:
    """All items as tokens.

    Args:
        slice_name: for messages.
        items: of the slice.
        text: the reference's tokenizer and chat template.
        settings: of the slice.

    Raises:
        RecipeError: an item is longer than the context, or the model's template refuses its chat; with its id.
    """
    found = []
    for item in items:
        try:
            asked = _asked(item, text, settings)
        except RecipeError as error:
            raise RecipeError(f"slice {slice_name}, item {item.id}: {error}") from error
        _require_room(slice_name, asked, settings.context_tokens)
        found.append(asked)
    return found


def followed(asked: Asked, answer: AnswerRecord, ends: Sequence[int]) -> Pair | None:
    """The reference's answer as a continuation that every model is led along; None where it has no token. If the answer
    ended by itself, one more step is looked at, whose probability and rank of the end are those of `ends`.

    Args:
        asked: a generated item.
        answer: the reference's.
        ends: tokens that end answers.
    """
    assert asked.request
    stopped = answer.stop_reason == "end" and bool(ends)
    ids = [*answer.tokens, *(ends[:1] if stopped else ())]
    return Pair(asked.request.prompt, np.array(ids, np.int32), tuple(ends)) if ids else None


def _asked(item: Item, text: TextSide, settings: AskSettings) -> Asked:
    prompt = _prompt(item, text, settings)
    if isinstance(item, ChoiceItem):
        return Asked(item, None, tuple(_pair(prompt, choice, text) for choice in item.choices))
    most = item.max_tokens or settings.max_tokens or ANSWER_TOKENS[item.kind]
    ids = np.array(text.encode(prompt), np.int32)
    return Asked(item, Request(ids, most, settings.ends, item.stop), ())


def _prompt(item: Item, text: TextSide, settings: AskSettings) -> str:
    if item.prompt:
        return item.prompt
    messages = [message.model_dump() for message in item.messages]
    if settings.system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": settings.system})
    return text.chat(messages)


def _pair(prompt: str, choice: str, text: TextSide) -> Pair:
    apart = prompt[-1].isspace() or choice[0].isspace()
    ids, begin = text.encode_pair(prompt, choice if apart else f" {choice}")
    return Pair(np.array(ids[:begin], np.int32), np.array(ids[begin:], np.int32))


def _require_room(slice_name: str, asked: Asked, context_tokens: int) -> None:
    longest = max((pair.fed for pair in asked.pairs), default=0)
    if asked.request:
        longest = len(asked.request.prompt) + asked.request.max_tokens
    if longest > context_tokens:
        answer = f" and an answer of {asked.request.max_tokens:,}" if asked.request else ""
        raise RecipeError(
            f"slice {slice_name}, item {asked.item.id}: {len(asked.prompt):,} tokens{answer} are {longest:,}, and "
            f"context_tokens is {context_tokens:,}; raise it, or shorten the item"
        )
