"""Questions with one right answer from GSM8K, MGSM and XQuAD, and the key-value task of "Lost in the Middle"."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from quantcurve.slices.formats_rows import Row
from quantcurve.slices.items import NumberItem, RetrievalItem, TextItem

ENDS = ("</s>", "<|im_end|>")
"""Ends of a turn that some models write as text; lm-evaluation-harness stops there."""
_NUMBER = re.compile(r"([-+]?)\s*\$?\s*(\d[\d,]*(?:\.\d+)?)\.?")


class _Words(NamedTuple):
    """How lm-evaluation-harness asks in a language."""

    language: str
    question: str
    answer: str
    context: str = ""


MGSM = (
    _Words("bn", "প্রশ্ন: ", "Answer:"),
    _Words("de", "Frage: ", "Antwort:"),
    _Words("en", "Question: ", "Answer:"),
    _Words("es", "Pregunta: ", "Respuesta:"),
    _Words("fr", "Question : ", "Réponse :"),
    _Words("ja", "問題： ", "Answer:"),
    _Words("ru", "Задача: ", "Answer:"),
    _Words("sw", "Swali: ", "Answer:"),
    _Words("te", "ప్రశ్న: ", "Answer:"),
    _Words("th", "โจทย์: ", "Answer:"),
    _Words("zh", "问题： ", "Answer:"),
)
XQUAD = (
    _Words("ar", "سؤال", "إجابة", "سيا"),
    _Words("de", "Frage", "Antwort", "Kontext"),
    _Words("el", "Ερώτηση", "Απάντηση", "Συμφραζόμενα"),
    _Words("en", "Question", "Answer", "Context"),
    _Words("es", "Pregunta", "Respuesta", "Contexto"),
    _Words("hi", "सवाल", "उत्तर", "प्रसंग"),
    _Words("ro", "Întrebare", "Răspuns", "Context"),
    _Words("ru", "Вопрос", "Ответ", "Контекст"),
    _Words("th", "คำถาม", "คำตอบ", "บริบท"),
    _Words("tr", "Soru", "Cevap", "Bağlam"),
    _Words("vi", "Câu hỏi", "Trả lời", "Bối cảnh"),
    _Words("zh", "问题", "回答", "语境"),
)


def gsm8k(row: Row) -> NumberItem:
    """GSM8K (Cobbe et al. 2021): "Question: ...", a line with "Answer:", as lm-evaluation-harness's gsm8k without
    examples; the number is what stands behind #### in the answer.

    Rows have question and answer.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("question", "answer"))
    _, mark, number = row.text("answer").rpartition("####")
    if not mark:
        raise row.wrong("answer", "a text that ends with #### and a number")
    return NumberItem(
        id=row.name("id"),
        prompt=f"Question: {row.text('question')}\nAnswer:",
        answer=_number(row, "answer", number),
        stop=("Question:", *ENDS),
    )


def mgsm(row: Row) -> NumberItem:
    """MGSM (Shi et al. 2022): as lm-evaluation-harness's mgsm_direct, "Question: ...", a line with "Answer:", in the
    words of the language, of which some have the last in English.

    Rows have lang, question and the number as answer, as the set's own files have it without names; or, as on the hub,
    answer_number, to which a column lang is to be added.

    Raises:
        RecipeError: a row without these columns, or with other values in them, or in another language.
    """
    numbered = row.schema(("lang", "question", "answer_number"), ("lang", "question", "answer")) == 0
    column = "answer_number" if numbered else "answer"
    words, question = _words(row, MGSM), row.text("question")
    head = words.question.rstrip()
    return NumberItem(
        id=f"{words.language}-{row.name('index')}" if row.has("index") else row.name("id"),
        prompt=f"{question if question.startswith(head) else words.question + question}\n{words.answer}",
        answer=_number(row, column, row.value(column)),
        language=words.language,
        stop=(head, *ENDS),
    )


def xquad(row: Row) -> TextItem:
    """XQuAD (Artetxe et al. 2020): paragraphs "Context: ...", "Question: ..." and "Answer:" in the words of the
    language, as lm-evaluation-harness's xquad. An answer is right that has one of the row's answers in it.

    Rows have lang, context, question and answers: a list of objects with text, or, as on the hub, an object with a list
    of texts.

    Raises:
        RecipeError: a row without these columns, or with other values in them, or in another language.
    """
    row.schema(("lang", "context", "question", "answers"))
    words, found = _words(row, XQUAD), row.value("answers")
    listed = [a.get("text") for a in found if isinstance(a, dict)] if isinstance(found, list) else None
    texts: Any = found.get("text") if isinstance(found, dict) else listed
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise row.wrong("answers", "a list of objects with a text, or an object with a list of texts")
    asked = f"{words.context}: {row.text('context')}\n\n{words.question}: {row.text('question')}"
    return TextItem(
        id=f"{words.language}-{row.name('id')}" if row.has("id") else "",
        prompt=f"{asked}\n\n{words.answer}:",
        answers=tuple(dict.fromkeys(texts)),
        match="contains",
        language=words.language,
        stop=("\n",),
    )


def kv_retrieval(row: Row) -> RetrievalItem:
    """Key-value retrieval (Liu et al. 2023, "Lost in the Middle"), with that paper's prompt: an instruction, all pairs
    as one JSON object, 'Key: "..."' and "Corresponding value:". The depth is the pair's place among the pairs.

    Rows have ordered_kv_records (pairs of texts), key and value.

    Raises:
        RecipeError: a row without these columns, or with other values in them.
    """
    row.schema(("ordered_kv_records", "key", "value"))
    pairs, key, value = row.value("ordered_kv_records"), row.text("key"), row.text("value")
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise row.wrong("ordered_kv_records", "a list of pairs of texts")
    if [key, value] not in pairs:
        raise row.wrong("value", "the one that stands behind the key in ordered_kv_records")
    records = ",\n ".join(f'"{k}": "{v}"' for k, v in pairs)
    prompt = (
        "Extract the value corresponding to the specified key in the JSON object below.\n\n"
        f'JSON data:\n{{{records}}}\n\nKey: "{key}"\nCorresponding value:'
    )
    return RetrievalItem(
        prompt=prompt,
        answers=(value,),
        depth_percent=100 * pairs.index([key, value]) / max(len(pairs) - 1, 1),
        context_words=len(prompt.split()),
        group=f"{len(pairs)} pairs",
        stop=("\n",),
    )


def _words(row: Row, languages: tuple[_Words, ...]) -> _Words:
    for words in languages:
        if words.language == row.value("lang"):
            return words
    raise row.wrong("lang", f"one of {', '.join(words.language for words in languages)}")


def _number(row: Row, column: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(str(value))  # infinite, not an error, where it is too large
    found = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise row.wrong(column, "a number")
    return float(found[1] + found[2].replace(",", ""))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)
