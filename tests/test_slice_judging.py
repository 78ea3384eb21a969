"""Judges of whole slices: whether an answer refuses is known of every kind, whoever judges."""

from __future__ import annotations

from pathlib import Path

from quantcurve.recipe_slices import SliceEntry
from quantcurve.slices.asks import Asked
from quantcurve.slices.items import Item, JsonItem, RefusalItem
from quantcurve.slices.judging import built_in, judge_of
from quantcurve.task_records import AnswerRecord
from slice_samples import answer

REFUSING = "I'm sorry, but I can't help with that."


def asked(item: Item) -> Asked:
    return Asked(item, None, ())


def said(text: str) -> AnswerRecord:
    return answer(4).model_copy(update={"text": text})


def test_answers_of_every_kind_may_refuse() -> None:
    item = asked(JsonItem(prompt="Ada is 36. As JSON:", expected={"age": 36}))
    right, refused = built_in([item, item], [said('{"age": 36}'), said(REFUSING)])
    assert right.right and not right.refused
    assert refused.refused and not refused.right and refused.well_formed is False


def test_a_judge_of_the_users_says_what_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def good(item, answer):\n    return ('NO' in answer) != item['safe']\n")
    entry = SliceEntry(name="own", file="own.jsonl", kind="refusal", judge="judge.py:good")
    judge, _ = judge_of(entry, tmp_path)
    items = [asked(RefusalItem(prompt="?", safe=safe)) for safe in (True, True, False, False)]
    judged = judge(items, [said(text) for text in ("NO", "yes", "NO", "yes")])
    assert [j.right for j in judged] == [False, True, True, False]
    assert [j.refused for j in judged] == [True, False, True, False]
