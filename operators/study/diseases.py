"""The diseases that rules and models know, and the codes that name them."""

from __future__ import annotations

import re

from operators.domain import Code

PROSTATE_CANCER = "prostate_cancer"
NEUROENDOCRINE_TUMOUR = "neuroendocrine_tumour"
DLBCL = "dlbcl"
HODGKIN_LYMPHOMA = "hodgkin_lymphoma"
SOFT_TISSUE_SARCOMA = "soft_tissue_sarcoma"

DISEASES = {
    PROSTATE_CANCER: "prostate cancer",
    NEUROENDOCRINE_TUMOUR: "neuroendocrine tumour",
    DLBCL: "diffuse large B-cell lymphoma",
    HODGKIN_LYMPHOMA: "Hodgkin lymphoma",
    SOFT_TISSUE_SARCOMA: "soft-tissue sarcoma",
}
"""Their names, in words."""

SNOMED_CT = frozenset({"SCT"})
ICD10 = frozenset({"I10", "I10C", "ICD10GM"})
"""ICD-10, ICD-10-CM (both PS3.16 chapter 8) and ICD-10-GM, which DICOM has no designator for."""

_SNOMED_CT_CODES = {
    "399068003": PROSTATE_CANCER,
    "254900004": PROSTATE_CANCER,
    "255046005": NEUROENDOCRINE_TUMOUR,
    "109969005": DLBCL,
    "118599009": HODGKIN_LYMPHOMA,
    "89155008": SOFT_TISSUE_SARCOMA,
}
"""Malignant tumor and carcinoma of prostate, neuroendocrine tumor, diffuse large B-cell lymphoma, Hodgkin's
disease, soft tissue sarcoma. From secondary sources: not verified against a SNOMED CT release."""

_ICD10_CODES = (
    (re.compile(r"C61"), PROSTATE_CANCER),
    (re.compile(r"C7A[08].*|D3A.*"), NEUROENDOCRINE_TUMOUR),
    (re.compile(r"C833.*"), DLBCL),
    (re.compile(r"C81.*"), HODGKIN_LYMPHOMA),
    (re.compile(r"C49[0-9]?"), SOFT_TISSUE_SARCOMA),
)
"""Without the dot. C7A and D3A are of ICD-10-CM, where C7A.1 is poorly differentiated carcinoma and C49.A
gastrointestinal stromal tumour. Recalled: not verified against the classifications."""


def disease_of(code: Code) -> str | None:
    """Return the disease that a code names exactly, None where it names none of `DISEASES`.

    Concepts below or beside these are not looked up: a code that is not listed says nothing.
    """
    if code.scheme in SNOMED_CT:
        return _SNOMED_CT_CODES.get(code.value)
    if code.scheme in ICD10:
        plain = code.value.upper().replace(".", "")
        return next((disease for pattern, disease in _ICD10_CODES if pattern.fullmatch(plain)), None)
    return None
