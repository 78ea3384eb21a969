"""A tiny random model that llama.cpp really loads: for tests of real files, not for figures that mean anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPECIALS = ("<|endoftext|>", "<|start|>", "<|end|>")
NORMAL, CONTROL = 1, 3
COMMON = ("th", "he", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it")


def byte_letters() -> list[str]:
    """The printable letter that byte-level BPE (GPT-2) writes for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [letters[b] for b in range(256)]


def vocabulary(size: int) -> tuple[list[str], list[str]]:
    """Tokens (specials, 256 bytes, merged pairs) and merges of a byte-level BPE tokenizer that takes any text."""
    letters = byte_letters()
    space = letters[ord(" ")]
    pairs = [(p[0], p[1]) for p in COMMON] + [(space, chr(c)) for c in range(ord("a"), ord("z") + 1)]
    room = size - len(SPECIALS) - len(letters)
    if not 0 <= room <= len(pairs):
        raise ValueError(f"vocab={size}: from {size - room} to {size - room + len(pairs)} tokens can be made")
    pairs = pairs[:room]
    return [*SPECIALS, *letters, *(a + b for a, b in pairs)], [f"{a} {b}" for a, b in pairs]


def write_tiny_llama(
    path: Path,
    *,
    seed: int = 0,
    vocab: int = 300,
    n_embd: int = 256,
    n_layer: int = 2,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_ff: int = 512,
    n_ctx: int = 2048,
    precision: str = "F16",
    add_bos: bool = False,
    template: str | None = None,
) -> Path:
    """Write a random `llama` GGUF file (2.5 MB with the defaults) whose sizes fit every quantization type.

    The vocabulary is not a multiple of 256, but it is only ever a row count. Same arguments, same bytes.

    Args:
        path: file to write.
        seed: of the weights.
        vocab: tokens, from 259 to 303.
        n_embd: width; a multiple of 256, so that K-quants fit.
        n_layer: layers.
        n_head: attention heads.
        n_head_kv: key and value heads.
        n_ff: width of the feed-forward layer; a multiple of 256.
        n_ctx: context length that the file claims.
        precision: F16, BF16 or F32, of the matrices.
        add_bos: whether the tokenizer puts `<|start|>` in front of a text.
        template: of chats, if it has one.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(n_layer)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type({"F32": 0, "F16": 1, "BF16": 32}[precision])
    _add_tokenizer(writer, vocab, add_bos)
    if template is not None:
        writer.add_chat_template(template)
    random = np.random.default_rng(seed)
    for name, shape, spread in _matrices(vocab, n_embd, n_layer, n_embd // n_head * n_head_kv, n_ff):
        _add_matrix(writer, name, (random.standard_normal(shape) * spread).astype(np.float32), precision)
    for name in ("output_norm", *(f"blk.{i}.{n}" for i in range(n_layer) for n in ("attn_norm", "ffn_norm"))):
        writer.add_tensor(f"{name}.weight", np.ones(n_embd, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer, vocab: int, add_bos: bool) -> None:
    tokens, merges = vocabulary(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL] * len(SPECIALS) + [NORMAL] * (len(tokens) - len(SPECIALS)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(add_bos)


def _matrices(vocab: int, n_embd: int, n_layer: int, n_kv: int, n_ff: int) -> list[tuple[str, tuple[int, int], float]]:
    """Name, (rows, columns) and standard deviation of each matrix: logits spread by about 2."""
    found = [("token_embd", (vocab, n_embd), 1.0), ("output", (vocab, n_embd), 2 / n_embd**0.5)]
    for i in range(n_layer):
        found += [
            (f"blk.{i}.attn_q", (n_embd, n_embd), 2 / n_embd**0.5),
            (f"blk.{i}.attn_k", (n_kv, n_embd), 2 / n_embd**0.5),
            (f"blk.{i}.attn_v", (n_kv, n_embd), 1 / n_embd**0.5),
            (f"blk.{i}.attn_output", (n_embd, n_embd), 1 / n_embd**0.5),
            (f"blk.{i}.ffn_gate", (n_ff, n_embd), 1 / n_embd**0.5),
            (f"blk.{i}.ffn_up", (n_ff, n_embd), 1 / n_embd**0.5),
            (f"blk.{i}.ffn_down", (n_embd, n_ff), 1 / n_ff**0.5),
        ]
    return [(f"{name}.weight", shape, spread) for name, shape, spread in found]


def _add_matrix(writer, name: str, values: NDArray[np.float32], precision: str) -> None:
    import gguf

    if precision == "BF16":
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, values.astype({"F16": np.float16, "F32": np.float32}[precision]))


WORDS = (
    *("the", "harbour", "master", "counted", "boats", "twice", "because", "fog"),
    *("had", "come", "in", "from", "north", "again", "and"),
)


def write_texts(folder: Path) -> None:
    """Random words: docs.txt to be measured on, own.txt to calibrate with."""
    random = np.random.default_rng(0)
    (folder / "docs.txt").write_text(" ".join(random.choice(WORDS, 2200)))
    (folder / "own.txt").write_text(" ".join(random.choice(WORDS, 400)))
