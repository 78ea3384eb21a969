"""What a run says about where a variant loses: modules that accuracy control restored, the worst text, sizes of
tensors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from quantcurve.accuracy_records import ControlResult
from quantcurve.estimates import Estimate
from quantcurve.results import RunResult, VariantResult

BITS = {
    **{"F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q5_1": 6.0, "Q5_0": 5.5},
    **{"Q4_K": 4.5, "Q4_1": 5.0, "Q4_0": 4.5, "IQ4_NL": 4.5, "IQ4_XS": 4.25, "Q3_K": 3.4375, "IQ3_S": 3.4375},
    **{"IQ3_XXS": 3.0625, "Q2_K": 2.625},
}
"""Of a weight with its scales, by GGUF tensor type (ggml/src/ggml-common.h: 8 x bytes of a block / its weights)."""
GGUF_NAMES = {
    **{"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output"},
    **{"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"},
}
"""llama.cpp's names of what transformers calls modules, in models of Llama's form."""
WORSE = 1.2
"""A text counts as worst where its KL divergence is so many times that of the others."""


class Module(NamedTuple):
    """Layers of one name, as accuracy control ranked them."""

    name: str
    """Such as v_proj."""
    restored: int
    there: int
    place: float
    """Mean of the restored ones' places in the ranking, from 1 on."""
    of_weights: bool
    """Whether compressed weights were restored, not quantisers of W8A8."""
    variant: str


class WorstText(NamedTuple):
    """The evaluation text on which a variant loses most."""

    text: str
    source: str
    kl: Estimate
    others_nats: float
    """Mean over the other texts of their mean KL divergences."""


class Tensor(NamedTuple):
    """A tensor of a GGUF file, as far as the record tells."""

    name: str
    weights: int
    type: str


def modules(run: RunResult, of_weights: bool) -> list[Module]:
    """Modules of which accuracy control restored layers, those that it ranked highest first; of the first variant that
    tells.

    Args:
        run: with variants under accuracy control, or without.
        of_weights: those of compressed weights, or of W8A8.
    """
    for variant in run.variants:
        control = variant.accuracy_control
        if control and control.restored and (control.share_of == "compressed weights") == of_weights:
            return sorted(_modules(control, variant.name, of_weights), key=lambda module: module.place)
    return []


def _modules(control: ControlResult, variant: str, of_weights: bool) -> list[Module]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(control.restored, 1):
        for layer in group.layers:
            if ":" not in layer:
                places[_module(layer)].append(place)
    there = [_module(layer) for layer in control.layers if ":" not in layer]
    return [
        Module(name, len(found), max(there.count(name), len(found)), sum(found) / len(found), of_weights, variant)
        for name, found in places.items()
    ]


def _module(layer: str) -> str:
    return layer.rpartition(".")[2]


def worst_text(run: RunResult, variant: VariantResult) -> WorstText | None:
    """The text on which a variant loses most; None where there is one text, or none stands out."""
    found = [(s.text, s.divergence.kl_mean) for s in variant.slices if s.divergence]
    known = [(text, kl) for text, kl in found if isinstance(kl, Estimate)]
    if len(known) < 2:
        return None
    text, worst = max(known, key=lambda one: one[1].value)
    others = [kl.value for name, kl in known if name != text]
    mean = sum(others) / len(others)
    if worst.value < WORSE * mean:
        return None
    source = next((t.source for t in run.texts if t.name == text), "")
    return WorstText(text, source, worst, mean)


def tensors(variant: VariantResult) -> list[Tensor]:
    """Tensors of a file whose size and type the record tells: those that did not get the type that was asked for."""
    given = dict(variant.tensor_types)
    fallbacks = variant.file.fallbacks if variant.file else ()
    return [Tensor(f.tensor, f.weights, given.get(f.tensor, f.got).upper()) for f in fallbacks]


def weights_by_name(run: RunResult) -> Mapping[str, int]:
    """Weights of each tensor that any variant's record tells, by llama.cpp's name."""
    return {t.name: t.weights for v in run.variants if v.engine == "llama.cpp" for t in tensors(v)}


def raised_bytes(of: list[Tensor], to: str) -> int | None:
    """Bytes that tensors take more in another type; None where a type's size is not known here."""
    if not of or to not in BITS or any(t.type not in BITS for t in of):
        return None
    return round(sum(t.weights * (BITS[to] - BITS[t.type]) / 8 for t in of))


def module_weights(run: RunResult, names: tuple[str, ...]) -> int | None:
    """Weights of all layers of some modules, from the tensors of GGUF variants; None where the record does not tell."""
    known = weights_by_name(run)
    total = 0
    for name in names:
        pattern = re.compile(rf"blk\.\d+\.{GGUF_NAMES.get(name, name)}\.weight")
        found = [weights for tensor, weights in known.items() if pattern.fullmatch(tensor)]
        if not found:
            return None
        total += sum(found)
    return total


def restored_words(found: list[Module]) -> str:
    """What accuracy control did, in words."""
    each = (f"{m.restored} of {m.there} {m.name} (mean place {m.place:.0f})" for m in found)
    return f"accuracy control of {found[0].variant} restored {', '.join(each)}"
