"""Whether a reference's weights are native or were dequantised, seen from the weights themselves.

A sample of blocks is tried for quantization lattices (lattice.py); what the file is called does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Floats
from quantcurve.engines.gguf_file import GgufHeader, TensorInfo
from quantcurve.engines.lattice import BLOCK, judge
from quantcurve.records import Provenance, TensorTypeShare

TENSORS = 48
BLOCKS_PER_TENSOR = 256
RUN = 16
"""Blocks read in one piece, so that a cold disk is asked for few pages."""
CHUNK = 2048
"""Blocks tried at once: bounds the memory."""
LEAST_NONZERO = 8
DEQUANTISED_SHARE = 0.05
SIGNIFICANT_BITS = {"F16": 11, "BF16": 8, "F32": 24}
NATIVE_TYPES = frozenset({"F64", "F32", "F16", "BF16", "I8", "I16", "I32", "I64"})
TRAINED_TYPES = frozenset({"MXFP4", "NVFP4", "TQ1_0", "TQ2_0", "Q1_0"})
"""Types that some models are trained in, so that nothing was lost by writing them."""


class LatticeReport(NamedTuple):
    """What the sampled blocks of a file's weights look like."""

    share: float
    """Fraction of the sampled blocks that lie on a quantization lattice, 0 to 1."""
    blocks: int
    """Blocks that could be judged: not constant, nearly empty, or coarse by the file's own precision."""
    levels: int
    """Commonest number of levels, rounded up to a power of two; 0 if no block lies on a lattice."""
    block_weights: int
    """Commonest block size, 32 or 16; 0 if no block lies on a lattice."""
    precision: str
    """Type of most of the file's weights."""


def lattice_share(header: GgufHeader, path: Path, seed: int = 0) -> LatticeReport:
    """Judge a sample of aligned blocks from the F16, BF16 and F32 matrices of a file; a second or less.

    Args:
        header: the file's header.
        path: GGUF file.
        seed: of the sample.

    Raises:
        OSError: the file cannot be read.
    """
    random = np.random.default_rng(seed)
    matrices = [
        t for t in header.tensors if t.type in SIGNIFICANT_BITS and len(t.shape) > 1 and t.shape[0] % BLOCK == 0
    ]
    chosen = sorted(random.choice(len(matrices), min(TENSORS, len(matrices)), replace=False)) if matrices else []
    levels, sizes = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for index in chosen:
        blocks, bits = _sample(matrices[index], path, random)
        for start in range(0, len(blocks), CHUNK):
            found = judge(blocks[start : start + CHUNK], bits)
            levels.append(found[0])
            sizes.append(found[1])
    all_levels, all_sizes = np.concatenate(levels), np.concatenate(sizes)
    on = all_levels > 0
    return LatticeReport(
        share=float(on.mean()) if len(on) else 0.0,
        blocks=len(on),
        levels=_commonest(all_levels[on]),
        block_weights=_commonest(all_sizes[on]),
        precision=header.type_shares()[0].type,
    )


def _commonest(values: NDArray[np.intp]) -> int:
    return int(np.bincount(values).argmax()) if len(values) else 0


def _sample(tensor: TensorInfo, path: Path, random: np.random.Generator) -> tuple[Floats, int]:
    """Runs of blocks (B, 32) from a tensor, those worth judging, and the significant bits they really have."""
    total = tensor.weights // BLOCK
    kind = np.dtype({"F16": np.float16, "BF16": np.uint16, "F32": np.float32}[tensor.type])
    stored = np.memmap(path, kind, "r", tensor.offset, (total, BLOCK))
    starts = np.arange(0, total, RUN)
    if total > BLOCKS_PER_TENSOR:
        starts = np.sort(random.choice(starts, BLOCKS_PER_TENSOR // RUN, replace=False))
    raw = np.concatenate([stored[s : s + RUN] for s in starts])
    values: Floats = (raw.astype(np.uint32) << 16).view(np.float32) if tensor.type == "BF16" else raw.astype(np.float32)
    values = values[np.isfinite(values).all(axis=1)]
    bits = _real_bits(values, tensor.type)
    return values[_telling(values, tensor.type)], bits


def _telling(values: Floats, stored_as: str) -> NDArray[np.bool_]:
    """Blocks (B, 32) that can show something: not nearly empty, nor an even grid by the file's precision alone.

    F16 below 2^-14 is itself an even grid, and so is any precision far from zero.
    """
    floor = 2.0**-13 if stored_as == "F16" else 0.0
    spread = np.sqrt(np.square(values, dtype=np.float64).mean(axis=1))
    span = values.max(axis=1).astype(np.float64) - values.min(axis=1)
    wide = span >= np.abs(values).max(axis=1) / 2
    full = (values != 0).sum(axis=1) >= LEAST_NONZERO
    telling: NDArray[np.bool_] = (spread > floor) & wide & full
    return telling


def _real_bits(values: Floats, stored_as: str) -> int:
    """Significant bits of the narrowest precision that holds all values: F16 and F32 files may hold BF16 weights."""
    if not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any():
        return SIGNIFICANT_BITS["BF16"]
    with np.errstate(over="ignore"):
        if (values.astype(np.float16) == values).all():
            return SIGNIFICANT_BITS["F16"]
    return SIGNIFICANT_BITS[stored_as]


def provenance(source_types: tuple[TensorTypeShare, ...], report: LatticeReport) -> Provenance:
    """Say in one sentence what the reference is.

    Args:
        source_types: types of the file the reference was written from (or of the reference, if it was not rewritten).
        report: of the reference's own weights.
    """
    quantised = [t for t in source_types if t.type not in NATIVE_TYPES]
    lattice = report.share >= DEQUANTISED_SHARE
    if quantised:
        statement = _made_from(quantised[0].type, report)
    elif lattice:
        statement = _seen(report)
    else:
        statement = _native(report)
    return Provenance(
        kind="dequantised" if quantised or lattice else "native",
        source_types=source_types,
        lattice_share=report.share,
        statement=statement,
    )


def _made_from(source: str, report: LatticeReport) -> str:
    origin = f"{report.precision} dequantised from a {source} file"
    if report.precision not in NATIVE_TYPES:
        origin = f"a {report.precision} file itself"
    if source in TRAINED_TYPES:
        return f"The reference is {origin}: unless the model was trained in {source}, it already lost precision."
    return (
        f"The reference is {origin}: variants are compared with a model that already lost precision, "
        f"and {source} will look lossless."
    )


def _seen(report: LatticeReport) -> str:
    bits = report.levels.bit_length() - 1
    part = "it was" if report.share > 0.5 else "part of it was"
    trained = ", or trained that way" if bits <= 2 else ""
    return (
        f"The reference is stored as {report.precision}, but {report.share:.0%} of the sampled blocks lie on "
        f"{_a(report.levels)}-level grid of blocks of {report.block_weights}: {part} dequantised from "
        f"{_a(bits)}-bit file{trained}, and that type will look lossless."
    )


def _a(number: int) -> str:
    return f"{'an' if number == 8 else 'a'} {number}"


def _native(report: LatticeReport) -> str:
    if not report.blocks:
        return f"The reference is {report.precision}; it has no weights that could show whether they were dequantised."
    return (
        f"The reference is {report.precision}, and its weights show no trace of an earlier quantization "
        f"({report.share:.1%} of {report.blocks:,} sampled blocks lie on a grid)."
    )
