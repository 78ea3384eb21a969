"""Validation functions: the user's own judgement of a model, item by item.

A function gets a model and items, and gives one value for each item, higher is better:

    def answers(model, items):
        found = model.log_likelihood([(i.record["prompt"], i.record["answer"]) for i in items])
        return [f.nats for f in found]

The model is the float reference, a variant, or a variant with some layers restored: a function cannot tell, and must
not care. It must be deterministic, must not carry anything from one item to the next, and sees the items in any order,
all at once or one by one. What it needs of the model is below; nothing of NNCF's or OpenVINO's.

Accuracy control (validations) and the scorecard (slices with `function`, slices/checks.py) call the same functions. The
scorecard has records alone: there `score` and `reference_top1` are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from quantcurve.engines.base import Floats, Tokens, TokenScores
from quantcurve.likelihood import Likelihood

NO_TOKENS: Tokens = np.empty(0, np.int32)


class Item(NamedTuple):
    """What a model is judged on: a window of a text, or a record of the user's."""

    number: int
    """Among all items of the validation; its name in errors."""
    source: str
    """Name of the text or of the record's file."""
    tokens: Tokens = NO_TOKENS
    """(T,) ids, of a window; the second half is scored."""
    record: Mapping[str, Any] = {}
    """Of a line of a JSONL file."""


class LanguageModel(Protocol):
    """A language model that is loaded. Every call starts from an empty KV cache."""

    @property
    def context_tokens(self) -> int:
        """Longest sequence that it takes."""
        ...

    def score(self, items: Sequence[Item]) -> list[TokenScores]:
        """Figures of the second half of each item's window, token by token, (1, T / 2 - 1); with the KL divergence from
        the float reference (`kl`), and its most likely token (`reference_top1` below).

        Raises:
            RecipeError: an item has no window, or one longer than the context.
        """
        ...

    def reference_top1(self, items: Sequence[Item]) -> list[Tokens]:
        """The float reference's most likely tokens at the positions of `score`, (T / 2 - 1,) each."""
        ...

    def log_likelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Of a continuation after a prompt, pair by pair; what is one token across their border belongs to the
        continuation (as in lm-evaluation-harness, api/model.py, _encode_pair).

        Raises:
            RecipeError: a pair is longer than the context, or its continuation is empty.
        """
        ...

    def generate(self, prompts: Sequence[str], max_tokens: int = 64, stop: Sequence[str] = ()) -> list[str]:
        """Greedy continuations, up to the end of the text, a stop string (which is left out) or so many tokens.

        Raises:
            RecipeError: a prompt and max_tokens are longer than the context.
        """
        ...

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt that the model's chat template makes of messages (role, content), ready for an answer.

        Raises:
            RecipeError: the model has no template, or it refuses them.
        """
        ...


class Encoder(Protocol):
    """An embedding model that is loaded."""

    @property
    def context_tokens(self) -> int:
        """Longest text that it takes; of longer ones the beginning."""
        ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings (n, width) as the model's own pipeline makes them: pooled, and normalised where it does so."""
        ...


ValidationFunction = Callable[[Any, Sequence[Item]], Sequence[float]]
"""From a LanguageModel or Encoder and items to one value for each item."""
