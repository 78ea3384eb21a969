"""The process that lm-evaluation-harness runs in, and the names of the tasks that it knows."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from quantcurve import __version__
from quantcurve.engines import task_child
from quantcurve.engines.child import Child
from quantcurve.errors import BackendError
from quantcurve.records import Frozen
from quantcurve.session import Session

P = ParamSpec("P")
T = TypeVar("T")
STAGE = "evaluate"


class NamesInputs(Frozen):
    """Key of the tasks that are known."""

    version: Literal[1] = 1
    lm_eval_version: str
    quantcurve_version: str


class Names(Frozen):
    """Of all tasks, groups and tags."""

    names: tuple[str, ...]


class Asker:
    """A process that has lm-eval imported, which takes it eight seconds: started when it is needed, and anew when it
    has died."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._child: Child | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *error: object) -> None:
        if self._child:
            self._child.close()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of task_child there.

        Raises:
            BackendError: the process died.
            Exception: what the function raised.
        """
        if self._child is None:
            self._child = Child("lm-eval", self._session.log("lm-eval"))
        try:
            return self._child.call(function, *args, **kwargs)
        except BackendError:
            self._child.kill()
            self._child = None
            raise


def known(session: Session, write: bool) -> tuple[str, ...]:
    """Names of all tasks; lm-eval reads 14,000 files to know them, which takes it ten seconds.

    Args:
        session: the run's surroundings.
        write: whether they may be kept in the store.
    """
    inputs = NamesInputs(lm_eval_version=metadata.version("lm_eval"), quantcurve_version=__version__)

    def make(_: Path) -> Names:
        with Asker(session) as asker:
            return Names(names=asker.call(task_child.known_tasks))

    if write:
        return session.make(STAGE, inputs, Names, make)[0].names
    found = session.peek(STAGE, inputs, Names)
    return found[0].names if found else make(Path()).names
