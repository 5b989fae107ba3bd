"""A small measured PET, made by hand: what the results step receives."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scipy import ndimage

from operators.domain import (
    Algorithm,
    Anatomy,
    Assessed,
    Case,
    Claim,
    Code,
    Contribution,
    Correspondence,
    Departure,
    Fact,
    Fate,
    Finding,
    FollowUp,
    Geometry,
    Instance,
    Job,
    Lesion,
    LesionCalibration,
    NetworkRun,
    Note,
    OrganMap,
    Parameter,
    PredictedDice,
    Prediction,
    Protocol,
    ProtocolMethod,
    Quality,
    Quantified,
    ReferenceRegion,
    Registration,
    RemovedUptake,
    ResultProfile,
    Role,
    Segmented,
    Selection,
    Series,
    SeriesDecision,
    Site,
    Study,
    Suv,
    TimePoint,
    Totals,
    Tracer,
    TrackedName,
    Volume,
    Volumes,
    Window,
)

PET_CLASS = "1.2.840.10008.5.1.4.1.1.128"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_PET_CLASS = "1.2.840.10008.5.1.4.1.1.130"
STUDY, SERIES, CT_SERIES, FRAME = "1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4"

AXES = {
    "axial": np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float),
    "coronal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float),
    "sagittal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
}
"""Columns: LPS directions of slice, row index and column index."""


@dataclass
class Recipe:
    """What the builder makes; every field has a small default."""

    shape: tuple[int, int, int] = (12, 24, 20)
    spacing_mm: tuple[float, float, float] = (3.0, 4.0, 4.0)
    directions: np.ndarray = field(default_factory=lambda: AXES["axial"])
    centres: tuple[tuple[int, int, int], ...] = ((3, 6, 6), (7, 15, 12))
    claim: Claim = Claim.UPTAKE
    job: Job = field(default_factory=Job)
    header: dict[str, Any] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()
    multiframe: bool = False
    with_ct: bool = False
    hole: bool = False
    notes: tuple[Note, ...] = (Note("UPTAKE_TIME", "Uptake time of 95 min is outside 55 to 75 min."),)
    suv: float = 8.0
    with_models: bool = False
    """A network found the lesions, and organs are known."""
    output: Path = Path("unused")


def _header(recipe: Recipe, uid: str, z: int, affine: np.ndarray, modality: str = "PT") -> Dataset:
    header = Dataset()
    header.SOPClassUID = PET_CLASS if modality == "PT" else CT_CLASS
    header.SOPInstanceUID = uid
    header.StudyInstanceUID = STUDY
    header.SeriesInstanceUID = SERIES if modality == "PT" else CT_SERIES
    header.FrameOfReferenceUID = FRAME
    header.Modality = modality
    header.PatientName, header.PatientID = "Phantom^Anna", "P1"
    header.PatientBirthDate, header.PatientSex = "19600101", "F"
    header.StudyDate, header.StudyTime = "20240105", "101500"
    header.SeriesDate, header.SeriesTime = "20240105", "102000"
    header.AccessionNumber, header.StudyID, header.ReferringPhysicianName = "A1", "S1", "Doe^Jane"
    header.Manufacturer, header.ManufacturerModelName = "Maker", "Scanner"
    header.SoftwareVersions = "1.0"
    header.Rows, header.Columns = recipe.shape[1:]
    header.ImagePositionPatient = (affine @ [z, 0, 0, 1])[:3].tolist()
    _, row_axis, column_axis = recipe.directions.T
    header.ImageOrientationPatient = [*column_axis.tolist(), *row_axis.tolist()]
    header.PixelSpacing = [recipe.spacing_mm[1], recipe.spacing_mm[2]]
    header.SliceThickness = recipe.spacing_mm[0]
    for keyword, value in recipe.header.items():
        setattr(header, keyword, value)
    for keyword in recipe.lacking:
        delattr(header, keyword)
    return header


def _series(recipe: Recipe, affine: np.ndarray, modality: str = "PT") -> Series:
    prefix = "1.2.3.5" if modality == "PT" else "1.2.3.6"
    if recipe.multiframe:
        header = _header(recipe, f"{prefix}.1", 0, affine)
        header.SOPClassUID, header.NumberOfFrames = ENHANCED_PET_CLASS, recipe.shape[0] + 2
        return Series(SERIES, (Instance(Path("pet.dcm"), header.SOPInstanceUID, header, None),))
    instances = tuple(
        Instance(
            Path(f"{z}.dcm"),
            f"{prefix}.{z + 1}",
            _header(recipe, f"{prefix}.{z + 1}", z, affine, modality),
            None,
        )
        for z in range(recipe.shape[0])
    )
    return Series(instances[0].header.SeriesInstanceUID, instances)


def _volume(recipe: Recipe, series: Series, stored: np.ndarray, affine: np.ndarray, unit: str) -> Volume:
    depth = recipe.shape[0]
    return Volume(
        stored=stored,
        scale=np.full(depth, 0.001),
        offset=np.zeros(depth),
        unit=unit,
        geometry=Geometry(recipe.shape, affine, FRAME),
        instances=series.instances * depth if recipe.multiframe else series.instances,
        frames=tuple(range(2, depth + 2)) if recipe.multiframe else None,
        digest="ab" * 32,
    )


def _lesions(pet: Volume, mask: np.ndarray) -> tuple[Lesion, ...]:
    """The components of a mask with the numbers that the report repeats."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == number
        values = pet.values(box)[inside]
        indices = np.argwhere(inside) + [side.start for side in box]
        hottest = indices[values.argmax()]
        volume_ml = inside.sum() * pet.geometry.voxel_volume_ml
        points = pet.geometry.to_lps(indices)
        lesions.append(
            Lesion(
                number=number,
                box=box,
                mask=inside,
                voxels=int(inside.sum()),
                volume_ml=float(volume_ml),
                suv_max=float(values.max()),
                suv_max_index=tuple(int(i) for i in hottest),
                suv_max_lps_mm=tuple(pet.geometry.to_lps(hottest[None])[0].tolist()),
                suv_mean=float(values.mean()),
                suv_min=float(values.min()),
                suv_sd=float(values.std()) if len(values) > 1 else None,
                suv_peak_local=float(values.max()) - 0.5,
                suv_peak_global=float(values.max()) - 0.25,
                peak_truncated=False,
                tlg_g=float(values.mean() * volume_ml),
                centroid_lps_mm=tuple(points.mean(axis=0).tolist()),
                longest_diameter_mm=float(np.linalg.norm(points.max(axis=0) - points.min(axis=0))),
            )
        )
    return tuple(lesions)


RUN = NetworkRun(
    package="ours@1.0.0", digest="12" * 32, engine="openvino 2026.4.1", provider="CPU", device="cpu",
    precision="single", folds=("0", "1"), mirrored_axes=(0, 2), tiles=8, tiles_skipped=3, batch=2,
    times_s={"network": 1.5},
)  # fmt: skip
KIDNEY = Anatomy("kidney_left", Code("64033007", "SCT", "Kidney"), Code("7771000", "SCT", "Left"))
PLACES = {1: KIDNEY, 2: Anatomy("tail", None), 3: Anatomy("liver", Code("10200004", "SCT", "Liver"))}


def with_models(quantified: Quantified) -> Quantified:
    """The same by a network, with an organ map, a removed region, a reference region, sites and quality."""
    labels = np.zeros(quantified.segmented.mask.shape, np.uint8)
    labels[2:5, 2:9, 2:9], labels[6:9, 12:18, 8:16] = 1, 2
    network = Algorithm("network", "Our network", "1.0.0", (), "Somebody 2024", "cpu", RUN.digest, RUN)
    organs = Algorithm("organs", "Our organs", "2.0.0", (), "Somebody 2025", "cpu", "34" * 32, RUN)
    box = (slice(0, 2), slice(0, 3), slice(0, 1))
    sites = (Site(KIDNEY, 0.75, 0.0), Site(PLACES[2], 0.25, 0.0))
    lesions = tuple(
        replace(lesion, site=site, confidence=confidence)
        for lesion, site, confidence in zip(quantified.lesions, sites, (0.97, 0.58), strict=True)
    )
    segmented = replace(
        quantified.segmented,
        algorithm=network,
        organs=OrganMap(labels, PLACES, organs),
        removed=(RemovedUptake("urinary bladder", box, np.ones((2, 3, 1), bool), 0.288, 25.0),),
        references=(ReferenceRegion("liver", 2.1, 0.25, 121, 14.7, (-80.0, -20.0, 10.0), "organs@2.0.0"),),
        quality=Quality(
            np.zeros(labels.shape, np.float16),
            LesionCalibration(1.0, 0.0, 0.0, "five folds"),
            PredictedDice(0.815, 0.06, 38, "five folds"),
            {"noise": 0.42, "pet_spacing_z_mm": 3.0},
            (Departure("noise", 0.42, 0.03, 0.25, "1", "The noise of the PET is 0.42."),),
        ),
    )
    return replace(quantified, segmented=segmented, lesions=lesions)


def build(recipe: Recipe | None = None, **changes: Any) -> Quantified:
    """A :class:`Quantified` after a recipe."""
    recipe = replace(recipe or Recipe(), **changes)
    affine = np.eye(4)
    affine[:3, :3] = recipe.directions * recipe.spacing_mm
    affine[:3, 3] = (-40.0, -30.0, 20.0)
    stored = np.full(recipe.shape, 500, np.int16)
    mask = np.zeros(recipe.shape, bool)
    z, y, x = np.indices(recipe.shape)
    for place, (cz, cy, cx) in enumerate(recipe.centres):
        distance = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2)
        ball = distance < 2.5
        stored[ball] = (recipe.suv * 1000 - 1000 * place - 500 * distance[ball]).clip(1)
        if recipe.hole:
            ball &= distance > 0.5
        mask |= ball
    series = _series(recipe, affine)
    ct_series = _series(recipe, affine, "CT") if recipe.with_ct else None
    pet = _volume(recipe, series, stored, affine, "g/ml{SUVbw}")
    ct = None if ct_series is None else _volume(recipe, ct_series, stored // 4 - 1000, affine, "[hnsf'U]")
    study = Study(STUDY, "key", tuple(s for s in (series, ct_series) if s))
    protocol = Protocol(
        "fdg",
        "FDG",
        "1",
        (),
        (),
        ("F-18",),
        ProtocolMethod("fixed_suv", {"threshold": 4.0}, "Boellaard 2024"),
        Window(55, 75),
        "EANM",
        Window(None, 11),
        (),
        "cd" * 32,
    )
    decisions = (
        SeriesDecision(SERIES, "PT", "PET AC", len(series.instances), Role.PET, "PET_TAKEN", "It fits."),
    )
    selection = Selection(
        case=Case(study, recipe.job, (), recipe.output),
        tracer=Tracer("fdg", Code("35321007", "SCT", "Fluorodeoxyglucose F^18^"), "F-18", "code 35321007"),
        protocol=protocol,
        pet=series,
        ct=ct_series,
        decisions=decisions,
        notes=recipe.notes,
    )
    suv = Suv(
        units="BQML", suv_type="BW", decay_correction="START", reference_time=datetime(2024, 1, 5, 10, 20),
        reference_time_rule="series_time", injection_time=datetime(2024, 1, 5, 9, 20),
        injection_time_rule="start_date_time", uptake_time_s=3600.0, half_life_s=6586.2, radionuclide="F-18",
        injected_dose_bq=3.0e8, weight_kg=70.0, height_m=1.7, sex="F",
        suvbw_factor=np.full(recipe.shape[0], 3.4e-4), lbm_ratio={"morgan": 0.7}, bsa_ratio=0.25,
        corrected=(), notes=(),
    )  # fmt: skip
    algorithm = Algorithm(
        "fixed_suv", "Fixed SUV threshold", "1.0",
        (Parameter("threshold", 4.0, "g/ml{SUVbw}"), Parameter("minimum_volume", 3.0, "ml")),
        "Boellaard R et al. J Nucl Med 2024;65:1343", "cpu",
    )  # fmt: skip
    lesions = _lesions(pet, mask)
    volume_ml = sum(lesion.volume_ml for lesion in lesions)
    tlg_g = sum(lesion.tlg_g for lesion in lesions)
    totals = Totals(
        count=len(lesions), volume_ml=volume_ml, tlg_g=tlg_g,
        suv_max=max((lesion.suv_max for lesion in lesions), default=None),
        suv_mean=tlg_g / volume_ml if lesions else None, dmax_mm=50.0 if len(lesions) > 1 else None,
    )  # fmt: skip
    quantified = Quantified(
        segmented=Segmented(Volumes(selection, pet, suv, ct, ()), mask, recipe.claim, algorithm, ()),
        lesions=lesions,
        totals=totals,
        withheld="Physiological uptake has not been removed." if recipe.claim is Claim.UPTAKE else None,
        notes=(),
    )
    return with_models(quantified) if recipe.with_models else quantified


def assess(quantified: Quantified) -> Assessed:
    """The same with a finding of each kind, a prior, predictions and clinical inputs."""
    psa = Fact("psa_ng_ml", 12.5, "ng/mL", "job.json")
    change = Fact("volume_change_percent", -41.5, "%", "PET of both studies")
    unknown = Fact("new_lesions", None, "1", reason="the registration was rejected")
    caution = Note("UPTAKE_TIMES_DIFFER", "Uptake times differ by 22 min.")
    common = {"version": "1", "criterion": "As published.", "citation": "Somebody 2022", "verification": "V2"}
    findings = (
        Finding(
            "recip", "RECIP 1.0", category="PR", meaning="partial response", kind="response",
            reason="The volume fell by 41.5 %.", facts=(change,), warnings=(caution,),
            compared_with="1.2.3.0", **common,
        ),
        Finding(
            "vision", "VISION", category=None, meaning="", kind="eligibility",
            reason="Whether lesions are new is not known.", facts=(unknown,), **common,
        ),
        Finding(
            "promise", "PROMISE V2 expression", category="2", meaning="liver to parotid", kind="score",
            reason="SUVmean 5.", facts=(), lesion=1, **common,
        ),
    )  # fmt: skip
    prior = FollowUp(
        prior=quantified, time=datetime(2023, 8, 1, 9, 0), days=157.0,
        registration=Registration(True, "error 2.1 mm.", "rigid, CT", np.eye(4), measures={"error_mm": 2.1}),
        correspondences=(
            Correspondence(Fate.MATCHED, (1,), (1,), 0.8, 2.0), Correspondence(Fate.NEW, (), (2,)),
        ),
    )  # fmt: skip
    common = {
        "digest": "ef" * 32,
        "population": "Men.",
        "performance": "AUC 0.7.",
        "citation": "Somebody 2021",
    }
    trend = (
        TimePoint("1.2.3.0", datetime(2023, 8, 1, 9, 0), 157.0, 2, 20.0, 90.0, 4.5, 8.0, None),
        TimePoint(STUDY, datetime(2024, 1, 5, 9, 0), 0.0, None, None, None, None, None, "Uptake only."),
    )
    predictions = (
        Prediction(
            "ours@1", "Our model", "metastasis", kind="probability", value=0.25, unit="1", withheld=None,
            interval=(0.1, 0.4), prediction_set=("no metastasis",), coverage=0.9, inputs=(psa,),
            contributions=(Contribution("psa_ng_ml", 12.5, "ng/mL", 0.3),), explained_in="log odds", **common,
        ),
        Prediction(
            "other@1", "Other", "death", kind="hazard_ratio", value=None, unit="1",
            withheld="The diagnosis is not known.", **common,
        ),
    )  # fmt: skip
    return Assessed(
        quantified=quantified, clinical=(psa,), facts=(psa, change, unknown), findings=findings,
        follow_ups=(prior,), trend=trend, predictions=predictions,
        names={1: TrackedName("Lesion 7", "2.25.7")}, notes=(Note("PRIOR_REFUSED", "A prior was refused."),),
    )  # fmt: skip


def of_other_tracer(quantified: Quantified) -> Quantified:
    """The same as if it had been made with PSMA, in a study of its own."""
    selection = quantified.selection
    study = replace(selection.case.study, study_instance_uid="1.2.3.77")
    protocol = replace(selection.protocol, name="psma", title="PSMA ligand")
    selection = replace(selection, protocol=protocol, case=replace(selection.case, study=study))
    volumes = replace(quantified.segmented.volumes, selection=selection)
    return replace(quantified, segmented=replace(quantified.segmented, volumes=volumes))


def of_other_patient(quantified: Quantified) -> Quantified:
    """The same as if it were another patient's, in a study of its own."""
    selection = quantified.selection
    study = replace(selection.case.study, study_instance_uid="1.2.3.88", patient_key="somebody else")
    selection = replace(selection, case=replace(selection.case, study=study))
    volumes = replace(quantified.segmented.volumes, selection=selection)
    return replace(quantified, segmented=replace(quantified.segmented, volumes=volumes))


def beside(quantified: Quantified, prior: Quantified) -> Assessed:
    """An assessment with one prior, whose correspondences are of every kind that counts."""
    assessed = assess(quantified)
    correspondences = (
        Correspondence(Fate.MATCHED, (1,), (1,), 0.8, 2.0),
        Correspondence(Fate.NEW, (), (2,)),
        Correspondence(Fate.RESOLVED, (2,), ()),
        Correspondence(Fate.RESOLVED, (3,), ()),
    )
    follow_up = replace(assessed.follow_ups[0], prior=prior, correspondences=correspondences)
    return replace(assessed, follow_ups=(follow_up,))


@pytest.fixture
def make() -> Callable[..., Quantified]:
    """The builder."""
    return build


@pytest.fixture
def profile() -> ResultProfile:
    return ResultProfile(software_version="0.1.0")


def _oblique() -> np.ndarray:
    tilt, turn = np.deg2rad(20), np.deg2rad(35)
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    return about_x @ about_z @ AXES["axial"]


@pytest.fixture
def axes() -> dict[str, np.ndarray]:
    return {**AXES, "oblique": _oblique()}
