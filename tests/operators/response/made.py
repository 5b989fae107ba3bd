"""Measured studies made of numbers alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from operators.domain import (
    Algorithm,
    Anatomy,
    Case,
    Claim,
    Code,
    Correspondence,
    Fate,
    FollowUp,
    Geometry,
    Instance,
    Job,
    Lesion,
    NetworkRun,
    Parameter,
    Protocol,
    ProtocolMethod,
    Quantified,
    ReferenceRegion,
    Registration,
    Segmented,
    Selection,
    Series,
    Site,
    Study,
    Suv,
    Totals,
    Tracer,
    Volume,
    Volumes,
    Window,
)

WITHHELD = "Physiological uptake has not been removed: the regions are uptake, not lesions."
SCANNER = {
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Scanner",
    "DeviceSerialNumber": "7",
    "ReconstructionMethod": "OSEM 3i21s",
    "ConvolutionKernel": "Gauss 5 mm",
}
NETWORK = NetworkRun(
    package="ours@1.0.0", digest="12" * 32, engine="openvino", provider="CPU", device="cpu",
    precision="single", folds=("0",), mirrored_axes=(), tiles=1, tiles_skipped=0, batch=1, times_s={},
)  # fmt: skip


def lesion(
    number: int = 1,
    *,
    suv_max: float = 8.0,
    suv_peak: float | None = None,
    suv_mean: float | None = None,
    volume_ml: float = 10.0,
    length_mm: float = 30.0,
    place: str | None = None,
    overlap: float = 0.9,
    **more: Any,
) -> Lesion:
    """A lesion of a few numbers; SUVpeak is SUVmax, and SUVmean half of it, where they are not given."""
    mean = suv_max / 2 if suv_mean is None else suv_mean
    peak = suv_max if suv_peak is None else suv_peak
    return Lesion(
        number=number, box=(slice(0, 1),) * 3, mask=np.ones((1, 1, 1), bool), voxels=round(volume_ml * 1000),
        volume_ml=volume_ml, suv_max=suv_max, suv_max_index=(0, 0, 0), suv_max_lps_mm=(0.0, 0.0, 0.0),
        suv_mean=mean, suv_min=mean / 2, suv_sd=1.0, suv_peak_local=peak, suv_peak_global=peak,
        peak_truncated=False, tlg_g=mean * volume_ml, centroid_lps_mm=(0.0, 0.0, 100.0 * number),
        longest_diameter_mm=length_mm,
        site=None if place is None else Site(Anatomy(place, None), overlap, 0.0),
        **more,
    )  # fmt: skip


def measured(
    *lesions: Lesion,
    tracer: str = "psma",
    code: Code | None = None,
    words: str = "PSMA-11",
    radionuclide: str = "Ga-68",
    references: Mapping[str, float] | None = None,
    claim: Claim = Claim.LESION,
    threshold: float | None = 3.0,
    header: Mapping[str, str] | None = None,
    uptake_min: float | None = 60.0,
    dose_mbq: float | None = 150.0,
    lean: float | None = 0.8,
    spacing_mm: float = 4.0,
    uid: str = "1.2.3",
    patient: str = "key",
) -> Quantified:
    """A measured study. Without a threshold a network outlined the lesions."""
    dataset = Dataset()
    for keyword, value in (SCANNER if header is None else header).items():
        setattr(dataset, keyword, value)
    dataset.RadiopharmaceuticalInformationSequence = [Dataset()]
    dataset.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = words
    series = Series("1.2.4", (Instance(Path("0.dcm"), "1.2.5", dataset, None),))
    protocol = Protocol(
        tracer, tracer.upper(), "1", (), (), (), ProtocolMethod("fixed_suv", {}, ""), Window(), "", Window(),
        (), "",
    )  # fmt: skip
    selection = Selection(
        case=Case(Study(uid, patient, (series,)), Job(), (), Path("unused")),
        tracer=Tracer(tracer, code, radionuclide, f"text: {words}"),
        protocol=protocol, pet=series, ct=None, decisions=(), notes=(),
    )  # fmt: skip
    suv = Suv(
        units="BQML", suv_type="BW", decay_correction="START", reference_time=None, reference_time_rule="",
        injection_time=None, injection_time_rule="",
        uptake_time_s=None if uptake_min is None else uptake_min * 60, half_life_s=None,
        radionuclide=radionuclide, injected_dose_bq=None if dose_mbq is None else dose_mbq * 1e6,
        weight_kg=70.0, height_m=1.7, sex="M", suvbw_factor=np.ones(1),
        lbm_ratio={} if lean is None else {"janmahasatian": lean}, bsa_ratio=None if lean is None else 0.25,
        corrected=(), notes=(),
    )  # fmt: skip
    affine = np.diag([spacing_mm, 4.0, 4.0, 1.0])
    pet = Volume(
        np.zeros((1, 1, 1), np.int16), np.ones(1), np.zeros(1), "g/ml{SUVbw}",
        Geometry((1, 1, 1), affine, "1.2.6"), series.instances, None, "ab" * 32,
    )  # fmt: skip
    algorithm = (
        Algorithm("network", "Our network", "1", (), "", "cpu", network=NETWORK)
        if threshold is None
        else Algorithm(
            "fixed_suv", "Fixed SUV threshold", "1", (Parameter("threshold", threshold, "1"),), "", "cpu"
        )
    )
    regions = {"liver": 5.0, "blood_pool": 2.0} if references is None else references
    segmented = Segmented(
        Volumes(selection, pet, suv, None, ()), np.zeros((1, 1, 1), bool), claim, algorithm, (),
        references=tuple(ReferenceRegion(name, mean, 0.2, source="made") for name, mean in regions.items()),
    )  # fmt: skip
    return Quantified(segmented, lesions, _totals(lesions), WITHHELD if claim is Claim.UPTAKE else None, ())


def _totals(lesions: Iterable[Lesion]) -> Totals:
    each = tuple(lesions)
    volume, uptake = sum(one.volume_ml for one in each), sum(one.tlg_g for one in each)
    return Totals(
        len(each), volume, uptake, max((one.suv_max for one in each), default=None),
        uptake / volume if each else None, 100.0 if len(each) > 1 else None,
    )  # fmt: skip


def followed(
    prior: Quantified,
    *correspondences: Correspondence,
    accepted: bool = True,
    days: float | None = 56.0,
    time: datetime | None = datetime(2024, 1, 5, 10, 0),
) -> FollowUp:
    """A prior with what became of its lesions."""
    registration = Registration(
        accepted, "error 2 mm" if accepted else "error 25 mm", "rigid; PET", np.eye(4)
    )
    return FollowUp(prior, time, days, registration, correspondences if accepted else ())


def matched(*pairs: tuple[int, int]) -> tuple[Correspondence, ...]:
    """Lesions of both studies, one to one, as (prior, current)."""
    return tuple(Correspondence(Fate.MATCHED, (prior,), (current,)) for prior, current in pairs)


def appeared(*numbers: int) -> tuple[Correspondence, ...]:
    """Lesions of the current study alone."""
    return tuple(Correspondence(Fate.NEW, (), (number,)) for number in numbers)


def gone(*numbers: int) -> tuple[Correspondence, ...]:
    """Lesions of the prior alone."""
    return tuple(Correspondence(Fate.RESOLVED, (number,), ()) for number in numbers)
