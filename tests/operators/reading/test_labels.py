"""A reader's label becomes a lesion's name only where it names no patient."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from operators.reading.labels import is_lesion_name, patient_words
from tests.operators.reading.drawing import by_highdicom, by_viewer
from tests.operators.reading.test_answer import NAMES, answered, balls, phantom


def patient(name: str, identifier: str, born: str = "") -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName, header.PatientID, header.PatientBirthDate = name, identifier, born
    return header


@pytest.mark.parametrize(
    ("label", "accepted"),
    [
        ("Liver dome", True),
        ("Bone metastasis 4", True),
        ("Lesion 12", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("MULLER liver", False),
        ("anna", False),
        ("hep of Anna-Lena", False),
        ("AB 12-34 node", False),
        ("born 1950-03-01", False),
        ("李 node", False),
        ("Other^Person", False),
        ("J node", True),
        ("Lesion 4711", False),
    ],
)
def test_a_label_is_a_name_when_it_is_short_and_without_the_patients_words(
    label: str, accepted: bool
) -> None:
    one = patient("Müller^Anna-Lena^J=李", "AB1234", "19500301")
    other = patient("Other^B", "4711")
    assert is_lesion_name(label, patient_words(one, other)) is accepted


def test_names_of_ours_stay_whatever_the_patient_is_called() -> None:
    words = patient_words(patient("Le^Ion", "1"))
    assert is_lesion_name("Lesion 1", words)
    assert is_lesion_name("Lesion 1 (2)", words)
    assert not is_lesion_name("Lesion of Le", words)
    assert is_lesion_name("Node", patient_words(Dataset()))


def test_labels_with_the_patient_of_the_pet_become_segment_numbers(tmp_path: Path) -> None:
    quantified = phantom()  # of Phantom^Anna, P1
    names = [("Anna's liver", NAMES[0][1]), ("Node", NAMES[1][1]), ("y" * 65, NAMES[2][1])]
    volumes = quantified.segmented.volumes
    path = by_highdicom(volumes, balls(2.5, 2.5, 2.5), tmp_path / "a.dcm", names=names)
    file = dcmread(path)
    file.PatientName, file.PatientID = "Another", "77"
    file.save_as(path)
    segmented = answered(quantified, path)
    assert segmented.reading is not None
    assert {one.segment: (one.identifier, one.uid) for one in segmented.reading.lesions} == {
        1: ("Segment 1", NAMES[0][1]),
        2: ("Node", NAMES[1][1]),
        3: ("Segment 3", NAMES[2][1]),
    }
    (note,) = (note for note in segmented.notes if note.code == "ANSWER_LABEL_NOT_TAKEN")
    assert "segments 1, 3." in note.sentence
    assert "Anna" not in note.sentence


def test_labels_with_the_patient_of_the_answer_become_segment_numbers(tmp_path: Path) -> None:
    quantified = phantom()
    geometry = quantified.segmented.volumes.pet.geometry
    labels = balls(2.5)[0].astype("uint8")
    described = Dataset()
    described.SegmentNumber, described.SegmentLabel = 1, "Doe 77"
    path = by_viewer(geometry, labels, tmp_path / "a.dcm", PatientName="Doe^J", SegmentSequence=[described])
    reading = answered(quantified, path).reading
    assert reading is not None
    assert [one.identifier for one in reading.lesions] == ["Segment 1"]
