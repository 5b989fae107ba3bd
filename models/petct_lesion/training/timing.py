"""How long the package takes for a whole body of a usual size, on this machine."""

from __future__ import annotations

import platform
from pathlib import Path
from time import perf_counter

import numpy as np
from scipy import ndimage

from models.petct_lesion.training.design import SPACING_MM
from models.petct_lesion.training.measure import image_of_body, simulated_grid
from models.petct_lesion.training.recipe import UNSEEN
from models.petct_lesion.training.report.goals import WHOLE_BODY_SHAPE
from models.petct_lesion.training.report.record import Timing
from models.petct_lesion.training.simulator.body import simulate_body
from operators.segmentation.engines.host import usable_cores
from operators.segmentation.network.predict import predict
from operators.segmentation.network.types import Image
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package

SCANNED_MM = (3.27, 4.07, 4.07)
AIR = (0.0, -1000.0)
"""SUV and HU round a body."""


def time_whole_body(package: Package) -> Timing:
    """Time a simulated whole body from the image in memory to the label map, the model's loading included."""
    image = as_scanned(image_of_body(simulate_body(UNSEEN, "fdg")))
    began = perf_counter()
    run = predict(package, image, Options(device="cpu")).run
    seconds = perf_counter() - began
    machine = f"{usable_cores()} cores of {_processor()}, {run.engine}, {run.precision}"
    return Timing(machine, False, WHOLE_BODY_SHAPE, seconds)


def as_scanned(image: Image) -> Image:
    """A body on a scanner's grid: air round it, the size and the voxels of a whole-body PET."""
    steps = np.array(SCANNED_MM) / SPACING_MM
    offset = (np.array(image.array.shape[1:]) - 1) / 2 - steps * (np.array(WHOLE_BODY_SHAPE) - 1) / 2
    array = np.stack(
        [
            ndimage.affine_transform(channel, steps, offset, WHOLE_BODY_SHAPE, order=1, cval=air)
            for channel, air in zip(image.array, AIR, strict=True)
        ]
    )
    return Image(array, simulated_grid(WHOLE_BODY_SHAPE, SCANNED_MM))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
