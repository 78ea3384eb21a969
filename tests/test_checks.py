"""Checks, the user's own functions over records: items, the model that they get, what is kept, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from quantcurve import task_model, validation_loading
from quantcurve.answers_kept import Kept
from quantcurve.budgets import quality
from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import BackendError, RecipeError
from quantcurve.recipe_accuracy import BUILT_IN
from quantcurve.recipe_contract import Contract
from quantcurve.recipe_slices import SliceEntry
from quantcurve.run import Where, open_session
from quantcurve.scorecard_made import failing_item
from quantcurve.session import Event, Session
from quantcurve.slices import checks as check_items
from quantcurve.slices.check_model import CheckModel, CheckSettings
from quantcurve.slices.compare import figures, paired, sentence
from quantcurve.slices.items import CheckItem
from quantcurve.slices.records import SliceSample
from quantcurve.stages.checks import Checking, sample
from quantcurve.stages.scoring import Model
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.validation import Item
from quantcurve.verdicts import verdicts
from slice_samples import Pairs, generated
from tiny import write_tiny_llama

SETTINGS = TaskSettings(threads=2, runtime=CacheTypes(), batch=3, batch_tokens=256)
WORDS = ("boat", "lamp", "wall", "rope", "tide", "gull", "cat")
TEMPLATE = "{% for m in messages %}<|start|>{{ m.role }}: {{ m.content }}\n{% endfor %}{{ 'bot: ' }}"
SOURCE = """
def likely(model, items):
    found = model.log_likelihood([("The harbour", " " + item.record["word"]) for item in items])
    return [one.nats / one.tokens for one in found]


def one_by_one(model, items):
    for item in items:
        said, = model.generate(["The harbour " * (item.number % 5 + 1) + item.record["word"]], 4 + item.number % 3)
        yield model.log_likelihood([(item.record["word"], " boat")])[0].nats + len(said)


def scored(model, items):
    return [0.0 for _ in model.score(items)]


def raises(model, items):
    return [item.record["nothing"] for item in items]


def drawn(model, items, calls=[]):
    calls.append(1)
    return [float(len(calls)) for _ in items]


def few(model, items):
    return [0.0]
"""


# ---- items and samples ----


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "checks.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_lines_are_records_with_any_fields(tmp_path: Path) -> None:
    found = check_items.read(write(tmp_path, {"a": [1, {"b": None}]}, "", {"language": "de", "group": 3, "x": 1.0}))
    assert [(one.number, one.source, one.record) for one in found] == [
        (1, "checks.jsonl", {"a": [1, {"b": None}]}),
        (3, "checks.jsonl", {"language": "de", "group": 3, "x": 1.0}),
    ]
    samples = [check_items.sample("s", one, 0.25) for one in found]
    assert [(s.item, s.language, s.group, s.prompt_tokens) for s in samples] == [
        ("1", "", "", None),
        ("3", "de", "", None),
    ]
    assert all(SliceSample.model_validate_json(s.model_dump_json()) == s for s in samples)
    assert len({s.prompt_hash for s in samples}) == 2
    assert check_items.items_hash(found) != check_items.items_hash(found[::-1])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], r"checks\.jsonl:1: the file is empty"),
        ([{"a": 1}], r"checks\.jsonl:1: one item is too few"),
        ([{"a": 1}, "{", {"a": 2}], r"checks\.jsonl:2: not valid JSON"),
        ([{"a": 1}, [1]], r"checks\.jsonl:2: an item is an object with fields \(got \[1\]\)"),
        ([{"a": 1, "b": 2}, {"c": 3}, {"b": 2, "a": 1}], r"checks\.jsonl:3: line 1 is the same .*remove one"),
        (['{"a": NaN}', {"a": 2}], r"checks\.jsonl:1: a: NaN or infinite"),
    ],
)
def test_lines_that_are_wrong_are_named(lines: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        check_items.read(write(tmp_path, *lines))


def test_what_a_recipe_may_say_of_a_check() -> None:
    for function in (*BUILT_IN[3:], "mine.py:routed"):
        assert SliceEntry(name="a", file="a.jsonl", function=function).function == function
    for field, value in (
        ("kind", "text"),
        ("format", "gsm8k"),
        ("judge", "a.py:b"),
        ("max_tokens", 3),
        ("system", "x"),
    ):
        with pytest.raises(ValidationError, match=f"{field}: a function asks and judges itself"):
            SliceEntry.model_validate({"name": "a", "file": "a.jsonl", "function": "a.py:b", field: value})
    with pytest.raises(ValidationError, match="give their file"):
        SliceEntry(name="json", function="a.py:b")
    with pytest.raises(ValidationError, match="takes windows of texts; of records: answer_log_like"):
        SliceEntry(name="a", file="a.jsonl", function="token_accuracy")
    with pytest.raises(ValidationError, match="neither built in nor"):
        SliceEntry(name="a", file="a.jsonl", function="exact_mach")


# ---- what is said of their values ----


def check_pairs(reference: list[float], variant: list[float], **more: Any) -> Pairs:
    base = generated(0).model_copy(update={"kind": "check", "slice": "routing", "answer": None, "judgement": None})
    blank = base.model_copy(update={"followed": None, "prompt_tokens": None, "language": "", **more})
    sides = [
        [blank.model_copy(update={"item": str(i), "value": v}) for i, v in enumerate(s)] for s in (reference, variant)
    ]
    return list(zip(*sides, strict=True))


def decision(limit: str, pairs: Pairs) -> str:
    judged = quality(Contract.model_validate({"quality": {"routing": limit}}), {"routing": pairs})
    return verdicts({"v": judged})["v"].decision


@pytest.mark.parametrize(
    ("limit", "lost", "wanted"),
    [
        ("1 point", 0.1, "fail"),
        ("1 point", 0.001, "pass"),
        ("5 %", 0.1, "pass"),  # of a mean of -3
        ("2 %", 0.1, "fail"),
        ("0.2 nats", 0.1, "pass"),
        ("0.05 nats", 0.1, "fail"),
        ("no significant regression", 0.1, "fail"),
        ("no significant regression", 0.0, "pass"),
        ("no significant regression", -0.1, "pass"),
    ],
)
def test_budgets_on_values(limit: str, lost: float, wanted: str) -> None:
    before = [-3 + 0.01 * (i % 7) for i in range(200)]
    assert (
        decision(limit, check_pairs(before, [x - lost + 0.003 * (i % 3 - 1) for i, x in enumerate(before)])) == wanted
    )


def test_values_of_0_and_1_are_rates_with_a_floor() -> None:
    right = [1.0] * 300 + [0.0] * 100
    (judged,) = quality(
        Contract.model_validate({"quality": {"routing": "1 point"}}), {"routing": check_pairs(right, right)}
    )
    assert "Tango" in judged.evidence.loss.model_dump_json() and not judged.blocked
    assert decision("1 point", check_pairs(right, [0.0] * 40 + right[40:])) == "fail"
    (floor,) = quality(
        Contract.model_validate({"quality": {"every slice": "1 point"}}),
        {"routing": check_pairs([0.0] * 200, [0.0] * 200)},
    )
    assert floor.blocked.startswith("the reference is at the floor")


def test_checks_have_no_part_in_languages_and_lengths() -> None:
    contract = Contract.model_validate({"quality": {"every language": "1 point", "every prompt length": "1 point"}})
    texts = [(generated(i), generated(i)) for i in range(20)]
    found = quality(contract, {"a": texts, "routing": check_pairs([1.0] * 20, [0.0] * 20, language="de")})
    assert [one.budget.name for one in found] == ["language en", "prompts of 0 to 255 tokens"]


def test_figures_of_values_whole_and_in_parts() -> None:
    spread = [0.01 * (i % 2) for i in range(40)]
    pairs = check_pairs([0.5 + x for x in spread], [0.25 + 2 * x for x in spread])
    both = [[p[side].model_copy(update={"group": "ab"[int(p[side].item) % 2]}) for p in pairs] for side in (0, 1)]
    found = figures(*both)
    assert [(f.statistic, f.part, f.unit) for f in found] == [("value", part, "value") for part in ("", "a", "b")]
    assert sentence(found[0]) == "routing: mean value: 0.505 -> 0.260"
    other = [both[1][0].model_copy(update={"prompt_hash": "other"}), *both[1][1:]]
    with pytest.raises(RecipeError, match="settings mismatch"):
        paired(both[0], other)


def test_a_lost_item_of_a_check() -> None:
    ((a, b),) = check_pairs([1.0], [0.0])
    lost = failing_item(a, b)
    assert (lost.reference, lost.variant, lost.first_divergent_token) == ("1", "0", None)


# ---- on a real model ----


@pytest.fixture(scope="module")
def text(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TextSide:
    folder = tmp_path_factory.mktemp("text")
    gguf_tokenizer.save(tiny_model, folder)
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATE}))
    return TextSide(folder)


@pytest.fixture
def settings(text: TextSide) -> CheckSettings:
    return CheckSettings(text, (2,), 96)


def session(cache: Path, progress: Any = lambda event: None) -> Session:
    return open_session(Where(threads=2, cache=cache), progress)


def of_file(path: Path, name: str = "reference") -> Model:
    return Model(name, path, f"hash of {path.name}", path.stat().st_size)


def checking(settings: CheckSettings, folder: Path, name: str) -> Checking:
    (folder / "mine.py").write_text(SOURCE)
    items = [CheckItem(number=i + 1, source="words.jsonl", record={"word": word}) for i, word in enumerate(WORDS)]
    function = f"mine.py:{name}"
    loaded, key = validation_loading.load(function, folder), validation_loading.source_hash(function, folder)
    return Checking("routing", items, loaded, function, key, settings, "text")


@pytest.mark.real
@pytest.mark.parametrize("name", ["likely", "one_by_one"])
def test_every_record_has_its_value_and_a_second_run_asks_nothing(
    name: str, settings: CheckSettings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, events = list[int](), list[Event]()
    really = task_model.open_model

    def counting(path: Path, config: Any, *more: Any) -> Any:
        opened.append(config.window_tokens)
        return really(path, config, *more)

    monkeypatch.setattr(task_model, "open_model", counting)
    check, run = checking(settings, tmp_path, name), session(tmp_path / "cache", events.append)
    with run.store.in_use():
        found = sample(check, of_file(tiny_model), SETTINGS, run, twice=True).samples
        count = len(opened)
        again = sample(check, of_file(tiny_model), SETTINGS, session(tmp_path / "cache"), twice=True).samples
        other = write_tiny_llama(tmp_path / "other.gguf", seed=9)
        variant = sample(check, of_file(other, "other"), SETTINGS, run, twice=False).samples
    assert [one.item for one in found] == [str(i + 1) for i in range(len(WORDS))] and again == found
    assert count == (1 if name == "likely" else 2), "one for answers, one for likelihoods, for all items and both runs"
    assert events[-1].done == events[-1].total == len(WORDS)
    assert len({one.value for one in found}) > 1 and all(one.value is not None for one in found)
    assert [one.value for one in variant] != [one.value for one in found]
    assert [one.prompt_hash for one in variant] == [one.prompt_hash for one in found]


@pytest.mark.real
def test_a_model_that_stays_open_answers_as_one_that_does_not(
    settings: CheckSettings, tiny_model: Path, tmp_path: Path
) -> None:
    prompts = ["The cat", "The harbour " * 12, "a boat " * 20]
    pairs = [(prompt, " boat and lamp") for prompt in prompts]

    def asked(model: CheckModel) -> list[Any]:
        return [
            [model.generate([prompt], 12), model.log_likelihood([pair])]
            for prompt, pair in zip(prompts, pairs, strict=True)
        ]

    plain = TaskModel(tiny_model, SETTINGS, "plain", tmp_path / "log")
    apart = asked(CheckModel(plain, settings._replace(context_tokens=512)))
    holding = TaskModel(tiny_model, SETTINGS, "held", tmp_path / "log")
    with holding.held():
        together = asked(CheckModel(holding, settings._replace(context_tokens=512)))
        assert len(psutil.Process().children()) >= 2
    assert together == apart
    assert not psutil.Process().children()


@pytest.mark.real
def test_texts_that_do_not_fit_are_refused_as_accuracy_control_does(
    settings: CheckSettings, tiny_model: Path, tmp_path: Path
) -> None:
    model = CheckModel(TaskModel(tiny_model, SETTINGS, "tiny", tmp_path / "log"), settings)
    long = "w x y z " * 40
    with pytest.raises(RecipeError, match=r"the pair 1: \d+ tokens, and the context is 96"):
        model.log_likelihood([("a", "b"), (long, "b")])
    with pytest.raises(RecipeError, match=r"the prompt and max_tokens 0: \d+ tokens, and the context is 96"):
        model.generate(["short"], 200)
    with pytest.raises(RecipeError, match="pair 0: its continuation is empty"):
        model.log_likelihood([("a", "")])
    with pytest.raises(RecipeError, match="prompt 0 is empty"):
        model.generate([""], 4)
    with pytest.raises(RecipeError, match="max_tokens is 0"):
        model.generate(["a"], 0)
    for refused in (model.score, model.reference_top1):
        with pytest.raises(RecipeError, match="it has records; ask log_likelihood"):
            refused([Item(1, "x")])
    assert model.chat([{"role": "user", "content": "hi"}]) == "<|start|>user: hi\nbot: "
    assert model.generate([], 4) == [] and model.log_likelihood([]) == [] and model.context_tokens == 96


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scored", r"^slice routing: mine\.py:scored: score is of windows"),
        ("raises", r"^slice routing: mine\.py:raises: .*mine\.py:\d+: KeyError: 'nothing'; mend the function$"),
        ("few", r"^slice routing: mine\.py:few gave 1 values for 7 items"),
        ("drawn", r"^slice routing: mine\.py:drawn is not deterministic: two runs over the same items differ: item 1 "),
    ],
)
def test_a_function_that_fails_is_named(
    name: str, said: str, settings: CheckSettings, tiny_model: Path, tmp_path: Path
) -> None:
    run = session(tmp_path / "cache")
    with run.store.in_use(), pytest.raises(RecipeError, match=said):
        sample(checking(settings, tmp_path, name), of_file(tiny_model), SETTINGS, run, twice=True)


@pytest.mark.real
def test_what_was_done_before_a_death_is_kept(settings: CheckSettings, tiny_model: Path, tmp_path: Path) -> None:
    def dies(event: Event) -> None:
        if event.done >= 5:
            for child in psutil.Process().children():
                child.kill()

    check = checking(settings, tmp_path, "one_by_one")
    run = session(tmp_path / "dying", dies)
    with run.store.in_use(), pytest.raises(BackendError, match=r"slice routing: mine\.py:one_by_one: .*SIGKILL"):
        sample(check, of_file(tiny_model), SETTINGS, run, twice=True)
    (journal,) = (tmp_path / "dying").rglob("*.jsonl")
    kept = journal.read_text().count("\n")
    assert kept >= 4
    with (again := session(tmp_path / "dying")).store.in_use():
        resumed = sample(check, of_file(tiny_model), SETTINGS, again, twice=True).samples
    with (whole := session(tmp_path / "whole")).store.in_use():
        plainly = sample(check, of_file(tiny_model), SETTINGS, whole, twice=True).samples
    assert resumed == plainly


def test_what_is_remembered_can_be_asked_for_again(tmp_path: Path) -> None:
    from quantcurve.likelihood import Likelihood

    for kept, there in ((Kept(None), False), (Kept(None, remember=True), True), (Kept(tmp_path / "a"), False)):
        kept.add_likelihoods("key", [Likelihood(-1.0, 2, True)])
        assert (kept.likelihoods("key") is not None) == there
    assert Kept(tmp_path / "a").likelihoods("key") == [Likelihood(-1.0, 2, True)]


def test_a_few_graded_items_that_are_all_the_same_show_little() -> None:
    """Values in [0, 1] of which none differs are no surer than rates of which none does."""
    before = [0.1 * (i % 10) for i in range(40)]
    assert decision("1 point", check_pairs(before, before)) == "undecided"
    assert decision("10 points", check_pairs(before, before)) == "pass"
