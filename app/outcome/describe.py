"""What a table cannot say: whom a model is for, what its columns are, where the data come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.outcome.errors import TableRefusal
from operators.response.prognosis.features import FEATURES
from operators.response.prognosis.types import Population
from operators.strict_json import JsonFaultError, read_json

SIZE_LIMIT_BYTES = 2**18

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=200)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=3000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Column(_Strict):
    """A column of the table that the model may use."""

    name: Name
    """Of a feature of the image or of a fact, such as ``age_years``."""
    title: Line
    unit: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,32}$")]
    """UCUM; ``1`` for a plain number."""
    scale: Literal["linear", "log"] = "linear"
    """``log``: its logarithm enters."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        feature = FEATURES.get(self.name)
        if feature is not None and feature.unit != self.unit:
            raise ValueError(f"{self.name} is measured in {feature.unit}, not in {self.unit}")
        return self


class Whom(_Strict):
    """Whom the model is for, as in ``outcome.json``."""

    text: Text
    tracers: Annotated[list[Name], Field(min_length=1, max_length=32)]
    diagnoses: Annotated[list[Name], Field(min_length=1, max_length=32)]
    before_therapy: bool = False
    least_volume_ml: Annotated[float, Field(ge=0)] | None = None
    least_predicted_dice: Annotated[float, Field(ge=0, le=1)] | None = None
    most_departures: Annotated[int, Field(ge=0)] = 0

    def population(self) -> Population:
        """Return it as a model holds it."""
        given = self.model_dump()
        return Population(**given | {name: tuple(given[name]) for name in ("tracers", "diagnoses")})


class Description(_Strict):
    """The content of the file that describes a table."""

    name: Name
    version: Annotated[str, StringConstraints(pattern=r"^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}$")]
    title: Line
    outcome: Line
    event: Line
    no_event: Line
    population: Whom
    columns: Annotated[list[Column], Field(min_length=1, max_length=32)]
    """Each is also judged alone, on the same folds."""
    model: Annotated[list[Name], Field(min_length=1, max_length=32)] | None = None
    """Columns of the model, chosen before any of them is compared with the outcome; absent: all."""
    baseline: Name | None = None
    """The column that the model has to beat: alone it is the model where the others do not."""
    coverage: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Of the prediction sets."""
    training_data: Text
    citation: Text
    licence: Text

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ValueError("a column is named twice")
        for name in (*(self.model or ()), *([self.baseline] if self.baseline else ())):
            if name not in names:
                raise ValueError(f"{name} is none of the columns")
        return self


def read_description(path: Path) -> Description:
    """Read the JSON file that describes a table.

    Raises
    ------
    TableRefusal
        ``DESCRIPTION_INVALID``, with the place of the fault.
    """
    try:
        content = read_json(path, SIZE_LIMIT_BYTES)
        return Description.model_validate_json(json.dumps(content))
    except JsonFaultError as error:
        raise TableRefusal("DESCRIPTION_INVALID", f"{path.name} cannot be used: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"/{part}" for part in first["loc"]) or "the whole"
        sentence = f"{path.name} cannot be used: {place}: {first['msg']}."
        raise TableRefusal("DESCRIPTION_INVALID", sentence) from error
