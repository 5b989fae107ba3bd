"""job.json: which study is current, what is known beside the images, and what is wanted.

Its form is ``job.schema.json``. Whatever is not in the schema is refused: a mistyped key must not
pass for a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from operators.domain import Correction, Destination, Job, SrRegion, SupersededResult
from operators.errors import InputRefusal
from operators.study.headers import JOB_FILE

SIZE_LIMIT_BYTES = 2**20
EARLIEST_YEAR, LATEST_YEAR = 1900, 2200


def read_job(root: Path) -> Job:
    """Read the ``job.json`` of an input folder.

    Parameters
    ----------
    root : Path
        The input folder.

    Returns
    -------
    Job
        The defaults when there is no ``job.json``.

    Raises
    ------
    InputRefusal
        ``JOB_INVALID``, with the JSON pointer (RFC 6901) of the value at fault as its tag.
    """
    path = root / JOB_FILE
    if not path.exists() and not path.is_symlink():
        return Job()
    if path.is_symlink() or not path.is_file():
        raise _invalid("", "it is not a regular file")
    content = _parse(path)
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise _invalid(_pointer(error), _fault(error))
    return _job(content)


def _parse(path: Path) -> Any:
    """Return the JSON value of a file; without duplicate keys, NaN or infinity."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
    except OSError as error:
        raise _invalid("", f"it cannot be read ({error.strerror})") from error
    if len(data) > SIZE_LIMIT_BYTES:
        raise _invalid("", f"it is longer than {SIZE_LIMIT_BYTES} bytes")
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(content, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as error:
        raise _invalid("", f"it is not valid JSON ({str(error)[:100]})") from error
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(files(__package__).joinpath("job.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _pointer(error: ValidationError) -> str:
    """Return the JSON pointer of the value at fault."""
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
    return "".join(f"/{part}" for part in parts)


def _fault(error: ValidationError) -> str:
    """Return what is wrong, without the value: it could name a patient."""
    return f"the schema's rule {error.validator!r} does not hold"


def _invalid(pointer: str, fault: str) -> InputRefusal:
    where = f" at {pointer}" if pointer else ""
    return InputRefusal("JOB_INVALID", f"{JOB_FILE} cannot be used{where}: {fault}.", pointer or None)


def _job(content: Mapping[str, Any]) -> Job:
    """Build the job from valid content."""
    options = content.get("options", {})
    time = _time(content["time"], "/time") if "time" in content else None
    current, priors = tuple(content.get("current", ())), tuple(content.get("priors", ()))
    if both := set(current) & set(priors):
        raise _invalid("/priors", f"a study cannot be current and a prior ({min(both)})")
    destinations = tuple(
        Destination(item["name"], SrRegion(item.get("sr_region", SrRegion.IMAGE)))
        for item in content.get("destinations", ({"name": Destination().name},))
    )
    if len({destination.name for destination in destinations}) < len(destinations):
        raise _invalid("/destinations", "two destinations have the same name")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Job(
        time=time,
        current=current,
        priors=priors,
        supersedes=tuple(SupersededResult(**item) for item in content.get("supersedes", ())),
        clinical=dict(content.get("clinical", {})),
        corrections=tuple(_correction(i, item) for i, item in enumerate(content.get("corrections", ()))),
        method=options.get("method"),
        method_parameters={
            name: _number(value, f"/options/method_parameters/{name}")
            for name, value in options.get("method_parameters", {}).items()
        },
        protocol=options.get("protocol"),
        destinations=destinations,
        digest=sha256(canonical.encode()).hexdigest(),
    )


def _correction(index: int, item: Mapping[str, Any]) -> Correction:
    return Correction(
        attribute=item["attribute"],
        value=_value(item["value"], f"/corrections/{index}/value"),
        reason=item["reason"],
        author=item["author"],
        time=_time(item["time"], f"/corrections/{index}/time"),
        study_instance_uid=item.get("study_instance_uid"),
    )


def _value(value: str | float, pointer: str) -> str | float:
    return value if isinstance(value, str) else _number(value, pointer)


def _number(value: float, pointer: str) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise _invalid(pointer, "the number is too large") from error
    if not math.isfinite(number):
        raise _invalid(pointer, "it is not a finite number")
    return number


def _time(value: str, pointer: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise _invalid(pointer, "it is not a time") from error
    if not EARLIEST_YEAR <= time.year <= LATEST_YEAR:
        raise _invalid(pointer, f"its year is not between {EARLIEST_YEAR} and {LATEST_YEAR}")
    return time
