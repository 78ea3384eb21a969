"""Opens a model with the engine that its configuration is for."""

from __future__ import annotations

from pathlib import Path

from quantcurve.engines.base import EngineConfig, LlamaCppConfig
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.engines.openvino import OpenVinoModel

Opened = LlamaCppModel | OpenVinoModel


def open_model(path: Path, config: EngineConfig, label: str, log: Path) -> Opened:
    """Load a model in a child process.

    Args:
        path: GGUF file, or folder with an OpenVINO IR.
        config: how; its kind says which engine.
        label: name of the model in errors.
        log: file for what the engine prints.

    Raises:
        ModelFileError: the file is missing, truncated, corrupt or of an unknown architecture.
        BackendError: the engine refused or died.
    """
    if isinstance(config, LlamaCppConfig):
        return LlamaCppModel(path, config, label, log)
    return OpenVinoModel(path, config, label, log)
