"""What a source is, which of its files count, and archives that must not be unpacked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from app.models import allow
from app.models.allow import Format, digest_of, recognise, take, unpack
from app.models.request import ImportRefusal

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def results(folder: Path) -> Path:
    trainer = folder / "Dataset900_tiny" / TRAINER
    (trainer / "fold_0" / "validation").mkdir(parents=True)
    (trainer / "plans.json").write_text('{"configurations": {}}')
    (trainer / "dataset.json").write_text("{}")
    (trainer / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights")
    (trainer / "fold_0" / "checkpoint_best.pth").write_bytes(b"best")
    (trainer / "fold_0" / "validation" / "case.nii.gz").write_bytes(b"image")
    return trainer


def test_an_nnunet_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    trainer = results(tmp_path)
    names = [f"{TRAINER}/{name}" for name in ("dataset.json", "fold_0/checkpoint_final.pth", "plans.json")]
    lines = subprocess.run(["sha256sum", *names], cwd=trainer.parent, capture_output=True, check=True).stdout
    assert digest_of(trainer) == sha256(lines).hexdigest()
    assert digest_of(trainer) == digest_of(trainer.parent)


def test_logs_and_validation_do_not_count_but_weights_do(tmp_path: Path) -> None:
    trainer = results(tmp_path)
    before = digest_of(trainer)
    (trainer / "fold_0" / "progress.png").write_bytes(b"picture")
    (trainer / "fold_0" / "validation" / "case.nii.gz").write_bytes(b"other")
    assert digest_of(trainer) == before
    (trainer / "fold_0" / "checkpoint_final.pth").write_bytes(b"Weights")
    assert digest_of(trainer) != before


def test_the_digest_of_a_file_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"network")
    assert digest_of(tmp_path / "net.onnx") == sha256(b"network").hexdigest()


def test_a_cascade_brings_its_first_stage(tmp_path: Path) -> None:
    for name in ("3d_lowres", "3d_cascade_fullres", "2d"):
        folder = tmp_path / f"nnUNetTrainer__nnUNetPlans__{name}"
        folder.mkdir()
        (folder / "plans.json").write_text(
            '{"configurations": {"3d_cascade_fullres": {"previous_stage": "3d_lowres"}, "3d_lowres": {}}}'
        )
    found = recognise(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres")
    assert {path.parts[0].rpartition("__")[2] for path in found.files} == {"3d_cascade_fullres", "3d_lowres"}


def test_recognises_what_lies_there(tmp_path: Path) -> None:
    assert recognise(results(tmp_path)).format is Format.NNUNET
    for name, inside, expected in (
        ("bundle", "configs/metadata.json", Format.BUNDLE),
        ("package", "model.json", Format.PACKAGE),
        ("Dataset901_zip", f"{TRAINER}/plans.json", Format.NNUNET),
    ):
        (tmp_path / name / inside).parent.mkdir(parents=True)
        (tmp_path / name / inside).write_text("{}")
        assert recognise(tmp_path / name).format is expected
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(f"{name}/{inside}", "{}")
        found = recognise(tmp_path / f"{name}.zip")
        assert (found.format, found.zipped) == (expected, True)
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", "")
        archive.writestr("net/code/__torch__.py", "")
    assert recognise(tmp_path / "net.pt").format is Format.TORCHSCRIPT


def test_says_what_to_do_with_what_it_does_not_know(tmp_path: Path) -> None:
    def words(path: Path) -> str:
        with pytest.raises(ImportRefusal) as caught:
            recognise(path)
        return caught.value.sentence

    trainer = results(tmp_path)
    assert "import one of them: Dataset900_tiny" in words(tmp_path)
    assert "There is no" in words(tmp_path / "nothing")
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("weights/data.pkl", "")
    assert "holds weights but not the network" in words(tmp_path / "weights.pth")
    os.mkfifo(tmp_path / "net.onnx")
    assert "neither a folder nor a plain file" in words(tmp_path / "net.onnx")
    (tmp_path / "notes.txt").write_text("notes")
    assert "neither ONNX" in words(tmp_path / "notes.txt")
    (trainer / "plans.json").unlink()
    (trainer / "plans.json").symlink_to("/etc/passwd")
    assert "link that leads out" in words(trainer)


def test_a_former_stage_outside_the_data_set_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    trainer = results(tmp_path / "up")
    (trainer.parent / "nnUNetTrainer__nnUNetPlans__x").mkdir()
    around = f"x/../../../up/{trainer.parent.name}/{TRAINER}"
    for configurations in ({"3d_fullres": {"previous_stage": around}}, {"3d_fullres": 3}, []):
        (trainer / "plans.json").write_text(json.dumps({"configurations": configurations}))
        if isinstance(configurations, dict) and configurations["3d_fullres"] != 3:
            with pytest.raises(ImportRefusal, match="unusable file name"):
                take(recognise(trainer), tmp_path / "deep" / "into")
        else:
            assert len(recognise(trainer).files) == 3
    assert not (tmp_path / "deep").exists()


def test_a_file_name_cannot_pretend_to_be_two_files(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    for name in (f"a\n{sha256(b'2').hexdigest()}  b", "\udcff", "a\\b"):
        (bundle / "configs").mkdir(parents=True)
        (bundle / "configs" / name).write_text("1")
        with pytest.raises(ImportRefusal, match="unusable file name"):
            digest_of(bundle)
        shutil.rmtree(bundle)


def test_takes_no_more_bytes_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(b"network")
    monkeypatch.setattr(allow, "MOST_BYTES", 6)
    with pytest.raises(ImportRefusal, match="larger than"):
        take(recognise(tmp_path / "net.onnx"), tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "a\\..\\out", "C:out"])
def test_does_not_unpack_outside(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    (tmp_path / "into").mkdir()
    with pytest.raises(ImportRefusal, match="no plain file inside"):
        unpack(tmp_path / "a.zip", tmp_path / "into")
    assert not (tmp_path / "out").exists()


def test_does_not_unpack_links_bombs_or_doubles(tmp_path: Path) -> None:
    def refused(path: Path, limit: int = 1 << 20) -> str:
        into = tmp_path / f"into_{path.stem}"
        into.mkdir()
        with pytest.raises(ImportRefusal) as caught:
            unpack(path, into, limit)
        return caught.value.sentence

    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "no plain file" in refused(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2 << 20))
    assert (tmp_path / "bomb.zip").stat().st_size < 1 << 14
    assert "more than it may" in refused(tmp_path / "bomb.zip")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a", "1")
        archive.writestr("b", "2")
    (tmp_path / "two.zip").write_bytes((tmp_path / "two.zip").read_bytes().replace(b"b", b"a"))
    assert "two files of one name" in refused(tmp_path / "two.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:-10])
    assert "damaged" in refused(tmp_path / "cut.zip")


def test_unpacks_to_the_folder_inside(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("bundle/configs/a.json", "{}")
    (tmp_path / "into").mkdir()
    assert unpack(tmp_path / "a.zip", tmp_path / "into") == tmp_path / "into" / "bundle"


def test_takes_not_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allow, "MOST_FILES", 2)
    with pytest.raises(ImportRefusal, match="more than 2 files"):
        recognise(results(tmp_path))
