"""Before NNCF works: whether it would refuse. After: whether layers have the format that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from quantcurve.engines.openvino_layers import Layer, apart, assign, rule_of_constant, widths
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import Fallback
from quantcurve.weight_formats import (
    INT8,
    STATIC,
    UNCOMPRESSED,
    adjusted_group,
    backup_group,
    bits,
    default_backup,
    group_of,
)
from quantcurve.width_refusals import width_refusal

AWQ_DONE = "Applying data-aware AWQ"
"""What NNCF prints before AWQ changes a layer (nncf/quantization/algorithms/weight_compression/awq.py, apply)."""
KEPT = "F32"
"""Of layers that are left as they are in an IR of another format."""


class Format(NamedTuple):
    """How weights are stored."""

    weights: str
    group: int
    """Weights that share a scale; -1: a whole channel, or no scale at all."""

    def __str__(self) -> str:
        return self.weights if self.group < 0 else f"{self.weights}+g{self.group}"


def check_rules(found: Sequence[Layer], entries: Sequence[OpenVinoVariant]) -> None:
    """Refuse rules for single layers that have no effect, of all variants before the first one is made.

    Args:
        found: layers of the float32 IR.
        entries: all variants.

    Raises:
        RecipeError: a rule matches no layer, or only layers of earlier rules; the message names the variant.
    """
    for entry in entries:
        assign([layer.name for layer in found], entry.layers)


def refusal(found: Sequence[Layer], entry: OpenVinoVariant) -> str | None:
    """Why NNCF would refuse a variant of the float32 IR with these layers, or None."""
    return width_refusal(entry, widths(found, entry.layers)) or _awq_refusal(found, entry)


def _awq_refusal(found: Sequence[Layer], entry: OpenVinoVariant) -> str | None:
    """AWQ scales a layer's inputs by changing the weights of the product that they come from, and looks its statistics
    up among the layers that it compresses itself (nncf/quantization/algorithms/weight_compression/awq.py, apply)."""
    if not entry.awq or entry.ratio not in {None, 1}:
        return None
    ruled = rule_of_constant(found, entry.layers)
    own = _format(entry.mode, entry.group_size).group
    out = {f.node: f for f in found if f.constant in ruled or _unmeasured(entry, f.columns, own)}
    for layer in found:
        before = next((out[node] for node in layer.fed_by if node in out), None)
        if before and layer.node not in out:
            why = "a layer rule gives it" if before.constant in ruled else "its width leaves it in"
            return (
                f"awq changes the weights of {before.name} along with those of {layer.name}, and {why} another format: "
                "let both have the same, or leave awq out"
            )
    return None


def _unmeasured(entry: OpenVinoVariant, columns: int, group: int) -> bool:
    """Whether NNCF keeps a layer as it is, and so collects no statistics for it."""
    if not _left_out(entry, columns, group):
        return False
    return entry.group_size_fallback == "ignore" or entry.backup == "none"


def fallbacks(source: Sequence[Layer], made: Sequence[Layer], entry: OpenVinoVariant) -> tuple[Fallback, ...]:
    """Layers that are not what a variant asks for.

    Args:
        source: of the float32 IR.
        made: of the variant.
        entry: the variant.
    """
    by_node, found = {layer.node: layer for layer in made}, []
    for layer, wanted in _wanted(source, entry):
        got = by_node.get(layer.node)
        stored = Format(got.format, got.group(layer)) if got else Format("no weights", -1)
        if stored not in wanted:
            weights = layer.weights.entries
            found.append(Fallback(tensor=layer.name, wanted=str(wanted[0]), got=str(stored), weights=weights))
    return tuple(found)


def notes(made: Sequence[Layer], entry: OpenVinoVariant, log: str) -> tuple[str, ...]:
    """Methods of a variant that did nothing.

    Args:
        made: layers of the variant.
        entry: the variant.
        log: what NNCF printed.
    """
    said = []
    if entry.awq and AWQ_DONE not in log:
        said.append("awq changed nothing: NNCF found no layer that it applies to")
    others = [n for n in ("scale_estimation", "gptq", "lora_correction") if getattr(entry, n)]
    own = {layer.format for layer in made if not layer.embedding}
    if others and not any(bits(weights) == 4 for weights in own):
        said.append(f"{', '.join(others)} changed nothing: no layer has {entry.weights}")
    return tuple(said)


def _wanted(source: Sequence[Layer], entry: OpenVinoVariant) -> Iterator[tuple[Layer, tuple[Format, ...]]]:
    """Every layer with the formats that it may have, the one that is asked for first. Shared weights are looked at
    once, unless rules ask for several formats."""
    assigned = assign([layer.name for layer in source], entry.layers)
    ruled, kept, seen = rule_of_constant(source, entry.layers), apart(source), set()
    for layer in source:
        if rule := assigned.get(layer.name):
            wanted: tuple[Format, ...] = (_format(rule.weights, rule.group_size),)
        elif layer.constant in ruled:
            continue
        else:
            wanted = _own(entry, layer.columns, layer.constant in kept)
        if (layer.constant, wanted) not in seen:
            seen.add((layer.constant, wanted))
            yield layer, wanted


def _own(entry: OpenVinoVariant, columns: int, is_apart: bool) -> tuple[Format, ...]:
    own = _format(entry.mode, entry.group_size)
    if entry.weights in (*UNCOMPRESSED, *INT8, *STATIC):
        return (own,)
    name = entry.backup or default_backup(entry.weights)
    group = backup_group(entry.weights, entry.group_size, entry.backup)
    backup = Format(KEPT, -1) if name == "none" else Format(name.upper(), group)
    if is_apart and not entry.all_layers:
        return (backup,)
    if entry.ratio in {None, 1} or _left_out(entry, columns, own.group):
        return (own,)
    return own, backup


def _left_out(entry: OpenVinoVariant, columns: int, group: int) -> bool:
    """Whether a layer takes no part in a mixture, since its group does not fit."""
    if group < 0 or columns % group == 0:
        return False
    return entry.group_size_fallback == "ignore" or adjusted_group(columns) is None


def _format(weights: str, group_size: int | None) -> Format:
    return Format(weights, -1 if weights in UNCOMPRESSED else group_of(weights, group_size))
