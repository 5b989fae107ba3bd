"""Other people's programs read the report in every form and language, without a complaint of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import pytest

from operators.domain import Claim, Destination, Job, Language, ResultProfile, SegForm, SrRegion
from operators.results.sr import write_srs
from tests.operators.results.conftest import assess, build

TIME_LIMIT_S = 60
PROFILE = ResultProfile(software_version="0.1.0")
OF_UTF_8 = "W: The VR checker does not support this Specific Character Set: ISO_IR 192"
"""DCMTK's checker of values says so of any data set in UTF-8."""

FORMS = {
    **{f"image {each}": Destination("x", language=each) for each in Language},
    **{f"segment {each}": Destination("x", SrRegion.SEGMENT, language=each) for each in Language},
    "tool": Destination("x", SrRegion.TOOL),
    "segment fractional": Destination("x", SrRegion.SEGMENT, seg_form=SegForm.FRACTIONAL),
}
LABEL_MAP = Destination("x", SrRegion.SEGMENT, seg_form=SegForm.LABELMAP)


def run(name, *arguments):
    """What a program says, and its exit status; skips by name where it is absent, fails in CI."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    done = subprocess.run(
        [found, *map(str, arguments)], capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def written(destination, folder, **changes):
    quantified = build(job=Job(destinations=(destination,)), **changes)
    (file,) = write_srs(assess(quantified), PROFILE, folder)
    return quantified, file.path


EVERYTHING = {"claim": Claim.LESION, "with_models": True, "with_ct": True, "header": {"PatientName": "Ōe^健"}}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_valid_and_readable_as_a_tree(tmp_path, form):
    quantified, path = written(FORMS[form], tmp_path, **EVERYTHING)
    _, said = run("dciodvfy", "-new", path)
    assert not [line for line in said if line.startswith("Error")]
    status, said = run("dsrdump", "+Pl", path)
    assert status == 0
    assert {line for line in said if line[:2] in {"W:", "E:", "F:"}} <= {OF_UTF_8}
    for lesion in quantified.lesions:
        assert any(f'"{lesion.suv_max}"' in line for line in said)
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(quantified.lesions)
    status, said = run("tid1500reader", "--inputDICOM", path, "--outputMetadata", tmp_path / "out.json")
    assert status == 0
    assert not [line for line in said if line.startswith(("E:", "F:", "ERROR"))]


@pytest.mark.parametrize("language", list(Language))
def test_a_report_without_lesions_is_valid_in_every_language(tmp_path, language):
    _, path = written(Destination("x", language=language), tmp_path, centres=())
    _, said = run("dciodvfy", "-new", path)
    assert not [line for line in said if line.startswith("Error")]
    status, said = run("dsrdump", path)
    assert status == 0
    assert {line for line in said if line[:2] in {"W:", "E:", "F:"}} <= {OF_UTF_8}


def test_the_complaints_about_label_maps_are_the_known_ones(tmp_path):
    """Neither program knows the SOP class, which is of 2024: each says so of each segment, and no more."""
    quantified, path = written(LABEL_MAP, tmp_path, **EVERYTHING)
    _, said = run("dciodvfy", "-new", path)
    errors = [line for line in said if line.startswith("Error")]
    assert len(errors) == len(quantified.lesions)
    assert all("ReferencedSegmentNumber" in line for line in errors)
    assert all("Referenced SOP Class that is not segmentation" in line for line in errors)
    status, said = run("dsrdump", path)
    complaints = {line for line in said if line[:2] in {"W:", "E:", "F:"}} - {OF_UTF_8}
    assert status != 0
    assert "W: Invalid or unknown image SOP class referenced from IMAGE content item" in complaints
    assert len(highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()) == 2
