"""The CPU image, really built and run: as uid 1000, on a read-only root, without network or capabilities."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from app.packaging.checkout import this_checkout
from app.packaging.layout import VARIABLES
from tests.image import Image, build_image, forget, missing

LACKING = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(LACKING is not None, reason=f"the image: {LACKING}"),
]
MOST_MB = 2500
MOST_BEYOND_S = 15.0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """The image; IMAGE_FOLDER keeps the base, the wheels and the image from one run to the next."""
    kept = os.environ.get("IMAGE_FOLDER")
    if kept:
        yield build_image(Path(kept).resolve())
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield build_image(Path(folder))
        forget(Path(folder))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_phantom(folder / "in", PhantomSpec())
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / "in"


@pytest.fixture
def output() -> Iterator[Path]:
    """A folder that uid 1000 may write to; pytest's own lie beneath one that it may not enter."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chown(folder, 1000, 1000)
        yield Path(folder)


def results(folder: Path) -> dict[str, str]:
    content = json.loads((folder / "results.json").read_bytes())
    assert content["status"] == "completed", content.get("reason")
    return {file["path"]: file["sha256"] for file in content["files"]}


def test_a_study_gives_the_results_that_it_gives_outside(image: Image, study: Path, output: Path) -> None:
    done, inside_s = image.run(study, output)
    assert done.returncode == 0, done.stderr
    outside = study.parent / "outside"
    words = [sys.executable, this_checkout().root / "app", "-i", study, "-o", outside]
    start = time.monotonic()
    subprocess.run([*words, "-m", this_checkout().root / "models"], check=True, capture_output=True)
    outside_s = time.monotonic() - start
    assert results(output) == results(outside)
    assert {"seg.dcm", "sr.dcm"} <= results(output).keys()
    assert {path.stat().st_uid for path in output.iterdir()} == {1000}
    timings = json.loads((output / "results.json").read_bytes())["timings_s"]
    print(f"inside {inside_s:.1f} s, outside {outside_s:.1f} s, steps {timings}")
    assert inside_s - sum(timings.values()) <= MOST_BEYOND_S


def test_the_image_is_at_most_two_and_a_half_gigabytes(image: Image) -> None:
    sizes = image.sizes_mb()
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:25]:
        print(f"{name} {size:.0f} MB")
    assert sizes["whole"] <= MOST_MB


def test_every_file_is_as_it_was_packaged(image: Image, study: Path, output: Path) -> None:
    done, _ = image.run(study, output, "verify")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 10_000


def test_nobody_in_it_has_rights_and_nothing_of_it_can_be_written(
    image: Image, study: Path, output: Path
) -> None:
    """What the other tests stand on: that this runtime holds what it promises."""
    probe = (
        "import os, socket, sys\n"
        "status = open('/proc/self/status')\n"
        "print(os.getuid(), [line.split()[1] for line in status if line.startswith('Cap')])\n"
        "print(socket.if_nameindex())\n"
        "for path in ('/opt/holoscan/x', '/etc/x', '/var/holoscan/input/x'):\n"
        "    try: open(path, 'w'); print('written', path)\n"
        "    except OSError as error: print(error.errno)\n"
    )
    (output / "probe.py").write_text(probe, "utf-8")
    # theramap's own words take no script: the entry is asked for one by its interpreter
    tools = image.environment | {"HOLOSCAN_APPLICATION": "/var/holoscan/output/probe.py"}
    done, _ = Image(image.root, tools, image.labels, image.user).run(study, output, "run")
    who, interfaces, *errors = done.stdout.strip().splitlines()
    assert who == f"1000 {['0' * 16] * 5}"
    assert interfaces == "[(1, 'lo')]"
    assert set(errors) <= {"30", "13"}, done.stdout  # read-only file system, or permission denied
    assert len(errors) == 3


@pytest.mark.parametrize(
    ("words", "more", "code", "line"),
    [
        (["-i", "/none"], {}, 2, "no input: /none is not there; mount the study's folder"),
        (["-o", "/opt/out"], {}, 2, "cannot write to the output folder /opt/out as uid 1000: "),
        (["run", "--device", "cuda"], {}, 2, "refused: DEVICE_UNAVAILABLE: "),
        ([], {"THERAMAP_MODELS__LESIONS": "no_such_model"}, 2, "refused: MODEL_MISSING: "),
        (["show", "all-of-it"], {}, 2, "show takes app or pkg, not all-of-it"),
    ],
)
def test_wrong_use_ends_with_its_code_and_one_clear_line(
    image: Image, study: Path, output: Path, words: list[str], more: dict[str, str], code: int, line: str
) -> None:
    done, _ = image.run(study, output, *words, **more)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(line)
    assert "Traceback" not in done.stderr


def test_an_output_that_belongs_to_another_is_one_line(image: Image, study: Path, output: Path) -> None:
    os.chown(output, 0, 0)
    done, _ = image.run(study, output)
    assert done.returncode == 2
    assert done.stderr == (
        "cannot write to the output folder /var/holoscan/output as uid 1000: Permission denied\n"
    )


def test_the_manifests_labels_and_variables_agree(image: Image, study: Path, output: Path) -> None:
    done, _ = image.run(study, output, "show", "app")
    manifest = json.loads(done.stdout)
    assert manifest == json.loads((image.root / "etc" / "monai" / "app.json").read_bytes())
    assert image.labels["org.opencontainers.image.version"] == manifest["version"]
    assert image.labels["org.opencontainers.image.title"] == "theramap"
    assert image.user == "1000:1000"
    assert VARIABLES.items() <= image.environment.items()


def test_the_bill_of_materials_is_of_what_is_installed(image: Image) -> None:
    bill = json.loads((image.root / "opt/holoscan/docs/sbom.cdx.json").read_bytes())
    site = image.root / "opt/holoscan/venv/lib/python3.11/site-packages"
    there = {path.name.split("-")[0].lower() for path in site.glob("*.dist-info")} - {"theramap"}
    python = [each for each in bill["components"] if each.get("purl", "").startswith("pkg:pypi/")]
    named = {re.sub(r"[-.]", "_", each["name"]).lower() for each in python}
    assert named == {re.sub(r"[-.]", "_", name) for name in there}
    assert all(each["hashes"] for each in python)
    assert any(each["name"] == "libc6" for each in bill["components"])
    assert not {"pip", "cupy_cuda13x", "pytest"} & named
