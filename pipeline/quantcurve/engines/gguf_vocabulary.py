"""The vocabulary of a GGUF file as llama.cpp reads it: runs inside a child process.

Tokens and their kinds are asked of llama.cpp itself, because it overrides some of what the file says (the kinds of
tokens that look like control tokens; whether BOS is put in front, by the pre-tokenizer).
"""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp as lc

from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.gguf_file import ARRAY, STRING, InitParams, check_magic, ggml_library
from quantcurve.engines.llamacpp_files import check_vocabulary
from quantcurve.engines.llamacpp_native import load
from quantcurve.errors import ModelFileError, printable

MERGES = "tokenizer.ggml.merges"
GET_AGAIN = "get the file again, or give the model as a Hugging Face folder"


class Kind(IntFlag):
    """`enum llama_token_attr` (include/llama.h), as far as it is used here."""

    UNKNOWN = 1
    CONTROL = 1 << 3
    USER_DEFINED = 1 << 4
    STRIPS_LEFT = 1 << 7
    STRIPS_RIGHT = 1 << 8


class GgufToken(NamedTuple):
    """One token; its id is its place."""

    text: str
    kind: int
    """Sum of `Kind`s and others."""
    score: float = 0.0
    """What a SentencePiece vocabulary merges by, highest first."""

    @property
    def is_control(self) -> bool:
        """Only found in a text where control tokens are asked for."""
        return bool(self.kind & (Kind.CONTROL | Kind.UNKNOWN))

    @property
    def is_added(self) -> bool:
        """Taken out of a text before it is cut into words."""
        return self.is_control or bool(self.kind & Kind.USER_DEFINED)


class Vocabulary(NamedTuple):
    """What a tokenizer is made of."""

    model: str
    """`tokenizer.ggml.model`: gpt2, llama, ..."""
    pre: str
    """`tokenizer.ggml.pre`; empty where the file has none."""
    tokens: tuple[GgufToken, ...]
    merges: tuple[tuple[str, str], ...]
    """Most frequent first, each once."""
    bos: int | None
    eos: int | None
    padding: int | None
    adds_bos: bool
    adds_eos: bool
    adds_space: bool
    """In front of a text (SentencePiece)."""
    context_tokens: int | None
    """Longest context the model was trained for."""
    chat_template: str | None


_open: list[tuple[Path, Any]] = []


def loaded(path: Path) -> Any:
    """The file opened by llama.cpp without its weights; one stays open in a process, until another is asked for.

    Raises:
        ModelFileError: no GGUF file, or its vocabulary cannot be loaded or used.
    """
    if _open and _open[0][0] == path:
        return _open[0][1]
    while _open:
        lc.llama_model_free(_open.pop()[1])
    check_magic(path)
    model = load(path, LlamaCppConfig(threads=1, window_tokens=1), vocab_only=True)
    try:
        check_vocabulary(path, lc.llama_model_get_vocab(model))
    except ModelFileError:
        lc.llama_model_free(model)
        raise
    _open.append((path, model))
    return model


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a file's vocabulary.

    Raises:
        ModelFileError: no GGUF file, or its vocabulary cannot be loaded or is broken.
    """
    model = loaded(path)
    vocab = lc.llama_model_get_vocab(model)
    size = lc.llama_vocab_n_tokens(vocab)
    template = lc.llama_model_chat_template(model, None)
    return Vocabulary(
        model=_text_of(model, b"tokenizer.ggml.model"),
        pre=_text_of(model, b"tokenizer.ggml.pre"),
        tokens=tuple(_token(path, vocab, i) for i in range(size)),
        merges=_merges(path),
        bos=_id(lc.llama_vocab_bos(vocab), size),
        eos=_id(lc.llama_vocab_eos(vocab), size),
        padding=_id(lc.llama_vocab_pad(vocab), size),
        adds_bos=bool(lc.llama_vocab_get_add_bos(vocab)),
        adds_eos=bool(lc.llama_vocab_get_add_eos(vocab)),
        adds_space=_text_of(model, b"tokenizer.ggml.add_space_prefix") != "false",
        context_tokens=_context(model),
        chat_template=template.decode("utf-8", "replace") if template else None,
    )


def _token(path: Path, vocab: Any, number: int) -> GgufToken:
    raw = lc.llama_vocab_get_text(vocab, number)
    try:
        return GgufToken(raw.decode(), lc.llama_vocab_get_attr(vocab, number), lc.llama_vocab_get_score(vocab, number))
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{path}: token {number} of its vocabulary is no UTF-8: {raw!r}; {GET_AGAIN}") from error


def _id(number: int, size: int) -> int | None:
    return number if 0 <= number < size else None


def _context(model: Any) -> int | None:
    architecture = _text_of(model, b"general.architecture")
    found = _text_of(model, f"{architecture}.context_length".encode())
    return int(found) if found.isdecimal() else None


def _text_of(model: Any, key: bytes) -> str:
    buffer = ctypes.create_string_buffer(256)
    length = lc.llama_model_meta_val_str(model, key, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else ""


def _merges(path: Path) -> tuple[tuple[str, str], ...]:
    """Pairs to merge, cut at the first space after the first letter (src/llama-vocab.cpp)."""
    found: dict[tuple[str, str], None] = {}
    for line in _strings(path, MERGES):
        head, space, second = line[1:].partition(" ")
        if space:
            found.setdefault((line[:1] + head, second))
    return tuple(found)


def _strings(path: Path, key: str) -> list[str]:
    """An array of texts of the file's metadata; empty where there is none. ggml's reader: gguf-py takes seconds."""
    ggml = ggml_library()
    context = ggml.gguf_init_from_file(os.fsencode(path), InitParams(no_alloc=True, ctx=None))
    if not context:
        raise ModelFileError(f"{path}: the GGUF header is corrupt (llama.cpp's reader refused it); {GET_AGAIN}")
    try:
        place = ggml.gguf_find_key(context, key.encode())
        if place < 0:
            return []
        if ggml.gguf_get_kv_type(context, place) != ARRAY or ggml.gguf_get_arr_type(context, place) != STRING:
            raise ModelFileError(f"{path}: {key} is no list of texts in the GGUF header; {GET_AGAIN}")
        raw = [ggml.gguf_get_arr_str(context, place, i) for i in range(ggml.gguf_get_arr_n(context, place))]
    finally:
        ggml.gguf_free(context)
    try:
        return [line.decode() for line in raw]
    except UnicodeDecodeError as error:
        what = printable(error.object.decode("utf-8", "replace"))
        raise ModelFileError(f"{path}: {key} has an entry that is no UTF-8: {what!r}; {GET_AGAIN}") from error
