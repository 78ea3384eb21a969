"""Likelihoods of continuations by llama.cpp; runs in a child process (see child.py).

As in llama.cpp's own multiple-choice scores (tools/perplexity/perplexity.cpp, multiple_choice_score), the tokens of a
context belong to the sequences of all its continuations, and many questions are decoded in one batch.

What all contexts begin with stays in the cache from batch to batch, in every sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import llama_cpp as lc
import numpy as np

from quantcurve import likelihood
from quantcurve.engines.base import Tokens
from quantcurve.engines.llamacpp_child import Model, current
from quantcurve.engines.tally import Tally
from quantcurve.errors import BackendError
from quantcurve.likelihood import Batch, Likelihood, Question


class _Entry(NamedTuple):
    """A token that is decoded, and what its logits are wanted for."""

    token: int
    position: int
    sequences: Sequence[int]
    targets: tuple[tuple[int, int], ...]
    """Continuations, by their place in the batch, and their next tokens."""


def log_likelihoods(batch: Batch) -> list[Likelihood]:
    """Of a batch's continuations, question by question; see base.LoadedModel.log_likelihoods.

    Raises:
        RecipeError: a pair is too long, or empty.
        BackendError: the model was not opened for this (LlamaCppConfig.for_likelihoods), llama.cpp failed, or its
            logits are not finite.
    """
    model = current()
    if not model.config.unified:
        raise BackendError(f"{model.path}: likelihoods of many continuations need a cache that sequences share")
    likelihood.check(batch.pairs, model.config.window_tokens, model.vocabulary)
    _keep(model, batch.questions[0].context[: batch.shared])
    entries, first = list[_Entry](), 0
    for question in batch.questions:
        entries += _entries(question, first, batch.shared)
        first += len(question.continuations)
    tally = Tally(batch.pairs, model.path)
    for begin in range(0, len(entries), model.config.batch_tokens):
        some = entries[begin : begin + model.config.batch_tokens]
        _decode(model, some)
        wanted = [entry.targets for entry in some if entry.targets]
        if wanted:
            for row, targets in zip(model.logits(len(wanted)), wanted, strict=True):
                tally.add(row, targets)
    return tally.found()


def _entries(question: Question, first: int, shared: int) -> Iterator[_Entry]:
    places = range(first, first + len(question.continuations))
    end = len(question.context)
    begins = tuple((place, int(c[0])) for place, c in zip(places, question.continuations, strict=True))
    for position in range(shared, end):
        yield _Entry(int(question.context[position]), position, places, begins if position == end - 1 else ())
    for place, continuation in zip(places, question.continuations, strict=True):
        for i in range(len(continuation) - 1):
            yield _Entry(int(continuation[i]), end + i, (place,), ((place, int(continuation[i + 1])),))


def _keep(model: Model, shared: Tokens) -> None:
    """Have just this in every sequence."""
    if len(shared) and np.array_equal(model.kept_tokens, shared):
        lc.llama_memory_seq_rm(model.memory, -1, len(shared), -1)
        return
    model.clear()
    for begin in range(0, len(shared), model.config.batch_tokens):
        part = shared[begin : begin + model.config.batch_tokens]
        _decode(model, [_Entry(int(token), begin + i, (0,), ()) for i, token in enumerate(part)])
    for sequence in range(1, model.config.sequences):
        lc.llama_memory_seq_cp(model.memory, 0, sequence, -1, -1)
    model.kept_tokens = shared.copy()


def _decode(model: Model, entries: Sequence[_Entry]) -> None:
    model.decode(
        np.array([entry.token for entry in entries], np.int32),
        np.array([entry.position for entry in entries], np.int32),
        [entry.sequences for entry in entries],
        np.array([bool(entry.targets) for entry in entries], np.int32),
    )
