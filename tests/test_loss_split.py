"""Where a loss comes from: every part is measured with exactly one thing off, on a real tiny IR."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from factories_openvino import make_config
from quantcurve.engines import openvino
from quantcurve.engines.base import LlamaCppConfig, OpenVinoRuntime, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.engines.opening import open_model
from quantcurve.estimates import Missing
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import REFERENCE, EngineIdentity, OpenVinoEffective
from quantcurve.results import LossSplit
from quantcurve.session import Session
from quantcurve.stages import loss_split
from quantcurve.stages.route import Route
from quantcurve.stages.scoring import Model, ScoreStep
from quantcurve.stages.tokenize import TokensStep, Windowed
from quantcurve.store import Store
from quantcurve.texts import LoadedText

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(openvino.find_spec, ("optimum", "nncf"))), reason=f"IRs: {openvino.INSTALL}"),
]
TOKENS, WINDOWS = 64, 4
CONFIG = LlamaCppConfig(threads=2, window_tokens=TOKENS)
CACHE = OpenVinoRuntime(inference_precision="f32", dynamic_quantization_group=32, kv_cache="u4")
FLOAT_ARITHMETIC = OpenVinoRuntime(inference_precision="f32", dynamic_quantization_group=0, kv_cache="u4")
PLAIN_CACHE = OpenVinoRuntime(inference_precision="f32", dynamic_quantization_group=32, kv_cache="f16")
EXACT = OpenVinoRuntime(execution="accuracy")
PLAIN_FLOATS = OpenVinoRuntime(inference_precision="f32", kv_cache="f32")


class Lane(NamedTuple):
    reference: Path
    f32: Path
    """IR with the weights as they are."""
    int4: Path


@pytest.fixture(scope="module")
def lane(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Lane:
    from quantcurve.engines import openvino_compress, openvino_export

    folder = tmp_path_factory.mktemp("split")
    made = Lane(tiny_model, folder / "f32", folder / "int4")
    for place in (made.f32, made.int4):
        place.mkdir()
    variant = OpenVinoVariant(weights="INT4_SYM", group_size=64)
    with Child("make", folder / "log") as child:
        child.call(openvino_export.export, tiny_model, made.f32)
        child.call(openvino_compress.compress, made.f32, made.int4, variant, None)
    return made


@pytest.fixture
def session(tmp_path: Path) -> Session:
    engine = EngineIdentity(name="any", version="0", build="0", cpu_features="")
    return Session(Store(tmp_path), engine, 2, "cpu", tmp_path / "logs", lambda event: None, openvino=engine)


def a_text() -> Windowed:
    windows = np.random.default_rng(0).integers(3, 299, (WINDOWS, TOKENS)).astype(np.int32)
    step = TokensStep(tokens=windows.size, windows_available=WINDOWS, windows_used=WINDOWS, vocabulary=300)
    return Windowed(LoadedText("t", "t.txt", "", "0" * 64, 1), windows, np.full(WINDOWS, 30, np.int32), step)


def a_task(lane: Lane, path: Path, runtime: OpenVinoRuntime) -> loss_split.Task:
    reference = Model(REFERENCE, lane.reference, "reference", 10**6)
    variant = Model("OV", path, path.name, 10**6, runtime)
    along = Route(np.arange(WINDOWS, dtype=np.int32), (WINDOWS,), whole=True)
    return loss_split.Task(reference, [variant], [a_text()], along, WINDOWS, CONFIG)


class Direct:
    """KL divergence by the engine alone, with nothing of the stage."""

    def __init__(self, lane: Lane, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.windows = a_text().windows
        self.scratch = ReferenceScratch(folder / "own")
        model = open_model(lane.reference, CONFIG, "reference", folder / "log")
        model.score(self.windows, keep=self.scratch)
        model.close()

    def __call__(self, runtime: OpenVinoRuntime) -> tuple[float, OpenVinoEffective]:
        model = open_model(self.path, CONFIG.of(runtime), "ir", self.folder / "log")
        try:
            kl = model.score(self.windows, self.scratch).kl
            assert kl is not None and isinstance(model.effective_config, OpenVinoEffective)
            return float(kl.mean()), model.effective_config
        finally:
            model.close()


@pytest.fixture
def direct(tmp_path: Path) -> Path:
    (tmp_path / "direct" / "own").mkdir(parents=True)
    return tmp_path / "direct"


def stored_configs(session: Session) -> set[tuple[str | None, ...]]:
    """How every scored cell ran, as read back."""
    steps = [
        ScoreStep.model_validate_json(path.read_bytes())
        for path in (session.store.folder / "artifacts" / "loss_split").glob("*/result.json")
    ]
    return {
        (c.execution_mode, c.inference_precision, c.activations, c.key_cache_precision, c.value_cache_precision)
        for step in steps
        if isinstance(c := step.config, OpenVinoEffective)
    }


def test_every_part_is_what_the_engine_alone_loses_by_it(lane: Lane, session: Session, direct: Path) -> None:
    run = Direct(lane, lane.int4, direct)
    deployed, config = run(CACHE)
    (weights, _), (floats, _), (plain, _) = map(run, (EXACT, FLOAT_ARITHMETIC, PLAIN_CACHE))
    split = loss_split.measure(a_task(lane, lane.int4, CACHE), {"OV": config}, session)["OV"]
    assert isinstance(split, LossSplit) and split.windows == WINDOWS
    expected = (deployed, weights, deployed - floats, deployed - plain)
    parts = (split.kl_deployed, split.kl_weights, split.kl_activations, split.kl_cache)
    assert [p.value for p in parts] == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert split.kl_interaction.value == pytest.approx(floats + plain - deployed - weights, rel=1e-3, abs=1e-8)
    apart = {round(kl, 8) for kl in (deployed, weights, floats, plain)}
    assert len(apart) == 4, "this model cannot tell the cells apart"
    assert split.kl_cache.value > 0.01 * deployed and split.kl_weights.value < deployed


def test_cells_run_as_they_say(lane: Lane, session: Session, direct: Path) -> None:
    _, config = Direct(lane, lane.int4, direct)(CACHE)
    loss_split.measure(a_task(lane, lane.int4, CACHE), {"OV": config}, session)
    assert stored_configs(session) == {
        ("PERFORMANCE", "f32", "quantised", "u4", "u4"),
        ("ACCURACY", "f32", "float", "f32", "f32"),
        ("PERFORMANCE", "f32", "float", "u4", "u4"),
        ("PERFORMANCE", "f32", "quantised", "f16", "f16"),
    }


def test_what_is_off_already_is_not_run_again(lane: Lane, session: Session, direct: Path) -> None:
    _, config = Direct(lane, lane.f32, direct)(PLAIN_FLOATS)
    split = loss_split.measure(a_task(lane, lane.f32, PLAIN_FLOATS), {"OV": config}, session)["OV"]
    assert isinstance(split, LossSplit)
    assert split.kl_activations.value == split.kl_cache.value == 0
    assert {run[0] for run in stored_configs(session)} == {"PERFORMANCE", "ACCURACY"}
    assert len(stored_configs(session)) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key_cache_precision": None}, "does not tell the precision of its KV cache"),
        ({"value_cache_precision": "u4"}, "K and V have different precisions"),
        ({"key_cache_precision": "f8e4m3", "value_cache_precision": "f8e4m3"}, "in f8e4m3 cannot be asked for"),
    ],
)
def test_a_cache_that_cannot_be_held_has_no_split(
    lane: Lane, session: Session, changes: dict[str, str | None], reason: str
) -> None:
    config = make_config().model_copy(update=changes)
    found = loss_split.measure(a_task(lane, lane.int4, CACHE), {"OV": config}, session)["OV"]
    assert isinstance(found, Missing) and reason in found.missing
    assert not stored_configs(session)


@pytest.mark.parametrize(
    ("cell", "changes", "reason"),
    [
        ("exact", {"inference_precision": None}, "the device tells no precision"),
        ("exact", {"inference_precision": "bf16"}, "the device tells bf16"),
        ("exact", {"activations": "quantised"}, "activations quantised"),
        ("exact", {"activations": None}, "activations not told"),
        ("exact", {"key_cache_precision": "f16"}, "a KV cache in f32 was asked for, and the device tells f16 and f32"),
        ("float_arithmetic", {"activations": "quantised", "key_cache_precision": "u8"}, "activations quantised"),
        ("float_arithmetic", {}, "a KV cache in u8 was asked for, and the device tells f32"),
        ("plain_cache", {"value_cache_precision": "u8"}, "the device tells f32 and u8"),
        ("plain_cache", {"value_cache_precision": None}, "the device tells f32 and no precision"),
    ],
)
def test_a_cell_that_ran_otherwise_is_no_cell(cell: str, changes: dict[str, str | None], reason: str) -> None:
    exact = {"inference_precision": "f32", "activations": "float"} | dict.fromkeys(
        ("key_cache_precision", "value_cache_precision"), "f32"
    )
    found = make_config().model_copy(update=exact | changes)
    assert reason in str(loss_split.not_run(cell, found, make_config()))


def test_cells_that_ran_as_asked_are_counted() -> None:
    deployed = make_config()
    exact = deployed.model_copy(
        update={"activations": "not applicable", "key_cache_precision": "f32", "value_cache_precision": "f32"}
    )
    arithmetic = deployed.model_copy(update={"activations": "float"})
    runs = {"deployed": deployed, "exact": exact, "float_arithmetic": arithmetic, "plain_cache": exact}
    assert [loss_split.not_run(cell, found, deployed) for cell, found in runs.items()] == [None] * 4
