"""A contract over variants of both lanes: GGUF files and IRs are asked the same slices and checks, and each has a
verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quantcurve.engines import openvino
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.report.contract_notes import contract_sentences
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from quantcurve.scorecard_records import Scorecard
from quantcurve.session import Event
from tiny import write_texts, write_tiny_llama

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(openvino.find_spec, ("openvino_genai", "optimum", "nncf"))),
        reason=f"both lanes: {openvino.INSTALL}",
    ),
]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ 'bot: ' }}"
RECIPE = """\
name: both
model: {source: tiny.gguf}
texts: [{name: docs, source: docs.txt}]
windows: {tokens: 64, limit: 6}
variants:
  gguf: [Q8_0]
  openvino: [INT8_ASYM]
openvino: {split_windows: null}
benchmark: null
evaluate:
  context_tokens: 256
  slices:
    - {name: texts, file: texts.jsonl, kind: text, max_tokens: 5}
    - {name: chats, file: chats.jsonl, kind: json, max_tokens: 5, system: Be brief.}
    - {name: choices, file: choices.jsonl, kind: choice}
    - {name: numbers, file: numbers.jsonl, kind: number, max_tokens: 4}
    - {name: safe, file: safe.jsonl, kind: refusal, max_tokens: 4}
    - {name: mine, file: mine.jsonl, function: "mine.py:likely"}
    - {name: exact, file: exact.jsonl, function: exact_match}
    - {name: chosen, file: choices.jsonl, function: multiple_choice}
contract:
  mode: quick
  system: {size: -20 %}
  quality: {choices: 90 points, mine: 80 points, every slice: 99 points}
  behaviour: {mean_output_tokens: within 95 %, loops: 99 points}
"""
MINE = """
def likely(model, items):
    prompts = [model.chat([{"role": "user", "content": item.record["q"]}]) for item in items]
    said = model.generate(prompts, max_tokens=3, stop=["zz"])
    assert all(isinstance(one, str) for one in said)
    found = model.log_likelihood([(item.record["q"], item.record["a"]) for item in items])
    return [one.nats / one.tokens for one in found]
"""
PLACES = ("harbour", "lamp", "wall", "tide", "rope", "gull", "cat", "boat", "quay", "net", "crab", "sail")
SLICES = ("texts", "chats", "choices", "numbers", "safe", "mine", "exact", "chosen")


def write_slices(folder: Path) -> None:
    rows = {
        "texts": [{"prompt": f"The {a} and the", "answers": [a]} for a in PLACES],
        "chats": [{"messages": [{"role": "user", "content": a}], "schema": {"type": "object"}} for a in PLACES],
        "choices": [
            {"prompt": f"The {a} has a", "choices": ["boat", "lamp"], "answer": i % 2} for i, a in enumerate(PLACES)
        ],
        "numbers": [{"prompt": f"{i} and one is ", "answer": i + 1} for i in range(12)],
        "safe": [{"prompt": f"Paint the {a}.", "safe": True} for a in PLACES],
        "mine": [{"q": f"The {a}", "a": " boat", "group": "ab"[i % 2]} for i, a in enumerate(PLACES)],
        "exact": [{"prompt": f"The {a} is", "answer": a, "max_tokens": 3} for a in PLACES],
    }
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "mine.py").write_text(MINE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedRecipe, Path, RunResult]:
    folder = tmp_path_factory.mktemp("both")
    write_texts(folder)
    write_slices(folder)
    write_tiny_llama(folder / "tiny.gguf", template=TEMPLATE)
    (folder / "recipe.yaml").write_text(RECIPE)
    recipe = load(folder / "recipe.yaml")
    return recipe, folder / "cache", run(recipe, Where(threads=2, cache=folder / "cache"))


def cards(result: RunResult) -> dict[str, Scorecard]:
    return {v.name: v.scorecard for v in result.variants if v.scorecard}


def test_both_lanes_have_verdicts_on_the_same_slices(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    found = cards(finished[2])
    assert {v.name: v.status for v in finished[2].variants} == dict.fromkeys(
        ("Q8_0", "OV-reference", "OV-INT8_ASYM"), "measured"
    )
    assert set(found) == {"Q8_0", "OV-INT8_ASYM"}, "the engine floor is none that is deployed"
    for card in found.values():
        assert card.verdict.decision in {"pass", "fail", "undecided"}, card.verdict.sentence
        assert tuple(one.name for one in card.slices) == SLICES
        assert {b.budget.part for b in card.verdict.budgets} == {"system", "quality", "behaviour"}
        assert all(one.items == 12 for one in card.slices)
        for one in card.slices:
            statistics = {f.statistic for f in one.figures}
            assert ("value" in statistics) == (one.kind == "check") == (one.name in SLICES[-3:])
            assert (one.behaviour is not None) == (one.kind not in {"check", "choice"})
        assert {f.part for one in card.slices if one.name == "mine" for f in one.figures} == {"", "a", "b"}
    assert all(any(s.startswith(name) for s in contract_sentences(finished[2])) for name in found)


def test_the_reference_is_the_same_for_both_lanes(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    def references(card: Scorecard) -> list[object]:
        return [f.reference for one in card.slices for f in one.figures if f.statistic in {"value", "right"}]

    one, other = (references(card) for card in cards(finished[2]).values())
    assert one == other and one


def test_a_check_of_choices_is_the_slice_of_choices(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    """The same questions by two ways: a function over kept answers, and the slice's own judge."""
    for card in cards(finished[2]).values():
        by_name = {one.name: one for one in card.slices}
        right = next(f for f in by_name["choices"].figures if f.statistic == "right" and not f.part)
        value = next(f for f in by_name["chosen"].figures if f.statistic == "value" and not f.part)
        for side in ("reference", "variant"):
            assert getattr(right, side).value == getattr(value, side).value
        assert right.evidence.lost == value.evidence.lost and right.evidence.won == value.evidence.won


def test_a_second_run_asks_nothing(finished: tuple[LoadedRecipe, Path, RunResult]) -> None:
    recipe, cache, before = finished
    events = list[Event]()
    again = run(recipe, Where(threads=2, cache=cache), events.append)
    assert not [e for e in events if e.stage == "slices"]
    assert cards(again) == cards(before)
