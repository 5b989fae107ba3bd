"""DIMSE command sets: little endian, implicit VR, group 0000 (PS3.7 section 6.3, Annex E)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

NO_DATA_SET = 0x0101
"""Command Data Set Type: there is none; any other value says that there is one (PS3.7 section E.1)."""
RESPONSE = 0x8000
"""Bit of the Command Field that tells a response from its request."""
LONGEST_COMMAND_BYTES = 64 * 2**10
LONGEST_UID = 64

_HEAD = struct.Struct("<HHI")
_SHORT = struct.Struct("<H")


class Tag(IntEnum):
    """Elements of group 0000, by their number (PS3.7 Annex E)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002


class Field(IntEnum):
    """Command Field of the requests that we serve (PS3.7 section E.1)."""

    C_STORE = 0x0001
    C_ECHO = 0x0030
    N_EVENT_REPORT = 0x0100
    C_CANCEL = 0x0FFF
    """Names the request that it would cancel, has no ID of its own and is not answered (section 9.3.2.3)."""


class CommandError(Exception):
    """Bytes that are no command set of a request."""


class Command:
    """A decoded command set.

    Parameters
    ----------
    data : bytes
        As it was received.

    Raises
    ------
    CommandError
        It cannot be parsed, or is not a request.
    """

    def __init__(self, data: bytes) -> None:
        self._values: dict[int, bytes] = {}
        position = 0
        while position + _HEAD.size <= len(data):
            group, number, length = _HEAD.unpack_from(data, position)
            position += _HEAD.size + length
            if group != 0 or position > len(data):
                raise CommandError("not a command set")
            self._values[number] = data[position - length : position]
        if position != len(data):
            raise CommandError("not a command set")
        self.field = self.number(Tag.COMMAND_FIELD)
        cancel = self.field == Field.C_CANCEL
        self.message_id = self.number(Tag.MESSAGE_ID_RESPONDED_TO if cancel else Tag.MESSAGE_ID)
        if self.has(Tag.EVENT_TYPE_ID):
            self.number(Tag.EVENT_TYPE_ID)  # it is repeated in the response
        self.has_data_set = self.number(Tag.COMMAND_DATA_SET_TYPE) != NO_DATA_SET

    def has(self, tag: Tag) -> bool:
        return tag in self._values

    def number(self, tag: Tag) -> int:
        """Return a value of VR US."""
        value = self._values.get(tag, b"")
        if len(value) != _SHORT.size:
            raise CommandError(f"no {tag.name}")
        return int(_SHORT.unpack(value)[0])

    def uid(self, tag: Tag) -> str:
        """Return a UID, as it stands there without its padding; empty when it is not there."""
        return self._values.get(tag, b"").decode("latin-1").strip(" \0")


def encode(values: Mapping[Tag, int | str]) -> bytes:
    """Encode a command set; numbers are of VR US, texts UIDs."""
    content = b"".join(_element(tag, values[tag]) for tag in sorted(values))
    return _HEAD.pack(0, Tag.GROUP_LENGTH, 4) + struct.pack("<I", len(content)) + content


def _element(tag: Tag, value: int | str) -> bytes:
    if isinstance(value, int):
        encoded = _SHORT.pack(value)
    else:
        encoded = value.encode("latin-1")
        encoded += b"\0" * (len(encoded) % 2)
    return _HEAD.pack(0, tag, len(encoded)) + encoded


def response(command: Command, status: int) -> bytes:
    """Encode the response to a request; what it affects is repeated (PS3.7 sections 9.3 and 10.3)."""
    values: dict[Tag, int | str] = {
        Tag.COMMAND_FIELD: command.field | RESPONSE,
        Tag.MESSAGE_ID_RESPONDED_TO: command.message_id,
        Tag.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        Tag.STATUS: status,
    }
    for asked, answered in (
        (Tag.REQUESTED_SOP_CLASS_UID, Tag.AFFECTED_SOP_CLASS_UID),
        (Tag.REQUESTED_SOP_INSTANCE_UID, Tag.AFFECTED_SOP_INSTANCE_UID),
        (Tag.AFFECTED_SOP_CLASS_UID, Tag.AFFECTED_SOP_CLASS_UID),
        (Tag.AFFECTED_SOP_INSTANCE_UID, Tag.AFFECTED_SOP_INSTANCE_UID),
    ):
        if 0 < len(command.uid(asked)) <= LONGEST_UID:
            values[answered] = command.uid(asked)
    if command.has(Tag.EVENT_TYPE_ID):
        values[Tag.EVENT_TYPE_ID] = command.number(Tag.EVENT_TYPE_ID)
    return encode(values)
