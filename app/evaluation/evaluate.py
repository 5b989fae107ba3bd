"""Cases against their reference masks, one after the other; a case that cannot be used hides no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.evaluation.measure import CaseMetrics, measure_case
from app.evaluation.predictors import Pet, Predictor, lesions_of
from app.evaluation.summary import Summary, summarise
from app.models.cases import TRUTH, case_names, read_labels, read_volume, unusable
from operators.domain import Note
from operators.errors import Refusal, SegmentationRefusal

SUFFIX = ".nii.gz"
PET = "PT.nii.gz"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    cases: Path
    """Holds a folder for each patient, with the PET as ``PT.nii.gz`` and what the predictor needs."""
    references: Path
    """Holds ``NAME.nii.gz`` or ``NAME/truth.nii.gz`` for each patient."""
    predictor: Predictor
    tolerance_mm: float
    min_lesion_ml: float
    reference_labels: tuple[int, ...] | None = None
    """Values of the reference that are lesion; None: all but 0."""


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    metrics: CaseMetrics
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that could not be used."""

    name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    request: Request
    measured: tuple[Measured, ...]
    left_out: tuple[LeftOut, ...]
    summary: Summary


def evaluate(request: Request, listener: Callable[[str], None] = lambda _: None) -> Evaluation:
    """Measure every case of a folder against its reference.

    Parameters
    ----------
    request : Request
    listener : callable
        Is told the name of each case before it is read.

    Returns
    -------
    Evaluation
        Every patient's folder and every reference is in it, as measured or as left out.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: there are no patients' folders, or no references at all.
    """
    names = case_names(request.cases)
    references = find_references(request.references)
    if not references:
        raise unusable(f"{request.references} holds no NAME{SUFFIX} and no NAME/{TRUTH}")
    measured: list[Measured] = []
    left_out: list[LeftOut] = []
    for name in names:
        listener(name)
        try:
            measured.append(_measure(request, name, references.get(name, ())))
        except Refusal as refusal:
            left_out.append(LeftOut(name, refusal.code, refusal.sentence))
        except OSError as error:
            left_out.append(LeftOut(name, "IMAGES_UNUSABLE", f"It cannot be read ({error.strerror})."))
    left_out += [
        LeftOut(name, "CASE_MISSING", "It has a reference but no folder of images.")
        for name in references.keys() - set(names)
    ]
    return Evaluation(
        request,
        tuple(measured),
        tuple(sorted(left_out, key=lambda each: each.name)),
        summarise([each.metrics for each in measured]),
    )


def find_references(folder: Path) -> Mapping[str, Sequence[Path]]:
    """Return the reference masks of each name: ``NAME.nii.gz`` or ``NAME/truth.nii.gz``, or both.

    Raises
    ------
    SegmentationRefusal
        ``IMAGES_UNUSABLE``: there is no such folder.
    """
    if not folder.is_dir():
        raise unusable(f"there is no folder {folder}")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if (path / TRUTH).is_file():
            found.setdefault(path.name, []).append(path / TRUTH)
        elif path.name.endswith(SUFFIX) and not path.is_dir():
            found.setdefault(path.name.removesuffix(SUFFIX), []).append(path)
    return found


def _measure(request: Request, name: str, references: Sequence[Path]) -> Measured:
    if len(references) != 1:
        held = f"has both {name}{SUFFIX} and" if references else f"has neither {name}{SUFFIX} nor"
        raise SegmentationRefusal(
            "REFERENCE_AMBIGUOUS" if references else "REFERENCE_MISSING",
            f"The folder of references {held} {name}/{TRUTH}.",
        )
    pet = Pet(*read_volume(request.cases / name / PET))
    reference = lesions_of(read_labels(references[0], pet.geometry), request.reference_labels)
    predicted = request.predictor.of(request.cases / name, pet)
    metrics = measure_case(
        predicted.mask, reference, pet.suv, pet.geometry, request.tolerance_mm, request.min_lesion_ml
    )
    return Measured(name, metrics, predicted.notes)
