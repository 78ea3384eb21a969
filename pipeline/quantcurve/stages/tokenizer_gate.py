"""The tokenizers of all lanes must agree before anything is measured: the first string they differ on stops the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from quantcurve.engines.base import Tokens
from quantcurve.engines.child import Child
from quantcurve.records import EngineIdentity, Frozen, TokenizersResult
from quantcurve.session import Event, Session
from quantcurve.stages.adversarial import ADVERSARIAL
from quantcurve.stages.tokenizer_difference import (
    Difference,
    Lane,
    NamedText,
    compare,
    error,
    first_difference,
)
from quantcurve.store import HashFile
from quantcurve.texts import LoadedText

__all__ = ["ADVERSARIAL", "Difference", "Lane", "NamedText", "check", "error", "first_difference"]
STAGE = "tokenizer_gate"
FILES = ("tokenizer.json", "tokenizer_config.json", "openvino_tokenizer.xml", "openvino_tokenizer.bin")
PACKAGES = ("tokenizers", "transformers", "openvino_tokenizers")
LANES = ("llama.cpp", "transformers", "OpenVINO")
AS_TEXT = "control tokens in texts left as text"
PARSED = "control tokens in texts parsed"


class FileHash(Frozen):
    """One file of a tokenizer."""

    name: str
    content_hash: str


class GateInputs(Frozen):
    """Key of a comparison."""

    version: Literal[1] = 1
    reference_hash: str
    files: tuple[FileHash, ...]
    text_hashes: tuple[str, ...]
    adversarial_hash: str
    engines: tuple[EngineIdentity, ...]
    packages: tuple[str, ...]
    """Those that tokenize, with their versions."""


def check(
    reference: Path,
    reference_hash: str,
    folder: Path,
    texts: Sequence[LoadedText],
    session: Session,
    original: Path | None = None,
) -> TokenizersResult:
    """Compare llama.cpp, transformers and OpenVINO on whole texts and on the adversarial strings.

    Texts are compared as they are measured, with control tokens in them left as text (OpenVINO's tokenizers cannot do
    that), and as they are deployed, with control tokens parsed.

    Args:
        reference: GGUF file, whose vocabulary is the truth.
        reference_hash: SHA-256 of its content.
        folder: with the tokenizer as transformers and OpenVINO read it (see tokenizer_lanes.write_tokenizer).
        texts: that are going to be measured.
        session: the run's.
        original: Hugging Face folder that the tokenizer was taken from, for the advice where two differ.

    Raises:
        BackendError: two differ; the message has the first string and both lists of tokens.
        ModelFileError: a tokenizer is missing or cannot be loaded.
    """
    session.progress(Event(STAGE, 0, 1, "tokenizers"))
    inputs = gate_inputs(reference_hash, folder, texts, session)
    work = partial(_make, reference, folder, texts, session, original)
    step, _ = session.make(STAGE, inputs, TokenizersResult, work)
    session.progress(Event(STAGE, 1, 1, "done"))
    return step


def gate_inputs(reference_hash: str, folder: Path, texts: Sequence[LoadedText], session: Session) -> GateInputs:
    """Key of a comparison; a file that is not there has no part in it."""
    hash_file: HashFile = session.store.hash_file
    files = [FileHash(name=n, content_hash=hash_file(folder / n)) for n in FILES if (folder / n).is_file()]
    return GateInputs(
        reference_hash=reference_hash,
        files=tuple(files),
        text_hashes=tuple(text.content_hash for text in texts),
        adversarial_hash=hashlib.sha256(json.dumps(ADVERSARIAL).encode()).hexdigest(),
        engines=tuple(engine for engine in (session.engine, session.openvino) if engine),
        packages=tuple(f"{name} {metadata.version(name)}" for name in PACKAGES),
    )


def _make(
    reference: Path,
    folder: Path,
    texts: Sequence[LoadedText],
    session: Session,
    original: Path | None,
    draft: Path,
) -> TokenizersResult:
    # OpenVINO's Python binding cuts NULs off the end of a text.
    named = [NamedText(text.name, text.content.rstrip("\0")) for text in texts]
    named += [NamedText(f"adversarial string {i}", string) for i, string in enumerate(ADVERSARIAL)]
    tokens = 0
    with Child("tokenizer", session.log("tokenizer")) as truth, Child("tokenizer", session.log(STAGE)) as other:
        for parse, how in ((False, AS_TEXT), (True, PARSED)):
            comparison = compare(_lanes(truth, other, reference, folder, parse), named)
            if comparison.difference:
                raise error(comparison.difference, how, original)
            tokens = tokens or comparison.tokens
    return TokenizersResult(lanes=LANES, strings=len(named), tokens=tokens)


def _lanes(truth: Child, other: Child, reference: Path, folder: Path, parse: bool) -> list[Lane]:
    """Those that can: OpenVINO's tokenizers always parse control tokens."""
    from quantcurve.engines import tokenizer_lanes as lanes

    def llamacpp(strings: list[str]) -> list[Tokens]:
        return truth.call(lanes.llamacpp, reference, strings, parse)

    def llamacpp_pieces(ids: list[int]) -> list[str]:
        return truth.call(lanes.llamacpp_pieces, reference, ids)

    def transformers(strings: list[str]) -> list[Tokens]:
        return other.call(lanes.transformers, folder, strings, parse)

    def openvino(strings: list[str]) -> list[Tokens]:
        return other.call(lanes.openvino, folder, strings)

    def pieces(ids: list[int]) -> list[str]:
        return other.call(lanes.transformers_pieces, folder, ids)

    made = [Lane(LANES[0], llamacpp, llamacpp_pieces), Lane(LANES[1], transformers, pieces)]
    return [*made, Lane(LANES[2], openvino, pieces)] if parse else made
