"""The store: what is finished is found again, what is not leaves no trace, and processes do not get in each other's
way."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import BaseModel

from quantcurve.engines.base import CacheTypes, LlamaCppConfig, OpenVinoConfig, OpenVinoRuntime
from quantcurve.engines.tensor_types import TensorRule
from quantcurve.errors import PrerequisiteError
from quantcurve.latency_records import GenAiWorkload
from quantcurve.recipe import Windows
from quantcurve.recipe_openvino import OpenVinoVariant
from quantcurve.records import EngineIdentity, Frozen, MachineFacts, Workload
from quantcurve.stages.benchmark import SpeedInputs, TimedModel
from quantcurve.stages.calibrate import CalibrationInputs, SourceInputs, StratumInputs
from quantcurve.stages.compress import CompressInputs
from quantcurve.stages.export import ExportInputs
from quantcurve.stages.genai import GenAiInputs
from quantcurve.stages.imatrix import ImatrixInputs
from quantcurve.stages.latency import LatencyInputs
from quantcurve.stages.resolve import ReferenceInputs, VariantInputs
from quantcurve.stages.scoring import ScoreInputs
from quantcurve.stages.tokenize import TokensInputs
from quantcurve.stages.tokenizer_gate import FileHash, GateInputs
from quantcurve.store import Store, default_folder, key_of, size_of

SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 20.0


class Inputs(Frozen):
    what: str = "x"


class Answer(Frozen):
    value: int


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def answer(draft: Path, value: int = 42) -> Answer:
    (draft / "data.bin").write_bytes(b"d" * 1000)
    return Answer(value=value)


def must_not_run(_: Path) -> Answer:
    raise AssertionError("made although it is in the store")


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def put(store: Store, what: str = "x") -> Path:
    return store.make("stage", Inputs(what=what), Answer, answer)[1].folder


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


def wait_for(folder: Path, pattern: str) -> Path:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := list(folder.glob(pattern))):
        assert time.monotonic() < deadline, f"no {pattern} appeared"
        time.sleep(0.01)
    return found[0]


# ---- one process ----


def test_what_was_made_is_read_the_next_time(store):
    made, first = store.make("stage", Inputs(), Answer, answer)
    read, second = Store(store.folder).make("stage", Inputs(), Answer, must_not_run)
    assert (made, first.cached, second.cached) == (read, False, True)
    assert first.folder == second.folder == store.find("stage", Inputs())
    assert sorted(p.name for p in first.folder.iterdir()) == [
        "contents.json",
        "data.bin",
        "inputs.json",
        "result.json",
    ]
    assert not list((store.folder / "tmp").iterdir())


def test_stages_and_inputs_are_apart(store):
    put(store)
    assert store.find("other", Inputs()) is None
    assert store.find("stage", Inputs(what="y")) is None


def test_forced_steps_are_made_anew(store):
    put(store)
    again, artifact = store.make("stage", Inputs(), Answer, lambda d: answer(d, 7), force=True)
    assert (again.value, artifact.cached) == (7, False)
    assert store.make("stage", Inputs(), Answer, must_not_run)[0].value == 7


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_a_step_that_raises_leaves_nothing(store, error):
    def fail(draft: Path) -> Answer:
        answer(draft)
        raise error

    with pytest.raises(type(error)):
        store.make("stage", Inputs(), Answer, fail)
    assert store.find("stage", Inputs()) is None
    assert not (store.folder / "artifacts").exists()
    assert not list((store.folder / "tmp").iterdir())
    assert store.make("stage", Inputs(), Answer, answer)[0] == Answer(value=42)


@pytest.mark.parametrize(
    "damaged", [b"", b'{"value": 4', b'{"value": "many"}', b'{"text": "of another version"}', b"\xff\xfe\x00" * 40]
)
def test_a_damaged_record_is_made_anew(store, damaged):
    record = put(store) / "result.json"
    record.write_bytes(damaged)
    made, artifact = store.make("stage", Inputs(), Answer, lambda d: answer(d, 7))
    assert (made.value, artifact.cached) == (7, False)
    assert store.make("stage", Inputs(), Answer, must_not_run)[0].value == 7


@pytest.mark.parametrize("damaged", [b"", b'{"value": 4', b"\xff\xfe\x00" * 40])
def test_a_damaged_record_is_not_found(store, damaged):
    (put(store) / "result.json").write_bytes(damaged)
    assert store.find("stage", Inputs()) is None


def test_looking_writes_nothing(store):
    assert store.find("stage", Inputs()) is None
    assert not store.folder.exists()
    put(store)
    before = everything(store.folder)
    assert store.find("stage", Inputs()) and not store.find("stage", Inputs(what="y"))
    assert [u.artifacts for u in store.usage()] == [1]
    assert everything(store.folder) == before


def test_scratch_is_gone_at_the_end_also_after_an_error(store):
    with suppress(ValueError), store.scratch("logits") as folder:
        (folder / "a").write_bytes(b"1")
        raise ValueError("broken")
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("QUANTCURVE_CACHE", str(tmp_path / "file" / "cache"))
    store = Store()
    assert store.folder == default_folder() == tmp_path / "file" / "cache"
    for use in (lambda: store.make("stage", Inputs(), Answer, must_not_run), lambda: store.scratch("x")):
        with pytest.raises(PrerequisiteError, match=r"file/cache cannot be written \(Not a directory\)") as caught:
            use()
        assert caught.value.fix.startswith("export QUANTCURVE_CACHE=")
    assert store.find("stage", Inputs()) is None
    assert store.hash_file(tmp_path / "file") == sha256(b"")


# ---- hashes of big files ----


def test_a_hash_is_remembered_by_size_mtime_and_inode(store, tmp_path):
    store.folder.mkdir()
    file = tmp_path / "model"
    file.write_bytes(b"aaaa")
    assert store.hash_file(file) == sha256(b"aaaa")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)

    file.write_bytes(b"bbbb")
    os.utime(file, ns=times)
    assert store.hash_file(file) == sha256(b"aaaa"), "the memo is not used"
    os.utime(file, ns=(times[0], times[1] + 1))
    assert store.hash_file(file) == sha256(b"bbbb"), "mtime"
    file.write_bytes(b"ccccc")
    os.utime(file, ns=times)
    assert store.hash_file(file) == sha256(b"ccccc"), "size"
    (tmp_path / "new").write_bytes(b"dddd")
    os.utime(tmp_path / "new", ns=times)
    (tmp_path / "new").replace(file)
    assert store.hash_file(file) == sha256(b"dddd"), "inode"


def test_a_damaged_memo_is_not_believed_and_no_cache_is_made_for_one(store, tmp_path):
    file = tmp_path / "model"
    file.write_bytes(b"aaaa")
    assert store.hash_file(file) == sha256(b"aaaa")
    assert not store.folder.exists()
    store.folder.mkdir()
    store.hash_file(file)
    (memo,) = (store.folder / "hashes").iterdir()
    whole = memo.read_text()
    for damaged in ("short", whole.replace(whole[5], "0" if whole[5] != "0" else "1"), whole[:64], "\0" * 81):
        memo.write_text(damaged)
        assert store.hash_file(file) == sha256(b"aaaa")
        assert memo.read_text() == whole


def test_a_memo_that_cannot_be_written_is_done_without(store, tmp_path):
    store.folder.mkdir()
    (store.folder / "hashes").touch()  # a file where the folder should be
    (tmp_path / "model").write_bytes(b"aaaa")
    assert store.hash_file(tmp_path / "model") == sha256(b"aaaa")
    assert not list((store.folder / "tmp").iterdir())


# ---- several processes ----


def slow_step(folder: Path, counter: Path, seconds: float) -> None:
    def make(draft: Path) -> Answer:
        with counter.open("a") as log:
            log.write("made\n")
        made = answer(draft)
        time.sleep(seconds)
        return made

    result, _ = Store(folder).make("stage", Inputs(), Answer, make)
    with counter.open("a") as log:
        log.write(f"got {result.value}\n")


def test_processes_that_want_the_same_step_make_it_once(store, tmp_path):
    counter = tmp_path / "counter"
    several = [SPAWN.Process(target=slow_step, args=(store.folder, counter, 1.0)) for _ in range(2)]
    for process in several:
        process.start()
    for process in several:
        process.join(PATIENCE_S)
    assert [p.exitcode for p in several] == [0, 0]
    assert sorted(counter.read_text().split("\n")) == ["", "got 42", "got 42", "made"]


def test_a_process_killed_in_the_middle_leaves_nothing_that_is_used(store, tmp_path):
    process = SPAWN.Process(target=slow_step, args=(store.folder, tmp_path / "counter", 100.0))
    process.start()
    draft = wait_for(store.folder, "tmp/*/data.bin").parent
    assert store.sweep() == 0 and draft.exists(), "a living process's folder was removed"
    assert store.prune() == 0 and draft.exists()
    process.kill()
    process.join(PATIENCE_S)
    assert process.exitcode == -signal.SIGKILL
    assert store.find("stage", Inputs()) is None
    assert store.sweep() == 1000
    assert not draft.exists()
    assert store.make("stage", Inputs(), Answer, answer)[1].cached is False


def test_the_folder_of_a_dead_process_whose_number_lives_on_is_swept(store):
    dead = store.folder / "tmp" / f"stage-key.{os.getpid()}-1"
    dead.mkdir(parents=True)
    with store.scratch("alive") as alive:
        store.sweep()
        assert alive.exists() and not dead.exists()
    assert not list((store.folder / "tmp").iterdir())


def test_pruning_removes_everything_but_what_is_held(store, tmp_path):
    kept, gone = put(store, "kept"), put(store, "gone")
    (tmp_path / "file").touch()
    store.hash_file(tmp_path / "file")
    size = size_of(gone)
    with FileLock(store.folder / "locks" / f"stage-{kept.name}.lock"):
        assert store.prune() == size > 1000
    assert kept.exists() and not gone.exists()
    assert not (store.folder / "hashes").exists()
    assert [(u.stage, u.artifacts) for u in store.usage()] == [("stage", 1)]
    assert store.prune() == size
    assert not kept.exists()


def test_pruning_by_age_keeps_what_was_used_since(store):
    old, new = put(store, "old"), put(store, "new")
    long_ago = time.time() - 10 * 86400
    os.utime(old / "result.json", (long_ago, long_ago))
    store.prune(older_than_days=11)
    assert old.exists() and new.exists()
    store.prune(older_than_days=9)
    assert not old.exists() and new.exists()


# ---- keys ----

ENGINE = EngineIdentity(name="e", version="1", build="b", cpu_features="avx")
CONFIG = LlamaCppConfig(threads=1, window_tokens=64)
MACHINE = MachineFacts(system="s", processor="p", logical_cores=1, memory_bytes=1, cpu_features="avx")
WORK = Workload(prompt_tokens=1, decode_tokens=1, decode_context_tokens=0, seed=0)
TIMED = TimedModel(content_hash="h", runtime=CacheTypes(), engine=ENGINE)
RULE = TensorRule(match="a", type="Q8_0")
OV_CONFIG = OpenVinoConfig(threads=2, window_tokens=64, runtime=OpenVinoRuntime(kv_cache="u8"))
KEYS = (
    ReferenceInputs(source_hash="h", requested="auto", engine=ENGINE),
    VariantInputs(reference_hash="h", file_type="Q4_0", tensors=(RULE,), imatrix_hash="h", engine=ENGINE),
    TokensInputs(reference_hash="h", text_hash="h", windows=Windows(), limit=2, seed=0, engine=ENGINE),
    ScoreInputs(model_hash="h", reference_hash="h", windows_hash="h", config=CONFIG, engine=ENGINE),
    ImatrixInputs(model_hash="h", calibration_hash="h", name="n", config=CONFIG, engine=ENGINE),
    SpeedInputs(models=(TIMED,), config=CONFIG, workload=WORK, repetitions=3, machine=MACHINE),
    ExportInputs(reference_hash="h", folder_hash="h", packages=(("openvino", "1"),)),
    CalibrationInputs(
        reference_hash="h",
        mix="m",
        strata=(StratumInputs(name="s", weight=1.0),),
        sources=(SourceInputs(name="n", stratum="s", share=1.0, records=3, content_hash="h"),),
        held_out_hashes=("h",),
        tokens=64,
        window_tokens=16,
        seed=0,
        engine=ENGINE,
    ),
    GateInputs(
        reference_hash="h",
        files=(FileHash(name="n", content_hash="h"),),
        text_hashes=("h",),
        adversarial_hash="h",
        engines=(ENGINE,),
        packages=("p",),
    ),
    LatencyInputs(
        content_hash="h",
        config=OV_CONFIG,
        contexts=(32,),
        decode_steps=32,
        prefills=2,
        seed=0,
        round=1,
        engine=ENGINE,
        machine=MACHINE,
    ),
    GenAiInputs(
        content_hash="h",
        tokenizer_hash="h",
        config=OV_CONFIG,
        workload=GenAiWorkload(),
        package_version="1",
        engine=ENGINE,
        machine=MACHINE,
    ),
    CompressInputs(
        source_hash="h",
        beside=(FileHash(name="n", content_hash="h"),),
        variant=OpenVinoVariant(weights="INT4_SYM", group_size=64, ratio=0.5),
        calibration_hash="h",
        packages=(("nncf", "1"),),
    ),
)
CHANGED = {
    str: lambda v: v + "'",
    int: lambda v: v + 2,
    float: lambda v: v / 2,
    bool: lambda v: not v,
    type(None): lambda _: 3,
    tuple: lambda v: (*v, *(v[:1] or (0,))),
}


def changes(record: BaseModel) -> list[tuple[str, BaseModel]]:
    """The record with each of its fields changed, also inside nested records."""
    found = []
    for name, value in record:
        others = changes(value) if isinstance(value, BaseModel) else [("", CHANGED[type(value)](value))]
        found += [(f"{name}.{inner}", record.model_copy(update={name: other})) for inner, other in others]
    return found


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("inputs", KEYS, ids=lambda k: type(k).__name__)
def test_every_field_of_a_key_counts(inputs):
    keys = {name: key_of(changed) for name, changed in changes(inputs)}
    assert len({*keys.values(), key_of(inputs)}) == len(keys) + 1, keys
    assert key_of(inputs.model_copy(deep=True)) == key_of(inputs)


@pytest.mark.parametrize("inputs", KEYS, ids=lambda k: type(k).__name__)
def test_no_key_has_a_path_in_it(inputs):
    assert '"format": "path"' not in str(type(inputs).model_json_schema()).replace("'", '"')


def test_a_key_does_not_depend_on_the_order_of_fields_or_the_process():
    class Forward(Frozen):
        a: int = 1
        b: str = "ü"

    class Backward(Frozen):
        b: str = "ü"
        a: int = 1

    assert key_of(Forward()) == key_of(Backward()) == sha256(b'{"a":1,"b":"\\u00fc"}')


def test_a_step_with_a_truncated_file_is_made_anew(store):
    folder = store.make("stage", Inputs(), Answer, answer)[1].folder
    with (folder / "data.bin").open("r+b") as data:
        data.truncate(1)
    assert store.find("stage", Inputs()) is None
    assert not store.make("stage", Inputs(), Answer, answer)[1].cached
    assert store.make("stage", Inputs(), Answer, answer)[1].cached


def test_prune_keeps_what_was_used_lately(store):
    old, new = (store.make("stage", Inputs(what=w), Answer, answer)[1].folder for w in "ab")
    for folder in (old, new):
        os.utime(folder / "result.json", (0, 0))
    assert store.make("stage", Inputs(what="b"), Answer, answer)[1].cached
    store.prune(older_than_days=1)
    assert new.exists() and not old.exists()
