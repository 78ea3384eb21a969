"""A user's file of items: what is read, what is refused and in which words, and which items are drawn."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcurve.errors import RecipeError
from quantcurve.slices.files import KINDS, read
from quantcurve.slices.items import ChoiceItem, Item, Kind

NUMBERS = [{"prompt": f"{i} + 1 =", "answer": i + 1} for i in range(5)]
CHOICE = {"prompt": "The sky is", "choices": ["blue", "green"], "answer": 0}
TOOL = {"type": "function", "function": {"name": "weather.get", "parameters": {"type": "object"}}}
OF_EACH_KIND: dict[Kind, dict[str, Any]] = {
    "choice": CHOICE,
    "number": {"prompt": "1 + 1 =", "answer": 2},
    "text": {"messages": [{"role": "user", "content": "Capital of Peru?"}], "answers": ["Lima"], "match": "contains"},
    "retrieval": {"prompt": "x is 5. x?", "answers": ["5"], "depth_percent": 0, "context_words": 4},
    "code": {"prompt": "def f():\n", "prefix": "def f():\n", "tests": "\nassert f() == 1\n", "stop": ["\ndef"]},
    "json": {"prompt": "As JSON: 1", "schema": {"type": "integer"}, "expected": 1},
    "tool_call": {
        "prompt": "Rain?",
        "tools": [TOOL],
        "calls": [{"name": "weather.get", "arguments": {"at": ["x", ""]}}],
    },
    "instructions": {"prompt": "No comma.", "checks": [{"name": "punctuation:no_comma"}]},
    "refusal": {"prompt": "Hello?", "safe": True},
}


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "items.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def told(path: Path, kind: Kind | None = "number", public: str | None = None, limit: int | None = None) -> str:
    """The error, without the file's folder."""
    with pytest.raises(RecipeError) as caught:
        read(path, kind, public, limit, 0)
    return str(caught.value).replace(f"{path.parent}/", "")


# ---- what is read ----


def test_every_kind_has_an_example_here() -> None:
    assert tuple(OF_EACH_KIND) == KINDS == get_args(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_every_kind_are_read(tmp_path: Path, kind: Kind) -> None:
    row = OF_EACH_KIND[kind]
    second = row | ({"prompt": "other"} if "prompt" in row else {"messages": [{"role": "user", "content": "other"}]})
    of_recipe = read(write(tmp_path, row, {**second, "id": "b"}), kind, None, None, 0)
    of_lines = read(write(tmp_path, {**row, "kind": kind}, {**second, "id": "b", "kind": kind}), None, None, None, 0)
    of_both = read(write(tmp_path, {**row, "kind": kind}, {**second, "id": "b"}), kind, None, None, 0)
    assert of_recipe == of_lines == of_both and [item.id for item in of_recipe] == ["1", "b"]
    dumped = of_recipe[0].model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"id"})
    if kind == "tool_call":
        assert of_recipe[0].model_dump()["calls"][0]["arguments"] == {"at": ("x", "")}
    assert dumped == {**row, "kind": kind}


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "", NUMBERS[0], "  \t", NUMBERS[1], "")
    assert [(item.id, item.prompt) for item in read(path, "number", None, None, 0)] == [
        ("2", "0 + 1 ="),
        ("4", "1 + 1 ="),
    ]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").rstrip())
    assert [item.id for item in read(path, "number", None, None, 0)] == ["2", "4"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path, *NUMBERS)
    plain = read(path, "number", None, None, 0)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(path, "number", None, None, 0) == plain


def test_texts_stay_as_they_are(tmp_path: Path) -> None:
    strange = "a\u2028b\u0085c\x1fd é 猫 \U0001f600 \\n\n\t {} % "
    path = write(tmp_path, {"prompt": strange, "answer": 1}, {"prompt": "\ufeffx", "answer": -0.5})
    assert [item.prompt for item in read(path, "number", None, None, 0)] == [strange, "\ufeffx"]
    path.write_text("\n".join(json.dumps({"prompt": p, "answer": 1}) for p in (strange, "x")))  # as escapes
    assert read(path, "number", None, None, 0)[0].prompt == strange


def test_equal_prompts_with_other_choices_are_two_questions(tmp_path: Path) -> None:
    turned = {**CHOICE, "choices": CHOICE["choices"][::-1], "answer": 1}
    assert len(read(write(tmp_path, CHOICE, turned), "choice", None, None, 0)) == 2


# ---- what is refused ----


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("number", {"promt": "x", "answer": 1}, 'promt: unknown field (got "x"); did you mean prompt?'),
        ("number", {"Prompt": "x", "answer": 1}, 'Prompt: unknown field (got "x"); did you mean prompt?'),
        ("number", {"prompt": "x"}, "answer: required field is missing; add it; there is: prompt"),
        (
            "number",
            {"prompt": "x", "anwser": 1},
            "answer: required field is missing; rename anwser\n"
            "items.jsonl:2: anwser: unknown field (got 1); did you mean answer?",
        ),
        (
            "text",
            {"prompt": "x", "answer": "y"},
            "answers: required field is missing; rename answer\n"
            'items.jsonl:2: answer: unknown field (got "y"); did you mean answers?',
        ),
        (
            "number",
            {"prompt": "x", "answer": 1, "source": "web"},
            'source: unknown field (got "web"); remove it; the fields are: id, prompt, messages, language, group, '
            "max_tokens, stop, kind, answer; for rows of a public set, name its format in the recipe",
        ),
        (
            "number",
            {"prompt": "x", "answer": "5"},
            'answer: input should be a valid number (got "5"); write a number, without quotes',
        ),
        (
            "number",
            {"prompt": "x", "answer": True},
            "answer: input should be a valid number (got true); write a number, without quotes",
        ),
        (
            "number",
            {"prompt": "x", "answer": None},
            "answer: input should be a valid number (got null); write a number, without quotes",
        ),
        (
            "number",
            '{"prompt": "x", "answer": NaN}',
            "answer: NaN or infinite, which JSON does not have (got NaN); write a "
            "finite number, or leave the field out",
        ),
        (
            "json",
            '{"prompt": "x", "expected": [1, {"a": -Infinity}]}',
            "expected: NaN or infinite, which JSON does not "
            'have (got [1, {"a": -Infinity}]); write a finite number, or leave the field out',
        ),
        (
            "number",
            '{"prompt": "x", "answer": 1e999}',
            "answer: NaN or infinite, which JSON does not have (got Infinity); "
            "write a finite number, or leave the field out",
        ),
        ("number", '{"prompt": "x", "answer": 1' + "0" * 400 + "}", "answer: input should be a finite number (got 1"),
        (
            "number",
            '{"prompt": "x", "answer": 1' + "0" * 9000 + "}",
            "a number of thousands of digits; write a shorter one",
        ),
        ("number", {"answer": 1}, "prompt: give prompt or messages, one of them; correct it"),
        ("number", {"prompt": "", "answer": 1}, 'prompt: give prompt or messages, one of them (got ""); correct it'),
        (
            "number",
            {"prompt": "x", "messages": [{"role": "user", "content": "x"}], "answer": 1},
            'prompt: give prompt or messages, one of them (got "x"); correct it',
        ),
        (
            "number",
            {"messages": [{"role": "usr", "content": "x"}], "answer": 1},
            "messages.0.role: input should be 'system', 'user', 'assistant' or 'tool' (got \"usr\"); correct it",
        ),
        (
            "number",
            {"messages": [{"role": "user", "contents": "x"}], "answer": 1},
            "messages.0.content: required field is missing; rename contents\n"
            'items.jsonl:2: messages.0.contents: unknown field (got "x"); did you mean content?',
        ),
        (
            "number",
            {"messages": "hi", "answer": 1},
            'messages: input should be a valid array (got "hi"); write a list, in [] '
            "(a chat, written with the model's own template)",
        ),
        (
            "number",
            {"prompt": ["x"], "answer": 1},
            'prompt: input should be a valid string (got ["x"]); write a text, in '
            "quotes (a text to be continued; or messages, one of them)",
        ),
        (
            "number",
            {"prompt": "x", "answer": 1, "id": 7},
            "id: input should be a valid string (got 7); write a text, in "
            "quotes (unique in the slice; the line's number where it is empty)",
        ),
        (
            "number",
            {"prompt": "x", "answer": 1, "max_tokens": 0},
            "max_tokens: input should be greater than or equal to 1 "
            "(got 0); correct it (of the answer; the slice's where it is empty)",
        ),
        ("number", {"prompt": "x", "answer": 1, "stop": [""]}, 'stop.0: is empty (got ""); write it or leave it out'),
        (
            "choice",
            {**CHOICE, "answer": 2},
            "answer: answer is 2, and there are 2 choices, counted from 0 (got 2); correct it",
        ),
        (
            "choice",
            {**CHOICE, "answer": "blue"},
            'answer: input should be a valid integer (got "blue"); write a whole number, '
            "without quotes (place of the right choice, from 0)",
        ),
        (
            "choice",
            {**CHOICE, "answer": -1},
            "answer: input should be greater than or equal to 0 (got -1); correct it (place "
            "of the right choice, from 0)",
        ),
        (
            "choice",
            {**CHOICE, "choices": ["blue"]},
            'choices: has 1 entries, and 2 is the least (got ["blue"]); correct it',
        ),
        ("choice", {**CHOICE, "choices": ["blue", ""]}, 'choices.1: is empty (got ""); write it or leave it out'),
        (
            "choice",
            {**CHOICE, "choices": ["a", "b", "a"]},
            'choices.2: stands there twice (got "a"); write choices that differ',
        ),
        (
            "refusal",
            {"prompt": "x", "safe": "yes"},
            'safe: input should be a valid boolean (got "yes"); write true or false, without quotes',
        ),
        ("json", {"prompt": "x", "schem": {}}, "schem: unknown field (got {}); did you mean schema?"),
        ("json", {"prompt": "x", "schema": {"type": "strin"}}, "schema is no JSON Schema: 'strin' is not valid"),
        ("json", '{"prompt": "x", "expected": ' + "[" * 60 + "]" * 60 + "}", "expected: nested in more than 50 levels"),
        ("json", '{"prompt": "x", "expected": ' + "[" * 9999 + "]" * 9999 + "}", "nested too deeply; flatten it"),
        (
            "instructions",
            {"prompt": "x", "checks": [{"name": "punctuation:no_coma"}]},
            "checks: no instruction is called 'punctuation:no_coma'; did you mean punctuation:no_comma?",
        ),
        (
            "instructions",
            {"prompt": "x", "checks": [{"name": "length_constraints:number_words", "arguments": {"num_words": 5}}]},
            "checks: length_constraints:number_words: argument relation: Missing required argument",
        ),
        ("tool_call", {"prompt": "x", "tools": [{"type": "function"}]}, "tool 1 has no name"),
        (
            "tool_call",
            {"prompt": "x", "tools": [TOOL], "calls": [{"name": "wether.get"}]},
            'calls.0.name: no tool is called so (there is: weather.get) (got "wether.get"); did you mean weather.get?',
        ),
        (
            "tool_call",
            {"prompt": "x", "tools": [TOOL], "calls": [{"name": "weather.get", "arguments": {"at": "x"}}]},
            'calls.0.arguments.at: input should be a valid array (got "x"); write a list, in []',
        ),
        (
            "tool_call",
            {"prompt": "x", "tools": [TOOL], "calls": [{"name": "weather.get", "arguments": {"at": []}}]},
            "calls.0.arguments.at: no value is right (got []); list the values that are",
        ),
        (
            "retrieval",
            {"prompt": "x", "answers": ["y"], "depth_percent": 101, "context_words": 1},
            "depth_percent: input should be less than or equal to 100 (got 101); "
            "correct it (where in the text it stands; 0 is the beginning)",
        ),
        (
            "number",
            {"kind": "nmber", "prompt": "x", "answer": 1},
            "kind: must be one of choice, number, text, retrieval, code, "
            'json, tool_call, instructions, refusal (got "nmber"); did you mean number?',
        ),
        ("number", {"kind": ["number"], "prompt": "x", "answer": 1}, "kind: must be one of"),
        (
            "number",
            {"kind": "choice", **CHOICE},
            'kind: the recipe says number (got "choice"); a slice has items of one kind',
        ),
        (
            None,
            {"prompt": "x", "answer": 1},
            "kind: required field is missing; write it in the recipe or in every line",
        ),
        ("number", '{"prompt": "x", "answer": 1', "not valid JSON: Expecting ',' delimiter, column 28 (got"),
        ("number", "{'prompt': 'x', 'answer': 1}", "not valid JSON: Expecting property name enclosed in double quotes"),
        ("number", '{"prompt": "x", "answer": 1} {}', "not valid JSON: Extra data, column 30"),
        ("number", '[{"prompt": "x", "answer": 1}]', "an item is an object with fields (got [{"),
        ("number", '"prompt"', 'an item is an object with fields (got "prompt"); write one object in {} a line'),
        ("number", "7", "an item is an object with fields (got 7)"),
        (
            "number",
            '{"prompt": "x", "answer": 1, "answer": 2}',
            "answer: stands twice in an object (got 2); remove one of them",
        ),
        ("number", '{"prompt": "\\ud800", "answer": 1}', "prompt: half a surrogate pair"),
        ("number", '{"\\ud800": "x", "answer": 1}', "\\ud800: half a surrogate pair"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_place(tmp_path: Path, kind: Kind, row: Any, said: str) -> None:
    good = [{**OF_EACH_KIND[kind or "number"], "kind": kind or "number"}, {**OF_EACH_KIND["number"], "kind": "number"}]
    assert told(write(tmp_path, good[0], row), kind).startswith(f"items.jsonl:2: {said}")


def test_ids_and_questions_may_stand_once(tmp_path: Path) -> None:
    first, second, third = NUMBERS[:3]
    path = write(tmp_path, {**first, "id": "a"}, second, "", {**third, "id": "a"})
    assert told(path) == 'items.jsonl:4: id: line 1 has the same (got "a"); give every item an id of its own'
    path = write(tmp_path, {**first, "id": "2"}, second)
    assert told(path) == (
        "items.jsonl:2: id: line 1 has the same; an item without one has its line's number "
        '(got "2"); give every item an id of its own'
    )
    path = write(tmp_path, first, second, {**first, "answer": 9, "id": "c"})
    assert told(path) == 'items.jsonl:3: prompt: line 1 asks the same (got "0 + 1 ="); remove one of the two'
    chat = {"messages": [{"role": "user", "content": "x"}], "answer": 1}
    assert told(write(tmp_path, chat, chat)).startswith("items.jsonl:2: messages: line 1 asks the same (got [{")
    assert told(write(tmp_path, CHOICE, CHOICE), "choice").startswith("items.jsonl:2: prompt: line 1 asks the same")


def test_items_of_one_file_are_of_one_kind(tmp_path: Path) -> None:
    path = write(tmp_path, {**NUMBERS[0], "kind": "number"}, {**CHOICE, "kind": "choice"})
    assert told(path, None) == (
        'items.jsonl:2: kind: is not that of line 1, number (got "choice"); '
        "a slice has items of one kind: part the file"
    )


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n", "\ufeff"])
def test_a_file_without_items_is_empty(tmp_path: Path, content: str) -> None:
    (path := tmp_path / "items.jsonl").write_text(content, encoding="utf-8")
    assert told(path) == "items.jsonl:1: the file is empty; write one item a line, as a JSON object"


def test_one_item_is_too_few(tmp_path: Path) -> None:
    assert told(write(tmp_path, "", NUMBERS[0])).startswith(
        "items.jsonl:2: one item is too few for an interval; add items"
    )
    path = write(tmp_path, *NUMBERS)
    assert told(path, limit=1) == "items.jsonl: limit: 1 items are too few for an interval; ask for 2 or more"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGUF\x03\0\0\0", "items.jsonl:1: a zero byte: binary, or UTF-16; name a JSONL file, saved as UTF-8"),
        ('{"prompt": "x"}\n'.encode("utf-16"), "items.jsonl:1: a zero byte"),
        (
            b'{"prompt": "x", "answer": 1}\n{"prompt": "\xe4", "answer": 1}\n',
            "items.jsonl:2: not UTF-8 text (got byte 0xe4)",
        ),
        (b'\xef\xbb\xbf{"prompt": "x", "answer": 1}\n\xff\n', "items.jsonl:2: not UTF-8 text (got byte 0xff)"),
        (b"\x1f\x8b\x08\x08abc", "items.jsonl:1: not UTF-8 text (got byte 0x8b); name a JSONL file that is not packed"),
        (b'{"prompt": "x", "answer": 1}\n' * 200 + b"\0", "items.jsonl:201: a zero byte"),
    ],
)
def test_a_binary_file_is_told_as_such(tmp_path: Path, content: bytes, said: str) -> None:
    (path := tmp_path / "items.jsonl").write_bytes(content)
    assert told(path).startswith(said)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, *NUMBERS)
    assert told(tmp_path / "itms.jsonl") == "itms.jsonl: there is no such file; did you mean items.jsonl?"
    assert told(tmp_path / "no" / "x.jsonl") == "x.jsonl: there is no such file; check the path"
    assert told(tmp_path).endswith("cannot be read (Is a directory); check the path")
    assert "is no file" in told(Path("/dev/zero"))
    os.mkfifo(pipe := tmp_path / "pipe")
    assert told(pipe) == "pipe: is no file; name a JSONL file"
    assert "cannot be read (Not a directory)" in told(path / "x")


def test_many_mistakes_are_counted(tmp_path: Path) -> None:
    lines = told(write(tmp_path, *({"promt": str(i), "answer": i} for i in range(12)))).split("\n")
    assert (
        lines[0].startswith("items.jsonl:1: promt: unknown field")
        and lines[-1] == "and 7 lines more"
        and len(lines) == 6
    )


@pytest.mark.parametrize("field", ["prompt\x1b[31m" + "x" * 5000, "\n", "", "a\nb", "prompt\n"])
def test_a_message_is_short_and_on_one_line(tmp_path: Path, field: str) -> None:
    row = {field: "\x07" * 5000, "prompt": "x", "answer": 1}
    said = told(write(tmp_path, NUMBERS[0], json.dumps(row)))
    assert len(said) < 1000 and said.isprintable() and "unknown field" in said
    said = told(write(tmp_path, NUMBERS[0], json.dumps({key: value for key, value in row.items() if key != "prompt"})))
    assert len(said) < 1000 and said.isprintable()


# ---- formats, and what is drawn ----


def test_a_format_is_one_of_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, *NUMBERS)
    assert (
        told(path, None, "gsm8") == "items.jsonl: format: there is none of this name (got 'gsm8'); did you mean gsm8k?"
    )
    assert told(path, "choice", "gsm8k") == (
        "items.jsonl: kind: format gsm8k has items of kind number (got 'choice'); leave kind out"
    )


def test_of_equal_questions_in_a_public_set_the_first_stays(tmp_path: Path) -> None:
    rows = [{"question": q, "answer": f"#### {i}"} for i, q in enumerate("abacb")]
    items = read(write(tmp_path, *rows), "number", "gsm8k", None, 0)
    assert [(item.id, item.answer) for item in items if item.kind == "number"] == [("1", 0), ("2", 1), ("4", 3)]
    said = told(write(tmp_path, rows[0], rows[2]), None, "gsm8k")
    assert said.startswith("items.jsonl:2: one item is too few for an interval (1 lines repeat it)")


def numbered(folder: Path, count: int) -> Path:
    return write(folder, *({"prompt": str(i), "answer": i} for i in range(count)))


def places(items: tuple[Item, ...]) -> list[int]:
    return [int(item.prompt) for item in items]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(2, 30), limits=st.tuples(st.integers(2, 40), st.integers(2, 40)), seed=st.integers())
def test_a_draw_is_in_the_files_order_and_part_of_a_larger(
    tmp_path: Path, count: int, limits: tuple[int, int], seed: int
) -> None:
    path = numbered(tmp_path, count)
    few, more = (places(read(path, "number", None, limit, seed)) for limit in sorted(limits))
    assert few == sorted(set(few)) and len(few) == min(*limits, count) and set(few) <= set(more)
    assert few == places(read(path, "number", None, min(limits), seed))


def test_a_draw_is_of_all_of_the_file_and_of_the_seed(tmp_path: Path) -> None:
    path = numbered(tmp_path, 40)
    drawn = [places(read(path, "number", None, 10, seed)) for seed in range(-20, 20)]
    assert len({tuple(d) for d in drawn}) == 40 and set().union(*drawn) == set(range(40))
    assert places(read(path, "number", None, None, 3)) == places(read(path, "number", None, 40, 4)) == list(range(40))


def test_lines_that_are_not_drawn_are_checked_too(tmp_path: Path) -> None:
    path = write(tmp_path, *NUMBERS, {"prompt": "x"})
    assert told(path, limit=2).startswith("items.jsonl:6: answer: required field is missing")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(TEXTS, st.lists(TEXTS, min_size=2, max_size=5, unique=True), st.data()),
        min_size=2,
        max_size=5,
        unique_by=lambda row: row[0],
    ),
    st.booleans(),
)
def test_what_is_written_is_read(tmp_path: Path, rows: list[Any], escaped: bool) -> None:
    items = [
        ChoiceItem(
            id=f"q{i}", prompt=prompt, choices=tuple(choices), answer=data.draw(st.integers(0, len(choices) - 1))
        )
        for i, (prompt, choices, data) in enumerate(rows)
    ]
    lines = [json.dumps(item.model_dump(mode="json"), ensure_ascii=escaped) for item in items]
    (path := tmp_path / "own.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert read(path, None, None, None, 0) == tuple(items)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace"))))
def test_any_bytes_are_read_or_refused_with_their_place(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "any.jsonl").write_bytes(content)
    assert told(path).startswith("any.jsonl:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KINDS), st.data())
def test_a_line_with_any_value_in_any_field_is_read_or_refused(tmp_path: Path, kind: Kind, data: st.DataObject) -> None:
    row = OF_EACH_KIND[kind]
    field = data.draw(st.sampled_from([*row, "id", "group", "language", "max_tokens", "kind"]) | st.text(max_size=5))
    path = write(tmp_path, {**row, "group": "first"}, json.dumps({**row, field: data.draw(JSON)}))
    try:
        read(path, kind, None, None, 0)
    except RecipeError as error:
        lines = str(error).replace(f"{path.parent}/", "").split("\n")
        assert all(line.startswith("items.jsonl:") for line in lines), lines
