"""A SentencePiece vocabulary of a GGUF file as a tokenizer of the tokenizers library (see gguf_tokenizer.py).

llama.cpp merges the two neighbours whose joint token has the highest score (llm_tokenizer_spm_session in
src/llama-vocab.cpp); the same pairs, written down as merges in the order of their scores, give the same ids.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from quantcurve.engines.gguf_vocabulary import Vocabulary
from quantcurve.errors import ModelFileError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "\u2581"


def build(path: Path, vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer without its added tokens and without BOS.

    Raises:
        ModelFileError: the order of merges is not decided by the scores.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    ids = {token.text: i for i, token in enumerate(vocabulary.tokens)}
    tokenizer = Tokenizer(
        models.BPE(vocab=ids, merges=_merges(path, vocabulary, ids), fuse_unk=True, byte_fallback=True)
    )
    spaces = normalizers.Replace(" ", SPACE)
    in_front = [normalizers.Prepend(SPACE)] if vocabulary.adds_space else []
    tokenizer.normalizer = normalizers.Sequence([*in_front, spaces])
    strip = [decoders.Strip(" ", 1, 0)] if vocabulary.adds_space else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _merges(path: Path, vocabulary: Vocabulary, ids: dict[str, int]) -> list[tuple[str, str]]:
    found: list[tuple[float, tuple[str, str]]] = []
    by_score: dict[float, set[str]] = defaultdict(set)
    for token in vocabulary.tokens:
        cuts = [(token.text[:i], token.text[i:]) for i in range(1, len(token.text))]
        pairs = sorted((p for p in cuts if p[0] in ids and p[1] in ids), key=lambda p: (ids[p[0]], ids[p[1]]))
        found += [(token.score, pair) for pair in pairs]
        if pairs:
            by_score[token.score].add(token.text)
    for score, tied in by_score.items():
        if len(tied) > 1 and len(set("".join(tied))) > 1:  # runs of one character merge alike in any order
            some = ", ".join(map(repr, sorted(tied)[:3]))
            raise ModelFileError(
                f"{path}: {len(tied):,} tokens of its vocabulary have the score {score:g} ({some}), so their "
                "order is not decided, and no tokenizer equal to llama.cpp's can be built; give the model as "
                "a Hugging Face folder"
            )
    found.sort(key=lambda entry: -entry[0])
    return [pair for _, pair in found]
