"""The package index has the locked wheels of every variant, by their digests, and they need nothing beside.

Neither arm64 nor the gpu variant is built here; this is what can be said of their context without.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.packaging.checkout import normal_name, this_checkout
from app.packaging.request import Platform, Variant
from app.packaging.requirements import PYPI, Pin, is_left_out, read_pins, run_pip, target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WITHOUT_DEPENDENCIES = "z-rad"
"""Of it the image has what .ci/without-dependencies tells."""


def resolved(pins: list[Pin], platform: Platform, folder: Path, *options: str) -> Mapping[str, Any]:
    """Have pip resolve some pins for the image's machine as the index has them; nothing is installed."""
    folder.mkdir()
    wanted, report = folder / "wanted", folder / "report"
    # not asked for by digest, for then pip would fetch all of each; what it found is compared
    wanted.write_text("".join(f"{pin.name}=={pin.version.split('+')[0]}\n" for pin in pins), "utf-8")
    words = ["install", "--dry-run", "--ignore-installed", "--target", str(folder / "none")]
    words += ["--report", str(report), "-r", str(wanted), "--index-url", PYPI, *options]
    run_pip([*words, *target(platform)], alone=True)
    found = json.loads(report.read_bytes())["install"]
    return {normal_name(each["metadata"]["name"]): each["download_info"] for each in found}


def size_of(url: str) -> int:
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(answer.headers["Content-Length"])


@pytest.mark.parametrize(
    ("variant", "platform", "most_gb"),
    [
        (Variant.CPU, Platform.X86_64, 0.5),
        (Variant.CPU, Platform.ARM64, 0.5),
        (Variant.GPU, Platform.X86_64, 4.0),
    ],
)
def test_the_index_has_every_locked_wheel_and_they_need_no_other(
    variant: Variant, platform: Platform, most_gb: float, tmp_path: Path
) -> None:
    checkout = this_checkout()
    pins = {normal_name(pin.name): pin for pin in read_pins(checkout, variant, platform)}
    closed = [pin for name, pin in pins.items() if name != WITHOUT_DEPENDENCIES]
    found = dict(resolved(closed, platform, tmp_path / "closed"))
    assert {name for name in found if name not in pins and not is_left_out(checkout, variant, name)} == set()
    found |= resolved([pins[WITHOUT_DEPENDENCIES]], platform, tmp_path / "alone", "--no-deps")
    hashed = {name: pin.sha256 for name, pin in pins.items() if pin.sha256 is not None}
    assert {name: found[name]["archive_info"]["hashes"]["sha256"] for name in hashed} == hashed
    total_gb = sum(size_of(found[name]["url"]) for name in hashed) / 1e9
    print(f"{variant}-{platform}: {len(hashed)} wheels, {total_gb:.2f} GB")
    assert total_gb <= most_gb
