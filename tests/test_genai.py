"""OpenVINO GenAI's own figures: on a folder as it would be deployed, and what is said of one that is not whole."""

from __future__ import annotations

import shutil
import sys

import pytest

from quantcurve.engines import openvino
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.openvino_ir import MODEL, model_file
from quantcurve.errors import BackendError
from quantcurve.estimates import Estimate, Missing
from quantcurve.latency_records import GenAiWorkload
from quantcurve.session import Session
from quantcurve.stages import genai
from quantcurve.stages.scoring import Model
from quantcurve.store import Store
from tiny_ir import write_tiny_ir, write_tokenizer

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))), reason=f"GenAI: {openvino.INSTALL}"
    ),
]
WORKLOAD = GenAiWorkload(prompt_tokens=40, new_tokens=6, repetitions=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("genai")
    made = write_tiny_ir(place / "tiny", place / "log")
    write_tokenizer(made)
    return made


@pytest.fixture
def session(tmp_path):
    store = Store(tmp_path / "cache")
    engine = openvino.identity(store.hash_file)
    return Session(store, engine, 2, "cpu", tmp_path / "logs", lambda event: None, openvino=engine)


def as_model(name, folder, session, **runtime) -> Model:
    file = model_file(folder, session.store.hash_file)
    return Model(name, folder, file.content_hash, file.size_bytes, OpenVinoRuntime(**runtime))


@pytest.mark.parametrize("attention", ["SDPA", "PA"])
def test_every_repetition_generates_the_same_number_of_tokens(folder, session, attention, monkeypatch):
    model = as_model("OV", folder, session, attention=attention)
    found = genai.measure([model], WORKLOAD, session)["OV"]
    samples = found.samples
    assert samples.attention_backend == attention
    assert samples.prompt_tokens == pytest.approx(40, abs=2) and samples.generated_tokens == 6
    assert len(samples.first_token_ms) == 3 and [len(t) for t in samples.token_ms] == [5, 5, 5]
    assert samples.load_ms > 0 and samples.throughput_tokens_per_s.mean > 0
    first, each = found.time_to_first_token_ms, found.time_per_output_token_ms
    assert isinstance(first, Estimate) and first.low <= first.value <= first.high
    assert min(samples.first_token_ms) <= samples.time_to_first_token_ms.mean <= max(samples.first_token_ms)
    assert each.low <= samples.time_per_output_token_ms.mean <= each.high
    monkeypatch.setattr(genai, "Child", lambda *_: pytest.fail("it is in the store"))
    assert genai.measure([model], WORKLOAD, session)["OV"] == found


def test_no_prompt_can_be_taken_from_the_cache_of_another(folder):
    import openvino_genai

    from quantcurve.engines.genai import _prompt

    tokenizer = openvino_genai.Tokenizer(folder)
    prompts = [tokenizer.encode(_prompt(tokenizer, n, 40)).input_ids.data[0].tolist() for n in range(12)]
    block = 16  # the least that GenAI keeps of a prompt
    assert len({tuple(ids[:block]) for ids in prompts}) == len(prompts)


def test_a_folder_without_tokenizers_is_missing_and_the_others_go_on(folder, session, tmp_path):
    bare = shutil.copytree(folder, tmp_path / "bare")
    for path in bare.glob("openvino_*tokenizer.*"):
        path.unlink()
    cut = shutil.copytree(folder, tmp_path / "cut")
    models = [as_model("OV-bare", bare, session), as_model("OV-cut", cut, session), as_model("OV", folder, session)]
    with (cut / MODEL).with_suffix(".bin").open("r+b") as file:
        file.truncate(100)
    found = genai.measure(models, WORKLOAD, session)
    assert isinstance(found["OV-bare"], Missing)
    assert "openvino_tokenizer.xml and openvino_detokenizer.xml missing" in found["OV-bare"].missing
    assert isinstance(found["OV-cut"], Missing) and "cut short" in found["OV-cut"].missing
    assert found["OV"].samples.generated_tokens == 6


def test_a_tokenizer_that_is_no_ir_is_told(folder, session, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "openvino_tokenizer.xml").write_text("<xml/>")
    found = genai.measure([as_model("OV", broken, session)], WORKLOAD, session)["OV"]
    assert isinstance(found, Missing) and "OpenVINO GenAI failed" in found.missing


def test_genai_that_cannot_be_loaded_is_told(folder, monkeypatch):
    from quantcurve.engines import genai as engine

    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    config = OpenVinoConfig(threads=1, window_tokens=16, runtime=OpenVinoRuntime())
    with pytest.raises(BackendError, match=r"OpenVINO GenAI cannot be loaded \(.*openvino_genai.*mend it: pip install"):
        engine.time_generation(folder, config, 8, 2, 1)
