"""A contract's limits, read from a few words."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from quantcurve.recipe_contract import Contract, parts


def read(text: str) -> Contract:
    return Contract.model_validate(YAML(typ="safe").load(io.StringIO(text)))


@pytest.mark.parametrize(
    ("line", "part", "name", "kind", "amount"),
    [
        ("{system: {latency_p95: -25 %}, quality: {routing: 0.3 points}}", "quality", "routing", "points", 0.003),
        ("{quality: {production: no significant regression}}", "quality", "production", "no_regression", 0),
        ("{behaviour: {mean_output_tokens: within 5 %}}", "behaviour", "mean_output_tokens", "within", 0.05),
        ("{quality: {code: at most 1 point lost}}", "quality", "code", "points", 0.01),
        (
            "{quality: {code: 1 point}, behaviour: {invalid_format on json: no more}}",
            *("behaviour", "invalid_format on json", "no_more", 0),
        ),
        ("{quality: {every language: 2 %}}", "quality", "every language", "share", 0.02),
        ("{quality: {prose: 0.05 nats}}", "quality", "prose", "nats", 0.05),
        ("{behaviour: {entropy on chat: ± 5 %}}", "behaviour", "entropy on chat", "within", 0.05),
        ("{behaviour: {refusal: 2 points more}}", "behaviour", "refusal", "more", 0.02),
    ],
)
def test_one_line_is_enough(line: str, part: str, name: str, kind: str, amount: float) -> None:
    limit = getattr(read(line), part)[name]
    assert (limit.kind, limit.amount) == (kind, pytest.approx(amount))


@pytest.mark.parametrize(
    ("line", "kind", "amount"),
    [
        ("{latency_p95: -25 %}", "change", -0.25),
        ("{latency_p95: <= 40 ms}", "at_most", 0.04),
        ("{decode_tokens_per_s: +10 %}", "change", 0.1),
        ("{decode_tokens_per_s: '>= 30 tokens/s'}", "at_least", 30),
        ("{size: <= 1.5 GiB}", "at_most", 1.5 * 2**30),
        ("{energy_per_token: −5%}", "change", -0.05),
    ],
)
def test_system_figures_change_or_are_bounded(line: str, kind: str, amount: float) -> None:
    ((_, limit),) = read(f"{{system: {line}}}").system.limits()
    assert (limit.kind, limit.amount) == (kind, pytest.approx(amount))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{quality: {code: a little}}", "give '1 point', '2 %', '0.05 nats' or 'no significant regression'"),
        ("{quality: {code: 1}}", "give '1 point'"),
        ("{quality: {code: -1 point}}", "give '1 point'"),
        ("{system: {latency_p95: 25 %}}", "give '-25 %'"),
        ("{system: {latency_p95: <= 3 GiB}}", "latency_p95 is measured in s or ms, not in GiB"),
        ("{system: {decode_tokens_per_s: <= 3 tokens/s}}", "decode_tokens_per_s is bounded by >="),
        ("{system: {size: '>= 3 GiB'}}", "size is bounded by <="),
        ("{system: {latency: -25 %}}", "Extra inputs"),
        ("{behaviour: {mean_output_token: within 5 %}}", "did you mean mean_output_tokens"),
        ("{behaviour: {mean_output_tokens: 5 points}}", "a limit on mean_output_tokens is 'within 5 %'"),
        ("{behaviour: {refusal: within 5 %}}", "a limit on refusal is '1 point' or 'no more'"),
        ("{behaviour: {refusal: [1]}}", "give 'within 5 %'"),
        ("{mode: slow}", "'quick' or 'full'"),
        ("{shortlist: 0}", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_read_is_refused(line: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(line)
    assert words in str(caught.value)


def test_a_contract_without_budgets_is_empty() -> None:
    assert read("{mode: quick}").empty and not read("{behaviour: {loops: no more}}").empty
    assert (parts("entropy on my chat"), parts("entropy")) == (("entropy", "my chat"), ("entropy", ""))


def test_what_was_read_is_read_again() -> None:
    """A recipe goes into keys and back."""
    contract = read("{system: {size: -20 %}, quality: {a: 1 point}, behaviour: {loops: no more}}")
    again: Any = contract.model_dump(mode="json")
    assert Contract.model_validate(again) == contract
