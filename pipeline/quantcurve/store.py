"""Content-addressed artifact folders: a cache hit is a resume, and nothing half-written is ever seen.

    CACHE/artifacts/STAGE/KEY/result.json + files    one finished step, immutable; sizes.json lists its files
    CACHE/locks/STAGE-KEY.lock                       held while a step is made; a second run waits and then reads
    CACHE/tmp/STAGE-KEY.PID-TIME/                    a step being made; renamed into place when complete
    CACHE/running/PID-TIME.lock                      held by a run: what it uses is not pruned
    CACHE/hashes/MEMO                                content hash of a big file by size, mtime and inode

KEY is the SHA-256 of everything that determines the result (never a path or a date).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, RootModel, ValidationError

from quantcurve.errors import PrerequisiteError

Result = TypeVar("Result", bound=BaseModel)
HashFile = Callable[[Path], str]
ENVIRONMENT_VARIABLE = "QUANTCURVE_CACHE"


def default_folder() -> Path:
    """The user's cache folder: $QUANTCURVE_CACHE, or the platform's place for caches."""
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(override) if override else Path(platformdirs.user_cache_dir("quantcurve"))


def key_of(inputs: BaseModel) -> str:
    """SHA-256 of a record's canonical JSON."""
    canonical = json.dumps(inputs.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Artifact(NamedTuple):
    """A finished step in the store."""

    folder: Path
    key: str
    cached: bool
    """Whether it was there before."""


class StageUsage(NamedTuple):
    """What one stage holds in the store."""

    stage: str
    artifacts: int
    size_bytes: int


class Store:
    """A folder of artifacts; any number of processes may use it at once."""

    def __init__(self, folder: Path | None = None, remember: bool = True) -> None:
        """Use a folder.

        Args:
            folder: of the store; by default the user's cache.
            remember: keep hashes of big files for the next time; False writes nothing but in `make`.
        """
        self.folder = folder or default_folder()
        self._remember = remember

    def find(self, stage: str, inputs: BaseModel) -> Path | None:
        """Folder of a finished step, or None, also if its record is damaged; writes nothing."""
        folder = self._place(stage, key_of(inputs))
        return folder if _read(folder, RootModel[dict[str, Any]]) is not None else None

    def peek(self, stage: str, inputs: BaseModel, kind: type[Result]) -> tuple[Result, Path] | None:
        """Result and folder of a finished step, or None; writes nothing."""
        place = self._place(stage, key_of(inputs))
        result = _read(place, kind)
        return None if result is None else (result, place)

    def make(
        self, stage: str, inputs: BaseModel, kind: type[Result], make: Callable[[Path], Result], force: bool = False
    ) -> tuple[Result, Artifact]:
        """Result of a step: read if it is there, else made by `make(folder)` in a temporary folder that is then
        renamed into place. If two processes want the same step, one makes it and the other waits.

        Raises:
            PrerequisiteError: the cache folder cannot be written.
            Exception: whatever `make` raised; nothing is left behind.
        """
        key = key_of(inputs)
        place = self._place(stage, key)
        if not force and (found := _read(place, kind)) is not None:
            _mark_used(place)
            return found, Artifact(place, key, True)
        with self._lock(stage, key):
            if not force and (found := _read(place, kind)) is not None:
                return found, Artifact(place, key, True)
            with _Draft(self.folder / "tmp", f"{stage}-{key}") as draft:
                result = make(draft)
                (draft / "inputs.json").write_text(inputs.model_dump_json(indent=1))
                (draft / "sizes.json").write_text(json.dumps(_sizes(draft)))
                (draft / "result.json").write_text(result.model_dump_json())
                self._publish(draft, place)
            return result, Artifact(place, key, False)

    def hash_file(self, path: Path) -> str:
        """SHA-256 of a file; remembered by size, mtime and inode where the cache can be written.

        Raises:
            OSError: the file cannot be read.
        """
        status = path.stat()
        mark = f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
        memo = self.folder / "hashes" / hashlib.sha256(mark.encode()).hexdigest()[:32]
        if memo.is_file() and len(known := memo.read_text()) == 64:
            return known
        with path.open("rb") as source:
            content_hash = hashlib.file_digest(source, "sha256").hexdigest()
        if self._remember and self.folder.is_dir() and os.access(self.folder, os.W_OK):
            memo.parent.mkdir(exist_ok=True)
            _write_whole(memo, content_hash)
        return content_hash

    def scratch(self, label: str) -> _Draft:
        """A temporary folder on the cache's disk, as a context manager; gone at the end."""
        self._writable()
        return _Draft(self.folder / "tmp", label)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Protect all artifacts that are made or read from now on against `prune`, until the block ends."""
        self._writable()
        mark = self.folder / "running" / f"{os.getpid()}-{time.monotonic_ns()}.lock"
        mark.parent.mkdir(exist_ok=True)
        with FileLock(mark):
            try:
                yield
            finally:
                mark.unlink(missing_ok=True)

    def _running_since(self) -> float | None:
        """Start of the oldest run that is still going, seconds since the epoch; marks of dead runs are removed."""
        starts = []
        for mark in list((self.folder / "running").glob("*.lock")):
            started = mark.stat().st_mtime
            try:
                with FileLock(mark, timeout=0):
                    mark.unlink(missing_ok=True)
            except Timeout:
                starts.append(started)
        return min(starts, default=None)

    def usage(self) -> list[StageUsage]:
        """What each stage holds, by name."""
        stages = sorted(p for p in (self.folder / "artifacts").glob("*") if p.is_dir())
        return [StageUsage(s.name, sum(1 for _ in s.iterdir()), size_of(s)) for s in stages]

    def prune(self, older_than_days: float = 0.0) -> int:
        """Remove artifacts not used for so many days, memos, and what dead processes left behind; gives the bytes
        freed. What a run that is still going has made or read is left alone."""
        freed = self.sweep()
        running_since = self._running_since()
        limit = time.time() - older_than_days * 86400 if older_than_days > 0 else math.inf
        limit = min(limit, math.inf if running_since is None else running_since)
        for folder in list((self.folder / "artifacts").glob("*/*")):
            result = folder / "result.json"
            if result.exists() and result.stat().st_mtime >= limit:
                continue
            size = size_of(folder)
            try:
                with FileLock(self._lock_path(folder.parent.name, folder.name), timeout=0):
                    shutil.rmtree(folder)
            except Timeout:
                continue
            freed += size
        if older_than_days == 0:
            shutil.rmtree(self.folder / "hashes", ignore_errors=True)
        return freed

    def sweep(self) -> int:
        """Remove temporary folders whose process is dead; gives the bytes freed."""
        freed = 0
        for folder in list((self.folder / "tmp").glob("*")):
            if not _owner_alive(folder):
                freed += size_of(folder)
                shutil.rmtree(folder, ignore_errors=True)
        return freed

    def _place(self, stage: str, key: str) -> Path:
        return self.folder / "artifacts" / stage / key

    def _lock_path(self, stage: str, key: str) -> Path:
        return self.folder / "locks" / f"{stage}-{key}.lock"

    def _lock(self, stage: str, key: str) -> FileLock:
        self._writable()
        path = self._lock_path(stage, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def _publish(self, draft: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            shutil.rmtree(place)
        draft.rename(place)

    def _writable(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise PrerequisiteError(
                f"the cache folder {self.folder} cannot be written ({error.strerror})",
                f"export {ENVIRONMENT_VARIABLE}=/a/folder/that/can/be/written",
            ) from error


class _Draft:
    """A temporary folder named after its process; removed on exit unless it was renamed away."""

    def __init__(self, parent: Path, label: str) -> None:
        self.path = parent / f"{label[:80]}.{os.getpid()}-{time.monotonic_ns()}"

    def __enter__(self) -> Path:
        self.path.mkdir(parents=True)
        return self.path

    def __exit__(self, *error: object) -> None:
        if self.path.exists():
            shutil.rmtree(self.path)


def _owner_alive(folder: Path) -> bool:
    import psutil

    owner = folder.name.rpartition(".")[2].partition("-")[0]
    if not owner.isdigit() or not psutil.pid_exists(int(owner)):
        return False
    try:  # a process younger than the folder only inherited the number
        return bool(psutil.Process(int(owner)).create_time() <= folder.stat().st_mtime + 1)
    except (psutil.Error, OSError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file that a step made, by its path in the folder."""
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in _files(folder)}


def _mark_used(place: Path) -> None:
    """Note the use for `prune`; a cache that cannot be written is used all the same."""
    with contextlib.suppress(OSError):
        os.utime(place / "result.json")


def _is_whole(place: Path) -> bool:
    """Whether every file of a step still has the size it was stored with."""
    try:
        sizes = json.loads((place / "sizes.json").read_bytes())
        return all((place / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _read(place: Path, kind: type[Result]) -> Result | None:
    if not _is_whole(place):
        return None
    try:
        record = (place / "result.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return kind.model_validate_json(record)
    except ValidationError:
        return None  # damaged, or written by another version under the same key: made anew


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(p.stat().st_size for p in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file())
