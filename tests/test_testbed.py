"""The rotated test bed computes what its source computes, in other coordinates."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tiny import write_tiny_llama

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[1]
WIDTH = 512
TEXT = "The quick brown fox jumps over the lazy dog, and the other animals look at it in surprise. " * 20


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        import make_testbed

        yield make_testbed


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A tiny model with heads of 64, whose norms have weights that matter."""
    path = write_tiny_llama(tmp_path_factory.mktemp("source") / "tiny.gguf", precision="F32", add_bos=True)
    random = np.random.default_rng(3)
    reader = gguf.GGUFReader(path, "r+")
    for tensor in reader.tensors:
        if "norm" in tensor.name:
            tensor.data[:] = random.uniform(0.2, 1.2, tensor.data.shape)
    reader.data.flush()
    return path


@pytest.fixture(scope="module")
def made(tool, source, tmp_path_factory) -> Path:
    return tool.write_testbed(source, tmp_path_factory.mktemp("made") / "bed.gguf", WIDTH, precision="F32")


@pytest.mark.parametrize(("precision", "logit", "kl"), [("F32", 0.01, 1e-7), ("F16", 0.05, 1e-5)])
def test_the_logits_are_those_of_the_source(tool, source, tmp_path, precision, logit, kl):
    bed = tool.write_testbed(source, tmp_path / "bed.gguf", WIDTH, precision=precision)
    found = tool.compare(source, bed, TEXT, windows=2, precision=precision)
    assert found.tokens == 2 * 255
    assert found.perplexity == pytest.approx(found.source_perplexity, rel=1e-3)
    assert found.mean_kl < kl
    assert 0 < found.max_logit_change < logit


def test_another_model_is_told_apart(tool, source, tmp_path):
    other = write_tiny_llama(tmp_path / "other.gguf", seed=1, precision="F32")
    assert tool.compare(source, other, TEXT, windows=2, precision="F32").mean_kl > 0.1


def test_the_file_says_what_it_is_and_keeps_the_tokenizer(source, made):
    before, after = (gguf.GGUFReader(p).fields for p in (source, made))
    assert after["general.name"].contents().startswith("rotated test bed of 512 columns (seed 0), made from 'tiny'")
    sizes = ("embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length")
    assert [after[f"llama.{key}"].contents() for key in sizes] == [512, 8, 4, 512]
    assert after["llama.attention.layer_norm_rms_epsilon"].contents() == pytest.approx(1e-5 / 2)
    kept = [key for key in before if key.startswith("tokenizer.")]
    assert len(kept) == 9
    for key in kept:
        assert after[key].contents() == before[key].contents(), key


def test_new_heads_are_zero_and_everything_else_is_dense(made):
    tensors = {t.name: np.asarray(t.data) for t in gguf.GGUFReader(made).tensors}
    assert len(tensors) == 3 + 2 * 9
    for layer, old in (("attn_q", 256), ("attn_k", 128), ("attn_v", 128)):
        matrix = tensors[f"blk.1.{layer}.weight"]
        assert matrix.shape == (2 * old, WIDTH)
        assert not matrix[old:].any() and (matrix[:old] != 0).mean() > 0.99
    output = tensors["blk.1.attn_output.weight"]
    assert output.shape == (WIDTH, WIDTH)
    assert not output[:, 256:].any() and (output[:, :256] != 0).mean() > 0.99


def test_the_seed_chooses_the_coordinates(tool, source, made, tmp_path):
    again = tool.write_testbed(source, tmp_path / "again.gguf", WIDTH, precision="F32")
    other = tool.write_testbed(source, tmp_path / "other.gguf", WIDTH, seed=1, precision="F32")
    assert again.read_bytes() == made.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("width", [255, 384 + 64, 128])
def test_a_width_that_does_not_fit_the_heads_is_refused(tool, source, tmp_path, width):
    with pytest.raises(SystemExit, match=f"--width {width}: from 256 columns and 4/2 heads, give a multiple of 128"):
        tool.write_testbed(source, tmp_path / "bed.gguf", width)
