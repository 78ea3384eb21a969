"""Scores of the reference and every variant on the same windows, chunk by chunk.

For a chunk of windows the reference's logits go to a scratch file on disk, every variant is scored against it, the
scratch goes. So the logits of a whole text are never stored, and it works when the models do not fit in memory
together. Every (model, chunk) is an artifact: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve.engines.base import TOP_K, EngineConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.results import EffectiveConfig, EngineIdentity, Frozen
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Failed, Variant
from quantcurve.stages.tokenize import Windowed, windows_hash

SCRATCH_BYTES = 2**30
"""Size of a chunk's reference logits; a fixed number, since chunks are part of the store's keys."""


class ScoreInputs(Frozen):
    """Key of one model's scores on one chunk of windows."""

    version: Literal[1] = 1
    model_hash: str
    reference_hash: str | None
    windows_hash: str
    top_k: int = TOP_K
    config: EngineConfig
    engine: EngineIdentity


class ScoreStep(Frozen):
    """Per-token scores are in scores.npz."""

    windows: int
    config: EffectiveConfig


class Chunk(NamedTuple):
    """Some windows of one text."""

    text: int
    windows: Tokens
    hash: str


class Model(NamedTuple):
    """A model to score."""

    name: str
    path: Path
    content_hash: str
    size_bytes: int


class Screened(NamedTuple):
    """Scores by model, one entry a text."""

    reference: list[TokenScores]
    variants: dict[str, list[TokenScores]]
    failed: dict[str, Failed]
    config: EffectiveConfig


def logits_bytes(windows_shape: tuple[int, ...], vocabulary: int) -> int:
    """Bytes of the scored half's logits, float32, of windows of a shape (W, window_tokens)."""
    return windows_shape[0] * (windows_shape[1] // 2) * vocabulary * 4


def chunks(texts: Sequence[Windowed], sequences: int) -> list[Chunk]:
    """The windows in chunks of about SCRATCH_BYTES of reference logits, whole batches each, one text at a time."""
    found = []
    for index, text in enumerate(texts):
        window_bytes = logits_bytes((1, text.windows.shape[1]), text.step.vocabulary)
        step = max(1, SCRATCH_BYTES // window_bytes // sequences) * sequences
        for start in range(0, len(text.windows), step):
            part = text.windows[start : start + step]
            found.append(Chunk(index, part, windows_hash(part)))
    return found


def score_inputs(
    model_hash: str, reference_hash: str | None, chunk: Chunk, config: EngineConfig, engine: EngineIdentity
) -> ScoreInputs:
    """Key of one model's scores on one chunk; the reference itself has no reference."""
    return ScoreInputs(
        model_hash=model_hash,
        reference_hash=reference_hash,
        windows_hash=chunk.hash,
        config=config,
        engine=engine,
    )


def screen(
    reference: Model, variants: Sequence[Variant], texts: Sequence[Windowed], config: EngineConfig, session: Session
) -> Screened:
    """Score all models on all windows.

    Raises:
        BackendError: the reference cannot be scored; a variant that cannot be is in `failed`.
        PrerequisiteError: too little disk for one batch of the reference's logits.
    """
    return _Walk(reference, variants, texts, config, session).run()


class _Walk:
    """The state of one walk over the chunks."""

    def __init__(
        self,
        reference: Model,
        variants: Sequence[Variant],
        texts: Sequence[Windowed],
        config: EngineConfig,
        session: Session,
    ) -> None:
        self.reference = reference
        self.models = [Model(v.name, v.path, v.file.content_hash, v.file.size_bytes) for v in variants]
        self.texts = texts
        self.config = config
        self.session = session
        self.chunks = chunks(texts, config.sequences)
        self.failed: dict[str, Failed] = {}
        self.scores: dict[str, list[list[TokenScores]]] = {
            m.name: [[] for _ in texts] for m in (reference, *self.models)
        }
        self.effective: EffectiveConfig | None = None
        self.done = 0
        self.total = sum(len(c.windows) for c in self.chunks) * (1 + len(self.models))

    def run(self) -> Screened:
        by_name = {m.name: m for m in (self.reference, *self.models)}
        with ModelPool(
            lambda name: LlamaCppModel(by_name[name].path, self.config, name, self.session.log(name)),
            lambda name: self._needed_bytes(by_name[name]),
        ) as pool:
            for chunk in self.chunks:
                self._score_chunk(chunk, pool)
        assert self.effective
        joined = {
            name: [TokenScores.concatenate(parts) for parts in by_text]
            for name, by_text in self.scores.items()
            if name not in self.failed
        }
        return Screened(joined.pop(self.reference.name), joined, self.failed, self.effective)

    def _score_chunk(self, chunk: Chunk, pool: ModelPool[LlamaCppModel]) -> None:
        waiting = [m for m in self.models if m.name not in self.failed and not self._is_cached(m, chunk)]
        if not waiting and self._is_cached(self.reference, chunk):
            for model in (self.reference, *self.models):
                if model.name not in self.failed:
                    self._score(model, chunk, pool, None)
            return
        self._check_disk(chunk)
        with self.session.store.scratch("reference-logits") as folder:
            scratch = ReferenceScratch(folder)
            self._score_reference(chunk, pool, scratch if waiting else None)
            for model in self.models:
                if model.name not in self.failed:
                    self._try_variant(model, chunk, pool, scratch)

    def _score_reference(self, chunk: Chunk, pool: ModelPool[LlamaCppModel], keep: ReferenceScratch | None) -> None:
        """The reference's logits are wanted even where its scores are in the store."""
        if keep and self._is_cached(self.reference, chunk):
            pool.get(self.reference.name).score(chunk.windows, keep=keep)
            keep = None
        self._score(self.reference, chunk, pool, None, keep)

    def _try_variant(
        self, model: Model, chunk: Chunk, pool: ModelPool[LlamaCppModel], scratch: ReferenceScratch
    ) -> None:
        try:
            self._score(model, chunk, pool, scratch)
        except BackendError as error:
            pool.drop(model.name)
            self.failed[model.name] = Failed(model.name, error.message, str(self.session.log(model.name)))

    def _score(
        self,
        model: Model,
        chunk: Chunk,
        pool: ModelPool[LlamaCppModel],
        reference: ReferenceScratch | None,
        keep: ReferenceScratch | None = None,
    ) -> None:
        self.session.progress(Event("screen", self.done, self.total, model.name))

        def make(draft: Path) -> ScoreStep:
            if model is not self.reference and reference is None:
                raise BackendError(f"{model.name}: its scores left the store while it was read; run the recipe again")
            loaded = pool.get(model.name)
            loaded.score(chunk.windows, reference, keep).save(draft / "scores.npz")
            pool.note_size(model.name)
            return ScoreStep(windows=len(chunk.windows), config=loaded.effective_config)

        step, artifact = self.session.make("screen", self._inputs(model, chunk), ScoreStep, make)
        self.scores[model.name][chunk.text].append(TokenScores.load(artifact.folder / "scores.npz"))
        self.effective = step.config
        self.done += len(chunk.windows)
        self.session.progress(Event("screen", self.done, self.total, model.name))

    def _inputs(self, model: Model, chunk: Chunk) -> ScoreInputs:
        against = None if model is self.reference else self.reference.content_hash
        return score_inputs(model.content_hash, against, chunk, self.config, self.session.engine)

    def _is_cached(self, model: Model, chunk: Chunk) -> bool:
        return self.session.cached("screen", self._inputs(model, chunk))

    def _needed_bytes(self, model: Model) -> int:
        """Weights, and the logits of a batch's scored half twice (the engine's buffer and a copy)."""
        vocabulary = self.texts[0].step.vocabulary
        return int(1.2 * model.size_bytes) + 2 * 4 * vocabulary * self.config.batch_tokens // 2

    def _check_disk(self, chunk: Chunk) -> None:
        text = self.texts[chunk.text]
        needed = logits_bytes(chunk.windows.shape, text.step.vocabulary)
        free = shutil.disk_usage(self.session.store.folder).free
        if free < needed:
            raise PrerequisiteError(
                f"{self.session.store.folder}: {free / 1e6:,.0f} MB free, the reference's logits of one chunk need "
                f"{needed / 1e6:,.0f} MB for a moment",
                "quantcurve cache prune, or export QUANTCURVE_CACHE=/a/folder/on/a/larger/disk",
            )
