"""What an embedding model and its variants make of texts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve import disk
from quantcurve.encoder_texts import hash_of
from quantcurve.engines.base import Floats, OpenVinoConfig
from quantcurve.engines.encoder import OpenEncoder
from quantcurve.records import EngineIdentity, Frozen, OpenVinoEffective
from quantcurve.session import Session
from quantcurve.stages.encoder import EncoderIr
from quantcurve.stages.tokenizer_gate import FileHash

EMBEDDINGS = "embeddings.npy"


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


class Embedded(NamedTuple):
    """What a model made of texts."""

    rows: Floats
    """(n, width)."""
    config: OpenVinoEffective


def embed(ir: EncoderIr, texts: Sequence[str], session: Session) -> Embedded:
    """A model's embeddings of texts.

    Raises:
        BackendError: the engine refused or died.
        PrerequisiteError: too little disk.
    """
    inputs = _embed_inputs(ir, texts, session)
    step, artifact = session.make("embed", inputs, EmbedStep, partial(_embed, ir, texts, session))
    return Embedded(np.load(artifact.folder / EMBEDDINGS), step.config)


def is_embedded(ir: EncoderIr, texts: Sequence[str], session: Session) -> bool:
    """Whether the store has a model's embeddings of texts; writes nothing."""
    return session.peek("embed", _embed_inputs(ir, texts, session), EmbedStep) is not None


def _embed_inputs(ir: EncoderIr, texts: Sequence[str], session: Session) -> EmbedInputs:
    assert session.openvino
    return EmbedInputs(
        content_hash=ir.step.file.content_hash,
        beside=ir.step.beside,
        texts_hash=hash_of(texts),
        config=ir.config(session.threads),
        engine=session.openvino,
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
