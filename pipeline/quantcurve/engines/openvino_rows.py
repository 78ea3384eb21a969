"""Sequences of different lengths as the rows of one infer request's KV cache; runs in a child process (see child.py).

New tokens are filled up to one length, in front where their last logits are wanted and behind where all are: behind,
causal attention hides the filling from what stands before, and in front the mask does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantcurve.engines.base import Floats, Tokens
from quantcurve.engines.openvino_child import Model, first_line
from quantcurve.engines.openvino_inputs import START
from quantcurve.errors import BackendError

FILLER_POSITION = 1
"""Of what stands in front of a sequence; masked, so that any will do."""


class Rows:
    """What is in the cache, row by row."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._request = model.compiled.create_infer_request()
        self._mask = np.ones((1, 0), np.int64)
        """(rows, tokens in the cache)."""
        self._next = np.zeros(1, np.int64)
        """Position of each row's next token."""

    def begin(self, parts: Sequence[Tokens], shared: Tokens) -> Floats:
        """Put in a row for each part, what all share (computed once) before it; logits after each, (B, vocabulary),
        valid until the next pass.

        Raises:
            BackendError: OpenVINO failed.
        """
        self._request.reset_state()
        start, rows = len(shared), len(parts)
        if start:
            self._pass(shared[None], np.arange(start)[None], np.ones((1, start), np.int64), [0], 1)
        lengths = np.array([len(part) for part in parts])
        longest = int(lengths.max())
        place = np.arange(longest) - (longest - lengths)[:, None]  # (B, longest), below 0 in front of a part
        ids = np.array([np.pad(part, (longest - len(part), 0)) for part in parts])
        self._mask = np.hstack([np.ones((rows, start), np.int64), (place >= 0).astype(np.int64)])
        self._next = start + lengths
        positions = np.where(place >= 0, start + place, FILLER_POSITION)
        return self._pass(ids, positions, self._mask, [0] * rows if start else list(range(rows)), 1)[:, -1]

    def go_on(self, parts: Sequence[Tokens], from_rows: Sequence[int]) -> Floats:
        """Let rows take the place of those that are there, each going on from one of them; logits after every token,
        (B, longest part, vocabulary), valid until the next pass; of a shorter part those behind its end say nothing,
        and nothing can go on from it.

        Raises:
            BackendError: OpenVINO failed.
        """
        longest = max(len(part) for part in parts)
        ids = np.array([np.pad(part, (0, longest - len(part))) for part in parts])
        self._mask = np.hstack([self._mask[from_rows], np.ones(ids.shape, np.int64)])
        positions = self._next[from_rows][:, None] + np.arange(longest)
        self._next = positions[:, -1] + 1
        return self._pass(ids, positions, self._mask, from_rows, longest)

    def _pass(self, ids: Tokens, positions: Any, mask: Any, from_rows: Sequence[int], wanted: int) -> Floats:
        offered = {
            "input_ids": np.ascontiguousarray(ids, np.int64),
            "attention_mask": np.ascontiguousarray(mask),
            "position_ids": np.ascontiguousarray(positions, np.int64),
            "beam_idx": np.array(from_rows, np.int32),
            START: np.array([-wanted], np.int64),
        }
        model = self._model
        try:
            self._request.infer({name: offered[name] for name in model.inputs}, share_inputs=True)
        except RuntimeError as error:
            rows, length = ids.shape
            raise BackendError(
                f"{model.path}: OpenVINO failed on {rows} sequences of {length} tokens: {first_line(error)}"
            ) from error
        found: Floats = self._request.get_tensor("logits").data
        return found[:, -wanted:]
