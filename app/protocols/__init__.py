"""The tracers' rules: one YAML file for each, which a site may replace by its own folder of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from operators.domain import Code, PhysiologicalOrgan, Protocol, ProtocolMethod, Window
from operators.errors import ProtocolRefusal

__all__ = ["load_protocols"]

SIZE_LIMIT_BYTES = 2**20

NETWORK = "network"
"""The method that needs a model of the site."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Nuclide = Annotated[str, Field(pattern=r"^[A-Z][a-z]?-[0-9]{1,3}m?$")]


class _Strict(BaseModel):
    """A mistyped key is an error; numbers are not read out of text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Code(_Strict):
    value: Text
    scheme: Text
    meaning: Text


class _Window(_Strict):
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    source: Text

    @model_validator(mode="after")
    def _ordered(self) -> _Window:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        return self


class _Method(_Strict):
    name: Name
    parameters: dict[Name, FiniteFloat] = {}
    source: Text


class _ProtocolMethod(_Method):
    otherwise: _Method | None = None

    @model_validator(mode="after")
    def _otherwise_replaces_a_network(self) -> _ProtocolMethod:
        if self.otherwise is None:
            return self
        if self.name != NETWORK:
            raise ValueError(f"otherwise is for the method {NETWORK} only, which needs a model")
        if self.otherwise.name == NETWORK:
            raise ValueError(f"otherwise names {NETWORK} again")
        return self


class _Organ(_Strict):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    labels: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_ -]{1,64}(\|[A-Za-z0-9_ -]{1,64})*$")]] = Field(
        min_length=1
    )
    margin_mm: Annotated[FiniteFloat, Field(ge=0, le=50)] = 0.0


class _ProtocolFile(_Strict):
    """A file of ``app/protocols``."""

    name: Name
    title: Text
    version: Text
    tracer_codes: list[_Code] = []
    tracer_texts: list[Text] = Field(min_length=1)
    radionuclides: list[Nuclide] = Field(min_length=1)
    method: _ProtocolMethod
    uptake_time_min: _Window
    glucose_mmol_l: _Window | None = None
    passed_over_texts: list[Text] = []
    physiological: list[_Organ] = []
    physiological_source: str = Field(default="", max_length=1000)

    @field_validator("tracer_texts", "passed_over_texts")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    @model_validator(mode="after")
    def _organs_are_told_apart_and_sourced(self) -> _ProtocolFile:
        names = [organ.name for organ in self.physiological]
        if len(set(names)) < len(names):
            raise ValueError("physiological names an organ twice")
        if names and not self.physiological_source:
            raise ValueError("physiological needs physiological_source: who says so")
        return self


def load_protocols(folder: Path | None = None) -> dict[str, Protocol]:
    """Read the tracer protocols.

    Parameters
    ----------
    folder : Path, optional
        Folder of ``*.yaml`` files in place of the ones shipped.

    Returns
    -------
    dict of str to Protocol
        By name, in the order of names.

    Raises
    ------
    ProtocolRefusal
        ``PROTOCOL_INVALID``: names the file and the key. ``NO_PROTOCOLS``: the folder holds none.
    """
    paths = sorted((folder or Path(__file__).parent).glob("*.yaml"))
    if not paths:
        raise ProtocolRefusal("NO_PROTOCOLS", "The folder of tracer protocols holds no .yaml file.")
    protocols: dict[str, Protocol] = {}
    for path in paths:
        protocol = _load(path)
        if protocol.name in protocols:
            raise _invalid(path, "name", f"{protocol.name} is the name of another file's protocol")
        protocols[protocol.name] = protocol
    return dict(sorted(protocols.items()))


def _load(path: Path) -> Protocol:
    content = _parse(path)
    try:
        valid = _ProtocolFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise _invalid(path, ".".join(map(str, first["loc"])) or "the whole file", first["msg"]) from error
    return _protocol(valid)


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise _invalid(path, "the whole file", f"it is longer than {SIZE_LIMIT_BYTES} bytes")
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise _invalid(path, "the whole file", f"it cannot be read as YAML ({error})") from error


def _protocol(valid: _ProtocolFile) -> Protocol:
    canonical = json.dumps(valid.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    glucose = valid.glucose_mmol_l
    otherwise = valid.method.otherwise
    return Protocol(
        name=valid.name,
        title=valid.title,
        version=valid.version,
        tracers=tuple(Code(code.value, code.scheme, code.meaning) for code in valid.tracer_codes),
        tracer_texts=tuple(valid.tracer_texts),
        radionuclides=tuple(valid.radionuclides),
        method=_method(valid.method),
        otherwise=None if otherwise is None else _method(otherwise),
        uptake_time_min=Window(valid.uptake_time_min.low, valid.uptake_time_min.high),
        uptake_time_source=valid.uptake_time_min.source,
        glucose_mmol_l=Window(glucose.low, glucose.high) if glucose else Window(),
        passed_over_texts=tuple(valid.passed_over_texts),
        digest=sha256(canonical.encode()).hexdigest(),
        physiological=tuple(
            PhysiologicalOrgan(organ.name, tuple(organ.labels), organ.margin_mm)
            for organ in valid.physiological
        ),
        physiological_source=valid.physiological_source,
    )


def _method(valid: _Method) -> ProtocolMethod:
    parameters: Mapping[str, float] = {name: float(value) for name, value in valid.parameters.items()}
    return ProtocolMethod(valid.name, parameters, valid.source)


def _invalid(path: Path, key: str, fault: str) -> ProtocolRefusal:
    return ProtocolRefusal(
        "PROTOCOL_INVALID", f"The tracer protocol {path.name} is not valid at {key}: {fault}."
    )
