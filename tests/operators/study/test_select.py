"""Which PET and which CT are taken, and the line on each series."""

from __future__ import annotations

from typing import Any

import pytest

from operators.domain import Role, Selection
from operators.errors import Refusal, SelectionRefusal
from operators.study.select import select

Study = Any


def refused(study: Study) -> SelectionRefusal:
    with pytest.raises(SelectionRefusal) as caught:
        study.select()
    return caught.value


def codes(selection: Selection | SelectionRefusal) -> dict[str, str]:
    return {line.description: line.code for line in selection.decisions}


def notes(selection: Selection) -> set[str]:
    return {note.code for note in selection.notes}


def test_takes_the_pet_and_the_ct_of_its_frame(study: Study) -> None:
    pet, ct = study.series(), study.series("CT", "CT AC")
    selection = study.select()
    assert selection.pet.series_instance_uid == pet
    assert selection.ct is not None
    assert selection.ct.series_instance_uid == ct
    assert {line.role for line in selection.decisions} == {Role.PET, Role.CT}
    assert not selection.notes


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("NOT_ATTENUATION_CORRECTED", {"CorrectedImage": ["DECY", "SCAT"]}),
        ("ATTENUATION_UNKNOWN", {"CorrectedImage": None}),
        ("NOT_SLICES", {"ImageType": ["DERIVED", "PRIMARY", "MIP"]}),
        ("NOT_SLICES", {"SeriesType": ["WHOLE BODY", "REPROJECTION"]}),
        ("DYNAMIC_OR_GATED", {"SeriesType": ["DYNAMIC", "IMAGE"]}),
        ("DYNAMIC_OR_GATED", {"SeriesType": ["GATED", "IMAGE"]}),
        ("DERIVED", {"ImageType": ["DERIVED", "SECONDARY"]}),
        ("TOO_FEW_SLICES", {"slices": range(2)}),
        ("TOO_FEW_SLICES", {"ImagePositionPatient": [0, 0, 0]}),
        ("SHORTER", {"slices": range(4)}),
        ("OTHER_OBJECT", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
    ],
)
def test_passes_over_what_is_not_the_image(study: Study, code: str, changes: dict[str, Any]) -> None:
    pet = study.series()
    study.series(name="other", **changes)
    selection = study.select()
    assert selection.pet.series_instance_uid == pet
    assert codes(selection) == {"PET AC": "TAKEN", "other": code}


@pytest.mark.parametrize(
    "description",
    [
        "PET NAC",
        "WB_NAC_2mm",
        "PET no AC",
        "uncorrected",
        "PET unkorrigiert",
        "sans correction d'attenuation",
        "MIP coronal",
        "Fused PET CT",
        "Screen Save",
        "Patient Protocol",
        "Dose Report",
        "Bildschirmfoto",
    ],
)
def test_passes_over_by_description(study: Study, description: str) -> None:
    study.series()
    study.series(name=description)
    assert codes(study.select())[description] == "DESCRIPTION"


@pytest.mark.parametrize(
    "description", ["PET AC", "WB CTAC", "Brain AC 3D", "PET TOF-PSF", "WholeBody (AC)", "Tumor compact"]
)
def test_takes_ordinary_descriptions(study: Study, description: str) -> None:
    study.series(name=description)
    assert codes(study.select()) == {description: "TAKEN"}


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("NOT_ATTENUATION_CORRECTED", {"CorrectedImage": ["DECY"]}),
        ("DYNAMIC_OR_GATED", {"SeriesType": ["GATED", "IMAGE"]}),
        ("NO_PET", {"name": "PET MIP"}),
    ],
)
def test_refusal_says_why_the_only_pet_is_no_use(study: Study, code: str, changes: dict[str, Any]) -> None:
    study.series(**changes)
    refusal = refused(study)
    assert refusal.code == code
    assert len(refusal.decisions) == 1


def test_refuses_lutetium_spect_stored_as_pet(study: Study) -> None:
    item = study.radiopharmaceutical("Lu-177 PSMA-617", nuclide=None, half_life_s=574273.0)
    study.series(RadiopharmaceuticalInformationSequence=[item])
    assert refused(study).code == "RADIONUCLIDE_NOT_PET"


def test_refuses_two_equal_pets_and_names_both(study: Study) -> None:
    study.series()
    study.series(name="PET AC PSF")
    refusal = refused(study)
    assert refusal.code == "PET_AMBIGUOUS"
    assert "'PET AC'" in refusal.sentence
    assert "'PET AC PSF'" in refusal.sentence
    assert set(codes(refusal).values()) == {"PET_AMBIGUOUS"}


def test_derived_pet_is_taken_with_a_note_when_it_is_the_only_one(study: Study) -> None:
    study.series(ImageType=["DERIVED", "SECONDARY"])
    assert "PET_DERIVED" in notes(study.select())


def test_goes_on_without_ct_and_says_so(study: Study) -> None:
    study.series()
    selection = study.select()
    assert selection.ct is None
    assert notes(selection) == {"CT_ABSENT"}


def test_ct_of_another_frame_is_not_used(study: Study) -> None:
    study.series()
    study.series("CT", "CT", FrameOfReferenceUID="1.2.3")
    selection = study.select()
    assert selection.ct is None
    assert notes(selection) == {"CT_OTHER_FRAME"}


def test_damaged_ct_is_not_used(study: Study) -> None:
    study.series()
    study.series("CT", "CT")
    path = study.root / "CT" / "002.dcm"
    path.write_bytes(path.read_bytes()[:-5])
    selection = study.select()
    assert selection.ct is None
    assert codes(selection)["CT"] == "DAMAGED"


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"slices": range(3)},
        {"slices": range(4)},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ConvolutionKernel": "LUNG"},
        {"SeriesDescription": "Topogram 0.6"},
    ],
)
def test_takes_the_better_ct(study: Study, changes: dict[str, Any]) -> None:
    study.series()
    best = study.series("CT", "best", ConvolutionKernel="STANDARD")
    study.series("CT", "another", **changes)
    selection = study.select()
    assert selection.ct is not None
    assert selection.ct.series_instance_uid == best


@pytest.mark.data
def test_original_whole_body_pet_is_taken(unpacked: Any, study: Study) -> None:
    study.root = unpacked("sts001_wholebody_pet.tar.xz")
    selection = study.select()
    assert len(selection.pet.instances) == 267
    assert selection.tracer.protocol == "fdg"
    assert selection.tracer.radionuclide == "F-18"


@pytest.mark.data
def test_gallium_with_a_mistyped_code_is_gallium(unpacked: Any, study: Study) -> None:
    (study.root,) = [p for p in unpacked("suv_dro.tar.xz").rglob("DRO_5_0") if p.is_dir()]
    tracer = study.select().tracer
    assert (tracer.protocol, tracer.radionuclide) == ("psma", "Ga-68")


@pytest.mark.data
def test_malformed_files_do_not_disturb_a_good_study(unpacked: Any, study: Study) -> None:
    corpus = unpacked("malformed_dicom.tar.xz")
    files = sorted(path for path in corpus.rglob("*.dcm"))
    pet = study.series()
    for k, path in enumerate(files):
        (study.root / f"bad{k:03}.dcm").write_bytes(path.read_bytes())
    case = study.case()
    listed = {entry.path for entry in case.set_aside}
    assert {f"bad{k:03}.dcm" for k in range(len(files))} == listed
    assert select(case, study.protocols).pet.series_instance_uid == pet


@pytest.mark.data
def test_every_malformed_file_alone_is_refused_by_name(unpacked: Any, study: Study) -> None:
    corpus = unpacked("malformed_dicom.tar.xz")
    alone = study.root / "alone.dcm"
    outcomes = set()
    for path in corpus.rglob("*.dcm"):
        alone.write_bytes(path.read_bytes())
        with pytest.raises(Refusal) as caught:
            study.select()
        outcomes.add(caught.value.code)
    assert outcomes == {"NO_DICOM", "NO_PET"}
