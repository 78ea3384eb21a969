"""1,000 recipes and headers that are not as they should be: read, or refused by name, and soon (see tools/fuzz.py)."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_engine import CONFIG, EngineCheck
from fuzz_headers import mutated_header, write_seeds
from fuzz_recipes import check_recipe, mutated_recipe
from fuzzing import Outcome, Tally
from gguf_parts import BOOL, STRING, UINT32, Key, joined, text
from quantcurve import resources
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.errors import ModelFileError

RECIPES, HEADERS = 750, 250
DEEP_EVERY = 20


@settings(max_examples=RECIPES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_recipes(tmp_path_factory, random):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    good = (resources.folder("recipes") / "smollm2-135m.yaml").read_text(encoding="utf-8")
    path.write_bytes(mutated_recipe(good, random))
    assert check_recipe(path).violation is None


@pytest.mark.real
@pytest.mark.slow
def test_headers(tmp_path, monkeypatch):
    monkeypatch.setenv("GGML_NO_BACKTRACE", "1")  # no debugger for every abort
    tally = Tally()
    seeds = write_seeds(tmp_path)
    with EngineCheck(tmp_path) as engine:
        for number in range(HEADERS):
            raw = mutated_header(seeds, Random(f"test-{number}"))
            tally.add(number, engine.check(raw, deep=number % DEEP_EVERY == 0))
    assert not tally.violations
    assert tally.kinds["ModelFileError"] > HEADERS // 3
    assert tally.kinds["accepted"] > HEADERS // 10


@pytest.mark.real
def test_what_is_wrong_in_a_rewritten_reference_is_told_of_its_source(tmp_path):
    unknown = Key(b"tokenizer.ggml.model", STRING, text(b"gptX"))
    parts = write_seeds(tmp_path)["Q8_0"].with_key(unknown)
    with EngineCheck(tmp_path) as engine:
        assert engine.check(joined(parts.fields(), parts.data), deep=True) == Outcome("ModelFileError")


@pytest.mark.real
@pytest.mark.parametrize(("tokens", "says"), [(1, "a vocabulary of 1 tokens"), (2, None), (9, None)])
def test_the_smallest_vocabularies(tmp_path, tokens, says):
    """Fewer tokens than are compared between models, and too few to have a margin."""
    parts = write_seeds(tmp_path)["F16"].with_tokens(tokens)
    assert_said(tmp_path, parts, says)


@pytest.mark.real
def test_a_bos_token_that_is_not_there(tmp_path):
    parts = write_seeds(tmp_path)["F16"].with_tokens(9).with_key(Key(b"tokenizer.ggml.add_bos_token", BOOL, b"\1"))
    parts = parts.with_key(Key(b"tokenizer.ggml.bos_token_id", UINT32, struct.pack("<I", 5_000)))
    assert_said(tmp_path, parts, "asks for a BOS token")


def assert_said(folder, parts, says):
    with EngineCheck(folder) as engine:
        outcome = engine.check(joined(parts.fields(), parts.data), deep=True)
        assert outcome.violation is None
        assert outcome.kind == ("ModelFileError" if says else "accepted")
        if says:
            with pytest.raises(ModelFileError, match=rf"case\.gguf: .*{says}"):
                LlamaCppModel(engine.path, CONFIG, "model", folder / "log")
