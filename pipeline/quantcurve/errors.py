"""The exceptions quantcurve raises on purpose, and the exit code of each.

    QuantcurveError                 something a user can act on
    ├── RecipeError            (2)  the recipe, a flag or an input text is wrong
    ├── PrerequisiteError      (3)  something is missing on this machine; names the command that fixes it
    └── BackendError           (1)  an engine refused or died; carries exit code, signal and log
        ├── ModelFileError     (2)  a model file is missing, truncated, corrupt or of an unknown kind
        └── UnsupportedFileError (1)  one library does not read a file that others do

Every message says what is wrong, where, with which value, and what to do next.
"""

from __future__ import annotations

from pathlib import Path


def printable(text: str, most: int = 300) -> str:
    """Text from a file, fit for a message: no control characters, no more than so many characters."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else shown + "..."


class QuantcurveError(Exception):
    """Base of all errors that quantcurve raises on purpose."""

    exit_code = 1


class RecipeError(QuantcurveError):
    """The recipe, a flag or an input text is wrong."""

    exit_code = 2


class PrerequisiteError(QuantcurveError):
    """Something is missing on this machine; `fix` is the command that mends it."""

    exit_code = 3

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message, fix)
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.args[0]}\n  fix: {self.fix}"


class BackendError(QuantcurveError):
    """An engine refused its input or its process died."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message, log)
        self.message = message
        self.log = log

    def __str__(self) -> str:
        return self.message if self.log is None else f"{self.message}\n  log: {self.log}"


class ModelFileError(BackendError):
    """A model file is missing, truncated, corrupt or of an unknown kind."""

    exit_code = 2


class UnsupportedFileError(BackendError):
    """A library does not read a model file of this kind, though the file is whole and others do."""


def reason(error: BackendError | PrerequisiteError, name: str) -> str:
    """What is said of a variant that an error was raised for, with what mends it.

    Args:
        error: why it failed.
        name: of the variant, which the message need not repeat.
    """
    if isinstance(error, PrerequisiteError):
        return f"{error.args[0]}; to mend it: {error.fix}"
    return error.message.removeprefix(f"{name}: ")
