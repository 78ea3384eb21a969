"""A GGUF file taken apart into what its header says and its data, and put together again, true or not.

Format: ggml/docs/gguf.md in llama.cpp.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
FORMATS = {UINT8: "<B", INT8: "<b", UINT16: "<H", INT16: "<h", UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<B"}
FORMATS |= {UINT64: "<Q", INT64: "<q", FLOAT64: "<d"}


class Field(NamedTuple):
    """A stretch of a header that means one thing: `count`, `length`, `type`, `size`, `offset`, `text` or `value`."""

    kind: str
    raw: bytes


@dataclass(frozen=True)
class Key:
    """A key and its value; `body` is what follows the value's type."""

    name: bytes
    type: int
    body: bytes


@dataclass(frozen=True)
class Tensor:
    """What a header says of one tensor; the offset counts from the start of the data."""

    name: bytes
    shape: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True)
class Parts:
    """A GGUF file."""

    keys: tuple[Key, ...]
    tensors: tuple[Tensor, ...]
    data: bytes

    def key(self, name: bytes) -> Key | None:
        """The first key of a name."""
        return next((k for k in self.keys if k.name == name), None)

    def with_key(self, key: Key) -> Parts:
        """Set or add a key."""
        if self.key(key.name) is None:
            return replace(self, keys=(*self.keys, key))
        return replace(self, keys=tuple(key if k.name == key.name else k for k in self.keys))

    def with_tokens(self, count: int) -> Parts:
        """The same model with only so many of its tokens (those behind the special ones), all else true."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        tokens = self.key(b"tokenizer.ggml.tokens")
        if tokens is None or any(t.type not in list(GGMLQuantizationType) for t in self.tensors):
            return self
        kept = strings(tokens)[3 : 3 + count]
        kinds = array(INT32, [struct.pack("<i", 1)] * len(kept))
        whole = self.with_key(replace(tokens, body=array(STRING, kept)))
        whole = whole.with_key(Key(b"tokenizer.ggml.token_type", ARRAY, kinds))
        tensors, data = [], b""
        for tensor in self.tensors:
            rows = tensor.name in {b"token_embd.weight", b"output.weight"}
            shape = (*tensor.shape[:-1], len(kept)) if rows else tensor.shape
            block_weights, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.type)]
            size = min(math.prod(shape) // block_weights * block_bytes, len(self.data))
            tensors.append(replace(tensor, shape=shape, offset=len(data)))
            data += self.data[tensor.offset : tensor.offset + size] + bytes(-size % 32)
        return replace(whole, tensors=tuple(tensors), data=data)

    def fields(self) -> list[Field]:
        """The header, field by field."""
        found = [Field("magic", b"GGUF"), Field("version", struct.pack("<I", 3))]
        found += [Field("count", struct.pack("<Q", len(part))) for part in (self.tensors, self.keys)]
        for key in self.keys:
            found += [*_text(key.name), Field("type", struct.pack("<I", key.type)), *_body(key)]
        for tensor in self.tensors:
            found += [*_text(tensor.name), Field("count", struct.pack("<I", len(tensor.shape)))]
            found += [Field("size", struct.pack("<Q", n & 2**64 - 1)) for n in tensor.shape]
            found += [Field("type", struct.pack("<I", tensor.type)), Field("offset", struct.pack("<Q", tensor.offset))]
        return found


def read_parts(path: Path) -> Parts:
    """Take a file apart."""
    import gguf

    reader = gguf.GGUFReader(path)
    keys = tuple(
        Key(bytes(f.parts[1]), int(f.parts[2][0]), b"".join(bytes(p) for p in f.parts[3:]))
        for f in reader.fields.values()
        if not f.name.startswith("GGUF.")
    )
    tensors = tuple(
        Tensor(t.name.encode(), tuple(int(n) for n in t.shape), int(t.tensor_type), t.data_offset - reader.data_offset)
        for t in reader.tensors
    )
    return Parts(keys, tensors, path.read_bytes()[reader.data_offset :])


def joined(fields: list[Field], data: bytes, alignment: int = 32) -> bytes:
    """Put a file together."""
    header = b"".join(field.raw for field in fields)
    return header + bytes(-len(header) % alignment) + data


def text(value: bytes) -> bytes:
    """A string as GGUF stores it."""
    return struct.pack("<Q", len(value)) + value


def array(element: int, values: list[bytes]) -> bytes:
    """The body of an array whose elements are stored as `values`."""
    return struct.pack("<IQ", element, len(values)) + b"".join(values)


def strings(key: Key) -> list[bytes]:
    """Elements of an array of strings as stored, lengths included; nothing of another array."""
    found: list[bytes] = []
    at = 12
    if key.type == ARRAY and key.body[:4] == struct.pack("<I", STRING):
        while at < len(key.body):
            end = at + 8 + int.from_bytes(key.body[at : at + 8], "little")
            found.append(key.body[at:end])
            at = end
    return found


def _text(value: bytes) -> list[Field]:
    return [Field("length", struct.pack("<Q", len(value))), Field("text", value)]


def _body(key: Key) -> list[Field]:
    if key.type == STRING:
        return [Field("length", key.body[:8]), Field("text", key.body[8:])]
    if key.type != ARRAY:
        return [Field("value", key.body)]
    element = int.from_bytes(key.body[:4], "little")
    start = [Field("type", key.body[:4]), Field("count", key.body[4:12])]
    if element == STRING:  # the first string's length apart
        return [*start, Field("length", key.body[12:20]), Field("text", key.body[20:])]
    return [*start, Field("value", key.body[12:])]


def rewritten(source: Path, target: Path, texts: dict[str, str | int | None]) -> Path:
    """A copy of a GGUF file with other fields in its header; tensors are as they were.

    Args:
        source: any file.
        target: to write; may be the source.
        texts: by key the text or number that it is to have; None: it is left out.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    draft = target.with_suffix(".draft")
    writer = gguf.GGUFWriter(draft, str(reader.fields["general.architecture"].contents()))
    for key, field in reader.fields.items():
        value = texts.get(key, field.contents())
        if not key.startswith("GGUF.") and key != "general.architecture" and value is not None:
            kinds = [*field.types, None]
            writer.add_key_value(key, value, kinds[0], sub_type=kinds[1])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.rename(target)
    return target
