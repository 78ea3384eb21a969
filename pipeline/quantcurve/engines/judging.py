"""What crosses the process boundary when a model is judged by a validation function."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from quantcurve.engines.base import ReferenceScratch
from quantcurve.validation import Item


class Judge(NamedTuple):
    """By what a model is judged."""

    function: str
    """As the recipe names it."""
    base: Path
    """Folder that a file's name is relative to."""
    items: tuple[Item, ...]
    texts: Path
    """Folder with the tokenizer."""
    reference: Path | None
    """Folder of what is kept of the float reference: its logits of items that are windows (see base.ReferenceScratch),
    or an encoder's embeddings of the items' texts (see encoder_validation.KeptEmbeddings)."""
    encoder: bool = False
    """Whether it is an embedding model that is judged."""

    @property
    def scratch(self) -> ReferenceScratch | None:
        """The reference's logits."""
        return ReferenceScratch(self.reference) if self.reference and not self.encoder else None


class Judged(NamedTuple):
    """What a function says of a model."""

    values: list[float]
    seconds: float
