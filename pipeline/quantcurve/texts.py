"""Evaluation texts: where they come from and how they are cut into windows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from quantcurve import resources, text_files
from quantcurve.engines.base import Tokens
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.recipe import LoadedRecipe, Windows, at
from quantcurve.recipe_text import MIN_WINDOWS, Text
from quantcurve.records import Frozen
from quantcurve.text_files import Record

PARTS = ("held_out", "calibration")


class ManifestFile(Frozen):
    """One part of one stratum."""

    path: str
    """Relative to calib/."""
    stratum: str
    part: str
    items: int
    text_bytes: int
    sha256: str


class EncoderFile(Frozen):
    """Texts for embedding models: graded pairs, queries over passages, or sentences to calibrate on."""

    path: str
    """Relative to calib/."""
    items: int
    text_bytes: int
    sha256: str


class Manifest(Frozen):
    """calib/manifest.json: what the embedded texts are."""

    licence: str
    files: tuple[ManifestFile, ...]
    encoder: tuple[EncoderFile, ...] = ()


class LoadedText(NamedTuple):
    """An evaluation text as it is measured."""

    name: str
    source: str
    content: str
    content_hash: str
    """SHA-256 of the UTF-8 text."""
    size_bytes: int


class Cut(NamedTuple):
    """Windows of one text."""

    windows: Tokens
    """(W, window_tokens) ids, in the order of the text."""
    available: int
    """Windows the whole text has."""


def load_text(text: Text, base: Path) -> LoadedText:
    """Read one evaluation text.

    Args:
        text: the recipe's entry.
        base: folder that relative paths start from (the recipe's).

    Raises:
        RecipeError: it cannot be read, is empty, or the field is not there.
        PrerequisiteError: a package or the hub is missing.
    """
    scheme, _, rest = text.source.partition(":")
    if scheme == "embedded":
        content = render(embedded_items(text.name, rest))
    elif scheme == "pydoc":
        content = python_topics(text.name, rest)
    else:
        read = text_files.read(text, base)
        content = read if isinstance(read, str) else _join(text, read)
    if not content.strip():
        raise RecipeError(f"text {text.name}: {text.source} is empty; give a text with at least two windows")
    try:
        raw = content.encode()
    except UnicodeEncodeError as error:
        odd = f"U+{ord(content[error.start]):04X}"
        raise RecipeError(f"text {text.name}: {text.source} has half a surrogate pair ({odd}); remove it") from error
    return LoadedText(text.name, text.source, content, hashlib.sha256(raw).hexdigest(), len(raw))


def load_texts(loaded: LoadedRecipe) -> list[LoadedText]:
    """All evaluation texts of a recipe.

    Raises:
        RecipeError: as `load_text`, or two texts are the same (they would count as independent evidence).
        PrerequisiteError: as `load_text`.
    """
    texts: list[LoadedText] = []
    for index, entry in enumerate(loaded.recipe.texts):
        with at(loaded, "texts", index, "source"):
            text = load_text(entry, loaded.path.parent)
            if twin := next((t.name for t in texts if t.content_hash == text.content_hash), None):
                raise RecipeError(f"texts {twin} and {text.name} are the same text; leave one out")
        texts.append(text)
    return texts


def cut(name: str, tokens: Tokens, windows: Windows, limit: int | None, seed: int) -> Cut:
    """Disjoint windows of a tokenised text; the remainder is dropped.

    Args:
        name: of the text, for the error.
        tokens: ids of the whole text, (n,).
        windows: length and choice.
        limit: at most so many.
        seed: for `choose: random`.

    Raises:
        RecipeError: fewer than two windows.
    """
    available = len(tokens) // windows.tokens
    if available < MIN_WINDOWS:
        needed = MIN_WINDOWS * windows.tokens
        raise RecipeError(
            f"text {name}: too short: {len(tokens)} tokens, {MIN_WINDOWS} windows of {windows.tokens} need {needed}; "
            "give a longer text or a smaller windows.tokens"
        )
    table = tokens[: available * windows.tokens].reshape(available, windows.tokens)
    if limit is None or limit >= available:
        return Cut(table, available)
    if windows.choose == "first":
        return Cut(table[:limit], available)
    chosen = np.random.default_rng(seed).choice(available, limit, replace=False)
    return Cut(table[np.sort(chosen)], available)


def manifest() -> Manifest:
    """The embedded texts' manifest.

    Raises:
        PrerequisiteError: the installation lost it.
    """
    path = resources.folder("calib") / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise PrerequisiteError(f"{path}: the manifest of the embedded texts cannot be read", _REINSTALL) from error


_REINSTALL = "pip install --force-reinstall quantcurve"


def render(items: Iterable[dict[str, Any]]) -> str:
    """Plain text of embedded items: the contents of their messages, separated by blank lines."""
    return "\n\n".join(m["content"] for item in items for m in item["messages"]) + "\n"


def embedded_items(name: str, rest: str) -> list[dict[str, Any]]:
    """Items of one part of an embedded stratum: `id`, `language` and `messages`.

    Args:
        name: of the text, for the error.
        rest: STRATUM or STRATUM/PART; the held-out part, if none is named.

    Raises:
        RecipeError: no such stratum or part.
        PrerequisiteError: the installation lost or changed it.
    """
    stratum, _, part = rest.partition("/")
    known = manifest()
    part = part or "held_out"
    found = [f for f in known.files if f.stratum == stratum and f.part == part]
    if not found:
        strata = ", ".join(dict.fromkeys(f.stratum for f in known.files))
        raise RecipeError(
            f"text {name}: no embedded text {rest!r}; the strata are {strata}, the parts {' and '.join(PARTS)} "
            "(embedded:STRATUM or embedded:STRATUM/PART)"
        )
    path = resources.folder("calib") / found[0].path
    try:
        raw = path.read_bytes()
    except OSError as error:
        lost = f"embedded text {rest}: {path} cannot be read ({error.strerror})"
        raise PrerequisiteError(lost, _REINSTALL) from error
    if hashlib.sha256(raw).hexdigest() != found[0].sha256:
        raise PrerequisiteError(f"embedded text {rest} was changed: its hash is not the manifest's", _REINSTALL)
    return [json.loads(line) for line in raw.splitlines()]


def python_topics(name: str, rest: str) -> str:
    """What Python's own help says of the language.

    Raises:
        RecipeError: anything but pydoc:topics.
    """
    if rest != "topics":
        raise RecipeError(f"text {name}: unknown source 'pydoc:{rest}'; only pydoc:topics is there")
    from pydoc_data.topics import topics

    return "\n\n".join(topics[key] for key in sorted(topics))


def _join(text: Text, records: Sequence[Record]) -> str:
    if not text.field:
        raise RecipeError(text_files.without_field(text, records))
    return "\n\n".join(text_files.text_at(text, record) for record in records)
