"""OpenVINO variants to try where none of a run is inside every limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from quantcurve.estimates import Estimate
from quantcurve.mend_base import Idea, Missed, candidate_of, changed, loss, nats, shown
from quantcurve.mend_evidence import module_weights, modules, restored_words
from quantcurve.mend_openvino_loss import closer_run
from quantcurve.pick_weigh import Candidate
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import OpenVinoEffective
from quantcurve.report import words
from quantcurve.results import Speed
from quantcurve.weight_formats import GROUP_SIZES, INT8, STATIC, UNCOMPRESSED, WHOLE_CHANNEL, bits, group_of

FOUR_BITS, EIGHT_BITS = frozenset({"i4", "u4", "nf4"}), frozenset({"i8", "u8"})
"""Element types of OpenVINO."""
ESTIMABLE = ("INT4_ASYM", "INT4_SYM", "W4A8", "NF4")
"""Formats with the scales of SCALE_BYTES, so that a change of them is known in bytes."""
LEAST_GROUP, WIDEST_GROUP, GROUP = 16, 128, 64
SCALE_BYTES, ZERO_POINT_BYTES = 2.0, 0.5
"""Of a group of 4-bit weights: a scale in F16, and where it is asymmetric a zero point in 4 bits."""
FEEDING = ("down_proj", "o_proj")
"""What feeds the residual stream."""
WITHOUT_AWQ = "awq is left out, since it needs layers that feed each other to have one format"


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
        four = OpenVinoVariant(
            weights="INT4_SYM", group_size=GROUP, group_size_fallback="adjust", runtime=entry.runtime
        )
        yield Idea("half of the weights in 4 bits", why, changed(four, ratio=0.5), None)
        yield Idea("weights in 4 bits", why, four, None)
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


def _group_bytes(start: Candidate, entry: OpenVinoVariant, old: int, new: int) -> int | None:
    if entry.weights not in ESTIMABLE:
        return None
    each = SCALE_BYTES + ZERO_POINT_BYTES * entry.weights.endswith("_ASYM")
    return round(_weights(start, FOUR_BITS) * each * (1 / new - (1 / old if old > 0 else 0)))


def _weights(start: Candidate, of_types: frozenset[str]) -> int:
    types = start.variant.file.types if start.variant.file else ()
    return sum(t.weights for t in types if t.type in of_types)


def _methods(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """What NNCF does with calibration texts; AWQ only where no rule gives a layer of a pair another format."""
    methods = ("scale_estimation",) if entry.layers else ("awq", "scale_estimation")
    if all(getattr(entry, name) for name in methods):
        return
    fields: dict[str, Any] = dict.fromkeys(methods, True)
    using = [e for e in missed.known.openvino.values() if e.awq or e.scale_estimation]
    seen = shown(missed, using, awq=False, scale_estimation=False)
    yield Idea(
        " and ".join(methods),
        f"{loss(start)}; {seen}" if seen else f"{loss(start)} without {' and '.join(methods)}",
        changed(entry, **fields),
        0,
        "compressing it takes longer",
    )


def _layers(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """Single modules in higher precision: those that accuracy control ranked first, and those of another variant."""
    if entry.weights in INT8 or entry.weights == "W4A8" or entry.accuracy_control:
        return
    to = "F32" if entry.weights in STATIC else "INT8_ASYM"
    found = modules(missed.run, of_weights=entry.weights not in STATIC)
    for some in (found[:1], found[:3]) if found else ():
        names = tuple(module.name for module in some)
        yield _ruled(missed, start, entry, names, to, restored_words(some))
    known = list(_known_layers(missed, start, entry))
    yield from known
    if not found and not known:
        yield _ruled(missed, start, entry, FEEDING, to, "they feed the residual stream; this run ranks no layer")


def _known_layers(missed: Missed, start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """The rules of another variant, if the run shows what they are worth."""
    for other in (e for e in missed.known.openvino.values() if e.layers and not entry.layers):
        plain = changed(other, layers=())
        before, after = (candidate_of(missed, e) if e else None for e in (plain, other))
        if before and after:
            yield Idea(
                f"the layer formats of {other.label}",
                f"{loss(start)}; {shown(missed, [other], layers=())}",
                changed(entry, name=f"{entry.label}-as-{other.label}", layers=_rules(other), awq=False),
                after.size_bytes - before.size_bytes,
                WITHOUT_AWQ * entry.awq,
            )


def _ruled(
    missed: Missed, start: Candidate, entry: OpenVinoVariant, names: Sequence[str], to: str, evidence: str
) -> Idea:
    ruled = any(name in rule.match for rule in entry.layers for name in names)
    rules = [{"match": rf"(.*\.)?({'|'.join(names)})", "weights": to}, *_rules(entry)]
    name = f"{entry.label}-{'-'.join(names)}-{to}"
    weights = module_weights(missed.run, tuple(names))
    return Idea(
        f"{words.listed(names)} in {to}",
        f"{loss(start)}; {evidence}",
        None if ruled else changed(entry, name=name, layers=rules, awq=False),
        _layer_bytes(weights, entry, to) if weights and entry.weights in ESTIMABLE else None,
        WITHOUT_AWQ * entry.awq,
    )


def _rules(entry: OpenVinoVariant) -> list[dict[str, Any]]:
    return [rule.model_dump() for rule in entry.layers]


def _layer_bytes(weights: int, entry: OpenVinoVariant, to: str) -> int:
    """Bytes more, without the scales of whole channels; floats are stored in 16 bits."""
    new = 16 if to == "F32" else 8
    group = group_of(entry.weights, entry.group_size)
    each = SCALE_BYTES + ZERO_POINT_BYTES * entry.weights.endswith("_ASYM")
    return round(weights * ((new - bits(entry.weights)) / 8 - (each / group if group > 0 else 0)))


def _larger(start: Candidate, entry: OpenVinoVariant) -> Iterator[Idea]:
    """All weights in the next larger format."""
    if bits(entry.weights) < 8 or entry.weights in STATIC:
        made = changed(OpenVinoVariant(weights="INT8_ASYM"), runtime=entry.runtime.model_dump())
        extra = _layer_bytes(_weights(start, FOUR_BITS), entry, "INT8_ASYM") if entry.weights in ESTIMABLE else None
        yield Idea("weights in 8 bits", loss(start), made, extra)
    elif entry.weights in INT8:
        made = changed(OpenVinoVariant(weights="F16"), runtime=entry.runtime.model_dump())
        yield Idea("weights in 16 bits", loss(start), made, _weights(start, EIGHT_BITS))


def first(missed: Missed, target: str) -> Iterator[Idea]:
    """Variants for a device that the run has none on: its own ones there, closest to the reference first; or a first
    one."""
    device = target.upper()
    if not missed.known.openvino:
        made = changed(OpenVinoVariant(weights="INT8_ASYM"), runtime={"device": device})
        yield Idea(f"an OpenVINO variant on the {device}", "this run has no OpenVINO model", made, None)
    for kl, name in sorted(_elsewhere(missed), key=lambda one: one[0].value):
        entry = missed.known.openvino[name]
        there = changed(entry, runtime=entry.runtime.model_dump() | {"device": device})
        why = f"on the {entry.runtime.device} {name} loses {nats(kl)}; this run has no variant on the {device}"
        yield Idea(f"{name} on the {device}", why, there, 0, variant=name)


def _elsewhere(missed: Missed) -> Iterator[tuple[Estimate, str]]:
    for variant in missed.run.variants:
        divergence = variant.overall.divergence if variant.overall else None
        if divergence and isinstance(divergence.kl_mean, Estimate) and variant.name in missed.known.openvino:
            yield divergence.kl_mean, variant.name
