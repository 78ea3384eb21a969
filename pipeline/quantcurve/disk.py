"""A disk that is full or read-only, as an error that names the folder and the next step."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from quantcurve.errors import BackendError, PrerequisiteError, RecipeError

Made = TypeVar("Made")

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE})
PROBE_BYTES = 2**20
FREE_SOME = "quantcurve cache prune, or export QUANTCURVE_CACHE=/a/folder/on/a/larger/disk"
FREE_THERE = "free some space there"
ELSEWHERE = "export QUANTCURVE_CACHE=/a/folder/that/can/be/written"
UNLIMIT = "ulimit -f unlimited (in the shell that starts quantcurve)"
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV})


def named(
    error: OSError, folder: Path, fix: str | None = None, needed_bytes: int | None = None
) -> PrerequisiteError | None:
    """What an operating system's error means for the user, or None if it does not tell of a full or refusing disk.

    Args:
        error: as it was raised; the folder of the file it names goes before `folder`.
        folder: where was written.
        fix: instead of the way out for the cache folder.
        needed_bytes: what was to be written, if known.
    """
    at = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    inside = at is None or at.is_relative_to(folder)
    if error.errno in FULL:
        return _full(error, at.parent if at else folder, (fix or FREE_SOME) if inside else FREE_THERE, needed_bytes)
    if error.errno in REFUSED and at and inside:
        return PrerequisiteError(f"{folder}: cannot be written ({error.strerror})", fix or ELSEWHERE)
    return None


@contextlib.contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A draft beside a file, to be written inside the block; the file appears whole at its end, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def written(path: Path, what: str, fix: str) -> Iterator[Path]:
    """The same for a file that the user named.

    Args:
        path: of the file.
        what: it is, for a message.
        fix: of a full disk.

    Raises:
        RecipeError: it cannot be written.
        PrerequisiteError: the disk is full.
    """
    try:
        with drafted(path) as draft:
            yield draft
    except OSError as error:
        if error.errno in FULL and (full := named(error, path.parent, fix)):
            raise full from error
        raise RecipeError(f"{path}: {what} cannot be written ({error.strerror}); give another file") from error


@contextlib.contextmanager
def errors_named(folder: Path, fix: str | None = None, needed_bytes: int | None = None) -> Iterator[None]:
    """Raise `named` errors in place of the operating system's.

    Raises:
        PrerequisiteError: the disk is full, or refuses to be written.
    """
    try:
        yield
    except OSError as error:
        if known := named(error, folder, fix, needed_bytes):
            raise known from error
        raise


def reserve(path: Path, size_bytes: int) -> None:
    """Give an existing file its blocks now: a memory map of a sparse file dies with SIGBUS when the disk is full.

    Raises:
        PrerequisiteError: they are not to be had.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with errors_named(path.parent, needed_bytes=size_bytes), path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise


def full(folder: Path) -> PrerequisiteError | None:
    """Whether a file that was being written in a folder met a full disk or a size limit: for writers that do not say
    why they failed."""
    limit = _file_limit_bytes()
    largest = max((p.stat().st_size for p in folder.rglob("*") if p.is_file()), default=0)
    if limit is not None and largest >= limit:
        return _full(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), folder, FREE_SOME, None)
    probe = folder / "probe"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        return None if error.errno == errno.EFBIG else named(error, folder)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return None


def made(make: Callable[[Path], Made], draft: Path) -> Made:
    """What `make(draft)` gives; a writer that failed there without a word on a full disk is told as that.

    Raises:
        PrerequisiteError: the disk is full.
        Exception: whatever else `make` raised.
    """
    try:
        return make(draft)
    except BackendError as error:
        if found := full(draft):
            raise found from error
        raise


def _full(error: OSError, folder: Path, fix: str, needed_bytes: int | None) -> PrerequisiteError:
    wanted = f", {needed_bytes / 1e6:,.1f} MB were needed" if needed_bytes else ""
    limit = _file_limit_bytes()
    if error.errno == errno.EFBIG and limit is not None:
        return PrerequisiteError(
            f"{folder}: this process may not write files of more than {limit / 1e6:,.1f} MB (ulimit -f){wanted}",
            UNLIMIT,
        )
    return PrerequisiteError(f"{folder}: {error.strerror}: {_free(folder)}{wanted}", fix)


def _free(folder: Path) -> str:
    place = next((p for p in (folder, *folder.parents) if p.exists()), Path("/"))
    text = f"{shutil.disk_usage(place).free / 1e6:,.1f} MB free"
    if hasattr(os, "statvfs") and (status := os.statvfs(place)).f_files and not status.f_favail:
        text += ", and no more files can be made there"
    return text


def _file_limit_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
