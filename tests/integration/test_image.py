"""The CPU image, really built and run: as uid 1000, on a read-only root, without network or capabilities.

By Linux itself, and where podman and runc are installed, by these too, which add seccomp and cgroups.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation

from app.demo.phantom import PhantomSpec, write_phantom
from app.packaging.checkout import this_checkout
from app.packaging.layout import VARIABLES
from tests.image import (
    AGAIN,
    BASE,
    IMAGE,
    Image,
    build_again,
    buildah,
    inspect,
    layers,
    marks,
    podman_missing,
)

pytestmark = marks()
MOST_MB = 2500
MOST_BEYOND_S = 15.0


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


def test_two_builds_of_one_context_give_the_same_layers(image: Image) -> None:
    base, built = layers(image.folder, BASE), layers(image.folder, IMAGE)
    build_again(image.folder)
    again = layers(image.folder, AGAIN)
    buildah(image.folder, "rmi", "--force", AGAIN)
    print(f"layers: {built}")
    assert built[: len(base)] == base
    assert len(built) == len(base) + 1
    assert again == built


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
    done, _ = image.run(
        study, output, "run", variables={"HOLOSCAN_APPLICATION": "/var/holoscan/output/probe.py"}
    )
    who, interfaces, *errors = done.stdout.strip().splitlines()
    assert who == f"1000 {['0' * 16] * 5}"
    assert interfaces == "[(1, 'lo')]"
    assert set(errors) <= {"30", "13"}, done.stdout  # read-only file system, or permission denied
    assert len(errors) == 3


@pytest.mark.parametrize(
    ("words", "more", "code", "line"),
    [
        (["-i", "/none"], {}, 2, "no input: /none is not there; mount the study's folder"),
        (["-m", "/none"], {}, 2, "no models: /none is not there; name a folder, which may be empty"),
        ([], {"HOLOSCAN_MODEL_PATH": "/none"}, 2, "no models: /none is not there; "),
        (["-o", "/opt/out"], {}, 2, "cannot write to the output folder /opt/out as uid 1000: "),
        (["run", "--device", "cuda"], {}, 2, "refused: DEVICE_UNAVAILABLE: "),
        ([], {"THERAMAP_MODELS__LESIONS": "no_such_model"}, 2, "refused: MODEL_MISSING: "),
        (["show", "all-of-it"], {}, 2, "show takes app or pkg, not all-of-it"),
    ],
)
def test_wrong_use_ends_with_its_code_and_one_clear_line(
    image: Image, study: Path, output: Path, words: list[str], more: dict[str, str], code: int, line: str
) -> None:
    done, _ = image.run(study, output, *words, variables=more)
    assert done.returncode == code, done.stderr
    *before, last = done.stderr.strip().splitlines()
    assert last.startswith(line)
    # what is refused once the application runs comes after the libraries' own lines
    assert before == [] or (line.startswith("refused: ") and not any(line in each for each in before))
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
    python = [each for each in bill["components"] if each["bom-ref"].startswith("pkg:pypi/")]
    named = {re.sub(r"[-.]", "_", each["name"]).lower() for each in python}
    assert named == {re.sub(r"[-.]", "_", name) for name in there}
    assert all(each["hashes"] for each in python)
    assert any(each["name"] == "libc6" for each in bill["components"])
    assert not {"pip", "cupy_cuda13x", "pytest"} & named
    # the base's Python is Debian's here, and Debian's packages have it
    assert any(each["name"] == "python3.11-minimal" for each in bill["components"])
    assert not [each for each in bill["components"] if each["bom-ref"].startswith(("base/", "pkg:generic/"))]


def files_of(root: Path, *folders: str) -> Iterator[tuple[str, os.stat_result]]:
    for folder in folders:
        for path in (root / folder).rglob("*"):
            if not path.is_symlink():
                yield f"/{path.relative_to(root)}", path.stat()


def test_no_program_in_it_gives_another_users_rights(image: Image) -> None:
    marked = stat.S_ISUID | stat.S_ISGID
    folders = [path.name for path in image.root.iterdir() if path.is_dir() and not path.is_symlink()]
    assert {"usr", "opt", "etc"} <= set(folders)
    found = [
        name
        for name, state in files_of(image.root, *folders)
        if stat.S_ISREG(state.st_mode) and state.st_mode & marked
    ]
    assert found == []


def test_what_it_is_made_of_belongs_to_root_and_to_nobody_else(image: Image) -> None:
    free = [
        name
        for name, state in files_of(image.root, "opt", "etc", "usr", "var", "root")
        if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX
    ]
    assert free == []
    others = stat.S_IWGRP | stat.S_IWOTH
    foreign = [
        name
        for name, state in files_of(image.root, "opt", "etc")
        if state.st_uid != 0 or state.st_mode & others
    ]
    assert foreign == []
    own = {name for name, state in files_of(image.root, "var") if state.st_uid == 1000}
    assert own == {"/var/holoscan/output", "/var/holoscan/logs", "/var/lib/theramap"}


def test_nothing_of_the_build_and_no_secret_is_left_in_it(image: Image) -> None:
    for name in ("context", "pip", "root/.cache", "opt/holoscan/venv/bin/pip"):
        assert not (image.root / name).exists(), name
    assert not list((image.root / "tmp").iterdir())
    assert not list((image.root / "var" / "tmp").iterdir())
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY|://[^/\s]+:[^/\s]+@", re.IGNORECASE)
    content = inspect(image.folder, IMAGE)
    words = [*content["config"]["Env"], *(f"{name}={text}" for name, text in image.labels.items())]
    words += [step.get("created_by", "") for step in content["history"]]
    assert not [text for text in words if secret.search(text)]


NAMED = ("Quirlmeier", "Adelgunde", "QX-90417")


def named_study(folder: Path, fault: str) -> None:
    """Write a study whose patient is named in the headers and in the paths: a whole one, or with a fault."""
    series = folder / f"{NAMED[0]} {NAMED[1]}"
    write_phantom(series, PhantomSpec(shape=(40, 48, 48), n_lesions=2, patient_id=NAMED[2]))
    for number, path in enumerate(sorted(series.iterdir())):
        dataset = dcmread(path)
        dataset.PatientName = f"{NAMED[0]}^{NAMED[1]}"
        dataset.OtherPatientIDs = NAMED[2]
        path.unlink()
        if dataset.Modality == "PT" and fault == "no PET":
            continue
        if fault == "no weight":
            del dataset.PatientWeight
        if fault == "no frame of reference":
            del dataset.FrameOfReferenceUID
        target = series / f"{NAMED[0]}-{number}.dcm"
        with disable_value_validation():
            if fault == "values that do not fit":
                dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = NAMED[0]
                dataset.AccessionNumber = dataset.StudyDescription = f"{NAMED[2]} " * 8
            dataset.save_as(target, enforce_file_format=True)
        if fault == "truncated":
            target.write_bytes(target.read_bytes()[:-1000])
    if fault == "broken job":
        (folder / "job.json").write_text(f'{{"{NAMED[0]}": "{NAMED[2]}"', "utf-8")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def traces(content: bytes) -> list[str]:
    """Return what of the patient's identity is found in some bytes, in any spelling of letters."""
    texts = [
        content.decode(encoding, "replace").lower() for encoding in ("latin-1", "utf-16-le", "utf-16-be")
    ]
    return [name for name in NAMED if any(name.lower() in text for text in texts)]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("none", 0),
        ("values that do not fit", 0),
        ("no PET", 2),
        ("no weight", 2),
        ("no frame of reference", 2),
        ("truncated", 2),
        ("broken job", 2),
    ],
)
def test_no_patient_is_named_outside_the_output(
    image: Image, output: Path, tmp_path: Path, fault: str, code: int
) -> None:
    named_study(tmp_path / "in", fault)
    (tmp_path / "scratch").mkdir()
    done, _ = image.run(tmp_path / "in", output, scratch=tmp_path / "scratch")
    assert done.returncode == code, done.stderr
    named = next((tmp_path / "in").rglob("*.dcm"))
    assert traces(named.read_bytes()) == list(NAMED), "what is looked for must be there to be found"
    assert (output / "results.json").is_file()
    assert traces(done.stdout.encode()) == []
    assert traces(done.stderr.encode()) == []
    for path in (tmp_path / "scratch").rglob("*"):
        assert traces(str(path.relative_to(tmp_path)).encode()) == []
        assert not path.is_file() or traces(path.read_bytes()) == [], path


def test_any_uid_of_group_0_may_run_it(image: Image, study: Path, output: Path) -> None:
    """As OpenShift does: the uid is none that the image knows."""
    os.chown(output, 0, 0)
    output.chmod(0o775)
    done, _ = image.run(study, output, user=(4711, 0))
    assert done.returncode == 0, done.stderr
    assert {path.stat().st_uid for path in output.iterdir()} == {4711}
    assert {"seg.dcm", "sr.dcm"} <= results(output).keys()


def tampered(image: Image, inside: str, tmp_path: Path) -> dict[str, Path]:
    changed = tmp_path / "changed"
    changed.write_bytes((image.root / inside.lstrip("/")).read_bytes() + b"\n")
    changed.chmod(0o755)
    return {inside: changed}


MODEL = "/opt/holoscan/models/petct_lesion/petct_lesion.onnx"


@pytest.mark.parametrize(
    ("word", "inside", "line"),
    [
        ("run", MODEL, "model file petct_lesion/petct_lesion.onnx"),
        ("serve", MODEL, "model file petct_lesion/petct_lesion.onnx"),
        ("work", MODEL, "model file petct_lesion/petct_lesion.onnx"),
        ("ready", MODEL, "model file petct_lesion/petct_lesion.onnx"),
        ("run", "/opt/holoscan/app/__main__.py", "entry file __main__.py"),
        ("run", "/opt/holoscan/app/tools", "entry file tools"),
        ("run", "/etc/holoscan/app.json", "manifest file app.json"),
    ],
)
def test_a_file_that_was_tampered_with_ends_every_start(
    image: Image, study: Path, output: Path, tmp_path: Path, word: str, inside: str, line: str
) -> None:
    done, _ = image.run(study, output, word, over=tampered(image, inside, tmp_path))
    assert (done.returncode, done.stderr) == (3, f"not what was packaged: {line} has changed\n")
    assert not list(output.iterdir())


def test_a_missing_list_of_digests_ends_every_start(
    image: Image, study: Path, output: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    done, _ = image.run(study, output, over={"/etc/holoscan": tmp_path})
    line = "/etc/holoscan/digests.json is not there: nothing tells what was packaged\n"
    assert (done.returncode, done.stderr) == (3, line)


def test_a_library_that_was_tampered_with_is_found_by_verify(
    image: Image, study: Path, output: Path, tmp_path: Path
) -> None:
    inside = "/opt/holoscan/venv/lib/python3.11/site-packages/pydicom/uid.py"
    done, _ = image.run(study, output, "verify", over=tampered(image, inside, tmp_path))
    assert done.returncode == 3
    assert re.fullmatch(r"not what was packaged: pydicom==\S+: pydicom/uid\.py has changed\n", done.stderr)


def test_the_probes_answer_and_env_masks_secrets(image: Image, study: Path, output: Path) -> None:
    for word in ("ready", "alive"):
        done, time_s = image.run(study, output, word)
        assert (done.returncode, done.stderr) == (0, ""), word
        print(f"{word} {time_s:.1f} s")
    secrets = {"THERAMAP_DATABASE": "postgresql://u:hush@h/d", "S3_SECRET": "hush"}
    done, _ = image.run(study, output, "env", variables=secrets)
    assert {"THERAMAP_DATABASE=***", "S3_SECRET=***"} <= set(done.stdout.splitlines())
    assert "hush" not in done.stdout + done.stderr


@pytest.mark.skipif(podman_missing() is not None, reason=f"podman: {podman_missing()}")
def test_podman_gives_the_same_results(image: Image, study: Path, output: Path) -> None:
    done, inside_s = image.podman(study, output)
    assert done.returncode == 0, done.stderr
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        other = Path(folder)
        os.chown(other, 1000, 1000)
        assert image.run(study, other)[0].returncode == 0
        assert results(output) == results(other)
    print(f"podman {inside_s:.1f} s")


@pytest.mark.skipif(podman_missing() is not None, reason=f"podman: {podman_missing()}")
def test_podman_holds_it_by_seccomp_and_cgroups_too(image: Image, study: Path, output: Path) -> None:
    probe = (
        "grep -E '^(Uid|Cap[A-Za-z]+|NoNewPrivs|Seccomp):' /proc/self/status; ls /sys/class/net;"
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null;"
        "for f in /opt/x /etc/x /var/holoscan/input/x; do touch $f 2>/dev/null && echo written $f; done; true"
    )
    done, _ = image.podman(study, output, "-c", probe, options=["--entrypoint", "sh"])
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert "written" not in said
    assert said.count("0" * 16) == 5  # no capability in any of the five sets
    fields = dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
    assert fields["Uid"].split() == ["1000"] * 4
    assert fields["NoNewPrivs"].split() == ["1"]
    assert fields["Seccomp"].split() == ["2"]  # a filter
    assert [line for line in done.stdout.splitlines() if ":" not in line] == ["lo", str(8 * 2**30)]
