"""Generation by llama.cpp, many sequences in one batch; runs in a child process (see child.py).

Every sequence has a stream of the KV cache of its own, so that a batch costs what llama-batched-bench has it cost. What
all prompts begin with is computed once, in the last sequence, and copied into the others for every group; the last
sequence keeps it for the groups to come.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp as lc
import numpy as np

from quantcurve import generation
from quantcurve.engines import generating
from quantcurve.engines.base import Floats, Tokens
from quantcurve.engines.llamacpp_child import Model, current
from quantcurve.errors import BackendError
from quantcurve.generation import Answer, Request


class _Decoder:
    """The model of this process, as generating.Decoder."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._keeper = model.config.sequences - 1
        self._lengths: list[int] = []
        self._pieces: dict[int, bytes] = {}

    def begin(self, prompts: Sequence[Tokens], shared: int) -> Floats:
        """See generating.Decoder."""
        model = self._model
        if not np.array_equal(model.kept_tokens, prompts[0][:shared]):
            model.clear()
            self._prefill(prompts[0][:shared])
            model.kept_tokens = prompts[0][:shared].copy()
        for sequence in range(len(prompts)):
            lc.llama_memory_seq_rm(model.memory, sequence, -1, -1)
            if shared:
                lc.llama_memory_seq_cp(model.memory, self._keeper, sequence, -1, -1)
        self._lengths = [len(prompt) for prompt in prompts]
        return self._ends_of([prompt[shared:] for prompt in prompts], shared)

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Floats:
        """See generating.Decoder."""
        positions = np.array([self._lengths[slot] for slot in slots], np.int32)
        ones = np.ones(len(slots), np.int32)
        self._model.decode(np.array(tokens, np.int32), positions, np.array(slots, np.int32), ones)
        for slot in slots:
            self._lengths[slot] += 1
        return self._model.logits(len(slots))

    def text(self, prompt: Tokens, new: Sequence[int]) -> str:
        """See generating.Decoder: bytes by llama_token_to_piece, special tokens left out."""
        return b"".join(map(self._piece, new)).decode("utf-8", "replace")

    def _prefill(self, tokens: Tokens) -> None:
        size = self._model.config.batch_tokens
        for begin in range(0, len(tokens), size):
            part = tokens[begin : begin + size]
            positions = np.arange(begin, begin + len(part), dtype=np.int32)
            none = np.zeros(len(part), np.int32)
            self._model.decode(part, positions, np.full(len(part), self._keeper, np.int32), none)

    def _ends_of(self, parts: Sequence[Tokens], first: int) -> Floats:
        """Logits after each part (B, vocabulary), the parts decoded in batches of whole sequences side by side."""
        model, size = self._model, self._model.config.batch_tokens
        tokens = np.concatenate(parts)
        sequences = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        positions = np.concatenate([np.arange(first, first + len(part), dtype=np.int32) for part in parts])
        wanted = np.zeros(len(tokens), np.int32)
        wanted[np.cumsum([len(part) for part in parts]) - 1] = 1
        found = np.empty((len(parts), model.vocabulary), np.float32)
        done = 0
        for begin in range(0, len(tokens), size):
            some = slice(begin, begin + size)
            model.decode(tokens[some], positions[some], sequences[some], wanted[some])
            if count := int(wanted[some].sum()):
                found[done : done + count] = model.logits(count)
                done += count
        return found

    def _piece(self, token: int) -> bytes:
        if token not in self._pieces:
            vocab, room = self._model.vocab, 64
            buffer = ctypes.create_string_buffer(room)
            count = lc.llama_token_to_piece(vocab, token, buffer, room, 0, False)
            if count < 0:  # minus the room that it needs
                buffer = ctypes.create_string_buffer(-count)
                count = lc.llama_token_to_piece(vocab, token, buffer, -count, 0, False)
            self._pieces[token] = buffer.raw[:count]
        return self._pieces[token]


def generate(requests: Sequence[Request], shared: int) -> list[Answer]:
    """Answers of one group of requests; see generating.generate.

    The model must be open with one sequence more than there are requests, which keeps what all prompts begin with.

    Raises:
        RecipeError: a request cannot be continued.
        BackendError: llama.cpp failed.
    """
    model = current()
    if len(requests) > (most := model.config.sequences - 1):
        raise BackendError(f"{model.path}: {len(requests)} answers at a time, and the model was opened for {most}")
    generation.check(requests, model.config.window_tokens, model.vocabulary)
    return generating.generate(_Decoder(model), requests, shared)


def end_tokens() -> tuple[int, ...]:
    """Tokens of the open model's vocabulary that end an answer (llama_vocab_is_eog)."""
    model = current()
    return tuple(token for token in range(model.vocabulary) if lc.llama_vocab_is_eog(model.vocab, token))
