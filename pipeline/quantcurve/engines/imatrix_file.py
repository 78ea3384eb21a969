"""Importance matrices: what llama.cpp's imatrix tool writes and its quantizer reads.

For every weight matrix, the sum of the squared inputs of each column over a text, and the number of inputs; for
a layer of experts, one row for each expert. Formats: tools/imatrix/imatrix.cpp (save_imatrix, save_imatrix_legacy)
and common/imatrix-loader.cpp of llama.cpp; the use of it: tools/quantize/quantize.cpp (load_imatrix).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from quantcurve.engines.base import Floats
from quantcurve.errors import ModelFileError

if TYPE_CHECKING:
    from gguf import GGUFReader

MAGIC = b"GGUF"
SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
LONGEST_NAME_BYTES = 63
"""GGML_MAX_NAME (ggml/include/ggml.h) less the final zero."""
MOST_HEADER_VALUES = 200_000
"""Enough for 14,000 weight matrices; a header of more is garbage that gguf-py would take hours over."""


@dataclass(frozen=True)
class ImportanceMatrix:
    """Summed squared activations of every weight matrix that a text went through."""

    sums: dict[str, Floats]
    """By tensor name, (matrices, columns): over all inputs, the squared input of each column."""
    counts: dict[str, Floats]
    """By tensor name, (matrices,): inputs summed, whole numbers; 0 for an expert that was never chosen."""
    datasets: tuple[str, ...]
    """What the text was; may be empty."""
    chunk_count: int
    """Windows of text."""
    chunk_size: int
    """Tokens of a window; 0 where it is not known (legacy format)."""

    def mean_squares(self, name: str) -> Floats:
        """Mean squared activations, (matrices * columns,), as tools/quantize hands them to llama_model_quantize.

        An expert that was never chosen gets ones: all its columns count the same.

        Raises:
            KeyError: there is no tensor of this name.
        """
        counts = self.counts[name][:, None]
        means = np.ones_like(self.sums[name])
        return np.divide(self.sums[name], counts, out=means, where=counts > 0).reshape(-1)

    def save(self, path: Path) -> None:
        """Write the GGUF format, byte for byte what llama-imatrix writes for the same sums.

        gguf-py cannot write the empty array that llama-imatrix writes where no dataset has a name: it gets one empty
        name, which `load_imatrix` leaves out.

        Raises:
            ModelFileError: a tensor's name is too long for ggml to read the file again.
        """
        import gguf

        writer = gguf.GGUFWriter(path, "imatrix")
        del writer.kv_data[0]["general.architecture"]  # gguf-py adds it; importance matrices have none
        writer.add_type("imatrix")
        writer.add_array(DATASETS, self.datasets or ("",))
        writer.add_uint32(CHUNK_COUNT, self.chunk_count)
        writer.add_uint32(CHUNK_SIZE, self.chunk_size)
        for name in sorted(self.sums):
            if len((name + SUMS).encode()) > LONGEST_NAME_BYTES:
                raise ModelFileError(f"{path}: {name + SUMS} is too long a name for ggml; shorten the tensor's name")
            matrices, columns = self.sums[name].shape
            # ggml leaves out a last dimension of 1.
            shapes = ((columns,), (1,)) if matrices == 1 else ((matrices, columns), (matrices, 1))
            writer.add_tensor(name + SUMS, np.asarray(self.sums[name], np.float32).reshape(shapes[0]))
            writer.add_tensor(name + COUNTS, np.asarray(self.counts[name], np.float32).reshape(shapes[1]))
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def load_imatrix(path: Path) -> ImportanceMatrix:
    """Read an importance matrix, in the GGUF format or the legacy one (`.dat`), whichever the file holds.

    A legacy file holds, for each tensor, `mean * calls` and `calls`, with no number for each expert; it becomes sums
    and counts whose means are those that tools/quantize takes from the file.

    Raises:
        ModelFileError: the file is missing, truncated, damaged, or something else.
    """
    try:
        with path.open("rb") as source:
            is_gguf = source.read(4) == MAGIC
            source.seek(0)
            matrix = _read_gguf(path) if is_gguf else _Legacy(path, source).read()
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read as an importance matrix ({error.strerror or error}); check the path"
        ) from error
    _check(path, matrix)
    return matrix


def _damaged(path: Path, what: str) -> ModelFileError:
    return ModelFileError(
        f"{path}: no usable importance matrix: {what}; make it again (llama-imatrix writes such files)"
    )


def _check(path: Path, matrix: ImportanceMatrix) -> None:
    if not matrix.sums:
        raise _damaged(path, "it has no tensors")
    for name, sums in matrix.sums.items():
        for what, values in (("sums", sums), ("counts", matrix.counts[name])):
            bad = ~(np.isfinite(values) & (values >= 0))
            if bad.any():
                raise _damaged(path, f"the {what} of {name} hold {values[bad][0]}, which is no sum of squares or count")


# ---- GGUF ----


def _read_gguf(path: Path) -> ImportanceMatrix:
    try:
        with np.errstate(all="raise"):
            reader = _open(path)
        return _from_reader(path, reader)
    except ModelFileError:
        raise
    except Exception as error:  # gguf-py raises whatever a damaged file makes NumPy or Python raise
        raise _damaged(path, f"the GGUF file is damaged ({type(error).__name__}: {error})") from error


def _open(path: Path) -> GGUFReader:
    """gguf-py's reader, which by itself reads on past the end of a file, and through arrays of any length."""
    import gguf

    class Reader(gguf.GGUFReader):
        taken = 0

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            end = offset + int(count) * np.dtype(dtype).itemsize
            if end > len(self.data):
                raise _damaged(path, f"truncated: something ends at byte {end:,}, the file has {len(self.data):,}")
            self.taken += 1
            if self.taken > MOST_HEADER_VALUES:
                raise _damaged(path, f"its header has more than {MOST_HEADER_VALUES:,} values")
            return super()._get(offset, dtype, count, override_order)

        def _push_field(self, field: Any, skip_sum: bool = False) -> int:
            if field.name == "general.type":
                _check_type(path, field.contents())
            return int(super()._push_field(field, skip_sum))

    return Reader(path)


def _check_type(path: Path, kind: object) -> None:
    if kind != "imatrix":
        raise ModelFileError(f"{path}: a GGUF file of type {kind!r}, not 'imatrix'; give an importance matrix")


def _from_reader(path: Path, reader: GGUFReader) -> ImportanceMatrix:
    values = {name: field.contents() for name, field in reader.fields.items()}
    _check_type(path, values.get("general.type"))
    if missing := [key for key in (DATASETS, CHUNK_COUNT, CHUNK_SIZE) if key not in values]:
        raise _damaged(path, f"it has no {', '.join(missing)}, without which llama.cpp refuses it")
    for key in (CHUNK_COUNT, CHUNK_SIZE):
        if not isinstance(values[key], int) or not 0 <= values[key] < 2**32:
            raise _damaged(path, f"{key} is {values[key]!r}, not a number of windows or tokens")
    if not isinstance(values[DATASETS], list) or not all(isinstance(d, str) for d in values[DATASETS]):
        raise _damaged(path, f"{DATASETS} is {values[DATASETS]!r}, not a list of names")
    tensors = {t.name: t for t in reader.tensors}
    names = {n.removesuffix(s) for n in tensors for s in (SUMS, COUNTS) if n.endswith(s)}
    sums, counts = {}, {}
    for name in sorted(names):
        sums[name], counts[name] = _pair(path, name, tensors.get(name + SUMS), tensors.get(name + COUNTS))
    return ImportanceMatrix(
        sums, counts, tuple(d for d in values[DATASETS] if d), values[CHUNK_COUNT], values[CHUNK_SIZE]
    )


def _pair(path: Path, name: str, sums: Any, counts: Any) -> tuple[Floats, Floats]:
    for suffix, tensor in ((SUMS, sums), (COUNTS, counts)):
        if tensor is None:
            raise _damaged(path, f"{name}{suffix} is missing")
        if tensor.tensor_type.name != "F32":
            raise _damaged(path, f"{tensor.name} is of type {tensor.tensor_type.name}, not F32")
    matrices, columns = counts.data.size, sums.data.shape[-1] if sums.data.ndim else 0
    if not matrices or not columns or sums.data.size != matrices * columns or counts.data.shape[-1] != 1:
        shapes = [[int(n) for n in t.shape] for t in (sums, counts)]
        raise _damaged(path, f"the sums of {name} are {shapes[0]} and its counts {shapes[1]}, which do not fit")
    return (
        np.array(sums.data, np.float32).reshape(matrices, columns),
        np.floor(counts.data.reshape(-1).astype(np.float64) + 0.5).astype(np.float32),  # lround
    )


# ---- legacy ----


class _Legacy:
    """Reads common_imatrix_load_legacy's format: little-endian int32, names, and float32 values."""

    def __init__(self, path: Path, source: BinaryIO) -> None:
        self.path, self.source = path, source
        self.size_bytes = os.fstat(source.fileno()).st_size

    def read(self) -> ImportanceMatrix:
        entries = self._int("the number of tensors")
        if entries < 1:
            raise self._other(f"it says that it has {entries} tensors")
        sums: dict[str, Floats] = {}
        counts: dict[str, Floats] = {}
        for i in range(entries):
            name = self._text(f"the name of tensor {i + 1} of {entries}")
            if name in sums:
                raise self._other(f"{name} is there twice")
            calls = self._int(f"the calls of {name}")
            columns = self._int(f"the size of {name}")
            if columns < 1:
                raise self._other(f"{name} has {columns} values")
            values = np.frombuffer(self._take(4 * columns, f"the values of {name}"), "<f4")
            sums[name] = values.astype(np.float32)[None]
            counts[name] = np.array([max(calls, 1)], np.float32)  # tools/quantize divides by no less
        return ImportanceMatrix(sums, counts, *self._trailer(), chunk_size=0)

    def _trailer(self) -> tuple[tuple[str, ...], int]:
        """Datasets and number of windows, which old files lack."""
        if not self._left_bytes():
            return (), 0
        chunks = self._int("the number of windows")
        if chunks < 0:
            raise self._other(f"it says that it was made of {chunks} windows")
        length = self._int("the length of the dataset's name") if self._left_bytes() else 0
        dataset = self._take(length, "the dataset's name").decode("utf-8", "replace") if length > 0 else ""
        if left := self._left_bytes():
            raise self._other(f"{left:,} bytes follow its end")
        return ((dataset,) if dataset else ()), chunks

    def _left_bytes(self) -> int:
        return self.size_bytes - self.source.tell()

    def _take(self, count: int, what: str) -> bytes:
        raw = self.source.read(count) if count <= self._left_bytes() else b""
        if len(raw) < count:
            raise self._other(f"it ends within {what}: {count:,} bytes needed, {self._left_bytes():,} left")
        return raw

    def _int(self, what: str) -> int:
        return int.from_bytes(self._take(4, what), "little", signed=True)

    def _text(self, what: str) -> str:
        length = self._int(what)
        if not 0 < length <= LONGEST_NAME_BYTES:
            raise self._other(f"{what} has {length} bytes")
        try:
            return self._take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self._other(f"{what} is no text") from error

    def _other(self, what: str) -> ModelFileError:
        return _damaged(self.path, f"it is not GGUF, and as a legacy file (.dat) {what}")
