"""The codes that results use, each in one place, with where it is defined.

``DCM`` and ``SCT`` codes are those of PS3.16; units are UCUM (PS3.16 CID 85, CID 7460 ff.). Where the
standard has no code that says what is meant, a private code of the scheme ``99THERAMAP`` does: its
definition is here and in ``docs/codes.md``.
"""

from __future__ import annotations

from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from operators import domain
from operators.domain import Algorithm, Claim, Finding, Lesion, Scale
from operators.quantification.sites import organ_of

PRIVATE_SCHEME: Final = "99THERAMAP"

PRIVATE_DEFINITIONS: Final[dict[Code, str]] = {
    Code("TM001", PRIVATE_SCHEME, "Tracer uptake above threshold"): (
        "A region of raised tracer uptake, found by a threshold or by a network. Physiological uptake has "
        "not been removed, or not wholly: the region need not be disease."
    ),
    Code("TM002", PRIVATE_SCHEME, "Intensity thresholding"): (
        "A family of algorithms that take the voxels above a fixed or relative intensity, and their "
        "connected components (not in PS3.16 CID 7162)."
    ),
    Code("TM003", PRIVATE_SCHEME, "Largest distance between voxel centres"): (
        "Measurement method: the largest distance in three dimensions between the centres of two voxels of "
        "the region."
    ),
    Code("TM004", PRIVATE_SCHEME, "Total lesion uptake"): (
        "The product of mean SUVbw and volume of a region, for tracers other than FDG, whose uptake is not "
        "glycolysis, and for regions of uptake that need not be lesions."
    ),
    Code("TM005", PRIVATE_SCHEME, "SUVbw local intensity peak"): (
        "Measurement: mean SUVbw of the voxels whose centres lie within 6.2035 mm of the hottest voxel of "
        "the region, voxels outside the region included (IBSI code VJGA)."
    ),
    Code("TM006", PRIVATE_SCHEME, "IBSI global intensity peak"): (
        "Measurement method: the largest mean over the voxels whose centres lie within 6.2035 mm of a voxel "
        "of the region, voxels outside the region included (IBSI code 0F91)."
    ),
    Code("TM007", PRIVATE_SCHEME, "Calibrated probability of a true lesion"): (
        "Measurement method of a certainty of finding: the probability that a region which a network "
        "segmented as a lesion is one, from the network's probabilities and the region's volume, calibrated "
        "on patients with known lesions."
    ),
    Code("TM008", PRIVATE_SCHEME, "Predicted Dice coefficient"): (
        "Measurement: the Dice coefficient, 0 to 1, that a network's segmentation of the study is expected "
        "to have with an expert's. It is predicted from the network's probabilities, not measured."
    ),
    Code("TM010", PRIVATE_SCHEME, "Status of the result"): (
        "Concept name: what the result is and whether anybody has verified it."
    ),
    Code("TM011", PRIVATE_SCHEME, "Claim of the segmentation"): (
        "Concept name: what the segmented regions may be called."
    ),
    Code("TM012", PRIVATE_SCHEME, "Tumour totals"): (
        "Concept name: the totals over all lesions, or why they are withheld."
    ),
    Code("TM013", PRIVATE_SCHEME, "Quality note"): (
        "Concept name: a warning about the input or the computation that a reader must know."
    ),
    Code("TM014", PRIVATE_SCHEME, "Segmentation method"): (
        "Concept name: the method, its parameters and its source."
    ),
    Code("TM015", PRIVATE_SCHEME, "Organ segmentation"): (
        "Concept name: what segmented the organs and which uptake is taken for physiological; or that "
        "nothing did."
    ),
    Code("TM016", PRIVATE_SCHEME, "Removed physiological uptake"): (
        "Concept name: the regions that were taken out of the segmentation as physiological uptake, by organ."
    ),
    Code("TM017", PRIVATE_SCHEME, "Reference regions"): (
        "Concept name: the uptake of the reference regions and what placed them; or that there are none."
    ),
    Code("TM018", PRIVATE_SCHEME, "Quality of the segmentation"): (
        "Concept name: how far a network's segmentation can be trusted, and whether the study is like the "
        "data that it was trained on; or that nothing tells."
    ),
    Code("TM030", PRIVATE_SCHEME, "Finding by a published rule"): (
        "Concept name: what a published rule says of the study or the lesion, its category being a code of "
        "this scheme, the rule's name and the category with a full stop between them (docs/rules.md)."
    ),
    Code("TM031", PRIVATE_SCHEME, "Grounds of a finding"): (
        "Concept name: in words, the rule, its category, what decided it, its criterion and its source."
    ),
    Code("TM032", PRIVATE_SCHEME, "Indeterminate"): (
        "Value: the rule was tried, and what it asks for is not known or cannot be trusted."
    ),
    Code("TM033", PRIVATE_SCHEME, "Change since a prior study"): (
        "Concept name: what became of the lesions since a prior study, and how the two were registered."
    ),
    Code("TM034", PRIVATE_SCHEME, "Prediction by a model"): (
        "Concept name: a prediction with its model, population, performance and source, or why there is none."
    ),
    Code("TM035", PRIVATE_SCHEME, "Clinical inputs"): (
        "Concept name: what rules and models were told beside the images, and by whom."
    ),
    Code("TM036", PRIVATE_SCHEME, "Published rule"): (
        "Concept name: the rule by which something was judged, as a code of this scheme (docs/rules.md)."
    ),
    Code("TM037", PRIVATE_SCHEME, "Course over all studies"): (
        "Concept name: number and volume of lesions in every study of the same tracer, the oldest first."
    ),
    Code("TM038", PRIVATE_SCHEME, "Edit by a reader"): (
        "Concept name: how the lesions that a reader has drawn differ from those found automatically."
    ),
    Code("TM041", PRIVATE_SCHEME, "Largest distance between two lesions"): (
        "Measurement: Dmax, the largest distance between the centroids of two lesions of the study."
    ),
    Code("TM042", PRIVATE_SCHEME, "Largest distance between two lesions over body surface"): (
        "Measurement: SDmax, the largest distance between the centroids of two lesions over the body surface."
    ),
    Code("TM043", PRIVATE_SCHEME, "95 % interval"): (
        "Concept name: the bounds of a number, as the model that predicts it states them."
    ),
    Code("TM020", PRIVATE_SCHEME, "Report on the state of processing"): (
        "Document title: the software did not produce the results that were to be expected."
    ),
    Code("TM021", PRIVATE_SCHEME, "Reason for lack of results"): (
        "Concept name: why the software produced no results, in words and as its own code."
    ),
}
"""Every private code with its definition."""

_PRIVATE: Final = {code.value: code for code in PRIVATE_DEFINITIONS}

CODING_SCHEMES: Final = (
    CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME, name="theramap private codes", responsible_organization="theramap"
    ),
)
"""Of the Coding Scheme Identification Sequence (PS3.3 C.12.1.1.6)."""

# Findings and segmented properties: category, type.
_PROPERTIES: Final = {
    Claim.UPTAKE: (Code("246464006", "SCT", "Function"), _PRIVATE["TM001"]),
    Claim.LESION: (
        Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        Code("108369006", "SCT", "Neoplasm"),
    ),
}


def term(concept: domain.Code) -> Code:
    """A concept of the domain as reports have it."""
    return Code(concept.value, concept.scheme, concept.meaning[:64])


def unit_of(scale: Scale) -> Code:
    """The unit of an SUV beside SUVbw (PS3.16 CID 85)."""
    return Code(scale.unit, "UCUM", scale.title)


def place_of(lesion: Lesion) -> tuple[Code, Code | None] | None:
    """The organ that a lesion lies in and its side; None when nothing knows it or it has no code.

    An organ that a lesion only touches or lies near is no place of it: results.json names it, with the
    overlap or the distance.
    """
    organ = organ_of(lesion)
    if organ is None or organ.code is None:
        return None
    return term(organ.code), None if organ.side is None else term(organ.side)


def property_of(claim: Claim) -> tuple[Code, Code]:
    """Segmented property category (PS3.16 CID 7150) and type of what a claim calls the mask."""
    return _PROPERTIES[claim]


# Algorithm families (PS3.16 CID 7162, extensible).
THRESHOLDING: Final = _PRIVATE["TM002"]
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")

# Measurements (PS3.16 CID 7466, CID 7465) and their modifiers.
SUVBW: Final = Code("126401", "DCM", "SUVbw")
METABOLIC_VOLUME: Final = Code("126032", "DCM", "Metabolic Volume")
TOTAL_LESION_GLYCOLYSIS: Final = Code("126033", "DCM", "Total Lesion Glycolysis")
TOTAL_LESION_UPTAKE: Final = _PRIVATE["TM004"]
SUVBW_LOCAL_PEAK: Final = _PRIVATE["TM005"]
LESION_TO_BACKGROUND: Final = Code("126039", "DCM", "Lesion to Background SUV Ratio")
CERTAINTY_OF_FINDING: Final = Code("111012", "DCM", "Certainty of Finding")
PREDICTED_DICE: Final = _PRIVATE["TM008"]
DIAMETER: Final = Code("81827009", "SCT", "Diameter")
NUMBER_OF_LESIONS: Final = Code("246206008", "SCT", "Number of lesions")

TOTAL: Final = Code("255619001", "SCT", "Total")
MAXIMUM: Final = Code("56851009", "SCT", "Maximum")
MEAN: Final = Code("373098007", "SCT", "Mean")
MINIMUM: Final = Code("255605001", "SCT", "Minimum")
STANDARD_DEVIATION: Final = Code("386136009", "SCT", "Standard Deviation")
PEAK: Final = Code("126031", "DCM", "Peak Value Within ROI")

SUVBW_METHOD: Final = Code("126410", "DCM", "SUV body weight calculation method")
VOXEL_SUM_METHOD: Final = Code("126030", "DCM", "Sum of segmented voxel method for volume")
VOXEL_CENTRES_METHOD: Final = _PRIVATE["TM003"]
GLOBAL_PEAK_METHOD: Final = _PRIVATE["TM006"]
CALIBRATED_METHOD: Final = _PRIVATE["TM007"]

GRAMS_PER_ML_SUVBW: Final = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
CUBIC_CENTIMETRE: Final = Code("cm3", "UCUM", "Cubic centimeter")
GRAM: Final = Code("g", "UCUM", "Gram")
MILLIMETRE: Final = Code("mm", "UCUM", "mm")
SQUARE_MILLIMETRE: Final = Code("mm2", "UCUM", "mm2")
AREA: Final = Code("42798000", "SCT", "Area")
COMMENT: Final = Code("121106", "DCM", "Comment")
PERCENT: Final = Code("%", "UCUM", "Percent")
NO_UNITS: Final = Code("1", "UCUM", "no units")
PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")

# The report's frame.
PROCEDURE_REPORTED: Final = Code("121058", "DCM", "Procedure reported")
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
PET: Final = Code("44136-0", "LN", "PET unspecified body region")
ENGLISH: Final = Code("en", "RFC5646", "English")
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
IMPRESSION: Final = Code("121073", "DCM", "Impression")
STATUS: Final = _PRIVATE["TM010"]
CLAIM: Final = _PRIVATE["TM011"]
TOTALS: Final = _PRIVATE["TM012"]
QUALITY_NOTE: Final = _PRIVATE["TM013"]
METHOD: Final = _PRIVATE["TM014"]
ORGANS: Final = _PRIVATE["TM015"]
REMOVED_UPTAKE: Final = _PRIVATE["TM016"]
READING: Final = _PRIVATE["TM038"]
REFERENCE_REGIONS: Final = _PRIVATE["TM017"]
QUALITY: Final = _PRIVATE["TM018"]
RULE_FINDING: Final = _PRIVATE["TM030"]
GROUNDS: Final = _PRIVATE["TM031"]
INDETERMINATE: Final = _PRIVATE["TM032"]
CHANGE: Final = _PRIVATE["TM033"]
PREDICTION: Final = _PRIVATE["TM034"]
CLINICAL_INPUTS: Final = _PRIVATE["TM035"]
TREND: Final = _PRIVATE["TM037"]
PUBLISHED_RULE: Final = _PRIVATE["TM036"]
CURRENT_RESPONSE: Final = Code("112048", "DCM", "Current Response")
RESPONSE_METHOD: Final = Code("112021", "DCM", "Response Evaluation Method")
LARGEST_DISTANCE: Final = _PRIVATE["TM041"]
LARGEST_DISTANCE_PER_BODY_SURFACE: Final = _PRIVATE["TM042"]
INTERVAL: Final = _PRIVATE["TM043"]
STATUS_REPORT: Final = _PRIVATE["TM020"]
LACK_OF_RESULTS: Final = _PRIVATE["TM021"]

LANGUAGE: Final = Code("121049", "DCM", "Language of Content Item and Descendants")

# The observer (TID 1002, TID 1004).
OBSERVER_TYPE: Final = Code("121005", "DCM", "Observer Type")
DEVICE: Final = Code("121007", "DCM", "Device")
DEVICE_UID: Final = Code("121012", "DCM", "Device Observer UID")
DEVICE_NAME: Final = Code("121013", "DCM", "Device Observer Name")
DEVICE_MANUFACTURER: Final = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_MODEL_NAME: Final = Code("121015", "DCM", "Device Observer Model Name")
DEVICE_SERIAL_NUMBER: Final = Code("121016", "DCM", "Device Observer Serial Number")

# A measurement group (TID 1411, TID 1419, TID 4019).
MEASUREMENT_GROUP: Final = Code("125007", "DCM", "Measurement Group")
TRACKING_IDENTIFIER: Final = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID: Final = Code("112040", "DCM", "Tracking Unique Identifier")
FINDING: Final = Code("121071", "DCM", "Finding")
FINDING_SITE: Final = Code("363698007", "SCT", "Finding Site")
LATERALITY: Final = Code("272741003", "SCT", "Laterality")
ALGORITHM_NAME: Final = Code("111001", "DCM", "Algorithm Name")
ALGORITHM_VERSION: Final = Code("111003", "DCM", "Algorithm Version")
ALGORITHM_PARAMETERS: Final = Code("111002", "DCM", "Algorithm Parameters")
ALGORITHM_FAMILY: Final = Code("111000", "DCM", "Algorithm Family")
IMAGE_REGION: Final = Code("111030", "DCM", "Image Region")
REFERENCED_SEGMENT: Final = Code("121191", "DCM", "Referenced Segment")
SOURCE_SERIES: Final = Code("121232", "DCM", "Source Series for Segmentation")
MEASUREMENT_METHOD: Final = Code("370129005", "SCT", "Measurement Method")
DERIVATION: Final = Code("121401", "DCM", "Derivation")

# Derived images (PS3.16 CID 7203, CID 7202).
SEGMENTATION: Final = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE: Final = Code("121322", "DCM", "Source image for image processing operation")

# The image library (TID 1600, TID 1602, TID 1607).
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
MODALITY: Final = Code("121139", "DCM", "Modality")
POSITRON_EMISSION: Final = Code("PT", "DCM", "Positron emission tomography")
FRAME_OF_REFERENCE: Final = Code("112227", "DCM", "Frame of Reference UID")
ROWS: Final = Code("110910", "DCM", "Pixel Data Rows")
COLUMNS: Final = Code("110911", "DCM", "Pixel Data Columns")
RADIOPHARMACEUTICAL: Final = Code("349358000", "SCT", "Radiopharmaceutical agent")
SOURCE: Final = Code("260753009", "SCT", "Source")
IMAGING_MEASUREMENTS: Final = Code("126010", "DCM", "Imaging Measurements")
ACQUISITION_EQUIPMENT: Final = Code("109101", "DCM", "Acquisition Equipment")
PROCESSING_EQUIPMENT: Final = Code("109102", "DCM", "Processing Equipment")

# Key object selection (TID 2010, CID 7010).
REJECTED_FOR_QUALITY: Final = Code("113001", "DCM", "Rejected for Quality Reasons")
REJECTED_FOR_PATIENT_SAFETY: Final = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
KEY_OBJECT_DESCRIPTION: Final = Code("113012", "DCM", "Key Object Description")


def category_of(finding: Finding) -> Code:
    """What a rule says, as a code of the private scheme: ``recip.PR``; or that it says nothing."""
    if finding.category is None:
        return INDETERMINATE
    return Code(f"{finding.rule}.{finding.category}", PRIVATE_SCHEME, _meaning(finding.meaning))


def rule_of(finding: Finding) -> Code:
    """The rule of a finding, as a code of the private scheme."""
    return Code(finding.rule, PRIVATE_SCHEME, _meaning(finding.title))


def _meaning(words: str) -> str:
    """Of at most 64 characters, as Code Meaning (0008,0104) has them."""
    return words if len(words) <= 64 else f"{words[:61]}..."


def family_of(algorithm: Algorithm) -> Code:
    """The algorithm's family: whatever runs a model is artificial intelligence, the rest thresholds."""
    return THRESHOLDING if algorithm.model_digest is None else ARTIFICIAL_INTELLIGENCE
