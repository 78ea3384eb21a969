"""The importance matrix of a model: runs inside a child process (see child.py).

Follows tools/imatrix/imatrix.cpp of llama.cpp (IMatrixCollector::collect_imatrix, compute_imatrix): an evaluation
callback sees every matrix product as it is computed, and its inputs are squared and summed in float32 row after
row, in that tool's order, so that the sums are the same to the last bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp as lc
import numpy as np
from llama_cpp._ggml import libggml
from numpy.typing import NDArray

from quantcurve.engines.base import Floats, LlamaCppConfig, Tokens
from quantcurve.engines.gguf_file import read_header
from quantcurve.engines.imatrix_file import ImportanceMatrix
from quantcurve.engines.llamacpp_child import close_model
from quantcurve.engines.llamacpp_native import context_params, last_error, load, log_mark
from quantcurve.errors import BackendError

LEAST_ROWS = 16
"""Smaller products are left out, as tools/imatrix does."""
_OBJECT_BYTES = 32
"""GGML_OBJECT_SIZE, the rest of ggml_tensor_overhead()."""


class _Tensor(ctypes.Structure):
    """struct ggml_tensor (ggml/include/ggml.h)."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * 10),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * 64),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )

    def source(self, i: int) -> _Tensor:
        return _Tensor.from_address(self.src[i])

    def weight_name(self) -> str:
        """Without what a scheduler puts around it: CUDA0#blk.0.attn_k.weight#0 (filter_tensor_name)."""
        parts = bytes(self.name).decode("utf-8", "replace").split("#")
        return parts[1] if len(parts) > 1 else parts[0]


@cache
def _matrix_products() -> tuple[int, int]:
    """GGML_OP_MUL_MAT and GGML_OP_MUL_MAT_ID (with chosen experts) of this build; sets signatures of libggml."""
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    signatures = {
        "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
        "ggml_backend_buffer_is_host": (ctypes.c_bool, [pointer]),
        "ggml_nbytes": (size, [pointer]),
        "ggml_op_name": (ctypes.c_char_p, [ctypes.c_int]),
        "ggml_tensor_overhead": (size, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    if (found := libggml.ggml_tensor_overhead() - _OBJECT_BYTES) != ctypes.sizeof(_Tensor):
        raise BackendError(
            f"this build's tensors have {found} bytes, not {ctypes.sizeof(_Tensor)}: "
            "install the llama-cpp-python that quantcurve is pinned to"
        )
    ops: dict[bytes, int] = {}
    while b"MUL_MAT_ID" not in ops:
        ops[libggml.ggml_op_name(len(ops))] = len(ops)
    return ops[b"MUL_MAT"], ops[b"MUL_MAT_ID"]


def collect(path: Path, windows: Tokens, config: LlamaCppConfig, process_output: bool = False) -> ImportanceMatrix:
    """Sums of squared activations of every weight matrix over a text, as llama-imatrix makes them.

    Windows are decoded `sequences` at a time; llama-imatrix takes batch_tokens // window_tokens. All positions give
    logits (the last layer is computed for no others), so that a batch needs batch_tokens * vocabulary * 4 bytes.
    With a vocabulary that wants BOS, the first token of each window is replaced by it.

    Args:
        path: GGUF file; closes the model of this process, if there is one.
        windows: token ids, (W, window_tokens).
        config: how the model is opened.
        process_output: also for `output.weight` (an embedding tied to it is always left out).

    Returns:
        The matrix, with no datasets: name them with `dataclasses.replace`.

    Raises:
        ModelFileError: llama.cpp refuses the file.
        BackendError: activations that are not finite, windows of under 16 tokens, or llama.cpp cannot decode.
    """
    read_header(path)
    close_model()
    collector = _Collector(process_output)
    callback = lc.ggml_backend_sched_eval_callback(collector.evaluated)
    with _open(path, config, callback) as (vocab, context):
        windows = windows.astype(np.int32)
        if lc.llama_vocab_get_add_bos(vocab):
            windows[:, 0] = lc.llama_vocab_bos(vocab)
        for start in range(0, len(windows), config.sequences):
            _decode(context, windows[start : start + config.sequences], config, collector)
    return collector.result(path, windows.shape[1])


@contextmanager
def _open(path: Path, config: LlamaCppConfig, callback: Any) -> Iterator[tuple[Any, Any]]:
    """Vocabulary and context of a model whose products the callback sees."""
    start = log_mark()
    model = load(path, config, vocab_only=False)
    try:
        params = context_params(config)
        params.cb_eval = callback
        context = lc.llama_init_from_model(model, params)
        if not context:
            raise BackendError(f"{path.name}: llama.cpp could not make a context: {last_error(start)}")
        try:
            yield lc.llama_model_get_vocab(model), context
        finally:
            lc.llama_free(context)
    finally:
        lc.llama_model_free(model)


def _decode(context: Any, group: Tokens, config: LlamaCppConfig, collector: _Collector) -> None:
    """Decode windows (n, window_tokens) together, in as many batches as they need."""
    count, length = group.shape
    step = min(length, max(1, config.batch_tokens // count))
    lc.llama_memory_clear(lc.llama_get_memory(context), True)
    for begin in range(0, length, step):
        part = group[:, begin : begin + step]
        batch = lc.llama_batch_init(part.size, 0, 1)
        batch.n_tokens = part.size
        for i, (sequence, column) in enumerate(np.ndindex(part.shape)):
            batch.token[i], batch.pos[i] = int(part[sequence, column]), begin + column
            batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, sequence, 1
        code = lc.llama_decode(context, batch)
        lc.llama_batch_free(batch)
        if collector.error:
            raise collector.error
        if code != 0:
            raise BackendError(f"llama_decode failed with code {code} on a batch of {part.size} tokens")


class _Stats:
    """What has been summed for one tensor."""

    def __init__(self, values: int, matrices: int) -> None:
        self.sums: Floats = np.zeros(values, np.float32)
        self.counts: NDArray[np.int64] = np.zeros(matrices, np.int64)


class _Collector:
    """Sees every node of a graph; sums the inputs of the products with weights."""

    def __init__(self, process_output: bool) -> None:
        self.mul_mat, self.mul_mat_id = _matrix_products()
        self.process_output = process_output
        self.stats: dict[str, _Stats] = {}
        self.error: BaseException | None = None

    def evaluated(self, address: int, ask: bool, user_data: object) -> bool:
        """ggml_backend_sched_eval_callback: whether the node is wanted, and then its inputs.

        Nothing can be raised through C: an error is kept, and the rest of the graph runs unseen.
        """
        try:
            if self.error is not None:
                return False
            node = _Tensor.from_address(address)
            if ask:
                return self._wanted(node)
            with np.errstate(all="ignore"):
                self._add(node)
        except BaseException as error:
            self.error = error
            return False
        return True

    def _wanted(self, node: _Tensor) -> bool:
        if node.op == self.mul_mat_id:
            return True
        if node.op != self.mul_mat:
            return False
        inputs = node.source(1)
        if inputs.ne[1] < LEAST_ROWS or inputs.type != lc.GGML_TYPE_F32:
            return False
        name = node.source(0).weight_name()
        return name.startswith("blk.") or (self.process_output and name == "output.weight")

    def _add(self, node: _Tensor) -> None:
        weights, inputs = node.source(0), node.source(1)
        name = weights.weight_name()
        if inputs.type != lc.GGML_TYPE_F32 or inputs.nb[0] != 4:
            raise BackendError(f"the inputs of {name} are no rows of float32 (type {inputs.type}): report this model")
        x = _array(inputs, np.float32)
        if node.op == self.mul_mat_id:
            self._add_experts(name, weights.ne[2], x, _array(node.source(2), np.int32))
        else:
            self._add_dense(name, weights.ne[2], weights.ne[3], x)

    def _add_dense(self, name: str, matrices2: int, matrices3: int, x: Floats) -> None:
        """One matrix, or a batch of them: one count for all."""
        columns, matrices = x.shape[3], matrices2 * matrices3
        stats = self._stats(name, matrices * columns, 1)
        if len(stats.counts) > 1 and (stats.counts == stats.counts[0]).all():
            stats.counts = stats.counts[:1]
        sums = stats.sums.reshape(matrices3, matrices2, columns)
        for i3, i2 in np.ndindex(x.shape[:2]):
            _add_squares(sums[i3 % matrices3, i2 % matrices2], x[i3, i2])
        _check_finite(name, stats.sums)
        stats.counts += x.size // columns // matrices

    def _add_experts(self, name: str, experts: int, x: Floats, ids: Tokens) -> None:
        """Experts: x is (1, tokens, 1 or chosen, columns), ids (1, 1, tokens, chosen)."""
        tokens, slots, columns = x.shape[1:]
        chosen = ids[0, 0].T
        if x.shape[0] != 1 or chosen.shape[1] != tokens or chosen.min() < 0 or chosen.max() >= experts:
            raise BackendError(f"{name}: the experts chosen do not fit its inputs: report this model")
        stats = self._stats(name, experts * columns, experts)
        if len(stats.counts) == 1 < experts:
            stats.counts = np.repeat(stats.counts, experts)
        sums = stats.sums.reshape(experts, columns)
        for expert in np.unique(chosen):
            slot, token = np.nonzero(chosen == expert)  # slot after slot, as the tool goes
            _add_squares(sums[expert], x[0, token, slot % slots])
            _check_finite(name, sums[expert])
        stats.counts += np.bincount(chosen.reshape(-1), minlength=experts)

    def _stats(self, name: str, values: int, matrices: int) -> _Stats:
        if name not in self.stats:
            self.stats[name] = _Stats(values, matrices)
        stats = self.stats[name]
        if len(stats.sums) != values:
            raise BackendError(f"{name} takes {values} inputs, after {len(stats.sums)}: report this model")
        return stats

    def result(self, path: Path, window_tokens: int) -> ImportanceMatrix:
        if not self.stats:
            raise BackendError(
                f"{path.name}: no matrix product of {LEAST_ROWS} rows or more in windows of {window_tokens} tokens; "
                "make them longer"
            )
        named = sorted(self.stats.items())
        return ImportanceMatrix(
            sums={name: stats.sums.reshape(len(stats.counts), -1) for name, stats in named},
            counts={name: stats.counts.astype(np.float32) for name, stats in named},
            datasets=(),
            chunk_count=int(max(stats.counts.max() for _, stats in named)) // window_tokens,
            chunk_size=window_tokens,
        )


def _add_squares(total: Floats, rows: Floats) -> None:
    """Add to a total (n,) the squares of rows (r, n), one row after the other in float32."""
    room = np.empty((len(rows) + 1, len(total)), np.float32)
    room[0] = total
    np.multiply(rows, rows, out=room[1:])
    np.add.reduce(room, axis=0, out=total)


def _check_finite(name: str, sums: Floats) -> None:
    if not np.isfinite(sums).all():
        raise BackendError(f"{name}: its squared inputs are not finite; the model's weights are broken")


def _array(tensor: _Tensor, kind: type[np.generic]) -> NDArray[Any]:
    """A tensor's values, (ne3, ne2, ne1, ne0): a view if they are in this process's memory, else a copy."""
    size_bytes = libggml.ggml_nbytes(ctypes.byref(tensor))
    if libggml.ggml_backend_buffer_is_host(tensor.buffer):
        raw = (ctypes.c_char * size_bytes).from_address(tensor.data)
    else:
        raw = (ctypes.c_char * size_bytes)()
        libggml.ggml_backend_tensor_get(ctypes.byref(tensor), raw, 0, size_bytes)
    return np.ndarray(tuple(tensor.ne)[::-1], kind, raw, strides=tuple(tensor.nb)[::-1])
