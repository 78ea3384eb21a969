"""What a GGUF file says of texts beside its weights: vocabulary, end tokens, chat template; runs in a child process."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
from pathlib import Path

from quantcurve.engines.gguf_file import ARRAY, STRING, InitParams, check_magic, ggml_library
from quantcurve.errors import ModelFileError
from quantcurve.records import Frozen

BEGINNING = "tokenizer."
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""`enum gguf_type` (ggml/include/gguf.h), as struct has them."""


class TextFields(Frozen):
    """The fields of a file's header whose names begin with `tokenizer.`."""

    fields: dict[str, str]
    """Texts and numbers as they are; of a list its length and SHA-256."""


def text_fields(path: Path) -> TextFields:
    """Read a header; no tensor data are.

    Raises:
        ModelFileError: no GGUF file, or a corrupt one.
    """
    check_magic(path)
    ggml = ggml_library()
    context = ggml.gguf_init_from_file(os.fsencode(path), InitParams(no_alloc=True, ctx=None))
    if not context:
        raise ModelFileError(f"{path}: the GGUF header is corrupt (llama.cpp's reader refused it); get the file again")
    try:
        names = [ggml.gguf_get_key(context, i).decode("utf-8", "replace") for i in range(ggml.gguf_get_n_kv(context))]
        found = {name: _value(ggml, context, i) for i, name in enumerate(names) if name.startswith(BEGINNING)}
    finally:
        ggml.gguf_free(context)
    return TextFields(fields=dict(sorted(found.items())))


def _value(ggml: ctypes.CDLL, context: int, place: int) -> str:
    kind = ggml.gguf_get_kv_type(context, place)
    if kind == STRING:
        text: bytes = ggml.gguf_get_val_str(context, place)
        return text.decode("utf-8", "replace")
    if kind == ARRAY:
        return _list(ggml, context, place)
    form = FORMATS[kind]
    return str(struct.unpack(form, ctypes.string_at(ggml.gguf_get_val_data(context, place), struct.calcsize(form)))[0])


def _list(ggml: ctypes.CDLL, context: int, place: int) -> str:
    kind, count = ggml.gguf_get_arr_type(context, place), ggml.gguf_get_arr_n(context, place)
    total = hashlib.sha256()
    if kind == STRING:
        for i in range(count):
            total.update(ggml.gguf_get_arr_str(context, place, i) + b"\0")
    elif count:
        size = struct.calcsize(FORMATS[kind]) * count
        total.update(ctypes.string_at(ggml.gguf_get_arr_data(context, place), size))
    return f"{count:,} entries, SHA-256 {total.hexdigest()}"
