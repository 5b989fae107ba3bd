"""What the doctor says of models: packages by their digests, and what each protocol's network would run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.doctor_models import look_at_models
from app.finding import Mark
from app.settings import Settings
from operators.segmentation.package.types import Task
from tests.tiny_models import FILE, write_intervals


def found(folder: Path | None, **own: Any) -> dict[str, tuple[Mark, str]]:
    chosen = {name: value for name, value in (("folder", folder), *own.items()) if value is not None}
    findings = list(look_at_models(Settings.model_validate({"models": chosen})))
    assert all(one.remedy for one in findings if one.mark is not Mark.OK)
    return {one.subject: (one.mark, one.detail) for one in findings}


def write_lesions(folder: Path, name: str) -> Path:
    return write_intervals(folder, name, {"lesion": 4.0}, task=Task.LESIONS, tracers=("fdg",)).folder


def test_good_packages_and_the_one_that_fdg_takes(tmp_path: Path) -> None:
    folder = write_lesions(tmp_path, "ours")
    (tmp_path / "later" / "training").mkdir(parents=True)
    (folder / "training").mkdir()
    findings = found(tmp_path)
    assert list(findings) == ["models.folder", "model ours", "protocol fdg"]
    assert {mark for mark, _ in findings.values()} == {Mark.OK}
    assert findings["protocol fdg"][1] == "network with ours@1.0.0"


def test_weights_that_were_changed_fail(tmp_path: Path) -> None:
    path = write_lesions(tmp_path, "ours") / FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    mark, detail = found(tmp_path)["model ours"]
    assert mark is Mark.FAILED
    assert "SHA-256" in detail


def test_a_broken_package_may_be_the_one_that_fdg_needs(tmp_path: Path) -> None:
    write_intervals(tmp_path, "organs", {"liver": 1.0})
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "model.json").write_text("{")
    findings = found(tmp_path)
    assert findings["model organs"][0] is Mark.OK
    assert findings["model ours"][0] is Mark.FAILED
    assert findings["protocol fdg"][0] is Mark.FAILED
    assert "its studies are refused" in findings["protocol fdg"][1]


def test_several_packages_for_a_tracer_fail_until_one_is_named(tmp_path: Path) -> None:
    write_lesions(tmp_path, "one")
    write_lesions(tmp_path, "two")
    assert found(tmp_path)["protocol fdg"][0] is Mark.FAILED
    assert found(tmp_path, lesions="two")["protocol fdg"] == (Mark.OK, "network with two@1.0.0")


def test_none_is_a_warning_unless_it_is_asked_for() -> None:
    findings = found(None)
    assert findings["models.folder"][0] is Mark.OK
    mark, detail = findings["protocol fdg"]
    assert mark is Mark.WARNING
    assert "fixed_suv in place of network" in detail
    assert found(None, lesions="none")["protocol fdg"][0] is Mark.OK


def test_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    assert found(tmp_path / "nowhere") == {
        "models.folder": (Mark.FAILED, f"there is no folder {tmp_path / 'nowhere'}")
    }
