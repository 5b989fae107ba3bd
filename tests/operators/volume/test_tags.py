"""Private attributes: found by their creator, or taken without it and never silently."""

import pytest
from pydicom.dataset import Dataset

from operators.volume.tags import private, tag_label

CREATOR = "Philips PET Private Group"


def header(creators=(), value="0.5", manufacturer="Philips Medical Systems", vr="DS", block=0x10):
    ds = Dataset()
    ds.Manufacturer = manufacturer
    for element, creator in creators:
        ds.add_new((0x7053, element), "LO", creator)
    ds.add_new((0x7053, block << 8), vr, value)
    return ds


def found(ds):
    return private(ds, 0x7053, 0x00, CREATOR, "Philips")


@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
def test_is_found_by_its_creator_in_any_block(block):
    creators = [(0x10, "SOMEBODY"), (block, CREATOR)]
    one = found(header(creators, block=block))
    assert (one.number, one.by_creator) == (0.5, True)
    assert one.notes("(7053,xx00)") == ()


def test_without_any_creator_the_first_block_is_taken_and_noted():
    one = found(header())
    assert (one.number, one.by_creator) == (0.5, False)
    (note,) = one.notes("(7053,xx00)")
    assert note.code == "PRIVATE_CREATOR_ABSENT"
    assert note.tag == "(7053,xx00)"


@pytest.mark.parametrize(
    "ds",
    [
        header([(0x10, "SOMEBODY")]),
        header(manufacturer="GE MEDICAL SYSTEMS"),
        header(manufacturer="Nophilipssystems"),
        header(block=0x11),
        header(value=""),
    ],
)
def test_what_another_may_have_written_is_not_taken(ds):
    assert found(ds) is None


def test_value_of_unknown_representation_is_read():
    assert found(header([(0x10, CREATOR)], value=b"0.25 ", vr="UN")).number == 0.25


def test_text_that_is_no_number_gives_none():
    assert found(header([(0x10, CREATOR)], value=b"abc", vr="UN")).number is None


def test_label_names_tag_and_keyword():
    assert tag_label("PatientWeight") == "(0010,1030) PatientWeight"
