"""Every setting once: typed, validated, from a file and the environment.

The order of precedence is the command line, ``THERAMAP_*`` variables, the file that
``THERAMAP_SETTINGS`` names (YAML), the defaults here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.gateway.settings import Gateway
from app.settings_file import FileFaultError, broken_variables, explain, misspelt_variables, read_yaml
from app.settings_qualification import Scanners, ValidatedModels
from operators.segmentation.engines.names import EngineName, Precision

SETTINGS_VARIABLE = "THERAMAP_SETTINGS"


Result = Literal[
    "sr", "regions", "key_images", "rtstruct", "pdf", "parametric_map", "fhir", "hl7", "pictures"
]


class Models(BaseModel):
    """Which models run, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    """Folder of model packages; by default the MAP's (``-m``, ``HOLOSCAN_MODEL_PATH``), else what ships."""
    allowed: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """SHA-256 digests of foreign models that may be imported."""
    lesions: str = "auto"
    """Package of the method ``network``: a name, ``none``, or the one package made for the tracer."""
    organs: str = "auto"
    """Organ package: a name, ``none``, or the one there is."""
    physiological: Literal["auto", "rules", "none"] = "auto"
    """Who finds physiological uptake for a threshold method where there is no organ package: the lesion
    package's second output, else rules; rules alone; or nobody."""
    engine: EngineName = EngineName.AUTO
    precision: Precision = Precision.AUTO
    mirroring: bool = False
    """Test-time mirroring over the axes that the package allows: up to eight times the work."""
    memory_gib: float | None = Field(default=None, gt=0.5, le=4096)
    """Most host memory that a network's run may take; by default what is free."""


class Settings(BaseSettings):
    """The site's settings."""

    model_config = SettingsConfigDict(
        env_prefix="THERAMAP_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run. ``cuda`` without a working GPU is refused, never replaced."""
    protocols: Path | None = None
    """Folder of tracer protocols in place of the ones shipped."""
    rules: Path | None = None
    """Folder of rules of eligibility, score and response in place of the ones shipped."""
    manufacturer: str = Field(default="theramap", min_length=1, max_length=64)
    device_serial_number: str = Field(default="none", min_length=1, max_length=64)
    seg_series_number: int = Field(default=9301, ge=1, le=2**31 - 1)
    sr_series_number: int = Field(default=9302, ge=1, le=2**31 - 1)
    results: tuple[Result, ...] = ("sr", "pictures")
    """Which results are written beside the SEG and results.json, but for a destination that says itself what
    it wants; pictures are files beside the others and go to no destination."""
    models: Models = Models()
    """Models: lesions, organs, and what computes them."""
    scanners: Scanners = ()
    """What the physicist states of the site's PET scanners."""
    validated_models: ValidatedModels = ()
    """What the site states of models that it has tried on patients of its own."""
    gateway: Gateway = Gateway()
    """The way from the PACS and back."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the command line, the environment, then the file."""
        return init_settings, env_settings, _file_source(settings_cls)


class SettingsError(Exception):
    """A setting is unknown, out of range, or in a file that is not there."""


def read_settings(**options: str | Mapping[str, str] | tuple[str, ...] | None) -> Settings:
    """Read the settings; options of the command line that are None are left to the other sources.

    Raises
    ------
    SettingsError
        A line for each fault: the file and line or the variable, the setting, and what would be right.
    """
    wrong = [*misspelt_variables(Settings), *broken_variables()]
    if wrong:
        raise SettingsError("\n".join(wrong))
    try:
        return Settings.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(explain(error, Settings, settings_file())) from error
    except (FileFaultError, OSError) as error:
        raise SettingsError(str(error)) from error


def settings_file() -> Path | None:
    """Return the file that ``THERAMAP_SETTINGS`` names, if it does.

    Raises
    ------
    FileNotFoundError
        It names no file.
    """
    named = os.environ.get(SETTINGS_VARIABLE)
    if not named:
        return None
    if not Path(named).is_file():
        raise FileNotFoundError(f"{SETTINGS_VARIABLE} names {named}, which is no file")
    return Path(named)


def _file_source(settings_cls: type[BaseSettings]) -> PydanticBaseSettingsSource:
    path = settings_file()
    return InitSettingsSource(settings_cls, {} if path is None else read_yaml(path).content)
