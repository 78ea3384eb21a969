"""What a report says of slices: beside perplexity, by slice, by text, and what is said of flips and of refusals."""

from __future__ import annotations

import re

import pytest

from factories import DEFAULT, Made, estimate, make_run, make_slice
from factories_scorecard import flipped, make_card, make_slice_result, run_with
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.evidence import Evidence
from quantcurve.report.contract_notes import contract_sentences
from quantcurve.report.markdown import markdown
from quantcurve.report.matrices import detailed_matrices, matrices
from quantcurve.report.perplexity_tasks import perplexity_tasks, rank_sentence
from quantcurve.results import RunResult
from quantcurve.scorecard_records import SliceResult
from quantcurve.task_records import PromptSettings, TaskMetric, TaskResult
from quantcurve.verdicts import Budget, BudgetVerdict
from slice_samples import choice, followed, generated
from test_report import cells, printed, table_lines

TEXTS = ("wiki", "code", "deutsch")


def part(text: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    after = text.split(f"### {heading}", 1)[1].split("\n\n")[1]
    return [cells(line) for line in table_lines(after)]


def make_task(drop: Estimate) -> TaskResult:
    settings = PromptSettings.model_construct(task="arc_easy", documents=100)
    metric = TaskMetric(name="acc", filter="none", higher_is_better=True, value=estimate(0.5, 0.1), drop=drop)
    return TaskResult.model_construct(settings=settings, truncated=0, metrics=(metric,))


# ---- perplexity beside slices and tasks ----


def ordered(losses: list[int]) -> RunResult:
    """Variants of rising KL divergence that lose so many items of json, and half as many of code."""
    return run_with(
        {f"v{i}": make_card(flipped("json", lost, 0), flipped("code", lost // 2, 1)) for i, lost in enumerate(losses)}
    )


def test_nothing_is_shown_where_nothing_was_evaluated() -> None:
    run = make_run(DEFAULT, texts=TEXTS)
    assert perplexity_tasks(run) is None
    assert "Perplexity beside" not in markdown(run) + printed(run) and "Slices of" not in markdown(run)


def test_perplexity_stands_beside_every_slice_and_task() -> None:
    run = ordered([2, 8])
    drop = estimate(0.03, 0.02, "acc")
    with_task = run.variants[1].model_copy(update={"tasks": (make_task(drop),)})
    found = perplexity_tasks(run.model_copy(update={"variants": (run.variants[0], with_task)}))
    assert found and [v.name for v in found.variants] == ["v0", "v1"]
    second = found.variants[1]
    assert second.worst and (second.worst.name, [t.name for t in second.tasks]) == ("json", ["arc_easy acc"])
    json = second.slices[0].loss
    assert isinstance(json, Estimate) and json.value == pytest.approx(100 * 8 / 40) and json.unit == "points"
    assert json.low < 20 < json.high and second.tasks[0].loss == drop
    assert isinstance(second.ln_perplexity_ratio, Estimate) and isinstance(second.kl_mean, Estimate)


def test_the_table_has_a_row_for_each_variant_and_units() -> None:
    run = ordered([2, 8, 4])
    head, _, *rows = part(markdown(run), "Perplexity beside")
    assert head == [
        "variant", "ln PPL ratio", "KL mean (nats)", "most lost (points)", "json (points)", "code (points)",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["v0", "v1", "v2"]
    assert rows[1][3].startswith("json 20±") and rows[1][4].startswith("20 \\[")


def test_a_variant_that_loses_nothing_has_no_worst_slice() -> None:
    row = part(markdown(ordered([0, 0])), "Perplexity beside")[2]
    assert row[3] == "none"


@pytest.mark.parametrize(
    ("losses", "tau", "said"),
    [
        ([0, 1, 2, 4, 8, 12], 1.0, "perplexity predicted the slices' order."),
        ([0, 2, 1, 4, 8, 12, 16], 19 / 21, "perplexity predicted the slices' order, with exceptions"),
        ([16, 12, 8, 4, 2, 0], -1.0, "perplexity predicted the opposite"),
        ([1, 2, 3, 4], 1.0, "so many variants may have that by chance"),
        ([4, 1, 6, 2, 5], 0.2, "so many variants may have that by chance"),
    ],
)
def test_whether_perplexity_predicted_the_order(losses: list[int], tau: float, said: str) -> None:
    found = perplexity_tasks(ordered(losses))
    assert found and found.ranks and found.ranks.tau == pytest.approx(tau) and found.ranks.variants == len(losses)
    assert said in rank_sentence(found.ranks)
    assert said in " ".join(printed(ordered(losses)).split())


@pytest.mark.parametrize(
    ("losses", "said"),
    [([1, 2, 3], "of 3 variants: 4 variants are needed"), ([5], "of 1 variant: 4"), ([3] * 4, "all variants lose the")],
)
def test_an_order_that_cannot_be_told_says_why(losses: list[int], said: str) -> None:
    found = perplexity_tasks(ordered(losses))
    assert found and found.ranks and isinstance(found.ranks.tau, Missing) and found.ranks.p is None
    assert said in rank_sentence(found.ranks)


def test_tasks_alone_have_no_word_on_slices() -> None:
    run = make_run([Made("a", 0.01, 90)])
    run = run.model_copy(
        update={"variants": (run.variants[0].model_copy(update={"tasks": (make_task(estimate(0.03, 0.02)),)}),)}
    )
    found = perplexity_tasks(run)
    assert found and found.ranks is None and found.variants[0].worst is None
    assert part(markdown(run), "Perplexity beside")[0] == [
        "variant",
        "ln PPL ratio",
        "KL mean (nats)",
        "arc_easy acc",
    ]


# ---- by slice ----


@pytest.fixture
def many() -> RunResult:
    small = flipped("small", 0, 0, items=10)
    quiet = flipped("quiet", 1, 1, items=100)
    bad = flipped("bad", 20, 0, items=60)
    floor = "the reference is at the floor: it has 0.0 % right, and none is right by chance"
    likelihoods = [choice(i, (-4.0 - i, -3.0)) for i in range(20)]
    return run_with(
        {
            "Q4": make_card(quiet, small.model_copy(update={"note": floor}), bad),
            "Q2": make_card(bad, make_slice_result(likelihoods, likelihoods)),
        }
    )


def test_slices_are_sorted_by_the_loss_that_cannot_be_excluded(many: RunResult) -> None:
    text = markdown(many)
    head, _, *rows = part(text, "Slices of Q4, worst first")
    assert head == [
        "slice", "items", "right on the reference (%)", "right on the variant (%)", "well formed (%)", "lost (points)",
        "items lost", "items won", "smallest visible loss (points)", "lost along the reference's answer (nats/token)",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["bad", "small", "quiet"]
    bad, small, quiet = rows
    assert bad[1] == "60" and bad[2].startswith("50 \\[") and bad[3].startswith("17 \\[") and bad[5].startswith("33 ")
    assert (bad[6:8], small[6:8], quiet[6:8]) == (["20", "0"], ["0", "0"], ["1", "1"])
    assert re.fullmatch(r"\d+\.\d", quiet[8]) and quiet[9].startswith("0.5")
    assert part(text, "Slices of Q2, worst first")[3][9] == "-", "nothing is generated in multiple choice"


@pytest.mark.parametrize("width", [60, 100])
def test_slices_fit_a_terminal(many: RunResult, width: int) -> None:
    text = printed(many, width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    if width == 100:
        lines = text.splitlines()
        at = lines.index("Slices of Q4, worst first")
        titles = ["slice", "items", "right (%)", "lost (points)", "lost, won", "visible (points)", "lost (nats/token)"]
        assert re.split(r"  +", lines[at + 1].strip()) == titles
        row = re.split(r" {2,}", lines[at + 3].strip())
        assert row[:3] == ["bad", "60", "50.0 -> 16.7"] and row[3].startswith("33±") and row[4] == "20, 0"


def test_what_limits_a_slice_and_the_legend_are_said_once(many: RunResult) -> None:
    for text in (printed(many, 200), markdown(many)):
        assert text.count("small: the reference is at the floor") == 1
        assert text.count("with a probability of 80 %") == 1


def test_what_a_budget_says_of_its_slice_comes_first() -> None:
    budget = Budget(part="quality", name="json", words="3 points", scale="points")
    blocked = BudgetVerdict(
        budget=budget,
        decision="undecided",
        evidence=Evidence(loss=estimate(0.0, 0.1)),
        further_items=None,
        blocked="the reference is at the floor: 3 points",
        sentence="json: blocked",
    )
    text = markdown(run_with({"a": make_card(flipped("json", 1, 0), budgets=[blocked])}))
    assert "\njson: the reference is at the floor: 3 points.\n" in text


def test_a_slice_that_nobody_judged_has_dashes_and_a_reason() -> None:
    samples = [generated(i, slice="code", skipped="no sandbox") for i in range(10)]
    note = "10 of 10 items were not judged: no sandbox"
    text = markdown(run_with({"a": make_card(make_slice_result(samples, samples, note=note))}))
    row = part(text, "Slices of a, worst first")[2]
    assert row[1] == "10" and row[2:8] == ["-"] * 6
    assert f"code: {note}." in text


def test_a_record_from_before_notes_and_judges_loads() -> None:
    found = flipped("json", 1, 0)
    old = SliceResult.model_validate(found.model_dump(exclude={"judge", "note"}))
    assert old == found and (old.judge, old.note) == ("built-in", "")


# ---- by text ----


def test_markdown_has_three_figures_by_text_each_worst_first() -> None:
    run = make_run([Made("a", 0.01, 90)], texts=TEXTS)
    kl, ratio, top1 = (0.01, 0.03, 0.02), (1.3, 1.1, 1.2), (0.9, 0.8, 0.7)
    slices = tuple(
        make_slice(estimate(k, 0.001, "nats"), estimate(r, 0.01), estimate(t, 0.01), text=name)
        for k, r, t, name in zip(kl, ratio, top1, TEXTS, strict=True)
    )
    run = run.model_copy(update={"variants": (run.variants[0].model_copy(update={"slices": slices}),)})
    text = markdown(run)
    wanted = {
        "PPL ratio by text": ["wiki", "deutsch", "code"],
        "KL mean (nats) by text": ["code", "deutsch", "wiki"],
        "Top-1 agreement (%) by text": ["deutsch", "code", "wiki"],
    }
    for heading, order in wanted.items():
        assert [row[0] for row in part(text, heading)[2:]] == order
    assert part(text, "Top-1 agreement (%) by text")[2][1] == "70.0 \\[69.0, 71.0\\]"
    shown = printed(run)
    assert "KL mean (nats) by text" in shown and "PPL ratio by text" not in shown and "agreement" not in shown
    assert len(detailed_matrices(run)) == len(matrices(run)) + 2


# ---- the contract's notes ----


def test_flips_in_both_directions_are_told_where_the_mean_hides_them() -> None:
    run = run_with({"even": make_card(flipped("json", 3, 3)), "uneven": make_card(flipped("json", 3, 2)),
                    "same": make_card(flipped("json", 0, 0))})  # fmt: skip
    said = [s for s in contract_sentences(run) if "as many right" in s]
    assert said == ["even, json: as many right as on the reference, yet 3 of 40 items lost, 3 won."]


def test_a_surer_model_has_changed_and_a_worse_one_lost() -> None:
    reference = [generated(i, followed=followed(-1 - i / 40, entropy=1 + i / 40)) for i in range(40)]
    surer = [generated(i, followed=followed(-1 - i / 40, entropy=0.5 + i / 90)) for i in range(40)]
    worse = [generated(i, followed=followed(-2 - i / 30, entropy=1 + i / 40)) for i in range(40)]
    cards = {
        name: make_card(make_slice_result(reference, variant))
        for name, variant in {"surer": surer, "worse": worse}.items()
    }
    said = [s for s in contract_sentences(run_with(cards)) if ", also" in s]
    assert len(said) == 2
    assert said[0].startswith("surer, also changed: json: entropy along")
    assert said[1].startswith("worse, also lost: json: log-likelihood of")


REFUSALS = r"rules that err: of 60 made-up refusals .* missed 28 % \[19, 41\], and of 60 other answers .* 2 % \[0, 9\]"


def refusal_budget(name: str) -> BudgetVerdict:
    budget = Budget(part="behaviour", name=name, words="no more", scale="points")
    evidence = Evidence(loss=estimate(0.0, 0.1))
    return BudgetVerdict(
        budget=budget, decision="undecided", evidence=evidence, further_items=None, blocked="", sentence="s"
    )


@pytest.mark.parametrize(
    ("more", "budgets", "times"),
    [
        ({"kind": "refusal"}, [], 1),
        ({"kind": "refusal"}, ["refusal"], 1),
        ({"kind": "refusal", "judge": "mine.py:judge"}, [], 0),
        ({"kind": "refusal", "judge": "mine.py:judge"}, ["unsafe_compliance"], 0),
        ({}, [], 0),
        ({}, ["loops"], 0),
    ],
)
def test_how_often_the_judge_of_refusals_errs_is_said_once(
    more: dict[str, str], budgets: list[str], times: int
) -> None:
    verdicts = [refusal_budget(name) for name in budgets]
    cards = {name: make_card(flipped("asked", 2, 1, **more), budgets=verdicts) for name in ("a", "b")}
    run = run_with(cards)
    for text in (printed(run, 200), markdown(run).replace("\\", "")):
        assert len(re.findall(REFUSALS, " ".join(text.split()))) == times


@pytest.mark.parametrize(("name", "said"), [("refusal", True), ("refusal on asked", True), ("loops on asked", False)])
def test_a_budget_on_refusals_of_other_answers_says_it_too(name: str, said: bool) -> None:
    from quantcurve.metrics.behaviour import behaviour
    from slice_samples import answer

    answers = [answer(20, seed=i) for i in range(10)]
    asked = flipped("asked", 2, 1, behaviour=behaviour(answers, answers))
    run = run_with({"a": make_card(asked, budgets=[refusal_budget(name)])})
    assert bool(re.search(f"Refusals: what refuses is told by {REFUSALS}", " ".join(contract_sentences(run)))) == said
