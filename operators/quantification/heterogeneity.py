"""How uneven a lesion's uptake is: a few texture features of the IBSI, by Z-Rad.

Settings, as the IBSI asks for with calibrated intensities (reference manual, arXiv:1612.07003, sections 2.4,
2.6 and 2.7): the box of the lesion resampled to voxels of 3 mm, image and mask trilinear, a voxel belonging
to the lesion from half of it on; re-segmented to SUV 0 and above; bins of 0.5 g/ml from SUV 0 on; matrices
of grey levels in 3D, all directions merged. Voxel and bin size are this program's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.domain import Box, Code, Geometry, Volume
from operators.segmentation.organs.boxes import grown, within

VOXEL_MM = 3.0
BIN_SUV = 0.5
LEAST_VOLUME_ML = 10.0
"""Below this, heterogeneity says little beside the volume (Hatt et al., J Nucl Med 2015;56:38; recalled, not
verified against the primary source)."""
LEAST_VOXELS = 64
"""On the PET's own grid (Orlhac et al., J Nucl Med 2014;55:414; recalled, not verified against the primary
source)."""
MOST_BINS = 200
"""Up to SUV 100: the time that a lesion takes grows faster than the square of the bins."""

_NOT_COMPUTABLE = "it is too thin, or its uptake too even, for texture to be computed"


@dataclass(frozen=True, slots=True)
class Feature:
    """A row of the table of features."""

    tag: str
    """The IBSI's."""
    code: Code
    """The IBSI's, as DICOM PS3.16 CID 218 has it."""
    title: str
    """As a reader would say it."""
    unit: str
    """UCUM."""


FEATURES = (
    Feature("ih_entropy", Code("TLU2", "IBSI", "Intensity Histogram Entropy"), "entropy of uptake", "bit"),
    Feature("cm_joint_entr_3D_comb", Code("TU9B", "IBSI", "Joint Entropy of GLCM"), "joint entropy", "bit"),
    Feature("cm_dissimilarity_3D_comb", Code("8S9J", "IBSI", "Dissimilarity of GLCM"), "dissimilarity", "1"),
    Feature("cm_inv_diff_3D_comb", Code("IB1Z", "IBSI", "Inverse Difference of GLCM"), "homogeneity", "1"),
)
"""Those that hold when a tumour is outlined otherwise, moved or noisier, and do not restate its volume, as
measured on 38 sarcomas (docs/numbers.md). All rise or fall with SUVmax."""


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """The features, or why there are none."""

    features: Mapping[str, float]
    """By the IBSI's tag."""
    absent: str | None


def method() -> str:
    """How heterogeneity is computed, with the version of the library, in a sentence."""
    return (
        f"Z-Rad {metadata.version('z-rad')}, IBSI: voxels of {VOXEL_MM:g} mm (trilinear), bins of "
        f"{BIN_SUV:g} g/ml from SUV 0, 3D, directions merged."
    )


def heterogeneity(pet: Volume, box: Box, mask: NDArray[np.bool_]) -> Heterogeneity:
    """Texture of one lesion.

    Parameters
    ----------
    pet : Volume
        SUVbw, finite.
    box : Box
        The lesion's bounding box.
    mask : ndarray of bool, shape (z, y, x) of `box`
    """
    reason = too_small(mask, pet.geometry)
    if reason is None and find_spec("zrad") is None:
        reason = "the library for it, Z-Rad, is not installed"
    if reason:
        return Heterogeneity({}, reason)
    wide = grown(box, max(pet.geometry.spacing_mm), pet.geometry)
    region = np.zeros([side.stop - side.start for side in wide], np.float64)
    region[within(box, wide)] = mask
    return texture_of(pet.values(wide), region, pet.geometry.spacing_mm)


def too_small(mask: NDArray[np.bool_], geometry: Geometry) -> str | None:
    """Why a lesion is too small for its heterogeneity to mean anything; None where it is not."""
    voxels = int(np.count_nonzero(mask))
    if voxels < LEAST_VOXELS:
        return f"it has {voxels} voxel{'s' if voxels > 1 else ''}, less than {LEAST_VOXELS}"
    volume_ml = voxels * geometry.voxel_volume_ml
    if volume_ml < LEAST_VOLUME_ML:
        return f"its volume is {volume_ml:.2f} ml, less than {LEAST_VOLUME_ML:g} ml"
    return None


def texture_of(
    values: NDArray[np.float64], region: NDArray[np.float64], spacing_mm: tuple[float, float, float]
) -> Heterogeneity:
    """The features of a region.

    Parameters
    ----------
    values : ndarray of float64, shape (z, y, x)
        g/ml, with a voxel round the region where the volume goes on.
    region : ndarray of float64, shape (z, y, x)
        1 inside, 0 outside.
    spacing_mm : tuple of float
        (z, y, x); the axes are at right angles, which the volume step sees to.
    """
    steps = import_module("zrad.preprocessing")  # slow to import, and most studies need none
    data = steps.RoiData(image=_image(values, spacing_mm), morphological_mask=_image(region, spacing_mm))
    for step in (
        steps.ImageResampler(VOXEL_MM, method="linear"),
        steps.MaskResampler(VOXEL_MM, method="linear", partial_volume_threshold=0.5),
        steps.IntensityMaskBuilder(),
        steps.Resegmenter(intensity_range=(0.0, inf)),
        steps.TextureDiscretizer(bin_size=BIN_SUV),
    ):
        data = step.apply(data)
    bins = np.nanmax(data.texture_discretized_image.array, initial=0.0)
    if bins > MOST_BINS:
        return Heterogeneity({}, f"its uptake exceeds SUV {MOST_BINS * BIN_SUV:g}")
    return extracted(data) if bins else Heterogeneity({}, _NOT_COMPUTABLE)


def extracted(data: Any) -> Heterogeneity:
    """The features of what Z-Rad calls a RoiData: image, mask and grey levels."""
    radiomics, exceptions = import_module("zrad.radiomics"), import_module("zrad.exceptions")
    extractor = radiomics.Radiomics(aggr_dim="3D", aggr_method="MERG")
    try:
        found = extractor.extract_features(data, features=[feature.tag for feature in FEATURES])
    except exceptions.DataStructureError:
        return Heterogeneity({}, _NOT_COMPUTABLE)
    return Heterogeneity({tag: float(value) for tag, value in found.items()}, None)


def _image(array: NDArray[np.float64], spacing_mm: tuple[float, float, float]) -> Any:
    """As Z-Rad takes it: array (z, y, x), geometry (x, y, z)."""
    return import_module("zrad.image").Image(
        array=array,
        origin=(0.0, 0.0, 0.0),
        spacing=spacing_mm[::-1],
        direction=tuple(np.eye(3).ravel()),
        shape=array.shape[::-1],
    )
