"""The tokenizers of all lanes on the same texts; everything here runs inside child processes (see child.py).

What was loaded last stays loaded, because a difference is narrowed down by many small calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import Tokens
from quantcurve.errors import BackendError, ModelFileError

OPENVINO_TOKENIZER, OPENVINO_DETOKENIZER = "openvino_tokenizer.xml", "openvino_detokenizer.xml"
SHORT, BATCH = 2_000, 256
NO_TOKEN = "(no token of this vocabulary)"
UNREADABLE = "put a tokenizer.json beside it, give the model as a GGUF file, or leave out variants.openvino"
"""What to do about a Hugging Face folder's tokenizer."""


def write_tokenizer(model: Path, original: Path | None, folder: Path) -> None:
    """Write a model's tokenizer as transformers and OpenVINO read it.

    Args:
        model: GGUF file; its vocabulary is the source (see gguf_tokenizer.save) where there is no other.
        original: Hugging Face folder that the file was converted from, whose own tokenizer is taken.
        folder: to write to, there already.

    Raises:
        ModelFileError: no equal tokenizer is known for this vocabulary, or transformers cannot load the original one,
            or not in the form of the tokenizers library.
        BackendError: OpenVINO's converter refused it, or it cannot be written.
    """
    if original is None:
        gguf_tokenizer.save(model, folder)
    else:
        tokenizer = _loaded(original, UNREADABLE)
        with gguf_tokenizer.writing(folder):
            tokenizer.save_pretrained(folder)
        if not (folder / gguf_tokenizer.TOKENIZER).is_file():
            raise ModelFileError(
                f"{original}: its tokenizer is none of the tokenizers library, and transformers cannot make it one; "
                f"{UNREADABLE}"
            )
    write_openvino(folder)


def write_openvino(folder: Path) -> None:
    """Write openvino_tokenizer.xml and openvino_detokenizer.xml from a folder's tokenizer, as GenAI loads them.

    Padding is put on the left, where optimum-intel puts it for text generation.

    Raises:
        ModelFileError: the folder has no tokenizer that transformers can load.
        BackendError: the converter refused it, or what it gave cannot be written.
    """
    import openvino
    from openvino_tokenizers import convert_tokenizer

    tokenizer = _transformers(folder)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    try:
        models = convert_tokenizer(tokenizer, with_detokenizer=True)
    except Exception as error:  # its errors have no class in common
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackendError(
            f"{folder}: OpenVINO's converter refused the tokenizer: {reason}; leave out variants.openvino"
        ) from error
    with gguf_tokenizer.writing(folder):
        for model, name in zip(models, (OPENVINO_TOKENIZER, OPENVINO_DETOKENIZER), strict=True):
            openvino.save_model(model, folder / name)


def llamacpp(model: Path, texts: list[str], parse_special: bool) -> list[Tokens]:
    """Ids by llama.cpp, BOS and EOS included where the vocabulary asks for them.

    Args:
        model: GGUF file, with or without weights.
        texts: whole texts.
        parse_special: whether control tokens in them are found.

    Raises:
        ModelFileError: see gguf_vocabulary.loaded.
    """
    import llama_cpp as lc

    from quantcurve.engines.gguf_vocabulary import loaded
    from quantcurve.engines.llamacpp_files import token_ids

    vocab = lc.llama_model_get_vocab(loaded(model))
    return [token_ids(vocab, text, parse_special) for text in texts]


def llamacpp_pieces(model: Path, ids: list[int]) -> list[str]:
    """What ids stand for in a GGUF file's vocabulary."""
    import llama_cpp as lc

    from quantcurve.engines.gguf_vocabulary import loaded

    vocab = lc.llama_model_get_vocab(loaded(model))
    size = lc.llama_vocab_n_tokens(vocab)
    texts = [lc.llama_vocab_get_text(vocab, i).decode("utf-8", "replace") if 0 <= i < size else NO_TOKEN for i in ids]
    return [str(text) for text in texts]


def transformers(folder: Path, texts: list[str], parse_special: bool) -> list[Tokens]:
    """Ids by the tokenizer that transformers loads from a folder, special tokens added as it says.

    Args:
        folder: with tokenizer.json and tokenizer_config.json.
        texts: whole texts.
        parse_special: whether control tokens in them are found (False: `split_special_tokens`).

    Raises:
        ModelFileError: the folder has no tokenizer that transformers can load.
    """
    tokenizer = _transformers(folder).backend_tokenizer
    tokenizer.encode_special_tokens = not parse_special
    try:
        return [np.array(found.ids, np.int32) for found in tokenizer.encode_batch(texts, add_special_tokens=True)]
    finally:
        tokenizer.encode_special_tokens = False


def transformers_pieces(folder: Path, ids: list[int]) -> list[str]:
    """What ids stand for in a folder's tokenizer."""
    tokenizer = _transformers(folder).backend_tokenizer
    return [tokenizer.id_to_token(i) or NO_TOKEN for i in ids]


def openvino(folder: Path, texts: list[str]) -> list[Tokens]:
    """Ids by a folder's OpenVINO tokenizer, as GenAI uses it; control tokens in texts are found.

    Args:
        folder: with openvino_tokenizer.xml.
        texts: whole texts; NULs at the end of one are cut off by OpenVINO's Python binding.

    Raises:
        ModelFileError: it is missing or cannot be loaded.
        BackendError: it failed on a text.
    """
    tokenizer = _openvino(folder)
    found: list[Tokens] = []
    for batch in _batches(texts):
        try:
            result = tokenizer(batch)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
            raise BackendError(f"{folder / OPENVINO_TOKENIZER}: failed on {batch[0][:80]!r}: {reason}") from error
        kept = result["attention_mask"].astype(bool)
        found += [ids[mask].astype(np.int32) for ids, mask in zip(result["input_ids"], kept, strict=True)]
    return found


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Short texts together, because a call costs milliseconds; long ones apart, because a batch is padded."""
    batch: list[str] = []
    for text in texts:
        if len(text) > SHORT or len(batch) == BATCH:
            yield from ([batch] if batch else [])
            batch = []
        if len(text) > SHORT:
            yield [text]
        else:
            batch.append(text)
    yield from ([batch] if batch else [])


@lru_cache(maxsize=1)
def _transformers(folder: Path) -> Any:
    if not (folder / gguf_tokenizer.TOKENIZER).is_file():
        raise ModelFileError(f"{folder / gguf_tokenizer.TOKENIZER}: no such file; export the model again")
    return _loaded(folder, "export the model again")


def _loaded(folder: Path, advice: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises no class of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelFileError(f"{folder}: transformers cannot load its tokenizer: {reason}; {advice}") from error


@lru_cache(maxsize=1)
def _openvino(folder: Path) -> Any:
    import openvino
    import openvino_tokenizers  # noqa: F401 - registers its operations

    path = folder / OPENVINO_TOKENIZER
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; export the model again")
    try:
        return openvino.Core().compile_model(path, "CPU")
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise ModelFileError(f"{path}: OpenVINO cannot load it: {reason}; export the model again") from error
