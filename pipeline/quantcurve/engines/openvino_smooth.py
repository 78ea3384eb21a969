"""SmoothQuant alone; runs in a child process (see child.py)."""

from __future__ import annotations

from typing import Any

import nncf
from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
from nncf.quantization.algorithms.pipeline import Pipeline
from nncf.quantization.algorithms.smooth_quant.algorithm import SmoothQuant

ALPHAS = AdvancedSmoothQuantParameters()
"""NNCF's defaults, as nncf.quantize has them for transformers."""
OFF = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)


def smoothed(model: Any, dataset: nncf.Dataset, samples: int) -> Any:
    """A float model with the same function whose outliers of activations were moved into the weights: the first step
    of nncf.quantize (nncf/quantization/algorithms/post_training/pipeline.py, create_ptq_pipeline), and that alone.

    A layer that accuracy control restores gets the weights of the model that it was given. Given this one they are
    those that belong behind the factor that SmoothQuant put in front of the layer; given the unsmoothed model they are
    not (seen: a metric of 1.0 fell to 0.0004 with all layers restored).

    Args:
        model: float, with friendly names that differ (NNCF's remove_friendly_name_duplicates); is left as it is.
        dataset: inputs of calibration.
        samples: number of them.
    """
    alphas = {"convolution": ALPHAS.convolution, "matmul": ALPHAS.matmul}
    return Pipeline([[SmoothQuant(samples, True, alpha_map=alphas)]]).run(model, dataset)
