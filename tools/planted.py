"""Writes copies of a model with one regression planted in each, to see whether a scorecard finds it.

    plain      no damage: what the others are compared with
    layer      one layer's down projection is 3 % too large
    bracket    the output rows of tokens that end with `}` are damaged: 0.8 of each is left, the rest is the mean row,
               whose logit is far below that of any likely token
    sure       all logits are 1.15 times what they were: the same likeliest token everywhere, and a surer model
    end        the output row of the token that ends a turn is damaged as those of `}`, 0.9 of it left
    block      the weights of one block are rounded to 2 bits (four levels in blocks of 16 columns, as in Q2_K) and
               written as F16

Usage: python tools/planted.py SOURCE.gguf FOLDER [--kinds plain layer bracket sure end block]

All are F16 files with an output matrix of their own (a tied one is written out), dequantised from the source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gguf

KINDS = ("plain", "layer", "bracket", "sure", "end", "block")
WORDS = {
    "layer": "one layer's down projection 3 % too large",
    "bracket": "output rows of tokens that end with `}` damaged",
    "sure": "all logits 1.15 times as large",
    "end": "output rows of the end of a turn damaged",
    "block": "one block rounded to 2 bits, written as F16",
}
"""What was planted, for tables."""
LAYER_SCALE, SURE_SCALE = 1.03, 1.15
LEFT_OF_BRACKET, LEFT_OF_END = 0.8, 0.9
OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"

Matrix = NDArray[np.float32]


def plant(source: Path, folder: Path, kind: str) -> Path:
    """Write FOLDER/KIND.gguf.

    Args:
        source: GGUF file of a language model; quantised tensors are dequantised.
        folder: where the copy goes.
        kind: one of KINDS.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    target = folder / f"{kind}.gguf"
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    _copy_fields(writer, reader)
    damaged = _damage(kind, reader)
    for name, plain in _tensors(reader):
        values = damaged(name, plain)
        writer.add_tensor(name, values.astype(np.float16 if values.ndim == 2 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _copy_fields(writer: gguf.GGUFWriter, reader: gguf.GGUFReader) -> None:
    ours = {"general.architecture", "general.file_type", "general.quantization_version"}
    writer.add_file_type(1)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ours:
            kinds = [*field.types, None]
            writer.add_key_value(key, field.contents(), kinds[0], sub_type=kinds[1])


def _tensors(reader: gguf.GGUFReader) -> list[tuple[str, Matrix]]:
    from gguf.quants import dequantize

    found = [(t.name, dequantize(t.data, t.tensor_type).astype(np.float32)) for t in reader.tensors]
    if OUTPUT not in dict(found):
        found.append((OUTPUT, dict(found)[EMBEDDING].copy()))
    return found


def _damage(kind: str, reader: gguf.GGUFReader) -> Callable[[str, Matrix], Matrix]:
    middle = int(reader.fields[f"{reader.fields['general.architecture'].contents()}.block_count"].contents()) // 2
    if kind == "layer":
        return lambda name, x: x * np.float32(LAYER_SCALE) if name == f"blk.{middle}.ffn_down.weight" else x
    if kind == "sure":
        return lambda name, x: x * np.float32(SURE_SCALE) if name == OUTPUT else x
    if kind == "block":
        return lambda name, x: two_bits(x) if name.startswith(f"blk.{middle}.") and x.ndim == 2 else x
    if kind in {"bracket", "end"}:
        rows, left = (brackets(reader), LEFT_OF_BRACKET) if kind == "bracket" else (ends(reader), LEFT_OF_END)
        return lambda name, x: towards_mean(x, rows, left) if name == OUTPUT else x
    return lambda name, x: x


def brackets(reader: gguf.GGUFReader) -> list[int]:
    """Tokens whose text ends with a closing brace."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    return [i for i, text in enumerate(tokens) if str(text).endswith("}")]


def ends(reader: gguf.GGUFReader) -> list[int]:
    """Tokens that end a turn."""
    fields = [reader.fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
    return sorted({int(field.contents()) for field in fields if field})


def towards_mean(output: Matrix, rows: Sequence[int], left: float) -> Matrix:
    """Some rows of an output matrix (V, n) with so much of them left, and the mean row for the rest."""
    changed = output.copy()
    changed[list(rows)] = left * output[list(rows)] + (1 - left) * output.mean(axis=0)
    return changed


def two_bits(x: Matrix) -> Matrix:
    """Four levels in blocks of 16 columns, from the least to the largest value of each (Q2_K's blocks, with scales that
    are not rounded); rows that are no multiple are one block."""
    rows, columns = x.shape
    blocks = x.reshape(rows, -1, 16) if columns % 16 == 0 else x.reshape(rows, 1, columns)
    low, high = blocks.min(-1, keepdims=True), blocks.max(-1, keepdims=True)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / 3
    return (np.round((blocks - low) / step) * step + low).reshape(rows, columns)


def main() -> int:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        print(plant(options.source, options.folder, kind))
    return 0


if __name__ == "__main__":
    sys.exit(main())
