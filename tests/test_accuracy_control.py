"""Accuracy control from the recipe to the table, on a tiny model: rankings, compressed weights, users' functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from quantcurve.accuracy_records import ControlResult
from quantcurve.engines import openvino
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.planning import plan
from quantcurve.recipe import load
from quantcurve.report import folder as run_folder
from quantcurve.results import RunResult, VariantResult
from quantcurve.run import Where, run
from quantcurve.stages import restorable
from test_cli import quantcurve
from tiny import write_texts, write_tiny_llama

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))),
        reason=f"accuracy control: {openvino.INSTALL}",
    ),
]
RECIPE = """\
name: control
model: {{source: {model}}}
texts: [{{name: docs, source: docs.txt}}]
windows: {{tokens: 64, limit: 4}}
validations:
{validations}
variants:
  openvino:
{variants}
calibration: {{sources: [{{name: own, source: own.txt}}], tokens: 1024, window_tokens: 64}}
openvino: {{split_windows: null}}
benchmark: null
"""
KL = """\
  - name: kl
    function: negative_kl_divergence
    texts: [{name: held, source: "embedded:chat"}]
    item_tokens: 32
    items: 12
    held_out: 16
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("control")
    write_texts(folder)
    write_tiny_llama(folder / "tiny.gguf")
    return folder


def recipe(work: Path, variants: Sequence[str], validations: str = KL, name: str = "recipe") -> Path:
    path = work / f"{name}.yaml"
    listed = "\n".join(f"    - {variant}" for variant in variants)
    path.write_text(RECIPE.format(model=work / "tiny.gguf", validations=validations.rstrip(), variants=listed))
    return path


def made(work: Path, variants: Sequence[str], validations: str = KL, name: str = "recipe") -> RunResult:
    return run(load(recipe(work, variants, validations, name)), Where(threads=2, cache=work / "cache"))


def named(result: RunResult, name: str) -> VariantResult:
    return next(v for v in result.variants if v.name == name)


def control(result: RunResult, name: str) -> ControlResult:
    variant = named(result, name)
    assert variant.accuracy_control, variant.failure
    return variant.accuracy_control


def w8a8(max_drop: float, name: str, **options: object) -> str:
    settings = {"max_drop": max_drop, "ranking_items": 4} | options
    return json.dumps({"weights": "W8A8", "name": name, "accuracy_control": settings})


@pytest.fixture(scope="module")
def plain(work: Path) -> float:
    """What W8A8 loses on the items of the search."""
    found = control(made(work, [w8a8(1e6, "easy")], name="plain"), "easy")
    assert found.reached and not found.restored and found.verdict == "pass"
    assert found.search_drop == found.search_plain_drop > 0
    return found.search_plain_drop


@pytest.fixture(scope="module")
def finished(work: Path, plain: float) -> RunResult:
    int4 = {"weights": "INT4_SYM", "group_size": 32, "name": "restored"}
    return made(
        work,
        [
            "W8A8",
            w8a8(plain / 2, "fast"),
            w8a8(plain / 2, "slow", ranking="nncf"),
            json.dumps(int4 | {"name": "int4"}),
            json.dumps(int4 | {"accuracy_control": {"max_drop": 0.003, "ranking_items": 4}}),
        ],
    )


@pytest.mark.parametrize("name", ["fast", "slow"])
def test_w8a8_is_restored_until_it_keeps_the_budget(finished: RunResult, plain: float, name: str) -> None:
    found = control(finished, name)
    assert found.reached and found.search_drop <= plain / 2 < found.search_plain_drop
    assert 0 < len(found.restored) <= found.groups and 0 < found.restored_operations <= found.operations
    assert 0 <= found.restored_share <= 1
    assert isinstance(found.drop, Estimate) and isinstance(found.plain_drop, Estimate)
    assert found.drop.n == found.held_out_items == 16
    assert found.seconds.validation > 0 and found.seconds.compilation > 0 and found.seconds.rest > 0
    assert found.item_evaluations >= found.items + found.held_out_items


def test_the_file_that_is_deployed_has_the_restored_layers_as_floats(finished: RunResult, work: Path) -> None:
    types = {v.name: {share.type: share.weights for share in v.file.types} for v in finished.variants if v.file}
    assert types["W8A8" if "W8A8" in types else "OV-W8A8"].keys() == {"i8"}
    layers = [layer for group in control(finished, "fast").restored for layer in group.layers]
    with_weights = [layer for layer in layers if ":" not in layer]
    assert ("f32" in types["fast"]) == bool(with_weights)


def test_compressed_weights_are_restored_cheapest_first(finished: RunResult) -> None:
    found = control(finished, "restored")
    assert found.reached and found.search_drop <= 0.003
    assert {group.to for group in found.restored} <= {"INT8_ASYM", "F32"}
    small, restored = named(finished, "int4"), named(finished, "restored")
    assert small.file and restored.file
    if found.restored:
        assert restored.file.size_bytes > small.file.size_bytes
        assert found.search_plain_drop > 0.003


def test_layers_can_be_priced_by_their_time(work: Path, finished: RunResult) -> None:
    settings = {"max_drop": 0.003, "ranking_items": 4, "price": "latency"}
    entry = {"weights": "INT4_SYM", "group_size": 32, "name": "timed", "accuracy_control": settings}
    found = control(made(work, [json.dumps(entry)], name="timed"), "timed")
    assert found.reached and found.search_drop <= 0.003
    assert found.search_plain_drop == control(finished, "restored").search_plain_drop


def test_controlled_variants_are_scored_like_all_others(finished: RunResult) -> None:
    for name in ("fast", "slow", "restored"):
        variant = named(finished, name)
        assert variant.status == "measured" and variant.overall and variant.overall.divergence
        assert any("accuracy control" in note for note in variant.notes)


def test_a_second_run_only_reads_and_the_plan_knows_it(finished: RunResult, work: Path) -> None:
    path = work / "recipe.yaml"
    again = run(load(path), Where(threads=2, cache=work / "cache"))
    assert all(stage.cached == stage.steps for stage in again.stages if stage.stage in {"accuracy_control", "compress"})
    planned = plan(load(path), Where(threads=2, cache=work / "cache"))
    assert all(step.cached for step in planned.steps if step.stage in {"accuracy_control", "compress", "screen"})


def test_explain_draws_the_map(finished: RunResult, work: Path, tmp_path: Path) -> None:
    run_folder.prepare(tmp_path / "run")
    run_folder.save(finished, tmp_path / "run")
    shown = quantcurve("explain", str(tmp_path / "run"), "fast")
    assert shown.returncode == 0
    assert "held-out items" in shown.stdout and "groups restored" in shown.stdout
    for group in control(finished, "fast").restored:
        assert all(layer in shown.stdout for layer in group.layers)
    told = json.loads(quantcurve("explain", str(tmp_path / "run"), "--json").stdout)
    assert set(told) == {"fast", "slow", "restored"}
    assert quantcurve("explain", str(tmp_path / "run"), "int4").returncode == 2


def test_another_budget_uses_what_was_validated_before(finished: RunResult, work: Path, plain: float) -> None:
    before = control(finished, "fast")
    found = control(made(work, [w8a8(plain / 2.5, "tighter")], name="tighter"), "tighter")
    assert found.reached and found.validations < before.validations / 2


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_little_memory_ranks_in_parts_or_builds(
    finished: RunResult, work: Path, plain: float, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Half of what one compilation needs, and less than the weights."""
    needed = 12 * 1_333_248
    free = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=int(share * needed)))
    monkeypatch.setattr(restorable, "psutil", free)
    shutil.rmtree(work / "cache" / "journals")
    found = control(made(work, [w8a8(plain / (2 + share / 1e6), "little")], name="little"), "little")
    before = control(finished, "fast")
    assert found.reached
    if share > 1 / 3:
        assert [group.layers for group in found.restored] == [group.layers for group in before.restored]


def test_a_budget_that_floats_do_not_keep_fails_the_variant_alone(work: Path) -> None:
    variants = ["INT8_ASYM", w8a8(1e-12, "never"), w8a8(1e-12, "never-by-nncf", ranking="nncf")]
    result = made(work, variants, name="never")
    for name in ("never", "never-by-nncf"):
        failed = named(result, name)
        assert failed.status == "failed" and "with everything restored" in str(failed.failure)
    assert named(result, "OV-INT8_ASYM").status == "measured"


OWN = '''\
"""Whether a model still ranks the right answer first."""


def keeps_the_answer(model, items):
    pairs = [(i.record["question"], a) for i in items for a in i.record["answers"]]
    found = model.log_likelihood(pairs)
    return [right.nats - wrong.nats for right, wrong in zip(found[::2], found[1::2])]


def raises(model, items):
    return [1 / 0 for item in items]


def one(model, items):
    return 0.5


def forgetful(model, items):
    import random
    return [random.random() for item in items]
'''


DYING = '''\
import os
from pathlib import Path

HERE = Path(__file__).parent


def dies(model, items):
    """Kills its process in the middle, once."""
    with (HERE / "calls").open("a") as calls:
        calls.write("x" * len(items))
    if (HERE / "calls").stat().st_size > 120 and not (HERE / "died").exists():
        (HERE / "died").touch()
        os.kill(os.getpid(), 9)
    return [-float(score.kl.mean()) for score in model.score(items)]
'''


def validation_of(function: str) -> str:
    return f"""\
  - name: own
    function: "checks.py:{function}"
    records: {{source: answers.jsonl}}
    items: 8
    held_out: 8
"""


@pytest.fixture
def own(work: Path) -> Path:
    (work / "checks.py").write_text(OWN)
    rows = ({"question": f"What is {i} plus {i}?", "answers": [f" {2 * i}", f" {3 * i + 1}"]} for i in range(40))
    (work / "answers.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return work


def test_a_function_of_the_users_own_judges(own: Path) -> None:
    found = control(made(own, [w8a8(0.02, "own")], validation_of("keeps_the_answer"), "own"), "own")
    assert found.function == "checks.py:keeps_the_answer" and found.reached
    assert found.search_drop <= 0.02


@pytest.mark.parametrize(
    ("function", "said"),
    [("raises", "checks.py:11"), ("one", "one value"), ("forgetful", "deterministic"), ("nowhere", "keeps_the_answer")],
)
def test_a_bad_function_is_named_with_its_place(own: Path, function: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        made(own, [w8a8(0.02, "own")], validation_of(function), f"bad-{function}")
    assert said in str(caught.value) and function in str(caught.value)


def test_a_search_that_was_killed_goes_on_from_the_last_validation(own: Path, plain: float) -> None:
    (own / "dying.py").write_text(DYING)
    validation = KL.replace("negative_kl_divergence", '"dying.py:dies"')
    calls = own / "calls"
    killed = made(own, [w8a8(plain / 2, "killed")], validation, "killed")
    assert named(killed, "killed").status == "failed" and "SIGKILL" in str(named(killed, "killed").failure)
    calls.unlink()
    resumed = control(made(own, [w8a8(plain / 2, "killed")], validation, "killed"), "killed")
    assert resumed.reached and resumed.restored
    after_the_kill = calls.stat().st_size
    calls.unlink()
    (own / "cache" / "journals").rename(own / "journals-of-the-killed")
    whole = control(made(own, [w8a8(plain / 1.9999999, "whole")], validation, "whole"), "whole")
    assert [group.layers for group in whole.restored] == [group.layers for group in resumed.restored]
    assert after_the_kill < calls.stat().st_size - 40
