"""The published threshold methods, one pure function each, and the engine that runs them.

None of them tells tumour from physiological uptake: their masks are of uptake above a threshold. They
run on the CPU. "Component" is a 26-connected component.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.domain import (
    Algorithm,
    Claim,
    Note,
    Parameter,
    ReferenceRegion,
    Segmented,
    Volume,
    Volumes,
)
from operators.errors import SegmentationRefusal
from operators.segmentation.components import (
    component_maxima,
    draw,
    draw_above,
    find_components,
)
from operators.segmentation.cutoff import at_or_above
from operators.segmentation.method import MIN_VOLUME, Engine, Method, ParameterRule
from operators.segmentation.site import SegmentationSite
from operators.segmentation.sphere import sphere_means, sphere_voxels

Mask = NDArray[np.bool_]

QPSMA_BONE_SUV = 3.0
QPSMA_SOFT_TISSUE_SUV = 4.30


# ---- the methods -------------------------------------------------------------------------------


def fixed_suv(pet: Volume, threshold: float, strict: bool = False) -> Mask:
    """Voxels at or above a fixed SUV.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    threshold : float
        g/ml.
    strict : bool
        Above the threshold, not at it.

    References
    ----------
    FDG lymphoma, SUV >= 4.0 and >= 3 ml: Boellaard et al., J Nucl Med 2024;65:1343.
    PSMA, SUV > 3: Ferdinandus et al., 2020.
    """
    lowest = float(np.nextafter(threshold, math.inf)) if strict else threshold
    return at_or_above(pet, lowest)


def percent_suvmax(pet: Volume, percent: float, candidate_threshold: float) -> Mask:
    """Voxels at or above a percentage of the SUVmax of the candidate that they lie in.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    percent : float
        Percentage of each candidate's own SUVmax.
    candidate_threshold : float
        g/ml. Candidates are the components at or above it, and the mask stays within them.

    References
    ----------
    41 % of SUVmax, as an alternative compared: Boellaard et al., J Nucl Med 2024;65:1343. 50 % for
    somatostatin receptors is a convention, not an agreed threshold.
    """
    candidates = find_components(at_or_above(pet, candidate_threshold))
    return draw_above(pet, candidates, percent / 100.0 * component_maxima(pet, candidates))


def percist(pet: Volume, liver: ReferenceRegion) -> Mask:
    """Components at or above 1.5 x liver mean + 2 SD whose peak reaches it too: measurable by PERCIST.

    Lean-mass SUV is SUVbw times one number for each patient, on both sides of the comparison, so the mask
    is the same in SUVbw. The peak is the highest mean over 1 cm3 round a voxel of the component.

    Parameters
    ----------
    pet : Volume
        SUVbw.
    liver : ReferenceRegion
        SUVbw of a 3 cm sphere in the right lobe.

    References
    ----------
    PERCIST 1.0, the limit of measurable disease: not verified against the primary source.
    """
    threshold = 1.5 * liver.suv_mean + 2.0 * liver.suv_sd
    components = find_components(at_or_above(pet, threshold))
    kept = np.zeros(len(components), np.bool_)
    sphere = sphere_voxels(pet.geometry.affine)
    for index in range(len(components)):
        means = sphere_means(pet, components.box(index), components.mask(index), sphere)
        kept[index] = means.max() >= threshold
    return draw(components, kept)


def qpsma(pet: Volume, bone: Mask, liver: ReferenceRegion) -> Mask:
    """SUV 3 in bone, and in soft tissue a threshold that follows the liver: 4.30/mean x (mean + SD).

    Parameters
    ----------
    pet : Volume
        SUVbw.
    bone : ndarray of bool, shape (z, y, x)
        On the grid of `pet`.
    liver : ReferenceRegion
        SUVbw of a 3 cm sphere in the right lobe.

    References
    ----------
    qPSMA, Gafita et al., J Nucl Med 2019;60:1277: bone from its abstract; the soft-tissue formula is not
    verified against the primary source.
    """
    soft_tissue_suv = QPSMA_SOFT_TISSUE_SUV / liver.suv_mean * (liver.suv_mean + liver.suv_sd)
    mask = at_or_above(pet, QPSMA_BONE_SUV) & bone
    mask |= at_or_above(pet, soft_tissue_suv) & ~bone
    return mask


def without_small(pet: Volume, mask: Mask, min_volume_ml: float) -> tuple[Mask, int]:
    """Leave out the components below a volume; rounding does not cost one its place.

    Returns
    -------
    mask : ndarray of bool, shape (z, y, x)
    left_out : int
        How many components were left out.
    """
    if min_volume_ml <= 0:
        return mask, 0
    components = find_components(mask)
    large = components.voxels >= min_volume_ml / pet.geometry.voxel_volume_ml * (1 - 1e-9)
    return draw(components, large), int((~large).sum())


# ---- the engine --------------------------------------------------------------------------------

References = Mapping[str, ReferenceRegion]
Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ThresholdEngine:
    """An engine that thresholds the PET on the CPU."""

    algorithm: Algorithm
    needs: tuple[str, ...]
    mask_of: Callable[[Volumes, Values, References], Mask]

    def segment(self, volumes: Volumes, references: References) -> Segmented:
        for name in self.needs:
            _check_reference(self.algorithm.name, name, references.get(name))
        values = {parameter.name: parameter.value for parameter in self.algorithm.parameters}
        smallest_ml = values["min_volume_ml"]
        mask, left_out = without_small(volumes.pet, self.mask_of(volumes, values, references), smallest_ml)
        notes = left_out_note(left_out, "of uptake above the threshold", smallest_ml)
        return Segmented(volumes, mask, Claim.UPTAKE, self.algorithm, notes)


def left_out_note(count: int, what: str, smallest_ml: float) -> tuple[Note, ...]:
    """Say how many regions a method left out for their size; nothing when it left out none."""
    if not count:
        return ()
    regions = "One region" if count == 1 else f"{count} regions"
    sentence = f"{regions} {what}, smaller than {smallest_ml:g} ml, left out by the method."
    return (Note("SMALL_REGIONS_LEFT_OUT", sentence),)


def _check_reference(method: str, name: str, region: ReferenceRegion | None) -> None:
    if region is None:
        raise SegmentationRefusal(
            "REFERENCE_MISSING",
            f"The segmentation method {method} needs the uptake of the {name} (mean and standard "
            "deviation), and nothing has measured it: that takes an organ model, or another method.",
        )
    if not (0 < region.suv_mean < math.inf and 0 <= region.suv_sd < math.inf):
        raise SegmentationRefusal(
            "REFERENCE_INVALID",
            f"The uptake of the {name} is not usable: mean {region.suv_mean:g}, standard deviation "
            f"{region.suv_sd:g} g/ml.",
        )


def _engine(
    mask_of: Callable[[Volumes, Values, References], Mask], needs: tuple[str, ...] = ()
) -> Callable[[Method, tuple[Parameter, ...], SegmentationSite, str], Engine]:
    """A method's way to build its engine."""

    def build(
        method: Method, parameters: tuple[Parameter, ...], site: SegmentationSite, version: str
    ) -> Engine:
        algorithm = Algorithm(method.name, method.title, version, parameters, method.citation, site.device)
        return ThresholdEngine(algorithm, needs, mask_of)

    return build


def _run_fixed_suv(volumes: Volumes, values: Values, _references: References) -> Mask:
    return fixed_suv(volumes.pet, values["threshold"], bool(values["strict"]))


def _run_percent_suvmax(volumes: Volumes, values: Values, _references: References) -> Mask:
    return percent_suvmax(volumes.pet, values["percent"], values["candidate_threshold"])


def _run_percist(volumes: Volumes, _values: Values, references: References) -> Mask:
    return percist(volumes.pet, references["liver"])


def _decline_qpsma(_volumes: Volumes, _values: Values, _references: References) -> Mask:
    raise SegmentationRefusal(
        "BONE_MASK_MISSING",
        "The segmentation method qpsma treats bone and soft tissue differently and needs to know which is "
        "which, which nothing has segmented yet. Choose another method.",
    )


# ---- the table ---------------------------------------------------------------------------------

_SUV = "g/ml{SUVbw}"

METHODS = (
    Method(
        name="fixed_suv",
        title="Fixed SUV threshold",
        citation="Boellaard et al., J Nucl Med 2024;65:1343 (FDG); Ferdinandus et al., 2020 (PSMA)",
        parameters=(
            ParameterRule("threshold", _SUV, 0.01, 1000.0),
            MIN_VOLUME,
            ParameterRule("strict", "1", 0.0, 1.0, default=0.0, whole=True),
        ),
        build=_engine(_run_fixed_suv),
    ),
    Method(
        name="percent_suvmax",
        title="Percentage of each candidate's SUVmax",
        citation="Boellaard et al., J Nucl Med 2024;65:1343 (41 % of SUVmax, an alternative compared)",
        parameters=(
            ParameterRule("percent", "%", 1.0, 100.0, default=41.0),
            ParameterRule("candidate_threshold", _SUV, 0.01, 1000.0, default=2.5),
            MIN_VOLUME,
        ),
        build=_engine(_run_percent_suvmax),
    ),
    Method(
        name="percist",
        title="PERCIST 1.0 measurable uptake: 1.5 x liver mean + 2 SD",
        citation="PERCIST 1.0; the limit of measurable disease is not verified against the primary source",
        parameters=(MIN_VOLUME,),
        build=_engine(_run_percist, needs=("liver",)),
    ),
    Method(
        name="qpsma",
        title="qPSMA: SUV 3 in bone, liver-based threshold in soft tissue",
        citation=(
            "Gafita et al., J Nucl Med 2019;60:1277; the soft-tissue formula is not verified against the "
            "primary source"
        ),
        parameters=(MIN_VOLUME,),
        build=_engine(_decline_qpsma, needs=("liver",)),
    ),
)
