"""Whether weights were quantised before: native ones must never be accused, dequantised ones must be found."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from quantcurve.engines.child import Child
from quantcurve.engines.gguf_file import GgufHeader, TensorInfo
from quantcurve.engines.provenance import LatticeReport, lattice_share, provenance
from quantcurve.records import TensorTypeShare
from tiny import write_tiny_llama

TYPES = {
    # file type: levels and block size that are to be found
    "Q2_K": (4, 16),
    "Q3_K_S": (8, 16),
    "Q4_0": (16, 32),
    "Q4_1": (16, 32),
    "IQ4_NL": (16, 32),
    "IQ4_XS": (16, 32),
    "Q4_K_S": (16, 32),
    "Q5_0": (32, 32),
    "Q5_1": (32, 32),
    "Q5_K_S": (32, 32),
    "Q6_K": (64, 16),
    "Q8_0": (256, 32),
}
STORED = {"F16": np.float16, "F32": np.float32, "BF16": np.uint16}


def packed(values: np.ndarray, precision: str) -> np.ndarray:
    """As a file stores them; BF16 rounded to nearest even."""
    if precision != "BF16":
        return values.astype(STORED[precision])
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def judge(path: Path, values: np.ndarray, precision: str, seed: int = 0) -> LatticeReport:
    """Report on one matrix, in a file that holds nothing else."""
    path.write_bytes(b"\0" * 32 + packed(values, precision).tobytes())
    rows, columns = values.shape
    tensor = TensorInfo("w", precision, (columns, rows), values.size, 32, path.stat().st_size - 32)
    return lattice_share(GgufHeader("llama", (tensor,)), path, seed)


def through(values: np.ndarray, precision: str) -> np.ndarray:
    """Values rounded to a precision, as float32."""
    stored = packed(values, precision)
    return (stored.astype(np.uint32) << 16).view(np.float32) if precision == "BF16" else stored.astype(np.float32)


@pytest.mark.parametrize("precision", STORED)
@pytest.mark.parametrize("shape", ["normal", "heavy tails", "uniform", "sparse", "tiny", "large", "outlier"])
def test_native_weights_are_not_accused(tmp_path, precision, shape):
    random = np.random.default_rng(1)
    values = random.standard_normal((512, 1024)) * 0.02
    if shape == "heavy tails":
        values = random.standard_t(2, values.shape) * 0.02
    if shape == "uniform":
        values = random.uniform(-0.1, 0.1, values.shape)
    if shape == "sparse":
        values[random.random(values.shape) < 0.6] = 0
    if shape == "tiny":
        values *= 1e-4
    if shape == "large":
        values = 5 + values
    if shape == "outlier":
        values[:, ::32] *= 300
    report = judge(tmp_path / "w", values, precision)
    assert report.share < 0.005
    assert provenance((), report).kind == "native"


@pytest.mark.parametrize(("first", "then"), [("BF16", "F16"), ("BF16", "F32"), ("F16", "F32")])
def test_native_weights_in_a_wider_type_are_not_accused(tmp_path, first, then):
    values = through(np.random.default_rng(2).standard_normal((512, 1024)) * 0.02, first)
    assert judge(tmp_path / "w", values, then).share == 0


@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan, np.inf])
def test_constant_and_broken_blocks_are_left_out(tmp_path, fill):
    values = np.full((8, 64), fill)
    report = judge(tmp_path / "w", values, "F16")
    assert (report.share, report.blocks, report.levels, report.block_weights) == (0.0, 0, 0, 0)
    values[0] = np.random.default_rng(0).standard_normal(64)
    report = judge(tmp_path / "w", values, "F16")
    assert (report.share, report.blocks) == (0.0, 2)


def test_a_file_without_matrices(tmp_path):
    (tmp_path / "w").write_bytes(bytes(256))
    tensors = (TensorInfo("norm", "F32", (64,), 64, 0, 256), TensorInfo("odd", "F32", (3, 3), 9, 0, 36))
    report = lattice_share(GgufHeader("llama", tensors), tmp_path / "w", 0)
    assert report.blocks == 0
    made = provenance((TensorTypeShare(type="F32", tensors=2, weights=73, share=1.0),), report)
    assert made.kind == "native"
    assert "no weights that could show" in made.statement


@pytest.mark.parametrize("precision", ["F16", "BF16"])
def test_groups_of_another_size_and_ternary_weights(tmp_path, precision):
    random = np.random.default_rng(3)
    codes = random.integers(0, 16, (256, 1024)).reshape(-1, 128)
    scale = through(random.uniform(0.001, 0.01, (len(codes), 1)), "F16")
    report = judge(tmp_path / "w", ((codes - 7) * scale).reshape(256, 1024), precision)
    assert (report.share, report.levels) == (1.0, 16)
    report = judge(tmp_path / "w", random.integers(-1, 2, (256, 1024)) * 0.0173, precision)
    assert report.share > 0.99
    assert report.levels == 4
    assert "or trained that way" in provenance((), report).statement


def test_a_part_that_was_dequantised(tmp_path):
    random = np.random.default_rng(4)
    values = random.standard_normal((1024, 256)) * 0.02
    values[:256] = random.integers(-8, 8, (256, 256)) * through(np.array(0.0123), "F16")
    report = judge(tmp_path / "w", values, "F16")
    assert 0.1 < report.share < 0.4
    assert "part of it was dequantised from a 4-bit file" in provenance((), report).statement


def test_the_sample_depends_on_the_seed_alone(tmp_path):
    random = np.random.default_rng(5)
    values = random.standard_normal((4096, 256)) * 0.02
    values[::7] = random.integers(-8, 8, (586, 256)) * 0.01
    reports = [judge(tmp_path / "w", values, "F16", seed) for seed in (0, 0, 1)]
    assert reports[0] == reports[1] != reports[2]


def shares(*types: str) -> tuple[TensorTypeShare, ...]:
    return tuple(TensorTypeShare(type=t, tensors=1, weights=10, share=1 / len(types)) for t in types)


@pytest.mark.parametrize(
    ("types", "report", "kind", "said"),
    [
        (
            ("Q4_1", "Q6_K", "F32"),
            LatticeReport(1.0, 100, 16, 32, "F16"),
            "dequantised",
            "The reference is F16 dequantised from a Q4_1 file: variants are compared with a model that already lost "
            "precision, and Q4_1 will look lossless.",
        ),
        (
            ("F16", "F32"),
            LatticeReport(0.99, 100, 16, 32, "F16"),
            "dequantised",
            "The reference is stored as F16, but 99% of the sampled blocks lie on a 16-level grid of blocks of 32: it "
            "was dequantised from a 4-bit file, and that type will look lossless.",
        ),
        (
            ("BF16", "F32"),
            LatticeReport(0.99, 100, 8, 16, "BF16"),
            "dequantised",
            "lie on an 8-level grid of blocks of 16: it was dequantised from a 3-bit file",
        ),
        (
            ("BF16", "F32"),
            LatticeReport(0.99, 100, 256, 32, "BF16"),
            "dequantised",
            "a 256-level grid of blocks of 32: it was dequantised from an 8-bit file",
        ),
        (("BF16", "F32"), LatticeReport(0.001, 1000, 64, 16, "BF16"), "native", "show no trace of an earlier"),
        (("Q8_0",), LatticeReport(0.0, 0, 0, 0, "Q8_0"), "dequantised", "The reference is a Q8_0 file itself"),
        (("MXFP4", "BF16"), LatticeReport(0.9, 10, 16, 32, "BF16"), "dequantised", "unless the model was trained in"),
    ],
)
def test_the_sentence(types, report, kind, said):
    made = provenance(shares(*types), report)
    assert (made.kind, made.lattice_share, made.source_types) == (kind, report.share, shares(*types))
    assert said in made.statement


@pytest.fixture
def engine(tmp_path):
    pytest.importorskip("llama_cpp")
    with Child("provenance", tmp_path / "log.txt") as child:
        yield child


def report_on(engine: Child, path: Path) -> LatticeReport:
    from quantcurve.engines import llamacpp_files

    return engine.call(lattice_share, engine.call(llamacpp_files.header, path), path, 0)


def rewritten(engine: Child, path: Path, *file_types: str) -> Path:
    """The file written in one type after another by llama.cpp."""
    from quantcurve.engines import llamacpp_quantize

    for i, file_type in enumerate(file_types):
        target = path.with_name(f"{i}-{file_type}.gguf")
        engine.call(llamacpp_quantize.quantize, path, target, file_type, 2)
        path = target
    return path


@pytest.mark.real
@pytest.mark.parametrize("precision", STORED)
def test_a_native_file(tmp_path, engine, precision):
    path = write_tiny_llama(tmp_path / "tiny.gguf", precision=precision)
    report = report_on(engine, path)
    assert (report.share, report.precision) == (0.0, precision)
    assert report.blocks > 1000


@pytest.mark.real
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("file_type", TYPES)
def test_a_dequantised_file_is_found(tmp_path, engine, file_type, stored):
    path = write_tiny_llama(tmp_path / "tiny.gguf", precision="F32")
    report = report_on(engine, rewritten(engine, path, file_type, stored))
    assert report.share > 0.9
    assert (report.levels, report.block_weights) == TYPES[file_type]


@pytest.mark.real
def test_the_embedded_model_was_dequantised(tmp_path, engine, smollm2):
    copy = tmp_path / "model.gguf"
    copy.symlink_to(smollm2)
    path = rewritten(engine, copy, "F16")
    started = time.perf_counter()
    report = report_on(engine, path)
    assert time.perf_counter() - started < 5
    assert report.share > 0.99
    assert (report.levels, report.block_weights, report.precision) == (16, 32, "F16")
