"""Values as results.json has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from operators.domain import Code

Json = Mapping[str, object]


def code_value(code: Code | None) -> Json | None:
    """A coded concept."""
    return None if code is None else {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def number(value: float | None) -> float | None:
    """A finite number, else null: JSON has no other."""
    return None if value is None or not math.isfinite(value) else float(value)


def moment_text(moment: datetime | None) -> str | None:
    """A moment by ISO 8601."""
    return None if moment is None else moment.isoformat()
