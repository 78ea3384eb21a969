"""What NNCF measures of activations, once for each calibration set: several variants read the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from quantcurve.engines.base import Tokens
from quantcurve.engines.child import Child
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import Frozen
from quantcurve.session import Session

NAME = "statistics"


class StatisticsInputs(Frozen):
    """Key of the statistics."""

    version: Literal[1] = 1
    source_hash: str
    """Of the float32 IR."""
    calibration_hash: str
    packages: tuple[tuple[str, str], ...]


class StatisticsStep(Frozen):
    """Files in NNCF's own form lie beside this record."""

    windows: int


def applies(entry: OpenVinoVariant) -> bool:
    """Whether a variant reads them. They are not of the head and the embedding, and GPTQ measures for itself."""
    sensitive = entry.sensitivity not in {None, "weight_quantization_error"}
    return not entry.all_layers and (sensitive or entry.awq or entry.scale_estimation or entry.lora_correction)


def statistics(inputs: StatisticsInputs, source: Path, windows: Tokens, session: Session) -> Path:
    """Folder of the statistics of an IR on calibration windows (n, T).

    Raises:
        BackendError: NNCF or OpenVINO failed.
        PrerequisiteError: too little disk.
    """
    _, artifact = session.make("statistics", inputs, StatisticsStep, partial(_collect, source, windows, session))
    return artifact.folder


def _collect(source: Path, windows: Tokens, session: Session, draft: Path) -> StatisticsStep:
    from quantcurve.engines import openvino_compress

    with Child(NAME, session.log(NAME)) as child:
        child.call(openvino_compress.collect, source, draft, windows)
    return StatisticsStep(windows=len(windows))
