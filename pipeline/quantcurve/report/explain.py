"""What accuracy control did to a variant, as a map of the model: layers down, modules across."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from quantcurve.accuracy_records import ControlResult
from quantcurve.encoder_results import EncoderVariantResult
from quantcurve.estimates import Estimate, Figure, Missing
from quantcurve.results import VariantResult

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MARKS = {"F32": "F", "INT8_ASYM": "8"}
"""In the map, by what a layer was restored to."""
KEPT = "·"
NUMBERED = re.compile(r"^(?P<stack>.*?)\.?(?P<number>\d+)\.(?P<module>.+)$")
"""model.layers.3.mlp.up_proj: stack model.layers, number 3, module mlp.up_proj."""


def explanation(variant: VariantResult | EncoderVariantResult) -> Iterator[RenderableType]:
    """Sentences, map and list for one variant under accuracy control."""
    control = variant.accuracy_control
    assert control
    yield f"{variant.name}: {summary(control)}"
    yield from (f"  {line}" for line in details(control))
    if control.restored:
        yield layer_map(control)
        used = (f"{mark} {_words(to)}" for to, mark in MARKS.items() if _has(control, to))
        yield "  " + "   ".join((f"{KEPT} quantised", *used))
        yield from (f"  {line}" for line in restored_lines(control))


def summary(control: ControlResult) -> str:
    """One sentence: whether the budget is kept, and what it took."""
    cut_off = control.stopped and not control.reached
    open_ = "allow the search more, it was cut off" if cut_off else "more held-out items would tell"
    kept = {"pass": "kept", "fail": "not kept", "undecided": f"undecided: {open_}"}
    said = f"{control.function} loses {figure(control.drop)} on {control.held_out_items} held-out items"
    gains = " (below 0 is a gain)" if isinstance(control.drop, Estimate) and control.drop.value < 0 else ""
    plain = f"{figure(control.plain_drop)} without restoring{gains}"
    return f"budget {_budget(control)} {kept[control.verdict]}; {said}, {plain}"


def details(control: ControlResult) -> list[str]:
    """What was done, and how long it took."""
    seconds, share = control.seconds, f"{100 * control.restored_share:.1f} %"
    sets = "1 set" if control.validations == 1 else f"{control.validations} sets"
    lines = [
        f"on the {control.items} items of the search it loses {control.search_drop:.4g}, "
        f"{control.search_plain_drop:.4g} without restoring; the reference has {control.reference_mean:.4g} on the "
        "held-out ones",
        f"{len(control.restored)} of {control.groups} groups restored ({control.restored_operations} of "
        f"{control.operations} operations, {share} of the {control.share_of})",
        f"{sets} of layers validated on {control.item_evaluations} items in all; "
        f"{seconds.total:.0f} s: {seconds.validation:.0f} s validation, {seconds.compilation:.0f} s compilation, "
        f"{seconds.rest:.0f} s the rest; ranking: {control.ranking}",
    ]
    if not control.restored and control.reached:
        lines.append("the plain variant keeps the budget on the items of the search: nothing was restored")
    if control.stopped:
        lines.append(f"the search was ended before it kept the budget by {control.stopped}")
    if control.leaked_items:
        lines.append(f"{control.leaked_items} items shared a passage with calibration or evaluation texts: left out")
    return lines


def layer_map(control: ControlResult) -> Table:
    """A row for each layer, a column for each module; rows with nothing restored in them are drawn as one."""
    from rich.table import Table

    places = [found for layer in control.layers if (found := NUMBERED.match(layer))]
    modules = list(dict.fromkeys(found["module"] for found in places))
    rows = list(dict.fromkeys((found["stack"], int(found["number"])) for found in places))
    to = {layer: MARKS.get(group.to, "F") for group in control.restored for layer in group.layers}
    table = Table("layer", *_titles(modules), box=None, pad_edge=False, padding=(0, 1))
    marked = [
        (f"{stack} {number}", tuple(_mark(f"{stack}.{number}.{module}", control.layers, to) for module in modules))
        for stack, number in rows
    ]
    for marks, run in groupby(marked, key=lambda row: row[1]):
        names = [name for name, _ in run]
        table.add_row(_range(names), *marks)
    return table


def restored_lines(control: ControlResult) -> list[str]:
    """Every restored group in the order of the ranking."""
    state = "quantised" if control.share_of == "multiplications by weights" else "restored"
    return [
        f"{place:>3}. {', '.join(group.layers or group.operations)} to {_words(group.to)}"
        + (f"  ({state} alone: {group.score:.4g} on the ranking items)" if group.score is not None else "")
        for place, group in enumerate(control.restored, 1)
    ]


def figure(value: Figure) -> str:
    """A drop with its interval."""
    if isinstance(value, Missing):
        return f"nobody knows how much ({value.missing})"
    return f"{value.value:.4g} [{value.low:.4g}, {value.high:.4g}]"


def _budget(control: ControlResult) -> str:
    if control.relative_max_drop is None:
        return f"{control.max_drop:.4g}"
    return f"{100 * control.relative_max_drop:.4g} % ({control.max_drop:.4g})"


def _mark(layer: str, quantised: Sequence[str], restored: dict[str, str]) -> str:
    return restored.get(layer, KEPT if layer in quantised else "")


def _titles(modules: Sequence[str]) -> list[str]:
    """The last words of every module's name that no other's ends with: mlp.up_proj is up_proj; operations without
    weights go by their kind."""

    def title(module: str) -> str:
        if module.endswith("ScaledDotProductAttention"):
            return "attention"
        words = module.split(".")
        ends = (".".join(words[-count:]) for count in range(1, len(words)))
        others = [f".{other}" for other in modules if other != module]
        return next((end for end in ends if not any(other.endswith(f".{end}") for other in others)), module)

    return [title(module) for module in modules]


def _range(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1].rpartition(' ')[2]}"


def _has(control: ControlResult, to: str) -> bool:
    return any(group.to == to for group in control.restored)


def _words(to: str) -> str:
    return {"F32": "float", "INT8_ASYM": "8 bits"}.get(to, to)
