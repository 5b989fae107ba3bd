"""``results.json``: what was decided, measured and written, for programs (schema: ``results.schema.json``).

Written last and atomically, so its presence says that the study is done. It holds no name, no patient ID and
no birth date. A number that could not be computed is null, never zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from operators.domain import (
    Assessed,
    Lesion,
    Note,
    PercistThreshold,
    Quantified,
    ResultFile,
    ResultProfile,
    RunFacts,
    Scale,
    SeriesDecision,
    SetAside,
    SiteTotals,
    Suv,
    Totals,
    Tracer,
)
from operators.errors import InputRefusal, Refusal, Refused
from operators.results.files import write_atomically
from operators.results.identity import Identity, identify
from operators.results.json_values import Json, code_value, moment_text, number
from operators.results.manifest_models import (
    algorithm_content,
    organs_content,
    quality_content,
    reference_content,
    removed_content,
    site_content,
    uncertain_content,
)
from operators.results.manifest_reading import reading_content
from operators.results.manifest_response import response_content
from operators.results.summary import RESEARCH_ONLY

SCHEMA_VERSION: Final = "1.4"
FILE_NAME: Final = "results.json"


def write_results(
    outcome: Assessed | Refused,
    files: tuple[ResultFile, ...],
    facts: RunFacts,
    profile: ResultProfile,
    folder: Path,
) -> Path:
    """Write a study's ``results.json``.

    Parameters
    ----------
    outcome : Assessed or Refused
        The measurements, or the refusal.
    files : tuple of ResultFile
        What was written beside it.
    facts : RunFacts
        Versions, device, times and memory of the run.
    profile : ResultProfile
        As the other results were written with, for the identifiers are the same.
    folder : Path
        Where to write; file paths in it are relative to it.

    Returns
    -------
    Path
        The file.
    """
    if isinstance(outcome, Refused):
        content = {**_refused(outcome), **_run(facts)}
    else:
        content = {**_completed(outcome, files, profile, folder), **_run(facts)}
    return _write(content, folder)


def write_input_refusal(refusal: InputRefusal, facts: RunFacts, folder: Path) -> Path:
    """Write the ``results.json`` of an input that gave no study at all.

    Parameters
    ----------
    refusal : InputRefusal
        Why; it carries the files that were set aside.
    facts : RunFacts
        Versions, device, times and memory of the run.
    folder : Path
        Where to write.

    Returns
    -------
    Path
        The file.
    """
    content = {
        **_head("refused", _reason(refusal), None),
        "series": [],
        "set_aside": [_set_aside(file) for file in refusal.set_aside],
        "notes": [],
        "files": [],
        **_run(facts),
    }
    return _write(content, folder)


def _write(content: Json, folder: Path) -> Path:
    # File names that are no UTF-8 arrive as surrogates: they stay readable as JSON escapes.
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / FILE_NAME
    write_atomically(path, (text.encode("utf-8", "backslashreplace"),))
    return path


def _head(status: str, reason: Json | None, study_instance_uid: str | None) -> Json:
    return {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "reason": reason,
        "statement": RESEARCH_ONLY,
        "study_instance_uid": study_instance_uid,
    }


def _run(facts: RunFacts) -> Json:
    return {
        "versions": dict(facts.versions),
        "device": facts.device,
        "timings_s": {step: number(seconds) for step, seconds in facts.timings_s.items()},
        "peak_memory_mib": number(facts.peak_memory_mib),
    }


def _refused(refused: Refused) -> Json:
    return {
        **_head("refused", _reason(refused.refusal), refused.case.study.study_instance_uid),
        "series": [_decision(decision) for decision in refused.decisions],
        "set_aside": [_set_aside(file) for file in refused.case.set_aside],
        "notes": [_note(note) for note in refused.notes],
        "files": [],
    }


def _completed(assessed: Assessed, files: Iterable[ResultFile], profile: ResultProfile, folder: Path) -> Json:
    quantified = assessed.quantified
    selection, segmented = quantified.selection, quantified.segmented
    identity = identify(assessed, profile)
    return {
        **_head("completed", None, selection.case.study.study_instance_uid),
        "identity": identity.digest,
        "time": identity.time.isoformat(),
        "pet_series_instance_uid": selection.pet.series_instance_uid,
        "ct_series_instance_uid": None if selection.ct is None else selection.ct.series_instance_uid,
        "series": [_decision(decision) for decision in selection.decisions],
        "set_aside": [_set_aside(file) for file in selection.case.set_aside],
        "tracer": _tracer(selection.tracer),
        "protocol": {
            "name": selection.protocol.name,
            "title": selection.protocol.title,
            "version": selection.protocol.version,
            "sha256": selection.protocol.digest,
        },
        "suv": _suv(segmented.volumes.suv),
        "segmentation": {"claim": str(segmented.claim), **algorithm_content(segmented.algorithm)},
        "organs": None
        if segmented.organs is None
        else organs_content(segmented.organs, segmented.volumes.pet),
        "removed_by": None if segmented.removed_by is None else algorithm_content(segmented.removed_by),
        "removed": [removed_content(region) for region in segmented.removed],
        "uncertain": [uncertain_content(region) for region in segmented.uncertain],
        "references": [reference_content(region) for region in segmented.references],
        "lesions": [_lesion(lesion, identity) for lesion in quantified.lesions],
        "totals": _totals(quantified),
        "scales": [_scale(scale) for scale in quantified.scales],
        "percist": _percist(quantified.percist),
        "heterogeneity_method": quantified.heterogeneity_method,
        "quality": quality_content(segmented.quality),
        "reading": reading_content(segmented.reading),
        **response_content(assessed),
        "notes": [_note(note) for note in assessed.all_notes],
        "files": [_file(file, folder) for file in files],
    }


def _reason(refusal: Refusal) -> Json:
    return {"step": refusal.step, "code": refusal.code, "sentence": refusal.sentence, "tag": refusal.tag}


def _decision(decision: SeriesDecision) -> Json:
    return {
        "series_instance_uid": decision.series_instance_uid,
        "modality": decision.modality,
        "description": decision.description,
        "instances": decision.instances,
        "role": None if decision.role is None else str(decision.role),
        "code": decision.code,
        "reason": decision.reason,
    }


def _set_aside(file: SetAside) -> Json:
    return {"path": file.path, "code": file.code, "reason": file.reason}


def _note(note: Note) -> Json:
    return {"code": note.code, "sentence": note.sentence, "tag": note.tag}


def _tracer(tracer: Tracer) -> Json:
    return {"code": code_value(tracer.code), "radionuclide": tracer.radionuclide, "evidence": tracer.evidence}


def _suv(suv: Suv) -> Json:
    return {
        "units": suv.units,
        "suv_type": suv.suv_type,
        "decay_correction": suv.decay_correction,
        "reference_time": moment_text(suv.reference_time),
        "reference_time_rule": suv.reference_time_rule,
        "injection_time": moment_text(suv.injection_time),
        "injection_time_rule": suv.injection_time_rule,
        "uptake_time_min": number(None if suv.uptake_time_s is None else suv.uptake_time_s / 60),
        "half_life_s": number(suv.half_life_s),
        "injected_dose_mbq": number(None if suv.injected_dose_bq is None else suv.injected_dose_bq / 1e6),
        "weight_kg": number(suv.weight_kg),
        "suvbw_factor": {
            "min": number(suv.suvbw_factor.min(initial=math.inf)),
            "max": number(suv.suvbw_factor.max(initial=-math.inf)),
        },
        "suvlbm_ratio": {formula: number(ratio) for formula, ratio in suv.lbm_ratio.items()},
        "suvbsa_ratio": number(suv.bsa_ratio),
        "corrected": list(suv.corrected),
    }


def _lesion(lesion: Lesion, identity: Identity) -> Json:
    tracking = identity.names[lesion.number]
    return {
        "number": lesion.number,
        "tracking_identifier": tracking.identifier,
        "tracking_uid": tracking.uid,
        "voxels": lesion.voxels,
        "volume_ml": number(lesion.volume_ml),
        "suv_max_g_ml": number(lesion.suv_max),
        "suv_max_index_zyx": list(lesion.suv_max_index),
        "suv_max_lps_mm": [number(mm) for mm in lesion.suv_max_lps_mm],
        "suv_mean_g_ml": number(lesion.suv_mean),
        "suv_min_g_ml": number(lesion.suv_min),
        "suv_sd_g_ml": number(lesion.suv_sd),
        "suv_peak_local_g_ml": number(lesion.suv_peak_local),
        "suv_peak_global_g_ml": number(lesion.suv_peak_global),
        "peak_truncated": lesion.peak_truncated,
        "tlg_g": number(lesion.tlg_g),
        "centroid_lps_mm": [number(mm) for mm in lesion.centroid_lps_mm],
        "longest_diameter_mm": number(lesion.longest_diameter_mm),
        "site": site_content(lesion.site),
        "confidence": number(lesion.confidence),
        "uncertain": lesion.uncertain,
        "background_ratio": {name: number(ratio) for name, ratio in lesion.background_ratio.items()},
        "percist_measurable": lesion.percist_measurable,
        "heterogeneity": {name: number(value) for name, value in lesion.heterogeneity.items()},
        "heterogeneity_absent": lesion.heterogeneity_absent,
    }


def _totals(quantified: Quantified) -> Json:
    """Numbers over the whole mask under the name of what it is; as tumour totals only when it is that."""
    numbers = _sums(quantified.totals)
    return {
        "uptake": {"of": str(quantified.segmented.claim), **numbers},
        "tumour": numbers if quantified.withheld is None else None,
        "withheld": quantified.withheld,
        "sites": [_site_totals(site) for site in quantified.sites],
        "organs": [_site_totals(organ) for organ in quantified.organs],
    }


def _sums(totals: Totals) -> Json:
    return {
        "count": totals.count,
        "volume_ml": number(totals.volume_ml),
        "tlg_g": number(totals.tlg_g),
        "suv_max_g_ml": number(totals.suv_max),
        "suv_mean_g_ml": number(totals.suv_mean),
        "suv_peak_g_ml": number(totals.suv_peak),
        "dmax_mm": number(totals.dmax_mm),
        "dmax_bulk_mm": number(totals.dmax_bulk_mm),
        "sdmax_per_m": number(totals.sdmax_per_m),
    }


def _site_totals(site: SiteTotals) -> Json:
    return {"name": site.name, "lesions": list(site.lesions), **_sums(site.totals)}


def _scale(scale: Scale) -> Json:
    return {"name": scale.name, "title": scale.title, "unit": scale.unit, "per_suvbw": number(scale.ratio)}


def _percist(threshold: PercistThreshold | None) -> Json | None:
    if threshold is None:
        return None
    return {
        "suv_peak_g_ml": number(threshold.suv_peak),
        "reference": threshold.reference,
        "reason": threshold.reason,
    }


def _file(file: ResultFile, folder: Path) -> Json:
    return {
        "kind": str(file.kind),
        "path": file.path.relative_to(folder).as_posix(),
        "sha256": file.sha256,
        "sop_class_uid": file.sop_class_uid,
        "sop_instance_uid": file.sop_instance_uid,
        "destination": file.destination,
    }
