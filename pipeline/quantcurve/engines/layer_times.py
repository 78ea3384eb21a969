"""What single layers take when a token is decoded: the counters that `benchmark_app -pc` prints, read in the process;
runs in a child process (see child.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.openvino_child import first_line, properties, require_device
from quantcurve.engines.openvino_graphs import read
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_layers import Layer
from quantcurve.errors import BackendError

CONTEXT_TOKENS = 32
STEPS = 24
"""Tokens that are decoded; the first ones warm up."""
WARM_UP = 4


def layer_seconds(folder: Path, found: Sequence[Layer], config: OpenVinoConfig) -> dict[str, float]:
    """Median time of each layer's product for one token, by the layer's constant. Layers that the device fuses with
    others have no counter of their own and are left out.

    Args:
        folder: with the IR.
        found: its layers.
        config: how it is run.

    Raises:
        BackendError: the device is not there, or OpenVINO failed.
    """
    require_device(config.runtime.device)
    graph = read(folder)
    try:
        compiled = ov.Core().compile_model(graph, config.runtime.device, properties(config) | {"PERF_COUNT": True})
        names, request = input_names(graph), compiled.create_infer_request()
        tokens = np.ones((1, CONTEXT_TOKENS), np.int32)
        request.infer(feed(folder, names, tokens, 0), share_inputs=True)
        times: dict[str, list[float]] = {}
        for step in range(STEPS):
            request.infer(feed(folder, names, tokens[:, :1], CONTEXT_TOKENS + step), share_inputs=True)
            for counter in request.get_profiling_info() if step >= WARM_UP else ():
                times.setdefault(counter.node_name, []).append(counter.real_time.total_seconds())
    except RuntimeError as error:
        raise BackendError(f"{folder}: OpenVINO failed where its layers were timed: {first_line(error)}") from error
    return {layer.constant: float(np.median(times[layer.node])) for layer in found if layer.node in times}
