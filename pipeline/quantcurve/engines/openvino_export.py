"""Export to OpenVINO IR by optimum-intel; everything here runs inside a child process (see child.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError

TASK = "text-generation-with-past"


def export(source: Path, target: Path) -> None:
    """Write a language model as a float32 IR with its KV cache inside.

    Args:
        source: GGUF file, whose weights are dequantised exactly, or a Hugging Face folder.
        target: folder, there already.

    Raises:
        BackendError: transformers or optimum-intel does not know the model; its own words are in the message.
    """
    import torch
    from optimum.exporters.openvino import export_from_model
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = _load(AutoModelForCausalLM, source, torch.float32)
    except (ValueError, KeyError, OSError, ImportError, NotImplementedError) as error:
        raise BackendError(f"{source}: transformers cannot load it: {_reason(error)}{_hint(source)}") from error
    try:
        export_from_model(model, target, task=TASK, stateful=True)
    except (ValueError, KeyError, ImportError, NotImplementedError, RuntimeError) as error:
        kind = getattr(model.config, "model_type", "?")
        raise BackendError(
            f"{source}: optimum-intel cannot export a model of type {kind!r}: {_reason(error)}; leave out "
            "variants.openvino, or use a model of a type that optimum-intel lists"
        ) from error
    if not (target / MODEL).is_file():
        raise BackendError(f"{source}: optimum-intel left no {MODEL} in {target}")


def _load(kind: Any, source: Path, dtype: Any) -> Any:
    if source.is_dir():
        return kind.from_pretrained(source, dtype=dtype, local_files_only=True)
    return kind.from_pretrained(source.parent, gguf_file=source.name, dtype=dtype, local_files_only=True)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _hint(source: Path) -> str:
    if source.is_dir():
        return ""
    return "; transformers reads GGUF files of some architectures only: give the model as a Hugging Face folder"
