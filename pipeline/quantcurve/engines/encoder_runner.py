"""An embedding model around anything that runs token ids through its transformer; runs in a child process.

Texts of one length go through the transformer together, so that there is no padding that could change anything: an
embedding does not depend on what else is embedded, but for the order of additions in other kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quantcurve import encoder_pipeline
from quantcurve.encoder_pipeline import EmbeddingPipeline
from quantcurve.engines.base import Floats, Tokens
from quantcurve.errors import BackendError, ModelFileError, RecipeError

TOKENIZER = "tokenizer.json"
BATCH_TOKENS = 2048
"""Most that go through the transformer together."""
LEAST_TOKENS = 3
"""Of a text with its special tokens; a limit below leaves no room for the text."""


class EncoderRunner(Protocol):
    """A transformer compiled in this process, whatever is in its graph."""

    path: Path
    """Folder of the IR, with the tokenizer and the pipeline beside it; named in errors."""

    def hidden(self, tokens: Tokens) -> Floats:
        """Last hidden states (B, S, width) of ids (B, S), all of which are real tokens: a view into the engine's
        buffer, valid until the next pass.

        Raises:
            BackendError: OpenVINO failed.
        """
        ...


class TextTokenizer:
    """A model's own tokenizer, which cuts where its pipeline says."""

    def __init__(self, folder: Path) -> None:
        """Read tokenizer and pipeline of an exported folder.

        Raises:
            ModelFileError: a file is missing or broken.
        """
        from tokenizers import Tokenizer

        path = folder / encoder_pipeline.FILE
        try:
            self.pipeline = EmbeddingPipeline.model_validate_json(path.read_bytes())
            self._inner: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelFileError(f"{folder}: {path.name} or {TOKENIZER} cannot be read: {error}") from error
        self._inner.no_padding()
        self._inner.enable_truncation(max(self.pipeline.max_tokens, LEAST_TOKENS))

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return int(self._inner.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Ids of every text, special tokens too, (T,) each."""
        pipeline = self.pipeline
        whole = [(pipeline.prompt + text).strip() for text in texts]
        encoded = self._inner.encode_batch([t.lower() for t in whole] if pipeline.lower_case else whole)
        return [np.array(e.ids, np.int32) for e in encoded]


class TextEncoder:
    """An embedding model that is loaded; satisfies validation.Encoder."""

    def __init__(self, runner: EncoderRunner, tokenizer: TextTokenizer | None = None) -> None:
        """Around a runner, with the tokenizer of its folder unless another is given.

        Raises:
            ModelFileError: a file is missing or broken.
        """
        self.runner = runner
        self.tokenizer = tokenizer or TextTokenizer(runner.path)

    @property
    def context_tokens(self) -> int:
        """See validation.Encoder."""
        return self.tokenizer.pipeline.max_tokens

    def embed(self, texts: Sequence[str]) -> Floats:
        """See validation.Encoder.

        Raises:
            BackendError: OpenVINO failed, or gave numbers that are not finite.
            RecipeError: a text has no tokens.
        """
        if not texts:
            return np.empty((0, 0), np.float32)
        encoded = self.tokenizer.encode(texts)
        if empty := [text for text, ids in zip(texts, encoded, strict=True) if not len(ids)]:
            raise RecipeError(f"the text {empty[0][:60]!r} has no tokens; leave it out")
        found: list[Floats | None] = [None] * len(texts)
        for places in batches([len(ids) for ids in encoded]):
            hidden = self.runner.hidden(np.stack([encoded[i] for i in places]))
            for i, row in zip(places, encoder_pipeline.pool(hidden, self.tokenizer.pipeline), strict=True):
                found[i] = row
        embedded = np.stack([row for row in found if row is not None])
        if not np.isfinite(embedded).all():
            bad = int(np.flatnonzero(~np.isfinite(embedded).all(axis=1))[0])
            raise BackendError(f"{self.runner.path}: the embedding of {texts[bad][:60]!r} is not finite")
        return embedded


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts that go through the model together: of one length, at most BATCH_TOKENS tokens, short ones first.

    lengths: of every text in tokens, at least 1.
    """
    by_length: dict[int, list[int]] = {}
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        by_length.setdefault(lengths[place], []).append(place)
    found = []
    for length, places in by_length.items():
        most = max(1, BATCH_TOKENS // length)
        found += [places[i : i + most] for i in range(0, len(places), most)]
    return found


def feed(path: Path, names: set[str], tokens: Tokens) -> dict[str, np.ndarray[Any, Any]]:
    """Inputs of one forward pass over ids (B, S) that are all real tokens of one text each.

    Args:
        path: of the model, for the error.
        names: inputs that the model has; only these are given.
        tokens: (B, S).

    Raises:
        BackendError: the model has an input that is none of an encoder's.
    """
    ids = np.ascontiguousarray(tokens, np.int64)
    offered = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    if missing := names - offered.keys():
        raise BackendError(
            f"{path}: inputs {', '.join(sorted(missing))} are not those of a text encoder; export it with "
            "optimum-intel, task feature-extraction"
        )
    return {name: offered[name] for name in names}
