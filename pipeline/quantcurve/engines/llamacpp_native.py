"""llama.cpp's C API as the child's modules use it: what it logs, loading, and context parameters.

Only imported inside child processes (and where functions to run there are named).
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Any

import llama_cpp as lc

from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.gguf_file import type_numbers
from quantcurve.errors import ModelFileError, printable

_FLASH = {"auto": -1, "off": 0, "on": 1}
_ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR (ggml/include/ggml.h)."""
_log_lines: list[str] = []
_error_at: list[int] = []
"""Which of them are of the error level."""


@lc.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, user_data: object) -> None:
    line = text.decode("utf-8", "replace")
    if level == _ERROR_LEVEL:
        _error_at.append(len(_log_lines))
    _log_lines.append(line)
    sys.stderr.write(line)


lc.llama_log_set(_log, ctypes.c_void_p(0))


def log_mark() -> int:
    """Where the log stands now; for `log_text` and `last_error`."""
    return len(_log_lines)


def log_text(start: int) -> str:
    """What was logged since a mark."""
    return "".join(_log_lines[start:])


def last_error(start: int) -> str:
    """What llama.cpp's exception said, or else the first error it logged."""
    errors = "".join(_log_lines[i] for i in _error_at if i >= start)
    if thrown := re.search(r"(?:failed to quantize|error loading model): (.+)", errors):
        return printable(thrown[1].strip())
    return printable(errors.strip().partition("\n")[0]) or "no reason given"


def offers_gpu() -> bool:
    """Whether the installed build can use a GPU."""
    return bool(lc.llama_supports_gpu_offload())


def load(path: Path, config: LlamaCppConfig, vocab_only: bool) -> Any:
    """Load a model, or only its vocabulary.

    Raises:
        ModelFileError: llama.cpp refuses the file; the message has its reason.
    """
    start = log_mark()
    params = lc.llama_model_default_params()
    params.n_gpu_layers = -1 if config.device == "gpu" else 0
    params.vocab_only = vocab_only
    model = lc.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelFileError(f"{path}: llama.cpp cannot load this model: {last_error(start)}")
    return model


def context_params(config: LlamaCppConfig) -> Any:
    """A context for so many sequences of so many tokens."""
    params = lc.llama_context_default_params()
    params.n_ctx = config.window_tokens * config.sequences
    if config.unified:
        params.n_ctx = config.window_tokens + config.batch_tokens
        params.kv_unified = True
    params.n_batch = min(config.batch_tokens, params.n_ctx)
    params.n_ubatch = min(config.micro_batch_tokens, params.n_batch)
    params.n_seq_max = config.sequences
    params.n_threads = params.n_threads_batch = config.threads
    params.type_k = _ggml_type(config.k_type)
    params.type_v = _ggml_type(config.v_type)
    params.flash_attn_type = _FLASH[config.flash_attention]
    return params


def _ggml_type(name: str) -> int:
    return type_numbers()[name.upper()]
