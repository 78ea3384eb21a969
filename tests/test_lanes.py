"""Both lanes in one run: GGUF variants and OpenVINO variants of a tiny model on one table."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import tiny_ir
from quantcurve.engines import benchmark_app, openvino
from quantcurve.errors import BackendError, PrerequisiteError
from quantcurve.estimates import Estimate
from quantcurve.latency_records import GenAiLatency, VariantLatency
from quantcurve.planning import plan
from quantcurve.recipe import load
from quantcurve.records import OpenVinoEffective
from quantcurve.report import folder as run_folder
from quantcurve.report.markdown import markdown
from quantcurve.results import RunResult, VariantResult
from quantcurve.run import Where, open_session, run
from quantcurve.session import Session
from quantcurve.stages import export
from quantcurve.stages.resolve import Reference, resolve
from quantcurve.store import key_of
from test_report import printed
from tiny import write_texts, write_tiny_llama

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))),
        reason=f"both lanes: {openvino.INSTALL}",
    ),
]
RECIPE = """\
name: lanes
model: {source: MODEL}
texts:
  - {name: docs, source: docs.txt}
  - {name: code, source: "embedded:code", windows: 6}
windows: {tokens: 64, limit: 8}
variants:
  gguf: [Q8_0, {type: Q4_0, imatrix: true}]
  openvino:
    - F32
    - INT8_ASYM
    - {weights: INT4_SYM, group_size: 32, awq: true, scale_estimation: true, name: calibrated}
    - {weights: INT4_SYM, group_size: 100, name: odd}
calibration: {sources: [{name: own, source: own.txt}], tokens: 1024, window_tokens: 64}
openvino: {split_windows: 2}
benchmark:
  prompt_tokens: 32
  decode_tokens: 4
  repetitions: 3
  latency: {contexts: [8, 48], rounds: 3}
  genai: {prompt_tokens: 24, new_tokens: 6, repetitions: 3}
"""
LANE = ("OV-reference", "OV-F32", "OV-INT8_ASYM", "calibrated", "odd")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lanes")
    write_texts(folder)
    write_tiny_llama(folder / "tiny.gguf", n_embd=384, n_head=6, n_head_kv=3)
    (folder / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(folder / "tiny.gguf")))
    return folder


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Children find functions of the tests' own modules."""
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    return monkeypatch


@pytest.fixture(scope="module")
def finished(work: Path) -> RunResult:
    return run(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache"))


def measured(run: RunResult) -> list[VariantResult]:
    return [v for v in run.variants if v.engine == "OpenVINO" and v.status == "measured"]


def test_every_variant_of_both_lanes_is_there_and_a_refused_one_takes_no_other_with_it(finished: RunResult) -> None:
    assert [v.name for v in finished.variants] == ["Q8_0", "Q4_0+imatrix", *LANE]
    failed = [v for v in finished.variants if v.status == "failed"]
    assert [v.name for v in failed] == ["odd"] and "100" in str(failed[0].failure)
    assert failed[0].engine == "OpenVINO"


def test_the_lanes_share_reference_tokens_and_calibration(finished: RunResult) -> None:
    exact = next(v for v in finished.variants if v.name == "OV-reference")
    assert exact.overall and exact.overall.divergence
    floor = exact.overall.divergence.kl_mean
    assert isinstance(floor, Estimate) and floor.value < 1e-4
    assert not exact.on_front and not exact.tied_with and not exact.dominated_by
    assert not any("OV-reference" in (*v.tied_with, *v.dominated_by) for v in finished.variants)
    assert finished.tokenizers and finished.tokenizers.lanes == ("llama.cpp", "transformers", "OpenVINO")
    assert finished.calibration and finished.imatrix
    assert finished.imatrix.windows == finished.calibration.windows == 16


def test_latency_and_genai_of_every_measured_ir(finished: RunResult) -> None:
    for variant in measured(finished):
        assert isinstance(variant.scoring_config, OpenVinoEffective)
        assert isinstance(variant.latency, VariantLatency), variant.latency
        assert [c.context_tokens for c in variant.latency.contexts] == [8, 48]
        for context in variant.latency.contexts:
            assert isinstance(context.decode_ms_per_token, Estimate) and context.decode_ms_per_token.value > 0
        assert len(variant.latency.rounds) == 3
        assert isinstance(variant.genai, GenAiLatency), variant.genai
        assert variant.genai.samples.generated_tokens == 6
    assert all(v.latency is None for v in finished.variants if v.engine == "llama.cpp")


def test_a_second_run_only_reads_and_the_plan_knows_it(finished: RunResult, work: Path) -> None:
    again = run(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    assert all(s.steps == s.cached for s in again.stages), again.stages
    unchanged = {"stages"}
    assert again.model_dump(exclude=unchanged) == finished.model_dump(exclude=unchanged)
    planned = plan(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    to_do = [(s.stage, s.what.partition(",")[0]) for s in planned.steps if not s.cached and s.stage != "loss_split"]
    assert to_do == [(stage, "odd") for stage in ("compress", "screen", "latency", "genai")]
    assert "100" in next(s.note for s in planned.steps if s.what == "odd")


def test_a_plan_of_nothing_names_the_stages_in_the_order_of_the_run(work: Path, tmp_path: Path) -> None:
    planned = plan(load(work / "recipe.yaml"), Where(threads=2, cache=tmp_path))
    stages = list(dict.fromkeys(s.stage for s in planned.steps))
    assert stages == [
        *("resolve", "tokenize", "calibrate", "export", "tokenizer_gate", "imatrix", "quantize", "compress"),
        *("screen", "loss_split", "benchmark", "latency", "genai"),
    ]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_table_has_both_lanes_at_any_width(finished: RunResult, width: int) -> None:
    text = printed(finished, width)
    assert max(len(line) for line in text.splitlines()) <= width
    words = " ".join(text.split())
    for said in (
        "Latency (ms) by benchmark_app", "OpenVINO GenAI's own figures", "Calibration set: mix default, 16 windows",
        "The tokenizers of llama.cpp, transformers and OpenVINO give the same ids on the 2 texts",
        "with a direct loop on the deployed model in", "Engine floor: OV-reference is the reference's weights",
        "benchmark_app on the deployed model, one token after a context of 48",
    ):  # fmt: skip
        assert said in words, said


def test_markdown_and_json_have_it_too(finished: RunResult, tmp_path: Path) -> None:
    text = markdown(finished)
    assert "| latency (ms/token) |" in text and "### Latency (ms) by benchmark\\_app" in text.replace(
        "benchmark_app", "benchmark\\_app"
    )
    run_folder.prepare(tmp_path)
    run_folder.save(finished, tmp_path)
    assert run_folder.load(tmp_path) == finished
    assert json.loads((tmp_path / "results.json").read_text())["tokenizers"]["lanes"][0] == "llama.cpp"


def test_a_folder_of_the_store_has_all_that_genai_loads(finished: RunResult, work: Path) -> None:
    folders = [p.parent for p in (work / "cache" / "artifacts" / "compress").glob("*/openvino_model.xml")]
    assert len(folders) == 3
    for place in folders:
        assert {"openvino_tokenizer.xml", "openvino_detokenizer.xml", "config.json"} <= {
            p.name for p in place.iterdir()
        }


def test_a_tokenizer_that_differs_stops_the_run(work: Path, tmp_path: Path, planted: pytest.MonkeyPatch) -> None:
    """Before anything is measured, with the first string and both lists of tokens."""
    from quantcurve.engines import tokenizer_lanes

    planted.setattr(tokenizer_lanes, "write_tokenizer", tiny_ir.write_wrong_tokenizer)
    with pytest.raises(BackendError) as caught:
        run(load(work / "recipe.yaml"), Where(threads=2, cache=tmp_path))
    assert "llama.cpp" in str(caught.value) and "transformers" in str(caught.value)
    assert "recipe.yaml" not in str(caught.value)
    assert not list((tmp_path / "artifacts").glob("screen/*"))


def test_a_model_that_cannot_be_exported_leaves_the_other_lane(work: Path, planted: pytest.MonkeyPatch) -> None:
    from quantcurve.engines import openvino_export

    planted.setattr(openvino_export, "export", tiny_ir.refuse_export)
    recipe = work / "refused.yaml"
    recipe.write_text((work / "recipe.yaml").read_text().replace("model:", "seed: 5\nmodel:"))
    where = Where(threads=2, cache=work / "cache", force=frozenset({"export"}))
    result = run(load(recipe), where)
    by_status = {v.name: v.status for v in result.variants}
    assert by_status == {"Q8_0": "measured", "Q4_0+imatrix": "measured"} | dict.fromkeys(LANE, "failed")
    assert [v.name for v in result.variants if v.engine == "OpenVINO"] == list(LANE)
    said = {v.name: str(v.failure) for v in result.variants}
    assert "cannot export a model of type 'tiny'" in said["OV-reference"]
    assert said["OV-F32"] == "OV-reference, which it is made from, could not be exported"


def test_a_calibration_set_that_empties_costs_only_the_variants_that_need_it(
    finished: RunResult, work: Path, tmp_path: Path
) -> None:
    write_texts(tmp_path)
    text = (work / "recipe.yaml").read_text().replace("source: own.txt", "source: docs.txt")  # what is measured on
    (tmp_path / "recipe.yaml").write_text(text[: text.index("benchmark:")] + "benchmark: null\n")
    result = run(load(tmp_path / "recipe.yaml"), Where(threads=2, cache=work / "cache"))
    said = {v.name: str(v.failure) for v in result.variants if v.status == "failed"}
    assert list(said) == ["Q4_0+imatrix", "calibrated", "odd"]
    assert "none of its" in said["calibrated"] and said["calibrated"] == said["Q4_0+imatrix"]
    assert len([v for v in result.variants if v.status == "measured"]) == 4


def test_a_disk_too_small_for_the_ir_leaves_the_other_lane(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for quantised files of the reference, F16, not for its weights in float32."""
    size = (work / "tiny.gguf").stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=size // 4))
    result = run(load(work / "recipe.yaml"), Where(threads=2, cache=work / "cache", force=frozenset({"export"})))
    by_status = {v.name: v.status for v in result.variants}
    assert by_status == {"Q8_0": "measured", "Q4_0+imatrix": "measured"} | dict.fromkeys(LANE, "failed")
    said = next(str(v.failure) for v in result.variants if v.name == "OV-reference")
    assert "MB free, the IR needs at least" in said and "to mend it: quantcurve cache prune" in said


def test_a_folders_own_tokenizer_is_in_the_key(finished: RunResult, work: Path, tmp_path: Path) -> None:
    reference, session, folder = a_reference(work, tmp_path)
    keys = []
    for text in ("{}", '{"eos_token": "x"}'):
        (folder / "tokenizer_config.json").write_text(text)
        keys.append(key_of(export.export_inputs(reference._replace(folder=folder), session)))
    keys.append(key_of(export.export_inputs(reference, session)))
    assert len(set(keys)) == 3


def test_a_file_that_transformers_cannot_read_gives_way_to_the_folder(
    finished: RunResult, work: Path, tmp_path: Path, planted: pytest.MonkeyPatch
) -> None:
    from quantcurve.engines import openvino_export, tokenizer_lanes

    planted.setattr(openvino_export, "export", tiny_ir.refuse_files)
    planted.setattr(tokenizer_lanes, "write_tokenizer", tiny_ir.no_tokenizer)
    reference, session, folder = a_reference(work, tmp_path)
    with pytest.raises(BackendError, match="is a file"):
        export.export(reference, session)
    found = export.export(reference._replace(folder=folder), session)
    assert found.step.weights_from == "folder"
    assert (found.path / "openvino_model.xml").is_file()


def test_an_export_that_died_does_not_give_way_to_the_folder(
    finished: RunResult, work: Path, tmp_path: Path, planted: pytest.MonkeyPatch
) -> None:
    """Or the store would keep for good that transformers cannot read the file."""
    from quantcurve.engines import openvino_export, tokenizer_lanes

    planted.setattr(openvino_export, "export", tiny_ir.die_on_files)
    planted.setattr(tokenizer_lanes, "write_tokenizer", tiny_ir.no_tokenizer)
    reference, session, folder = a_reference(work, tmp_path)
    with pytest.raises(BackendError, match=r"the engine died in die_on_files with signal 9 .*lack of memory"):
        export.export(reference._replace(folder=folder), session)
    assert not list((tmp_path / "cache" / "artifacts").glob("export/*"))


def test_benchmark_app_is_looked_for_before_anything_is_made(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_app.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(benchmark_app.metadata, "files", lambda _: [])
    loaded, where = load(work / "recipe.yaml"), Where(threads=2, cache=tmp_path / "cache")
    for start in (run, plan):
        with pytest.raises(PrerequisiteError, match=f"benchmark_app is not in {tmp_path}"):
            start(loaded, where)
    assert not (tmp_path / "cache" / "artifacts").exists()
    text = (work / "recipe.yaml").read_text().replace("latency: {contexts: [8, 48], rounds: 3}", "latency: null")
    (tmp_path / "recipe.yaml").write_text(text)
    write_texts(tmp_path)
    assert not [s for s in plan(load(tmp_path / "recipe.yaml"), where).steps if s.stage == "latency"]


def a_reference(work: Path, place: Path) -> tuple[Reference, Session, Path]:
    """The finished run's reference with an empty store, and the exported IR of that run as a folder."""
    known = open_session(Where(threads=2, cache=work / "cache"), openvino_too=True)
    reference = resolve(load(work / "recipe.yaml").recipe.model, work, known)
    session = open_session(Where(threads=2, cache=place / "cache"), openvino_too=True)
    exported = next((work / "cache" / "artifacts" / "export").glob("*/openvino_model.xml")).parent
    return reference, session, Path(shutil.copytree(exported, place / "folder"))
