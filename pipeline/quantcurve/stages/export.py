"""OpenVINO IRs: the reference's weights in float32, and what NNCF makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import disk, sources
from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import TensorInfo
from quantcurve.engines.openvino_layers import layers
from quantcurve.errors import BackendError, PrerequisiteError, UnsupportedFileError
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import Frozen, ModelFile
from quantcurve.session import Event, Session
from quantcurve.stages import activations, ir_check
from quantcurve.stages.resolve import Failed, Reference
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.width_refusals import Width

BESIDE_THE_IR = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("openvino_tokenizer.xml", "openvino_tokenizer.bin", "openvino_detokenizer.xml", "openvino_detokenizer.bin"),
)
"""Files that GenAI and optimum-intel load with an IR."""
APART = ("token_embd.", "output.", "position_embd.", "token_types.")
"""Beginnings of the names of embeddings and the head in GGUF files."""
PACKAGES = (
    *("openvino", "openvino-tokenizers", "nncf", "optimum", "optimum-intel", "transformers", "tokenizers"),
    *("gguf", "torch"),
)


class ExportInputs(Frozen):
    """Key of the float32 IR."""

    version: Literal[4] = 4
    reference_hash: str
    folder_hash: str | None
    """Of the Hugging Face folder that the reference was converted from: its tokenizer is deployed."""
    packages: tuple[tuple[str, str], ...]
    """Name and version of what exports."""


class IrStep(Frozen):
    """An IR as it was written."""

    file: ModelFile
    beside: tuple[FileHash, ...]
    """Of `BESIDE_THE_IR`, those that there are."""
    weights_from: Literal["reference", "folder"] = "reference"
    """Whether transformers could read the reference's file, or the weights are those of the Hugging Face folder that
    it was converted from, unrounded."""
    notes: tuple[str, ...] = ()
    """What was asked for and did nothing."""


class CompressInputs(Frozen):
    """Key of a compressed IR."""

    version: Literal[4] = 4
    source_hash: str
    beside: tuple[FileHash, ...]
    """Files that are copied from the float32 IR's folder."""
    variant: OpenVinoVariant
    calibration_hash: str | None
    packages: tuple[tuple[str, str], ...]


class Ir(NamedTuple):
    """An IR in a folder, ready to open."""

    name: str
    path: Path
    step: IrStep
    runtime: OpenVinoRuntime
    entry: OpenVinoVariant | None
    """None for the float32 reference."""

    @property
    def file(self) -> ModelFile:
        """What the file really is."""
        return self.step.file


class Calibration(NamedTuple):
    """Calibration tokens, (n, T)."""

    content_hash: str
    windows: Tokens


def packages() -> tuple[tuple[str, str], ...]:
    """Versions of what exports and compresses."""
    return tuple((name, metadata.version(name)) for name in PACKAGES)


def export(reference: Reference, session: Session) -> Ir:
    """The reference's weights as a float32 IR, run exactly.

    Where transformers cannot read the reference's file, the weights of the Hugging Face folder that it was converted
    from are taken (`IrStep.weights_from`).

    Raises:
        ModelFileError: no tokenizer is known that is equal to the one in the reference's file.
        BackendError: transformers or optimum-intel does not know the model.
        PrerequisiteError: too little disk.
    """
    session.progress(Event("export", 0, 1, FLOOR))
    inputs = export_inputs(reference, session)
    step, artifact = session.make("export", inputs, IrStep, partial(_export, reference, session))
    session.progress(Event("export", 1, 1, FLOOR))
    return _floor(artifact.folder, step)


def export_inputs(reference: Reference, session: Session) -> ExportInputs:
    """Key of the float32 IR."""
    folder = reference.folder
    located = sources.Located("hf_folder", folder, reference.source) if folder else None
    return ExportInputs(
        reference_hash=reference.step.file.content_hash,
        folder_hash=sources.content_hash(located, session.store.hash_file) if located else None,
        packages=packages(),
    )


def find(reference: Reference, session: Session) -> Ir | None:
    """The float32 IR if the store has it; writes nothing."""
    found = session.peek("export", export_inputs(reference, session), IrStep)
    return _floor(found[1], found[0]) if found else None


def find_variant(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir | None:
    """A variant's IR if the store has it; writes nothing."""
    found = session.peek("compress", compress_inputs(source, entry, calibration), IrStep)
    return Ir(entry.label, found[1], found[0], entry.as_run, entry) if found else None


def _floor(folder: Path, step: IrStep) -> Ir:
    return Ir(FLOOR, folder, step, OpenVinoRuntime(execution="accuracy"), None)


def compress(
    source: Ir, entries: Sequence[OpenVinoVariant], calibration: Calibration | Failed | None, session: Session
) -> list[Ir | Failed]:
    """Every variant's IR; one that NNCF refuses, that memory or disk are too small for, or that needs a calibration set
    that failed, is `Failed`, the others go on.

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
            made.append(_made(source, entry, None if isinstance(calibration, Failed) else calibration, session))
        except (BackendError, PrerequisiteError) as error:
            made.append(failed(entry.label, error, session.log(entry.label)))
    session.progress(Event("compress", len(entries), len(entries), "done"))
    return made


def failed(name: str, error: BackendError | PrerequisiteError, log: Path) -> Failed:
    """An IR that could not be made, with the reason and what mends it.

    Args:
        name: of the IR.
        error: why.
        log: of the process that was to make it.
    """
    if isinstance(error, PrerequisiteError):
        return Failed(name, f"{error.args[0]}; to mend it: {error.fix}", str(log))
    return Failed(name, error.message.removeprefix(f"{name}: "), str(error.log or log))


def compress_inputs(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None) -> CompressInputs:
    """Key of a variant's IR: how it is run is no part of it, nor is its name."""
    plain = entry.model_copy(update={"name": None, "runtime": OpenVinoRuntime()})
    return CompressInputs(
        source_hash=source.file.content_hash,
        beside=source.step.beside,
        variant=plain,
        calibration_hash=calibration.content_hash if calibration and entry.data_aware else None,
        packages=packages(),
    )


def widths(tensors: Sequence[TensorInfo]) -> list[Width]:
    """What NNCF would compress of the reference: matrices, and the stacked ones of experts (three dimensions), which it
    takes as it takes matrices."""
    matrices = (t for t in tensors if len(t.shape) in {2, 3} and t.name.endswith(".weight"))
    return [Width(t.name, t.shape[0], t.weights, t.name.startswith(APART)) for t in matrices]


def _made(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir:
    assert calibration or not entry.data_aware
    inputs = compress_inputs(source, entry, calibration)
    work = partial(_compress, source, entry, calibration, session)
    step, artifact = session.make("compress", inputs, IrStep, work)
    return Ir(entry.label, artifact.folder, step, entry.as_run, entry)


def _export(reference: Reference, session: Session, draft: Path) -> IrStep:
    from quantcurve.engines import tokenizer_lanes

    _check_disk(4 * reference.step.file.weights, draft, session)
    with Child("tokenizer", session.log("tokenizer")) as child:
        child.call(tokenizer_lanes.write_tokenizer, reference.path, reference.folder, draft)
    weights_from = _export_weights(reference, session, draft)
    return _written(draft, session).model_copy(update={"weights_from": weights_from})


def _export_weights(reference: Reference, session: Session, draft: Path) -> Literal["reference", "folder"]:
    from quantcurve.engines import openvino_export

    folder, log = reference.folder, session.log("export")
    try:
        with Child("export", log) as child:
            child.call(openvino_export.export, reference.path, draft, folder)
    except UnsupportedFileError:
        if folder is None:
            raise
        with Child("export", log) as child:
            child.call(openvino_export.export, folder, draft)
        return "folder"
    if folder and (folder / "generation_config.json").is_file():
        shutil.copyfile(folder / "generation_config.json", draft / "generation_config.json")
    return "reference"


def _compress(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session, draft: Path
) -> IrStep:
    from quantcurve.engines import openvino_compress

    _check_disk(source.file.weights * entry.least_bits // 8, draft, session)
    calibrated = None
    if calibration and entry.data_aware:
        read = _statistics(source, calibration, session) if activations.applies(entry) else None
        calibrated = openvino_compress.Calibrated(calibration.windows, read)
    with Child(entry.label, session.log(entry.label)) as child:
        child.call(openvino_compress.compress, source.path, draft, entry, calibrated)
    for beside in source.step.beside:
        shutil.copyfile(source.path / beside.name, draft / beside.name)
    return _checked(_written(draft, session), source, entry, draft, child.log_since_start())


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


def _written(draft: Path, session: Session) -> IrStep:
    from quantcurve.engines import openvino_ir

    hash_file = session.store.hash_file
    there = [name for name in BESIDE_THE_IR if (draft / name).is_file()]
    return IrStep(
        file=openvino_ir.model_file(draft, hash_file),
        beside=tuple(FileHash(name=name, content_hash=hash_file(draft / name)) for name in there),
    )


def _check_disk(needed: int, draft: Path, session: Session) -> None:
    free = shutil.disk_usage(draft).free
    if free < needed:
        raise PrerequisiteError(
            f"{session.store.folder}: {free / 1e6:,.0f} MB free, the IR needs at least {needed / 1e6:,.0f} MB",
            disk.FREE_SOME,
        )
