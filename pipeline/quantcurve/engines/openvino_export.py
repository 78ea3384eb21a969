"""Export to OpenVINO IR by optimum-intel; everything here runs inside a child process (see child.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError, UnsupportedFileError

TASK = "text-generation-with-past"
HINT = "; transformers reads GGUF files of some architectures only: give the model as a Hugging Face folder"
MACHINE = (MemoryError, OSError, ImportError)
"""What the machine is the reason of, not the file. PyTorch's lack of memory is a RuntimeError: Child.call tells it by
its words."""


def export(source: Path, target: Path, original: Path | None = None) -> None:
    """Write a language model as a float32 IR with its KV cache inside.

    Args:
        source: GGUF file, whose weights are dequantised exactly, or a Hugging Face folder.
        target: folder, there already.
        original: Hugging Face folder that a GGUF file was converted from, for the configuration.

    Raises:
        UnsupportedFileError: transformers does not read this GGUF file.
        BackendError: transformers or optimum-intel does not know the model; its own words are in the message.
    """
    import torch
    from optimum.exporters.openvino import export_from_model
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    try:
        model = _load(AutoModelForCausalLM, source, original, torch.float32)
    except Exception as error:  # what transformers raises has no class in common
        raise _refusal(source, original, error) from error
    try:
        export_from_model(model, target, task=TASK, stateful=True)
    except Exception as error:  # nor has what optimum-intel, PyTorch and OpenVINO raise
        kind = getattr(model.config, "model_type", "?")
        raise BackendError(
            f"{source}: optimum-intel cannot export a model of type {kind!r}: {_reason(error)}; leave out "
            "variants.openvino, or use a model of a type that optimum-intel lists"
        ) from error
    if not (target / MODEL).is_file():
        raise BackendError(f"{source}: optimum-intel left no {MODEL} in {target}; leave out variants.openvino")


def _refusal(source: Path, original: Path | None, error: Exception) -> BackendError:
    said = f"{source}: transformers cannot load it: {_reason(error)}"
    if source.is_dir() or isinstance(error, MACHINE):
        return BackendError(said)
    return UnsupportedFileError(said if original else said + HINT)


def _load(kind: Any, source: Path, original: Path | None, dtype: Any) -> Any:
    """The model, with all its weights: transformers makes up random ones for those that it does not find."""
    from transformers import AutoConfig

    more = {"dtype": dtype, "local_files_only": True, "output_loading_info": True}
    if original:
        more["config"] = AutoConfig.from_pretrained(original, local_files_only=True)
    if source.is_dir():
        model, found = kind.from_pretrained(source, **more)
    else:
        model, found = kind.from_pretrained(source.parent, gguf_file=source.name, **more)
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"it finds no weights for {missing[0]} and {len(missing) - 1} others")
    return model


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
