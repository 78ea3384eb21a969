"""Agreement with llama-perplexity: on what it printed and stored once, and, where it is built, on a real model now."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from conftest import PUBLIC_DATA
from quantcurve.engines import llamacpp_child, llamacpp_files, llamacpp_quantize
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.errors import ModelFileError
from quantcurve.machine import default_threads
from quantcurve.metrics.base_file import (
    BaseFile,
    StoredScores,
    compare_stored,
    parse_printed,
    printed_figures,
    read_base_file,
)
from quantcurve.recipe import Windows
from quantcurve.recipe_text import Text
from quantcurve.texts import cut, load_text

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data" / "parity"  # made by record_parity.py
TOOLS = Path(os.environ.get("QUANTCURVE_LLAMA_TOOLS", ROOT / "build" / "llama-tools" / "cmake" / "bin"))
HAS_TOOLS = (TOOLS / "llama-perplexity").is_file()
FIGURES = 34


def score_stored(base: BaseFile, logits: np.ndarray) -> StoredScores:
    """What llamacpp_child.score_stored does, from recorded logits."""
    rows = logits.shape[1]
    parts = [compare_stored(x, base.log_probabilities(i), base.windows[i, -rows:]) for i, x in enumerate(logits)]
    return StoredScores(**{name: np.stack([getattr(p, name) for p in parts]) for name in vars(parts[0])})


@pytest.fixture(scope="module")
def base() -> BaseFile:
    return read_base_file(DATA / "tiny.base")


@pytest.fixture(scope="module")
def scores(base) -> StoredScores:
    with np.load(DATA / "logits.npz") as archive:
        return score_stored(base, archive["logits"])


def test_every_printed_figure_is_reproduced_to_its_last_digit(scores):
    printed, ours = parse_printed((DATA / "printed.txt").read_text()), printed_figures(scores)
    assert len(printed) == FIGURES
    assert printed.keys() == ours.keys()
    off = {n: (v, ours[n]) for n, (v, decimals) in printed.items() if abs(ours[n] - v) > 1.1 * 10**-decimals}
    assert not off


def test_printed_values_and_decimals_are_read_as_they_stand():
    found = parse_printed((DATA / "printed.txt").read_text())
    assert found["Mean PPL(Q)"] == (2215.919692, 6)
    assert found["Cor(ln(PPL(Q)), ln(PPL(base)))"] == (93.27, 2)
    assert found["Mean PPL(Q)-PPL(base)"] == (-124.392564, 6)
    assert found["Median KLD"] == (0.212729, 6)
    assert found["0.1% KLD"] == (0.05917, 6)
    assert found["0.1% Δp"] == (-2.413, 3)
    assert found["RMS Δp"] == (1.158, 3)
    assert found["Same top p"] == (52.419, 3)


def test_a_base_file_gives_windows_and_log_probabilities(base):
    assert base.windows.shape == (8, 64)
    assert base.windows.min() >= 0 and base.windows.max() < base.vocabulary == 301  # odd: the codes are padded
    stored = base.log_probabilities(7)
    assert stored.shape == (31, 301)
    sums = np.exp(stored.astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=3e-3)  # 16-bit codes over a range of 16 nats


def test_what_is_stored_is_the_models_own_distribution_within_its_codes(base, tiny_of_base):
    for window, logits in enumerate(tiny_of_base):
        wide = logits.astype(np.float64)
        exact = wide - wide.max(axis=1, keepdims=True)
        exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
        stored = base.log_probabilities(window)
        kept = exact > -15.9
        assert np.abs(stored - exact)[kept].max() < 16 / 65535


@pytest.fixture
def tiny_of_base(base, tmp_path):
    """Logits of the model that the base file was made of."""
    from quantcurve.engines.base import ReferenceScratch
    from tiny import write_tiny_llama

    model = write_tiny_llama(tmp_path / "tiny.gguf", vocab=301)
    scratch = ReferenceScratch(tmp_path / "scratch")
    with Child("tiny", tmp_path / "log") as child:
        child.call(llamacpp_child.open_model, model, LlamaCppConfig(threads=1, window_tokens=64, sequences=32))
        child.call(llamacpp_child.score, base.windows.astype(np.int32), None, scratch)
    return np.load(scratch.logits)


def test_what_is_stored_at_or_below_minus_16_is_left_out_of_a_divergence():
    stored = np.array([[-0.1, -3, -15.9, -16, -16.5]], np.float32)
    logits = np.array([[0, 2, -1e6, -1e6, -1e6]], np.float32)  # each of the last three would add 0.1
    found = compare_stored(logits, stored, np.array([1]))
    p, log_q = stored[0].astype(np.float64), logits[0] - np.log(1 + np.exp(2.0))
    expected = (np.exp(p) * (p - log_q))[:3].sum()
    np.testing.assert_allclose(found.kl, [expected], rtol=1e-6)
    np.testing.assert_allclose((found.nll[0], found.nll_base[0]), (-log_q[1], 3), rtol=1e-6)
    assert found.same_top.tolist() == [False]


# ---- files that are none ----


def damaged(folder: Path, raw: bytes) -> str:
    path = folder / "x.base"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=r"x\.base") as caught:
        read_base_file(path)
    return str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    raw = (DATA / "tiny.base").read_bytes()
    assert "no base file of llama-perplexity" in damaged(tmp_path, b"GGUF" + raw[4:])
    assert "no base file" in damaged(tmp_path, b"")
    with pytest.raises(ModelFileError, match="No such file"):
        read_base_file(tmp_path / "none")
    with pytest.raises(ModelFileError, match="Is a directory"):
        read_base_file(tmp_path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    raw = (DATA / "tiny.base").read_bytes()
    for end in (*range(8, 30), 1000, 20 + 8 * 64 * 4, len(raw) // 2, len(raw) - 1):
        damaged(tmp_path, raw[:end])
    assert f"truncated: {len(raw) - 1:,} bytes of {len(raw):,}" in damaged(tmp_path, raw[:-1])


@pytest.mark.parametrize("field", [0, 1, 2])
@pytest.mark.parametrize("value", [-(2**31), -1, 0, 2**20, 2**31 - 1])
def test_a_header_that_lies_is_refused(tmp_path, field, value):
    raw = bytearray((DATA / "tiny.base").read_bytes())
    struct.pack_into("<i", raw, 8 + 4 * field, value)
    damaged(tmp_path, bytes(raw))


# ---- a real model ----


@pytest.fixture(scope="module")
def smollm2_variants(smollm2, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("smollm2")
    paths = {name: folder / f"{name}.gguf" for name in ("F16", "Q4_0")}
    with Child("smollm2", folder / "log") as child:
        child.call(llamacpp_quantize.quantize, smollm2, paths["F16"], "F16", default_threads())
        child.call(llamacpp_quantize.quantize, paths["F16"], paths["Q4_0"], "Q4_0", default_threads())
    return paths


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not HAS_TOOLS, reason=f"no llama-perplexity in {TOOLS} (tools/build_llama_tools.sh)")
def test_no_figure_differs_from_llama_perplexity(smollm2_variants, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from parity import compare

    text = tmp_path / "text.txt"
    text.write_text(load_text(Text(name="t", source="embedded:chat/calibration"), tmp_path).content, encoding="utf-8")
    differ = compare(TOOLS, smollm2_variants["F16"], smollm2_variants["Q4_0"], text, windows=4)
    printed = capsys.readouterr().out
    assert differ == 0, printed
    assert len(printed.splitlines()) == FIGURES + 3


@pytest.mark.real
def test_perplexities_are_those_that_llama_perplexity_printed(smollm2_variants, tmp_path):
    recorded = json.loads((DATA / "smollm2.json").read_text())
    text = load_text(Text(name="t", source=recorded["text"]), tmp_path)
    assert text.content_hash == recorded["text_hash"], "the text has changed: run tests/record_parity.py"
    length = recorded["window_tokens"]
    config = LlamaCppConfig(threads=default_threads(), window_tokens=length, sequences=recorded["windows"])
    with Child("smollm2", tmp_path / "log") as child:
        for name, expected in recorded["perplexity"].items():
            tokens = child.call(llamacpp_files.tokenize, smollm2_variants[name], [text.content])[0]
            windows = cut("t", tokens, Windows(tokens=length), recorded["windows"], 0).windows
            child.call(llamacpp_child.open_model, smollm2_variants[name], config)
            found = float(np.exp(child.call(llamacpp_child.score, windows, None, None).nll.mean()))
            assert found == pytest.approx(expected, rel=1e-4), name


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.public_data
def test_perplexity_of_wikitext_is_that_of_llama_perplexity(smollm2_variants, tmp_path):
    """8 windows of 512 of WikiText-2's test text; llama-perplexity --chunks 8 printed these."""
    path = PUBLIC_DATA / "general" / "wikitext2_raw_test.txt"
    config = LlamaCppConfig(threads=default_threads(), window_tokens=512, sequences=4)
    with Child("wikitext", tmp_path / "log") as child:
        tokens = child.call(llamacpp_files.tokenize, smollm2_variants["F16"], [path.read_text(encoding="utf-8")])[0]
        windows = cut("wikitext", tokens, Windows(tokens=512), 8, 0).windows
        for name, printed in (("F16", 24.4980), ("Q4_0", 29.7331)):
            child.call(llamacpp_child.open_model, smollm2_variants[name], config)
            found = float(np.exp(child.call(llamacpp_child.score, windows, None, None).nll.mean()))
            assert found == pytest.approx(printed, rel=1e-4), name
