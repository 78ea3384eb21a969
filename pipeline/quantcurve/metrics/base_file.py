"""llama.cpp's base file (`llama-perplexity --kl-divergence-base`) and the figures that `--kl-divergence` prints.

quantcurve does not need base files: it compares exact logits. This module reads them to show that both agree, and
what their 16-bit storage costs. Formulas: tools/perplexity/perplexity.cpp (log_softmax, kl_divergence), in the
same float32 arithmetic.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantcurve.engines.base import Doubles, Floats, Tokens
from quantcurve.errors import ModelFileError

MAGIC = b"_logits_"
CLIP = np.float32(-16)
"""Log probabilities at or below this are left out of a divergence."""
Codes = NDArray[np.uint16]


class BaseFile(NamedTuple):
    """An open base file."""

    windows: Tokens
    """(W, window_tokens) ids."""
    vocabulary: int
    rows: NDArray[np.uint16]
    """(W, T, 2 * ceil(V / 2) + 4): scale and minimum as float32, then the codes; mapped, not read."""

    def log_probabilities(self, window: int) -> Floats:
        """Stored log probabilities of one window, (T, V)."""
        part = np.ascontiguousarray(self.rows[window])
        head = part[:, :4].copy().view(np.float32)
        codes: Codes = part[:, 4 : 4 + self.vocabulary]
        return np.asarray(head[:, :1] * codes.astype(np.float32) + head[:, 1:2], np.float32)


@dataclass(frozen=True)
class StoredScores:
    """Per-token values as llama.cpp computes them against a base file; all (W, T)."""

    nll: Floats
    nll_base: Floats
    kl: Floats
    same_top: NDArray[np.bool_]


def read_base_file(path: Path) -> BaseFile:
    """Map a base file.

    Raises:
        ModelFileError: it is missing, of another kind, or truncated.
    """
    try:
        with path.open("rb") as source:
            start = source.read(20)
            size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read as a base file: {error}") from error
    if start[:8] != MAGIC:
        raise ModelFileError(f"{path}: no base file of llama-perplexity (it starts otherwise)")
    if len(start) < 20:
        raise ModelFileError(f"{path}: truncated: {size} bytes; write it again")
    length, vocabulary, count = (int(n) for n in np.frombuffer(start, "<i4", 3, 8))
    if length < 3 or vocabulary < 1 or count < 1:
        raise ModelFileError(f"{path}: the header says {count} windows of {length} tokens out of {vocabulary}")
    offset = 20 + 4 * length * count
    shape = (count, length - 1 - length // 2, 2 * ((vocabulary + 1) // 2) + 4)
    needed = offset + 2 * math.prod(shape)
    if size < needed:
        raise ModelFileError(f"{path}: truncated: {size:,} bytes of {needed:,}; write it again")
    windows = np.fromfile(path, "<i4", length * count, offset=20).reshape(count, length)
    return BaseFile(windows, vocabulary, np.memmap(path, "<u2", "r", offset, shape))


def compare_stored(logits: Floats, log_base: Floats, targets: Tokens) -> StoredScores:
    """Scores of n tokens (n, V) against stored log probabilities (n, V), as llama.cpp computes them."""
    rows = np.arange(len(targets))
    largest = logits.max(axis=1)
    total = _expf(logits - largest[:, None]).sum(axis=1, dtype=np.float64)
    normaliser = largest + np.log(total).astype(np.float32)
    kept = log_base > CLIP
    terms = np.where(kept, _expf(log_base) * (log_base - logits + normaliser[:, None]), 0)
    return StoredScores(
        nll=normaliser - logits[rows, targets],
        nll_base=-log_base[rows, targets],
        kl=terms.sum(axis=1, dtype=np.float64).astype(np.float32),
        same_top=logits.argmax(axis=1) == log_base.argmax(axis=1),
    )


def printed_figures(scores: StoredScores) -> dict[str, float]:
    """Every point value that `--kl-divergence` prints, by the label it prints."""
    from quantcurve.metrics.statistics import percentile  # imports SciPy, which a child does without

    nll, base = scores.nll.astype(np.float64), scores.nll_base.astype(np.float64)
    change = _expf(-scores.nll) - _expf(-scores.nll_base)
    ratio = nll.mean() - base.mean()
    found = {
        "Mean PPL(Q)": np.exp(nll.mean()),
        "Mean PPL(base)": np.exp(base.mean()),
        "Cor(ln(PPL(Q)), ln(PPL(base)))": 100 * _correlation(nll, base),
        "Mean ln(PPL(Q)/PPL(base))": ratio,
        "Mean PPL(Q)/PPL(base)": np.exp(ratio),
        "Mean PPL(Q)-PPL(base)": np.exp(nll.mean()) - np.exp(base.mean()),
        "Mean KLD": scores.kl.mean(dtype=np.float64),
        "Maximum KLD": scores.kl.max(),
        "Median KLD": percentile(scores.kl, 0.5),
        "Minimum KLD": scores.kl.min(),
        "Mean Δp": 100 * change.mean(dtype=np.float64),
        "Maximum Δp": 100 * change.max(),
        "Median Δp": 100 * percentile(change, 0.5),
        "Minimum Δp": 100 * change.min(),
        "RMS Δp": 100 * np.sqrt((change.astype(np.float64) ** 2).mean()),
        "Same top p": 100 * scores.same_top.mean(),
    }
    for percent in (99.9, 99.0, 95.0, 90.0, 10.0, 5.0, 1.0, 0.1):
        found[f"{percent}% KLD"] = percentile(scores.kl, percent / 100)
    for percent in (99.9, 99.0, 95.0, 90.0, 75.0, 25.0, 10.0, 5.0, 1.0, 0.1):
        found[f"{percent}% Δp"] = 100 * percentile(change, percent / 100)
    return {label: float(value) for label, value in found.items()}


def parse_printed(output: str) -> dict[str, tuple[float, int]]:
    """Point values in what `--kl-divergence` printed, with the number of decimals, by label."""
    found = {}
    for line in output.splitlines():
        match = re.match(r"\s*(\S.*?)\s*:\s*(-?\d+\.(\d+))\s*%?\s*(?:±.*)?$", line)
        if match and re.search(r"PPL|KLD|Δp|Same top", match[1]):
            found[re.sub(r"\s+", " ", match[1])] = (float(match[2]), len(match[3]))
    return found


def _expf(values: Floats) -> Floats:
    """C's expf, which rounds correctly but for a few arguments; NumPy's float32 exponential often does not."""
    return np.exp(values.astype(np.float64)).astype(np.float32)


def _correlation(a: Doubles, b: Doubles) -> float:
    covariance = (a * b).mean() - a.mean() * b.mean()
    return float(covariance / np.sqrt(((a**2).mean() - a.mean() ** 2) * ((b**2).mean() - b.mean() ** 2)))
