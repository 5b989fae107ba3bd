"""Reading values from hostile headers: what is not there, or not what it should be, is absent.

pydicom converts a value when it is asked for, so that a damaged one raises where it is read. These
functions are the one place where that is caught.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from datetime import date

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from operators.domain import Study

HOSTILE_INPUT_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,  # a delimiter or a tag is not where it must be, or the file cannot be read
    EOFError,
    ValueError,  # a number, date or text that is none; a UnicodeError too
    TypeError,  # a value whose VR belies its bytes
    AttributeError,  # an element of another kind than its tag's
    LookupError,  # an unknown character set or VR
    NotImplementedError,  # a VR that pydicom does not know
    ArithmeticError,  # a number out of range
    AssertionError,
    RecursionError,  # sequences nested without end
    MemoryError,  # a stated length that no memory holds
    struct.error,
    zlib.error,
)
"""What pydicom raises on a malformed file, and nothing else.

pydicom documents no list; this one was found by reading it and by the malformed files of the tests.
A fault of our own is a NameError, a KeyboardInterrupt or shows in the tests on sound files, where
nothing may be set aside.
"""

TEXT_LIMIT = 256
"""Characters of a text that is matched or shown; the longest LO or SH is 64, an ST 1024."""


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a text, code string or UID attribute, stripped; () when it has none."""
    try:
        value = header.get(keyword)
        if value is None or isinstance(value, bytes | Sequence | Dataset):
            return ()
        values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
        cleaned = ("".join(filter(str.isprintable, str(v)[:TEXT_LIMIT])).strip() for v in values)
        return tuple(text for text in cleaned if text)
    except HOSTILE_INPUT_ERRORS:
        return ()


def text(header: Dataset, keyword: str) -> str:
    r"""Return the text of an attribute, several values joined by a backslash; empty when it has none."""
    return "\\".join(texts(header, keyword))


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of a numeric attribute; () when it has none or one of them is not finite."""
    try:
        value = header.get(keyword)
        if value is None or isinstance(value, bytes | Sequence | Dataset):
            return ()
        values = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
        result = tuple(float(v) for v in values)
    except HOSTILE_INPUT_ERRORS:
        return ()
    return result if all(math.isfinite(v) for v in result) else ()


def number(header: Dataset, keyword: str) -> float | None:
    """Return the single value of a numeric attribute; None when it has none or several."""
    values = numbers(header, keyword)
    return values[0] if len(values) == 1 else None


def items(header: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; () when it has none or is none."""
    try:
        value = header.get(keyword)
        return tuple(value) if isinstance(value, Sequence) else ()
    except HOSTILE_INPUT_ERRORS:
        return ()


_DAY = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")


def day(value: str) -> date | None:
    """Return the day of a DA value (PS3.5 6.2), also in the forms of old; None when it is none."""
    match = _DAY.fullmatch(value.strip())
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def stated(study: Study, keyword: str) -> str:
    """Return the text that the headers of a study's series state; empty when none does, or several differ."""
    values = {text(series.header, keyword) for series in study.series} - {""}
    return values.pop() if len(values) == 1 else ""


def study_day(study: Study) -> date | None:
    """Return Study Date (0008,0020)."""
    return day(stated(study, "StudyDate"))
