"""Whether a reference's weights are native or were dequantised, seen from the weights themselves.

A quantised block holds few distinct values on an even grid: `scale * q` (Q4_0, Q5_0, Q8_0, Q6_K, Q3_K, IQ types)
or `scale * q + offset` (Q4_1, Q5_1, Q4_K, Q5_K, Q2_K), in blocks of 32 weights or of 16. Dequantised and stored as
F16 it still does, up to the rounding of F16. For each sampled block every grid of few levels is tried. A grid counts
only when all values meet it within their rounding and the chance that arbitrary values would do so is below one in
a million, so a native block is taken for a quantised one hardly ever, however coarse the file's own precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Doubles, Floats
from quantcurve.engines.gguf_file import GgufHeader, TensorInfo
from quantcurve.results import Provenance, TensorTypeShare

TENSORS = 48
BLOCKS_PER_TENSOR = 256
BLOCK = 32
HALF_BLOCK = 16
RUN = 16
"""Blocks read in one piece, so that a cold disk is asked for few pages."""
CHUNK = 2048
"""Blocks tried at once: bounds the memory."""
CHANCE = 1e-6
SYMMETRIC_LEVELS = np.arange(1, 129)
"""Largest |q| of grids through zero: 8 (Q4_0) to 128 (Q8_0)."""
AFFINE_LEVELS = np.arange(1, 32)
"""Steps from the lowest to the highest value: 3 (Q2_K) to 31 (Q5_K)."""
ROUNDING_SLACK = 1.3
ARITHMETIC = 2.0**-22
"""Rounding of the float32 arithmetic that dequantised the block, as a fraction of its span."""
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
    """Blocks that could be judged (not constant, nearly empty or too small for the precision)."""
    levels: int
    """Commonest number of levels, rounded up to a power of two; 0 if no block lies on a lattice."""
    block_weights: int
    """Commonest block size, 32 or 16; 0 if no block lies on a lattice."""
    precision: str
    """Type of most of the file's weights."""


class _Blocks(NamedTuple):
    """Blocks of n weights, ordered by magnitude: arrays are (B, n)."""

    values: Doubles
    rounding: Doubles
    """Half a unit in the last place of each value, in the precision the weights really have."""
    coincidence: Doubles
    """Chance of as many equal values as the block has, (B,)."""
    distinct: NDArray[np.intp]
    """Number of distinct values, (B,)."""
    new: NDArray[np.bool_]
    """Whether a value is the first of its equals."""


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
            found = _judge(blocks[start : start + CHUNK], bits)
            levels.append(found[0])
            sizes.append(found[1])
    all_levels, all_sizes = np.concatenate(levels), np.concatenate(sizes)
    on = all_levels > 0
    return LatticeReport(
        share=float(on.mean()) if len(on) else 0.0,
        blocks=len(on),
        levels=_commonest(all_levels[on]),
        block_weights=_commonest(all_sizes[on]),
        precision=header.type_shares()[0].type if header.tensors else "none",
    )


def _commonest(values: NDArray[np.intp]) -> int:
    return int(np.bincount(values).argmax()) if len(values) else 0


def _sample(tensor: TensorInfo, path: Path, random: np.random.Generator) -> tuple[Floats, int]:
    """Runs of blocks (B, 32) from a tensor, those worth judging, and the significant bits they really have."""
    total = tensor.weights // BLOCK
    kind: Any = {"F16": np.float16, "BF16": np.uint16, "F32": np.float32}[tensor.type]
    stored = np.memmap(path, kind, "r", tensor.offset, (total, BLOCK))
    starts = np.arange(0, total, RUN)
    if total > BLOCKS_PER_TENSOR:
        starts = np.sort(random.choice(starts, BLOCKS_PER_TENSOR // RUN, replace=False))
    raw = np.concatenate([stored[s : s + RUN] for s in starts])
    values: Floats = (raw.astype(np.uint32) << 16).view(np.float32) if tensor.type == "BF16" else raw.astype(np.float32)
    values = values[np.isfinite(values).all(axis=1)]
    bits = _real_bits(values, tensor.type)
    # F16 below 2^-14 is itself an even grid: blocks that live there say nothing.
    floor = 2.0**-13 if bits == SIGNIFICANT_BITS["F16"] or tensor.type == "F16" else 0.0
    spread = np.sqrt(np.square(values, dtype=np.float64).mean(axis=1))
    worth = (spread > floor) & ((values != 0).sum(axis=1) >= LEAST_NONZERO) & (values.min(axis=1) < values.max(axis=1))
    return values[worth], bits


def _real_bits(values: Floats, stored_as: str) -> int:
    """Significant bits of the narrowest precision that holds all values: F16 and F32 files may hold BF16 weights."""
    if not (np.ascontiguousarray(values).view(np.uint32) & 0xFFFF).any():
        return SIGNIFICANT_BITS["BF16"]
    with np.errstate(over="ignore"):
        if (values.astype(np.float16) == values).all():
            return SIGNIFICANT_BITS["F16"]
    return SIGNIFICANT_BITS[stored_as]


def _judge(values: Floats, bits: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Levels (0: no lattice) and size of each block (B, 32): as one block, or as two halves if that is simpler."""
    whole = _levels(values, bits)
    halves = _levels(values.reshape(-1, HALF_BLOCK), bits).reshape(-1, 2)
    split = halves.max(axis=1)
    simpler = (halves > 0).all(axis=1) & ((whole == 0) | (split < whole))
    return np.where(simpler, split, whole), np.where(simpler, HALF_BLOCK, np.where(whole > 0, BLOCK, 0))


def _levels(values: Floats, bits: int) -> NDArray[np.intp]:
    """Number of levels of the lattice each block (B, n) lies on, rounded up to a power of two; 0 for none."""
    blocks = _ordered(values, bits)
    none = 1 << 30
    symmetric, affine = _through_zero(blocks), _with_offset(blocks)
    levels = np.where(symmetric > 1, 2 * symmetric, np.where(symmetric == 1, blocks.distinct, none))
    levels = np.minimum(levels, np.where(affine > 0, affine + 1, none))
    # A codebook (IQ4_NL) lies on a fine grid, but uses few of its points.
    few = (blocks.coincidence < CHANCE) & (blocks.distinct <= values.shape[1] // 2)
    levels = np.minimum(levels, np.where(few, blocks.distinct, none))
    powers = 2 ** np.ceil(np.log2(levels)).astype(np.intp)
    return np.where(levels < none, powers, 0)


def _ordered(values: Floats, bits: int) -> _Blocks:
    ordered = np.sort(values.astype(np.float64), axis=1)
    ordered = np.take_along_axis(ordered, np.argsort(np.abs(ordered), axis=1, kind="stable"), axis=1)
    new = np.ones(ordered.shape, bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    exponent = np.frexp(ordered)[1]
    rounding = np.where(ordered == 0, 0.0, np.ldexp(1.0, exponent - bits - 1))
    equals = (~new & (ordered != 0)).sum(axis=1)
    return _Blocks(ordered, rounding, _coincidence(equals, values.shape[1], bits), new.sum(axis=1), new)


def _coincidence(equals: NDArray[np.intp], weights: int, bits: int) -> Doubles:
    """Chance of that many equal pairs among arbitrary weights of so many bits: the Poisson term, at most 1."""
    expected = weights**2 / 2 / (1.5 * 2**bits)
    factorial = np.cumprod([1.0, *range(1, weights + 1)])
    return np.where(equals > expected, expected**equals / factorial[equals], 1.0)


def _through_zero(blocks: _Blocks) -> NDArray[np.intp]:
    """Largest |q| of the coarsest grid `scale * q` that holds each block, 0 for none."""
    largest = np.abs(blocks.values[:, -1:])
    position = blocks.values / largest
    error = blocks.rounding / largest + np.abs(position) * blocks.rounding[:, -1:] / largest
    telling = blocks.new & (blocks.values != 0) & (np.abs(position) < 1)
    return _coarsest(position, error, telling, blocks.coincidence, SYMMETRIC_LEVELS)


def _with_offset(blocks: _Blocks) -> NDArray[np.intp]:
    """Number of steps of the coarsest grid from the lowest to the highest value that holds each block, 0 for none."""
    values, rounding = blocks.values, blocks.rounding
    low, high = values.argmin(axis=1)[:, None], values.argmax(axis=1)[:, None]
    lowest = np.take_along_axis(values, low, axis=1)
    span = np.take_along_axis(values, high, axis=1) - lowest
    span = np.where(span > 0, span, 1.0)
    position = (values - lowest) / span
    ends = np.take_along_axis(rounding, low, axis=1), np.take_along_axis(rounding, high, axis=1)
    error = (rounding + (1 - position) * ends[0] + position * ends[1]) / span
    telling = blocks.new & (position > 0) & (position < 1)
    return _coarsest(position, error, telling, blocks.coincidence, AFFINE_LEVELS)


def _coarsest(
    position: Doubles,
    error: Doubles,
    telling: NDArray[np.bool_],
    chance_before: Doubles,
    steps: NDArray[np.intp],
) -> NDArray[np.intp]:
    """Fewest steps k such that all telling positions times k are whole within their errors, 0 for none.

    Args:
        position: of each value on the grid's span, (B, n).
        error: largest error of a position, (B, n).
        telling: values that say something: neither ends of the span nor repetitions, (B, n).
        chance_before: chance of what is known already of the block, (B,).
        steps: ascending candidates for k.
    """
    error = np.where(telling, ROUNDING_SLACK * error + ARITHMETIC, 1.0)
    position = np.where(telling, position, 0.0)
    rows = np.tile(np.arange(len(position)), len(steps))
    k = np.repeat(steps, len(position))
    chance = chance_before[rows]
    for column in np.flatnonzero(telling.any(axis=0)):
        exact = position[rows, column] * k
        allowed = error[rows, column] * k
        fits = np.abs(exact - np.rint(exact)) <= allowed
        chance = (chance * np.minimum(1.0, 2 * allowed))[fits]
        rows, k = rows[fits], k[fits]
    sure = chance < CHANCE
    found = np.zeros(len(position), np.intp)
    found[rows[sure][::-1]] = k[sure][::-1]
    return found


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
    article = "an" if bits == 8 else "a"
    return (
        f"The reference is stored as {report.precision}, but {report.share:.0%} of the sampled blocks lie on "
        f"{'an' if report.levels == 8 else 'a'} {report.levels}-level grid of blocks of {report.block_weights}: "
        f"{part} dequantised from {article} {bits}-bit file{trained}, and that type will look lossless."
    )


def _native(report: LatticeReport) -> str:
    if not report.blocks:
        return f"The reference is {report.precision}; it has no weights that could show whether they were dequantised."
    return (
        f"The reference is {report.precision}, and its weights show no trace of an earlier quantization "
        f"({report.share:.1%} of {report.blocks:,} sampled blocks lie on a grid)."
    )
