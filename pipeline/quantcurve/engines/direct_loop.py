"""Times forward passes of the deployed model one by one; everything here runs inside the child process that holds the
model (see openvino_child.py). What benchmark_app says is checked against this."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quantcurve import disk
from quantcurve.engines.openvino_child import current, first_line, properties
from quantcurve.engines.openvino_inputs import START
from quantcurve.engines.passes import Pass, random_tokens
from quantcurve.errors import BackendError
from quantcurve.latency_records import Setting

OF_DEVICES = "DEVICE_PROPERTIES"
"""Settings of those that execute, by device, of a device that hands the model to others."""


def time_passes(passes: Sequence[Pass], seed: int) -> list[float]:
    """Milliseconds of every pass; the state is reset where a sequence begins.

    As in benchmark_app, inputs are made before the clock starts and no token is picked after; the head gives the logits
    of one position.

    Raises:
        BackendError: OpenVINO refused.
    """
    model = current()
    request = model.compiled.create_infer_request()
    found = []
    for step, tokens in zip(passes, random_tokens(passes, model.vocabulary, seed), strict=True):
        if step.past == 0:
            request.reset_state()
        inputs = model.feed(tokens, step.past, 1)
        started = time.perf_counter()
        try:
            request.infer(inputs, share_inputs=True)
        except RuntimeError as error:
            raise BackendError(f"{model.path}: OpenVINO failed on {step}: {first_line(error)}") from error
        found.append(1000 * (time.perf_counter() - started))
    return found


def write_inputs(folder: Path, passes: Sequence[Pass], seed: int, names: Sequence[str]) -> dict[str, list[list[int]]]:
    """Inputs of every pass as FOLDER/NAME/NUMBER.npy, numbered in the order of the passes.

    Args:
        folder: where to.
        passes: what is fed.
        seed: of the token ids.
        names: inputs wanted; those that the model lacks are left out.

    Returns:
        Shapes of the files by input's name.

    Raises:
        PrerequisiteError: the disk is full.
    """
    model = current()
    shapes: dict[str, list[list[int]]] = {name: [] for name in names if name in model.inputs}
    for i, (step, tokens) in enumerate(zip(passes, random_tokens(passes, model.vocabulary, seed), strict=True)):
        inputs = model.feed(tokens, step.past, 1)
        for name, found in shapes.items():
            write_input(folder, name, i, inputs[name])
            found.append(list(inputs[name].shape))
    return shapes


def write_input(folder: Path, name: str, number: int, values: np.ndarray[Any, Any]) -> None:
    """One input of one pass; benchmark_app takes the files of a folder in the order of their names.

    Raises:
        PrerequisiteError: the disk is full (numpy, given the file itself, does not say so).
    """
    content = io.BytesIO()
    np.save(content, values)
    with disk.errors_named(folder):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number:06d}.npy").write_bytes(content.getbuffer())


def inputs() -> list[str]:
    """Inputs of the IR as it lies on disk: without the one that was added when it was opened."""
    model = current()
    return sorted(name for name in model.inputs if name != START)


def device_properties() -> dict[str, Any]:
    """What was set on the device."""
    return properties(current().config)


def settings() -> list[Setting]:
    """Properties of the compiled model in benchmark_app's words (its main.py, step 8); those of a device that the model
    was handed to as CPU.NUM_STREAMS."""
    compiled = current().compiled
    names = [str(name) for name in compiled.get_property("SUPPORTED_PROPERTIES") if name != "SUPPORTED_PROPERTIES"]
    nested = compiled.get_property(OF_DEVICES) if OF_DEVICES in names else {}
    own = [Setting(name=name, value=str(compiled.get_property(name))) for name in names if name != OF_DEVICES]
    return own + [
        Setting(name=f"{device}.{name}", value=str(value))
        for device, of in nested.items()
        for name, value in of.items()
    ]
