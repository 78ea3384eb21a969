"""Inputs of one forward pass through an IR with its KV cache inside; runs in a child process (see child.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.engines.base import Tokens
from quantcurve.errors import BackendError

START = "logits_start"
"""Input that is added to a model: where the positions begin that it gives the logits of, counted from the end (< 0)."""


def input_names(graph: Any) -> set[str]:
    """Names of a model's inputs."""
    return {name for port in graph.inputs for name in port.get_names()}


def feed(path: Path, names: set[str], tokens: Tokens, past: int, positions: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of one forward pass.

    beam_idx is which row of the last batch each row goes on from: itself.

    Args:
        path: of the model, for the error.
        names: inputs that the model has; only these are given.
        tokens: (B, S).
        past: positions before them, in the cache.
        positions: last ones whose logits are wanted, for a model with the input START.

    Raises:
        BackendError: the model has an input that is none of a language model's.
    """
    batch, length = tokens.shape
    offered = {
        "input_ids": np.ascontiguousarray(tokens, np.int64),
        "attention_mask": np.ones((batch, past + length), np.int64),
        "position_ids": np.tile(np.arange(past, past + length, dtype=np.int64), (batch, 1)),
        "beam_idx": np.arange(batch, dtype=np.int32),
        START: np.array([-positions], np.int64),
    }
    if missing := names - offered.keys():
        raise BackendError(
            f"{path}: inputs {', '.join(sorted(missing))} are not those of a language model with its cache "
            "inside; export it with optimum-intel, task text-generation-with-past"
        )
    return {name: offered[name] for name in names}
