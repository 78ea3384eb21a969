"""A bundle served by llama-cpp-python's own server, from an interpreter without quantcurve, and spoken to."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from deploying import guarded, names, run_tiny, without_quantcurve

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(find_spec, ("openai", "uvicorn", "fastapi", "sse_starlette", "starlette_context"))),
        reason="the server: pip install 'llama-cpp-python[server]' openai",
    ),
]
SCHEMA = {
    "type": "object",
    "properties": {"open": {"type": "boolean"}, "boats": {"type": "integer"}},
    "required": ["open", "boats"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    ran = run_tiny(tmp_path_factory.mktemp("server"))
    return ran.deploy("Q8_0", tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    with served(folder, tmp_path_factory.mktemp("log") / "log") as found:
        yield found


@contextmanager
def served(folder: Path, log: Path):
    """A client of a bundle's server, which runs where quantcurve cannot be imported."""
    import openai

    port = free_port()
    with log.open("w") as sink:
        server = subprocess.Popen(guarded(folder / "serve.py", "--port", str(port)), stdout=sink, stderr=sink)
        try:
            wait_for(server, port)
            yield openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60, max_retries=0)
        finally:
            server.terminate()
            server.wait(20)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(server: subprocess.Popen, port: int) -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


def ask(client, text: str, **more):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(model="tiny-Q8_0", messages=messages, temperature=0, **more)


def test_a_chat(client, folder):
    assert [model.id for model in client.models.list()] == ["tiny-Q8_0"]
    found = ask(client, "the harbour", max_tokens=12)
    assert found.choices[0].message.role == "assistant" and found.usage.completion_tokens == 12
    assert ask(client, "the harbour", max_tokens=12).choices[0].message.content == found.choices[0].message.content


def test_streaming_gives_the_same_answer_piece_by_piece(client):
    """But for half a character at its end, which a random model leaves."""
    whole = ask(client, "the boats", max_tokens=12).choices[0].message.content
    chunks = list(ask(client, "the boats", max_tokens=12, stream=True))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(pieces) > 3 and "".join(pieces)[:4] and whole.startswith("".join(pieces))


def test_an_answer_by_a_json_schema(client):
    found = ask(client, "is it open?", max_tokens=200, response_format={"type": "json_object", "schema": SCHEMA})
    said = json.loads(found.choices[0].message.content)
    assert isinstance(said["open"], bool) and isinstance(said["boats"], int)


def test_two_clients_at_once_get_whole_answers(client):
    """The server's own way is to end one stream, without a reason, when another request comes."""
    ready = threading.Barrier(2)

    def stream(text: str) -> list[str | None]:
        ready.wait()
        chunks = ask(client, text, max_tokens=100, stream=True)
        return [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(stream, ("one boat", "two boats"))
    assert one[-1] in {"stop", "length"} and other[-1] in {"stop", "length"} and len(one) > 4 and len(other) > 4


def test_a_port_in_use_is_told(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = without_quantcurve(folder / "serve.py", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr == f"port {port} of 127.0.0.1: Address already in use; give another with --port\n"


def test_the_start_script_passes_options_on_and_the_bundle_stays_as_it_is(folder):
    done = subprocess.run([folder / "start-llama-cpp-python.sh", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "OpenAI's protocol" in done.stdout
    assert "__pycache__" not in names(folder)
