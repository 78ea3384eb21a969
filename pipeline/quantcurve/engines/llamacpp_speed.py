"""Speed of the open model by llama-bench's protocol (tools/llama-bench/llama-bench.cpp); runs in a child process."""

from __future__ import annotations

import time
from pathlib import Path

import llama_cpp as lc
import numpy as np

from quantcurve.engines.base import LlamaCppConfig, Tokens
from quantcurve.engines.decode_times import DecodeTimes, timed
from quantcurve.engines.llamacpp_child import Model, close_model, current, open_model
from quantcurve.records import SpeedSamples, Workload


def _prefill(model: Model, tokens: Tokens, first_position: int = 0) -> None:
    """Decode a prompt batch by batch; only the last token's logits are asked for, as llama_batch_get_one does."""
    for begin in range(0, len(tokens), model.config.batch_tokens):
        part = tokens[begin : begin + model.config.batch_tokens]
        outputs = np.zeros(len(part), np.int32)
        outputs[-1] = 1
        positions = np.arange(first_position + begin, first_position + begin + len(part), dtype=np.int32)
        model.decode(part, positions, np.zeros(len(part), np.int32), outputs)


def _random_tokens(model: Model, count: int, seed: int) -> Tokens:
    tokens = np.random.default_rng(seed).integers(0, model.vocabulary, count).astype(np.int32)
    if model.add_bos and count:
        tokens[0] = model.bos
    return tokens


def warm_up(workload: Workload) -> None:
    """llama-bench's warm-up: the whole prompt once, then one decoded token."""
    model = current()
    model.clear()
    _prefill(model, _random_tokens(model, workload.prompt_tokens, workload.seed))
    model.clear()
    _prefill(model, _random_tokens(model, 1, workload.seed))
    lc.llama_synchronize(model.context)
    model.clear()


def time_once(workload: Workload) -> SpeedSamples:
    """One repetition: prefill of random tokens, first token picked, then decoding one token at a time.

    The context that decoding starts from is filled outside the timing (llama-bench -d).
    """
    model = current()
    prompt = _random_tokens(model, workload.prompt_tokens, workload.seed)
    model.clear()
    started = time.perf_counter()
    _prefill(model, prompt)
    lc.llama_synchronize(model.context)
    prefilled = time.perf_counter()
    int(model.logits(1)[0].argmax())
    answered = time.perf_counter()
    decoded = _time_decode(model, workload)
    model.clear()
    return decoded.samples(prefilled - started, answered - started)


def _time_decode(model: Model, workload: Workload) -> DecodeTimes:
    depth = workload.decode_context_tokens
    model.clear()
    _prefill(model, _random_tokens(model, depth, workload.seed + 1))
    tokens = _random_tokens(model, workload.decode_tokens, workload.seed + 2)
    lc.llama_synchronize(model.context)
    one, zero = np.ones(1, np.int32), np.zeros(1, np.int32)

    def step(i: int) -> None:
        model.decode(tokens[i : i + 1], np.array([depth + i], np.int32), zero, one)
        lc.llama_synchronize(model.context)

    return timed(step, len(tokens))


def time_load(path: Path, config: LlamaCppConfig) -> float:
    """Seconds from nothing to a model that is ready to decode (weights in the page cache), leaving it open."""
    close_model()
    started = time.perf_counter()
    open_model(path, config)
    return time.perf_counter() - started
