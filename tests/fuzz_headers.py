"""GGUF files whose header is not true: the generator of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from fuzz_bytes import cut, flip, lie, reorder
from fuzz_values import EXTRA_KEYS, FLOATS, MERGES, NUMBERS, PRES, TEXTS, TOKENIZERS, TOKENS
from gguf_parts import (
    ARRAY,
    BOOL,
    FLOAT32,
    FORMATS,
    INT32,
    STRING,
    UINT32,
    UINT64,
    Key,
    Parts,
    Tensor,
    array,
    joined,
    read_parts,
    strings,
    text,
)
from tiny import write_tiny_llama

SIZES = {"vocab": 262, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_head_kv": 1, "n_ff": 32, "n_ctx": 64}
"""Of a file of 50 KB."""
PRECISIONS = ("F16", "F32", "BF16", "Q8_0", "Q4_0")


def write_seeds(folder: Path) -> dict[str, Parts]:
    """The small true files, taken apart, by precision; the quantised ones are written by llama.cpp."""
    from quantcurve.engines import llamacpp_quantize
    from quantcurve.engines.child import Child

    found = {}
    with Child("seeds", folder / "seeds.log") as child:
        for precision in PRECISIONS:
            path = folder / f"seed-{precision}.gguf"
            if precision in {"F16", "F32", "BF16"}:
                write_tiny_llama(path, precision=precision, **SIZES)
            else:
                child.call(llamacpp_quantize.quantize, folder / "seed-F32.gguf", path, precision, 1)
            found[precision] = read_parts(path)
    return found


def mutated_header(seeds: dict[str, Parts], random: Random) -> bytes:
    """A file with one to three things in its header that are not true, or not as they should be."""
    parts = seeds[random.choice(("F16", *seeds))]
    steps = random.choice((1, 1, 1, 2, 2, 3))
    lies = 0
    for _ in range(steps):
        if random.randrange(4) == 0:
            lies += 1
        else:
            parts = random.choice(_CHANGES)(parts, random)
    fields = parts.fields()
    for _ in range(lies):
        random.choice((lie, lie, lie, reorder))(fields, random)
    raw = joined(fields, parts.data, random.choice((32,) * 30 + (1, 64, 4096)))
    end = sum(len(f.raw) for f in fields)
    if random.randrange(3 if lies else 12) == 0:
        raw = random.choice((flip, cut))(raw, end, fields, random)
    return raw


# ---- keys ----


@cache
def architecture_keys() -> tuple[str, ...]:
    """Keys that hold an architecture's numbers, by gguf-py's list."""
    from gguf.constants import Keys

    groups = (Keys.LLM, Keys.Attention, Keys.Rope, Keys.SSM, Keys.WKV, Keys.PosNet, Keys.ConvNext, Keys.Classifier)
    values = [v for group in groups for v in vars(group).values()]
    return tuple(sorted(v for v in values if isinstance(v, str) and v.startswith("{arch}.")))


@cache
def architectures() -> tuple[str, ...]:
    """All that gguf-py knows."""
    from gguf.constants import MODEL_ARCH_NAMES

    return tuple(sorted(MODEL_ARCH_NAMES.values()))


def _number(kind: int, random: Random) -> bytes:
    form = FORMATS[kind]
    if form in {"<f", "<d"}:
        return struct.pack(form, random.choice(FLOATS))
    size = struct.calcsize(form)
    value = random.choice(NUMBERS) if random.randrange(3) else random.randrange(2_000)
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _some_value(random: Random) -> tuple[int, bytes]:
    """Type and body of any value."""
    kind = random.choice((UINT32, UINT32, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, *FORMATS))
    if kind == STRING:
        return kind, text(random.choice(TEXTS))
    if kind != ARRAY:
        return kind, _number(kind, random)
    element = random.choice((STRING, *FORMATS, UINT32, INT32, FLOAT32))
    length = random.choice((0, 1, 1, 2, 3, 4, 262, 512, 513, 20_000))
    one = text(random.choice(TEXTS[:12])) if element == STRING else _number(element, random)
    return kind, array(element, [one] * length)


def _change_value(parts: Parts, random: Random) -> Parts:
    """A number of the same type, another text, or something of another type."""
    at = random.randrange(len(parts.keys))
    key = parts.keys[at]
    if key.type in FORMATS and random.randrange(3):
        old = int.from_bytes(key.body, "little")
        size = len(key.body)
        near = ((old + random.choice((-1, 1))) & (1 << 8 * size) - 1).to_bytes(size, "little")
        new = replace(key, body=random.choice((near, _number(key.type, random), _number(key.type, random))))
    elif key.type == STRING and random.randrange(3):
        new = replace(key, body=text(random.choice(TEXTS)))
    else:
        kind, body = _some_value(random)
        new = replace(key, type=kind, body=body)
    return replace(parts, keys=(*parts.keys[:at], new, *parts.keys[at + 1 :]))


def _drop_key(parts: Parts, random: Random) -> Parts:
    at = random.randrange(len(parts.keys))
    return replace(parts, keys=parts.keys[:at] + parts.keys[at + 1 :])


def _double_key(parts: Parts, random: Random) -> Parts:
    return replace(parts, keys=(*parts.keys, random.choice(parts.keys)))


def _add_key(parts: Parts, random: Random) -> Parts:
    """A key that llama.cpp knows, with any value, mostly one of the type it may have."""
    found = parts.key(b"general.architecture")
    own = found.body[8:].decode("utf-8", "replace") if found else ""
    name = random.choice((*architecture_keys(), *EXTRA_KEYS)).replace("{arch}", own).encode()
    kind, body = _some_value(random) if random.randrange(2) else (UINT32, _number(UINT32, random))
    return parts.with_key(Key(name, kind, body))


def _rename_key(parts: Parts, random: Random) -> Parts:
    at = random.randrange(len(parts.keys))
    new = replace(parts.keys[at], name=random.choice((*TEXTS, parts.keys[at].name + b"x", parts.keys[at].name.upper())))
    return replace(parts, keys=(*parts.keys[:at], new, *parts.keys[at + 1 :]))


def _architecture(parts: Parts, random: Random) -> Parts:
    """Another architecture that is known, its keys named after it: what it lacks is found where it is needed."""
    new = random.choice(architectures()).encode()
    keys = tuple(replace(k, name=k.name.replace(b"llama.", new + b".", 1)) for k in parts.keys)
    return replace(parts, keys=keys).with_key(Key(b"general.architecture", STRING, text(new)))


def _tokenizer(parts: Parts, random: Random) -> Parts:
    """Another kind of tokenizer over the same tokens."""
    if random.randrange(2):
        return parts.with_key(Key(b"tokenizer.ggml.pre", STRING, text(random.choice(PRES))))
    parts = parts.with_key(Key(b"tokenizer.ggml.model", STRING, text(random.choice(TOKENIZERS))))
    if random.randrange(2):
        scores = [struct.pack("<f", random.choice(FLOATS))] * random.choice((SIZES["vocab"],) * 4 + (0, 1, 300))
        parts = parts.with_key(Key(b"tokenizer.ggml.scores", ARRAY, array(FLOAT32, scores)))
    return parts


def _vocabulary(parts: Parts, random: Random) -> Parts:
    """Other tokens, merges or kinds of tokens: fewer, more, the same ones, or what makes no sense."""
    name = random.choice((b"tokenizer.ggml.tokens", b"tokenizer.ggml.merges", b"tokenizer.ggml.token_type"))
    key = parts.key(name)
    if key is None:
        return parts
    if name.endswith(b"type"):
        kinds = [struct.pack("<i", random.choice((0, 1, 2, 3, 4, 5, 6, 7, -1))) for _ in range(SIZES["vocab"])]
        length = random.choice((SIZES["vocab"],) * 3 + (0, 1, 261))
        return parts.with_key(replace(key, body=array(INT32, kinds[:length])))
    items = strings(key)
    odd = [text(t) for t in (MERGES if name.endswith(b"merges") else TOKENS)]
    how = random.randrange(6)
    if how == 0:
        items = items[: random.choice((0, 1, 2, 9, len(items) // 2, len(items) - 1))]
    elif how == 1:
        items = items + [random.choice(odd)] * random.choice((1, 2, 50_000))
    elif how == 2:
        items = [random.choice(items or odd)] * len(items)
    elif how == 3:
        random.shuffle(items)
    else:
        for _ in range(random.choice((1, 1, 5, 200))):
            if items:
                items[random.randrange(len(items))] = random.choice(odd)
    return parts.with_key(replace(key, body=array(STRING, items)))


# ---- tensors ----


def _change_tensor(parts: Parts, random: Random) -> Parts:
    """Another name, shape, type or offset of one tensor."""
    at = random.randrange(len(parts.tensors)) if parts.tensors else None
    if at is None:
        return parts
    old = parts.tensors[at]
    shape = list(old.shape)
    how = random.randrange(7)
    if how == 0:
        new = replace(
            old, name=random.choice((*TEXTS, random.choice(parts.tensors).name, old.name + b" x", b"rope_freqs.weight"))
        )
    elif how == 1 and shape:
        shape[random.randrange(len(shape))] = random.choice(NUMBERS)
        new = replace(old, shape=tuple(shape))
    elif how == 2:
        new = replace(
            old,
            shape=random.choice(
                ((), (0,), (0, 0), (1,), (0, *shape), (*shape, 1), (*shape, 0), (*shape, 1, 1), tuple(shape[::-1]))
            ),
        )
    elif how == 3:
        new = replace(
            old, shape=random.choice(((1,) * 5, (1 << 16,) * 4, (1 << 21,) * 3, (1 << 62, 2), (32,), (32, 1, 1, 0)))
        )
    elif how == 4:
        new = replace(old, type=random.choice((*range(45), 1 << 31, (1 << 32) - 1)))
    elif how == 5:
        new = replace(old, offset=random.choice((*NUMBERS, old.offset + 1, old.offset + 32, len(parts.data))))
    else:
        new = replace(old, shape=(32, 262), type=random.choice((0, 1, 2, 8, 30)))
    return replace(parts, tensors=(*parts.tensors[:at], new, *parts.tensors[at + 1 :]))


def _empty_last(parts: Parts, random: Random) -> Parts:
    """Tensors without weights behind all others, or nothing but such: offsets stay true."""
    shape = random.choice(((0,), (32, 0), (0, 0, 0, 0), (0, 1 << 40)))
    if random.randrange(3) == 0:
        return replace(parts, tensors=tuple(replace(t, shape=shape, offset=0) for t in parts.tensors), data=b"")
    names = (b"x", b"blk.0.attn_q.bias", b"blk.1.attn_q.weight", b"rope_freqs.weight", b"a b", b"")
    extra = Tensor(random.choice(names), shape, random.choice((0, 1, 8, 24, 30)), len(parts.data))
    return replace(parts, tensors=(*parts.tensors, extra))


def _drop_tensor(parts: Parts, random: Random) -> Parts:
    """One less, mostly the last one, so that the offsets of the others stay true."""
    if not parts.tensors:
        return parts
    at = random.choice((len(parts.tensors) - 1, random.randrange(len(parts.tensors))))
    return replace(parts, tensors=parts.tensors[:at] + parts.tensors[at + 1 :])


def _add_tensor(parts: Parts, random: Random) -> Parts:
    """One more at the end, with its data: often one that an architecture may have."""
    names = (b"rope_freqs.weight", b"blk.0.attn_q.bias", b"blk.0.attn_q_norm.weight", b"blk.0.ffn_gate_inp.weight")
    names += (
        b"blk.1.attn_q.weight",
        b"blk.99999.x",
        b"token_types.weight",
        b"x y",
        b"\xff",
        b"",
        b"cls.weight",
        b"blk.0.attn_rot_embd",
    )
    shape = random.choice(((32,), (8,), (32, 32), (32, 262), (1,), (32, 2, 2, 2)))
    weights = 1
    for n in shape:
        weights *= n
    extra = Tensor(random.choice(names), shape, 0, len(parts.data))
    data = struct.pack("<f", random.choice(FLOATS)) * weights
    return replace(parts, tensors=(*parts.tensors, extra), data=parts.data + data + bytes(-len(data) % 32))


def _few_tokens(parts: Parts, random: Random) -> Parts:
    return parts.with_tokens(random.choice((0, 1, 2, 5, 9, 10, 11, 200)))


_CHANGES: tuple[Callable[[Parts, Random], Parts], ...] = (
    *(_change_value, _change_value, _change_value, _change_value, _drop_key, _double_key, _add_key, _add_key),
    *(_rename_key, _architecture, _architecture, _tokenizer, _vocabulary, _vocabulary, _few_tokens),
    *(_change_tensor, _change_tensor, _empty_last, _drop_tensor, _add_tensor),
)
