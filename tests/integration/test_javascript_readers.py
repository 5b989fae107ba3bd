"""What browsers' libraries read: dcmjs and Cornerstone3D's adapters, in Node, say what pydicom says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from app.demo.phantom import PhantomLesion, PhantomSpec, write_phantom
from app.run import ExitCode, run
from app.settings import Settings
from tests.viewer.programs import FOLDER, node

pytestmark = pytest.mark.slow

TIME_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Study:
    pet: tuple[Path, ...]
    results: Path

    def read(self, name: str) -> Any:
        """What the JavaScript libraries find in a result."""
        command = [node(), str(FOLDER / "readers.js"), str(self.results / name), *map(str, self.pet)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    def results_json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.results / "results.json").read_text())
        return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A small phantom with two lesions through the whole MAP."""
    folder = tmp_path_factory.mktemp("javascript")
    spec = PhantomSpec(
        shape=(16, 32, 32),
        spacing_mm=(6.0, 6.0, 6.0),
        lesions=(
            PhantomLesion((-20.0, 0.0, 0.0), 12.0, 10.0),
            PhantomLesion((25.0, 10.0, 12.0), 14.0, 12.0),
        ),
        organs=False,
        ct_shape=(16, 32, 32),
        ct_spacing_mm=(6.0, 6.0, 6.0),
    )
    write_phantom(folder / "study", spec)
    destinations = [
        {"name": "viewer", "results": ["seg", "sr", "rtstruct"]},
        {"name": "tools", "results": ["sr"], "sr_region": "tool"},
    ]
    job = {"schema_version": "1", "destinations": destinations}
    (folder / "study" / "job.json").write_text(json.dumps(job))
    code, _ = run(folder / "study", folder / "results", Settings(device="cpu"))
    assert code == ExitCode.COMPLETED
    pet = (path for path in sorted((folder / "study").glob("*.dcm")) if _modality(path) == "PT")
    return Study(tuple(pet), folder / "results")


def _modality(path: Path) -> str:
    return str(pydicom.dcmread(path, specific_tags=["Modality"]).Modality)


def test_the_segmentations_voxels_are_read_where_they_are(study: Study) -> None:
    found = study.read("seg.dcm")
    seg = pydicom.dcmread(study.results / "seg.dcm")
    lesions = study.results_json()["lesions"]
    assert found["frames"] == seg.NumberOfFrames
    assert len(found["segments"]) == len(lesions) >= 2
    for segment, ours, lesion in zip(found["segments"], seg.SegmentSequence, lesions, strict=True):
        assert segment["number"] == ours.SegmentNumber == lesion["number"]
        assert segment["label"] == ours.SegmentLabel
        assert segment["tracking_uid"] == lesion["tracking_uid"]
        assert segment["type"] == ours.SegmentedPropertyTypeCodeSequence[0].CodeMeaning
    assert found["labels"] == [segment.SegmentLabel for segment in seg.SegmentSequence]
    expected = {
        (number, instance, int(at))
        for number, instance, mask in _frames(seg)
        for at in mask.ravel().nonzero()[0]
    }
    assert {tuple(voxel) for voxel in found["voxels"]} == expected
    assert len(expected) == sum(lesion["voxels"] for lesion in lesions)


def _frames(seg: pydicom.Dataset) -> list[tuple[int, str, Any]]:
    """Number of the segment, the PET instance and the mask of each frame."""
    return [
        (
            group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
            mask,
        )
        for group, mask in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
    ]


def test_the_reports_groups_and_numbers_are_read(study: Study) -> None:
    found = study.read("sr-image.dcm")
    lesions = study.results_json()["lesions"]
    assert len(found["groups"]) == len(lesions)
    for group, lesion in zip(found["groups"], lesions, strict=True):
        assert group["identifier"] == lesion["tracking_identifier"]
        assert group["tracking_uid"] == lesion["tracking_uid"]
        numbers = {
            (one["code"], *sorted(filter(None, one["derivation"]))): one["value"] for one in group["numbers"]
        }
        volume = next(value for key, value in numbers.items() if key[0] == "126032")
        highest = next(value for key, value in numbers.items() if key[0] == "126401" and "56851009" in key)
        assert volume == pytest.approx(lesion["volume_ml"])
        assert highest == pytest.approx(lesion["suv_max_g_ml"])
    report = pydicom.dcmread(study.results / "sr-image.dcm")
    points = [[len(region.GraphicData) // 2 for region in regions] for regions in _regions(report)]
    assert [group["contours"] for group in found["groups"]] == points
    assert all(points)


def _regions(report: pydicom.Dataset) -> list[list[pydicom.Dataset]]:
    measurements = next(
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return [
        [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        for group in measurements.ContentSequence
        if group.ValueType == "CONTAINER"
    ]


def test_groups_become_tools_of_the_viewer_only_in_the_form_for_it(study: Study) -> None:
    """Cornerstone3D's adapter goes through every group without an error."""
    assert study.read("sr-image.dcm")["tools"] == []
    assert study.read("sr-tool.dcm")["tools"] == ["PlanarFreehandROI"]


def test_the_structure_sets_contours_are_read(study: Study) -> None:
    """By dcmjs: Cornerstone3D's adapters only write structure sets."""
    found = study.read("rtstruct.dcm")
    ours = pydicom.dcmread(study.results / "rtstruct.dcm")
    assert found["names"] == [roi.ROIName for roi in ours.StructureSetROISequence]
    assert len(found["names"]) == len(study.results_json()["lesions"])
    instances = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in study.pet}
    for contours, roi in zip(found["contours"], ours.ROIContourSequence, strict=True):
        assert len(contours) == len(roi.ContourSequence) > 0
        for contour in contours:
            assert contour["kind"] == "CLOSED_PLANAR"
            assert contour["numbers"] == 3 * contour["points"] >= 9
            assert contour["instance"] in instances
