"""Generation by OpenVINO on the stateful IR that is deployed, many sequences in one batch; runs in a child process (see
child.py).

A loop of our own: OpenVINO GenAI's continuous batching gives no logits, and runs another attention than the one in the
graph. What all prompts begin with is computed once for a group, in one row that all rows go on from (beam_idx); a row
whose answer has ended is left out of the next pass in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantcurve import generation
from quantcurve.engines import generating
from quantcurve.engines.base import Floats, Tokens
from quantcurve.engines.openvino_child import Model, current
from quantcurve.engines.openvino_rows import Rows
from quantcurve.engines.text_side import TextSide
from quantcurve.generation import Answer, Request


class _Decoder:
    """The model of this process, as generating.Decoder."""

    def __init__(self, model: Model) -> None:
        self._rows = Rows(model)
        self._text = TextSide(model.path)
        self._slots: list[int] = []
        """Of the last pass, row by row."""

    def begin(self, prompts: Sequence[Tokens], shared: int) -> Floats:
        """See generating.Decoder."""
        self._slots = list(range(len(prompts)))
        return self._rows.begin([prompt[shared:] for prompt in prompts], prompts[0][:shared])

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Floats:
        """See generating.Decoder."""
        from_rows = [self._slots.index(slot) for slot in slots]
        self._slots = list(slots)
        return self._rows.go_on([np.array([token], np.int32) for token in tokens], from_rows)[:, -1]

    def text(self, prompt: Tokens, new: Sequence[int]) -> str:
        """See generating.Decoder."""
        return self._text.continued(prompt.tolist(), new)


def generate(requests: Sequence[Request], shared: int) -> list[Answer]:
    """Answers of one group of requests; see generating.generate.

    Raises:
        RecipeError: a request cannot be continued.
        ModelFileError: there is no tokenizer beside the IR.
        BackendError: OpenVINO failed.
    """
    model = current()
    generation.check(requests, model.config.window_tokens, model.vocabulary)
    return generating.generate(_Decoder(model), requests, shared)


def end_tokens() -> tuple[int, ...]:
    """Tokens that end an answer, by generation_config.json or config.json beside the open IR."""
    return tuple(sorted(TextSide(current().path).ends))
