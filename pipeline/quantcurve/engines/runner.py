"""What runs token ids through an IR in a child process, whatever is in its graph: see openvino_child.Model for the
deployed form, openvino_switch.py and openvino_weight_swap.py for those that layers can be restored in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens


class Runner(Protocol):
    """A language model compiled in this process, with its KV cache inside."""

    path: Path
    """Folder of the IR, with the tokenizer beside it; named in errors."""
    config: OpenVinoConfig
    vocabulary: int
    plain_cache: bool
    """Whether the KV cache holds floats, so that one pass over a window gives what many passes give."""

    def forward(self, tokens: Tokens, past: int, positions: int = 1) -> Floats:
        """Logits (B, positions, vocabulary) of the last positions: a view into the engine's buffer, valid until the
        next pass.

        Args:
            tokens: (B, S) ids.
            past: positions of the same B sequences that are in the cache; 0 empties it.
            positions: at most S.

        Raises:
            BackendError: OpenVINO failed.
        """
        ...
