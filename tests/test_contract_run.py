"""Whole runs with a contract: a verdict for every variant, and what is refused before anything is made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.planning import plan
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.report.contract_notes import contract_sentences
from quantcurve.report.markdown import markdown
from quantcurve.report.notes import sections
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from quantcurve.session import Event

pytestmark = [pytest.mark.real, pytest.mark.slow]
RECIPE = """\
name: tiny
model: {source: MODEL}
texts:
  - {name: chat, source: "embedded:chat"}
windows: {tokens: 64, limit: 6}
variants: {gguf: [Q8_0, Q4_0, Q5_0]}
benchmark: null
CONTRACT
"""
CONTRACT = """\
evaluate:
  context_tokens: 256
  slices:
    - {name: boats, file: boats.jsonl, max_tokens: 6}
    - {name: words, file: words.jsonl, kind: choice}
contract:
  shortlist: 2
  system: {size: -20 %}
  quality: {words: 80 points}
  behaviour: {mean_output_tokens on boats: within 90 %}
"""
PLACES = ["harbour", "lamp", "wall", "tide", "rope", "gull", "cat", "boat", "quay", "net", "crab", "sail"]


def write_slices(folder: Path) -> None:
    texts = [
        {"kind": "text", "id": f"t{i}", "prompt": f"The {a} and the {b}", "answers": [a]}
        for i, (a, b) in enumerate((a, b) for a in PLACES for b in PLACES[:2])
    ]
    choices = [
        {"prompt": f"The {place} has a", "choices": ["boat", "lamp"], "answer": i % 2} for i, place in enumerate(PLACES)
    ]
    for name, rows in (("boats", texts), ("words", choices)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe_of(folder: Path, model: Path, contract: str = CONTRACT) -> LoadedRecipe:
    write_slices(folder)
    text = RECIPE.replace("MODEL", str(model)).replace("CONTRACT", contract.rstrip())
    (folder / "recipe.yaml").write_text(text)
    return load(folder / "recipe.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[LoadedRecipe, Path, RunResult]:
    folder, cache = tmp_path_factory.mktemp("contract"), tmp_path_factory.mktemp("contract-cache")
    recipe = recipe_of(folder, tiny_model)
    return recipe, cache, run(recipe, Where(threads=2, cache=cache))


def test_every_variant_has_a_verdict_with_its_reason(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    cards = {v.name: v.scorecard for v in finished[2].variants}
    assert all(cards.values())
    decisions = {name: card.verdict.decision for name, card in cards.items() if card}
    assert sorted(decisions.values()).count("not evaluated") == 1, "the shortlist has two"
    for card in cards.values():
        assert card
        if card.verdict.decision == "not evaluated":
            assert card.verdict.sentence.startswith("not evaluated: ") and not card.slices
            continue
        assert {b.budget.part for b in card.verdict.budgets} == {"system", "quality", "behaviour"}
        assert {s.name for s in card.slices} == {"boats", "words"}
        boats = next(s for s in card.slices if s.name == "boats")
        assert boats.behaviour and boats.behaviour.items == boats.items <= 24 and boats.confidence is None
        words = next(s for s in card.slices if s.name == "words")
        assert words.confidence and words.behaviour is None


def test_verdicts_stand_first_in_markdown_and_last_in_a_terminal(
    finished: tuple[LoadedRecipe, Path, RunResult],
) -> None:
    said = contract_sentences(finished[2])
    assert len(said) >= 3 and all(any(v.name in s for s in said) for v in finished[2].variants)
    shown = markdown(finished[2])
    assert shown.index("### Contract") < shown.index("| name |") < shown.index("### Reference")
    assert sections(finished[2])[-1].heading == "Contract" and shown.count("### Contract") == 1


def test_the_record_has_divergence_by_text_with_intervals(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    texts = [t.name for t in finished[2].texts]
    for variant in RunResult.model_validate_json(finished[2].model_dump_json()).variants:
        assert [part.text for part in variant.slices] == texts
        for part in variant.slices:
            assert part.divergence
            for figure in (
                part.divergence.perplexity_ratio,
                part.divergence.kl_mean,
                part.divergence.top1_agreement,
            ):
                assert isinstance(figure, Estimate) and figure.low <= figure.value <= figure.high, figure
                assert figure.low < figure.high


def test_reports_have_perplexity_and_every_slice(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    text = markdown(finished[2])
    assert "### Perplexity beside what slices and tasks lose" in text
    assert "cannot be said of 2 variants: 4 variants are needed" in text
    for variant in finished[2].variants:
        evaluated = bool(variant.scorecard and variant.scorecard.slices)
        assert (f"### Slices of {variant.name}, worst first" in text) == evaluated
    floor = "boats: the reference is at the floor: it has 0.0 % right, and none is right by chance"
    assert floor in text and "answers were cut off: raise max_tokens or give easier items." in text


def test_other_items_or_another_judge_are_another_run(tmp_path: Path, tiny_model: Path) -> None:
    contract = (
        "evaluate: {slices: [{name: a, file: boats.jsonl, judge: 'judge.py:short', max_tokens: 2, items: 8}]}\n"
        "contract: {mode: quick, shortlist: 1, quality: {a: 60 points}}"
    )
    recipe, items = recipe_of(tmp_path, tiny_model, contract), tmp_path / "boats.jsonl"
    first, judge = items.read_text(), "def short(item, answer):\n    return len(answer) < 400\n"

    def key(written: str, source: str) -> str:
        items.write_text(written)
        (tmp_path / "judge.py").write_text(source)
        return run(recipe, Where(threads=2, cache=tmp_path / "cache")).run_key

    keys = [
        key(first, judge),
        key(first.replace("harbour", "harbours"), judge),
        key(first, judge.replace("400", "300")),
    ]
    assert len(set(keys)) == 3
    assert key(first, judge) == keys[0]


def test_a_second_run_asks_nothing(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    recipe, cache, before = finished
    events = list[Event]()
    again = run(recipe, Where(threads=2, cache=cache), events.append)
    assert not [e for e in events if e.stage == "slices"]
    assert [v.scorecard for v in again.variants] == [v.scorecard for v in before.variants]


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        (
            "contract: {quality: {codes: 1 point}}",
            "a budget on codes, and the recipe has no such slice; did you mean code",
        ),
        ("contract: {behaviour: {loops: no more}}", "budgets need slices"),
        ("contract: {behaviour: {loops on chats: no more}}", "a budget on chats"),
        (
            "evaluate: {slices: [{name: a, file: none.jsonl}]}\ncontract: {quality: {a: 1 point}}",
            "none.jsonl",
        ),
        (
            "evaluate: {slices: [{name: a, file: boats.jsonl, judge: 'none.py:b'}]}\ncontract: {quality: {a: 1 point}}",
            "none.py",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_plan(
    contract: str, said: str, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        plan(recipe_of(tmp_path, tiny_model, contract), Where(threads=2, cache=tmp_path / "cache"))


def test_the_plan_names_what_is_asked(tmp_path: Path, tiny_model: Path) -> None:
    planned = plan(recipe_of(tmp_path, tiny_model), Where(threads=2, cache=tmp_path / "cache"))
    asked = [step.what for step in planned.steps if step.stage == "scorecard"]
    assert all(step.seconds > 0 for step in planned.steps if step.stage == "scorecard")
    assert asked == [
        "boats, up to 24 items, the reference and 2 variants at most",
        "words, up to 12 items, the reference and 2 variants at most",
    ]


def test_a_judge_of_the_users_own(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "judge.py").write_text("def short(item, answer):\n    return len(answer) < 400 and 'prompt' in item\n")
    contract = (
        "evaluate: {slices: [{name: a, file: boats.jsonl, judge: 'judge.py:short', max_tokens: 4}]}\n"
        "contract: {mode: quick, shortlist: 1, quality: {a: 60 points}}"
    )
    found = run(recipe_of(tmp_path, tiny_model, contract), Where(threads=2, cache=tmp_path / "cache"))
    cards = [v.scorecard for v in found.variants if v.scorecard and v.scorecard.slices]
    (card,) = cards
    assert card.verdict.decision == "pass" and card.slices[0].items == 24
    assert card.slices[0].judge == "judge.py:short"


def test_a_judge_that_raises_is_named(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "judge.py").write_text("def broken(item, answer):\n    return item['nothing']\n")
    contract = (
        "evaluate: {slices: [{name: a, file: boats.jsonl, judge: 'judge.py:broken', max_tokens: 4}]}\n"
        "contract: {mode: quick, shortlist: 1, quality: {a: 60 points}}"
    )
    with pytest.raises(RecipeError, match=r"slice a, item t\d+: judge judge.py:broken raised KeyError"):
        run(recipe_of(tmp_path, tiny_model, contract), Where(threads=2, cache=tmp_path / "cache"))


CHECKED = """\
evaluate:
  context_tokens: 256
  slices:
    - {name: routing, file: FILE, function: "FUNCTION"}
contract: {shortlist: 1, quality: {routing: 2 points, every slice: no significant regression}}
"""
CHECKS = """
def routed(model, items):
    prompts = [item.record["prompt"] for item in items]
    said = model.generate(prompts, max_tokens=4)
    return [float(len(one) % 2) for one in said]


def alone(items):
    return []


def drawn(model, items, calls=[]):
    calls.append(1)
    return [float(len(calls)) for _ in items]
"""


def checked(folder: Path, model: Path, file: str = "boats.jsonl", function: str = "checks.py:routed") -> LoadedRecipe:
    (folder / "checks.py").write_text(CHECKS)
    (folder / "empty.jsonl").write_text("\n")
    (folder / "torn.jsonl").write_text('{"a": 1}\n{"a"\n')
    return recipe_of(folder, model, CHECKED.replace("FILE", file).replace("FUNCTION", function))


def test_a_check_of_the_users_own_has_a_verdict(tmp_path: Path, tiny_model: Path) -> None:
    recipe, where = checked(tmp_path, tiny_model), Where(threads=2, cache=tmp_path / "cache")
    found = run(recipe, where)
    (card,) = (v.scorecard for v in found.variants if v.scorecard and v.scorecard.slices)
    assert [b.budget.name for b in card.verdict.budgets] == ["routing", "routing"]
    (routing,) = card.slices
    assert routing.kind == "check" and routing.behaviour is None
    assert {f.statistic for f in routing.figures} == {"value"}
    evidence = routing.figures[0].evidence
    assert routing.items <= 24 and evidence.lost is not None and evidence.won is not None
    lost = [one for one in card.failing if one.slice == "routing"]
    assert card.verdict.decision != "fail" or len(lost) == evidence.lost
    events = list[Event]()
    assert [v.scorecard for v in run(recipe, where, events.append).variants] == [v.scorecard for v in found.variants]
    assert not [e for e in events if e.stage == "slices"]


def test_a_check_that_draws_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    recipe = checked(tmp_path, tiny_model, function="checks.py:drawn")
    with pytest.raises(RecipeError, match=r"slice routing: checks\.py:drawn is not deterministic: two runs"):
        run(recipe, Where(threads=2, cache=tmp_path / "cache"))


@pytest.mark.parametrize(
    ("file", "function", "said"),
    [
        ("none.jsonl", "checks.py:routed", r"recipe\.yaml:\d+: .*there is no such file"),
        ("empty.jsonl", "checks.py:routed", r"recipe\.yaml:\d+: .*empty\.jsonl:1: the file is empty"),
        ("torn.jsonl", "checks.py:routed", r"recipe\.yaml:\d+: .*torn\.jsonl:2: not valid JSON"),
        ("boats.jsonl", "none.py:routed", r"recipe\.yaml:\d+: .*there is no file .*none\.py"),
        ("boats.jsonl", "checks.py:routes", r"recipe\.yaml:\d+: .*has no routes; did you mean routed"),
        ("boats.jsonl", "checks.py:alone", r"recipe\.yaml:\d+: .*it takes \(items\)"),
        ("boats.jsonl", "negative_kl_divergence", r"recipe\.yaml:\d+: .*takes windows of texts"),
        ("boats.jsonl", "exact_mach", r"recipe\.yaml:\d+: .*did you mean exact_match"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused_by_plan(
    file: str, function: str, said: str, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        plan(checked(tmp_path, tiny_model, file, function), Where(threads=2, cache=tmp_path / "cache"))


def test_behaviour_of_a_check_is_refused_by_plan(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "checks.py").write_text(CHECKS)
    contract = (
        CHECKED.replace("FILE", "boats.jsonl")
        .replace("FUNCTION", "checks.py:routed")
        .replace(
            "quality: {routing: 2 points, every slice: no significant regression}",
            "behaviour: {loops on routing: no more}",
        )
    )
    with pytest.raises(RecipeError, match=r"recipe\.yaml:\d+: .*loops is of answers, and those of routing are its"):
        plan(recipe_of(tmp_path, tiny_model, contract), Where(threads=2, cache=tmp_path / "cache"))


def test_behaviour_without_any_answer_is_refused_by_plan(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "checks.py").write_text("def f(model, items):\n    return [1.0 for _ in items]\n")
    contract = (
        "evaluate: {slices: [{name: a, file: boats.jsonl, function: 'checks.py:f'}]}\n"
        "contract: {behaviour: {mean_output_tokens: within 5 %}}"
    )
    with pytest.raises(RecipeError, match=r"contract.behaviour.mean_output_tokens: .* all slices are functions"):
        plan(recipe_of(tmp_path, tiny_model, contract), Where(threads=2, cache=tmp_path / "cache"))
