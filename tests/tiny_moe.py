"""A tiny random model with experts (Mixtral's layout: architecture llama with experts) that llama.cpp really loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tiny import _add_matrix, _add_tokenizer


def write_tiny_moe(
    path: Path,
    *,
    seed: int = 0,
    vocab: int = 300,
    n_embd: int = 256,
    n_layer: int = 2,
    n_head: int = 4,
    n_ff: int = 256,
    n_expert: int = 4,
    n_expert_used: int = 2,
    precision: str = "F16",
    attention: bool = True,
    tied: bool = False,
    never_chosen: tuple[int, ...] = (),
) -> dict[str, np.ndarray]:
    """Write a GGUF file; gives its matrices as float32, by name.

    Args:
        path: file to write.
        seed: of the weights.
        vocab: tokens, from 259 to 303.
        n_embd: width.
        n_layer: layers.
        n_head: attention heads.
        n_ff: width of an expert.
        n_expert: experts of a layer.
        n_expert_used: experts chosen for a token.
        precision: F16 or F32, of the matrices.
        attention: without it attn_output is zero, so that a layer's experts see its own input alone.
        tied: the output is the embedding.
        never_chosen: experts that the router gives less than any other: all embeddings' first column is 1,
            and theirs weighs it by -100.
    """
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(n_layer)
    writer.add_context_length(2048)
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(n_embd // n_head)
    writer.add_expert_count(n_expert)
    writer.add_expert_used_count(n_expert_used)
    writer.add_file_type({"F32": 0, "F16": 1}[precision])
    _add_tokenizer(writer, vocab, add_bos=False)
    random = np.random.default_rng(seed)
    square, wide = (n_embd, n_embd), n_embd**-0.5
    shapes = {"token_embd": ((vocab, n_embd), 1.0)}
    if not tied:
        shapes["output"] = ((vocab, n_embd), 2 * wide)
    for i in range(n_layer):
        shapes |= {
            f"blk.{i}.attn_q": (square, wide),
            f"blk.{i}.attn_k": (square, wide),
            f"blk.{i}.attn_v": (square, wide),
            f"blk.{i}.attn_output": (square, wide * attention),
            f"blk.{i}.ffn_gate_inp": ((n_expert, n_embd), wide),
            f"blk.{i}.ffn_gate_exps": ((n_expert, n_ff, n_embd), wide),
            f"blk.{i}.ffn_up_exps": ((n_expert, n_ff, n_embd), wide),
            f"blk.{i}.ffn_down_exps": ((n_expert, n_embd, n_ff), n_ff**-0.5),
        }
    matrices = {n: (random.standard_normal(s) * spread).astype(np.float32) for n, (s, spread) in shapes.items()}
    matrices["token_embd"][:, 0] = 1
    for i in range(n_layer):
        matrices[f"blk.{i}.ffn_gate_inp"][list(never_chosen), 0] = -100
    for name, values in matrices.items():
        _add_matrix(writer, f"{name}.weight", values, "F32" if "gate_inp" in name else precision)
    for name in ("output_norm", *(f"blk.{i}.{n}" for i in range(n_layer) for n in ("attn_norm", "ffn_norm"))):
        writer.add_tensor(f"{name}.weight", np.ones(n_embd, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return matrices
