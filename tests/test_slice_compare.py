"""A slice on two models: figures, parts, findings, and what is not compared."""

from __future__ import annotations

import numpy as np
import pytest

from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate
from quantcurve.metrics.evidence import ALPHA
from quantcurve.slices.compare import SliceFigure, figures, findings, length_of, sentence
from quantcurve.slices.records import SliceSample
from slice_samples import choice, followed, generated


def by_statistic(reference: list[SliceSample], variant: list[SliceSample]) -> dict[tuple[str, str], SliceFigure]:
    return {(f.statistic, f.part): f for f in figures(reference, variant)}


def test_generated_slices_have_figures_along_the_references_answer() -> None:
    reference = [generated(i, well_formed=True, followed=followed(close_rank=1)) for i in range(40)]
    variant = [
        generated(i, right=i >= 10, well_formed=i >= 5, followed=followed(-1.5, close_rank=2 if i < 20 else 1))
        for i in range(40)
    ]
    found = by_statistic(reference, variant)
    names = {name for name, part in found if not part}
    assert names == {
        "right",
        "well_formed",
        "answer_likelihood",
        "stop_likelihood",
        "stop_first",
        "close_first",
        "entropy",
    }
    right = found["right", ""]
    assert (right.evidence.lost, right.evidence.won) == (10, 0) and right.evidence.p_breaks < 0.001
    assert found["close_first", ""].evidence.lost == 20
    assert found["stop_first", ""].evidence.lost == 0
    assert sentence(right) == "json: right answers: 100.0 % -> 75.0 %"


def test_flips_in_both_directions_are_told_where_the_mean_is_the_same() -> None:
    reference = [generated(i, right=i < 20) for i in range(40)]
    variant = [generated(i, right=i >= 20) for i in range(40)]
    found = by_statistic(reference, variant)["right", ""].evidence
    assert (found.lost, found.won) == (20, 20)
    assert isinstance(found.loss, Estimate) and found.loss.value == 0 and found.smallest_effect


def test_multiple_choice_is_judged_by_bytes() -> None:
    reference = [choice(i, (-4.0, -3.0), lengths=(4, 1)) for i in range(10)]
    variant = [choice(i, (-8.0, -3.0), lengths=(2, 1)) for i in range(10)]
    found = by_statistic(reference, variant)
    assert found["right", ""].evidence.lost == 10
    loss = found["right_choice_likelihood", ""].evidence.loss
    assert not isinstance(loss, Estimate) or loss.value == 4


def test_parts_are_by_language_group_and_length() -> None:
    samples = [
        generated(i, language="de" if i % 2 else "en", group="orders" if i % 4 else "", prompt_tokens=100 * i + 1)
        for i in range(20)
    ]
    parts = {part for _, part in by_statistic(samples, samples)}
    assert {"language de", "language en", "orders"} <= parts
    assert {"prompts of 0 to 255 tokens", "prompts of 256 to 1023 tokens", "prompts of 1024 to 4095 tokens"} <= parts
    assert length_of(4096) == "prompts of 4096 tokens or more"


def test_other_prompts_are_a_settings_mismatch() -> None:
    """A template that lost its system prompt."""
    reference = [generated(i) for i in range(10)]
    variant = [generated(i, prompt_hash="other" if i else "hash0") for i in range(10)]
    with pytest.raises(RecipeError, match=r"json: settings mismatch: 9 of 10 prompts, first item 1, .* same template"):
        figures(reference, variant)
    with pytest.raises(RecipeError, match="item 9 is not there on both models"):
        figures(reference, reference[:-1])


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_surer_model_and_a_less_sure_one_are_changes(factor: float) -> None:
    reference = [generated(i, followed=followed(entropy=1 + i / 40)) for i in range(40)]
    variant = [generated(i, followed=followed(entropy=factor * (1 + i / 40))) for i in range(40)]
    (found,) = findings({"other": figures(reference, variant)})
    assert found.figure.statistic == "entropy" and found.p < 1e-6
    nats = [(-0.1 * i, -1.0) for i in range(30)]
    plain = [choice(i, some) for i, some in enumerate(nats)]
    scaled = [choice(i, (factor * a, factor * b)) for i, (a, b) in enumerate(nats)]
    changed = {one.figure.statistic for one in findings({"other": figures(plain, scaled)})}
    assert "choice_entropy" in changed and "right" not in changed


def test_skipped_answers_are_not_judged() -> None:
    samples = [generated(i, skipped="no sandbox") for i in range(10)]
    assert not {"right", "well_formed"} & {name for name, _ in by_statistic(samples, samples)}


def noisy(rng: np.random.Generator, base: list[SliceSample]) -> list[SliceSample]:
    """The same model with other last digits: likelihoods change a little, and some answers with them."""
    out = []
    for sample in base:
        assert sample.judgement and sample.followed
        right = sample.judgement.right != (rng.random() < 0.02)
        nats = sample.followed.nats + 0.01 * float(rng.standard_normal())
        out.append(generated(int(sample.item), right=bool(right), followed=followed(nats)))
    return out


def test_copies_are_rarely_found_and_planted_losses_are_by_name() -> None:
    rng = np.random.default_rng(0)
    base = [generated(i, right=bool(rng.random() < 0.5), followed=followed(-1 - rng.random())) for i in range(80)]
    wrong = 0
    for _ in range(60):
        some = {f"copy{k}": figures(base, noisy(rng, base)) for k in range(3)}
        wrong += bool(findings(some))
    assert wrong / 60 <= ALPHA + 0.06
    damaged = [s.model_copy(update={"followed": followed(s.followed.nats, close_rank=5)}) for s in base if s.followed]
    closed = [s.model_copy(update={"followed": followed(s.followed.nats, close_rank=1)}) for s in base if s.followed]
    found = findings({"bad": figures(closed, damaged), "good": figures(base, base)})
    assert [(f.variant, f.figure.slice, f.figure.statistic) for f in found] == [("bad", "json", "close_first")]
    assert findings({}) == []


def tokens_of(rng: np.random.Generator) -> list[list[float]]:
    """Logits of three tokens of each of four choices, over a vocabulary of 30; the first is each choice's."""
    return rng.normal(0, 3, (4, 3, 30)).tolist()


def summed(logits: list[list[float]], scale: float) -> tuple[float, ...]:
    x = scale * np.array(logits)
    return tuple(float(v) for v in (x[..., 0] - np.log(np.exp(x).sum(-1))).sum(-1))


def test_logits_that_are_only_larger_are_named_by_certainty_alone() -> None:
    rng = np.random.default_rng(3)
    logits = [tokens_of(rng) for _ in range(300)]
    reference = [choice(i, summed(x, 1.0), lengths=(9, 9, 9, 9), right=i % 4) for i, x in enumerate(logits)]  # type: ignore[arg-type]
    surer = [choice(i, summed(x, 1.15), lengths=(9, 9, 9, 9), right=i % 4) for i, x in enumerate(logits)]  # type: ignore[arg-type]
    by_name = by_statistic(reference, surer)
    assert by_name["right_choice_likelihood", ""].evidence.p_breaks < 1e-6, "it does fall"
    assert {f.figure.statistic for f in findings({"surer": figures(reference, surer)})} == {"choice_entropy"}


def test_a_right_choice_that_is_less_likely_among_the_choices_is_named_as_such() -> None:
    rng = np.random.default_rng(4)
    reference = [choice(i, tuple(rng.normal(-9, 3, 4)), lengths=(9, 9, 9, 9)) for i in range(300)]
    worse = [s.model_copy(update={"likelihoods": (s.likelihoods[0] - 0.5, *s.likelihoods[1:])}) for s in reference]
    found = findings({"worse": figures(reference, worse)})
    assert "right_choice_share" in {f.figure.statistic for f in found}


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_loses_nothing_by_the_temperature_that_is_looked_for(seed: int) -> None:
    """A root is found to some digits only: what that leaves lies on one side for all items."""
    rng = np.random.default_rng(seed)
    reference = [choice(i, tuple(rng.normal(-9, 3, 4)), lengths=(9, 9, 9, 9), right=i % 4) for i in range(16)]
    share = by_statistic(reference, reference)["right_choice_share", ""]
    assert (share.evidence.lost, share.evidence.won, share.evidence.p_breaks) == (0, 0, 1)
