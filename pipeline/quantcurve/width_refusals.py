"""Groups that do not divide the widths of a model's layers: refused before NNCF has loaded it
(nncf/quantization/algorithms/weight_compression/algorithm.py, get_weight_compression_parameters and
validate_group_size; weight_lowering.py, reshape_weight_for_grouped_quantization)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from quantcurve.nncf_refusals import refusal
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from quantcurve.weight_formats import (
    GROUP_SIZES,
    INT8,
    STATIC,
    UNCOMPRESSED,
    adjusted_group,
    backup_group,
    default_backup,
    group_of,
)

SIZES = (128, 64, 32, 16)
"""Groups that a message offers, if they divide all widths."""


class Width(NamedTuple):
    """A layer that NNCF compresses."""

    name: str
    columns: int
    """Input width."""
    weights: int
    apart: bool = False
    """Whether it is the head or an embedding, which get the backup format unless a variant is for all layers."""
    rule: LayerRule | None = None
    """The rule that it goes to, if any."""


class _Misfit(NamedTuple):
    """Layers whose width is no multiple of their group."""

    group: int
    layers: Sequence[Width]
    of: str
    """What has that group, if it is not the variant itself."""

    def __str__(self) -> str:
        first, more = self.layers[0], len(self.layers) - 1
        named = first.name + (f" and {more} more layer{'s' * (more > 1)}" if more else "")
        return f"{self.of}a group of {self.group} does not divide the {first.columns} columns of {named}"


def width_refusal(variant: OpenVinoVariant, widths: Sequence[Width]) -> str | None:
    """Why NNCF would refuse a variant of a model, with what mends it; None where nothing is sure.

    With a ratio below 1 NNCF chooses the layers that get the backup format, and so which groups count.

    Args:
        variant: of which.
        widths: of every layer that NNCF compresses, the head and the embedding among them.
    """
    if variant.weights in (*UNCOMPRESSED, *STATIC):
        return None
    for rule in variant.layers:
        if misfit := _rule_misfit(rule, variant, [w for w in widths if w.rule == rule]):
            return f"{misfit}: {_rule_advice(rule, variant, misfit)}"
    own = [w for w in widths if w.rule is None]
    misfit = _own_misfit(variant, own)
    return f"{misfit}: {_advice(variant, own)}" if misfit else None


def _fits(width: Width, group: int) -> bool:
    return group < 0 or width.columns % group == 0


def _weights(widths: Iterable[Width]) -> int:
    return sum(w.weights for w in widths)


def _rule_misfit(rule: LayerRule, variant: OpenVinoVariant, widths: Sequence[Width]) -> _Misfit | None:
    """Of a rule's layers, all of which get its own format."""
    if rule.weights in (*UNCOMPRESSED, *INT8) or variant.group_size_fallback == "ignore":
        return None
    group = group_of(rule.weights, rule.group_size)
    odd = [w for w in widths if not _fits(w, group)]
    if variant.group_size_fallback == "adjust":
        backup = variant.backup if rule.weights == variant.mode else None
        kept = backup_group(rule.weights, rule.group_size, backup)
        odd = [w for w in odd if adjusted_group(w.columns) is None and not _fits(w, kept)]
    return _Misfit(group, odd, f"layer rule {rule.match!r}: ") if odd else None


def _rule_advice(rule: LayerRule, variant: OpenVinoVariant, misfit: _Misfit) -> str:
    """Only what mends it: a rule that is tried again with the change fits."""
    size = _first_size(misfit.layers) if rule.weights not in GROUP_SIZES else None
    offers = [f"give the rule group_size: {size}"] if size else []
    adjusted = variant.model_copy(update={"group_size_fallback": "adjust"})
    if refusal(adjusted) is None and _rule_misfit(rule, adjusted, misfit.layers) is None:
        offers.append("give the variant group_size_fallback: adjust")
    return ", or ".join(offers) or "take INT8_ASYM for them, or F32 to leave them as they are"


def _first_size(widths: Sequence[Width]) -> int | None:
    return next((size for size in SIZES if all(_fits(w, size) for w in widths)), None)


def _own_misfit(variant: OpenVinoVariant, widths: Sequence[Width]) -> _Misfit | None:
    """Of the layers that no rule names."""
    if variant.weights in INT8:
        return None
    group = group_of(variant.weights, variant.group_size)
    in_backup = [w for w in widths if w.apart and not variant.all_layers]
    chosen = [w for w in widths if not w.apart or variant.all_layers]
    odd = [w for w in chosen if not _fits(w, group)]
    if variant.group_size_fallback == "ignore":
        chosen, odd = [w for w in chosen if _fits(w, group)], []
    if variant.group_size_fallback == "adjust":
        left = [w for w in odd if adjusted_group(w.columns) is None]
        in_backup, chosen, odd = in_backup + left, [w for w in chosen if w not in left], []
    if _some_chosen(odd, chosen, variant):
        return _Misfit(group, odd, "")
    return _backup_misfit(variant, in_backup, chosen)


def _some_chosen(odd: Sequence[Width], chosen: Sequence[Width], variant: OpenVinoVariant) -> bool:
    """Whether a layer of `odd` gets the variant's own format for sure, or a backup format with the same group.

    NNCF gives layers that format up to, and without, the one that reaches the ratio (mixed_precision.py, apply)."""
    if not odd or variant.ratio in {None, 1}:
        return bool(odd)
    kept = backup_group(variant.weights, variant.group_size, variant.backup)
    if any(not _fits(w, kept) for w in odd):
        return True
    total, largest = _weights(chosen), max(w.weights for w in chosen)
    return total - _weights(odd) < (variant.ratio or 0) * total - largest


def _backup_misfit(variant: OpenVinoVariant, in_backup: Sequence[Width], chosen: Sequence[Width]) -> _Misfit | None:
    """Of layers that get the backup format for sure: NNCF neither adjusts nor ignores its groups."""
    name = variant.backup or default_backup(variant.weights)
    group = backup_group(variant.weights, variant.group_size, variant.backup)
    odd = [w for w in in_backup if not _fits(w, group)]
    said = f"NNCF never changes the groups of the backup format {name}: "
    if odd:
        return _Misfit(group, odd, said)
    odd = [w for w in chosen if not _fits(w, group)]
    if variant.ratio in {None, 1} or _weights(odd) < (variant.ratio or 0) * _weights(chosen):
        return None
    return _Misfit(group, odd, said) if odd else None


def _advice(variant: OpenVinoVariant, widths: Sequence[Width]) -> str:
    """Only what mends it: a variant that is tried again with the change fits."""

    def mends(**change: Any) -> bool:
        changed = variant.model_copy(update=change)
        return refusal(changed) is None and _own_misfit(changed, widths) is None

    sizes = [size for size in SIZES if mends(group_size=size)]
    offers = [f"group_size: {sizes[0]}"] if sizes and variant.weights not in GROUP_SIZES else []
    for key, value in (("group_size_fallback", "adjust"), ("backup", "int8_asym")):
        if mends(**{key: value}):
            offers.append(f"{key}: {value}")
    for fallback in ("adjust", "ignore"):
        if not offers and mends(group_size_fallback=fallback):
            offers.append(f"group_size_fallback: {fallback}")
        if not offers and mends(group_size_fallback=fallback, backup="int8_asym"):
            offers.append(f"group_size_fallback: {fallback} with backup: int8_asym")
    return f"give {', or '.join(offers)}" if offers else "take a format with one scale a channel, such as INT8_ASYM"
