"""GGUF headers whose fields do not fit each other, and bytes changed or lost."""

from __future__ import annotations

from random import Random

from fuzz_values import NUMBERS
from gguf_parts import Field


def lie(fields: list[Field], random: Random) -> None:
    """A count, length, type, size or offset that does not fit what follows."""
    kinds = {"version", "count", "length", "type", "size", "offset"}
    at = random.choice(
        [i for i, f in enumerate(fields) if f.kind in kinds and (f.kind != "length" or random.randrange(3) == 0)]
    )
    size = len(fields[at].raw)
    old = int.from_bytes(fields[at].raw, "little")
    value = random.choice((*NUMBERS, old + 1, old - 1, old * 2)) & (1 << 8 * size) - 1
    fields[at] = fields[at]._replace(raw=value.to_bytes(size, "little"))


def reorder(fields: list[Field], random: Random) -> None:
    """A field too much, too little, or two in each other's place."""
    a, b = random.randrange(len(fields)), random.randrange(len(fields))
    how = random.randrange(3)
    if how == 0:
        fields[a], fields[b] = fields[b], fields[a]
    elif how == 1:
        fields.insert(a, fields[b])
    else:
        del fields[a]


def flip(raw: bytes, end: int, fields: list[Field], random: Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 8, 100))):
        changed[random.randrange(end)] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(raw: bytes, end: int, fields: list[Field], random: Random) -> bytes:
    """Nothing behind the end of some field, or behind any byte."""
    at = sum(len(f.raw) for f in fields[: random.randrange(len(fields))])
    return raw[: random.choice((at, at, random.randrange(len(raw)), end))]
