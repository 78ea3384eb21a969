"""What the recipe refuses of OpenVINO variants is what NNCF refuses, and what it makes is what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from quantcurve.engines.child import Child
from quantcurve.engines.openvino_layers import layers, widths
from quantcurve.errors import BackendError
from quantcurve.nncf_refusals import refusal
from quantcurve.recipe_openvino import LayerRule, OpenVinoVariant
from quantcurve.stages import ir_check
from quantcurve.weight_formats import METHODS, WEIGHTS
from quantcurve.width_refusals import width_refusal
from tiny_ir import write_matrices

nncf = pytest.importorskip("nncf", reason="NNCF is not installed: pip install 'quantcurve[openvino]'")
ov = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'quantcurve[openvino]'")

pytestmark = [pytest.mark.real, pytest.mark.slow]
MODES = [w for w in WEIGHTS if w not in {"F32", "F16", "W4A8", "W8A8"}]
MEASURED = {"ratio": 0.5, "sensitivity": "max_activation_variance"}
OPTIONS: list[dict[str, Any]] = [
    {},
    *({"group_size": size} for size in (-1, 16, 32, 64)),
    {"ratio": 0.5},
    {"ratio": 1.0},
    {"all_layers": True},
    *({method: True} for method in METHODS),
    {"gptq": True, "scale_estimation": True},
    {"gptq": True, "lora_correction": True},
    *({"backup": backup} for backup in ("none", "int8_sym", "int8_asym", "mxfp8_e4m3", "fp8_e4m3")),
    *({"group_size_fallback": fallback} for fallback in ("adjust", "ignore")),
    MEASURED,
    {"ratio": 0.5, "sensitivity": "weight_quantization_error"},
]
"""All but those that NNCF takes without a word and does something else (see below)."""


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IR whose widths every group divides."""
    return write_matrices(tmp_path_factory.mktemp("even") / "ir")


def unchecked(weights: str, **options: Any) -> OpenVinoVariant:
    """A variant that the recipe might refuse."""
    return OpenVinoVariant.model_construct(weights=weights, **options)


def nncf_says(ir: Path, variant: OpenVinoVariant) -> str:
    """Why nncf.compress_weights refuses a variant; empty where it takes it."""
    arguments: dict[str, Any] = {
        "mode": nncf.CompressWeightsMode(variant.mode.lower()),
        "ratio": variant.ratio,
        "group_size": variant.group_size,
        "all_layers": variant.all_layers or None,
        "sensitivity_metric": nncf.SensitivityMetric(variant.sensitivity) if variant.sensitivity else None,
        "backup_mode": nncf.BackupMode(variant.backup) if variant.backup else None,
        "advanced_parameters": nncf.AdvancedCompressionParameters(
            group_size_fallback_mode=nncf.GroupSizeFallbackMode(variant.group_size_fallback)
        ),
        **{method: getattr(variant, method) or None for method in METHODS},
    }
    if variant.data_aware:
        rng = np.random.default_rng(0)
        arguments["dataset"] = nncf.Dataset([{"input_ids": rng.integers(0, 64, (1, 32))} for _ in range(2)])
        arguments["subset_size"] = 2
    try:
        nncf.compress_weights(ov.Core().read_model(ir / "openvino_model.xml"), **arguments)
    except Exception as error:  # its errors have no class in common
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("weights", MODES)
def test_the_recipe_refuses_what_nncf_refuses_and_nothing_else(even: Path, weights: str) -> None:
    differing = {}
    for options in OPTIONS:
        variant = unchecked(weights, **options)
        ours, theirs = refusal(variant), nncf_says(even, variant)
        if bool(ours) != bool(theirs):
            differing[str(options)] = (ours, theirs)
    assert not differing


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": "INT4_SYM", "ratio": 0}, "NNCF reads it as 1"),
        ({"weights": "INT4_SYM", "group_size": 0}, "group_size 0"),
        ({"weights": "INT4_SYM", "gptq": True, "lora_correction": True}, "not both"),
        ({"weights": "CB4", "lora_correction": True}, "no lora_correction for CB4"),
        ({"weights": "NF4", "sensitivity": "weight_quantization_error"}, "give a ratio below 1"),
        ({"weights": "NF4", "sensitivity": "weight_quantization_error", "ratio": 1}, "give a ratio below 1"),
        *(({"weights": w, "group_size_fallback": "adjust"}, "adjust cannot change") for w in ("MXFP4", "NVFP4")),
        ({"weights": "F32", "group_size": 64}, "takes no group_size"),
        ({"weights": "F16", "all_layers": True}, "takes no all_layers"),
        ({"weights": "F16", "backup": "none"}, "takes no backup"),
        ({"weights": "F32", "awq": True}, "takes no awq"),
        ({"weights": "F32", "group_size_fallback": "adjust"}, "takes no group_size_fallback"),
        ({"weights": "F16", "layers": [{"match": ".*", "weights": "NF4"}]}, "takes no layers"),
        ({"weights": "INT8_SYM", "group_size": 64}, "takes no group_size"),
    ],
    ids=str,
)
def test_a_variant_that_would_be_something_else_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OpenVinoVariant(**options)


@pytest.mark.parametrize(
    ("rule", "fallback", "said"),
    [
        ({"weights": "W4A8"}, "error", "use INT4_SYM for single layers"),
        ({"weights": "F16"}, "error", "use F32"),
        ({"weights": "F32", "group_size": 64}, "error", "takes no group_size"),
        ({"weights": "INT8_ASYM", "group_size": 64}, "error", "takes no group_size"),
        ({"weights": "INT4_SYM", "group_size": 0}, "error", "group_size 0"),
        ({"weights": "MXFP4", "group_size": 64}, "error", "groups of 32, no others"),
        ({"weights": "NVFP4", "group_size": 32}, "error", "groups of 16, no others"),
        ({"weights": "MXFP8_E4M3"}, "adjust", "adjust cannot change the groups of MXFP8_E4M3"),
    ],
    ids=str,
)
def test_a_rule_for_single_layers_is_checked_as_a_variant_is(rule: dict[str, Any], fallback: str, said: str) -> None:
    rules = [{"match": ".*down.*", **rule}]
    with pytest.raises(ValidationError, match=rf"layer rule '\.\*down\.\*': .*{said}"):
        OpenVinoVariant(weights="INT4_SYM", group_size_fallback=fallback, layers=rules)


@pytest.mark.parametrize("options", [{}, {"group_size": -1}], ids=str)
def test_a_rule_that_says_the_same_in_other_words_is_taken(options: dict[str, Any]) -> None:
    OpenVinoVariant(weights="INT4_SYM", layers=[{"match": ".*", "weights": "INT8_ASYM", **options}])


WIDTHS = [(192, 128), (48, 96)]
"""192 = 3 x 64; 48 has no power of two that `adjust` would take, 96 has."""


def width_variants() -> Iterator[OpenVinoVariant]:
    formats = ("INT4_SYM", "CB4", "MXFP4", "NVFP4", "FP8_E4M3", "FP4")
    choices = product(formats, ("error", "ignore", "adjust"), (None, "mxfp8_e4m3", "fp8_e4m3"), (False, True))
    for weights, fallback, backup, every in choices:
        variant = unchecked(weights, group_size_fallback=fallback, backup=backup, all_layers=every)
        if refusal(variant) is None:
            yield variant


@pytest.fixture(scope="module", params=WIDTHS, ids=str)
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An IR whose widths not every group divides."""
    hidden, inner = request.param
    return write_matrices(tmp_path_factory.mktemp("odd") / "ir", hidden, inner)


def test_widths_are_refused_as_nncf_refuses_them_and_what_is_advised_mends_it(odd: Path) -> None:
    found = widths(layers(odd), ())
    differing, advice = {}, 0
    for variant in width_variants():
        ours, theirs = width_refusal(variant, found), nncf_says(odd, variant)
        if bool(ours) != bool(theirs):
            differing[variant.model_dump_json(exclude_defaults=True)] = (ours, theirs)
        for offer in offers(ours or ""):
            advice += 1
            better = variant.model_copy(update=offer)
            if refusal(better) or nncf_says(odd, better):
                differing[variant.model_dump_json(exclude_defaults=True)] = (ours, offer)
    assert not differing
    assert advice > 10


def offers(said: str) -> list[dict[str, Any]]:
    """The changes that a message offers, each of them alone."""
    pairs = [re.findall(r"(group_size|group_size_fallback|backup): (\w+)", offer) for offer in said.split(", or ")]
    return [{key: int(value) if value.isdigit() else value for key, value in pair} for pair in pairs if pair]


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("weights", ["INT4_SYM", "FP8_E4M3"])
def test_of_a_mixture_only_what_is_sure_is_refused(odd: Path, weights: str, ratio: float) -> None:
    for fallback in ("error", "adjust"):
        variant = OpenVinoVariant(weights=weights, ratio=ratio, group_size_fallback=fallback)
        said = width_refusal(variant, widths(layers(odd), ()))
        assert not said or nncf_says(odd, variant), said


def test_the_layers_of_rules_are_not_the_variants(tmp_path: Path) -> None:
    """They are of another width: a rule mends the variant, or is refused itself."""
    ir = write_matrices(tmp_path / "ir", 576, 512)
    found = layers(ir)
    wide = r"model\.(layers.*(gate|up)_proj|embed_tokens)|lm_head|model\.lm_head"

    def said(**rule: Any) -> str | None:
        variant = OpenVinoVariant(weights="INT4_SYM", layers=[LayerRule(match=wide, **rule)])
        return width_refusal(variant, widths(found, variant.layers))

    assert "128 does not divide the 576 columns" in str(
        width_refusal(OpenVinoVariant(weights="INT4_SYM"), widths(found, ()))
    )
    assert said(weights="INT8_ASYM") is None and said(weights="NF4", group_size=64) is None
    assert said(weights="MXFP4") is None
    assert "layer rule" in str(said(weights="NF4")) and "give the rule group_size: 64" in str(said(weights="NF4"))


CALIBRATION = np.random.default_rng(0).integers(0, 64, (2, 32)).astype(np.int32)


class Compressor:
    """Makes variants the whole way, in one child."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child, self.folder = child, folder

    def collected(self, ir: Path) -> Path:
        """Statistics of an IR on the calibration windows of all variants here."""
        from quantcurve.engines import openvino_compress

        target = self.folder / f"statistics-{len(list(self.folder.iterdir()))}"
        target.mkdir()
        self.child.call(openvino_compress.collect, ir, target, CALIBRATION)
        return target

    def compressed(self, ir: Path, statistics: Path | None = None, **options: Any) -> tuple[OpenVinoVariant, Path, str]:
        """A variant of an IR, with what NNCF printed."""
        from quantcurve.engines import openvino_compress

        variant = OpenVinoVariant(**options)
        target = self.folder / f"made-{len(list(self.folder.iterdir()))}"
        target.mkdir()
        calibrated = openvino_compress.Calibrated(CALIBRATION, statistics) if variant.data_aware else None
        before = len(self.child.log_since_start())
        self.child.call(openvino_compress.compress, ir, target, variant, calibrated)
        return variant, target, self.child.log_since_start()[before:]


@pytest.fixture(scope="module")
def nncf_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compressor]:
    folder = tmp_path_factory.mktemp("nncf")
    with Child("nncf", folder / "log") as child:
        yield Compressor(child, folder)


@pytest.fixture(scope="module")
def kept_statistics(nncf_child: Compressor, even: Path) -> Path:
    return nncf_child.collected(even)


def formats(path: Path) -> dict[str, str]:
    return {layer.name.rpartition(".")[2]: layer.format for layer in layers(path)}


@pytest.mark.parametrize("weights", MODES)
def test_the_format_of_every_layer_is_read_back(even: Path, nncf_child: Compressor, weights: str) -> None:
    variant, path, _ = nncf_child.compressed(even, weights=weights)
    assert formats(path)["up_proj"] == weights
    assert ir_check.fallbacks(layers(even), layers(path), variant) == ()


@pytest.mark.parametrize("rule", [w for w in MODES if w != "INT4_SYM"])
@pytest.mark.parametrize("layer", ["up_proj", "down_proj", "lm_head", "embed_tokens"])
def test_a_rule_holds_for_its_layer_and_for_no_other(even: Path, nncf_child: Compressor, rule: str, layer: str) -> None:
    """Also where NNCF would compress its format a second time, as FP8."""
    rules = [LayerRule(match=f".*{layer}", weights=rule)]
    variant, path, _ = nncf_child.compressed(even, weights="INT4_SYM", layers=rules)
    found = formats(path)
    plain = dict.fromkeys(("up_proj", "gate_proj", "down_proj"), "INT4_SYM")
    plain |= dict.fromkeys(("lm_head", "embed_tokens"), "INT8_ASYM")
    assert found == plain | {layer: rule}
    assert ir_check.fallbacks(layers(even), layers(path), variant) == ()


def test_awq_without_the_layer_whose_weights_it_changes_is_refused(even: Path, nncf_child: Compressor) -> None:
    """NNCF fails then, with the name of the layer alone."""
    variant = OpenVinoVariant(weights="INT4_SYM", awq=True, layers=[{"match": ".*up_proj", "weights": "INT8_ASYM"}])
    assert "awq changes the weights of model.layers.0.mlp.up_proj along with those of" in str(
        ir_check.refusal(layers(even), variant)
    )
    with pytest.raises(BackendError, match="up_proj"):
        nncf_child.compressed(even, **dict(variant))
    both = [{"match": ".*(up|down)_proj", "weights": "INT8_ASYM"}]
    assert ir_check.refusal(layers(even), OpenVinoVariant(weights="INT4_SYM", awq=True, layers=both)) is None


def test_awq_on_a_layer_whose_neighbour_stays_as_it_is_is_refused(tmp_path: Path) -> None:
    ir = write_matrices(tmp_path / "ir", 192, 128)
    for fallback in ("ignore", "adjust"):
        variant = OpenVinoVariant(weights="INT4_SYM", awq=True, group_size_fallback=fallback)
        assert bool(ir_check.refusal(layers(ir), variant)) == bool(nncf_says(ir, variant)), fallback


def test_a_layer_that_stays_as_it_is_is_a_fallback(tmp_path: Path, nncf_child: Compressor) -> None:
    ir = write_matrices(tmp_path / "ir", 576, 512)
    variant, path, _ = nncf_child.compressed(ir, weights="INT4_SYM", group_size_fallback="ignore")
    assert formats(path)["up_proj"] == "F32" and formats(path)["down_proj"] == "INT4_SYM"
    found = ir_check.fallbacks(layers(ir), layers(path), variant)
    assert {(f.tensor, f.wanted, f.got, f.weights) for f in found} == {
        (f"model.layers.0.mlp.{name}_proj", "INT4_SYM+g128", "F32", 576 * 512) for name in ("up", "gate")
    }


def test_an_adjusted_group_is_a_fallback_and_so_is_the_backup_format(tmp_path: Path, nncf_child: Compressor) -> None:
    ir = write_matrices(tmp_path / "ir", 576, 48)
    variant, path, _ = nncf_child.compressed(ir, weights="NF4", group_size_fallback="adjust")
    found = ir_check.fallbacks(layers(ir), layers(path), variant)
    assert {(f.tensor.rpartition(".")[2], f.wanted, f.got) for f in found} == {
        ("up_proj", "NF4+g128", "NF4+g64"),
        ("gate_proj", "NF4+g128", "NF4+g64"),
        ("down_proj", "NF4+g128", "INT8_ASYM"),
    }


def test_a_mixture_is_no_fallback(even: Path, nncf_child: Compressor) -> None:
    variant, path, _ = nncf_child.compressed(even, weights="INT4_SYM", group_size=64, ratio=0.5, backup="int8_sym")
    assert {"INT4_SYM", "INT8_SYM"} <= set(formats(path).values())
    assert ir_check.fallbacks(layers(even), layers(path), variant) == ()


@pytest.mark.parametrize(
    "options",
    [
        {"weights": "INT4_SYM", "group_size": 32, "awq": True, "scale_estimation": True},
        {"weights": "INT4_ASYM", "group_size": 32, "lora_correction": True},
        *(
            {"weights": "INT4_SYM", "group_size": 32, "ratio": 0.5, "sensitivity": s}
            for s in ("hessian_input_activation", "mean_activation_variance", "max_activation_variance")
        ),
        {"weights": "NF4", "group_size": 32, "ratio": 0.5, "sensitivity": "mean_activation_magnitude", "gptq": True},
    ],
    ids=str,
)
def test_kept_statistics_make_the_same_variant(
    nncf_child: Compressor, even: Path, kept_statistics: Path, options: dict[str, Any]
) -> None:
    _, alone, _ = nncf_child.compressed(even, **options)
    _, path, log = nncf_child.compressed(even, kept_statistics, **options)
    assert f"successfully loaded from a directory {kept_statistics}" in " ".join(log.split())
    assert (path / "openvino_model.bin").read_bytes() == (alone / "openvino_model.bin").read_bytes()
    assert str(kept_statistics) not in (path / "openvino_model.xml").read_text()
    assert formats(path) == formats(alone)


def test_awq_that_finds_nothing_is_noted(even: Path, nncf_child: Compressor) -> None:
    """It applies to down_proj alone, which has another format here: NNCF says nothing of it."""
    variant, path, log = nncf_child.compressed(even, weights="INT4_SYM", awq=True)
    assert ir_check.notes(layers(path), variant, log) == ()
    rules = [LayerRule(match=r".*down_proj", weights="INT8_ASYM")]
    variant, path, log = nncf_child.compressed(even, weights="INT4_SYM", awq=True, layers=rules)
    assert ir_check.notes(layers(path), variant, log) == (
        "awq changed nothing: NNCF found no layer that it applies to",
    )


def test_methods_without_a_layer_of_the_format_are_noted(even: Path, nncf_child: Compressor) -> None:
    options = {"weights": "INT4_SYM", "ratio": 0.01, "scale_estimation": True}
    variant, path, log = nncf_child.compressed(even, **options)
    (note,) = ir_check.notes(layers(path), variant, log)
    assert note == "scale_estimation changed nothing: no layer has INT4_SYM"


@pytest.mark.parametrize("options", [{"weights": "INT4_SYM"}, {"weights": "CB4"}, {"weights": "INT8_ASYM"}], ids=str)
def test_stacked_experts_are_compressed_as_matrices_are(
    tmp_path: Path, nncf_child: Compressor, options: dict[str, Any]
) -> None:
    ir = write_matrices(tmp_path / "ir", experts=3)
    variant, path, _ = nncf_child.compressed(ir, **options)
    assert formats(path)["up_proj"] == options["weights"]
    assert ir_check.fallbacks(layers(ir), layers(path), variant) == ()
    odd = write_matrices(tmp_path / "odd", 576, 512, experts=3)
    assert bool(nncf_says(odd, variant)) == bool(width_refusal(variant, widths(layers(odd), ())))


def test_one_scale_a_channel_fits_every_width(tmp_path: Path, nncf_child: Compressor) -> None:
    ir = write_matrices(tmp_path / "ir", 576, 512)
    variant, path, _ = nncf_child.compressed(ir, weights="CB4")
    assert width_refusal(variant, widths(layers(ir), ())) is None
    assert formats(path)["up_proj"] == "CB4" and ir_check.fallbacks(layers(ir), layers(path), variant) == ()


def test_activations_of_w4a8_are_quantised_where_the_recipe_says_nothing() -> None:
    assert OpenVinoVariant(weights="W4A8").as_run.dynamic_quantization_group == 32
    given = OpenVinoVariant(weights="W4A8", runtime={"dynamic_quantization_group": 0})
    assert given.as_run.dynamic_quantization_group == 0
    assert OpenVinoVariant(weights="INT4_SYM").as_run.dynamic_quantization_group is None
