"""Generated answers: the schedule, the loop over a decoder that we know by heart, and both engines on a tiny model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import chisquare

from quantcurve.engines import generating, gguf_tokenizer, openvino
from quantcurve.engines.base import Floats, LlamaCppConfig, OpenVinoRuntime, Tokens
from quantcurve.engines.opening import Opened, open_model
from quantcurve.errors import BackendError, RecipeError
from quantcurve.generation import Answer, Request, check, schedule, shared_tokens

WORDS = ("<end>", "he", "llo", " wor", "ld", "ST", "OP", "x")


def ids(*values: int) -> Tokens:
    return np.array(values, np.int32)


class Spelled:
    """A decoder whose logits after n new tokens are rows[n], whatever the prompt."""

    def __init__(self, rows: Floats) -> None:
        self.rows, self.steps = rows, list[tuple[list[int], list[int]]]()

    def begin(self, prompts: Sequence[Tokens], shared: int) -> Floats:
        return np.repeat(self.rows[:1], len(prompts), axis=0)

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Floats:
        self.steps.append((list(slots), list(tokens)))
        return np.repeat(self.rows[len(self.steps)][None], len(slots), axis=0)

    def text(self, prompt: Tokens, new: Sequence[int]) -> str:
        return "".join(WORDS[token] for token in new)


def spelling(*tokens: int) -> Floats:
    """Logits that have these tokens as the likeliest ones, one after the other."""
    rows = np.random.default_rng(1).normal(size=(len(tokens), len(WORDS))).astype(np.float32)
    rows[np.arange(len(tokens)), tokens] = 5
    return rows


def answered(rows: Floats, **wanted: object) -> Answer:
    request = Request(ids(3, 4), **({"max_tokens": len(rows), "ends": (0,)} | wanted))  # type: ignore[arg-type]
    return generating.generate(Spelled(rows), [request], 0)[0]


def test_an_end_token_is_no_part_of_the_answer() -> None:
    found = answered(spelling(1, 2, 0, 7))
    assert (found.text, found.stop_reason, found.tokens.tolist()) == ("hello", "end", [1, 2])
    assert all(len(values) == 3 for values in vars(found.steps).values())


def test_a_limit_ends_an_answer() -> None:
    found = answered(spelling(1, 2, 3, 0), max_tokens=2)
    assert (found.text, found.stop_reason, len(found.steps.entropy)) == ("hello", "limit", 2)


@pytest.mark.parametrize(
    ("stops", "text"),
    [(("STOP",), "hello"), (("o wo",), "hell"), (("P", "TO"), "helloS"), (("never", "lo"), "hel"), (("d",), "hello")],
)
def test_stop_strings_may_lie_across_tokens(stops: tuple[str, ...], text: str) -> None:
    rows = spelling(1, 2, 3, 0) if stops == ("o wo",) else spelling(1, 2, 5, 6, 7, 0)
    found = answered(rows, stops=stops)
    if stops == ("d",):
        assert (found.text, found.stop_reason) == ("helloSTOPx", "end")
    else:
        assert (found.text, found.stop_reason) == (text, "stop")


def test_figures_are_those_of_the_distribution() -> None:
    rows = spelling(7, 7, 0)
    found = answered(rows, ends=(0, 2)).steps
    probabilities = softmax(rows.astype(np.float64), axis=1)
    assert found.log_probability == pytest.approx(
        log_softmax(rows.astype(np.float64), axis=1)[range(3), [7, 7, 0]], 1e-4
    )
    assert found.stop_probability == pytest.approx(probabilities[:, [0, 2]].sum(1), rel=1e-5)
    assert found.entropy == pytest.approx(-(probabilities * np.log(probabilities)).sum(1), rel=1e-5)
    ordered = np.sort(rows, axis=1)
    assert found.margin == pytest.approx(ordered[:, -1] - ordered[:, -2], rel=1e-5)
    best_end = rows[:, [0, 2]].max(1, keepdims=True)
    assert found.stop_rank.tolist() == (1 + (rows > best_end).sum(1)).tolist() and found.stop_rank[2] == 1


def test_without_end_tokens_the_limit_counts() -> None:
    found = answered(spelling(0, 0, 0), ends=())
    assert found.stop_reason == "limit" and not found.steps.stop_probability.any() and not found.steps.stop_rank.any()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_with_their_probabilities(temperature: float) -> None:
    row = np.array([[1, 0, 0.5, -1, 2, 0.1, -0.3, 0.7]], np.float32)
    draws = [int(answered(row, ends=(), temperature=temperature, seed=seed).tokens[0]) for seed in range(4000)]
    expected = softmax(row[0].astype(np.float64) / temperature) * len(draws)
    assert chisquare(np.bincount(draws, minlength=8), expected).pvalue > 0.001


def test_a_nucleus_is_the_fewest_tokens_that_reach_its_share() -> None:
    weights = np.array([1, 5, 2, 5, 0.5, 6.5], np.float32)
    for top_p in (0.05, 0.3, 0.32, 0.33, 0.57, 0.6, 0.9, 0.98, 1.0):
        order = np.argsort(-weights, kind="stable")
        size = 1 + int((np.cumsum(weights[order]) < top_p * weights.sum() - 1e-9).sum())
        assert generating.nucleus(weights, top_p).tolist() == order[:size].tolist()
    many = np.exp(np.random.default_rng(0).normal(0, 3, 49_152)).astype(np.float32)
    kept = generating.nucleus(many, 0.95)
    assert many[kept].sum() >= 0.95 * many.sum() > many[kept[:-1]].sum()
    assert many[kept].min() >= np.delete(many, kept).max()


def test_nothing_is_drawn_from_outside_the_nucleus() -> None:
    rows = np.tile(np.log(np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0, 0], np.float32) + 1e-9), (400, 1))
    drawn = answered(rows, ends=(), temperature=1.0, top_p=0.6).tokens
    assert np.bincount(drawn, minlength=2)[:2] / 400 == pytest.approx([4 / 7, 3 / 7], abs=0.08) and drawn.max() == 1


def test_what_is_drawn_hangs_on_the_seed_alone() -> None:
    rows = np.zeros((6, 8), np.float32)
    alone = answered(rows, ends=(), temperature=1.0, seed=7)
    others = [Request(ids(1), 6, (), temperature=1.0, seed=seed) for seed in (5, 7, 9)]
    together = generating.generate(Spelled(rows), others, 0)
    assert together[1].tokens.tolist() == alone.tokens.tolist() != together[0].tokens.tolist()


def test_slots_are_left_out_when_their_answers_end() -> None:
    decoder = Spelled(spelling(1, 1, 1, 1))
    requests = [Request(ids(3), n, ()) for n in (3, 1, 4)]
    generating.generate(decoder, requests, 0)
    assert [slots for slots, _ in decoder.steps] == [[0, 2], [0, 2], [2]]


def test_broken_logits_are_an_error() -> None:
    rows = spelling(1, 2)
    rows[1, 3] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        answered(rows)


def test_groups_are_by_length_and_share_what_all_begin_with() -> None:
    start = list(range(20))
    prompts = [ids(*start, *[30 + i] * n) for i, n in enumerate((4, 1, 3, 2, 1))]
    requests = [Request(prompt, 8, ()) for prompt in prompts]
    groups = schedule(requests, 2)
    assert [group.places for group in groups] == [(1, 4), (3, 2), (0,)]
    assert {group.shared for group in groups} == {20}
    with pytest.raises(ValueError, match="0 answers"):
        schedule(requests, 0)


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([], 0),
        ([range(40)], 0),
        ([range(40), range(40)], 39),
        ([range(40), range(18)], 17),
        ([range(40), range(10)], 0),
        ([range(40), [*range(25), 99]], 25),
        ([range(40), [99, *range(25)]], 0),
    ],
)
def test_the_last_token_of_a_prompt_is_never_shared(prompts: list[Sequence[int]], shared: int) -> None:
    assert shared_tokens([ids(*prompt) for prompt in prompts]) == shared


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request(ids(), 4, ()), "prompt 0 is empty"),
        (Request(ids(1), 0, ()), "max_tokens is 0"),
        (Request(ids(*[1] * 30), 4, ()), "30 tokens and an answer of 4 are 34, and the context is 32"),
        (Request(ids(1, 300), 4, ()), "ids from 1 to 300"),
        (Request(ids(1), 4, (), temperature=-1), "temperature is -1"),
        (Request(ids(1), 4, (), top_p=0.0), "top_p is 0"),
    ],
)
def test_what_cannot_be_continued_is_refused(request_: Request, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check([request_], 32, 300)


CONTEXT, BATCH = 96, 4
LANES = [
    pytest.param("gguf"),
    pytest.param(
        "openvino",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(
                not all(map(openvino.find_spec, ("optimum", "openvino_tokenizers"))), reason=openvino.INSTALL
            ),
        ],
    ),
]


@pytest.fixture(scope="module", params=LANES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("generation")
    config = LlamaCppConfig(threads=2, window_tokens=1).for_answers(BATCH, CONTEXT)
    path = folder / "ir"
    if request.param == "gguf":
        from tiny import write_tiny_llama

        path = write_tiny_llama(folder / "tiny.gguf", precision="F32")
        config = config.model_copy(update={"k_type": "f32", "v_type": "f32", "flash_attention": "off"})
    else:
        from tiny import write_tiny_llama
        from tiny_ir import write_tiny_ir

        write_tiny_ir(path, folder / "log")
        gguf_tokenizer.save(write_tiny_llama(folder / "tiny.gguf"), path)
        config = config.of(OpenVinoRuntime(execution="accuracy"))  # type: ignore[assignment]
    opened = open_model(path, config, "tiny", folder / "log")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def prompts() -> list[Tokens]:
    """Of several lengths, and odd ones, so that groups have to be filled up."""
    random = np.random.default_rng(3)
    return [random.integers(3, 299, n).astype(np.int32) for n in (9, 33, 17, 33, 25, 5, 40)]


def answers(model: Opened, requests: Sequence[Request], batch: int = BATCH) -> list[Answer]:
    found = {
        place: answer
        for group, some in model.generate(requests, batch)
        for place, answer in zip(group.places, some, strict=True)
    }
    return [found[i] for i in range(len(requests))]


@pytest.mark.real
def test_greedy_answers_are_the_likeliest_tokens_of_a_plain_pass(model: Opened, prompts: list[Tokens]) -> None:
    """The second half of a window is scored: from a prompt of n tokens, n - 2 more are known."""
    for prompt, answer in zip(prompts, answers(model, [Request(p, len(p) - 2, ()) for p in prompts]), strict=True):
        scores = model.score(np.concatenate([prompt, answer.tokens])[None])
        assert answer.tokens.tolist() == scores.top1[0].tolist()
        assert answer.steps.log_probability == pytest.approx(-scores.nll[0], abs=1e-3)
        assert answer.steps.entropy == pytest.approx(scores.entropy[0], rel=1e-3)
        assert answer.steps.margin == pytest.approx(scores.margin[0], abs=1e-3)


@pytest.mark.real
def test_together_or_alone_answers_are_the_same(model: Opened, prompts: list[Tokens]) -> None:
    requests = [Request(p, 24, (5, 17, 200), temperature=t, seed=i) for i, p in enumerate(prompts) for t in (0.0, 0.7)]
    together, again, alone = (answers(model, requests, batch) for batch in (BATCH, BATCH, 1))
    for one, two, three in zip(together, again, alone, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist() == three.tokens.tolist()
        assert one.stop_reason == three.stop_reason
        assert np.array_equal(one.steps.log_probability, two.steps.log_probability)
        assert one.steps.log_probability == pytest.approx(three.steps.log_probability, abs=2e-3)
        assert one.steps.stop_probability == pytest.approx(three.steps.stop_probability, abs=1e-3)


@pytest.mark.real
def test_what_prompts_begin_with_is_computed_once(model: Opened, prompts: list[Tokens]) -> None:
    start = np.arange(3, 33, dtype=np.int32)
    requests = [Request(np.concatenate([start, p[:20]]), 16, ()) for p in prompts]
    assert all(group.shared == len(start) for group in schedule(requests, BATCH))
    shared = answers(model, requests)
    alone = [answers(model, [request])[0] for request in requests]
    for one, two in zip(shared, alone, strict=True):
        assert one.tokens.tolist() == two.tokens.tolist()
        assert one.steps.log_probability == pytest.approx(two.steps.log_probability, abs=2e-3)
    model.score(np.random.default_rng(0).integers(3, 299, (1, 32)).astype(np.int32))
    assert [a.tokens.tolist() for a in answers(model, requests)] == [a.tokens.tolist() for a in shared]


@pytest.mark.real
def test_stop_strings_cut_the_engines_text(model: Opened, prompts: list[Tokens]) -> None:
    plain = answers(model, [Request(prompts[1], 24, ())])[0]
    stop = plain.text[7:10]
    found = answers(model, [Request(prompts[1], 24, (), stops=(stop,))])[0]
    assert found.stop_reason == "stop" and found.text == plain.text[: plain.text.index(stop)]
    assert len(found.tokens) < len(plain.tokens)


@pytest.mark.real
def test_the_models_own_end_token_ends_answers(model: Opened) -> None:
    assert model.end_tokens() in {(2,), (0, 2)}, "llama.cpp also takes <|endoftext|>, by its name"


@pytest.mark.real
def test_bad_prompts_are_refused_and_the_model_goes_on(model: Opened, prompts: list[Tokens]) -> None:
    with pytest.raises(RecipeError, match="context is 96"):
        answers(model, [Request(prompts[1], 80, ())])
    assert len(answers(model, [Request(prompts[1], 2, ())])[0].tokens) == 2


@pytest.mark.real
def test_what_was_answered_before_a_death_is_kept(tiny_model: Path, tmp_path: Path, prompts: list[Tokens]) -> None:
    config = LlamaCppConfig(threads=1, window_tokens=1).for_answers(2, CONTEXT)
    opened = open_model(tiny_model, config, "tiny", tmp_path / "log")
    groups = opened.generate([Request(p, 8, ()) for p in prompts], 2)
    done = [next(groups), next(groups)]
    opened._child._process.kill()
    with pytest.raises(BackendError, match="died"):
        next(groups)
    assert [len(some) for _, some in done] == [2, 2]
