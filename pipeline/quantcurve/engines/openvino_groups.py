"""Finds the groups of quantizers that are restored together; runs in a child process.

A group is what must go so that an operation runs in float: the quantizers of all its inputs, and those of operations
that share one of them (nncf/common/quantization/quantizer_removal.py, find_quantizer_nodes_to_cut).
"""

from __future__ import annotations

from math import prod
from typing import Any

import nncf
from nncf.common.factory import build_graph
from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
from nncf.quantization.algorithms.accuracy_control.ranker import Ranker

from quantcurve.engines.openvino_graphs import is_stored
from quantcurve.engines.quantizer_groups import Group, Groups

PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"})
WITH_WEIGHTS = PRODUCTS | {"Gather"}
MODULE = "__module."
"""What optimum-intel's export begins the name of an operation with."""


def find(model: Any) -> Groups:
    """Groups of an uncompressed quantised graph, as it was read from its file: saving may change names."""
    operations = {op.get_friendly_name(): op for op in remove_friendly_name_duplicates(model).get_ordered_ops()}
    place = {name: number for number, name in enumerate(operations)}
    ranker = Ranker(1, nncf.Dataset([]), OVAccuracyControlAlgoBackend(), None)
    found = []
    for number, group in enumerate(ranker.find_groups_of_quantizers_to_rank(build_graph(model))):
        reverted = sorted((node.node_name for node in group.operations), key=place.__getitem__)
        found.append(
            Group(
                number=number,
                quantizers=tuple(node.node_name for node in group.quantizers),
                operations=tuple(reverted),
                layers=tuple(dict.fromkeys(_layer(operations[name]) for name in reverted)),
                multiply_accumulates=sum(_multiply_accumulates(operations[name]) for name in reverted),
            )
        )
    total = sum(_multiply_accumulates(op) for op in operations.values())
    return Groups(groups=tuple(found), multiply_accumulates_total=total)


def _layer(op: Any) -> str:
    """Its layer's name, as openvino_layers.Layer has it; with its type where it is no layer with weights."""
    name, kind = op.get_friendly_name(), op.get_type_name()
    if not name.startswith(MODULE):
        return str(name)
    module = name.removeprefix(MODULE).partition("/")[0]
    return module if kind in WITH_WEIGHTS and _weights_shape(op) else f"{module}:{kind}"


def _multiply_accumulates(op: Any) -> int:
    shape = _weights_shape(op) if op.get_type_name() in PRODUCTS else ()
    return prod(shape) if shape else 0


def _weights_shape(op: Any) -> tuple[int, ...]:
    """Empty: its inputs are all activations, or vectors, as the frequencies of rotary positions are."""
    for port in (1, 0):
        if is_stored(value := op.input_value(port)) and sum(d > 1 for d in value.get_shape()) > 1:
            return tuple(int(d) for d in value.get_shape())
    return ()
