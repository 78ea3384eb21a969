"""What NNCF makes of the float32 IR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_layers import layers
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import Frozen
from quantcurve.session import Event, Session
from quantcurve.stages import activations, ir_check, quantised
from quantcurve.stages.export import Ir, IrStep, check_disk, copy_beside, failed, packages, written
from quantcurve.stages.resolve import Failed
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.weight_formats import STATIC

if TYPE_CHECKING:
    from quantcurve.engines import openvino_compress


class CompressInputs(Frozen):
    """Key of a compressed IR."""

    version: Literal[4] = 4
    source_hash: str
    beside: tuple[FileHash, ...]
    """Files that are copied from the float32 IR's folder."""
    variant: OpenVinoVariant
    calibration_hash: str | None
    packages: tuple[tuple[str, str], ...]


class Calibration(NamedTuple):
    """Calibration tokens, (n, T)."""

    content_hash: str
    windows: Tokens


def find_variant(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir | None:
    """A variant's IR if the store has it; writes nothing."""
    found = session.peek("compress", compress_inputs(source, entry, calibration), IrStep)
    return Ir(entry.label, found[1], found[0], entry.as_run, entry) if found else None


def compress(
    source: Ir,
    entries: Sequence[OpenVinoVariant],
    calibration: Calibration | Failed | None,
    session: Session,
    controlled: Callable[[OpenVinoVariant, Calibration | None], Ir] | None = None,
) -> list[Ir | Failed]:
    """Every variant's IR; one that NNCF refuses, that memory or disk are too small for, or that needs a calibration set
    that failed, is `Failed`, the others go on.

    Args:
        source: the float32 IR.
        entries: all variants.
        calibration: the calibration set, if one is needed.
        session: the run's surroundings.
        controlled: makes those under accuracy control, if there are any.

    Raises:
        RecipeError: a rule for single layers has no effect; nothing was made yet.
    """
    made: list[Ir | Failed] = []
    found = layers(source.path)
    ir_check.check_rules(found, entries)
    for i, entry in enumerate(entries):
        session.progress(Event("compress", i, len(entries), entry.label))
        if reason := ir_check.refusal(found, entry):
            made.append(Failed(entry.label, reason, ""))
            continue
        if isinstance(calibration, Failed) and entry.data_aware:
            made.append(calibration._replace(name=entry.label))
            continue
        try:
            usable = None if isinstance(calibration, Failed) else calibration
            if controlled and entry.accuracy_control:
                made.append(controlled(entry, usable))
            else:
                made.append(make(source, entry, usable, session))
        except (BackendError, PrerequisiteError) as error:
            made.append(failed(entry.label, error, session.log(entry.label)))
    session.progress(Event("compress", len(entries), len(entries), "done"))
    return made


def compress_inputs(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None) -> CompressInputs:
    """Key of a variant's IR: how it is run is no part of it, nor is its name."""
    plain = entry.model_copy(update={"name": None, "runtime": OpenVinoRuntime(), "accuracy_control": None})
    return CompressInputs(
        source_hash=source.file.content_hash,
        beside=source.step.beside,
        variant=plain,
        calibration_hash=calibration.content_hash if calibration and entry.data_aware else None,
        packages=packages(),
    )


def make(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir:
    """The IR of a variant without accuracy control.

    Raises:
        BackendError: NNCF or OpenVINO failed.
        PrerequisiteError: too little disk.
    """
    assert calibration or not entry.data_aware
    inputs = compress_inputs(source, entry, calibration)
    work = partial(_compress, source, entry, calibration, session)
    step, artifact = session.make("compress", inputs, IrStep, work)
    return Ir(entry.label, artifact.folder, step, entry.as_run, entry)


def _compress(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session, draft: Path
) -> IrStep:
    from quantcurve.engines import openvino_compress, openvino_revert

    check_disk(source.file.weights * entry.least_bits // 8, draft, session)
    with Child(entry.label, session.log(entry.label)) as child:
        if entry.weights in STATIC:
            assert calibration
            inputs = quantised.inputs_of(entry, source.file.content_hash, calibration.content_hash, packages())
            graph = quantised.quantised(inputs, source.path, calibration.windows, session)
            child.call(openvino_revert.build, graph.folder, source.path, draft, ())
        else:
            child.call(
                openvino_compress.compress, source.path, draft, entry, calibrated(source, entry, calibration, session)
            )
    copy_beside(source, draft)
    return _checked(written(draft, session), source, entry, draft, child.log_since_start())


def calibrated(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session
) -> openvino_compress.Calibrated | None:
    """What a variant is calibrated on, if it needs that."""
    from quantcurve.engines import openvino_compress

    if not calibration or not entry.data_aware:
        return None
    read = _statistics(source, calibration, session) if activations.applies(entry) else None
    return openvino_compress.Calibrated(calibration.windows, read)


def _statistics(source: Ir, calibration: Calibration, session: Session) -> Path:
    inputs = activations.StatisticsInputs(
        source_hash=source.file.content_hash, calibration_hash=calibration.content_hash, packages=packages()
    )
    return activations.statistics(inputs, source.path, calibration.windows, session)


def _checked(step: IrStep, source: Ir, entry: OpenVinoVariant, draft: Path, log: str) -> IrStep:
    """With what became of the layers, if it is not what was asked for."""
    made = layers(draft)
    fallbacks = ir_check.fallbacks(layers(source.path), made, entry)
    file = step.file.model_copy(update={"fallbacks": fallbacks})
    return step.model_copy(update={"file": file, "notes": ir_check.notes(made, entry, log)})
