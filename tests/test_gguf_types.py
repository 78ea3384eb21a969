"""The table of file types against what the installed build really writes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from quantcurve.engines import llamacpp_child, llamacpp_files, llamacpp_quantize
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader
from quantcurve.engines.gguf_types import BY_NAME, FILE_TYPES
from quantcurve.errors import BackendError
from quantcurve.machine import default_threads
from quantcurve.records import Fallback

pytestmark = pytest.mark.real
CONFIG = LlamaCppConfig(threads=1, window_tokens=64)
DENSE_MXFP4 = "Q8_0"
"""MXFP4_MOE stores only experts in MXFP4, and everything else, so all of a dense model, in Q8_0
(llama.cpp: src/llama-quant.cpp, llama_tensor_get_type_impl)."""


class Written(NamedTuple):
    header: GgufHeader
    fallbacks: tuple[Fallback, ...]
    size_bytes: int
    kl: float
    """Mean divergence from the tiny model, nats."""


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    with Child("types", tmp_path_factory.mktemp("types") / "log") as started:
        yield started


@pytest.fixture(scope="module")
def written(child, tiny_model, tmp_path_factory) -> dict[str, Written | str]:
    """Every file type, written from the tiny model, read back and scored, or the reason it was refused."""
    folder = tmp_path_factory.mktemp("written")
    target, reference = folder / "model.gguf", ReferenceScratch(folder / "reference")
    windows = np.random.default_rng(0).integers(3, 300, (4, 64)).astype(np.int32)
    child.call(llamacpp_child.open_model, tiny_model, CONFIG)
    child.call(llamacpp_child.score, windows, None, reference)
    found: dict[str, Written | str] = {}
    for file_type in FILE_TYPES:
        try:
            made = child.call(llamacpp_quantize.quantize, tiny_model, target, file_type.name, 2)
        except BackendError as error:
            found[file_type.name] = str(error)
            continue
        header = child.call(llamacpp_files.header, target)
        child.call(llamacpp_child.open_model, target, CONFIG)
        kl = child.call(llamacpp_child.score, windows, reference, None).kl
        found[file_type.name] = Written(header, made.fallbacks, target.stat().st_size, float(kl.mean()))
    return found


def main_type(header: GgufHeader) -> str:
    return header.type_shares()[0].type


@pytest.mark.parametrize("file_type", [t for t in FILE_TYPES if not t.needs_imatrix], ids=lambda t: t.name)
def test_the_installed_build_writes_it_and_it_scores_close_to_the_source(child, written, file_type):
    made = written[file_type.name]
    assert isinstance(made, Written), made
    expected = DENSE_MXFP4 if file_type.name == "MXFP4_MOE" else file_type.base
    share = made.header.type_shares()[0]
    assert (share.type, share.share > 0.5) == (expected, True)
    assert made.header.architecture == "llama"
    assert made.fallbacks == ()
    bits = child.call(llamacpp_files.nominal_bits)[expected]
    assert made.kl < min(3, 500 / 4**bits + 5e-4)  # each bit quarters the squared rounding error


@pytest.mark.parametrize("file_type", [t for t in FILE_TYPES if t.needs_imatrix], ids=lambda t: t.name)
def test_what_needs_an_importance_matrix_is_refused_without_one(written, file_type):
    said = written[file_type.name]
    assert isinstance(said, str), "it was written: take needs_imatrix away"
    assert said.startswith(f"{file_type.name}: llama.cpp could not write it: this quantization requires an imatrix! (")


def test_the_table_has_every_type_that_the_build_can_write(child):
    import llama_cpp

    numbers = {
        value: name
        for name, value in vars(llama_cpp).items()
        if name.startswith("LLAMA_FTYPE_") and isinstance(value, int) and not name.endswith("_GUESSED")
    }
    known = {t.ftype for t in FILE_TYPES}
    assert len(known) == len(FILE_TYPES) == len(BY_NAME)
    assert known <= numbers.keys()
    for t in FILE_TYPES:
        assert numbers[t.ftype].removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_") == t.name
    assert {t.base for t in FILE_TYPES} <= child.call(llamacpp_files.nominal_bits).keys()


def test_bits_per_weight_are_those_of_the_gguf_package(child):
    from gguf import GGML_QUANT_SIZES

    ours = child.call(llamacpp_files.nominal_bits)
    theirs = {t.name: 8 * size / weights for t, (weights, size) in GGML_QUANT_SIZES.items()}
    shared = {t.base for t in FILE_TYPES} & theirs.keys()
    assert {n: ours[n] for n in shared} == {n: theirs[n] for n in shared}
    assert shared >= {"Q4_0", "Q4_K", "IQ4_XS", "MXFP4", "TQ2_0", "BF16"}
    assert all(0 < bits <= 64 for bits in ours.values()) and all(name.isascii() for name in ours)


def test_the_smaller_type_makes_the_smaller_file(written):
    sizes = {n: sum(t.size_bytes for t in w.header.tensors) for n, w in written.items() if isinstance(w, Written)}
    order = ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0", "F16", "F32"]
    assert [sizes[n] for n in order] == sorted(sizes[n] for n in order)


def test_planned_sizes_are_those_of_the_files_and_refusals_name_the_way_out(child, tiny_model, written):
    specs = [llamacpp_quantize.SizeSpec(t.name) for t in FILE_TYPES]
    planned = child.call(llamacpp_quantize.planned_sizes, tiny_model, specs)
    made = {n: w.size_bytes for n, w in written.items() if isinstance(w, Written)}
    assert {t.name: size for t, size in zip(FILE_TYPES, planned, strict=True) if isinstance(size, int)} == made
    for file_type, said in zip(FILE_TYPES, planned, strict=True):
        assert isinstance(said, int) or f"{{type: {file_type.name}, imatrix: true}} in the recipe" in said
        assert isinstance(said, str) == file_type.needs_imatrix


@pytest.fixture(scope="module")
def q4_k_m(child, smollm2, tmp_path_factory) -> tuple[tuple[Fallback, ...], GgufHeader]:
    folder: Path = tmp_path_factory.mktemp("smollm2")
    child.call(llamacpp_quantize.quantize, smollm2, folder / "F16.gguf", "F16", default_threads())
    made = child.call(
        llamacpp_quantize.quantize, folder / "F16.gguf", folder / "Q4_K_M.gguf", "Q4_K_M", default_threads()
    )
    return made.fallbacks, child.call(llamacpp_files.header, folder / "Q4_K_M.gguf")


def test_every_tensor_that_fell_back_is_told_with_its_weights(q4_k_m):
    """Rows of 576 weights do not fill the K-quants' blocks of 256 (SmolLM2-135M's width); those of 1536 do.

    The output matrix, here the embedding, becomes Q8_0 then without a word in llama.cpp's log.
    """
    fallbacks, header = q4_k_m
    tensors = {t.name: t for t in header.tensors}
    narrow = {n for n, t in tensors.items() if t.shape[0] % 256 and len(t.shape) > 1}
    assert {f.tensor for f in fallbacks} == narrow
    assert tensors["token_embd.weight"].type == "Q8_0"
    assert len(narrow) > 100
    for f in fallbacks:
        assert (f.got, f.weights) == (tensors[f.tensor].type, tensors[f.tensor].weights)
        assert (f.wanted, f.got) in {("Q4_K", "Q5_0"), ("Q6_K", "Q8_0")}
    wide = {t.type for n, t in tensors.items() if n not in narrow and len(t.shape) > 1}
    assert wide <= {"Q4_K", "Q6_K"}
    assert main_type(header) == "Q5_0"
