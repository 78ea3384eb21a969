"""Bundles for OpenVINO GenAI: loaded by LLMPipeline where there is no quantcurve, verified, and what spoils them."""

from __future__ import annotations

import json
import shutil

import pytest

from deploying import changed, names, run_tiny, without_quantcurve
from quantcurve.deploy import bundle, openvino_target
from quantcurve.deploy.verification import verify
from quantcurve.engines import openvino
from quantcurve.engines.base import OpenVinoRuntime
from quantcurve.errors import PrerequisiteError, RecipeError
from test_cli import quantcurve
from test_deploy import check, signed_anew

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))), reason=f"GenAI: {openvino.INSTALL}"
    ),
]
RECIPE = """\
name: tiny
model: {source: tiny.gguf}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 64, limit: 4}
screen: {discard_above_percent: 500, suspect_above_percent: 400}
variants:
  openvino:
    - INT8_ASYM
    - {weights: INT8_ASYM, runtime: {attention: PA}, name: paged}
    - {weights: INT8_ASYM, runtime: {execution: accuracy}, name: exact}
openvino: {split_windows: null}
benchmark: null
"""
FILES = {
    *("openvino_model.xml", "openvino_model.bin", "openvino_tokenizer.xml", "openvino_tokenizer.bin"),
    *("openvino_detokenizer.xml", "openvino_detokenizer.bin", "generation_config.json", "config.json"),
    *("tokenizer.json", "tokenizer_config.json", "graph.pbtxt", "model_server.json", "runtime.py", "chat.py"),
    *("verify.py", "settings.json", "replays.json", "README.md", "manifest.json", "manifest.sha256"),
}
CHAT = """\
import json, sys
import openvino_genai

folder = sys.argv[1]
pipeline = openvino_genai.LLMPipeline(folder, "CPU")
pieces = []
history = openvino_genai.ChatHistory([{"role": "user", "content": "the harbour"}])
config = openvino_genai.GenerationConfig(max_new_tokens=12, do_sample=False, ignore_eos=True)
whole = pipeline.generate(history, config).texts[0]
pipeline.generate(history, config, lambda piece: bool(pieces.append(piece)))
sys.stderr.write(json.dumps([whole, pieces]))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("deploy"), RECIPE, n_embd=384, n_head=6, n_head_kv=3, precision="F16")


@pytest.fixture(scope="module")
def made(ran, tmp_path_factory):
    return ran.deploy("OV-INT8_ASYM", tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made.folder, tmp_path / "copy")


def test_a_bundle_is_whole_and_verified_by_itself_where_there_is_no_quantcurve(made):
    assert names(made.folder) == FILES
    assert made.verification.verified and made.verification.runtime.startswith("openvino-genai ")
    replayed = made.verification.replayed
    assert replayed.steps > 300 and replayed.agreed >= 0.97 * replayed.steps
    done = without_quantcurve(made.folder / "verify.py")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "verified", done.stdout + done.stderr
    assert names(made.folder) == FILES


def test_the_files_are_the_measured_ones_and_the_settings_those_that_the_device_told(made, ran):
    from quantcurve.engines.openvino_ir import model_file
    from quantcurve.store_files import hash_of

    variant = next(v for v in ran.result.variants if v.name == "OV-INT8_ASYM")
    assert model_file(made.folder, hash_of).content_hash == variant.file.content_hash
    opened, told = made.manifest.settings, variant.scoring_config
    assert opened.device == "CPU" and opened.attention == "SDPA" and opened.threads == 2
    assert opened.key_cache_precision == told.key_cache_precision
    assert opened.dynamic_quantization_group == told.dynamic_quantization_group
    detail = check(made.verification, "runtime").detail
    assert f"key_cache_precision {told.key_cache_precision}" in detail and "attention SDPA" in detail


def test_the_pipeline_loads_the_folder_chats_and_streams_without_quantcurve(made, tmp_path):
    (tmp_path / "chat.py").write_text(CHAT)
    done = without_quantcurve(tmp_path / "chat.py", made.folder)
    assert done.returncode == 0, done.stderr
    whole, pieces = json.loads(done.stderr.splitlines()[-1])
    assert whole and "".join(pieces) == whole and len(pieces) > 1
    said = without_quantcurve(made.folder / "chat.py", "the harbour", "--max-tokens", "12")
    assert said.returncode == 0 and said.stdout.strip(), said.stderr


def test_model_server_has_the_same_settings(made):
    graph = (made.folder / "graph.pbtxt").read_text()
    assert "pipeline_type: LM\n" in graph and 'device: "CPU"' in graph
    told = json.loads(graph.split("plugin_config: '")[1].split("'")[0])
    assert told == openvino_target.plugin_config(made.manifest.settings)
    assert told["KV_CACHE_PRECISION"] == made.manifest.settings.key_cache_precision
    served = json.loads((made.folder / "model_server.json").read_text())
    assert served["mediapipe_config_list"] == [{"name": "tiny-OV-INT8_ASYM", "base_path": "."}]
    assert any("Model Server was not run" in one for one in made.manifest.not_verified)


def test_paged_attention_is_deployed_as_such(ran, tmp_path):
    made = ran.deploy("paged", tmp_path / "paged")
    assert made.manifest.settings.attention == "PA" and "attention PA" in check(made.verification, "runtime").detail
    graph = (made.folder / "graph.pbtxt").read_text()
    assert "pipeline_type: LM_CB" in graph and "ATTENTION_BACKEND" not in graph


def test_a_variant_that_is_run_exactly_is_deployed_so(ran, tmp_path):
    made = ran.deploy("exact", tmp_path / "exact")
    assert made.manifest.settings.execution == "accuracy" and made.verification.verified


@pytest.mark.parametrize("name", ["openvino_model.bin", "openvino_tokenizer.xml"])
def test_one_changed_byte_is_told(copy, name):
    changed(copy, name, 40)
    found = verify(copy)
    assert not found.verified and check(found, "files").detail.startswith(f"{name}: SHA-256 ")


def test_a_changed_cache_precision_is_told_as_a_file_and_as_a_setting(copy):
    path = copy / "settings.json"
    opened = json.loads(path.read_text())
    measured = opened["key_cache_precision"]
    path.write_text(json.dumps(opened | {"key_cache_precision": "u4", "value_cache_precision": "u4"}))
    found = verify(copy)
    assert "settings.json" in check(found, "files").detail
    assert f"key_cache_precision is u4, measured was {measured}" in check(found, "settings").detail


def test_a_cache_precision_that_the_start_sets_and_the_device_does_not_run_is_told(copy):
    """The manifest agrees to i4, which the CPU turns into another one."""
    signed_anew(copy, key_cache_precision="u4", value_cache_precision="u4")
    found = verify(copy)
    assert check(found, "files").passed and check(found, "settings").passed
    assert not found.verified, found.lines()


def test_a_device_that_is_not_here_is_told(ran, copy, tmp_path, monkeypatch):
    signed_anew(copy, device="GPU")
    found = verify(copy)
    assert found.missing.startswith("device GPU is not on this machine; OpenVINO finds CPU") and not found.verified
    done = quantcurve("verify", copy)
    assert done.returncode == 3 and "not verified: device GPU is not on this machine" in done.stdout
    chat = without_quantcurve(copy / "chat.py", "hello")
    assert chat.returncode == 3 and "device GPU is not on this machine" in chat.stderr
    from quantcurve.deploy import source

    monkeypatch.setattr(source, "runtime_of", lambda recipe, name: OpenVinoRuntime(device="GPU"))
    with pytest.raises(PrerequisiteError, match="device GPU is not on this machine; OpenVINO finds CPU"):
        ran.deploy("OV-INT8_ASYM", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_measure_of_how_far_engines_differ_is_no_variant_to_deploy(ran, tmp_path):
    with pytest.raises(RecipeError, match=r"no variant; .*--force"):
        ran.deploy("OV-reference", tmp_path / "b")


def test_one_target_takes_the_place_of_the_other(ran, made, tmp_path):
    folder = shutil.copytree(made.folder, tmp_path / "b")
    assert ran.deploy("exact", folder).replaced
    assert bundle.read_manifest(folder).variant == "exact"
