"""The importance matrix: computed on the calibration set by the reference itself, or a file that the user has."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve.calibration import CalibrationResult
from quantcurve.engines.base import Floats, LlamaCppConfig, Tokens
from quantcurve.engines.child import Child
from quantcurve.errors import ModelFileError, RecipeError
from quantcurve.records import EngineIdentity, Frozen, ImatrixResult
from quantcurve.session import Event, Session
from quantcurve.stages.calibrate import Calibrated
from quantcurve.stages.resolve import Reference

FILE = "imatrix.gguf"


class ImatrixInputs(Frozen):
    """Key of a computed importance matrix."""

    version: Literal[2] = 2
    model_hash: str
    calibration_hash: str
    name: str
    """Of the calibration set: the file holds it."""
    config: LlamaCppConfig
    engine: EngineIdentity


class Matrix(NamedTuple):
    """An importance matrix, ready to use."""

    path: Path
    result: ImatrixResult

    def importance(self) -> dict[str, Floats]:
        """Mean squares of each tensor's inputs, (columns * matrices,), by tensor name.

        Raises:
            ModelFileError: the file is damaged.
        """
        from quantcurve.engines.imatrix_file import load_imatrix

        matrix = load_imatrix(self.path)
        return {name: matrix.mean_squares(name) for name in matrix.sums}


def inputs_of(
    model_hash: str, calibration: CalibrationResult, config: LlamaCppConfig, engine: EngineIdentity
) -> ImatrixInputs:
    """Key of the importance matrix of a model on a calibration set."""
    return ImatrixInputs(
        model_hash=model_hash,
        calibration_hash=calibration.content_hash,
        name=f"calibration:{calibration.mix}",
        config=config,
        engine=engine,
    )


def compute(reference: Reference, calibrated: Calibrated, config: LlamaCppConfig, session: Session) -> Matrix:
    """The importance matrix of a model on all windows of a calibration set.

    Raises:
        BackendError: the model cannot be run.
    """
    inputs = inputs_of(reference.step.file.content_hash, calibrated.result, config, session.engine)
    windows = calibrated.windows
    session.progress(Event("imatrix", 0, len(windows), inputs.name))
    result, artifact = session.make(
        "imatrix", inputs, ImatrixResult, partial(_compute, reference.path, windows, inputs, session)
    )
    session.progress(Event("imatrix", len(windows), len(windows), "done"))
    return Matrix(artifact.folder / FILE, result)


def read(path: Path, session: Session) -> Matrix:
    """An importance matrix that the user has, in the GGUF or the legacy format.

    Raises:
        RecipeError: it cannot be read or is something else.
    """
    from quantcurve.engines.imatrix_file import load_imatrix

    try:
        matrix = load_imatrix(path)
    except ModelFileError as error:
        raise RecipeError(error.message) from error
    result = ImatrixResult(
        source=path.name,
        content_hash=session.store.hash_file(path),
        tensors=len(matrix.sums),
        datasets=matrix.datasets,
        windows=matrix.chunk_count,
        window_tokens=matrix.chunk_size,
    )
    return Matrix(path, result)


def _compute(model: Path, windows: Tokens, inputs: ImatrixInputs, session: Session, draft: Path) -> ImatrixResult:
    from quantcurve.engines import llamacpp_imatrix

    with Child("imatrix", session.log("imatrix")) as child:
        bare = child.call(llamacpp_imatrix.collect, model, windows, inputs.config)
    matrix = dataclasses.replace(bare, datasets=(inputs.name,))
    matrix.save(draft / FILE)
    return ImatrixResult(
        source="computed",
        content_hash=session.store.hash_file(draft / FILE),
        tensors=len(matrix.sums),
        datasets=matrix.datasets,
        windows=matrix.chunk_count,
        window_tokens=matrix.chunk_size,
    )
