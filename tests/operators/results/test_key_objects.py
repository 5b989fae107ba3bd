"""The Key Object Selection names the pictures and the slices of the lesions, and all of these as evidence."""

import shutil
import subprocess
from dataclasses import replace

import pydicom
import pytest

from operators.domain import Destination, Job, Language, ResultKind
from operators.results.key_images import write_key_images
from tests.conftest import missing
from tests.operators.results.conftest import assess

VIEWER = Destination("viewer", results=frozenset({ResultKind.KEY_IMAGES}))


@pytest.fixture
def selection(make, profile, tmp_path):
    """The selection of a recipe and the pictures that were written with it."""

    def write(destination=VIEWER, **changes):
        quantified = make(job=Job(destinations=(destination,)), **changes)
        files = write_key_images(assess(quantified), profile, tmp_path)
        return pydicom.dcmread(files[-1].path), files[:-1], quantified

    return write


def named(document):
    """The images of the content, each (SOP instance, frame or None)."""
    references = (
        item.ReferencedSOPSequence[0] for item in document.ContentSequence if item.ValueType == "IMAGE"
    )
    return [(each.ReferencedSOPInstanceUID, each.get("ReferencedFrameNumber")) for each in references]


def test_it_names_the_pictures_then_the_slices_of_the_hottest_voxels(selection):
    document, pictures, quantified = selection()
    pet = quantified.segmented.volumes.pet
    slices = [pet.instances[lesion.suv_max_index[0]].sop_instance_uid for lesion in quantified.lesions]
    assert named(document) == [
        (uid, None) for uid in [*(file.sop_instance_uid for file in pictures), *slices]
    ]
    title = document.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113000", "DCM")
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert (document.Modality, document.SOPClassUID) == ("KO", "1.2.840.10008.5.1.4.1.1.88.59")


def test_evidence_is_what_is_named_with_class_and_series(selection):
    document, pictures, _ = selection()
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        instance.ReferencedSOPInstanceUID: (instance.ReferencedSOPClassUID, series.SeriesInstanceUID)
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert set(evidence) == {uid for uid, _ in named(document)}
    for file in pictures:
        picture = pydicom.dcmread(file.path, stop_before_pixels=True)
        assert evidence[picture.SOPInstanceUID] == (picture.SOPClassUID, picture.SeriesInstanceUID)
    assert study.StudyInstanceUID == document.StudyInstanceUID == "1.2.3.1"


def test_of_a_multi_frame_pet_frames_are_named(selection):
    document, pictures, quantified = selection(multiframe=True)
    frames = [lesion.suv_max_index[0] + 2 for lesion in quantified.lesions]  # as the builder numbers them
    assert named(document)[len(pictures) :] == [("1.2.3.5.1", frame) for frame in frames]


def test_a_slice_of_two_lesions_is_named_once(selection):
    document, pictures, _ = selection(centres=((5, 5, 5), (5, 17, 14)))
    assert len(named(document)) == len(pictures) + 1


def test_description_is_in_the_destinations_language(selection):
    document, _, _ = selection(replace(VIEWER, language=Language.GERMAN))
    by_name = {item.ConceptNameCodeSequence[0].CodeValue: item for item in document.ContentSequence
               if "ConceptNameCodeSequence" in item}  # fmt: skip
    assert by_name["121049"].ConceptCodeSequence[0].CodeValue == "de"
    assert "Forschungssoftware" in by_name["113012"].TextValue


def test_dcmtk_reads_it(selection):
    if shutil.which("dsrdump") is None:
        missing("dsrdump is not installed")
    document, pictures, quantified = selection()
    command = ["dsrdump", "+Pu", document.filename]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Key Object Selection Document" in done.stdout
    for file in pictures:
        assert file.sop_instance_uid in done.stdout
    assert done.stdout.count("IMAGE:") == len(pictures) + len(quantified.lesions)
