"""What llama.cpp does with model files, without opening a model to compute: runs inside a child process."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Any

import llama_cpp as lc
import numpy as np

from quantcurve.engines.base import EngineConfig, Tokens
from quantcurve.engines.gguf_file import GgufHeader, read_header, type_traits
from quantcurve.engines.gguf_types import BY_NAME, FileType
from quantcurve.engines.llamacpp_native import last_error, load, log_mark, log_text
from quantcurve.errors import BackendError, ModelFileError
from quantcurve.results import Fallback

_FALLBACK = re.compile(
    r"warning: (?P<tensor>\S+) +- ncols +\d+ not divisible by +\d+ \(required for type +(?P<wanted>\S+)\).*?"
    r"-> falling back to +(?P<got>\S+)",
    re.S,
)


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


def quantize(source: Path, target: Path, file_type: str, threads: int, dry_run: bool = False) -> tuple[Fallback, ...]:
    """Write `source` in another file type; returns the tensors that fell back to another type than the mixture's.

    Args:
        source: GGUF file; a quantised one is dequantised first.
        target: file to write (nothing is written in a dry run).
        file_type: a name of gguf_types.
        threads: CPU threads.
        dry_run: only decide the types.

    Raises:
        BackendError: llama.cpp refused; the message has its reason.
    """
    weights = {t.name: t.weights for t in read_header(source).tensors}
    params = lc.llama_model_quantize_default_params()
    params.ftype = BY_NAME[file_type].ftype
    params.nthread = threads
    params.allow_requantize = True
    params.dry_run = dry_run
    start = log_mark()
    code = lc.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if code != 0:
        raise BackendError(f"{file_type}: llama.cpp could not write it: {last_error(start)}{_next_step(file_type)}")
    logged = [
        Fallback(tensor=m["tensor"], wanted=m["wanted"].upper(), got=m["got"].upper(), weights=weights[m["tensor"]])
        for m in _FALLBACK.finditer(log_text(start))
    ]
    return tuple(logged) if dry_run else (*logged, *_silent_fallbacks(target, BY_NAME[file_type]))


def _next_step(file_type: str) -> str:
    if not BY_NAME[file_type].needs_imatrix:
        return ""
    return f" (quantcurve makes no importance matrix yet: leave {file_type} out of the recipe)"


def _silent_fallbacks(path: Path, file_type: FileType) -> list[Fallback]:
    """The output tensor (or the embedding tied to it), which becomes Q8_0 without a word where its columns do not fill
    the blocks of the base type (src/llama-quant.cpp, llama_tensor_get_type_impl)."""
    tensors = {t.name: t for t in read_header(path).tensors}
    output = tensors.get("output.weight") or tensors.get("token_embd.weight")
    block = type_traits()[file_type.base].block_weights
    if output is None or output.type != "Q8_0" or output.shape[0] % block == 0:
        return []
    wanted = "Q5_K" if file_type.base.startswith(("IQ1", "IQ2", "IQ3_XXS")) else "Q6_K"
    return [Fallback(tensor=output.name, wanted=wanted, got="Q8_0", weights=output.weights)]


def quantized_size_bytes(source: Path, file_types: list[str], threads: int) -> dict[str, int | str]:
    """Bytes that each file type would take, without writing; llama.cpp's reason where it refuses."""
    sizes: dict[str, int | str] = {}
    for name in file_types:
        start = log_mark()
        try:
            quantize(source, source.with_name("not-written"), name, threads, dry_run=True)
        except BackendError as error:
            sizes[name] = error.message
            continue
        found = re.search(r"quant size += +([\d.]+) MiB", log_text(start))
        if "will require an imatrix" in log_text(start):
            sizes[name] = "llama.cpp will refuse it: it needs an importance matrix"
            continue
        sizes[name] = int(float(found[1]) * 2**20) if found else "llama.cpp did not say"
    return sizes


def vocabulary_size(path: Path) -> int:
    """Number of tokens of the file's vocabulary."""
    model = load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    size = int(lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model)))
    lc.llama_model_free(model)
    return size


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


def tokenize(path: Path, texts: list[str]) -> list[Tokens]:
    """Token ids of whole texts by the file's own vocabulary, as llama-perplexity takes them: BOS if the vocabulary
    asks for it, special tokens in the text not parsed.

    Raises:
        ModelFileError: the vocabulary cannot be loaded, or nothing can be scored with it.
    """
    read_header(path)
    model = load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    try:
        check_vocabulary(path, vocab)
        return [_tokenize(vocab, text.encode()) for text in texts]
    finally:
        lc.llama_model_free(model)


def _tokenize(vocab: Any, text: bytes) -> Tokens:
    room = len(text) + 8
    buffer = (lc.llama_token * room)()
    count = lc.llama_tokenize(vocab, text, len(text), buffer, room, True, False)
    if count < 0:
        raise BackendError(f"llama_tokenize needs {-count} tokens for {len(text)} bytes")
    return np.ctypeslib.as_array(buffer)[:count].astype(np.int32)


def piece_bytes(path: Path, tokens: Tokens) -> Tokens:
    """Bytes of text that each token stands for, same shape as `tokens`; special tokens count as 0."""
    read_header(path)
    model = load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    ids, inverse = np.unique(tokens, return_inverse=True)
    buffer = ctypes.create_string_buffer(1)
    # With no room the call returns minus the length it needs.
    lengths = [abs(lc.llama_token_to_piece(vocab, int(i), buffer, 0, 0, False)) for i in ids]
    lc.llama_model_free(model)
    return np.array(lengths, np.int32)[inverse].reshape(tokens.shape)
