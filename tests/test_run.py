"""Whole runs with real llama.cpp on a tiny random model: figures, resume, interruption, two at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from quantcurve.engines import llamacpp_child as engine
from quantcurve.engines import llamacpp_files, llamacpp_quantize
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.engines.pool import ModelPool
from quantcurve.errors import ModelFileError, RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.planning import plan
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.recipe_text import Text
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from quantcurve.session import Event
from quantcurve.stages import route, scoring
from quantcurve.store import Store
from quantcurve.texts import load_text

pytestmark = pytest.mark.real
RECIPE = """\
name: tiny
model: {source: MODEL}
texts:
  - {name: chat, source: "embedded:chat"}
  - {name: own, source: own.txt, windows: 3}
windows: {tokens: 64, limit: 6}
variants: {gguf: [Q8_0, Q4_K_M, IQ2_XXS]}
benchmark: {prompt_tokens: 32, decode_tokens: 8, repetitions: 3}
"""
OWN = "The harbour master counted the boats twice, because fog had come in from the north. " * 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, RunResult]:
    """The cache of a run of the same recipe, and its result."""
    folder, cache = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("finished-cache")
    (folder / "own.txt").write_text(OWN)
    (folder / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(tiny_model)))
    return cache, run(load(folder / "recipe.yaml"), Where(threads=2, cache=cache))


@pytest.fixture
def after_a_run(finished: tuple[Path, RunResult]) -> RunResult:
    """This test's own cache, as that run left it."""
    shutil.copytree(finished[0], Store().folder, dirs_exist_ok=True)
    return finished[1]


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> LoadedRecipe:
    (tmp_path / "own.txt").write_text(OWN)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(tiny_model)))
    return load(path)


def test_a_run_measures_every_variant_and_says_what_failed(finished: tuple[Path, RunResult]) -> None:
    result = finished[1]
    by_name = {v.name: v for v in result.variants}
    assert by_name["IQ2_XXS"].status == "failed"
    assert "importance matrix" in str(by_name["IQ2_XXS"].failure) or "imatrix" in str(by_name["IQ2_XXS"].failure)
    good = by_name["Q8_0"]
    assert good.overall and good.overall.divergence and good.file
    kl = good.overall.divergence.kl_mean
    assert isinstance(kl, Estimate) and 0 < kl.low <= kl.value <= kl.high
    assert good.overall.windows == 9 and good.overall.tokens == 9 * 31
    assert [s.text for s in good.slices] == ["chat", "own"]
    assert isinstance(good.overall.divergence.kl_p999, Missing)
    assert "tokens" in good.overall.divergence.kl_p999.missing
    assert any(v.on_front for v in result.variants)
    assert result.reference.file.bits_per_weight == pytest.approx(16, abs=0.3)
    assert len(good.speed.samples.decode_s) == 3
    assert RunResult.model_validate_json(result.model_dump_json()) == result


def test_figures_are_those_of_the_raw_logits(
    finished: tuple[Path, RunResult], tiny_model: Path, tmp_path: Path
) -> None:
    """The pipeline's chunks, store and statistics add nothing and lose nothing."""
    result = finished[1]
    config = LlamaCppConfig(threads=2, window_tokens=64, sequences=32)
    target = tmp_path / "q8.gguf"
    chat = load_text(Text(name="chat", source="embedded:chat"), tmp_path).content
    order = np.random.default_rng(0).permutation(9)
    with Child("direct", tmp_path / "log") as child:
        child.call(llamacpp_quantize.quantize, tiny_model, target, "Q8_0", 2)
        ids = child.call(llamacpp_files.tokenize, tiny_model, [chat, OWN])
        windows = np.concatenate([ids[0][: 6 * 64].reshape(6, 64), ids[1][: 3 * 64].reshape(3, 64)])
        child.call(engine.open_model, tiny_model, config)
        scratch = ReferenceScratch(tmp_path / "scratch")
        reference = child.call(engine.score, windows[order], None, scratch).rows(np.argsort(order)[6:])
        child.call(engine.open_model, target, config)
        variant = child.call(engine.score, windows[order], scratch, None).rows(np.argsort(order)[6:])
    own = next(v for v in result.variants if v.name == "Q8_0").slices[1]
    assert own.divergence and variant.kl is not None
    assert own.model.perplexity.value == pytest.approx(np.exp(variant.nll.mean()), rel=1e-9)
    assert own.divergence.kl_mean.value == pytest.approx(variant.kl.mean(), rel=1e-9)
    assert own.divergence.ln_perplexity_ratio.value == pytest.approx((variant.nll - reference.nll).mean(), rel=1e-7)
    assert own.divergence.top1_agreement.value == pytest.approx((variant.top1 == reference.top1).mean())


def test_a_second_run_only_reads(recipe: LoadedRecipe, after_a_run: RunResult) -> None:
    second = run(recipe, Where(threads=2))
    assert [v.overall for v in second.variants] == [v.overall for v in after_a_run.variants]
    assert [v.speed for v in second.variants] == [v.speed for v in after_a_run.variants]
    assert all(s.cached == s.steps for s in second.stages if s.stage != "quantize")
    quantize = next(s for s in second.stages if s.stage == "quantize")
    assert (quantize.steps, quantize.cached) == (2, 2)


def test_plan_agrees_with_the_run_and_writes_nothing(recipe: LoadedRecipe, finished: tuple[Path, RunResult]) -> None:
    folder = Store().folder
    before = plan(recipe, Where(threads=2))
    assert not any(folder.iterdir())
    assert not any(s.cached for s in before.steps)
    assert before.disk_bytes > 0
    note = next(s for s in before.steps if s.what == "IQ2_XXS").note
    assert "needs an importance matrix" in note
    cache, result = finished
    shutil.copytree(cache, folder, dirs_exist_ok=True)
    snapshot = sorted(str(p) for p in folder.rglob("*"))
    after = plan(recipe, Where(threads=2))
    assert sorted(str(p) for p in folder.rglob("*")) == snapshot
    assert {s.what for s in after.steps if not s.cached} == {"IQ2_XXS", "IQ2_XXS, 9 windows of 64"}
    planned = next(s for s in before.steps if s.what == "Q4_K_M").disk_bytes
    written = next(v for v in result.variants if v.name == "Q4_K_M").file
    assert written and planned == pytest.approx(written.size_bytes, rel=0.05)


def test_force_redoes_one_stage(recipe: LoadedRecipe, after_a_run: RunResult) -> None:
    again = run(recipe, Where(threads=2, force=frozenset({"screen"})))
    by_stage = {s.stage: s for s in again.stages}
    assert by_stage["screen"].cached == 0
    assert by_stage["tokenize"].cached == by_stage["tokenize"].steps
    assert again.variants[0].overall == after_a_run.variants[0].overall


def test_a_run_that_is_killed_goes_on_where_it_was(recipe: LoadedRecipe, finished: tuple[Path, RunResult]) -> None:
    """kill -9 in the screen; the rest is the same as without."""
    script = (
        "import sys; from quantcurve.recipe import load; from quantcurve.run import Where, run\n"
        "def show(event):\n"
        "    print(event.stage, event.done, flush=True)\n"
        "run(load(sys.argv[1]), Where(threads=2), show)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(recipe.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("screen") and float(line.split()[1]) > 6:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    result = run(recipe, Where(threads=2))
    screen = next(s for s in result.stages if s.stage == "screen")
    assert 0 < screen.cached < screen.steps
    assert not any((Store().folder / "tmp").iterdir())
    assert [v.overall for v in result.variants] == [v.overall for v in finished[1].variants]


def test_two_runs_at_once_on_one_cache(recipe: LoadedRecipe, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "quantcurve.cli", "run", str(recipe.path), "--json", "-q", "--threads", "1"]
    runs = [
        subprocess.Popen([*command, "--out", str(tmp_path / f"out{i}")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for i in range(2)
    ]
    printed = [p.communicate(timeout=120) for p in runs]
    assert [p.returncode for p in runs] == [1, 1], printed  # 1: IQ2_XXS failed
    one, two = (RunResult.model_validate_json(out) for out, _ in printed)
    assert [v.overall for v in one.variants] == [v.overall for v in two.variants]
    assert one.variants[0].speed == two.variants[0].speed


def test_interrupt_says_how_to_go_on_and_leaves_no_child(recipe: LoadedRecipe, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "quantcurve.cli", "run", str(recipe.path), "-v", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("screen"):
            break
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 130, rest
    assert "run the same command again" in rest
    time.sleep(0.2)
    assert not any((Store().folder / "tmp").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_engine_that_dies_costs_only_its_variant(recipe: LoadedRecipe) -> None:
    """kill -9 of one variant's engine between two chunks: the others are measured, and the next run mends it."""
    recipe.path.write_text(recipe.text + "engine: {batch_tokens: 256}\n")
    two_chunks = load(recipe.path)
    expected = [v.overall for v in run(two_chunks, Where(threads=2)).variants]
    killed: list[int] = []

    def kill_q8(event: Event) -> None:
        for child in psutil.Process().children() if event.stage == "screen" and not killed else ():
            if child.cmdline()[-1:] == ["Q8_0"]:
                child.kill()
                killed.append(child.pid)

    broken, fine = run(two_chunks, Where(threads=2, force=frozenset({"screen"})), kill_q8).variants[:2]
    assert broken.status == "failed" and "Q8_0: the engine died in" in str(broken.failure) and broken.log
    assert "signal 9 (SIGKILL) (if nobody killed it, the kernel did for lack of memory" in str(broken.failure)
    assert fine.status == "measured" and fine.overall == expected[1]
    assert [v.overall for v in run(two_chunks, Where(threads=2)).variants] == expected


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("own.txt", "gone.txt", RecipeError, r"recipe.yaml:5: texts.1.source: text own: .*gone.txt cannot be read"),
        ("tokens: 64", "tokens: 2048", RecipeError, r"recipe.yaml:3: texts: text own: too short"),
        ("embedded:chat", "embedded:chit", RecipeError, r"recipe.yaml:4: .* the strata are chat, code"),
        ("source: own.txt", "source: own.jsonl", RecipeError, "own.jsonl has records; name the one"),
    ],
)
def test_mistakes_in_a_recipe_that_only_a_run_can_see(
    recipe: LoadedRecipe, old: str, new: str, error: type[Exception], words: str
) -> None:
    (recipe.path.parent / "own.jsonl").write_text('{"text": "a record"}\n')
    recipe.path.write_text(recipe.text.replace(old, new))
    with pytest.raises(error, match=words):
        run(load(recipe.path), Where(threads=2))


def test_random_bytes_as_a_model(recipe: LoadedRecipe, tmp_path: Path) -> None:
    (tmp_path / "noise.gguf").write_bytes(np.random.default_rng(0).bytes(5000))
    recipe.path.write_text(
        "\n".join(
            "model: {source: noise.gguf}" if line.startswith("model") else line for line in recipe.text.splitlines()
        )
    )
    with pytest.raises(ModelFileError, match=r"noise\.gguf: not a GGUF file"):
        run(load(recipe.path), Where(threads=2))


def test_progress_never_goes_back(recipe: LoadedRecipe) -> None:
    events: list[Event] = []
    run(recipe, Where(threads=2), events.append)
    for stage in {e.stage for e in events}:
        done = [e.done for e in events if e.stage == stage]
        assert done == sorted(done)
        assert done[-1] == next(e.total for e in reversed(events) if e.stage == stage)


def test_models_that_do_not_fit_together_give_the_same_figures(
    recipe: LoadedRecipe, finished: tuple[Path, RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for one model at a time, and chunks of one batch."""
    opened = []
    original = scoring.open_model

    def count(path: Path, config: LlamaCppConfig, label: str, log: Path) -> object:
        opened.append(label)
        return original(path, config, label, log)

    monkeypatch.setattr(scoring, "ModelPool", partial(ModelPool, available_bytes=lambda: 0))
    monkeypatch.setattr(scoring, "open_model", count)
    monkeypatch.setattr(route, "SCRATCH_BYTES", 1)
    recipe.path.write_text(recipe.text + "engine: {batch_tokens: 128}\n")
    result = run(load(recipe.path), Where(threads=2))
    assert len(opened) > 2 * len({*opened})  # closed and opened again for every chunk
    for ours, theirs in zip(result.variants[:2], finished[1].variants[:2], strict=True):
        assert ours.overall and theirs.overall and ours.overall.divergence and theirs.overall.divergence
        assert ours.overall.divergence.kl_mean.value == pytest.approx(theirs.overall.divergence.kl_mean.value, rel=0.02)


def test_prune_leaves_what_a_run_in_progress_uses(recipe: LoadedRecipe) -> None:
    pruned = []

    def prune_once(event: Event) -> None:
        if event.stage == "screen" and event.done > 6 and not pruned:
            pruned.append(Store().prune())

    result = run(recipe, Where(threads=2), prune_once)
    assert pruned
    assert result.variants[0].status == "measured"
    assert Store().prune() > 0
    assert not any((Store().folder / "artifacts").glob("*/*"))


def test_the_same_text_twice_is_refused(recipe: LoadedRecipe, tmp_path: Path) -> None:
    (tmp_path / "twin.txt").write_text(OWN)
    recipe.path.write_text(recipe.text.replace("texts:\n", 'texts:\n  - {name: twin, source: "twin.txt"}\n'))
    with pytest.raises(RecipeError, match="texts twin and own are the same text"):
        run(load(recipe.path), Where(threads=2))


def test_sigterm_leaves_nothing_behind(recipe: LoadedRecipe, tmp_path: Path) -> None:
    recipe.path.write_text(recipe.text.replace("repetitions: 3", "repetitions: 900"))  # it cannot end by itself
    command = [sys.executable, "-m", "quantcurve.cli", "run", str(recipe.path), "-v", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr
    for line in process.stderr:
        if line.startswith("screen"):
            break
    process.terminate()
    process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 143
    assert not any((Store().folder / "tmp").iterdir())
