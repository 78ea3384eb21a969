"""IFEval's instructions: each by hand, and against lm-evaluation-harness's classes, which are made to run without the
network where they need neither Punkt nor langdetect."""

from __future__ import annotations

import json
import random
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import PUBLIC_DATA
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.slices.instruction_checks import INSTRUCTIONS, follows, not_supported
from quantcurve.slices.items import Check
from quantcurve.slices.sentence_split import sentences

ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "keywords:existence": [{"keywords": ["cat", "the end"]}],
    "keywords:frequency": [
        {"keyword": "the", "frequency": n, "relation": r} for n, r in ((2, "at least"), (1, "less than"))
    ],
    "keywords:forbidden_words": [{"forbidden_words": ["cat", "no"]}],
    "keywords:letter_frequency": [
        {"letter": "a", "let_frequency": 2, "let_relation": "at least"},
        {"letter": "E", "let_frequency": 3, "let_relation": "less than"},
    ],
    "length_constraints:number_paragraphs": [{"num_paragraphs": n} for n in (1, 2, 3)],
    "length_constraints:number_words": [{"num_words": 4, "relation": r} for r in ("at least", "less than")],
    "length_constraints:nth_paragraph_first_word": [
        {"num_paragraphs": 2, "nth_paragraph": n, "first_word": "The"} for n in (1, 2)
    ],
    "detectable_content:number_placeholders": [{"num_placeholders": n} for n in (1, 2)],
    "detectable_content:postscript": [{"postscript_marker": m} for m in ("P.S.", "P.P.S", "Note")],
    "detectable_format:number_bullet_lists": [{"num_bullets": n} for n in (1, 2)],
    "detectable_format:constrained_response": [{}],
    "detectable_format:number_highlighted_sections": [{"num_highlights": n} for n in (1, 2)],
    "detectable_format:multiple_sections": [{"section_spliter": "Section", "num_sections": n} for n in (1, 2)],
    "detectable_format:json_format": [{}],
    "detectable_format:title": [{}],
    "combination:two_responses": [{}],
    "combination:repeat_prompt": [{"prompt_to_repeat": "The cat "}],
    "startend:end_checker": [{"end_phrase": "the end."}],
    "startend:quotation": [{}],
    "punctuation:no_comma": [{}],
    "change_case:capital_word_frequency": [
        {"capital_frequency": n, "capital_relation": r} for n in (1, 3) for r in ("at least", "less than")
    ],
    "change_case:english_capital": [{}],
    "change_case:english_lowercase": [{}],
}
"""Of all instructions but the two that need what is not here."""
PIECES = [
    *"\"'[]{}1.?!AIéßİ猫…“”’—\n\t\r \x0b\x1c\u2028",
    *(
        "*",
        "**",
        "***",
        "******",
        " * ",
        "- ",
        "--",
        "\n\n",
        "[x]",
        "<<",
        ">>",
        "<<a title>>",
        "```",
        "```json\n",
        ", ",
    ),
    *(
        "the",
        "The",
        "cat",
        "CAT",
        "DON'T",
        "CANNOT",
        "O'BRIEN",
        "U.S.",
        "X-RAY",
        "A/B",
        "no",
        "NaN",
        "null",
        '{"a": 1}',
        "[1]",
    ),
    *(
        "note",
        "Note:",
        "P.S.",
        "p. s.",
        "P.P.S",
        "p.p. s",
        "Section 1",
        "Section2",
        "section 3",
        "the end.",
        'THE END."',
    ),
    *("My answer is yes.", "my answer is no."),
]
ANSWERS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.text(st.characters(), max_size=60))


@pytest.fixture(scope="module")
def theirs() -> Iterator[Any]:
    """lm-evaluation-harness's classes by name, without what they would download."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'quantcurve[eval]'")
    nltk = pytest.importorskip("nltk", reason="lm-eval's classes need nltk")
    package = "lm_eval.tasks.ifeval"
    before = {name for name in sys.modules if name.startswith(package)}

    def words(text: str) -> list[str]:
        return [word for s in sentences(text) for word in nltk.tokenize.word_tokenize(s, preserve_line=True)]

    with pytest.MonkeyPatch.context() as patch:
        detect = types.SimpleNamespace(detect=lambda text: "en", LangDetectException=Exception)
        patch.setitem(sys.modules, "langdetect", detect)
        patch.setitem(sys.modules, "immutabledict", types.SimpleNamespace(immutabledict=dict))
        patch.setattr(nltk, "download", lambda *a, **k: True)
        from lm_eval.tasks.ifeval import instructions_registry, instructions_util

        patch.setattr(instructions_util, "nltk", types.SimpleNamespace(tokenize=nltk.tokenize, word_tokenize=words))
        yield instructions_registry.INSTRUCTION_DICT
    for name in [name for name in sys.modules if name.startswith(package) and name not in before]:
        del sys.modules[name]


def said_there(theirs: Any, check: Check, answer: str) -> bool:
    judge = theirs[check.name](check.name)
    judge.build_description(**check.arguments)
    return bool(answer.strip() and judge.check_following(answer))


def checks() -> list[Check]:
    return [Check(name=name, arguments=some) for name, given_ in ARGUMENTS.items() for some in given_]


def is_comparable(check: Check, answer: str) -> bool:
    """Not where the difference is told of in the module: other words than English ones in capitals, letters that nltk's
    pattern library knows otherwise."""
    name = check.name
    if name == "length_constraints:number_words":
        return all(c.isascii() for c in answer)
    return not name.startswith("change_case:") or answer.isascii()


@pytest.mark.parametrize("check", [c for c in checks() if "capital_word" not in c.name], ids=str)
def test_answers_are_judged_as_lm_eval_judges_them(theirs: Any, check: Check) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ANSWERS)
    def compare(answer: str) -> None:
        if is_comparable(check, answer):
            assert follows(check, answer) == said_there(theirs, check, answer)

    compare()


WORDS = [
    *(
        "I",
        "A",
        "CAT",
        "CAN'T",
        "DON'T",
        "IT'S",
        "I'M",
        "WE'LL",
        "YOU'RE",
        "I'VE",
        "CANNOT",
        "GONNA",
        "GOTTA",
        "GIMME",
        "LEMME",
    ),
    *(
        "X-RAY",
        "A/B",
        "NASA",
        "U.S.",
        "e.g.",
        "don't",
        "the",
        "Cat",
        "3D",
        "10:30",
        "A:B",
        "$5",
        "ÉTÉ",
        "O'BRIEN",
        "FOO_BAR",
    ),
    *(
        "**BOLD**",
        "*A*",
        "(NOTE)",
        '"QUOTE"',
        "'SINGLE'",
        "[ID]",
        "<B>",
        "A,B",
        "...",
        "--",
        "—X—",
        "A--B",
        "@ME",
        "#TAG",
        "50%",
    ),
]


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_words_in_capitals_are_counted_as_lm_eval_counts_them(theirs: Any, wanted: int) -> None:
    check = Check(
        name="change_case:capital_word_frequency",
        arguments={"capital_frequency": wanted, "capital_relation": "at least"},
    )
    ends = st.sampled_from([" ", "  ", "\n", ", ", ". ", "! ", "? ", ": ", "; ", " - ", "!"])
    texts = st.lists(st.tuples(st.sampled_from(WORDS), ends), max_size=8)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts.map(lambda pairs: "".join(a + b for a, b in pairs)))
    def compare(answer: str) -> None:
        assert follows(check, answer) == said_there(theirs, check, answer)

    compare()


@pytest.mark.public_data
def test_public_instructions_are_judged_as_lm_eval_judges_them(theirs: Any) -> None:
    """On answers made of the data's own prompts, turned about so that each instruction is followed by some of them."""
    rows = [json.loads(line) for line in (PUBLIC_DATA / "chat" / "ifeval.jsonl").read_text("utf-8").splitlines()]
    rng, compared, right = random.Random(0), 0, set()
    for row in rows:
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            check = Check(name=name, arguments=arguments)
            if name not in ARGUMENTS or name.startswith("change_case:english") or arguments.get("letter") == "!":
                continue
            texts = " ".join(str(v) for v in arguments.values())
            for answer in (
                row["prompt"],
                f"{rng.choice(rows)['prompt']}\n\n{texts}\n* a [b] *c*",
                "A ******\nb",
                texts,
            ):
                said = follows(check, answer)
                assert said == said_there(theirs, check, answer), (check, answer)
                compared += 1
                right |= {name} if said else set()
    assert compared > 1_000 and len(right) >= 15


@pytest.mark.parametrize(
    ("name", "arguments", "answer", "right"),
    [
        ("keywords:existence", {"keywords": ["C++", "a.b"]}, "c++ and A.B", True),
        ("keywords:existence", {"keywords": ["a.b"]}, "axb", False),
        ("keywords:forbidden_words", {"forbidden_words": ["C++"]}, "I like C++.", False),
        ("keywords:forbidden_words", {"forbidden_words": ["cat"]}, "concatenate", True),
        ("keywords:frequency", {"keyword": "(", "frequency": 2, "relation": "at least"}, "((", True),
        ("keywords:letter_frequency", {"letter": "!", "let_frequency": 2, "let_relation": "at least"}, "No!!", True),
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "Mr. A. Li left.", False),
        ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "One. Two", True),
        ("length_constraints:number_words", {"num_words": 1, "relation": "less than"}, "", False),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a][b\n]", False),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n\n  - b\n** c", True),
        ("detectable_format:json_format", {}, "```json\n[1]\n```", True),
        ("detectable_format:json_format", {}, "[" * 100_000, False),
        ("detectable_format:title", {}, "<<>> <<a>>", True),
        ("detectable_format:title", {}, "<< >>", False),
        ("detectable_format:multiple_sections", {"section_spliter": "Day (", "num_sections": 1}, "Day (1", True),
        ("combination:two_responses", {}, "a******b******", True),
        ("combination:two_responses", {}, "a******a", False),
        ("change_case:english_capital", {}, "ALL RIGHT.", True),
        ("change_case:english_capital", {}, "ВСЁ ХОРОШО.", False),
        ("change_case:english_capital", {}, "123", False),
        ("change_case:english_lowercase", {}, "all right, café", True),
        ("change_case:english_lowercase", {}, "всё хорошо", False),
        ("startend:end_checker", {"end_phrase": "The end."}, 'x "the END."', True),
        ("startend:quotation", {}, '"', False),
        ("punctuation:no_comma", {"unused": None}, "a b", True),
    ],
)
def test_instructions_by_hand(name: str, arguments: dict[str, Any], answer: str, right: bool) -> None:
    assert follows(Check(name=name, arguments=arguments), answer) is right


def test_there_are_25_names() -> None:
    assert len({i.name for i in INSTRUCTIONS}) == 25
    assert {i.name for i in INSTRUCTIONS} == {
        *ARGUMENTS,
        "length_constraints:number_sentences",
        "language:response_language",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (
            "length_constraint:number_word",
            {},
            "x: .*'length_constraint:number_word'; did you mean length_constraints:number_words",
        ),
        ("\ud800", {}, "did you mean"),
        (
            "length_constraints:number_words",
            {"num_words": 4},
            "x: length_constraints:number_words: argument relation: Missing",
        ),
        ("length_constraints:number_words", {"num_words": "4", "relation": "at least"}, r"num_words: .*\(got '4'\)"),
        ("length_constraints:number_words", {"num_words": True, "relation": "at least"}, "num_words"),
        ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, "greater than or equal to 0"),
        (
            "length_constraints:number_words",
            {"num_words": 4, "relation": "at most"},
            "'less than' or 'at least'.*at most",
        ),
        ("punctuation:no_comma", {"relation": "at most"}, "argument relation: Unexpected"),
        ("keywords:existence", {"keywords": []}, "keywords"),
        ("keywords:existence", {"keywords": [" "]}, r"argument keywords\.0"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "letter"),
    ],
)
def test_wrong_checks_are_named(name: str, arguments: dict[str, Any], said: str) -> None:
    check = Check.model_construct(name=name, arguments=arguments)
    with pytest.raises(RecipeError, match=said):
        follows(check, "text", "x")


def test_a_language_needs_langdetect(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(name="language:response_language", arguments={"language": "de"})
    monkeypatch.setitem(sys.modules, "langdetect", None)
    assert "not supported without langdetect" in not_supported(check)
    with pytest.raises(PrerequisiteError, match="pip install langdetect"):
        follows(check, "Guten Tag")
    factory = types.SimpleNamespace(seed=None)

    def detect(text: str) -> str:
        if not text.isalpha():
            raise RuntimeError(text)
        return "de" if text == "Hallo" else "en"

    there = types.SimpleNamespace(DetectorFactory=factory, LangDetectException=RuntimeError, detect=detect)
    monkeypatch.setitem(sys.modules, "langdetect", there)
    assert not_supported(check) == ""
    assert [follows(check, text) for text in ("Hallo", "Hello", "12", " ")] == [True, False, True, False]
    assert factory.seed == 0, "langdetect draws at random"


@pytest.mark.parametrize(
    "check",
    [
        *checks(),
        Check(name="length_constraints:number_sentences", arguments={"num_sentences": 2, "relation": "at least"}),
    ],
    ids=str,
)
def test_no_answer_raises(check: Check) -> None:
    @settings(max_examples=60, deadline=None)
    @given(ANSWERS)
    def judge(answer: str) -> None:
        assert follows(check, answer) in {True, False}

    judge()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "answer", [mark * 100_000 for mark in ("[", "*", "<", "\n", " ", ".", ">", "- ", "<<", "'", "a.", '"')]
)
def test_answers_that_repeat_themselves_take_no_longer(answer: str) -> None:
    for check in checks():
        follows(check, answer)
    assert len(sentences(answer)) <= 1


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("...", 0),
        ("No mark", 1),
        ("Mr. Smith met Dr. Lee at 5 p.m. on Monday. Then he left.", 2),
        ("We met at 5 p.m. Then we left.", 2),
        ("J. R. R. Tolkien wrote it. So did I. Yes.", 3),
        ("I'M. I'M?", 2),
        ("1. Buy milk.\n2. Buy eggs.\n- **3. Go.** Done", 4),
        ("Wait... what? No way!!! Oh", 3),
        ('"Stop!" he said. He said "Stop." Then he ran.', 3),
        ("Pi is 3.14. See www.example.org for more.", 2),
        ("Apples etc. are good. I like pears etc. And so on", 3),
        ("我喜欢猫。你呢？好！", 3),
        ("क्या हाल है? मैं ठीक हूँ। धन्यवाद।", 3),
        ("small letters. they too begin sentences.", 2),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert len(sentences(text)) == count, sentences(text)
