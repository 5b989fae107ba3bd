"""The child's side of the sandbox: a process shuts itself in before it opens anything foreign.

Four layers, each of which the kernel may lack: Landlock (files, and TCP), an own user and network
namespace, a seccomp filter, and resource limits. `enter` takes what there is and says what it took; the
parent decides beforehand what must not be missing. This module imports the standard library's light
parts only, since namespaces are to be had by a process of one thread.

References
----------
Linux: Documentation/userspace-api/landlock.rst, seccomp_filter.rst; user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_CONFINED = 97
"""Exit status: a protection that was asked for is not to be had."""

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 38, 22
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000


def enter() -> str:
    """Confine this process as standard input says, print what holds, and return the payload.

    Standard input is JSON: ``read`` and ``write`` (paths), ``limits``, ``required``, ``payload``. The first
    line of standard output is the report, written before anything foreign was opened: what comes after it
    cannot change it.
    """
    orders: Mapping[str, Any] = json.loads(sys.stdin.read())
    _limit(orders["limits"])
    no_new_privileges = _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    namespace = _leave_network()
    landlock = _landlock(orders["read"], orders["write"]) if no_new_privileges else 0
    calls = _filter_calls() if no_new_privileges else False
    report = {
        "landlock": landlock,
        "network_namespace": namespace,
        "system_calls": calls,
        "no_new_privileges": no_new_privileges,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    if orders["required"] and not (landlock and (namespace or calls)):
        raise SystemExit(NOT_CONFINED)
    return str(orders["payload"])


def _limit(limits: Mapping[str, int]) -> None:
    """Set the limits, or what remains of them under the hard limits there are."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _leave_network() -> bool:
    """Go to a network without interfaces. False where the kernel or the container forbids it."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        return False
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        try:
            Path(f"/proc/self/{name}").write_text(line)
        except OSError:
            # unmapped, the process is nobody: it still owns what it owned
            break
    return True


# -- Landlock --------------------------------------------------------------------------------------

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << bit for bit in range(4))
_REFER, _TRUNCATE, _IOCTL = (1 << bit for bit in (13, 14, 15))
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_TCP = 0b11
_SCOPES = 0b11
"""Abstract sockets and signals of processes outside."""
_SPECIAL = sum(1 << bit for bit in (6, 9, 10, 11, 12))
"""Devices, sockets, pipes, links: nothing that a package holds."""
_CREATE, _ADD, _RESTRICT = 444, 445, 446


def landlock_abi() -> int:
    """Version of the kernel's Landlock; 0: none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)))


def _landlock(read: Sequence[str], write: Sequence[str]) -> int:
    """Forbid every file but these, and TCP. Returns the version in force, 0 for none."""
    abi = landlock_abi()
    if not abi:
        return 0
    handled = (1 << 13) - 1
    handled |= (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL if abi >= 5 else 0)
    attributes = struct.pack("=Q", handled)
    attributes += struct.pack("=Q", _TCP) if abi >= 4 else b""
    attributes += struct.pack("=Q", _SCOPES) if abi >= 6 else b""
    ruleset = int(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0))
    if ruleset < 0:
        return 0
    for path in read:
        _allow(ruleset, path, handled & _READING)
    for path in write:
        _allow(ruleset, path, handled & ~(_EXECUTE | _SPECIAL | _IOCTL))
    in_force = _libc.syscall(_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return abi if in_force else 0


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Allow what lies beneath a path; a path that is not there needs no rule."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not Path(path).is_dir():
        rights &= _ON_FILES
    _libc.syscall(_ADD, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)


# -- seccomp ---------------------------------------------------------------------------------------

# Landlock governs opening, not what can be done to a path without opening it, nor sockets that are files,
# nor other processes: those calls are refused. Number on x86-64, on AArch64 (-1: it has no such call).
_REFUSED: Mapping[str, tuple[int, int]] = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "fork": (57, -1),
    "vfork": (58, -1),
    "execve": (59, 221),
    "execveat": (322, 281),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "fchown": (93, 55),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table, and the kernel's AUDIT_ARCH."""
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCH_AT, _ARGUMENT_AT = 0, 4, 16


def _filter_calls() -> bool:
    """Install the filter of system calls; false where this machine or kernel has none."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _program(*machine)
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    header = Program(len(program) // 8, ctypes.addressof(buffer))
    return bool(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(header), 0, 0) == 0)


def _program(column: int, architecture: int) -> bytes:
    """Write the filter: refuse the table; clone only threads; signals and limits only of oneself."""
    refuse = _step(_RETURN, _ERROR | errno.EPERM)
    allow = _step(_RETURN, _ALLOW)
    steps = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        # x86-64's second table of the same calls
        _step(_AT_LEAST, 0x40000000, 0, 1),
        _step(_RETURN, _KILL),
    ]
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            steps += [_step(_EQUAL, numbers[column], 0, 1), refuse]
    # the C library takes clone in its place, whose flags a filter can see
    steps += [_step(_EQUAL, _CLONE3[column], 0, 1), _step(_RETURN, _ERROR | errno.ENOSYS)]
    for number, test, operand in (
        (_CLONE, _HAS_BIT, _CLONE_THREAD),
        (_TGKILL, _EQUAL, os.getpid()),
        (_PRLIMIT, _EQUAL, 0),
    ):
        steps += [
            _step(_EQUAL, number[column], 0, 4),
            _step(_LOAD, _ARGUMENT_AT),
            _step(test, operand, 0, 1),
            allow,
            refuse,
        ]
    return b"".join([*steps, allow])


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction of the kernel's packet filter."""
    return struct.pack("=HBBI", code, if_true, if_false, operand)
