"""OpenVINO IRs: the reference's weights in float32, and what NNCF makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve import disk, sources
from quantcurve.accuracy_records import ControlResult
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import TensorInfo
from quantcurve.errors import BackendError, PrerequisiteError, UnsupportedFileError
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import Frozen, ModelFile
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Failed, Reference
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.width_refusals import Width

if TYPE_CHECKING:
    pass

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
    control: ControlResult | None = None
    """Of a variant under accuracy control."""


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


def _floor(folder: Path, step: IrStep) -> Ir:
    return Ir(FLOOR, folder, step, OpenVinoRuntime(execution="accuracy"), None)


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


def widths(tensors: Sequence[TensorInfo]) -> list[Width]:
    """What NNCF would compress of the reference: matrices, and the stacked ones of experts (three dimensions), which it
    takes as it takes matrices."""
    matrices = (t for t in tensors if len(t.shape) in {2, 3} and t.name.endswith(".weight"))
    return [Width(t.name, t.shape[0], t.weights, t.name.startswith(APART)) for t in matrices]


def _export(reference: Reference, session: Session, draft: Path) -> IrStep:
    from quantcurve.engines import tokenizer_lanes

    check_disk(4 * reference.step.file.weights, draft, session)
    with Child("tokenizer", session.log("tokenizer")) as child:
        child.call(tokenizer_lanes.write_tokenizer, reference.path, reference.folder, draft)
    weights_from = _export_weights(reference, session, draft)
    return written(draft, session).model_copy(update={"weights_from": weights_from})


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


def copy_beside(source: Ir, draft: Path) -> None:
    """Copy what GenAI and optimum-intel load with an IR."""
    for beside in source.step.beside:
        shutil.copyfile(source.path / beside.name, draft / beside.name)


def written(draft: Path, session: Session) -> IrStep:
    """The record of an IR in a folder."""
    from quantcurve.engines import openvino_ir

    hash_file = session.store.hash_file
    there = [name for name in BESIDE_THE_IR if (draft / name).is_file()]
    return IrStep(
        file=openvino_ir.model_file(draft, hash_file),
        beside=tuple(FileHash(name=name, content_hash=hash_file(draft / name)) for name in there),
    )


def check_disk(needed: int, draft: Path, session: Session) -> None:
    """Refuse an IR that needs more bytes than are free.

    Raises:
        PrerequisiteError: it does.
    """
    free = shutil.disk_usage(draft).free
    if free < needed:
        raise PrerequisiteError(
            f"{session.store.folder}: {free / 1e6:,.0f} MB free, the IR needs at least {needed / 1e6:,.0f} MB",
            disk.FREE_SOME,
        )
