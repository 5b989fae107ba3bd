"""The site's statements on scanners and models as the steps know them."""

from __future__ import annotations

from app.settings import Settings
from operators.study.qualification import Earl, ModelValidation, Scanner, ValidationState


def scanners(settings: Settings) -> tuple[Scanner, ...]:
    """Return the scanners that the site states."""
    return tuple(Scanner(**each.model_dump() | {"earl": Earl(each.earl)}) for each in settings.scanners)


def model_validations(settings: Settings) -> tuple[ModelValidation, ...]:
    """Return what the site states of models."""
    return tuple(
        ModelValidation(**each.model_dump() | {"state": ValidationState(each.state)})
        for each in settings.validated_models
    )
