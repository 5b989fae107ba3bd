"""When the certificates of a PEM file end: the one fact of X.509 that the doctor needs."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
VERSION = 0xA0
FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
"""UTCTime and GeneralizedTime (RFC 5280 section 4.1.2.5)."""


def ends(path: Path) -> list[datetime]:
    """Return until when each certificate of a file is valid.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or holds something else.
    """
    blocks = _PEM.findall(path.read_text("ascii", "replace"))
    return [_not_after(ssl.PEM_cert_to_DER_cert(block)) for block in blocks]


def _not_after(der: bytes) -> datetime:
    """Walk to TBSCertificate.validity.notAfter (RFC 5280 section 4.1)."""
    try:
        (_, certificate), *_ = _elements(der)
        (_, signed), *_ = _elements(certificate)
        fields = [element for element in _elements(signed) if element[0] != VERSION]
        _serial, _algorithm, _issuer, (_, validity), *_ = fields
        _, (tag, text) = _elements(validity)
        form = FORMATS[tag]
    except (ValueError, LookupError) as error:
        raise ValueError("this is no certificate") from error
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Split DER into tags and contents."""
    found, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, at = int.from_bytes(data[at : at + count], "big"), at + count
        found.append((tag, data[at : at + length]))
        at += length
    return found
