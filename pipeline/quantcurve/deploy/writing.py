"""How a bundle comes to its place: written and verified beside it, then put there at once; the one before is kept.

FOLDER              the bundle
.FOLDER.previous    the one before, for --rollback
.FOLDER.draft.*     one being written; gone afterwards, whatever happens
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from quantcurve import disk
from quantcurve.deploy import bundle
from quantcurve.errors import PrerequisiteError, RecipeError
from quantcurve.store_files import Draft, sweep

FIX = "free some space there, or give another folder with --to"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""linux/fcntl.h and linux/fs.h."""
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.EOPNOTSUPP})


def previous_of(folder: Path) -> Path:
    """Where the bundle is kept that stood there before."""
    return folder.with_name(f".{folder.name}.previous")


def check_place(folder: Path) -> Path:
    """The folder of a bundle to be written, as an absolute path.

    Raises:
        RecipeError: it is a file, or holds something else than a bundle.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise RecipeError(f"{folder}: a file; give a folder with --to")
    if not folder.name:
        raise RecipeError(f"{folder}: no folder that can be replaced; give another with --to")
    if folder.is_dir() and any(folder.iterdir()) and not bundle.is_bundle(folder):
        names = sorted(p.name for p in folder.iterdir())
        raise RecipeError(
            f"{folder}: not empty, and no bundle (it has {', '.join(names[:3])}{' …' if names[3:] else ''}); give an "
            "empty folder, or one that is not there yet, with --to"
        )
    kept = previous_of(folder)
    if kept.exists() and not bundle.is_bundle(kept):
        raise RecipeError(f"{kept}: no bundle, and stands where the one before is kept; move it, or give another --to")
    return folder


@contextlib.contextmanager
def draft_of(folder: Path, needed_bytes: int) -> Iterator[Path]:
    """A folder beside the bundle's place to write in, gone at the end unless it was put there; one process at a time.

    Args:
        folder: of the bundle.
        needed_bytes: that will be written, at least.

    Raises:
        PrerequisiteError: too little disk, no permission, or another process writes the same bundle.
    """
    with disk.errors_named(folder.parent, FIX, needed_bytes):
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
        if free < needed_bytes:
            raise PrerequisiteError(
                f"{folder.parent}: {free / 1e6:,.1f} MB free, the bundle needs {needed_bytes / 1e6:,.1f} MB", FIX
            )
        with _alone(folder):
            sweep(folder.parent, f".{glob.escape(folder.name)}.draft.*")
            with Draft(folder.parent, f".{folder.name}.draft") as draft:
                draft.chmod(0o755)
                yield draft


def put(draft: Path, folder: Path) -> bool:
    """Put a finished bundle in its place. The one that stood there is kept in place of the one before it; gives whether
    there was one.

    Raises:
        PrerequisiteError: the disk refuses.
    """
    with disk.errors_named(folder.parent, FIX):
        if not bundle.is_bundle(folder):
            draft.rename(folder)  # there is nothing, or an empty folder
            return False
        kept = previous_of(folder)
        if kept.exists():
            with Draft(folder.parent, f".{folder.name}.draft", kept):
                draft.rename(kept)
        else:
            draft.rename(kept)
        exchange(kept, folder)
        return True


def rollback(folder: Path) -> bundle.Manifest:
    """Change places with the bundle that stood there before; gives the manifest of the one that is there now.

    Raises:
        RecipeError: there is none, or its files are not what its manifest says.
        PrerequisiteError: the disk refuses.
    """
    folder = folder.expanduser().resolve()
    kept = previous_of(folder)
    if not bundle.is_bundle(kept):
        raise RecipeError(f"{folder}: no bundle stood there before ({kept} is not there); nothing was changed")
    manifest = bundle.read_manifest(kept)
    if broken := bundle.changed(kept, manifest):
        raise RecipeError(
            f"{kept}: the bundle that stood there before is damaged ({', '.join(broken)}); nothing was changed; deploy "
            "the variant again"
        )
    with disk.errors_named(folder.parent, FIX), _alone(folder):
        if folder.exists():
            exchange(kept, folder)
        else:
            kept.rename(folder)
    return manifest


def exchange(one: Path, other: Path) -> None:
    """Let two folders change places, at once where the system can (Linux: renameat2), else by renames.

    Raises:
        OSError: the file system refuses.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(AttributeError):  # before glibc 2.28
            paths = (os.fsencode(one), os.fsencode(other))
            if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
                return
            if (code := ctypes.get_errno()) not in _NO_EXCHANGE:
                raise OSError(code, os.strerror(code), str(other))
    aside = other.with_name(f"{other.name}.{os.getpid()}.aside")
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    path = folder.with_name(f".{folder.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise PrerequisiteError(
            f"{folder}: another process writes a bundle there",
            "wait until it has ended, and run the same command again",
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
