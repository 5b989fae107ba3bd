"""What a radiologist sees in OHIF: a real viewer in a real browser before a real PACS."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from app.demo.phantom import PhantomSpec, write_phantom
from app.run import ExitCode, run
from app.settings import Settings
from tests.servers import Orthanc, wait_until
from tests.viewer.browser import Browser
from tests.viewer.ohif import Camera, Ohif
from tests.viewer.site import viewer_site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PICTURES = Path(__file__).resolve().parents[2] / "build" / "viewer"
"""Screenshots; git ignores the folder."""
RESULTS = ["seg", "sr", "regions", "key_images", "rtstruct", "pdf", "parametric_map"]
JOB = {
    "schema_version": "1",
    "destinations": [
        {"name": "all", "results": RESULTS},
        {"name": "tools", "results": ["sr"], "sr_region": "tool"},
    ],
}
COLOURED = 40
"""Levels between a pixel's strongest and weakest channel: the PET itself is grey."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The demo's study with its results, in a PACS and before a viewer."""

    ohif: Ohif
    study_instance_uid: str
    results: Path
    series: int

    def open(self) -> Ohif:
        """The study as at first sight."""
        self.ohif.show(self.study_instance_uid, self.series)
        return self.ohif

    def lesions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.results / "results.json").read_text())["lesions"]
        return found

    def read(self, name: str) -> pydicom.Dataset:
        return pydicom.dcmread(self.results / name)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("ohif")
    write_phantom(folder / "study", PhantomSpec())
    (folder / "study" / "job.json").write_text(json.dumps(JOB))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HOLOSCAN_MODEL_PATH", raising=False)  # the model that ships
        code, _ = run(folder / "study", folder / "results", Settings(device="cpu"))
    assert code == ExitCode.COMPLETED
    files = sorted((folder / "study").glob("*.dcm")) + sorted((folder / "results").glob("*.dcm"))
    with (
        Orthanc(folder / "orthanc") as pacs,
        viewer_site(pacs) as site,
        Browser(folder / "browser") as browser,
    ):
        for file in files:
            store(pacs, file.read_bytes())
        headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
        series = len({header.SeriesInstanceUID for header in headers})
        ohif = Ohif(browser, site, PICTURES)
        yield Shown(ohif, headers[0].StudyInstanceUID, folder / "results", series)


def store(pacs: Orthanc, instance: bytes) -> None:
    request = urllib.request.Request(f"{pacs.http_url}/instances", instance, method="POST")
    word = b64encode(f"{pacs.user}:{pacs.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {word}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert json.loads(answer.read())["Status"] == "Success"


# ---- segmentation ------------------------------------------------------------------------------


def test_the_segmentations_overlay_lies_on_the_lesions_that_the_panel_names(shown: Shown) -> None:
    seg = shown.read("seg.dcm")
    ohif = opened_in_panel(shown, seg, [segment.SegmentLabel for segment in seg.SegmentSequence])
    assert len(seg.SegmentSequence) == len(shown.lesions()) > 1
    for segment in seg.SegmentSequence:
        plane = widest_plane(seg, segment.SegmentNumber)
        name = segment.SegmentLabel
        assert (dice := overlap(ohif, plane, f"seg-{name}")) >= 0.9, f"{name}: {dice:.2f}"
    assert not ohif.browser.errors()


def test_what_is_no_lesion_lies_where_the_regions_have_it(shown: Shown) -> None:
    seg = shown.read("regions.dcm")
    ohif = opened_in_panel(shown, seg, [segment.SegmentLabel for segment in seg.SegmentSequence])
    for segment in seg.SegmentSequence:
        plane = widest_plane(seg, segment.SegmentNumber)
        together = replace(plane, mask=plane.mask | plane.others, others=np.zeros_like(plane.mask))
        name = segment.SegmentLabel
        assert (dice := overlap(ohif, together, f"regions-{name}")) >= 0.9, f"{name}: {dice:.2f}"


def opened_in_panel(shown: Shown, dataset: pydicom.Dataset, names: list[str]) -> Ohif:
    """OHIF with a segmentation or structure set opened, once its panel lists these names."""
    ohif = shown.open()
    ohif.double_click(dataset.SeriesDescription)
    ohif.press("Yes")
    ohif.click("[data-cy=panelSegmentation-btn]")
    wait_until(lambda: set(names) <= set(ohif.text().splitlines()), 30, f"{names} in the panel", 0.3)
    return ohif


def overlap(ohif: Ohif, plane: Plane, name: str) -> float:
    """Dice of what is coloured on the page around a plane's mask and where the mask must be seen."""
    ohif.go_to_image(plane.sop_instance_uid)
    coloured = settled(lambda: over_grey(ohif.picture(re.sub(r"\W+", "-", name.lower()))), "the overlay")
    camera = ohif.camera()
    seen = coloured & plane.around(camera, coloured.shape)
    expected = plane.on_page(camera, coloured.shape)
    return float(2 * (seen & expected).sum() / (seen.sum() + expected.sum()))


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame of a SEG, as pydicom alone reads it."""

    sop_instance_uid: str
    mask: NDArray[np.bool_]
    others: NDArray[np.bool_]
    """Voxels of the other segments in the same plane."""
    matrix: NDArray[np.float64]
    """(3, 3): of column, row and 1 to LPS."""

    def on_page(self, camera: Camera, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The pixels of the page where the mask is to be seen."""
        return self._sampled(self.mask, camera, shape)

    def around(self, camera: Camera, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """The pixels within three voxels of the mask that are no other segment's."""
        from scipy import ndimage

        near = ndimage.binary_dilation(self.mask, iterations=3) & ~self.others
        return self._sampled(near, camera, shape)

    def _sampled(self, mask: NDArray[np.bool_], camera: Camera, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        # page = A (column, row) + b, from the corners of the voxel grid; its inverse for every pixel
        corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]], float) @ self.matrix.T
        origin, column, row = camera.to_page(corners)
        inverse = np.linalg.inv(np.column_stack([column - origin, row - origin]))
        y, x = np.mgrid[: shape[0], : shape[1]]
        pixels = np.stack([x + 0.5, y + 0.5], -1) - origin
        columns, rows = np.moveaxis(np.rint(pixels @ inverse.T).astype(int), -1, 0)
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        found = np.zeros(shape[:2], bool)
        found[inside] = mask[rows[inside], columns[inside]]
        return found


def widest_plane(seg: pydicom.Dataset, number: int) -> Plane:
    """The frame in which a segment has the most voxels."""
    frames = list(zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array.astype(bool), strict=True))

    def of(group: pydicom.Dataset) -> int:
        return int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)

    def place(group: pydicom.Dataset) -> tuple[float, ...]:
        return tuple(group.PlanePositionSequence[0].ImagePositionPatient)

    group, mask = max((frame for frame in frames if of(frame[0]) == number), key=lambda frame: frame[1].sum())
    others = np.zeros_like(mask)
    for other, voxels in frames:
        if of(other) != number and place(other) == place(group):
            others |= voxels
    shared = seg.SharedFunctionalGroupsSequence[0]
    right, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = shared.PixelMeasuresSequence[0].PixelSpacing
    matrix = np.column_stack([right * column_mm, down * row_mm, np.array(place(group), float)])
    source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    return Plane(source, mask, others, matrix)


def over_grey(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(picture.astype(int), axis=-1) >= COLOURED)


def settled(look: Callable[[], NDArray[np.bool_]], what: str) -> NDArray[np.bool_]:
    """What is seen, once it is seen twice alike."""
    before = look()
    for _ in range(40):
        time.sleep(0.4)
        now = look()
        if (now == before).all():
            return now
        before = now
    raise AssertionError(f"{what} does not come to rest")


# ---- structured report -------------------------------------------------------------------------


def test_the_report_shows_each_lesions_contour_volume_and_uptake(shown: Shown) -> None:
    ohif = shown.open()
    report = shown.read("sr-image.dcm")
    ohif.double_click(report.SeriesDescription)
    for lesion, group in zip(shown.lesions(), groups_of(report), strict=True):
        region = next(item for item in group.ContentSequence if item.ValueType == "SCOORD")
        instance = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        ohif.wait_for_image(instance)
        wanted = (
            f"SUVbw: {lesion['suv_max_g_ml']:.2f} g/ml{{SUVbw}}",
            f"SUVbw local intensity peak: {lesion['suv_peak_local_g_ml']:.2f} g/ml{{SUVbw}}",
            f"Metabolic Volume: {lesion['volume_ml']:.2f} cm3",
        )
        ohif.wait_for_texts(*wanted)
        contour = np.array(region.GraphicData, float).reshape(-1, 2)
        assert drawn_within(ohif, in_space(shown, contour, instance), 1.5)
        ohif.picture(f"sr-{lesion['number']}")
        ohif.next_measurement()
    assert not [error for error in ohif.browser.errors() if "TypeError" in error]


def test_a_report_for_the_viewers_tools_becomes_measurements_of_its_panel(shown: Shown) -> None:
    report = shown.read("sr-tool.dcm")
    ohif = shown.open()
    ohif.double_click(report.SeriesDescription)
    ohif.press("Yes")
    ohif.click("[data-cy=trackedMeasurements-btn]")
    names = {lesion["tracking_identifier"] for lesion in shown.lesions()}
    wait_until(lambda: names <= set(ohif.text().splitlines()), 30, f"{names} in the panel", 0.3)
    ohif.picture("sr-tool")


def groups_of(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The measurement groups of lesions (TID 1411)."""
    (measurements,) = (
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return [item for item in measurements.ContentSequence if item.ValueType == "CONTAINER"]


def in_space(shown: Shown, contour: NDArray[np.float64], instance: str) -> NDArray[np.float64]:
    """LPS positions of an SCOORD's points on an instance."""
    header = next(
        one
        for path in (shown.results.parent / "study").glob("*.dcm")
        if (one := pydicom.dcmread(path, stop_before_pixels=True)).SOPInstanceUID == instance
    )
    right, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = header.PixelSpacing
    # an SCOORD's (0, 0) is the corner of the first pixel, whose middle is Image Position (PS3.3 C.18.6)
    middles = contour - 0.5
    corner = np.array(header.ImagePositionPatient, float)
    return np.asarray(corner + middles[:, :1] * right * column_mm + middles[:, 1:] * down * row_mm)


def drawn_within(ohif: Ohif, positions: NDArray[np.float64], pixels: float) -> bool:
    """Whether a line through LPS positions is drawn, soon."""
    wait_until(lambda: nearest_line(ohif, positions) <= pixels, 30, "the contour", 0.3)
    return True


def nearest_line(ohif: Ohif, positions: NDArray[np.float64]) -> float:
    """Pixels from the farthest of LPS positions to the points of the nearest line that is drawn."""
    expected = ohif.camera().to_page(positions)
    apart = [
        np.linalg.norm(expected[:, None] - line[None], axis=-1).min(axis=1).max()
        for line in ohif.annotation_lines()
    ]
    return float(min(apart, default=np.inf))


# ---- structure set, pictures, paper ------------------------------------------------------------


def test_the_structure_sets_contours_are_drawn_where_they_are(shown: Shown) -> None:
    structures = shown.read("rtstruct.dcm")
    names = [roi.ROIName for roi in structures.StructureSetROISequence]
    ohif = opened_in_panel(shown, structures, names)
    for name, roi in zip(names, structures.ROIContourSequence, strict=True):
        contour = max(roi.ContourSequence, key=lambda one: len(one.ContourData))
        ohif.go_to_image(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
        assert drawn_within(ohif, np.array(contour.ContourData, float).reshape(-1, 3), 1.5), name
        ohif.picture(f"rtstruct-{name.lower().replace(' ', '-')}")


@pytest.mark.parametrize("stem", ["key-images-mip", "key-images-lesions", "key-images-summary"])
def test_the_key_images_open_as_they_were_written(shown: Shown, stem: str) -> None:
    image = shown.read(f"{stem}.dcm")
    ohif = shown.open()
    ohif.double_click(image.SeriesDescription)
    ohif.wait_for_image(image.SOPInstanceUID)
    wait_until(lambda: as_written(ohif, image.pixel_array[0], stem), 30, f"{stem} as written", 0.5)


def as_written(ohif: Ohif, pixels: NDArray[np.uint8], name: str) -> bool:
    """Whether the page shows an image: nine in ten of its pixels alike, the viewer's own words apart."""
    picture = ohif.picture(name)
    where, expected = ohif.sampled(pixels, picture.shape)
    alike = np.abs(picture[where].astype(int) - expected).max(axis=-1) <= 64
    return bool(where.sum() > 0.1 * where.size and alike.mean() >= 0.9)


def test_the_printed_report_opens(shown: Shown) -> None:
    report = shown.read("report.dcm")
    ohif = shown.open()
    ohif.double_click(report.SeriesDescription)
    wait_until(lambda: ohif.pdf() is not None, 30, "the PDF", 0.3)
    content, height = ohif.pdf()  # type: ignore[misc]
    assert content.rstrip(b"\0") == report.EncapsulatedDocument.rstrip(b"\0")
    assert height > 400
    # paper is white, and the viewer around it dark
    wait_until(lambda: (ohif.picture("report") > 240).all(axis=-1).mean() > 0.1, 30, "a page", 0.5)
