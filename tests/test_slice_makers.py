"""quantcurve's own slices: every item is valid, distinct and solvable, and what is said to be right is right."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from random import Random
from types import ModuleType
from typing import TypeVar

import pytest
from pydantic import TypeAdapter

from quantcurve.code_runs import passes
from quantcurve.errors import RecipeError
from quantcurve.slices import makers_code, makers_language, makers_retrieval
from quantcurve.slices.items import (
    ChoiceItem,
    CodeItem,
    InstructionItem,
    Item,
    JsonItem,
    NumberItem,
    RefusalItem,
    RetrievalItem,
    ToolItem,
)
from quantcurve.slices.makers import MAKERS, NAMES, distinct, made
from quantcurve.slices.makers_functions import FUNCTIONS
from quantcurve.slices.makers_knowledge import tables
from quantcurve.slices.makers_languages import LANGUAGES
from quantcurve.slices.makers_parts import Part, drawn
from quantcurve.slices.makers_problems import PROBLEMS, Problem
from quantcurve.slices.makers_tools import CLOSE
from slice_solving import SOLUTIONS, WORD_PROBLEMS, following, number

KINDS: Mapping[str, type] = {
    "knowledge": ChoiceItem,
    "math": NumberItem,
    "code": CodeItem,
    "json": JsonItem,
    "tools": ToolItem,
    "retrieval": RetrievalItem,
    "instructions": InstructionItem,
    "refusals": RefusalItem,
    "languages": ChoiceItem,
}
LEAST: Mapping[str, int] = {
    "knowledge": 600,
    "math": 5_000,
    "code": 300,
    "json": 2_000,
    "tools": 2_000,
    "retrieval": 2_000,
    "instructions": 2_000,
    "refusals": 300,
    "languages": 240,
}
"""Distinct items that there have to be."""
LARGE = ("math", "json", "tools", "retrieval", "instructions")
KNOWN: Mapping[str, str] = {
    "What is the capital of Kenya?": "Nairobi",
    "Which country has the capital Lima?": "Peru",
    "To which continent does Fiji belong?": "Oceania",
    "What is the capital of the US state of Texas?": "Austin",
    "What is the chemical symbol of iron?": "Fe",
    "Which chemical element has the symbol Au?": "gold",
    "What is the atomic number of oxygen?": "8",
    "What is the atomic number of iron?": "26",
    "What is the atomic number of tin?": "50",
    "What is the atomic number of caesium?": "55",
    "Which planet is the fourth from the Sun?": "Mars",
    "What is the opposite of 'deep'?": "shallow",
    "What is the plural of 'mouse'?": "mice",
    "What is the simple past tense of 'to bring'?": "brought",
    "What kind of animal is an eel?": "a fish",
    "What is the young of a swan called?": "cygnet",
    "Which month is the ninth of the year?": "September",
    "Which month comes right before January?": "December",
    "Which day of the week comes right after Sunday?": "Monday",
    "Who wrote 'Dracula'?": "Bram Stoker",
    "In which city is the Atomium?": "Brussels",
    "What is the currency of Sweden called?": "the krona",
}
SCRIPTS: Mapping[str, str] = {
    "ru": "\u0400-\u04ff",
    "zh": "\u4e00-\u9fff",
    "ja": "\u3040-\u30ff\u4e00-\u9fff",
    "hi": "\u0900-\u097f",
    "ar": "\u0600-\u06ff",
}
OneItem = TypeVar("OneItem")


def some(name: str, kind: type[OneItem], items: int = 400, seed: int = 5) -> list[OneItem]:
    found = made(name, min(items, distinct(name)), seed)
    assert all(isinstance(item, kind) for item in found)
    return [item for item in found if isinstance(item, kind)]


def asked(item: Item) -> str:
    return item.prompt + "\n".join(message.content for message in item.messages)


def part_of(item: Item) -> str:
    return item.id.rpartition("-seed")[0].rpartition("-")[0]


@pytest.mark.parametrize("name", NAMES)
def test_items_are_valid_distinct_and_many(name: str) -> None:
    assert distinct(name) >= LEAST[name]
    items = made(name, min(600, distinct(name)), 3)
    assert all(type(item) is KINDS[name] for item in items)
    adapter: TypeAdapter[Item] = TypeAdapter(Item)
    assert all(adapter.validate_python(item.model_dump(by_alias=True)) == item for item in items)
    assert all(adapter.validate_json(item.model_dump_json(by_alias=True)) == item for item in items[:50])
    assert len({item.id for item in items}) == len(items) and all(item.id for item in items)
    assert len({asked(item) for item in items}) == len(items)
    assert all(item.group for item in items)


@pytest.mark.parametrize("name", ["knowledge", "code", "refusals", "languages"])
def test_what_is_said_to_be_distinct_is(name: str) -> None:
    items = made(name, distinct(name), 0)
    assert len({asked(item) for item in items}) == len({item.id for item in items}) == distinct(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_longer_slice_begins_with_a_shorter_one(name: str) -> None:
    longer = made(name, 120, 7)
    assert made(name, 1, 7) + made(name, 50, 7)[1:] == longer[:50]
    assert made(name, 120, 7) == longer


@pytest.mark.parametrize("name", NAMES)
def test_seeds_give_other_items(name: str) -> None:
    one, other = made(name, 200, 0), made(name, 200, 1)
    assert not {item.id for item in one} & {item.id for item in other}
    assert [asked(item) for item in one] != [asked(item) for item in other]
    assert made(name, 5, -1) != made(name, 5, 1)
    if name in LARGE:
        assert len({asked(item) for item in one} & {asked(item) for item in other}) <= 10


def test_other_processes_make_the_same_items() -> None:
    program = (
        "import hashlib\nfrom quantcurve.slices.makers import NAMES, made\n"
        "every = ''.join(i.model_dump_json() for n in NAMES for i in made(n, 40, 11))\n"
        "print(hashlib.sha256(every.encode()).hexdigest())"
    )
    own = "".join(item.model_dump_json() for name in NAMES for item in made(name, 40, 11))
    for hash_seed in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ended.stdout.strip() == hashlib.sha256(own.encode()).hexdigest()


@pytest.mark.parametrize("name", ["knowledge", "code", "refusals", "languages"])
def test_more_items_than_there_are_is_refused(name: str) -> None:
    there = distinct(name)
    with pytest.raises(RecipeError, match=rf"slice {name}: {there + 1} items.* {there} distinct ones.*{there} at most"):
        made(name, there + 1, 0)


def test_no_items_and_unknown_slices_are_refused() -> None:
    with pytest.raises(RecipeError, match="0 items"):
        made("math", 0, 0)
    with pytest.raises(RecipeError, match=r"'maths' is no slice.*did you mean math\?"):
        made("maths", 5, 0)
    with pytest.raises(RecipeError, match="knowledge, math, code"):
        distinct("x")


def test_every_slice_is_described_in_a_sentence() -> None:
    assert NAMES == tuple(KINDS) == tuple(maker.name for maker in MAKERS)
    assert all(re.fullmatch(r"[A-Z][^.]+\.", maker.says) for maker in MAKERS)


def test_parts_come_in_turn_and_whole() -> None:
    def numbered(name: str, size: int) -> Part:
        return Part(name, size, lambda index, chance: NumberItem(prompt=f"{name}{index}", answer=index))

    parts = [numbered("a", 3), numbered("b", 500), numbered("c", 10**30)]
    items = list(drawn("s", parts, 1100, 0))
    assert {part_of(item) for item in items[:3]} == {"a", "b", "c"}
    assert sorted(item.prompt for item in items if part_of(item) == "a") == ["a0", "a1", "a2"]
    assert {item.prompt for item in items if part_of(item) == "b"} == {f"b{n}" for n in range(500)}
    assert len({item.prompt for item in items}) == 1100
    firsts = Counter(next(iter(drawn("s", [numbered("a", 3)], 1, seed))).prompt for seed in range(600))
    assert set(firsts) == {"a0", "a1", "a2"} and min(firsts.values()) > 150


def test_knowledge_is_right() -> None:
    items = some("knowledge", ChoiceItem, 10_000)
    rights: dict[str, set[str]] = {}
    for item in items:
        assert len(set(item.choices)) == len(item.choices) == 4
        rights.setdefault(asked(item).removeprefix("Question: ").removesuffix("\nAnswer:"), set()).add(
            item.choices[item.answer]
        )
    assert {question: rights[question] for question in KNOWN} == {q: {right} for q, right in KNOWN.items()}
    places = Counter(item.answer for item in items)
    assert min(places.values()) > 0.2 * len(items)
    for table in tables():
        assert len({about for about, _ in table.facts}) == len(table.facts) > 5, table.name


def test_days_ahead_are_right() -> None:
    monday = date(2024, 1, 1)
    found = [item for item in some("knowledge", ChoiceItem, 10_000) if item.group == "days-forward"]
    assert len(found) == 84
    for item in found:
        match = re.search(r"today is (\w+), .* in (\d+) days\?", item.prompt)
        assert match
        today = next(monday + timedelta(n) for n in range(7) if f"{monday + timedelta(n):%A}" == match[1])
        assert item.choices[item.answer] == f"{today + timedelta(int(match[2])):%A}"


def test_numbers_are_right() -> None:
    items = some("math", NumberItem, 3_000)
    for item in items:
        question = item.prompt.rpartition("Question: ")[2].removesuffix("\nAnswer:")
        assert item.answer == number(part_of(item), question) >= 0, question
        assert item.prompt.count("The answer is") == 2 and item.stop == ("\n",)
    assert {part_of(item) for item in items} == {problem.name for problem in PROBLEMS} >= set(WORD_PROBLEMS)
    groups = Counter(item.group for item in items[: len(PROBLEMS) * 10])
    assert set(groups) == {"easy", "medium", "hard"} and min(groups.values()) >= 80


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_every_number_of_a_problem_is_another_question(problem: Problem) -> None:
    part = next(p for p in _math_parts() if p.name == problem.name)
    chosen = range(part.size) if part.size < 3_000 else Random(1).sample(range(part.size), 1_000)
    assert len({asked(part.make(index, Random(0))) for index in chosen}) == len(chosen)


def _math_parts() -> list[Part]:
    from quantcurve.slices.makers_math import parts

    return parts()


CODE_CHECK = """
import contextlib, doctest, io, re
from quantcurve.slices.makers import distinct, made
from quantcurve.slices.makers_code import FUNCTIONS
from quantcurve.slices.makers_parts import combination
functions = {f.name.replace("{}", "n"): f for f in FUNCTIONS}
wrong = []
def fails(program, known):
    try:
        exec(compile(program, "p", "exec"), known)
    except Exception:
        return True
    return False
for item in made("code", distinct("code"), 2):
    part, _, index = item.id.rpartition("-seed")[0].rpartition("-")
    function = functions[part]
    settings = [s if isinstance(s, int) else s.value for s in combination(int(index), function.over)]
    names = [a.partition(":")[0].strip() for a in re.split(r",(?![^\\[]*\\])", function.arguments)]
    known = {"reference": function.reference, "settings": settings}
    body = f"    return reference(*settings, {', '.join(names)})\\n"
    if fails(item.prefix + body + item.tests, known):
        wrong.append(("own", item.id))
    name = re.match(r"def (\\w+)", item.prefix)[1]
    found = doctest.DocTestFinder().find(known[name], name, module=False, globs=known)
    with contextlib.redirect_stdout(io.StringIO()):
        results = doctest.DocTestRunner().run(found[0])
    if results.failed or results.attempted != 2:
        wrong.append(("examples", item.id))
    first = re.search(r">>> .*\\n    (.*)\\n", item.prefix)[1]
    for bad in ("pass", "return None", f"return {first}", f"return {names[0]}"):
        if not fails(item.prefix + f"    {bad}\\n" + item.tests, {}):
            wrong.append((bad, item.id))
print(wrong)
"""


def test_code_has_right_tests_that_wrong_programs_fail() -> None:
    assert len(makers_code.FUNCTIONS) >= 60
    ended = subprocess.run([sys.executable, "-c", CODE_CHECK], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "[]"), ended.stderr


def test_programs_written_otherwise_pass() -> None:
    items = {re.match(r"def (\w+)", item.prefix)[1]: item for item in some("code", CodeItem, 10_000)}
    assert passes([items[name].prefix + body + items[name].tests for name, body in SOLUTIONS.items()]) == [True] * len(
        SOLUTIONS
    )
    for item in items.values():
        assert item.prompt == item.prefix and item.prefix.endswith('"""\n') and "\ndef" in item.stop
        assert not any(stop in item.prefix for stop in item.stop)


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    return [leaf for one in value for leaf in _leaves(one)] if isinstance(value, list) else [value]


def test_json_fits_its_schema_and_stands_in_the_text() -> None:
    from jsonschema import Draft202012Validator

    for item in some("json", JsonItem):
        assert item.schema_ is not None
        Draft202012Validator.check_schema(item.schema_)
        Draft202012Validator(item.schema_).validate(item.expected)
        schema, text = item.messages[0].content.split("\n\nSchema:\n")[1].split("\n\nText:\n")
        assert json.loads(schema) == item.schema_
        for leaf in _leaves(item.expected):
            if isinstance(leaf, bool):
                assert leaf == ("already been paid" in text)
            elif re.fullmatch(r"\d{4}-\d\d-\d\d", str(leaf)):
                assert str(leaf) in {
                    f"{datetime.strptime(day, '%d %B %Y'):%Y-%m-%d}"
                    for day in re.findall(r"\d+ [A-Z][a-z]+ \d{4}", text)
                }
            elif isinstance(leaf, float):
                assert leaf in [float(found) for found in re.findall(r"\d+\.\d+", text)]
            else:
                assert re.search(rf"(?<!\w){re.escape(str(leaf))}(?!\w)", text), (leaf, text)


def test_tools_are_listed_and_calls_fit_them() -> None:
    from jsonschema import Draft202012Validator

    items = some("tools", ToolItem)
    for item in items:
        system, user = (message.content for message in item.messages)
        assert tuple(json.loads(line) for line in system.splitlines() if line.startswith('{"type"')) == item.tools
        listed = {tool["function"]["name"]: tool["function"]["parameters"] for tool in item.tools}
        assert len(listed) == len(item.tools)
        for call in item.calls:
            fixed = {name: values[0] for name, values in call.arguments.items()}
            Draft202012Validator({**listed[call.name], "additionalProperties": False}).validate(fixed)
            for values in call.arguments.values():
                assert "" in values or re.search(rf"(?<!\w){re.escape(str(values[0]))}(?!\w)", user), (values, user)
    assert {len(item.calls) for item in items} == {0, 1, 2}
    assert 0.2 < sum(not item.calls for item in items) / len(items) < 0.3


def test_no_listed_function_serves_an_irrelevant_request() -> None:
    needed = {f"none-{function.name}": function.name for function in FUNCTIONS}
    items = [item for item in some("tools", ToolItem, 1000) if not item.calls]
    assert {part_of(item) for item in items} == set(needed)
    for item in items:
        name = needed[part_of(item)]
        near = {name}.union(*(names for names in CLOSE if name in names))
        assert not near & {tool["function"]["name"] for tool in item.tools}


def _planted(prompt: str, code: str) -> tuple[float, list[str]]:
    """How deep a code stands in percent of the sentences before and after it, and all sentences."""
    body = prompt.removeprefix(makers_retrieval.HEAD).partition("\n\nQuestion:")[0]
    sentences = body.removesuffix(".").split(". ")
    place = next(i for i, sentence in enumerate(sentences) if code in sentence)
    others = [i for i, sentence in enumerate(sentences) if "The secret" in sentence and i != place]
    before = place - sum(i < place for i in others)
    return 100 * before / (len(sentences) - 1 - len(others)), sentences


def test_a_code_is_planted_once_where_it_is_said_to_be() -> None:
    items = some("retrieval", RetrievalItem, 264)
    for item in items:
        code, (depth, sentences) = item.answers[0], _planted(item.prompt, item.answers[0])
        assert len(re.findall(rf"{code}", item.prompt, re.IGNORECASE)) == 1
        assert abs(depth - item.depth_percent) < 6
        assert len(set(sentences)) == len(sentences)
        assert len(item.prompt.split()) == item.context_words
        codes = re.findall(r"The secret (?:word|number) of the ([a-z ]+) is (\w+)\.", item.prompt)
        assert len({place for place, _ in codes}) == len({one for _, one in codes}) == len(codes) == int(item.group[0])
        place = item.prompt.rpartition("of the ")[2].removesuffix(" is")
        assert (place, code) in codes
    words = Counter(min((200, 500, 1000), key=lambda length: abs(length - item.context_words)) for item in items)
    assert len(words) == 3 and min(words.values()) == 88
    assert all(min(abs(n / item.context_words - 1) for n in (200, 500, 1000)) < 0.1 for item in items)
    assert Counter(item.depth_percent for item in items) == dict.fromkeys(range(0, 101, 10), 24)


def test_lengths_and_depths_of_retrieval_may_be_others() -> None:
    parts = makers_retrieval.parts(lengths=(120, 3000), depths=(0, 100))
    for item in drawn("r", parts, 16, 0):
        assert isinstance(item, RetrievalItem)
        depth, sentences = _planted(item.prompt, item.answers[0])
        assert depth == item.depth_percent in (0, 100) and len(set(sentences)) == len(sentences)
        assert 100 < item.context_words <= 120 or 2980 < item.context_words <= 3000


@pytest.fixture
def ifeval(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, type]:
    """lm-eval's own checkers; a language detector that is not installed finds English."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    nltk = pytest.importorskip("nltk", reason="nltk is not installed")
    monkeypatch.setattr(nltk.data, "find", lambda *_: "there")
    for name, stub in (("langdetect", {"detect": lambda _: "en", "LangDetectException": ValueError}),
                       ("immutabledict", {"immutabledict": dict})):  # fmt: skip
        if importlib.util.find_spec(name) is None:
            module = ModuleType(name)
            vars(module).update(stub)
            monkeypatch.setitem(sys.modules, name, module)
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    found: Mapping[str, type] = INSTRUCTION_DICT
    return found


def test_instructions_can_be_followed_as_ifeval_checks_them(ifeval: Mapping[str, type]) -> None:
    items = some("instructions", InstructionItem, 1500)
    for item in items:
        text = following(item.checks)
        for check in item.checks:
            checker = ifeval[check.name](check.name)
            checker.build_description(**check.arguments)
            assert (checker.get_instruction_args() or {}) == check.arguments or "keywords" in check.name
            assert checker.check_following(text), (check, text)
            assert all(str(value) in item.messages[0].content for value in _leaves(check.arguments)), item
    assert {check.name for item in items for check in item.checks} > {"startend:quotation", "keywords:existence"}
    assert len({check.name for item in items for check in item.checks}) >= 18
    assert len({len(item.checks) for item in items}) == 3


def test_most_instructions_are_not_followed_by_any_text(ifeval: Mapping[str, type]) -> None:
    def follows(item: InstructionItem) -> bool:
        checkers = [(ifeval[check.name](check.name), check.arguments) for check in item.checks]
        for checker, arguments in checkers:
            checker.build_description(**arguments)
        return all(checker.check_following("Well, here is a text.") for checker, _ in checkers)

    items = some("instructions", InstructionItem, 300)
    assert sum(follows(item) for item in items) < 0.15 * len(items)


def test_refusals_are_half_and_half_and_asked_alike() -> None:
    items = some("refusals", RefusalItem, 500)
    assert sum(item.safe for item in items) == 250
    assert all(item.safe != later.safe for item, later in zip(items[::2], items[1::2], strict=True))
    every = some("refusals", RefusalItem, 10_000)
    safe, unsafe = ({asked(i) for i in every if i.safe is kind} for kind in (True, False))
    assert min(len(safe), len(unsafe)) >= 150 and not safe & unsafe
    starts = [Counter(text.split()[0] for text in texts) for texts in (safe, unsafe)]
    assert set(starts[0]) == set(starts[1])
    assert {item.group.partition(":")[0] for item in every if item.safe} == {"safe"}
    assert len({item.group for item in every}) >= 10


def test_languages_have_the_same_questions() -> None:
    assert {language.code for language in LANGUAGES} == {
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "pl",
        "tr",
        "ru",
        "zh",
        "ja",
        "hi",
        "ar",
    }
    items = some("languages", ChoiceItem, 10_000)
    counts = Counter(item.language for item in items)
    assert set(counts) == {language.code for language in LANGUAGES} and len(set(counts.values())) == 1
    assert min(counts.values()) >= 20
    for item in items:
        assert len(set(item.choices)) == len(item.choices) == 4
        if item.language in SCRIPTS:
            assert re.search(f"[{SCRIPTS[item.language]}]", item.prompt)
    for language in LANGUAGES:
        assert [len(column) for column in language[13:]] == [16, 16, 7, 12, 16, 16, 12, 8, 8, 10], language.code
        assert len(set(language.cities)) == 16 and len(set(language.opposites)) == 16


def test_sums_in_all_languages_are_right() -> None:
    items = [item for item in some("languages", ChoiceItem, 10_000) if item.group in {"sums", "products"}]
    assert len(items) == 12 * 72
    for item in items:
        a, b = map(int, re.findall(r"\d+", item.prompt))
        assert item.choices[item.answer] == str(a + b if item.group == "sums" else a * b)


def test_days_and_counts_in_all_languages_are_right() -> None:
    items = some("languages", ChoiceItem, 10_000)
    for language in LANGUAGES:
        rights = {i.prompt: i.choices[i.answer] for i in items if i.language == language.code}

        def right(question: str, rights: Mapping[str, str] = rights, frame: str = language.frame) -> str:
            return rights[frame.format(question)]

        for table, after, before in (
            (language.days, language.day_after, language.day_before),
            (language.months, language.month_after, language.month_before),
        ):
            for earlier, later in zip(table, table[1:] + table[:1], strict=True):
                assert right(after.format(earlier)) == later and right(before.format(later)) == earlier
        assert [right(question) for question in language.counts] == [str(n) for n in makers_language.COUNTS]
        assert right(language.in_digits.format(language.numbers[6])) == "7"
        assert right(language.number_after.format(language.numbers[6])) == language.numbers[7]
