"""The stateless twin of a stateful IR, on which benchmark_app can repeat a prefill: its cache is an input, so nothing
grows from one pass to the next. Everything here runs inside the child process that holds the model.

The twin is made from the graph as it was opened, so its head gives the logits of the last position alone, as in the
direct loop and in OpenVINO GenAI (see openvino_child.last_positions). It has the cache in the precision of its inputs,
not the deployed one, and copies it: good for prefill from an empty cache, not for decoding.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino._offline_transformations import stateful_to_stateless_transformation

from quantcurve.engines.direct_loop import write_input
from quantcurve.engines.openvino_child import current, first_line
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError

BATCH_AXIS = 0


class CacheInput(NamedTuple):
    """An input of the twin that was a state."""

    name: str
    type: str
    """OpenVINO's element type, as f32."""
    shape: list[int]
    """Empty: one sequence, nothing before it."""


class Twin(NamedTuple):
    """What has to be fed."""

    inputs: list[str]
    caches: list[CacheInput]


def make(folder: Path, inputs_folder: Path) -> Twin:
    """Write the twin of the open model, and empty caches as FOLDER/NAME/000000.npy.

    Args:
        folder: for the IR; as large as the model's own.
        inputs_folder: for the caches.

    Raises:
        BackendError: OpenVINO cannot turn the states into inputs, or the twin cannot be written.
    """
    model = current()
    graph = model.graph.clone()
    try:
        stateful_to_stateless_transformation(graph)
    except RuntimeError as error:
        raise BackendError(f"{model.path}: it has no stateless twin: {first_line(error)}") from error
    caches, inputs = [], []
    for port in graph.inputs:
        if (name := port.get_any_name()) in model.inputs:
            inputs.append(name)
            continue
        cache = CacheInput(name, port.element_type.to_string(), _empty(port.partial_shape))
        caches.append(cache)
        write_input(inputs_folder, name, 0, np.zeros(cache.shape, port.element_type.to_dtype()))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        ov.save_model(graph, folder / MODEL, compress_to_fp16=False)
    except RuntimeError as error:
        raise BackendError(f"{folder}: the stateless twin cannot be written: {first_line(error)}") from error
    return Twin(inputs, caches)


def _empty(shape: ov.PartialShape) -> list[int]:
    """One sequence without a past: the batch is 1, every other open dimension 0."""
    return [d.get_length() if d.is_static else int(axis == BATCH_AXIS) for axis, d in enumerate(shape)]
