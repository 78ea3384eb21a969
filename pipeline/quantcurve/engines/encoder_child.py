"""An embedding model open in OpenVINO: everything here runs inside a child process (see child.py).

One process holds at most one model: `open_model` compiles it, the functions below work on it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from quantcurve.encoder_results import EncoderWorkload
from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.encoder_runner import TextEncoder, feed
from quantcurve.engines.openvino_child import _check_granted, first_line, properties, require_device
from quantcurve.engines.openvino_effective import read_back
from quantcurve.engines.openvino_inputs import input_names
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.records import OpenVinoEffective

HIDDEN = "last_hidden_state"


class CompiledEncoder:
    """The transformer of an IR, compiled; an encoder_runner.EncoderRunner."""

    def __init__(
        self, path: Path, config: OpenVinoConfig, graph: Any = None, given: dict[str, Any] | None = None
    ) -> None:
        """Compile it.

        Args:
            path: folder of the IR.
            config: how to run it.
            graph: an ov.Model in place of the folder's own.
            given: properties to set in place of the configuration's.

        Raises:
            ModelFileError: a file is missing, cut short or not an encoder's IR.
            BackendError: the device refuses the model or the configuration.
        """
        self.path = path
        self.config = config
        self.core = ov.Core()
        self.graph = graph or self._read()
        if not any(HIDDEN in port.get_names() for port in self.graph.outputs):
            raise ModelFileError(f"{path / MODEL}: no output named {HIDDEN}; export it with task feature-extraction")
        self.inputs = input_names(self.graph)
        try:
            self.compiled = self.core.compile_model(self.graph, config.runtime.device, given or properties(config))
        except RuntimeError as error:
            raise BackendError(f"{path}: OpenVINO cannot compile it: {first_line(error)}") from error
        self.request = self.compiled.create_infer_request()

    def hidden(self, tokens: Tokens) -> Floats:
        """See encoder_runner.EncoderRunner."""
        return self.hidden_of(feed(self.path, self.inputs, tokens))

    def hidden_of(self, inputs: dict[str, np.ndarray[Any, Any]]) -> Floats:
        """The same, of all inputs of a pass."""
        self.infer(inputs)
        found: Floats = self.request.get_tensor(HIDDEN).data
        return found

    def infer(self, inputs: dict[str, np.ndarray[Any, Any]]) -> None:
        """One forward pass.

        Raises:
            BackendError: OpenVINO failed.
        """
        try:
            self.request.infer(inputs, share_inputs=True)
        except RuntimeError as error:
            shape = list(inputs["input_ids"].shape)
            raise BackendError(f"{self.path}: OpenVINO failed on ids {shape}: {first_line(error)}") from error

    def _read(self) -> Any:
        check_weights(self.path)
        try:
            return self.core.read_model(self.path / MODEL)
        except RuntimeError as error:
            raise ModelFileError(f"{self.path / MODEL}: OpenVINO cannot read it: {first_line(error)}") from error


_encoder: TextEncoder | None = None
_compiled: CompiledEncoder | None = None


def open_model(path: Path, config: OpenVinoConfig) -> OpenVinoEffective:
    """Compile a model in this process, in place of the one it held; returns the configuration read back.

    Raises:
        ModelFileError: a file is missing, cut short or not an encoder's IR.
        BackendError: the device is not there, or refuses the model or the configuration.
    """
    global _encoder, _compiled
    close_model()
    _compiled, effective = compiled(path, config)
    _encoder = TextEncoder(_compiled)
    return effective


def compiled(path: Path, config: OpenVinoConfig) -> tuple[CompiledEncoder, OpenVinoEffective]:
    """A model of its own, with the configuration read back; see open_model for what is raised."""
    require_device(config.runtime.device)
    found = CompiledEncoder(path, config)
    effective = read_back(found.core, found.compiled, found.graph, config)
    _check_granted(config, effective)
    return found, effective


def close_model() -> None:
    """Free the model of this process."""
    global _encoder, _compiled
    _encoder = _compiled = None


def current() -> tuple[TextEncoder, CompiledEncoder]:
    """The model of this process.

    Raises:
        BackendError: there is none.
    """
    if _encoder is None or _compiled is None:
        raise BackendError("no model is open in this process")
    return _encoder, _compiled


def embed(texts: Sequence[str]) -> Floats:
    """Embeddings (n, width); see validation.Encoder."""
    return current()[0].embed(texts)


def pipeline_tokens() -> int:
    """Longest text that the open model takes, in tokens."""
    return current()[0].context_tokens


def warm_up(workload: EncoderWorkload) -> None:
    """Run the workload twice, untimed: kernels are made for its shape."""
    time_once(workload.model_copy(update={"passes": 2}))


def time_once(workload: EncoderWorkload) -> list[float]:
    """Milliseconds of every pass of one round: from ids to hidden states. Inputs are made before the clock starts, and
    tokenizer and pooling, which are the same for every variant, are left out.

    Raises:
        BackendError: OpenVINO failed.
    """
    _, model = current()
    inputs = feed(model.path, model.inputs, workload_tokens(workload))
    found = []
    for _ in range(workload.passes):
        started = time.perf_counter()
        model.infer(inputs)
        found.append(1000 * (time.perf_counter() - started))
    return found


def workload_tokens(workload: EncoderWorkload) -> Tokens:
    """Random ids (batch, tokens) of the open model's vocabulary."""
    encoder, _ = current()
    rng = np.random.default_rng(workload.seed)
    return rng.integers(0, encoder.tokenizer.vocabulary, (workload.batch, workload.tokens)).astype(np.int32)


def write_workload(workload: EncoderWorkload, folder: Path) -> dict[str, list[int]]:
    """The workload's inputs as FOLDER/NAME.npy; gives their shapes.

    Raises:
        BackendError: the model has an input that is none of an encoder's.
    """
    _, model = current()
    inputs = feed(model.path, model.inputs, workload_tokens(workload))
    for name, values in inputs.items():
        np.save(folder / f"{name}.npy", values)
    return {name: list(values.shape) for name, values in inputs.items()}


def device_properties() -> dict[str, Any]:
    """What was set on the device."""
    return properties(current()[1].config)


def time_load(path: Path, config: OpenVinoConfig) -> float:
    """Seconds from nothing to a model that is ready to infer (weights in the page cache), leaving it open."""
    close_model()
    started = time.perf_counter()
    open_model(path, config)
    return time.perf_counter() - started
