"""Codes of labels: every one verified, none invented."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

import pytest
from pydicom.sr._concepts_dict import concepts

from operators.domain import Code
from operators.segmentation.package import terms
from operators.segmentation.package.terms import anatomy_of

FILE = json.loads(files(terms.__package__).joinpath("terms.json").read_text())
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")

TOTALSEGMENTATOR = re.findall(
    r"\S+",
    """
    spleen kidney_right gallbladder liver stomach pancreas adrenal_gland_left lung_upper_lobe_left
    lung_lower_lobe_right lung_middle_lobe_right esophagus trachea thyroid_gland small_bowel
    duodenum colon urinary_bladder prostate sacrum vertebrae_S1 vertebrae_L5 vertebrae_T12
    vertebrae_C1 heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_left
    common_carotid_artery_right brachiocephalic_vein_left atrial_appendage_left superior_vena_cava
    inferior_vena_cava portal_vein_and_splenic_vein iliac_artery_left iliac_vena_right humerus_left
    scapula_right clavicula_left femur_right hip_left spinal_cord gluteus_maximus_left
    gluteus_medius_right gluteus_minimus_left autochthon_right iliopsoas_left brain skull rib_left_1
    rib_right_12 sternum costal_cartilages heart_myocardium heart_atrium_left heart_ventricle_right
    pulmonary_artery face parotid_gland_left submandibular_gland_right body_trunc body_extremities
    subcutaneous_fat torso_fat skeletal_muscle tarsal lung_vessels lung_trachea_bronchia
    liver_segment_4 breast vertebrae_body
    """,
)
MOOSE = re.findall(
    r"\S+",
    """
    bladder thyroid_left thyroid_right clavicle_left carpal_left fingers_left metatarsal_right
    toes_left ulna_left spinal_chord eyes testicles vertebra_C1 vertebra_L5 portal_splenic_vein
    Spleen Kidneys Adrenal_glands Lungs Heart_myocardium Brain Bladder Legs Head Arms segment_IV
    R-Hippocampus L-Putamen Brainstem sma left_common_carotid right_common_iliac_artery
    """,
)


@cache
def _known() -> dict[str, set[str]]:
    """Meanings by SNOMED CT code, of all context groups that pydicom has."""
    known: dict[str, set[str]] = {}
    for meanings in concepts["SCT"].values():
        for value, (meaning, _) in meanings.items():
            known.setdefault(value, set()).add(meaning)
    return known


def _is_sctid(value: str) -> bool:
    """Whether the check digit (Verhoeff, SNOMED CT release file specification) is right."""
    permutation = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)

    def times(a: int, b: int) -> int:  # of the dihedral group of order ten
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for place, letter in enumerate(reversed(value)):
        digit = int(letter)
        for _ in range(place % 8):
            digit = permutation[digit]
        check = times(check, digit)
    return check == 0


ALL = [*FILE["terms"], *FILE["sides"].values()]


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry["meaning"])
def test_meaning_is_dicoms_where_dicom_has_the_code(entry: dict[str, str]) -> None:
    known = _known().get(entry["code"])
    if entry.get("source") == "TotalSegmentator":
        assert known is None
    else:
        assert known is not None
        assert entry["meaning"] in known


def test_every_code_has_the_check_digit_of_snomed_ct() -> None:
    assert [entry["code"] for entry in ALL if not _is_sctid(entry["code"])] == []
    assert not _is_sctid("64033008")


def test_no_name_stands_twice() -> None:
    names = [name for entry in FILE["terms"] for name in (*entry["names"], *entry.get("bilateral", ()))]
    names += FILE["uncoded"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [*TOTALSEGMENTATOR, *MOOSE])
def test_names_of_organ_models_have_a_code(name: str) -> None:
    anatomy = anatomy_of(name)
    assert anatomy.name == name
    assert anatomy.code is not None


@pytest.mark.parametrize("name", FILE["uncoded"])
def test_names_without_a_verified_code_have_none(name: str) -> None:
    assert anatomy_of(name).code is None
    assert anatomy_of(f"{name}_left").code is None


@pytest.mark.parametrize("name", ["kidney_left", "left_kidney", "Left kidney", "L-Kidney", "KIDNEY LEFT"])
def test_the_side_may_stand_anywhere(name: str) -> None:
    anatomy = anatomy_of(name)
    assert (anatomy.code, anatomy.side) == (Code("64033007", "SCT", "Kidney"), LEFT)


def test_ribs_are_numbered_and_sided() -> None:
    assert anatomy_of("rib_right_12").code == Code("43993008", "SCT", "Twelfth rib")
    assert anatomy_of("rib_right_12").side == RIGHT


def test_a_code_that_holds_its_side_is_given_none() -> None:
    assert anatomy_of("heart_atrium_left").code == Code("82471001", "SCT", "Left atrium")
    assert anatomy_of("heart_atrium_left").side is None
    assert anatomy_of("subclavian_artery_left").code == Code("85235006", "SCT", "Left Subclavian Artery")
    assert anatomy_of("subclavian_artery_left").side is None


def test_both_of_a_pair_are_bilateral() -> None:
    assert anatomy_of("Kidneys").side == Code("51440002", "SCT", "Bilateral")
    assert anatomy_of("kidney").side is None


@pytest.mark.parametrize("name", ["liver_left", "left_right_kidney", "", "_", "lymphoma", "kidney_left_cyst"])
def test_what_is_unknown_has_neither_code_nor_side(name: str) -> None:
    anatomy = anatomy_of(name)
    assert (anatomy.code, anatomy.side) == (None, None)
