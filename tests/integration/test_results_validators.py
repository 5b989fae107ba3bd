"""Other people's programs read our SEG and SR, find no error, and say the same numbers."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from operators.domain import Assessed, Claim, Destination, Job, ResultKind, ResultProfile, SrRegion
from operators.results.key_images import write_key_images
from operators.results.parametric_map import write_parametric_map
from operators.results.pdf import write_pdf
from operators.results.regions import write_regions
from operators.results.rtstruct import write_rtstruct
from operators.results.seg import write_seg
from operators.results.sr import write_srs

TIME_LIMIT_S = 60
PROFILE = ResultProfile(software_version="0.1.0")
EVERYTHING = ResultProfile(software_version="0.1.0", results=frozenset(ResultKind))
BOTH = Job(destinations=(Destination("viewer"), Destination("tools", SrRegion.SEGMENT)))


def _builders():
    """The hand-made measured PET of the results' unit tests."""
    path = Path(__file__).parent.parent / "operators" / "results" / "conftest.py"
    spec = importlib.util.spec_from_file_location("results_builder", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.build, module.assess


build, assess = _builders()


def program(name):
    """Path of a program; skips by name where it is absent, fails in CI."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found


def run(name, *arguments):
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    return done.stdout + done.stderr


RICHEST = "everything that a study can have"
CASES = {
    "two lesions": {"job": BOTH},
    "lesions, not uptake": {"job": BOTH, "claim": Claim.LESION},
    "one lesion": {"job": BOTH, "centres": ((3, 6, 6),)},
    "frames of no whole bytes": {"job": BOTH, "shape": (12, 23, 21)},
    "lossy source": {"job": BOTH, "header": {"LossyImageCompression": "01"}},
    "by a network, with sites": {"job": BOTH, "claim": Claim.LESION, "with_models": True},
    "no lesions": {"job": BOTH, "centres": ()},
    "multi-frame": {"job": BOTH, "multiframe": True},
    RICHEST: {"claim": Claim.LESION, "with_models": True, "with_ct": True},
    "type 2 lacking": {"job": BOTH, "lacking": ("AccessionNumber", "StudyID", "PatientName", "PatientSex")},
}


WRITERS = {
    ResultKind.SEG: write_seg,
    ResultKind.SR: write_srs,
    ResultKind.REGIONS: write_regions,
    ResultKind.KEY_IMAGES: write_key_images,
    ResultKind.RTSTRUCT: write_rtstruct,
    ResultKind.PDF: write_pdf,
    ResultKind.PARAMETRIC_MAP: write_parametric_map,
}
"""Of every kind of result that is DICOM; the forms of segmentations and reports have tests of their own."""
NOT_EVERY_CASE = {ResultKind.SEG, ResultKind.REGIONS, ResultKind.PARAMETRIC_MAP, ResultKind.RTSTRUCT}
"""Written where there are lesions, regions, a model's probability."""


def written(kind, case, folder):
    """The files of a kind that a case gives."""
    quantified = build(**CASES[case])
    if case == RICHEST:
        probability = np.random.default_rng(5).random(quantified.segmented.mask.shape).astype(np.float16)
        quality = replace(quantified.segmented.quality, probability=probability)
        quantified = replace(quantified, segmented=replace(quantified.segmented, quality=quality))
    # without lesions nothing corresponds to those of the builder's prior
    assessed = assess(quantified) if quantified.lesions else Assessed(quantified)
    files = WRITERS[kind](assessed, EVERYTHING, folder)
    assert files or (kind in NOT_EVERY_CASE and case != RICHEST)
    return files


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", WRITERS)
def test_dciodvfy_finds_no_error(tmp_path, case, kind):
    for file in written(kind, case, tmp_path):
        said = run("dciodvfy", "-new", file.path)
        assert not [line for line in said.splitlines() if line.startswith("Error")], said


@pytest.mark.parametrize("kind", WRITERS)
def test_dcmtk_and_pydicom_read_every_object(tmp_path, kind):
    for file in written(kind, RICHEST, tmp_path):
        said = run("dcmdump", "-q", "+L", file.path)
        assert not [line for line in said.splitlines() if line.startswith(("E:", "F:", "W:"))], said
        dataset = pydicom.dcmread(file.path)
        assert f"={dataset.SOPInstanceUID}" not in said
        assert dataset.SOPInstanceUID == file.sop_instance_uid in said
        if "PixelData" in dataset or "FloatPixelData" in dataset:
            assert dataset.pixel_array.size == dataset.Rows * dataset.Columns * (
                dataset.NumberOfFrames * dataset.SamplesPerPixel
            )
        if dataset.Modality in {"SR", "KO"}:
            tree = run("dsrdump", "+Pc", file.path)
            assert not [line for line in tree.splitlines() if line.startswith(("E:", "F:"))], tree
            assert "CONTAINER:" in tree


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        (ResultKind.SEG, highdicom.seg.segread),
        (ResultKind.REGIONS, highdicom.seg.segread),
        (ResultKind.SR, highdicom.sr.srread),
        (ResultKind.PARAMETRIC_MAP, highdicom.imread),
    ],
)
def test_highdicom_reads_every_object_that_it_knows(tmp_path, kind, read):
    for file in written(kind, RICHEST, tmp_path):
        assert read(file.path).SOPInstanceUID == file.sop_instance_uid


def test_highdicom_finds_what_the_key_objects_select(tmp_path):
    *images, selection = written(ResultKind.KEY_IMAGES, RICHEST, tmp_path)
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(selection.path))
    named = document.content.get_references()
    uids = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in named}
    assert images
    assert {image.sop_instance_uid for image in images} <= uids


@pytest.mark.parametrize("shape", [(12, 24, 20), (12, 23, 21)])
def test_dcmqi_reads_the_segments_voxels(tmp_path, shape):
    quantified = build(hole=True, shape=shape)
    (seg,) = write_seg(assess(quantified), PROFILE, tmp_path)
    run(
        "segimage2itkimage",
        "--inputDICOM",
        seg.path,
        "--outputDirectory",
        tmp_path,
        "--prefix",
        "out",
        "-t",
        "nii",
    )
    for lesion in quantified.lesions:
        image = nibabel.load(next(tmp_path.glob(f"out-{lesion.number}.nii*")))
        found = np.argwhere(np.asarray(image.dataobj))
        assert len(found) == lesion.voxels
        # NIfTI is RAS, DICOM is LPS.
        positions = (found @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
        indices = np.argwhere(lesion.mask) + [side.start for side in lesion.box]
        expected = quantified.segmented.volumes.pet.geometry.to_lps(indices)
        np.testing.assert_allclose(sorted(positions.round(3).tolist()), sorted(expected.tolist()), atol=1e-3)
        voxel_ml = quantified.segmented.volumes.pet.geometry.voxel_volume_ml
        assert lesion.voxels * voxel_ml == pytest.approx(lesion.volume_ml)


def test_simpleitk_reads_the_segments_voxels(tmp_path):
    """Of frames of whole bytes: of others GDCM adds voxels, other ones each time, of any SEG."""
    quantified = build()
    (seg,) = write_seg(assess(quantified), PROFILE, tmp_path)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(seg.path))
    assert found.shape == (10, 24, 20)
    assert np.count_nonzero(found) == sum(lesion.voxels for lesion in quantified.lesions)


@pytest.mark.parametrize("with_models", [False, True])
def test_dcmqi_reads_the_reports_numbers(tmp_path, with_models):
    quantified = build(job=BOTH, with_models=with_models)
    report = write_srs(assess(quantified), PROFILE, tmp_path)[1]
    run("tid1500reader", "--inputDICOM", report.path, "--outputMetadata", tmp_path / "sr.json")
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    for lesion, group in zip(quantified.lesions, groups, strict=True):
        assert group["ReferencedSegment"] == lesion.number
        found = {
            (item["quantity"]["CodeValue"], item.get("derivationModifier", {}).get("CodeValue")): float(
                item["value"]
            )
            for item in group["measurementItems"]
        }
        assert found["126401", "56851009"] == pytest.approx(lesion.suv_max)
        assert found["126401", "373098007"] == pytest.approx(lesion.suv_mean)
        assert found["126401", "126031"] == pytest.approx(lesion.suv_peak_global)
        assert found["126032", None] == pytest.approx(lesion.volume_ml)
        is_lesion = quantified.segmented.claim is Claim.LESION
        assert found["126033" if is_lesion else "TM004", None] == pytest.approx(lesion.tlg_g)
        assert found.get(("111012", None), 0) == pytest.approx(100 * (lesion.confidence or 0))


def test_dsrdump_reads_the_reports_numbers(tmp_path):
    quantified = build(job=BOTH)
    for report in write_srs(assess(quantified), PROFILE, tmp_path):
        said = run("dsrdump", "+Pc", "+Pl", report.path)
        for lesion in quantified.lesions:
            assert f'NUM:(126401,DCM,"SUVbw")="{lesion.suv_max}"' in said


@pytest.mark.data
def test_coding_agrees_with_dcmqis_own_pet_report(tmp_path, unpacked):
    """The example codes the same concepts (in the older SNOMED RT identifiers where those were current)."""
    example = pydicom.dcmread(next(unpacked("dcmqi_seg_sr_example.tar.xz").rglob("sr.dcm")))
    quantified = build(job=BOTH, claim=Claim.LESION)
    ours = pydicom.dcmread(write_srs(assess(quantified), PROFILE, tmp_path)[1].path)

    def concepts(item):
        for child in item.get("ContentSequence", ()):
            code = child.get("ConceptNameCodeSequence")
            if code:
                yield code[0].CodeValue, child.ValueType, child.RelationshipType
            yield from concepts(child)

    shared = {
        ("111028", "CONTAINER", "CONTAINS"), ("126200", "CONTAINER", "CONTAINS"),
        ("126010", "CONTAINER", "CONTAINS"), ("125007", "CONTAINER", "CONTAINS"),
        ("112039", "TEXT", "HAS OBS CONTEXT"), ("112040", "UIDREF", "HAS OBS CONTEXT"),
        ("121071", "CODE", "CONTAINS"), ("121191", "IMAGE", "CONTAINS"), ("121232", "UIDREF", "CONTAINS"),
        ("126401", "NUM", "CONTAINS"), ("126033", "NUM", "CONTAINS"), ("121401", "CODE", "HAS CONCEPT MOD"),
        ("121058", "CODE", "HAS CONCEPT MOD"), ("121139", "CODE", "HAS ACQ CONTEXT"),
    }  # fmt: skip
    assert shared <= set(concepts(example))
    assert shared <= set(concepts(ours))
