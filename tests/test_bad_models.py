"""Files that are no models, or lie: every operation ends soon, in an error that says which, and the parent lives."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from quantcurve.engines import llamacpp_child as engine
from quantcurve.engines import llamacpp_files, llamacpp_quantize, memory
from quantcurve.engines.base import LlamaCppConfig
from quantcurve.engines.child import Child
from quantcurve.engines.llamacpp import LlamaCppModel
from quantcurve.errors import BackendError, ModelFileError

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
CONFIG = LlamaCppConfig(threads=1, window_tokens=64)
WINDOWS = np.random.default_rng(0).integers(3, 300, (2, 64)).astype(np.int32)
LABEL = "the bad one"
SOON_S = 20.0
MUCH_BYTES = 10**9
OPERATIONS: dict[str, Callable[[Child, Path], object]] = {
    "header": lambda child, path: child.call(llamacpp_files.header, path),
    "tokenize": lambda child, path: child.call(llamacpp_files.tokenize, path, ["some text"]),
    "open": lambda child, path: child.call(engine.open_model, path, CONFIG),
    "quantize": lambda child, path: child.call(llamacpp_quantize.quantize, path, path.with_name("out.gguf"), "Q4_0", 1),
}


class Engine:
    """A child that is started again when a file has killed it."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.child = Child(LABEL, log)

    def outcomes(self, path: Path, *operations: str) -> dict[str, BackendError | None]:
        """The error of each operation on a file; anything else than a BackendError is a failure of the test."""
        found: dict[str, BackendError | None] = {}
        for name in operations or OPERATIONS:
            started = time.monotonic()
            try:
                OPERATIONS[name](self.child, path)
                found[name] = None
            except BackendError as error:
                found[name] = error
            said = str(found[name])
            assert found[name] is None or any(known in said for known in (str(path), LABEL, "Q4_0: llama.cpp")), said
            assert time.monotonic() - started < SOON_S, name
            if not psutil.pid_exists(self.child.pid):
                self.child = Child(LABEL, self.log)
            assert self.child.call(memory.peak_memory_bytes) < MUCH_BYTES, name
        return found


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Iterator[Engine]:
    found = Engine(tmp_path_factory.mktemp("bad") / "log")
    yield found
    found.child.close()


@pytest.fixture(scope="module")
def good(tiny_model) -> bytes:
    return tiny_model.read_bytes()


def all_refused(bad: Engine, path: Path, kind: type[BackendError] = ModelFileError) -> None:
    for name, error in bad.outcomes(path).items():
        assert isinstance(error, kind), f"{name}: {error!r}"


def test_a_good_file_is_refused_by_nothing(bad, tiny_model, tmp_path):
    (tmp_path / "x.gguf").write_bytes(tiny_model.read_bytes())
    assert set(bad.outcomes(tmp_path / "x.gguf").values()) == {None}


def test_missing_file(bad, tmp_path):
    all_refused(bad, tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match=r"none\.gguf: cannot be read \(No such file or directory\)"):
        llamacpp_files.header(tmp_path / "none.gguf")


def test_folder(bad, tmp_path):
    all_refused(bad, tmp_path)


@pytest.mark.parametrize("raw", [b"", b"G", b"GGUF", b"GGUF\3\0\0\0", b"GGUF" + bytes(1000), b"GGJT" + bytes(1000)])
def test_next_to_nothing(bad, tmp_path, raw):
    (tmp_path / "x.gguf").write_bytes(raw)
    all_refused(bad, tmp_path / "x.gguf")


@pytest.mark.parametrize("start", [b"", b"GGUF", b"GGUF\3\0\0\0"])
def test_random_bytes(bad, tmp_path, start):
    (tmp_path / "x.gguf").write_bytes(start + np.random.default_rng(0).bytes(100_000))
    all_refused(bad, tmp_path / "x.gguf")


def test_truncated_anywhere(bad, good, tiny_model, tmp_path):
    header = bad.child.call(llamacpp_files.header, tiny_model)
    first, last = (f(header.tensors, key=lambda t: t.offset) for f in (min, max))
    random = np.random.default_rng(0)
    inside = [*random.integers(4, first.offset, 25), *random.integers(first.offset, len(good), 10)]
    for end in (*inside, first.offset - 1, first.offset, first.offset + 1, last.offset + last.size_bytes - 1):
        path = tmp_path / f"cut-at-{end}.gguf"
        path.write_bytes(good[: int(end)])
        all_refused(bad, path)
        path.unlink()


# ---- headers that lie ----


def place(raw: bytes, key: str) -> int:
    """Where a key or name starts, with its length."""
    stored = struct.pack("<Q", len(key)) + key.encode()
    assert raw.count(stored) == 1
    return raw.index(stored)


def behind(raw: bytes, key: str, skip: int = 0) -> int:
    """So many bytes behind its end: a key's type (4 bytes) and value, a tensor's dimensions, type and offset."""
    return place(raw, key) + 8 + len(key) + skip


TENSOR = "blk.0.attn_q.weight"
TOKENS = "tokenizer.ggml.tokens"
ARCHITECTURE = "general.architecture"
# What a field is: where it lies, its format, and values that are not true.
LIES: dict[str, tuple[Callable[[bytes], int], str, tuple[int, ...]]] = {
    "version": (lambda _: 4, "<I", (0, 1, 99, 0x03000000)),
    "tensor count": (lambda _: 8, "<Q", (0, 22, 2**40, 2**63 - 1, 2**64 - 1)),
    "key count": (lambda _: 16, "<Q", (0, 20, 22, 2**40, 2**63 - 1, 2**64 - 1)),
    "key length": (lambda r: place(r, ARCHITECTURE), "<Q", (0, 19, 21, 2**30, 2**40, 2**63, 2**64 - 1)),
    "value type": (lambda r: behind(r, ARCHITECTURE), "<I", (0, 7, 9, 13, 2**32 - 1)),
    "string length": (lambda r: behind(r, ARCHITECTURE, 4), "<Q", (0, 4, 6, 2**30, 2**40, 2**64 - 1)),
    "array type": (lambda r: behind(r, TOKENS, 4), "<I", (0, 6, 9, 99)),
    "array length": (lambda r: behind(r, TOKENS, 8), "<Q", (0, 299, 301, 2**30, 2**40, 2**61, 2**64 - 1)),
    "length in array": (lambda r: behind(r, TOKENS, 16), "<Q", (0, 2**30, 2**64 - 1)),
    "tensor name length": (lambda r: place(r, TENSOR), "<Q", (0, 18, 20, 64, 2**40)),
    "dimensions": (lambda r: behind(r, TENSOR), "<I", (0, 1, 3, 5, 2**32 - 1)),
    "columns": (lambda r: behind(r, TENSOR, 4), "<q", (0, -1, 255, 257, 512, 2**31, 2**62, 2**63 - 1)),
    "rows": (lambda r: behind(r, TENSOR, 12), "<q", (0, -1, 255, 257, 2**31, 2**62, 2**63 - 1)),
    "tensor type": (lambda r: behind(r, TENSOR, 20), "<i", (-1, 2, 4, 24, 36, 43, 2**31 - 1)),
    "tensor offset": (lambda r: behind(r, TENSOR, 24), "<Q", (0, 1, 32, 2**40, 2**63, 2**64 - 32)),
}


def patched(folder: Path, raw: bytes, at: int, new: bytes) -> Path:
    path = folder / "patched.gguf"
    path.write_bytes(raw[:at] + new + raw[at + len(new) :])
    return path


@pytest.mark.parametrize("field", LIES)
def test_a_header_that_lies_about(bad, good, tmp_path, field):
    where, form, values = LIES[field]
    at = where(good)
    assert struct.unpack_from(form, good, at)[0] not in values, "this would not be a lie"
    for value in values:
        all_refused(bad, patched(tmp_path, good, at, struct.pack(form, value)))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("block_count", (0, 3, 2**31 - 1)),  # llama.cpp aborts at the first and the last
        ("embedding_length", (0, 128, 2**32 - 1)),
        ("feed_forward_length", (0, 128, 2**32 - 1)),
        ("attention.head_count", (0, 3, 2**32 - 1)),
        ("attention.head_count_kv", (0, 3, 2**32 - 1)),
        ("rope.dimension_count", (0, 3, 2**32 - 1)),
    ],
)
def test_a_header_that_lies_about_the_architectures(bad, good, tmp_path, key, values):
    for value in values:
        path = patched(tmp_path, good, behind(good, f"llama.{key}", 4), struct.pack("<I", value))
        assert bad.outcomes(path, "open", "tokenize")["open"] is not None, value


def test_a_tensor_that_is_not_there(bad, good, tmp_path):
    path = patched(tmp_path, good, place(good, TENSOR) + 8, TENSOR.replace("q", "x").encode())
    error = bad.outcomes(path, "open")["open"]
    assert isinstance(error, ModelFileError) and TENSOR in str(error)


def test_unknown_architecture(bad, good, tmp_path):
    at = behind(good, ARCHITECTURE, 12)
    assert good[at : at + 5] == b"llama"
    path = patched(tmp_path, good, at, b"lamma")
    found = bad.outcomes(path)
    assert found["header"] is None
    for name in ("open", "tokenize", "quantize"):
        assert "unknown model architecture: 'lamma'" in str(found[name])
    assert isinstance(found["open"], ModelFileError)


def test_unknown_tokenizer(bad, good, tmp_path):
    path = patched(tmp_path, good, behind(good, "tokenizer.ggml.model", 12), b"gptX")
    found = bad.outcomes(path, "open", "tokenize")
    assert all("unknown tokenizer: 'gptX'" in str(e) and isinstance(e, ModelFileError) for e in found.values())


def test_bytes_changed_at_random_in_the_header(bad, good, tmp_path):
    """Whatever comes of it, it comes soon, and as a result or an error by name."""
    end = place(good, "output.weight")
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        raw = bytearray(good)
        for at in random.integers(4, end, random.integers(1, 4)):
            raw[at] = random.integers(256)
        refused += bad.outcomes(patched(tmp_path, bytes(raw), 0, b"GGUF"), "open", "tokenize")["open"] is not None
    assert refused > 20


# ---- weights ----


@pytest.mark.parametrize("half", [0x7E00, 0x7C00], ids=["nan", "inf"])
@pytest.mark.parametrize("everywhere", [True, False], ids=["all", "one"])
def test_weights_that_are_not_finite(bad, good, tiny_model, tmp_path, half, everywhere):
    header = bad.child.call(llamacpp_files.header, tiny_model)
    output = next(t for t in header.tensors if t.name == "output.weight")
    path = patched(tmp_path, good, output.offset, struct.pack("<H", half) * (output.weights if everywhere else 1))
    found = bad.outcomes(path)
    assert found["open"] is found["tokenize"] is found["header"] is None
    assert "Q4_0: llama.cpp could not write it: " in str(found["quantize"])
    with pytest.raises(BackendError, match=r"patched\.gguf: window 0: the model's logits are not finite"):
        bad.child.call(engine.score, WINDOWS, None, None)


# ---- as the stages open it ----


@pytest.mark.parametrize("raw", [None, b"", b"GGUF\3\0\0\0" + bytes(100)], ids=["missing", "empty", "corrupt"])
def test_opening_a_bad_model_leaves_no_process(tmp_path, raw):
    path = tmp_path / "bad.gguf"
    if raw is not None:
        path.write_bytes(raw)
    before = len(psutil.Process().children())
    with pytest.raises(ModelFileError, match=r"bad\.gguf: .*\n  log: .*engine\.log"):
        LlamaCppModel(path, CONFIG, LABEL, tmp_path / "engine.log")
    assert len(psutil.Process().children()) == before


def test_a_model_that_kills_the_engine_is_told_with_its_label(good, tmp_path):
    path = patched(tmp_path, good, behind(good, "llama.block_count", 4), bytes(4))
    with pytest.raises(BackendError, match=r"the bad one: the engine died in open_model with signal 6 \(SIGABRT\)"):
        LlamaCppModel(path, CONFIG, LABEL, tmp_path / "engine.log")
