"""What a validation function asks of a language model, as tokens: the same whatever runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.validation_errors import SequenceTooLongError


class EncodedPair(NamedTuple):
    """A prompt and what goes on from it."""

    ids: Tokens
    """(n,) of both."""
    begin: int
    """Place of the continuation's first token, 1 at least."""


def encoded_pairs(text: TextSide, pairs: Sequence[tuple[str, str]], context_tokens: int) -> list[EncodedPair]:
    """Pairs of LanguageModel.log_likelihood; what is one token across their border belongs to the continuation.

    Raises:
        RecipeError: a pair is longer than the context, or its continuation is empty.
    """
    found = []
    for i, (context, continuation) in enumerate(pairs):
        whole, begin = text.encode_pair(context, continuation)
        if not continuation or len(whole) <= begin:
            raise RecipeError(f"pair {i}: its continuation is empty; give a text whose likelihood is wanted")
        if len(whole) > context_tokens:
            raise SequenceTooLongError("the pair", i, len(whole), context_tokens)
        found.append(EncodedPair(np.array(whole, np.int32), begin))
    return found


def encoded_prompts(text: TextSide, prompts: Sequence[str], max_tokens: int, context_tokens: int) -> list[Tokens]:
    """Prompts of LanguageModel.generate, (n,) ids each.

    Raises:
        RecipeError: a prompt and max_tokens are longer than the context, a prompt is empty, or no token is asked for.
    """
    if max_tokens < 1:
        raise RecipeError(f"max_tokens is {max_tokens}; at least one token can be generated")
    encoded = [text.encode(prompt) for prompt in prompts]
    for i, ids in enumerate(encoded):
        if not ids:
            raise RecipeError(f"prompt {i} is empty, and the tokenizer puts no token in front of it; give a text")
        if len(ids) + max_tokens > context_tokens:
            raise SequenceTooLongError("the prompt and max_tokens", i, len(ids) + max_tokens, context_tokens)
    return [np.array(ids, np.int32) for ids in encoded]


def stop_strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Of LanguageModel.generate: one or several, the empty ones left out."""
    return tuple(s for s in ([stop] if isinstance(stop, str) else stop) if s)
