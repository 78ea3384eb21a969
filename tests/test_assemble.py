"""The record of a run: which lane a variant is of, what the engine floor has no part in, and the run's key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factories import make_file, make_reference
from factories_openvino import make_config, make_genai
from quantcurve import assemble
from quantcurve.calibration import CalibrationResult
from quantcurve.engines.base import OpenVinoRuntime, TokenScores
from quantcurve.openvino_lane import Latencies
from quantcurve.recipe import Recipe
from quantcurve.recipe_openvino import FLOOR
from quantcurve.records import REFERENCE, EngineIdentity, ImatrixResult, OpenVinoEffective
from quantcurve.results import ScreenEffort, ScreenVerdict, VariantResult
from quantcurve.session import Session
from quantcurve.stages import export, resolve, screen
from quantcurve.stages.route import Route
from quantcurve.stages.tokenize import TokensStep, Windowed
from quantcurve.store import Store, key_of
from quantcurve.texts import LoadedText
from quantcurve.variant_notes import Runs, notes

RECIPE = Recipe.model_validate(
    {
        "name": "both",
        "model": {"source": "tiny.gguf"},
        "texts": [{"name": "docs", "source": "docs.txt"}],
        "variants": {"gguf": ["Q8_0"], "openvino": ["INT8_ASYM", "INT4_SYM"]},
        "benchmark": None,
    }
)
INT8, INT4 = (v.label for v in RECIPE.variants.openvino)
WINDOWS, TOKENS = 6, 8
MADE_BY = EngineIdentity(name="llama.cpp", version="1", build="b", cpu_features="avx2")
OPENVINO = EngineIdentity(name="OpenVINO", version="2", build="b", cpu_features="avx2")


def make_scores(kl: float) -> TokenScores:
    """Of a variant that is off by `kl` nats at every token, more or less."""
    wobble = np.random.default_rng(round(1e9 * kl)).uniform(0.9, 1.1, (WINDOWS, TOKENS))
    flat = np.ones((WINDOWS, TOKENS), np.float32)
    top1 = np.zeros((WINDOWS, TOKENS), np.int32)
    return TokenScores(2.0 + kl * wobble, flat, flat, flat, top1, kl=kl * wobble, overlap=flat)


def make_screened(kl: dict[str, float], failed: dict[str, resolve.Failed]) -> screen.Screened:
    verdict = ScreenVerdict(decision="keep", sentence="close enough")
    return screen.Screened(
        route=Route(np.arange(WINDOWS, dtype=np.int32), (WINDOWS,), whole=True),
        reference=make_scores(0.0),
        variants={name: make_scores(value) for name, value in kl.items()},
        verdicts=dict.fromkeys(kl, verdict),
        failed=failed,
        configs=dict.fromkeys((REFERENCE, *kl), make_config()),
        alpha=0.05,
        effort=ScreenEffort(exhaustive=True, tokens=1, whole_tokens=1),
    )


def windowed() -> Windowed:
    windows = np.zeros((WINDOWS, 2 * TOKENS), np.int32)
    text = LoadedText("docs", "docs.txt", "", "0" * 64, 1)
    step = TokensStep.model_construct(tokens=windows.size)
    return Windowed(text, windows, np.full(WINDOWS, 30, np.int32), step)


def assembled(kl: dict[str, float], failed: tuple[resolve.Failed, ...] = ()) -> dict[str, VariantResult]:
    """Failed ones of OpenVINO failed in the screen, others were not made."""
    irs = [
        export.Ir(name, Path(), export.IrStep(file=make_file(100), beside=()), OpenVinoRuntime(), None)
        for name in {**kl, INT4: None}
    ]
    unmade = [f for f in failed if f.name != INT4]
    screened = make_screened(kl, {f.name: f for f in failed if f.name == INT4})
    more = assemble.More({}, {}, Latencies())
    found, _ = assemble.variants(RECIPE, [*unmade, *irs], [windowed()], screened, more, None)
    return {v.name: v for v in found}


def test_a_failed_variant_is_of_its_own_lane() -> None:
    failed = tuple(resolve.Failed(name, "refused", "log") for name in ("Q8_0", FLOOR, INT4))
    found = assembled({INT8: 0.01}, failed)
    assert {v.name: (v.engine, v.status) for v in found.values()} == {
        "Q8_0": ("llama.cpp", "failed"),
        FLOOR: ("OpenVINO", "failed"),
        INT8: ("OpenVINO", "measured"),
        INT4: ("OpenVINO", "failed"),
    }


def test_the_engine_floor_has_no_part_in_front_and_ties() -> None:
    """Its KL divergence is the least here and all files are of one size: it would dominate the rest."""
    found = assembled({FLOOR: 1e-6, INT8: 0.01, INT4: 0.01})
    assert found[FLOOR].verdict and not found[FLOOR].on_front and found[FLOOR].tied_with == ()
    assert found[INT8].on_front and found[INT8].tied_with == (INT4,)
    assert found[INT8].dominated_by == found[FLOOR].dominated_by == ()


# ---- the key of a run ----


def make_session(folder: Path, openvino: EngineIdentity | None = None, engine: EngineIdentity = MADE_BY) -> Session:
    return Session(Store(folder), engine, 2, "cpu", folder, lambda event: None, openvino=openvino)


def make_inputs(
    calibration: str | None = None, imatrix: str | None = None, asked: str | None = None
) -> assemble.Inputs:
    model = make_reference()
    step = resolve.ReferenceStep(file=model.file, precision="F16", provenance=model.provenance, is_source=True)
    matrix = ImatrixResult.model_construct(content_hash=imatrix) if imatrix else None
    drawn = CalibrationResult.model_construct(content_hash=calibration) if calibration else None
    return assemble.Inputs(
        resolve.Reference(Path(), "tiny.gguf", step), [windowed()], None, drawn, matrix, (asked,) if asked else ()
    )


def test_the_key_holds_all_that_determines_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ["3.1"]
    monkeypatch.setattr(export, "packages", lambda: (("nncf", versions[0]),))

    def key(openvino: EngineIdentity | None = None, engine: EngineIdentity = MADE_BY, **inputs: str) -> str:
        session = make_session(tmp_path, openvino, engine)
        return key_of(assemble.run_key(RECIPE, session, make_inputs(**inputs), timed=False))

    keys = [
        key(),
        key(engine=MADE_BY.model_copy(update={"build": "c"})),
        key(OPENVINO),
        key(OPENVINO.model_copy(update={"version": "3"})),
        key(calibration="c"),
        key(calibration="d"),
        key(imatrix="c"),
        key(imatrix="d"),
        key(asked="c"),
        key(asked="d"),
    ]
    versions[0] = "3.2"
    keys.append(key(OPENVINO))
    assert len(set(keys)) == len(keys)
    assert key() == keys[0], "a package that no variant is made with is in the key"


# ---- notes on OpenVINO variants ----


def an_ir(name: str, content: int = 1, attention: str | None = None) -> export.Ir:
    file = make_file(100).model_copy(update={"content_hash": f"{content:064}"})
    return export.Ir(name, Path(), export.IrStep(file=file, beside=()), OpenVinoRuntime(attention=attention), None)


def noted(irs: list[export.Ir], took: dict[str, str] | None = None, **configs: OpenVinoEffective) -> dict[str, str]:
    every = {ir.name: make_config() for ir in irs} | configs
    generated = {}
    for name, backend in (took or {}).items():
        found = make_genai(3)
        samples = found.samples.model_copy(update={"attention_backend": backend})
        generated[name] = found.model_copy(update={"samples": samples})
    return {ir.name: "; ".join(notes(ir, Runs(irs, every, generated))) for ir in irs}


def test_variants_that_are_the_same_to_the_device_are_named() -> None:
    """As W4A8 and INT4_SYM are, where the device quantises activations unless it is told not to."""
    floats = make_config().model_copy(update={"activations": "float", "dynamic_quantization_group": 0})
    found = noted([an_ir("INT4"), an_ir("W4A8"), an_ir("floats"), an_ir("other", content=2)], floats=floats)
    assert found["INT4"] == "the same weights as W4A8, and the device runs them in the same way"
    assert found["W4A8"] == "the same weights as INT4, and the device runs them in the same way"
    assert found["floats"] == found["other"] == ""


def test_runs_of_which_something_is_not_told_are_not_called_the_same() -> None:
    untold = make_config().model_copy(update={"inference_precision": None})
    assert set(noted([an_ir("a"), an_ir("b")], a=untold, b=untold).values()) == {""}


def test_scores_of_a_variant_for_paged_attention_are_of_the_attention_in_its_graph() -> None:
    irs = [an_ir("plain"), an_ir("paged", 2, "PA"), an_ir("sdpa", 3, "SDPA")]
    found = noted(irs)
    assert found["plain"] == found["sdpa"] == ""
    said = "scores, tokens/s and benchmark_app latency are of SDPA, the attention in its graph; only OpenVINO GenAI"
    assert found["paged"] == f"{said} runs PA"
    unknown = noted(irs, paged=make_config().model_copy(update={"attention_backend": None}))["paged"]
    assert "are of the attention in its graph; only OpenVINO GenAI runs PA" in unknown


def test_another_attention_than_was_asked_for_is_told() -> None:
    found = noted([an_ir("a", 1, "PA"), an_ir("b", 2, "PA")], took={"a": "SDPA", "b": "PA"})
    assert "OpenVINO GenAI was asked for PA attention and took SDPA" in found["a"]
    assert "took" not in found["b"]
