"""What an embedding model does beside its transformer: how it cuts, pools and normalises, read from the files of a
sentence-transformers folder (modules.json, 1_Pooling/config.json, sentence_bert_config.json,
config_sentence_transformers.json).

Defaults are those of sentence-transformers 5 (models/Transformer.py, models/Pooling.py, SentenceTransformer.py): a
folder without modules.json is a transformer whose tokens are averaged, not normalised.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from quantcurve.engines.base import Floats
from quantcurve.errors import ModelFileError
from quantcurve.records import Frozen

FILE = "embedding_pipeline.json"
"""Beside an exported IR."""
MODULES, TRANSFORMER, PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
MOST_TOKENS = 1_000_000
"""A tokenizer's model_max_length beyond this stands for none."""

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
FLAGS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""In the order in which several are put side by side (Pooling.forward)."""


class EmbeddingPipeline(Frozen):
    """From a text's tokens to its embedding."""

    pooling: tuple[Pooling, ...] = ("mean",)
    normalised: bool = False
    """To length 1."""
    max_tokens: int
    """Special tokens too; of longer texts the beginning."""
    lower_case: bool = False
    """Before the tokenizer, whatever that does."""
    prompt: str = ""
    """Put before every text: the model's default prompt, if it has one."""

    def describe(self) -> str:
        """In words."""
        after = ", normalised" if self.normalised else ""
        prompt = f", after the prompt {self.prompt!r}" if self.prompt else ""
        return f"{' and '.join(self.pooling)} of at most {self.max_tokens} tokens{after}{prompt}"


def read(folder: Path) -> EmbeddingPipeline:
    """The pipeline of a model's folder.

    Raises:
        ModelFileError: a file is no JSON, or says what is not known here; a module is none of Transformer, Pooling and
            Normalize.
    """
    kinds = _modules(folder)
    transformer = folder / next((path for kind, path in kinds if kind == "Transformer"), "")
    settings = _json(transformer / TRANSFORMER)
    prompts = _json(folder / PROMPTS)
    chosen = prompts.get("default_prompt_name")
    try:
        return EmbeddingPipeline(
            pooling=_pooling(folder, [path for kind, path in kinds if kind == "Pooling"]),
            normalised=any(kind == "Normalize" for kind, _ in kinds),
            max_tokens=int(settings.get("max_seq_length") or _longest(transformer)),
            lower_case=bool(settings.get("do_lower_case", False)),
            prompt=str(prompts.get("prompts", {}).get(chosen, "")) if chosen else "",
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{folder}: its sentence-transformers files make no sense: {error}") from error


def pooling_folders(folder: Path) -> list[str]:
    """Folders below it that `read` reads.

    Raises:
        ModelFileError: as `read`.
    """
    return [path for kind, path in _modules(folder) if path and kind in {"Pooling", "Transformer"}]


def pool(hidden: Floats, pipeline: EmbeddingPipeline) -> Floats:
    """Embeddings (B, width of all poolings together) of texts of one length.

    Args:
        hidden: (B, S, width), the transformer's last hidden states, no padding among them.
        pipeline: what to do.
    """
    parts = [_pooled(hidden.astype(np.float32), mode) for mode in pipeline.pooling]
    found = np.concatenate(parts, axis=1)
    if pipeline.normalised:
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return np.asarray(found, np.float32)


def _pooled(hidden: Floats, mode: Pooling) -> Floats:
    length = hidden.shape[1]
    if mode == "cls":
        return hidden[:, 0]
    if mode == "lasttoken":
        return hidden[:, -1]
    if mode == "max":
        return np.asarray(hidden.max(axis=1))
    if mode == "weightedmean":
        weights = np.arange(1, length + 1, dtype=np.float32)
        return np.asarray(np.einsum("bsw,s->bw", hidden, weights / weights.sum()))
    total = hidden.sum(axis=1)
    return np.asarray(total / np.float32(length if mode == "mean" else np.sqrt(length)))


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Kind and folder of every module; a folder without a list has a transformer alone."""
    path = folder / MODULES
    if not path.is_file():
        return [("Transformer", "")]
    listed = _json(path)
    if not isinstance(listed, list) or not all(isinstance(m, dict) and "type" in m for m in listed):
        raise ModelFileError(f"{path}: not a list of modules; get the model again")
    found = [(str(m["type"]).rpartition(".")[2], str(m.get("path", ""))) for m in listed]
    if odd := [kind for kind, _ in found if kind not in {"Transformer", "Pooling", "Normalize"}]:
        raise ModelFileError(
            f"{path}: a module of kind {odd[0]}; known are Transformer, Pooling and Normalize: take another model"
        )
    return found


def _pooling(folder: Path, paths: Sequence[str]) -> tuple[Pooling, ...]:
    if not paths:
        return ("mean",)
    place = folder / paths[0] / "config.json"
    if not place.is_file():
        raise ModelFileError(f"{place}: no such file, and {MODULES} names it; get the model again")
    config = _json(place)
    named = config.get("pooling_mode")
    modes: list[Any] = [named] if isinstance(named, str) else list(named or [])
    if odd := [m for m in modes if m not in get_args(Pooling)]:
        raise ModelFileError(f"{place}: pooling_mode {odd[0]!r} is none of {', '.join(get_args(Pooling))}")
    flagged = tuple(mode for flag, mode in FLAGS.items() if config.get(flag))
    return tuple(modes) or flagged or ("mean",)


def _longest(folder: Path) -> int:
    """Of the transformer and the tokenizer, as sentence-transformers takes it where nothing is said."""
    config, tokenizer = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    told = (config.get("max_position_embeddings"), tokenizer.get("model_max_length"))
    known = [int(n) for n in told if isinstance(n, int | float) and 0 < n < MOST_TOKENS]
    if not known:
        raise ValueError(
            "neither max_seq_length, max_position_embeddings nor model_max_length says how long a text may be"
        )
    return min(known)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: cannot be read ({error}); get the model again") from error
