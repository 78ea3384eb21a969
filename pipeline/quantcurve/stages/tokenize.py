"""Evaluation texts to windows of token ids, once, by the reference's own vocabulary: all models get the same ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from quantcurve.engines.base import Doubles, Tokens
from quantcurve.engines.child import Child
from quantcurve.recipe import Windows
from quantcurve.recipe_text import Text
from quantcurve.records import EngineIdentity, Frozen, TextResult
from quantcurve.session import Event, Session
from quantcurve.stages.resolve import Reference
from quantcurve.texts import LoadedText, cut


class TokensInputs(Frozen):
    """Key of a text's windows."""

    version: Literal[2] = 2
    reference_hash: str
    text_hash: str
    windows: Windows
    limit: int | None
    seed: int
    engine: EngineIdentity


class TokensStep(Frozen):
    """A text cut into windows; the ids are in windows.npz."""

    tokens: int
    windows_available: int
    windows_used: int
    vocabulary: int


class ScoredText(NamedTuple):
    """One text's windows: bytes of text behind the scored tokens of each window, (W,)."""

    name: str
    scored_bytes: Doubles
    window_tokens: int


class Windowed(NamedTuple):
    """One text's windows, ready to score."""

    text: LoadedText
    windows: Tokens
    """(W, window_tokens)."""
    scored_bytes: Tokens
    """(W,): bytes of text behind the scored tokens."""
    step: TokensStep

    def scored_text(self) -> ScoredText:
        """The part that figures need."""
        return ScoredText(self.text.name, self.scored_bytes.astype(np.float64), self.windows.shape[1])

    def result(self) -> TextResult:
        """The part that the run's record keeps."""
        return TextResult(
            name=self.text.name,
            source=self.text.source,
            content_hash=self.text.content_hash,
            size_bytes=self.text.size_bytes,
            tokens=self.step.tokens,
            windows_available=self.step.windows_available,
            windows_used=self.step.windows_used,
        )


def tokens_inputs(
    entry: Text, text: LoadedText, windows: Windows, seed: int, reference_hash: str, engine: EngineIdentity
) -> TokensInputs:
    """Key of one text's windows."""
    return TokensInputs(
        reference_hash=reference_hash,
        text_hash=text.content_hash,
        windows=windows,
        limit=windows.limit_of(entry),
        seed=seed,
        engine=engine,
    )


def tokenize(
    entries: Sequence[Text],
    texts: Sequence[LoadedText],
    windows: Windows,
    seed: int,
    reference: Reference,
    session: Session,
) -> list[Windowed]:
    """Windows of every text.

    Raises:
        RecipeError: a text is too short for two windows.
    """
    done = []
    for i, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        session.progress(Event("tokenize", i, len(texts), text.name))
        inputs = tokens_inputs(entry, text, windows, seed, reference.step.file.content_hash, session.engine)
        step, artifact = session.make(
            "tokenize", inputs, TokensStep, partial(_make, inputs, text, reference.path, session)
        )
        done.append(_windowed(text, step, artifact.folder))
    session.progress(Event("tokenize", len(texts), len(texts), "done"))
    return done


def find(
    entry: Text, text: LoadedText, windows: Windows, seed: int, reference_hash: str, session: Session
) -> Windowed | None:
    """A text's windows if the store has them; writes nothing."""
    inputs = tokens_inputs(entry, text, windows, seed, reference_hash, session.engine)
    found = session.peek("tokenize", inputs, TokensStep)
    return _windowed(text, *found) if found else None


def windows_hash(windows: Tokens) -> str:
    """SHA-256 of token ids and shape."""
    return hashlib.sha256(f"{windows.shape}".encode() + np.ascontiguousarray(windows, "<i4").tobytes()).hexdigest()


def _windowed(text: LoadedText, step: TokensStep, folder: Path) -> Windowed:
    with np.load(folder / "windows.npz") as arrays:
        return Windowed(text, arrays["windows"], arrays["scored_bytes"], step)


def _make(inputs: TokensInputs, text: LoadedText, model: Path, session: Session, draft: Path) -> TokensStep:
    from quantcurve.engines import llamacpp_files

    with Child("tokenizer", session.log("tokenizer")) as child:
        tokens = child.call(llamacpp_files.tokenize, model, [text.content])[0]
        made = cut(text.name, tokens, inputs.windows, inputs.limit, inputs.seed)
        bos = child.call(llamacpp_files.first_token, model)
        scored = made.windows[:, inputs.windows.tokens // 2 + 1 :]
        scored_bytes = child.call(llamacpp_files.piece_bytes, model, scored).sum(axis=1, dtype=np.int32)
        vocabulary = child.call(llamacpp_files.vocabulary_size, model)
    windows = made.windows.copy()
    if bos is not None:  # for every engine, as llama-perplexity does
        windows[:, 0] = bos
    np.savez(draft / "windows.npz", windows=windows, scored_bytes=scored_bytes)
    return TokensStep(
        tokens=len(tokens), windows_available=made.available, windows_used=len(windows), vocabulary=vocabulary
    )
