"""Vocabulary-only GGUF files: every pair of some bytes is a token, so that a wrong cut shows in the ids."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from tiny import byte_letters

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CONTROL, USER_DEFINED, NORMAL = 3, 4, 1


def pair_vocabulary(
    path: Path, pre: str, byte_values: Iterable[int], user_defined: tuple[str, ...] = (), *, add_bos: bool = False
) -> Path:
    """Write a byte-level BPE vocabulary with a token for each pair of the given bytes, merged in random order."""
    letters = byte_letters()
    some = [letters[b] for b in sorted(set(byte_values))]
    pairs = [(a, b) for a in some for b in some]
    random.Random(0).shuffle(pairs)
    tokens = [*SPECIALS, *user_defined, *letters, *(a + b for a, b in pairs)]
    kinds = [CONTROL] * len(SPECIALS) + [USER_DEFINED] * len(user_defined)
    writer = _writer(path)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [NORMAL] * (len(tokens) - len(kinds)))
    writer.add_token_merges([f"{a} {b}" for a, b in pairs])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(add_bos)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def score_vocabulary(path: Path, scores: dict[str, float]) -> Path:
    """Write a SentencePiece vocabulary: three special tokens, all bytes, and the given tokens with their scores."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *scores]
    writer = _writer(path)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [float(s) for s in scores.values()])
    writer.add_token_types([2, CONTROL, CONTROL] + [6] * 256 + [NORMAL] * len(scores))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def _writer(path: Path):
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    return writer
