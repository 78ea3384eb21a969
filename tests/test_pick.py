"""Choosing a variant: limits judged by whole intervals, then speed, KL divergence and size in that order."""

from __future__ import annotations

import math

import pytest

from factories import Made, estimate, failed_variant, make_run, rounds
from factories_openvino import DEVICE, make_config
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.metrics.evidence import Evidence
from quantcurve.pick import pick
from quantcurve.pick_records import Choice, Limits
from quantcurve.recipe_openvino import FLOOR
from quantcurve.results import RunResult, ScreenVerdict
from quantcurve.scorecard_records import Scorecard
from quantcurve.units import parse_size
from quantcurve.verdicts import Budget, BudgetVerdict, VariantVerdict

GOOD = Made("good", kl=0.010, size_mib=100, decode_tokens_per_s=40.0)
SMALL = Made("small", kl=0.050, size_mib=80, decode_tokens_per_s=50.0)


def chosen(made: list[Made], **limits: float) -> Choice:
    return pick(make_run(made), Limits.model_validate(limits))


def why(choice: Choice, name: str) -> str:
    (rejection,) = (r for r in choice.rejected if r.name == name)
    return rejection.why


def test_the_fastest_is_taken() -> None:
    choice = chosen([GOOD, SMALL])
    assert choice.name == "small"
    assert choice.nearest_miss is None
    assert "slower" in why(choice, "good")
    assert "0.8 [0.8, 0.8] times the speed of small" in why(choice, "good")


def test_a_limit_is_judged_by_the_whole_interval() -> None:
    made = [GOOD, SMALL._replace(kl_half=0.002)]
    assert chosen(made, max_kl=0.0521).name == "small"
    inside = chosen(made, max_kl=0.051)  # the value is inside, the upper end is not
    assert inside.name == "good"
    assert why(inside, "small").startswith("undecided: the interval of mean KL divergence 0.0500 nats [0.0480, 0.0520]")
    assert "0.051 nats" in why(inside, "small")
    outside = why(chosen(made, max_kl=0.04), "small")
    assert outside == "mean KL divergence 0.0500 nats [0.0480, 0.0520] is above the limit of 0.04 nats"


def test_an_interval_that_ends_at_the_limit_is_inside() -> None:
    assert chosen([GOOD._replace(kl=0.5, kl_half=0.25)], max_kl=0.75).name == "good"


@pytest.mark.parametrize(
    ("limit", "met", "straddled", "missed"),
    [
        ("max_perplexity_increase_percent", 1.3, 1.05, 0.7),
        ("min_top1_agreement", 0.94, 0.951, 0.97),
        ("min_decode_tokens_per_s", 39.5, 40.01, 41.0),
        ("max_time_to_first_token_s", 0.42, 0.405, 0.38),
    ],
)
def test_every_measured_limit_has_three_outcomes(limit: str, met: float, straddled: float, missed: float) -> None:
    made = [GOOD._replace(ratio=estimate(1.01, 0.002), top1=estimate(0.95, 0.004))]
    assert chosen(made, **{limit: met}).name == "good"
    for bound, undecided in ((straddled, True), (missed, False)):
        choice = chosen(made, **{limit: bound})
        assert choice.name is None
        assert why(choice, "good").startswith("undecided") == undecided
        assert f"{bound:g}" in why(choice, "good")


def test_exact_limits() -> None:
    size, memory = 100 * 2**20, 300 * 2**20
    assert chosen([GOOD], max_size_bytes=size, max_memory_bytes=memory).name == "good"
    choice = chosen([GOOD], max_size_bytes=size - 1, max_memory_bytes=memory - 1)
    assert choice.name is None
    assert "file size 104,857,600 bytes (100.0 MiB) is above the limit of 104,857,599 bytes (100.0 MiB)" in why(
        choice, "good"
    )
    assert "peak memory 314,572,800 bytes" in why(choice, "good")


def test_a_missing_figure_meets_no_limit_on_it() -> None:
    choice = chosen([GOOD._replace(decode_tokens_per_s=None)], min_decode_tokens_per_s=1)
    assert choice.name is None
    assert why(choice, "good") == "decode speed is limited, but missing: not measured"
    assert choice.nearest_miss is None


def test_discarded_and_failed_are_never_taken() -> None:
    discarded = SMALL._replace(name="bad", kl=0.001, decision="discard")
    run = make_run([GOOD, discarded], failed=[failed_variant("dead", "llama.cpp died with\nsignal 6")])
    choice = pick(run, Limits())
    assert choice.name == "good"
    assert [r.name for r in choice.rejected] == ["bad", "dead"]
    assert "discarded" in why(choice, "bad")
    assert why(choice, "dead") == "failed: llama.cpp died with signal 6"
    alone = pick(make_run([discarded]), Limits())
    assert alone.name is None
    assert alone.nearest_miss is None


def test_the_engine_floor_is_never_taken() -> None:
    floor = Made(FLOOR, kl=1e-9, size_mib=60, decode_tokens_per_s=90.0, kl_half=0.0)
    choice = chosen([floor, GOOD])
    assert choice.name == "good" and choice.why == "the only variant that is not ruled out"
    assert "no variant" in why(choice, FLOOR)
    assert chosen([floor, GOOD], max_kl=0).nearest_miss == "good"


def test_a_suspect_may_be_taken_and_is_called_so() -> None:
    choice = chosen([GOOD._replace(decision="suspect")])
    assert choice.name == "good"
    assert "suspect" in choice.why


def test_of_equally_fast_ones_the_smallest_kl_is_taken() -> None:
    noisy = [
        Made("fastest", 0.05, 80, decode_s=(1.0, 1.3, 1.0, 1.3, 1.0)),
        Made("closest", 0.01, 110, decode_s=(1.2, 1.0, 1.2, 1.0, 1.2)),
        Made("slow", 0.001, 120, decode_s=rounds(10)),
    ]
    choice = chosen(noisy)
    assert choice.name == "closest"
    assert "mean KL divergence" in why(choice, "fastest")
    assert "closest's" in why(choice, "fastest")
    assert "slower" in why(choice, "slow")
    assert "fastest decodes fastest, and closest cannot be told apart from it" in choice.why


def test_of_those_tied_in_kl_the_smallest_file_is_taken() -> None:
    same_speed = (1.0, 1.1, 1.0, 1.1, 1.0)
    made = [
        Made("least", 0.0100, 110, decode_s=same_speed, tied_with=("tied", "tied_too")),
        Made("tied", 0.0101, 90, decode_s=same_speed, tied_with=("least", "tied_too")),
        Made("tied_too", 0.0102, 95, decode_s=same_speed, tied_with=("least", "tied", "far")),
        Made("far", 0.0200, 70, decode_s=same_speed, tied_with=("tied_too",)),
    ]
    choice = chosen(made)
    assert choice.name == "tied"
    assert "110.0 MiB, not 90.0 MiB" in why(choice, "least")
    assert "95.0 MiB, not 90.0 MiB" in why(choice, "tied_too")
    assert "mean KL divergence" in why(choice, "far")


def test_without_speed_kl_and_size_decide() -> None:
    made = [m._replace(decode_tokens_per_s=None) for m in (SMALL, GOOD)]
    choice = chosen(made)
    assert choice.name == "good"
    assert "decode speed was not measured" in choice.why
    mixed = chosen([GOOD._replace(decode_tokens_per_s=None), SMALL])
    assert mixed.name == "small"
    assert "decode speed was not measured" in why(mixed, "good")


def test_twins_are_both_accounted_for() -> None:
    choice = chosen([GOOD._replace(tied_with=("twin",)), GOOD._replace(name="twin", tied_with=("good",))])
    assert choice.name == "good"
    assert "nor smaller than good" in why(choice, "twin")


def test_the_nearest_miss_is_relative_to_the_limit() -> None:
    made = [
        Made("far_in_kl", 0.02, 100, kl_half=0.0),
        Made("near", 0.0105, 105, kl_half=0.0),
        Made("far_in_size", 0.0101, 200, kl_half=0.0),
    ]
    choice = chosen(made, max_kl=0.01, max_size_bytes=100 * 2**20)
    assert choice.name is None
    assert choice.nearest_miss == "near"
    assert len(choice.rejected) == 3
    assert chosen(made, max_kl=0).nearest_miss == "far_in_size"


def test_a_missing_kl_is_a_reason() -> None:
    run = make_run([GOOD, SMALL])
    overall = run.variants[1].overall
    assert overall
    assert overall.divergence
    lost = overall.divergence.model_copy(update={"kl_mean": Missing(missing="one window")})
    broken = run.variants[1].model_copy(update={"overall": overall.model_copy(update={"divergence": lost})})
    choice = pick(run.model_copy(update={"variants": (run.variants[0], broken)}), Limits())
    assert choice.name == "good"
    assert why(choice, "small") == "its mean KL divergence is missing: one window"


@pytest.mark.parametrize(("name", "limit"), [("min_top1_agreement", 95.0), ("max_kl", -0.1), ("max_size_bytes", -1)])
def test_impossible_limits_are_refused(name: str, limit: float) -> None:
    with pytest.raises(RecipeError, match=f"{name}: {limit:g}"):
        chosen([GOOD], **{name: limit})


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("120MB", 120_000_000),
        ("1.5GiB", 1_610_612_736),
        ("100000000", 100_000_000),
        (" 2 kib ", 2048),
        ("0.3MB", 300_000),  # 0.3 * 1e6 is not a whole number in binary
        ("7B", 7),
        ("1TB", 10**12),
    ],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MB", "12G", "12i", "12iB", "1.5", "-3MB", "0", "0MB", "1e9", "١MB", "1,5GB", "nan"]
)
def test_other_sizes_are_refused_with_examples(text: str) -> None:
    with pytest.raises(RecipeError) as error:
        parse_size(text)
    assert repr(text) in str(error.value)
    assert "120MB" in str(error.value)


def with_contract(decision: str) -> Choice:
    """Of a run whose fastest variant has this verdict by its contract."""
    run = make_run([GOOD, SMALL])
    card = Scorecard(verdict=VariantVerdict(decision=decision, sentence="json: +9.0 points"))  # type: ignore[arg-type]
    placed = tuple(v.model_copy(update={"scorecard": card}) if v.name == "small" else v for v in run.variants)
    return pick(run.model_copy(update={"variants": placed}), Limits())


def test_what_breaks_the_contract_is_not_taken() -> None:
    choice = with_contract("fail")
    assert choice.name == "good" and why(choice, "small") == "breaks the contract: json: +9.0 points"


def test_what_the_contract_cannot_say_is_told() -> None:
    assert with_contract("undecided").why.endswith("; by the contract it is undecided: json: +9.0 points")
    assert "contract" not in with_contract("pass").why and with_contract("pass").name == "small"


def in_lane(run: RunResult, name: str, device: str = DEVICE) -> RunResult:
    """With one variant run by OpenVINO on a device."""
    update = {"engine": "OpenVINO", "scoring_config": make_config(device)}
    placed = tuple(v.model_copy(update=update) if v.name == name else v for v in run.variants)
    return run.model_copy(update={"variants": placed})


def test_a_target_takes_the_variants_of_its_engine_and_device() -> None:
    run = in_lane(make_run([GOOD, SMALL]), "small")
    native = pick(run, Limits(target="llama.cpp"))
    assert native.name == "good" and why(native, "small") == "not for the target llama.cpp: it is an OpenVINO model"
    cpu = pick(run, Limits(target="cpu"))
    assert cpu.name == "small" and why(cpu, "good").startswith("not for the target cpu: it is a GGUF file")
    gpu = pick(run, Limits(target="gpu"))
    assert gpu.name is None and gpu.nearest_miss is None
    assert why(gpu, "small") == "not for the target gpu: it was measured on the CPU only"
    assert gpu.why == "no variant is for the target gpu: the run measured no OpenVINO model on one"


def test_the_device_is_the_one_that_was_read_back() -> None:
    run = in_lane(make_run([GOOD, SMALL]), "small", "Intel(R) Arc(TM) A770 Graphics (dGPU)")
    assert pick(run, Limits(target="gpu")).name == "small"
    assert why(pick(run, Limits(target="cpu")), "small") == "not for the target cpu: it was measured on the GPU only"
    npu = in_lane(make_run([SMALL]), "small", "Intel(R) AI Boost")
    assert "on the NPU only" in why(pick(npu, Limits(target="gpu")), "small")


def test_three_runners_up_with_what_each_would_cost() -> None:
    made = [
        Made("a", 0.04, 80, 50.0),
        Made("b", 0.02, 90, 40.0, tied_with=("c",)),
        Made("c", 0.021, 88, 30.0, tied_with=("b",)),
        Made("d", 0.01, 100, 25.0),
        Made("e", 0.001, 120, 20.0),
    ]
    choice = chosen(made, max_kl=0.05)
    assert choice.name == "a"
    assert [r.name for r in choice.runners_up] == ["b", "c", "d"]
    first = choice.runners_up[0]
    assert first.kl_difference_nats == pytest.approx(-0.02)
    assert first.size_difference_bytes == 10 * 2**20
    assert isinstance(first.speed_ratio, Estimate) and first.speed_ratio.value == pytest.approx(0.8, abs=0.01)
    assert first.apart and not first.kl_tied and first.contract is None
    assert first.sentence.startswith("against a: mean KL divergence -0.02 nats, 0.8")
    assert first.sentence.endswith("times as fast, +10.0 MiB")
    assert not choice.mitigations


def test_only_variants_inside_every_limit_are_runners_up() -> None:
    choice = chosen([GOOD, SMALL, Made("far", 0.5, 70, 60.0)], max_kl=0.1)
    assert choice.name == "small" and [r.name for r in choice.runners_up] == ["good"]


def test_the_first_sentence_says_that_two_cannot_be_told_apart() -> None:
    noisy = (1.0, 1.3, 1.0, 1.3, 1.0)
    made = [
        Made("one", 0.010, 80, decode_s=noisy, tied_with=("two",)),
        Made("two", 0.011, 90, decode_s=noisy[::-1], tied_with=("one",)),
    ]
    choice = chosen(made)
    assert choice.why.startswith(
        "one and two cannot be told apart in mean KL divergence or in decode speed: one is taken, whose file is "
        "10.0 MiB smaller. 2 variants"
    )
    assert not choice.runners_up[0].apart and "nats (cannot be told apart)" in choice.runners_up[0].sentence
    apart = chosen([made[0]._replace(tied_with=()), made[1]._replace(tied_with=())])
    assert apart.runners_up[0].apart and apart.why.startswith("2 variants")
    slower = chosen([made[0], made[1]._replace(decode_s=rounds(10))])
    assert slower.runners_up[0].apart and slower.runners_up[0].kl_tied and slower.why.startswith("2 variants")


def test_a_runner_up_has_its_verdict() -> None:
    run = make_run([GOOD, SMALL])
    card = Scorecard(verdict=VariantVerdict(decision="undecided", sentence="more items"))
    placed = tuple(v.model_copy(update={"scorecard": card}) if v.name == "good" else v for v in run.variants)
    (next_one,) = pick(run.model_copy(update={"variants": placed}), Limits()).runners_up
    assert next_one.contract == "undecided" and next_one.sentence.endswith("contract: undecided")


def broken(part: str, name: str, words: str, loss: Estimate) -> Scorecard:
    """A scorecard of which one budget is broken."""
    budget = BudgetVerdict(
        budget=Budget(part=part, name=name, words=words, scale="plain"),  # type: ignore[arg-type]
        decision="fail",
        evidence=Evidence(loss=loss),
        further_items=None,
        blocked="",
        sentence=f"{name}: allowed {words}: broken",
    )
    return Scorecard(verdict=VariantVerdict(decision="fail", sentence=budget.sentence, budgets=(budget,)))


@pytest.mark.parametrize(
    ("part", "name", "words", "small_loss", "excess"),
    [
        ("quality", "json", "10 points", estimate(0.14, 0.01), 0.5),
        ("quality", "json", "0.1 nats", estimate(0.14, 0.01), 0.5),
        ("quality", "json", "no significant regression", estimate(0.025, 0.005), 0.5),
        ("behaviour", "loops on json", "2 points", estimate(0.025, 0.005), 0.5),
        ("behaviour", "loops", "no more", estimate(0.025, 0.005), 0.5),
        ("behaviour", "entropy", "within 10 %", estimate(-1.4 * math.log(1.1), 0.1 * math.log(1.1)), 0.5),
        ("system", "latency_p95", "<= 40 ms", estimate(math.log(1.5)), 0.5),
        ("system", "size", "-50 %", estimate(math.log(0.75)), 0.5),
        ("system", "decode_tokens_per_s", "+10 %", estimate(math.log(1.5 / 1.1)), 0.5),
    ],
)
def test_where_all_break_the_contract_the_smallest_excess_is_nearest(
    part: str, name: str, words: str, small_loss: Estimate, excess: float
) -> None:
    run = make_run([GOOD, SMALL])
    for other, nearest in ((excess + 0.1, "good"), (excess - 0.1, "small")):
        cards = {
            "good": broken(part, name, words, small_loss),
            "small": broken("quality", "code", "10 points", estimate(0.1 * (1 + other))),
        }
        placed = tuple(v.model_copy(update={"scorecard": cards[v.name]}) for v in run.variants)
        choice = pick(run.model_copy(update={"variants": placed}), Limits())
        assert choice.name is None and choice.nearest_miss == nearest
        assert why(choice, "good") == f"breaks the contract: {name}: allowed {words}: broken"


def test_what_the_screen_discarded_may_be_the_nearest_miss() -> None:
    run = make_run([SMALL._replace(decision="discard"), Made("worse", 0.2, 70, decision="discard")])
    verdicts = {
        name: ScreenVerdict(decision="discard", sentence=f"+{percent} %", judged=estimate(math.log1p(percent / 100)))
        for name, percent in (("small", 6), ("worse", 9))
    }
    placed = tuple(v.model_copy(update={"verdict": verdicts[v.name]}) for v in run.variants)
    text = "name: a\nmodel: {source: m.gguf}\ntexts: [{name: wiki, source: wiki.txt}]\nvariants: {gguf: [Q4_0]}\n"
    choice = pick(run.model_copy(update={"variants": placed, "recipe_text": text}), Limits())
    assert choice.name is None and choice.nearest_miss == "small"
    assert why(choice, "small") == "discarded by the screen: +6 %"
