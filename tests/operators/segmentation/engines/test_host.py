"""What the host leaves to this process: kernel, control groups of both versions, address space."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from operators.segmentation.engines import host

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with 8 GiB available and no limits."""
    monkeypatch.setattr(host, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    write(tmp_path, {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n"})
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "proc/self/status": "VmSize:\t 1048576 kB\n"})
    return tmp_path


def write(root: Path, files: dict[str, str | int]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(content))


def test_what_the_kernel_says_without_limits(machine: Path) -> None:
    assert host.available_bytes() == 8 * GIB
    assert host.usable_cores() == 16


def test_a_group_of_version_2_counts_without_its_file_pages(machine: Path) -> None:
    write(machine, {"cgroup/memory.max": 4 * GIB, "cgroup/memory.current": 3 * GIB})
    write(machine, {"cgroup/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file 7\n"})
    write(machine, {"cgroup/cpu.max": "350000 100000"})

    assert host.available_bytes() == 2 * GIB
    assert host.usable_cores() == 3


def test_a_group_without_limit_does_not_count(machine: Path) -> None:
    write(
        machine,
        {"cgroup/memory.max": "max", "cgroup/memory.current": 3 * GIB, "cgroup/cpu.max": "max 100000"},
    )

    assert host.available_bytes() == 8 * GIB
    assert host.usable_cores() == 16


def test_an_outer_group_counts_too(machine: Path) -> None:
    write(machine, {"proc/self/cgroup": "0::/site/job\n"})
    write(machine, {"cgroup/site/job/memory.max": 6 * GIB, "cgroup/site/job/memory.current": 0})
    write(machine, {"cgroup/site/memory.max": 5 * GIB, "cgroup/site/memory.current": 3 * GIB})
    write(machine, {"cgroup/site/job/cpu.max": "50000 100000"})

    assert host.available_bytes() == 2 * GIB
    assert host.usable_cores() == 1


def test_a_group_of_version_1_whose_path_is_the_host_s(machine: Path) -> None:
    write(
        machine, {"proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n"}
    )
    write(machine, {"cgroup/memory/memory.limit_in_bytes": 3 * GIB})
    write(machine, {"cgroup/memory/memory.usage_in_bytes": 2 * GIB})
    write(machine, {"cgroup/memory/memory.stat": f"total_inactive_file {GIB // 2}\n"})
    write(machine, {"cgroup/cpu/cpu.cfs_quota_us": 200000, "cgroup/cpu/cpu.cfs_period_us": 100000})

    assert host.available_bytes() == GIB + GIB // 2
    assert host.usable_cores() == 2


def test_version_1_without_limit(machine: Path) -> None:
    write(machine, {"proc/self/cgroup": "4:memory:/\n2:cpu:/\n"})
    write(machine, {"cgroup/memory/memory.limit_in_bytes": 9223372036854771712})
    write(machine, {"cgroup/memory/memory.usage_in_bytes": 2 * GIB, "cgroup/cpu/cpu.cfs_quota_us": -1})

    assert host.available_bytes() == 8 * GIB
    assert host.usable_cores() == 16


def test_the_address_space_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3 * GIB, 3 * GIB))

    assert host.available_bytes() == 2 * GIB


def test_nothing_left_is_zero(machine: Path) -> None:
    write(machine, {"cgroup/memory.max": GIB, "cgroup/memory.current": 2 * GIB})

    assert host.available_bytes() == 0


@pytest.mark.parametrize(
    ("flags", "there"), [("fpu avx512_bf16 avx", True), ("amx_bf16", True), ("avx512f avx512_vnni", False)]
)
def test_bfloat16_is_read_from_the_processor(machine: Path, flags: str, there: bool) -> None:
    write(machine, {"proc/cpuinfo": f"processor : 0\nflags\t\t: {flags}\n"})

    assert host.has_bfloat16() is there


def test_no_processor_information_is_no_bfloat16(machine: Path) -> None:
    assert host.has_bfloat16() is False
