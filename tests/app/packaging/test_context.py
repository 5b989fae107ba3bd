"""The build context: complete, the same for the same checkout, and refused where it would be wrong."""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import app.packaging.context as context_module
from app.cli import cli
from app.packaging.checkout import Checkout, normal_name
from app.packaging.containerfile import containerfile, labels_of
from app.packaging.context import epoch_of, write_context
from app.packaging.digests import digest_of, digests_beneath
from app.packaging.errors import PackagingError
from app.packaging.layout import VARIABLES
from app.packaging.request import PackageRequest, Platform, Variant
from app.packaging.requirements import read_pins, target
from app.packaging.wheels import collect


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mode,
            int(path.stat().st_mtime),
            digest_of(path) if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


def test_two_contexts_of_one_checkout_are_the_same_byte_for_byte(
    context: Path, checkout: Checkout, tmp_path: Path
) -> None:
    write_context(PackageRequest(models=("impi", "petct_lesion")), checkout, tmp_path / "again")
    assert state(tmp_path / "again") == state(context)


def test_a_context_takes_the_place_of_a_former_one(checkout: Checkout, tmp_path: Path) -> None:
    write_context(PackageRequest(models=("impi",)), checkout, tmp_path / "context")
    (tmp_path / "context" / "models" / "stray").mkdir()
    write_context(PackageRequest(models=()), checkout, tmp_path / "context")
    assert not any((tmp_path / "context" / "models").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["context"]


def test_the_wheel_holds_the_program_and_its_data(context: Path, checkout: Checkout) -> None:
    names = set(zipfile.ZipFile(next((context / "own").glob("*.whl"))).namelist())
    for package in ("app", "operators"):
        sources = {
            path.relative_to(checkout.root).as_posix() for path in (checkout.root / package).rglob("*.py")
        }
        assert sources <= names
    for data in ("app/protocols/fdg.yaml", "operators/results/results.schema.json", "app/app.yaml"):
        assert data in names
    assert not [name for name in names if name.startswith(("tests/", "models/")) or name.endswith(".pyc")]


def test_the_digests_are_those_of_what_is_packaged(context: Path) -> None:
    digests = json.loads((context / "map" / "digests.json").read_bytes())
    assert digests["models"] == digests_beneath(context / "models")
    assert {name.split("/")[0] for name in digests["models"]} == {"impi", "petct_lesion"}
    assert digests["manifests"].keys() == {"app.json", "pkg.json"}
    assert digests["application"] == digests_beneath(context / "app")
    own = next((context / "own").glob("*.whl"))
    assert digests["wheels"][f"theramap=={digests['theramap']}"] == digest_of(own)
    assert len(digests["wheels"]) > 100


def test_no_training_code_is_packaged(context: Path) -> None:
    assert not [
        path for path in (context / "models").rglob("*") if path.suffix == ".py" or path.name == "training"
    ]


def test_the_containerfile_says_who_what_and_where(context: Path, checkout: Checkout) -> None:
    text = (context / "Containerfile").read_text("utf-8")
    for name, value in VARIABLES.items():
        assert f"{name}={value}" in text
    assert {"HOLOSCAN_DOCS", "HOLOSCAN_DOCS_PATH", "HOLOSCAN_LOGS", "HOLOSCAN_LOGS_PATH"} <= VARIABLES.keys()
    assert "\nUSER 1000:1000\n" in text
    assert 'ENTRYPOINT ["/opt/holoscan/app/tools"]' in text
    assert f'org.opencontainers.image.version="{checkout.version}"' in text
    for label in ("title", "description", "licenses", "created", "base.name"):
        assert f"org.opencontainers.image.{label}=" in text
    assert "/etc/monai/app.json" in text
    assert "--require-hashes" in text
    assert not re.search(r"@[A-Z_]+@", text)


def hadolint(text: str) -> str:
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == int(bool(done.stdout)), done.stderr
    return done.stdout


@pytest.mark.parametrize("asked", [PackageRequest(), PackageRequest(offline=True)])
@pytest.mark.parametrize("unhashed", [True, False])
def test_hadolint_finds_no_fault_in_the_containerfile(
    checkout: Checkout, asked: PackageRequest, unhashed: bool
) -> None:
    assert "DL3004" in hadolint("FROM debian:12\nRUN sudo ls\n"), "it must find what is there"
    template = (checkout.root / "map" / "Containerfile.in").read_text("utf-8")
    labels = labels_of(checkout.version, asked, None, 0, "What it is")
    text = containerfile(template, asked, labels, 0, unhashed=unhashed)
    assert hadolint(text) == ""


def test_an_offline_build_asks_no_index() -> None:
    request = PackageRequest(offline=True)
    text = containerfile("@INSTALL@", request, {}, 0, unhashed=True)
    assert "--index-url" not in text
    assert text.count("--no-index") == 3


def test_a_template_that_asks_for_the_unknown_is_refused() -> None:
    with pytest.raises(PackagingError, match="COLOUR"):
        containerfile("FROM @COLOUR@", PackageRequest(), {}, 0, unhashed=False)


def test_the_gpu_variant_finds_the_cuda_of_its_wheels() -> None:
    text = containerfile("@ENVIRONMENT@", PackageRequest(variant=Variant.GPU), {}, 0, unhashed=False)
    assert "nvidia/cudnn/lib" in text
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in text


LOCKS = [(Variant.CPU, Platform.X86_64), (Variant.CPU, Platform.ARM64), (Variant.GPU, Platform.X86_64)]
TOOLS = {
    "pytest",
    "ruff",
    "mypy",
    "hypothesis",
    "nncf",
    "dcmqi",
    "fhir-resources",
    "nnunetv2",
    "pip",
    "pandas",
}


@pytest.mark.parametrize(("variant", "platform"), LOCKS)
def test_the_lock_agrees_with_the_projects_and_holds_no_tools(
    checkout: Checkout, variant: Variant, platform: Platform
) -> None:
    pins = {normal_name(pin.name): pin for pin in read_pins(checkout, variant, platform)}
    assert not TOOLS & pins.keys()
    without = {name for name, pin in pins.items() if pin.sha256 is None}
    cuda = {name for name in pins if name.startswith(("nvidia-", "cupy", "cuda-", "triton"))} - {
        "tritonclient"
    }
    if variant is Variant.CPU:
        assert without == {"torch"}
        assert pins["torch"].version.endswith("+cpu")
        assert "onnxruntime" in pins
        # holoscan links the runtime, GPU or not
        assert cuda == {"nvidia-cuda-runtime"}
    else:
        assert not without
        assert {"onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cuda-runtime", "torch"} <= pins.keys()
        assert "onnxruntime" not in pins


def test_the_gpu_variant_is_refused_for_arm64_by_name_of_the_wheel() -> None:
    with pytest.raises(PackagingError, match="onnxruntime-gpu has no wheel"):
        PackageRequest(variant=Variant.GPU, platform=Platform.ARM64)


def copy_of(checkout: Checkout, folder: Path) -> Checkout:
    for name in ("pyproject.toml", "requirements.lock", "app/app.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout.root / name, folder / name)
    shutil.copytree(checkout.root / "map", folder / "map")
    return Checkout(folder)


def test_a_lock_that_is_older_than_the_projects_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    copy = copy_of(checkout, tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        re.sub(r"^numpy==.*$", "numpy==99.0", lock.read_text("utf-8"), flags=re.MULTILINE), "utf-8"
    )
    with pytest.raises(PackagingError, match=r"numpy .* there, 99\.0 in requirements\.lock"):
        read_pins(copy, Variant.CPU, Platform.X86_64)


def test_a_lock_that_lacks_what_the_project_asks_for_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    copy = copy_of(checkout, tmp_path)
    path = tmp_path / "map" / "requirements" / "cpu-x86_64.txt"
    path.write_text(re.sub(r"(?m)^scipy==.*\n", "", path.read_text("utf-8")), "utf-8")
    with pytest.raises(PackagingError, match="scipy is not there"):
        read_pins(copy, Variant.CPU, Platform.X86_64)
    path.write_text("numpy>=1\n", "utf-8")
    with pytest.raises(PackagingError, match="no locked distribution"):
        read_pins(copy, Variant.CPU, Platform.X86_64)


def test_a_version_that_is_not_semantic_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    copy = copy_of(checkout, tmp_path)
    path = tmp_path / "pyproject.toml"
    path.write_text(re.sub(r'(?m)^version = ".*"$', 'version = "1.0"', path.read_text("utf-8")), "utf-8")
    with pytest.raises(PackagingError, match=r"1\.0 is not MAJOR\.MINOR\.PATCH"):
        _ = copy.version


def test_the_time_is_source_date_epoch(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert epoch_of(checkout) == 1700000000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert epoch_of(checkout) == 315532800
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(PackagingError, match="'now'"):
        epoch_of(checkout)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4354819199")
    assert epoch_of(checkout) == 4354819199
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "4354819200")
    with pytest.raises(PackagingError, match=r"no time after 4354819199 \(2107\)"):
        epoch_of(checkout)


def test_a_wheel_at_hand_is_taken_when_it_is_the_locked_one(checkout: Checkout, tmp_path: Path) -> None:
    pins = read_pins(checkout, Variant.CPU, Platform.X86_64)
    hand, wheels = tmp_path / "hand", tmp_path / "wheels"
    hand.mkdir()
    wheels.mkdir()
    torch = next(pin for pin in pins if pin.name == "torch")
    name = f"torch-{torch.version}-cp311-cp311-manylinux_2_28"
    for machine in ("x86_64", "aarch64"):
        (hand / f"{name}_{machine}.whl").write_bytes(b"wheel")
    (hand / "torch-1.0-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"another version")
    (hand / "pytest-9.2.0-py3-none-any.whl").write_bytes(b"not of the lock")
    collect(PackageRequest(wheels=hand), pins, wheels)
    assert [path.name for path in wheels.iterdir()] == [f"{name}_x86_64.whl"]
    numpy = next(pin for pin in pins if pin.name == "numpy")
    (hand / f"numpy-{numpy.version}-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(b"tampered")
    with pytest.raises(PackagingError, match="not the locked wheel"):
        collect(PackageRequest(wheels=hand), pins, wheels)
    with pytest.raises(PackagingError, match="is no folder"):
        collect(PackageRequest(wheels=tmp_path / "nowhere"), pins, wheels)


def test_wheels_are_chosen_for_the_image_and_not_for_this_machine() -> None:
    options = target(Platform.ARM64)
    assert "--only-binary=:all:" in options
    assert "manylinux_2_28_aarch64" in options
    assert not [option for option in options if "x86_64" in option]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--models", "none", "--models", "petct_lesion"], "--models none goes with no other model"),
        (["--models", "no_such_model"], "unknown model no_such_model: models/ holds"),
        (["--variant", "gpu", "--platform", "arm64"], "no gpu variant for arm64"),
        (["--base-image", "two words"], "is no image reference"),
        (["--wheels", "/no/such/folder"], "is no folder"),
    ],
)
def test_wrong_use_ends_with_one_line(tmp_path: Path, words: list[str], line: str) -> None:
    result = CliRunner().invoke(cli, ["package", str(tmp_path / "context"), "--context-only", *words])
    assert result.exit_code == 2
    assert line in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = CliRunner().invoke(cli, ["package", str(tmp_path), "--context-only"])
    assert result.exit_code == 2
    assert "is not empty and holds no build context" in result.stderr
    assert (tmp_path / "thesis.txt").exists()
    result = CliRunner().invoke(cli, ["package", str(tmp_path / "thesis.txt"), "--context-only"])
    assert (result.exit_code, "is not a folder" in result.stderr) == (2, True)


def test_a_link_or_a_mount_point_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for folder, line in ((tmp_path / "link", "is a link"), (Path("/proc"), "is a mount point")):
        result = CliRunner().invoke(cli, ["package", str(folder), "--context-only"])
        assert result.exit_code == 2
        assert line in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert (tmp_path / "link").is_symlink()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(context_module, "copy_documents", full)
    with pytest.raises(PackagingError, match=r"^cannot write .*/context: No space left on device$"):
        write_context(PackageRequest(models=()), checkout, tmp_path / "context")
    assert list(tmp_path.iterdir()) == []


def test_a_stop_leaves_nothing(tmp_path: Path) -> None:
    theramap = Path(sys.executable).parent / "theramap"
    words = [theramap, "package", tmp_path / "context", "--context-only"]
    with subprocess.Popen(words) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".context-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_no_model_can_be_packaged(tmp_path: Path) -> None:
    words = ["package", str(tmp_path / "c"), "--context-only", "--models", "none", "--variant", "gpu"]
    result = CliRunner().invoke(cli, words)
    assert (result.exit_code, result.output) == (0, f"context: {tmp_path / 'c'}\n")
    assert json.loads((tmp_path / "c" / "map" / "pkg.json").read_bytes())["models"] == []
    assert (tmp_path / "c" / "requirements-without-digest.txt").read_text("utf-8") == ""
