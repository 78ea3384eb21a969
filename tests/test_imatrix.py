"""Importance matrices: collected from real models, written and read in llama.cpp's formats, and refused if damaged."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantcurve.engines import llamacpp_child, llamacpp_files, llamacpp_imatrix
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.imatrix_file import ImportanceMatrix, load_imatrix
from quantcurve.errors import BackendError, ModelFileError
from record_imatrix import DATA, WINDOW_TOKENS, WINDOWS, recorded_model
from tiny import write_tiny_llama
from tiny_moe import write_tiny_moe

ROOT = Path(__file__).parents[1]
TOOLS = Path(os.environ.get("QUANTCURVE_LLAMA_TOOLS", ROOT / "build" / "llama-tools" / "cmake" / "bin"))
HAS_TOOLS = (TOOLS / "llama-imatrix").is_file()
CONFIG = LlamaCppConfig(threads=1, window_tokens=64, sequences=4)
IDS = np.random.default_rng(5).integers(3, 300, (6, 64)).astype(np.int32)
NORM_EPSILON = 1e-5


@pytest.fixture(scope="module")
def child(tmp_path_factory) -> Iterator[Child]:
    with Child("imatrix", tmp_path_factory.mktemp("imatrix") / "log") as found:
        yield found


def rms_norm(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.float64)
    return wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + NORM_EPSILON)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


# ---- collecting ----


@pytest.mark.real
@pytest.mark.parametrize("add_bos", [False, True])
def test_the_first_layer_sums_are_those_of_the_normed_embeddings(child, tmp_path, add_bos):
    model = write_tiny_llama(tmp_path / "tiny.gguf", add_bos=add_bos)
    found = child.call(llamacpp_imatrix.collect, model, IDS, CONFIG)
    table = next(t for t in child.call(llamacpp_files.header, model).tensors if t.name == "token_embd.weight")
    embeddings = np.fromfile(model, np.float16, table.weights, offset=table.offset).reshape(table.shape[::-1])
    read = IDS.copy()
    if add_bos:
        read[:, 0] = 1
    expected = (rms_norm(embeddings[read.reshape(-1)]) ** 2).sum(axis=0)
    for name in ("attn_q", "attn_k", "attn_v"):
        np.testing.assert_allclose(found.sums[f"blk.0.{name}.weight"][0], expected, rtol=1e-5)
    parts = ("attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up")
    assert list(found.sums) == [f"blk.{i}.{p}.weight" for i in range(2) for p in parts]
    assert {n: s.shape for n, s in found.sums.items() if "blk.1.ffn" in n} == {
        "blk.1.ffn_down.weight": (1, 512),
        "blk.1.ffn_gate.weight": (1, 256),
        "blk.1.ffn_up.weight": (1, 256),
    }
    assert all(c.tolist() == [IDS.size] for c in found.counts.values())
    assert (found.chunk_count, found.chunk_size, found.datasets) == (6, 64, ())


@pytest.mark.real
def test_experts_are_counted_and_summed_by_the_tokens_sent_to_them(child, tmp_path):
    model, silent = tmp_path / "moe.gguf", 2
    weights = write_tiny_moe(model, n_layer=1, precision="F32", attention=False, never_chosen=(silent,))
    found = child.call(llamacpp_imatrix.collect, model, IDS, CONFIG)
    x = rms_norm(weights["token_embd"][IDS.reshape(-1)])  # attention adds nothing
    chosen = np.argsort(-(x @ weights["blk.0.ffn_gate_inp"].T), axis=1)[:, :2]
    counts = np.bincount(chosen.reshape(-1), minlength=4)
    assert counts[silent] == 0 and np.all(np.delete(counts, silent) > 0)
    sums = {part: found.sums[f"blk.0.ffn_{part}_exps.weight"] for part in ("gate", "up", "down")}
    for expert in range(4):
        own = x[(chosen == expert).any(axis=1)]
        inner = silu(own @ weights["blk.0.ffn_gate_exps"][expert].T) * (own @ weights["blk.0.ffn_up_exps"][expert].T)
        np.testing.assert_allclose(sums["gate"][expert], (own**2).sum(axis=0), rtol=1e-5)
        np.testing.assert_array_equal(sums["up"][expert], sums["gate"][expert])
        np.testing.assert_allclose(sums["down"][expert], (inner**2).sum(axis=0), rtol=1e-4, atol=1e-6)
    for part in sums:
        assert found.counts[f"blk.0.ffn_{part}_exps.weight"].tolist() == counts.tolist()
    assert found.counts["blk.0.ffn_gate_inp.weight"].tolist() == [IDS.size]
    assert found.chunk_count == 6
    means = found.mean_squares("blk.0.ffn_gate_exps.weight").reshape(4, 256)
    assert np.all(means[silent] == 1)  # an expert without data: every column counts the same
    np.testing.assert_allclose(means[0], sums["gate"][0] / counts[0], rtol=1e-6)


@pytest.mark.real
def test_the_output_matrix_is_left_out_unless_asked_for_and_a_tied_one_always(child, tiny_model, tmp_path):
    plain = child.call(llamacpp_imatrix.collect, tiny_model, IDS, CONFIG)
    asked = child.call(llamacpp_imatrix.collect, tiny_model, IDS, CONFIG, process_output=True)
    assert set(asked.sums) - set(plain.sums) == {"output.weight"}
    assert asked.counts["output.weight"].tolist() == [IDS.size]
    write_tiny_moe(tmp_path / "tied.gguf", n_layer=1, tied=True)
    tied = child.call(llamacpp_imatrix.collect, tmp_path / "tied.gguf", IDS, CONFIG, process_output=True)
    assert len(tied.sums) == 8 and all(name.startswith("blk.") for name in tied.sums)


@pytest.mark.real
def test_a_window_in_several_batches_gives_the_same_sums(child, tiny_model):
    whole = child.call(llamacpp_imatrix.collect, tiny_model, IDS, CONFIG)
    parts = child.call(llamacpp_imatrix.collect, tiny_model, IDS, CONFIG.model_copy(update={"batch_tokens": 128}))
    for name, sums in whole.sums.items():
        np.testing.assert_allclose(parts.sums[name], sums, rtol=2e-3)
        assert parts.counts[name].tolist() == whole.counts[name].tolist()


@pytest.mark.real
def test_activations_that_are_not_finite_are_refused_and_the_process_lives_on(child, tiny_model, tmp_path):
    norm = next(t for t in child.call(llamacpp_files.header, tiny_model).tensors if t.name == "blk.1.attn_norm.weight")
    raw = bytearray(tiny_model.read_bytes())
    raw[norm.offset : norm.offset + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.gguf").write_bytes(raw)
    with pytest.raises(BackendError, match=r"blk\.1\.attn_[qkv]\.weight: its squared inputs are not finite"):
        child.call(llamacpp_imatrix.collect, tmp_path / "nan.gguf", IDS, CONFIG)
    assert child.call(llamacpp_imatrix.collect, tiny_model, IDS[:1], CONFIG).chunk_count == 1


@pytest.mark.real
def test_windows_too_short_for_a_product_are_refused(child, tiny_model):
    with pytest.raises(BackendError, match="16 rows or more in windows of 8 tokens"):
        child.call(llamacpp_imatrix.collect, tiny_model, IDS[:1, :8], CONFIG)


@pytest.mark.real
def test_a_file_that_is_no_model_is_refused(child, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelFileError, match=r"x\.gguf"):
        child.call(llamacpp_imatrix.collect, tmp_path / "x.gguf", IDS, CONFIG)


@pytest.mark.real
def test_the_open_model_gives_way(child, tiny_model):
    child.call(llamacpp_child.open_model, tiny_model, CONFIG)
    child.call(llamacpp_imatrix.collect, tiny_model, IDS[:1], CONFIG)
    with pytest.raises(BackendError, match="no model is open"):
        child.call(llamacpp_child.score, IDS, None, None)


# ---- agreement with llama.cpp's tools ----


@pytest.mark.real
def test_what_llama_imatrix_recorded_is_reproduced(child, tmp_path):
    """Made by record_imatrix.py; 1e-3 leaves room for another processor's order of additions."""
    recorded, model = load_imatrix(DATA / "moe.gguf"), recorded_model(tmp_path / "moe.gguf")
    ids = child.call(llamacpp_files.tokenize, model, [(DATA / "text.txt").read_text(encoding="utf-8")])[0]
    windows = ids[: WINDOWS * WINDOW_TOKENS].reshape(WINDOWS, WINDOW_TOKENS)
    config = LlamaCppConfig(threads=1, window_tokens=WINDOW_TOKENS, sequences=32)
    ours = child.call(llamacpp_imatrix.collect, model, windows, config)
    assert list(ours.sums) == list(recorded.sums)
    for name, sums in recorded.sums.items():
        np.testing.assert_allclose(ours.sums[name], sums, rtol=1e-3, atol=1e-6)
        assert ours.counts[name].tolist() == recorded.counts[name].tolist()
    assert (ours.chunk_count, ours.chunk_size) == (recorded.chunk_count, recorded.chunk_size) == (8, 64)
    assert recorded.datasets == ("text.txt",)


def test_both_formats_of_llama_imatrix_mean_the_same():
    new, old = load_imatrix(DATA / "moe.gguf"), load_imatrix(DATA / "moe.dat")
    assert (old.datasets, old.chunk_count, old.chunk_size) == (("text.txt",), 8, 0)
    assert set(new.sums) == set(old.sums) and "blk.0.ffn_down_exps.weight" in old.sums
    for name in new.sums:
        np.testing.assert_allclose(old.mean_squares(name), new.mean_squares(name), rtol=1e-6)


def test_a_file_of_llama_imatrix_is_written_again_byte_for_byte(tmp_path):
    load_imatrix(DATA / "moe.gguf").save(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == (DATA / "moe.gguf").read_bytes()


@pytest.mark.real
@pytest.mark.skipif(not HAS_TOOLS, reason=f"no llama-imatrix in {TOOLS} (tools/build_llama_tools.sh)")
@pytest.mark.parametrize(
    ("kind", "window_tokens", "process_output"),
    [
        ("tiny", 64, True),
        ("bos", 512, False),
        ("tiny", 2560, False),
        ("moe", 64, False),
        ("moe", 512, True),
        ("tied", 64, True),
    ],
)
def test_nothing_differs_from_llama_imatrix(tmp_path, monkeypatch, capsys, kind, window_tokens, process_output):
    """A window of 2,560 tokens takes two batches; quantised weights are compared too."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from imatrix_parity import compare

    model = tmp_path / "model.gguf"
    if kind in {"moe", "tied"}:
        write_tiny_moe(model, never_chosen=(1,), tied=kind == "tied")
    else:
        write_tiny_llama(model, add_bos=kind == "bos")
    text = tmp_path / "text.txt"
    text.write_text((DATA / "text.txt").read_text(encoding="utf-8") * 3 + "\n", encoding="utf-8")
    wrong = compare(TOOLS, model, text, 5 if window_tokens < 2048 else 2, window_tokens, "Q4_K_M", process_output)
    printed = capsys.readouterr().out
    assert wrong == 0, printed
    assert "sums                           largest relative difference 0;" in printed
    assert "byte-identical" in printed
    assert " 0 of " not in next(line for line in printed.splitlines() if "without a matrix" in line)


# ---- files ----


@pytest.fixture
def matrix() -> ImportanceMatrix:
    random = np.random.default_rng(1)
    shapes = {"blk.0.b.weight": (3, 8), "blk.0.a.weight": (1, 16), "ä.weight": (1, 1)}
    sums = {name: random.random(shape).astype(np.float32) * 1000 for name, shape in shapes.items()}
    counts = {name: np.arange(shape[0], dtype=np.float32) * 7 for name, shape in shapes.items()}
    counts["blk.0.a.weight"][:] = 2**24 - 1
    return ImportanceMatrix(sums, counts, ("a.txt", "b.txt"), chunk_count=9, chunk_size=512)


def same(a: ImportanceMatrix, b: ImportanceMatrix) -> bool:
    return (
        (a.datasets, a.chunk_count, a.chunk_size) == (b.datasets, b.chunk_count, b.chunk_size)
        and a.sums.keys() == b.sums.keys() == a.counts.keys() == b.counts.keys()
        and all(np.array_equal(a.sums[n], b.sums[n]) and np.array_equal(a.counts[n], b.counts[n]) for n in a.sums)
        and all(a.sums[n].dtype == np.float32 == a.counts[n].dtype for n in a.sums)
    )


def test_what_is_saved_is_loaded(matrix, tmp_path):
    matrix.save(tmp_path / "x.gguf")
    assert same(matrix, load_imatrix(tmp_path / "x.gguf"))
    unnamed = replace(matrix, datasets=())
    unnamed.save(tmp_path / "y.gguf")
    assert same(unnamed, load_imatrix(tmp_path / "y.gguf"))


def test_a_saved_file_is_laid_out_as_llama_cpp_does(matrix, tmp_path):
    matrix.save(tmp_path / "x.gguf")
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    names = ["blk.0.a.weight", "blk.0.b.weight", "ä.weight"]
    assert [t.name for t in reader.tensors] == [n + s for n in names for s in (".in_sum2", ".counts")]
    assert [t.shape.tolist() for t in reader.tensors] == [[16], [1], [8, 3], [1, 3], [1], [1]]
    assert [k for k in reader.fields if not k.startswith("GGUF.")] == [
        "general.type",
        "imatrix.datasets",
        "imatrix.chunk_count",
        "imatrix.chunk_size",
    ]


def test_means_are_what_the_quantizer_takes(matrix):
    means = matrix.mean_squares("blk.0.b.weight").reshape(3, 8)
    sums = matrix.sums["blk.0.b.weight"]
    assert means.dtype == np.float32
    np.testing.assert_array_equal(means, [np.ones(8), sums[1] / np.float32(7), sums[2] / np.float32(14)])
    with pytest.raises(KeyError, match="none"):
        matrix.mean_squares("none")


def test_a_name_too_long_for_ggml_is_not_written(matrix, tmp_path):
    name = "x" * 56
    long = replace(matrix, sums={name: np.ones((1, 2), np.float32)}, counts={name: np.ones(1, np.float32)})
    with pytest.raises(ModelFileError, match="too long a name"):
        long.save(tmp_path / "x.gguf")


def legacy(*entries: tuple[bytes, int, list[float]], trailer: bytes = b"") -> bytes:
    raw = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        raw += struct.pack("<i", len(name)) + name + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)
    return raw + trailer


LEGACY = legacy((b"blk.0.a.weight", 4, [8, 2, 0]), (b"blk.0.b.weight", 0, [8, 2]))
TRAILER = struct.pack("<ii", 12, 8) + b"wiki.txt"


def test_a_legacy_file_is_read_as_the_quantizer_reads_it(tmp_path):
    path = tmp_path / "x.dat"
    path.write_bytes(LEGACY + TRAILER)
    found = load_imatrix(path)
    assert found.mean_squares("blk.0.a.weight").tolist() == [2, 0.5, 0]
    assert found.mean_squares("blk.0.b.weight").tolist() == [8, 2]  # no calls: taken as they stand
    assert (found.datasets, found.chunk_count, found.chunk_size) == (("wiki.txt",), 12, 0)
    found.save(tmp_path / "x.gguf")
    assert same(found, load_imatrix(tmp_path / "x.gguf"))


def test_old_legacy_files_end_early(tmp_path):
    for trailer, expected in ((b"", 0), (TRAILER[:4], 12), (struct.pack("<ii", 12, 0), 12)):
        (tmp_path / "x.dat").write_bytes(LEGACY + trailer)
        found = load_imatrix(tmp_path / "x.dat")
        assert (len(found.sums), found.chunk_count, found.datasets) == (2, expected, ())


# ---- damage ----


def refused(folder: Path, raw: bytes) -> str:
    path = folder / "x.imatrix"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError, match=r"x\.imatrix: ") as caught:
        load_imatrix(path)
    return str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"none: cannot be read .*No such file"):
        load_imatrix(tmp_path / "none")
    with pytest.raises(ModelFileError, match="Is a directory"):
        load_imatrix(tmp_path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    raw = (DATA / "moe.gguf").read_bytes()
    last_counts = len(raw) - 28  # padding follows
    for end in (*range(0, 700, 7), *range(700, last_counts, 997), last_counts - 1):
        refused(tmp_path, raw[:end])
    assert "truncated: something ends at byte" in refused(tmp_path, raw[: len(raw) // 2])
    whole = LEGACY + TRAILER
    fine = {len(LEGACY), len(LEGACY) + 4}
    for end in set(range(len(whole))) - fine:
        assert "as a legacy file (.dat) it ends within" in refused(tmp_path, whole[:end])


def written(folder: Path, tensors: dict[str, np.ndarray], kind: str = "imatrix", without: str = "", **values) -> bytes:
    """A GGUF file of these tensors."""
    writer = gguf.GGUFWriter(folder / "w.gguf", "x")
    writer.add_type(kind)
    metadata = {"imatrix.datasets": ["a"], "imatrix.chunk_count": 1, "imatrix.chunk_size": 512} | values
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif key != without:
            writer.add_key_value(key, value, gguf.GGUFValueType.get_type(value))
    for name, values_ in tensors.items():
        writer.add_tensor(name, values_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (folder / "w.gguf").read_bytes()


def pair(sums: object, counts: object) -> dict[str, np.ndarray]:
    return {"a.in_sum2": np.array(sums, np.float32), "a.counts": np.array(counts, np.float32)}


GOOD = pair([[1, 2], [3, 4]], [[5], [6]])


def test_a_good_file_is_refused_by_nothing(tmp_path):
    path = tmp_path / "x.imatrix"
    path.write_bytes(written(tmp_path, GOOD))
    assert load_imatrix(path).mean_squares("a").tolist() == pytest.approx([0.2, 0.4, 0.5, 4 / 6])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "it has no tensors"),
        ({"other": np.ones(3, np.float32)}, "it has no tensors"),
        ({"a.in_sum2": GOOD["a.in_sum2"]}, "a.counts is missing"),
        ({"a.counts": GOOD["a.counts"]}, "a.in_sum2 is missing"),
        ({**GOOD, "a.counts": np.ones((2, 1), np.float16)}, "a.counts is of type F16, not F32"),
        (pair([[1, 2], [3, 4]], [[5], [6], [7]]), "the sums of a are [2, 2] and its counts [1, 3]"),
        (pair([[1, 2], [3, 4]], [5]), "do not fit"),
        (pair([[1, 2], [3, 4]], [[5, 6]]), "do not fit"),
        (pair([[1, np.nan], [3, 4]], [[5], [6]]), "the sums of a hold nan"),
        (pair([[1, 2], [np.inf, 4]], [[5], [6]]), "the sums of a hold inf"),
        (pair([[1, 2], [-3, 4]], [[5], [6]]), "the sums of a hold -3.0"),
        (pair([[1, 2], [3, 4]], [[5], [np.nan]]), "the counts of a hold nan"),
        (pair([[1, 2], [3, 4]], [[5], [-6]]), "the counts of a hold -6.0"),
    ],
)
def test_tensors_that_are_no_sums_and_counts(tmp_path, tensors, said):
    assert said in refused(tmp_path, written(tmp_path, tensors))


def test_other_gguf_files(tmp_path, tiny_model):
    assert "of type 'model', not 'imatrix'" in refused(tmp_path, written(tmp_path, GOOD, kind="model"))
    assert "of type None, not 'imatrix'" in refused(tmp_path, tiny_model.read_bytes())


def test_metadata_without_which_llama_cpp_refuses_a_file(tmp_path):
    for key in ("imatrix.chunk_count", "imatrix.chunk_size"):
        assert f"it has no {key}" in refused(tmp_path, written(tmp_path, GOOD, without=key))
        assert f"{key} is -1" in refused(tmp_path, written(tmp_path, GOOD, **{key: -1}))
        assert f"{key} is 'one'" in refused(tmp_path, written(tmp_path, GOOD, **{key: "one"}))
    assert "imatrix.datasets" in refused(tmp_path, written(tmp_path, GOOD, **{"imatrix.datasets": []}))
    assert "imatrix.datasets is [1, 2]" in refused(tmp_path, written(tmp_path, GOOD, **{"imatrix.datasets": [1, 2]}))


def gguf_start(tensors: int, values: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values)


def array(item_type: int, length: int, key: bytes = b"k") -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, item_type, length)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("item_type", range(14))
@pytest.mark.parametrize("length", [3, 2**31, 2**60, 2**64 - 1])
def test_a_header_that_announces_more_than_there_is_ends_at_once(tmp_path, item_type, length):
    refused(tmp_path, gguf_start(0, 1) + array(item_type, length))
    refused(tmp_path, gguf_start(0, 1) + array(item_type, length) + bytes(1000))


@pytest.mark.timeout(60)
def test_a_header_of_too_much_ends_soon(tmp_path):
    assert "more than 200,000 values" in refused(tmp_path, gguf_start(0, 1) + array(0, 10**6) + bytes(10**6))
    assert "damaged" in refused(tmp_path, gguf_start(0, 1) + array(9, 1) + struct.pack("<IQ", 9, 1) * 100_000)


@pytest.mark.parametrize("count", [2**31, 2**63, 2**64 - 1])
def test_counts_that_lie(tmp_path, count):
    refused(tmp_path, gguf_start(count, 0))
    refused(tmp_path, gguf_start(0, count))
    refused(tmp_path, gguf_start(0, 1) + struct.pack("<Q", count))
    dimensions = struct.pack("<Q", 9) + b"a.in_sum2" + struct.pack("<IQQIQ", 2, count, count, 0, count) + bytes(100)
    refused(tmp_path, gguf_start(1, 0) + dimensions)


@pytest.mark.parametrize(
    "raw",
    [
        legacy(),
        struct.pack("<i", -1),
        legacy((b"", 1, [1])),
        legacy((b"\xff\xfe", 1, [1])),
        legacy((b"x" * 64, 1, [1])),
        legacy((b"a", 1, [])),
        legacy((b"a", 1, [1]), (b"a", 1, [1])),
        legacy((b"a", 1, [np.nan])),
        legacy((b"a", 1, [-1])),
        legacy((b"a", 1, [1]), trailer=struct.pack("<ii", -1, 0)),
        legacy((b"a", 1, [1]), trailer=TRAILER + b"more"),
        b"\x89PNG" + bytes(100),
        b"just a text, and not a short one " * 10,
    ],
)
def test_damaged_legacy_files(tmp_path, raw):
    refused(tmp_path, raw)


def survives(folder: Path, raw: bytes) -> None:
    """Any exception but ModelFileError is a failure, and so is a matrix that cannot be used."""
    path = folder / "x.imatrix"
    path.write_bytes(raw)
    try:
        found = load_imatrix(path)
    except ModelFileError:
        return
    assert found.sums
    for name in found.sums:
        assert np.isfinite(found.mean_squares(name)).all()


FUZZ = settings(max_examples=300, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(start=st.sampled_from([b"", b"GGUF", gguf_start(0, 1), gguf_start(1, 0)]), rest=st.binary(max_size=400))
def test_garbage_is_refused_or_read_but_nothing_else(tmp_path, start, rest):
    survives(tmp_path, start + rest)


@FUZZ
@given(data=st.data(), format_=st.sampled_from(["gguf", "dat"]))
def test_flipped_bytes_are_refused_or_read_but_nothing_else(tmp_path, data, format_):
    raw = bytearray((DATA / f"moe.{format_}").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 1200))] = data.draw(st.integers(0, 255))
    survives(tmp_path, bytes(raw))
