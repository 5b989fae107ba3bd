"""OHIF's page: what a radiologist does there and sees."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.servers import wait_until
from tests.viewer.browser import Browser

THUMBNAIL = "[data-cy^=study-browser-thumbnail]"
_VIEWPORT = "cornerstone.getEnabledElements().find((one) => one.viewport.getCurrentImageId?.())?.viewport"

_ROWS = f"() => [...document.querySelectorAll('{THUMBNAIL}')].map((one) => one.innerText.split('\\n'))"
_OPEN = f"""(text) => {{
  const found = [...document.querySelectorAll('{THUMBNAIL}')].filter((one) => one.innerText.includes(text));
  found[0]?.scrollIntoView({{ block: 'center' }});
  found[0]?.dispatchEvent(new MouseEvent('dblclick', {{ bubbles: true }}));
  return found.length;
}}"""
_PRESS = """(text) => {
  const found = [...document.querySelectorAll('button')].find((one) => one.innerText.trim() === text);
  found?.click();
  return !!found;
}"""
_MIDDLE = """(selector) => {
  const place = document.querySelector(selector)?.getBoundingClientRect();
  return place && [place.x + place.width / 2, place.y + place.height / 2];
}"""
_CAMERA = f"""() => {{
  const viewport = {_VIEWPORT};
  const place = viewport.element.getBoundingClientRect();
  const corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const points = corners.map((one) => viewport.worldToCanvas(one));
  return {{ place: [place.x, place.y, place.width, place.height], points }};
}}"""
_GRID = f"""() => {{
  const viewport = {_VIEWPORT};
  const place = viewport.element.getBoundingClientRect();
  const {{ origin, spacing, direction }} = viewport.getImageData();
  const at = (column, row) => viewport.worldToCanvas(
    origin.map((start, axis) =>
      start + column * spacing[0] * direction[axis] + row * spacing[1] * direction[3 + axis]));
  return [at(0, 0), at(1, 0), at(0, 1)].map(([x, y]) => [x + place.x, y + place.y]);
}}"""
_PDF = """async () => {
  const shown = document.querySelector('object[type="application/pdf"], embed, iframe');
  if (!shown) return null;
  const content = await (await fetch(shown.data ?? shown.src)).arrayBuffer();
  return { bytes: [...new Uint8Array(content)], height: shown.getBoundingClientRect().height };
}"""
_LINES = """() => [...document.querySelectorAll('.svg-layer polyline, .svg-layer path')].map(
  (one) => one.getAttribute('points') ?? one.getAttribute('d'))"""


@dataclass(frozen=True, slots=True)
class Camera:
    """How the viewport shows the world: LPS in mm to pixels of the page."""

    place: tuple[float, float, float, float]
    """Left, top, width and height of the viewport on the page."""
    matrix: NDArray[np.float64]
    """(2, 4): of x, y, z and 1."""

    def to_page(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels (x, y) of the page where LPS positions (..., 3) are drawn."""
        return positions @ self.matrix[:, :3].T + self.matrix[:, 3] + self.place[:2]


class Ohif:
    """A study in OHIF.

    Parameters
    ----------
    browser : Browser
        The page.
    site : str
        Where the viewer is served.
    pictures : Path
        Where screenshots are kept.
    """

    def __init__(self, browser: Browser, site: str, pictures: Path) -> None:
        self.browser, self._site, self._pictures = browser, site, pictures

    def show(self, study_instance_uid: str, series: int) -> None:
        """Open a study anew and wait for its images and its list of so many series."""
        self.browser.open("about:blank")
        self.browser.errors()
        self.browser.open(f"{self._site}/viewer?StudyInstanceUIDs={study_instance_uid}")
        wait_until(lambda: len(self.series()) >= series, 60, f"{series} series in the list", 0.3)
        self.browser.wait(f"() => !!{_VIEWPORT}?.getImageData()")
        # what is opened while the first images still come is drawn with their camera
        self.browser.wait("() => document.readyState === 'complete'")
        time.sleep(2)

    def series(self) -> list[list[str]]:
        """The lines that the list of series says of each."""
        found: list[list[str]] = self.browser.call(_ROWS)
        return found

    def double_click(self, text: str) -> None:
        """Open the first series whose entry in the list has a text."""
        assert self.browser.call(_OPEN, text), f"no series {text!r} among {self.series()}"

    def press(self, text: str) -> None:
        """Press a button by its words, as soon as it is there."""
        self.browser.wait(_PRESS, text)

    def click(self, selector: str) -> None:
        """Click with the mouse into the middle of an element."""
        self.browser.click(*self.browser.wait(_MIDDLE, selector))

    def next_measurement(self) -> None:
        self.click("[data-cy=viewport-action-arrows-right]")

    def go_to_image(self, sop_instance_uid: str) -> None:
        """Scroll the viewport to an instance and wait until it is drawn."""
        self.browser.call(
            f"""(uid) => {{
              const viewport = {_VIEWPORT};
              viewport.setImageIdIndex(viewport.getImageIds().findIndex((one) => one.includes(`/${{uid}}/`)));
            }}""",
            sop_instance_uid,
        )
        self.wait_for_image(sop_instance_uid)

    def wait_for_image(self, sop_instance_uid: str) -> None:
        wait_until(lambda: self.shown_instance() == sop_instance_uid, 30, sop_instance_uid, 0.3)

    def wait_for_texts(self, *texts: str) -> None:
        """Wait until all of these are written on the page."""
        wait_until(lambda: all(text in self.text() for text in texts), 30, str(texts), 0.3)

    def shown_instance(self) -> str:
        """SOP Instance UID of the image that the viewport shows."""
        image = self.browser.wait(f"() => {_VIEWPORT}?.getCurrentImageId()")
        return re.search(r"/instances/([\d.]+)", image)[1]  # type: ignore[index]

    def camera(self) -> Camera:
        answer: dict[str, Any] = self.browser.call(_CAMERA)
        origin, *axes = np.array(answer["points"], float)
        matrix = np.column_stack([*(axis - origin for axis in axes), origin])
        return Camera(tuple(answer["place"]), matrix)

    def sampled(self, pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> tuple[Any, Any]:
        """What of an image is to be seen on the page.

        Parameters
        ----------
        pixels : array (rows, columns, ...)
            The image that the viewport shows.
        shape : tuple of int
            Of the page's picture.

        Returns
        -------
        tuple
            Where on the page the image lies (rows, columns), and its pixels there.
        """
        origin, column, row = np.array(self.browser.call(_GRID), float)
        inverse = np.linalg.inv(np.column_stack([column - origin, row - origin]))
        y, x = np.mgrid[: shape[0], : shape[1]]
        columns, rows = np.moveaxis(np.rint((np.stack([x + 0.5, y + 0.5], -1) - origin) @ inverse.T), -1, 0)
        inside = (rows >= 0) & (rows < pixels.shape[0]) & (columns >= 0) & (columns < pixels.shape[1])
        return inside, pixels[rows[inside].astype(int), columns[inside].astype(int)]

    def pdf(self) -> tuple[bytes, float] | None:
        """Content of the PDF that the page shows and how many pixels high it is shown."""
        found = self.browser.call(_PDF)
        return found and (bytes(found["bytes"]), found["height"])

    def text(self) -> str:
        """Everything that is written on the page."""
        found: str = self.browser.call("() => document.body.innerText")
        return found

    def annotation_lines(self) -> list[NDArray[np.float64]]:
        """Polygons that are drawn over the image, in pixels of the page."""
        left_top = self.camera().place[:2]
        numbers = (re.findall(r"-?\d+\.?\d*", line) for line in self.browser.call(_LINES))
        return [np.array(one, float).reshape(-1, 2) + left_top for one in numbers if len(one) >= 6]

    def picture(self, name: str) -> NDArray[np.uint8]:
        """Keep a screenshot; its pixels (rows, columns, 3)."""
        path = self._pictures / f"{name}.png"
        self.browser.screenshot(path)
        return np.asarray(Image.open(path).convert("RGB"))
