"""A tokenizer of the tokenizers library from a GGUF file's vocabulary, with the ids that llama.cpp gives.

Runs inside a child process. transformers builds its own from such a file, without a word about what it cannot know
(the pre-tokenizer): a wrong one for many. What is not proved equal to llama.cpp is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from quantcurve.engines import sentence_piece
from quantcurve.engines.gguf_vocabulary import GET_AGAIN, GgufToken, Kind, Vocabulary, read_vocabulary
from quantcurve.engines.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from quantcurve.errors import BackendError, ModelFileError, printable

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

BYTE_PAIRS, SENTENCE_PIECE = "gpt2", "llama"
TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"


def build(path: Path, *, parse_special: bool = False) -> Tokenizer:
    """A tokenizer that gives llama.cpp's ids, BOS and EOS included where the vocabulary asks for them.

    Args:
        path: GGUF file.
        parse_special: whether control tokens that are spelled out in a text are found there (`llama_tokenize`'s
            argument of that name); user-defined tokens always are.

    Raises:
        ModelFileError: no GGUF file, a broken vocabulary, or one of a kind for which no equal tokenizer is known.
    """
    return _build(path, read_vocabulary(path), parse_special)


def check(path: Path) -> None:
    """Refuse a vocabulary that no equal tokenizer can be built from; errors as `build`."""
    build(path)


def save(path: Path, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads.

    Control tokens in a text are found, as everywhere in transformers (`split_special_tokens=True` leaves them).

    Args:
        path: GGUF file.
        folder: to write to, there already.

    Raises:
        ModelFileError: see `build`.
        BackendError: it cannot be written.
    """
    vocabulary = read_vocabulary(path)
    tokenizer = _build(path, vocabulary, parse_special=True)
    text = json.dumps(_configuration(vocabulary), ensure_ascii=False, indent=2)
    with writing(folder):
        tokenizer.save(str(folder / TOKENIZER))
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise as one class what libraries raise that write a tokenizer: they have none in common. The store tells a full
    disk by it (disk.full).

    Args:
        folder: that is written to.

    Raises:
        BackendError: it cannot be written.
    """
    try:
        yield
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise BackendError(
            f"{folder}: the tokenizer cannot be written: {said}; see whether its disk is full"
        ) from error


def _build(path: Path, vocabulary: Vocabulary, parse_special: bool) -> Tokenizer:
    by_scores = vocabulary.model == SENTENCE_PIECE
    tokenizer = sentence_piece.build(path, vocabulary) if by_scores else _byte_pairs(path, vocabulary)
    tokenizer.post_processor = _affixes(vocabulary)
    tokenizer.add_tokens([_added(t) for t in vocabulary.tokens if t.is_added and not t.is_control])
    if parse_special:
        tokenizer.add_special_tokens([_added(t) for t in vocabulary.tokens if t.is_control])
    return tokenizer


def _byte_pairs(path: Path, vocabulary: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer, decoders

    way = _way(path, vocabulary)
    tokenizer = Tokenizer(_model(path, vocabulary, way.whole_words))
    tokenizer.pre_tokenizer = _cuts(way, vocabulary)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _way(path: Path, vocabulary: Vocabulary) -> PreTokenizer:
    """How the vocabulary's texts are cut.

    Raises:
        ModelFileError: it is not known here.
    """
    if vocabulary.model == BYTE_PAIRS and (found := PRE_TOKENIZERS.get(vocabulary.pre)):
        return found
    names = ", ".join(sorted(name for name in PRE_TOKENIZERS if name))
    raise ModelFileError(
        f"{path}: its vocabulary (tokenizer.ggml.model {printable(vocabulary.model)!r}, tokenizer.ggml.pre "
        f"{printable(vocabulary.pre)!r}) is none that a tokenizer equal to llama.cpp's can be built from; those "
        f"are of model {SENTENCE_PIECE!r}, and of model {BYTE_PAIRS!r} with pre {names}; give the "
        "model as a Hugging Face folder, which has its own tokenizer"
    )


def _model(path: Path, vocabulary: Vocabulary, whole_words: bool) -> object:
    from tokenizers.models import BPE

    ids = {token.text: i for i, token in enumerate(vocabulary.tokens)}
    if unknown := next((m for m in vocabulary.merges if m[0] + m[1] not in ids), None):
        raise ModelFileError(
            f"{path}: its vocabulary merges {unknown[0]!r} and {unknown[1]!r}, but {unknown[0] + unknown[1]!r} is none "
            f"of its {len(ids):,} tokens; {GET_AGAIN}"
        )
    return BPE(vocab=ids, merges=list(vocabulary.merges), ignore_merges=whole_words)


def _cuts(way: PreTokenizer, vocabulary: Vocabulary) -> object:
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    # Digits followed by ByteLevel's own pattern would do for some, but OpenVINO's converter makes one pattern of the
    # two, which cuts spaces before digits elsewhere.
    patterns = list(way.patterns)
    to_letters = ByteLevel(add_prefix_space=False, use_regex=False)
    known = {token.text for token in vocabulary.tokens}
    # llama.cpp drops a byte that is no token too, but merges nothing across it.
    unknown = [c for c in map(chr, range(128)) if to_letters.pre_tokenize_str(c)[0][0] not in known]
    if unknown:
        patterns.append("[" + "".join(map(re.escape, unknown)) + "]")
    return Sequence([*(Split(Regex(pattern), "isolated") for pattern in patterns), to_letters])


def _affixes(vocabulary: Vocabulary) -> object:
    from tokenizers.processors import TemplateProcessing

    bos = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
    eos = [vocabulary.eos] if vocabulary.adds_eos and vocabulary.eos is not None else []
    texts = {i: vocabulary.tokens[i].text for i in [*bos, *eos]}
    return TemplateProcessing(
        single=[*(texts[i] for i in bos), "$A", *(texts[i] for i in eos)],
        special_tokens=[(text, i) for i, text in texts.items()],
    )


def _added(token: GgufToken) -> AddedToken:
    from tokenizers import AddedToken

    return AddedToken(
        token.text,
        lstrip=bool(token.kind & Kind.STRIPS_LEFT),
        rstrip=bool(token.kind & Kind.STRIPS_RIGHT),
        normalized=False,
        special=token.is_control,
    )


def _configuration(vocabulary: Vocabulary) -> dict[str, object]:
    """tokenizer_config.json; a token that llama.cpp does not take for special is not named, or transformers would."""
    eos = vocabulary.eos
    padding = vocabulary.padding if vocabulary.padding is not None else eos
    named = {"bos_token": vocabulary.bos, "eos_token": eos, "pad_token": padding}
    tokens = {key: vocabulary.tokens[i].text for key, i in named.items() if i is not None}
    special = {token.text for token in vocabulary.tokens if token.is_control}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{key: text for key, text in tokens.items() if text in special},
        "add_bos_token": vocabulary.adds_bos,
        "add_eos_token": vocabulary.adds_eos,
        **({"model_max_length": vocabulary.context_tokens} if vocabulary.context_tokens else {}),
        "clean_up_tokenization_spaces": False,
        **({"chat_template": vocabulary.chat_template} if vocabulary.chat_template else {}),
    }
