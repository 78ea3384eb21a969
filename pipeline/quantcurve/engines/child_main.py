"""The child's side of the boundary (see child.py): `python -m quantcurve.engines.child_main PARENT THREAD LABEL`.

PARENT is the parent's process number, THREAD whether its main thread started the child, LABEL for who looks at `ps`.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from quantcurve.engines.channel import MAGIC, read_request
from quantcurve.errors import BackendError

MAIN, OTHER = "main", "other"
"""Whether the parent's main thread started the child."""
OOM_SCORE = "500"
"""Added to the score by which the kernel chooses whom to kill when memory is gone: an engine before its parent."""


def die_with_parent(parent: int | None = None) -> None:
    """On Linux, ask the kernel to kill this process when the thread that started it ends, also in the middle of
    native code; and end now if the parent has already gone."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve requests from standard input until it closes; everything printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.argv[2] == MAIN:
        die_with_parent(int(sys.argv[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    threading.Thread(target=_end_with_pipe, args=(requests.fileno(),), daemon=True).start()
    os.dup2(2, 1)
    sys.stdout, sys.stderr = _log(1), _log(2)
    with contextlib.suppress(BrokenPipeError):
        _serve(requests, replies)
    # Native threads may still be parked in the engine; skip interpreter teardown.
    os._exit(0)


def _end_with_pipe(requests: int) -> None:
    """End when the parent has closed the pipe or is gone: unlike the kernel's signal, whichever of its threads
    started this process."""
    hung_up = select.poll()
    hung_up.register(requests, 0)
    hung_up.poll()
    os._exit(0)


class _Forgetful(io.FileIO):
    """A log on a full disk loses lines; the work goes on."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


def _log(descriptor: int) -> io.TextIOWrapper:
    raw: Any = _Forgetful(descriptor, "w", closefd=False)
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    while True:
        try:
            request = read_request(requests)
        except EOFError:
            return
        try:
            function, args, kwargs = pickle.loads(request)
            content = _result(function(*args, **kwargs))
        except BaseException as error:
            import traceback

            traceback.print_exc()
            content = pickle.dumps((False, _sendable(error)))
        replies.write(MAGIC)
        replies.write(content)
        replies.flush()


def _result(value: object) -> bytes:
    try:
        return pickle.dumps((True, value), protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BackendError(f"a result cannot be sent: {type(error).__name__}: {error}") from error


def _sendable(error: BaseException) -> Exception:
    """The error itself if it survives pickling, else a BackendError with its traceback."""
    import traceback

    if isinstance(error, Exception) and not isinstance(error, MemoryError):
        try:
            if type(pickle.loads(pickle.dumps(error))) is type(error):
                return error
        except Exception as unpicklable:
            sys.stderr.write(f"cannot send {type(error).__name__}: {unpicklable}\n")
    return BackendError("".join(traceback.format_exception(error)).strip())


if __name__ == "__main__":
    main()
