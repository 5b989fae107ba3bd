"""The types that pass between the steps, a module for each step, in the order of flow.

Each step takes the record of the step before it and returns its own, which holds the former: an
:class:`Assessed` knows its :class:`Quantified`, that its :class:`Segmented`, that its
:class:`Volumes`, that its :class:`Selection`, that its :class:`Case`. All are frozen. Arrays have index
order (z, y, x): slice along the normal, row, column. Positions are LPS millimetres (DICOM PS3.3
C.7.6.2.1.1).
"""

from operators.domain.common import Box, Code, Note
from operators.domain.job import Correction, Destination, Job, SrRegion, SupersededResult
from operators.domain.quantification import (
    Lesion,
    PercistThreshold,
    Quantified,
    Scale,
    Site,
    SiteTotals,
    Totals,
)
from operators.domain.response import (
    Assessed,
    Contribution,
    Correspondence,
    Fact,
    Fate,
    Finding,
    FollowUp,
    Prediction,
    Registration,
    TimePoint,
    TrackedName,
)
from operators.domain.results import ResultFile, ResultKind, ResultProfile, RunFacts
from operators.domain.segmentation import (
    Algorithm,
    Anatomy,
    Claim,
    Departure,
    LesionCalibration,
    NetworkRun,
    OrganMap,
    Parameter,
    PredictedDice,
    Quality,
    ReferenceRegion,
    RemovedUptake,
    Segmented,
    UncertainRegion,
)
from operators.domain.selection import (
    PhysiologicalOrgan,
    Protocol,
    ProtocolMethod,
    Role,
    Selection,
    SeriesDecision,
    Tracer,
    Window,
)
from operators.domain.study import Case, FhirFile, Instance, Series, SetAside, Study
from operators.domain.volume import Geometry, Suv, Volume, Volumes

__all__ = [
    "Algorithm",
    "Anatomy",
    "Assessed",
    "Box",
    "Case",
    "Claim",
    "Code",
    "Contribution",
    "Correction",
    "Correspondence",
    "Departure",
    "Destination",
    "Fact",
    "Fate",
    "FhirFile",
    "Finding",
    "FollowUp",
    "Geometry",
    "Instance",
    "Job",
    "Lesion",
    "LesionCalibration",
    "NetworkRun",
    "Note",
    "OrganMap",
    "Parameter",
    "PercistThreshold",
    "PhysiologicalOrgan",
    "PredictedDice",
    "Prediction",
    "Protocol",
    "ProtocolMethod",
    "Quality",
    "Quantified",
    "ReferenceRegion",
    "Registration",
    "RemovedUptake",
    "ResultFile",
    "ResultKind",
    "ResultProfile",
    "Role",
    "RunFacts",
    "Scale",
    "Segmented",
    "Selection",
    "Series",
    "SeriesDecision",
    "SetAside",
    "Site",
    "SiteTotals",
    "SrRegion",
    "Study",
    "SupersededResult",
    "Suv",
    "TimePoint",
    "Totals",
    "Tracer",
    "TrackedName",
    "UncertainRegion",
    "Volume",
    "Volumes",
    "Window",
]
