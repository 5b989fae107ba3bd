"""The part of results.json that says who computed what, and how sure it is: algorithms, networks, organs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from operators.domain import (
    Algorithm,
    Anatomy,
    NetworkRun,
    OrganMap,
    Quality,
    ReferenceRegion,
    RemovedUptake,
    Site,
    UncertainRegion,
    Volume,
)
from operators.results.json_values import Json, code_value, number
from operators.segmentation.organs.boxes import label_boxes, label_volumes_ml


def algorithm_content(algorithm: Algorithm) -> Json:
    """Who computed a mask or a label map, and how."""
    return {
        "method": algorithm.name,
        "title": algorithm.title,
        "version": algorithm.version,
        "parameters": [
            {"name": parameter.name, "value": number(parameter.value), "unit": parameter.unit}
            for parameter in algorithm.parameters
        ],
        "citation": algorithm.citation,
        "device": algorithm.device,
        "model_sha256": algorithm.model_digest,
        "network": None if algorithm.network is None else _network(algorithm.network),
    }


def _network(run: NetworkRun) -> Json:
    return {
        "package": run.package,
        "sha256": run.digest,
        "engine": run.engine,
        "provider": run.provider,
        "device": run.device,
        "precision": run.precision,
        "folds": list(run.folds),
        "mirrored_axes": list(run.mirrored_axes),
        "tiles": run.tiles,
        "tiles_skipped": run.tiles_skipped,
        "batch": run.batch,
        "times_s": {part: number(seconds) for part, seconds in run.times_s.items()},
    }


def organs_content(organs: OrganMap, pet: Volume) -> Json:
    """The organs that were found; which others the model knows is its package's to say."""
    volumes_ml = label_volumes_ml(organs.labels, label_boxes(organs.labels), pet.geometry)
    return {
        **algorithm_content(organs.algorithm),
        "found": [
            {**_anatomy(organs.anatomy[value]), "volume_ml": number(volume_ml)}
            for value, volume_ml in volumes_ml.items()
            if value in organs.anatomy
        ],
    }


def _anatomy(anatomy: Anatomy) -> dict[str, object]:
    return {"name": anatomy.name, "code": code_value(anatomy.code), "side": code_value(anatomy.side)}


def removed_content(region: RemovedUptake) -> Json:
    """A region that was taken away, with all that it takes to draw it back."""
    return {
        "organ": region.organ,
        "volume_ml": number(region.volume_ml),
        "suv_max_g_ml": number(region.suv_max),
        **_drawn(region),
    }


def uncertain_content(region: UncertainRegion) -> Json:
    """A region that stayed though it may be physiological, with all that it takes to draw it."""
    return {
        "organ": region.organ,
        "reason": region.reason,
        **_drawn(region),
    }


def _drawn(region: RemovedUptake | UncertainRegion) -> Json:
    """Where a region lies, voxel by voxel."""
    return {"box_zyx": [[side.start, side.stop] for side in region.box], "runs": _runs(region.mask)}


def _runs(mask: NDArray[np.bool_]) -> str:
    """Lengths of a mask's runs in raster order, clear and set in turn, the first clear: ``0 3 2 1``."""
    flat = np.concatenate([[False], mask.ravel()])  # so that the first run is clear
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return " ".join(map(str, np.diff([0, *edges, mask.size]).tolist()))


def reference_content(region: ReferenceRegion) -> Json:
    """Uptake of a reference region, where it lies and what placed it."""
    centre = region.centre_lps_mm
    return {
        "name": region.name,
        "suv_mean_g_ml": number(region.suv_mean),
        "suv_sd_g_ml": number(region.suv_sd),
        "voxels": region.voxels,
        "volume_ml": number(region.volume_ml),
        "centre_lps_mm": None if centre is None else [number(mm) for mm in centre],
        "source": region.source,
        "confidence": number(region.confidence),
    }


def site_content(site: Site | None) -> Json | None:
    """The organ that a lesion lies in or near."""
    if site is None:
        return None
    return {
        **_anatomy(site.anatomy),
        "overlap": number(site.overlap),
        "distance_mm": number(site.distance_mm),
    }


def quality_content(quality: Quality | None) -> Json | None:
    """How far a network's result can be trusted."""
    if quality is None:
        return None
    dice = quality.predicted_dice
    return {
        "predicted_dice": None
        if dice is None
        else {
            "value": number(dice.value),
            "mean_absolute_error": number(dice.mean_absolute_error),
            "patients": dice.patients,
            "source": dice.source,
        },
        "out_of_distribution": [
            {
                "feature": departure.feature,
                "value": number(departure.value),
                "low": number(departure.low),
                "high": number(departure.high),
                "unit": departure.unit,
                "sentence": departure.sentence,
            }
            for departure in quality.departures
        ],
        "features": {name: number(value) for name, value in quality.features.items()},
    }
