"""A language model compiled once, with the weights of every layer as inputs, so that each layer can be run in any of
several forms; runs in a child process (see child.py).

The forms are IRs that NNCF compressed from the same float graph; what a layer computes with in one of them is read back
from what stands between its stored constant and its product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops
from openvino.passes import ConstantFolding, Manager

from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.openvino_child import first_line, last_positions, vocabulary_of
from quantcurve.engines.openvino_effective import read_back
from quantcurve.engines.openvino_graphs import is_stored, read, unpin_cache
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL, constants
from quantcurve.engines.openvino_layers import Layer, layers
from quantcurve.engines.openvino_switch import float_properties, run
from quantcurve.errors import BackendError

FLOAT = "float"
"""Name of the source's own weights."""
OWN = "own"
"""Name of the form of layers that an assignment does not name."""
MOVES_SCALES = ("awq", "lora_correction")
"""Options of NNCF that change more than a layer's own weights: a layer in one form no longer fits its neighbours in
another."""


class SwapRunner:
    """A model whose layers take any of several forms; a Runner."""

    def __init__(self, source: Path, forms: Mapping[str, Path], config: OpenVinoConfig) -> None:
        """Compile it, in float32 with a float32 KV cache unless the configuration says otherwise; as `use({})` if
        there is a form OWN, else in float.

        Args:
            source: folder with the float32 IR.
            forms: folders with IRs that NNCF compressed from it, by the names of the forms.
            config: how to run it.

        Raises:
            ModelFileError: a file is missing or cut short.
            BackendError: a form differs from the source in more than how weights are stored, or OpenVINO failed.
        """
        self.path = source
        self.config = config
        for name, folder in forms.items():
            if reason := difference(source, folder):
                raise BackendError(f"{folder}: {name} cannot be swapped layer by layer with {source}: {reason}")
        self._layers = {layer.constant: layer for layer in reversed(layers(source))}
        self._graphs = {name: by_name(read(folder)) for name, folder in forms.items()}
        graph = read(source)
        self._source = by_name(graph)  # keeps alive what the tensors of FLOAT are views of
        self._names, self._held = _weights_as_inputs(graph, self._source, self._layers)
        self.vocabulary = vocabulary_of(source, graph)
        last_positions(graph)
        unpin_cache(graph)
        self._inputs = input_names(graph) - set(self._names.values())
        core = ov.Core()
        try:
            compiled = core.compile_model(graph, config.runtime.device, float_properties(config))
        except RuntimeError as error:
            raise BackendError(f"{source / MODEL}: OpenVINO cannot compile it: {first_line(error)}") from error
        self.plain_cache = read_back(core, compiled, graph, config).plain_cache
        self._request = compiled.create_infer_request()
        self._used: dict[str, str] = {}
        self.use({} if OWN in forms else dict.fromkeys(self._layers, FLOAT))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers' weights, shared ones once, in the graph's order."""
        return tuple(reversed(self._layers))

    def use(self, assignment: Mapping[str, str]) -> None:
        """The form of each layer from the next pass on.

        Args:
            assignment: from the name of a layer's weights (Layer.constant) to that of a form, or FLOAT; OWN for those
                that it does not name.

        Raises:
            BackendError: there is no such layer or form.
        """
        if unknown := sorted(assignment.keys() - self._layers.keys()):
            raise BackendError(f"{self.path}: no layer has weights named {unknown[0]}")
        if unknown := sorted(set(assignment.values()) - self._graphs.keys() - {FLOAT}):
            raise BackendError(f"{self.path}: no form {unknown[0]}; there are {', '.join((*self._graphs, FLOAT))}")
        if OWN not in self._graphs and (rest := sorted(self._layers.keys() - assignment.keys())):
            raise BackendError(f"{self.path}: no form for {rest[0]}, and none is named {OWN}")
        for name in self._layers:
            form, before = assignment.get(name, OWN), self._used.get(name)
            if before != form:
                self._request.set_tensor(self._names[name], self._tensor(name, form))
                self._used[name] = form
                self._held[name] = {f: t for f, t in self._held[name].items() if f in {form, before, FLOAT}}

    def _tensor(self, name: str, form: str) -> Any:
        """Weights of a layer in a form; its last two are held, so that one that is tried and taken back is not made
        again."""
        held = self._held[name]
        if form not in held:
            held[form] = ov.Tensor(dequantised(self._graphs[form], self._layers[name]))
        return held[form]

    def forward(self, tokens: Tokens, past: int, positions: int = 1) -> Floats:
        """See Runner.forward."""
        given = feed(self.path, self._inputs, tokens, past, positions)
        return run(self.path, self._request, given, past, positions)


def matches(source: Path, folder: Path) -> bool:
    """Whether the layers of a compressed IR can be swapped with those of the float IR it was made from, one by one.

    AWQ may leave no trace in the graph, and the file tells of the last call of NNCF alone, which is that of a layer
    rule where a variant has some: refuse variants with an option of MOVES_SCALES before.

    Raises:
        ModelFileError: a graph is missing or is no IR.
    """
    return difference(source, folder) is None


def difference(source: Path, folder: Path) -> str | None:
    """What keeps them from it."""
    graph = read(folder)
    for option in MOVES_SCALES:
        path = ["nncf", "weight_compression", option]
        if graph.has_rt_info(path) and graph.get_rt_info(path).astype(str) == "True":
            return f"it was made with {option}, which changes more than the layers' own weights"
    ours, theirs = _live(read(source)), _live(graph)
    if ours != theirs:
        return f"its graph is another one (operation {sorted(ours ^ theirs)[0][0]})"
    stored = {layer.constant: layer for layer in layers(folder)}
    if missing := [layer.constant for layer in layers(source) if layer.constant not in stored]:
        return f"it has no weights named {missing[0]}"
    types = {constant.name: constant.type for constant in constants(source)}
    named = {layer.weights.name for layer in stored.values()}
    other = [c.name for c in constants(folder) if c.is_weights and c.name not in named and types.get(c.name) != c.type]
    return f"it has compressed weights that are no layer's: {other[0]}" if other else None


def _live(graph: Any) -> set[tuple[str, str]]:
    """Names and types of the operations that work on activations, and not on constants alone."""
    live: set[str] = set()
    found = set()
    for op in graph.get_ordered_ops():
        sources = [port.get_source_output().get_node().get_friendly_name() for port in op.inputs()]
        if op.get_type_name() in {"Parameter", "ReadValue"} or any(name in live for name in sources):
            live.add(op.get_friendly_name())
            found.add((op.get_friendly_name(), op.get_type_name()))
    return found


def by_name(graph: Any) -> dict[str, Any]:
    """Operations of a graph."""
    return {op.get_friendly_name(): op for op in graph.get_ops()}


def _weights_as_inputs(
    graph: Any, nodes: Mapping[str, Any], found: Iterable[str]
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Put inputs in place of the weights of all layers: their names, and the tensors that were there, as FLOAT."""
    names, tensors = {}, {}
    for number, name in enumerate(found):
        constant = nodes[name]
        if constant.get_element_type() != ov.Type.f32:
            raise BackendError(f"{name}: {constant.get_element_type()} weights in what should be the float32 IR")
        parameter = ops.parameter(list(constant.get_output_shape(0)), np.float32, name=f"weights_{number}")
        names[name] = f"weights_{number}"
        parameter.output(0).get_tensor().set_names({names[name]})
        for consumer in constant.output(0).get_target_inputs():
            consumer.replace_source_output(parameter.output(0))
        graph.add_parameters([parameter])
        tensors[name] = {FLOAT: constant.get_tensor_view()}
    graph.validate_nodes_and_infer_types()
    return names, tensors


def dequantised(nodes: Mapping[str, Any], layer: Layer) -> Floats:
    """The weights that a layer of a compressed graph computes with, in float32.

    Args:
        nodes: of the compressed graph, by name.
        layer: of the float graph.

    Raises:
        BackendError: OpenVINO does not turn this format into floats.
    """
    op = nodes[layer.node]
    port = 0 if layer.embedding else next(p for p in (1, 0) if is_stored(op.input_value(p)))
    model = ov.Model([ops.result(_as_float(op.input_value(port)))], [], "weights")
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)
    folded = model.get_results()[0].input_value(0).get_node()
    if folded.get_type_name() != "Constant":
        raise BackendError(f"{layer.constant}: OpenVINO does not turn these weights into floats: {folded}")
    weights: Floats = np.array(folded.data, np.float32)
    return weights.reshape(layer.weights.shape)


def _as_float(output: Any) -> Any:
    """A copy of what turns stored weights into floats that computes in float32, as the CPU does in accuracy mode: the
    graph's own says float16, which rounds each weight once more when it is folded.

    Raises:
        BackendError: it has an operation that NNCF does not put there.
    """
    node = output.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return ops.convert(node, np.float32).output(0)
    first, *others = (port.get_source_output() for port in node.inputs())
    if kind == "Convert":
        return _as_float(first)
    if kind == "Subtract":
        return ops.subtract(_as_float(first), _as_float(others[0])).output(0)
    if kind == "Multiply":
        return ops.multiply(_as_float(first), _as_float(others[0])).output(0)
    if kind == "Gather":
        indices = ops.convert(others[0], np.int32)  # OpenVINO does not fold a Gather by 4-bit indices
        return ops.gather(_as_float(first), indices, others[1]).output(0)
    if kind == "Reshape":
        return ops.reshape(_as_float(first), others[0], special_zero=node.get_attributes()["special_zero"]).output(0)
    raise BackendError(f"{node.get_friendly_name()}: a {kind} between stored weights and their product")
