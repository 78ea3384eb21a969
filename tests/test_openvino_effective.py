"""How a device runs an IR, as it tells: of the device itself, of one behind AUTO, and what nobody tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quantcurve.engines import openvino
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.child import Child
from quantcurve.machine import cpu_features
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import OpenVinoEffective

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(openvino.find_spec, ("optimum", "nncf"))), reason=f"IRs: {openvino.INSTALL}"),
]
VNNI = {"avx512_vnni", "avx_vnni"}
LAYERS, HEADS, WIDTH = 2, 2, 64
FLOATS = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def irs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By the format of their weights; the head of `mixed` has 8 bits."""
    from quantcurve.engines import openvino_compress, openvino_export

    folder = tmp_path_factory.mktemp("irs")
    made = {name: folder / name for name in ("exported", "F32", "INT8_ASYM", "INT4_SYM", "NF4", "mixed")}
    for path in made.values():
        path.mkdir()
    with Child("make", folder / "log") as child:
        child.call(openvino_export.export, tiny_model, made["exported"])
        for weights in ("F32", "INT8_ASYM", "INT4_SYM", "NF4"):
            options = {"group_size": 64, "all_layers": True} if "4" in weights else {}
            variant = OpenVinoVariant(weights=weights, **options)
            child.call(openvino_compress.compress, made["exported"], made[weights], variant, None)
        mixed = OpenVinoVariant(weights="INT4_SYM", group_size=64)
        child.call(openvino_compress.compress, made["exported"], made["mixed"], mixed, None)
    return made


def read(folder: Path, device: str = "CPU", **properties: str) -> OpenVinoEffective:
    import openvino as ov

    from quantcurve.engines.openvino_effective import read_back

    core = ov.Core()
    graph = core.read_model(folder / "openvino_model.xml")
    compiled = core.compile_model(graph, device, properties)
    config = OpenVinoConfig(threads=1, window_tokens=32, runtime=OpenVinoRuntime(device=device.partition(":")[0]))
    return read_back(core, compiled, graph, config)


@pytest.mark.parametrize("device", ["AUTO:CPU", "HETERO:CPU"])
def test_what_a_device_that_hands_a_model_on_does_not_tell_the_one_that_executes_is_asked(
    irs: dict[str, Path], device: str
) -> None:
    direct, through = read(irs["INT8_ASYM"]), read(irs["INT8_ASYM"], device)
    assert direct.device == through.device and direct.threads
    told = {name: value for name, value in through.model_dump().items() if value is not None}
    assert told == {name: value for name, value in direct.model_dump().items() if name in told}
    assert {"inference_precision", "dynamic_quantization_group", "activations", "threads"} <= told.keys()


def test_k_and_v_have_the_precision_of_their_own(irs: dict[str, Path]) -> None:
    found = read(irs["INT8_ASYM"], KEY_CACHE_PRECISION="u8", VALUE_CACHE_PRECISION="u4")
    assert (found.key_cache_precision, found.value_cache_precision) == ("u8", "u4")
    assert found.cache_bytes_per_token == LAYERS * HEADS * WIDTH * (1 + 0.5)


def test_states_count_at_the_precision_of_k_or_v_by_their_names() -> None:
    import openvino as ov
    from openvino import opset15 as ops

    from quantcurve.engines.openvino_effective import cache_bytes_per_token

    def state(side: str, width: int):
        name = f"past_key_values.0.{side}present.0.{side}"
        nothing = ops.constant(np.zeros((1, HEADS, 0, width), np.float32))
        value = ops.read_value(nothing, name, np.float32, ov.PartialShape([-1, HEADS, -1, width]))
        return value, ops.assign(value, name)

    k, v = state("key", 64), state("value", 32)
    graph = ov.Model([ops.result(k[0]), ops.result(v[0])], [k[1], v[1]], [], "states")
    assert cache_bytes_per_token(graph, "u8", "u4") == HEADS * (64 + 32 / 2)
    assert cache_bytes_per_token(graph, "u4", "u8") == HEADS * (64 / 2 + 32)
    assert cache_bytes_per_token(graph, "f16", "f16") == HEADS * 2 * (64 + 32)
    for unknown in (None, "f8e4m3"):
        assert cache_bytes_per_token(graph, unknown, "u8") is None
        assert cache_bytes_per_token(graph, "u8", unknown) is None


def test_the_attention_backend_is_the_operation_in_the_graph(irs: dict[str, Path], tmp_path: Path) -> None:
    import openvino as ov
    from openvino._offline_transformations import paged_attention_transformation

    from quantcurve.engines.openvino_effective import attention_backend
    from tiny_ir import write_checking_ir

    graph = ov.Core().read_model(irs["exported"] / "openvino_model.xml")
    assert attention_backend(graph) == "SDPA"
    paged_attention_transformation(graph)
    assert attention_backend(graph) == "PA"
    without = write_checking_ir(tmp_path / "checking")
    assert attention_backend(ov.Core().read_model(without / "openvino_model.xml")) is None


@pytest.mark.skipif(not VNNI & set(cpu_features().split()), reason="activations: this processor has no VNNI")
def test_activations_are_quantised_only_where_weights_are_integers(irs: dict[str, Path]) -> None:
    """The device gives a group for all, also where there is nothing to quantise for."""
    found = {name: read(path, **FLOATS, DYNAMIC_QUANTIZATION_GROUP_SIZE="32") for name, path in irs.items()}
    assert {c.dynamic_quantization_group for c in found.values()} == {32}
    assert {name: c.activations for name, c in found.items()} == {
        "exported": "not applicable",
        "F32": "not applicable",
        "INT8_ASYM": "quantised",
        "INT4_SYM": "quantised",
        "NF4": "not applicable",
        "mixed": "quantised",
    }
    off = read(irs["INT4_SYM"], **FLOATS, DYNAMIC_QUANTIZATION_GROUP_SIZE="0")
    assert (off.activations, off.dynamic_quantization_group) == ("float", 0)


def logits(folder: Path, group: str) -> np.ndarray:
    """Of 32 tokens at once."""
    import openvino as ov

    properties = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": group, "INFERENCE_NUM_THREADS": "1"}
    compiled = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", properties)
    inputs = {
        "input_ids": np.arange(3, 35, dtype=np.int64)[None],
        "attention_mask": np.ones((1, 32), np.int64),
        "position_ids": np.arange(32, dtype=np.int64)[None],
        "beam_idx": np.zeros(1, np.int32),
    }
    return compiled(inputs)["logits"].copy()


@pytest.mark.skipif(not VNNI & set(cpu_features().split()), reason="activations: this processor has no VNNI")
@pytest.mark.parametrize(
    ("weights", "group", "said"),
    [
        ("F32", "32", "not applicable"),
        ("NF4", "32", "not applicable"),
        ("INT8_ASYM", "32", "quantised"),
        ("INT8_ASYM", "24", "float"),
        ("INT4_SYM", "64", "quantised"),
        ("INT4_SYM", "128", "float"),
        ("mixed", "128", "partly quantised"),
    ],
)
def test_what_is_said_of_activations_is_what_the_logits_say(
    irs: dict[str, Path], weights: str, group: str, said: str
) -> None:
    """At the device's own precision: its answers change with the group where activations are quantised, and only there.
    INT4_SYM has groups of 64 weights; the head of `mixed` has one scale a row."""
    assert read(irs[weights], DYNAMIC_QUANTIZATION_GROUP_SIZE=group).activations == said
    same = np.array_equal(logits(irs[weights], group), logits(irs[weights], "0"))
    assert same == (said in {"float", "not applicable"})
