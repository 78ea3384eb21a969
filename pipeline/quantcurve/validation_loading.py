"""Finds validation functions, the user's or built in, calls them, and checks what they give."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from quantcurve import validation_functions
from quantcurve.errors import BackendError, PrerequisiteError, QuantcurveError, RecipeError, printable
from quantcurve.recipe_accuracy import BUILT_IN
from quantcurve.validation import Item, ValidationFunction
from quantcurve.validation_errors import named

SAME_RUN, OTHER_RUN = 1e-6, 1e-3
"""How far values may be apart, absolute and relative to the larger one: of the same call, and of one with the items in
another order or alone, which go through the model in batches of other sizes."""
SINGLES = 8
"""Items that are also asked for one by one."""
PRIVATE = "_quantcurve_validation_"
"""Modules of the user's files are called so, and a part of the hash of their paths."""
CAUSES = (
    "usual causes: random numbers without a fixed seed, something kept from one call to the next, values that depend "
    "on the other items"
)
VALUES_WANTED = "a function gives one value for each item"


class _Place(NamedTuple):
    path: Path
    name: str


def load(function: str, base: Path) -> ValidationFunction:
    """A validation function.

    Args:
        function: name of a built-in one, or FILE.py:NAME.
        base: folder that FILE starts from (the recipe's).

    Raises:
        RecipeError: no such file or name, the file cannot be imported, or what it has takes other arguments.
    """
    found: ValidationFunction
    if function in BUILT_IN:
        found = getattr(validation_functions, function)
        return found
    place = _place(function, base)
    module = _module(function, place.path, _source(function, place.path))
    if not hasattr(module, place.name):
        raise RecipeError(f"{function}: {place.path} has no {place.name}; {_there(module, place.name)}")
    candidate: Any = getattr(module, place.name)
    if not callable(candidate):
        raise RecipeError(
            f"{function}: {place.name} is no function but {candidate!r:.60}; {_there(module, place.name)}"
        )
    _check_arguments(function, candidate)
    found = candidate
    return found


def source_hash(function: str, base: Path) -> str:
    """SHA-256 of what determines a function's values beside the model and the items: its file and name, or the
    built-in's name and version. What the file imports is not in it.

    Raises:
        RecipeError: the file cannot be read.
    """
    if function in BUILT_IN:
        return hashlib.sha256(f"{function} {validation_functions.VERSION}".encode()).hexdigest()
    place = _place(function, base)
    return hashlib.sha256(place.name.encode() + b"\0" + _source(function, place.path)).hexdigest()


def values(function: ValidationFunction, label: str, model: Any, items: Sequence[Item], log: str = "") -> list[float]:
    """Call a validation function and check what it gives.

    Args:
        function: from `load`.
        label: what it is, for errors: `validation NAME`.
        model: a LanguageModel or Encoder.
        items: that it is asked for; at least one.
        log: the run's log with the traceback and what the function printed, if there is one.

    Raises:
        RecipeError: the function raised an exception, or gave anything but one finite value for each item.
        QuantcurveError: raised by the model.
    """
    try:
        given = function(model, tuple(items))
        if isinstance(given, Iterator):
            given = list(given)
    except QuantcurveError as error:
        raise _labelled(label, error) from error
    except Exception as error:
        there = f" ({log} among the run's logs has the traceback and what it printed)" if log else ""
        raise RecipeError(f"{label}: {_raised(function, error)}; mend the function{there}") from error
    return _checked(label, given, items)


def check_repeats(
    function: ValidationFunction, label: str, model: Any, items: Sequence[Item], log: str = ""
) -> list[float]:
    """Values of all items, after a second run has given the same; arguments and errors as `values`.

    Raises:
        RecipeError: the two runs differ; the message has the item and both values.
    """
    first = values(function, label, model, items, log)
    again = values(function, label, model, items, log)
    _compare(label, "two runs over the same items", items, first, again, SAME_RUN)
    return first


def check_deterministic(
    function: ValidationFunction, label: str, model: Any, items: Sequence[Item], log: str = ""
) -> list[float]:
    """Values of all items, after a second run, one in another order, and one of some items alone have given the same.

    Args:
        function: from `load`.
        label: as `values`, and so is `log`.
        model: the float reference.
        items: of the search; at least one.
        log: see `values`.

    Raises:
        RecipeError: as `check_repeats`.
    """
    first = check_repeats(function, label, model, items, log)
    order = np.random.default_rng(0).permutation(len(items))
    if (order == np.arange(len(items))).all():
        order = order[::-1]
    shuffled = values(function, label, model, [items[i] for i in order], log)
    back = [shuffled[place] for place in np.argsort(order)]
    _compare(label, "runs over the items in two orders", items, first, back, OTHER_RUN)
    some = sorted({round(i) for i in np.linspace(0, len(items) - 1, SINGLES)})
    alone = [values(function, label, model, [items[i]], log)[0] for i in some]
    together = [first[i] for i in some]
    _compare(label, "all items at once and an item alone", [items[i] for i in some], together, alone, OTHER_RUN)
    return first


def _compare(
    label: str, what: str, items: Sequence[Item], first: Sequence[float], second: Sequence[float], tolerance: float
) -> None:
    a, b = np.array(first), np.array(second)
    excess = np.abs(a - b) - tolerance * (1 + np.maximum(np.abs(a), np.abs(b)))
    worst = int(excess.argmax())
    if excess[worst] > 0:
        raise RecipeError(
            f"{label} is not deterministic: {what} differ: {named(items[worst])} is {first[worst]!r} and "
            f"then {second[worst]!r}; {CAUSES}"
        )


def _checked(label: str, given: Any, items: Sequence[Item]) -> list[float]:
    if given is None:
        raise RecipeError(f"{label} gave nothing (is its return missing?); {VALUES_WANTED}")
    if isinstance(given, str | bytes | Mapping | set) or inspect.iscoroutine(given):
        if inspect.iscoroutine(given):
            given.close()
        raise RecipeError(f"{label} gave a {type(given).__name__} ({given!r:.60}); {VALUES_WANTED}, in a list")
    try:
        found = list(given)
    except TypeError as error:  # of a number, and of an array without an axis
        raise RecipeError(
            f"{label} gave a single {type(given).__name__} ({given!r:.60}); {VALUES_WANTED}, a mean is not enough: "
            "differences from the reference are paired item by item"
        ) from error
    if len(found) != len(items):
        raise RecipeError(f"{label} gave {len(found)} values for {len(items)} items; {VALUES_WANTED}, in their order")
    return [_number(label, value, item) for value, item in zip(found, items, strict=True)]


def _number(where: str, value: Any, item: Item) -> float:
    plain = value.item() if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0 else value
    shown = printable(repr(value), 60)
    if isinstance(plain, str | bytes | np.ndarray | None):
        raise RecipeError(f"{where}: the value of {named(item)} is no number but {shown} ({type(value).__name__})")
    try:
        number = float(plain)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise RecipeError(
            f"{where}: the value of {named(item)} is no number but {shown} ({type(value).__name__})"
        ) from error
    if not np.isfinite(number):
        raise RecipeError(f"{where}: the value of {named(item)} is {number}; give a finite one for every item")
    return number


def _labelled(label: str, error: QuantcurveError) -> QuantcurveError:
    where = f"{label}: "
    if isinstance(error, PrerequisiteError):
        return PrerequisiteError(f"{where}{error.args[0]}", error.fix)
    if isinstance(error, BackendError):
        return type(error)(f"{where}{error.message}", error.log)
    return RecipeError(f"{where}{error}")


def _raised(function: ValidationFunction, error: BaseException) -> str:
    """What an exception says, with the last line of the user's file that led to it."""
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    return _told(error, getattr(module, "__file__", None))


def _told(error: BaseException, file: str | None) -> str:
    text = printable(str(error).strip(), 300)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename == file] if file else frames
    return f"{own[-1].filename}:{own[-1].lineno}: {said}" if own else said


def _place(function: str, base: Path) -> _Place:
    file, _, name = function.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        near = difflib.get_close_matches(function, BUILT_IN, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise RecipeError(
            f"{function!r} is no validation function{hint}; write FILE.py:FUNCTION, or one of {', '.join(BUILT_IN)}"
        )
    try:
        return _Place((base / Path(file).expanduser()).absolute(), name)
    except RuntimeError as error:  # ~ without a home
        raise RecipeError(f"{function}: {error} Write the path out") from error


def _source(function: str, path: Path) -> bytes:
    try:
        if path.is_char_device() or path.is_fifo():  # which may never end
            raise RecipeError(f"{function}: {path} is no file; name one with Python source")
        return path.read_bytes()
    except FileNotFoundError as error:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        hint = f"did you mean {near[0]}?" if near else "check the path, which is relative to the recipe"
        raise RecipeError(f"{function}: there is no file {path}; {hint}") from error
    except OSError as error:
        raise RecipeError(f"{function}: {path} cannot be read ({error.strerror}); check the path") from error


def _module(function: str, path: Path, source: bytes) -> ModuleType:
    """The file as a module of its own; its bytes are run as they are hashed, not a compilation that Python kept."""
    name = PRIVATE + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    spec = spec_from_file_location(name, path)
    assert spec
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except SyntaxError as error:
        sys.modules.pop(name, None)
        where = f"{error.filename or path}:{error.lineno or 1}"
        raise RecipeError(f"{function}: {where}: not valid Python: {error.msg}") from error
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        hint = ""
        if isinstance(error, ImportError):
            hint = "; install it, or put all in this one file: files beside it are not found"
        raise RecipeError(f"{function}: it cannot be imported: {_told(error, str(path))}{hint}") from error
    return module


def _there(module: ModuleType, name: str) -> str:
    functions = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
    near = difflib.get_close_matches(name, functions, 1)
    listed = ", ".join(functions) or "none"
    return (f"did you mean {near[0]}? " if near else "") + f"its functions are: {listed}"


def _check_arguments(function: str, candidate: Any) -> None:
    if inspect.iscoroutinefunction(candidate):
        raise RecipeError(f"{function}: it is an async function; write a plain one")
    try:
        signature = inspect.signature(candidate)
    except (TypeError, ValueError):  # of a function in C
        return
    try:
        signature.bind(None, ())
    except TypeError as error:
        raise RecipeError(
            f"{function}: it takes {signature} and is called with a model and items ({error}); write "
            "def NAME(model, items)"
        ) from error
