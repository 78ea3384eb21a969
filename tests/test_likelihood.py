"""Likelihoods of continuations: the schedule, and both engines on a tiny model against plain passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from quantcurve.answers_kept import Kept, key_of_batch
from quantcurve.engines import openvino
from quantcurve.engines.base import LlamaCppConfig, OpenVinoRuntime, Tokens
from quantcurve.engines.opening import Opened, open_model
from quantcurve.errors import BackendError, RecipeError
from quantcurve.likelihood import Batch, Followed, Likelihood, Pair, check, schedule

CONTEXT = 96


def ids(*values: int) -> Tokens:
    return np.array(values, np.int32)


def pair(context: Sequence[int], *continuation: int) -> Pair:
    return Pair(ids(*context), ids(*continuation))


def places(batches: Sequence[Batch]) -> list[tuple[int, ...]]:
    return [batch.places for batch in batches]


def test_the_continuations_of_a_context_stand_together() -> None:
    found = schedule([pair([1, 2], 3), pair([4, 5, 6], 3), pair([1, 2], 4, 5)], 64, 8)
    assert places(found) == [(0, 2, 1)] and found[0].shared == 0
    assert [len(q.continuations) for q in found[0].questions] == [2, 1]
    assert [p.continuation.tolist() for p in found[0].pairs] == [[3], [4, 5], [3]]


def test_batches_are_no_larger_than_asked_for() -> None:
    pairs = [pair([i] * 10, 1, 2, 3) for i in range(20)] + [pair([30] * 50, 1)]
    for batch in schedule(pairs, 40, 8):
        size = sum(len(q.context) + sum(len(c) - 1 for c in q.continuations) for q in batch.questions)
        assert size <= 40 or len(batch.questions) == 1
    many = [pair([1, 2, 3], i, i, i) for i in range(30)]
    assert [len(batch.places) for batch in schedule(many, 64, 8)] == [8, 8, 8, 6]
    assert max(len(batch.places) for batch in schedule(many, 10, 8)) == 5


def test_what_a_run_of_contexts_begins_with_is_shared() -> None:
    shots, others = list(range(100, 140)), list(range(200, 230))
    contexts = [[*shots, 1, 2, 3], [9, 8, 7], [*others, 1], [*shots, 4, 5], [*others, 2, 3], [*shots, 1, 6]]
    found = schedule([pair(context, 50) for context in contexts], 64, 8)
    by_place = {place: batch.shared for batch in found for place in batch.places}
    assert by_place == {0: 40, 1: 0, 2: 30, 3: 40, 4: 30, 5: 40}
    assert sorted(place for batch in found for place in batch.places) == list(range(6))


def test_contexts_that_share_little_end_a_run() -> None:
    start = list(range(20))
    contexts = [[*start, *range(100, 180), i] for i in range(3)] + [[*start, *range(200, 280), i] for i in range(3)]
    found = schedule([pair(context, 50) for context in contexts], 64, 8)
    assert {batch.shared for batch in found} == {100}


def test_the_last_token_of_a_context_is_never_shared() -> None:
    context = list(range(40))
    found = schedule([pair(context, 50), pair([*context, 60], 50), pair(context, 51)], 64, 8)
    assert [batch.shared for batch in found] == [39]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (pair([], 1), "its context is empty"),
        (pair([1]), "its continuation is empty"),
        (pair([1] * 30, 1, 2, 3, 4), "33 tokens, and the context is 32"),
        (pair([1], 300), "ids from 1 to 300"),
    ],
)
def test_what_cannot_be_judged_is_refused(bad: Pair, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check([bad], 32, 300)


LANES = [
    "gguf",
    pytest.param(
        "openvino",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not openvino.find_spec("optimum"), reason=openvino.INSTALL),
        ],
    ),
]


@pytest.fixture(scope="module", params=LANES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("likelihood")
    config = LlamaCppConfig(threads=2, window_tokens=1).for_likelihoods(CONTEXT)
    if request.param == "gguf":
        from tiny import write_tiny_llama

        path = write_tiny_llama(folder / "tiny.gguf", precision="F32")
        exact = {"k_type": "f32", "v_type": "f32", "flash_attention": "off"}
        opened = open_model(path, config.model_copy(update=exact), "tiny", folder / "log")
    else:
        from tiny_ir import write_tiny_ir

        path = write_tiny_ir(folder / "ir", folder / "log")
        opened = open_model(path, config.of(OpenVinoRuntime(execution="accuracy")), "tiny", folder / "log")
    yield opened
    opened.close()


def judged(model: Opened, pairs: Sequence[Pair], batch_tokens: int = 256) -> list[Likelihood]:
    found = {
        place: likelihood
        for batch, some in model.log_likelihoods(pairs, batch_tokens)
        for place, likelihood in zip(batch.places, some, strict=True)
    }
    return [found[i] for i in range(len(pairs))]


def expected(model: Opened, one: Pair) -> Likelihood:
    """By a plain pass over a window whose second half is the continuation."""
    scores = model.score(np.concatenate(one[:2])[None])
    return Likelihood(
        -float(scores.nll.sum()), len(one.continuation), scores.top1[0].tolist() == list(one.continuation)
    )


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    random = np.random.default_rng(5)
    return [
        Pair(context, random.integers(3, 299, len(context) - 1).astype(np.int32))
        for context in (random.integers(3, 299, n).astype(np.int32) for n in (2, 3, 9, 6, 9, 20, 33, 4))
        for _ in range(3)
    ]


@pytest.mark.real
def test_likelihoods_are_those_of_plain_passes(model: Opened, pairs: list[Pair]) -> None:
    for one, found in zip(pairs, judged(model, pairs), strict=True):
        plain = expected(model, one)
        assert found.nats == pytest.approx(plain.nats, abs=2e-3, rel=1e-4)
        assert (found.tokens, found.greedy) == (plain.tokens, plain.greedy)


@pytest.mark.real
def test_what_is_greedy_is_told(model: Opened) -> None:
    context = ids(*range(10, 30))
    tokens = list[int]()
    for _ in range(3):
        rest = np.concatenate([context, ids(*tokens)])
        every = judged(model, [Pair(rest, ids(i)) for i in range(300)], 512)
        tokens.append(int(np.argmax([f.nats for f in every])))
        assert [i for i, f in enumerate(every) if f.greedy] == tokens[-1:]
        assert np.exp([f.nats for f in every]).sum() == pytest.approx(1, abs=1e-4)
    assert judged(model, [Pair(context, ids(*tokens))])[0].greedy


@pytest.mark.real
def test_a_continuation_that_is_followed_has_figures_of_every_step(model: Opened) -> None:
    """Against the likelihoods of every token of the vocabulary at each step."""
    context, continuation, ends = ids(*range(10, 30)), ids(40, 7, 120), (5, 7)
    plain, found = judged(model, [Pair(context, continuation), Pair(context, continuation, ends)])
    assert found.nats == pytest.approx(plain.nats, abs=1e-5) and found[1:3] == plain[1:3]
    assert plain.steps is None and found.steps is not None
    for i, token in enumerate(continuation.tolist()):
        before = np.concatenate([context, continuation[:i]])
        nats = np.array([f.nats for f in judged(model, [Pair(before, ids(j)) for j in range(300)], 512)])
        best = np.sort(nats)[::-1]
        assert found.steps.log_probability[i] == pytest.approx(nats[token], abs=2e-3)
        assert found.steps.rank[i] == 1 + (nats > nats[token]).sum()
        assert found.steps.stop_probability[i] == pytest.approx(np.exp(nats[list(ends)]).sum(), rel=5e-3)
        assert found.steps.stop_rank[i] == 1 + (nats > nats[list(ends)].max()).sum()
        assert found.steps.entropy[i] == pytest.approx(-(np.exp(nats) * nats).sum(), rel=1e-3)
        assert found.steps.margin[i] == pytest.approx(best[0] - best[1], abs=4e-3)


def test_steps_that_are_kept_are_read_as_they_were(tmp_path: Path) -> None:
    steps = Followed(
        log_probability=np.array([-0.1, -2.5]),
        stop_probability=np.array([0.25, 1e-7], np.float32),
        stop_rank=ids(1, 40),
        entropy=np.array([0.5, 3.25], np.float32),
        margin=np.array([1.5, 0.0], np.float32),
        rank=ids(1, 17),
    )
    path = tmp_path / "kept.jsonl"
    Kept(path).add_likelihoods("both", [Likelihood(-2.6, 2, False, steps), Likelihood(-1.0, 1, True)])
    followed, plain = Kept(path).likelihoods("both") or []
    assert plain == Likelihood(-1.0, 1, True) and followed[:3] == (-2.6, 2, False) and followed.steps
    for name, values in vars(steps).items():
        read = getattr(followed.steps, name)
        assert read.dtype == values.dtype and read.tolist() == values.tolist()


def test_what_ends_a_continuation_is_part_of_what_was_asked() -> None:
    keys = {key_of_batch(schedule([Pair(ids(1, 2), ids(3), ends)], 64, 8)[0]) for ends in (None, (), (3,), (4,))}
    assert len(keys) == 4


@pytest.mark.real
@pytest.mark.parametrize("batch_tokens", [24, 4096])
def test_shared_beginnings_and_batches_change_next_to_nothing(
    model: Opened, pairs: list[Pair], batch_tokens: int
) -> None:
    shots = np.arange(3, 33, dtype=np.int32)
    longer = [Pair(np.concatenate([shots, one.context[:12]]), one.continuation[:8]) for one in pairs]
    assert {batch.shared for batch in schedule(longer, batch_tokens, 128)} == {30}
    together, again = (judged(model, longer, batch_tokens) for _ in range(2))
    alone = [judged(model, [one])[0] for one in longer]
    assert together == again
    for one, other in zip(together, alone, strict=True):
        assert one.nats == pytest.approx(other.nats, abs=2e-3) and one.greedy == other.greedy


@pytest.mark.real
def test_bad_pairs_are_refused_and_the_model_goes_on(model: Opened, pairs: list[Pair]) -> None:
    with pytest.raises(RecipeError, match="context is 96"):
        judged(model, [Pair(ids(*[5] * 90), ids(*[6] * 9))])
    assert len(judged(model, pairs[:1])) == 1


@pytest.mark.real
def test_a_model_opened_for_something_else_says_so(tiny_model: Path, tmp_path: Path, pairs: list[Pair]) -> None:
    opened = open_model(tiny_model, LlamaCppConfig(threads=1, window_tokens=64), "tiny", tmp_path / "log")
    with closing(opened), pytest.raises(BackendError, match="cache that sequences share"):
        judged(opened, pairs)
