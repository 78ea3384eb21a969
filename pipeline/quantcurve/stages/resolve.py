"""From a recipe's model source to the reference, and from the reference to its variants."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from quantcurve import disk, sources
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader
from quantcurve.engines.tensor_types import TensorRule
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.recipe import Model
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.records import EngineIdentity, Fallback, Frozen, ModelFile, Provenance
from quantcurve.session import Event, Session

if TYPE_CHECKING:
    from quantcurve.stages.imatrix import Matrix

Precision = Literal["F16", "BF16"]


class ReferenceInputs(Frozen):
    """Key of a reference."""

    version: Literal[1] = 1
    source_hash: str
    requested: str
    engine: EngineIdentity


class ReferenceStep(Frozen):
    """A reference as it was written; `is_source`: the source file itself serves, no copy was made."""

    file: ModelFile
    precision: str
    provenance: Provenance
    is_source: bool


class Reference(NamedTuple):
    """The reference, ready to open."""

    path: Path
    source: str
    step: ReferenceStep
    folder: Path | None = None
    """Of the Hugging Face model that it was converted from."""


class VariantInputs(Frozen):
    """Key of a variant's file."""

    version: Literal[2] = 2
    reference_hash: str
    file_type: str
    tensors: tuple[TensorRule, ...] = ()
    imatrix_hash: str | None = None
    engine: EngineIdentity


class VariantStep(Frozen):
    """A variant's file as it was written."""

    file: ModelFile
    tensor_types: tuple[tuple[str, str], ...] = ()
    """Name and type of every tensor that llama.cpp was told the type of, if there were rules."""
    without_importance: tuple[str, ...] = ()
    """Quantised tensors that the importance matrix has no entry for."""


class Variant(NamedTuple):
    """A variant's file, ready to open."""

    entry: GgufVariant
    path: Path
    step: VariantStep

    @property
    def file(self) -> ModelFile:
        """What the file really is."""
        return self.step.file

    @property
    def name(self) -> str:
        """The variant's label."""
        return self.entry.label


class Failed(NamedTuple):
    """A variant that could not be made or measured."""

    name: str
    reason: str
    log: str


def reference_inputs(model: Model, source_hash: str, engine: EngineIdentity) -> ReferenceInputs:
    """Key of the reference of a model source."""
    return ReferenceInputs(source_hash=source_hash, requested=model.reference, engine=engine)


def resolve(model: Model, base: Path, session: Session) -> Reference:
    """The reference of a model: found, converted to GGUF and written in F16 or BF16 where it is not already.

    Raises:
        RecipeError, PrerequisiteError: the source is wrong or something is missing to get it.
        ModelFileError: the file is missing, truncated, corrupt or of an unknown architecture.
    """
    session.progress(Event("resolve", 0, 1, model.source))
    located = sources.locate(model.source, base)
    source_hash = sources.content_hash(located, session.store.hash_file)
    inputs = reference_inputs(model, source_hash, session.engine)
    step, artifact = session.make("resolve", inputs, ReferenceStep, partial(_write, located, model, session))
    session.progress(Event("resolve", 1, 1, model.source))
    return reference_in(artifact.folder, located, step)


def reference_in(folder: Path, located: sources.Located, step: ReferenceStep) -> Reference:
    """A reference that was written into a folder of the store."""
    path = located.path if step.is_source else folder / "model.gguf"
    return Reference(path, located.description, step, located.path if located.kind == "hf_folder" else None)


def variant_inputs(
    entry: GgufVariant, reference_hash: str, matrix_hash: str | None, engine: EngineIdentity
) -> VariantInputs:
    """Key of a variant's file."""
    return VariantInputs(
        reference_hash=reference_hash,
        file_type=entry.type,
        tensors=entry.tensors,
        imatrix_hash=matrix_hash if entry.imatrix else None,
        engine=engine,
    )


def quantize(
    reference: Reference, entries: Sequence[GgufVariant], matrix: Matrix | Failed | None, session: Session
) -> list[Variant | Failed]:
    """Write every variant; one that llama.cpp refuses, or that needs a matrix that failed, is `Failed`, the others go
    on.

    Raises:
        RecipeError: a rule for single tensors matches none.
    """
    made: list[Variant | Failed] = []
    for i, entry in enumerate(entries):
        session.progress(Event("quantize", i, len(entries), entry.label))
        if isinstance(matrix, Failed) and entry.imatrix:
            made.append(matrix._replace(name=entry.label))
            continue
        try:
            made.append(_variant(reference, entry, None if isinstance(matrix, Failed) else matrix, session))
        except BackendError as error:
            reason = error.message.removeprefix(f"{entry.type}: ").removeprefix(f"{entry.label}: ")
            made.append(Failed(entry.label, reason, str(session.log(entry.label))))
    session.progress(Event("quantize", len(entries), len(entries), "done"))
    return made


def _variant(reference: Reference, entry: GgufVariant, matrix: Matrix | None, session: Session) -> Variant:
    matrix_hash = matrix.result.content_hash if matrix else None
    inputs = variant_inputs(entry, reference.step.file.content_hash, matrix_hash, session.engine)
    step, artifact = session.make(
        "quantize", inputs, VariantStep, partial(_quantize, reference.path, entry, matrix, session)
    )
    return Variant(entry, artifact.folder / "model.gguf", step)


def model_file(header: GgufHeader, path: Path, content_hash: str, fallbacks: Sequence[Fallback] = ()) -> ModelFile:
    """What a written file really is."""
    weights = sum(t.weights for t in header.tensors)
    return ModelFile(
        content_hash=content_hash,
        size_bytes=path.stat().st_size,
        weights=weights,
        bits_per_weight=8 * sum(t.size_bytes for t in header.tensors) / weights,
        types=header.type_shares(),
        fallbacks=tuple(fallbacks),
    )


def wanted_precision(header: GgufHeader, requested: str, holds_bf16: bool) -> Precision:
    """Precision of the reference: as requested; else the source's own if it is F16 or BF16; BF16 for F32 weights that
    BF16 holds exactly; F16 for the rest."""
    if requested in ("F16", "BF16"):
        return "F16" if requested == "F16" else "BF16"
    main = header.type_shares()[0].type
    if main == "BF16" or (main == "F32" and holds_bf16):
        return "BF16"
    return "F16"


def _as_stored(folder: Path) -> Literal["auto", "f32"]:
    """F32 weights are converted as F32, so that `wanted_precision` can see whether BF16 holds them exactly."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "f32" if config.get("dtype", config.get("torch_dtype")) == "float32" else "auto"


def _write(located: sources.Located, model: Model, session: Session, draft: Path) -> ReferenceStep:
    """The reference, or an error that names its source: the engine knows no more than its own draft's path."""
    try:
        return _reference(located, model, session, draft)
    except BackendError as error:
        named = f"model source {model.source!r}: {error.message}"
        raise type(error)(f"{named}; get the file again, or name another", error.log) from error


def _reference(located: sources.Located, model: Model, session: Session, draft: Path) -> ReferenceStep:
    from quantcurve.engines import llamacpp_files, llamacpp_quantize, provenance

    log = session.log("reference")
    source = located.path
    if located.kind == "hf_folder":
        from quantcurve.engines import convert

        source = draft / "source.gguf"
        tools = convert.converter_folder(session.store.folder)
        convert.convert_hf_to_gguf(located.path, source, _as_stored(located.path), log, tools)
    with Child("reference", log) as child:
        source_header = child.call(llamacpp_files.header, source)
        holds_bf16 = source_header.type_shares()[0].type == "F32" and child.call(llamacpp_files.holds_bf16, source)
        precision = wanted_precision(source_header, model.reference, holds_bf16)
        target = draft / "model.gguf"
        is_source = source_header.type_shares()[0].type == precision
        if not is_source:
            child.call(llamacpp_quantize.quantize, source, target, precision, session.threads)
        elif located.kind == "hf_folder":
            source.rename(target)
        kept = target if target.exists() else source
        header = child.call(llamacpp_files.header, kept)
        child.call(llamacpp_files.tokenize, kept, ["loads?"])
        report = child.call(provenance.lattice_share, header, kept, 0)
    if source.parent == draft and source.exists():
        source.unlink()
    return ReferenceStep(
        file=model_file(header, kept, session.store.hash_file(kept)),
        precision=precision,
        provenance=provenance.provenance(source_header.type_shares(), report),
        is_source=kept == located.path,
    )


def _quantize(source: Path, entry: GgufVariant, matrix: Matrix | None, session: Session, draft: Path) -> VariantStep:
    from quantcurve.engines import llamacpp_files, llamacpp_quantize

    target = draft / "model.gguf"
    _check_disk(source, draft)
    importance, origin = None, None
    if matrix and entry.imatrix:
        importance = matrix.importance()
        origin = llamacpp_quantize.ImportanceOrigin(", ".join(matrix.result.datasets), matrix.result.windows)
    with Child(entry.label, session.log(entry.label)) as child:
        written = child.call(
            llamacpp_quantize.quantize, source, target, entry.type, session.threads, entry.tensors, importance, origin
        )
        header = child.call(llamacpp_files.header, target)
    file = model_file(header, target, session.store.hash_file(target), written.fallbacks)
    return VariantStep(file=file, tensor_types=written.overrides, without_importance=written.without_importance)


def _check_disk(source: Path, folder: Path) -> None:
    """No variant is larger than twice the reference (F32); refuse early where the smallest would not fit."""
    free, size = shutil.disk_usage(folder).free, source.stat().st_size
    if free < size // 8:
        raise PrerequisiteError(
            f"{folder}: {free / 1e6:,.0f} MB free, too little for a variant of a {size / 1e6:,.0f} MB reference",
            disk.FREE_SOME,
        )
