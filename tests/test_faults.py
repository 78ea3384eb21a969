"""Faults of the machine: killed processes, full and read-only disks, lack of memory, hanging engines, flipped bytes,
clocks that jump. Each is a named error or is mended; nothing is lost, and nothing is left behind."""

from __future__ import annotations

import operator
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

import faulty
from factories import make_run
from quantcurve.engines import channel, llamacpp_files
from quantcurve.engines import llamacpp_child as engine
from quantcurve.engines.base import LlamaCppConfig, ReferenceScratch
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError, PrerequisiteError, RecipeError
from quantcurve.recipe import LoadedRecipe, load
from quantcurve.records import Frozen
from quantcurve.report import folder as run_folder
from quantcurve.results import RunResult
from quantcurve.run import Where, run
from quantcurve.store import Store
from quantcurve.store_files import SMALL_BYTES

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="mounts, /proc and prlimit")]
PATIENCE_S = 30.0
MIB = 2**20
RECIPE = """\
name: faulty
model: {source: MODEL}
texts:
  - {name: chat, source: "embedded:chat"}
windows: {tokens: 64, limit: 4}
variants: {gguf: [Q8_0, Q4_0]}
benchmark: {prompt_tokens: 16, decode_tokens: 4, repetitions: 3}
"""


class Inputs(Frozen):
    what: str = "x"


class Answer(Frozen):
    value: int


def answer(draft: Path, value: int = 42) -> Answer:
    np.savez(draft / "scores.npz", nll=np.arange(1000.0))
    return Answer(value=value)


def must_not_run(_: Path) -> Answer:
    raise AssertionError("made although it is in the store")


def fill(folder: Path) -> Path:
    """A file that takes what is left of a small disk."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)) == 4096:
            pass
    assert shutil.disk_usage(folder).free < 4096
    return filler


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_clean(cache: Path) -> bool:
    return not any(any((cache / name).glob("*")) for name in ("tmp", "running"))


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as folder:
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    here = str(Path(__file__).parent)  # the child imports the functions below
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("QUANTCURVE_STALL_S", "2")
    monkeypatch.setenv("QUANTCURVE_CALL_LIMIT_S", "8")
    with Child("Q4_0", tmp_path / "logs" / "engine.log") as started:
        started.call(operator.add, 2, 3)
        yield started


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> LoadedRecipe:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(RECIPE.replace("MODEL", str(tiny_model)))
    return load(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipe: LoadedRecipe) -> tuple[Path, RunResult]:
    """The cache of a run, and its result."""
    cache = tmp_path_factory.mktemp("finished")
    return cache, run(recipe, Where(threads=2, cache=cache))


def same(one: RunResult, other: RunResult) -> bool:
    """Whether all but times is the same."""
    files = [(v.name, v.status, v.file, v.overall, v.slices) for v in one.variants]
    return files == [(v.name, v.status, v.file, v.overall, v.slices) for v in other.variants] and (
        one.reference.overall == other.reference.overall and one.run_key == other.run_key
    )


# ---- 1: killed processes ----

PARENT = """
import sys, threading, time
from pathlib import Path
from quantcurve.engines.child import Child
children = []
def start():
    children.append(Child("x", Path(sys.argv[1])))
    children[0].call(time.sleep, 0)
starter = threading.Thread(target=start)
starter.start()
starter.join()
time.sleep(0.5)
children[0].call(time.sleep, 0)  # the end of the thread that started it was not its own
print(children[0].pid, flush=True)
children[0].call(time.sleep, 100)
"""


def test_a_child_that_a_thread_started_outlives_the_thread_but_not_the_process(tmp_path):
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert not is_dead(pid)
        parent.kill()
    wait_until(lambda: is_dead(pid), "the child outlived its parent")


def test_a_child_whose_parent_died_while_it_started_ends_at_once():
    command = [sys.executable, "-m", "quantcurve.engines.child_main", "1", "main", "x"]  # its parent is not process 1
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphan:
        assert orphan.wait(PATIENCE_S) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_campaign_of_kills(tmp_path):
    tool = Path(__file__).parents[1] / "tools" / "fault_campaign.py"
    command = [sys.executable, str(tool), "--kills", "5", "--seed", "3", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("seed 3: identical 5 of 5\n")


# ---- 2: full disks ----


def test_a_step_on_a_full_disk_is_named_leaves_nothing_and_is_made_when_there_is_room(small_disk):
    store = Store(small_disk / "cache")
    store.make("stage", Inputs(what="before"), Answer, answer)
    filler = fill(small_disk)
    with pytest.raises(PrerequisiteError, match=r"disk/cache.*No space left on device: 0\.0 MB free") as caught:
        store.make("stage", Inputs(), Answer, answer)
    assert caught.value.fix.startswith("quantcurve cache prune, or export QUANTCURVE_CACHE=")
    with store.in_use():
        assert store.make("stage", Inputs(what="before"), Answer, must_not_run)[1].cached
        assert store.hash_file(filler)
    assert store.find("stage", Inputs()) is None and is_clean(store.folder)
    filler.unlink()
    assert store.make("stage", Inputs(), Answer, answer)[0].value == 42


def test_whatever_write_of_a_step_meets_the_full_disk_it_is_named(small_disk):
    """Page by page more room: the lock, the folders, the .npz, the records fail one after the other."""
    store, told = Store(small_disk / "cache"), []
    store.folder.mkdir()
    filler = fill(small_disk)
    while store.find("stage", Inputs()) is None:
        with suppress(PrerequisiteError):
            store.make("stage", Inputs(), Answer, answer)
            break
        told.append(shutil.disk_usage(small_disk).free)
        assert is_clean(store.folder)
        os.truncate(filler, filler.stat().st_size - 4096)
    assert len(told) > 3 and told == sorted(told)
    assert store.make("stage", Inputs(), Answer, must_not_run)[1].cached and is_clean(store.folder)


def test_pruning_a_full_disk_makes_room(small_disk):
    store = Store(small_disk / "cache")
    store.make("stage", Inputs(), Answer, lambda d: (d / "big").write_bytes(bytes(MIB)) and Answer(value=1))
    fill(small_disk)
    assert store.prune() > MIB
    assert shutil.disk_usage(small_disk).free >= MIB


def test_reference_logits_that_do_not_fit_are_named_and_the_engine_goes_on(small_disk, child, tiny_model):
    child.call(engine.open_model, tiny_model, LlamaCppConfig(threads=1, window_tokens=64, sequences=8))
    windows = np.arange(8 * 64, dtype=np.int32).reshape(-1, 64) % 256
    scratch = ReferenceScratch(small_disk / "scratch")
    fill(small_disk)
    with pytest.raises(PrerequisiteError, match=r"disk/scratch: No space left .*0\.0 MB free, 0\.3 MB were needed"):
        child.call(engine.score, windows, None, scratch)
    (small_disk / "filler").unlink()
    assert np.isfinite(child.call(engine.score, windows, None, scratch).nll).all()


def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(small_disk, recipe, finished, tmp_path):
    """The disk is full while variants are written; llama.cpp itself says only "iostream error"."""
    where = Where(threads=2, cache=small_disk / "cache", logs=tmp_path / "logs")
    (small_disk / "filler").write_bytes(bytes(3 * MIB))
    with pytest.raises(PrerequisiteError, match=r"disk/cache/tmp/quantize-.*No space left on device"):
        run(recipe, where)
    assert is_clean(small_disk / "cache")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert same(run(recipe, where), finished[1])
    assert is_clean(small_disk / "cache")


def test_a_limit_of_file_sizes_is_named(recipe, tmp_path):
    command = [sys.executable, "-m", "quantcurve.cli", "run", str(recipe.path), "-q", "--out", str(tmp_path / "out")]
    done = subprocess.run(["prlimit", f"--fsize={MIB}", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "may not write files of more than 1.0 MB (ulimit -f)" in done.stderr
    assert "fix: ulimit -f unlimited" in done.stderr
    assert is_clean(Store().folder)


def test_results_on_a_full_disk_stay_what_they_were(small_disk):
    first, second = make_run(), make_run().model_copy(update={"name": "another"})
    run_folder.save(first, small_disk / "out")
    filler = fill(small_disk)
    with pytest.raises(PrerequisiteError, match=r"disk/out: No space left on device") as caught:
        run_folder.save(second, small_disk / "out")
    assert "--out" in caught.value.fix
    assert run_folder.load(small_disk / "out") == first
    filler.unlink()
    run_folder.save(second, small_disk / "out")
    assert run_folder.load(small_disk / "out") == second
    assert not list((small_disk / "out").glob(".*"))


def test_an_engine_whose_log_meets_a_full_disk_goes_on(small_disk, tiny_model):
    with Child("x", small_disk / "log") as child:
        fill(small_disk)
        assert len(child.call(llamacpp_files.tokenize, tiny_model, ["some text"])) == 1
        with pytest.raises(ZeroDivisionError):
            child.call(operator.truediv, 1, 0)


# ---- 3: lack of memory ----


def test_an_engine_without_memory_is_named_with_what_helps(child, tiny_model):
    config = LlamaCppConfig(threads=1, window_tokens=2**20)
    used = psutil.Process(child.pid).memory_info().vms
    child.call(faulty.open_with_limit, tiny_model, LlamaCppConfig(threads=1, window_tokens=64), 0)
    with pytest.raises(BackendError, match="Q4_0: out of memory in open_with_limit; free some memory") as caught:
        child.call(faulty.open_with_limit, tiny_model, config, used + 2**30)
    assert caught.value.log == child.log


def test_python_without_memory_is_no_bug(child):
    with pytest.raises(BackendError, match="Q4_0: out of memory in allocate"):
        child.call(faulty.allocate, 2**62)
    assert child.call(operator.add, 2, 3) == 5


def test_an_abort_for_lack_of_memory_is_told_as_such(child):
    with pytest.raises(BackendError, match=r"SIGABRT\) \(out of memory: free some memory"):
        child.call(faulty.throw_bad_alloc)


# ---- 4: engines that hang, and answers that are none ----


@pytest.mark.parametrize("request_bytes", [10, 3_000_000])
def test_a_stopped_engine_is_killed_and_named(child, request_bytes):
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(
        BackendError, match=r"Q4_0: the engine hung in add: no progress for [2-5] s .*QUANTCURVE_STALL_S"
    ):
        child.call(operator.add, bytes(request_bytes), b"x")
    assert is_dead(child.pid)


def test_an_engine_that_waits_for_ever_is_killed_and_named(child):
    with pytest.raises(BackendError, match=r"the engine hung in sleep: no progress .*\n  log: "):
        child.call(time.sleep, 100)


@pytest.mark.slow
def test_an_engine_that_computes_is_not_stalled_but_has_a_limit(child):
    assert child.call(faulty.spin, 3.5) is None  # longer than it may stall
    with pytest.raises(BackendError, match=r"hung in spin: no answer in (8|9|10) s \(QUANTCURVE_CALL_LIMIT_S"):
        child.call(faulty.spin, 100)
    assert is_dead(child.pid)


def test_time_that_nobody_could_use_is_no_stall(monkeypatch):
    """A suspended machine or a stopped parent: the clock is hours on, but only two ticks count."""
    now = [1000.0]
    monkeypatch.setattr(channel.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(channel, "_account", lambda pid: ("the same",))
    watch = channel.Watch(os.getpid())
    for hours in (10, 20, 30, 40):  # the first look has nothing to compare with
        now[0] += hours * 3600
        watch.look()
    for _ in range(75):
        now[0] += 1.5
        watch.look()
    now[0] += 1.5
    with pytest.raises(channel.HungError, match="no progress for 120 s"):
        watch.look()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setenv("QUANTCURVE_STALL_S", text)
    with pytest.raises(RecipeError, match=f"QUANTCURVE_STALL_S={text}: not a positive number of seconds"):
        Child("x", tmp_path / "log")


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (b"garbage in the pipe", "cannot be read: a reply began with b'garb'"),
        (channel.MAGIC + b"\xff" * 70_000, "cannot be read: UnpicklingError"),
        (channel.MAGIC + b"cos\nno_such_name\n.", "cannot be read: AttributeError"),
        (channel.MAGIC + pickle.dumps((True, bytes(1000)))[:500], "the engine died in answer_and_die with exit code 5"),
        (channel.MAGIC, "the engine died in answer_and_die with exit code 5"),
        (b"Q", "the engine died in answer_and_die with exit code 5"),
    ],
)
def test_an_answer_that_is_none_is_named(child, answered, told):
    with pytest.raises(BackendError) as caught:
        child.call(faulty.answer_and_die, answered)
    assert told in str(caught.value) and str(caught.value).startswith("Q4_0: ")
    assert is_dead(child.pid)


# ---- 5: flipped bytes ----


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("name", ["result.json", "scores.npz", "inputs.json", "contents.json"])
@pytest.mark.parametrize("place", [0.0, 0.4, 0.99])
def test_a_flipped_byte_in_any_file_is_seen_and_mended(store, name, place):
    folder = store.make("stage", Inputs(), Answer, answer)[1].folder
    whole = (folder / name).read_bytes()
    flip(folder / name, int(place * len(whole)))
    fresh = Store(store.folder)
    assert store.find("stage", Inputs()) is None and fresh.find("stage", Inputs()) is None
    assert not fresh.make("stage", Inputs(), Answer, answer)[1].cached
    assert (folder / name).read_bytes() == whole
    assert fresh.verify() == [] and is_clean(store.folder)


def test_a_large_file_is_hashed_once_and_again_when_it_was_written(store):
    made = store.make("stage", Inputs(), Answer, large)[1].folder / "large"
    status = made.stat()
    flip(made, 5_000_000)
    assert Store(store.folder).find("stage", Inputs()) is None
    store.make("stage", Inputs(), Answer, large)
    status = made.stat()
    flip(made, 5_000_000)
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if the disk itself had lost it
    assert Store(store.folder).find("stage", Inputs()), "the memo was not used: large files are read at every start"
    ((stage, _, what, size_bytes),) = store.verify()
    assert (stage, what) == ("stage", "large: not the bytes that were written") and size_bytes > SMALL_BYTES
    assert store.find("stage", Inputs()) is None and store.verify() == [] and is_clean(store.folder)


def large(draft: Path) -> Answer:
    (draft / "large").write_bytes(bytes(SMALL_BYTES + 2 * MIB))
    return Answer(value=1)


def test_a_run_over_a_damaged_cache_gives_the_same(recipe, finished):
    shutil.copytree(finished[0], Store().folder, dirs_exist_ok=True)
    for stage in (Store().folder / "artifacts").iterdir():
        for folder in list(stage.iterdir())[:1]:
            victim = max(folder.iterdir(), key=lambda p: p.stat().st_size)
            flip(victim, victim.stat().st_size // 2)
    again = run(recipe, Where(threads=2))
    assert same(again, finished[1])
    assert all(s.cached < s.steps for s in again.stages if s.stage in ("quantize", "tokenize", "screen", "benchmark"))
    assert Store().verify() == [] and is_clean(Store().folder)


def test_seven_hundred_steps_are_read_in_a_moment(store):
    for i in range(700):
        store.make("stage", Inputs(what=str(i)), Answer, scores)
    started, fresh = time.process_time(), Store(store.folder)
    with fresh.in_use():
        for i in range(700):
            assert fresh.find("stage", Inputs(what=str(i)))
            assert fresh.make("stage", Inputs(what=str(i)), Answer, must_not_run)[1].cached
    assert time.process_time() - started < 1.5


def scores(draft: Path) -> Answer:
    (draft / "scores.npz").write_bytes(bytes(200_000))
    return Answer(value=1)


# ---- 6: a cache that cannot be written ----


def test_a_finished_run_reads_a_read_only_cache_and_an_unfinished_one_is_told(recipe, finished, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(finished[0], cache)
    where = Where(threads=2, cache=cache, logs=tmp_path / "logs")
    run(recipe, where)  # hashes of big files are kept by inode
    with read_only(cache):
        assert same(run(recipe, where), finished[1])
        with pytest.raises(PrerequisiteError, match="cannot be written") as caught:
            run(recipe, where._replace(force=frozenset({"screen"})))
        assert caught.value.fix.startswith("export QUANTCURVE_CACHE=")
        with pytest.raises(PrerequisiteError, match="cannot be written"):
            Store(cache).prune()
        assert Store(cache).verify() == []
    assert is_clean(cache)


# ---- 7: clocks that jump ----


@pytest.mark.parametrize("seconds", [-86400 * 3, 86400 * 3])
def test_nothing_in_use_is_removed_when_the_clock_jumps(store, monkeypatch, seconds):
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    then = real() + seconds
    with store.in_use():
        made = store.make("stage", Inputs(), Answer, answer)[1].folder
        with store.scratch("logits") as folder:
            for path in (folder, *(store.folder / "running").iterdir(), made / "result.json"):
                os.utime(path, (then, then))
            other = Store(store.folder)
            other.sweep()
            assert other.prune() == 0 and other.prune(older_than_days=1) == 0
            assert folder.exists() and made.exists()
            assert store.make("stage", Inputs(), Answer, must_not_run)[1].cached
    assert is_clean(store.folder)
    assert store.prune() > 0 and not made.exists()


def test_what_was_used_in_the_future_is_kept_by_age(store):
    made = store.make("stage", Inputs(), Answer, answer)[1].folder
    os.utime(made / "result.json", (time.time() + 86400, time.time() + 86400))
    assert store.prune(older_than_days=30) == 0 and made.exists()


# ---- 8: what killed processes left ----


def test_drafts_and_marks_of_dead_processes_go_with_the_next_run(store, tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from quantcurve.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "with store.in_use(), store.scratch('logits') as folder:\n"
        "    (folder / 'a').write_bytes(bytes(1000)); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(store.folder)], check=False)
    assert not is_clean(store.folder)
    with store.in_use():
        assert not any((store.folder / "tmp").iterdir())
    assert is_clean(store.folder)


def test_drafts_of_results_go_with_the_next_save(tmp_path):
    for name in (".results.json.4711", ".curve.svg.4712", ".saving.lock"):
        (tmp_path / name).write_text("half")
    run_folder.save(make_run(), tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_a_save_that_was_killed_before_its_pictures_draws_them_the_next_time(tmp_path, monkeypatch):
    old, new = make_run(), make_run().model_copy(update={"name": "another"})
    run_folder.save(old, tmp_path)
    before = (tmp_path / "curve.svg").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("quantcurve.report.picture.save_picture", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_folder.save(new, tmp_path)
    assert (tmp_path / "curve.svg").read_bytes() == before and run_folder.load(tmp_path) == old
    (tmp_path / "curve.svg").write_text("of the old figures")
    run_folder.save(new, tmp_path)
    assert (tmp_path / "curve.svg").read_text() != "of the old figures"


def test_two_saves_at_once_leave_one_whole_folder(tmp_path):
    both = [make_run(), make_run().model_copy(update={"name": "another"})]
    threads = [threading.Thread(target=run_folder.save, args=(r, tmp_path)) for r in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert run_folder.load(tmp_path) in both and not list(tmp_path.glob(".*"))
