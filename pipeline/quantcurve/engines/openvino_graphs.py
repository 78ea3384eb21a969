"""What is done to graphs by more than one module; runs in a child process (see child.py).

Without NNCF, which takes seconds to import: a process that only runs models does not need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openvino as ov

from quantcurve.engines.openvino_ir import MODEL, check_weights
from quantcurve.engines.openvino_layers import DECOMPRESSION
from quantcurve.errors import BackendError, QuantcurveError

QUANTIZER = "FakeQuantize"
BEFORE_WEIGHTS = DECOMPRESSION | {QUANTIZER}
"""Operations between stored weights and what they are for."""
CACHE_PRECISION = ["runtime_options", "KV_CACHE_PRECISION"]


@contextlib.contextmanager
def refusals(what: str) -> Iterator[None]:
    """As BackendError: whatever NNCF, optimum-intel and OpenVINO raise: their errors have no class in common."""
    try:
        yield
    except QuantcurveError:
        raise
    except Exception as error:
        raise BackendError(f"{what}: {str(error).strip() or type(error).__name__}") from error


def read(folder: Path) -> Any:
    """The graph in a folder, with the names that NNCF gives where two operations have the same
    (nncf/openvino/graph/model_utils.py, remove_friendly_name_duplicates).

    Raises:
        ModelFileError: a file is missing or cut short.
        BackendError: OpenVINO cannot read it.
    """
    check_weights(folder)
    with refusals(f"{folder / MODEL}: OpenVINO cannot read it"):
        model = ov.Core().read_model(folder / MODEL)
    names: set[str] = set()
    for op in model.get_ops():
        name = op.get_friendly_name()
        if name in names:
            name += "0"
            op.set_friendly_name(name)
        names.add(name)
    return model


def unpin_cache(model: Any) -> None:
    """An uncompressed export asks for a float16 KV cache; without that a device takes its own, as optimum-intel leaves
    it after compression (optimum/intel/openvino/quantization.py, _remove_f16_kv_cache_precision_flag)."""
    if model.has_rt_info(CACHE_PRECISION):
        options = model.rt_info["runtime_options"]
        kept = {name: value.astype(str) for name, value in options.items() if name != CACHE_PRECISION[1]}
        model.set_rt_info(kept, ["runtime_options"])


def is_stored(value: Any) -> bool:
    """Whether an output is made of constants alone, as stored weights are."""
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return True
    inputs = [port.get_source_output() for port in node.inputs()]
    return node.get_type_name() in BEFORE_WEIGHTS and all(is_stored(source) for source in inputs)
