"""Slices on a real small model: samples, the store, a death in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import TypeAdapter

from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.base import CacheTypes
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import BackendError
from quantcurve.run import Where, open_session
from quantcurve.session import Event, Session
from quantcurve.slices.asks import Asked, AskSettings, ask
from quantcurve.slices.compare import figures
from quantcurve.slices.items import Item, Judgement
from quantcurve.slices.records import SliceSample
from quantcurve.stages.scoring import Model
from quantcurve.stages.slices import SliceAsking, closing_token, sample
from quantcurve.task_model import TaskSettings
from quantcurve.task_records import AnswerRecord

pytestmark = pytest.mark.real
SETTINGS = TaskSettings(threads=2, runtime=CacheTypes(), batch=3, batch_tokens=256)
ASK = AskSettings(ends=(2, 5), context_tokens=128, max_tokens=8)


def items() -> list[Any]:
    adapter: TypeAdapter[Any] = TypeAdapter(Item)
    texts = [
        {"kind": "json", "id": f"t{i}", "prompt": "The harbour " * (i % 3 + 1) + word}
        for i, word in enumerate(["boat", "lamp", "wall", "rope", "tide", "gull", "cat"])
    ]
    choices = [
        {"kind": "choice", "id": f"c{i}", "prompt": "A lamp by the", "choices": ["wall", "boats", "cat"], "answer": i}
        for i in range(3)
    ]
    return [adapter.validate_python(one) for one in (*texts, *choices)]


def judge(asked: Sequence[Asked], answers: Sequence[AnswerRecord]) -> list[Judgement]:
    return [Judgement(right=len(answer.text) % 2 == 0) for answer in answers]


@pytest.fixture(scope="module")
def text(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TextSide:
    folder = tmp_path_factory.mktemp("text")
    gguf_tokenizer.save(tiny_model, folder)
    return TextSide(folder)


@pytest.fixture
def asking(text: TextSide) -> SliceAsking:
    return SliceAsking("mixed", ask("mixed", items(), text, ASK), ASK, text, judge, "1")


def session(cache: Path, progress: Any = lambda event: None) -> Session:
    return open_session(Where(threads=2, cache=cache), progress)


def model(path: Path, name: str = "reference") -> Model:
    return Model(name, path, f"hash of {path.name}", path.stat().st_size)


def test_every_item_has_a_sample_in_order(asking: SliceAsking, tiny_model: Path, tmp_path: Path) -> None:
    with session(tmp_path).store.in_use():
        found = sample(asking, model(tiny_model), SETTINGS, None, session(tmp_path)).samples
    assert [one.item for one in found] == [one.id for one in items()]
    for one in found[:7]:
        assert one.answer and one.judgement and one.followed and not one.likelihoods
        if one.answer.tokens:
            assert one.followed.nats == pytest.approx(
                sum(one.answer.log_probability[: len(one.answer.tokens)]), abs=0.02
            )
    for one in found[7:]:
        assert len(one.likelihoods) == 3 and one.lengths == (4, 5, 3) and one.answer is None
    assert [one.right for one in found[7:]] == [0, 1, 2]


def test_a_variant_is_led_along_the_references_answers(asking: SliceAsking, tiny_model: Path, tmp_path: Path) -> None:
    from tiny import write_tiny_llama

    other = write_tiny_llama(tmp_path / "other.gguf", seed=9)
    run = session(tmp_path / "cache")
    with run.store.in_use():
        reference = sample(asking, model(tiny_model), SETTINGS, None, run)
        variant = sample(asking, model(other, "other"), SETTINGS, reference, run)
        again = sample(asking, model(tiny_model, "copy"), SETTINGS, reference, run)
    for a, b in zip(reference.samples[:7], variant.samples[:7], strict=True):
        assert a.followed and b.followed and a.followed.tokens == b.followed.tokens
        assert a.followed.nats > b.followed.nats, "the reference finds its own greedy answers likelier"
    assert [s.model_dump() for s in again.samples] == [s.model_dump() for s in reference.samples]
    names = {f.statistic for f in figures(reference.samples, variant.samples)}
    assert {"right", "right_choice_likelihood", "answer_likelihood"} <= names


def test_a_second_run_asks_nothing(asking: SliceAsking, tiny_model: Path, tmp_path: Path) -> None:
    events = list[Event]()
    for _ in range(2):
        run = session(tmp_path, events.append)
        with run.store.in_use():
            sample(asking, model(tiny_model), SETTINGS, None, run)
        if not _:
            first = len(events)
    assert first and len(events) == first


def test_what_was_done_before_a_death_is_kept(asking: SliceAsking, tiny_model: Path, tmp_path: Path) -> None:
    def dies(event: Event) -> None:
        if event.done >= 3:
            for child in psutil.Process().children():
                child.kill()

    run = session(tmp_path / "dying", dies)
    with run.store.in_use(), pytest.raises(BackendError, match="SIGKILL"):
        sample(asking, model(tiny_model), SETTINGS, None, run)
    journal = [*(tmp_path / "dying").rglob("*.jsonl")]
    assert any(path.read_text().count("\n") >= 1 for path in journal)
    with (again := session(tmp_path / "dying")).store.in_use():
        resumed = sample(asking, model(tiny_model), SETTINGS, None, again)
    with (whole := session(tmp_path / "whole")).store.in_use():
        plainly = sample(asking, model(tiny_model), SETTINGS, None, whole)
    assert resumed._replace(seconds=0) == plainly._replace(seconds=0)


def test_the_closing_bracket_is_the_last_one(text: TextSide) -> None:
    ids = [text.bare(part) for part in ('{"a": [1]', "}", " and")]
    flat = [token for part in ids for token in part]
    answer = AnswerRecord(
        tokens=tuple(flat),
        text="",
        stop_reason="end",
        log_probability=(),
        stop_probability=(),
        stop_rank=(),
        entropy=(),
        margin=(),
    )
    place = closing_token(answer, text)
    assert place is not None and place == len(ids[0]) + len(ids[1]) - 1
    assert closing_token(answer.model_copy(update={"tokens": tuple(ids[2])}), text) is None


def test_samples_are_read_as_they_were_written() -> None:
    from slice_samples import choice, generated

    for one in (choice(1, (-1.0, -2.0)), generated(2, well_formed=True)):
        assert SliceSample.model_validate_json(one.model_dump_json()) == one
