"""As a new user would: a run of a real model, a pick under a constraint, both targets deployed, a chat with both."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from deploying import without_quantcurve
from quantcurve.engines import openvino
from test_cli import quantcurve
from test_deploy_server import SCHEMA, served

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(
        not all(map(find_spec, ("openvino_genai", "nncf", "openai", "fastapi"))), reason=f"both: {openvino.INSTALL}"
    ),
]
RECIPE = """\
name: user
model: {source: MODEL}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 128, limit: 3}
screen: {discard_above_percent: 100, suspect_above_percent: 100}
variants: {gguf: [Q8_0, Q4_K_M], openvino: [INT8_ASYM]}
openvino: {split_windows: null}
benchmark: null
"""
QUESTION = "What is the capital of France?"


def run(*command, cwd):
    done = quantcurve(*command, cwd=cwd, limit_s=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_a_run_to_chats_with_both_targets(smollm2, tmp_path):
    (tmp_path / "r.yaml").write_text(RECIPE.replace("MODEL", str(smollm2)))
    run("run", "r.yaml", cwd=tmp_path)
    picked = run("pick", "runs/user", "--max-size", "120MB", cwd=tmp_path).splitlines()[0]
    assert picked == "Q4_K_M"
    for variant, folder in ((picked, "llama"), ("OV-INT8_ASYM", "intel")):
        said = run("deploy", "runs/user", variant, "--to", folder, cwd=tmp_path)
        assert "one-token replays agree" in said and "verified with" in said
    with served(tmp_path / "llama", tmp_path / "log") as client:
        asked = {"model": "user-Q4_K_M", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
        assert "Paris" in client.chat.completions.create(max_tokens=32, **asked).choices[0].message.content
        chunks = client.chat.completions.create(max_tokens=32, stream=True, **asked)
        assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        form = {"type": "json_object", "schema": SCHEMA}
        found = client.chat.completions.create(max_tokens=100, response_format=form, **asked)
        assert json.loads(found.choices[0].message.content).keys() == {"open", "boats"}
    for folder in ("llama", "intel"):
        done = without_quantcurve(tmp_path / folder / "chat.py", QUESTION, "--max-tokens", "32")
        assert done.returncode == 0 and "France" in done.stdout, done.stdout + done.stderr
