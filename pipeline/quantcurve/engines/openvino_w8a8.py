"""Weights and activations in 8 bits, by nncf.quantize; everything here runs inside a child process (see child.py).

What is written is the graph with float weights and FakeQuantize operations, from which openvino_revert builds any W8A8
model, whole or with groups restored, and openvino_switch runs them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino as ov
from nncf.openvino.quantization.backend_parameters import BackendParameters
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

from quantcurve.engines import openvino_groups, quantizer_groups
from quantcurve.engines.base import Tokens
from quantcurve.engines.openvino_compress import dataset_of
from quantcurve.engines.openvino_graphs import refusals
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.engines.openvino_layers import Layer, layers, rule_of_constant
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.weight_formats import UNCOMPRESSED


def quantise(source: Path, target: Path, variant: OpenVinoVariant, windows: Tokens) -> None:
    """Quantise a language model's IR, without compressing its weights; its groups are written beside it.

    Args:
        source: folder with the float32 IR.
        target: folder, there already.
        variant: what to do.
        windows: calibration tokens (n, T); all are used.

    Raises:
        ModelFileError: the source is cut short or no IR.
        RecipeError: a rule for single layers matches none.
        BackendError: NNCF or OpenVINO failed, or the model has inputs that are none of a language model's.
    """
    check_weights(source)
    with refusals(f"{variant.label}: OpenVINO cannot read {source / MODEL}"):
        model = ov.Core().read_model(source / MODEL)
    quantise_on(model, source, target, variant, dataset_of(model, source, windows), len(windows))


def quantise_on(
    model: Any, source: Path, target: Path, variant: OpenVinoVariant, dataset: nncf.Dataset, samples: int
) -> None:
    """As `quantise`, of any model that was read from `source`, on samples (a dataset of that many) of its inputs."""
    with refusals(f"{variant.label}: NNCF cannot quantise {source / MODEL}"):
        quantised = nncf.quantize(model, dataset, **arguments(variant, layers(source), samples))
    with refusals(f"{variant.label}: the quantised graph cannot be written"):
        ov.save_model(quantised, target / MODEL, compress_to_fp16=False)
        quantizer_groups.save(openvino_groups.find(ov.Core().read_model(target / MODEL)), target)


def arguments(variant: OpenVinoVariant, found: Sequence[Layer], samples: int, compress: bool = False) -> dict[str, Any]:
    """Arguments of nncf.quantize.

    Args:
        variant: what to do; rules for single layers leave them in float.
        found: layers of the model.
        samples: calibration samples; all are used.
        compress: store weights in 8 bits, as NNCF does unless told otherwise.

    Raises:
        RecipeError: a rule matches no layer.
    """
    rules = rule_of_constant(found, variant.layers)
    floats = [layer.node for layer in found if (r := rules.get(layer.constant)) and r.weights in UNCOMPRESSED]
    smooth = AdvancedSmoothQuantParameters()
    if variant.smooth_quant is False:
        smooth = AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    advanced = AdvancedQuantizationParameters(
        smooth_quant_alphas=smooth, backend_params={BackendParameters.COMPRESS_WEIGHTS: compress}
    )
    return {
        "model_type": nncf.ModelType.TRANSFORMER,
        "preset": nncf.QuantizationPreset(variant.preset) if variant.preset else None,
        "subset_size": samples,
        "ignored_scope": nncf.IgnoredScope(names=floats, validate=False) if floats else None,
        "advanced_parameters": advanced,
    }
