"""The layers of an IR that hold weights, and the format that each of them is stored in; read without OpenVINO.

A compressed constant reaches its layer through what turns it back into floats: Convert, Subtract of a zero point,
Multiply by a scale, Reshape of groups, Gather from a codebook (nncf/quantization/algorithms/weight_compression/
openvino_backend.py, _create_compression_subgraph).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from quantcurve.engines.openvino_ir import Constant, constant_of, graph
from quantcurve.errors import RecipeError
from quantcurve.recipe_openvino import LayerRule
from quantcurve.width_refusals import Width

DECOMPRESSION = frozenset({"Convert", "Subtract", "Multiply", "Reshape", "Gather"})
CODEBOOK = "_nncf_codebook_idxs"
"""Ending of the name of what is looked up in a codebook (nncf/openvino/graph/node_utils.py)."""
FORMATS = {
    ("f32", None): "F32",
    ("f16", None): "F16",
    ("bf16", None): "BF16",
    ("u8", "f16"): "INT8_ASYM",
    ("i8", "f16"): "INT8_SYM",
    ("u8", None): "INT8_ASYM",
    ("i8", None): "INT8_SYM",
    ("u4", "f16"): "INT4_ASYM",
    ("i4", "f16"): "INT4_SYM",
    ("nf4", "f16"): "NF4",
    ("f8e4m3", "f16"): "FP8_E4M3",
    ("f8e4m3", "f8e8m0"): "MXFP8_E4M3",
    ("f4e2m1", "f16"): "FP4",
    ("f4e2m1", "f8e8m0"): "MXFP4",
    ("f4e2m1", "f8e4m3"): "NVFP4",
}
"""By the element types of the weights and of their scales, which nncf.quantize gives no names."""


class Layer(NamedTuple):
    """A layer with weights."""

    name: str
    """`__module.model.layers.0.mlp.up_proj/ov_ext::linear/MatMul` is `model.layers.0.mlp.up_proj`."""
    node: str
    """The graph's name of its operation."""
    embedding: bool
    axis: int
    """Of the weights' shape, over which products are summed; counted from its end, where groups are too."""
    weights: Constant
    scale: str | None
    """Element type of the scales, if there are any."""
    fed_by: tuple[str, ...] = ()
    """Products whose output, multiplied by something, is its input, by the graph's names."""

    @property
    def format(self) -> str:
        """By its name in a recipe, or the element type where a recipe has none."""
        if self.weights.name.endswith(CODEBOOK):
            return "CB4"
        return FORMATS.get((self.weights.type, self.scale), self.weights.type.upper())

    @property
    def constant(self) -> str:
        """Name of its weights, the same in the uncompressed IR and in those made from it."""
        return self.weights.name.removesuffix(CODEBOOK)

    @property
    def columns(self) -> int:
        """Input width, of an uncompressed layer."""
        return self.weights.shape[self.axis]

    def group(self, uncompressed: Layer) -> int:
        """Weights that share a scale, -1: a whole channel.

        Args:
            uncompressed: the same layer; groups have a dimension of their own.
        """
        grouped = len(self.weights.shape) > len(uncompressed.weights.shape)
        return self.weights.shape[self.axis] if grouped else -1


def layers(folder: Path) -> list[Layer]:
    """Layers with weights of the IR in a folder, in the graph's order.

    Raises:
        ModelFileError: the graph is missing or is no IR.
    """
    root = graph(folder)
    nodes = {node.get("id", ""): node for node in root.iterfind("./layers/layer")}
    inputs: dict[str, dict[int, Element]] = defaultdict(dict)
    for edge in root.iterfind("./edges/edge"):
        inputs[edge.get("to-layer", "")][int(edge.get("to-port", 0))] = nodes[edge.get("from-layer", "")]
    return [layer for node in nodes.values() if (layer := _layer(node, inputs))]


def _layer(node: Element, inputs: Mapping[str, Mapping[int, Element]]) -> Layer | None:
    name, kind = node.get("name", ""), node.get("type")
    if kind not in {"MatMul", "Gather"} or not name.startswith("__module."):
        return None
    for port, axis in _weight_ports(node):
        constants = list(_behind(inputs[node.get("id", "")].get(port), inputs, set()))
        floats = [c for c in constants if c is None or c.type not in {"i64", "i32", "boolean"}]
        if not floats or None in floats:
            continue
        found = [c for c in floats if c]
        weights = max(found, key=lambda c: c.entries)
        if len(weights.shape) > 1 and weights.shape[axis] > 1:
            scale = next((c.type for c in found if c.name.endswith("/scale")), None)
            short = name.removeprefix("__module.").partition("/")[0]
            return Layer(short, name, kind == "Gather", axis, weights, scale, _fed_by(node, 1 - port, inputs))
    return None


def _fed_by(node: Element, port: int, inputs: Mapping[str, Mapping[int, Element]]) -> tuple[str, ...]:
    source = inputs[node.get("id", "")].get(port)
    if source is None or source.get("type") != "Multiply":
        return ()
    factors = inputs[source.get("id", "")].values()
    return tuple(factor.get("name", "") for factor in factors if factor.get("type") == "MatMul")


def _weight_ports(node: Element) -> Sequence[tuple[int, int]]:
    """Inputs that may be weights, and over which of their axes products are summed."""
    if node.get("type") == "Gather":
        return ((0, -1),)
    data = node.find("data")
    flags = {} if data is None else data.attrib
    return (
        (1, -1 if flags.get("transpose_b") == "true" else -2),
        (0, -2 if flags.get("transpose_a") == "true" else -1),
    )


def _behind(
    node: Element | None, inputs: Mapping[str, Mapping[int, Element]], seen: set[str]
) -> Iterator[Constant | None]:
    """Constants that an input is made of; None for what is no constant."""
    if node is None:
        yield None
        return
    key = node.get("id", "")
    if key in seen:
        return
    seen.add(key)
    if node.get("type") == "Const":
        yield constant_of(node)
    elif node.get("type") in DECOMPRESSION:
        for source in inputs[key].values():
            yield from _behind(source, inputs, seen)
    else:
        yield None


def apart(found: Sequence[Layer]) -> set[str]:
    """Names of the constants of the embeddings and of the head, which is the last product: no other follows it."""
    products = [layer for layer in found if not layer.embedding]
    return {layer.constant for layer in (*(e for e in found if e.embedding), *products[-1:])}


def rule_of_constant(found: Sequence[Layer], rules: Sequence[LayerRule]) -> dict[str, LayerRule]:
    """The rule that the weights of a layer go to, by their names; where layers share them the first layer's counts.

    Raises:
        RecipeError: as `assign`.
    """
    assigned = assign([layer.name for layer in found], rules)
    return {layer.constant: assigned[layer.name] for layer in reversed(found) if layer.name in assigned}


def widths(found: Sequence[Layer], rules: Sequence[LayerRule]) -> list[Width]:
    """What NNCF compresses of an uncompressed IR, shared weights once.

    Args:
        found: its layers.
        rules: of a variant.

    Raises:
        RecipeError: as `assign`.
    """
    ruled, kept = rule_of_constant(found, rules), apart(found)
    once = {layer.constant: layer for layer in reversed(found)}
    return [
        Width(layer.name, layer.columns, layer.weights.entries, name in kept, ruled.get(name))
        for name, layer in reversed(once.items())
    ]


def assign(names: Sequence[str], rules: Sequence[LayerRule]) -> dict[str, LayerRule]:
    """The rule of every layer that one matches; the first one wins.

    Raises:
        RecipeError: a rule matches none, or earlier ones take all that it matches.
    """
    taken: dict[str, LayerRule] = {}
    for rule in rules:
        pattern = re.compile(rule.match)
        matched = [name for name in dict.fromkeys(names) if pattern.fullmatch(name)]
        if not matched:
            some = ", ".join(list(dict.fromkeys(names))[:3])
            raise RecipeError(
                f"layer rule {rule.match!r} ({rule.weights}) matches none of the model's {len(set(names))} layers; it "
                f"must match a layer's whole name, such as {some}"
            )
        if all(name in taken for name in matched):
            raise RecipeError(
                f"layer rule {rule.match!r} ({rule.weights}) is never reached: its {len(matched)} layers "
                f"({matched[0]} ...) all go to earlier rules; the first match wins: move it up or take it out"
            )
        taken |= {name: rule for name in matched if name not in taken}
    return taken
