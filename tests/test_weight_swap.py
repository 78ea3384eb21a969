"""A tiny real model compiled once, with the weights of its layers swapped between float and compressed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ir_logits import EXACT, apart, of_graph, of_runner, windows
from quantcurve.errors import BackendError
from quantcurve.recipe_openvino import OpenVinoVariant
from tiny_ir import write_matrices, write_tiny_ir

nncf = pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'quantcurve[openvino]'")
ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")
pytest.importorskip("optimum.intel", reason="optimum-intel is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow]
TOKENS = windows(4, seed=1)
SAME = 1e-7
"""Mean KL divergence, nats, between two ways to compute the same in float32."""
INT4 = OpenVinoVariant(weights="INT4_ASYM", group_size=64)
FORMATS = ("INT8_SYM", "INT8_ASYM", "INT4_SYM", "INT4_ASYM", "NF4", "CB4", "MXFP4", "MXFP8_E4M3", "FP8_E4M3", "FP4")


def compressed(source: Path, target: Path, variant: OpenVinoVariant) -> Path:
    from quantcurve.engines import openvino_compress

    target.mkdir(parents=True)
    calibrated = openvino_compress.Calibrated(windows(4), None) if variant.data_aware else None
    openvino_compress.compress(source, target, variant, calibrated)
    return target


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float")
    return write_tiny_ir(folder / "ir", folder / "log")


@pytest.fixture(scope="module")
def forms(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("forms")
    int8 = OpenVinoVariant(weights="INT8_ASYM")
    return {"own": compressed(source, root / "int4", INT4), "INT8": compressed(source, root / "int8", int8)}


@pytest.fixture(scope="module")
def runner(source: Path, forms: dict[str, Path]) -> Any:
    from quantcurve.engines.openvino_weight_swap import SwapRunner

    return SwapRunner(source, forms, EXACT)


def test_all_float_is_the_float_model(runner: Any, source: Path) -> None:
    runner.use(dict.fromkeys(runner.layers, "float"))
    found, wanted = of_runner(runner, TOKENS), of_graph(source, TOKENS)
    assert np.abs(found - wanted).max() < 1e-4 and apart(wanted, found) < SAME


def test_each_form_is_the_compressed_model(runner: Any, source: Path, forms: dict[str, Path]) -> None:
    floats = of_graph(source, TOKENS)
    for form, folder in forms.items():
        runner.use(dict.fromkeys(runner.layers, form))
        wanted = of_graph(folder, TOKENS)
        assert apart(wanted, of_runner(runner, TOKENS)) < 1e-3 * apart(floats, wanted)


def test_layers_not_named_are_their_own(runner: Any, forms: dict[str, Path]) -> None:
    runner.use(dict.fromkeys(runner.layers, "float"))
    runner.use({})
    own = of_runner(runner, TOKENS)
    assert apart(of_graph(forms["own"], TOKENS), own) < SAME
    runner.use({runner.layers[3]: "INT8"})
    changed = of_runner(runner, TOKENS)
    assert apart(own, changed) > SAME
    runner.use({})
    assert np.array_equal(of_runner(runner, TOKENS), own)


def test_one_layer_alone_is_nncfs_mixture(source: Path, forms: dict[str, Path], runner: Any, tmp_path: Path) -> None:
    """INT4 with a rule that keeps some layers in INT8 is what the runner says of these forms."""
    from quantcurve.engines.openvino_layers import layers
    from quantcurve.recipe_openvino import LayerRule

    rule = LayerRule(match=r"model\.layers\.1\..*", weights="INT8_ASYM")
    mixed = compressed(source, tmp_path / "mixed", INT4.model_copy(update={"layers": (rule,)}))
    ruled = [layer.constant for layer in layers(source) if layer.name.startswith("model.layers.1.")]
    runner.use(dict.fromkeys(ruled, "INT8"))
    assert ruled and apart(of_graph(mixed, TOKENS), of_runner(runner, TOKENS)) < SAME


def test_shared_weights_are_one_layer(source: Path, runner: Any) -> None:
    from quantcurve.engines.openvino_layers import layers

    assert list(runner.layers) == list(dict.fromkeys(layer.constant for layer in layers(source)))


def test_a_pass_goes_on_from_the_cache(runner: Any) -> None:
    runner.use({})
    whole = runner.forward(TOKENS, 0, 8).copy()
    runner.forward(TOKENS[:, :24], 0)
    assert np.abs(whole - runner.forward(TOKENS[:, 24:], 24, 8)).max() < 1e-3


def test_unknown_names_are_refused(runner: Any, source: Path) -> None:
    from quantcurve.engines.openvino_weight_swap import SwapRunner

    with pytest.raises(BackendError, match="no layer has weights named nothing"):
        runner.use({"nothing": "float"})
    with pytest.raises(BackendError, match="no form INT2; there are own, INT8, float"):
        runner.use({runner.layers[0]: "INT2"})
    alone = SwapRunner(source, {}, EXACT)
    with pytest.raises(BackendError, match="none is named own"):
        alone.use({})


def test_what_changes_more_than_a_layer_is_refused(source: Path, forms: dict[str, Path], tmp_path: Path) -> None:
    from quantcurve.engines.openvino_weight_swap import SwapRunner, matches

    assert all(matches(source, folder) for folder in forms.values())
    for method in ("awq", "lora_correction"):
        other = compressed(source, tmp_path / method, INT4.model_copy(update={method: True}))
        assert not matches(source, other)
        with pytest.raises(BackendError, match=rf"own cannot be swapped layer by layer.*{method}"):
            SwapRunner(source, {"own": other}, EXACT)


def test_another_models_form_is_refused(source: Path, tmp_path: Path) -> None:
    from quantcurve.engines.openvino_weight_swap import matches

    assert not matches(source, write_matrices(tmp_path / "other"))


@pytest.mark.parametrize("weights", FORMATS)
def test_every_format_is_read_back(weights: str, tmp_path: Path) -> None:
    """A graph of products gives the same with the weights read back as compressed."""
    from quantcurve.engines.openvino_layers import layers
    from quantcurve.engines.openvino_weight_swap import by_name, dequantised, read

    source = write_matrices(tmp_path / "float")
    form = compressed(source, tmp_path / "form", OpenVinoVariant(weights=weights))
    graph, nodes = read(source), by_name(read(form))
    exact, given = {"EXECUTION_MODE_HINT": "ACCURACY"}, {"input_ids": np.arange(64)[None]}
    wanted = ov.compile_model(read(form), "CPU", exact)(given)[0]
    floats = ov.compile_model(read(source), "CPU", exact)(given)[0]
    from openvino import opset15 as ops

    for layer in layers(source):
        found = ops.constant(dequantised(nodes, layer))
        for consumer in by_name(graph)[layer.constant].output(0).get_target_inputs():
            consumer.replace_source_output(found.output(0))
    ours = ov.compile_model(graph, "CPU", exact)(given)[0]
    assert np.abs(wanted - floats).max() > 10 * np.abs(ours - wanted).max()


def test_every_layer_has_a_time(forms: dict[str, Path]) -> None:
    """By the counters of the device, which tell what restoring a layer would cost."""
    from quantcurve.engines.layer_times import layer_seconds
    from quantcurve.engines.openvino_layers import layers

    found = layers(forms["own"])
    times = layer_seconds(forms["own"], found, EXACT)
    assert set(times) == {layer.constant for layer in found}
    assert all(seconds >= 0 for seconds in times.values()) and max(times.values()) > 0
