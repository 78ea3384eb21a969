"""Tiny real OpenVINO IRs: a random language model through the real export, and a graph that checks its own inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from quantcurve.errors import BackendError, UnsupportedFileError
from tiny import SPECIALS, vocabulary, write_tiny_llama

VOCABULARY = 300


def write_tiny_ir(folder: Path, log: Path, **sizes) -> Path:
    """Export a random llama (see tiny.write_tiny_llama) as optimum-intel exports any: stateful, float32.

    Args:
        folder: made.
        log: of the export.
        sizes: of the model.
    """
    from quantcurve.engines import openvino_export
    from quantcurve.engines.child import Child

    folder.mkdir(parents=True)
    gguf = write_tiny_llama(folder.with_suffix(".gguf"), vocab=VOCABULARY, precision="F32", **sizes)
    with Child("tiny", log) as child:
        child.call(openvino_export.export, gguf, folder)
    gguf.unlink()
    return folder


def write_checking_ir(folder: Path) -> Path:
    """A graph with the inputs of a language model that remembers how many tokens it has seen.

    Its state is the tokens so far. It fails unless the mask is as long as the state and the new tokens together, the
    last position is one less, and beam_idx names a sequence.
    """
    import openvino as ov
    from openvino import opset15 as ops

    def parameter(name: str, rank: int, kind: type):
        node = ops.parameter([-1] * rank, kind, name=name)
        node.output(0).get_tensor().set_names({name})
        return node

    ids, mask = parameter("input_ids", 2, np.int64), parameter("attention_mask", 2, np.int64)
    positions, beam = parameter("position_ids", 2, np.int64), parameter("beam_idx", 1, np.int32)
    nothing = ops.constant(np.zeros((1, 0), np.float32))
    state = ops.read_value(nothing, "seen", np.float32, ov.PartialShape([-1, -1]))
    chosen = ops.gather(state, beam, ops.constant(np.int64(0)))
    seen = ops.concat([chosen, ops.convert(ids, np.float32)], 1)
    fits = ops.subtract(ops.convert(mask, np.float32), seen)
    last = ops.gather(fits, ops.convert(positions, np.int64), ops.constant(np.int64(1)))
    total = ops.reshape(ops.reduce_sum(last, np.array([0, 1, 2])), np.array([1, 1, 1]), special_zero=False)
    logits = ops.multiply(total, ops.constant(np.ones((1, 1, VOCABULARY), np.float32)))
    logits.output(0).get_tensor().set_names({"logits"})
    model = ov.Model([ops.result(logits)], [ops.assign(seen, "seen")], [ids, mask, positions, beam], "checking")
    folder.mkdir(parents=True)
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    return folder


def write_tokenizer(folder: Path) -> None:
    """The byte-level tokenizer of the tiny model, as the two IRs that OpenVINO GenAI loads, beside the model's."""
    import json

    import openvino as ov
    from openvino_tokenizers import convert_tokenizer
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens, merges = vocabulary(VOCABULARY)
    pairs = [tuple(m.split(" ")) for m in merges]
    inner = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, pairs))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIALS))
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=SPECIALS[2])
    tokenizer, detokenizer = convert_tokenizer(fast, with_detokenizer=True)
    ov.save_model(tokenizer, folder / "openvino_tokenizer.xml")
    ov.save_model(detokenizer, folder / "openvino_detokenizer.xml")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))


def write_wrong_tokenizer(model: Path, original: Path | None, folder: Path) -> None:
    """In place of tokenizer_lanes.write_tokenizer: the most frequent merge is missing."""
    import json

    from quantcurve.engines import gguf_tokenizer, tokenizer_lanes

    gguf_tokenizer.save(model, folder)
    path = folder / gguf_tokenizer.TOKENIZER
    content = json.loads(path.read_text())
    content["model"]["merges"] = content["model"]["merges"][1:]
    path.write_text(json.dumps(content))
    tokenizer_lanes.write_openvino(folder)


def refuse_export(source: Path, target: Path, original: Path | None = None) -> None:
    """In place of openvino_export.export."""
    raise BackendError(f"{source}: optimum-intel cannot export a model of type 'tiny'")


def refuse_files(source: Path, target: Path, original: Path | None = None) -> None:
    """In place of openvino_export.export: it takes folders alone, which have an IR already."""
    import shutil

    if source.is_file():
        raise UnsupportedFileError(f"{source} is a file")
    for path in source.glob("openvino_model.*"):
        shutil.copyfile(path, target / path.name)


def die_on_files(source: Path, target: Path, original: Path | None = None) -> None:
    """In place of openvino_export.export: as if the kernel had killed it for lack of memory."""
    import os
    import signal

    if source.is_file():
        os.kill(os.getpid(), signal.SIGKILL)
    refuse_files(source, target)


def no_tokenizer(model: Path, original: Path | None, folder: Path) -> None:
    """In place of tokenizer_lanes.write_tokenizer."""


def write_matrices(folder: Path, hidden: int = 128, inner: int = 256, vocabulary: int = 64, experts: int = 0) -> Path:
    """The graph of one gated layer between an embedding and a head, with random weights and names as an export has
    them: small enough to be compressed in milliseconds.

    Args:
        folder: made.
        hidden: width of the embedding, the head, and what leads into the layer.
        inner: width of what leads out of it.
        vocabulary: rows of the embedding and the head.
        experts: where not 0, what leads into the layer is stacked for so many experts, whose sum is taken.
    """
    import openvino as ov
    from openvino import opset15 as ops

    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int):
        return ops.constant(rng.normal(0, 0.1, shape).astype(np.float32), name=f"self.model.{name}.weight")

    def product(x, name: str, matrix):
        return ops.matmul(x, matrix, False, True, name=f"__module.model.{name}/ov_ext::linear/MatMul")

    ids = ops.parameter([-1, -1], np.int64, name="input_ids")
    ids.output(0).get_tensor().set_names({"input_ids"})
    table = weights("embed_tokens", vocabulary, hidden)
    where = "__module.model.embed_tokens/aten::embedding/Gather"
    x = ops.gather(table, ids, ops.constant(np.int32(0)), name=where)
    if experts:
        x = ops.tile(ops.reshape(x, np.array([1, -1, hidden]), special_zero=False), np.array([experts, 1, 1]))
    stacked = (experts,) if experts else ()
    gate = ops.swish(product(x, "layers.0.mlp.gate_proj", weights("layers.0.mlp.gate_proj", *stacked, inner, hidden)))
    up = product(x, "layers.0.mlp.up_proj", weights("layers.0.mlp.up_proj", *stacked, inner, hidden))
    y = ops.multiply(up, gate)
    if experts:
        y = ops.reduce_sum(y, np.array([0]), keep_dims=True)
    z = product(y, "layers.0.mlp.down_proj", weights("layers.0.mlp.down_proj", hidden, inner))
    logits = product(z, "lm_head", weights("lm_head", vocabulary, hidden))
    folder.mkdir(parents=True)
    ov.save_model(ov.Model([ops.result(logits)], [ids], "matrices"), folder / "openvino_model.xml", False)
    return folder
