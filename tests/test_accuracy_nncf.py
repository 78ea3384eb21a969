"""NNCF's accuracy control on a tiny real model: every guard, with what NNCF does without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcurve.engines.accuracy_outcome import Outcome, Settings
from quantcurve.engines.base import Floats, OpenVinoConfig, OpenVinoRuntime, Tokens
from quantcurve.errors import BackendError, RecipeError
from quantcurve.journal import Journal
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from tiny_ir import VOCABULARY, write_tiny_ir

nncf = pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'quantcurve[openvino]'")
ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
ITEM_TOKENS = 16
ITEMS = tuple(range(10, 16))
"""Numbers of the items, which are not their places."""
EXACT = OpenVinoConfig(threads=1, window_tokens=ITEM_TOKENS, runtime=OpenVinoRuntime(execution="accuracy"))
SMOOTH = OpenVinoVariant(weights="W8A8")
ROUGH = OpenVinoVariant(weights="W8A8", smooth_quant=False)
ALL_BACK = 1e-6
"""Nats that only the model with all layers restored is within."""


class Judge:
    """Minus the KL divergence from the float model in the second half of each item: 0 on the reference."""

    def __init__(self, reference: dict[int, Floats], windows: dict[int, Tokens]) -> None:
        self.reference = reference
        self.windows = windows
        self.calls: list[tuple[Any, list[int]]] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, runner: Any, item_numbers: Sequence[int]) -> list[float]:
        self.before()
        self.calls.append((runner, list(item_numbers)))
        return [-divergence(self.reference[n], scored(runner, self.windows[n])) for n in item_numbers]


class StoppedError(Exception):
    """Of a judge's own."""


def scored(runner: Any, window: Tokens) -> Floats:
    """Logits of the second half."""
    return np.array(runner.forward(window[None], 0, ITEM_TOKENS // 2)[0], np.float64)


def divergence(p: Floats, q: Floats) -> float:
    """Mean KL divergence (nats) of softmax(q) from softmax(p)."""
    shifted = (x - x.max(-1, keepdims=True) for x in (p, q))
    log_p, log_q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in shifted)
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return write_tiny_ir(folder / "ir", folder / "log", n_layer=1)


@pytest.fixture(scope="module")
def windows() -> dict[int, Tokens]:
    random = np.random.default_rng(0)
    return {n: random.integers(3, VOCABULARY, ITEM_TOKENS).astype(np.int32) for n in ITEMS}


@pytest.fixture(scope="module")
def calibration() -> Tokens:
    return np.random.default_rng(1).integers(3, VOCABULARY, (4, ITEM_TOKENS)).astype(np.int32)


@pytest.fixture(scope="module")
def reference(ir: Path, windows: dict[int, Tokens]) -> dict[int, Floats]:
    runner = runner_of(ir)
    return {n: scored(runner, window) for n, window in windows.items()}


@pytest.fixture
def judge(reference: dict[int, Floats], windows: dict[int, Tokens]) -> Judge:
    return Judge(reference, windows)


@pytest.fixture
def control(ir: Path, calibration: Tokens, judge: Judge, tmp_path: Path) -> Control:
    return Control(ir, calibration, judge, tmp_path)


class Control:
    """Runs accuracy controls with one journal."""

    def __init__(self, ir: Path, calibration: Tokens, judge: Judge, folder: Path) -> None:
        self.ir, self.calibration, self.judge = ir, calibration, judge
        self.target = folder / "target"
        self.target.mkdir()
        self.journal = folder / "journal.jsonl"

    def __call__(self, variant: OpenVinoVariant = SMOOTH, judge: Any = None, **settings: Any) -> Outcome:
        from quantcurve.engines.openvino_accuracy_nncf import run

        given = {"item_numbers": ITEMS, "max_drop": ALL_BACK, "ranking_items": 2, "config": EXACT} | settings
        judge = judge or self.judge
        return run(self.ir, self.target, variant, self.calibration, judge, Settings(journal=self.journal, **given))

    def values_of_the_file(self) -> list[float]:
        runner = runner_of(self.target)
        return [-divergence(self.judge.reference[n], scored(runner, self.judge.windows[n])) for n in ITEMS]


def runner_of(folder: Path) -> Any:
    from quantcurve.engines.openvino_judged import GraphRunner

    return GraphRunner(folder, read(folder), EXACT)


def read(folder: Path) -> Any:
    """An IR whose KV cache is left to the device."""
    from quantcurve.engines.openvino_graphs import unpin_cache

    model = ov.Core().read_model(folder / "openvino_model.xml")
    unpin_cache(model)
    return model


def upstream(ir: Path, calibration: Tokens, validate: Any, **more: Any) -> Any:
    """NNCF's accuracy control without any guard."""
    from quantcurve.engines.openvino_inputs import feed, input_names

    model = read(ir)
    model.set_rt_info("f32", ["runtime_options", "KV_CACHE_PRECISION"])
    names = input_names(model)
    dataset = nncf.Dataset([feed(ir, names, w[None], 0) for w in calibration])
    return nncf.quantize_with_accuracy_control(
        *(model, dataset, nncf.Dataset(list(ITEMS)), validate),
        **{"model_type": nncf.ModelType.TRANSFORMER, "subset_size": len(calibration)} | more,
    )


def validation_of(judge: Judge, shift: float) -> Any:
    """A judge as NNCF takes it, with NNCF's compiled model."""
    from quantcurve.engines.openvino_inputs import feed

    class Plain:
        def __init__(self, compiled: Any) -> None:
            self.names = {name for port in compiled.inputs for name in port.get_names()}
            self.request = compiled.create_infer_request()

        def forward(self, tokens: Tokens, past: int, positions: int) -> Floats:
            self.request.reset_state()
            self.request.infer(feed(Path(), self.names, tokens, past))
            return self.request.get_tensor("logits").data[:, -positions:]

    def validate(compiled: Any, numbers: Any) -> tuple[float, list[float]]:
        values = [value + shift for value in judge(Plain(compiled), list(numbers))]
        return sum(values) / len(values), values

    return validate


# SmoothQuant, and what NNCF says of itself


@pytest.mark.parametrize("variant", [SMOOTH, ROUGH], ids=["smooth", "rough"])
def test_with_all_layers_restored_the_model_is_the_float_model(control: Control, variant: OpenVinoVariant) -> None:
    outcome = control(variant)
    assert outcome.reached and outcome.limit is None
    assert outcome.plain_mean < -100 * ALL_BACK < outcome.final_mean
    assert outcome.reverted_groups == outcome.groups > 3
    assert outcome.final_mean == pytest.approx(np.mean(control.values_of_the_file()), abs=1e-9)
    assert outcome.trace[-1].reverted_groups == outcome.groups


def test_nncf_alone_breaks_a_smoothed_model_and_calls_it_done(ir: Path, calibration: Tokens, judge: Judge) -> None:
    """Restored weights are unsmoothed and the factor before them stays; and what misses the budget is returned."""
    from quantcurve.engines.openvino_judged import GraphRunner, quantizers

    returned = upstream(ir, calibration, validation_of(judge, 1.0), max_drop=ALL_BACK)
    assert not quantizers(returned)
    runner = GraphRunner(ir, returned, EXACT)
    assert np.mean([divergence(judge.reference[n], scored(runner, judge.windows[n])) for n in ITEMS]) > 1e-2


def test_success_on_the_last_group_is_success(control: Control, ir: Path, calibration: Tokens, judge: Judge) -> None:
    """NNCF calls it a failure."""
    smoothing_off = nncf.AdvancedQuantizationParameters(
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    )
    said: list[str] = []
    from nncf.quantization.algorithms.accuracy_control import algorithm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algorithm.nncf_logger, "info", lambda message, *_: said.append(message))
        validate = validation_of(judge, 1.0)
        returned = upstream(
            ir, calibration, validate, max_drop=ALL_BACK, advanced_quantization_parameters=smoothing_off
        )
    assert any("could not achieve" in message for message in said)
    assert 1 - validate(ov.compile_model(returned, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), ITEMS)[0] < ALL_BACK
    assert control(ROUGH).reached


def test_smoothing_first_gives_the_model_that_nncf_quantize_gives(
    control: Control, ir: Path, calibration: Tokens, judge: Judge
) -> None:
    from quantcurve.engines.openvino_inputs import feed, input_names
    from quantcurve.engines.openvino_judged import GraphRunner

    outcome = control(max_drop=100.0)
    model = read(ir)
    dataset = nncf.Dataset([feed(ir, input_names(model), w[None], 0) for w in calibration])
    kinds = {"model_type": nncf.ModelType.TRANSFORMER, "preset": nncf.QuantizationPreset.MIXED}
    runner = GraphRunner(ir, nncf.quantize(model, dataset, subset_size=len(calibration), **kinds), EXACT)
    direct = [-divergence(judge.reference[n], scored(runner, judge.windows[n])) for n in ITEMS]
    assert outcome.plain_mean == pytest.approx(np.mean(direct), rel=1e-2)
    assert outcome.reached and outcome.iterations == outcome.rankings == outcome.reverted_groups == 0
    assert outcome.reverted_operations == outcome.removed_quantizers == ()


def test_a_budget_that_is_never_reached_is_said(control: Control) -> None:
    outcome = control(max_drop=1e-300, max_iterations=2)
    assert not outcome.reached and outcome.limit == "max_iterations"
    assert outcome.iterations == 2
    assert outcome.final_mean == pytest.approx(max(step.mean for step in outcome.trace), rel=1e-2)


def test_when_time_is_up_the_best_so_far_is_written(control: Control) -> None:
    outcome = control(max_seconds=1e-9)
    assert not outcome.reached and outcome.limit == "max_seconds"
    assert outcome.validations == 3 and outcome.ranking_validations == 0
    assert outcome.final_mean == pytest.approx(outcome.plain_mean, rel=1e-2)
    assert np.mean(control.values_of_the_file()) == pytest.approx(outcome.final_mean)


# The metric, and how NNCF ranks


def test_a_reference_of_zero_is_no_trouble(control: Control, ir: Path, calibration: Tokens, judge: Judge) -> None:
    with pytest.raises(ZeroDivisionError):
        upstream(ir, calibration, validation_of(judge, 0.0), max_drop=ALL_BACK)
    assert control(max_drop=100.0).reference_mean == pytest.approx(0, abs=1e-9)


def test_groups_are_ranked_by_the_metric(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    from nncf.quantization.algorithms.accuracy_control.evaluator import Evaluator

    modes = []
    original = Evaluator.determine_mode
    monkeypatch.setattr(Evaluator, "determine_mode", staticmethod(lambda *a: modes.append(original(*a)) or modes[-1]))
    outcome = control(max_iterations=1)
    assert modes == [True]
    assert outcome.rankings == 1 and outcome.ranking_validations == outcome.groups


def test_the_group_that_helps_most_goes_first(control: Control) -> None:
    """Of all single groups, on the items that it was ranked on."""
    outcome = control(max_iterations=1, ranking_items=len(ITEMS))
    keys = {line.split('"')[3] for line in control.journal.read_text().splitlines()}
    means = {k: np.mean(list(Journal(control.journal).values(k).values())) for k in keys if k.startswith("quantizers")}
    assert outcome.trace[1].mean == pytest.approx(max(means.values()))
    assert len(means) == outcome.groups + 1


def test_a_group_needs_no_second_validation_of_what_it_was_ranked_on(control: Control, judge: Judge) -> None:
    outcome = control(max_iterations=1, ranking_items=2)
    ranked, restored, written = judge.calls[-3:]
    assert len(ranked[1]) == 2 and len(restored[1]) == len(ITEMS) - 2 and len(written[1]) == len(ITEMS)
    assert outcome.inferred == outcome.groups + 4


# What a judge may do


@pytest.mark.parametrize("call", [0, 1, 2, 5])
def test_what_a_judge_raises_gets_out_as_it_is(control: Control, judge: Judge, call: int) -> None:
    error = StoppedError("of the user's own")

    def stop() -> None:
        if len(judge.calls) == call:
            raise error

    judge.before = stop
    with pytest.raises(StoppedError) as caught:
        control()
    assert caught.value is error
    assert len(judge.calls) == call


def test_nncf_alone_takes_an_error_for_tensors(ir: Path, calibration: Tokens, judge: Judge) -> None:
    from nncf.quantization.algorithms.accuracy_control.evaluator import Evaluator

    def validate(compiled: Any, numbers: Any) -> Any:
        raise StoppedError("of the user's own")

    assert Evaluator.determine_mode(_Any(), nncf.Dataset(list(ITEMS)), validate) is False


class _Any:
    model_for_inference = None


@pytest.mark.parametrize(
    ("answer", "said"),
    [([1.0], "1 values for 6 items"), ([float("nan")] * 6, "gave nan for item 10"), ([float("inf")] * 6, "inf")],
)
def test_wrong_values_never_reach_nncf(control: Control, answer: list[float], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        control(judge=lambda runner, numbers: answer)


# The configuration, and the state


def test_graphs_are_compiled_as_they_are_deployed(control: Control, judge: Judge) -> None:
    from nncf.quantization.algorithms.accuracy_control import openvino_backend

    before = openvino_backend.OVPreparedModel
    runtime = OpenVinoRuntime(inference_precision="f32", kv_cache="u8", dynamic_quantization_group=0)
    control(config=EXACT.model_copy(update={"runtime": runtime}), max_iterations=1)
    assert openvino_backend.OVPreparedModel is before
    found = {runner.compiled.get_property("KEY_CACHE_PRECISION").to_string() for runner, _ in judge.calls}
    assert len(judge.calls) > 5 and found == {"u8"}
    assert not any(runner.plain_cache for runner, _ in judge.calls)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_the_precision_is_the_configurations(control: Control, judge: Judge, precision: str) -> None:
    from quantcurve.machine import cpu_features

    if precision == "bf16" and "avx512_bf16" not in cpu_features():
        pytest.skip("this CPU has no bfloat16")
    runtime = OpenVinoRuntime(inference_precision=precision)
    control(config=EXACT.model_copy(update={"runtime": runtime}), max_iterations=1)
    found = {runner.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() for runner, _ in judge.calls}
    assert found == {precision}


def test_a_device_that_is_not_there_is_said_at_once(control: Control, judge: Judge) -> None:
    with pytest.raises(BackendError, match="GPU"):
        control(config=EXACT.model_copy(update={"runtime": OpenVinoRuntime(device="GPU.9")}))
    assert judge.calls == []


def test_no_state_is_left_from_one_item_to_the_next(ir: Path, windows: dict[int, Tokens]) -> None:
    first, second = windows[ITEMS[0]], windows[ITEMS[1]]
    alone = scored(runner_of(ir), second)
    runner = runner_of(ir)
    scored(runner, first)
    assert np.array_equal(scored(runner, second), alone)
    runner.forward(second[None, :10], 0)
    in_parts = runner.forward(second[None, 10:], 10, 6)[0]
    assert np.allclose(in_parts, alone[-6:], atol=1e-4)
    left_over = runner.forward(second[None], ITEM_TOKENS, ITEM_TOKENS // 2)[0]
    assert not np.allclose(left_over, alone, atol=1e-2)


# Interruptions, times, the file


def test_an_interrupted_search_goes_on_from_the_last_validation(control: Control, judge: Judge) -> None:
    whole = control(max_iterations=2)
    needed = len(judge.calls)
    control.journal.unlink()
    judge.calls.clear()
    places = [3, 5]

    def stop() -> None:
        if len(judge.calls) in places:
            raise StoppedError

    judge.before = stop
    while places:
        with pytest.raises(StoppedError):
            control(max_iterations=2)
        places.remove(len(judge.calls))
    judge.before = lambda: None
    resumed = control(max_iterations=2)
    assert len(judge.calls) == needed
    times = {"validation_s", "compilation_s", "rest_s", "trace", "inferred", "judged_items"}
    assert resumed.model_dump(exclude=times) == whole.model_dump(exclude=times)
    assert [s.mean for s in resumed.trace] == [s.mean for s in whole.trace]
    again = control(max_iterations=2)
    assert len(judge.calls) == needed
    assert again.inferred == again.validation_s == again.compilation_s == 0


def test_times_add_up_and_the_trace_tells_when_budgets_were_met(control: Control) -> None:
    began = time.monotonic()
    outcome = control(max_iterations=3)
    wall_s = time.monotonic() - began
    parts = (outcome.validation_s, outcome.compilation_s, outcome.rest_s)
    assert min(parts) > 0 and sum(parts) == pytest.approx(wall_s, abs=0.05)
    first, *others = outcome.trace
    assert (first.reverted_groups, first.reverted_operations, first.mean) == (0, 0, outcome.plain_mean)
    assert [step.reverted_groups for step in others] == [1, 2, 3]
    assert all(a.seconds < b.seconds for a, b in zip(outcome.trace, others, strict=False))
    assert all(step.reverted_operations >= step.reverted_groups for step in others)
    assert len(outcome.reverted_operations) > 0 and len(outcome.removed_quantizers) > 0


def test_the_file_has_integers_and_leaves_the_cache_to_the_device(control: Control) -> None:
    from quantcurve.engines.openvino_graphs import CACHE_PRECISION

    control(max_drop=100.0)
    written = ov.Core().read_model(control.target / "openvino_model.xml")
    types = [op.get_element_type().to_string() for op in written.get_ops() if op.get_type_name() == "Constant"]
    assert types.count("i8") > 5
    assert not written.has_rt_info(CACHE_PRECISION)


def test_layers_that_rules_leave_alone_are_no_groups(control: Control) -> None:
    rule = LayerRule(match=r"model\.layers\.0\.mlp\..*", weights="F32")
    fewer = control(OpenVinoVariant(weights="W8A8", layers=(rule,)), max_drop=100.0)
    control.journal.unlink()
    every = control(max_drop=100.0)
    assert fewer.groups < every.groups
    control.journal.unlink()
    restored = control(OpenVinoVariant(weights="W8A8", layers=(rule,)))
    assert not [name for name in restored.reverted_operations if ".mlp." in name and "MatMul" in name]
