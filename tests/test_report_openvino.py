"""What reports say of a run of both lanes: levels, latency that was not checked, settings, and the engine floor."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from factories import Made
from factories_openvino import DEVICE, GGUF, make_config, make_lane_run, make_latency
from quantcurve.estimates import Missing
from quantcurve.recipe_openvino import FLOOR
from quantcurve.report.markdown import markdown
from quantcurve.report.picture import save_picture
from quantcurve.report.scene import HEIGHT, WIDTH, floor_label, scene, variant_labels
from quantcurve.results import RunResult
from test_report import cells, printed, row_of, svg_texts, table_lines

SVG = "{http://www.w3.org/2000/svg}"


def said(run: RunResult) -> str:
    return " ".join(printed(run, 200).split())


def with_variant(run: RunResult, name: str, **changes: object) -> RunResult:
    variants = tuple(v.model_copy(update=changes) if v.name == name else v for v in run.variants)
    return run.model_copy(update={"variants": variants})


# ---- levels ----


@pytest.mark.parametrize(
    ("rounds", "repetitions", "levels"),
    [
        (5, 5, "95 % and 93.75 % for speed, latency and OpenVINO GenAI"),
        (3, 5, "95 %, 93.75 % for speed and OpenVINO GenAI and 75 % for latency"),
        (5, 3, "95 %, 93.75 % for speed and latency and 75 % for OpenVINO GenAI"),
        (1, 5, "95 % and 93.75 % for speed and OpenVINO GenAI"),
    ],
)
def test_levels_are_those_of_every_table(rounds: int, repetitions: int, levels: str) -> None:
    run = make_lane_run(rounds, repetitions)
    assert f"end of the interval ({levels});" in said(run)
    assert f"[low, high]: {levels} interval" in markdown(run).replace("\\", "")


# ---- latency ----


def test_a_latency_that_agrees_is_counted() -> None:
    assert "agrees with a direct loop on the deployed model in 8 of 8 latencies" in said(make_lane_run())


def test_one_that_disagrees_is_named_and_one_of_few_rounds_is_not_called_noisy() -> None:
    run = with_variant(make_lane_run(rounds=1), "OV-INT8", latency=make_latency(3, over_loop=1.5))
    text = said(run)
    assert "agrees with a direct loop on the deployed model in 0 of 4 latencies" in text
    assert "OV-INT8, decoding at 48 tokens: disagrees: benchmark_app over the direct loop 1.5 [1.5, 1.5]." in text
    assert (
        f"{FLOOR}: latency is not checked against a direct loop on the deployed model: "
        "1 repetitions; a ratio with an interval needs 3."
    ) in text
    assert "too noisy" not in text and f"{FLOOR}, decoding" not in text


def test_nothing_checked_is_no_agreement() -> None:
    text = said(make_lane_run(rounds=2))
    assert "agrees with a direct loop" not in text
    assert text.count("is not checked against a direct loop") == 1


def test_missing_latencies_are_listed_with_their_reason() -> None:
    text = said(make_lane_run(rounds=1))
    assert (
        f"latency by benchmark_app of {FLOOR} and OV-INT8: 1 repetitions; a median with an interval needs 3"
    ) in text
    gone = Missing(missing="benchmark_app hung")
    text = said(with_variant(make_lane_run(), "OV-INT8", latency=gone, genai=Missing(missing="no tokenizer")))
    assert "latency by benchmark_app of OV-INT8: benchmark_app hung" in text
    assert "times by OpenVINO GenAI of OV-INT8: no tokenizer" in text
    assert "Missing figures" not in said(make_lane_run())


def test_the_throughput_of_genai_has_its_spread() -> None:
    run = make_lane_run()
    by_genai = printed(run, 160).split("OpenVINO GenAI's own figures")[1]
    assert row_of(by_genai, "OV-INT8").rstrip().endswith("24.1 ± 0.53")
    assert "mean ± standard deviation" in by_genai
    line = next(x for x in table_lines(markdown(run).split("GenAI's own figures")[1]) if x.startswith("| OV-INT8 "))
    assert cells(line)[1:] == ["200 \\[200, 200\\]", "41.5 \\[41.5, 41.5\\]", "24.1 ± 0.53"]


# ---- how it ran ----


@pytest.mark.parametrize(
    ("device", "threads", "where"),
    [(DEVICE, 2, f"{DEVICE}, 2 threads"), (DEVICE, 1, f"{DEVICE}, 1 thread"), ("Intel Arc", 0, "Intel Arc")],
)
def test_run_as_names_device_and_threads(device: str, threads: int, where: str) -> None:
    run = with_variant(make_lane_run(), "OV-INT8", scoring_config=make_config(device, threads))
    lines = table_lines(markdown(run))
    assert cells(lines[0])[-1] == "run as"
    width = len(cells(lines[0]))
    last = {row[0]: row[-1] for row in map(cells, lines) if len(row) == width}
    assert last["OV-INT8"] == f"{where}, f32, KV u8, activations /32"
    assert last["F16"] == "cpu, 2 threads, KV f16"


# ---- the engine floor ----


def rules(path: Path) -> int:
    return sum("mark-rule" in (g.get("class") or "") for g in ET.parse(path).iter(f"{SVG}g"))


def test_the_picture_names_both_engines_and_the_floor_wherever_it_lies(tmp_path: Path) -> None:
    save_picture(make_lane_run(floor_kl=1e-8), tmp_path / "below.svg")
    save_picture(make_lane_run(floor_kl=0.01), tmp_path / "inside.svg")
    below, inside = svg_texts(tmp_path / "below.svg"), svg_texts(tmp_path / "inside.svg")
    assert any("llama.cpp 0.3.36 and OpenVINO 2026.1, 2 threads" in text for text in below)
    assert "engine floor 1e-08, below the axis" in below
    assert "engine floor 0.01" in inside
    assert FLOOR not in [*below, *inside]
    assert rules(tmp_path / "inside.svg") == rules(tmp_path / "below.svg") + 1


@pytest.mark.parametrize("floor_kl", [0.0, 1e-8, 0.001, 0.05, 0.1, 3.0])
def test_the_floor_is_in_the_picture_and_clear_of_names(floor_kl: float) -> None:
    drawn = scene(make_lane_run(floor_kl=floor_kl))
    assert drawn.floor and drawn.floor.value <= drawn.y.high
    assert FLOOR not in {m.name for m in drawn.marks}
    label = floor_label(drawn)
    assert label and label.box.top >= 0 and label.box.bottom <= HEIGHT and label.box.right <= WIDTH
    assert not any(place.box.overlap(label.box) for place in variant_labels(drawn, None))


def test_the_floor_of_a_model_that_only_its_folder_gives_is_more_than_the_engines() -> None:
    text = said(with_variant(make_lane_run(floor_kl=2e-8), FLOOR, weights_from="folder"))
    assert "the model's folder in float32" in text and "what the reference's rounding to F16 costs" in text
    assert "the reference's weights in float32" not in text


def test_a_floor_below_the_marks_does_not_press_them_together() -> None:
    assert scene(make_lane_run(floor_kl=1e-8)).y == scene(make_lane_run(floor_kl=0.01)).y


def test_a_floor_without_a_figure_is_said() -> None:
    run = with_variant(make_lane_run(), FLOOR, status="failed", failure="cannot be exported", overall=None)
    drawn = scene(run)
    assert drawn.floor is None and floor_label(drawn) is None
    assert drawn.not_drawn == (FLOOR,)


def test_only_variants_decide_what_the_picture_is_over() -> None:
    untimed = [Made(m.name, m.kl, m.size_mib, None) for m in GGUF]
    run = make_lane_run(gguf=untimed)
    assert not scene(with_variant(run, "OV-INT8", speed=Missing(missing="not timed"))).by_speed


def test_the_notes_call_the_floor_no_variant() -> None:
    text = said(make_lane_run(floor_kl=2e-8))
    assert f"Engine floor: {FLOOR} is the reference's weights in float32" in text
    assert "2e-08 [1.8e-08, 2.2e-08] nats" in text and "It is no variant to choose" in text


# ---- what the device tells ----


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "performance mode, f32 arithmetic, activations quantised in groups of 32, KV cache u8"),
        ({"activations": "partly quantised"}, "activations of some layers quantised in groups of 32, KV cache u8"),
        ({"activations": "float"}, "f32 arithmetic, activations not quantised, KV cache u8"),
        ({"activations": "not applicable"}, "activations not quantised since no weights are integers, KV cache u8"),
        ({"value_cache_precision": "u4"}, "KV cache K u8, V u4"),
        ({"execution_mode": "ACCURACY"}, "accuracy mode, f32 arithmetic"),
        ({"value_cache_precision": None}, "KV cache K u8, V not told"),
    ],
)
def test_how_a_device_ran_a_variant_is_said_as_it_was_read_back(changes: dict[str, str], sentence: str) -> None:
    config = make_config().model_copy(update=changes)
    assert sentence in said(with_variant(make_lane_run(), "OV-INT8", scoring_config=config))


UNTOLD = dict.fromkeys(
    (
        *("threads", "streams", "execution_mode", "inference_precision", "key_cache_precision"),
        *("value_cache_precision", "dynamic_quantization_group", "activations", "cache_bytes_per_token"),
    )
)


def test_what_a_device_does_not_tell_is_not_made_up() -> None:
    run = with_variant(make_lane_run(), "OV-INT8", scoring_config=make_config().model_copy(update=UNTOLD))
    text = said(run)
    assert (
        "OV-INT8: mode not told, arithmetic not told, whether activations are quantised not told, KV cache not told."
    ) in text
    assert "None" not in text
    assert f"{DEVICE}, arithmetic not told, KV not told" in {cells(x)[-1] for x in table_lines(markdown(run))}


def generated_by(run: RunResult, **backends: str | None) -> RunResult:
    for name, backend in backends.items():
        found = next(v.genai for v in run.variants if v.name == name.replace("_", "-"))
        samples = found.samples.model_copy(update={"attention_backend": backend})
        run = with_variant(run, name.replace("_", "-"), genai=found.model_copy(update={"samples": samples}))
    return run


def test_one_attention_backend_stands_in_the_heading_and_several_stand_in_their_rows() -> None:
    same = said(generated_by(make_lane_run(), OV_reference="PA", OV_INT8="PA"))
    assert "3 new ones, attention backend PA" in same
    mixed = generated_by(make_lane_run(), OV_reference=None, OV_INT8="SDPA")
    table = markdown(mixed).split("GenAI's own figures")[1]
    assert "3 new ones, attention" not in markdown(mixed)
    rows = [cells(line) for line in table_lines(table)]
    assert rows[0][1] == "attention backend"
    assert {row[0]: row[1] for row in rows} | {"OV-INT8": "SDPA", FLOOR: "not told"} == {r[0]: r[1] for r in rows}
