"""The part of results.json that says what the measurements mean: findings, change, predictions."""

from __future__ import annotations

from collections.abc import Iterable

from operators.domain import (
    Assessed,
    Correspondence,
    Fact,
    Finding,
    FollowUp,
    Note,
    Prediction,
    Registration,
    TimePoint,
)
from operators.results.json_values import Json, moment_text, number


def response_content(assessed: Assessed) -> Json:
    """What was assessed beyond the measurements, by key of results.json."""
    return {
        "facts": [_fact(fact) for fact in assessed.facts],
        "findings": [_finding(finding) for finding in assessed.findings],
        "follow_ups": [_follow_up(follow_up) for follow_up in assessed.follow_ups],
        "trend": [_time_point(point) for point in assessed.trend],
        "predictions": [_prediction(prediction) for prediction in assessed.predictions],
    }


def _fact(fact: Fact) -> Json:
    value = fact.value
    if isinstance(value, float):
        value = number(value)
    return {
        "name": fact.name,
        "value": value,
        "unit": fact.unit,
        "source": fact.source,
        "reason": fact.reason,
        "at_least": number(fact.at_least),
        "at_most": number(fact.at_most),
    }


def _finding(finding: Finding) -> Json:
    return {
        "rule": finding.rule,
        "title": finding.title,
        "version": finding.version,
        "kind": finding.kind,
        "compared_with": finding.compared_with,
        "lesion": finding.lesion,
        "category": finding.category,
        "meaning": finding.meaning,
        "reason": finding.reason,
        "facts": [_fact(fact) for fact in finding.facts],
        "criterion": finding.criterion,
        "citation": finding.citation,
        "verification": finding.verification,
        "warnings": _cautions(finding.warnings),
    }


def _follow_up(follow_up: FollowUp) -> Json:
    prior = follow_up.prior
    return {
        "study_instance_uid": prior.selection.case.study.study_instance_uid,
        "time": moment_text(follow_up.time),
        "days": number(follow_up.days),
        "tracer": prior.selection.tracer.protocol,
        "claim": str(prior.segmented.claim),
        "lesions": prior.totals.count,
        "volume_ml": number(prior.totals.volume_ml),
        "tlg_g": number(prior.totals.tlg_g),
        "registration": _registration(follow_up.registration),
        "correspondences": [_correspondence(each) for each in follow_up.correspondences],
        "notes": _cautions(follow_up.notes),
    }


def _cautions(notes: Iterable[Note]) -> list[Json]:
    return [{"code": note.code, "sentence": note.sentence} for note in notes]


def _time_point(point: TimePoint) -> Json:
    return {
        "study_instance_uid": point.study_instance_uid,
        "time": moment_text(point.time),
        "days_before": number(point.days),
        "count": point.lesion_count,
        "volume_ml": number(point.volume_ml),
        "tlg_g": number(point.total_lesion_uptake_g),
        "suv_mean_g_ml": number(point.suv_mean),
        "suv_max_g_ml": number(point.suv_max),
        "withheld": point.withheld,
    }


def _registration(registration: Registration) -> Json:
    return {
        "accepted": registration.accepted,
        "reason": registration.reason,
        "method": registration.method,
        "rigid": [[number(value) for value in row] for row in registration.rigid.tolist()],
        "measures": {name: number(value) for name, value in registration.measures.items()},
    }


def _correspondence(correspondence: Correspondence) -> Json:
    return {
        "fate": str(correspondence.fate),
        "prior": list(correspondence.prior),
        "current": list(correspondence.current),
        "overlap": number(correspondence.overlap),
        "distance_mm": number(correspondence.distance_mm),
    }


def _prediction(prediction: Prediction) -> Json:
    return {
        "model": prediction.model,
        "sha256": prediction.digest,
        "title": prediction.title,
        "outcome": prediction.outcome,
        "kind": prediction.kind,
        "value": number(prediction.value),
        "unit": prediction.unit,
        "withheld": prediction.withheld,
        "interval": None if prediction.interval is None else [number(bound) for bound in prediction.interval],
        "prediction_set": None if prediction.prediction_set is None else list(prediction.prediction_set),
        "coverage": number(prediction.coverage),
        "inputs": [_fact(fact) for fact in prediction.inputs],
        "contributions": [
            {
                "feature": each.feature,
                "value": number(each.value),
                "unit": each.unit,
                "amount": number(each.amount),
            }
            for each in prediction.contributions
        ],
        "explained_in": prediction.explained_in,
        "population": prediction.population,
        "performance": prediction.performance,
        "citation": prediction.citation,
    }
