"""Content-addressed artifact folders: a cache hit is a resume, and nothing half-written or damaged is ever seen.

    CACHE/artifacts/STAGE/KEY/result.json + files    one finished step, immutable; contents.json has its files' hashes
    CACHE/locks/STAGE-KEY.lock                       held while a step is made; a second run waits and then reads
    CACHE/tmp/STAGE-KEY.PID-ID/                      a step being made; renamed into place when complete
    CACHE/running/PID-ID.lock, .used                 held by a run; the artifacts it uses, which are not pruned
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
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from pydantic import BaseModel, RootModel, ValidationError

from quantcurve import disk
from quantcurve.errors import PrerequisiteError
from quantcurve.store_files import (
    Draft,
    HashFile,
    Memos,
    RunMark,
    damage,
    hash_of,
    note_date,
    prune_files,
    size_of,
    sweep,
    used_by_runs,
    write_contents,
)

__all__ = ["Artifact", "Damaged", "HashFile", "StageUsage", "Store", "default_folder", "key_of", "size_of"]
Result = TypeVar("Result", bound=BaseModel)
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


class Damaged(NamedTuple):
    """An artifact that is not what was stored, and was removed."""

    stage: str
    key: str
    what: str
    """The file and what is wrong with it."""
    size_bytes: int


class Store:
    """A folder of artifacts; any number of processes may use it at once."""

    def __init__(self, folder: Path | None = None, remember: bool = True) -> None:
        """Use a folder, by default the user's cache; `remember` hashes of big files for the next time, or else write
        nothing but in `make`."""
        self.folder = folder or default_folder()
        self._memos = Memos(self.folder, remember)
        self._verified: set[str] = set()
        self._mark: RunMark | None = None

    def find(self, stage: str, inputs: BaseModel) -> Path | None:
        """Folder of a finished step, or None, also if a file of it is damaged; writes nothing."""
        found = self.peek(stage, inputs, RootModel[dict[str, Any]])
        return found and found[1]

    def peek(self, stage: str, inputs: BaseModel, kind: type[Result]) -> tuple[Result, Path] | None:
        """Result and folder of a finished step, or None, also if a file of it is damaged; writes nothing."""
        place = self._place(stage, key_of(inputs))
        result = self._read(place, kind)
        return None if result is None else (result, place)

    def make(
        self, stage: str, inputs: BaseModel, kind: type[Result], make: Callable[[Path], Result], force: bool = False
    ) -> tuple[Result, Artifact]:
        """Result of a step: read if it is there and whole, else made by `make(folder)` in a temporary folder that is
        then renamed into place. If two processes want the same step, one makes it and the other waits.

        Raises:
            PrerequisiteError: the cache folder cannot be written, or its disk is full.
            Exception: whatever `make` raised; nothing is left behind.
        """
        key = key_of(inputs)
        place = self._place(stage, key)
        if not force and (found := self._read(place, kind)) is not None:
            note_date(place)
            return found, Artifact(place, key, True)
        with disk.errors_named(self.folder), self._lock(stage, key):
            if not force and (found := self._read(place, kind)) is not None:
                return found, Artifact(place, key, True)
            with Draft(self.folder / "tmp", f"{stage}-{key}") as draft:
                result = disk.made(make, draft)
                (draft / "inputs.json").write_text(inputs.model_dump_json(indent=1))
                (draft / "result.json").write_text(result.model_dump_json())
                write_contents(draft, self.hash_file)
                self._publish(draft, place)
            return result, Artifact(place, key, False)

    def hash_file(self, path: Path) -> str:
        """SHA-256 of a file; remembered by size, mtime and inode where the cache can be written.

        Raises:
            OSError: the file cannot be read.
        """
        return self._memos.hash_file(path)

    def journal(self, inputs: BaseModel) -> Path:
        """Place of a file that grows with what a long step has finished, and stays until it is pruned.

        Raises:
            PrerequisiteError: the cache folder cannot be written.
        """
        self._writable()
        path = self.folder / "journals" / f"{key_of(inputs)}.jsonl"
        path.parent.mkdir(exist_ok=True)
        return path

    def scratch(self, label: str) -> AbstractContextManager[Path]:
        """A temporary folder on the cache's disk, as a context manager; gone at the end.

        Raises:
            PrerequisiteError: the cache folder cannot be written; or, inside the block, its disk is full.
        """
        self._writable()
        return self._scratch(label)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Protect all artifacts that are made or read from now on against `prune`, until the block ends, and remove
        what dead processes left behind. A store that cannot be written is read without protection.

        Raises:
            PrerequisiteError: there is no store, and none can be made.
        """
        if not self.folder.is_dir():
            self._writable()
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self._mark = stack.enter_context(RunMark(self.folder / "running"))
            self.sweep()
            try:
                yield
            finally:
                self._mark = None
                self.sweep()

    def usage(self) -> list[StageUsage]:
        """What each stage holds, by name."""
        stages = sorted(p for p in (self.folder / "artifacts").glob("*") if p.is_dir())
        return [StageUsage(s.name, sum(1 for _ in s.iterdir()), size_of(s)) for s in stages]

    def prune(self, older_than_days: float = 0.0) -> int:
        """Remove artifacts not used for so many days, memos, and what dead processes left behind; gives the bytes
        freed. What a run that is still going has made or read is left alone, and so is, with an age, what was used
        in the future by this machine's clock.

        Raises:
            PrerequisiteError: the store cannot be written.
        """
        freed = self.sweep()
        if older_than_days == 0:
            shutil.rmtree(self.folder / "hashes", ignore_errors=True)
        limit = time.time() - older_than_days * 86400 if older_than_days > 0 else math.inf
        freed += prune_files(self.folder / "journals", limit)
        for folder in list((self.folder / "artifacts").glob("*/*")):
            result = folder / "result.json"
            if self._is_unused(folder) and not (result.exists() and result.stat().st_mtime >= limit):
                size = size_of(folder)
                freed += size if self._remove(folder, self._is_unused) else 0
        return freed

    def verify(self) -> list[Damaged]:
        """Read every file of every artifact, and remove the artifacts that are not what was stored; they are made
        again by the next run that needs them.

        Raises:
            PrerequisiteError: a damaged one cannot be removed.
        """
        found = []
        for folder in sorted((self.folder / "artifacts").glob("*/*")):
            if what := damage(folder, hash_of):
                size = size_of(folder)
                if self._remove(folder, lambda _, aside: damage(aside, hash_of) is not None):  # not made anew meanwhile
                    found.append(Damaged(folder.parent.name, folder.name, what, size))
        return found

    def sweep(self) -> int:
        """Remove temporary folders and marks of runs whose process is dead; gives the bytes freed."""
        used_by_runs(self.folder / "running")
        return sweep(self.folder / "tmp")

    def _is_unused(self, place: Path, aside: Path | None = None) -> bool:
        return f"{place.parent.name}/{place.name}" not in used_by_runs(self.folder / "running")

    def _place(self, stage: str, key: str) -> Path:
        return self.folder / "artifacts" / stage / key

    def _lock(self, stage: str, key: str, timeout_s: float = -1) -> FileLock:
        self._writable()
        path = self.folder / "locks" / f"{stage}-{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, timeout=timeout_s)

    def _read(self, place: Path, kind: type[Result]) -> Result | None:
        if self._mark:
            with contextlib.suppress(OSError):  # on a full disk a finished recipe is read all the same
                self._mark.note(f"{place.parent.name}/{place.name}")
        if not place.is_dir() or damage(place, self.hash_file, self._verified):
            return None
        try:
            return kind.model_validate_json((place / "result.json").read_bytes())
        except (OSError, ValidationError):
            return None  # written by another version under the same key: made anew

    def _publish(self, draft: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            with Draft(self.folder / "tmp", "replaced", place):
                draft.rename(place)
        else:
            draft.rename(place)

    def _remove(self, folder: Path, still_to_go: Callable[[Path, Path], bool]) -> bool:
        """Remove an artifact that is not in the making. It is moved aside first, and put back if it shall not go (asked
        with both places): a run has either noted its use by then or does not see it."""
        try:
            with (
                disk.errors_named(self.folder),
                self._lock(folder.parent.name, folder.name, timeout_s=0),
                Draft(self.folder / "tmp", "removed", folder) as aside,
            ):
                if still_to_go(folder, aside) or folder.exists():
                    return True
                aside.rename(folder)
        except Timeout:
            return False
        except PrerequisiteError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in disk.FULL):
                raise
            shutil.rmtree(folder)  # no room for a lock, so for no run that would make it either
            return True
        return False

    @contextlib.contextmanager
    def _scratch(self, label: str) -> Iterator[Path]:
        with disk.errors_named(self.folder), Draft(self.folder / "tmp", label) as folder:
            yield folder

    def _writable(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise PrerequisiteError(
                f"the cache folder {self.folder} cannot be written ({error.strerror})", disk.ELSEWHERE
            ) from error
