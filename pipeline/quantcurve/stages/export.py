"""OpenVINO IRs: the reference's weights in float32, and what NNCF makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import disk
from quantcurve.engines.base import OpenVinoRuntime, Tokens
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import TensorInfo
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import Frozen, ModelFile
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Failed, Reference

BESIDE_THE_IR = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("openvino_tokenizer.xml", "openvino_tokenizer.bin", "openvino_detokenizer.xml", "openvino_detokenizer.bin"),
)
"""Files that GenAI and optimum-intel load with an IR."""
PACKAGES = ("openvino", "openvino-tokenizers", "nncf", "optimum-intel", "transformers", "torch")


class ExportInputs(Frozen):
    """Key of the float32 IR."""

    version: Literal[2] = 2
    reference_hash: str
    from_folder: bool
    """Whether the weights are read from the Hugging Face folder that the reference was converted from."""
    packages: tuple[tuple[str, str], ...]
    """Name and version of what exports."""


class IrStep(Frozen):
    """An IR as it was written."""

    file: ModelFile


class CompressInputs(Frozen):
    """Key of a compressed IR."""

    version: Literal[2] = 2
    source_hash: str
    variant: OpenVinoVariant
    calibration_hash: str | None
    packages: tuple[tuple[str, str], ...]


class Ir(NamedTuple):
    """An IR in a folder, ready to open."""

    name: str
    path: Path
    file: ModelFile
    runtime: OpenVinoRuntime
    entry: OpenVinoVariant | None
    """None for the float32 reference."""


class Calibration(NamedTuple):
    """Calibration tokens, (n, T)."""

    content_hash: str
    windows: Tokens


def packages() -> tuple[tuple[str, str], ...]:
    """Versions of what exports and compresses."""
    return tuple((name, metadata.version(name)) for name in PACKAGES)


def export(reference: Reference, session: Session) -> Ir:
    """The reference's weights as a float32 IR, run exactly.

    Raises:
        ModelFileError: no tokenizer is known that is equal to the one in the reference's file.
        BackendError: transformers or optimum-intel does not know the model.
        PrerequisiteError: too little disk.
    """
    session.progress(Event("export", 0, 1, FLOOR))
    step, artifact = session.make("export", export_inputs(reference), IrStep, partial(_export, reference, session))
    session.progress(Event("export", 1, 1, FLOOR))
    return _floor(artifact.folder, step)


def export_inputs(reference: Reference) -> ExportInputs:
    """Key of the float32 IR."""
    return ExportInputs(
        reference_hash=reference.step.file.content_hash,
        from_folder=reference.folder is not None,
        packages=packages(),
    )


def find(reference: Reference, session: Session) -> Ir | None:
    """The float32 IR if the store has it; writes nothing."""
    found = session.peek("export", export_inputs(reference), IrStep)
    return _floor(found[1], found[0]) if found else None


def find_variant(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir | None:
    """A variant's IR if the store has it; writes nothing."""
    if entry.weights == "F32":
        return Ir(entry.label, source.path, source.file, entry.as_run, entry)
    found = session.peek("compress", compress_inputs(source, entry, calibration), IrStep)
    return Ir(entry.label, found[1], found[0].file, entry.as_run, entry) if found else None


def _floor(folder: Path, step: IrStep) -> Ir:
    return Ir(FLOOR, folder, step.file, OpenVinoRuntime(execution="accuracy"), None)


def compress(
    source: Ir, entries: Sequence[OpenVinoVariant], calibration: Calibration | None, session: Session
) -> list[Ir | Failed]:
    """Every variant's IR; one that NNCF refuses is `Failed`, the others go on.

    Raises:
        RecipeError: a rule for single layers matches none.
    """
    made: list[Ir | Failed] = []
    for i, entry in enumerate(entries):
        session.progress(Event("compress", i, len(entries), entry.label))
        try:
            made.append(_made(source, entry, calibration, session))
        except BackendError as error:
            made.append(
                Failed(entry.label, error.message.removeprefix(f"{entry.label}: "), str(session.log(entry.label)))
            )
    session.progress(Event("compress", len(entries), len(entries), "done"))
    return made


def compress_inputs(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None) -> CompressInputs:
    """Key of a variant's IR: how it is run is no part of it, nor is its name."""
    plain = entry.model_copy(update={"name": None, "runtime": OpenVinoRuntime()})
    return CompressInputs(
        source_hash=source.file.content_hash,
        variant=plain,
        calibration_hash=calibration.content_hash if calibration and entry.data_aware else None,
        packages=packages(),
    )


def widths(tensors: Sequence[TensorInfo], entry: OpenVinoVariant) -> dict[str, int]:
    """Input width of every layer that a variant compresses, by its name in the reference's file: not the embedding
    and the head, which have a format of their own unless the variant is for all layers."""
    apart = () if entry.all_layers else ("token_embd.", "output.")
    matrices = (t for t in tensors if len(t.shape) == 2 and t.name.endswith(".weight"))
    return {t.name: t.shape[0] for t in matrices if not t.name.startswith(apart)}


def _made(source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session) -> Ir:
    if entry.weights == "F32":
        return Ir(entry.label, source.path, source.file, entry.as_run, entry)
    if entry.data_aware and calibration is None:
        raise BackendError(f"{entry.label}: it needs calibration texts; give the recipe a calibration")
    inputs = compress_inputs(source, entry, calibration)
    work = partial(_compress, source, entry, calibration, session)
    step, artifact = session.make("compress", inputs, IrStep, work)
    return Ir(entry.label, artifact.folder, step.file, entry.as_run, entry)


def _export(reference: Reference, session: Session, draft: Path) -> IrStep:
    from quantcurve.engines import openvino_export, openvino_ir, tokenizer_lanes

    _check_disk(4 * reference.step.file.weights, draft)
    with Child("tokenizer", session.log("tokenizer")) as child:
        child.call(tokenizer_lanes.write_tokenizer, reference.path, reference.folder, draft)
    with Child("export", session.log("export")) as child:
        child.call(openvino_export.export, reference.folder or reference.path, draft)
    return IrStep(file=openvino_ir.model_file(draft, session.store.hash_file))


def _compress(
    source: Ir, entry: OpenVinoVariant, calibration: Calibration | None, session: Session, draft: Path
) -> IrStep:
    from quantcurve.engines import openvino_compress, openvino_ir

    _check_disk(source.file.size_bytes // 8, draft)
    windows = calibration.windows if calibration and entry.data_aware else None
    statistics = draft / "statistics"
    with Child(entry.label, session.log(entry.label)) as child:
        child.call(openvino_compress.compress, source.path, draft, entry, windows, statistics)
    shutil.rmtree(statistics, ignore_errors=True)
    for name in BESIDE_THE_IR:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, draft / name)
    return IrStep(file=openvino_ir.model_file(draft, session.store.hash_file))


def _check_disk(needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PrerequisiteError(
            f"{folder}: {free / 1e6:,.0f} MB free, the IR needs {needed / 1e6:,.0f} MB", disk.FREE_SOME
        )
