"""What changed between runs: which figures are called changed, what is not compared, and how that is shown."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from factories import Made, estimate, failed_variant, make_run
from quantcurve.compare_records import Comparison, FigureChange, RunChange, VariantChange
from quantcurve.compare_runs import MOST_DIFF_LINES, NamedRun, compare
from quantcurve.errors import RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.records import Workload
from quantcurve.report.compare import comparison
from quantcurve.results import RunResult
from quantcurve.scorecard_records import Scorecard
from quantcurve.verdicts import VariantVerdict

DATA = Path(__file__).parent / "data"
GOOD = Made("good", kl=0.010, size_mib=100, decode_tokens_per_s=40.0)
SMALL = Made("small", kl=0.050, size_mib=80, decode_tokens_per_s=50.0)


def change(before: RunResult, after: RunResult) -> RunChange:
    (found,) = compare([NamedRun("before", before), NamedRun("after", after)]).runs
    return found


def of_good(made: Made) -> VariantChange:
    (found,) = change(make_run([GOOD]), make_run([made])).variants
    return found


def figure(found: VariantChange, name: str) -> FigureChange:
    (one,) = (f for f in found.figures if f.figure == name)
    return one


def updated(run: RunResult, at: str, **values: Any) -> RunResult:
    """A copy with other values in the record at this attribute."""
    return run.model_copy(update={at: getattr(run, at).model_copy(update=values)})


def printed(found: Comparison, width: int = 120) -> str:
    sink = io.StringIO()
    console = Console(file=sink, width=width, no_color=True, highlight=False)
    for part in comparison(found):
        console.print(part)
    return sink.getvalue()


def test_a_figure_changed_only_if_the_unpaired_interval_says_so() -> None:
    assert GOOD.kl_half == 0.0005  # so the half width of a difference is 0.000707
    assert figure(of_good(GOOD._replace(kl=0.01071)), "KL mean").told == "rose"
    assert figure(of_good(GOOD._replace(kl=0.00929)), "KL mean").told == "fell"
    inside = figure(of_good(GOOD._replace(kl=0.01070)), "KL mean")
    assert inside.told == "no change that can be told"
    assert isinstance(inside.change, Estimate) and inside.change.value == pytest.approx(0.0007)


def test_every_figure_of_quality_has_its_own_interval() -> None:
    made = GOOD._replace(ratio=estimate(1.01, 0.002), top1=estimate(0.95, 0.004))
    other = made._replace(ratio=estimate(1.02, 0.002), top1=estimate(0.952, 0.004))
    (found,) = change(make_run([made]), make_run([other])).variants
    assert figure(found, "KL mean").told == "same"
    assert figure(found, "PPL ratio").told == "rose"
    assert figure(found, "top-1").told == "no change that can be told"


def test_a_ratio_is_of_what_is_shown_rates_as_well_as_times() -> None:
    faster = of_good(GOOD._replace(decode_tokens_per_s=50.0, first_token_s=0.2))
    decode, first = figure(faster, "decode"), figure(faster, "TTFT")
    assert decode.told == "rose" and first.told == "fell"
    assert isinstance(decode.change, Estimate) and decode.change.value == pytest.approx(1.25, rel=0.01)
    assert isinstance(first.change, Estimate) and first.change.value == pytest.approx(0.5)
    assert figure(faster, "prefill").told == "same"


def test_speeds_within_the_noise_did_not_change() -> None:
    noisy = GOOD._replace(decode_s=(1.0, 1.1, 1.0, 1.1, 1.0))
    (found,) = change(make_run([noisy]), make_run([noisy._replace(decode_s=(1.0, 1.0, 1.0, 1.1, 1.0))])).variants
    assert figure(found, "decode").told == "no change that can be told"


def test_bytes_have_no_interval_and_memory_is_not_judged() -> None:
    found = of_good(GOOD._replace(size_mib=99, memory_mib=310))
    assert [(one.figure, one.told) for one in found.bytes] == [("size", "fell"), ("memory", "not judged")]
    assert [one.told for one in of_good(GOOD).bytes] == ["same", "same"]


def test_a_file_is_the_same_by_its_hash() -> None:
    before, after = make_run([GOOD]), make_run([GOOD])
    assert change(before, after).variants[0].same_file is True
    (variant,) = after.variants
    assert variant.file
    other = variant.model_copy(update={"file": variant.file.model_copy(update={"content_hash": "f" * 64})})
    assert change(before, after.model_copy(update={"variants": (other,)})).variants[0].same_file is False
    gone = variant.model_copy(update={"file": None})
    assert change(before, after.model_copy(update={"variants": (gone,)})).variants[0].same_file is None


def test_figures_against_another_reference_are_not_compared() -> None:
    run = make_run([GOOD])
    file = run.reference.file.model_copy(update={"content_hash": "e" * 64})
    found = change(run, updated(make_run([GOOD._replace(kl=0.5, decode_tokens_per_s=80.0)]), "reference", file=file))
    assert "not compared: the references are not the same" in found.first[0]
    (variant,) = found.variants
    assert {figure(variant, name).told for name in ("KL mean", "PPL ratio", "top-1")} == {"not judged"}
    assert figure(variant, "decode").told == "rose"
    assert found.reference.changed


def test_nor_are_those_over_other_texts_or_windows() -> None:
    run = make_run([GOOD])
    text = run.texts[0].model_copy(update={"content_hash": "d" * 64})
    found = change(run, run.model_copy(update={"texts": (text,)}))
    assert "the evaluation texts are not the same" in found.first[0]
    assert [(one.what, one.changed) for one in found.texts] == [("wiki", True)]
    longer = run.reference.overall.model_copy(update={"tokens": 2 * run.reference.overall.tokens})
    found = change(run, updated(run, "reference", overall=longer))
    assert "windows are not the same: 256 and 512 scored tokens in each" in found.first[0]
    fewer = run.texts[0].model_copy(update={"windows_used": 39})
    found = change(run, run.model_copy(update={"texts": (fewer,)}))
    assert not found.first and figure(found.variants[0], "KL mean").told == "same" and found.texts


def test_speeds_of_another_workload_are_not_compared() -> None:
    work = Workload(prompt_tokens=512, decode_tokens=32, decode_context_tokens=0, seed=0)
    run = make_run([GOOD]).model_copy(update={"workload": work})
    found = change(run, updated(run, "workload", prompt_tokens=256))
    assert "Speeds and times are not compared" in found.first[0]
    assert {figure(found.variants[0], name).told for name in ("decode", "prefill", "TTFT")} == {"not judged"}
    assert figure(found.variants[0], "KL mean").told == "same"
    assert [(one.what, one.before, one.after) for one in found.settings] == [("workload: prompt tokens", "512", "256")]


def test_other_recipes_and_machines_are_said_first() -> None:
    run = make_run([GOOD])
    other = updated(run.model_copy(update={"name": "other"}), "machine", logical_cores=64, cpu_features="fma amx")
    found = change(run, other)
    assert found.first[0] == "These are runs of different recipes: smollm2-135m and other."
    assert "The machines are not the same" in found.first[1]
    assert [(one.what, one.before, one.after) for one in found.settings] == [
        ("machine: logical cores", "2", "64"),
        ("machine: CPU features of one only", "avx2", "amx"),
    ]


def test_an_engine_that_one_run_does_without_is_told() -> None:
    run = make_run([GOOD])
    with_openvino = run.model_copy(update={"openvino": run.engine})
    (one,) = change(run, with_openvino).settings
    assert (one.what, one.before, one.after) == ("OpenVINO", "none", "there")


def test_recipes_are_told_as_a_short_diff() -> None:
    before = make_run([GOOD]).model_copy(update={"recipe_text": "name: x\nseed: 1\nwindows: 3\n"})
    found = change(before, before.model_copy(update={"recipe_text": "name: x\nseed: 2\nwindows: 3\n"})).recipe
    assert found.lines[1:] == (" name: x", "-seed: 1", "+seed: 2", " windows: 3") and found.left_out == 0
    long = before.model_copy(update={"recipe_text": "\n".join(f"key{i}: {i}" for i in range(100))})
    found = change(before, long).recipe
    assert len(found.lines) == MOST_DIFF_LINES and found.left_out == 1 + 3 + 100 - MOST_DIFF_LINES


def test_variants_come_go_and_fail() -> None:
    base = make_run([GOOD, SMALL, SMALL._replace(name="dies")], failed=[failed_variant("mended"), failed_variant("no")])
    other = make_run(
        [GOOD, SMALL._replace(name="new"), SMALL._replace(name="mended")],
        failed=[failed_variant("dies", "llama.cpp died\nwith signal 6"), failed_variant("no")],
    )
    found = change(base, other)
    assert (found.came, found.went, found.fails_in_both) == (("new",), ("small",), ("no",))
    assert [(v.name, v.why) for v in found.fails_now] == [("dies", "llama.cpp died with signal 6")]
    assert [v.name for v in found.works_now] == ["mended"]
    assert [v.name for v in found.variants] == ["good"]
    text = printed(compare([NamedRun("a", base), NamedRun("b", other)]))
    assert "dies failed only in this run: llama.cpp died with signal 6" in text and "Only in the base: small." in text


def test_verdicts_are_told_in_words() -> None:
    run = make_run([GOOD._replace(on_front=True)])
    (variant,) = make_run([GOOD._replace(decision="at_line")]).variants
    card = Scorecard(verdict=VariantVerdict(decision="fail", sentence="json: +9.0 points"))
    other = run.model_copy(update={"variants": (variant.model_copy(update={"scorecard": card}),)})
    (found,) = change(run, other).variants
    assert [(one.what, one.before, one.after) for one in found.verdicts] == [
        ("screen", "keep", "at line"),
        ("contract", "none", "fail"),
        ("front", "on it", "not on it"),
    ]


def test_what_was_not_measured_is_not_judged() -> None:
    found = of_good(GOOD._replace(decode_tokens_per_s=None))
    decode = figure(found, "decode")
    assert decode.told == "not judged" and decode.change == Missing(missing="not measured")
    assert found.bytes[1].told == "not judged"


def test_the_first_run_is_the_base_of_all() -> None:
    runs = [make_run([GOOD._replace(kl=kl)]) for kl in (0.01, 0.02, 0.005)]
    found = compare([NamedRun(name, run) for name, run in zip("abc", runs, strict=True)])
    assert found.base == "a" and [one.run for one in found.runs] == ["b", "c"]
    assert [figure(one.variants[0], "KL mean").told for one in found.runs] == ["rose", "fell"]


@pytest.mark.parametrize("given", [[], [NamedRun("alone", make_run([]))]])
def test_fewer_than_two_runs_are_refused(given: list[NamedRun]) -> None:
    with pytest.raises(RecipeError, match="name two or more"):
        compare(given)


def test_a_table_has_what_changed_and_a_sentence_what_did_not() -> None:
    slower = GOOD._replace(kl=0.02, decode_tokens_per_s=20.0, memory_mib=330)
    runs = [NamedRun("before", make_run([GOOD, SMALL])), NamedRun("after", make_run([slower, SMALL]))]
    text = printed(compare(runs), width=160)
    assert text.startswith("after against before\nMachine, versions, workload and engines' settings: the same.\n")
    (kl,) = (line for line in text.splitlines() if "KL mean nats" in line)
    assert (
        "0.0100 [0.0095, 0.0105]" in kl
        and "0.0200 [0.0195, 0.0205]" in kl
        and "+0.0100 nats" in kl
        and kl.rstrip().endswith("rose")
    )
    (decode,) = (line for line in text.splitlines() if "decode t/s" in line)
    assert "0.50" in decode and "times" in decode and decode.rstrip().endswith("fell")
    assert "+10.00 %; measured once in each run" in text
    assert "small: the same file, size, memory, KL mean, PPL ratio, top-1, decode, prefill, TTFT, screen (keep)" in text
    assert "The runs are not paired." in text


def test_text_of_a_run_is_no_markup_and_cannot_disturb_a_terminal() -> None:
    odd = make_run([GOOD._replace(name="[red]x\x1b[2J")], name="[bold]y")
    text = printed(
        compare([NamedRun("a", odd), NamedRun("b", make_run([GOOD._replace(name="[red]x\x1b[2J", kl=0.5)]))])
    )
    assert "[red]x\\x1b[2J" in text and "[bold]y" in text and "\x1b" not in text


def quantcurve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "quantcurve.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_prints_tables_and_records(tmp_path: Path) -> None:
    for name, made in (("a", GOOD), ("b", GOOD._replace(kl=0.02))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(make_run([made]).model_dump_json())
    shown = quantcurve("compare", tmp_path / "a", tmp_path / "b")
    assert shown.returncode == 0 and "rose" in shown.stdout, shown.stderr
    found = Comparison.model_validate_json(quantcurve("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert found.base == str(tmp_path / "a") and figure(found.runs[0].variants[0], "KL mean").told == "rose"
    alone = quantcurve("compare", tmp_path / "a")
    assert alone.returncode == 2 and "name two or more" in alone.stderr


def test_a_run_of_both_lanes_is_the_same_as_itself_and_encoders_are_refused() -> None:
    done = quantcurve("compare", DATA / "demo", DATA / "demo")
    assert done.returncode == 0, done.stderr
    assert " rose" not in done.stdout.partition("The runs are not paired")[0] and "another" not in done.stdout
    assert ": the same file, size, memory, KL mean" in done.stdout and "OV-INT8_ASYM" in done.stdout
    encoder = quantcurve("compare", DATA / "demo", DATA / "encoder")
    assert encoder.returncode == 2 and "embedding model" in encoder.stderr and "Traceback" not in encoder.stderr
