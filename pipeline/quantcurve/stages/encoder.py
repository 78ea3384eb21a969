"""An embedding model's IRs and embeddings: the float32 export, what NNCF makes of it, and what both make of texts."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import encoder_pipeline, sources
from quantcurve.accuracy_records import ControlResult
from quantcurve.encoder_pipeline import EmbeddingPipeline
from quantcurve.encoder_texts import Sentences
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.openvino_ir import MODEL, model_file
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.recipe_openvino import FLOOR, OpenVinoVariant
from quantcurve.records import Frozen, ModelFile
from quantcurve.session import Event, Session
from quantcurve.stages import quantised
from quantcurve.stages.export import failed, packages
from quantcurve.stages.resolve import Failed
from quantcurve.stages.tokenizer_gate import FileHash
from quantcurve.weight_formats import STATIC

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
    step, artifact = session.make("export", _export_inputs(source), EncoderStep, partial(_export, source, session))
    session.progress(Event("export", 1, 1, FLOOR))
    return EncoderIr(FLOOR, artifact.folder, step, EXACT, None)


def find_export(source: EncoderSource, session: Session) -> EncoderIr | None:
    """The float32 IR if the store has it; writes nothing."""
    found = session.peek("export", _export_inputs(source), EncoderStep)
    return EncoderIr(FLOOR, found[1], found[0], EXACT, None) if found else None


def _export_inputs(source: EncoderSource) -> EncoderExportInputs:
    return EncoderExportInputs(folder_hash=source.content_hash, packages=packages())


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


def find(source: EncoderIr, entry: OpenVinoVariant, sentences: Sentences | None, session: Session) -> EncoderIr | None:
    """The IR of a variant without accuracy control if the store has it; writes nothing."""
    found = session.peek("compress", compress_inputs(source, entry, sentences), EncoderStep)
    return EncoderIr(entry.label, found[1], found[0], entry.as_run, entry) if found else None


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
