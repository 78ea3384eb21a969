"""A run's folder: results.json, the recipe as it was, the page, the table and the pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from quantcurve import disk
from quantcurve.encoder_results import EncoderResult
from quantcurve.engines.tensor_types import tensor_type_file
from quantcurve.errors import RecipeError
from quantcurve.report.loading import PAGE, RECIPE, RESULTS, TABLE, load, load_any
from quantcurve.results import RunResult

__all__ = ["PAGE", "RESULTS", "load", "load_any", "prepare", "save", "save_encoder"]

TENSOR_TYPES = "tensor-types"
"""Folder of files for `llama-quantize --tensor-type-file`."""
PICTURES = ("curve.svg", "curve.png")
FIX = "free some space there, or give another folder with --out"
_DRAFT = re.compile(r"\..+\.\d+")
"""Name of a file that is being written: a dot, its name to be, and the number of the process."""


def prepare(folder: Path) -> None:
    """Make a run's folder before anything is computed for it.

    Raises:
        RecipeError: it cannot be made or written.
        PrerequisiteError: its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        if error.errno in disk.FULL and (full := disk.named(error, folder, FIX)):
            raise full from error
        raise RecipeError(f"{folder}: cannot be written ({error.strerror}); give another with --out") from error


def save(run: RunResult, folder: Path) -> None:
    """Write a run's folder; files appear whole or not at all, results.json as the last, and pictures are drawn only
    if the figures changed. What a killed process left of it is removed.

    Raises:
        RecipeError: the folder cannot be written.
        PrerequisiteError: its disk is full.
    """
    from quantcurve.page.render import PageRun, save_page
    from quantcurve.report.markdown import markdown

    prepare(folder)
    with disk.errors_named(folder, FIX), _alone(folder):
        unchanged = _same_figures(folder, run)
        drawn = unchanged and all((folder / name).exists() for name in PICTURES)
        if not drawn and any(v.status == "measured" for v in run.variants):
            for name in PICTURES:
                _draw(run, folder / name)
        if not (unchanged and (folder / PAGE).exists()):
            save_page([PageRun(run, str(folder))], folder / PAGE)
        _write(folder / RECIPE, run.recipe_text)
        _write(folder / TABLE, markdown(run))
        for variant in run.variants:
            if variant.tensor_types:
                (folder / TENSOR_TYPES).mkdir(exist_ok=True)
                _write(folder / TENSOR_TYPES / f"{variant.name}.txt", tensor_type_file(variant.tensor_types))
        _write(folder / RESULTS, run.model_dump_json(indent=1) + "\n")


def save_encoder(run: EncoderResult, folder: Path) -> None:
    """Write the folder of an encoder's run: its record, the recipe as it was, and the table.

    Raises:
        RecipeError: the folder cannot be written.
        PrerequisiteError: its disk is full.
    """
    from quantcurve.report.encoder_table import encoder_markdown

    prepare(folder)
    with disk.errors_named(folder, FIX), _alone(folder):
        _write(folder / RECIPE, run.recipe_text)
        _write(folder / TABLE, encoder_markdown(run))
        _write(folder / RESULTS, run.model_dump_json(indent=1) + "\n")


def _same_figures(folder: Path, run: RunResult) -> bool:
    try:
        before = load(folder)
    except RecipeError:
        return False
    return before.model_copy(update={"stages": run.stages}) == run


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time writes the folder; drafts of killed ones are removed."""
    lock = folder / ".saving.lock"
    with FileLock(lock):
        for left in folder.iterdir():
            if _DRAFT.fullmatch(left.name):
                left.unlink(missing_ok=True)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _draw(run: RunResult, path: Path) -> None:
    from quantcurve.report.picture import save_picture

    try:
        save_picture(run, path)
    except RecipeError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in disk.FULL:
            raise cause from None  # told as a full disk by the caller
        raise


def _write(path: Path, text: str) -> None:
    with disk.drafted(path) as draft:
        draft.write_text(text, encoding="utf-8")
