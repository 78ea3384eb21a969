"""Finding models: packages, local files and folders, the hub's cache, and a hub that answers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.sources import Located, content_hash, locate, locate_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GGUF = b"GGUF" + bytes(60)

LOCATE = """
import sys
from pathlib import Path
from quantcurve.errors import QuantcurveError
from quantcurve.sources import download_file, locate
try:
    if sys.argv[1] == "dataset":
        print(download_file(sys.argv[2], sys.argv[3], repo_type="dataset"))
    else:
        found = locate(sys.argv[1], Path("."))
        print(found.kind, found.description, found.path, sep="\\n")
except QuantcurveError as error:
    print(type(error).__name__, error)
"""


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package that holds a model, and that must not be imported."""
    folder = write(tmp_path / "site" / "some_model", __init__="")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "data").mkdir()
    (folder / "data" / "tiny.Q4_1.gguf").write_bytes(GGUF)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def test_a_file_in_a_package(package, tmp_path):
    source = "package:some_model/data/tiny.Q4_1.gguf"
    assert locate(source, tmp_path) == Located("gguf", package / "data" / "tiny.Q4_1.gguf", source)
    assert "some_model" not in sys.modules


@pytest.mark.usefixtures("package")
def test_a_missing_file_in_a_package_names_those_there(tmp_path):
    with pytest.raises(RecipeError, match=r"has no file tiny.gguf; it has data/tiny\.Q4_1\.gguf"):
        locate("package:some_model/tiny.gguf", tmp_path)


def test_a_folder_in_a_package(package, tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (package / "hf").mkdir(exist_ok=True)
        (package / "hf" / name).write_text("{}")
    source = "package:some_model/hf"
    assert locate(source, tmp_path) == Located("hf_folder", package / "hf", source)
    assert locate_folder(source, tmp_path).path == package / "hf"
    with pytest.raises(RecipeError, match=r"it has data/tiny\.Q4_1\.gguf, hf"):
        locate("package:some_model/nothing", tmp_path)
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        locate("package:some_model/data", tmp_path)
    with pytest.raises(RecipeError, match="neither a GGUF file nor a folder"):
        locate("package:some_model/hf/config.json", tmp_path)
    with pytest.raises(RecipeError, match="an embedding model is needed as a Hugging Face folder"):
        locate_folder("package:some_model/data/tiny.Q4_1.gguf", tmp_path)


def test_a_missing_package_names_its_distribution(tmp_path):
    with pytest.raises(PrerequisiteError, match="package no_such_model is not installed") as caught:
        locate("package:no_such_model/x.gguf", tmp_path)
    assert caught.value.fix == "pip install no-such-model"


@pytest.mark.parametrize("source", ["package:some_model", "package:a.b/x.gguf", "hf:justaname", "hf:a/b/c", "hf:a/b@"])
def test_malformed_sources(source, tmp_path):
    with pytest.raises(RecipeError, match=r"write (package|hf):"):
        locate(source, tmp_path)


def test_an_unknown_form_lists_the_four(tmp_path):
    with pytest.raises(RecipeError, match=r"unknown form 'ollama'") as caught:
        locate("ollama:llama3", tmp_path)
    for form in ("package:MODULE/FILE", "FILE.gguf", "FOLDER", "hf:OWNER/NAME"):
        assert form in str(caught.value)


def test_a_local_file(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.gguf"
    path.write_bytes(GGUF)
    assert locate("../models/a.gguf", tmp_path / "recipes") == Located("gguf", path, "../models/a.gguf")
    assert locate(str(path), Path("elsewhere")).path == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/models/a.gguf", Path("elsewhere")).path == path


def test_a_missing_local_file_names_its_neighbours(tmp_path):
    (tmp_path / "SmolLM2-135M.F16.gguf").write_bytes(GGUF)
    with pytest.raises(RecipeError, match=r"there is SmolLM2-135M\.F16\.gguf"):
        locate("smollm2-135m.f16.gguf", tmp_path)
    with pytest.raises(RecipeError, match="has nothing like it"):
        locate("no/such/folder/model.gguf", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"), [("model.safetensors", "name its folder"), ("m-00001-of-00003.gguf", "one of 3 pieces")]
)
def test_local_files_that_are_no_model(tmp_path, name, said):
    (tmp_path / name).write_bytes(GGUF)
    with pytest.raises(RecipeError, match=said):
        locate(name, tmp_path)


def test_a_folder(tmp_path):
    write(tmp_path / "m", config__json="{}", model__safetensors="w", README__md="r")
    assert locate("m", tmp_path) == Located("hf_folder", tmp_path / "m", "m")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model__safetensors": ""}, "has no config.json"),
        ({"config__json": "{}", "training_args__bin": ""}, "has no weights"),
        ({"a__gguf": "", "b__gguf": ""}, r"GGUF files, name one: a\.gguf, b\.gguf"),
        (
            {
                "config__json": "{}",
                "m-1__safetensors": "",
                "model__safetensors__index__json": '{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}',
            },
            r"only 1 of 2 weight files \(m-2.safetensors is missing\)",
        ),
    ],
)
def test_folders_that_are_no_model(tmp_path, files, said):
    write(tmp_path / "m", **files)
    with pytest.raises(RecipeError, match=said):
        locate("m", tmp_path)


def test_the_hash_of_a_folder_covers_what_matters(tmp_path):
    files = {"config__json": "{}", "tokenizer__json": "t", "model__safetensors": "w", "pytorch_model__bin": "same w"}
    folder = write(tmp_path / "m", **files)
    located = Located("hf_folder", folder, "m")
    before = content_hash(located, file_hash)
    write(folder, README__md="new", pytorch_model__bin="other", **{"__gitignore": "x"})
    assert content_hash(located, file_hash) == before
    assert content_hash(Located("hf_folder", write(tmp_path / "n", **files), "n"), file_hash) == before
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        kept = (folder / name).read_text()
        (folder / name).write_text("changed")
        assert content_hash(located, file_hash) != before
        (folder / name).write_text(kept)
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert content_hash(located, file_hash) != before


def test_the_hash_of_a_file_is_its_content(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(GGUF)
    assert content_hash(Located("gguf", path, "a.gguf"), file_hash) == hashlib.sha256(GGUF).hexdigest()


def ask(*arguments: str, cache: Path, **environment: str) -> str:
    """Locate in a process of its own: the hub client reads its environment once, when it is imported."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    settings = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"} | environment
    command = [sys.executable, "-c", LOCATE, *arguments]
    done = subprocess.run(
        command, env=inherited | settings, capture_output=True, text=True, check=False, cwd=cache, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cached(tmp_path):
    """A hub cache that holds one model."""
    repository = tmp_path / "hub" / "models--some--model"
    write(repository / "refs", main=COMMIT)
    snapshot = write(repository / "snapshots" / COMMIT, config__json="{}", tokenizer__json="{}", model__safetensors="w")
    (snapshot / "model.Q8_0.gguf").write_bytes(GGUF)
    return snapshot


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_cached_repository_is_used_offline(cached, tmp_path, revision):
    found = ask(f"hf:some/model{revision}", cache=tmp_path)
    assert found.splitlines() == ["hf_folder", f"hf:some/model@{COMMIT}", str(cached)]


def test_a_cached_file_is_used_offline(cached, tmp_path):
    found = ask("hf:some/model#model.Q8_0.gguf", cache=tmp_path)
    assert found.splitlines() == [
        "gguf",
        f"hf:some/model@{COMMIT}#model.Q8_0.gguf",
        str(cached / "model.Q8_0.gguf"),
    ]


def test_a_cached_repository_is_used_when_the_hub_is_out_of_reach(cached, tmp_path):
    endpoint = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert str(cached) in ask("hf:some/model", cache=tmp_path, **endpoint)
    assert "the hub cannot be reached" in ask("hf:some/other", cache=tmp_path, **endpoint)


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("hf:other/model", "hf download other/model"),
        ("hf:some/model@v2", "hf download some/model --revision v2"),
        ("hf:some/model#absent.gguf", "hf download some/model absent.gguf"),
    ],
)
def test_what_is_not_cached_offline(tmp_path, source, command):
    said = ask(source, cache=tmp_path)
    assert said.startswith("PrerequisiteError")
    assert "HF_HUB_OFFLINE is set" in said
    assert f"fix: unset HF_HUB_OFFLINE; {command}   #" in said


def test_only_gguf_files_are_named_on_the_hub(tmp_path):
    assert "not a .gguf file" in ask("hf:some/model#model.safetensors", cache=tmp_path)
    assert "one of 3 pieces" in ask("hf:some/model#m-00002-of-00003.gguf", cache=tmp_path)


class Hub(BaseHTTPRequestHandler):
    """A hub with one GGUF repository, one gated repository and nothing else."""

    files: tuple[str, ...] = ("README.md", "m.Q4_0.gguf", "m.Q8_0.gguf")

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0].removeprefix("/api/").removeprefix("models/").removeprefix("datasets/")
        if "gated/model" in path:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif "some/model" not in path:
            self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif "v9" in path:
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif "/resolve/" in path:
            self.answer(200, GGUF, {"X-Repo-Commit": COMMIT, "ETag": '"abc"'})
        else:
            siblings = [{"rfilename": name} for name in self.files]
            record = {"id": "some/model", "_id": "1", "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            self.answer(200, json.dumps(record).encode(), {"Content-Type": "application/json"})

    def answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture(scope="module")
def online():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(tmp_path, online):
    found = ask("hf:some/model#m.Q8_0.gguf", cache=tmp_path, **online).splitlines()
    assert found[:2] == ["gguf", f"hf:some/model@{COMMIT}#m.Q8_0.gguf"]
    assert Path(found[2]).read_bytes() == GGUF
    assert ask("hf:some/model#m.Q8_0.gguf", cache=tmp_path).splitlines() == found


def test_a_data_set_file_is_downloaded(tmp_path, online):
    found = ask("dataset", "some/model@main", "m.Q4_0.gguf", cache=tmp_path, **online)
    assert Path(found.strip()).read_bytes() == GGUF
    assert "--repo-type dataset" in ask("dataset", "some/other", "x.txt", cache=tmp_path)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf:gated/model#m.gguf", ("PrerequisiteError", "is gated; accept its terms", "fix: hf auth login")),
        ("hf:absent/model", ("RecipeError", "no model absent/model, or it is private", "hf auth login")),
        ("hf:some/model@v9", ("RecipeError", "has no revision v9")),
        ("hf:some/model#m.Q8_O.gguf", ("RecipeError", "has no file m.Q8_O.gguf; it has m.Q8_0.gguf")),
        ("hf:some/model", ("RecipeError", "has no config.json", "add one: #m.Q4_0.gguf #m.Q8_0.gguf")),
    ],
)
def test_what_the_hub_refuses(tmp_path, online, source, said):
    answer = ask(source, cache=tmp_path, **online)
    for part in said:
        assert part in answer
