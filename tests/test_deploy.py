"""Bundles for llama.cpp: what is in them, how they are verified, put in their place and taken back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from deploying import changed, names, run_tiny, without_quantcurve
from limits import file_limit
from quantcurve.deploy import bundle, deploying, writing
from quantcurve.deploy.verification import verify
from quantcurve.errors import BackendError, PrerequisiteError, RecipeError
from quantcurve.scorecard_records import Scorecard
from quantcurve.verdicts import VariantVerdict
from test_cli import quantcurve

pytestmark = [pytest.mark.real, pytest.mark.slow]
FILES = {
    *("model.gguf", "manifest.json", "manifest.sha256", "settings.json", "replays.json", "README.md", "Modelfile"),
    *("verify.py", "runtime.py", "chat.py", "serve.py", "start-llama-server.sh", "start-llama-cpp-python.sh"),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="module")
def made(ran, tmp_path_factory):
    return ran.deploy("Q4_0", tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made.folder, tmp_path / "copy")


def signed_anew(folder, **settings):
    """As somebody would do who changes a bundle and its manifest with it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["settings"] |= settings
    text = json.loads((folder / "settings.json").read_text()) | settings
    (folder / "settings.json").write_text(json.dumps(text))
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        file |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    told = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{told}  manifest.json\n")


def check(found, name):
    return next(one for one in found.checks if one.name == name)


def test_a_bundle_is_whole_and_verified_by_itself_where_there_is_no_quantcurve(made, ran):
    assert names(made.folder) == FILES and not made.replaced
    assert made.verification.verified and made.verification.runtime.startswith("llama-cpp-python ")
    replayed = made.verification.replayed
    assert replayed.steps > 300 and replayed.agreed + replayed.within_noise == replayed.steps
    done = without_quantcurve(made.folder / "verify.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "verified" and "one-token replays agree" in done.stdout
    assert names(made.folder) == FILES


def test_the_file_has_the_measured_tensors_and_says_where_it_is_from(made, ran):
    import gguf

    variant = next(v for v in ran.result.variants if v.name == "Q4_0")
    reader = gguf.GGUFReader(made.folder / "model.gguf")
    told = {name: field.contents() for name, field in reader.fields.items() if name.startswith("quantcurve.")}
    assert told["quantcurve.variant"] == "Q4_0" and told["quantcurve.quantization"].startswith("Q4_0 (")
    assert told["quantcurve.measured.sha256"] == variant.file.content_hash == made.manifest.hashes.measured
    assert told["quantcurve.reference.sha256"] == ran.result.reference.file.content_hash
    assert "general.quantization_version" in reader.fields
    measured = next((ran.cache / "artifacts" / "quantize").glob("*/model.gguf"))
    for path in (ran.cache / "artifacts" / "quantize").glob("*/model.gguf"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == variant.file.content_hash:
            measured = path
    original = gguf.GGUFReader(measured)
    assert [t.name for t in original.tensors] == [t.name for t in reader.tensors]
    assert all((a.data == b.data).all() for a, b in zip(original.tensors, reader.tensors, strict=True))
    template = original.fields["tokenizer.chat_template"].contents()
    assert reader.fields["tokenizer.chat_template"].contents() == template


def test_manifest_and_card_say_what_it_was_picked_on(made, ran):
    from huggingface_hub import ModelCard

    manifest = bundle.read_manifest(made.folder)
    assert manifest == made.manifest and not manifest.forced
    assert {file.name for file in manifest.files} == FILES - {"manifest.json", "manifest.sha256"}
    assert {one.name for one in manifest.figures} >= {"mean KL divergence from the reference", "decode"}
    assert manifest.settings.k_type == "f16" and manifest.settings.context_tokens == 512
    card = ModelCard.load(made.folder / "README.md")
    assert card.data.library_name == "gguf" and "Q4_0" in card.data.tags
    assert "95% interval" in card.text and "Ollama was not run" in card.text
    assert "longer than anything that was measured (64 tokens)" in card.text


def test_start_commands_have_the_measured_settings(ran, tmp_path):
    made = ran.deploy("Q8_0+kv-q8_0", tmp_path / "kv")
    command = (made.folder / "start-llama-server.sh").read_text()
    assert "--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on" in command
    assert "--ctx-size 512 --parallel 1" in command and "--threads 2" in command
    modelfile = (made.folder / "Modelfile").read_text()
    assert "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0" in modelfile and "PARAMETER num_ctx 512" in modelfile
    assert "k_type q8_0, v_type q8_0" in check(made.verification, "runtime").detail


@pytest.mark.parametrize("name", ["model.gguf", "README.md", "verify.py", "replays.json"])
def test_one_changed_byte_is_told_with_its_file(copy, name):
    changed(copy, name)
    done = quantcurve("verify", copy)
    assert done.returncode == 1 and done.stdout.startswith(f"files: NOT OK: {name}: SHA-256 ")
    assert "the model was not loaded" in done.stdout and done.stdout.splitlines()[-1] == "NOT VERIFIED"


def test_a_manifest_that_was_changed_is_told(copy):
    path = copy / "manifest.json"
    path.write_text(path.read_text().replace('"Q4_0"', '"Q8_0"'))
    found = verify(copy)
    assert not found.verified and "manifest.json: SHA-256" in check(found, "files").detail


def test_a_changed_cache_precision_is_told_as_a_file_and_as_a_setting(copy):
    path = copy / "settings.json"
    path.write_text(
        path.read_text().replace('"k_type":"f16"', '"k_type":"q4_0"').replace('"k_type": "f16"', '"k_type": "q4_0"')
    )
    found = verify(copy)
    assert "settings.json: " in check(found, "files").detail
    assert check(found, "settings").detail == "k_type is q4_0, measured was f16"


def test_a_changed_cache_precision_that_the_manifest_agrees_to_is_told_by_the_answers(copy):
    signed_anew(copy, k_type="q4_0", v_type="q4_0", flash_attention=True)
    found = verify(copy)
    assert check(found, "files").passed and check(found, "settings").passed
    assert not found.verified and "differ beyond the noise" in check(found, "replays").detail
    assert found.replayed.worst.margin_logits > bundle.read_manifest(copy).noise.logits


def test_a_missing_file_and_one_too_many_are_told(copy):
    (copy / "Modelfile").unlink()
    (copy / "tokenizer.json").write_text("{}")
    found = check(verify(copy), "files")
    assert found.detail == "Modelfile: missing; tokenizer.json: not in the manifest"


def test_no_bundle_is_an_error(tmp_path):
    done = quantcurve("verify", tmp_path)
    assert done.returncode == 2 and "no bundle (manifest.json: No such file" in done.stderr


def test_a_second_bundle_takes_the_place_and_rollback_brings_the_first_back(ran, tmp_path):
    folder = tmp_path / "place"
    folder.mkdir()
    assert not ran.deploy("Q8_0", folder).replaced
    assert ran.deploy("Q4_0", folder).replaced
    assert bundle.read_manifest(folder).variant == "Q4_0" and names(tmp_path) == {"place", ".place.previous"}
    assert quantcurve("deploy", "--rollback", "--to", folder).stdout.startswith(f"{folder}: tiny Q8_0 is back")
    assert bundle.read_manifest(folder).variant == "Q8_0" and verify(folder).verified
    writing.rollback(folder)
    assert bundle.read_manifest(folder).variant == "Q4_0"
    changed(writing.previous_of(folder), "model.gguf")
    with pytest.raises(RecipeError, match=r"stood there before is damaged \(model.gguf\); nothing was changed"):
        writing.rollback(folder)
    assert bundle.read_manifest(folder).variant == "Q4_0" and names(tmp_path) == {"place", ".place.previous"}


def test_folders_change_places_also_where_the_system_cannot_do_it_at_once(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    monkeypatch.setattr(sys, "platform", "darwin")
    writing.exchange(tmp_path / "one", tmp_path / "two")
    assert (
        names(tmp_path / "one") == {"two"} and names(tmp_path / "two") == {"one"} and names(tmp_path) == {"one", "two"}
    )


def test_there_is_nothing_to_roll_back_to(tmp_path):
    with pytest.raises(RecipeError, match="no bundle stood there before"):
        writing.rollback(tmp_path / "nothing")


def test_a_folder_with_something_else_in_it_is_left_alone(ran, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeError, match=r"not empty, and no bundle \(it has thesis.txt\)"):
        ran.deploy("Q8_0", tmp_path)
    assert names(tmp_path) == {"thesis.txt"}
    (tmp_path / ".b.previous").mkdir()
    with pytest.raises(RecipeError, match=r"\.b\.previous: no bundle, and stands where the one before is kept"):
        ran.deploy("Q8_0", tmp_path / "b")
    with pytest.raises(RecipeError, match=r"thesis\.txt: a file; give a folder"):
        ran.deploy("Q8_0", tmp_path / "thesis.txt")


def test_a_variant_that_is_not_there_or_not_in_the_store_any_more(ran, tmp_path):
    with pytest.raises(RecipeError, match=r"no variant is called Q9_0; there are Q8_0, Q4_0 and Q8_0\+kv-q8_0"):
        ran.deploy("Q9_0", tmp_path / "b")
    empty = ran._replace(cache=tmp_path / "empty")
    with pytest.raises(PrerequisiteError, match=r"does not have its files any more.*\n.*quantcurve run .*recipe.yaml"):
        empty.deploy("Q4_0", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_one_that_failed_its_contract_needs_force_and_says_so_everywhere(ran, tmp_path):
    verdict = VariantVerdict(decision="fail", sentence="json: +12.0 points [8.1, 15.9], allowed 2 points: broken")
    variants = tuple(v.model_copy(update={"scorecard": Scorecard(verdict=verdict)}) for v in ran.result.variants)
    failed = ran._replace(result=ran.result.model_copy(update={"variants": variants}))
    with pytest.raises(RecipeError, match=r"breaks the contract: json: \+12.0 points .*add --force"):
        failed.deploy("Q8_0", tmp_path / "b")
    made = failed.deploy("Q8_0", tmp_path / "b", force=True)
    assert made.manifest.forced == (f"breaks the contract: {verdict.sentence}",)
    assert next(iter(json.loads((made.folder / "manifest.json").read_text()))) == "forced"
    card = (made.folder / "README.md").read_text()
    assert card.index("Deployed by force") < card.index("What it loses")


def test_a_disk_that_fills_up_leaves_the_old_bundle(ran, made, tmp_path):
    folder = shutil.copytree(made.folder, tmp_path / "old")
    with (
        file_limit(2**20),
        pytest.raises(PrerequisiteError, match=r"may not write files of more than 1.0 MB \(ulimit -f\)"),
    ):
        ran.deploy("Q8_0", folder)
    assert names(tmp_path) == {"old"} and verify(folder).verified


def test_too_little_disk_is_told_before_anything_is_written(ran, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=10**6))
    with pytest.raises(
        PrerequisiteError, match=r"1.0 MB free, the bundle needs \d\.\d MB.*\n.*another folder with --to"
    ):
        ran.deploy("Q8_0", tmp_path / "b")
    assert not names(tmp_path)


def test_a_bundle_that_is_not_verified_is_not_put_there(ran, made, tmp_path, monkeypatch):
    folder = shutil.copytree(made.folder, tmp_path / "old")
    write = bundle.write_manifest

    def spoil(draft, manifest):
        write(draft, manifest)
        changed(draft, "model.gguf")

    monkeypatch.setattr(bundle, "write_manifest", spoil)
    with pytest.raises(BackendError, match=r"was not deployed; .*old is as it was:\n.*model.gguf: SHA-256"):
        ran.deploy("Q8_0", folder)
    assert names(tmp_path) == {"old"} and bundle.read_manifest(folder).variant == "Q4_0"


def test_what_a_killed_process_left_is_removed(ran, tmp_path):
    left = tmp_path / ".b.draft.1-0123456789ab"
    left.mkdir()
    (left / "model.gguf").write_bytes(b"half")
    ran.deploy("Q4_0", tmp_path / "b")
    assert names(tmp_path) == {"b"}


def test_two_processes_do_not_write_one_bundle(tmp_path):
    one, other = (writing.draft_of(tmp_path / "b", 0) for _ in range(2))
    with one, pytest.raises(PrerequisiteError, match="another process writes a bundle"), other:
        pass


def test_a_context_that_the_model_was_not_trained_for_is_refused(ran, tmp_path):
    with pytest.raises(RecipeError, match="--context 4096: the model was trained for 2,048 tokens"):
        ran.deploy("Q4_0", tmp_path / "b", context_tokens=4096)
    assert ran.deploy("Q4_0", tmp_path / "b", context_tokens=1024).manifest.settings.context_tokens == 1024


def test_the_command_says_what_was_verified_and_what_was_not(ran, tmp_path):
    done = quantcurve("deploy", ran.place, "Q8_0", "--to", tmp_path / "b", "--cache", ran.cache)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("files: ok: 11 files have the hashes")
    assert "verified with llama-cpp-python" in done.stdout
    assert "written and not verified: Modelfile: Ollama was not run" in lines
    assert lines[-1] == f"Q8_0 is deployed in {tmp_path / 'b'}; README.md there says how to start it"
    assert quantcurve("deploy", "--to", tmp_path / "c").returncode == 2


def test_chat_answers_in_a_terminal_without_quantcurve(made):
    done = without_quantcurve(made.folder / "chat.py", "the harbour", "--max-tokens", "8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n") and names(made.folder) == FILES


def test_the_model_does_not_run_where_its_device_is_not(copy):
    done = without_quantcurve(copy / "chat.py", "hello", "--device", "gpu")
    assert done.returncode == 3 and "device gpu is not there" in done.stderr


def test_a_bundle_without_its_runtime_is_told(made, tmp_path):
    (tmp_path / "llama_cpp.py").write_text("raise ImportError('no llama_cpp here')")
    command = [sys.executable, made.folder / "verify.py"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 3 and "the runtime is not installed here (no llama_cpp here)" in done.stdout


def test_only_what_the_trial_needs_is_imported_by_the_verification(made):
    found = [name for name in deploying.INSIDE.glob("*.py") if "quantcurve" in name.read_text().replace('"""', "")]
    lines = [line for path in found for line in path.read_text().splitlines() if "import" in line]
    assert not [line for line in lines if "quantcurve" in line]
