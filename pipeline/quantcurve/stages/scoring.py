"""Per-token scores of one model on one chunk of windows, through the store.

A comparison needs the other model's logits: they go to a scratch file on disk for as long as the chunk is worked on,
so the logits of a whole text are never stored. Every (model, chunk) is an artifact: a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve.engines.base import (
    TOP_K,
    CacheTypes,
    EngineConfig,
    LlamaCppConfig,
    LoadedModel,
    OpenVinoConfig,
    ReferenceScratch,
    Runtime,
    TokenScores,
)
from quantcurve.engines.opening import open_model
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.records import EffectiveConfig, EngineIdentity, Frozen
from quantcurve.session import Session
from quantcurve.stages.route import Chunk, logits_bytes


class ScoreInputs(Frozen):
    """Key of one model's scores on one chunk of windows."""

    version: Literal[3, 5] = 3
    """5 where OpenVINO runs the model: what it does not tell is None, and a window goes through it at once if its cache
    holds floats."""
    model_hash: str
    reference_hash: str | None
    """Weights of the model that it is compared with: llama.cpp's, which has an F16 cache."""
    windows_hash: str
    top_k: int = TOP_K
    config: EngineConfig
    engine: EngineIdentity


class ScoreStep(Frozen):
    """Per-token scores are in scores.npz."""

    windows: int
    config: EffectiveConfig


class Model(NamedTuple):
    """Weights and how they are run."""

    name: str
    path: Path
    content_hash: str
    size_bytes: int
    runtime: Runtime = CacheTypes()


class Kept(NamedTuple):
    """A model on a chunk: its scores, and its logits if something is to be compared with them."""

    model: Model
    scores: TokenScores
    logits: ReferenceScratch | None


def score_inputs(
    model: Model, against: Model | None, windows_hash: str, config: LlamaCppConfig, session: Session
) -> ScoreInputs:
    """Key of one model's scores on one chunk."""
    of_engine = config.of(model.runtime)
    return ScoreInputs(
        version=5 if isinstance(of_engine, OpenVinoConfig) else 3,
        model_hash=model.content_hash,
        reference_hash=against.content_hash if against else None,
        windows_hash=windows_hash,
        config=of_engine,
        engine=session.engine_of(model.runtime),
    )


class Scorer:
    """Scores models through the store, in children that stay open while the memory lasts; use as a context manager."""

    def __init__(
        self,
        stage: str,
        models: Sequence[Model],
        vocabulary: int,
        config: LlamaCppConfig,
        session: Session,
        report: Callable[[str, int], None],
    ) -> None:
        """Nothing is opened yet.

        Args:
            stage: of the artifacts.
            models: all that may be scored, with names of their own.
            vocabulary: number of tokens.
            config: how models are opened, but for their cache.
            session: the run's surroundings.
            report: gets the name of a model and the number of windows it has been scored on, 0 before it starts.
        """
        self._stage = stage
        self._by_name = {m.name: m for m in models}
        self._vocabulary = vocabulary
        self._config = config
        self._session = session
        self._report = report
        self.effective: dict[str, EffectiveConfig] = {}
        self._pool = ModelPool(self._open, self._needed_bytes)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(None, None, None)

    def drop(self, model: Model) -> None:
        """Close a model that is not wanted any more."""
        self._pool.drop(model.name)

    def cached(self, model: Model, chunk: Chunk, against: Model | None) -> bool:
        """Whether `score` would only read."""
        return self._session.cached(self._stage, self._inputs(model, chunk, against))

    def score(
        self, model: Model, chunk: Chunk, against: Kept | None = None, keep: ReferenceScratch | None = None
    ) -> TokenScores:
        """Scores of a model on a chunk, compared with another one's logits; `keep`: where to leave its own logits.

        Raises:
            BackendError: it cannot be opened or scored.
        """
        self._report(model.name, 0)
        other = against.model if against else None

        def make(draft: Path) -> ScoreStep:
            if against and not against.logits:
                raise BackendError(f"{model.name}: its scores left the store while it was read; run the recipe again")
            loaded = self._pool.get(model.name)
            loaded.score(chunk.windows, against.logits if against else None, keep).save(draft / "scores.npz")
            self._pool.note_size(model.name)
            return ScoreStep(windows=len(chunk.windows), config=loaded.effective_config)

        step, artifact = self._session.make(self._stage, self._inputs(model, chunk, other), ScoreStep, make)
        if keep and artifact.cached:  # maybe by another run a moment ago: its scores are there, its logits are not
            self._pool.get(model.name).score(chunk.windows, keep=keep)
        self.effective[model.name] = step.config
        scores = TokenScores.load(artifact.folder / "scores.npz")
        self._report(model.name, len(chunk.windows))
        return scores

    @contextmanager
    def keep(self, model: Model, chunk: Chunk, wanted: bool, against: Kept | None = None) -> Iterator[Kept]:
        """A model's scores on a chunk, and its logits for as long as the block lasts if they are wanted.

        Raises:
            BackendError: as `score`.
            PrerequisiteError: too little disk for the logits.
        """
        if not wanted:
            yield Kept(model, self.score(model, chunk, against), None)
            return
        self._check_disk(chunk)
        with self._session.store.scratch("reference-logits") as folder:
            scratch = ReferenceScratch(folder)
            yield Kept(model, self.score(model, chunk, against, scratch), scratch)

    def _open(self, name: str) -> LoadedModel:
        model = self._by_name[name]
        return open_model(model.path, self._config.of(model.runtime), name, self._session.log(name))

    def _inputs(self, model: Model, chunk: Chunk, against: Model | None) -> ScoreInputs:
        return score_inputs(model, against, chunk.hash, self._config, self._session)

    def _needed_bytes(self, name: str) -> int:
        """Weights, and the logits of a batch's scored half twice (the engine's buffer and a copy)."""
        return int(1.2 * self._by_name[name].size_bytes) + 2 * 4 * self._vocabulary * self._config.batch_tokens // 2

    def _check_disk(self, chunk: Chunk) -> None:
        needed = logits_bytes(chunk.windows.shape, self._vocabulary)
        free = shutil.disk_usage(self._session.store.folder).free
        if free < needed:
            raise PrerequisiteError(
                f"{self._session.store.folder}: {free / 1e6:,.0f} MB free, the reference's logits of one chunk need "
                f"{needed / 1e6:,.0f} MB for a moment",
                "quantcurve cache prune, or export QUANTCURVE_CACHE=/a/folder/on/a/larger/disk",
            )


class StoredScores:
    """A Scorer that only reads, for plans: what is not in the store is a BackendError."""

    def __init__(self, stage: str, config: LlamaCppConfig, session: Session) -> None:
        """`stage`, `config` and `session` as of a Scorer."""
        self._stage, self._config, self._session = stage, config, session
        self.effective: dict[str, EffectiveConfig] = {}

    def drop(self, model: Model) -> None:
        """Nothing is open."""

    def cached(self, model: Model, chunk: Chunk, against: Model | None) -> bool:
        """As of a Scorer."""
        inputs = score_inputs(model, against, chunk.hash, self._config, self._session)
        return self._session.cached(self._stage, inputs)

    def score(
        self, model: Model, chunk: Chunk, against: Kept | None = None, keep: ReferenceScratch | None = None
    ) -> TokenScores:
        """As of a Scorer.

        Raises:
            BackendError: the store has no such scores.
        """
        other = against.model if against else None
        inputs = score_inputs(model, other, chunk.hash, self._config, self._session)
        found = self._session.peek(self._stage, inputs, ScoreStep)
        if found is None:
            raise BackendError(f"{model.name}: not in the store")
        self.effective[model.name] = found[0].config
        return TokenScores.load(found[1] / "scores.npz")

    @contextmanager
    def keep(self, model: Model, chunk: Chunk, wanted: bool, against: Kept | None = None) -> Iterator[Kept]:
        """As of a Scorer, without logits."""
        yield Kept(model, self.score(model, chunk, against), None)
