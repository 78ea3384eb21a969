"""Speed of the open IR by llama-bench's protocol (see llamacpp_speed.py); runs in a child process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.engines.base import OpenVinoConfig, Tokens
from quantcurve.engines.decode_times import DecodeTimes, timed
from quantcurve.engines.openvino_child import Model, close_model, current, forward, open_model
from quantcurve.records import SpeedSamples, Workload


def _random_tokens(model: Model, count: int, seed: int) -> Tokens:
    return np.random.default_rng(seed).integers(0, model.vocabulary, (1, count)).astype(np.int32)


def warm_up(workload: Workload) -> None:
    """The whole prompt once, then one decoded token."""
    model = current()
    request = model.compiled.create_infer_request()
    forward(model, request, _random_tokens(model, workload.prompt_tokens, workload.seed), 0)
    forward(model, request, _random_tokens(model, 1, workload.seed), 0)


def time_once(workload: Workload) -> SpeedSamples:
    """One repetition by llama-bench's protocol, on the deployed model whose state is reset before (see
    llamacpp_speed.py): prefill of random tokens, first token picked, then decoding one token at a time."""
    model = current()
    request = model.compiled.create_infer_request()
    prompt = _random_tokens(model, workload.prompt_tokens, workload.seed)
    started = time.perf_counter()
    logits = forward(model, request, prompt, 0)
    prefilled = time.perf_counter()
    int(logits[0, -1].argmax())
    answered = time.perf_counter()
    decoded = _time_decode(model, request, workload)
    return decoded.samples(prefilled - started, answered - started)


def _time_decode(model: Model, request: Any, workload: Workload) -> DecodeTimes:
    depth = workload.decode_context_tokens
    if depth:
        forward(model, request, _random_tokens(model, depth, workload.seed + 1), 0)
    tokens = _random_tokens(model, workload.decode_tokens, workload.seed + 2)
    return timed(lambda i: forward(model, request, tokens[:, i : i + 1], depth + i), tokens.shape[1])


def time_load(path: Path, config: OpenVinoConfig) -> float:
    """Seconds from nothing to a model that is ready to infer (weights in the page cache), leaving it open."""
    close_model()
    started = time.perf_counter()
    open_model(path, config)
    return time.perf_counter() - started
