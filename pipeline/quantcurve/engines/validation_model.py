"""A language model as validation functions see it (validation.LanguageModel), over whatever runs an IR; runs in a child
process (see child.py).

Every call begins with an empty KV cache. Sequences go through the model in batches without a mask: shorter ones are
filled up at their end, where a causal model cannot see it from what stands before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Floats, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.openvino_child import PASS_TOKENS
from quantcurve.engines.runner import Runner
from quantcurve.engines.scratch import KeptReference
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import BackendError, RecipeError
from quantcurve.likelihood import Likelihood
from quantcurve.metrics.logits import score_rows
from quantcurve.validation import Item, LanguageModel
from quantcurve.validation_errors import named, too_long
from quantcurve.validation_requests import encoded_pairs, encoded_prompts, stop_strings

BATCH_TOKENS = 512
"""Of all sequences that go through the model together: eight windows of 64."""
SHORTEST = 3
"""Tokens of a window that has one to score."""


class _Sequence(NamedTuple):
    """Token ids whose logits are wanted from position `first` on."""

    place: int
    ids: Tokens
    first: int


class OpenModel(LanguageModel):
    """A model that is open in this process."""

    def __init__(
        self, runner: Runner, reference: ReferenceScratch | None, numbers: Sequence[int], texts: Path | None = None
    ) -> None:
        """Take over a runner.

        Args:
            runner: of an IR.
            reference: the float reference's logits of the validation's windows; None: this is the reference, or the
                items are records.
            numbers: of the items that the rows of `reference` belong to.
            texts: folder with the tokenizer; None: that of the IR.
        """
        self.runner = runner
        self.text = TextSide(texts or runner.path)
        self._reference = KeptReference(reference) if reference else None
        self._rows = {number: row for row, number in enumerate(numbers)}
        self._pool = ThreadPoolExecutor(runner.config.threads)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()

    @property
    def context_tokens(self) -> int:
        """Longest sequence that it takes."""
        return self.runner.config.window_tokens

    def score(self, items: Sequence[Item]) -> list[TokenScores]:
        """See LanguageModel.score; the very figures of scratch.score."""
        sequences = [_Sequence(i, self._window(item), len(item.tokens) // 2) for i, item in enumerate(items)]
        found: dict[int, TokenScores] = {}
        for sequence, logits in self._tails(sequences):
            found[sequence.place] = self._scored(items[sequence.place], logits[:-1])
        return [found[i] for i in range(len(items))]

    def reference_top1(self, items: Sequence[Item]) -> list[Tokens]:
        """See LanguageModel.reference_top1."""
        kept = self._kept("reference_top1")
        return [np.array(kept.top_k[self._row(self._checked(item)), :, 0]) for item in items]

    def log_likelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """See LanguageModel.log_likelihood."""
        encoded = encoded_pairs(self.text, pairs, self.context_tokens)
        sequences = [_Sequence(i, pair.ids[:-1], pair.begin - 1) for i, pair in enumerate(encoded)]
        targets = [pair.ids[pair.begin :] for pair in encoded]
        found = {s.place: self._likelihood(logits, targets[s.place]) for s, logits in self._tails(sequences)}
        return [found[i] for i in range(len(pairs))]

    def generate(self, prompts: Sequence[str], max_tokens: int = 64, stop: Sequence[str] = ()) -> list[str]:
        """See LanguageModel.generate."""
        encoded = encoded_prompts(self.text, prompts, max_tokens, self.context_tokens)
        return [self._generated(ids, max_tokens, stop_strings(stop)) for ids in encoded]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See LanguageModel.chat."""
        return self.text.chat(messages)

    def _window(self, item: Item) -> Tokens:
        count = len(item.tokens)
        if count < SHORTEST:
            has = f"a window of {count} tokens" if count else "no window, only a record"
            raise RecipeError(f"{named(item)} has {has}; score takes windows of texts: give the validation texts")
        if count > self.context_tokens:
            raise RecipeError(f"{named(item)}: {too_long(count, self.context_tokens)}")
        if int(item.tokens.min()) < 0 or int(item.tokens.max()) >= self.runner.vocabulary:
            raise RecipeError(
                f"{named(item)}: ids from {item.tokens.min()} to {item.tokens.max()}, and the vocabulary has "
                f"{self.runner.vocabulary:,} tokens; give the items that came, as they are"
            )
        return item.tokens

    def _checked(self, item: Item) -> Item:
        self._window(item)
        return item

    def _row(self, item: Item) -> int:
        row = self._rows.get(item.number)
        kept = self._kept("the reference")
        scored = len(item.tokens) - 1 - len(item.tokens) // 2
        if row is None or kept.logits.shape[1] != scored:
            raise RecipeError(f"{named(item)} is none of this validation's; give the items that came, as they are")
        return row

    def _kept(self, asked: str) -> KeptReference:
        if self._reference is None:
            raise BackendError(f"{self.runner.path}: {asked}: this model was opened without the reference's logits")
        return self._reference

    def _scored(self, item: Item, logits: Floats) -> TokenScores:
        against = self._reference.rows(self._row(item)) if self._reference else None
        threads = self.runner.config.threads
        try:
            rows = score_rows(logits, item.tokens[-len(logits) :], against, self._pool, threads).scores
        except ValueError as error:
            raise BackendError(f"{self.runner.path}: {named(item)}: {error}; its weights are broken") from error
        return TokenScores(**{k: v[None] for k, v in vars(rows).items() if v is not None})

    def _likelihood(self, logits: Floats, targets: Tokens) -> Likelihood:
        from scipy.special import logsumexp

        self._check_finite(logits)
        rows = logits.astype(np.float64)
        chosen = rows[np.arange(len(targets)), targets]
        nats = float((chosen - logsumexp(rows, axis=1)).sum())
        return Likelihood(nats, len(targets), bool((rows.argmax(axis=1) == targets).all()))

    def _generated(self, prompt: Tokens, most: int, stops: Sequence[str]) -> str:
        fed, new, before = prompt[None], list[int](), prompt.tolist()
        past = 0
        while len(new) < most:
            logits = self.runner.forward(fed, past)[0, -1:]
            self._check_finite(logits)
            past += fed.shape[1]
            token = int(logits[0].argmax())
            if token in self.text.ends:
                break
            new.append(token)
            if stops and (cut := _before(self.text.continued(before, new), stops)) is not None:
                return cut
            fed = np.array([[token]], np.int32)
        return self.text.continued(before, new)

    def _check_finite(self, logits: Floats) -> None:
        if not np.isfinite(logits.max(axis=1)).all():
            raise BackendError(f"{self.runner.path}: the model's logits are not finite; its weights are broken")

    def _tails(self, sequences: Sequence[_Sequence]) -> Iterator[tuple[_Sequence, Floats]]:
        """Logits (len(ids) - first, vocabulary) from position `first` on, in any order; one sequence's are valid until
        the next are asked for."""
        for batch in _batches(sequences, self.runner.plain_cache):
            longest = max(len(s.ids) for s in batch)
            table = np.stack([np.pad(s.ids, (0, longest - len(s.ids)), mode="edge") for s in batch])
            first = min(s.first for s in batch)
            logits = self._forward(table, first)
            for row, sequence in zip(logits, batch, strict=True):
                yield sequence, row[sequence.first - first : len(sequence.ids) - first]

    def _forward(self, table: Tokens, first: int) -> Floats:
        """Logits (B, S - first, vocabulary); see openvino_child.PASS_TOKENS for why not in one pass."""
        length = table.shape[1]
        if self.runner.plain_cache:
            return self.runner.forward(table, 0, length - first)
        if first:
            self.runner.forward(table[:, :first], 0)
        logits = np.empty((len(table), length - first, self.runner.vocabulary), np.float32)
        for past in range(first, length, PASS_TOKENS):
            part = table[:, past : past + PASS_TOKENS]
            logits[:, past - first :][:, : part.shape[1]] = self.runner.forward(part, past, part.shape[1])
        return logits


def _batches(sequences: Sequence[_Sequence], one_pass: bool) -> Iterator[list[_Sequence]]:
    """Sequences of about the same length together; of the very same first position where that divides the passes."""
    batch: list[_Sequence] = []
    for sequence in sorted(sequences, key=lambda s: (0 if one_pass else s.first, len(s.ids), s.place)):
        split = bool(batch) and not one_pass and sequence.first != batch[0].first
        if split or (batch and (len(batch) + 1) * len(sequence.ids) > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def _before(text: str, stops: Sequence[str]) -> str | None:
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else None
