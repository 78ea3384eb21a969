"""benchmark_app on language models: every pass at its exact context, checked by a direct loop; what it does wrong is
an error with its last words, and no process is left."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from limits import file_limit
from quantcurve.engines import benchmark_app, openvino, tool
from quantcurve.engines.base import OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.benchmark_app import DeployedModel, Feed, arguments, in_groups
from quantcurve.engines.openvino_ir import MODEL, model_file
from quantcurve.engines.passes import Pass, decode_passes, decode_times, prefill_passes, random_tokens
from quantcurve.errors import BackendError, ModelFileError, PrerequisiteError, RecipeError
from quantcurve.estimates import Estimate, Missing
from quantcurve.latency_records import ContextSamples, Setting
from quantcurve.session import Session
from quantcurve.stages import latency
from quantcurve.stages.latency import LatencyPlan
from quantcurve.stages.scoring import Model
from quantcurve.store import Store
from tiny_ir import VOCABULARY, write_checking_ir, write_tiny_ir

needs_openvino = pytest.mark.skipif(
    not all(map(openvino.find_spec, ("openvino", "optimum", "nncf"))), reason=f"OpenVINO: {openvino.INSTALL}"
)
CONFIG = OpenVinoConfig(threads=2, window_tokens=128, runtime=OpenVinoRuntime())
PASSES = decode_passes((4, 12), 3)


# ---- passes ----


def test_a_sequence_grows_from_context_to_context():
    assert decode_passes((4, 10), 3) == [(0, 4), (4, 1), (5, 1), (6, 1), (7, 3), (10, 1), (11, 1), (12, 1)]
    assert decode_passes((4, 7), 3) == [(0, 4), *((i, 1) for i in range(4, 10))]
    for contexts in ((1,), (32, 512, 2048)):
        passes = decode_passes(contexts, 32)
        assert [p.past for p in passes] == [0, *(p.mask_tokens for p in passes[:-1])]
        assert all((c, 1) in passes and (c + 31, 1) in passes for c in contexts)


@pytest.mark.parametrize("contexts", [(), (0, 8), (8, 10), (10, 8), (8, 8)])
def test_contexts_that_do_not_fit_one_sequence_are_refused(contexts):
    with pytest.raises(RecipeError, match=r"latency: contexts .* at least the 3 tokens"):
        decode_passes(contexts, 3)


def test_takes_the_times_of_one_context():
    times = [float(i) for i in range(len(PASSES))]
    assert decode_times(PASSES, times, 4, 3) == (1.0, 2.0, 3.0)
    assert decode_times(PASSES, times, 12, 3) == (5.0, 6.0, 7.0)


def test_tokens_are_of_the_vocabulary_and_repeatable():
    tokens = random_tokens(PASSES, 7, seed=3)
    assert [t.shape for t in tokens] == [(1, p.tokens) for p in PASSES]
    assert {int(i) for t in tokens for i in t[0]} <= set(range(7))
    assert all((a == b).all() for a, b in zip(tokens, random_tokens(PASSES, 7, seed=3), strict=True))


# ---- what the tool prints ----


def printed(passes, value="12.50 ms", mask=None) -> str:
    """As benchmark_app 2026.4.1 prints it; the value is that of the first group, the others are their number in us."""
    lines = ["[Step 8/11] Querying optimal runtime parameters", "[ INFO ] Model:", "[ INFO ]   NUM_STREAMS: 1"]
    lines += ["[ INFO ]   INFERENCE_PRECISION_HINT: <Type: 'float32'>", "[Step 9/11] Creating infer requests"]
    lines += ["[ INFO ] Latency:", "[ INFO ]    Median:        1.00 ms", "[ INFO ] Latency for each data shape group:"]
    for i, p in enumerate(in_groups(passes), 1):
        lines.append(f"[ INFO ] {i}. input_ids: [1,{p.tokens}] attention_mask: [1,{mask or p.mask_tokens}]")
        lines.append(f"[ INFO ]    Median:     {value if i == 1 else f'{1000 * i}.00 us'}")
        lines.append("[ INFO ]    Average:    99.00 ms")
    return "\n".join(lines)


def test_reads_the_latency_of_every_pass_in_the_order_they_ran():
    # Group 1 as printed is the one that benchmark_app runs last.
    assert benchmark_app.latencies(printed(PASSES), PASSES) == [2, 3, 4, 5, 6, 7, 8, 12.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "latencies of 0 groups"),
        (printed(PASSES[:-1]), "latencies of 7 groups that are not the 8"),
        (printed(PASSES, mask=9), "not the 8"),
        (printed(PASSES, value="0.00 us"), "a latency of 0 ms for group 1"),
        (printed(PASSES, value="nan ms"), "latencies of 7 groups"),
    ],
)
def test_refuses_latencies_that_are_not_those_of_the_passes(text, said):
    with pytest.raises(ValueError, match=said):
        benchmark_app.latencies(text, PASSES)


def test_refuses_another_configuration_than_the_deployed_one():
    text = printed(PASSES)
    wanted = [Setting(name="NUM_STREAMS", value="1"), Setting(name="SOMETHING", value="else")]
    found = benchmark_app.compiled_settings(text, wanted)
    assert found[1] == Setting(name="INFERENCE_PRECISION_HINT", value="<Type: 'float32'>")
    for setting in (Setting(name="NUM_STREAMS", value="2"), Setting(name="KV_CACHE_PRECISION", value="u8")):
        with pytest.raises(
            ValueError, match=rf"it ran with {setting.name} (1|not printed); deployed is {setting.value}"
        ):
            benchmark_app.compiled_settings(text, [setting])


def test_settings_of_a_device_that_the_model_was_handed_to_are_compared_with_its_own():
    """AUTO and the CPU behind it both have a PERFORMANCE_HINT, in different words."""
    lines = (
        *("  PERFORMANCE_HINT: PerformanceMode.LATENCY", "  CPU:", "    PERFORMANCE_HINT: LATENCY"),
        "    INFERENCE_NUM_THREADS: 2",
    )
    text = "[Step 8/11]\n" + "".join(f"[ INFO ] {line}\n" for line in lines) + "[Step 9/11]\n"
    deployed = [
        Setting(name="PERFORMANCE_HINT", value="PerformanceMode.LATENCY"),
        Setting(name="CPU.PERFORMANCE_HINT", value="LATENCY"),
        Setting(name="CPU.INFERENCE_NUM_THREADS", value="2"),
    ]
    assert list(benchmark_app.compiled_settings(text, deployed)) == deployed
    other = deployed[2].model_copy(update={"value": "1"})
    with pytest.raises(ValueError, match=r"it ran with CPU\.INFERENCE_NUM_THREADS 2; deployed is 1"):
        benchmark_app.compiled_settings(text, [other])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"report\.json cannot be read: No such file"),
        ('{"execution_results": {"total number', "broken: JSONDecodeError"),
        ("[]", "broken: TypeError"),
        ('{"execution_results": {}}', "broken: KeyError"),
        ('{"execution_results": {"total number of iterations": "7"}}', "counts 7 iterations, not 8"),
    ],
)
def test_refuses_a_report_that_is_not_of_this_run(tmp_path, content, said):
    path = tmp_path / "benchmark_report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said):
        benchmark_app.report(path, 8)


def nowhere(tmp_path, monkeypatch) -> None:
    """OpenVINO without its scripts."""
    monkeypatch.setattr(benchmark_app.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(benchmark_app.metadata, "files", lambda _: [])


def test_names_the_package_that_brings_the_tool(tmp_path, monkeypatch):
    nowhere(tmp_path, monkeypatch)
    with pytest.raises(PrerequisiteError, match="benchmark_app is not in") as caught:
        benchmark_app.program()
    assert caught.value.fix == openvino.INSTALL


@needs_openvino
def test_finds_the_tool_where_pip_put_it(tmp_path, monkeypatch):
    """As `pip install --user` does: in none of the folders that Python names."""
    usual = benchmark_app.program()
    monkeypatch.setattr(benchmark_app.sysconfig, "get_path", lambda _: str(tmp_path))
    assert benchmark_app.program() == usual


# ---- agreement ----


def estimate(low: float, value: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=5, unit="ratio", method="")


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (estimate(0.97, 1.0, 1.03), "agrees"),
        (estimate(1.05, 1.1, 1.15), "agrees"),
        (estimate(1.05, 1.1, 1.17), "too noisy"),
        (estimate(0.95, 1.0, 1.06), "too noisy"),
        (estimate(1.11, 1.15, 1.2), "disagrees"),
        (estimate(0.7, 0.8, 0.89), "disagrees"),
        (estimate(0.85, 1.0, 1.15), "too noisy"),
        (estimate(1.2, 1.8, 2.6), "disagrees"),
        (Missing(missing="2 repetitions"), "not checked"),
    ],
)
def test_says_whether_the_direct_loop_agrees(ratio, said):
    assert latency.agreement(ratio) == said


# ---- tools that go wrong ----


def script(folder: Path, body: str) -> Path:
    path = folder / "benchmark_app"
    path.write_text(f"#!{sys.executable}\nimport os, subprocess, sys, time\n{body}\n")
    path.chmod(0o755)
    return path


def run_script(tmp_path, body, limit_s=20.0) -> str:
    return tool.run([script(tmp_path, body), "x"], tmp_path, tmp_path / "logs" / "tool.log", limit_s, "OV-INT8")


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_dead(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not is_dead(int(path.read_text())):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.02)


def test_gives_what_a_tool_prints_and_keeps_it(tmp_path):
    assert run_script(tmp_path, "print('one', flush=True); sys.stderr.write(sys.argv[1])") == "one\nx"
    assert run_script(tmp_path, "print(os.getcwd())") == f"{tmp_path}\n"
    assert (tmp_path / "logs" / "tool.log").read_text().endswith(f"{tmp_path}\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "print('beam_idx 122 is outside [0,1)'); sys.exit(1)",
            r"failed with exit code 1; its last words:\s+beam_idx 122",
        ),
        ("os.abort()", r"failed with signal 6 \(SIGABRT\); it said nothing"),
    ],
)
def test_says_how_a_tool_failed(tmp_path, body, said):
    with pytest.raises(BackendError, match=rf"^OV-INT8: benchmark_app {said}") as caught:
        run_script(tmp_path, body)
    assert caught.value.log == tmp_path / "logs" / "tool.log"


def test_a_tool_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    body = (
        "p = subprocess.Popen(['sleep', '99'])\nopen('child', 'w').write(str(p.pid))\n"
        "open('me', 'w').write(str(os.getpid()))\n"
        "print('[Step 7/11]', flush=True)\nwhile True: pass"
    )
    with pytest.raises(
        BackendError, match=r"hung: it was not done after 2 s .*; it was killed; its last words:\s+\[Step 7"
    ):
        run_script(tmp_path, body, limit_s=2)
    wait_until_dead(tmp_path / "me")
    wait_until_dead(tmp_path / "child")


def test_a_tool_that_does_nothing_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANTCURVE_STALL_S", "2")
    with pytest.raises(BackendError, match=r"hung: no progress for .* it was killed; it said nothing"):
        run_script(tmp_path, "time.sleep(99)", limit_s=60)


def test_what_a_tool_leaves_behind_is_killed_too(tmp_path):
    run_script(tmp_path, "p = subprocess.Popen(['sleep', '99'])\nopen('child', 'w').write(str(p.pid))")
    wait_until_dead(tmp_path / "child")


def test_a_tool_that_is_no_program(tmp_path):
    (tmp_path / "benchmark_app").write_text("text")
    with pytest.raises(BackendError, match="benchmark_app cannot be started: Permission denied"):
        tool.run([tmp_path / "benchmark_app"], tmp_path, tmp_path / "log", 5, "OV-INT8")


# ---- the real tool on a graph that checks what it is fed ----


@pytest.fixture(scope="session")
def checking(tmp_path_factory):
    return write_checking_ir(tmp_path_factory.mktemp("ir") / "checking")


@pytest.fixture(scope="session")
def tiny_ir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir")
    # Three heads: benchmark_app would take the caches for images of three colours.
    return write_tiny_ir(folder / "tiny", folder / "log", n_embd=384, n_head=6, n_head_kv=3)


@contextmanager
def opened(folder: Path, tmp_path: Path):
    model = DeployedModel(folder, CONFIG, "OV-test", tmp_path / "logs" / "engine.log")
    try:
        yield model
    finally:
        model.close()


@pytest.fixture
def deployed(checking, tmp_path):
    with opened(checking, tmp_path) as model:
        yield model


def run_tool(model, tmp_path, passes=PASSES):
    (tmp_path / "work").mkdir()
    return model.run_tool(passes, 0, tmp_path / "work", tmp_path / "logs" / "tool.log")


@pytest.mark.real
@needs_openvino
def test_every_pass_runs_once_in_order_with_its_own_past(deployed, tmp_path):
    passes = decode_passes((5, 40), 32)
    run = run_tool(deployed, tmp_path, passes)
    assert len(run.times_ms) == len(passes) and min(run.times_ms) > 0
    assert len(deployed.time_passes(passes, 0)) == len(passes)
    assert str(tmp_path) not in " ".join(run.report.command) + run.report.json_text
    settings = {s.name: s.value for s in run.report.settings}
    assert settings["INFERENCE_NUM_THREADS"] == "2" and settings["NUM_STREAMS"] == "1"
    assert "LATENCY" in settings["PERFORMANCE_HINT"]


@pytest.mark.real
@needs_openvino
def test_in_the_order_of_the_passes_the_tool_would_run_the_first_one_last(deployed, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_app, "in_groups", list)
    with pytest.raises(BackendError, match=r"OV-test: benchmark_app failed with exit code 1; its last words:"):
        run_tool(deployed, tmp_path)


@pytest.mark.real
@needs_openvino
def test_a_warm_up_would_leave_its_tokens_in_the_state(deployed, tmp_path, monkeypatch):
    plain = benchmark_app.arguments
    monkeypatch.setattr(benchmark_app, "arguments", lambda d, f: [a for a in plain(d, f) if a != "-no_warmup"])
    with pytest.raises(BackendError, match="failed with exit code 1"):
        run_tool(deployed, tmp_path)


@pytest.mark.real
@needs_openvino
def test_the_loop_resets_the_state_and_fails_on_a_past_that_is_not_there(deployed):
    assert len(deployed.time_passes([Pass(0, 4), Pass(4, 1), Pass(0, 3), Pass(3, 2)], 0)) == 4
    with pytest.raises(BackendError, match=r"OpenVINO failed on Pass\(past=5, tokens=1\)"):
        deployed.time_passes([Pass(0, 4), Pass(5, 1)], 0)


@pytest.mark.real
@pytest.mark.slow
@needs_openvino
def test_a_random_beam_crashes_the_tool_and_is_told(tiny_ir, tmp_path, monkeypatch):
    plain = benchmark_app.arguments

    def without_beam(device, feed):
        return [a.replace(",beam_idx:beam_idx", "").replace("beam_idx:beam_idx,", "") for a in plain(device, feed)]

    monkeypatch.setattr(benchmark_app, "arguments", without_beam)
    said = r"benchmark_app failed with (exit code|signal) \d+"
    with opened(tiny_ir, tmp_path) as model, pytest.raises(BackendError, match=said):
        run_tool(model, tmp_path)


@pytest.mark.real
@needs_openvino
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('all is well')", "ended well, but it printed latencies of 0 groups"),
        (f"print({printed(PASSES)!r})", "ended well, but it ran with"),
        ("sys.exit('no')", "failed with exit code 1; its last words:\\s+no"),
    ],
)
def test_another_program_of_that_name(deployed, tmp_path, monkeypatch, body, said):
    monkeypatch.setattr(benchmark_app, "program", lambda: script(tmp_path, body))
    with pytest.raises(BackendError, match=said):
        run_tool(deployed, tmp_path)


@pytest.mark.real
@needs_openvino
def test_the_user_says_how_long_the_tool_may_take(deployed, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_app, "program", lambda: script(tmp_path, "while True: pass"))
    monkeypatch.setenv("QUANTCURVE_CALL_LIMIT_S", "2")
    with pytest.raises(BackendError, match=r"hung: .*QUANTCURVE_CALL_LIMIT_S sets how long is waited.; it was killed"):
        run_tool(deployed, tmp_path)


# ---- a language model ----


@pytest.mark.real
@needs_openvino
def test_the_twin_begins_every_prefill_with_an_empty_cache(tiny_ir, tmp_path):
    passes = prefill_passes((8, 24), 3)
    (tmp_path / "work").mkdir()
    with opened(tiny_ir, tmp_path) as model:
        run = model.run_tool_on_twin(passes, 0, tmp_path / "work", tmp_path / "tool.log")
    assert len(run.times_ms) == 6 and min(run.times_ms) > 0
    assert not (tmp_path / "work" / "twin").exists()
    assert "past_key_values.0.key:f32" in run.report.command[run.report.command.index("-iop") + 1]


@pytest.mark.real
@needs_openvino
def test_the_twin_computes_what_the_deployed_model_does(tiny_ir, tmp_path):
    from quantcurve.engines import openvino_child, stateless_twin

    accurate = CONFIG.model_copy(update={"runtime": OpenVinoRuntime(execution="accuracy")})
    openvino_child.open_model(tiny_ir, accurate)
    try:
        model = openvino_child.current()
        tokens = random_tokens([Pass(0, 24)], VOCABULARY, 0)[0]
        inputs = model.feed(tokens, 0, 1)
        wanted = model.compiled.create_infer_request().infer(inputs)["logits"]
        twin = stateless_twin.make(tmp_path / "twin", tmp_path)
        config = openvino_child.properties(accurate)
        compiled = model.core.compile_model(tmp_path / "twin" / MODEL, "CPU", config)
        fed = {name: inputs[name] for name in twin.inputs}
        fed |= {c.name: np.load(tmp_path / c.name / "000000.npy") for c in twin.caches}
        found = compiled(fed)["logits"]
    finally:
        openvino_child.close_model()
    assert len(twin.caches) == 4 and twin.caches[0].shape == [1, 3, 0, 64]
    assert found.shape == wanted.shape == (1, 1, VOCABULARY)
    assert np.ptp(wanted) > 1 and np.abs(found - wanted).max() < 1e-4


@pytest.mark.real
@needs_openvino
def test_without_their_type_the_caches_would_be_images(tiny_ir, tmp_path, monkeypatch):
    plain = benchmark_app.arguments
    monkeypatch.setattr(benchmark_app, "arguments", lambda d, f: plain(d, Feed(f.shapes, {})))
    (tmp_path / "work").mkdir()
    with opened(tiny_ir, tmp_path) as model, pytest.raises(BackendError, match="does not match input type"):
        model.run_tool_on_twin(prefill_passes((8, 24), 2), 0, tmp_path / "work", tmp_path / "tool.log")


def session_in(folder: Path) -> Session:
    store = Store(folder / "cache")
    engine = openvino.identity(store.hash_file)
    return Session(store, engine, 2, "cpu", folder / "logs", lambda event: None, openvino=engine)


def as_model(name: str, folder: Path, session: Session, **runtime) -> Model:
    file = model_file(folder, session.store.hash_file)
    return Model(name, folder, file.content_hash, file.size_bytes, OpenVinoRuntime(**runtime))


PLAN = LatencyPlan(contexts=(8, 48), rounds=3, decode_steps=6, prefills=1)


@pytest.mark.real
@pytest.mark.slow
@needs_openvino
def test_latency_of_variants_one_of_which_is_broken(tiny_ir, tmp_path, monkeypatch):
    session = session_in(tmp_path)
    broken = shutil.copytree(tiny_ir, tmp_path / "broken")
    os.truncate((broken / MODEL).with_suffix(".bin"), 100)
    models = [
        as_model("OV", tiny_ir, session),
        as_model("OV-broken", broken, session),
        as_model("OV-accurate", tiny_ir, session, execution="accuracy"),
    ]
    found = latency.measure(models, PLAN, session)
    assert isinstance(found["OV-broken"], Missing) and "cut short: 100 bytes" in found["OV-broken"].missing
    for name, mode in (("OV", "PERFORMANCE"), ("OV-accurate", "ACCURACY")):
        measured = found[name]
        assert [c.context_tokens for c in measured.contexts] == [8, 48]
        assert all(len(s.decode_ms) == len(s.loop_decode_ms) == 6 for r in measured.rounds for s in r)
        assert all(len(s.prefill_ms) == len(s.loop_prefill_ms) == 1 for r in measured.rounds for s in r)
        settings = {s.name: s.value for s in measured.reports[0].settings}
        assert mode in settings["EXECUTION_MODE_HINT"]
    size_bytes = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file())
    assert size_bytes < 1e6, "inputs or twins are left in the store"
    monkeypatch.setattr(benchmark_app, "program", lambda: pytest.fail("it is in the store"))
    assert latency.measure(models[::2], PLAN, session) == {n: found[n] for n in ("OV", "OV-accurate")}


@pytest.mark.real
@needs_openvino
def test_without_the_tool_latency_is_missing_with_what_mends_it(tiny_ir, tmp_path, monkeypatch):
    nowhere(tmp_path, monkeypatch)
    session = session_in(tmp_path)
    found = latency.measure([as_model("OV", tiny_ir, session)], PLAN, session)["OV"]
    assert found == Missing(
        missing=f"benchmark_app is not in {tmp_path}: it comes with OpenVINO; to mend it: {openvino.INSTALL}"
    )
    assert not list((tmp_path / "cache" / "tmp").iterdir())


@pytest.mark.real
@needs_openvino
def test_a_disk_too_small_for_the_inputs_is_missing(tiny_ir, tmp_path):
    session = session_in(tmp_path)
    model = as_model("OV", tiny_ir, session)
    with file_limit(100):
        found = latency.measure([model], PLAN, session)["OV"]
    assert isinstance(found, Missing)
    assert "this process may not write files of more than 0.0 MB (ulimit -f); to mend it: ulimit" in found.missing
    assert not list((tmp_path / "cache" / "tmp").iterdir())


@pytest.mark.real
@needs_openvino
def test_tool_and_loop_take_turns_in_going_first(tiny_ir, tmp_path, monkeypatch):
    went = []
    for name in ("run_tool", "run_tool_on_twin", "time_passes"):
        plain = getattr(DeployedModel, name)
        monkeypatch.setattr(
            DeployedModel, name, lambda *args, plain=plain, name=name: (went.append(name), plain(*args))[1]
        )
    session = session_in(tmp_path)
    plan = LatencyPlan(contexts=(8,), rounds=2, decode_steps=2, prefills=1)
    found = latency.measure([as_model("OV", tiny_ir, session)], plan, session)["OV"]
    assert went == [
        *("run_tool", "time_passes", "run_tool_on_twin", "time_passes"),
        *("time_passes", "run_tool", "time_passes", "run_tool_on_twin"),
    ]
    for samples in (r[0] for r in found.rounds):
        assert [len(t) for t in (samples.prefill_ms, samples.decode_ms)] == [1, 2]
        assert [len(t) for t in (samples.loop_prefill_ms, samples.loop_decode_ms)] == [1, 2]


@pytest.mark.real
@needs_openvino
def test_a_model_that_hangs_the_tool_is_missing(tiny_ir, tmp_path, monkeypatch):
    session = session_in(tmp_path)
    monkeypatch.setattr(benchmark_app, "program", lambda: script(tmp_path, "while True: pass"))
    monkeypatch.setattr(benchmark_app, "LIMIT_S", 2.0)
    found = latency.measure([as_model("OV", tiny_ir, session)], PLAN, session)
    assert "benchmark_app hung: it was not done after 2 s" in found["OV"].missing
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_figures_are_medians_over_rounds():
    def samples(decode, loop):
        return ContextSamples(
            context_tokens=8, prefill_ms=(30.0,), decode_ms=decode, loop_prefill_ms=(40.0,), loop_decode_ms=loop
        )

    rounds = [samples((9.0, 10.0, 99.0), (10.0,)), samples((11.0,), (10.0,)), samples((12.0,), (12.0,))]
    found = latency.context_latency(rounds)
    assert found.decode_ms_per_token.value == 11
    assert found.ratio_to_direct_loop.value == pytest.approx(1.1 ** (1 / 3))
    assert found.prefill_ratio_to_direct_loop.value == pytest.approx(0.75) and found.prefill_agreement == "disagrees"


@pytest.mark.real
@needs_openvino
def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelFileError, match="no such file"):
        DeployedModel(tmp_path, CONFIG, "OV-none", tmp_path / "log")


def test_the_command_has_no_path_of_this_machine():
    command = arguments("GPU.1", Feed({"input_ids": [[1, 1], [1, 4]], "beam_idx": [[1], [1]]}, {"x": "f16"}))
    assert command[command.index("-data_shape") + 1] == "input_ids[1,1][1,4],beam_idx[1][1]"
    assert command[command.index("-i") + 1] == "input_ids:input_ids,beam_idx:beam_idx"
    assert command[command.index("-iop") + 1] == "x:f16" and command[command.index("-d") + 1] == "GPU.1"
    assert not [a for a in command if a.startswith("/")]
