"""DIMSE command sets: what is encoded is decoded, and what is none is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

from app.gateway.receiver.commands import Command, CommandError, Field, Tag, encode, response

STORE: dict[Tag, int | str] = {
    Tag.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.5.1.4.1.1.2",
    Tag.COMMAND_FIELD: Field.C_STORE,
    Tag.MESSAGE_ID: 65535,
    Tag.COMMAND_DATA_SET_TYPE: 1,
    Tag.AFFECTED_SOP_INSTANCE_UID: "1.2.3",
}


def test_request_is_decoded() -> None:
    command = Command(encode(STORE))
    assert (command.field, command.message_id, command.has_data_set) == (Field.C_STORE, 65535, True)
    assert command.uid(Tag.AFFECTED_SOP_INSTANCE_UID) == "1.2.3"
    assert command.uid(Tag.REQUESTED_SOP_CLASS_UID) == ""


def test_response_is_what_pydicom_reads() -> None:
    answer = read_dataset(DicomBytesIO(response(Command(encode(STORE)), 0xA700)), True, True)
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8001, 65535, 0xA700)
    assert (answer.AffectedSOPInstanceUID, answer.CommandDataSetType) == ("1.2.3", 0x0101)
    assert answer.CommandGroupLength == len(response(Command(encode(STORE)), 0xA700)) - 12


@pytest.mark.parametrize("absent", [Tag.COMMAND_FIELD, Tag.MESSAGE_ID, Tag.COMMAND_DATA_SET_TYPE])
def test_request_without_what_every_request_has_is_refused(absent: Tag) -> None:
    with pytest.raises(CommandError):
        Command(encode({tag: value for tag, value in STORE.items() if tag is not absent}))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_command_or_refused(content: bytes) -> None:
    with contextlib.suppress(CommandError):
        response(Command(content), 0)
