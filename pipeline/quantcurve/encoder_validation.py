"""Validation functions of an embedding model: one value for each item, higher is better, which depends on no other item
of the same call.

A rank correlation is no mean over items: take an item away and all ranks change. `sentence_similarity` is made of
values whose mean on the reference is exactly Spearman's rho, with everything that comes of other items frozen. For N
items with graded similarity g_i and the reference's cosine r_i:

    value_i = z_g(g_i) * z_r(c_i)
    z_g(x) = (R_g(x) - mean R_g(g_j)) / sd R_g(g_j)       R_g(x): average rank of x among all g_j
    z_r(x) = (R_r(x) - mean R_r(r_j)) / sd R_r(r_j)       R_r(x): rank that x would have among all r_j

c_i is the cosine that the model in question gives, R_r is linear between neighbouring r_j (ties at their average rank)
and constant beyond the first and the last; means and standard deviations (with N in the denominator) are over all N
items. On the reference c_i = r_i, and the mean of the values is the correlation of average ranks. A variant's mean is
its correlation with the reference's scale kept: other than Spearman's rho it also sees cosines that move together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from quantcurve import validation_loading
from quantcurve.encoder_recipe import BUILT_IN
from quantcurve.engines.base import Doubles, Floats
from quantcurve.errors import RecipeError
from quantcurve.metrics.embedding import cosines
from quantcurve.validation import Encoder, Item, ValidationFunction

VERSION = 1
"""Of what the built-in functions compute."""
KEPT = "embeddings.npz"
SENTENCES = ("sentence1", "sentence2")


class Scale(NamedTuple):
    """Standardised ranks that values would have among those that were frozen."""

    values: Doubles
    """(m,), ascending, each once."""
    scores: Doubles
    """(m,), their standardised average ranks."""

    @classmethod
    def of(cls, frozen: Doubles) -> Scale:
        """Freeze values (n,).

        Raises:
            RecipeError: all are alike.
        """
        ranks = rankdata(frozen)
        spread = float(ranks.std())
        if spread == 0:
            raise RecipeError(
                f"all {len(frozen)} items have the same similarity, so there are no ranks; give other items"
            )
        values, first = np.unique(frozen, return_index=True)
        return cls(values, (ranks[first] - ranks.mean()) / spread)

    def at(self, values: Doubles) -> Doubles:
        """Standardised ranks of values, linear between neighbours."""
        return np.asarray(np.interp(values, self.values, self.scores), np.float64)


class SentenceSimilarity:
    """See the module; a ValidationFunction."""

    def __init__(self, items: Sequence[Item], reference: Encoder) -> None:
        """Nothing is embedded yet.

        Args:
            items: all that it will ever be called on; their records have sentence1, sentence2 and score.
            reference: the float model.
        """
        self._items, self._reference = items, reference

    @cached_property
    def graded(self) -> Scale:
        """Ranks of what people said.

        Raises:
            RecipeError: a record has no score, or all are alike.
        """
        return Scale.of(np.array([_score(item) for item in self._items]))

    @cached_property
    def found(self) -> Scale:
        """Ranks of the reference's similarities.

        Raises:
            RecipeError: a record lacks a sentence, or all pairs are alike.
        """
        return Scale.of(similarities(self._reference, self._items))

    def __call__(self, model: Encoder, items: Sequence[Item]) -> list[float]:
        """One value for each item."""
        graded = self.graded.at(np.array([_score(item) for item in items]))
        return [float(v) for v in graded * self.found.at(similarities(model, items))]


class EmbeddingAgreement:
    """Cosine of each item's embedding to the reference's: of its text, or the mean over the sentences of a pair; a
    ValidationFunction."""

    def __init__(self, reference: Encoder) -> None:
        """Against the float model."""
        self._reference = reference

    def __call__(self, model: Encoder, items: Sequence[Item]) -> list[float]:
        """One value for each item."""
        texts = [text for item in items for text in texts_of(item)]
        found = iter(cosines(model.embed(texts), self._reference.embed(texts)))
        return [float(np.mean([next(found) for _ in texts_of(item)])) for item in items]


class KeptEmbeddings:
    """The reference's embeddings of a validation's texts, from disk; an Encoder for these texts."""

    def __init__(self, folder: Path) -> None:
        """folder: that `keep` writes into; read when it is first needed."""
        self._folder = folder

    @property
    def context_tokens(self) -> int:
        """Unknown: texts are embedded already."""
        return 0

    def embed(self, texts: Sequence[str]) -> Floats:
        """See validation.Encoder.

        Raises:
            RecipeError: a text is none of the validation's.
        """
        if missing := [text for text in texts if text not in self._rows]:
            raise RecipeError(
                f"{missing[0]!r:.60} is no text of this validation; give the items that came, as they are"
            )
        return np.stack([self._rows[text] for text in texts])

    @cached_property
    def _rows(self) -> dict[str, Floats]:
        with np.load(self._folder / KEPT) as kept:
            return dict(zip(kept["texts"].tolist(), kept["rows"], strict=True))


def keep(embed: Callable[[Sequence[str]], Floats], items: Sequence[Item], folder: Path) -> None:
    """Write the reference's embeddings of all items' texts, of those that have any, for KeptEmbeddings.

    Args:
        embed: the reference's.
        items: of the validation.
        folder: there already.
    """
    texts = list(dict.fromkeys(text for item in items for text in texts_of(item)))
    np.savez(folder / KEPT, texts=np.array(texts), rows=embed(texts))


def load(function: str, base: Path, items: Sequence[Item], reference: Path | None) -> ValidationFunction:
    """A validation function of an encoder.

    Args:
        function: one of BUILT_IN, or FILE.py:NAME.
        base: folder that FILE starts from (the recipe's).
        items: all that it will ever be called on.
        reference: folder of KeptEmbeddings; a built-in function needs one.

    Raises:
        RecipeError: as validation_loading.load.
    """
    if function not in BUILT_IN:
        return validation_loading.load(function, base)
    assert reference
    kept = KeptEmbeddings(reference)
    return SentenceSimilarity(items, kept) if function == BUILT_IN[0] else EmbeddingAgreement(kept)


def source_hash(function: str, base: Path) -> str:
    """See validation_loading.source_hash."""
    if function in BUILT_IN:
        return hashlib.sha256(f"{function} {VERSION}".encode()).hexdigest()
    return validation_loading.source_hash(function, base)


def similarities(model: Encoder, items: Sequence[Item]) -> Doubles:
    """Cosine of the two sentences of every item, (n,).

    Raises:
        RecipeError: a record lacks a sentence.
    """
    first, second = ([_text(item, name) for item in items] for name in SENTENCES)
    embedded = model.embed([*first, *second])
    return cosines(embedded[: len(items)], embedded[len(items) :])


def texts_of(item: Item) -> tuple[str, ...]:
    """The texts of an item: its `text`, or both sentences of a pair.

    Raises:
        RecipeError: it has neither.
    """
    if "text" in item.record:
        return (_text(item, "text"),)
    return tuple(_text(item, name) for name in SENTENCES)


def _text(item: Item, name: str) -> str:
    value = item.record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(f"{item.source}, item {item.number}: {name} must be a text (got {_shown(value)})")
    return value


def _score(item: Item) -> float:
    value = item.record.get("score")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RecipeError(f"{item.source}, item {item.number}: score must be a number (got {_shown(value)})") from None


def _shown(value: Any) -> str:
    return repr(value)[:80]
