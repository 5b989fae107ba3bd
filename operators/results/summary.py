"""What a report says in words, before and beside its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.sr.coding import Code

from operators.domain import (
    Algorithm,
    Assessed,
    Claim,
    Finding,
    PredictedDice,
    Quality,
    Quantified,
    ReferenceRegion,
    RemovedUptake,
)
from operators.quantification.sites import NOWHERE
from operators.results import codes, summary_response
from operators.results.tracking import parameters_of

RESEARCH_ONLY: Final = (
    "Research software, not a medical device. These results are unverified until a physician verifies them."
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A name with its value: a code, text, or a plain number."""

    concept: Code
    value: Code | str | float
    details: tuple[Statement, ...] = ()
    """What modifies a code."""


def statements(assessed: Assessed) -> Iterator[Statement]:
    """The report's statements, in reading order.

    Status, impression, claim, method, organs, removed uptake, reference regions, totals (or why there are
    none of these), what rules say, what changed, predictions, clinical inputs, how far the segmentation can
    be trusted, then every note: the quality section.
    """
    quantified = assessed.quantified
    yield Statement(codes.STATUS, RESEARCH_ONLY)
    yield Statement(codes.IMPRESSION, impression(quantified))
    yield Statement(codes.CLAIM, codes.property_of(quantified.segmented.claim)[1])
    yield Statement(codes.METHOD, _method(quantified))
    yield Statement(codes.ORGANS, _organs(quantified))
    yield Statement(codes.REMOVED_UPTAKE, _removed(quantified.segmented.removed))
    yield Statement(codes.REFERENCE_REGIONS, _references(quantified.segmented.references))
    yield Statement(codes.TOTALS, _totals(quantified))
    yield from _meant(assessed)
    quality = quantified.segmented.quality
    yield Statement(codes.QUALITY, _quality(quality))
    if quality is not None and quality.predicted_dice is not None:
        yield Statement(codes.PREDICTED_DICE, quality.predicted_dice.value)
    for note in assessed.all_notes:
        tag = "" if note.tag is None else f" [{note.tag}]"
        yield Statement(codes.QUALITY_NOTE, f"{note.code}: {note.sentence}{tag}")


def _meant(assessed: Assessed) -> Iterator[Statement]:
    withheld = assessed.quantified.withheld
    findings = list(summary_response.of_the_study(assessed))
    open_ones = [each for each in findings if each.category is None and withheld is not None]
    for finding in findings:
        if finding not in open_ones:
            yield judged(finding)
    if open_ones:
        titles = ", ".join(each.title for each in open_ones)
        yield Statement(
            codes.RULE_FINDING,
            codes.INDETERMINATE,
            (Statement(codes.GROUNDS, f"Indeterminate: {titles}. {withheld}"),),
        )
    for follow_up in assessed.follow_ups:
        yield Statement(codes.CHANGE, summary_response.change(follow_up))
    if assessed.trend:
        yield Statement(codes.TREND, summary_response.course(assessed.trend))
    for prediction in summary_response.spoken(assessed.predictions):
        yield Statement(codes.PREDICTION, summary_response.prediction(prediction))
    told = summary_response.stated(assessed.clinical)
    if told:
        yield Statement(codes.CLINICAL_INPUTS, told)


def judged(finding: Finding) -> Statement:
    """What a rule says, as a code with the rule and the grounds beside it."""
    is_response = finding.kind == "response"
    rule = codes.RESPONSE_METHOD if is_response else codes.PUBLISHED_RULE
    return Statement(
        codes.CURRENT_RESPONSE if is_response else codes.RULE_FINDING,
        codes.category_of(finding),
        (
            Statement(rule, codes.rule_of(finding)),
            Statement(codes.GROUNDS, summary_response.grounds(finding)),
        ),
    )


def impression(quantified: Quantified) -> str:
    """How much was found, in one or two sentences, without calling uptake disease."""
    count = len(quantified.lesions)
    is_uptake = quantified.segmented.claim is Claim.UPTAKE
    above = "" if quantified.segmented.algorithm.network is not None else " above threshold"
    noun = f"region of uptake{above}" if is_uptake else "lesion"
    if count == 0:
        beside = " besides the physiological uptake that was removed" if quantified.segmented.removed else ""
        return f"No {noun}{_of_size(quantified)} was found{beside}."
    plural = noun if count == 1 else noun.replace("region", "regions").replace("lesion", "lesions")
    found = (
        f"{count} {plural}; highest SUVmax {max(lesion.suv_max for lesion in quantified.lesions):.2f} g/ml."
    )
    if is_uptake:
        part = "been removed in part only" if quantified.segmented.removed else "not been removed"
        found += f" Physiological uptake has {part}: a region need not be disease."
    return found


def _of_size(quantified: Quantified) -> str:
    """The volume below which the method leaves regions out: without it, the negative would be false."""
    smallest_ml = quantified.segmented.algorithm.value_of("min_volume_ml") or 0.0
    return f" of at least {smallest_ml:g} ml" if smallest_ml > 0 else ""


def _method(quantified: Quantified) -> str:
    return _described(quantified.segmented.algorithm)


def _described(algorithm: Algorithm) -> str:
    parameters = ", ".join(f"{name} {value}" for name, value in parameters_of(algorithm).items())
    return f"{algorithm.title} {algorithm.version} ({parameters}). {algorithm.citation}"


def _organs(quantified: Quantified) -> str:
    segmented = quantified.segmented
    if segmented.organs is None:
        return "None: no organs were segmented."
    described = _described(segmented.organs.algorithm)
    if segmented.algorithm.network is not None and segmented.claim is Claim.LESION:
        return described  # the network has told physiological uptake, not the organs
    protocol = quantified.selection.protocol
    names = ", ".join(organ.name for organ in protocol.physiological) or "none named"
    source = f" ({protocol.physiological_source})" if protocol.physiological_source else ""
    return f"{described} Physiological uptake is expected in: {names}{source}"


def _removed(regions: tuple[RemovedUptake, ...]) -> str:
    """By organ, in the order of their first regions."""
    by_organ: dict[str, list[RemovedUptake]] = {}
    for region in regions:
        by_organ.setdefault(region.organ, []).append(region)
    parts = [
        f"{organ}: {len(own)} region{'s' if len(own) > 1 else ''}, {sum(r.volume_ml for r in own):.2f} ml, "
        f"SUVmax {max(r.suv_max for r in own):.2f} g/ml"
        for organ, own in by_organ.items()
    ]
    return "; ".join(parts) or "None."


def _references(regions: tuple[ReferenceRegion, ...]) -> str:
    parts = [
        f"{region.name.replace('_', ' ')}: SUVmean {region.suv_mean:.2f} g/ml, SD {region.suv_sd:.2f} g/ml"
        + ("" if region.volume_ml is None else f", {region.volume_ml:.2f} ml")
        + (f", placed by {region.source}" if region.source else "")
        for region in regions
    ]
    return "; ".join(parts) or "None: nothing placed them."


def _quality(quality: Quality | None) -> str:
    if quality is None:
        return "Not known: nothing predicts it for this method or model."
    departures = len(quality.departures)
    features = "one feature" if departures == 1 else f"{departures} features"
    familiar = f"unlike it in {features}, named below" if departures else "like it in all that was compared"
    return f"{_dice(quality.predicted_dice)} The study was compared with the training data: {familiar}."


def _dice(dice: PredictedDice | None) -> str:
    if dice is None:
        return (
            "No Dice is predicted: nothing was segmented, or organs were taken out of the network's result. "
            "How sure it is that nothing was missed is not stated."
        )
    return (
        f"Predicted Dice {dice.value:.2f}; such predictions were off by {dice.mean_absolute_error:.2f} on "
        f"average ({dice.patients} patients; {dice.source})."
    )


def _totals(quantified: Quantified) -> str:
    if quantified.withheld is not None:
        return f"Withheld: {quantified.withheld}"
    totals = quantified.totals
    parts = [f"{totals.count} lesions", f"volume {totals.volume_ml:.2f} ml", f"uptake {totals.tlg_g:.2f} g"]
    if totals.suv_mean is not None:
        parts.append(f"SUVmean {totals.suv_mean:.2f} g/ml")
    if totals.dmax_mm is not None:
        parts.append(f"Dmax {totals.dmax_mm:.1f} mm")
    if totals.sdmax_per_m is not None:
        parts.append(f"SDmax {totals.sdmax_per_m:.2f} /m")
    sites = [
        f"{site.name} {site.totals.count} of {site.totals.volume_ml:.2f} ml"
        for site in quantified.sites
        if len(quantified.sites) > 1 or site.name != NOWHERE
    ]
    return "; by site: ".join(filter(None, (", ".join(parts), ", ".join(sites))))
