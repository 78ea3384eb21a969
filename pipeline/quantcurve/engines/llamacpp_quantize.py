"""Writing a GGUF file in another file type, with types for single tensors and importance matrices: runs in a child.

With tensor rules, llama.cpp is told the type of every tensor: a type given for some tensors only would move others,
since the mixtures count the tensors that they decide (src/llama-quant.cpp, `llama_tensor_get_type`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quantcurve.engines.base import Floats
from quantcurve.engines.gguf_file import GgufHeader, TensorInfo, read_header, type_traits
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.engines.quantize_call import (
    Job,
    Keys,
    Misfit,
    decide,
    header_bytes,
    imatrix_step,
    requires_imatrix,
    write,
)
from quantcurve.engines.tensor_types import UNQUANTIZED, TensorRule, assign
from quantcurve.errors import BackendError
from quantcurve.records import Fallback

_ALIGNMENT_BYTES = 32
"""GGUF_DEFAULT_ALIGNMENT (ggml/include/gguf.h), which llama.cpp writes with."""
_OUTPUT = "output.weight"
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")


class ImportanceOrigin(NamedTuple):
    """What a quantized file says about its importance matrix; no path, or equal files would differ."""

    dataset: str
    """Name of the texts."""
    chunks: int
    """Windows that it was computed on."""


class TensorPlan(NamedTuple):
    """What a file would hold."""

    types: dict[str, str]
    """Type of every tensor."""
    overrides: tuple[tuple[str, str], ...]
    """Name and type of every tensor that llama.cpp is told the type of; none without rules."""
    fallbacks: tuple[Fallback, ...]
    needs_imatrix: bool
    """llama.cpp would refuse to write it without an importance matrix."""
    size_bytes: int
    """Of the whole file."""


class Quantized(NamedTuple):
    """What was written, or in a dry run would be."""

    fallbacks: tuple[Fallback, ...]
    """Tensors that got another type than the mixture or a rule asked for."""
    overrides: tuple[tuple[str, str], ...]
    """As in TensorPlan; `tensor_types.tensor_type_file` writes them for llama-quantize."""
    size_bytes: int
    """Of the whole file."""
    without_importance: tuple[str, ...]
    """Quantized tensors that the importance matrix has no entry for; none without a matrix."""


class SizeSpec(NamedTuple):
    """What to plan the size of."""

    file_type: str
    rules: tuple[TensorRule, ...] = ()
    has_imatrix: bool = False


def quantize(
    source: Path,
    target: Path,
    file_type: str,
    threads: int,
    rules: Sequence[TensorRule] = (),
    importance: Mapping[str, Floats] | None = None,
    origin: ImportanceOrigin | None = None,
    dry_run: bool = False,
) -> Quantized:
    """Write `source` in another file type: its plain mixture but for the tensors that rules name.

    Args:
        source: GGUF file; a quantised one is dequantised first.
        target: file to write (nothing is written in a dry run).
        file_type: a name of gguf_types.
        threads: CPU threads.
        rules: types for single tensors; the first rule that matches wins.
        importance: mean squares of each tensor's inputs, shape (columns * matrices,), by tensor name.
        origin: what the file shall say about the importance matrix.
        dry_run: only decide the types.

    Raises:
        RecipeError: a rule matches nothing, only tensors that are never quantized, or is never reached.
        BackendError: llama.cpp refused, or the importance matrix does not fit; the message has the reason.
    """
    job = Job(source, target, file_type, threads, importance=importance, keys=_keys(importance, origin))
    header = read_header(source)
    plan = _plan(job, header, rules)
    if dry_run and plan.needs_imatrix:
        raise BackendError(_refusal(file_type))
    without = _without_importance(file_type, header, plan, importance)
    if not dry_run:
        write(job._replace(overrides=plan.overrides))
        _check_written(target, plan)
    size_bytes = plan.size_bytes if dry_run else target.stat().st_size
    return Quantized(plan.fallbacks, plan.overrides, size_bytes, () if importance is None else without)


def plan_tensors(
    source: Path, file_type: str, rules: Sequence[TensorRule] = (), has_imatrix: bool = False
) -> TensorPlan:
    """The types and the size that a file would have, without writing it (an importance matrix changes some mixtures).

    Raises:
        RecipeError, BackendError: as `quantize`.
    """
    job = Job(source, source.with_name("not-written"), file_type, importance={} if has_imatrix else None)
    return _plan(job, read_header(source), rules)


def planned_sizes(source: Path, specs: Sequence[SizeSpec]) -> list[int | str]:
    """Bytes that each file would take, without writing; the reason where llama.cpp would refuse it.

    The size leaves out what a file says about its importance matrix (some 200 bytes).

    Raises:
        RecipeError: as `quantize`.
    """
    return [_planned_size(source, spec) for spec in specs]


def quantizable(source: Path) -> tuple[str, ...]:
    """Names of the tensors whose type llama.cpp changes, in the file's order: those that differ between two dry runs.

    Raises:
        BackendError: llama.cpp refused the file.
    """
    first, second = (decide(Job(source, source.with_name("not-written"), name)).types for name in ("F16", "BF16"))
    return tuple(t.name for t in read_header(source).tensors if first[t.name] != second[t.name])


def _planned_size(source: Path, spec: SizeSpec) -> int | str:
    try:
        plan = plan_tensors(source, spec.file_type, spec.rules, spec.has_imatrix)
        if not spec.has_imatrix:
            _without_importance(spec.file_type, read_header(source), plan, None)
    except BackendError as error:
        return error.message
    if plan.needs_imatrix:
        return _refusal(spec.file_type)
    return plan.size_bytes


def _plan(job: Job, header: GgufHeader, rules: Sequence[TensorRule]) -> TensorPlan:
    shapes = {t.name: t for t in header.tensors}
    if job.importance is not None:
        job = job._replace(importance={})
    decided = decide(job)
    if decided.types.keys() != shapes.keys():
        raise BackendError(
            f"{job.source}: llama.cpp's dry run speaks of {len(decided.types)} tensors, the file has {len(shapes)}; "
            "this build logs in an unknown way: install the pinned llama-cpp-python"
        )
    misfits = [*decided.misfits, *_silent_misfits(shapes, decided.types, job.file_type)]
    overrides: tuple[tuple[str, str], ...] = ()
    if rules:
        names = quantizable(job.source)
        ruled = assign(names, rules, [name for name in shapes if name not in names])
        overrides = tuple((name, ruled.get(name, decided.types[name])) for name in names)
        job = job._replace(overrides=overrides)
        decided = decide(job)
        misfits = [*(m for m in misfits if m.tensor not in ruled), *decided.misfits]
    fallbacks = tuple(Fallback(**m._asdict(), weights=shapes[m.tensor].weights) for m in misfits)
    size_bytes = header_bytes(job) + sum(_padded_bytes(t, decided.types[t.name]) for t in header.tensors)
    return TensorPlan(decided.types, overrides, fallbacks, decided.needs_imatrix, size_bytes)


def _padded_bytes(tensor: TensorInfo, kind: str) -> int:
    trait = type_traits()[kind]
    size = tensor.weights // trait.block_weights * trait.block_bytes
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _silent_misfits(tensors: Mapping[str, TensorInfo], types: Mapping[str, str], file_type: str) -> Iterator[Misfit]:
    """The output tensor (or the embeddings tied to it), which becomes Q8_0 without a word where its columns do not
    fill the blocks of the base type (src/llama-quant.cpp, llama_tensor_get_type_impl)."""
    base = BY_NAME[file_type].base
    block = type_traits()[base].block_weights
    wanted = "Q5_K" if base.startswith(("IQ1", "IQ2", "IQ3_XXS")) else "Q6_K"
    for name in (_OUTPUT,) if _OUTPUT in tensors else _EMBEDDINGS:
        if types.get(name) == "Q8_0" and tensors[name].shape[0] % block != 0:
            yield Misfit(name, wanted, "Q8_0")


def _keys(importance: Mapping[str, Floats] | None, origin: ImportanceOrigin | None) -> Keys:
    """What llama-quantize writes about an importance matrix (tools/quantize/quantize.cpp), less the file's path."""
    if importance is None:
        return ()
    entries = ("quantize.imatrix.entries_count", len(importance))
    if origin is None:
        return (entries,)
    return (
        ("quantize.imatrix.dataset", origin.dataset),
        entries,
        ("quantize.imatrix.chunks_count", origin.chunks),
    )


def _refusal(file_type: str) -> str:
    return f"{file_type}: llama.cpp will refuse it: it needs an importance matrix; {imatrix_step(file_type)}"


def _without_importance(
    file_type: str, header: GgufHeader, plan: TensorPlan, importance: Mapping[str, Floats] | None
) -> tuple[str, ...]:
    """Names of the tensors to quantize that have no entry.

    Raises:
        BackendError: an entry's size or values do not fit, or llama.cpp would abort for lack of an entry.
    """
    changed = [t for t in header.tensors if plan.types[t.name] not in (t.type, *UNQUANTIZED)]
    given = importance or {}
    if importance is not None and changed and not any(t.name in given for t in changed):
        raise BackendError(
            f"{file_type}: the importance matrix has no entry for any tensor of this model (its first is "
            f"{next(iter(given), 'nothing')}, the model's {changed[0].name}); take one that was computed on this model"
        )
    without = [t for t in changed if t.name not in given or not _fits(file_type, t, given[t.name])]
    for tensor in without:
        kind = plan.types[tensor.name]
        if tensor.name in (*_EMBEDDINGS, _OUTPUT) and requires_imatrix(kind):
            raise BackendError(
                f"{file_type}: {tensor.name} cannot become {kind} without importance weights of its own, and there are "
                "none; give it another type by a rule, such as Q2_K"
            )
    return tuple(t.name for t in without)


def _fits(file_type: str, tensor: TensorInfo, values: Floats) -> bool:
    if not np.isfinite(values).all():
        raise BackendError(
            f"{file_type}: the importance matrix has a value that is not finite for {tensor.name}; compute it again"
        )
    matrices = tensor.shape[2] if len(tensor.shape) > 2 else 1
    if values.size == tensor.shape[0] * matrices:
        return True
    if tensor.name in _EMBEDDINGS:  # llama.cpp goes on without
        return False
    raise BackendError(
        f"{file_type}: the importance matrix has {values.size} values for {tensor.name}, which takes "
        f"{tensor.shape[0] * matrices} ({tensor.shape[0]} columns, {matrices} matrices); take one that was computed "
        "on this model"
    )


def _check_written(target: Path, plan: TensorPlan) -> None:
    for tensor in read_header(target).tensors:
        if tensor.type != plan.types[tensor.name]:
            raise BackendError(
                f"{target}: llama.cpp wrote {tensor.name} as {tensor.type} where its dry run said "
                f"{plan.types[tensor.name]}; this build is not the one quantcurve knows: install the pinned "
                "llama-cpp-python"
            )
