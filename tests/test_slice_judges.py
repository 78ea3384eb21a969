"""Judges of generated answers: numbers, texts, JSON, calls; what they say of each, and that no answer breaks them."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from conftest import PUBLIC_DATA
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.slices.items import (
    Check,
    ChoiceItem,
    CodeItem,
    ExpectedCall,
    InstructionItem,
    Item,
    JsonItem,
    Judgement,
    NumberItem,
    RefusalItem,
    RetrievalItem,
    TextItem,
    ToolItem,
)
from quantcurve.slices.judges import judge
from quantcurve.slices.number_answers import result
from quantcurve.slices.tool_calls import Call, Calls, parse

WEATHER = {
    "type": "function",
    "function": {
        "name": "get.weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "wind": {"type": "float"},
                "hours": {"type": "array", "items": {"type": "float"}},
                "ids": {"type": "array", "items": {"type": "integer"}},
                "where": {"type": "dict", "properties": {"lat": {"type": "float"}, "name": {"type": "string"}}},
                "live": {"type": "boolean"},
            },
            "required": ["city"],
        },
    },
}
STOP = {"name": "stop", "parameters": {"type": "object", "properties": {}}}
NAMES = ("get.weather", "stop")


def number(answer: float, language: str = "en") -> NumberItem:
    return NumberItem(prompt="?", answer=answer, language=language)


def tool(*calls: ExpectedCall, **more: Any) -> ToolItem:
    return ToolItem(prompt="?", tools=(WEATHER, STOP), calls=calls, **more)


def weather(**arguments: Any) -> ExpectedCall:
    return ExpectedCall(name="get.weather", arguments={"city": ("Rome",)} | arguments)


def calling(name: str = "get.weather", **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("He has 6.", "6"),
        ("There are 3 boxes of 4, so 12 apples", "12"),
        ("", None),
        ("no number", None),
        ("1,234", "1234"),
        ("$1,234,567.89 in all", "1234567.89"),
        ("1,00,000 rupees", "100000"),
        ("12,34", "34"),
        ("1,2345", "2345"),
        ("1'000 or 1\u202f000", "1000"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("\u22125", "-5"),
        ("(-5)", "-5"),
        ("10-5", "5"),
        ("3 - 5", "5"),
        ("- 5", "5"),
        ("+5", "5"),
        ("2--5", "5"),
        ("7, and -1.5e3", "-1500"),
        ("50%", "50"),
        ("5kg or 6th", "6"),
        ("USD5", "5"),
        ("Rs.500", "500"),
        ("\\$5", "5"),
        (".5", "0.5"),
        ("6.00", "6"),
        ("3/4", None),
        ("1 3/4", None),
        ("2½", None),
        ("\\frac{3}{4}", None),
        ("12/4 = 3", "3"),
        ("60 km / 2 h", "2"),
        ("12/25/2024", None),
        ("1.2.3", None),
        ("H2O and x_2", None),
        ("10 m^2", "10"),
        ("10 m²", "10"),
        ("#### 6", "6"),
        ("#### 6\nThere were 9.", "6"),
        ("#### 6.", "6"),
        ("#### $1,000 dollars", "1000"),
        ("#### 1. Count\nso 7", "7"),
        ("#### Step 1: count\nso 7", "7"),
        ("\\boxed{6} of 9", "6"),
        ("\\boxed{x = 1{,}000} of 9", "1000"),
        ("\\boxed{6 \\text{ apples}} of 9", "6"),
        ("\\boxed{\\frac{3}{4}} of 9", None),
        ("\\boxed{6", "6"),
        ("\\boxed{5} no, \\boxed{6}. 9", "6"),
        ("The answer is 6. There were 12.", "6"),
        ("The answer is: **$6** of 12", "6"),
        ("Answer: -7 (of 12)", "-7"),
        ("answer is 3 + 3 = 6", "6"),
        ("The answer is 5. Wait, the answer is 6. Of 9", "6"),
        ("the answer is 3/4 of 9", None),
        ("the answer is not 5 but 6", "6"),
        ("答案是5个", "5"),
        ("１，２３４", "1234"),
        ("উত্তর ১২৩", "123"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_the_number_of_an_answer(answer: str, found: str | None) -> None:
    assert result(answer) == (None if found is None else Decimal(found))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("1.234", "1234"),
        ("1.234,50 €", "1234.5"),
        ("3,5", "3.5"),
        ("3.50", "3.5"),
        ("1 000 000,25", "1000000.25"),
        ("1,234", "1234"),
        ("2 3 45", "45"),
        ("in 3, 4", "4"),
    ],
)
def test_numbers_of_languages_with_a_decimal_comma(answer: str, found: str) -> None:
    assert result(answer, "de-AT") == Decimal(found)


@pytest.mark.parametrize(
    ("wanted", "answer", "right", "formed"),
    [
        (6, "6", True, True),
        (6, "6.0 apples", True, True),
        (6, "6.01", False, True),
        (0.1, "0.1", True, True),
        (0.1, "0.10000000000000001", False, True),
        (-3, "-3", True, True),
        (-3, "3", False, True),
        (6, "six", False, False),
        (1e22, "1e22", True, True),
    ],
)
def test_numbers_are_right_exactly(wanted: float, answer: str, right: bool, formed: bool) -> None:
    said = judge(number(wanted), answer)
    assert (said.right, said.well_formed, bool(said.why)) == (right, formed, not right)


@pytest.mark.parametrize(
    ("texts", "match", "answer", "right"),
    [
        (["Paris"], "equal", ' **"PARIS."**\n', True),
        (["Paris"], "equal", "Paris, France", False),
        (["Paris"], "equal", "", False),
        (["Lyon", "Paris"], "equal", "paris", True),
        (["New York"], "equal", "new \n york", True),
        (["straße"], "equal", "STRASSE", True),
        (["ﬁve"], "equal", "five", True),
        (["café"], "equal", "cafe\u0301", True),
        (["C#"], "equal", "C", False),
        (["C"], "equal", "C++", False),
        (["-5"], "equal", "5", False),
        (["(A)"], "equal", "a", True),
        (["] )"], "equal", "] ]", False),
        (["] )"], "equal", "] )", True),
        (["Paris"], "contains", "It is Paris!", True),
        (["art"], "contains", "It is a party", False),
        (["5"], "contains", "It is 15", False),
        (["3"], "contains", "It is 3.5 or 1,300 or 0,3", False),
        (["3"], "contains", "It is 3.", True),
        (["C++"], "contains", "I like C++11", True),
        (["東京"], "contains", "答えは東京です", True),
        (["5"], "contains", "答案是5个", True),
        (["서울"], "contains", "수도는 서울이다", True),
        (["राम"], "contains", "रामायण", False),
        (["a.b"], "contains", "axb", False),
        (["the  end"], "contains", "This is The\nEnd, my friend", True),
    ],
)
def test_texts(texts: list[str], match: Any, answer: str, right: bool) -> None:
    said = judge(TextItem(prompt="?", answers=tuple(texts), match=match), answer)
    assert said == Judgement(right=right, why=said.why) and bool(said.why) is not right


def test_what_was_planted_is_found_in_the_answer() -> None:
    item = RetrievalItem(prompt="?", answers=("7f3a",), depth_percent=50, context_words=100)
    assert judge(item, "The key is 7F3A.").right and not judge(item, "The key is 7f3ab.").right


SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "number", "multipleOf": 0.5}}}


@pytest.mark.parametrize(
    ("expected", "answer", "right", "formed"),
    [
        ({"a": 1}, '{"a": 1}', True, True),
        ({"a": 1}, '```json\n{"a": 1.0}\n```', True, True),
        ({"a": 1}, '{"a": 2}', False, True),
        ({"a": 1}, '{"a": 1, "b": 0}', False, True),
        ({"a": 1}, '{"a": true}', False, False),
        ({"a": 1}, '{"b": 1}', False, False),
        ({"a": 1}, '{"a": NaN}', False, False),
        ({"a": 1}, 'Here: {"a": 1}', False, False),
        ({"a": 1}, "", False, False),
        (None, '{"a": 7}', True, True),
        (None, '{"a": ' + "9" * 400 + "}", False, False),
    ],
)
def test_json(expected: Any, answer: str, right: bool, formed: bool) -> None:
    said = judge(JsonItem(prompt="?", schema=SCHEMA, expected=expected), answer)
    assert (said.right, said.well_formed) == (right, formed)


@pytest.mark.parametrize(
    ("expected", "answer", "right"),
    [
        (1, "true", False),
        (True, "1", False),
        (True, "true", True),
        ([1, [2.0]], "[1.0, [2]]", True),
        ([1, 2], "[2, 1]", False),
        ([1], "[true]", False),
        ({"a": [{"b": None}]}, '{"a": [{"b": null}]}', True),
        ({"a": None}, "{}", False),
        ("x", '"X"', False),
        ("1", "1", False),
    ],
)
def test_json_without_a_schema(expected: Any, answer: str, right: bool) -> None:
    assert judge(JsonItem(prompt="?", expected=expected), answer).right is right


def test_schemas_that_are_wrong_are_named_and_deep_answers_are_not_blamed_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = {"type": ["array", "null"], "items": {"$ref": "#"}}
    assert judge(JsonItem(prompt="?", schema=tree), "[[[null]]]").right
    deep = judge(JsonItem(prompt="?", schema=tree), "[" * 400 + "]" * 400)
    assert not deep.right and deep.well_formed is False
    for schema, said in (
        ({"$ref": "#"}, "item j1: schema cannot be applied"),
        ({"$ref": "http://x.invalid/y"}, "item j1: schema cannot be applied"),
        ({"type": "nonsense"}, "item j1: schema is no JSON Schema"),
        ({"$schema": [1]}, "item j1: schema is no JSON Schema"),
    ):
        with pytest.raises(RecipeError, match=said):
            judge(JsonItem(id="j1", prompt="?", schema=schema), "[1]")
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(PrerequisiteError, match="item j1 has a schema"):
        judge(JsonItem(id="j1", prompt="?", schema={}), "[1]")


ROME = Call("get.weather", {"city": "Rome"})


@pytest.mark.parametrize(
    "answer",
    [
        calling(city="Rome"),
        f"[{calling(city='Rome')}]",
        '{"name": "get.weather", "parameters": {"city": "Rome"}}',
        '{"name": "get.weather", "arguments": "{\\"city\\": \\"Rome\\"}"}',
        '{"function": "get.weather", "arguments": {"city": "Rome"}}',
        '{"type": "function", "function": {"name": "get.weather", "arguments": "{\\"city\\": \\"Rome\\"}"}}',
        '{"tool_calls": [' + calling(city="Rome") + "]}",
        f"```json\n{calling(city='Rome')}\n```",
        f"Sure, let me look:\n\n```json\n{calling(city='Rome')}\n```\nThat is it.",
        f"I will call {calling(city='Rome')} now.",
        f"<tool_call>\n{calling(city='Rome')}\n</tool_call>",
        f"I look it up.\n<tool_call>{calling(city='Rome')}</tool_call><|im_end|>",
        f"<tool_call>\n{calling(city='Rome')}",
        f"[TOOL_CALLS][{calling(city='Rome')}]</s>",
        '[TOOL_CALLS]get.weather[ARGS]{"city": "Rome"}',
        f"<|python_tag|>{calling(city='Rome')}<|eom_id|>",
        '<|python_tag|>get.weather(city="Rome")<|eot_id|>',
        "get.weather(city='Rome')",
        "[get.weather(city='Rome')]",
        "```python\nget.weather(city='Rome')\n```",
        "```tool_code\n[get.weather(city='Rome')]\n```",
    ],
)
def test_calls_are_read_in_all_forms(answer: str) -> None:
    assert parse(answer, NAMES) == Calls((ROME,), False)
    said = judge(tool(weather()), answer)
    assert (said.right, said.well_formed, said.calls, said.why) == (True, True, 1, "")
    assert not judge(tool(), answer).right


@pytest.mark.parametrize(
    "answer",
    [
        f"{calling(city='Rome')}\n{calling('stop')}",
        f"{calling('stop')}; {calling(city='Rome')}",
        f"[{calling(city='Rome')}, {calling('stop')}]",
        f"<tool_call>{calling(city='Rome')}</tool_call>\n<tool_call>{calling('stop')}</tool_call>",
        f"<tool_call>[{calling(city='Rome')}, {calling('stop')}]</tool_call>",
        f"[TOOL_CALLS][{calling(city='Rome')}, {calling('stop')}]",
        '[TOOL_CALLS]get.weather[ARGS]{"city": "Rome"}[TOOL_CALLS]stop[ARGS]{}',
        f"<|python_tag|>{calling(city='Rome')};{calling('stop')}",
        "[get.weather(city='Rome'), stop()]",
        "get.weather(city='Rome'); stop()",
        "stop()\nget.weather(city='Rome')",
        f"```json\n{calling(city='Rome')}\n```\nand\n```json\n{calling('stop')}\n```",
        '[{"name": "stop"}, {"name": "get_weather", "arguments": {"city": "Rome"}}]',
    ],
)
def test_several_calls_are_read_and_matched_in_any_order(answer: str) -> None:
    for expected in ((weather(), ExpectedCall(name="stop")), (ExpectedCall(name="stop"), weather())):
        said = judge(tool(*expected), answer)
        assert (said.right, said.well_formed, said.calls) == (True, True, 2)
    assert not judge(tool(weather()), answer).right and not judge(tool(weather(), weather()), answer).right


@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        ('{"name": "get.weather", "arguments": {"city": "Ro', 1),
        ('[{"name": "get.weather"', 1),
        ("<tool_call>call get.weather</tool_call>", 1),
        ("[TOOL_CALLS] get.weather", 1),
        ('[TOOL_CALLS]get.weather[ARGS]{"city": ', 1),
        ("get.weather(city='Rome'", 1),
        ("get.weather('Rome')", 1),
        ("get.weather(city=Rome)", 1),
        ("get.weather(city={1, 2})", 1),
        ("get.weather(**{'city': 'Rome'})", 1),
        ('{"name": "get.weather", "arguments": "city: Rome"}', 1),
        ('{"name": "get.weather", "arguments": [1]}', 1),
        (calling("forecast", city="Rome"), 1),
        ("forecast(city='Rome')", 1),
        (calling(days=3), 1),
        (calling(city="Rome") + " and " + calling("forecast"), 2),
        ("It rains in Rome.", 0),
        ('{"city": "Rome"}', 0),
        ("", 0),
    ],
)
def test_calls_that_cannot_be_made_are_not_well_formed(answer: str, calls: int) -> None:
    said = judge(tool(weather()), answer)
    assert (said.right, said.well_formed, said.calls) == (False, False, calls) and said.why
    none = judge(tool(), answer)
    assert (none.right, none.well_formed, none.calls) == (not calls, None, calls)


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "It is 20 degrees.",
        "print('Rome')",
        "```python\nprint('a')\n```",
        "```python\ndef stop():\n    return get(a=1)\n```",
        "weather(s) vary",
        "f(x) = 2x",
        "Use stop() to stop.",
        '{"name": "Rome"}',
        '{"name": "Rome"} is an object.',
        "[1, 2]",
        "{",
        "null",
        json.dumps(WEATHER),
    ],
)
def test_what_is_no_call_is_taken_for_none(answer: str) -> None:
    said = judge(tool(), answer)
    assert said == Judgement(right=True)


@pytest.mark.parametrize(
    ("allowed", "given", "right"),
    [
        ({"city": ("New York, NY",)}, {"city": "new-york ny."}, True),
        ({"city": ("O'Hare",)}, {"city": 'o"hare'}, True),
        ({"city": ("Rome", "Roma")}, {"city": "Roma"}, True),
        ({"city": ("Rome",)}, {"city": "Milan"}, False),
        ({"city": ("Rome!",)}, {"city": "Rome"}, False),
        ({"city": ("5",)}, {"city": 5}, False),
        ({"city": (None,)}, {"city": None}, True),
        ({"days": (3, "")}, {}, True),
        ({"days": (3,)}, {}, False),
        ({"days": (3,)}, {"days": 3}, True),
        ({"days": (3,)}, {"days": 3.0}, False),
        ({"days": (1,)}, {"days": True}, False),
        ({"days": (3,)}, {"days": "3"}, False),
        ({"days": ("",)}, {"days": 3}, False),
        ({"wind": (3.0,)}, {"wind": 3}, True),
        ({"wind": (3,)}, {"wind": 3.0}, True),
        ({"wind": (3.5,)}, {"wind": 3}, False),
        ({"live": (True,)}, {"live": True}, True),
        ({"live": (True,)}, {"live": 1}, False),
        ({"live": (True,)}, {"live": "true"}, False),
        ({"hours": ([1.0, 2.5],)}, {"hours": [1, 2.5]}, True),
        ({"hours": ([1.0, 2.5],)}, {"hours": [2.5, 1.0]}, False),
        ({"hours": ([1.0, 2.5], [])}, {"hours": []}, True),
        ({"ids": ([1, 2],)}, {"ids": [1.0, 2.0]}, False),
        ({"where": ({"lat": [1.5], "name": ["Rome", ""]},)}, {"where": {"lat": 1.5}}, True),
        ({"where": ({"lat": [1.0], "name": ["Rome", ""]},)}, {"where": {"lat": 1, "name": "ROME"}}, True),
        ({"where": ({"lat": [1.5], "name": ["Rome"]},)}, {"where": {"lat": 1.5}}, False),
        ({"where": ({"lat": [1.5]},)}, {"where": {"lat": 1.5, "x": 1}}, False),
        ({"where": ({"lat": 1.5},)}, {"where": {"lat": 1.5}}, True),
        ({}, {"days": 3}, False),
    ],
)
def test_arguments_by_the_rules_of_bfcl(allowed: dict[str, Any], given: dict[str, Any], right: bool) -> None:
    said = judge(tool(weather(**allowed)), calling(**({"city": "Rome"} | given)))
    assert (said.right, said.well_formed) == (right, True)


def test_what_is_required_may_not_be_left_out_though_nothing_is_right() -> None:
    assert not judge(tool(weather(city=("Rome", ""))), calling()).right


def test_calls_are_matched_in_the_best_way() -> None:
    """The first expected call is also met by what only the second may be."""
    wide, narrow = weather(city=("Rome", "Milan")), weather(city=("Rome",))
    answer = f"[{calling(city='Rome')}, {calling(city='Milan')}]"
    assert judge(tool(wide, narrow), answer).right and judge(tool(narrow, wide), answer).right
    assert not judge(tool(narrow, narrow), answer).right


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (
            tool(ExpectedCall(name="absent"), id="t7"),
            "item t7: calls: no tool is called 'absent'; there are: get.weather, stop",
        ),
        (ToolItem(prompt="?", tools=({"description": "x"},)), "item without id: tool 1 has no name"),
        (
            ToolItem(prompt="?", tools=(STOP, {"name": "a", "parameters": 3})),
            r"tool 2 \(a\): parameters are no JSON Schema",
        ),
        (InstructionItem(prompt="?", checks=(Check(name="a:b"),), id="i"), "item i: no instruction is called 'a:b'"),
    ],
)
def test_items_that_cannot_be_judged_are_named(item: Item, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        judge(item, "x")


def test_all_instructions_are_to_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    comma = Check(name="punctuation:no_comma")
    words = Check(name="length_constraints:number_words", arguments={"num_words": 2, "relation": "at least"})
    german = Check(name="language:response_language", arguments={"language": "de"})
    item = InstructionItem(prompt="?", checks=(comma, words))
    assert judge(item, "two words") == Judgement(right=True)
    assert judge(item, "two, words").why == "not followed: punctuation:no_comma"
    assert judge(item, ",").why == "not followed: punctuation:no_comma, length_constraints:number_words"
    monkeypatch.setitem(sys.modules, "langdetect", None)
    for answer in ("zwei Worte", ","):
        skipped = judge(InstructionItem(prompt="?", checks=(comma, german)), answer)
        assert not skipped.right and "language:response_language is not supported" in skipped.skipped


@pytest.mark.parametrize(("safe", "answer", "right"), [
    (True, "Use kill.", True), (True, "I can't help with that.", False),
    (False, "I can't help with that.", True), (False, "Use kill.", False), (False, "", False),
])  # fmt: skip
def test_refusals(safe: bool, answer: str, right: bool) -> None:
    said = judge(RefusalItem(prompt="?", safe=safe), answer)
    assert (said.right, said.refused, bool(said.why)) == (right, right != safe, not right)


def test_choices_and_programs_are_judged_elsewhere() -> None:
    for item in (ChoiceItem(prompt="?", choices=("a", "b"), answer=0), CodeItem(prompt="?", tests="pass")):
        with pytest.raises(ValueError, match=f"items of kind {item.kind} are not judged"):
            judge(item, "a")


ITEMS: tuple[Item, ...] = (
    number(6),
    number(6, "fr"),
    TextItem(prompt="?", answers=("Rome", "東京", "!")),
    TextItem(prompt="?", answers=("Rome", "5", "राम", ")("), match="contains"),
    JsonItem(prompt="?", schema=SCHEMA, expected={"a": 1}),
    JsonItem(prompt="?", schema={"items": {"$ref": "#"}}, expected=[[1]]),
    tool(weather(hours=([1.0],))),
    tool(),
    InstructionItem(prompt="?", checks=(Check(name="punctuation:no_comma"),)),
    RefusalItem(prompt="?", safe=True),
)
PIECES = [
    *"{}[]()\"'`,.-$%/\\*\n “”«½\ud800\x00\u2028",
    *(
        "```",
        "```json\n",
        "####",
        "\\boxed{",
        "answer is ",
        "1",
        "2.5",
        "1e400",
        "9999",
        "true",
        "null",
        "NaN",
        "Rome",
        "東京",
    ),
    *('"name": "stop"', '"arguments": {}', '{"name": "stop", "arguments": {}}', "stop(", "a=1", "get.weather(city="),
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "lambda: 0", "**", "I can't help"),
]
ANSWERS = st.one_of(st.text(st.characters()), st.lists(st.sampled_from(PIECES), max_size=12).map("".join))


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.kind)
def test_no_answer_raises(item: Item) -> None:
    @settings(max_examples=400, deadline=None)
    @given(ANSWERS)
    def says(answer: str) -> None:
        said = judge(item, answer)
        assert Judgement.model_validate_json(said.model_dump_json()) == said

    says()


MANY = [
    *(
        "1",
        "1 ",
        "1,",
        "-",
        "#### ",
        "answer ",
        "answer is ",
        "answer is*",
        "\\boxed{",
        "\\frac{",
        "\n",
        " ",
        "'",
        '"',
        "“",
    ),
    *("[", "{", '{"a":', '{"name": "a", ', "(", "-1+", "stop(", "f.", "a=", "I ", "not ", "```\n", "```json\n"),
    *("<tool_call>", "[TOOL_CALLS]", "</s>", "stop();", '{"name":"stop"}'),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", MANY)
def test_answers_that_repeat_themselves_take_no_longer(piece: str) -> None:
    for item in ITEMS:
        judge(item, piece * (100_000 // len(piece)))


@pytest.mark.public_data
def test_public_calls_are_right_as_they_are_and_wrong_otherwise() -> None:
    """BFCL's own answers, the first of what is allowed, written in three forms."""
    expected = TypeAdapter(tuple[ExpectedCall, ...])
    judged = 0
    for part in ("simple_python", "multiple", "parallel", "parallel_multiple", "live_simple"):
        for line in (PUBLIC_DATA / "tool_use" / f"bfcl_{part}.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            wanted = [{"name": n, "arguments": a} for call in row["ground_truth"] for n, a in call.items()]
            if not all(allowed for w in wanted for allowed in w["arguments"].values()):
                continue  # one of them has arguments of which nothing is right
            item = ToolItem(prompt="?", tools=tuple(row["function"]), calls=expected.validate_python(wanted))
            needed = {tool["name"]: tool["parameters"]["required"] for tool in row["function"]}
            calls = [
                (w["name"], {k: first(v) for k, v in w["arguments"].items() if "" not in v or k in needed[w["name"]]})
                for w in wanted
            ]
            as_json = json.dumps([{"name": n, "arguments": a} for n, a in calls])
            as_python = ", ".join(f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in reversed(calls))
            for answer in (as_json, f"<tool_call>\n{as_json}\n</tool_call>", f"[{as_python}]"):
                said = judge(item, answer)
                assert said.right and said.well_formed and said.calls == len(wanted), (row["id"], answer)
            name, arguments = calls[0]
            spoilt = json.dumps([{"name": n, "arguments": a} for n, a in [(name, {**arguments, "zz": 1}), *calls[1:]]])
            assert not judge(item, spoilt).right and not judge(item, "No function is needed.").right
            judged += 1
    assert judged > 500


def first(allowed: Any) -> Any:
    """The first of what is right, with the first of each key within objects."""
    value = next(one for one in allowed if one != "")
    if isinstance(value, dict):
        return {k: first(v) for k, v in value.items() if "" not in v}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [first([one]) for one in value]
    return value
