"""1,000 recipes and headers that are not as they should be: read, or refused by name, and soon (see tools/fuzz.py)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_engine import EngineCheck
from fuzz_headers import mutated_header, write_seeds
from fuzz_recipes import check_recipe, mutated_recipe
from fuzzing import Tally
from quantcurve import resources

RECIPES, HEADERS = 750, 250
DEEP_EVERY = 50


@settings(max_examples=RECIPES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False))
def test_recipes(tmp_path_factory, random):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    good = (resources.folder("recipes") / "smollm2-135m.yaml").read_text(encoding="utf-8")
    path.write_bytes(mutated_recipe(good, random))
    assert check_recipe(path).violation is None


@pytest.mark.real
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
