"""Where the shipped recipes and embedded texts lie: inside the wheel, or in the checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGED = Path(__file__).parent / "_data"
_CHECKOUT = Path(__file__).parents[2]


def folder(name: str) -> Path:
    """Folder of shipped data, "recipes" or "calib"."""
    return (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / name
