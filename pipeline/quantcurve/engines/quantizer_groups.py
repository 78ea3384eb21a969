"""Groups of quantizers that are restored together, as NNCF's accuracy control has them; runs in a child process.

A group is what must go so that an operation runs in float: the quantizers of all its inputs, and those of operations
that share one of them (nncf/common/quantization/quantizer_removal.py, find_quantizer_nodes_to_cut).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import nncf
from nncf.common.factory import build_graph
from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
from nncf.quantization.algorithms.accuracy_control.ranker import Ranker

from quantcurve.engines.openvino_layers import DECOMPRESSION
from quantcurve.errors import BackendError
from quantcurve.records import Frozen

FILE = "groups.json"
QUANTIZER = "FakeQuantize"
PRODUCTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "ConvolutionBackpropData"})
WITH_WEIGHTS = PRODUCTS | {"Gather"}
BEFORE_WEIGHTS = DECOMPRESSION | {QUANTIZER}
"""Operations between stored weights and what they are for."""
MODULE = "__module."
"""What optimum-intel's export begins the name of an operation with."""


class Group(Frozen):
    """Quantizers that are removed together."""

    number: int
    """In NNCF's order."""
    quantizers: tuple[str, ...]
    """Names of FakeQuantize operations."""
    operations: tuple[str, ...]
    """Names of those that run in float without them, in the graph's order."""
    layers: tuple[str, ...]
    """What these are, for people: model.layers.0.mlp.up_proj, or model.layers.0.self_attn:Multiply without weights."""
    multiply_accumulates: int
    """For one token, of its products with stored weights."""


class Groups(Frozen):
    """All of a model."""

    groups: tuple[Group, ...]
    multiply_accumulates_total: int
    """For one token, of all products with stored weights, in a group or not."""

    def share(self, numbers: Sequence[int]) -> float:
        """Of the compute with stored weights that is in these groups, 0 to 1."""
        own = sum(self.groups[number].multiply_accumulates for number in numbers)
        return own / self.multiply_accumulates_total if self.multiply_accumulates_total else 0.0


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


def save(groups: Groups, folder: Path) -> None:
    """Write them beside the graph that they are of."""
    (folder / FILE).write_text(groups.model_dump_json(indent=1))


def load(folder: Path) -> Groups:
    """Read what `save` wrote.

    Raises:
        BackendError: it is not there.
    """
    try:
        return Groups.model_validate_json((folder / FILE).read_text())
    except FileNotFoundError as error:
        raise BackendError(f"{folder / FILE}: no such file; quantise the model again") from error


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


def is_stored(value: Any) -> bool:
    """Whether an output is made of constants alone, as stored weights are."""
    node = value.get_node()
    if node.get_type_name() == "Constant":
        return True
    inputs = [port.get_source_output() for port in node.inputs()]
    return node.get_type_name() in BEFORE_WEIGHTS and all(is_stored(source) for source in inputs)
