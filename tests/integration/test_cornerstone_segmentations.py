"""Cornerstone3D, which OHIF draws with, reads every form of our segmentations, voxel for voxel."""

import json
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from operators.domain import Assessed
from operators.results.regions import marked_regions, organ_regions, write_regions
from operators.results.seg import write_seg
from tests.integration.test_results_validators import PROFILE
from tests.integration.test_segmentation_validators import measured
from tests.viewer.programs import FOLDER, node

pytestmark = pytest.mark.slow


def read(path, quantified, folder):
    """What the adapters find of a SEG on the PET: (z, y, x) of the segments' numbers, and their labels."""
    pet = quantified.segmented.volumes.pet
    paths = []
    for z, instance in enumerate(pet.instances):
        paths.append(folder / f"pet-{z}.dcm")
        header = pydicom.Dataset(instance.header)
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.save_as(paths[-1], enforce_file_format=True)
    command = [node(), str(FOLDER / "readers.js"), str(path), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    found = json.loads(done.stdout)
    planes = {instance.sop_instance_uid: z for z, instance in enumerate(pet.instances)}
    voxels = np.zeros((pet.geometry.shape[0], np.prod(pet.geometry.shape[1:])), int)
    for value, instance, at in found["voxels"]:
        voxels[planes[instance], at] = value
    return voxels.reshape(pet.geometry.shape), found["labels"]


def without_probability(quantified):
    return replace(quantified, segmented=replace(quantified.segmented, quality=None))


def lesions_of(quantified):
    expected = np.zeros(quantified.segmented.mask.shape, int)
    for lesion in quantified.lesions:
        expected[lesion.box][lesion.mask] = lesion.number
    return expected


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("seg-binary.dcm", ["Uptake 1", "Uptake 2"]),
        ("seg-labelmap.dcm", ["Background", "Uptake 1", "Uptake 2"]),
        ("seg-fractional.dcm", ["Uptake 1", "Uptake 2"]),
    ],
)
def test_every_form_gives_the_lesions_voxels(tmp_path, name, labels):
    quantified = without_probability(measured())
    write_seg(Assessed(quantified), PROFILE, tmp_path)
    voxels, found = read(tmp_path / name, quantified, tmp_path)
    np.testing.assert_array_equal(voxels, lesions_of(quantified))
    assert found == labels


def test_fractions_that_are_probabilities_are_refused_by_name(tmp_path):
    """A limit of the viewer: when it goes, this test says so."""
    quantified = measured()
    write_seg(Assessed(quantified), PROFILE, tmp_path)
    with pytest.raises(ValueError, match="Fractional segmentations are not yet supported"):
        read(tmp_path / "seg-fractional.dcm", quantified, tmp_path)


@pytest.mark.parametrize(
    ("name", "regions"), [("regions.dcm", marked_regions), ("regions-organs.dcm", organ_regions)]
)
def test_regions_give_their_voxels(tmp_path, name, regions):
    quantified = measured()
    write_regions(Assessed(quantified), PROFILE, tmp_path)
    voxels, labels = read(tmp_path / name, quantified, tmp_path)
    expected = np.zeros_like(voxels)
    for number, region in enumerate(regions(quantified.segmented), 1):
        expected[region.box][region.labels == region.value] = number
    np.testing.assert_array_equal(voxels, expected)
    assert labels == [region.label for region in regions(quantified.segmented)]
