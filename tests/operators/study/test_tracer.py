"""Tracer and radionuclide from codes, names and descriptions."""

from __future__ import annotations

from typing import Any

import pytest

from operators.domain import Job
from operators.errors import SelectionRefusal
from operators.study.tracer import identify_tracer, radionuclide

Study = Any


@pytest.mark.parametrize(
    ("text", "protocol"),
    [
        ("FDG -- fluorodeoxyglucose", "fdg"),
        ("18F-FDG", "fdg"),
        ("F-18 FDG", "fdg"),
        ("Fluordesoxyglucose", "fdg"),
        ("Fludeoxyglucose", "fdg"),
        ("fluorodésoxyglucose", "fdg"),
        ("fluorodesossiglucosio", "fdg"),
        ("Fluorodesoxiglucosa", "fdg"),
        ("fluordesoxiglicose", "fdg"),
        ("2-[18F]fluoro-2-deoxy-D-glucose", "fdg"),
        ("68Ga-PSMA-11", "psma"),
        ("¹⁸F-PSMA-1007", "psma"),
        ("Piflufolastat F 18", "psma"),
        ("DCFPyL", "psma"),
        ("rhPSMA-7.3", "psma"),
        ("Gallium gozetotide", "psma"),
        ("Ga-68 DOTATATE", "sstr"),
        ("DOTA-TOC", "sstr"),
        ("DOTA-Tyr3-octreotate", "sstr"),
        ("edotreotide", "sstr"),
        ("64Cu Detectnet", "sstr"),
        ("Ga-68 FAPI-46", "fapi"),
        ("AlF-NOTA-FAPI-74", "fapi"),
    ],
)
def test_names_of_real_sites(study: Study, text: str, protocol: str) -> None:
    item = study.radiopharmaceutical(text, nuclide=None, half_life_s=None)
    ds = study.header("PT", "x", 0, RadiopharmaceuticalInformationSequence=[item])
    assert identify_tracer(ds, study.protocols, Job()).protocol == protocol


def test_code_is_the_first_evidence(study: Study) -> None:
    item = study.radiopharmaceutical("", ("35321007", "SCT", "Fluorodeoxyglucose F^18^"))
    ds = study.header("PT", "PSMA PET", 0, RadiopharmaceuticalInformationSequence=[item])
    tracer = identify_tracer(ds, study.protocols, Job())
    assert tracer.protocol == "fdg"
    assert tracer.evidence.startswith("code: ")
    assert tracer.code is not None
    assert tracer.code.value == "35321007"


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"text": "PSMA", "code": ("35321007", "SCT", "FDG")}, "TRACER_AMBIGUOUS"),
        ({"text": "FDG", "nuclide": ("35337001", "SCT", "Ga"), "half_life_s": 4057.7}, "TRACER_AMBIGUOUS"),
        ({"text": "Solution"}, "TRACER_UNKNOWN"),
        ({"text": ""}, "TRACER_UNKNOWN"),
    ],
)
def test_contradiction_and_silence_are_refused(study: Study, item: dict[str, Any], code: str) -> None:
    sequence = [study.radiopharmaceutical(**item)]
    ds = study.header("PT", "PET", 0, RadiopharmaceuticalInformationSequence=sequence)
    with pytest.raises(SelectionRefusal, match=code):
        identify_tracer(ds, study.protocols, Job())


def test_description_is_the_last_evidence(study: Study) -> None:
    ds = study.header("PT", "WB PSMA", 0, RadiopharmaceuticalInformationSequence=None)
    tracer = identify_tracer(ds, study.protocols, Job())
    assert (tracer.protocol, tracer.radionuclide) == ("psma", None)


def test_job_overrules_the_header(study: Study) -> None:
    tracer = identify_tracer(study.header("PT", "x", 0), study.protocols, Job(protocol="fapi"))
    assert tracer.protocol == "fapi"
    assert tracer.evidence.startswith("job")
    with pytest.raises(SelectionRefusal, match="PROTOCOL_UNKNOWN"):
        identify_tracer(study.header("PT", "x", 0), study.protocols, Job(protocol="none"))


@pytest.mark.parametrize(
    ("nuclide", "text", "half_life_s", "expected"),
    [
        (("C-111A1", "SRT", ""), "", None, "F-18"),
        (("x", "L", "^68^Gallium"), "", None, "Ga-68"),
        (None, "18FFDG", None, "F-18"),
        (None, "64Cu-DOTATATE", None, "Cu-64"),
        (None, "x", 6588.0, "F-18"),
        (("77004003", "SCT", "^68^Gallium"), "", 4057.7, "Ga-68"),
        (None, "PSMA-11", None, None),
    ],
)
def test_radionuclide(study: Study, nuclide: Any, text: str, half_life_s: Any, expected: str | None) -> None:
    item = study.radiopharmaceutical(text, nuclide=nuclide, half_life_s=half_life_s)
    assert radionuclide(study.header("PT", "x", 0, RadiopharmaceuticalInformationSequence=[item])) == expected
