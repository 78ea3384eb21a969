"""Figures and names as words: the one place where a number is rounded for a reader."""

from __future__ import annotations

import math
from collections.abc import Sequence

from quantcurve.estimates import Estimate, Figure

MIB = 2**20
NEGLIGIBLE = 1e-7  # of a value: a narrower interval would only add digits
TINY = 1e-12  # of any unit shown here
NOT_TOLD = "not told"
"""In place of what a device does not tell."""


def plain(text: str) -> str:
    """One line without control characters: names, reasons and paths come from users and from engines."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def told(value: str | int | None) -> str:
    """What a device tells, or that it does not."""
    return NOT_TOLD if value is None else str(value)


def mib(size_bytes: float) -> str:
    """A size in MiB, with its unit."""
    return f"{size_bytes / MIB:.1f} MiB"


def spread(figure: Figure, scale: float = 1.0) -> str:
    """`value±d`, d being the farther end of the interval; "-" where the figure is missing."""
    if not isinstance(figure, Estimate):
        return "-"
    half = _farther_end(figure)
    if half == 0:
        return alone(figure, scale)
    decimals = _decimals(half * scale)
    return f"{figure.value * scale:.{decimals}f}±{half * scale:.{decimals}f}"


def bounds(figure: Figure, scale: float = 1.0, unit: str = "") -> str:
    """`value unit [low, high]`; "-" where the figure is missing."""
    if not isinstance(figure, Estimate):
        return "-"
    half = _farther_end(figure)
    value, low, high = (x * scale for x in (figure.value, figure.low, figure.high))
    after = f" {unit}" if unit else ""
    if half == 0:
        return f"{value:.4g}{after} [{low:.4g}, {high:.4g}]"
    decimals = _decimals(half * scale)
    return f"{value:.{decimals}f}{after} [{low:.{decimals}f}, {high:.{decimals}f}]"


def alone(figure: Figure, scale: float = 1.0) -> str:
    """The value with three significant digits, never in scientific notation; "-" where the figure is missing."""
    if not isinstance(figure, Estimate):
        return "-"
    value = figure.value * scale
    return f"{value:.{_digits_after_point(value, 3)}f}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _farther_end(figure: Estimate) -> float:
    """Half-width of the interval on its wider side; 0 if it is no more than rounding error."""
    half = max(figure.high - figure.value, figure.value - figure.low)
    return half if half > max(NEGLIGIBLE * abs(figure.value), TINY) else 0.0


def _decimals(half: float) -> int:
    """Decimals that leave the half-width one significant digit, two if the first is 1 or 2."""
    leading = half / 10.0 ** math.floor(math.log10(half))
    return _digits_after_point(half, 2 if leading < 3 else 1)


def _digits_after_point(value: float, significant: int) -> int:
    exponent = math.floor(math.log10(abs(value))) if value else 0
    return max(0, significant - 1 - exponent)
