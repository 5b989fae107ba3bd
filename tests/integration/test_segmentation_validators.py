"""Other people's programs read our segmentations of every form, the regions and the parametric map."""

import base64
import io
import urllib.request
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom._standard_utils import (
    get_iod_module_map,
    get_module_attribute_map,
    get_sop_class_iod_map,
)
from pynetdicom import AE

from operators.domain import Assessed, Destination, Job, ReferenceRegion, ResultKind, SegForm
from operators.results.parametric_map import write_parametric_map
from operators.results.regions import marked_regions, organ_regions, write_regions
from operators.results.seg import write_seg
from tests.integration.test_results_validators import PROFILE, build, run
from tests.servers import Orthanc

EVERYTHING = frozenset(ResultKind)
EACH_FORM = Job(
    destinations=tuple(Destination(form.value, results=EVERYTHING, seg_form=form) for form in SegForm)
)
LABEL_MAP_COMPLAINTS = {
    "Error - </SegmentSequence(0062,0002)[1]/SegmentNumber(0062,0004)> - SegmentNumber not monotonically "
    "increasing from one by one - have SegmentSequence item number 1 (from one) with SegmentNumber of 0",
    "Error - Information Object Not found",
}
"""Of a dciodvfy older than Supplement 243: it knows neither the SOP class nor the background's number 0."""


def measured(**changes):
    """By a network, with a probability, a removed region, organs and a reference region in one of them."""
    quantified = build(job=EACH_FORM, with_models=True, **changes)
    segmented = quantified.segmented
    probability = np.random.default_rng(5).random(segmented.mask.shape).astype(np.float16)
    centre = segmented.volumes.pet.geometry.to_lps(np.array([[7, 14, 12]]))[0]
    liver = ReferenceRegion("liver", 2.1, 0.25, 121, 14.7, tuple(map(float, centre)), "organs@2.0.0")
    quality = replace(segmented.quality, probability=probability)
    return replace(quantified, segmented=replace(segmented, references=(liver,), quality=quality))


def files_of(quantified, folder):
    for write in (write_seg, write_regions, write_parametric_map):
        yield from write(Assessed(quantified), PROFILE, folder)


CASES = {
    "two lesions": {},
    "frames of no whole bytes": {"shape": (12, 23, 21)},
    "frames of an odd number of bytes": {"shape": (11, 23, 21)},
    "lossy source": {"header": {"LossyImageCompression": "01"}},
    "multi-frame": {"multiframe": True},
    "type 2 lacking": {"lacking": ("AccessionNumber", "StudyID", "PatientName", "PatientSex")},
}


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error(tmp_path, case):
    found = {}
    for file in files_of(measured(**CASES[case]), tmp_path):
        said = run("dciodvfy", "-new", file.path).splitlines()
        assert said, "it says at least what it takes the object for"
        found[file.path.name] = {line for line in said if line.startswith("Error")}
    assert found == {
        "seg-binary.dcm": set(),
        "seg-fractional.dcm": set(),
        "seg-labelmap.dcm": LABEL_MAP_COMPLAINTS,
        "regions.dcm": set(),
        "regions-organs.dcm": set(),
        "parametric-map.dcm": set(),
    }


def masks_read_by_dcmqi(path, folder):
    """{segment: sorted LPS places of its voxels}"""
    folder.mkdir()
    arguments = ("--inputDICOM", path, "--outputDirectory", folder, "--prefix", "out", "-t", "nii")
    run("segimage2itkimage", *arguments)
    found = {}
    for file in folder.glob("out-*.nii*"):
        image = nibabel.load(file)
        voxels = np.argwhere(np.asarray(image.dataobj))
        # NIfTI is RAS, DICOM is LPS.
        places = (voxels @ image.affine[:3, :3].T + image.affine[:3, 3]) * [-1, -1, 1]
        found[int(file.name.split("-")[1].split(".")[0])] = places
    return found


def assert_same_places(found, indices, geometry):
    expected = geometry.to_lps(indices)
    np.testing.assert_allclose(sorted(found.round(3).tolist()), sorted(expected.round(3).tolist()), atol=2e-3)


@pytest.mark.parametrize("shape", [(12, 24, 20), (12, 23, 21)])
def test_dcmqi_reads_the_regions_voxels(tmp_path, shape):
    quantified = measured(shape=shape)
    files = write_regions(Assessed(quantified), PROFILE, tmp_path)
    for file, regions in zip(files, (marked_regions, organ_regions), strict=True):
        found = masks_read_by_dcmqi(file.path, tmp_path / file.path.stem)
        assert sorted(found) == [1, 2]
        for number, region in enumerate(regions(quantified.segmented), 1):
            inside = np.argwhere(region.labels == region.value) + [side.start for side in region.box]
            assert_same_places(found[number], inside, quantified.segmented.volumes.pet.geometry)


def test_dcmtk_reads_every_object(tmp_path):
    for file in files_of(measured(), tmp_path):
        said = run("dcmdump", "+P", "SOPInstanceUID", "+P", "NumberOfFrames", file.path)
        assert file.sop_instance_uid in said
        assert not [line for line in said.splitlines() if line.startswith(("E:", "F:"))], said


def absent(dataset):
    """What the standard's tables require of an instance, in any of its items, and it lacks.

    Of the mandatory modules, attributes of type 1 and 2. Which functional groups are shared and which are a
    frame's own is the instance's to choose.
    """
    iod = get_sop_class_iod_map()[dataset.SOPClassUID]
    for module in get_iod_module_map()[iod]:
        if module["usage"] != "M" or module["key"].endswith("functional-groups"):
            continue
        for attribute in get_module_attribute_map()[module["key"]]:
            items = [dataset]
            for keyword in attribute["path"]:
                items = [child for each in items for child in each.get(keyword, ())]
            for each in items:
                keyword, kind = attribute["keyword"], attribute["type"]
                if kind in ("1", "2") and (keyword not in each or (kind == "1" and each[keyword].is_empty)):
                    yield module["key"], *attribute["path"], keyword


@pytest.mark.parametrize("case", CASES)
def test_nothing_that_the_standard_requires_is_absent(tmp_path, case):
    for file in files_of(measured(**CASES[case]), tmp_path):
        assert not set(absent(pydicom.dcmread(file.path, stop_before_pixels=True))), file.path.name


def test_pydicom_reads_what_it_would_write_again(tmp_path):
    for file in files_of(measured(), tmp_path):
        dataset = pydicom.dcmread(file.path)
        dataset.save_as(tmp_path / "again.dcm")
        assert (tmp_path / "again.dcm").stat().st_size == file.path.stat().st_size
        assert pydicom.dcmread(tmp_path / "again.dcm") == dataset


def decoded_by(orthanc, sop_instance_uid):
    """An instance's pixels (frames, rows, columns) as Orthanc decodes them."""
    (found,) = orthanc.lookup(sop_instance_uid)
    token = base64.b64encode(f"{orthanc.user}:{orthanc.password}".encode()).decode()
    request = urllib.request.Request(f"{orthanc.http_url}{found['Path']}/numpy?rescale=false")
    request.add_header("Authorization", f"Basic {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return np.load(io.BytesIO(answer.read()))[..., 0]


def test_orthanc_stores_every_object_and_decodes_those_of_whole_bytes(tmp_path):
    """One bit a pixel and floating point are decoded by none of its functions, whoever wrote them."""
    (tmp_path / "out").mkdir()
    (tmp_path / "pacs").mkdir()
    files = list(files_of(measured(), tmp_path / "out"))
    with Orthanc(tmp_path / "pacs") as orthanc:
        ae = AE()
        for file in files:
            ae.add_requested_context(file.sop_class_uid, pydicom.uid.ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", orthanc.dicom_port, ae_title=orthanc.ae_title)
        assert association.is_established
        datasets = [pydicom.dcmread(file.path) for file in files]
        assert [association.send_c_store(dataset).Status for dataset in datasets] == [0] * len(files)
        association.release()
        for dataset in datasets:
            kept = pydicom.dcmread(io.BytesIO(orthanc.file(dataset.SOPInstanceUID)))
            assert kept == dataset
            if "PixelData" in dataset and dataset.BitsAllocated > 1:
                found = decoded_by(orthanc, dataset.SOPInstanceUID)
                np.testing.assert_array_equal(found, dataset.pixel_array)
    assert sorted(dataset.BitsAllocated for dataset in datasets) == [1, 1, 1, 8, 8, 32]
