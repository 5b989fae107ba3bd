"""Packages of a folder: a broken one is listed as its error and hides none of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.errors import SegmentationRefusal
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.store import find_package, packages_in
from operators.segmentation.package.types import Package
from operators.segmentation.package.write import write_package
from tests.operators.segmentation.package.build import package


def test_a_broken_package_hides_no_other(tmp_path: Path) -> None:
    for name in ("a", "c"):
        write_package(package(tmp_path / name))
    for name in ("b", ".part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").touch()
    (tmp_path / "README.md").touch()
    first, broken, last = packages_in(tmp_path)
    assert isinstance(first, Package)
    assert isinstance(last, Package)
    assert isinstance(broken, PackageError)
    assert (first.name, broken.package, last.name) == ("a", "b", "c")


def test_a_folder_without_model_json_is_no_package(tmp_path: Path) -> None:
    training = tmp_path / "ours" / "training"
    training.mkdir(parents=True)
    (training / "train.py").touch()
    assert packages_in(tmp_path) == ()
    with pytest.raises(PackageError, match="there is no file model"):
        find_package(tmp_path, "ours")


def test_a_link_to_nowhere_is_a_broken_package(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.json").symlink_to("nowhere.json")
    (broken,) = packages_in(tmp_path)
    assert isinstance(broken, PackageError)
    assert (broken.package, broken.code) == ("a", "MODEL_MISSING")


def test_files_beside_the_package_change_nothing(tmp_path: Path) -> None:
    made = write_package(package(tmp_path / "a"))
    (made.folder / "training").mkdir()
    (made.folder / "training" / "train.py").write_text("raise SystemExit")
    assert find_package(tmp_path, "a") == made
    assert packages_in(tmp_path) == (made,)


def test_an_absent_folder_holds_none(tmp_path: Path) -> None:
    assert packages_in(tmp_path / "nowhere") == ()


def test_a_folder_that_cannot_be_listed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(SegmentationRefusal, match=r"cannot be read \(Permission denied\)") as caught:
        packages_in(tmp_path)
    assert caught.value.code == "MODELS_UNREADABLE"


def test_names_cannot_move_a_terminals_cursor(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J").mkdir()
    (tmp_path / "a\x1b[2J" / "model.json").touch()
    (listed,) = packages_in(tmp_path)
    assert isinstance(listed, PackageError)
    assert listed.sentence.isprintable()


def test_listing_reads_no_weights(tmp_path: Path) -> None:
    made = write_package(package(tmp_path / "a"))
    content = bytearray((made.folder / "fold_0.onnx").read_bytes())
    content[-1] ^= 1
    (made.folder / "fold_0.onnx").write_bytes(content)
    (listed,) = packages_in(tmp_path)
    assert isinstance(listed, Package)
    with pytest.raises(PackageError, match="SHA-256"):
        find_package(tmp_path, "a")


def test_finds_by_name_and_says_what_there_is(tmp_path: Path) -> None:
    write_package(package(tmp_path / "a"))
    assert find_package(tmp_path, "a").name == "a"
    with pytest.raises(PackageError, match="packages there: a") as caught:
        find_package(tmp_path, "b")
    assert (caught.value.code, caught.value.package) == ("MODEL_MISSING", "b")


@pytest.mark.parametrize("name", ["../a", "a/..", ".", "..", "", "a" * 300, "a\0b"])
def test_a_path_is_no_name(tmp_path: Path, name: str) -> None:
    write_package(package(tmp_path / "a"))
    with pytest.raises(PackageError):
        find_package(tmp_path, name)


def test_a_package_lies_in_the_folder_of_its_name(tmp_path: Path) -> None:
    write_package(package(tmp_path / "a")).folder.rename(tmp_path / "b")
    (listed,) = packages_in(tmp_path)
    assert isinstance(listed, PackageError)
    assert listed.code == "MODEL_INCONSISTENT"
    with pytest.raises(PackageError, match="folder b"):
        find_package(tmp_path, "b")
