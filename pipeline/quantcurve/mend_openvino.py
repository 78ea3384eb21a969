"""OpenVINO variants to try where none of a run is inside every limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quantcurve.estimates import Estimate
from quantcurve.mend_base import Idea, Missed, changed, loss, nats, shown
from quantcurve.mend_evidence import module_weights, modules, restored_words
from quantcurve.mend_openvino_loss import closer_run
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import OpenVinoEffective
from quantcurve.report import words
from quantcurve.results import Speed
from quantcurve.weight_formats import GROUP_SIZES, INT8, STATIC, UNCOMPRESSED, WHOLE_CHANNEL, bits, group_of

FOUR_BITS = frozenset({"i4", "u4", "nf4", "f4e2m1"})
"""Element types of OpenVINO."""
LEAST_GROUP, WIDEST_GROUP, GROUP = 16, 128, 64
SCALE_BYTES, ZERO_POINT_BYTES = 2.0, 0.5
"""Of a group of 4-bit weights: a scale in F16, and where it is asymmetric a zero point in 4 bits."""
FEEDING = ("down_proj", "o_proj")
"""What feeds the residual stream."""


def closer(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """Variants that lose less than one of the run."""
    yield from closer_run(start, entry)
    if entry.weights in UNCOMPRESSED:
        return
    yield from _smaller_groups(missed, start, entry)
    yield from _methods(missed, start, entry)
    yield from _layers(missed, start, entry)
    yield from _larger(start, entry)


def smaller(start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """The next smaller format."""
    why = f"{start.name} has {words.mib(start.size_bytes)}"
    if isinstance(start.variant.speed, Speed):
        why += f" and decodes {words.bounds(start.decode, unit='tokens/s')}"
    if entry.weights in UNCOMPRESSED:
        made = changed(entry, weights="INT8_ASYM")
        weights = start.variant.file.weights if start.variant.file else 0
        yield Idea("weights in 8 bits", why, made, round(weights * (8 - bits(entry.weights)) / 8))
    elif bits(entry.weights) == 8:
        fields = {"weights": "INT4_SYM", "group_size": GROUP, "group_size_fallback": "adjust"}
        plain = {"preset": None, "smooth_quant": None, "accuracy_control": None, "layers": ()}
        yield Idea("half of the weights in 4 bits", why, changed(entry, **fields, **plain, ratio=0.5), None)
        yield Idea("weights in 4 bits", why, changed(entry, **fields, **plain), None)
    else:
        yield from _larger_groups(start, entry, why)


def smaller_cache(start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """A KV cache that takes less memory."""
    config = start.variant.scoring_config
    if not isinstance(config, OpenVinoEffective) or config.cache_bytes_per_token is None:
        return
    kind = "u8" if config.plain_cache else "u4"
    half = config.cache_bytes_per_token / 2
    if config.key_cache_precision != kind:
        yield Idea(
            f"a KV cache in {kind}",
            f"{start.name} keeps {config.cache_bytes_per_token:,.0f} bytes a token in {config.key_cache_precision}",
            changed(entry, runtime=entry.runtime.model_dump() | {"kv_cache": kind}),
            0,
            f"at least {half:,.0f} bytes a token less memory",
        )


def _smaller_groups(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    if entry.weights in (*WHOLE_CHANNEL, *GROUP_SIZES) or (group := group_of(entry.weights, entry.group_size)) == 0:
        return
    new = GROUP if group < 0 else group // 2
    if new < LEAST_GROUP:
        return
    others = [e for e in missed.known.openvino.values() if e.group_size and e.group_size > 0]
    seen = next((s for e in others if (s := shown(missed, [e], group_size=2 * (e.group_size or 0)))), "")
    fallback = "adjust" if group < 0 else entry.group_size_fallback
    yield Idea(
        f"groups of {new} weights",
        "; ".join(part for part in (loss(start), seen) if part),
        changed(entry, group_size=new, group_size_fallback=fallback),
        _group_bytes(start, entry, group, new),
    )


def _larger_groups(start: Candidate, entry: OpenVinoVariant, why: str) -> Iterator[Idea]:
    group = group_of(entry.weights, entry.group_size)
    if entry.weights in GROUP_SIZES or not 0 < group < WIDEST_GROUP:
        return
    yield Idea(
        f"groups of {2 * group} weights, where they fit",
        why,
        changed(entry, group_size=2 * group, group_size_fallback="adjust"),
        _group_bytes(start, entry, group, 2 * group),
    )


def _group_bytes(start: Candidate, entry: OpenVinoVariant, old: int, new: int) -> int:
    each = SCALE_BYTES + ZERO_POINT_BYTES * entry.weights.endswith("_ASYM")
    return round(_four_bit_weights(start) * each * (1 / new - (1 / old if old > 0 else 0)))


def _four_bit_weights(start: Candidate) -> int:
    types = start.variant.file.types if start.variant.file else ()
    return sum(t.weights for t in types if t.type in FOUR_BITS)


def _methods(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """What NNCF does with calibration texts; AWQ only where no rule gives a layer of a pair another format."""
    fields = {"scale_estimation": True} | ({} if entry.layers else {"awq": True})
    if all(getattr(entry, name) for name in fields):
        return
    using = [e for e in missed.known.openvino.values() if e.awq or e.scale_estimation]
    seen = shown(missed, using, awq=False, scale_estimation=False)
    none = f"{loss(start)} without {' and '.join(sorted(fields))}"
    yield Idea(
        " and ".join(sorted(fields)),
        f"{loss(start)}; {seen}" if seen else none,
        changed(entry, **fields),
        0,
        "compressing it takes longer",
    )


def _layers(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """Single modules in higher precision: those that accuracy control ranked first, and those of another variant."""
    if entry.weights in INT8 or entry.weights == "W4A8":
        return
    to = "F32" if entry.weights in STATIC else "INT8_ASYM"
    found = modules(missed.run, of_weights=entry.weights not in STATIC)
    for some in (found[:1], found[:3]) if found else ():
        names = tuple(module.name for module in some)
        yield _ruled(missed, start, entry, names, to, restored_words(some))
    ruled = [e for e in missed.known.openvino.values() if e.layers]
    seen = shown(missed, ruled, layers=())
    if not found or seen:
        yield _ruled(missed, start, entry, FEEDING, to, seen or "they feed the residual stream; this run ranks no layer")


def _ruled(
    missed: Missed, start: Candidate, entry: OpenVinoVariant, names: Sequence[str], to: str, evidence: str
) -> Idea:
    ruled = any(name in rule.match for rule in entry.layers for name in names)
    pattern = rf".*\.({'|'.join(names)})" if len(names) > 1 else rf".*\.{names[0]}"
    rules = [{"match": pattern, "weights": to}, *(rule.model_dump() for rule in entry.layers)]
    name = f"{entry.label}-{'-'.join(names)}-{to}"
    weights = module_weights(missed.run, tuple(names))
    return Idea(
        f"{words.listed(names)} in {to}",
        f"{loss(start)}; {evidence}",
        None if ruled else changed(entry, name=name, layers=rules, accuracy_control=None, awq=False),
        None if weights is None else _layer_bytes(weights, entry, to),
    )


def _layer_bytes(weights: int, entry: OpenVinoVariant, to: str) -> int:
    """Bytes more, without the scales of whole channels; floats are stored in 16 bits."""
    new = 16 if to == "F32" else 8
    group = group_of(entry.weights, entry.group_size)
    each = SCALE_BYTES + ZERO_POINT_BYTES * entry.weights.endswith("_ASYM")
    return round(weights * ((new - bits(entry.weights)) / 8 - (each / group if group > 0 else 0)))


def _larger(start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """All weights in the next larger format."""
    plain = {"layers": (), "accuracy_control": None, "preset": None, "smooth_quant": None}
    plain |= {"group_size": None, "ratio": None, "backup": None, "sensitivity": None, "all_layers": False}
    plain |= {"awq": False, "scale_estimation": False, "gptq": False, "lora_correction": False}
    runtime = {"runtime": entry.runtime.model_dump() | {"dynamic_quantization_group": None}} if entry.weights == "W4A8" else {}
    if bits(entry.weights) < 8 or entry.weights in STATIC:
        made = changed(entry, **plain, **runtime, weights="INT8_ASYM", group_size_fallback="error")
        four, group = _four_bit_weights(start), group_of(entry.weights, entry.group_size)
        extra = round(four * (0.5 - (SCALE_BYTES / group if group > 0 else 0)))
        yield Idea("weights in 8 bits", loss(start), made, extra if four else None)
    elif entry.weights in INT8:
        file = start.variant.file
        eight = sum(t.weights for t in file.types if t.type in {"u8", "i8"}) if file else 0
        yield Idea("weights in 16 bits", loss(start), changed(entry, **plain, weights="F16"), eight or None)


def first(missed: Missed, target: str) -> Iterator[Idea]:
    """A first OpenVINO variant for a device, where the run has none on it; then its own ones there."""
    device = {"runtime": {"device": target.upper()}}
    if not missed.known.openvino:
        made = changed(OpenVinoVariant(weights="INT8_ASYM"), **device)
        yield Idea(f"an OpenVINO variant on the {target.upper()}", "this run has no OpenVINO model", made, None)
    for name, entry in missed.known.openvino.items():
        made = changed(entry, runtime=entry.runtime.model_dump() | device["runtime"])
        variant = next((v for v in missed.run.variants if v.name == name and v.overall and v.overall.divergence), None)
        kl = variant.overall.divergence.kl_mean if variant and variant.overall and variant.overall.divergence else None
        lost = f" and lost {nats(kl)} there" if isinstance(kl, Estimate) else ""
        why = f"{name} was measured on the {entry.runtime.device}{lost}; this run has none on the {target.upper()}"
        yield Idea(f"{name} on the {target.upper()}", why, made, 0)
