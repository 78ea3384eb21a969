"""An embedding model's IRs and embeddings: the float32 export, what NNCF makes of it, and what both make of texts."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve import disk, encoder_pipeline, sources
from quantcurve.accuracy_records import ControlResult
from quantcurve.encoder_pipeline import EmbeddingPipeline
from quantcurve.encoder_texts import Sentences, hash_of
from quantcurve.engines.base import Floats, OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.encoder import OpenEncoder
from quantcurve.engines.openvino_ir import MODEL, model_file
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import EngineIdentity, Frozen, ModelFile, OpenVinoEffective
from quantcurve.session import Event, Session
from quantcurve.stages import quantised
from quantcurve.stages.export import failed, packages
from quantcurve.stages.resolve import Failed
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.weight_formats import STATIC

EMBEDDINGS = "embeddings.npy"
EXACT = OpenVinoRuntime(execution="accuracy")
"""How the reference is run."""


class EncoderSource(NamedTuple):
    """A model's folder."""

    path: Path
    description: str
    content_hash: str
    """Of configuration, tokenizer, weights, and how embeddings are made."""


class EncoderExportInputs(Frozen):
    """Key of an encoder's float32 IR."""

    version: Literal[1] = 1
    kind: Literal["encoder"] = "encoder"
    folder_hash: str
    packages: tuple[tuple[str, str], ...]


class EncoderStep(Frozen):
    """An encoder's IR as it was written."""

    file: ModelFile
    pipeline: EmbeddingPipeline
    beside: tuple[FileHash, ...]
    """Tokenizer and configuration, in the IR's folder."""
    control: ControlResult | None = None
    """If layers were restored."""


class EncoderCompressInputs(Frozen):
    """Key of a variant's IR."""

    version: Literal[1] = 1
    kind: Literal["encoder"] = "encoder"
    source_hash: str
    beside: tuple[FileHash, ...]
    variant: OpenVinoVariant
    calibration_hash: str | None
    packages: tuple[tuple[str, str], ...]


class EmbedInputs(Frozen):
    """Key of embeddings."""

    version: Literal[1] = 1
    content_hash: str
    beside: tuple[FileHash, ...]
    texts_hash: str
    config: OpenVinoConfig
    engine: EngineIdentity


class EmbedStep(Frozen):
    """How a model was run that embedded; the embeddings lie beside it."""

    config: OpenVinoEffective
    texts: int
    width: int


class EncoderIr(NamedTuple):
    """An IR in a folder, ready to open."""

    name: str
    path: Path
    step: EncoderStep
    runtime: OpenVinoRuntime
    entry: OpenVinoVariant | None
    """None for the float32 reference."""

    def config(self, threads: int) -> OpenVinoConfig:
        """How it is opened."""
        return OpenVinoConfig(
            threads=threads, window_tokens=self.step.pipeline.max_tokens, runtime=self.runtime.without_generation()
        )


class Embedded(NamedTuple):
    """What a model made of texts."""

    rows: Floats
    """(n, width)."""
    config: OpenVinoEffective


def locate(source: str, base: Path, session: Session) -> EncoderSource:
    """Find an embedding model, with what sentence-transformers keeps in folders of its own.

    Raises:
        RecipeError: the source is wrong, or no Hugging Face folder.
        ModelFileError: sentence-transformers' files make no sense.
        PrerequisiteError: something is missing to get it.
    """
    located = sources.locate_folder(source, base)
    more = sources.fetch_beside(located, [f"{f}/config.json" for f in encoder_pipeline.pooling_folders(located.path)])
    encoder_pipeline.read(located.path)
    lines = [sources.content_hash(located, session.store.hash_file)]
    lines += [f"{path.relative_to(located.path)} {session.store.hash_file(path)}" for path in more]
    return EncoderSource(located.path, located.description, hashlib.sha256("\n".join(lines).encode()).hexdigest())


def export(source: EncoderSource, session: Session) -> EncoderIr:
    """The float32 IR, run exactly: the reference.

    Raises:
        BackendError: transformers or optimum-intel does not know the model.
        PrerequisiteError: too little disk.
    """
    session.progress(Event("export", 0, 1, FLOOR))
    inputs = EncoderExportInputs(folder_hash=source.content_hash, packages=packages())
    step, artifact = session.make("export", inputs, EncoderStep, partial(_export, source, session))
    session.progress(Event("export", 1, 1, FLOOR))
    return EncoderIr(FLOOR, artifact.folder, step, EXACT, None)


def compress(
    source: EncoderIr,
    entries: Sequence[OpenVinoVariant],
    sentences: Sentences | None,
    session: Session,
    controlled: Callable[[OpenVinoVariant, Sentences], EncoderIr],
) -> list[EncoderIr | Failed]:
    """Every variant's IR; one that NNCF refuses, or that memory or disk are too small for, is `Failed`.

    Args:
        source: the float32 IR.
        entries: all variants.
        sentences: to calibrate on, if any variant needs that.
        session: the run's surroundings.
        controlled: makes those under accuracy control.

    Raises:
        RecipeError: a rule for single layers matches none, or a validation function failed.
    """
    made: list[EncoderIr | Failed] = []
    for i, entry in enumerate(entries):
        session.progress(Event("compress", i, len(entries), entry.label))
        try:
            if entry.accuracy_control:
                assert sentences
                made.append(controlled(entry, sentences))
                continue
            work = partial(_compress, source, entry, sentences, session)
            step, artifact = session.make("compress", compress_inputs(source, entry, sentences), EncoderStep, work)
            made.append(EncoderIr(entry.label, artifact.folder, step, entry.as_run, entry))
        except (BackendError, PrerequisiteError) as error:
            made.append(failed(entry.label, error, session.log(entry.label)))
    session.progress(Event("compress", len(entries), len(entries), "done"))
    return made


def compress_inputs(source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences | None) -> EncoderCompressInputs:
    """Key of a variant's IR: how it is run is no part of it, nor is its name."""
    return EncoderCompressInputs(
        source_hash=source.step.file.content_hash,
        beside=source.step.beside,
        variant=entry.model_copy(update={"name": None, "runtime": OpenVinoRuntime()}),
        calibration_hash=sentences.content_hash if sentences and entry.data_aware else None,
        packages=packages(),
    )


def quantised_inputs(source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences) -> quantised.QuantisedInputs:
    """Key of a W8A8 variant's quantised graph."""
    return quantised.inputs_of(entry, source.step.file.content_hash, sentences.content_hash, packages())


def embed(ir: EncoderIr, texts: Sequence[str], session: Session) -> Embedded:
    """A model's embeddings of texts.

    Raises:
        BackendError: the engine refused or died.
        PrerequisiteError: too little disk.
    """
    assert session.openvino
    inputs = EmbedInputs(
        content_hash=ir.step.file.content_hash,
        beside=ir.step.beside,
        texts_hash=hash_of(texts),
        config=ir.config(session.threads),
        engine=session.openvino,
    )
    step, artifact = session.make("embed", inputs, EmbedStep, partial(_embed, ir, texts, session))
    return Embedded(np.load(artifact.folder / EMBEDDINGS), step.config)


def _export(source: EncoderSource, session: Session, draft: Path) -> EncoderStep:
    from quantcurve.engines import encoder_export

    with Child("export", session.log("export")) as child:
        pipeline = child.call(encoder_export.export, source.path, draft)
    return written(draft, pipeline, session)


def _compress(
    source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences | None, session: Session, draft: Path
) -> EncoderStep:
    from quantcurve.engines import encoder_compress, openvino_revert

    with Child(entry.label, session.log(entry.label)) as child:
        if entry.weights in STATIC:
            assert sentences
            graph = quantised.quantised(
                quantised_inputs(source, entry, sentences), source.path, sentences.texts, session
            )
            child.call(openvino_revert.build, graph.folder, source.path, draft, ())
        else:
            child.call(encoder_compress.compress, source.path, draft, entry)
    copy_beside(source, draft)
    return written(draft, source.step.pipeline, session)


def copy_beside(source: EncoderIr, draft: Path) -> None:
    """Copy the source's tokenizer and configuration."""
    for beside in source.step.beside:
        (draft / beside.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path / beside.name, draft / beside.name)


def written(draft: Path, pipeline: EmbeddingPipeline, session: Session) -> EncoderStep:
    """The record of an IR in a folder."""
    hash_file = session.store.hash_file
    weights = {MODEL, Path(MODEL).with_suffix(".bin").name}
    beside = sorted(p for p in draft.rglob("*") if p.is_file() and p.name not in weights)
    return EncoderStep(
        file=model_file(draft, hash_file),
        pipeline=pipeline,
        beside=tuple(FileHash(name=p.relative_to(draft).as_posix(), content_hash=hash_file(p)) for p in beside),
    )


def _embed(ir: EncoderIr, texts: Sequence[str], session: Session, draft: Path) -> EmbedStep:
    model = OpenEncoder(ir.path, ir.config(session.threads), ir.name, session.log(ir.name))
    try:
        rows = model.embed(texts)
    finally:
        model.close()
    content = io.BytesIO()
    np.save(content, rows)
    with disk.errors_named(draft):
        (draft / EMBEDDINGS).write_bytes(content.getbuffer())
    return EmbedStep(config=model.effective_config, texts=len(texts), width=rows.shape[1])
