"""Which program builds the image, and what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.packaging.builders import build, find_builder
from app.packaging.errors import PackagingError
from app.packaging.request import PackageRequest, Platform


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own, where programs are written that answer and keep what they were asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def which(name: str) -> str | None:
        return str(folder / name) if (folder / name).exists() else None

    monkeypatch.setattr("app.packaging.builders.shutil.which", which)
    return folder


def write(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\necho "{name} $@" >> {folder}/../calls\n{body}\n', "utf-8")
    (folder / name).chmod(0o755)


def calls(folder: Path) -> list[str]:
    return (folder.parent / "calls").read_text("utf-8").splitlines()


def test_docker_without_an_engine_is_passed_over(programs: Path) -> None:
    write(programs, "docker", '[ "$1" = buildx ]')
    write(programs, "buildah", "exit 0")
    assert find_builder("auto").name == "buildah"
    with pytest.raises(PackagingError, match="docker does not work here: `docker buildx version` fails"):
        find_builder("docker")


def test_the_first_that_works_is_taken(programs: Path) -> None:
    write(programs, "docker", "exit 0")
    write(programs, "podman", "exit 0")
    assert find_builder("auto").name == "docker"
    assert find_builder("podman").name == "podman"


def test_nothing_that_builds_is_one_line(programs: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["package", str(tmp_path / "context")])
    assert result.exit_code == 2
    line = "neither docker buildx, podman nor buildah works here; --context-only needs none"
    assert result.stderr.strip() == line
    assert not (tmp_path / "context").exists()


def test_a_build_is_told_platform_time_tag_and_network(programs: Path, tmp_path: Path) -> None:
    for name in ("docker", "podman", "buildah"):
        write(programs, name, "exit 0")
    request = PackageRequest(platform=Platform.ARM64, offline=True)
    for name in ("docker", "podman", "buildah"):
        build(find_builder(name), request, tmp_path, "theramap:1", 1_700_000_000)
        last = calls(programs)[-1]
        assert "--platform linux/arm64" in last
        assert "--network none" in last
        assert last.endswith(f"-f {tmp_path}/Containerfile {tmp_path}")
        assert ("rewrite-timestamp=true" if name == "docker" else "--timestamp 1700000000") in last
        assert "theramap:1" in last
    build(find_builder("buildah"), PackageRequest(), tmp_path, "theramap:1", 0)
    assert "--network" not in calls(programs)[-1]


def test_a_build_that_fails_says_what_failed(programs: Path, tmp_path: Path) -> None:
    write(programs, "podman", '[ "$1" = info ]')
    with pytest.raises(PackagingError, match="podman ended with 1: `podman build --platform linux/amd64"):
        build(find_builder("podman"), PackageRequest(), tmp_path, "theramap:1", 0)
