"""Uploading a bundle: what would be sent, what is sent, and where the token never is."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from quantcurve.deploy import bundle, pushing
from quantcurve.errors import BackendError, PrerequisiteError, RecipeError
from test_cli import quantcurve
from test_deploy_card import make_manifest

TOKEN = "hf_" + "s3cret" * 6


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "bundle"
    place.mkdir()
    (place / "model.gguf").write_bytes(b"weights" * 100)
    (place / "README.md").write_text("# a model\n")
    bundle.write_manifest(place, make_manifest(files=bundle.listed(place)))
    (place / ".notes").write_text("not part of it")
    return place


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files asks for."""

    said: list[tuple[str, bytes, str]]
    refuse = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.said.append((self.path, body, self.headers.get("Authorization", "")))
        if self.refuse:
            self._answer(403, {"error": f"Forbidden: {self.headers.get('Authorization')} may not write"})
        elif self.path == "/api/repos/create":
            self._answer(200, {"url": f"http://{self.headers['Host']}/me/tiny", "name": "me/tiny"})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        else:
            self._answer(200, {"commitUrl": f"http://{self.headers['Host']}/me/tiny/commit/1", "commitOid": "1" * 40})

    def do_GET(self) -> None:
        self.said.append((self.path, b"", self.headers.get("Authorization", "")))
        self._answer(200, {"id": "me/tiny", "sha": "0" * 40, "siblings": [], "modelId": "me/tiny"})

    def log_message(self, *_) -> None:
        pass

    def _answer(self, code: int, content: dict) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def hub(monkeypatch):
    Hub.said, Hub.refuse = [], False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield Hub
    server.shutdown()
    server.server_close()
    thread.join()


def everything(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())


def test_without_upload_nothing_is_sent(hub, folder):
    done = quantcurve("push", folder, "me/tiny")
    assert done.returncode == 0 and not hub.said
    assert "model.gguf  0.0 MiB" in done.stdout and ".notes" not in done.stdout
    assert "4 files, 0.0 MiB, would go to me/tiny" in done.stdout and "nothing was sent" in done.stdout


def test_an_upload_sends_the_bundle_and_shows_the_token_nowhere(hub, folder, tmp_path):
    done = quantcurve("push", folder, "me/tiny", "--private", "--upload")
    assert done.returncode == 0, done.stderr
    created = json.loads(hub.said[0][1])
    assert created["name"] == "tiny" and (created.get("private") or created.get("visibility") == "private")
    assert all(authorization == f"Bearer {TOKEN}" for _, _, authorization in hub.said if authorization)
    commit = next(body for path, body, _ in hub.said if "/commit/" in path)
    assert b"model.gguf" in commit and b".notes" not in commit and b"manifest.sha256" in commit
    assert TOKEN.encode() not in b"".join(body for _, body, _ in hub.said)
    assert TOKEN not in done.stdout + done.stderr and TOKEN.encode() not in everything(tmp_path)


def test_a_hub_that_refuses_with_the_token_in_its_answer(hub, folder, tmp_path):
    hub.refuse = True
    done = quantcurve("push", folder, "me/tiny", "--upload")
    assert done.returncode == 1 and "me/tiny: the hub refused" in done.stderr
    assert TOKEN not in done.stdout + done.stderr and TOKEN.encode() not in everything(tmp_path)


def test_without_a_token_nothing_is_sent(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    done = quantcurve("push", folder, "me/tiny", "--upload")
    assert done.returncode == 3 and "HF_TOKEN is not set" in done.stderr and not hub.said


def test_a_changed_bundle_or_a_name_that_is_none_is_refused(folder):
    with pytest.raises(RecipeError, match="write OWNER/NAME"):
        pushing.plan(folder, "me/tiny/model")
    (folder / "model.gguf").write_bytes(b"other")
    with pytest.raises(RecipeError, match=r"not as it was written \(model.gguf\).*nothing was sent"):
        pushing.plan(folder, "me/tiny")


def test_errors_have_no_token_in_them(monkeypatch, folder):
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    class Broken:
        def create_repo(self, *_, **__):
            raise ConnectionError(f"no route with {TOKEN}")

    with pytest.raises(PrerequisiteError, match=r"broke off \(ConnectionError: no route with \$HF_TOKEN\)") as caught:
        pushing.push(pushing.plan(folder, "me/tiny"), False, Broken())
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert not issubclass(PrerequisiteError, BackendError)
