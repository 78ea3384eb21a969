"""Whole runs with tasks: asked alike, kept by document, compared in pairs, refused before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.planning import plan
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.report.markdown import markdown
from quantcurve.report.task_notes import task_sentences
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from quantcurve.session import Event
from quantcurve.stages import tasks
from quantcurve.store import Store
from quantcurve.task_records import TaskSample
from task_files import write_lines, write_tasks

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'quantcurve[eval]'")
pytestmark = [pytest.mark.real, pytest.mark.slow]
RECIPE = """\
name: tiny
model: {source: MODEL}
texts:
  - {name: chat, source: "embedded:chat"}
windows: {tokens: 64, limit: 6}
variants: {gguf: [Q8_0, Q4_0, Q5_0]}
benchmark: null
evaluate:
  variants: [Q8_0, Q4_0]
  context_tokens: 256
  noise_items: 4
  tasks:
TASKS
"""
TASKS = """\
    - {file: choices.yaml, fewshot: 1}
    - {file: answers.yaml, limit: 6}
    - {file: texts.yaml, limit: 5}
    - {file: answers.yaml, limit: 4, temperature: 1.0, samples: 2, max_new_tokens: 5}
    - {name: quantcurve_humaneval, data: code.jsonl, pass_at: 1, max_new_tokens: 6, run_code: true}
"""


def recipe_of(folder: Path, model: Path, asked: str = TASKS) -> LoadedRecipe:
    write_tasks(folder)
    (folder / "recipe.yaml").write_text(RECIPE.replace("MODEL", str(model)).replace("TASKS", asked.rstrip()))
    return load(folder / "recipe.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[LoadedRecipe, Path, RunResult]:
    folder, cache = tmp_path_factory.mktemp("tasks"), tmp_path_factory.mktemp("tasks-cache")
    recipe = recipe_of(folder, tiny_model)
    return recipe, cache, run(recipe, Where(threads=2, cache=cache))


def test_the_reference_has_values_with_intervals(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    choices, answers, texts, drawn, code = finished[2].reference.tasks
    assert (choices.task, choices.documents, choices.settings.fewshot, choices.settings.runs) == ("choices", 12, 1, 1)
    accuracy = next(m for m in choices.metrics if m.name == "acc")
    assert isinstance(accuracy.value, Estimate) and accuracy.value.n == 12 and accuracy.drop is None
    assert (answers.documents, drawn.documents, drawn.settings.runs, code.settings.runs) == (6, 4, 3, 3)
    assert sum(count for _, count in answers.stop_reasons) == 6 and answers.answer_tokens is not None
    assert sum(count for _, count in drawn.stop_reasons) == 4 * 2 * 3
    assert isinstance(texts.metrics[0].value, Missing) and "no mean over documents" in texts.metrics[0].value.missing
    assert [m.name for m in code.metrics] == ["pass@1"] and len(code.metrics[0].by_run) == 3


def test_the_noise_floor_is_measured(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    for task in finished[2].reference.tasks:
        assert task.noise and task.noise.documents in {3, 4, 12}
    choices, answers = finished[2].reference.tasks[:2]
    assert choices.noise and 0 <= choices.noise.largest_difference_nats < 0.05
    assert answers.noise and answers.noise.answers == 4 and answers.noise.largest_difference_logits < 0.05


def test_variants_are_compared_by_document(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    by_name = {v.name: v.tasks for v in finished[2].variants}
    assert by_name["Q5_0"] == tasks.NOT_CHOSEN
    for name in ("Q8_0", "Q4_0"):
        found = by_name[name]
        assert not isinstance(found, Missing) and len(found) == 5
        accuracy = found[0].metrics[0]
        assert isinstance(accuracy.drop, Estimate) and accuracy.drop.n == 12
        reference = finished[2].reference.tasks[0].metrics[0].value
        assert isinstance(reference, Estimate) and isinstance(accuracy.value, Estimate)
        assert accuracy.drop.value == pytest.approx(reference.value - accuracy.value.value)
        assert accuracy.drop.value == pytest.approx((accuracy.lost - accuracy.won) / 12)


def test_samples_are_kept_with_their_answers(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    files = sorted(finished[1].rglob("samples.jsonl"))
    assert len(files) == 5 * 4, "five entries on the reference, alone too, and two variants"
    samples = [TaskSample.model_validate_json(line) for file in files for line in file.read_text().splitlines()]
    judged = [s for s in samples if s.task == "choices"]
    assert all(len(s.likelihoods) == len(s.lengths) == 4 for s in judged) and len(judged) == 12 * 3 + 4
    said = [answer for s in samples if s.task == "answers" for answer in s.answers]
    assert said and all(len(a.margin) == len(a.entropy) == len(a.stop_rank) >= len(a.tokens) for a in said)


def test_a_second_run_asks_nothing(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    recipe, cache, before = finished
    events = list[Event]()
    again = run(recipe, Where(threads=2, cache=cache), events.append)
    stage = next(s for s in again.stages if s.stage == "evaluate")
    assert stage.steps == stage.cached > 0
    assert [v.tasks for v in again.variants] == [v.tasks for v in before.variants]


def test_tables_and_sentences_tell_of_tasks(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    said = "\n".join(task_sentences(finished[2]))
    assert "choices (version 1.0): 12 documents, 1 example." in said
    assert "answers: noise floor, the reference one by one against batches on 4 documents" in said
    assert "Q5_0: not evaluated: the recipe names others." in said
    page = markdown(finished[2])
    assert "Tasks: the reference" in page and "choices acc_norm" in page and "lost by Q4_0" in page
    assert "Perplexity beside what slices and tasks lose" in page and "ln PPL ratio" in page


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ("    - arc_eazy", RecipeError, r"recipe.yaml:13: evaluate.tasks.0.name: .*no task arc_eazy.*arc_easy"),
        ("    - {file: nowhere.yaml}", RecipeError, "nowhere.yaml: no such file"),
        ("    - {name: gsm8k, data: none.jsonl}", RecipeError, "none.jsonl: no such file"),
        ("    - {file: broken.yaml}", RecipeError, "no task of lm-eval"),
        ("    - arc_easy", PrerequisiteError, "wants documents or code from the network"),
        ("    - {name: quantcurve_humaneval, data: code.jsonl}", RecipeError, "run_code: true"),
        ("    - {file: drawing.yaml, runs: 2}", RecipeError, "3 runs or more"),
        ("    - {file: answers.yaml, max_new_tokens: 256}", RecipeError, "max_gen_toks is 256"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, tiny_model: Path, asked: str, error: type[Exception], said: str
) -> None:
    recipe = recipe_of(tmp_path, tiny_model, asked)
    (tmp_path / "broken.yaml").write_text("nothing: here\n")
    drawn = (tmp_path / "answers.yaml").read_text().replace("do_sample: false", "do_sample: true, temperature: 1.0")
    (tmp_path / "drawing.yaml").write_text(drawn.replace("task: answers", "task: drawing"))
    with pytest.raises(error, match=said):
        run(recipe, Where(threads=2))


def test_a_variant_that_is_not_there_is_refused_by_plan(tmp_path: Path, tiny_model: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_model)
    assert sum(step.stage == "evaluate" for step in plan(recipe).steps) == 5
    recipe.path.write_text(recipe.text.replace("[Q8_0, Q4_0]", "[Q8_0, Q9_0]"))
    with pytest.raises(RecipeError, match="no variant is called Q9_0"):
        plan(load(recipe.path))


def test_other_documents_are_asked_anew(tmp_path: Path, tiny_model: Path) -> None:
    recipe = recipe_of(tmp_path, tiny_model, "    - {file: choices.yaml, limit: 3}")
    run(recipe, Where(threads=2))
    before = len(list(Store().folder.rglob("samples.jsonl")))
    write_lines(tmp_path / "choices.jsonl", [{"question": "?", "choices": ["a", "b"], "gold": 0}] * 3)
    found = run(recipe, Where(threads=2))
    assert len(list(Store().folder.rglob("samples.jsonl"))) == 2 * before
    assert found.reference.tasks[0].documents == 3
