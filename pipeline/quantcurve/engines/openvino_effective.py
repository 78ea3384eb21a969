"""How a device runs a compiled model, as it tells; runs in a child process.

A device that hands the model to others (AUTO, HETERO, MULTI) tells little of itself: then those that execute are asked.
What none of them tells is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import openvino as ov

from quantcurve.engines.base import OpenVinoConfig
from quantcurve.machine import cpu_features
from quantcurve.records import Activations, AttentionBackend, OpenVinoEffective

PRECISION_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "u8": 1.0, "i8": 1.0, "u4": 0.5, "i4": 0.5}
ATTENTION: dict[str, AttentionBackend] = {"ScaledDotProductAttention": "SDPA", "PagedAttentionExtension": "PA"}
"""Operations of a graph by the attention backend that they are."""
INTEGERS = frozenset({"u8", "i8", "u4", "i4"})
"""Types of weights whose products take quantised activations (see `activations`)."""
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
"""Instructions that the CPU plugin needs to quantise activations on x86; elsewhere it is not known."""
QUANTIZER = "FakeQuantize"
"""Operation that quantises activations in a range that was measured before."""
SIMD_WIDTH = 16
"""Groups of activations that are no multiple of it are not quantised (see `activations`)."""
ON_THE_WAY = frozenset({"Convert", "Multiply", "Subtract", "Reshape", "Transpose"})
"""Operations between the stored weights and their product."""


class Told:
    """What is told of a compiled model."""

    def __init__(self, core: Any, compiled: Any) -> None:
        """Nothing is asked yet."""
        self._core = core
        self._compiled = compiled

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """That execute: GPU.0, CPU."""
        return tuple(str(d).strip("()") for d in self._compiled.get_property("EXECUTION_DEVICES"))

    @property
    def full_name(self) -> str:
        """Of the devices that execute."""
        return ", ".join(str(self._core.get_property(d, "FULL_DEVICE_NAME")).strip() for d in self.devices)

    def text(self, name: str) -> str | None:
        """A property in words; None where it is not told, or differs between the devices that execute."""
        value = self._property(name)
        if value is None:
            values = {_words(told[name]) for d in self.devices if name in (told := self._of_devices.get(d, {}))}
            return values.pop() if len(values) == 1 else None
        return _words(value)

    def number(self, name: str) -> int | None:
        """A property that is a number."""
        text = self.text(name)
        return None if text is None else int(text)

    def precision(self, name: str) -> str | None:
        """A property that is a type; one that is left open (`dynamic`) says nothing."""
        text = self.text(name)
        return None if text in {"dynamic", "undefined"} else text

    def _property(self, name: str) -> Any:
        try:
            return self._compiled.get_property(name)
        except RuntimeError:
            return None

    @cached_property
    def _of_devices(self) -> Mapping[str, Mapping[str, Any]]:
        """Properties by device, of a device that hands the model to others."""
        return self._property("DEVICE_PROPERTIES") or {}


def _words(value: Any) -> str:
    return value.to_string() if isinstance(value, ov.Type) else str(getattr(value, "name", value))


def read_back(core: Any, compiled: Any, graph: Any, config: OpenVinoConfig) -> OpenVinoEffective:
    """Configuration of a compiled model.

    Args:
        core: that compiled it.
        compiled: the model.
        graph: what was compiled.
        config: how it was asked to run.
    """
    told = Told(core, compiled)
    whole = told.precision("KV_CACHE_PRECISION")  # the GPU plugin tells no more than this
    key = told.precision("KEY_CACHE_PRECISION") or whole
    value = told.precision("VALUE_CACHE_PRECISION") or whole
    group = told.number("DYNAMIC_QUANTIZATION_GROUP_SIZE")
    return OpenVinoEffective(
        device=told.full_name,
        threads=told.number("INFERENCE_NUM_THREADS"),
        streams=told.number("NUM_STREAMS"),
        execution_mode=told.text("EXECUTION_MODE_HINT"),
        inference_precision=told.precision("INFERENCE_PRECISION_HINT") or executed_precision(compiled),
        key_cache_precision=key,
        value_cache_precision=value,
        dynamic_quantization_group=group,
        activations=activations(graph, group, told.devices),
        attention_backend=attention_backend(graph),
        context_tokens=config.window_tokens,
        cache_bytes_per_token=cache_bytes_per_token(graph, key, value),
    )


def executed_precision(compiled: Any) -> str | None:
    """Precision of what the compiled model's matrix products give, where all are alike; told by the CPU plugin.

    In accuracy mode it leaves the hint open, which is the model's own precision.
    """
    found = set()
    for op in compiled.get_runtime_model().get_ops():
        about = op.get_rt_info()
        if "layerType" in about and _words(about["layerType"].value) == "FullyConnected":
            found.add(_words(about["outputPrecisions"].value))
    return found.pop() if len(found) == 1 else None


class Product(NamedTuple):
    """A matrix product with stored weights."""

    type: str
    """Of the weights."""
    group: int
    """Weights of a row that share a scale."""
    whole_rows: bool
    """Whether these are all of a row."""

    def takes(self, group: int) -> bool:
        """Whether the CPU plugin quantises its activations in such groups (see `activations`)."""
        fits = group <= self.group if self.whole_rows else self.group % group == 0
        return self.type in INTEGERS and group % SIMD_WIDTH == 0 and fits


def products(graph: Any) -> list[Product]:
    """All matrix products of a graph with stored weights, which NNCF stores as (rows, columns) with one scale a row,
    or as (rows, groups, columns of a group)."""
    found = []
    for op in graph.get_ops():
        if op.get_type_name() != "MatMul":
            continue
        node = op.input_value(1).get_node()
        while node.get_type_name() in ON_THE_WAY:
            node = node.input_value(0).get_node()
        if node.get_type_name() == "Constant":
            axis, shape = -1 if op.get_attributes()["transpose_b"] else -2, node.get_output_shape(0)
            found.append(Product(node.get_element_type().to_string(), int(shape[axis]), len(shape) == 2))
    return found


def activations(graph: Any, group: int | None, devices: tuple[str, ...]) -> Activations | None:
    """Whether the activations of matrix products are quantised, by the rules of the CPU plugin: only for integer
    weights, in groups that are a multiple of SIMD_WIDTH and lie within the groups of the weights
    (src/plugins/intel_cpu/src/nodes/executors/dnnl/dnnl_fullyconnected_primitive.cpp, useDynamicQuantizationImpl).

    Args:
        graph: the model.
        group: activations that share a scale, as the device tells; it does so whatever the weights.
        devices: that execute; the rules of others are not known.
    """
    if any(op.get_type_name() == QUANTIZER for op in graph.get_ops()):
        return "measured ranges"
    every = products(graph)
    if group == 0:
        return "float"
    if not any(p.type in INTEGERS for p in every):
        return "not applicable"
    if group is None or devices != ("CPU",) or not VNNI & set(cpu_features().split()):
        return None
    taking = sum(p.takes(group) for p in every)
    return "float" if not taking else "quantised" if taking == len(every) else "partly quantised"


def attention_backend(graph: Any) -> AttentionBackend | None:
    """Of the operations of a graph; None if it has none of either kind, or both."""
    found = {ATTENTION[kind] for op in graph.get_ops() if (kind := op.get_type_name()) in ATTENTION}
    return found.pop() if len(found) == 1 else None


def cache_bytes_per_token(graph: Any, key: str | None, value: str | None) -> float | None:
    """Sum over the cache's states (batch, heads, length, width) at the precisions of K and V, without scales.

    None where a precision, or which of the two a state is, is not known, or no state is a cache's; optimum-intel names
    a state after its input and its output, past_key_values.0.keypresent.0.key.
    """
    precisions = {"key": key, "value": value}
    total = 0.0
    for variable in graph.get_variables():
        info = variable.info
        shape = info.data_shape
        if shape.rank.get_length() != 4:
            continue
        side = info.variable_id.rpartition(".")[2]
        precision = key if key == value else precisions.get(side)
        if precision not in PRECISION_BYTES:
            return None
        total += PRECISION_BYTES[precision] * int(np.prod([d.get_length() for d in shape if d.is_static]))
    return total or None
