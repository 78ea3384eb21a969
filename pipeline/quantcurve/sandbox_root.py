"""Makes a small file system, makes it the root, and starts the sandbox's first process there.

A script of the standard library alone, which `unshare` starts in namespaces of its own: what bwrap does where it is
installed. The first argument is a JSON list of the mounts and the writable bytes, the rest the command to go on with.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

NEW = Path("/sys")
"""Where the new root is put together: a folder that is there everywhere, and that nothing is taken from."""
DEVICES = ("null", "zero", "full", "random", "urandom")
MOST_FILES = 8192
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _RECURSIVE = 1, 2, 4, 8, 32, 4096, 16384
_DETACH = 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Build the root, enter it, and become the command."""
    mounts, file_bytes = json.loads(sys.argv[1])
    command = sys.argv[2:]
    os.umask(0o022)
    _libc.sethostname(b"sandbox", 7)
    _mount("tmpfs", NEW, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for kind, source, target in mounts:
        _place(kind, source, NEW / target.lstrip("/"), file_bytes)
    _devices(file_bytes)
    (NEW / "proc").mkdir()
    with suppress(OSError):  # a container that hides parts of its own /proc allows none
        _mount("proc", NEW / "proc", "proc", _NOSUID | _NODEV | _NOEXEC, "subset=pid")
    _mount(None, NEW, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    _enter()
    os.chdir("/tmp")
    os.execv(command[0], command)


def _place(kind: str, source: str, target: Path, file_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        target.symlink_to(source)
    elif kind == "bind":
        _bind(Path(source), target)
        _read_only(target)
    elif kind == "scratch":
        target.mkdir(exist_ok=True)
        _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={file_bytes},nr_inodes={MOST_FILES}")
    elif kind == "empty":
        _mount("tmpfs", target, "tmpfs", _RDONLY | _NOSUID | _NODEV, "mode=0755,size=4k")
    else:
        raise ValueError(kind)


def _devices(file_bytes: int) -> None:
    for name in DEVICES:
        _bind(Path("/dev") / name, NEW / "dev" / name)
    for name, to in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (NEW / "dev" / name).symlink_to(f"/proc/self/{to}")
    _place("scratch", "", NEW / "dev" / "shm", file_bytes)


def _bind(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), target, None, _BIND | _RECURSIVE)


def _read_only(target: Path) -> None:
    """With all that is mounted below; other flags stay, which a user namespace may not clear."""
    set_ = _RDONLY | _NOSUID | _NODEV  # these three have the same numbers as mount(2)'s
    attributes = struct.pack("QQQQ", set_, 0, 0, 0)
    number, here, recursive, size = map(ctypes.c_long, (_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, len(attributes)))
    _check(_libc.syscall(number, here, os.fsencode(target), recursive, attributes, size), target)


def _enter() -> None:
    """Make NEW the root and let go of the old one (man 2 pivot_root, "pivot_root(".", ".")")."""
    os.chdir(NEW)
    _check(_libc.pivot_root(b".", b"."), NEW)
    _check(_libc.umount2(b".", _DETACH), Path("/"))
    os.chdir("/")


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, str(target), kind, options)]
    _check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]), target)


def _check(returned: int, target: Path) -> None:
    if returned != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} (mounting, which needs Linux 5.12)", str(target))


if __name__ == "__main__":
    main()
