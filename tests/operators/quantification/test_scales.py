"""The SUVs beside SUVbw against the vectors of the QIBA pseudo-code and the IBSI SUV manual."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.sr._concepts_dict import concepts

from operators.quantification.scales import _KINDS, PERCIST, body_surface_m2, percist_scale, scaled
from operators.volume.body import LEAN_MASS, body_mass_kg, surface_cm2

# of a patient of 75 kg and 185 cm: g of lean mass, cm2 of surface
VECTORS = [
    ("M", "suvlbm_morgan", 62777.575),
    ("F", "suvlbm_morgan", 55925.676),
    ("M", "suvlbm_janmahasatian", 60915.336),
    ("F", "suvlbm_janmahasatian", 49214.380),
    ("M", "suvlbm_james128", 61462.746),
    ("F", "suvlbm_james128", 55925.676),
    ("M", "suvbsa", 19813.758),
    ("F", "suvbsa", 19813.758),
]


@pytest.fixture
def suv_of(make_volumes, make_volume):
    base = make_volumes(make_volume(np.ones((1, 1, 1)))).suv

    def build(sex):
        masses = {name: body_mass_kg(formula, 75.0, 1.85, sex) for name, formula in LEAN_MASS.items()}
        return replace(
            base,
            weight_kg=75.0,
            height_m=1.85,
            sex=sex,
            lbm_ratio={name: mass / 75.0 for name, mass in masses.items()},
            bsa_ratio=surface_cm2(75.0, 1.85) / 75000.0,
        )

    return build


@pytest.mark.parametrize(("sex", "name", "size"), VECTORS)
def test_ratio_of_75_kg_and_185_cm(suv_of, sex, name, size):
    ratios = {scale.name: scale.ratio for scale in scaled(suv_of(sex))}
    assert ratios[name] == pytest.approx(size / 75000.0, rel=1e-7)


def test_every_formula_of_lean_mass_has_a_scale():
    assert {kind.formula for kind in _KINDS} == {*LEAN_MASS, None}


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.name)
def test_codes_and_units_are_those_of_dicom(kind):
    meanings = {code: meaning for each in concepts["DCM"].values() for code, (meaning, _) in each.items()}
    assert (kind.code.scheme, kind.method.scheme) == ("DCM", "DCM")
    assert meanings[kind.code.value] == kind.code.meaning
    assert meanings[kind.method.value] == kind.method.meaning
    assert any(kind.unit in each for each in concepts["UCUM"].values())


def test_without_height_there_is_no_scale(suv_of):
    suv = replace(suv_of("M"), height_m=None, lbm_ratio={}, bsa_ratio=None)
    assert scaled(suv) == ()
    assert percist_scale(suv) is None
    assert body_surface_m2(suv) is None


def test_percists_sul_is_janmahasatians(suv_of):
    scale = percist_scale(suv_of("F"))
    assert (scale.name, scale.unit) == (PERCIST, "g/ml{SUVlbm(Janma)}")
    assert scale.ratio == pytest.approx(49.214380 / 75)


def test_body_surface_of_75_kg_and_185_cm(suv_of):
    assert body_surface_m2(suv_of("M")) == pytest.approx(1.9813758, rel=1e-7)
