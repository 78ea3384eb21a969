"""W8A8 models with groups of quantizers taken out; everything here runs inside a child process (see child.py).

NNCF's own revert puts a layer's original weights back, also behind the Multiply with which SmoothQuant has scaled its
activations, where they are wrong (nncf/common/quantization/quantizer_removal.py). Here only the quantizers go: what is
left of the layer are the weights that SmoothQuant scaled, and their product is the original one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from openvino._offline_transformations import compress_quantize_weights_transformation

from quantcurve.engines import quantizer_groups
from quantcurve.engines.openvino_graphs import read, refusals, unpin_cache
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.engines.quantizer_groups import Group
from quantcurve.errors import BackendError

Nodes = Mapping[str, Any]


class Bias(NamedTuple):
    """A bias that NNCF changed to make up for the mean error of a quantised operation."""

    port: Any
    """Input of the quantised graph that takes it."""
    original: Any
    """The constant in the float graph."""


def build(quantised: Path, source: Path, target: Path, numbers: Sequence[int]) -> None:
    """Write a W8A8 model with some groups in float, as nncf.quantize stores one: restored weights stay float32.

    Args:
        quantised: folder that openvino_w8a8.quantise wrote.
        source: folder with the float32 IR that it was made from.
        target: folder, there already.
        numbers: of the groups to restore.

    Raises:
        ModelFileError: a file is missing or cut short.
        BackendError: the two folders do not belong together, there is no such group, or the IR cannot be written.
    """
    model = build_in_memory(quantised, source, numbers)
    with refusals(f"{target / MODEL}: it cannot be written"):
        ov.save_model(model, target / MODEL, compress_to_fp16=False)


def build_float(source: Path, target: Path) -> None:
    """Write the model with everything in float, as `build` would with all groups.

    Raises:
        ModelFileError: a file is missing or cut short.
        BackendError: the IR cannot be written.
    """
    model = read(source)
    unpin_cache(model)
    with refusals(f"{target / MODEL}: it cannot be written"):
        ov.save_model(model, target / MODEL, compress_to_fp16=False)


def build_in_memory(quantised: Path, source: Path, numbers: Sequence[int]) -> Any:
    """The model that `build` writes."""
    model, original = read(quantised), read(source)
    revert(model, of_numbers(quantizer_groups.load(quantised).groups, numbers), original)
    with refusals(f"{quantised / MODEL}: its weights cannot be stored in 8 bits"):
        compress_quantize_weights_transformation(model)
    unpin_cache(model)
    return model


def of_numbers(groups: Sequence[Group], numbers: Sequence[int]) -> list[Group]:
    """Groups by number.

    Raises:
        BackendError: there is no such group.
    """
    if unknown := sorted(set(numbers) - set(range(len(groups)))):
        raise BackendError(f"group {unknown[0]}: the quantised model has groups 0 to {len(groups) - 1}")
    return [groups[number] for number in sorted(set(numbers))]


def revert(model: Any, groups: Sequence[Group], original: Any) -> None:
    """Let the operations of some groups run in float.

    Args:
        model: uncompressed quantised graph; changed.
        groups: to restore.
        original: the float graph that it was made from, for biases that were corrected.

    Raises:
        BackendError: an operation is not in both graphs.
    """
    nodes, originals = by_name(model), by_name(original)
    for group in groups:
        for bias in corrected_biases(group, nodes, originals):
            bias.port.replace_source_output(bias.original.output(0))
        for name in group.quantizers:
            quantizer = node_of(nodes, name)
            for consumer in quantizer.output(0).get_target_inputs():
                consumer.replace_source_output(quantizer.input_value(0))
    model.validate_nodes_and_infer_types()


def by_name(model: Any) -> Nodes:
    """Operations of a graph."""
    return {op.get_friendly_name(): op for op in model.get_ops()}


def node_of(nodes: Nodes, name: str) -> Any:
    """An operation by its name.

    Raises:
        BackendError: there is none.
    """
    if name not in nodes:
        raise BackendError(f"{name}: no operation of this name in the graph; quantise the model again")
    return nodes[name]


def corrected_biases(group: Group, nodes: Nodes, originals: Nodes) -> Iterator[Bias]:
    """Biases of a group's operations that bias correction changed.

    Args:
        group: of quantizers.
        nodes: of the quantised graph.
        originals: of the float graph.

    Raises:
        BackendError: an operation is not in both graphs.
    """
    for name in group.operations:
        for consumer in node_of(nodes, name).output(0).get_target_inputs():
            add = consumer.get_node()
            if add.get_type_name() != "Add":
                continue
            port = _constant_port(add, 1 - consumer.get_index())
            same = node_of(originals, add.get_friendly_name())
            wanted = _constant_port(same, 1 - consumer.get_index())
            if port is None or wanted is None:
                continue
            original = wanted.get_source_output().get_node()
            if not np.array_equal(port.get_source_output().get_node().data, original.data):
                yield Bias(port, original)


def _constant_port(add: Any, index: int) -> Any:
    """The input at which a constant comes in, behind its conversion; None: it adds no constant."""
    port = add.input(index)
    while (node := port.get_source_output().get_node()).get_type_name() == "Convert":
        port = node.input(0)
    return port if node.get_type_name() == "Constant" else None
