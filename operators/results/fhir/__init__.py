"""The report as FHIR: a DiagnosticReport with its Observations and Devices, in R4B and in R5.

It follows HL7's "DICOM SR to FHIR Resource Mapping" guide where that has a place for what is said; where it
does not, ``docs/fhir.md`` says so.
"""

from operators.results.fhir.bundle import STEMS, write_fhir
from operators.results.fhir.withdrawal import withdrawal

__all__ = ["STEMS", "withdrawal", "write_fhir"]
