"""The validation functions that quantcurve brings; recipe_accuracy.BUILT_IN has their names. Each gives one value for
each item, higher is better.

What stands between a prompt and an answer whose likelihood is asked for: the record's `delimiter` if it has one, else a
space, unless one of the two has white space there (lm-evaluation-harness: `target_delimiter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from quantcurve.errors import BackendError, RecipeError, printable
from quantcurve.likelihood import Likelihood
from quantcurve.slices.json_answers import fits, read, validator
from quantcurve.validation import Item, LanguageModel
from quantcurve.validation_errors import SequenceTooLongError, named

VERSION = 1
"""Part of store keys: bump it where a function's values change."""
MAX_TOKENS = 64
"""Of an answer, where the record has no `max_tokens`."""


def token_accuracy(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """Share of positions where the model's most likely token is the float reference's."""
    scores, reference = model.score(items), model.reference_top1(items)
    return [float(np.mean(s.top1[0] == top1)) for s, top1 in zip(scores, reference, strict=True)]


def negative_cross_entropy(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """Minus the mean negative log-likelihood of the text's tokens, nats per token."""
    return [-float(s.nll.mean()) for s in model.score(items)]


def negative_kl_divergence(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """Minus the mean KL divergence from the float reference's distribution, nats per token.

    Raises:
        BackendError: the model was opened without the reference's logits.
    """
    found = [s.kl for s in model.score(items)]
    if any(kl is None for kl in found):
        raise BackendError("the model was opened without the reference's logits; open it with them")
    return [-float(kl.mean()) for kl in found if kl is not None]


def answer_log_likelihood(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """Mean log-likelihood of a record's `answer` after its `prompt`, nats per token."""
    pairs = [_pair(item, _text(item, "prompt"), _text(item, "answer")) for item in items]
    return [found.nats / found.tokens for found in _likelihoods(model, items, pairs)]


def multiple_choice(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """1 where the most likely of a record's `choices` after its `question` (or `prompt`) is its `answer`, which is the
    choice's place, from 0, or its text; else 0.

    Log-likelihoods are divided by the choice's length in bytes of UTF-8 (lm-evaluation-harness: acc_bytes, in older
    versions by characters: acc_norm); of equals the first counts.
    """
    right, owners, pairs = [], [], list[tuple[str, str]]()
    choices = [_choices(item) for item in items]
    for item, texts in zip(items, choices, strict=True):
        question = _text(item, "question", "prompt")
        right.append(_right(item, texts))
        owners += [item] * len(texts)
        pairs += [_pair(item, question, text) for text in texts]
    found = iter(_likelihoods(model, owners, pairs))
    values = []
    for texts, place in zip(choices, right, strict=True):
        norms = [next(found).nats / len(text.encode()) for text in texts]
        values.append(float(int(np.argmax(norms)) == place))
    return values


def exact_match(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """1 where the greedy answer to a record's `prompt` or `messages` is its `answer`, or one of its `answers`, but for
    white space around; else 0. `max_tokens` and `stop` of the record bound the answer."""
    wanted = [_answers(item) for item in items]
    return [float(said.strip() in texts) for said, texts in zip(_generated(model, items), wanted, strict=True)]


def json_validity(model: LanguageModel, items: Sequence[Item]) -> list[float]:
    """1 where the greedy answer to a record's `prompt` or `messages`, without one fence of Markdown around it, is JSON
    (RFC 8259), and fits the record's `schema` (JSON Schema) if it has one; else 0."""
    validators = [_validator(item) for item in items]
    said = _generated(model, items)
    return [float(_is_valid(*one)) for one in zip(said, validators, items, strict=True)]


def _likelihoods(
    model: LanguageModel, owners: Sequence[Item], pairs: Sequence[tuple[str, str]]
) -> Sequence[Likelihood]:
    try:
        return model.log_likelihood(pairs)
    except SequenceTooLongError as error:
        raise error.of(owners[error.index]) from error


class _Request(NamedTuple):
    """What an answer is asked with."""

    prompt: str
    max_tokens: int
    stops: tuple[str, ...]


def _generated(model: LanguageModel, items: Sequence[Item]) -> list[str]:
    """Answers; those of one length and the same stops are asked for together."""
    found = dict[int, str]()
    asked = [_request(model, item) for item in items]
    for bounds in dict.fromkeys((one.max_tokens, one.stops) for one in asked):
        places = [i for i, one in enumerate(asked) if (one.max_tokens, one.stops) == bounds]
        try:
            said = model.generate([asked[i].prompt for i in places], *bounds)
        except SequenceTooLongError as error:
            raise error.of(items[places[error.index]]) from error
        found.update(zip(places, said, strict=True))
    return [found[i] for i in range(len(items))]


def _request(model: LanguageModel, item: Item) -> _Request:
    record = item.record
    if "messages" in record:
        messages = record["messages"]
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise _wrong(item, "messages", "a list of {role, content}")
        try:
            prompt = model.chat(messages)
        except RecipeError as error:
            raise RecipeError(f"{named(item)}: {error}") from error
    else:
        prompt = _text(item, "prompt", "messages")
    most, stop = record.get("max_tokens", MAX_TOKENS), record.get("stop", [])
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise _wrong(item, "max_tokens", "a whole number from 1 on")
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise _wrong(item, "stop", "a text or a list of texts")
    return _Request(prompt, most, tuple(stops))


def _pair(item: Item, prompt: str, answer: str) -> tuple[str, str]:
    apart = not prompt or prompt[-1].isspace() or answer[0].isspace()
    delimiter = item.record.get("delimiter", "" if apart else " ")
    if not isinstance(delimiter, str):
        raise _wrong(item, "delimiter", "a text")
    return prompt, delimiter + answer


def _choices(item: Item) -> list[str]:
    found = _field(item, "choices")
    if not isinstance(found, list) or len(found) < 2 or not all(isinstance(c, str) and c for c in found):
        raise _wrong(item, "choices", "a list of two or more texts")
    return list(found)


def _right(item: Item, choices: Sequence[str]) -> int:
    answer = _field(item, "answer")
    if isinstance(answer, str) and choices.count(answer) == 1:
        return choices.index(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise _wrong(item, "answer", f"one of its {len(choices)} choices, as text or as its place from 0")


def _answers(item: Item) -> list[str]:
    found = item.record["answers"] if "answers" in item.record else [_field(item, "answer", "answers")]
    if not isinstance(found, list) or not found or not all(isinstance(a, str) for a in found):
        raise _wrong(item, "answers" if "answers" in item.record else "answer", "a text (answers: a list of texts)")
    return [a.strip() for a in found]


def _text(item: Item, *fields: str) -> str:
    """The first of these fields that a record has; only a prompt may be empty."""
    found = _field(item, *fields)
    if not isinstance(found, str) or (not found and fields[0] == "answer"):
        raise _wrong(item, next(f for f in fields if f in item.record), "a text")
    return found


def _field(item: Item, *fields: str) -> Any:
    for field in fields:
        if field in item.record:
            return item.record[field]
    there = ", ".join(map(str, item.record)) or "none; this function takes records, not windows"
    raise RecipeError(f"{named(item)} has no field {' or '.join(fields)} (it has: {printable(there)}); add it")


def _wrong(item: Item, field: str, wanted: str) -> RecipeError:
    shown = printable(repr(item.record[field]), 80)
    return RecipeError(f"{named(item)}: {field} is not {wanted} but {shown}")


def _validator(item: Item) -> Any:
    schema = item.record.get("schema")
    if schema is None:
        return None
    if not isinstance(schema, dict | bool):
        raise _wrong(item, "schema", "a JSON Schema")
    return validator(schema, named(item))


def _is_valid(text: str, checker: Any, item: Item) -> bool:
    try:
        value = read(text)
    except ValueError:
        return False
    return checker is None or fits(value, checker, named(item))
