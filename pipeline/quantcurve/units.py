"""Sizes as users write them."""

from __future__ import annotations

import re
from decimal import Decimal

from quantcurve.errors import RecipeError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", re.ASCII | re.IGNORECASE)
_POWERS = "kmgt"


def parse_size(text: str) -> int:
    """Bytes of "120MB" (1000^2), "1.5GiB" (1024^3) or "100000000"; RecipeError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    number, prefix, binary, byte = match.groups() if match else ("", "", "", "")
    unit_is_clear = bool(byte) if prefix else not binary
    factor = (1024 if binary else 1000) ** (_POWERS.index(prefix.lower()) + 1 if prefix else 0)
    size_bytes = Decimal(number or 0) * factor
    whole = prefix or size_bytes == int(size_bytes)
    if not match or not unit_is_clear or not whole or size_bytes < 1:
        raise RecipeError(f"{text!r} is not a size; write it like 120MB, 1.5GiB or 100000000 (bytes)")
    return int(size_bytes)
