"""Logits of IRs and of runners, for tests that compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from tiny_ir import VOCABULARY

EXACT = OpenVinoConfig(threads=2, window_tokens=32, runtime=OpenVinoRuntime(execution="accuracy"))


def windows(count: int, length: int = 32, seed: int = 0) -> np.ndarray[Any, Any]:
    """Random tokens of the tiny model, (count, length)."""
    return np.random.default_rng(seed).integers(3, VOCABULARY - 1, (count, length)).astype(np.int32)


def log_probabilities(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Along the last axis, in float64."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(-1, keepdims=True)
    found: np.ndarray[Any, Any] = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return found


def of_graph(graph: Any, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Log-probabilities (B, S, vocabulary) of a graph, or of the IR in a folder, run in float32."""
    import openvino as ov

    from quantcurve.engines.openvino_inputs import feed, input_names

    if isinstance(graph, Path):
        graph = ov.Core().read_model(graph / "openvino_model.xml")
    compiled = ov.Core().compile_model(graph, "CPU", {"EXECUTION_MODE_HINT": "ACCURACY"})
    found = compiled(feed(Path("graph"), input_names(graph), tokens, 0))
    return log_probabilities(found["logits"])


def of_runner(runner: Any, tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As `of_graph`, of a runner."""
    return log_probabilities(runner.forward(tokens, 0, tokens.shape[1]))


def nats(log_probs: np.ndarray[Any, Any], tokens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Log-probabilities of the tokens that follow, (B, S - 1)."""
    found: np.ndarray[Any, Any] = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None].astype(np.int64), -1)
    return found[..., 0]


def apart(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Mean KL divergence of the second from the first, nats, over all positions."""
    return float((np.exp(one) * (one - other)).sum(-1).mean())
