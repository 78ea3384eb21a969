"""A W8A8 model whose groups of quantizers are switched off and on from one pass to the next, in one compilation; runs
in a child process (see child.py).

At each quantizer of a group that can be restored stands Select(switch[group], x, FakeQuantize(x)). The ranges stay
constants, and the weights are those that SmoothQuant scaled, so that a restored layer is right whatever its
neighbours are. Select keeps the plugin from fusing the quantizers into integer products: the model computes what the
W8A8 model computes, in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.openvino_child import first_line, last_positions, properties, vocabulary_of
from quantcurve.engines.openvino_effective import read_back
from quantcurve.engines.openvino_graphs import read, unpin_cache
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.openvino_ir import MODEL
from quantcurve.engines.openvino_revert import by_name, corrected_biases, node_of, of_numbers, revert
from quantcurve.engines.quantizer_groups import Group
from quantcurve.errors import BackendError

SWITCH = "quantcurve_switch"
"""Input that is added: one boolean for each group that can be restored, true where it is."""
BYTES_PER_BYTE = 3
"""Memory that a compilation takes for each byte of the float weights where all groups can be restored: seen 1.6 GB for
540 MB (SmolLM2-135M), of which the weights themselves are a third."""


class Switch:
    """Which groups are restored, as an input of the graph."""

    def __init__(self, path: Path, switchable: Sequence[int], fixed: Sequence[int] = ()) -> None:
        """path: of the model, for errors; switchable: numbers of the groups that can be restored; fixed: of those that
        are in float for good."""
        self._path = path
        self._fixed = frozenset(fixed)
        self._place = {number: place for place, number in enumerate(sorted(set(switchable)))}
        self._values = np.zeros(len(self._place), np.bool_)

    def restore(self, numbers: Sequence[int]) -> None:
        """Run these groups in float, beside those that are for good.

        Raises:
            BackendError: one is not switchable here.
        """
        asked = set(numbers) - self._fixed
        if unknown := sorted(asked - self._place.keys()):
            raise BackendError(f"{self._path}: group {unknown[0]} is not among those compiled to be restored")
        values = np.zeros(len(self._place), np.bool_)
        values[[self._place[number] for number in asked]] = True
        self._values = values

    @property
    def given(self) -> dict[str, Any]:
        """What a pass is given beside its own inputs."""
        return {SWITCH: self._values} if self._place else {}


class SwitchedRunner:
    """A quantised model with groups that can be restored; a Runner."""

    def __init__(
        self,
        quantised: Path,
        source: Path,
        groups: Sequence[Group],
        switchable: Sequence[int],
        config: OpenVinoConfig,
        restored: Sequence[int] = (),
    ) -> None:
        """Compile it, in float32 with a float32 KV cache unless the configuration says otherwise.

        Args:
            quantised: folder that openvino_w8a8.quantise wrote.
            source: folder with the float32 IR that it was made from.
            groups: all of the model.
            switchable: numbers of those that can be restored; the others stay quantised.
            config: how to run it.
            restored: numbers of groups that are in float for good.

        Raises:
            ModelFileError: a file is missing or cut short.
            BackendError: the two folders do not belong together, or OpenVINO failed.
        """
        self.path = quantised
        self.config = config
        graph = switchable_graph(quantised, source, groups, switchable, restored)
        self._switch = Switch(quantised, switchable, restored)
        self.vocabulary = vocabulary_of(quantised, graph)
        last_positions(graph)
        unpin_cache(graph)
        self._inputs = input_names(graph) - {SWITCH}
        core = ov.Core()
        try:
            compiled = core.compile_model(graph, config.runtime.device, float_properties(config))
        except RuntimeError as error:
            raise BackendError(f"{quantised / MODEL}: OpenVINO cannot compile it: {first_line(error)}") from error
        self.plain_cache = read_back(core, compiled, graph, config).plain_cache
        self._request = compiled.create_infer_request()

    def restore(self, numbers: Sequence[int]) -> None:
        """Run just these groups in float, from the next pass from an empty cache on; see Switch.restore."""
        self._switch.restore(numbers)

    def forward(self, tokens: Tokens, past: int, positions: int = 1) -> Floats:
        """See Runner.forward."""
        given = feed(self.path, self._inputs, tokens, past, positions) | self._switch.given
        return run(self.path, self._request, given, past, positions)


def run(path: Path, request: Any, given: dict[str, Any], past: int, positions: int) -> Floats:
    """One pass, with the KV cache emptied before where there is no past; see Runner.forward.

    Raises:
        BackendError: OpenVINO failed.
    """
    if past == 0:
        request.reset_state()
    try:
        request.infer(given, share_inputs=True)
    except RuntimeError as error:
        length = given["input_ids"].shape[1]
        raise BackendError(f"{path}: OpenVINO failed on {length} tokens: {first_line(error)}") from error
    found: Floats = request.get_tensor("logits").data
    return found[:, -positions:]


def float_properties(config: OpenVinoConfig) -> dict[str, Any]:
    """What is set on the device: float32 where the configuration leaves it open, and activations that stay float."""
    found = properties(config)
    if config.runtime.execution != "accuracy":
        found.setdefault("INFERENCE_PRECISION_HINT", "f32")
        found.setdefault("KV_CACHE_PRECISION", "f32")
        found.setdefault("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0")
    return found


def switchable_graph(
    quantised: Path, source: Path, groups: Sequence[Group], switchable: Sequence[int], restored: Sequence[int] = ()
) -> Any:
    """A quantised graph with the input SWITCH; see SwitchedRunner for what is given and raised."""
    graph, original = read(quantised), read(source)
    revert(graph, of_numbers(groups, [n for n in restored if n not in switchable]), original)
    if switchable:
        add_switches(graph, of_numbers(groups, switchable), original)
    return graph


def add_switches(graph: Any, groups: Sequence[Group], original: Any) -> None:
    """Give an uncompressed quantised graph the input SWITCH.

    Args:
        graph: changed.
        groups: that can be restored, in the order of the switches.
        original: the float graph that it was made from.
    """
    switch = ops.parameter([len(groups)], np.bool_, name=SWITCH)
    switch.output(0).get_tensor().set_names({SWITCH})
    graph.add_parameters([switch])
    nodes, originals = by_name(graph), by_name(original)
    for place, group in enumerate(groups):
        chosen = ops.gather(switch, np.array(place, np.int64), np.array(0, np.int64))
        for bias in list(corrected_biases(group, nodes, originals)):
            corrected = bias.port.get_source_output()
            bias.port.replace_source_output(ops.select(chosen, bias.original, corrected).output(0))
        for name in group.quantizers:
            quantizer = node_of(nodes, name)
            consumers = quantizer.output(0).get_target_inputs()
            either = ops.select(chosen, quantizer.input_value(0), quantizer.output(0)).output(0)
            for consumer in consumers:
                consumer.replace_source_output(either)
    graph.validate_nodes_and_infer_types()


def needed_bytes(quantised: Path) -> int:
    """Estimate of the memory that a SwitchedRunner takes where all groups can be restored."""
    return BYTES_PER_BYTE * (quantised / MODEL).with_suffix(".bin").stat().st_size


def parts(groups: Sequence[Group], needed: int, free_bytes: int) -> list[tuple[int, ...]]:
    """Numbers of the groups that go into one compilation each, neighbours together: all in one where memory allows,
    none where not even the weights fit.

    A third of what is needed are the weights themselves, which every compilation takes; the rest goes with the number
    of groups that can be restored.

    Args:
        groups: all of a model.
        needed: bytes for all in one, see `needed_bytes`.
        free_bytes: that may be taken.
    """
    always = needed // BYTES_PER_BYTE
    if free_bytes <= always:
        return []
    room = max(free_bytes - always, 1)
    count = min(max(ceil((needed - always) / room), 1), max(len(groups), 1))
    return [tuple(groups[i].number for i in part) for part in np.array_split(np.arange(len(groups)), count)]
