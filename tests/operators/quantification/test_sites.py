"""Parts of the body and the totals in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import operators
from operators.quantification.sites import by_organ, by_region, region_of
from operators.quantification.totals import total

TERMS = json.loads((Path(operators.__path__[0]) / "segmentation" / "package" / "terms.json").read_text())

REGIONS = {
    "bone": "vertebrae_l5 sacrum rib_left_7 rib_7 hip_left femur_right clavicula_left scapula_right skull "
    "costal_cartilages sternum mandible ribcage left_hip",
    "lung": "lung_upper_lobe_left lung_nodules",
    "liver": "liver liver_segment_4 Liver",
    "kidney": "kidney_left right-kidney kidney_cyst",
    "brain": "brain brainstem",
    "bowel": "colon small_bowel duodenum",
    "muscle": "gluteus_maximus_left supraspinatus_left masseter",
    "levator scapulae": "levator_scapulae",
    "heart": "heart_atrium_left",
    "adrenal gland": "adrenal_gland_right left_adrenal_gland",
    "parotid gland": "parotid_gland_left",
    "prostate": "prostate",
    "left ventricular outflow tract": "left_ventricular_outflow_tract",
    "spinal cord": "spinal_cord",
    "hippocampus": "hippocampus_left L-Hippocampus",
    "spleen": "spleen",
}


@pytest.mark.parametrize(
    ("name", "region"), [(name, region) for region, names in REGIONS.items() for name in names.split()]
)
def test_region_of_an_organ(make_site, name, region):
    assert region_of(make_site(name)) == region


@pytest.mark.parametrize(("overlap", "region"), [(0.0, "no organ"), (0.1999, "no organ"), (0.2, "spleen")])
def test_a_lesion_is_in_an_organ_from_a_fifth_on(make_site, overlap, region):
    assert region_of(make_site("spleen", overlap=overlap)) == region


def test_every_vertebra_and_rib_that_packages_know_is_bone(make_site):
    names = [name for term in TERMS["terms"] for name in term["names"]]
    bones = [name for name in names if re.match(r"vertebra|rib", name)]
    assert len(bones) > 60
    assert {region_of(make_site(name)) for name in bones} == {"bone"}


def test_totals_by_part_and_by_organ(make_lesion, make_site):
    left, right = make_site("kidney_left"), make_site("kidney_right")
    lesions = (
        make_lesion(1, site=left, volume_ml=2.0, suv_max=9.0, tlg_g=12.0),
        make_lesion(2, site=right, volume_ml=3.0, centroid_lps_mm=(0.0, 60.0, 80.0)),
        make_lesion(3, site=make_site("vertebrae_l5"), volume_ml=10.0),
        make_lesion(4, site=make_site("sacrum", overlap=0.1), volume_ml=0.5),
        make_lesion(5, volume_ml=0.25),
    )
    regions, organs = by_region(lesions, total), by_organ(lesions, total)
    assert [(each.name, each.lesions) for each in regions] == [
        ("bone", (3,)),
        ("kidney", (1, 2)),
        ("no organ", (4, 5)),
    ]
    assert all(each.anatomy is None for each in regions)
    kidneys = regions[1].totals
    assert (kidneys.count, kidneys.volume_ml, kidneys.tlg_g, kidneys.suv_max) == (2, 5.0, 17.0, 9.0)
    assert kidneys.dmax_mm == 100.0
    assert [(each.name, each.lesions) for each in organs] == [
        ("L5 vertebra", (3,)),
        ("right kidney", (2,)),
        ("left kidney", (1,)),
        ("no organ", (4, 5)),
    ]
    assert organs[1].anatomy == right.anatomy
    for parts in (regions, organs):
        assert sum(each.totals.volume_ml for each in parts) == total(lesions).volume_ml


def test_without_organs_there_are_no_parts(make_lesion):
    assert by_region((make_lesion(),), total) == ()
    assert by_organ((), total) == ()
