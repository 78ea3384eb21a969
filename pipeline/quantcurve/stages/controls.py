"""Variants under accuracy control, through the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_layers import Layer, layers
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import EngineIdentity, Frozen
from quantcurve.session import Session
from quantcurve.stages import compress, export, quantised
from quantcurve.stages.accuracy_control import STAGE, Controlled, Prepared, References, config_of, controlled
from quantcurve.stages.compress import Calibration
from quantcurve.stages.control_run import restore, restore_by_nncf
from quantcurve.stages.export import Ir, IrStep
from quantcurve.stages.restorable import EXACT, FLOAT, Quantizers, Weights
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.weight_formats import STATIC, UNCOMPRESSED, bits

OWN = "own"
"""Form of a layer that is as the variant has it."""
LEAST_SHARE = 0.01
"""Of a layer's time, that restoring it costs at least."""
FLOAT_BITS = 16
"""Of a weight that was restored to a float."""


class ControlInputs(Frozen):
    """Key of a variant under accuracy control."""

    version: Literal[1] = 1
    source_hash: str
    beside: tuple[FileHash, ...]
    variant: OpenVinoVariant
    """How it is run is a part of it, since it is validated so."""
    function_hash: str
    items_hash: str
    calibration_hash: str | None
    threads: int
    engine: EngineIdentity
    packages: tuple[tuple[str, str], ...]


def control(
    source: Ir,
    entry: OpenVinoVariant,
    calibration: Calibration | None,
    prepared: Prepared,
    references: References,
    session: Session,
) -> Ir:
    """A variant's IR with layers restored, and what was done for it.

    Args:
        source: the float32 IR.
        entry: a variant with accuracy control.
        calibration: if the variant needs it.
        prepared: its validation.
        references: what the float reference gets.
        session: the run's surroundings.

    Raises:
        BackendError: the budget cannot be kept, or an engine failed.
        RecipeError: the validation function failed.
        PrerequisiteError: too little disk.
    """
    work = partial(_control, source, entry, calibration, prepared, references, session)
    step, artifact = session.make(STAGE, inputs_of(source, entry, calibration, prepared, session), IrStep, work)
    return Ir(entry.label, artifact.folder, step, entry.as_run, entry)


def find(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, prepared: Prepared, session: Session
) -> Ir | None:
    """A variant's IR if the store has it; writes nothing."""
    found = session.peek(STAGE, inputs_of(source, entry, calibration, prepared, session), IrStep)
    return Ir(entry.label, found[1], found[0], entry.as_run, entry) if found else None


def inputs_of(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, prepared: Prepared, session: Session
) -> ControlInputs:
    """Key of a variant under accuracy control."""
    assert session.openvino
    function_hash, items_hash = prepared.identity
    runtime = entry.runtime.without_generation()
    return ControlInputs(
        source_hash=source.file.content_hash,
        beside=source.step.beside,
        variant=entry.model_copy(update={"name": None, "runtime": runtime}),
        function_hash=function_hash,
        items_hash=items_hash,
        calibration_hash=calibration.content_hash if calibration and entry.data_aware else None,
        threads=session.threads,
        engine=session.openvino,
        packages=export.packages(),
    )


def _control(
    source: Ir,
    entry: OpenVinoVariant,
    calibration: Calibration | None,
    prepared: Prepared,
    references: References,
    session: Session,
    draft: Path,
) -> IrStep:
    task = controlled(entry, prepared, references.of(prepared))
    if entry.weights in STATIC:
        assert calibration
        made = quantised.quantised(
            quantised.inputs_of(entry, source.file.content_hash, calibration.content_hash, export.packages()),
            source.path,
            calibration.windows,
            session,
        )
        model = Quantizers(source.path, made, _floats(task, session))
        if task.control.ranking == "nncf":
            found = restore_by_nncf(task, model, made.step.content_hash, calibration.windows, draft, session)
        else:
            found = restore(task, model, made.step.content_hash, draft, session)
    else:
        found = restore(task, *_weights(source, task, calibration, session), draft, session)
    export.copy_beside(source, draft)
    return export.written(draft, session).model_copy(update={"control": found})


def _floats(task: Controlled, session: Session) -> OpenVinoConfig:
    """How the quick way is run: on the deployed device, exactly."""
    device = (task.control.runtime or task.entry.as_run).device
    return config_of(OpenVinoRuntime(device=device, execution="accuracy"), task.prepared, session)


def _weights(source: Ir, task: Controlled, calibration: Calibration | None, session: Session) -> tuple[Weights, str]:
    """A compressed variant whose layers can be restored, and the hash of what it is made from.

    AWQ and LoRA correction change the graph around the layers, so that single layers cannot be swapped: the quick way
    has the variant without them, and the built one has them.
    """
    entry = task.entry.model_copy(update={"accuracy_control": None})
    own = compress.make(source, entry, calibration, session)
    plain = entry.model_copy(update={"awq": False, "lora_correction": False})
    forms = {
        OWN: (own if plain == entry else compress.make(source, plain, calibration, session)).path,
        EXACT: compress.make(source, OpenVinoVariant(weights=EXACT), None, session).path,
    }
    found = layers(own.path)
    prices = {to: _bytes(found, to) for to in (EXACT, FLOAT)}
    if task.control.price == "latency":
        prices = _latencies(found, own.path, forms[EXACT], prices, task, session)
    make = partial(_make, source, own, calibration, session)
    return Weights(source.path, entry, found, forms, prices, make, _floats(task, session)), own.file.content_hash


def _bytes(found: Sequence[Layer], to: str) -> dict[str, float]:
    """What restoring each layer adds, by its constant."""
    exact = bits(EXACT)
    return {
        layer.constant: layer.weights.entries * (exact - bits(layer.format) if to == EXACT else FLOAT_BITS - exact) / 8
        for layer in found
        if layer.format not in UNCOMPRESSED
    }


def _latencies(
    found: Sequence[Layer],
    own: Path,
    exact: Path,
    by_bytes: Mapping[str, Mapping[str, float]],
    task: Controlled,
    session: Session,
) -> dict[str, dict[str, float]]:
    """What restoring each layer adds to the time of one token, in seconds, as the device's counters have it. A layer
    without a counter has its share of the bytes; one that would get faster costs next to nothing."""
    from quantcurve.engines import layer_times

    deployed = config_of(task.control.runtime or task.entry.as_run, task.prepared, session)
    with Child(task.entry.label, session.log(task.entry.label)) as child:
        before = child.call(layer_times.layer_seconds, own, found, deployed)
        after = child.call(layer_times.layer_seconds, exact, layers(exact), deployed)
    timed = before.keys() & after.keys()
    per_byte = sum(after[c] for c in timed) / max(1, sum(layer.weights.size_bytes for layer in layers(exact)))
    added = {c: max(after[c] - before[c], LEAST_SHARE * after[c]) for c in timed}
    return {
        EXACT: {c: added.get(c, bytes_ * per_byte) for c, bytes_ in by_bytes[EXACT].items()},
        FLOAT: {c: after.get(c, bytes_ * per_byte) for c, bytes_ in by_bytes[FLOAT].items()},
    }


def _make(
    source: Ir,
    own: Ir,
    calibration: Calibration | None,
    session: Session,
    child: Child,
    entry: OpenVinoVariant,
    folder: Path,
) -> None:
    from quantcurve.engines import openvino_compress

    if entry == own.entry:
        shutil.copytree(own.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.json"))
        return
    calibrated = compress.calibrated(source, entry, calibration, session)
    child.call(openvino_compress.compress, source.path, folder, entry, calibrated, True)
