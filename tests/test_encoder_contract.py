"""A contract of an embedding model: what it may name, and what planted rankings and similarities say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcurve.encoder_contract import MeasuredEncoder, judge
from quantcurve.encoder_limits import Ranked, mistakes, ranked
from quantcurve.encoder_quality import Embeddings, quality
from quantcurve.encoder_recipe import EncoderRecipe, refuse
from quantcurve.encoder_results import EncoderLatency, RankingFigures
from quantcurve.encoder_run import check
from quantcurve.encoder_texts import EncoderTexts, Pairs, Query, RetrievalSet, load_texts
from quantcurve.engines.base import Floats
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.verdicts import BudgetVerdict, VariantVerdict, missed
from test_encoder_recipe import loaded

QUERIES, PASSAGES = 120, 30


def texts(domains: int = 2, second: bool = False) -> EncoderTexts:
    """Query i is of passage i mod PASSAGES, of every tenth query the next one too if `second`."""
    pairs = Pairs("own", *(tuple(f"{side}{i}" for i in range(60)) for side in "ab"), np.arange(60.0))
    queries = tuple(
        Query(f"q{i}", f"d{i % domains}", frozenset({i % PASSAGES, (i + (second and not i % 10)) % PASSAGES}))
        for i in range(QUERIES)
    )
    return EncoderTexts(pairs, RetrievalSet("own", tuple(f"p{i}" for i in range(PASSAGES)), queries), None)


def embeddings(
    found: EncoderTexts, lost: int = 0, place: int = 2, shuffled: float = 0.0, guess: bool = False, domain: str = ""
) -> Embeddings:
    """Passages are unit vectors, and a query's own is first; of the first `lost` queries (of a domain) it is at `place`
    from 1. Pairs are the more alike the higher their grade, up to a share of noise."""
    rng = np.random.default_rng(0)
    axes = np.eye(PASSAGES, dtype=np.float32)
    rows: dict[str, Floats] = {f"p{i}": axes[i] for i in range(PASSAGES)}
    left = lost
    for i, query in enumerate(found.retrieval.queries):
        row = axes[i % PASSAGES] + 0.1 * axes[(i + 1) % PASSAGES]
        if left and domain in {"", query.domain}:
            left -= 1
            row = row + sum((2 * axes[(i + 2 + j) % PASSAGES] for j in range(place - 1)), start=0 * row)
        rows[query.text] = rng.normal(size=PASSAGES).astype(np.float32) if guess else row
    angles = np.pi / 2 * (1 - (found.pairs.graded + shuffled * 60 * rng.standard_normal(60)) / 60)
    for i, angle in enumerate(angles):
        rows[f"a{i}"] = axes[0]
        rows[f"b{i}"] = (np.cos(angle) * axes[0] + np.sin(angle) * axes[1]).astype(np.float32)
    return Embeddings(found, rows)


def recipe(**contract: Any) -> EncoderRecipe:
    said = {"kind": "encoder", "name": "e", "model": {"source": "m"}, "variants": {"openvino": ["F16"]}}
    bench = {"passes": 20}
    found = EncoderRecipe.model_validate(said | {"contract": contract, "benchmark": bench})
    assert not list(mistakes(found, ("d0", "d1")))
    return found


def judged(reference: Embeddings, variant: Embeddings, **limits: str) -> VariantVerdict:
    named = recipe(quality={name.replace("_on_", " on ").replace("_", "@"): words for name, words in limits.items()})
    return judge(named, MeasuredEncoder(reference, 100), {"v": MeasuredEncoder(variant, 50)})["v"]


def only(verdict: VariantVerdict) -> BudgetVerdict:
    (found,) = verdict.budgets
    return found


@pytest.mark.parametrize(
    ("lost", "words", "decision"),
    [
        (0, "5 points", "pass"),
        (0, "1 point", "undecided"),
        (20, "5 points", "fail"),
        (8, "5 points", "undecided"),
        (8, "no significant regression", "fail"),
        (0, "6 %", "pass"),
    ],
)
def test_planted_losses_of_recall(lost: int, words: str, decision: str) -> None:
    found = texts()
    one = judged(embeddings(found), embeddings(found, lost), ranking_1=words)
    assert one.decision == decision, one.sentence
    assert only(one).evidence.lost == lost and only(one).evidence.won == 0
    assert isinstance(only(one).evidence.loss, Estimate)
    assert only(one).evidence.loss.value == pytest.approx(lost / QUERIES)  # type: ignore[union-attr]


def test_recall_at_the_largest_depth_does_not_see_what_ndcg_sees() -> None:
    """A passage that falls from the first to the third place is still among ten, and worth half."""
    found = texts()
    reference, variant = embeddings(found), embeddings(found, 40, place=3)
    assert judged(reference, variant, ranking="5 points").decision == "pass"
    seen = judged(reference, variant, ndcg_10="5 points")
    assert seen.decision == "fail" and isinstance(only(seen).evidence.loss, Estimate)
    assert only(seen).evidence.loss.value == pytest.approx(40 * 0.5 / QUERIES)  # type: ignore[union-attr]
    assert only(seen).budget.name == "ndcg@10" and only(seen).evidence.lost == 40


def test_a_few_queries_with_two_answers_do_not_make_others_certain() -> None:
    found = texts(second=True)
    same = only(judged(embeddings(found), embeddings(found), ranking_1="1 point"))
    assert isinstance(same.evidence.loss, Estimate) and same.evidence.loss.high > 0.02
    assert same.decision == "undecided" and same.further_items


def test_every_domain_is_a_budget_of_its_own() -> None:
    found = texts()
    variant = embeddings(found, 12, domain="d1")
    every = judge(
        recipe(quality={"every domain": "9 points"}, margin="2 points").model_copy(
            update={"retrieval": recipe().retrieval.model_copy(update={"depths": (1,)})}
        ),
        *(MeasuredEncoder(embeddings(found), 1), {"v": MeasuredEncoder(variant, 1)}),
    )["v"]
    assert [b.budget.name for b in every.budgets] == ["ranking on d0", "ranking on d1"]
    assert [b.evidence.lost for b in every.budgets] == [0, 12] and every.decision == "fail"
    alone = judged(embeddings(found), variant, ranking_on_d0="9 points")
    assert alone.decision == "pass" and only(alone).evidence.loss.n == 60  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["ranking_1", "ranking", "ndcg_10"])
def test_a_reference_that_guesses_cannot_pass(name: str) -> None:
    found = texts()
    guessed = embeddings(found, guess=True)
    one = judged(guessed, guessed, **{name: "20 points"})
    assert one.decision == "undecided" and "the reference is at the floor" in one.sentence
    chance = {"ranking_1": "3 % is chance", "ranking": "33 % is chance", "ndcg_10": "15 % is chance"}
    assert chance[name] in one.sentence


@pytest.mark.parametrize(
    ("before", "after", "words", "decision"),
    [
        (0.05, 0.06, "5 points", "pass"),
        (0.05, 0.5, "5 points", "fail"),
        (0.05, 0.5, "no significant regression", "fail"),
        (0.05, 0.06, "4 %", "pass"),
        (5.0, 5.0, "5 points", "undecided"),
    ],
)
def test_planted_losses_of_similarity(before: float, after: float, words: str, decision: str) -> None:
    found = texts()
    one = judged(embeddings(found, shuffled=before), embeddings(found, shuffled=after), similarity=words)
    assert one.decision == decision, one.sentence
    assert ("rho" in one.sentence) == (before == 5.0)


def test_pairs_that_are_all_alike_have_no_similarity() -> None:
    found = texts()
    alike = found._replace(pairs=found.pairs._replace(graded=np.ones(60)))
    one = judged(*[embeddings(found)._replace(texts=alike)] * 2, similarity="1 point")
    assert one.decision == "undecided" and "no ranks to correlate" in one.sentence


def latency(slow: float, scale: float = 1.0) -> EncoderLatency:
    """Rounds of 20 passes of 10 ms, of which two are slow."""
    rng = np.random.default_rng(1)
    rounds = [scale * (1 + 0.01 * rng.random(20)) * np.array([10.0] * 18 + [slow] * 2) for _ in range(6)]
    figure = Missing(missing="not needed")
    samples = tuple(tuple(map(float, one)) for one in rounds)
    return EncoderLatency(pass_ms=figure, samples_ms=samples, load_s=figure, peak_memory_bytes=int(1e6 * scale))


@pytest.mark.parametrize(
    ("system", "decision"),
    [
        ({"size": "-40 %"}, "pass"),
        ({"size": "-60 %"}, "fail"),
        ({"size": "<= 1 MiB"}, "pass"),
        ({"peak_memory": "-40 %"}, "pass"),
        ({"peak_memory": "<= 0.4 MB"}, "fail"),
        ({"latency_p95": "-40 %"}, "pass"),
        ({"latency_p95": "-60 %"}, "fail"),
        ({"latency_p95": "<= 16 ms"}, "pass"),
        ({"latency_p95": "<= 14 ms"}, "fail"),
    ],
)
def test_what_a_model_takes(system: dict[str, str], decision: str) -> None:
    made = embeddings(texts())
    reference, variant = MeasuredEncoder(made, 100, latency(30.0)), MeasuredEncoder(made, 50, latency(30.0, 0.5))
    one = judge(recipe(system=system), reference, {"v": variant})["v"]
    assert one.decision == decision, one.sentence


def test_a_latency_that_failed_says_why_and_leaves_size() -> None:
    made = embeddings(texts())
    variant = MeasuredEncoder(made, 50, Missing(missing="it crashed"))
    found = judge(
        recipe(system={"size": "-40 %", "latency_p95": "-10 %", "peak_memory": "-1 %"}),
        *(MeasuredEncoder(made, 100, latency(30.0)), {"v": variant}),
    )["v"]
    assert {b.budget.name: b.decision for b in found.budgets} == {
        "latency_p95": "undecided",
        "size": "pass",
        "peak_memory": "undecided",
    }
    assert all("it crashed" in b.sentence for b in found.budgets if b.budget.name != "size")


def test_without_budgets_or_variants_there_is_no_verdict() -> None:
    made = MeasuredEncoder(embeddings(texts()), 1)
    assert judge(recipe(), made, {"v": made}) == {} and judge(recipe(system={"size": "-1 %"}), made, {}) == {}


def test_ndcg_is_in_the_record_paired() -> None:
    found = texts()
    own = quality(embeddings(found, 40, place=3), embeddings(found), (1, 10), 0)
    assert [a.k for a in own.ranking.ndcg] == [a.k for a in own.ranking.ndcg_change] == [1, 10]
    change = own.ranking.ndcg_change[1].figure
    assert isinstance(change, Estimate) and change.value == pytest.approx(-40 * 0.5 / QUERIES) and change.high < 0
    assert not quality(embeddings(found), None, (1, 10), 0).ranking.ndcg_change


def test_reciprocal_rank_is_in_the_record_paired_by_domain_too() -> None:
    found = texts()
    own = quality(embeddings(found, 40, place=3, domain="d1"), embeddings(found), (1, 10), 0)
    lost, change = 40 * (1 - 1 / 3), own.ranking.reciprocal_rank_change
    assert isinstance(change, Estimate) and change.value == pytest.approx(-lost / QUERIES) and change.high < 0
    assert isinstance(own.ranking.reciprocal_rank, Estimate)
    assert own.ranking.reciprocal_rank.value == pytest.approx(1 - lost / QUERIES)
    by_domain = {d.domain: d.reciprocal_rank_change for d in own.domains}
    assert isinstance(by_domain["d0"], Estimate) and by_domain["d0"].value == 0
    assert isinstance(by_domain["d1"], Estimate) and by_domain["d1"].value == pytest.approx(-lost / 60)
    reference = quality(embeddings(found), None, (1, 10), 0).ranking
    assert reference.reciprocal_rank_change is None and isinstance(reference.reciprocal_rank, Estimate)
    old = reference.model_dump(mode="json", exclude={"reciprocal_rank", "reciprocal_rank_change"})
    assert RankingFigures.model_validate(old).reciprocal_rank is None


def test_names_of_rankings() -> None:
    assert ranked("ranking", (1, 10)) == Ranked("ranking", 10, None)
    assert ranked("ndcg@1 on my on call", (1, 10)) == Ranked("ndcg", 1, "my on call")
    assert [ranked(n, (1,)) for n in ("ranking@", "ranking@0", "ranking on ", "recall", "ndcg@-1")] == [None] * 5


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        (
            {"quality": {"rankng": "1 point"}},
            "quality.rankng: an embedding model has no figure 'rankng'; did you mean",
        ),
        ({"quality": {"json": "1 point"}}, "there are ranking, similarity, every domain, ranking@1"),
        ({"quality": {"every slice": "1 point"}}, "no figure 'every slice'"),
        ({"quality": {"ranking@5": "1 point"}}, "5 is no depth of retrieval.depths (1, 10); did you mean ranking@1?"),
        ({"quality": {"ndcg@9 on a": "1 point"}}, "did you mean ndcg@10 on a?"),
        ({"quality": {"similarity": "0.05 nats"}}, "has no likelihoods; give points or % in place of '0.05 nats'"),
        ({"behaviour": {"loops": "no more"}}, "contract.behaviour: an embedding model writes no answers that loops"),
        ({"system": {"decode_tokens_per_s": "+10 %"}}, "there are latency_p95, latency_p99, size, peak_memory"),
        ({"system": {"latency_p99": "-10 %"}}, "known from 100 on, and benchmark.passes is 10"),
        ({"quality": {"ranking": "a lot"}}, "no limit that can be read"),
    ],
)
def test_contracts_that_are_not_of_embedding_models(tmp_path: Path, contract: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, contract=contract)
    assert said in str(caught.value) and "recipe.yaml:" in str(caught.value)


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    wrong = {"quality": {"rankng": "1 point", "ranking": "1 nat"}, "system": {"energy_per_token": "-1 %"}}
    with pytest.raises(RecipeError) as caught:
        loaded(tmp_path, contract=wrong)
    lines = str(caught.value).splitlines()
    places = [int(line.split("recipe.yaml:")[1].partition(":")[0]) for line in lines]
    rows = (tmp_path / "recipe.yaml").read_text().splitlines()
    assert [rows[place - 1].split(":")[0].strip() for place in places] == ["rankng", "ranking", "energy_per_token"]
    with pytest.raises(RecipeError, match="peak_memory is not measured, since benchmark is null"):
        loaded(tmp_path, contract={"system": {"peak_memory": "-1 %"}}, benchmark=None)
    assert loaded(tmp_path, contract={"system": {"size": "-1 %"}, "mode": "quick", "shortlist": 1}, benchmark=None)


def test_a_domain_that_is_not_there_is_refused_once_texts_are_read(tmp_path: Path) -> None:
    said = loaded(tmp_path, ["F16"], contract={"quality": {"ranking on helth": "1 point", "ndcg@1 on health": "1 %"}})
    with pytest.raises(RecipeError) as caught:
        check(said, load_texts(said))
    assert "quality.ranking on helth: no query is of the domain 'helth'; did you mean health?" in str(caught.value)
    assert "ndcg" not in str(caught.value)
    refuse(said)
    with pytest.raises(RecipeError, match="there are all"):
        refuse(said, ("all",))


def test_when_a_contract_is_missed() -> None:
    of = {d: VariantVerdict(decision=d, sentence="") for d in ("pass", "fail", "undecided", "not evaluated")}  # type: ignore[arg-type]
    assert not missed([]) and not missed([of["pass"], of["undecided"]]) and not missed([of["not evaluated"]])
    assert missed([of["pass"], of["fail"]]) and missed([of["undecided"], of["not evaluated"]])
