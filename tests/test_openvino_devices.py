"""Devices that a recipe names: those that are not there are refused at once, and AUTO is asked what it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantcurve.engines import openvino
from quantcurve.engines.openvino_devices import refusal
from quantcurve.errors import PrerequisiteError
from quantcurve.planning import plan
from quantcurve.recipe import load
from quantcurve.records import OpenVinoEffective
from quantcurve.results import LossSplit, VariantResult
from quantcurve.run import Where, run
from tiny import write_texts, write_tiny_llama

installed = pytest.mark.skipif(
    not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))), reason=f"devices: {openvino.INSTALL}"
)
RECIPE = """\
name: devices
model: {source: tiny.gguf}
texts: [{name: docs, source: docs.txt}]
windows: {tokens: 64, limit: 4}
variants:
  openvino:
    - {weights: INT8_ASYM, name: default}
VARIANTS
openvino: {split_windows: 2}
benchmark: null
"""


@pytest.mark.parametrize(
    ("device", "found", "absent"),
    [
        ("CPU", ["CPU"], None),
        ("AUTO", [], None),
        ("NPU", ["CPU"], "device NPU is not on this machine; OpenVINO finds CPU"),
        ("AUTO:GPU", ["CPU"], "device AUTO:GPU: GPU is not on this machine; OpenVINO finds CPU"),
        (
            "HETERO:NPU,CPU",
            ["CPU", "GPU"],
            "device HETERO:NPU,CPU: NPU is not on this machine; OpenVINO finds CPU, GPU",
        ),
        ("MULTI:GPU,NPU", ["CPU"], "device MULTI:GPU,NPU: GPU and NPU are not on this machine; OpenVINO finds CPU"),
        ("MULTI:CPU,GPU", ["CPU", "GPU"], None),
        ("GPU", ["CPU", "GPU.0", "GPU.1"], None),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], None),
        ("GPU.0", ["CPU", "GPU"], None),
        ("GPU.1", ["CPU", "GPU"], "device GPU.1 is not on this machine; OpenVINO finds CPU, GPU"),
        ("GP", ["CPU", "GPU"], "device GP is not on this machine; OpenVINO finds CPU, GPU"),
        ("CPU", [], "device CPU is not on this machine; OpenVINO finds none"),
    ],
)
def test_every_device_that_is_named_must_be_there(device: str, found: list[str], absent: str | None) -> None:
    assert refusal(device, found) == absent


def write_recipe(folder: Path, *variants: str) -> Path:
    write_texts(folder)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("VARIANTS", "\n".join(f"    - {v}" for v in variants)))
    return path


@installed
@pytest.mark.real
def test_a_recipe_for_devices_that_are_not_there_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """The model is not there either, which would be said next."""
    path = write_recipe(
        tmp_path,
        "{weights: F32, name: one, runtime: {device: XPU}}",
        "{weights: F32, name: two, runtime: {device: AUTO}}",
        '{weights: F32, name: three, runtime: {device: "HETERO:CPU,XPU"}}',
    )
    where = Where(threads=2, cache=tmp_path / "cache")
    for do in (run, plan):
        with pytest.raises(PrerequisiteError) as caught:
            do(load(path), where)
        one, two, fix = str(caught.value).splitlines()
        assert one.startswith(f"{path}:8: variants.openvino.1.runtime.device: device XPU is not on this machine")
        assert two.startswith(f"{path}:10: variants.openvino.3.runtime.device: device HETERO:CPU,XPU: XPU is not on")
        assert "OpenVINO finds" in two and "CPU" in two and "quantcurve doctor" in fix
    assert not list((tmp_path / "cache" / "artifacts").glob("*/*"))


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VariantResult]:
    """Variants that ran on what AUTO took, beside one that ran on the CPU."""
    folder = tmp_path_factory.mktemp("auto")
    write_tiny_llama(folder / "tiny.gguf")
    path = write_recipe(
        folder,
        "{weights: INT8_ASYM, name: auto, runtime: {device: AUTO}}",
        '{weights: INT8_ASYM, name: set, runtime: {device: "AUTO:CPU", kv_cache: u8, inference_precision: f32}}',
    )
    result = run(load(path), Where(threads=2, cache=folder / "cache"))
    return {v.name: v for v in result.variants}


@installed
@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", ["auto", "set"])
def test_a_run_on_auto_says_how_the_device_that_it_took_ran_it(by_name: dict[str, VariantResult], name: str) -> None:
    variant = by_name[name]
    assert variant.status == "measured", variant.failure
    config = variant.scoring_config
    assert isinstance(config, OpenVinoEffective)
    assert config.device and config.threads and config.threads > 0
    assert config.inference_precision and config.key_cache_precision and config.activations
    assert isinstance(variant.loss_split, LossSplit), variant.loss_split


@installed
@pytest.mark.real
@pytest.mark.slow
def test_auto_that_takes_the_cpu_scores_as_the_cpu(by_name: dict[str, VariantResult]) -> None:
    auto, cpu = by_name["auto"], by_name["default"]
    assert isinstance(auto.scoring_config, OpenVinoEffective) and isinstance(cpu.scoring_config, OpenVinoEffective)
    if auto.scoring_config.device != cpu.scoring_config.device:
        pytest.skip(f"AUTO took {auto.scoring_config.device}")
    threads = {"threads": None}
    assert auto.scoring_config.model_copy(update=threads) == cpu.scoring_config.model_copy(update=threads)
    assert auto.overall and cpu.overall and auto.overall.divergence and cpu.overall.divergence
    assert auto.overall.divergence.kl_mean.value == pytest.approx(cpu.overall.divergence.kl_mean.value, rel=0.01)
