"""What to try where no variant is inside every limit: derived from the run, in bytes where it tells, and as lines that
the recipe takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from factories import Made, estimate, make_file, make_run
from factories_openvino import make_config
from quantcurve.mend_base import flow
from quantcurve.mend_evidence import BITS, worst_text
from quantcurve.pick import pick
from quantcurve.pick_records import Choice, Limits, Mitigation
from quantcurve.recipe import Recipe, load
from quantcurve.recipe_errors import parse
from quantcurve.records import Fallback, TensorTypeShare
from quantcurve.report import folder
from quantcurve.report.choice import choice_lines
from quantcurve.results import CacheFigures, LossSplit, RunResult

DEMO = Path(__file__).parent / "data" / "demo" / "results.json"
WEIGHTS_4_BITS = 106_168_320


def recipe_text(gguf: Sequence[str] = (), openvino: Sequence[str] = (), more: str = "") -> str:
    lanes = {"gguf": gguf, "openvino": openvino}
    listed = "".join(f"  {lane}:\n" + "".join(f"    - {v}\n" for v in some) for lane, some in lanes.items() if some)
    texts = '[{name: wiki, source: wiki.txt}, {name: multilingual, source: "embedded:multilingual"}]'
    return f"name: made\nmodel: {{source: m.gguf}}\ntexts: {texts}\n{more}variants:\n{listed}"


def run_of(text: str, made: Sequence[Made], **update: Any) -> RunResult:
    """A run by a recipe, whose variants have the recipe's names in its order; `update` is of its first variant."""
    run = make_run(made, texts=("wiki", "multilingual"))
    recipe = Recipe.model_validate(parse(Path("r.yaml"), text))
    lane = {v.label for v in recipe.variants.openvino}
    for one in made:
        assert one.name in recipe.variants.labels
    placed = [
        v.model_copy(update={"engine": "OpenVINO", "scoring_config": make_config()}) if v.name in lane else v
        for v in run.variants
    ]
    placed[0] = placed[0].model_copy(update=update)
    sources = {"wiki": "wiki.txt", "multilingual": "embedded:multilingual"}
    texts = tuple(t.model_copy(update={"source": sources[t.name]}) for t in run.texts)
    return run.model_copy(update={"variants": tuple(placed), "recipe_text": text, "texts": texts})


def pasted(text: str, under: str, lines: str) -> str:
    """A recipe with lines put where they belong."""
    if under.startswith("variants."):
        lane = under.removeprefix("variants.")
        if f"  {lane}: [" in text:
            return text.replace(f"  {lane}: [", f"  {lane}: [{lines.removeprefix('- ')}, ", 1)
        if f"  {lane}:" not in text:
            return f"{text}\n  {lane}:\n    {lines}\n"
        return re.sub(rf"^(  {lane}:.*)$", lambda m: f"{m[1]}\n    {lines}", text, count=1, flags=re.M)
    assert f"\n{under}:" not in text
    return f"{under}:\n  {lines}\n{text}"


def check(run: RunResult, choice: Choice, tmp_path: Path) -> None:
    """Every suggestion is a recipe that can be loaded, and new in it."""
    before = Recipe.model_validate(parse(Path("r.yaml"), run.recipe_text))
    for one in choice.mitigations:
        text = pasted(run.recipe_text, one.under, one.recipe_lines)
        text = pasted(text, one.also.under, one.also.lines) if one.also else text
        path = tmp_path / "r.yaml"
        path.write_text(text)
        after = load(path).recipe
        assert after != before
        if one.under.startswith("variants."):
            assert set(after.variants.labels) > set(before.variants.labels)
            made = [v.model_dump(exclude={"name"}) for v in (*after.variants.gguf, *after.variants.openvino)]
            assert all(made.count(one) == 1 for one in made)
    sizes = [one.extra_bytes for one in choice.mitigations]
    known = [size for size in sizes if size is not None]
    assert sizes == sorted(known) + [None] * (len(sizes) - len(known))


def tried(run: RunResult, tmp_path: Path, **limits: Any) -> dict[str, Mitigation]:
    """Suggestions by what they are."""
    choice = pick(run, Limits.model_validate(limits))
    assert choice.name is None
    check(run, choice, tmp_path)
    return {one.what: one for one in choice.mitigations}


def test_a_gguf_that_loses_too_much(tmp_path: Path) -> None:
    run = run_of(recipe_text(["Q4_K_M", "Q8_0"]), [Made("Q4_K_M", 0.05, 100), Made("Q8_0", 0.04, 140, kl_half=0.03)])
    found = tried(run, tmp_path, max_kl=0.045)
    assert list(found) == [
        "an importance matrix",
        "attn_v tensors in Q6_K",
        "ffn_down tensors in Q6_K",
        "output tensors in Q6_K",
        "the next larger type, Q4_1",
    ]
    assert {one.variant for one in found.values()} == {"Q4_K_M"}
    imatrix = found["an importance matrix"]
    assert imatrix.recipe_lines == "- {type: Q4_K_M, imatrix: true}" and imatrix.under == "variants.gguf"
    assert imatrix.extra_bytes == 0 and "Q4_K_M loses 0.0500 nats [0.0495, 0.0505]" in imatrix.why
    rule = found["attn_v tensors in Q6_K"]
    assert r"tensors: [{match: 'blk\.\d+\.attn_(v|qkv)\.weight', type: Q6_K}]" in rule.recipe_lines
    assert rule.extra_bytes is None and "quantcurve plan" in rule.cost
    larger = found["the next larger type, Q4_1"]
    assert "Q8_0, has 140.0 MiB and loses 0.04" in larger.why and larger.recipe_lines == "- {type: Q4_1}"
    worse = run_of(recipe_text(["Q4_K_M", "Q8_0"]), [Made("Q4_K_M", 0.05, 100), Made("Q8_0", 0.06, 140)])
    assert not any("larger type" in what for what in tried(worse, tmp_path, max_kl=0.045))


def test_bytes_of_tensors_are_told_where_the_record_has_them(tmp_path: Path) -> None:
    fallbacks = tuple(
        Fallback(tensor=f"blk.{i}.attn_v.weight", wanted="Q4_K", got="Q5_0", weights=1_000_000) for i in range(2)
    )
    run = run_of(recipe_text(["Q4_K_M"]), [Made("Q4_K_M", 0.05, 100, fallbacks=fallbacks)])
    rule = tried(run, tmp_path, max_kl=0.01)["attn_v tensors in Q8_0"]  # Q6_K does not fit their columns
    assert rule.extra_bytes == 2 * 1_000_000 * 3 // 8
    assert rule.cost == "the file is about 0.7 MiB larger"
    high = tuple(f.model_copy(update={"wanted": "Q6_K", "got": "Q8_0"}) for f in fallbacks)
    there = run_of(recipe_text(["Q4_K_M"]), [Made("Q4_K_M", 0.05, 100, fallbacks=high)])
    assert not any(what.startswith("attn_v") for what in tried(there, tmp_path, max_kl=0.01))


def test_what_an_importance_matrix_was_worth_in_the_run_is_told(tmp_path: Path) -> None:
    text = recipe_text(["Q5_0", "Q4_0", "{type: Q4_0, imatrix: true}"])
    run = run_of(text, [Made("Q5_0", 0.03, 100), Made("Q4_0", 0.3, 80), Made("Q4_0+imatrix", 0.2, 80)])
    found = tried(run, tmp_path, max_kl=0.01)
    told = "with one, Q4_0+imatrix loses 0.2000 nats [0.1995, 0.2005] where Q4_0 loses 0.3000 nats [0.2995, 0.3005]"
    assert told in found["an importance matrix"].why


def test_a_size_of_one_type_is_computed(tmp_path: Path) -> None:
    run = run_of(recipe_text(["Q6_K"]), [Made("Q6_K", 0.05, 100)])
    types = (
        TensorTypeShare(type="Q6_K", tensors=10, weights=900, share=0.9),
        TensorTypeShare(type="F32", tensors=1, weights=100, share=0.1),
    )
    file = make_file(10_000, (900 * 6.5625 + 3200) / 1000).model_copy(update={"types": types, "weights": 1000})
    run = run.model_copy(update={"variants": (run.variants[0].model_copy(update={"file": file}),)})
    found = tried(run, tmp_path, max_kl=0.01)
    assert found["the next larger type, Q8_0"].extra_bytes == round(900 * (8.5 - 6.5625) / 8)


def cache(alone: float, weights: float) -> CacheFigures:
    spot = estimate(0.01, 0.001, "nats")
    names = [n for n in CacheFigures.model_fields if n not in {"context_tokens", "windows", "k_type", "v_type"}]
    figures = dict.fromkeys(names, spot) | {
        "kl_cache_alone": estimate(alone, 0.001, "nats"),
        "kl_weights_alone": estimate(weights, 0.001, "nats"),
    }
    return CacheFigures(context_tokens=2048, windows=8, k_type="q4_0", v_type="q4_0", **figures)


def test_a_cache_that_costs_more_than_the_weights_is_named(tmp_path: Path) -> None:
    text, made = recipe_text(["{type: Q8_0, kv: q4_0}"]), [Made("Q8_0+kv-q4_0", 0.05, 140)]
    found = tried(run_of(text, made, kv_cache=(cache(0.04, 0.01),)), tmp_path, max_kl=0.01)
    first = found["a KV cache in q8_0"]
    assert first.recipe_lines == "- {type: Q8_0, kv: q8_0}"
    assert "at 2048 tokens the cache alone costs 0.0400 nats [0.0390, 0.0410], the weights alone 0.0100" in first.why
    less = tried(run_of(text, made, kv_cache=(cache(0.01, 0.04),)), tmp_path, max_kl=0.01)
    assert not any("cache" in what for what in less)


def test_more_calibration_texts_of_the_worst_kind(tmp_path: Path) -> None:
    text = recipe_text(["{type: Q4_0, imatrix: true}"])
    run = run_of(text, [Made("Q4_0+imatrix", 0.05, 80)])  # on the second text twice as much as on the first
    worst = worst_text(run, run.variants[0])
    assert worst and (worst.text, worst.others_nats) == ("multilingual", 0.05)
    one = tried(run, tmp_path, max_kl=0.01)["the calibration mix support-bot, which has more of multilingual"]
    assert (one.under, one.recipe_lines) == ("calibration", "mix: support-bot")
    assert "multilingual has 13 % of its tokens in place of 6 %" in one.cost
    assert "on multilingual 0.1000 nats [0.0995, 0.1005], on the others a mean of 0.05 nats" in one.why
    plain = tried(run_of(recipe_text(["Q4_0"]), [Made("Q4_0", 0.05, 80)]), tmp_path, max_kl=0.01)
    assert not any("calibration" in what for what in plain)  # it is not calibrated


def test_calibration_texts_that_are_not_shipped_are_the_users_to_bring(tmp_path: Path) -> None:
    run = run_of(recipe_text(["{type: Q4_0, imatrix: true}"]), [Made("Q4_0+imatrix", 0.05, 80)])
    names = zip(run.variants[0].slices, ("multilingual", "wiki"), strict=True)
    turned = tuple(part.model_copy(update={"text": name}) for part, name in names)
    run = run.model_copy(update={"variants": (run.variants[0].model_copy(update={"slices": turned}),)})
    one = tried(run, tmp_path, max_kl=0.01)["calibration texts like wiki"]
    assert one.recipe_lines == "sources: [{name: wiki, stratum: domain, source: wiki-calibration.jsonl}]"
    assert "yours to bring" in one.cost


def test_only_the_size_is_too_large(tmp_path: Path) -> None:
    text = recipe_text(["Q5_K_M", "Q4_0"])
    run = run_of(text, [Made("Q5_K_M", 0.01, 101), Made("Q4_0", 0.2, 80, kl_half=0.01)])
    found = tried(run, tmp_path, max_size_bytes=100 * 2**20, max_kl=0.05)
    smaller = found["the next smaller type, Q5_K_S"]
    assert smaller.variant == "Q5_K_M" and smaller.recipe_lines == "- {type: Q5_K_S}"
    assert found["an importance matrix"].variant == "Q4_0"  # small enough, so that it only has to lose less


def test_what_is_known_to_be_too_large_is_not_suggested(tmp_path: Path) -> None:
    fallbacks = (Fallback(tensor="blk.0.attn_v.weight", wanted="Q4_K", got="Q5_0", weights=8_000_000),)
    run = run_of(recipe_text(["Q4_K_M"]), [Made("Q4_K_M", 0.05, 100, fallbacks=fallbacks)])
    for room, there in ((3_000_000, True), (2_999_999, False)):
        found = tried(run, tmp_path, max_kl=0.01, max_size_bytes=100 * 2**20 + room)
        assert ("attn_v tensors in Q8_0" in found) == there


def test_only_the_speed_is_too_low(tmp_path: Path) -> None:
    text = recipe_text(["Q8_0", "Q4_0"])
    run = run_of(text, [Made("Q8_0", 0.001, 140, 30.0), Made("Q4_0", 0.2, 80, 50.0)])
    found = tried(run, tmp_path, min_decode_tokens_per_s=45, max_kl=0.05)
    assert found["an importance matrix"].variant == "Q4_0"  # fast enough, so that it only has to lose less
    none = tried(run, tmp_path, min_decode_tokens_per_s=51)
    assert list(none) == ["the next smaller type, IQ4_XS"] and none["the next smaller type, IQ4_XS"].variant == "Q4_0"


def test_only_the_memory_is_too_large(tmp_path: Path) -> None:
    run = run_of(recipe_text(["Q4_0"]), [Made("Q4_0", 0.05, 80)])
    config = run.scoring_config.model_copy(update={"cache_bytes": 64 * 2**20})
    run = run.model_copy(update={"variants": (run.variants[0].model_copy(update={"timing_config": config}),)})
    one = tried(run, tmp_path, max_memory_bytes=280 * 2**20)["a KV cache in q8_0"]
    assert one.recipe_lines == "- {type: Q4_0, kv: q8_0}"
    assert "30.0 MiB less memory" in one.cost and "64.0 MiB in F16 for 2048 tokens" in one.why
    assert "a KV cache in q8_0" not in tried(run, tmp_path, max_memory_bytes=269 * 2**20)  # it would not be enough


def test_what_the_recipe_has_is_not_suggested(tmp_path: Path) -> None:
    text = recipe_text(openvino=[G64, "INT8_ASYM", "{weights: INT4_SYM, group_size: 32, name: fine}"])
    made = [Made("OV-INT4_SYM+g64", 0.37, 83), Made("OV-INT8_ASYM", 0.4, 130), Made("fine", 0.5, 86)]
    found = tried(run_of(text, made, file=int4_file()), tmp_path, max_kl=0.05)
    assert "awq and scale_estimation" in found
    assert not {"weights in 8 bits", "groups of 32 weights"} & set(found)


G64 = "{weights: INT4_SYM, group_size: 64}"


def int4_file(**update: Any) -> Any:
    types = (
        TensorTypeShare(type="i4", tensors=210, weights=WEIGHTS_4_BITS, share=0.8),
        TensorTypeShare(type="u8", tensors=1, weights=28_311_552, share=0.2),
    )
    return make_file(87_451_684, 5.0).model_copy(update={"types": types, **update})


def test_openvino_weights_that_lose_too_much(tmp_path: Path) -> None:
    run = run_of(recipe_text(openvino=[G64]), [Made("OV-INT4_SYM+g64", 0.37, 83)], file=int4_file())
    found = tried(run, tmp_path, max_kl=0.05)
    assert list(found) == [
        "awq and scale_estimation",
        "groups of 32 weights",
        "weights in 8 bits",
        "down_proj and o_proj in INT8_ASYM",
        "accuracy control with the limit as its budget",
    ]
    groups = found["groups of 32 weights"]
    assert groups.extra_bytes == WEIGHTS_4_BITS * 2 // 64
    assert groups.recipe_lines == "- {weights: INT4_SYM, group_size: 32}"
    assert found["weights in 8 bits"].extra_bytes == round(WEIGHTS_4_BITS * (0.5 - 2 / 64))
    layers = found["down_proj and o_proj in INT8_ASYM"]
    assert r"layers: [{match: '(.*\.)?(down_proj|o_proj)', weights: INT8_ASYM}]" in layers.recipe_lines
    assert "this run ranks no layer" in layers.why and layers.extra_bytes is None
    control = found["accuracy control with the limit as its budget"]
    assert "accuracy_control: {validation: loss, max_drop: 0.05}" in control.recipe_lines
    assert control.also and control.also.under == "validations"
    assert (
        "function: negative_kl_divergence" in control.also.lines and "embedded:multilingual" not in control.also.lines
    )


def test_a_validation_of_the_recipe_is_used_and_another_is_left_alone(tmp_path: Path) -> None:
    def control(function: str, **limits: float) -> Mitigation | None:
        more = f'validations: [{{name: own, function: {function}, texts: [{{name: c, source: "embedded:chat"}}]}}]\n'
        run = run_of(recipe_text(openvino=[G64], more=more), [Made("OV-INT4_SYM+g64", 0.37, 83)], file=int4_file())
        return tried(run, tmp_path, **limits).get("accuracy control with the limit as its budget")

    found = control("negative_kl_divergence", max_kl=0.05)
    assert found and found.also is None and "{validation: own, max_drop: 0.05}" in found.recipe_lines
    ratio = control("negative_cross_entropy", max_perplexity_increase_percent=3)
    assert ratio and "max_drop: 0.02956}" in ratio.recipe_lines  # ln 1.03
    assert control("token_accuracy", max_kl=0.05) is None


def test_what_the_run_shows_of_openvino_is_told(tmp_path: Path) -> None:
    rule = r"{weights: INT4_SYM, group_size: 64, layers: [{match: '.*down_proj', weights: INT8_ASYM}], name: mix}"
    text = recipe_text(openvino=["{weights: INT4_SYM, group_size: 32}", G64, rule])
    made = [Made("OV-INT4_SYM+g32", 0.30, 86), Made("OV-INT4_SYM+g64", 0.37, 83), Made("mix", 0.35, 90)]
    found = tried(run_of(text, made, file=int4_file()), tmp_path, max_kl=0.05)
    assert "groups of 32 weights" not in found and "groups of 16 weights" in found
    why = found["groups of 16 weights"].why
    assert "OV-INT4_SYM+g32 loses 0.3000 nats [0.2995, 0.3005] where OV-INT4_SYM+g64" in why
    like = found["the layer formats of mix"]
    assert like.extra_bytes == 7 * 2**20 and "mix loses 0.3500" in like.why and "group_size: 32" in like.recipe_lines


def split(weights: float, activations: float, cache_: float) -> LossSplit:
    parts = {"kl_weights": weights, "kl_activations": activations, "kl_cache": cache_}
    figures = {name: estimate(value, 0.001, "nats") for name, value in parts.items()}
    return LossSplit(windows=3, kl_deployed=estimate(0.05, 0.01), kl_interaction=estimate(0.0, 0.01), **figures)


@pytest.mark.parametrize(
    ("parts", "what", "setting"),
    [
        ((0.01, 0.03, 0.005), "arithmetic in float32", "dynamic_quantization_group: 0"),
        ((0.01, 0.005, 0.03), "a KV cache in F16", "kv_cache: f16"),
        ((0.03, 0.01, 0.005), None, ""),
    ],
)
def test_how_it_is_run_is_changed_where_that_costs_most(
    parts: tuple[float, float, float], what: str | None, setting: str, tmp_path: Path
) -> None:
    text = recipe_text(openvino=["INT8_ASYM"])
    run = run_of(text, [Made("OV-INT8_ASYM", 0.05, 130)], loss_split=split(*parts))
    found = tried(run, tmp_path, max_kl=0.01)
    named = {"arithmetic in float32", "a KV cache in F16"} & set(found)
    assert named == ({what} if what else set())
    if what:
        assert f"runtime: {{{setting}}}" in found[what].recipe_lines and "of that 0.030" in found[what].why


@pytest.mark.parametrize("entry", ["W8A8", "{weights: W8A8, smooth_quant: false}", "NF4", "W4A8", "MXFP4", "FP8_E4M3"])
def test_every_format_gets_lines_that_its_recipe_takes(entry: str, tmp_path: Path) -> None:
    text = recipe_text(openvino=[entry])
    label = Recipe.model_validate(parse(Path("r.yaml"), text)).variants.labels[0]
    run = run_of(text, [Made(label, 0.05, 130)])
    assert tried(run, tmp_path, max_kl=0.01)
    tried(run, tmp_path, max_size_bytes=2**20, max_memory_bytes=2**20, min_decode_tokens_per_s=100)


def test_a_target_that_was_not_measured(tmp_path: Path) -> None:
    run = run_of(recipe_text(["Q4_0"], [G64]), [Made("Q4_0", 0.05, 80), Made("OV-INT4_SYM+g64", 0.37, 83)])
    (there,) = tried(run, tmp_path, target="gpu").values()
    assert there.recipe_lines == "- {weights: INT4_SYM, group_size: 64, runtime: {device: GPU}}"
    assert there.why.startswith("on the CPU OV-INT4_SYM+g64 loses 0.37") and there.variant == "OV-INT4_SYM+g64"
    native = run_of(recipe_text(["Q4_0"]), [Made("Q4_0", 0.05, 80)])
    (new,) = tried(native, tmp_path, target="cpu").values()
    assert (new.under, new.recipe_lines, new.variant) == ("variants.openvino", "- {weights: INT8_ASYM}", None)
    other = run_of(recipe_text(openvino=[G64]), [Made("OV-INT4_SYM+g64", 0.37, 83)])
    (file,) = tried(other, tmp_path, target="llama.cpp").values()
    assert file.under == "variants.gguf"


def test_a_recipe_that_is_not_read_leaves_what_names_tell() -> None:
    choice = pick(make_run([Made("Q4_0", 0.05, 80), Made("mine", 0.06, 80)]), Limits(max_kl=0.01))
    assert choice.nearest_miss == "Q4_0"
    assert choice.mitigations[0].recipe_lines == "- {type: Q4_0, imatrix: true}"


def test_bits_are_those_of_the_library() -> None:
    for name, bits in BITS.items():
        weights, size_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        assert bits == 8 * size_bytes / weights, name


@pytest.mark.parametrize(
    ("value", "yaml"),
    [
        *(("Q4_0", "Q4_0"), ("no", "'no'"), (r"a\.b", r"'a\.b'"), ("it's", "'it''s'")),
        *((True, "true"), (None, "null"), (0.5, "0.5")),
    ],
)
def test_values_are_written_as_yaml_reads_them(value: object, yaml: str) -> None:
    assert flow(value) == yaml
    assert parse(Path("x"), f"key: {yaml}\n")["key"] == value


DEMO_LIMITS: list[dict[str, Any]] = [
    {"max_kl": 0.001},
    {"max_kl": 0.003, "target": "llama.cpp"},
    {"max_kl": 0.05, "max_size_bytes": 90_000_000},
    {"max_size_bytes": 80_000_000},
    {"min_decode_tokens_per_s": 300},
    {"min_decode_tokens_per_s": 180, "max_kl": 0.1},
    {"max_memory_bytes": 100_000_000},
    {"max_kl": 0.05, "target": "cpu", "max_size_bytes": 130_000_000},
    {"max_perplexity_increase_percent": 0.05, "target": "llama.cpp"},
    {"min_top1_agreement": 0.999},
    {"target": "gpu"},
]


@pytest.fixture(scope="module")
def demo() -> RunResult:
    return folder.load(DEMO)


@pytest.mark.parametrize("limits", DEMO_LIMITS)
def test_the_demo_gets_lines_that_its_recipe_takes(limits: dict[str, Any], demo: RunResult, tmp_path: Path) -> None:
    found = tried(demo, tmp_path, **limits)
    assert found
    for one in found.values():
        assert one.variant in {v.name for v in demo.variants} and one.why and one.cost


def test_the_demo_ranks_modules_by_accuracy_control(demo: RunResult, tmp_path: Path) -> None:
    found = tried(demo, tmp_path, max_kl=0.05, target="cpu", max_size_bytes=100_000_000)
    one = found["v_proj in INT8_ASYM"]
    assert "accuracy control of OV-INT4_SYM+g64+ac restored 23 of 30 v_proj (mean place 19)" in one.why
    assert one.extra_bytes == round(30 * 110_592 * (0.5 - 2 / 64))  # of the tensors that GGUF files tell


def test_what_is_printed_says_what_to_do(demo: RunResult) -> None:
    lines = list(choice_lines(pick(demo, Limits(max_kl=0.003, target="llama.cpp"))))
    assert lines[0] == "none"
    assert lines[2].startswith("  nearest miss: Q4_1: ")
    assert lines[3].startswith("  to try, cheapest first")
    assert lines[4].startswith("    1. Q4_1: an importance matrix: the file stays about as large")
    (others,) = (line for line in lines if "it is an OpenVINO model" in line)  # one line for one reason
    assert others.startswith("  not OV-F32, OV-INT8_ASYM, ") and others.endswith(
        ": not for the target llama.cpp: it is an OpenVINO model"
    )
    assert "       under variants.gguf:" in lines and "         - {type: Q4_1, imatrix: true}" in lines
    assert not any(line.startswith("  not Q4_1") for line in lines)
    good = list(choice_lines(pick(demo, Limits(max_kl=0.05))))
    assert good[0] == "Q4_1"
    assert good[2].startswith("  runner-up 1, ")
