"""Graphs that are judged as they would be deployed, each item once; runs in a child process (see child.py)."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import openvino as ov

from quantcurve.engines.base import Floats, OpenVinoConfig, Tokens
from quantcurve.engines.openvino_child import first_line, properties
from quantcurve.engines.openvino_effective import read_back
from quantcurve.engines.openvino_inputs import feed, input_names
from quantcurve.engines.runner import Runner
from quantcurve.errors import BackendError, RecipeError
from quantcurve.journal import Journal

Judge = Callable[[Runner, Sequence[int]], list[float]]
"""From a model and numbers of items to one value for each, higher is better."""


class GraphRunner(Runner):
    """A Runner over a graph that is in memory, with the logits of all positions (see runner.Runner)."""

    def __init__(self, path: Path, graph: Any, config: OpenVinoConfig, plain_cache: bool | None = None) -> None:
        """Compile the graph, which is left as it is.

        Args:
            path: folder of the IR that the graph was made from.
            graph: an ov.Model.
            config: device, and what is set on it.
            plain_cache: if it is known; else it is read back.

        Raises:
            BackendError: the device refuses the graph or the configuration.
        """
        self.path = path
        self.config = config
        self.vocabulary = int(graph.output("logits").get_partial_shape()[-1].get_length())
        self._names = input_names(graph)
        core = ov.Core()
        try:
            self.compiled = core.compile_model(graph, config.runtime.device, properties(config))
            self._request = self.compiled.create_infer_request()
        except RuntimeError as error:
            raise BackendError(f"{path}: OpenVINO cannot compile it: {first_line(error)}") from error
        self.plain_cache = (
            read_back(core, self.compiled, graph, config).plain_cache if plain_cache is None else plain_cache
        )

    def forward(self, tokens: Tokens, past: int, positions: int = 1) -> Floats:
        """See runner.Runner."""
        if past == 0:
            self._request.reset_state()
        try:
            self._request.infer(feed(self.path, self._names, tokens, past, positions), share_inputs=True)
        except RuntimeError as error:
            raise BackendError(
                f"{self.path}: OpenVINO failed on {tokens.shape[1]} tokens: {first_line(error)}"
            ) from error
        found: Floats = self._request.get_tensor("logits").data
        return found[:, -positions:]


class Judged:
    """Values of graphs. What the journal has is not judged again, and a graph without a value that is missing is not
    compiled."""

    def __init__(self, path: Path, judge: Judge, config: OpenVinoConfig, journal: Path) -> None:
        """Nothing is compiled yet.

        Args:
            path: folder of the IR that the graphs are made from.
            judge: must give an item the same value whatever other items it is given with.
            config: device, and what is set on it.
            journal: of this judge, these items, this IR and configuration, and no others.
        """
        self._path = path
        self._judge = judge
        self._config = config
        self._journal = Journal(journal)
        self._plain_cache: bool | None = None
        self.validation_s = 0.0
        self.compilation_s = 0.0
        self.inferred = 0
        """Validations that needed an inference."""
        self.judged_items = 0

    def values(self, key: str, graph: Any, item_numbers: Sequence[int]) -> list[float]:
        """Values of items, in their order.

        Args:
            key: of the graph, by which the journal knows it.
            graph: an ov.Model.
            item_numbers: any of them.

        Raises:
            RecipeError: the judge gave another number of values, or one that is not finite.
            BackendError: the device refuses the graph or the configuration.
            Exception: whatever the judge raised.
        """
        known = self._journal.values(key)
        if missing := [number for number in item_numbers if number not in known]:
            found = dict(zip(missing, self._inferred(graph, missing), strict=True))
            self._journal.add(key, found)
            known |= found
        return [known[number] for number in item_numbers]

    def _inferred(self, graph: Any, item_numbers: list[int]) -> list[float]:
        began = time.monotonic()
        runner = GraphRunner(self._path, graph, self._config, self._plain_cache)
        self._plain_cache = runner.plain_cache
        compiled = time.monotonic()
        self.compilation_s += compiled - began
        try:
            values = [float(value) for value in self._judge(runner, item_numbers)]
        finally:
            self.validation_s += time.monotonic() - compiled
        self.inferred += 1
        self.judged_items += len(item_numbers)
        _check(values, item_numbers)
        return values


def _check(values: Sequence[float], item_numbers: Sequence[int]) -> None:
    if len(values) != len(item_numbers):
        raise RecipeError(f"the validation gave {len(values)} values for {len(item_numbers)} items: one each is needed")
    if wrong := [(n, v) for n, v in zip(item_numbers, values, strict=True) if not math.isfinite(v)]:
        raise RecipeError(f"the validation gave {wrong[0][1]} for item {wrong[0][0]}: values must be finite")


def quantizers(graph: Any) -> frozenset[str]:
    """Names of a graph's FakeQuantize nodes."""
    return frozenset(op.get_friendly_name() for op in graph.get_ops() if op.get_type_name() == "FakeQuantize")


def key_of(names: frozenset[str]) -> str:
    """Of a graph, by the quantizers that it still has."""
    return "quantizers " + hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
