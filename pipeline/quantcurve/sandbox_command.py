"""The commands that make a sandbox: what is in its file system, and which Python runs there."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from quantcurve import sandbox_inside, sandbox_root
from quantcurve.sandbox_inside import Given

Way = Literal["bwrap", "unshare", "unshare --user"]
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache")
PYTHON = "/python"
"""Where an interpreter is put that is not in /usr: its own place is not told, which may be in a home folder."""
WORK = "/tmp"
INSIDE = "/sandbox_inside.py"


class Mount(NamedTuple):
    """A part of a sandbox's file system."""

    kind: Literal["bind", "link", "scratch", "empty"]
    """What is there outside, read-only; a symbolic link; a writable folder in memory; nothing, over what is there."""
    source: str
    """Of a bind: its path outside; of a link: what it says."""
    target: str


class Python(NamedTuple):
    """The interpreter inside."""

    executable: str
    mounts: tuple[Mount, ...]
    libraries: str
    """Folder of its shared libraries, where the linker does not find them by itself."""


def command(way: Way, given: Given, root: bool) -> list[str]:
    """The command that makes a sandbox, runs the program that it gets on standard input, and says how that ended.

    Args:
        way: what makes it.
        given: the program's limits.
        root: whether this process is root, which needs no user namespace.
    """
    within = python()
    mounts = [*_system(), *within.mounts, Mount("bind", str(Path(sandbox_inside.__file__).resolve()), INSIDE)]
    mounts.append(Mount("scratch", "", WORK))
    processes = given.processes + (way == "unshare --user")  # unshare is counted with them then
    numbers = [str(n) for n in (given.memory_bytes, given.file_bytes, processes)]
    inside = [within.executable, "-I", "-S", "-X", "utf8", INSIDE, repr(given.seconds), given.filters.hex(), *numbers]
    if way == "bwrap":
        return [*_bwrap(mounts, given.file_bytes, root), *inside]
    user = ["--user", "--map-root-user"] if way == "unshare --user" else []
    apart = ["--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    build = [_outside(), "-I", "-S", str(Path(sandbox_root.__file__)), json.dumps([mounts, given.file_bytes])]
    return ["unshare", *user, *apart, "--", *build, *inside]


@cache
def python() -> Python:
    """This interpreter with its standard library, and without the packages that are installed for it."""
    outside, executable, name = Path(sys.base_prefix).resolve(), _outside(), _name()
    inside = outside if outside.is_relative_to("/usr") else Path(PYTHON)
    folders = [n for n in sorted({"lib", sys.platlibdir}) if (outside / n).is_dir()]
    mounts = [Mount("bind", str(outside / n), str(inside / n)) for n in folders] if inside != outside else []
    packages = [Path(n, name, "site-packages") for n in folders]
    mounts += [Mount("empty", "", str(inside / path)) for path in packages if (outside / path).is_dir()]
    if inside == outside:
        return Python(executable, tuple(mounts), "")
    there = str(inside / "bin" / name)
    return Python(there, (*mounts, Mount("bind", executable, there)), str(inside / "lib"))


def _outside() -> str:
    """The interpreter that a virtual environment was made from."""
    named = Path(sys.base_prefix, "bin", _name())
    return str((named if named.exists() else Path(sys.executable)).resolve())


def _name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def _system() -> list[Mount]:
    return [
        Mount("link", str(path.readlink()), str(path)) if path.is_symlink() else Mount("bind", str(path), str(path))
        for path in map(Path, SYSTEM)
        if path.exists()
    ]


def _bwrap(mounts: Sequence[Mount], file_bytes: int, root: bool) -> list[str]:
    scratch = ["--perms", "1777", "--size", str(file_bytes), "--tmpfs"]
    apart = ["--unshare-ipc", "--unshare-net", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    parts = ["bwrap", *([] if root else ["--unshare-user"]), *apart, "--hostname", "sandbox"]
    parts += ["--die-with-parent", "--new-session", "--as-pid-1"]
    folders = {str(path) for mount in mounts if mount.kind == "bind" for path in Path(mount.target).parents}
    for folder in sorted(folders - {"/"}):  # which bwrap otherwise closes to all but its own user
        parts += ["--dir", folder]
    for kind, source, target in mounts:
        match kind:
            case "bind":
                parts += ["--ro-bind", source, target]
            case "link":
                parts += ["--symlink", source, target]
            case "scratch":
                parts += [*scratch, target]
            case "empty":
                parts += ["--tmpfs", target, "--remount-ro", target]
    parts += ["--proc", "/proc", "--dev", "/dev", *scratch, "/dev/shm", "--remount-ro", "/dev"]
    return [*parts, "--remount-ro", "/", "--chdir", WORK, "--"]
