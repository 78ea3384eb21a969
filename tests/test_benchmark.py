"""The speed benchmark where an engine fails: one model is missing, the rounds of the others stay paired."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantcurve.engines.opening import open_model
from quantcurve.errors import BackendError
from quantcurve.estimates import Missing
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.records import REFERENCE
from quantcurve.results import Speed
from quantcurve.run import Where, run
from quantcurve.stages import benchmark

pytestmark = pytest.mark.real
RECIPE = """\
name: dying
model: {source: MODEL}
texts: [{name: chat, source: "embedded:chat"}]
windows: {tokens: 64, limit: 4}
variants: {gguf: [Q8_0, Q4_0, Q5_0]}
benchmark: {prompt_tokens: 16, decode_tokens: 4, repetitions: 3}
"""


class Dying:
    """A model whose engine dies in the given round; 0 is the warm-up."""

    def __init__(self, model, when: int) -> None:
        self.model, self.left = model, when

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def warm_up(self, workload) -> None:
        if self.left == 0:
            raise BackendError("Q4_0: the engine died of signal 11 in warm_up")
        self.model.warm_up(workload)

    def time(self, workload):
        self.left -= 1
        if self.left == 0:
            raise BackendError("Q4_0: the engine died of signal 11 in time_once")
        return self.model.time(workload)


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> LoadedRecipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(tiny_model)))
    return load(path)


def plant(monkeypatch: pytest.MonkeyPatch, victim: str, when: int) -> list[str]:
    opened: list[str] = []

    def opening(path, config, label, log):
        opened.append(label)
        model = open_model(path, config, label, log)
        return Dying(model, when) if label == victim else model

    monkeypatch.setattr(benchmark, "open_model", opening)
    return opened


@pytest.mark.parametrize("when", [0, 2])
def test_one_model_that_dies_takes_no_other_with_it(recipe: LoadedRecipe, monkeypatch, when: int) -> None:
    opened = plant(monkeypatch, "Q4_0", when)
    result = run(recipe, Where(threads=1))
    speeds = {v.name: v.speed for v in result.variants}
    assert isinstance(speeds["Q4_0"], Missing) and speeds["Q4_0"].missing.startswith("the engine died of signal 11")
    assert all(isinstance(speeds[name], Speed) for name in ("Q8_0", "Q5_0")) and isinstance(
        result.reference.speed, Speed
    )
    assert all(v.status == "measured" for v in result.variants)
    counts = {len(s.samples.decode_s) for s in speeds.values() if isinstance(s, Speed)}
    assert counts == {3}
    opened.clear()
    monkeypatch.setattr(benchmark, "open_model", open_model)
    again = run(recipe, Where(threads=1))
    assert all(isinstance(v.speed, Speed) for v in again.variants), "the failure was kept in the store"


def test_the_reference_that_dies_ends_the_run(recipe: LoadedRecipe, monkeypatch) -> None:
    plant(monkeypatch, REFERENCE, 0)
    with pytest.raises(BackendError, match="signal 11"):
        run(recipe, Where(threads=1))


def test_every_decoded_token_is_timed_and_a_run_tells_what_too_few_are(recipe: LoadedRecipe) -> None:
    """llama.cpp, 4 tokens a repetition; energy wherever this machine tells it."""
    result = run(recipe, Where(threads=1))
    speeds = [result.reference.speed, *(v.speed for v in result.variants)]
    for found in speeds:
        assert isinstance(found, Speed)
        samples = found.samples
        assert [len(steps) for steps in samples.decode_steps_s] == [4, 4, 4]
        assert [sum(steps) for steps in samples.decode_steps_s] == pytest.approx(samples.decode_s)
        assert all(step > 0 for steps in samples.decode_steps_s for step in steps)
        assert isinstance(found.decode_latency_p95_s, Missing) and "20" in found.decode_latency_p95_s.missing
        assert isinstance(found.decode_latency_p99_s, Missing) and "100" in found.decode_latency_p99_s.missing
        assert bool(samples.no_energy) != bool(samples.decode_energy_j)
