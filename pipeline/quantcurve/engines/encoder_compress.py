"""Compression and quantization of embedding models by NNCF; everything here runs inside a child process (see child.py).

The graph and the calls are those of language models (openvino_compress.py); what is fed differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nncf
import openvino as ov

from quantcurve.engines import openvino_w8a8
from quantcurve.engines.encoder_runner import TextTokenizer, feed
from quantcurve.engines.openvino_compress import passes
from quantcurve.engines.openvino_graphs import refusals
from quantcurve.engines.openvino_inputs import input_names
from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.engines.openvino_layers import layers
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.weight_formats import UNCOMPRESSED

Feeds = list[dict[str, Any]]
"""Inputs of forward passes."""


def compress(source: Path, target: Path, variant: OpenVinoVariant) -> None:
    """Write a variant of an IR with other weights into a folder.

    Args:
        source: folder with the float32 IR.
        target: folder, there already.
        variant: what to do.

    Raises:
        ModelFileError: the source is cut short or no IR.
        RecipeError: a rule for single layers matches none.
        BackendError: NNCF refused, or OpenVINO failed.
    """
    model = _read(source, variant)
    if variant.weights not in UNCOMPRESSED:
        with refusals(f"{variant.label}: NNCF cannot compress it"):
            for arguments in passes(model, layers(source), variant, None):
                model = nncf.compress_weights(model, **arguments)
    with refusals(f"{variant.label}: the IR cannot be written"):
        ov.save_model(model, target / MODEL, compress_to_fp16=variant.weights == "F16")


def quantise(source: Path, target: Path, variant: OpenVinoVariant, sentences: Sequence[str]) -> None:
    """Quantise weights and activations, without compressing the weights; see openvino_w8a8.quantise.

    Args:
        source: folder with the float32 IR and the tokenizer.
        target: folder, there already.
        variant: what to do.
        sentences: to calibrate on; all are used.

    Raises:
        ModelFileError: the source is cut short or no IR, or the tokenizer is broken.
        RecipeError: a rule for single layers matches none.
        BackendError: NNCF or OpenVINO failed.
    """
    model = _read(source, variant)
    inputs = feeds(model, source, sentences)
    openvino_w8a8.quantise_on(model, source, target, variant, nncf.Dataset(inputs), len(inputs))


def _read(source: Path, variant: OpenVinoVariant) -> Any:
    check_weights(source)
    with refusals(f"{variant.label}: OpenVINO cannot read {source / MODEL}"):
        return ov.Core().read_model(source / MODEL)


def feeds(model: Any, source: Path, sentences: Sequence[str]) -> Feeds:
    """Inputs for each sentence, one at a time, so that none is padded.

    Raises:
        ModelFileError: the tokenizer is missing or broken.
        BackendError: the model has an input that is none of an encoder's.
    """
    names = input_names(model)
    return [feed(source, names, ids[None]) for ids in TextTokenizer(source).encode(sentences)]
