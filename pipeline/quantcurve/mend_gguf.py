"""GGUF variants to try where none of a run is inside every limit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from quantcurve.engines.base import FLOAT_CACHE_TYPES
from quantcurve.engines.gguf_types import BY_NAME, FILE_TYPES, FileType
from quantcurve.estimates import Estimate, Missing
from quantcurve.mend_base import Idea, Missed, candidate_of, changed, loss, nats, shown
from quantcurve.mend_evidence import (
    BITS,
    GGUF_NAMES,
    Module,
    Tensor,
    modules,
    raised_bytes,
    restored_words,
    tensors,
)
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_gguf import GgufVariant
from quantcurve.records import LlamaCppEffective
from quantcurve.report import words
from quantcurve.results import CacheFigures

FLOATS = ("F16", "BF16", "F32")
EXOTIC = ("Q1_0", "TQ1_0", "TQ2_0", "Q2_0", "MXFP4_MOE", "BF16", "F32")
"""File types that are not suggested: for models trained for them, or as good as the reference."""
GROUPS = (
    ("attn_v", r"blk\.\d+\.attn_(v|qkv)\.weight"),
    ("ffn_down", r"blk\.\d+\.ffn_down(_exps)?\.weight"),
    ("output", r"(output|token_embd)\.weight"),
)
"""Tensors that are kept in a higher type: a name, and a pattern of the recipe."""
MODULES = {gguf: module for module, gguf in GGUF_NAMES.items()} | {"output": "lm_head"}
CACHE_BITS = {"f16": 16.0, "q8_0": 8.5}


def closer(missed: Missed, start: Candidate, entry: GgufVariant) -> Iterator[Idea]:
    """Variants that lose less than one of the run."""
    yield from _closer_cache(start, entry)
    if entry.type in FLOATS:
        return
    if not entry.imatrix:
        yield _with_imatrix(missed, start, entry)
    for name, pattern in GROUPS:
        yield from _raised(missed, start, entry, name, pattern)
    yield from _larger(missed, start, entry)


def smaller(missed: Missed, start: Candidate, entry: GgufVariant) -> Iterator[Idea]:
    """The next smaller file type that the run has not made."""
    before = [t for t in FILE_TYPES[: _place(entry.type)] if _may(t, missed, entry)]
    if not before:
        return
    kind = before[-1].name
    size = f"{start.name} has {words.mib(start.size_bytes)} and decodes {words.bounds(start.decode, unit='tokens/s')}"
    if isinstance(start.decode, Missing):
        size = f"{start.name} has {words.mib(start.size_bytes)}"
    yield Idea(
        f"the next smaller type, {kind}",
        f"{size}; this run has no {kind}, and fewer bytes are read for every token",
        changed(entry, type=kind),
        None,
    )


def smaller_cache(missed: Missed, start: Candidate, entry: GgufVariant) -> Iterator[Idea]:
    """A KV cache that takes less memory, if that may be enough."""
    config = start.variant.timing_config or start.variant.scoring_config
    if entry.cache.k != "f16" or entry.cache.v != "f16" or not isinstance(config, LlamaCppEffective):
        return
    saved = round(config.cache_bytes * (1 - CACHE_BITS["q8_0"] / CACHE_BITS["f16"]))
    limit, needed = missed.limits.max_memory_bytes, start.memory_bytes
    enough = limit is None or isinstance(needed, Missing) or needed - saved <= limit
    if saved and enough:
        size = words.mib(config.cache_bytes)
        yield Idea(
            "a KV cache in q8_0",
            f"{start.name} keeps a KV cache of {size} in F16 for {config.context_tokens} tokens",
            changed(entry, kv="q8_0", k=None, v=None),
            0,
            f"{words.mib(saved)} less memory at that length",
        )


def measured(missed: Missed) -> Iterator[Idea]:
    """A first GGUF variant, where the run has none."""
    if not missed.known.gguf:
        yield Idea("a GGUF variant", "this run measured none", GgufVariant(type="Q4_K_M"), None)


def _closer_cache(start: Candidate, entry: GgufVariant) -> Iterator[Idea]:
    """A better KV cache, where it costs more than the weights."""
    found = () if isinstance(start.variant.kv_cache, Missing) else start.variant.kv_cache
    worse = next((c for c in found if _cache_is_worse(c)), None)
    if worse is None:
        return
    better = "f16" if entry.cache.k == entry.cache.v == "q8_0" else "q8_0"
    yield Idea(
        f"a KV cache in {better}",
        f"at {worse.context_tokens} tokens the cache alone costs {nats(worse.kl_cache_alone)}, the weights alone "
        f"{nats(worse.kl_weights_alone)}",
        changed(entry, kv=None if better == "f16" else better, k=None, v=None),
        0,
        "the cache takes more memory",
    )


def _cache_is_worse(found: CacheFigures) -> bool:
    cache, weights = found.kl_cache_alone, found.kl_weights_alone
    quantised = {found.k_type, found.v_type} - set(FLOAT_CACHE_TYPES)
    return bool(
        quantised and isinstance(cache, Estimate) and isinstance(weights, Estimate) and cache.value > weights.value
    )


def _with_imatrix(missed: Missed, start: Candidate, entry: GgufVariant) -> Idea:
    with_one = [e for e in missed.known.gguf.values() if e.imatrix]
    seen = shown(missed, with_one, imatrix=False)
    nothing = f"{loss(start)} without an importance matrix"
    return Idea(
        "an importance matrix",
        f"{loss(start)}; with one, {seen}" if seen else nothing,
        changed(entry, imatrix=True),
        0,
        "but for tensors to which llama.cpp gives another type then; computing it takes a while",
    )


def _raised(missed: Missed, start: Candidate, entry: GgufVariant, name: str, pattern: str) -> Iterator[Idea]:
    """One kind of tensor in a higher type."""
    if any(rule.match == pattern for rule in entry.tensors):
        return
    found = [t for t in tensors(start.variant) if re.fullmatch(pattern, t.name)]
    to = _higher(missed, entry, found, pattern)
    if to is None:
        return
    rules = [{"match": pattern, "type": to}, *(rule.model_dump() for rule in entry.tensors)]
    evidence = _evidence(missed, name)
    why = (
        restored_words([evidence])
        if evidence
        else "llama.cpp's own mixtures give these tensors more bits than others; this run ranks none"
    )
    known = raised_bytes(found, to)
    yield Idea(
        f"{name} tensors in {to}",
        f"{loss(start)}; {why}",
        changed(entry, name=f"{entry.label}-{name}-{to}", tensors=rules),
        known,
    )


def _higher(missed: Missed, entry: GgufVariant, found: list[Tensor], pattern: str) -> str | None:
    """The type to raise tensors to: Q6_K, or Q8_0 where that is no gain or does not fit; None: they have it."""
    fell = any(
        re.fullmatch(pattern, f.tensor) and f.wanted.upper().endswith("_K")
        for v in missed.run.variants
        if v.engine == "llama.cpp" and v.file
        for f in v.file.fallbacks
    )
    base = BITS.get(BY_NAME[entry.type].base, 0.0)
    to = "Q8_0" if fell or base >= BITS["Q5_K"] else "Q6_K"
    if base >= BITS["Q8_0"] or (found and all(BITS.get(t.type, 0.0) >= BITS[to] for t in found)):
        return None
    return to


def _evidence(missed: Missed, name: str) -> Module | None:
    return next((m for m in modules(missed.run, of_weights=True) if m.name == MODULES.get(name)), None)


def _larger(missed: Missed, start: Candidate, entry: GgufVariant) -> Iterator[Idea]:
    """The next larger file type that the run has not made, if the run's next larger file loses less."""
    after = [t for t in FILE_TYPES[_place(entry.type) + 1 :] if _may(t, missed, entry)]
    if not after:
        return
    kind = after[0].name
    above = [c for c in missed.candidates if c.size_bytes > start.size_bytes and c.variant.engine == "llama.cpp"]
    larger = min(above, key=lambda c: c.size_bytes, default=None)
    if larger and larger.kl.value >= start.kl.value:
        return
    neighbour = (
        f"the next larger GGUF file of this run, {larger.name}, has {words.mib(larger.size_bytes)} and loses "
        f"{nats(larger.kl)}"
        if larger
        else "this run has no larger GGUF file"
    )
    made = changed(entry, type=kind)
    if made and candidate_of(missed, made) is None:
        yield Idea(f"the next larger type, {kind}", f"{loss(start)}; {neighbour}", made, _size_change(start, kind))


def _size_change(start: Candidate, kind: str) -> int | None:
    """Of a file type that gives every quantised tensor the same type; of mixtures the record does not tell."""
    file = start.variant.file
    if kind not in {"Q8_0", "F16"} or file is None:
        return None
    plain = sum(t.weights for t in file.types if t.type.upper() == "F32")
    bits = plain * BITS["F32"] + (file.weights - plain) * BITS[kind]
    return round((bits - file.bits_per_weight * file.weights) / 8)


def _may(kind: FileType, missed: Missed, entry: GgufVariant) -> bool:
    there = {e.type for e in missed.known.gguf.values()}
    return kind.name not in (*EXOTIC, *there) and (entry.imatrix or not kind.needs_imatrix)


def _place(kind: str) -> int:
    return [t.name for t in FILE_TYPES].index(kind)
