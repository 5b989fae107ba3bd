"""The way into the container, tried outside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.packaging.conftest import outside


def tools(context: Path, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [context / "app" / "tools", *words],
        env=outside(context, PATH=path, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def test_show_prints_the_manifests_as_they_are(context: Path) -> None:
    for name in ("app", "pkg"):
        done = tools(context, "show", name)
        assert (done.returncode, done.stdout) == (0, (context / "map" / f"{name}.json").read_text("utf-8"))
    both = tools(context, "show").stdout
    assert both.startswith("== app.json\n{")
    assert "\n== pkg.json\n{" in both
    done = tools(context, "show", "all-of-it")
    assert (done.returncode, done.stderr) == (2, "show takes app or pkg, not all-of-it\n")


def test_env_prints_variables_without_secrets(context: Path) -> None:
    done = tools(context, "env", PACS_PASSWORD="hush", THERAMAP_DATABASE_URL="postgres://u:p@h/d")
    assert f"HOLOSCAN_APPLICATION={context / 'app'}\n" in done.stdout
    assert "PACS_PASSWORD=***\n" in done.stdout
    assert "hush" not in done.stdout
    assert "postgres" not in done.stdout
    assert done.stdout.splitlines() == sorted(done.stdout.splitlines())


def test_env_shows_no_value_of_a_name_that_it_does_not_know(context: Path) -> None:
    secrets = {
        "SITE_PEM": "-----BEGIN PRIVATE KEY-----\nhush\nHOME=hush\n-----END PRIVATE KEY-----",
        "https_proxy": "http://user:hush@proxy:3128",
        "NVIDIA_API_KEY": "hush",
        "ODD": "h\udcffhush",
    }
    done = tools(context, "env", **secrets, THERAMAP_DEVICE="cpu", EMPTY="")
    lines = done.stdout.splitlines()
    assert {f"{name}=***" for name in secrets} | {"THERAMAP_DEVICE=cpu", "EMPTY="} <= set(lines)
    assert "hush" not in done.stdout
    assert "PRIVATE" not in done.stdout
    assert all("=" in line for line in lines)


def test_export_copies_everything_to_an_empty_folder(context: Path, tmp_path: Path) -> None:
    done = tools(context, "export", HOLOSCAN_EXPORT_PATH=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "config", "docs", "models"]
    assert sorted(path.name for path in (tmp_path / "config").iterdir()) == [
        "app.json",
        "app.yaml",
        "pkg.json",
    ]
    assert (tmp_path / "app" / "__main__.py").read_bytes() == (context / "app" / "__main__.py").read_bytes()
    assert (tmp_path / "models" / "impi" / "outcome.json").is_file()
    for name in ("LICENSE", "docs/gateway.md", "map/compose/compose.yaml", "map/helm/theramap/Chart.yaml"):
        assert (tmp_path / "docs" / name).is_file(), name


def test_export_copies_what_folders_ask_for(context: Path, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    assert tools(context, "export", HOLOSCAN_EXPORT_PATH=tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["config"]
    assert json.loads((tmp_path / "config" / "app.json").read_bytes())["type"] == "application"


def test_export_says_what_is_not_mounted(context: Path, tmp_path: Path) -> None:
    done = tools(context, "export", HOLOSCAN_EXPORT_PATH=tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr == f"nothing is mounted at {tmp_path / 'none'}: mount a folder there\n"


def test_another_word_is_theramaps_own(context: Path) -> None:
    done = tools(context, "version")
    assert done.returncode == 0
    assert "theramap 0." in done.stdout


def test_help_names_every_word(context: Path) -> None:
    said = tools(context, "help").stdout
    for word in ("run", "serve", "receive", "show", "env", "export", "verify", "ready", "alive"):
        assert f"  {word}" in said or f" {word} " in said


def test_ready_reads_the_image_and_alive_its_first_process(context: Path) -> None:
    done = tools(context, "ready")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("files are as they were packaged\n")


def test_alive_compares_the_age_of_each_roles_pulse_with_its_limit(context: Path, tmp_path: Path) -> None:
    def alive(*limits: str) -> tuple[int, str]:
        done = tools(context, "alive", *limits, THERAMAP_GATEWAY__DATA=tmp_path)
        return done.returncode, done.stderr

    assert alive("work=60") == (1, "work has not begun\n")
    (tmp_path / "pulse").mkdir()
    for role, age_s in (("work", 0), ("keeper", 100)):
        (tmp_path / "pulse" / role).touch()
        os.utime(tmp_path / "pulse" / role, (time.time() - age_s,) * 2)
    assert alive("work=60") == (0, "")
    assert alive("work=60", "keeper=300") == (0, "")
    code, line = alive("work=60", "keeper=60")
    assert code == 1
    assert line.startswith("keeper has been silent for 10")


@pytest.fixture
def damaged(context: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "damaged"
    shutil.copytree(context, copy)
    with (copy / "models" / "petct_lesion" / "petct_lesion.onnx").open("ab") as file:
        file.write(b"x")
    return copy


@pytest.mark.parametrize("words", [("run",), (), ("serve",), ("work",), ("verify",), ("-i", "/tmp")])
def test_a_tampered_model_stops_every_way_in(damaged: Path, words: tuple[str, ...]) -> None:
    done = tools(damaged, *words)
    assert done.returncode == 3
    line = "not what was packaged: model file petct_lesion/petct_lesion.onnx has changed\n"
    assert done.stderr == line


def test_no_input_is_one_line(context: Path, tmp_path: Path) -> None:
    done = tools(context, "run", "-i", str(tmp_path / "none"), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == f"no input: {tmp_path / 'none'} is not there; mount the study's folder\n"


def test_an_input_without_dicom_is_refused_with_the_reason_last(context: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = tools(context, HOLOSCAN_INPUT_PATH=tmp_path / "in", HOLOSCAN_OUTPUT_PATH=tmp_path / "out")
    assert done.returncode == 2
    last = "refused: NO_DICOM: The input folder holds no DICOM file that can be read."
    assert done.stderr.strip().splitlines()[-1] == last
    assert json.loads((tmp_path / "out" / "results.json").read_bytes())["status"] == "refused"


def test_an_unwritable_output_is_one_line(context: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = tools(context, "run", "-i", str(tmp_path / "in"), "-o", "/proc/none")
    assert done.returncode == 2
    assert done.stderr.startswith("cannot write to the output folder /proc/none as uid ")
    assert len(done.stderr.splitlines()) == 1


def test_a_role_does_not_start_without_the_folder_of_models_that_is_named(context: Path) -> None:
    done = tools(context, "work", HOLOSCAN_MODEL_PATH="/misspelt")
    line = "no models: /misspelt is not there; name a folder, which may be empty\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
