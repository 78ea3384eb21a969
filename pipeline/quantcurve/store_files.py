"""What the store keeps on disk beside the results: contents of artifacts, folders being made, marks of runs.

Whether a process still lives is asked of the kernel, which frees its file locks at its end, never of a clock or of a
process number that another may have got.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from quantcurve.records import Frozen

HashFile = Callable[[Path], str]
CONTENTS = "contents.json"
SMALL_BYTES = 4 * 2**20
"""Files up to this size are hashed at every first read of a process, larger ones by `Store.hash_file`'s memo."""


class FileContent(Frozen):
    """One file of an artifact."""

    name: str
    """Path inside the artifact's folder."""
    size_bytes: int
    sha256: str


class Contents(Frozen):
    """Every file of an artifact as it was made; the file itself that holds this is left out."""

    files: tuple[FileContent, ...]


def hash_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def identity(path: Path) -> str:
    """What changes when a file is written through the file system: device, inode, size, time of the last change."""
    status = path.stat()
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def write_contents(folder: Path, hash_large: HashFile) -> None:
    """List a new artifact's files in it."""
    found = sorted((p.relative_to(folder).as_posix(), p) for p in files(folder))
    listed = [FileContent(name=n, size_bytes=p.stat().st_size, sha256=_hash(p, hash_large)) for n, p in found]
    (folder / CONTENTS).write_text(Contents(files=tuple(listed)).model_dump_json())


def damage(folder: Path, hash_large: HashFile, verified: set[str] | None = None) -> str | None:
    """What is wrong with an artifact, or None if every file is what it was when it was made.

    Args:
        folder: of the artifact.
        hash_large: SHA-256 of a file of more than SMALL_BYTES.
        verified: identities of files that were found right before; they are not read again, new ones are added.
    """
    try:
        contents = Contents.model_validate_json((folder / CONTENTS).read_bytes())
        for file in contents.files:
            path = folder / file.name
            if path.stat().st_size != file.size_bytes:
                return f"{file.name}: {path.stat().st_size} bytes, {file.size_bytes} were written"
            mark = f"{identity(path)} {file.sha256}"
            if verified is not None and mark in verified:
                continue
            if _hash(path, hash_large) != file.sha256:
                return f"{file.name}: not the bytes that were written"
            if verified is not None:
                verified.add(mark)
    except OSError as error:
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    except ValidationError:
        return f"{CONTENTS}: not the bytes that were written"
    return None if any(f.name == "result.json" for f in contents.files) else f"{CONTENTS}: no result.json"


def _hash(path: Path, hash_large: HashFile) -> str:
    return hash_of(path) if path.stat().st_size <= SMALL_BYTES else hash_large(path)


class Draft:
    """A temporary folder as a context manager, gone at the end unless it was renamed away; a lock beside it, which
    the kernel frees when the process ends, says that it is in use."""

    def __init__(self, parent: Path, label: str, taken: Path | None = None) -> None:
        """Nothing is written yet.

        Args:
            parent: folder of drafts.
            label: put before the process number.
            taken: a folder that is moved here instead of making a new one.
        """
        self.path = parent / f"{label[:80]}.{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._taken = taken
        self._lock = FileLock(_lock_of(self.path))

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
            if self._taken:
                self._taken.rename(self.path)
            else:
                self.path.mkdir()
        except BaseException:
            self._end()
            raise
        return self.path

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
        finally:
            _lock_of(self.path).unlink(missing_ok=True)
            self._lock.release()


class Memos:
    """CACHE/hashes: content hashes of big files by what the file system says of them, so that they are read once."""

    def __init__(self, cache: Path, remember: bool) -> None:
        """Nothing is written yet; `remember`: write new ones, where the cache can be written."""
        self._cache = cache
        self._remember = remember

    def hash_file(self, path: Path) -> str:
        """SHA-256 of a file.

        Raises:
            OSError: the file cannot be read.
        """
        mark = identity(path)
        memo = self._cache / "hashes" / hashlib.sha256(mark.encode()).hexdigest()[:32]
        with contextlib.suppress(OSError, UnicodeDecodeError):
            known = memo.read_text()
            if known == _checked(mark, known[:64]):
                return known[:64]
        content_hash = hash_of(path)
        if self._remember and identity(path) == mark and os.access(self._cache, os.W_OK):
            with contextlib.suppress(OSError), Draft(self._cache / "tmp", "memo") as draft:
                (draft / memo.name).write_text(_checked(mark, content_hash))
                memo.parent.mkdir(exist_ok=True)
                (draft / memo.name).replace(memo)
        return content_hash


def _checked(mark: str, content_hash: str) -> str:
    """A hash with a check of its own: a damaged memo would give a file another content's name."""
    return f"{content_hash} {hashlib.sha256(f'{mark} {content_hash}'.encode()).hexdigest()[:16]}"


def sweep(parent: Path, drafts: str = "*") -> int:
    """Remove what dead processes left in a folder; gives the bytes freed. What cannot be removed stays.

    Args:
        parent: the folder.
        drafts: pattern of the names of drafts and their locks.
    """
    freed = 0
    for path in {p.with_name(p.name.removesuffix(".lock")) for p in parent.glob(drafts)}:
        with contextlib.suppress(Timeout, OSError), FileLock(_lock_of(path), timeout=0):
            freed += size_of(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            _lock_of(path).unlink(missing_ok=True)
    return freed


class RunMark:
    """What a run uses, while it is going: CACHE/running/PID-ID.lock is held, PID-ID.used lists artifacts."""

    def __init__(self, parent: Path) -> None:
        self._used = parent / f"{os.getpid()}-{uuid.uuid4().hex[:12]}.used"
        self._lock = FileLock(self._used.with_suffix(".lock"))
        self._noted: set[str] = set()

    def __enter__(self) -> RunMark:
        self._used.parent.mkdir(exist_ok=True)
        self._lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self._used.unlink(missing_ok=True)
        self._used.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.release()

    def note(self, artifact: str) -> None:
        """An artifact ("STAGE/KEY") is used from now on; other processes see it at once.

        Raises:
            OSError: the disk is full.
        """
        if artifact not in self._noted:
            with self._used.open("ab", buffering=0) as noted:
                noted.write(f"\n{artifact}\n".encode())
            self._noted.add(artifact)


def used_by_runs(parent: Path) -> set[str]:
    """Artifacts that runs which are still going have noted; marks of dead runs are removed."""
    used: set[str] = set()
    for mark in {p.with_suffix(".lock") for p in parent.glob("*-*.*")}:
        noted = mark.with_suffix(".used")
        try:
            with FileLock(mark, timeout=0):
                noted.unlink(missing_ok=True)
                mark.unlink(missing_ok=True)
        except Timeout:
            with contextlib.suppress(FileNotFoundError):
                used.update(noted.read_text().split())
    return used


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder (0 if it is not there); files that go away meanwhile are not counted."""
    total = 0
    for path in files(folder):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def files(folder: Path) -> Iterator[Path]:
    """All files under a folder."""
    return (p for p in folder.rglob("*") if p.is_file())


def prune_files(folder: Path, limit: float) -> int:
    """Remove files that were last written before a point in time (seconds since the epoch); gives the bytes freed."""
    freed = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            about = path.stat()
            if about.st_mtime < limit:
                path.unlink()
                freed += about.st_size
    return freed


def note_date(place: Path) -> None:
    """Note the use for `prune`; a cache that cannot be written is used all the same."""
    with contextlib.suppress(OSError):
        os.utime(place / "result.json")
