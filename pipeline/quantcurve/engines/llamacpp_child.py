"""llama.cpp through its C API; everything here runs inside a child process (see child.py).

One process holds at most one model: `open_model` loads it, the functions below work on it. Definitions follow
llama.cpp's own tools: tools/perplexity/perplexity.cpp for scoring, tools/llama-bench/llama-bench.cpp for speed.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llama_cpp as lc
import numpy as np
import psutil

from quantcurve.engines.base import (
    TOP_K,
    Doubles,
    EngineConfig,
    Floats,
    ReferenceScratch,
    Tokens,
    TokenScores,
    Workload,
)
from quantcurve.engines.gguf_file import GgufHeader, read_header, type_bits_per_weight
from quantcurve.engines.gguf_types import BY_NAME
from quantcurve.errors import BackendError, ModelFileError, PrerequisiteError
from quantcurve.metrics.base_file import StoredScores, compare_stored, read_base_file
from quantcurve.metrics.logits import ReferenceRows, RowScores, score_rows
from quantcurve.results import EffectiveConfig, Fallback, SpeedSamples

_FALLBACK = re.compile(
    r"warning: (?P<tensor>\S+) +- ncols +\d+ not divisible by +\d+ \(required for type +(?P<wanted>\S+)\).*?"
    r"-> falling back to +(?P<got>\S+)",
    re.S,
)
_FLASH = {"auto": -1, "off": 0, "on": 1}
_ERROR_LEVEL = 4
"""GGML_LOG_LEVEL_ERROR (ggml/include/ggml.h)."""
_log_lines: list[str] = []
_error_at: list[int] = []
"""Which of them are of the error level."""


@lc.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, user_data: object) -> None:
    line = text.decode("utf-8", "replace")
    if level == _ERROR_LEVEL:
        _error_at.append(len(_log_lines))
    _log_lines.append(line)
    sys.stderr.write(line)


lc.llama_log_set(_log, ctypes.c_void_p(0))


def _log_text(start: int) -> str:
    return "".join(_log_lines[start:])


def _last_error(start: int) -> str:
    """What llama.cpp's exception said, or else the first error it logged."""
    errors = "".join(_log_lines[i] for i in _error_at if i >= start)
    if thrown := re.search(r"(?:failed to quantize|error loading model): (.+)", errors):
        return thrown[1].strip()
    return errors.strip().partition("\n")[0] or "no reason given"


def header(path: Path) -> GgufHeader:
    """Read a file's header with ggml's reader (see gguf_file.read_header)."""
    return read_header(path)


def nominal_bits() -> dict[str, float]:
    """Bits per weight of every tensor type of the installed build."""
    return type_bits_per_weight()


def offers_gpu() -> bool:
    """Whether the installed build can use a GPU."""
    return bool(lc.llama_supports_gpu_offload())


def holds_bf16(path: Path) -> bool:
    """Whether all F32 weights of matrices are exact in BF16 (an F32 file made from a BF16 one)."""
    tensors = [t for t in read_header(path).tensors if t.type == "F32" and len(t.shape) > 1]
    return all(not np.any(np.memmap(path, np.uint32, "r", t.offset, (t.weights,)) & np.uint32(0xFFFF)) for t in tensors)


def quantized_size_bytes(source: Path, file_types: list[str], threads: int) -> dict[str, int | str]:
    """Bytes that each file type would take, without writing; llama.cpp's reason where it refuses."""
    sizes: dict[str, int | str] = {}
    for name in file_types:
        start = len(_log_lines)
        try:
            quantize(source, source.with_name("not-written"), name, threads, dry_run=True)
        except BackendError as error:
            sizes[name] = error.message
            continue
        found = re.search(r"quant size += +([\d.]+) MiB", _log_text(start))
        if "will require an imatrix" in _log_text(start):
            sizes[name] = "llama.cpp will refuse it: it needs an importance matrix"
            continue
        sizes[name] = int(float(found[1]) * 2**20) if found else "llama.cpp did not say"
    return sizes


def vocabulary_size(path: Path) -> int:
    """Number of tokens of the file's vocabulary."""
    model = _load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    size = int(lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model)))
    lc.llama_model_free(model)
    return size


def quantize(source: Path, target: Path, file_type: str, threads: int, dry_run: bool = False) -> tuple[Fallback, ...]:
    """Write `source` in another file type; returns the tensors that fell back to another type than the mixture's.

    Args:
        source: GGUF file; a quantised one is dequantised first.
        target: file to write (nothing is written in a dry run).
        file_type: a name of gguf_types.
        threads: CPU threads.
        dry_run: only decide the types.

    Raises:
        BackendError: llama.cpp refused; the message has its reason.
    """
    weights = {t.name: t.weights for t in read_header(source).tensors}
    params = lc.llama_model_quantize_default_params()
    params.ftype = BY_NAME[file_type].ftype
    params.nthread = threads
    params.allow_requantize = True
    params.dry_run = dry_run
    start = len(_log_lines)
    code = lc.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if code != 0:
        raise BackendError(f"{file_type}: llama.cpp could not write it: {_last_error(start)}")
    return tuple(
        Fallback(
            tensor=m["tensor"], wanted=m["wanted"].upper(), got=m["got"].upper(), weights=weights.get(m["tensor"], 0)
        )
        for m in _FALLBACK.finditer(_log_text(start))
    )


class _Model:
    """The model of this process: C pointers, a prepared batch, and what the engine said while opening it."""

    def __init__(self, path: Path, config: EngineConfig) -> None:
        self.path = path
        self.config = config
        start = len(_log_lines)
        self.model = _load(path, config, vocab_only=False)
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.vocabulary = lc.llama_vocab_n_tokens(self.vocab)
        self.context = lc.llama_init_from_model(self.model, _context_params(config))
        if not self.context:
            raise BackendError(f"{path.name}: llama.cpp could not make a context: {_last_error(start)}")
        self.opening_log = _log_text(start)
        self.add_bos = bool(lc.llama_vocab_get_add_bos(self.vocab))
        self.bos = int(lc.llama_vocab_bos(self.vocab))
        self.memory = lc.llama_get_memory(self.context)
        self.batch = lc.llama_batch_init(config.batch_tokens, 0, 1)
        self.pool = ThreadPoolExecutor(config.threads)

    def free(self) -> None:
        self.pool.shutdown()
        lc.llama_batch_free(self.batch)
        lc.llama_free(self.context)
        lc.llama_model_free(self.model)

    def decode(self, tokens: Tokens, positions: Tokens, sequences: Tokens, outputs: Tokens) -> None:
        """One llama_decode of at most batch_tokens tokens; arrays are (n,)."""
        n = len(tokens)
        batch = self.batch
        batch.n_tokens = n
        for pointer, values in ((batch.token, tokens), (batch.pos, positions), (batch.logits, outputs)):
            np.ctypeslib.as_array(pointer, (n,))[:] = values
        for i in range(n):
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = int(sequences[i])
        code = lc.llama_decode(self.context, batch)
        if code != 0:
            raise BackendError(f"llama_decode failed with code {code} on a batch of {n} tokens")

    def logits(self, rows: int) -> Floats:
        """The last batch's logits, (rows, vocabulary): a view into the engine's buffer, valid until the next decode."""
        lc.llama_synchronize(self.context)
        pointer = ctypes.cast(lc.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (rows, self.vocabulary))

    def clear(self) -> None:
        lc.llama_memory_clear(self.memory, True)


_model: _Model | None = None


def _current() -> _Model:
    if _model is None:
        raise BackendError("no model is open in this process")
    return _model


def _load(path: Path, config: EngineConfig, vocab_only: bool) -> Any:
    start = len(_log_lines)
    params = lc.llama_model_default_params()
    params.n_gpu_layers = -1 if config.device == "gpu" else 0
    params.vocab_only = vocab_only
    model = lc.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelFileError(f"{path}: llama.cpp cannot load this model: {_last_error(start)}")
    return model


def _context_params(config: EngineConfig) -> Any:
    params = lc.llama_context_default_params()
    params.n_ctx = config.window_tokens * config.sequences
    params.n_batch = min(config.batch_tokens, params.n_ctx)
    params.n_ubatch = min(config.micro_batch_tokens, params.n_batch)
    params.n_seq_max = config.sequences
    params.n_threads = params.n_threads_batch = config.threads
    params.type_k = _ggml_type(config.k_type)
    params.type_v = _ggml_type(config.v_type)
    params.flash_attn_type = _FLASH[config.flash_attention]
    return params


def _ggml_type(name: str) -> int:
    return int(getattr(lc, f"GGML_TYPE_{name.upper()}"))


def open_model(path: Path, config: EngineConfig) -> EffectiveConfig:
    """Load a model into this process, in place of the one it held; returns the configuration read back.

    Raises:
        ModelFileError: the file is missing, truncated, corrupt, or of an architecture the build does not know.
        BackendError: llama.cpp could not make a context.
    """
    global _model
    read_header(path)
    if config.device == "gpu" and not offers_gpu():
        raise PrerequisiteError(
            "this build of llama.cpp has no GPU support",
            'CMAKE_ARGS="-DGGML_VULKAN=on" pip install --force-reinstall --no-binary llama-cpp-python llama-cpp-python',
        )
    close_model()
    _model = _Model(path, config)
    return _effective(_model)


def close_model() -> None:
    """Free the model of this process, if there is one."""
    global _model
    if _model is not None:
        _model.free()
        _model = None


def _effective(model: _Model) -> EffectiveConfig:
    context = model.context
    flash = re.search(r"Flash Attention (?:was auto, set to )?(enabled|disabled)", model.opening_log)
    return EffectiveConfig(
        device=model.config.device,
        threads=lc.llama_n_threads(context),
        context_tokens=lc.llama_n_ctx(context),
        batch_tokens=lc.llama_n_batch(context),
        micro_batch_tokens=lc.llama_n_ubatch(context),
        sequences=lc.llama_n_seq_max(context),
        k_type=model.config.k_type,
        v_type=model.config.v_type,
        flash_attention=flash[1] if flash else model.config.flash_attention,
        trained_context_tokens=lc.llama_model_n_ctx_train(model.model),
    )


def tokenize(path: Path, texts: list[str]) -> list[Tokens]:
    """Token ids of whole texts by the file's own vocabulary, as llama-perplexity takes them: BOS if the vocabulary
    asks for it, special tokens in the text not parsed.

    Raises:
        ModelFileError: the vocabulary cannot be loaded.
    """
    read_header(path)
    model = _load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    try:
        return [_tokenize(vocab, text.encode()) for text in texts]
    finally:
        lc.llama_model_free(model)


def _tokenize(vocab: Any, text: bytes) -> Tokens:
    room = len(text) + 8
    buffer = (lc.llama_token * room)()
    count = lc.llama_tokenize(vocab, text, len(text), buffer, room, True, False)
    if count < 0:
        raise BackendError(f"llama_tokenize needs {-count} tokens for {len(text)} bytes")
    return np.ctypeslib.as_array(buffer)[:count].astype(np.int32)


def piece_bytes(path: Path, tokens: Tokens) -> Tokens:
    """Bytes of text that each token stands for, same shape as `tokens`; special tokens count as 0."""
    read_header(path)
    model = _load(path, EngineConfig(threads=1, window_tokens=1), vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    ids, inverse = np.unique(tokens, return_inverse=True)
    buffer = ctypes.create_string_buffer(1)
    # With no room the call returns minus the length it needs.
    lengths = [abs(lc.llama_token_to_piece(vocab, int(i), buffer, 0, 0, False)) for i in ids]
    lc.llama_model_free(model)
    return np.array(lengths, np.int32)[inverse].reshape(tokens.shape)


def score(windows: Tokens, reference: ReferenceScratch | None, keep: ReferenceScratch | None) -> TokenScores:
    """Score windows (W, window_tokens); see base.LoadedModel.score.

    Windows are decoded `sequences` at a time in one batch, as llama-perplexity does; a window longer than a batch
    goes in several. With a vocabulary that wants BOS, the first token of each window is replaced by it.

    Raises:
        BackendError: the logits are not finite.
    """
    model = _current()
    rows = windows.shape[1] - 1 - windows.shape[1] // 2
    sink = _Keep(keep, len(windows), rows, model.vocabulary) if keep else None
    source = _Reference(reference) if reference else None
    parts: list[TokenScores] = []
    for start in range(0, len(windows), model.config.sequences):
        group = windows[start : start + model.config.sequences]
        for i, logits in enumerate(_second_halves(model, group)):
            targets = group[i, -rows:]
            against = source.rows(start + i) if source else None
            try:
                scored = score_rows(logits, targets, against, model.pool, model.config.threads)
            except ValueError as error:
                raise BackendError(f"{model.path}: window {start + i}: {error}; its weights are broken") from error
            if sink:
                sink.put(start + i, logits, scored)
            parts.append(scored.scores)
    if sink:
        sink.close()
    stacked = TokenScores.concatenate(parts)
    shape = (len(windows), rows)
    return TokenScores(**{k: v.reshape(shape) for k, v in vars(stacked).items() if v is not None})


def score_stored(base: Path) -> StoredScores:
    """Score the open model on a base file's own windows, against its stored log probabilities."""
    model, file = _current(), read_base_file(base)
    rows = file.rows.shape[1]
    parts: list[StoredScores] = []
    for start in range(0, len(file.windows), model.config.sequences):
        group = file.windows[start : start + model.config.sequences].astype(np.int32)
        for i, logits in enumerate(_second_halves(model, group)):
            parts.append(compare_stored(logits, file.log_probabilities(start + i), group[i, -rows:]))
    return StoredScores(**{name: np.stack([getattr(p, name) for p in parts]) for name in vars(parts[0])})


def _second_halves(model: _Model, group: Tokens) -> list[Floats]:
    """Logits (rows, vocabulary) of the scored half of each window of a group that is decoded together."""
    count, length = group.shape
    first = length // 2
    group = group.copy()
    if model.add_bos:
        group[:, 0] = model.bos
    model.clear()
    step = min(length, model.config.batch_tokens)
    pieces: list[Floats] = []
    for begin in range(0, length, step):
        part = group[:, begin : begin + step]
        positions = np.tile(np.arange(begin, begin + part.shape[1], dtype=np.int32), count)
        outputs = (positions >= first).astype(np.int32)
        sequences = np.repeat(np.arange(count, dtype=np.int32), part.shape[1])
        model.decode(part.reshape(-1), positions, sequences, outputs)
        if outputs.any():
            logits = model.logits(int(outputs.sum())).reshape(count, -1, model.vocabulary)
            pieces.append(logits if length <= step else logits.copy())
    # The last position predicts a token outside the window.
    joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)
    return [joined[i, :-1] for i in range(count)]


class _Keep:
    """Writes a chunk's logits for later comparisons."""

    def __init__(self, scratch: ReferenceScratch, windows: int, rows: int, vocabulary: int) -> None:
        scratch.folder.mkdir(parents=True, exist_ok=True)
        k = min(TOP_K, vocabulary)
        self.logits = np.lib.format.open_memmap(
            scratch.logits, mode="w+", dtype=np.float32, shape=(windows, rows, vocabulary)
        )
        self.normaliser: Doubles = np.empty((windows, rows))
        self.top_k: Tokens = np.empty((windows, rows, k), np.int32)
        self.scratch = scratch

    def put(self, window: int, logits: Floats, scored: RowScores) -> None:
        self.logits[window] = logits
        self.normaliser[window] = scored.log_normaliser
        self.top_k[window] = scored.top_k

    def close(self) -> None:
        np.save(self.scratch.log_normaliser, self.normaliser)
        np.save(self.scratch.top_k, self.top_k)


class _Reference:
    """Reads a chunk's kept logits."""

    def __init__(self, scratch: ReferenceScratch) -> None:
        self.logits = np.load(scratch.logits, mmap_mode="r")
        self.normaliser = np.load(scratch.log_normaliser)
        self.top_k = np.load(scratch.top_k)

    def rows(self, window: int) -> ReferenceRows:
        return ReferenceRows(np.asarray(self.logits[window]), self.normaliser[window], self.top_k[window])


def _prefill(model: _Model, tokens: Tokens, first_position: int = 0) -> None:
    """Decode a prompt batch by batch; only the last token's logits are asked for, as llama_batch_get_one does."""
    for begin in range(0, len(tokens), model.config.batch_tokens):
        part = tokens[begin : begin + model.config.batch_tokens]
        outputs = np.zeros(len(part), np.int32)
        outputs[-1] = 1
        positions = np.arange(first_position + begin, first_position + begin + len(part), dtype=np.int32)
        model.decode(part, positions, np.zeros(len(part), np.int32), outputs)


def _random_tokens(model: _Model, count: int, seed: int) -> Tokens:
    tokens = np.random.default_rng(seed).integers(0, model.vocabulary, count).astype(np.int32)
    if model.add_bos and count:
        tokens[0] = model.bos
    return tokens


def warm_up(workload: Workload) -> None:
    """llama-bench's warm-up: the whole prompt once, then one decoded token."""
    model = _current()
    model.clear()
    _prefill(model, _random_tokens(model, workload.prompt_tokens, workload.seed))
    model.clear()
    _prefill(model, _random_tokens(model, 1, workload.seed))
    lc.llama_synchronize(model.context)
    model.clear()


def time_once(workload: Workload) -> SpeedSamples:
    """One repetition: prefill of random tokens, first token picked, then decoding one token at a time.

    The context that decoding starts from is filled outside the timing (llama-bench -d).
    """
    model = _current()
    prompt = _random_tokens(model, workload.prompt_tokens, workload.seed)
    model.clear()
    started = time.perf_counter()
    _prefill(model, prompt)
    lc.llama_synchronize(model.context)
    prefilled = time.perf_counter()
    int(model.logits(1)[0].argmax())
    answered = time.perf_counter()
    decode_s = _time_decode(model, workload)
    model.clear()
    return SpeedSamples(
        prefill_s=(prefilled - started,), decode_s=(decode_s,), first_token_s=(answered - started,), load_s=()
    )


def _time_decode(model: _Model, workload: Workload) -> float:
    depth = workload.decode_context_tokens
    model.clear()
    _prefill(model, _random_tokens(model, depth, workload.seed + 1))
    tokens = _random_tokens(model, workload.decode_tokens, workload.seed + 2)
    lc.llama_synchronize(model.context)
    one, zero = np.ones(1, np.int32), np.zeros(1, np.int32)
    started = time.perf_counter()
    for i in range(len(tokens)):
        model.decode(tokens[i : i + 1], np.array([depth + i], np.int32), zero, one)
        lc.llama_synchronize(model.context)
    return time.perf_counter() - started


def time_load(path: Path, config: EngineConfig) -> float:
    """Seconds from nothing to a model that is ready to decode (weights in the page cache), leaving it open."""
    close_model()
    started = time.perf_counter()
    open_model(path, config)
    return time.perf_counter() - started


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes() -> int:
    """Peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
