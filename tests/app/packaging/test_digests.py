"""What was packaged, and whether it is still so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

import app.packaging.digests as module
from app.packaging.digests import (
    Digests,
    digests_beneath,
    installed_digests,
    read_digests,
    record_digest,
    verify,
)
from app.packaging.errors import TamperedError
from app.packaging.layout import VARIABLES, Home, home


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An image with one model, one manifest and two distributions."""
    place = Home(*(tmp_path / name for name in ("app", "models", "docs", "etc")))
    for path, text in (
        (place.models / "lesions" / "model.json", "{}"),
        (place.models / "lesions" / "weights" / "a.onnx", "weights"),
        (place.application / "__main__.py", "run"),
        (place.manifests / "app.json", "{}"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    site = tmp_path / "site"
    for name in ("theramap", "other"):
        (site / name).mkdir(parents=True)
        (site / name / "code.py").write_text(f"'{name}'", "utf-8")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        digest = record_digest(site / name / "code.py")
        (info / "RECORD").write_text(f"{name}/code.py,{digest},\n{info.name}/RECORD,,\n", "utf-8")

    def distributions() -> list[Distribution]:
        return [PathDistribution(path) for path in sorted(site.glob("*.dist-info"))]

    monkeypatch.setattr(module, "distributions", distributions)
    digests = Digests(
        theramap="1.0.0",
        variant="cpu",
        models=digests_beneath(place.models),
        manifests=digests_beneath(place.manifests),
        application=digests_beneath(place.application),
        installed=installed_digests(),
    )
    place.digests.write_text(digests.as_json(), "utf-8")
    return place


def test_an_image_as_it_was_packaged_passes(place: Home) -> None:
    assert verify(place) == 8
    assert verify(place, everything=True) == 10
    assert read_digests(place.digests).installed.keys() == {"other==1.0", "theramap==1.0"}


def append(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("x")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda at: append(at / "models/lesions/weights/a.onnx"),
            "model file lesions/weights/a.onnx has changed",
        ),
        (lambda at: (at / "models/lesions/model.json").unlink(), "model file lesions/model.json is missing"),
        (lambda at: append(at / "models/lesions/new.py"), "model file lesions/new.py was not packaged"),
        (lambda at: append(at / "etc/app.json"), "manifest file app.json has changed"),
        (lambda at: append(at / "app/__main__.py"), "entry file __main__.py has changed"),
        (lambda at: append(at / "site/theramap/code.py"), "theramap==1.0: theramap/code.py has changed"),
        (
            lambda at: append(at / "site/other-1.0.dist-info/RECORD"),
            "the list of files of other==1.0 has changed",
        ),
        (lambda at: (at / "etc/digests.json").unlink(), "nothing tells what was packaged"),
        (lambda at: (at / "etc/digests.json").write_text("[]"), "cannot be read"),
        (lambda at: (at / "etc/digests.json").write_text('{"schema_version": "9"}'), "of another version"),
    ],
)
def test_a_change_is_found_and_named(place: Home, damage: Callable[[Path], None], line: str) -> None:
    damage(place.models.parent)
    with pytest.raises(TamperedError) as found:
        verify(place)
    assert line in str(found.value)
    assert "\n" not in str(found.value)


def test_a_changed_file_of_another_distribution_is_found_when_all_are_read(place: Home) -> None:
    append(place.models.parent / "site" / "other" / "code.py")
    assert verify(place) == 8
    with pytest.raises(TamperedError, match=r"other==1\.0: other/code\.py has changed"):
        verify(place, everything=True)


def test_several_faults_are_counted(place: Home) -> None:
    for path in place.models.rglob("*.*"):
        append(path)
    with pytest.raises(TamperedError, match=r"and 1 more$"):
        verify(place)


def test_a_sites_own_model_beside_the_packaged_ones_is_no_fault(place: Home) -> None:
    (place.models / "own").mkdir()
    append(place.models / "own" / "model.json")
    assert verify(place) == 8


def test_a_distribution_that_came_or_went_is_a_fault(place: Home) -> None:
    known = read_digests(place.digests)
    for installed, line in (
        ({**known.installed, "gone==2.0": "0"}, r"distribution gone==2\.0 is missing"),
        ({"theramap==1.0": known.installed["theramap==1.0"]}, r"distribution other==1\.0 was not packaged"),
    ):
        place.digests.write_text(replace(known, installed=installed).as_json(), "utf-8")
        with pytest.raises(TamperedError, match=line):
            verify(place)


def test_the_images_models_are_read_whatever_folder_a_site_names() -> None:
    assert str(home({"HOLOSCAN_MODEL_PATH": "/mine"}).models) == "/opt/holoscan/models"
    assert str(home({}).digests) == "/etc/holoscan/digests.json"
    assert VARIABLES["HOLOSCAN_MODEL_PATH"] == "/opt/holoscan/models/"


def test_digests_are_sorted_json(place: Home) -> None:
    text = place.digests.read_text("utf-8")
    assert list(json.loads(text)) == sorted(json.loads(text))
