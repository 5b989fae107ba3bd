"""job.json: which study is current, what is known beside the images, and what is wanted.

Its form is ``job.schema.json``. Whatever is not in the schema is refused: a mistyped key must not
pass for a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from operators.domain import (
    BurnedIn,
    Code,
    Correction,
    Destination,
    Job,
    Language,
    ResultKind,
    SegForm,
    SrRegion,
    SupersededResult,
)
from operators.errors import InputRefusal
from operators.strict_json import JsonFaultError, pointer_of, read_json
from operators.study.diseases import disease_of
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
    try:
        content = read_json(path, SIZE_LIMIT_BYTES)
    except JsonFaultError as fault:
        raise _invalid("", str(fault)) from fault
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise _invalid(pointer_of(error), _fault(error))
    return _job(content)


@cache
def _validator() -> Draft202012Validator:
    schema = json.loads(files(__package__).joinpath("job.schema.json").read_text(encoding="utf-8"))
    return Draft202012Validator(schema)


def _fault(error: ValidationError) -> str:
    """Return what is wrong, without the value: it could name a patient."""
    return f"the schema's rule {error.validator!r} does not hold"


def _invalid(pointer: str, fault: str) -> InputRefusal:
    where = f" at {pointer}" if pointer else ""
    return InputRefusal("JOB_INVALID", f"{JOB_FILE} cannot be used{where}: {fault}.", pointer or None)


def _destination(item: Mapping[str, Any]) -> Destination:
    plain = Destination(item["name"])
    wanted = item.get("results")
    return Destination(
        name=plain.name,
        results=None if wanted is None else frozenset(map(ResultKind, wanted)),
        seg_form=SegForm(item.get("seg_form", plain.seg_form)),
        sr_region=SrRegion(item.get("sr_region", plain.sr_region)),
        language=Language(item.get("language", plain.language)),
        burned_in=BurnedIn(item.get("burned_in", plain.burned_in)),
    )


def _job(content: Mapping[str, Any]) -> Job:
    """Build the job from valid content."""
    options = content.get("options", {})
    time = _time(content["time"], "/time") if "time" in content else None
    current, priors = tuple(content.get("current", ())), tuple(content.get("priors", ()))
    if both := set(current) & set(priors):
        raise _invalid("/priors", f"a study cannot be current and a prior ({min(both)})")
    destinations = tuple(
        _destination(item) for item in content.get("destinations", ({"name": Destination().name},))
    )
    if len({destination.name for destination in destinations}) < len(destinations):
        raise _invalid("/destinations", "two destinations have the same name")
    clinical, clinical_days = _clinical(content.get("clinical", {}))
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Job(
        time=time,
        current=current,
        priors=priors,
        supersedes=tuple(SupersededResult(**item) for item in content.get("supersedes", ())),
        answers=tuple(item["sop_instance_uid"] for item in content.get("answers", ())),
        clinical=clinical,
        clinical_days=clinical_days,
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


def _clinical(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, date]]:
    """Return the clinical inputs by the names of their facts, and the days of those that have one."""
    inputs: dict[str, Any] = {}
    days: dict[str, date] = {}
    for name, value in given.items():
        where = f"/clinical/{name}"
        if name == "diagnosis":
            inputs |= _diagnosis(value, where)
        elif name == "therapy":
            inputs |= _therapy(value, where)
        elif isinstance(value, Mapping):
            inputs[name] = value["value"]
            if "date" in value:
                days[name] = _day(value["date"], f"{where}/date")
        else:
            inputs[name] = value
    return inputs, days


def _diagnosis(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    code = Code(**given["code"]) if "code" in given else None
    coded = disease_of(code) if code is not None else None
    named = given.get("disease", coded)
    if coded not in (None, named):
        raise _invalid(where, "the code is of another disease than the one that is named")
    inputs = {"diagnosis": named, "diagnosis_code": code}
    return {name: value for name, value in inputs.items() if value is not None}


def _therapy(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    inputs = {"therapy": given["name"]} | {
        f"therapy_{name}": given[name] for name in ("cycle", "activity_gbq") if name in given
    }
    if "date" in given:
        inputs["therapy_date"] = _day(given["date"], f"{where}/date")
    return inputs


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
    _require_year(time, pointer)
    return time


def _day(value: str, pointer: str) -> date:
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise _invalid(pointer, "it is not a date") from error
    _require_year(day, pointer)
    return day


def _require_year(day: date, pointer: str) -> None:
    if not EARLIEST_YEAR <= day.year <= LATEST_YEAR:
        raise _invalid(pointer, f"its year is not between {EARLIEST_YEAR} and {LATEST_YEAR}")
