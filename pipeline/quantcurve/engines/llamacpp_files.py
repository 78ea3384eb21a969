"""What llama.cpp does with model files, without opening a model to compute: runs inside a child process."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp as lc
import numpy as np

from quantcurve.engines.base import LlamaCppConfig, Tokens
from quantcurve.engines.gguf_file import GgufHeader, read_header, type_traits
from quantcurve.engines.llamacpp_native import load
from quantcurve.errors import BackendError, ModelFileError


def header(path: Path) -> GgufHeader:
    """Read a file's header with ggml's reader (see gguf_file.read_header)."""
    return read_header(path)


def nominal_bits() -> dict[str, float]:
    """Bits per weight of every tensor type of the installed build."""
    return {name: trait.bits_per_weight for name, trait in type_traits().items()}


def holds_bf16(path: Path) -> bool:
    """Whether all F32 weights of matrices are exact in BF16 (an F32 file made from a BF16 one)."""
    tensors = [t for t in read_header(path).tensors if t.type == "F32" and len(t.shape) > 1]
    return all(not np.any(np.memmap(path, np.uint32, "r", t.offset, (t.weights,)) & np.uint32(0xFFFF)) for t in tensors)


def vocabulary_size(path: Path) -> int:
    """Number of tokens of the file's vocabulary."""
    with _vocabulary(path) as model:
        return int(lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model)))


def first_token(path: Path) -> int | None:
    """The BOS token if the file's vocabulary wants every sequence to begin with it."""
    with _vocabulary(path) as model:
        vocab = lc.llama_model_get_vocab(model)
        return int(lc.llama_vocab_bos(vocab)) if lc.llama_vocab_get_add_bos(vocab) else None


def check_vocabulary(path: Path, vocab: Any) -> None:
    """Refuse a vocabulary that nothing can be scored with, though llama.cpp loads it.

    Raises:
        ModelFileError: fewer than two tokens, or a BOS token is asked for that is not among them.
    """
    size, bos = lc.llama_vocab_n_tokens(vocab), lc.llama_vocab_bos(vocab)
    if size < 2:
        raise ModelFileError(f"{path}: a vocabulary of {size} tokens; a model with two at least is needed")
    if lc.llama_vocab_get_add_bos(vocab) and not 0 <= bos < size:
        raise ModelFileError(
            f"{path}: tokenizer.ggml.add_bos_token asks for a BOS token, but its id {bos} is none of the {size}; "
            "correct tokenizer.ggml.bos_token_id in the file"
        )


def tokenize(path: Path, texts: list[str], parse_special: bool = False) -> list[Tokens]:
    """Token ids of whole texts by the file's own vocabulary: BOS if the vocabulary asks for it.

    Args:
        path: GGUF file.
        texts: each is tokenised by itself.
        parse_special: control tokens that are written out (<|im_start|>) become that one token, as chat programs
            take what a chat template gives; else they are text, as llama-perplexity takes it.

    Raises:
        ModelFileError: the vocabulary cannot be loaded, or nothing can be scored with it.
    """
    read_header(path)
    with _vocabulary(path) as model:
        vocab = lc.llama_model_get_vocab(model)
        check_vocabulary(path, vocab)
        return [token_ids(vocab, text, parse_special) for text in texts]


@contextmanager
def _vocabulary(path: Path) -> Iterator[Any]:
    """A model with its vocabulary alone, freed at the end of the block."""
    model = load(path, LlamaCppConfig(threads=1, window_tokens=1), vocab_only=True)
    try:
        yield model
    finally:
        lc.llama_model_free(model)


def token_ids(vocab: Any, text: str, parse_special: bool) -> Tokens:
    """Ids of a whole text by an open vocabulary; `parse_special` as in `tokenize`.

    Raises:
        BackendError: llama.cpp makes more tokens than the text has bytes.
    """
    raw = text.encode()
    room = len(raw) + 8
    buffer = (lc.llama_token * room)()
    count = lc.llama_tokenize(vocab, raw, len(raw), buffer, room, True, parse_special)
    if count < 0:
        raise BackendError(f"llama_tokenize needs {-count} tokens for {len(raw)} bytes")
    return np.ctypeslib.as_array(buffer)[:count].astype(np.int32)


class ChatFacts(NamedTuple):
    """What a file says of chats."""

    template: str | None
    """tokenizer.chat_template (Jinja)."""
    bos: int | None
    """Id of the token that texts start with, if the vocabulary asks for one."""
    bos_text: str
    eos_text: str
    control: dict[int, str]
    """Ids and texts of control tokens and of tokens that the makers added by hand."""


def chat_facts(path: Path) -> ChatFacts:
    """Chat template and control tokens of a file.

    Raises:
        ModelFileError: the vocabulary cannot be loaded, or nothing can be scored with it.
    """
    read_header(path)
    with _vocabulary(path) as model:
        vocab = lc.llama_model_get_vocab(model)
        check_vocabulary(path, vocab)
        size = lc.llama_vocab_n_tokens(vocab)
        template = lc.llama_model_chat_template(model, None)
        bos = lc.llama_vocab_bos(vocab)
        special = lc.LLAMA_TOKEN_ATTR_CONTROL | lc.LLAMA_TOKEN_ATTR_USER_DEFINED
        return ChatFacts(
            template=template.decode("utf-8", "replace") if template else None,
            bos=int(bos) if lc.llama_vocab_get_add_bos(vocab) else None,
            bos_text=_text(vocab, bos, size),
            eos_text=_text(vocab, lc.llama_vocab_eos(vocab), size),
            control={i: _text(vocab, i, size) for i in range(size) if lc.llama_vocab_get_attr(vocab, i) & special},
        )


def _text(vocab: Any, token: int, size: int) -> str:
    """A token's text as the file writes it; llama.cpp aborts on an id that is none."""
    text: bytes = lc.llama_vocab_get_text(vocab, token) if 0 <= token < size else b""
    return text.decode("utf-8", "replace")


def piece_bytes(path: Path, tokens: Tokens) -> Tokens:
    """Bytes of text that each token stands for, same shape as `tokens`; special tokens count as 0."""
    read_header(path)
    model = load(path, LlamaCppConfig(threads=1, window_tokens=1), vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    ids, inverse = np.unique(tokens, return_inverse=True)
    buffer = ctypes.create_string_buffer(1)
    # With no room the call returns minus the length it needs.
    lengths = [abs(lc.llama_token_to_piece(vocab, int(i), buffer, 0, 0, False)) for i in ids]
    lc.llama_model_free(model)
    return np.array(lengths, np.int32)[inverse].reshape(tokens.shape)
