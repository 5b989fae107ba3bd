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
    Language,
    PredictedDice,
    Quality,
    Quantified,
    ReferenceRegion,
    RemovedUptake,
)
from operators.quantification.sites import NOWHERE
from operators.results import codes, summary_response
from operators.results.language import Phrases, phrases
from operators.results.summary_reading import difference
from operators.results.tracking import parameters_of
from operators.results.values import uptake_of

RESEARCH_ONLY: Final = phrases(Language.ENGLISH).text("research_only")


@dataclass(frozen=True, slots=True)
class Statement:
    """A name with its value: a code, text, or a number with its unit."""

    concept: Code
    value: Code | str | float
    details: tuple[Statement, ...] = ()
    """What modifies a code or a number."""
    unit: Code = codes.NO_UNITS
    """Of a number."""
    in_english: bool = False
    """Whether a text is English whatever the language of the report: names, notes, what others wrote."""


def statements(assessed: Assessed, language: Language = Language.ENGLISH) -> Iterator[Statement]:
    """The report's statements, in reading order.

    Status, impression, claim, method, organs, removed uptake, reference regions, totals in words and as
    numbers (or why there are none of these), what rules say, what changed, predictions, clinical inputs, how
    far the segmentation can be trusted, then every note: the quality section.

    Parameters
    ----------
    assessed : Assessed
        What there is to say.
    language : Language
        Of the program's own phrases. Reasons, criteria, citations, notes and names are English in each.
    """
    quantified = assessed.quantified
    said = phrases(language)
    yield Statement(codes.STATUS, status(language))
    yield Statement(codes.IMPRESSION, impression(quantified, language))
    yield Statement(codes.CLAIM, codes.property_of(quantified.segmented.claim)[1])
    yield Statement(codes.METHOD, _described(quantified.segmented.algorithm), in_english=True)
    reading = quantified.segmented.reading
    if reading is not None:
        yield Statement(codes.READING, difference(reading), in_english=True)
    yield Statement(codes.ORGANS, _organs(quantified, said))
    yield Statement(codes.REMOVED_UPTAKE, _removed(quantified.segmented.removed, said))
    yield Statement(codes.REFERENCE_REGIONS, _references(quantified.segmented.references, said))
    yield Statement(codes.TOTALS, totals(quantified, language))
    yield from _numbers(quantified)
    yield from _meant(assessed, language)
    quality = quantified.segmented.quality
    yield Statement(codes.QUALITY, _quality(quality, said))
    if quality is not None and quality.predicted_dice is not None:
        yield Statement(codes.PREDICTED_DICE, quality.predicted_dice.value)
    for note in assessed.all_notes:
        tag = "" if note.tag is None else f" [{note.tag}]"
        yield Statement(codes.QUALITY_NOTE, f"{note.code}: {note.sentence}{tag}", in_english=True)


def _meant(assessed: Assessed, language: Language) -> Iterator[Statement]:
    withheld = assessed.quantified.withheld
    findings = list(summary_response.of_the_study(assessed))
    open_ones = [each for each in findings if each.category is None and withheld is not None]
    for finding in findings:
        if finding not in open_ones:
            yield judged(finding, language)
    if open_ones:
        titles = ", ".join(each.title for each in open_ones)
        said = phrases(language)
        reason = said.translated(withheld or "")
        grounds = said.text("indeterminate_findings", titles=titles, reason=reason)
        yield Statement(codes.RULE_FINDING, codes.INDETERMINATE, (Statement(codes.GROUNDS, grounds),))
    for follow_up in assessed.follow_ups:
        yield Statement(codes.CHANGE, summary_response.change(assessed.quantified, follow_up, language))
    if assessed.trend:
        yield Statement(codes.TREND, summary_response.course(assessed.trend, language))
    for prediction in summary_response.spoken(assessed.predictions):
        yield Statement(codes.PREDICTION, summary_response.prediction(prediction, language))
    told = summary_response.stated(assessed.clinical)
    if told:
        yield Statement(codes.CLINICAL_INPUTS, told, in_english=True)


def judged(finding: Finding, language: Language = Language.ENGLISH) -> Statement:
    """What a rule says, as a code with the rule and the grounds beside it."""
    is_response = finding.kind == "response"
    rule = codes.RESPONSE_METHOD if is_response else codes.PUBLISHED_RULE
    return Statement(
        codes.CURRENT_RESPONSE if is_response else codes.RULE_FINDING,
        codes.category_of(finding),
        (
            Statement(rule, codes.rule_of(finding)),
            Statement(codes.GROUNDS, summary_response.grounds(finding, language)),
        ),
    )


def status(language: Language = Language.ENGLISH) -> str:
    """That the result is unverified, and which parts of it are English where the rest is not."""
    said = phrases(language)
    research_only = said.text("research_only")
    return research_only if said.is_english else f"{research_only} {said.text('english_parts')}"


def claim(quantified: Quantified, language: Language = Language.ENGLISH) -> str:
    """What the mask may be called."""
    is_uptake = quantified.segmented.claim is Claim.UPTAKE
    return phrases(language).text("claim_uptake" if is_uptake else "claim_lesion")


def impression(quantified: Quantified, language: Language = Language.ENGLISH) -> str:
    """How much was found, in one or two sentences, without calling uptake disease."""
    said = phrases(language)
    count, removed = len(quantified.lesions), bool(quantified.segmented.removed)
    is_uptake = quantified.segmented.claim is Claim.UPTAKE
    if count == 0:
        noun = _noun(quantified, "lesion")
        beside = said.text("impression_beside_removed") if removed else ""
        return said.text(f"impression_none_{noun}", of_size=_of_size(quantified, said), beside=beside)
    suv_max = said.number(max(lesion.suv_max for lesion in quantified.lesions), 2)
    found = said.text(f"impression_{_noun(quantified, 'lesions')}", count=count, suv_max=suv_max)
    if is_uptake:
        found += " " + said.text("impression_removed_in_part" if removed else "impression_not_removed")
    return found


def _noun(quantified: Quantified, lesion: str) -> str:
    """What was found, as phrases have it: a lesion, uptake by a network, uptake above threshold."""
    if quantified.segmented.claim is not Claim.UPTAKE:
        return lesion
    return "threshold" if quantified.segmented.algorithm.network is None else "uptake"


def _of_size(quantified: Quantified, said: Phrases) -> str:
    """The volume below which the method leaves regions out: without it, the negative would be false."""
    smallest_ml = quantified.segmented.algorithm.value_of("min_volume_ml") or 0.0
    return said.text("impression_of_size", volume=said.short(smallest_ml)) if smallest_ml > 0 else ""


def _described(algorithm: Algorithm) -> str:
    parameters = ", ".join(f"{name} {value}" for name, value in parameters_of(algorithm).items())
    return f"{algorithm.title} {algorithm.version} ({parameters}). {algorithm.citation}"


def _organs(quantified: Quantified, said: Phrases) -> str:
    segmented = quantified.segmented
    if segmented.organs is None:
        return said.text("organs_none")
    described = _described(segmented.organs.algorithm)
    if segmented.algorithm.network is not None and segmented.claim is Claim.LESION:
        return described  # the network has told physiological uptake, not the organs
    protocol = quantified.selection.protocol
    names = ", ".join(said.translated(organ.name) for organ in protocol.physiological) or said.text(
        "organs_none_named"
    )
    source = f" ({protocol.physiological_source})" if protocol.physiological_source else ""
    return f"{described} {said.text('organs_physiological', names=f'{names}{source}')}"


def _removed(regions: tuple[RemovedUptake, ...], said: Phrases) -> str:
    """By organ, in the order of their first regions."""
    by_organ: dict[str, list[RemovedUptake]] = {}
    for region in regions:
        by_organ.setdefault(region.organ, []).append(region)
    parts = [
        said.text(
            "removed_organ",
            organ=said.translated(organ),
            count=len(own),
            volume=said.number(sum(region.volume_ml for region in own), 2),
            suv_max=said.number(max(region.suv_max for region in own), 2),
        )
        for organ, own in by_organ.items()
    ]
    return "; ".join(parts) or said.text("none")


def _references(regions: tuple[ReferenceRegion, ...], said: Phrases) -> str:
    return "; ".join(_reference(region, said) for region in regions) or said.text("references_none")


def _reference(region: ReferenceRegion, said: Phrases) -> str:
    parts = [
        said.text(
            "reference_region",
            name=said.translated(region.name.replace("_", " ")),
            suv_mean=said.number(region.suv_mean, 2),
            suv_sd=said.number(region.suv_sd, 2),
        )
    ]
    if region.volume_ml is not None:
        parts.append(said.text("reference_volume", volume=said.number(region.volume_ml, 2)))
    if region.source:
        parts.append(said.text("reference_placed_by", source=region.source))
    return ", ".join(parts)


def _quality(quality: Quality | None, said: Phrases) -> str:
    if quality is None:
        return said.text("quality_unknown")
    departures = len(quality.departures)
    familiar = said.text("quality_unlike", count=departures) if departures else said.text("quality_familiar")
    return f"{_dice(quality.predicted_dice, said)} {familiar}"


def _dice(dice: PredictedDice | None, said: Phrases) -> str:
    if dice is None:
        return said.text("quality_no_dice")
    return said.text(
        "quality_dice",
        dice=said.number(dice.value, 2),
        error=said.number(dice.mean_absolute_error, 2),
        patients=dice.patients,
        source=dice.source,
    )


def _numbers(quantified: Quantified) -> Iterator[Statement]:
    """The totals as numbers; none where they are withheld or nothing was found.

    They stand among the evaluations, not among Derived Imaging Measurements (TID 1420): those must refer to
    other items of the report, and some readers take no report that has such references.
    """
    if quantified.withheld is not None or not quantified.lesions:
        return
    sums = quantified.totals
    rows = (
        (codes.NUMBER_OF_LESIONS, codes.NO_UNITS, sums.count, None),
        (codes.METABOLIC_VOLUME, codes.CUBIC_CENTIMETRE, sums.volume_ml, codes.TOTAL),
        (uptake_of(quantified), codes.GRAM, sums.tlg_g, codes.TOTAL),
        (codes.SUVBW, codes.GRAMS_PER_ML_SUVBW, sums.suv_max, codes.MAXIMUM),
        (codes.SUVBW, codes.GRAMS_PER_ML_SUVBW, sums.suv_mean, codes.MEAN),
    )
    for concept, unit, value, derivation in rows:
        if value is not None:
            how = () if derivation is None else (Statement(codes.DERIVATION, derivation),)
            yield Statement(concept, value, how, unit)


def totals(quantified: Quantified, language: Language = Language.ENGLISH) -> str:
    """The totals over all lesions and by site, or why they are withheld."""
    said = phrases(language)
    if quantified.withheld is not None:
        return said.text("withheld", reason=said.translated(quantified.withheld))
    sums = quantified.totals
    parts = [
        said.text("totals_count", count=sums.count),
        said.text("totals_volume", volume=said.number(sums.volume_ml, 2)),
        said.text("totals_uptake", uptake=said.number(sums.tlg_g, 2)),
    ]
    if sums.suv_mean is not None:
        parts.append(said.text("totals_suv_mean", suv_mean=said.number(sums.suv_mean, 2)))
    if sums.dmax_mm is not None:
        parts.append(said.text("totals_dmax", dmax=said.number(sums.dmax_mm, 1)))
    if sums.sdmax_per_m is not None:
        parts.append(said.text("totals_sdmax", sdmax=said.number(sums.sdmax_per_m, 2)))
    sites = [
        said.text(
            "totals_site",
            name=said.translated(site.name),
            count=site.totals.count,
            volume=said.number(site.totals.volume_ml, 2),
        )
        for site in quantified.sites
        if len(quantified.sites) > 1 or site.name != NOWHERE
    ]
    return said.text("totals_by_site").join(filter(None, (", ".join(parts), ", ".join(sites))))
