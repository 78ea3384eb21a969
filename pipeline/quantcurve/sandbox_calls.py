"""System calls that programs in a sandbox may not make.

Refused is what namespaces do not hold: kinds of sockets that reach out of them (a virtual machine's, the kernel's), new
namespaces with powers of their own, memory that belongs to no process, what would weaken the process that watches them,
and interfaces that no such program needs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple


class _Numbers(NamedTuple):
    """Of system calls (asm/unistd.h)."""

    architecture: int
    """AUDIT_ARCH of linux/audit.h."""
    socket: int
    clone: int
    prlimit: int
    refused: tuple[int, ...]


# mount umount2 pivot_root unshare setns ptrace process_vm_readv process_vm_writev memfd_create shmget msgget semget
# add_key request_key keyctl bpf perf_event_open userfaultfd
# setpriority sched_setparam sched_setscheduler sched_setattr sched_setaffinity
_X86 = (165, 166, 155, 272, 308, 101, 310, 311, 319, 29, 68, 64, 248, 249, 250, 321, 298, 323, 141, 142, 144, 314, 203)
_ARM = (40, 39, 41, 97, 268, 117, 270, 271, 279, 194, 186, 190, 217, 218, 219, 280, 241, 282, 140, 118, 119, 274, 122)
# io_uring_setup open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr memfd_secret
_BOTH = (425, 428, 429, 430, 431, 432, 433, 442, 447)
_CLONE3, _X32 = 435, 0x40000000
_NAMESPACES = 0x7E020000
"""All CLONE_NEW flags of linux/sched.h."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENT_AT = 0, 4, 16
_EPERM, _ENOSYS, _EAFNOSUPPORT, _AF_UNIX = 1, 38, 97, 1


class _Step(NamedTuple):
    """`struct sock_filter` of linux/filter.h."""

    code: int
    skip_if: int
    skip_else: int
    value: int


def filters(machine: str) -> bytes:
    """A filter for prctl(PR_SET_SECCOMP), as `struct sock_filter` one after the other.

    Args:
        machine: the processor, as `platform.machine()` names it; empty for those whose numbers are not here.
    """
    numbers = _numbers(machine)
    if numbers is None:
        return b""
    steps = [
        _Step(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Step(_EQUAL, 1, 0, numbers.architecture),
        _Step(_RETURN, 0, 0, _KILL),
        _Step(_LOAD, 0, 0, _NUMBER_AT),
        *_refuse(_AT_LEAST, _X32, _ENOSYS),
        *_refuse(_EQUAL, _CLONE3, _ENOSYS),  # its flags cannot be seen from here; libraries then use clone
        *(step for number in numbers.refused for step in _refuse(_EQUAL, number, _EPERM)),
        *_where(numbers.clone, _refuse(_ANY_BIT, _NAMESPACES, _EPERM)),
        *_where(numbers.prlimit, _refuse_all_but(0, _EPERM)),  # of this process
        *_where(numbers.socket, _refuse_all_but(_AF_UNIX, _EAFNOSUPPORT)),
        _Step(_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _numbers(machine: str) -> _Numbers | None:
    if machine == "x86_64":
        return _Numbers(0xC000003E, 41, 56, 302, _X86 + _BOTH)
    if machine == "aarch64":
        return _Numbers(0xC00000B7, 198, 220, 261, _ARM + _BOTH)
    return None


def _refuse(test: int, value: int, error: int) -> list[_Step]:
    return [_Step(test, 0, 1, value), _Step(_RETURN, 0, 0, _ERROR | error)]


def _refuse_all_but(value: int, error: int) -> list[_Step]:
    return [_Step(_EQUAL, 1, 0, value), _Step(_RETURN, 0, 0, _ERROR | error)]


def _where(number: int, steps: Sequence[_Step]) -> list[_Step]:
    """Steps over the first argument of one call, which is allowed where they come to an end."""
    rest = [_Step(_LOAD, 0, 0, _ARGUMENT_AT), *steps, _Step(_RETURN, 0, 0, _ALLOW)]
    return [_Step(_EQUAL, 0, len(rest), number), *rest]
