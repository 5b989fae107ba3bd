"""What a radiologist sees in OHIF: a real viewer in a real browser before a real PACS."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    settings = Settings(device="cpu")
    code, _ = run(folder / "study", folder / "results", settings)
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
    ohif = shown.open()
    seg = shown.read("seg.dcm")
    ohif.double_click(seg.SeriesDescription)
    ohif.press("Yes")
    ohif.click("[data-cy=panelSegmentation-btn]")
    names = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert len(names) == len(shown.lesions()) > 1
    wait_until(
        lambda: set(names) <= set(ohif.text().splitlines()), 30, "the lesions' names in the panel", 0.3
    )
    for number, name in enumerate(names, 1):
        plane = widest_plane(seg, number)
        ohif.go_to_image(plane.sop_instance_uid)
        coloured = settled(lambda: over_grey(ohif.picture("seg")), "the overlay")
        camera = ohif.camera()
        there = plane.around(camera, coloured.shape)
        expected = plane.on_page(camera, coloured.shape)
        ohif.picture(f"seg-{name.lower().replace(' ', '-')}")
        dice = 2 * (coloured & expected & there).sum() / ((coloured & there).sum() + expected.sum())
        assert dice >= 0.9, f"{name}: {dice:.2f}"


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
    return np.ptp(picture.astype(int), axis=-1) >= COLOURED


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
    report = shown.read("sr.dcm")
    ohif.double_click(report.SeriesDescription)
    for lesion, group in zip(shown.lesions(), groups_of(report), strict=True):
        region = next(item for item in group.ContentSequence if item.ValueType == "SCOORD")
        instance = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        wait_until(lambda uid=instance: ohif.shown_instance() == uid, 30, "the lesion's slice", 0.3)
        wanted = (
            f"SUVbw: {lesion['suv_max_g_ml']:.2f} g/ml{{SUVbw}}",
            f"SUVbw local intensity peak: {lesion['suv_peak_local_g_ml']:.2f} g/ml{{SUVbw}}",
            f"Metabolic Volume: {lesion['volume_ml']:.2f} cm3",
        )
        wait_until(lambda texts=wanted: all(one in ohif.text() for one in texts), 30, str(wanted), 0.3)
        contour = np.array(region.GraphicData, float).reshape(-1, 2)
        assert drawn(ohif, shown, contour, instance) <= 1.5
        ohif.picture(f"sr-{lesion['number']}")
        ohif.next_measurement()
    assert not [error for error in ohif.browser.errors() if "TypeError" in error]


def groups_of(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    """The measurement groups of lesions (TID 1411)."""
    (measurements,) = (
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return [item for item in measurements.ContentSequence if item.ValueType == "CONTAINER"]


def drawn(ohif: Ohif, shown: Shown, contour: NDArray[np.float64], instance: str) -> float:
    """Pixels between the contour of the report and the nearest that is drawn, at its worst point."""
    header = next(
        one
        for path in (shown.results.parent / "study").glob("*.dcm")
        if (one := pydicom.dcmread(path, stop_before_pixels=True)).SOPInstanceUID == instance
    )
    right, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = header.PixelSpacing
    # an SCOORD's (0, 0) is the corner of the first pixel, whose middle is Image Position (PS3.3 C.18.6)
    middles = contour - 0.5
    positions = (
        np.array(header.ImagePositionPatient, float)
        + middles[:, :1] * right * column_mm
        + middles[:, 1:] * down * row_mm
    )
    expected = ohif.camera().to_page(positions)
    lines = [line for line in ohif.annotation_lines() if len(line) >= len(expected)]
    apart = [np.abs(line[: len(expected)] - expected).max() for line in lines]
    return float(min(apart, default=np.inf))
