"""Export of embedding models to OpenVINO IR by optimum-intel; everything here runs inside a child process (see
child.py)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from quantcurve import encoder_pipeline
from quantcurve.encoder_pipeline import EmbeddingPipeline
from quantcurve.engines.encoder_runner import TOKENIZER
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.errors import BackendError

TASK = "feature-extraction"
NOT_USED = "pooler."
"""Beginning of the names of weights behind the hidden states: sentence-transformers models come without them."""
COPIED = (
    *(TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    *(encoder_pipeline.MODULES, encoder_pipeline.TRANSFORMER, encoder_pipeline.PROMPTS),
)
"""Files that optimum-intel and sentence-transformers load with an IR."""


def export(source: Path, target: Path) -> EmbeddingPipeline:
    """Write an encoder as a float32 IR, with its tokenizer and how it makes embeddings beside it.

    Args:
        source: Hugging Face folder.
        target: folder, there already.

    Raises:
        ModelFileError: sentence-transformers' files make no sense, or name modules that are not known.
        BackendError: transformers or optimum-intel does not know the model; its own words are in the message.
    """
    import torch
    from optimum.exporters.openvino import export_from_model
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]
    pipeline = encoder_pipeline.read(source)
    try:
        model = _load(AutoModel, source, torch.float32)
    except Exception as error:  # what transformers raises has no class in common
        raise BackendError(f"{source}: transformers cannot load it: {_reason(error)}; get the model again") from error
    try:
        export_from_model(model, target, task=TASK)
    except Exception as error:  # nor has what optimum-intel, PyTorch and OpenVINO raise
        kind = getattr(model.config, "model_type", "?")
        raise BackendError(
            f"{source}: optimum-intel cannot export a model of type {kind!r} for {TASK}: {_reason(error)}; use a model "
            "of a type that optimum-intel lists"
        ) from error
    if not (target / MODEL).is_file():
        raise BackendError(f"{source}: optimum-intel left no {MODEL} in {target}; take another model")
    write_tokenizer(source, target)
    (target / encoder_pipeline.FILE).write_text(pipeline.model_dump_json(indent=1))
    return pipeline


def write_tokenizer(source: Path, target: Path) -> None:
    """The tokenizer and sentence-transformers' files as they are; a tokenizer of another form is converted.

    Raises:
        BackendError: transformers cannot read it.
    """
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    for folder in encoder_pipeline.pooling_folders(source):
        (target / folder).mkdir(parents=True, exist_ok=True)
        if (source / folder / "config.json").is_file():
            shutil.copyfile(source / folder / "config.json", target / folder / "config.json")
    if not (target / TOKENIZER).is_file():
        from transformers import AutoTokenizer

        try:
            AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(target)
        except Exception as error:  # what transformers raises has no class in common
            raise BackendError(f"{source}: transformers cannot load its tokenizer: {_reason(error)}") from error
    if not (target / TOKENIZER).is_file():
        raise BackendError(f"{source}: its tokenizer has no fast form ({TOKENIZER}); take a model that has one")


def _load(kind: Any, source: Path, dtype: Any) -> Any:
    """The model, with all its weights: transformers makes up random ones for those that it does not find."""
    model, found = kind.from_pretrained(source, dtype=dtype, local_files_only=True, output_loading_info=True)
    if missing := sorted(k for k in found["missing_keys"] if not k.startswith(NOT_USED)):
        raise ValueError(f"it finds no weights for {missing[0]} and {len(missing) - 1} others")
    return model.eval()


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
