"""What a GGUF file really holds, read with ggml's own reader in the engine's process.

ggml's reader knows every tensor type of the installed build and takes milliseconds where gguf-py takes seconds
on a large vocabulary; it may abort on a corrupt file, which the process boundary turns into an error.
"""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

from quantcurve.errors import ModelFileError
from quantcurve.records import TensorTypeShare

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
"""GGUF_TYPE_STRING and GGUF_TYPE_ARRAY (ggml/include/gguf.h)."""


class TensorInfo(NamedTuple):
    """One tensor of a file."""

    name: str
    type: str
    """ggml type by its upper-case name, Q4_K."""
    shape: tuple[int, ...]
    """Columns first, as ggml counts."""
    weights: int
    offset: int
    """From the start of the file, bytes."""
    size_bytes: int


class GgufHeader(NamedTuple):
    """The part of a header that quantcurve uses."""

    architecture: str
    tensors: tuple[TensorInfo, ...]

    def type_shares(self) -> tuple[TensorTypeShare, ...]:
        """Histogram of tensor types, largest share first."""
        tensors: dict[str, int] = defaultdict(int)
        weights: dict[str, int] = defaultdict(int)
        for t in self.tensors:
            tensors[t.type] += 1
            weights[t.type] += t.weights
        total = sum(weights.values())
        shares = (
            TensorTypeShare(type=name, tensors=tensors[name], weights=n, share=n / total) for name, n in weights.items()
        )
        return tuple(sorted(shares, key=lambda s: -s.weights))


class InitParams(ctypes.Structure):
    """`struct gguf_init_params` (ggml/include/gguf.h)."""

    _fields_ = [("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p)]


@cache
def ggml_library() -> ctypes.CDLL:
    """The ggml library of the installed build, with the signatures used here (ggml/include/gguf.h, ggml.h)."""
    from llama_cpp._ggml import libggml as loaded

    libggml: ctypes.CDLL = loaded

    i64, size, text, pointer = ctypes.c_int64, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
    signatures = {
        "gguf_init_from_file": (pointer, [text, InitParams]),
        "gguf_free": (None, [pointer]),
        "gguf_get_data_offset": (size, [pointer]),
        "gguf_find_key": (i64, [pointer, text]),
        "gguf_get_kv_type": (ctypes.c_int, [pointer, i64]),
        "gguf_get_n_kv": (i64, [pointer]),
        "gguf_get_key": (text, [pointer, i64]),
        "gguf_get_val_str": (text, [pointer, i64]),
        "gguf_get_val_data": (pointer, [pointer, i64]),
        "gguf_get_arr_type": (ctypes.c_int, [pointer, i64]),
        "gguf_get_arr_n": (size, [pointer, i64]),
        "gguf_get_arr_data": (pointer, [pointer, i64]),
        "gguf_get_arr_str": (text, [pointer, i64, size]),
        "gguf_get_n_tensors": (i64, [pointer]),
        "gguf_get_tensor_offset": (size, [pointer, i64]),
        "gguf_get_tensor_name": (text, [pointer, i64]),
        "gguf_get_tensor_ne": (ctypes.POINTER(i64), [pointer, i64]),
        "gguf_get_tensor_type": (ctypes.c_int, [pointer, i64]),
        "gguf_get_tensor_size": (size, [pointer, i64]),
        "ggml_type_name": (text, [ctypes.c_int]),
        "ggml_type_size": (size, [ctypes.c_int]),
        "ggml_blck_size": (i64, [ctypes.c_int]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    return libggml


class TypeTrait(NamedTuple):
    """How a tensor type stores weights."""

    block_weights: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Of a whole block, scales included."""
        return 8 * self.block_bytes / self.block_weights


@cache
def type_traits() -> dict[str, TypeTrait]:
    """Every tensor type of the installed build, by upper-case name."""
    from llama_cpp import GGML_TYPE_COUNT

    ggml = ggml_library()
    found = {}
    for number in range(GGML_TYPE_COUNT):  # ggml reads past its table for more
        name = ggml.ggml_type_name(number)
        if name and ggml.ggml_blck_size(number) > 0:
            found[name.decode().upper()] = TypeTrait(ggml.ggml_blck_size(number), ggml.ggml_type_size(number))
    return found


@cache
def type_numbers() -> dict[str, int]:
    """Value of `enum ggml_type` by upper-case name, of every type of the installed build."""
    from llama_cpp import GGML_TYPE_COUNT

    names = ((ggml_library().ggml_type_name(number), number) for number in range(GGML_TYPE_COUNT))
    return {name.decode().upper(): number for name, number in names if name}


def read_header(path: Path) -> GgufHeader:
    """Read and check a file's header.

    Raises:
        ModelFileError: missing, not GGUF, corrupt header, or data that the file is too short to hold.
    """
    check_magic(path)
    ggml = ggml_library()
    context = ggml.gguf_init_from_file(os.fsencode(path), InitParams(no_alloc=True, ctx=None))
    if not context:
        raise ModelFileError(
            f"{path}: the GGUF header is corrupt or from an unknown version (llama.cpp's reader refused it); "
            "get the file again"
        )
    try:
        header = _header(ggml, context, path)
    finally:
        ggml.gguf_free(context)
    _check_extent(path, header)
    return header


def check_magic(path: Path) -> None:
    """Refuse what is no GGUF file at a glance.

    Raises:
        ModelFileError: the file is missing, a folder, empty, or starts with other bytes.
    """
    try:
        with path.open("rb") as source:
            start = source.read(4)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}); check the model's path") from error
    if start != MAGIC:
        raise ModelFileError(f"{path}: not a GGUF file (starts with {start!r}, not {MAGIC!r}); get the file again")


def _architecture(ggml: ctypes.CDLL, context: int, path: Path) -> str:
    key = ggml.gguf_find_key(context, b"general.architecture")
    if key < 0:
        return ""
    if ggml.gguf_get_kv_type(context, key) != STRING:  # ggml aborts the process when asked for its text
        raise ModelFileError(f"{path}: general.architecture is no text in the GGUF header; get the file again")
    found: bytes = ggml.gguf_get_val_str(context, key)
    return found.decode("utf-8", "replace")


def _header(ggml: ctypes.CDLL, context: int, path: Path) -> GgufHeader:
    architecture = _architecture(ggml, context, path)
    start = ggml.gguf_get_data_offset(context)
    tensors = []
    for i in range(ggml.gguf_get_n_tensors(context)):
        ne = ggml.gguf_get_tensor_ne(context, i)
        shape = tuple(ne[d] for d in range(4))
        weights = shape[0] * shape[1] * shape[2] * shape[3]
        while len(shape) > 1 and shape[-1] == 1:
            shape = shape[:-1]
        tensors.append(
            TensorInfo(
                name=ggml.gguf_get_tensor_name(context, i).decode("utf-8", "replace"),
                type=ggml.ggml_type_name(ggml.gguf_get_tensor_type(context, i)).decode().upper(),
                shape=shape,
                weights=weights,
                offset=start + ggml.gguf_get_tensor_offset(context, i),
                size_bytes=ggml.gguf_get_tensor_size(context, i),
            )
        )
    return GgufHeader(architecture, tuple(tensors))


def _check_extent(path: Path, header: GgufHeader) -> None:
    if not header.tensors:
        raise ModelFileError(f"{path}: the GGUF file has no tensors; a model with weights is needed")
    if empty := next((t for t in header.tensors if t.weights == 0), None):
        raise ModelFileError(f"{path}: tensor {empty.name!r} has no weights (shape {empty.shape}); get the file again")
    size = path.stat().st_size
    last = max(header.tensors, key=lambda t: t.offset + t.size_bytes)
    end = last.offset + last.size_bytes
    if end > size:
        raise ModelFileError(
            f"{path}: truncated: tensor {last.name} ends at byte {end:,}, the file has {size:,}; get the file again"
        )
