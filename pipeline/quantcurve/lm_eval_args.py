"""What `lm_eval --model_args` names: a model, how it is opened, and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quantcurve import machine
from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import CacheTypes, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.task_model import TaskModel, TaskSettings


def model_of(
    gguf: str | None,
    ir: str | None,
    batch: int,
    batch_tokens: int,
    threads: int | None,
    device: str | None,
    runtime: dict[str, Any],
    log: Path,
) -> TaskModel:
    """A model by its file or folder; arguments as QuantcurveLM's.

    Raises:
        RecipeError: neither or both of `gguf` and `ir`, or a setting that is none.
    """
    if bool(gguf) == bool(ir):
        raise RecipeError("give gguf=FILE.gguf or ir=FOLDER, one of them, in model_args")
    path = Path(gguf or ir or "").expanduser()
    on_gpu = (device or "").lower() in {"gpu", "cuda"}
    kind, given = (CacheTypes, runtime) if gguf else (OpenVinoRuntime, {"device": (device or "CPU").upper()} | runtime)
    try:
        made = kind.model_validate(given)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"model_args: {said}") from error
    settings = TaskSettings(
        threads=threads or machine.default_threads(),
        device="gpu" if gguf and on_gpu else "cpu",
        runtime=made,
        batch=batch,
        batch_tokens=batch_tokens,
    )
    return TaskModel(path, settings, path.name, log)


def text_side_of(path: Path, folder: Path, log: Path) -> TextSide:
    """Of an IR's folder, or made of a GGUF file's vocabulary."""
    if path.is_dir():
        return TextSide(path)
    with Child("tokenizer", log) as child:
        child.call(gguf_tokenizer.save, path, folder)
    return TextSide(folder)
