"""Models in which layers can be restored: quantizers of W8A8, and weights of compressed variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import psutil

from quantcurve.accuracy_records import RestoredGroup
from quantcurve.accuracy_search import Restored, Step
from quantcurve.engines import accuracy_outcome
from quantcurve.engines.base import OpenVinoConfig
from quantcurve.engines.child import Child
from quantcurve.engines.judging import Judged
from quantcurve.engines.openvino_layers import Layer
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from quantcurve.stages.quantised import Quantised
from quantcurve.weight_formats import UNCOMPRESSED, bits

EXACT = "INT8_ASYM"
"""The first format that compressed layers are restored to."""
FLOAT = "F32"
"""The second one; such layers are stored as float16."""


class Account(NamedTuple):
    """What restoring some steps means."""

    groups: tuple[RestoredGroup, ...]
    operations: int
    """Quantised operations of the plain variant."""
    steps: int
    """That there are."""
    layers: tuple[str, ...]
    """All of them."""
    share: float
    """Of the compute, or of compressed weights the share of the weights, that was restored."""


class _WeightStep(NamedTuple):
    """Layers that are restored together, and to what."""

    layers: tuple[Layer, ...]
    to: str


class Quantizers:
    """W8A8: groups of FakeQuantize nodes are taken out of the quantised graph."""

    ranked_alone = True
    """Among quantizers that flip by one step whatever stands before them, a single one's share is lost in the noise of
    the others' rounding: see accuracy_search.py."""

    def __init__(self, source: Path, quantised: Quantised, config: OpenVinoConfig) -> None:
        """source: folder of the float32 IR; config: how the quick way is run."""
        self.source = source
        self.config = config
        self._quantised = quantised
        self.groups = quantised.step.groups.groups

    @property
    def rungs(self) -> tuple[tuple[Step, ...], ...]:
        """One: every group costs the same."""
        return (tuple(Step(group.number) for group in self.groups),)

    @cached_property
    def parts(self) -> tuple[Restored, ...]:
        """By the memory that is free."""
        from quantcurve.engines import openvino_switch

        needed = openvino_switch.needed_bytes(self._quantised.folder)
        found = openvino_switch.parts(self.groups, needed, psutil.virtual_memory().available)
        return tuple(frozenset(part) for part in found)

    def open_quick(self, child: Child, part: Restored, fixed: Restored = frozenset()) -> None:
        """See control_trials.Restorable."""
        from quantcurve.engines import control_child

        folder = self._quantised.folder
        child.call(control_child.open_switched, folder, self.source, sorted(part), sorted(fixed), self.config)

    def judge_quick(self, child: Child, restored: Restored, items: Sequence[int]) -> Judged:
        """See control_trials.Restorable."""
        from quantcurve.engines import control_child

        return child.call(control_child.judge_switched, sorted(restored), items)

    def build(self, child: Child, restored: Restored, folder: Path) -> None:
        """See control_trials.Restorable."""
        from quantcurve.engines import openvino_revert

        if len(restored) == len(self.groups):
            child.call(openvino_revert.build_float, self.source, folder)
            return
        child.call(openvino_revert.build, self._quantised.folder, self.source, folder, sorted(restored))

    def numbers(self, trace: Sequence[accuracy_outcome.Step]) -> tuple[int, ...]:
        """Groups that NNCF's loop has restored in the last of these steps, in the order of the steps."""
        found: dict[int, None] = {}
        for step in trace:
            removed = set(step.removed_quantizers)
            now = [group.number for group in self.groups if removed.issuperset(group.quantizers)]
            found = {number: None for number in (*found, *now) if number in now}
        return tuple(found)

    def account(self, restored: Sequence[int], scores: Mapping[int, float]) -> Account:
        """What restoring these groups means, in this order."""
        by_number = {group.number: group for group in self.groups}
        chosen = [by_number[number] for number in restored]
        total = self._quantised.step.groups.multiply_accumulates_total
        return Account(
            tuple(
                RestoredGroup(layers=g.layers, operations=g.operations, to=FLOAT, score=scores.get(g.number))
                for g in chosen
            ),
            len({operation for group in self.groups for operation in group.operations}),
            len(self.groups),
            tuple(dict.fromkeys(layer for group in reversed(self.groups) for layer in reversed(group.layers))),
            sum(group.multiply_accumulates for group in chosen) / total if total else 0.0,
        )


class Weights:
    """A variant with compressed weights: layers are restored to 8 bits, and where that is not enough to floats."""

    ranked_alone = False
    """Nothing is rounded anew behind a layer, so that what it wins beside the others can be told."""

    def __init__(
        self,
        source: Path,
        entry: OpenVinoVariant,
        layers: Sequence[Layer],
        forms: Mapping[str, Path],
        prices: Mapping[str, Mapping[str, float]],
        make: Callable[[Child, OpenVinoVariant, Path], None],
        config: OpenVinoConfig,
    ) -> None:
        """Nothing is opened yet.

        Args:
            source: folder of the float32 IR.
            entry: the variant.
            layers: its own, as it is without anything restored.
            forms: folders of IRs for the quick way: `own` and EXACT; empty: there is none.
            prices: by format, then by the layer's constant, what it costs to restore it.
            make: writes a variant of the source into a folder.
            config: how the quick way is run.
        """
        self.config = config
        self._source, self._entry, self._forms, self._prices, self._make = source, entry, forms, prices, make
        once = {layer.constant: layer for layer in reversed(layers)}
        self._layers = [layer for _, layer in reversed(once.items()) if layer.format not in UNCOMPRESSED]

    @cached_property
    def _steps(self) -> list[_WeightStep]:
        """All that can be restored; a step's number is its place. Layers of less than 8 bits come first."""
        narrow = [layer for layer in self._layers if bits(layer.format) < bits(EXACT)]
        tied = [(to, group) for to, found in ((EXACT, narrow), (FLOAT, self._layers)) for group in self._tied(found)]
        return [_WeightStep(tuple(group), to) for to, group in tied]

    def _tied(self, layers: Sequence[Layer]) -> list[list[Layer]]:
        """Layers that are restored together: AWQ changes the weights of a product along with those that it feeds."""
        if not self._entry.awq:
            return [[layer] for layer in layers]
        groups: dict[str, list[Layer]] = {}
        for layer in layers:
            feeding = next((node for node in layer.fed_by if node in groups), None)
            groups[layer.node] = groups[feeding] if feeding else []
            groups[layer.node].append(layer)
        return list({id(group): group for group in groups.values()}.values())

    @property
    def rungs(self) -> tuple[tuple[Step, ...], ...]:
        """First to EXACT, then all to floats."""
        steps = [
            (step.to, Step(number, sum(self._prices[step.to][layer.constant] for layer in step.layers)))
            for number, step in enumerate(self._steps)
        ]
        rungs = (tuple(step for t, step in steps if t == to) for to in (EXACT, FLOAT))
        return tuple(rung for rung in rungs if rung)

    @property
    def parts(self) -> tuple[Restored, ...]:
        """All or nothing."""
        return (frozenset(range(len(self._steps))),) if self._forms else ()

    def open_quick(self, child: Child, part: Restored, fixed: Restored = frozenset()) -> None:
        """See control_trials.Restorable."""
        from quantcurve.engines import control_child

        child.call(control_child.open_swapped, self._source, self._forms, self.config)

    def judge_quick(self, child: Child, restored: Restored, items: Sequence[int]) -> Judged:
        """See control_trials.Restorable."""
        from quantcurve.engines import control_child

        assigned = self._assigned(restored)
        forms = {constant: "float" if to == FLOAT else to for constant, to in assigned.items()}
        return child.call(control_child.judge_swapped, forms, items)

    def build(self, child: Child, restored: Restored, folder: Path) -> None:
        """See control_trials.Restorable."""
        self._make(child, self.variant(restored), folder)

    def variant(self, restored: Restored) -> OpenVinoVariant:
        """The recipe's variant with rules for what is restored before its own."""
        assigned = self._assigned(restored)
        names = {
            to: [layer.name for layer in self._layers if assigned.get(layer.constant) == to] for to in (FLOAT, EXACT)
        }
        rules = [LayerRule(match="|".join(map(re.escape, some)), weights=to) for to, some in names.items() if some]
        return self._entry.model_copy(update={"layers": (*rules, *self._entry.layers)})

    def account(self, restored: Sequence[int], scores: Mapping[int, float]) -> Account:
        """What restoring these layers means; of one that was restored twice the last counts."""
        assigned = self._assigned(frozenset(restored))
        steps = [(number, self._steps[number]) for number in restored]
        kept = [(n, step) for n, step in steps if all(assigned[layer.constant] == step.to for layer in step.layers)]
        weights = {layer.constant: layer.weights.entries for layer in self._layers}
        return Account(
            tuple(
                RestoredGroup(
                    layers=tuple(layer.name for layer in step.layers),
                    operations=tuple(layer.node for layer in step.layers),
                    to=step.to,
                    score=scores.get(number),
                )
                for number, step in kept
            ),
            len(self._layers),
            len(self._tied(self._layers)),
            tuple(layer.name for layer in self._layers),
            sum(weights[constant] for constant in assigned) / sum(weights.values()),
        )

    def _assigned(self, restored: Restored) -> dict[str, str]:
        """What is restored to, by the layer's constant; a later step takes the place of an earlier one."""
        steps = (self._steps[number] for number in sorted(restored))
        return {layer.constant: step.to for step in steps for layer in step.layers}
