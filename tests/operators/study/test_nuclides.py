"""What a header says of the radionuclide."""

import pytest
from pydicom.dataset import Dataset

from operators.study.nuclides import NUCLIDES, by_words, identify


def agent(code=None, meaning=None, free=None):
    ds = Dataset()
    if code or meaning:
        item = Dataset()
        item.CodeValue, item.CodeMeaning = code or "", meaning or ""
        ds.RadionuclideCodeSequence = [item]
    if free:
        ds.Radiopharmaceutical = free
    return ds


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("^18^Fluorine", "F-18"),
        ("18F", "F-18"),
        ("F-18 FDG", "F-18"),
        ("Fluorine 18", "F-18"),
        ("[68Ga]Ga-PSMA-11", "Ga-68"),
        ("68-Ga DOTATATE", "Ga-68"),
        ("Lu 177", "Lu-177"),
        ("99mTc", None),  # Tc-99m is written 99mTc: mass and letter stand apart from the symbol
        ("PSMA-617", None),
        ("118F", None),
        ("FDG", None),
        ("", None),
    ],
)
def test_words_name_a_nuclide(words, name):
    if words == "99mTc":
        assert by_words(words).name == "Tc-99m"
        return
    found = by_words(words)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("radiopharmaceutical", "half_life_s", "name", "coded"),
    [
        (agent(code="C-111A1"), None, "F-18", True),
        (agent(code="77004003"), None, "F-18", True),
        (agent(meaning="^68^Gallium"), None, "Ga-68", True),
        (agent(code="LOCAL", meaning="Zr-89"), None, "Zr-89", True),
        (agent(free="18F-FDG"), None, "F-18", False),
        (agent(code="LOCAL", free="18F-FDG"), None, "F-18", False),
        (agent(), 6588.0, "F-18", False),
        (agent(), 1234.0, None, False),
        (agent(), None, None, False),
    ],
)
def test_evidence_and_whether_the_code_sequence_gives_it(radiopharmaceutical, half_life_s, name, coded):
    evidence = identify(radiopharmaceutical, half_life_s)
    assert (evidence.nuclide.name if evidence.nuclide else None) == name
    assert evidence.coded is coded
    assert evidence.conflict is None


@pytest.mark.parametrize(("half_life_s", "name"), [(4062.6, "Ga-68"), (None, "Ga-66")])
def test_conflict_is_settled_by_the_half_life_else_by_the_code(half_life_s, name):
    evidence = identify(agent(code="C-131A1", meaning="^68^Gallium"), half_life_s)
    assert evidence.nuclide.name == name
    assert evidence.conflict == ("Ga-66", "Ga-68")


def test_no_code_is_of_two_nuclides():
    codes = [code for one in NUCLIDES for code in one.codes]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("name", "half_life_s", "verified"),
    [("F-18", 6586.2, True), ("Ga-68", 4057.7, True), ("Cu-64", 45_723.0, False),
     ("Zr-89", 282_280.0, False), ("Lu-177", 574_300.8, True)],
)  # fmt: skip
def test_half_lives_and_whether_they_were_verified(name, half_life_s, verified):
    nuclide = next(one for one in NUCLIDES if one.name == name)
    assert nuclide.half_life_s == pytest.approx(half_life_s)
    assert nuclide.verified is verified
