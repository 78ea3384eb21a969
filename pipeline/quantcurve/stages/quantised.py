"""W8A8 by nncf.quantize, kept as floats with FakeQuantize nodes, from which the int8 model is built with any groups of
operations left as they were. Quantised once for each calibration set, whatever is restored afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve.engines import quantizer_groups
from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.engines.quantizer_groups import Groups
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import Frozen
from quantcurve.session import Session

STAGE = "w8a8"


class QuantisedInputs(Frozen):
    """Key of a quantised graph."""

    version: Literal[1] = 1
    source_hash: str
    """Of the float32 IR."""
    variant: OpenVinoVariant
    """But for what is done with the graph."""
    calibration_hash: str
    packages: tuple[tuple[str, str], ...]


class QuantisedStep(Frozen):
    """The graph lies beside this record."""

    content_hash: str
    groups: Groups


class Quantised(NamedTuple):
    """A quantised graph in a folder."""

    folder: Path
    step: QuantisedStep


def inputs_of(
    entry: OpenVinoVariant, source_hash: str, calibration_hash: str, packages: tuple[tuple[str, str], ...]
) -> QuantisedInputs:
    """Key of a variant's quantised graph."""
    plain = entry.model_copy(update={"name": None, "runtime": OpenVinoRuntime(), "accuracy_control": None})
    return QuantisedInputs(source_hash=source_hash, variant=plain, calibration_hash=calibration_hash, packages=packages)


def quantised(
    inputs: QuantisedInputs, source: Path, calibration: Tokens | Sequence[str], session: Session
) -> Quantised:
    """The quantised graph of an IR.

    Args:
        inputs: its key.
        source: folder of the float32 IR.
        calibration: tokens (n, T); of an encoder sentences.
        session: the run's surroundings.

    Raises:
        BackendError: NNCF or OpenVINO failed.
        PrerequisiteError: too little disk.
    """
    work = partial(_quantise, inputs.variant, source, calibration, session)
    step, artifact = session.make(STAGE, inputs, QuantisedStep, work)
    return Quantised(artifact.folder, step)


def _quantise(
    entry: OpenVinoVariant, source: Path, calibration: Tokens | Sequence[str], session: Session, draft: Path
) -> QuantisedStep:
    from quantcurve.engines import encoder_compress, openvino_w8a8

    with Child(entry.label, session.log(entry.label)) as child:
        if isinstance(calibration, np.ndarray):
            child.call(openvino_w8a8.quantise, source, draft, entry, calibration)
        else:
            child.call(encoder_compress.quantise, source, draft, entry, calibration)
    hashes = [session.store.hash_file(p) for p in (draft / MODEL, (draft / MODEL).with_suffix(".bin"))]
    content_hash = hashlib.sha256("".join(hashes).encode()).hexdigest()
    return QuantisedStep(content_hash=content_hash, groups=quantizer_groups.load(draft))
