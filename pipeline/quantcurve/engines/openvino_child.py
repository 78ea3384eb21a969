"""A model open in OpenVINO: everything here runs inside a child process (see child.py).

One process holds at most one model: `open_model` compiles it, the functions below work on it. The IR is the stateful
one that is deployed: its KV cache is inside, and is reset before every sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from quantcurve.engines import scratch
from quantcurve.engines.base import Floats, OpenVinoConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.openvino_devices import available, refusal
from quantcurve.engines.openvino_effective import read_back
from quantcurve.engines.openvino_inputs import START, feed, input_names
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.records import OpenVinoEffective

PASS_TOKENS = 64
"""Tokens of the scored half that go through the model together where the KV cache is quantised. Attention within one
pass sees keys and values as they are, and those of earlier passes as the cache stores them, so a quantised cache costs
nothing in a single pass. Seen on SmolLM2: KL divergence with a u8 cache 6.2e-4 in one pass over the window, 9.4e-4 with
passes of 64, 9.0e-4 token by token (which takes six times as long); with u4 0.088 and 0.087. A token after a u8 past
takes twice the time of one in a prompt, whatever the passes' length and however many windows go together."""
ELEMENTWISE = frozenset({"Add", "Multiply", "Divide", "Tanh", "Convert", "Subtract"})
"""Operations that may stand between the head's matrix product and the logits (bias, scale, soft cap)."""


class Model:
    """The model of this process, compiled."""

    def __init__(self, path: Path, config: OpenVinoConfig) -> None:
        self.path = path
        self.config = config
        self.core = ov.Core()
        check_weights(path)
        try:
            self.graph = self.core.read_model(path / MODEL)
        except RuntimeError as error:
            raise ModelFileError(f"{path / MODEL}: OpenVINO cannot read it: {first_line(error)}") from error
        self.vocabulary = vocabulary_of(path, self.graph)
        self.pool = ThreadPoolExecutor(config.threads)
        self.sliced = last_positions(self.graph)
        self.inputs = input_names(self.graph)
        self.plain_cache = False
        try:
            self.compiled = self.core.compile_model(self.graph, config.runtime.device, properties(config))
        except RuntimeError as error:
            raise BackendError(f"{path}: OpenVINO cannot compile it: {first_line(error)}") from error

    def feed(self, tokens: Tokens, past: int, positions: int) -> dict[str, np.ndarray[Any, Any]]:
        """See openvino_inputs.feed."""
        return feed(self.path, self.inputs, tokens, past, positions)


_model: Model | None = None


def current() -> Model:
    """The model of this process.

    Raises:
        BackendError: there is none.
    """
    if _model is None:
        raise BackendError("no model is open in this process")
    return _model


def open_model(path: Path, config: OpenVinoConfig) -> OpenVinoEffective:
    """Compile a model in this process, in place of the one it held; returns the configuration read back.

    Raises:
        ModelFileError: a file is missing, cut short or not an IR.
        BackendError: the device is not there, or refuses the model or the configuration.
    """
    global _model
    close_model()
    require_device(config.runtime.device)
    _model = Model(path, config)
    found = read_back(_model.core, _model.compiled, _model.graph, config)
    _check_granted(config, found)
    _model.plain_cache = found.plain_cache
    return found


def _check_granted(config: OpenVinoConfig, found: OpenVinoEffective) -> None:
    """A device may take a setting and run another one without a word: measured would be what nobody asked for. What it
    does not tell is let pass, and is not told in the result either."""
    runtime = config.runtime
    pairs = (
        ("inference_precision", runtime.inference_precision, found.inference_precision),
        ("kv_cache", runtime.kv_cache, found.key_cache_precision),
        ("kv_cache", runtime.kv_cache, found.value_cache_precision),
        ("dynamic_quantization_group", runtime.dynamic_quantization_group, found.dynamic_quantization_group),
    )
    for name, asked, got in pairs:
        if None not in (asked, got) and asked != got:
            raise BackendError(f"runtime.{name}: {asked} was asked for, and the device runs {got}; leave it out")


def close_model() -> None:
    """Free the model of this process, if there is one."""
    global _model
    if _model is not None:
        _model.pool.shutdown()
        _model = None


def require_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        BackendError: the message has those that are.
    """
    if reason := refusal(device, available()):
        raise BackendError(reason)


def properties(config: OpenVinoConfig) -> dict[str, Any]:
    """What is set on the device; what the recipe leaves open is not set."""
    runtime = config.runtime
    found: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": runtime.execution.upper(),
    }
    if runtime.device == "CPU":
        found["INFERENCE_NUM_THREADS"] = config.threads
    if runtime.device.partition(":")[0] == "AUTO":  # else the CPU serves until the device that it takes is ready
        found["ENABLE_STARTUP_FALLBACK"] = False
    if runtime.inference_precision:
        found["INFERENCE_PRECISION_HINT"] = runtime.inference_precision
    if runtime.kv_cache:
        found["KV_CACHE_PRECISION"] = runtime.kv_cache
    if runtime.dynamic_quantization_group is not None:
        found["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(runtime.dynamic_quantization_group)
    return found


def vocabulary_of(path: Path, graph: Any) -> int:
    """Width of a graph's logits.

    Raises:
        ModelFileError: it has no such output.
    """
    for port in graph.outputs:
        if "logits" in port.get_names() and port.partial_shape[-1].is_static:
            return int(port.partial_shape[-1].get_length())
    raise ModelFileError(f"{path / MODEL}: no output named logits; export a language model with optimum-intel")


def last_positions(graph: Any) -> bool:
    """Give a graph the input START; False if its head is not of a known form, then it gives the logits of all.

    The head's matrix product is the dearest single one; OpenVINO GenAI leaves out all but the last position in the same
    way (src/cpp/src/utils.cpp, apply_slice_before_matmul_transformation).
    """
    result = next(port for port in graph.outputs if "logits" in port.get_names()).get_node()
    node = result.input_value(0).get_node()
    while node.get_type_name() in ELEMENTWISE:
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul" or node.input_value(0).get_partial_shape().rank.get_length() != 3:
        return False
    start = ops.parameter([1], np.int64, name=START)
    start.output(0).get_tensor().set_names({START})
    graph.add_parameters([start])
    end, step, axis = (np.array([v], np.int64) for v in (np.iinfo(np.int64).max, 1, 1))
    sliced = ops.slice(node.input_value(0), start, end, step, axis)
    node.input(0).replace_source_output(sliced.output(0))
    graph.validate_nodes_and_infer_types()
    return True


def score(windows: Tokens, reference: ReferenceScratch | None, keep: ReferenceScratch | None) -> TokenScores:
    """Score windows (W, window_tokens) one after the other; see base.LoadedModel.score.

    The first half goes through the model at once, as a prompt does, the scored half in passes of PASS_TOKENS; all at
    once where the KV cache holds keys and values as they are.

    Raises:
        BackendError: the logits are not finite, or OpenVINO refused.
    """
    model = current()
    scorable = scratch.Scorable(
        path=model.path,
        vocabulary=model.vocabulary,
        second_halves=partial(_second_halves, model),
        pool=model.pool,
        threads=model.config.threads,
    )
    return scratch.score(scorable, windows, reference, keep)


def _second_halves(model: Model, windows: Tokens) -> Iterator[Floats]:
    scored = windows.shape[1] - windows.shape[1] // 2
    logits = np.empty((scored, model.vocabulary), np.float32)
    request = model.compiled.create_infer_request()
    for window in windows:
        _forward_scored(model, request, window, logits)
        yield logits[:-1]  # the last position predicts a token outside the window


def _forward_scored(model: Model, request: Any, window: Tokens, logits: Floats) -> None:
    first = len(window) - len(logits)
    if model.plain_cache:
        logits[:] = forward(model, request, window[None], 0, len(logits))[0]
        return
    forward(model, request, window[None, :first], 0)
    for past in range(first, len(window), PASS_TOKENS):
        part = window[None, past : past + PASS_TOKENS]
        logits[past - first :][: part.shape[1]] = forward(model, request, part, past, part.shape[1])[0]


def forward(model: Model, request: Any, tokens: Tokens, past: int, positions: int = 1) -> Floats:
    """Logits (B, positions, vocabulary): a view into the engine's buffer, valid until the next pass."""
    if past == 0:
        request.reset_state()
    try:
        request.infer(model.feed(tokens, past, positions), share_inputs=True)
    except RuntimeError as error:
        raise BackendError(f"{model.path}: OpenVINO failed on {tokens.shape[1]} tokens: {first_line(error)}") from error
    found: Floats = request.get_tensor("logits").data
    return found[:, -positions:]


def first_line(error: RuntimeError) -> str:
    """The reason in an OpenVINO exception: its last line that says something, without source places."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or ["no reason given"])[-1]
