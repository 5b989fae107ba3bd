"""What this process may take of the host: memory, cores, and what the processor knows.

A container's limits are those of its control group (Linux, cgroup v1 and v2) and of every group above it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

__all__ = ["available_bytes", "has_bfloat16", "usable_cores"]

_ROOT = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_NO_LIMIT = 1 << 60
"""cgroup v1 writes a huge number where there is no limit."""


def available_bytes() -> int:
    """Memory that can be taken without swapping, in bytes: the smallest of what the kernel says is
    available, what the control groups leave and what the limit of the address space leaves.
    """
    room = [_meminfo("MemAvailable"), *(_group_room(group) for group in _groups("memory"))]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        room.append(limit - _address_space())
    known = [bytes_ for bytes_ in room if bytes_ is not None]
    if not known:  # no Linux
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return max(min(known), 0)


def usable_cores() -> int:
    """Cores that this process may use: its affinity, cut to the control groups' quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no Linux
        cores = os.cpu_count() or 1
    quotas = [quota for group in _groups("cpu") if (quota := _quota(group)) is not None]
    return max(1, min([cores, *quotas]))


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16; without it the conversion would cost more than it saves."""
    try:
        text = (_PROC / "cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _meminfo(key: str) -> int | None:
    return _value(_PROC / "meminfo", f"{key}:", 1024)


def _address_space() -> int:
    return _value(_PROC / "self" / "status", "VmSize:", 1024) or 0


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups for a controller, innermost first."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = _ROOT / controller if controllers else _ROOT
        inner = top / path.lstrip("/")
        # inside a container the path is the host's, and the group itself lies at the top
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _group_room(group: Path) -> int | None:
    """What a memory group leaves; file pages that can be dropped do not count as used."""
    for limit_name, used_name, file_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _number(group / limit_name), _number(group / used_name)
        if limit is not None and used is not None and limit < _NO_LIMIT:
            return limit - used + (_value(group / "memory.stat", file_name, 1) or 0)
    return None


def _quota(group: Path) -> int | None:
    """Whole cores of a group's quota, at least one."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", -1 or absent
    return max(1, int(quota) // int(period))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _value(path: Path, key: str, unit: int) -> int | None:
    """The number behind a key at the start of a line."""
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == key:
            return int(words[1]) * unit
    return None
