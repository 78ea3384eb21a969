"""Slices on one model: answers and likelihoods, judged, and the reference's own answers followed, item by item.

What is done is kept group by group (answers_kept.py), so that a run that is stopped goes on where it was, and every
model's samples of a slice are an artifact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve.answers_kept import Kept
from quantcurve.engines.text_side import TextSide
from quantcurve.likelihood import Pair
from quantcurve.records import EffectiveConfig, EngineIdentity, Frozen
from quantcurve.session import Event, Session
from quantcurve.slices.asks import Asked, AskSettings, followed
from quantcurve.slices.items import ChoiceItem, Item, RefusalItem
from quantcurve.slices.judging import Judge
from quantcurve.slices.records import SliceSample, followed_answer
from quantcurve.stages.scoring import Model
from quantcurve.store import key_of
from quantcurve.task_model import TaskModel, TaskSettings
from quantcurve.task_records import AnswerRecord

STAGE = "slices"
SAMPLES = "samples.jsonl"
CLOSING = ("}", "]")
CLOSED = ("json", "tool_call")
"""Kinds of items whose answers end with a bracket."""


class SliceAsking(NamedTuple):
    """A slice, as every model is asked it."""

    name: str
    asked: Sequence[Asked]
    settings: AskSettings
    text: TextSide
    judge: Judge
    judge_version: str
    """Of the judge; a hash of its source if it is the user's."""

    @property
    def asked_hash(self) -> str:
        """Of the items, with what is right, and of the tokens that models get."""
        prompts = tuple(one.prompt_hash for one in self.asked)
        return key_of(_Items(items=tuple(one.item for one in self.asked), prompts=prompts))


class _Items(Frozen):
    items: tuple[Item, ...]
    prompts: tuple[str, ...]


class SliceInputs(Frozen):
    """Key of one slice's samples on one model."""

    version: Literal[3] = 3
    content_hash: str
    slice: str
    asked_hash: str
    settings: AskSettings
    model: TaskSettings
    judge_version: str
    reference_hash: str
    """Of the reference's answers, which are followed; empty on the reference itself."""
    engine: EngineIdentity


class SliceStep(Frozen):
    """What was asked; samples.jsonl beside it has the samples."""

    items: int
    effective: EffectiveConfig | None
    """None where all answers were known from an interrupted evaluation."""
    seconds: float
    """That it took, without what was known."""


class OnModel(NamedTuple):
    """A slice's samples on one model, in the order of its items."""

    samples: tuple[SliceSample, ...]
    content_hash: str
    """Of the answers."""
    seconds: float
    """See SliceStep."""


def sample(
    asking: SliceAsking, model: Model, settings: TaskSettings, reference: OnModel | None, session: Session
) -> OnModel:
    """Samples of all items.

    Args:
        asking: the slice.
        model: that is asked.
        settings: how it is opened.
        reference: the reference's samples; None where `model` is the reference.
        session: the run's surroundings.

    Raises:
        BackendError: the engine failed or died; what was done is kept.
    """
    inputs = SliceInputs(
        content_hash=model.content_hash,
        slice=asking.name,
        asked_hash=asking.asked_hash,
        settings=asking.settings,
        model=settings,
        judge_version=asking.judge_version,
        reference_hash=reference.content_hash if reference else "",
        engine=session.engine_of(model.runtime),
    )
    step, artifact = session.make(STAGE, inputs, SliceStep, partial(_made, asking, inputs, model, reference, session))
    samples = read_samples(artifact.folder)
    return OnModel(samples, key_of(_Answers(answers=tuple(s.answer for s in samples))), step.seconds)


def read_samples(folder: Path) -> tuple[SliceSample, ...]:
    """What `write_samples` wrote."""
    lines = (folder / SAMPLES).read_bytes().split(b"\n")  # as bytes: answers may have U+2028 in them
    return tuple(SliceSample.model_validate_json(line) for line in lines if line)


def write_samples(folder: Path, samples: Sequence[SliceSample]) -> None:
    """Samples as an artifact has them, in their order."""
    content = "".join(one.model_dump_json() + "\n" for one in samples)
    (folder / SAMPLES).write_text(content, encoding="utf-8")


class _Answers(Frozen):
    answers: tuple[AnswerRecord | None, ...]


def _made(
    asking: SliceAsking,
    inputs: SliceInputs,
    model: Model,
    reference: OnModel | None,
    session: Session,
    folder: Path,
) -> SliceStep:
    started = time.perf_counter()
    kept = Kept(session.store.journal(inputs))
    opened = TaskModel(model.path, inputs.model, model.name, session.log(model.name), kept)
    done, total = 0, 2 * len(asking.asked)

    def moved(count: int) -> None:
        nonlocal done
        done += count
        session.progress(Event(STAGE, min(done, total), total, f"{model.name}, {asking.name}"))

    samples = _samples(asking, opened, reference, moved)
    write_samples(folder, samples)
    return SliceStep(items=len(samples), effective=opened.effective, seconds=time.perf_counter() - started)


def _samples(
    asking: SliceAsking, model: TaskModel, reference: OnModel | None, moved: Callable[[int], None]
) -> list[SliceSample]:
    choices = [asked for asked in asking.asked if asked.request is None]
    generated = [asked for asked in asking.asked if asked.request is not None]
    found = {
        one.item: one for one in (*_choices(asking, choices, model, moved), *_answers(asking, generated, model, moved))
    }
    leads = {s.item: s for s in (reference.samples if reference else found.values())}
    found |= {one.item: one for one in _followed(asking, generated, found, leads, model, moved)}
    return [found[asked.item.id] for asked in asking.asked]


def _choices(
    asking: SliceAsking, asked: Sequence[Asked], model: TaskModel, moved: Callable[[int], None]
) -> list[SliceSample]:
    if not asked:
        return []
    nats = iter(model.likelihoods([pair for one in asked for pair in one.pairs]))
    moved(2 * len(asked))
    found = []
    for one in asked:
        assert isinstance(one.item, ChoiceItem)
        values = tuple(next(nats).nats for _ in one.pairs)
        lengths = tuple(len(choice.encode()) for choice in one.item.choices)
        plain = _plain(asking.name, one)
        found.append(plain.model_copy(update={"right": one.item.answer, "likelihoods": values, "lengths": lengths}))
    return found


def _answers(
    asking: SliceAsking, asked: Sequence[Asked], model: TaskModel, moved: Callable[[int], None]
) -> list[SliceSample]:
    if not asked:
        return []
    requests = [one.request for one in asked if one.request]
    answers = [AnswerRecord.of(answer) for answer in model.answers(requests, moved)]
    judged = asking.judge(asked, answers)
    return [
        _plain(asking.name, one).model_copy(update={"answer": answer, "judgement": judgement})
        for one, answer, judgement in zip(asked, answers, judged, strict=True)
    ]


def _plain(name: str, asked: Asked) -> SliceSample:
    item = asked.item
    return SliceSample(
        slice=name,
        item=item.id,
        kind=item.kind,
        language=item.language,
        group=item.group,
        prompt_tokens=len(asked.prompt),
        prompt_hash=asked.prompt_hash,
        safe=item.safe if isinstance(item, RefusalItem) else None,
    )


def _followed(
    asking: SliceAsking,
    asked: Sequence[Asked],
    found: Mapping[str, SliceSample],
    leads: Mapping[str, SliceSample],
    model: TaskModel,
    moved: Callable[[int], None],
) -> list[SliceSample]:
    """The samples with their figures along the reference's answers."""
    pairs: list[tuple[SliceSample, AnswerRecord, Pair]] = []
    for one in asked:
        lead = leads[one.item.id].answer
        assert lead is not None
        if pair := followed(one, lead, asking.settings.ends):
            pairs.append((found[one.item.id], lead, pair))
    if not pairs:
        return []
    likelihoods = model.likelihoods([pair for _, _, pair in pairs], moved)
    out = []
    for (one_sample, lead, _), likelihood in zip(pairs, likelihoods, strict=True):
        close = closing_token(lead, asking.text) if one_sample.kind in CLOSED else None
        stopped = lead.stop_reason == "end" and bool(asking.settings.ends)
        out.append(one_sample.model_copy(update={"followed": followed_answer(likelihood, stopped, close)}))
    return out


def closing_token(answer: AnswerRecord, text: TextSide) -> int | None:
    """Place of the last token of an answer with a closing bracket in it."""
    texts = (text.tokenizer.decode([token], skip_special_tokens=False) for token in answer.tokens)
    places = [i for i, one in enumerate(texts) if any(bracket in one for bracket in CLOSING)]
    return places[-1] if places else None
