"""The method ``network``: a lesion package's label map, as a mask on the PET grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from operators.domain import Claim, Note, Parameter, ReferenceRegion, Segmented, Volumes
from operators.errors import SegmentationRefusal
from operators.segmentation import models
from operators.segmentation.method import MIN_VOLUME, Engine, Method
from operators.segmentation.organs.physiological import removed_regions
from operators.segmentation.package.types import Package, Task
from operators.segmentation.quality import assess
from operators.segmentation.site import SegmentationSite
from operators.segmentation.thresholds import left_out_note, without_small


@dataclass(frozen=True, slots=True)
class NetworkEngine:
    """Runs the site's lesion package for the study's tracer."""

    name: str
    parameters: tuple[Parameter, ...]
    site: SegmentationSite
    needs: tuple[str, ...] = ()

    def segment(self, volumes: Volumes, references: Mapping[str, ReferenceRegion]) -> Segmented:  # noqa: ARG002
        """Segment the lesions; what the package labels as physiological is listed as removed.

        Only a package that parts physiological uptake from disease, and was made for the study's tracer, is
        taken at its word: the mask of any other is of uptake until an organ model has looked at it.

        Raises
        ------
        SegmentationRefusal
            ``MODEL_MISSING``, ``MODEL_AMBIGUOUS``, or what the package or its run is refused for.
        """
        tracer = volumes.selection.protocol.name
        choice = models.choose_package(self.site, Task.LESIONS, tracer, simulated=True)
        if choice.package is None:
            passed_over = "".join(f" {note.sentence}" for note in choice.notes)
            raise SegmentationRefusal(
                "MODEL_MISSING",
                f"The segmentation method {self.name} needs a model, and {choice.reason}. Import one with "
                f"theramap models import, or choose another method.{passed_over}",
            )
        package = choice.package
        disease = _disease(package)
        wanted = () if package.guard is None else disease
        prediction = models.predicted(package, volumes, self.site, wanted)
        labels, probability = prediction.labels, prediction.probability
        smallest_ml = {p.name: p.value for p in self.parameters}["min_volume_ml"]
        mask, left_out = without_small(volumes.pet, np.isin(labels, disease), smallest_ml)
        physiological = [label for label in package.labels if label.physiological]
        removed = (
            region
            for label in physiological
            for region in removed_regions(volumes.pet, labels == label.value, label.name)
        )
        quality = None
        if package.guard is not None and probability is not None:
            quality = assess(package, package.guard, probability, mask, volumes)
        parts_them = bool(physiological) and tracer in package.tracers
        return Segmented(
            volumes=volumes,
            mask=mask,
            claim=Claim.LESION if parts_them else Claim.UPTAKE,
            algorithm=models.algorithm_of(package, self.name, self.parameters, prediction),
            notes=(
                *choice.notes,
                *prediction.notes,
                *(() if physiological else (_parts_nothing(package),)),
                *left_out_note(left_out, "found by the network", smallest_ml),
            ),
            removed=tuple(removed),
            quality=quality,
        )


def _parts_nothing(package: Package) -> Note:
    return Note(
        "MODEL_PARTS_NOTHING",
        f"The model package {package.identity} has no label for physiological uptake: by itself, what it "
        "finds is called uptake, not lesions.",
    )


def _disease(package: Package) -> tuple[int, ...]:
    return tuple(label.value for label in package.labels if not label.physiological)


def _build(
    method: Method, parameters: tuple[Parameter, ...], site: SegmentationSite, _version: str
) -> Engine:
    return NetworkEngine(method.name, parameters, site)


METHODS = (
    Method(
        name="network",
        title="Segmentation network",
        citation="",  # the package's own
        parameters=(MIN_VOLUME,),
        build=_build,
        accelerated=True,
    ),
)
