"""A model open in llama.cpp: everything here runs inside a child process (see child.py).

One process holds at most one model: `open_model` loads it, the functions below and in llamacpp_speed.py work on it.
Scoring follows tools/perplexity/perplexity.cpp.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import llama_cpp as lc
import numpy as np

from quantcurve.engines import scratch
from quantcurve.engines.base import Floats, LlamaCppConfig, ReferenceScratch, Tokens, TokenScores
from quantcurve.engines.gguf_file import read_header
from quantcurve.engines.llamacpp_files import check_vocabulary
from quantcurve.engines.llamacpp_native import context_params, last_error, load, log_mark, log_text
from quantcurve.errors import BackendError
from quantcurve.metrics.base_file import StoredScores, compare_stored, read_base_file
from quantcurve.records import LlamaCppEffective

NOTHING: Tokens = np.empty(0, np.int32)


class Model:
    """The model of this process: C pointers, a prepared batch, and what the engine said while opening it."""

    def __init__(self, path: Path, config: LlamaCppConfig) -> None:
        self.path = path
        self.config = config
        start = log_mark()
        self.model = load(path, config, vocab_only=False)
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.vocabulary = lc.llama_vocab_n_tokens(self.vocab)
        check_vocabulary(path, self.vocab)
        self.context = lc.llama_init_from_model(self.model, context_params(config))
        if not self.context:
            raise BackendError(f"{path.name}: llama.cpp could not make a context: {last_error(start)}")
        self.opening_log = log_text(start)
        self.add_bos = bool(lc.llama_vocab_get_add_bos(self.vocab))
        self.bos = int(lc.llama_vocab_bos(self.vocab))
        self.memory = lc.llama_get_memory(self.context)
        self.batch = lc.llama_batch_init(config.batch_tokens, 0, config.sequences if config.unified else 1)
        self.pool = ThreadPoolExecutor(config.threads)
        self.kept_tokens: Tokens = NOTHING
        """What the cache holds for groups of answers or questions to come (llamacpp_generate.py, _likelihood.py)."""

    def free(self) -> None:
        """Give everything back; the object is of no use afterwards."""
        self.pool.shutdown()
        lc.llama_batch_free(self.batch)
        lc.llama_free(self.context)
        lc.llama_model_free(self.model)

    def decode(
        self, tokens: Tokens, positions: Tokens, sequences: Tokens | Sequence[Sequence[int]], outputs: Tokens
    ) -> None:
        """One llama_decode of at most batch_tokens tokens; arrays are (n,).

        Args:
            tokens: ids.
            positions: of each in its sequence.
            sequences: that each belongs to; several where the cache is unified.
            outputs: 1 where logits are wanted.
        """
        n = len(tokens)
        batch = self.batch
        batch.n_tokens = n
        for pointer, values in ((batch.token, tokens), (batch.pos, positions), (batch.logits, outputs)):
            np.ctypeslib.as_array(pointer, (n,))[:] = values
        for i, found in enumerate(sequences):
            if isinstance(found, Sequence):
                batch.n_seq_id[i] = len(found)
                for place, sequence in enumerate(found):
                    batch.seq_id[i][place] = sequence
            else:
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = int(found)
        code = lc.llama_decode(self.context, batch)
        if code != 0:
            raise BackendError(
                f"{self.path}: llama_decode failed with code {code} on a batch of {n} tokens; see the log"
            )

    def logits(self, rows: int) -> Floats:
        """The last batch's logits, (rows, vocabulary): a view into the engine's buffer, valid until the next decode."""
        lc.llama_synchronize(self.context)
        pointer = ctypes.cast(lc.llama_get_logits(self.context), ctypes.POINTER(ctypes.c_float))
        if not pointer:
            raise BackendError(f"{self.path}: llama.cpp gives no logits for it; name a model that predicts tokens")
        return np.ctypeslib.as_array(pointer, (rows, self.vocabulary))

    def clear(self) -> None:
        """Forget all sequences."""
        self.kept_tokens = NOTHING
        lc.llama_memory_clear(self.memory, True)


_model: Model | None = None


def current() -> Model:
    """The model of this process.

    Raises:
        BackendError: there is none.
    """
    if _model is None:
        raise BackendError("no model is open in this process")
    return _model


def open_model(path: Path, config: LlamaCppConfig) -> LlamaCppEffective:
    """Load a model into this process, in place of the one it held; returns the configuration read back.

    Raises:
        ModelFileError: the file is missing, truncated, corrupt, or of an architecture the build does not know.
        BackendError: llama.cpp could not make a context.
    """
    global _model
    read_header(path)
    close_model()
    _model = Model(path, config)
    return _effective(_model)


def close_model() -> None:
    """Free the model of this process, if there is one."""
    global _model
    if _model is not None:
        _model.free()
        _model = None


def _effective(model: Model) -> LlamaCppEffective:
    context = model.context
    log = model.opening_log
    flash = re.search(r"Flash Attention (?:was auto, set to )?(enabled|disabled)", log) or re.search(
        r"flash_attn +(?:=|is) (enabled|disabled)", log
    )
    cache_mib = sum(float(mib) for mib in re.findall(r"size = +([\d.]+) MiB \( *\d+ cells", log))
    return LlamaCppEffective(
        device=model.config.device,
        threads=lc.llama_n_threads(context),
        context_tokens=lc.llama_n_ctx(context),
        batch_tokens=lc.llama_n_batch(context),
        micro_batch_tokens=lc.llama_n_ubatch(context),
        sequences=lc.llama_n_seq_max(context),
        k_type=model.config.k_type,
        v_type=model.config.v_type,
        flash_attention=flash[1] if flash else model.config.flash_attention,
        k_rotated="attn_rot_k = 1" in log,
        v_rotated="attn_rot_v = 1" in log,
        cache_bytes=round(cache_mib * 2**20),
        trained_context_tokens=lc.llama_model_n_ctx_train(model.model),
    )


def score(windows: Tokens, reference: ReferenceScratch | None, keep: ReferenceScratch | None) -> TokenScores:
    """Score windows (W, window_tokens); see base.LoadedModel.score.

    Windows are decoded `sequences` at a time in one batch, as llama-perplexity does; a window longer than a batch
    goes in several. With a vocabulary that wants BOS, the first token of each window is replaced by it.

    Raises:
        BackendError: the logits are not finite.
    """
    model = current()
    scorable = scratch.Scorable(
        path=model.path,
        vocabulary=model.vocabulary,
        second_halves=partial(_second_halves, model),
        pool=model.pool,
        threads=model.config.threads,
    )
    return scratch.score(scorable, windows, reference, keep)


def score_stored(base: Path) -> StoredScores:
    """Score the open model on a base file's own windows, against its stored log probabilities."""
    model, file = current(), read_base_file(base)
    rows = file.rows.shape[1]
    windows = file.windows.astype(np.int32)
    parts = [
        compare_stored(logits, file.log_probabilities(i), windows[i, -rows:])
        for i, logits in enumerate(_second_halves(model, windows))
    ]
    return StoredScores(**{name: np.stack([getattr(p, name) for p in parts]) for name in vars(parts[0])})


def _second_halves(model: Model, windows: Tokens) -> Iterator[Floats]:
    for start in range(0, len(windows), model.config.sequences):
        yield from _decoded_together(model, windows[start : start + model.config.sequences])


def _decoded_together(model: Model, group: Tokens) -> list[Floats]:
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
