"""What the site states of scanners and models: checked when it is read, and as the steps know it."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings, SettingsError, read_settings
from app.settings_statements import model_validations, scanners
from operators.study.qualification import Earl, ModelValidation, Scanner, ValidationState

SCANNER = {
    "manufacturer": "SIEMENS",
    "model": "Biograph 64",
    "serial_number": "1042",
    "calibration_factor": 1.02,
    "calibrated_on": "2026-01-01",
    "valid_until": "2026-12-31",
}
MODEL = {
    "package": "petct_lesion@1.0.0",
    "state": "validated",
    "by": "Physics",
    "validated_on": "2026-01-01",
    "cases": 40,
}


def test_statements_reach_the_steps() -> None:
    settings = Settings(scanners=(SCANNER | {"earl": "EARL2"},), validated_models=(MODEL,))  # type: ignore[arg-type]
    assert scanners(settings) == (
        Scanner("SIEMENS", "Biograph 64", "1042", 1.02, date(2026, 1, 1), date(2026, 12, 31), Earl.EARL2),
    )
    assert model_validations(settings) == (
        ModelValidation(
            "petct_lesion@1.0.0",
            ValidationState.VALIDATED,
            by="Physics",
            validated_on=date(2026, 1, 1),
            cases=40,
        ),
    )


def test_sites_need_not_state_anything() -> None:
    assert scanners(Settings()) == ()
    assert model_validations(Settings()) == ()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scanners": [SCANNER, SCANNER | {"model": "biograph  64"}]}, "a scanner is listed twice"),
        ({"scanners": [SCANNER | {"calibration_factor": 0}]}, "scanners[0].calibration_factor"),
        ({"scanners": [SCANNER | {"calibration_factor": "nan"}]}, "scanners[0].calibration_factor"),
        ({"scanners": [SCANNER | {"valid_until": "2025-12-31"}]}, "valid_until is before calibrated_on"),
        ({"scanners": [SCANNER | {"earl": "EARL3"}]}, "scanners[0].earl"),
        ({"scanners": [SCANNER | {"earl_valid_until": "2026-12-31"}]}, "an accreditation that earl does not"),
        ({"scanners": [SCANNER | {"serial_number": " "}]}, "words have 1 to 64"),
        ({"scanners": [SCANNER | {"serial": "1"}]}, "did you mean serial_number?"),
        ({"validated_models": [MODEL, MODEL]}, "a model package is listed twice"),
        ({"validated_models": [MODEL | {"package": "petct_lesion"}]}, "name@version"),
        ({"validated_models": [MODEL | {"digest": "A" * 64}]}, "a digest is a SHA-256"),
        ({"validated_models": [MODEL | {"cases": None}]}, "a validated model needs cases"),
        ({"validated_models": [MODEL | {"state": "good"}]}, "validated_models[0].state"),
        ({"validated_models": [MODEL | {"valid_until": "2025-01-01"}]}, "valid_until is before validated_on"),
    ],
)
def test_statements_that_cannot_be_true_are_refused(given: Any, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(**given)
    assert said in str(caught.value)


def test_a_file_states_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "validated_models:\n  - package: petct_lesion@1.0.0\n    state: not_validated\n    remark: in June\n"
    )
    monkeypatch.setenv("THERAMAP_SETTINGS", str(path))
    assert model_validations(read_settings())[0].remark == "in June"
