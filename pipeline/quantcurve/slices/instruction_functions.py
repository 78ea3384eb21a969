"""What each instruction of instruction_checks.py asks of an answer, as plain functions: the answer, and IFEval's
arguments by name."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import Field, SkipValidation

from quantcurve.errors import PrerequisiteError
from quantcurve.slices.sentence_split import sentences

Answer = SkipValidation[str]
Count = Annotated[int, Field(ge=0)]
Place = Annotated[int, Field(ge=1)]
Relation = Literal["less than", "at least"]
Word = Annotated[str, Field(pattern=r"\S")]
Words = Annotated[list[Word], Field(min_length=1)]

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
RESPONSE_LANGUAGE = "language:response_language"
_BULLET = re.compile(r"^[^\S\n]*(?:\*[^*].*|-.*)", re.MULTILINE)
_BETWEEN_WORDS = re.compile(
    r"[\s;@#$%&*?!()\[\]{}<>,:\"“”«»„‘’`\u2012-\u2015]|--|\.\.+|(?<=[^'\s])(?='(?:S|M|D|LL|RE|VE)\b)|(?<=\w)(?=N'T\b)"
    r"|(?<=\bCAN)(?=NOT\b)|(?<=\bGON)(?=NA\b)|(?<=\bGOT)(?=TA\b)|(?<=\bWAN)(?=NA\b)|(?<=\bGIM)(?=ME\b)|(?<=\bLEM)(?=ME\b)"
)


def existence(answer: Answer, keywords: Words) -> bool:
    """All keywords, in any case, also within words."""
    return all(re.search(re.escape(word), answer, re.IGNORECASE) for word in keywords)


def frequency(answer: Answer, keyword: Word, frequency: Count, relation: Relation) -> bool:
    """A keyword so often, in any case, also within words."""
    return _is(len(re.findall(re.escape(keyword.strip()), answer, re.IGNORECASE)), relation, frequency)


def forbidden_words(answer: Answer, forbidden_words: Words) -> bool:
    """None of these words, in any case."""
    return not any(re.search(_whole(word), answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(
    answer: Answer,
    letter: Annotated[str, Field(min_length=1, max_length=1)],
    let_frequency: Count,
    let_relation: Relation,
) -> bool:
    """A letter so often, in either case."""
    return _is(answer.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(answer: Answer, language: Word) -> bool:
    """By langdetect, seeded; a text of which it cannot say anything follows, as in lm-evaluation-harness.

    Raises:
        PrerequisiteError: langdetect is not installed.
    """
    try:
        from langdetect import (  # type: ignore[import-not-found, unused-ignore]
            DetectorFactory,
            LangDetectException,
            detect,
        )
    except ImportError as error:
        raise PrerequisiteError(f"{RESPONSE_LANGUAGE} needs langdetect", "pip install langdetect") from error
    DetectorFactory.seed = 0
    try:
        return bool(detect(answer) == language)
    except LangDetectException:
        return True


def number_sentences(answer: Answer, num_sentences: Count, relation: Relation) -> bool:
    """Sentences, by sentence_split.py."""
    return _is(len(sentences(answer)), relation, num_sentences)


def number_paragraphs(answer: Answer, num_paragraphs: Count) -> bool:
    """Exactly so many parts between dividers of three stars, of which only the first and the last may be empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


def number_words(answer: Answer, num_words: Count, relation: Relation) -> bool:
    """Runs of letters, digits and underscores."""
    return _is(len(re.findall(r"\w+", answer)), relation, num_words)


def nth_paragraph_first_word(answer: Answer, num_paragraphs: Place, nth_paragraph: Place, first_word: Word) -> bool:
    """Exactly so many paragraphs with empty lines between, and one of them begins with a word, in any case."""
    paragraphs = [part.strip() for part in answer.split("\n\n")]
    there = sum(map(bool, paragraphs))
    if there != num_paragraphs or nth_paragraph > there or not paragraphs[nth_paragraph - 1]:
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word)[0].lower() == first_word.lower()


def number_placeholders(answer: Answer, num_placeholders: Count) -> bool:
    """At least so many texts in square brackets."""
    return sum(map(_bracketed, answer.split("\n"))) >= num_placeholders


def postscript(answer: Answer, postscript_marker: Word) -> bool:
    """A postscript, anywhere, in any case; P.S. and P.P.S also with a space within."""
    spaced = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    return bool(re.search(spaced.get(marker, re.escape(marker.lower())), answer.lower()))


def number_bullet_lists(answer: Answer, num_bullets: Count) -> bool:
    """Exactly so many lines that begin with a star (not two) or a dash."""
    return len(_BULLET.findall(answer)) == num_bullets


def constrained_response(answer: Answer) -> bool:
    """One of OPTIONS is in it."""
    return any(option in answer for option in OPTIONS)


def number_highlighted_sections(answer: Answer, num_highlights: Count) -> bool:
    """At least so many texts between stars, or between two and two; those between two count twice where single stars
    pair up within, as in lm-evaluation-harness."""
    single = re.findall(r"\*[^\n*]*\*", answer)
    double = re.findall(r"\*\*[^\n*]*\*\*", answer)
    return sum(bool(text.strip("*").strip()) for text in single + double) >= num_highlights


def multiple_sections(answer: Answer, section_spliter: Word, num_sections: Count) -> bool:
    """At least so many numbered headings that begin with a word; the argument is spelt as in the data."""
    return len(re.findall(re.escape(section_spliter.strip()) + r"\s?\d+", answer)) >= num_sections


def json_format(answer: Answer) -> bool:
    """JSON as Python reads it (which takes NaN), in a fence of Markdown or not."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(answer: Answer) -> bool:
    """A line with a title <<in such brackets>>."""
    for line in answer.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start <= end - 3 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def two_responses(answer: Answer) -> bool:
    """Two different texts with six stars between; what is before the first and after the last stars may be empty."""
    parts = [part.strip() for part in answer.split("******")]
    given = [part for part in parts if part]
    return all(parts[1:-1]) and len(given) == 2 and given[0] != given[1]


def repeat_prompt(answer: Answer, prompt_to_repeat: Word) -> bool:
    """Begins with a text, in any case."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(answer: Answer, end_phrase: Word) -> bool:
    """Ends with a text, in any case, quotation marks behind it left out."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def capital_word_frequency(answer: Answer, capital_frequency: Count, capital_relation: Relation) -> bool:
    """Words in capitals, so many; DON'T and CANNOT are two each, as nltk splits them."""
    return _is(sum(map(str.isupper, _BETWEEN_WORDS.split(answer))), capital_relation, capital_frequency)


def english_capital(answer: Answer) -> bool:
    """English, in capitals."""
    return answer.isupper() and _is_latin(answer)


def english_lowercase(answer: Answer) -> bool:
    """English, in small letters."""
    return answer.islower() and _is_latin(answer)


def no_comma(answer: Answer) -> bool:
    """No comma."""
    return "," not in answer


def quotation(answer: Answer) -> bool:
    """In double quotation marks."""
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _is(count: int, relation: Relation, wanted: int) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def _whole(word: str) -> str:
    """Pattern of a word between borders, where it begins and ends as words do."""
    start, end = (r"\b" if re.match(r"\w", edge) else "" for edge in (word[0], word[-1]))
    return start + re.escape(word) + end


def _bracketed(line: str) -> int:
    """Texts in square brackets, from left to right; in one pass, also where thousands open and none closes."""
    count, place = 0, 0
    while 0 <= (start := line.find("[", place)) < (end := line.find("]", start)):
        count, place = count + 1, end + 1
    return count


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(c.isascii() for c in letters) >= 0.9 * len(letters) > 0
