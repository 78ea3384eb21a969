"""Items as tokens: prompts, chats, choices, limits, and the reference's answer that every model is led along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from quantcurve.engines import gguf_tokenizer
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.likelihood import Followed, Likelihood
from quantcurve.slices.asks import ANSWER_TOKENS, AskSettings, ask, followed
from quantcurve.slices.items import Item, Kind
from quantcurve.slices.records import followed_answer
from slice_samples import answer

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"
)
SETTINGS = AskSettings(ends=(2, 7), context_tokens=256)
ADAPTER: TypeAdapter[Any] = TypeAdapter(Item)


@pytest.fixture(scope="module")
def text(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TextSide:
    folder = tmp_path_factory.mktemp("text")
    gguf_tokenizer.save(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return TextSide(folder)


def item(**fields: Any) -> Any:
    values = {"kind": "text", "id": "one", "answers": ["boat"]}
    if "messages" not in fields:
        values["prompt"] = "The harbour has a"
    return ADAPTER.validate_python(values | fields)


def test_a_prompt_is_continued_with_the_items_limits(text: TextSide) -> None:
    (asked,) = ask("s", [item(max_tokens=5, stop=["\n"])], text, SETTINGS)
    assert asked.request and asked.request.prompt.tolist() == text.encode("The harbour has a")
    assert (asked.request.max_tokens, asked.request.stops, asked.request.ends) == (5, ("\n",), (2, 7))
    assert asked.request.temperature == 0
    (plain,) = ask("s", [item()], text, SETTINGS)
    assert plain.request and plain.request.max_tokens == ANSWER_TOKENS["text"]
    (slices,) = ask("s", [item()], text, SETTINGS.model_copy(update={"max_tokens": 9}))
    assert slices.request and slices.request.max_tokens == 9


def test_chats_are_written_with_the_models_template(text: TextSide) -> None:
    chat = item(messages=[{"role": "user", "content": "boats?"}])
    (plain,) = ask("s", [chat], text, SETTINGS)
    assert plain.request and plain.request.prompt.tolist() == text.encode("<user>boats?<answer>")
    (told,) = ask("s", [chat], text, SETTINGS.model_copy(update={"system": "Be brief."}))
    assert told.request and told.request.prompt.tolist() == text.encode("<system>Be brief.<user>boats?<answer>")
    assert plain.prompt_hash != told.prompt_hash
    own = item(messages=[{"role": "system", "content": "Mine."}, {"role": "user", "content": "boats?"}])
    (kept,) = ask("s", [own], text, SETTINGS.model_copy(update={"system": "Be brief."}))
    assert kept.request and kept.request.prompt.tolist() == text.encode("<system>Mine.<user>boats?<answer>")


@pytest.mark.parametrize(
    ("prompt", "joined"), [("A lamp by the", "A lamp by the wall"), ("Answer:\n", "Answer:\nwall")]
)
def test_choices_go_on_from_the_prompt(text: TextSide, prompt: str, joined: str) -> None:
    fields = {"kind": "choice", "id": "one", "prompt": prompt, "choices": ["wall", "boats"], "answer": 1}
    choices = ADAPTER.validate_python(fields)
    (asked,) = ask("s", [choices], text, SETTINGS)
    assert asked.request is None and len(asked.pairs) == 2
    whole = np.concatenate(asked.pairs[0][:2]).tolist()
    assert whole == text.encode(joined)
    assert asked.prompt.tolist() == asked.pairs[0].context.tolist()


def test_what_does_not_fit_names_its_item(text: TextSide) -> None:
    long = item(prompt="The harbour. " * 200)
    with pytest.raises(
        RecipeError, match=r"slice s, item one: [\d,]+ tokens and an answer of 32 are .* context_tokens is 256"
    ):
        ask("s", [long], text, SETTINGS)


def test_every_generated_kind_has_a_limit() -> None:
    kinds = set(Kind.__args__) - {"choice"}  # type: ignore[attr-defined]
    assert set(ANSWER_TOKENS) == kinds


def test_the_references_answer_is_followed_to_its_end(text: TextSide) -> None:
    (asked,) = ask("s", [item()], text, SETTINGS)
    ended, cut = answer(4, True), answer(4, False)
    pair = followed(asked, ended, SETTINGS.ends)
    assert pair and pair.ends == (2, 7) and pair.continuation.tolist() == [*ended.tokens, 2]
    assert (found := followed(asked, cut, SETTINGS.ends)) and found.continuation.tolist() == list(cut.tokens)
    empty = followed(asked, answer(0, True), SETTINGS.ends)
    assert empty and empty.continuation.tolist() == [2]
    assert followed(asked, answer(0, False), SETTINGS.ends) is None


def test_figures_of_a_followed_answer() -> None:
    steps = Followed(
        log_probability=np.array([-0.5, -1.5, -9.0]),
        stop_probability=np.array([0.1, 0.0, 0.25], np.float32),
        stop_rank=np.array([3, 40, 1], np.int32),
        entropy=np.array([1.0, 2.0, 3.0], np.float32),
        margin=np.array([0.5, 0.5, 2.0], np.float32),
        rank=np.array([1, 2, 17], np.int32),
    )
    ended = followed_answer(Likelihood(-11.0, 3, False, steps), True, 1)
    assert (ended.tokens, ended.nats, ended.nats_per_token, ended.stop_rank) == (2, -2.0, -1.0, 1)
    assert ended.stop_log_probability == pytest.approx(np.log(0.25)) and ended.entropy == pytest.approx(2.0)
    assert (ended.close_log_probability, ended.close_rank) == (-1.5, 2)
    cut = followed_answer(Likelihood(-11.0, 3, False, steps), False, None)
    assert (cut.tokens, cut.nats, cut.stop_rank, cut.close_rank) == (3, -11.0, None, None)
