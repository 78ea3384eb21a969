"""The C call `llama_model_quantize`: its arrays, what it logs, and the size of the header it writes.

Only imported inside child processes (and where functions to run there are named).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import llama_cpp as lc
import numpy as np

from quantcurve.engines.base import Floats
from quantcurve.engines.gguf_file import InitParams, ggml_library, type_numbers
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.engines.llamacpp_native import last_error, log_mark, log_text
from quantcurve.engines.tensor_types import exact_pattern, overridable
from quantcurve.errors import BackendError, ModelFileError

Keys = tuple[tuple[str, str | int], ...]
_DECIDED = re.compile(
    r"^\[ *\d+/ *\d+\] (?P<tensor>.+?) +- \[[\d, ]+\], type = *(?P<old>\S+), size = .*?(?:\((?P<new>\S+)\))?$", re.M
)
_MISFIT = re.compile(r"warning: (?P<tensor>.+?) +- ncols +(?P<columns>\d+) not divisible by +(?P<block>\d+)")
_FALLBACK = re.compile(
    _MISFIT.pattern + r" \(required for type +(?P<wanted>\S+)\).*?-> falling back to +(?P<got>\S+)", re.S
)
_OFFENDING = re.compile(r"offending tensor: (?P<tensor>.+)\n.*target type: (?P<type>\S+)")
_VALUE_BYTES = 127
"""What a string of `llama_model_kv_override` holds (include/llama.h)."""


class Job(NamedTuple):
    """Arguments of one call."""

    source: Path
    target: Path
    file_type: str
    """The file type that the file shall say, a name of gguf_types."""
    threads: int = 1
    overrides: Sequence[tuple[str, str]] = ()
    """Tensor name and type; all that can be quantized, or none."""
    importance: Mapping[str, Floats] | None = None
    """Mean squares for each tensor; empty: only choose the types that llama.cpp takes with an importance matrix."""
    keys: Keys = ()
    """Metadata to add to the file."""


class Misfit(NamedTuple):
    """A type that a tensor's columns do not fill, and what llama.cpp takes in its place."""

    tensor: str
    wanted: str
    got: str


class Decided(NamedTuple):
    """What llama.cpp would write."""

    types: dict[str, str]
    """Type of every tensor."""
    misfits: tuple[Misfit, ...]
    needs_imatrix: bool
    """llama.cpp will refuse to write it without an importance matrix."""


def decide(job: Job) -> Decided:
    """The types that a call would write, by a dry run.

    Raises:
        BackendError: llama.cpp refused; the message has its reason.
    """
    log = _call(job, dry_run=True)
    return Decided(
        types={m["tensor"]: (m["new"] or m["old"]).upper() for m in _DECIDED.finditer(log)},
        misfits=tuple(Misfit(m["tensor"], m["wanted"].upper(), m["got"].upper()) for m in _FALLBACK.finditer(log)),
        needs_imatrix="will require an imatrix" in log,
    )


def write(job: Job) -> None:
    """Write the target.

    Raises:
        BackendError: llama.cpp refused; the message has its reason.
    """
    _call(job, dry_run=False)


def imatrix_step(file_type: str) -> str:
    """What to do where an importance matrix is needed."""
    return f"write {{type: {file_type}, imatrix: true}} in the recipe"


def _call(job: Job, dry_run: bool) -> str:
    params = lc.llama_model_quantize_default_params()
    params.ftype = BY_NAME[overridable(job.file_type) if job.overrides else job.file_type].ftype
    params.nthread = job.threads
    params.allow_requantize = True
    params.dry_run = dry_run
    if job.overrides:
        params.tt_overrides = _override_array(job.overrides)
    if job.importance is not None:
        params.imatrix = _imatrix_array(job.importance)
    if keys := all_keys(job):
        params.kv_overrides = _key_array(keys)
    start = log_mark()
    # The structure keeps the arrays, and these what they point to, until the call returns.
    if lc.llama_model_quantize(os.fsencode(job.source), os.fsencode(job.target), ctypes.byref(params)) != 0:
        reason = f"{last_error(start)}{_next_step(job.file_type, log_text(start))}"
        raise BackendError(f"{job.file_type}: llama.cpp could not write it: {reason}")
    return log_text(start)


def _next_step(file_type: str, log: str) -> str:
    if said := _OFFENDING.search(log):
        return f" ({said['tensor']} as {said['type'].upper()}); {imatrix_step(file_type)}"
    if "no tensor type fallback" in log and (misfits := list(_MISFIT.finditer(log))):
        last = misfits[-1]
        return (
            f" ({last['tensor']} has {last['columns']} columns, no multiple of {last['block']}); give such tensors "
            f"another type, or leave {file_type} out of the recipe"
        )
    if "Missing importance matrix" in log:
        return " (the importance matrix has no entry for it); give this tensor another type by a rule"
    return ""


def all_keys(job: Job) -> Keys:
    """The job's keys, and the file type where another one stands in for it in the call."""
    if job.overrides and overridable(job.file_type) != job.file_type:
        return (*job.keys, ("general.file_type", BY_NAME[job.file_type].ftype))
    return job.keys


def requires_imatrix(kind: str) -> bool:
    """Whether ggml aborts without importance weights for a tensor of this type."""
    function = ggml_library().ggml_quantize_requires_imatrix
    function.restype, function.argtypes = ctypes.c_bool, [ctypes.c_int]
    return bool(function(type_numbers()[kind]))


def _override_array(overrides: Sequence[tuple[str, str]]) -> Any:
    array = (lc.llama_model_tensor_override * (len(overrides) + 1))()  # the last one has no pattern
    for slot, (name, kind) in zip(array, overrides, strict=False):
        slot.pattern, slot.type = exact_pattern(name).encode(), type_numbers()[kind]
    return array


def _imatrix_array(importance: Mapping[str, Floats]) -> Any:
    array = (lc.llama_model_imatrix_data * (len(importance) + 1))()  # the last one has no name
    for slot, (name, values) in zip(array, importance.items(), strict=False):
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        slot.name, slot.size = name.encode(), flat.size
        slot.data = flat.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return array


def _key_array(keys: Keys) -> Any:
    array = (lc.llama_model_kv_override * (len(keys) + 1))()  # the last one's key is empty
    for slot, (key, value) in zip(array, keys, strict=False):
        slot.key = key.encode()
        if isinstance(value, int):
            slot.tag, slot.value.val_i64 = lc.LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            slot.tag, slot.value.val_str = lc.LLAMA_KV_OVERRIDE_TYPE_STR, _fitting(value)
    return array


def _fitting(text: str) -> bytes:
    return text.encode()[:_VALUE_BYTES].decode(errors="ignore").encode()


def header_bytes(job: Job) -> int:
    """Size of everything in front of the tensors' data in the written file (src/llama-quant.cpp,
    `llama_model_quantize_impl`: what it adds to and takes from the source's metadata).

    Raises:
        ModelFileError: the source's header cannot be read.
    """
    ggml = ggml_library()
    for name, arguments in (("gguf_set_val_u32", [ctypes.c_uint32]), ("gguf_set_val_str", [ctypes.c_char_p])):
        function = getattr(ggml, name)
        function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_char_p, *arguments]
    ggml.gguf_get_meta_size.restype, ggml.gguf_get_meta_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    context = ggml.gguf_init_from_file(os.fsencode(job.source), InitParams(no_alloc=True, ctx=None))
    if not context:
        raise ModelFileError(f"{job.source}: the GGUF header is corrupt; get the file again")
    try:
        for key, value in (("general.quantization_version", 0), ("general.file_type", 0), *all_keys(job)):
            if isinstance(value, int):
                ggml.gguf_set_val_u32(context, key.encode(), value)
            else:
                ggml.gguf_set_val_str(context, key.encode(), _fitting(value))
        return int(ggml.gguf_get_meta_size(context))
    finally:
        ggml.gguf_free(context)
