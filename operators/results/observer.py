"""Who observed what a document says (PS3.16 TID 1002, TID 1004)."""

from __future__ import annotations

from collections.abc import Iterator

from operators.domain import ResultProfile
from operators.results import codes
from operators.results.content import Relation, code, plain_text, uid
from operators.results.equipment import device_module, device_uid


def observer(profile: ResultProfile) -> Iterator[bytes]:
    """The encoded items that say that a device observed, and no person."""
    device = device_module(profile)
    context = Relation.HAS_OBS_CONTEXT
    yield code(context, codes.OBSERVER_TYPE, codes.DEVICE)
    yield uid(context, codes.DEVICE_UID, device_uid(profile))
    yield plain_text(context, codes.DEVICE_NAME, device["manufacturer_model_name"])
    yield plain_text(context, codes.DEVICE_MANUFACTURER, device["manufacturer"])
    yield plain_text(context, codes.DEVICE_MODEL_NAME, device["manufacturer_model_name"])
    yield plain_text(context, codes.DEVICE_SERIAL_NUMBER, device["device_serial_number"])
