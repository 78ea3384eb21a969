"""Whether a block of weights lies on a quantization lattice, and on which.

A quantised block holds few distinct values on an even grid: `scale * q` (Q4_0, Q5_0, Q8_0, Q6_K, Q3_K, IQ types)
or `scale * q + offset` (Q4_1, Q5_1, Q4_K, Q5_K, Q2_K), in blocks of 32 weights or of 16. Dequantised and stored as
F16 it still does, up to the rounding of F16. For each block every grid of few levels is tried. A grid counts only
when all values meet it within their rounding and the chance that arbitrary values would do so is below one in a
million, so a native block is taken for a quantised one hardly ever, however coarse the file's own precision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Doubles, Floats

BLOCK = 32
HALF_BLOCK = 16
CHANCE = 1e-6
SYMMETRIC_LEVELS = np.arange(1, 129)
"""Largest |q| of grids through zero: 8 (Q4_0) to 128 (Q8_0)."""
AFFINE_LEVELS = np.arange(1, 32)
"""Steps from the lowest to the highest value: 3 (Q2_K) to 31 (Q5_K)."""
ROUNDING_SLACK = 1.3
ARITHMETIC = 2.0**-22
"""Rounding of the float32 arithmetic that dequantised the block, as a fraction of its span."""


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


def judge(values: Floats, bits: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Levels and block size of each block's lattice: as one block of 32, or as two of 16 if that is simpler.

    Args:
        values: blocks that are neither constant nor nearly empty, (B, 32).
        bits: significant bits that the values are rounded to.

    Returns:
        Number of levels, rounded up to a power of two, and block size, both (B,); 0 where there is no lattice.
    """
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
