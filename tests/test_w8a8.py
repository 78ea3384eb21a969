"""W8A8 of a tiny real model: groups of quantizers, models with some of them restored, and the graph that switches."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ir_logits import EXACT, apart, log_probabilities, of_graph, of_runner, windows
from quantcurve.errors import BackendError, RecipeError
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from tiny_ir import write_tiny_ir

nncf = pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'quantcurve[openvino]'")
ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")
pytest.importorskip("optimum.intel", reason="optimum-intel is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow]
CALIBRATION, HELD_OUT = windows(8), windows(4, seed=1)
SAME = 1e-7
"""Mean KL divergence, nats, between two ways to compute the same in float32."""
CLOSE = 0.1
"""Share of the KL divergence that quantization costs by which the switched graph may miss the built one: the plugin
fuses quantizers into integer products, where what lies between two steps is rounded to the other one now and then."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float")
    return write_tiny_ir(folder / "ir", folder / "log")


def variant(smooth: bool | None, **more: Any) -> OpenVinoVariant:
    return OpenVinoVariant(weights="W8A8", smooth_quant=smooth, **more)


def quantised_of(source: Path, target: Path, what: OpenVinoVariant) -> Path:
    from quantcurve.engines import openvino_w8a8

    target.mkdir(parents=True)
    openvino_w8a8.quantise(source, target, what, CALIBRATION)
    return target


@pytest.fixture(scope="module", params=[True, False], ids=["smooth", "plain"])
def smooth(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def quantised(source: Path, smooth: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantised_of(source, tmp_path_factory.mktemp("quantised") / "ir", variant(smooth))


@pytest.fixture(scope="module")
def floats(source: Path) -> np.ndarray[Any, Any]:
    return of_graph(source, HELD_OUT)


def groups_of(folder: Path) -> Any:
    from quantcurve.engines import quantizer_groups

    return quantizer_groups.load(folder)


def runner_of(quantised: Path, source: Path, switchable: list[int], **more: Any) -> Any:
    from quantcurve.engines.openvino_switch import SwitchedRunner

    return SwitchedRunner(quantised, source, groups_of(quantised).groups, switchable, EXACT, **more)


def built(quantised: Path, source: Path, numbers: list[int]) -> np.ndarray[Any, Any]:
    from quantcurve.engines.openvino_revert import build_in_memory

    return of_graph(build_in_memory(quantised, source, numbers), HELD_OUT)


def every(quantised: Path) -> list[int]:
    return [group.number for group in groups_of(quantised).groups]


def quantizers_in(folder: Path) -> list[str]:
    graph = ov.Core().read_model(folder / "openvino_model.xml")
    return [op.get_friendly_name() for op in graph.get_ops() if op.get_type_name() == "FakeQuantize"]


def test_groups_have_every_quantizer_once(quantised: Path) -> None:
    found = groups_of(quantised)
    assert sorted(chain(*(g.quantizers for g in found.groups))) == sorted(quantizers_in(quantised))
    assert [g.number for g in found.groups] == list(range(len(found.groups)))
    assert found.share(every(quantised)) == pytest.approx(1)
    assert found.share([]) == 0


def test_groups_name_layers_and_count_their_products(quantised: Path) -> None:
    found = groups_of(quantised)
    by_layer = {layer: group for group in found.groups for layer in group.layers}
    assert "model.layers.1.mlp.down_proj" in by_layer
    assert by_layer["model.layers.1.mlp.down_proj"].multiply_accumulates == 256 * 512
    pair = by_layer["model.layers.0.mlp.up_proj"]
    assert {"model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj"} <= set(pair.layers)
    assert pair.multiply_accumulates == 2 * 256 * 512
    qkvo, mlp, head = 256 * (256 + 128 + 128 + 256), 3 * 256 * 512, 300 * 256
    assert found.multiply_accumulates_total == 2 * (qkvo + mlp) + head


def test_groups_are_nncfs_own(source: Path, smooth: bool, quantised: Path) -> None:
    """On the graph in memory, as NNCF's accuracy control sees it: same groups in the same order."""
    from nncf.common.factory import build_graph
    from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
    from nncf.quantization.algorithms.accuracy_control.ranker import Ranker

    model = nncf_quantised(source, smooth, compress=False)
    ranker = Ranker(1, nncf.Dataset([]), OVAccuracyControlAlgoBackend(), None)
    theirs = ranker.find_groups_of_quantizers_to_rank(build_graph(model))
    ours = groups_of(quantised).groups
    assert [sorted(n.node_name for n in g.quantizers) for g in theirs] == [sorted(g.quantizers) for g in ours]


def nncf_quantised(source: Path, smooth: bool, compress: bool) -> Any:
    from quantcurve.engines.openvino_compress import dataset_of
    from quantcurve.engines.openvino_w8a8 import arguments

    model = ov.Core().read_model(source / "openvino_model.xml")
    dataset = dataset_of(model, source, CALIBRATION)
    return nncf.quantize(model, dataset, **arguments(variant(smooth), [], len(CALIBRATION), compress))


def test_nothing_restored_is_what_nncf_makes(source: Path, smooth: bool, quantised: Path, tmp_path: Path) -> None:
    from quantcurve.engines.openvino_revert import build

    build(quantised, source, tmp_path, [])
    ov.save_model(nncf_quantised(source, smooth, compress=True), tmp_path / "theirs.xml", compress_to_fp16=False)
    assert (tmp_path / "openvino_model.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()
    theirs = of_graph(ov.Core().read_model(tmp_path / "theirs.xml"), HELD_OUT)
    assert np.array_equal(of_graph(tmp_path, HELD_OUT), theirs)
    assert "KV_CACHE_PRECISION" not in (tmp_path / "openvino_model.xml").read_text()


def test_everything_restored_is_the_float_model(source: Path, quantised: Path, floats: np.ndarray[Any, Any]) -> None:
    assert apart(floats, built(quantised, source, [])) > 1e-4  # so that what follows says something
    restored = built(quantised, source, every(quantised))
    assert apart(floats, restored) < SAME
    assert np.abs(floats - restored).max() < 1e-3


def test_nncfs_own_revert_is_wrong_under_smooth_quant(
    source: Path, smooth: bool, quantised: Path, floats: np.ndarray[Any, Any]
) -> None:
    """If this fails, NNCF has mended it, and ranking: nncf needs its guard no longer."""
    from nncf.common.factory import build_graph
    from nncf.common.quantization.quantizer_removal import revert_operations_to_floating_point_precision
    from nncf.quantization.advanced_parameters import RestoreMode
    from nncf.quantization.algorithms.accuracy_control.algorithm import QuantizationAccuracyRestorer
    from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
    from nncf.quantization.algorithms.accuracy_control.ranker import Ranker

    backend = OVAccuracyControlAlgoBackend()
    model = nncf_quantised(source, smooth, compress=False)
    original = ov.Core().read_model(source / "openvino_model.xml")
    graph = build_graph(model)
    QuantizationAccuracyRestorer._collect_original_biases_and_weights(build_graph(original), graph, original, backend)
    for group in Ranker(1, nncf.Dataset([]), backend, None).find_groups_of_quantizers_to_rank(graph):
        model = revert_operations_to_floating_point_precision(
            group.operations,
            group.quantizers,
            model,
            graph,
            RestoreMode.ACTIVATIONS_AND_WEIGHTS,
            backend.get_op_with_weights_metatypes(),
            backend.is_node_with_weight,
            backend.get_weight_tensor_port_ids,
        )
    theirs = apart(floats, of_graph(model, HELD_OUT))
    if smooth:
        assert theirs > 2 * apart(floats, built(quantised, source, []))
    else:
        assert theirs < SAME


def test_all_switches_on_are_the_float_model(source: Path, quantised: Path, floats: np.ndarray[Any, Any]) -> None:
    runner = runner_of(quantised, source, every(quantised))
    assert runner.plain_cache and runner.vocabulary == 300
    runner.restore(every(quantised))
    assert apart(floats, of_runner(runner, HELD_OUT)) < SAME


def test_switches_are_the_built_models(source: Path, quantised: Path, floats: np.ndarray[Any, Any]) -> None:
    runner, numbers = runner_of(quantised, source, every(quantised)), every(quantised)
    loss = apart(floats, built(quantised, source, []))
    rng = np.random.default_rng(0)
    some = sorted(int(n) for n in rng.choice(numbers, len(numbers) // 2, replace=False))
    for chosen in ([], some, numbers[:1]):
        runner.restore(chosen)
        assert apart(built(quantised, source, chosen), of_runner(runner, HELD_OUT)) < CLOSE * loss
    runner.restore(some)
    mixed = of_runner(runner, HELD_OUT)
    runner.restore([])
    assert apart(mixed, of_runner(runner, HELD_OUT)) > CLOSE * loss  # the switches do something


def test_some_groups_alone_can_be_switched(source: Path, quantised: Path) -> None:
    numbers = every(quantised)
    few = numbers[2:4]
    part, whole = runner_of(quantised, source, few, restored=numbers[-1:]), runner_of(quantised, source, numbers)
    part.restore(few[:1])
    whole.restore([few[0], numbers[-1]])
    assert apart(of_runner(whole, HELD_OUT), of_runner(part, HELD_OUT)) < 1e-4
    with pytest.raises(BackendError, match=rf"group {numbers[0]} is not among those compiled"):
        part.restore(numbers[:1])


def test_no_group_can_be_switched(source: Path, quantised: Path) -> None:
    runner = runner_of(quantised, source, [])
    runner.restore([])
    assert apart(built(quantised, source, []), of_runner(runner, HELD_OUT)) < 1e-4


def test_a_pass_goes_on_from_the_cache(source: Path, quantised: Path) -> None:
    runner = runner_of(quantised, source, every(quantised))
    whole = runner.forward(HELD_OUT, 0, 8).copy()
    runner.forward(HELD_OUT[:, :24], 0)
    later = runner.forward(HELD_OUT[:, 24:], 24, 8)
    assert np.abs(whole - later).max() < 0.05 * np.abs(whole).max()


def test_an_unknown_group_is_refused(source: Path, quantised: Path) -> None:
    from quantcurve.engines.openvino_revert import build_in_memory

    with pytest.raises(BackendError, match="group 999: the quantised model has groups 0 to"):
        build_in_memory(quantised, source, [0, 999])


def test_a_rule_leaves_layers_in_float(source: Path, tmp_path: Path) -> None:
    rule = LayerRule(match=r".*\.down_proj", weights="F32")
    found = quantised_of(source, tmp_path / "ruled", variant(None, layers=(rule,)))
    named = set(chain(*(group.layers for group in groups_of(found).groups)))
    assert "model.layers.0.mlp.up_proj" in named and "model.layers.0.mlp.down_proj" not in named
    assert not [name for name in quantizers_in(found) if "down_proj" in name]
    total = groups_of(found)
    assert 0.5 < total.share([g.number for g in total.groups]) < 0.9


def test_a_rule_that_matches_nothing_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="matches none"):
        quantised_of(source, tmp_path / "ruled", variant(None, layers=(LayerRule(match="nothing", weights="F32"),)))


def test_the_preset_is_taken(source: Path, tmp_path: Path) -> None:
    """Performance has activations that are symmetric around 0."""
    found = quantised_of(source, tmp_path / "performance", variant(False, preset="performance"))
    graph = ov.Core().read_model(found / "openvino_model.xml")
    ranges = [
        tuple(float(op.input_value(i).get_node().data.ravel()[0]) for i in (1, 2))
        for op in graph.get_ops()
        if op.get_type_name() == "FakeQuantize" and op.input_value(0).get_node().get_type_name() != "Constant"
    ]
    assert ranges and all(low >= 0 or low / high == pytest.approx(-128 / 127, rel=0.01) for low, high in ranges)


BIAS_WIDTH = 64


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two products with biases, and the same quantised: bias correction changes them."""
    from openvino import opset15 as ops

    from quantcurve.engines import openvino_w8a8

    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("biased")

    def linear(x: Any, name: str) -> Any:
        square = rng.normal(0.05, 0.3, (BIAS_WIDTH, BIAS_WIDTH)).astype(np.float32)
        weights = ops.constant(square, name=f"{name}.weight")
        bias = ops.constant(rng.uniform(0.5, 1, (1, 1, BIAS_WIDTH)).astype(np.float32), name=f"{name}.bias")
        product = ops.matmul(x, weights, False, True, name=f"__module.{name}/aten::linear/MatMul")
        return ops.add(product, bias, name=f"__module.{name}/aten::linear/Add")

    x = ops.parameter([-1, -1, BIAS_WIDTH], np.float32, name="x")
    x.output(0).get_tensor().set_names({"x"})
    logits = linear(ops.relu(linear(x, "encoder.first")), "encoder.second")
    logits.output(0).get_tensor().set_names({"logits"})
    folders = root / "float", root / "quantised"
    for folder in folders:
        folder.mkdir()
    ov.save_model(ov.Model([ops.result(logits)], [x], "biased"), folders[0] / "openvino_model.xml", False)
    model = ov.Core().read_model(folders[0] / "openvino_model.xml")
    samples = nncf.Dataset([{"x": rng.normal(0.3, 1, (1, 16, BIAS_WIDTH)).astype(np.float32)} for _ in range(8)])
    openvino_w8a8.quantise_on(model, *folders, variant(None), samples, 8)
    return folders


def biases(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    ends = {op.get_friendly_name(): op for op in model.get_ops() if op.get_friendly_name().endswith(".bias")}
    return {name: np.array(op.data) for name, op in ends.items()}


def test_a_corrected_bias_is_restored_with_its_layer(biased: tuple[Path, Path]) -> None:
    from quantcurve.engines.openvino_graphs import read
    from quantcurve.engines.openvino_revert import build_in_memory

    source, quantised = biased
    before, corrected = biases(read(source)), biases(read(quantised))
    assert all(not np.array_equal(before[name], corrected[name]) for name in before)
    own = next(g.number for g in groups_of(quantised).groups if "encoder.second" in g.layers)
    some = biases(build_in_memory(quantised, source, [own]))
    assert np.array_equal(some["encoder.second.bias"], before["encoder.second.bias"])
    assert np.array_equal(some["encoder.first.bias"], corrected["encoder.first.bias"])
    everything = build_in_memory(quantised, source, every(quantised))
    given = {"x": np.random.default_rng(1).normal(0.3, 1, (2, 16, BIAS_WIDTH)).astype(np.float32)}
    exact = {"EXECUTION_MODE_HINT": "ACCURACY"}
    ours, floats = (ov.compile_model(m, "CPU", exact)(given)["logits"] for m in (everything, read(source)))
    assert np.abs(ours - floats).max() < 1e-4 * np.abs(floats).max()


def test_a_corrected_bias_is_switched_with_its_layer(biased: tuple[Path, Path]) -> None:
    from quantcurve.engines.openvino_graphs import read
    from quantcurve.engines.openvino_revert import build_in_memory
    from quantcurve.engines.openvino_switch import SWITCH, add_switches

    source, quantised = biased
    groups = groups_of(quantised).groups
    graph = read(quantised)
    add_switches(graph, groups, read(source))
    exact = {"EXECUTION_MODE_HINT": "ACCURACY"}
    compiled = ov.compile_model(graph, "CPU", exact)
    given = {"x": np.random.default_rng(1).normal(0.3, 1, (2, 16, BIAS_WIDTH)).astype(np.float32)}
    for chosen in ([], [0], [len(groups) - 1], every(quantised)):
        switch = np.isin(np.arange(len(groups)), chosen)
        ours = compiled({**given, SWITCH: switch})["logits"]
        theirs = ov.compile_model(build_in_memory(quantised, source, chosen), "CPU", exact)(given)["logits"]
        assert np.abs(ours - theirs).mean() < 2e-3 * np.abs(theirs).max()


def test_parts_are_neighbours_and_all() -> None:
    from quantcurve.engines.openvino_switch import parts
    from quantcurve.engines.quantizer_groups import Group

    groups = [Group(number=n, quantizers=(), operations=(), layers=(), multiply_accumulates=0) for n in range(10)]
    assert parts(groups, 300, 300) == [tuple(range(10))]
    assert parts(groups, 300, 200) == [tuple(range(5)), tuple(range(5, 10))]
    assert len(parts(groups, 300, 110)) == 10
    assert parts(groups, 300, 100) == []


def test_scores_of_single_groups_agree_with_nncfs_ranker(source: Path, tmp_path: Path) -> None:
    """NNCF compiles a graph for each group, ours is compiled once; without SmoothQuant, with which NNCF errs. The
    value is minus the KL divergence from the float model."""
    from nncf.common.factory import build_graph
    from nncf.quantization.algorithms.accuracy_control.algorithm import QuantizationAccuracyRestorer
    from nncf.quantization.algorithms.accuracy_control.evaluator import Evaluator
    from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
    from nncf.quantization.algorithms.accuracy_control.ranker import Ranker
    from scipy.stats import spearmanr

    from quantcurve.engines.openvino_inputs import feed, input_names

    folder = quantised_of(source, tmp_path / "quantised", variant(False))
    reference = of_graph(source, HELD_OUT)

    def value(model: Any, items: Any) -> tuple[float, list[float]]:
        found = []
        for item in items:
            request = model.create_infer_request()
            window = HELD_OUT[item : item + 1]
            logits = request.infer(feed(source, input_names(model), window, 0))["logits"]
            found.append(-apart(reference[item : item + 1], log_probabilities(logits)))
        return float(np.mean(found)), found

    graph, backend = ov.Core().read_model(folder / "openvino_model.xml"), OVAccuracyControlAlgoBackend()
    nncf_graph, original = build_graph(graph), ov.Core().read_model(source / "openvino_model.xml")
    QuantizationAccuracyRestorer._collect_original_biases_and_weights(
        build_graph(original), nncf_graph, original, backend
    )
    evaluator, dataset = Evaluator(value), nncf.Dataset(range(len(HELD_OUT)))
    evaluator._metric_mode = True
    ranker = Ranker(len(HELD_OUT), dataset, backend, evaluator)
    groups = ranker.find_groups_of_quantizers_to_rank(nncf_graph)
    places = list(range(len(HELD_OUT)))
    theirs = ranker._sequential_calculation_ranking_score(graph, nncf_graph, groups, places, [])
    runner, ours = runner_of(folder, source, every(folder)), []
    for number in every(folder):
        runner.restore([number])
        ours.append(-apart(reference, of_runner(runner, HELD_OUT)))
    assert len(ours) == len(theirs) >= 10
    assert spearmanr(ours, theirs).statistic >= 0.9
