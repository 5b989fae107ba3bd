"""One attribute of every slice: a value that many slices share is converted once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

Value = TypeVar("Value")


def column(
    headers: Sequence[Dataset], keyword: str, read: Callable[[Dataset, str], Value]
) -> tuple[Value, ...]:
    """Read an attribute of every header.

    A whole body has hundreds of slices with the same text in most attributes; converting it again and
    again costs more than reading the pixels.

    Parameters
    ----------
    headers : sequence of Dataset
        Of slices of one series.
    keyword : str
        The attribute; of a VR that no character set changes (numbers, dates, times, CS, UI).
    read : callable
        ``text``, ``texts``, ``number`` or ``numbers`` of :mod:`operators.study.attributes`.

    Returns
    -------
    tuple
        One value for each header.
    """
    found = tag_for_keyword(keyword)
    assert found is not None, keyword
    tag = BaseTag(found)
    known: dict[tuple[str | None, bytes | None, bool] | None, Value] = {}
    values = []
    for header in headers:
        element = cast("DataElement | RawDataElement | None", header.get_item(tag, keep_deferred=True))
        if isinstance(element, DataElement):  # converted before
            values.append(read(header, keyword))
            continue
        key = (element.VR, element.value, element.is_little_endian) if element else None
        if key not in known:
            known[key] = read(header, keyword)
        values.append(known[key])
    return tuple(values)
