"""What a report on paper says, in the order in which it is read; not yet where it stands on a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from operators.domain import (
    Algorithm,
    Assessed,
    BurnedIn,
    Claim,
    Finding,
    Language,
    Lesion,
    Prediction,
    Quantified,
    ResultKind,
    ResultProfile,
)
from operators.quantification.sites import NOWHERE, organ_of
from operators.results.forms import wants
from operators.results.headers import date_of, text_of
from operators.results.identity import Identity
from operators.results.language import Phrases, phrases
from operators.results.paper.change import SHARED, change, course, latest_of_the_tracer, prior_volumes
from operators.results.paper.dates import without_dates
from operators.results.paper.panels import panels_of
from operators.results.paper.parts import NONE, Column, Entry, Paper, Row, Section, Table
from operators.results.paper.patient import Labelled, patient_lines
from operators.results.paper.words import uptake_label
from operators.results.summary import impression, status
from operators.results.summary_reading import difference
from operators.results.summary_response import of_the_study, spoken, stated
from operators.results.tracking import colour_of

_DIGEST_DIGITS: Final = 12
"""Of a SHA-256, enough to find it in results.json."""


def paper_of(
    assessed: Assessed, profile: ResultProfile, identity: Identity, language: Language, burned_in: BurnedIn
) -> Paper:
    """What the report on paper of a study says.

    Parameters
    ----------
    assessed : Assessed
        The measurements and what they mean.
    profile : ResultProfile
        How this site's results present themselves.
    identity : Identity
        Of the results: names of lesions, and a digest that says which results these are.
    language : Language
        Of the program's own phrases; reasons, notes, criteria and citations are English in each.
    burned_in : BurnedIn
        What the page may say of who the patient is.
    """
    quantified = assessed.quantified
    said = phrases(language)
    header = quantified.segmented.volumes.pet.instances[0].header
    day = date_of(header, "StudyDate")
    patient, note = patient_lines(header, said, burned_in)
    dated = burned_in is not BurnedIn.NONE
    has_totals = quantified.withheld is None
    paper = Paper(
        language=language,
        title=title_of(quantified, said),
        study_date=("" if not dated else said.text("unknown") if day is None else f"{day:%Y-%m-%d}"),
        banner=f"{said.text('research_use_only')} \u00b7 {said.text('unverified')}",
        status=status(language),
        patient=patient,
        patient_note=note,
        study=tuple(_study(quantified, said)),
        impression=impression(quantified, language),
        panels=panels_of(quantified),
        totals_title=said.text("heading_totals"),
        totals=tuple(_totals(quantified, said)) if has_totals else (),
        withheld=said.text("withheld", reason=said.translated(quantified.withheld or ""))
        if not has_totals
        else "",
        beside=tuple(section for section in _beside(assessed, said) if section.entries),
        cautions=Section(said.text("heading_quality"), tuple(_quality(assessed, said)), is_repeated=True),
        lesions=_lesions(assessed, identity, said),
        sections=tuple(
            section for section in _sections(assessed, said, dated) if section.entries or section.table
        ),
        foot=f"{_software(profile)}, {said.text('page_result')} {identity.digest[:_DIGEST_DIGITS]}",
        is_uptake=quantified.segmented.claim is Claim.UPTAKE,
        is_reported=_is_reported(quantified, profile, (language, burned_in)),
    )
    return paper if dated else without_dates(paper, day, phrases(Language.ENGLISH))


def title_of(quantified: Quantified, said: Phrases) -> str:
    """What the page is a report of: PET/CT, or PET where there was no CT."""
    has_ct = quantified.segmented.volumes.ct is not None
    return said.text("title_report" if has_ct else "page_title_pet")


def _is_reported(quantified: Quantified, profile: ResultProfile, form: tuple[Language, BurnedIn]) -> bool:
    """Whether all who get this form of the page get a structured report as well."""
    receivers = [
        each
        for each in quantified.selection.case.job.destinations
        if wants(each, ResultKind.PDF, profile) and (each.language, each.burned_in) == form
    ]
    return bool(receivers) and all(wants(each, ResultKind.SR, profile) for each in receivers)


def _software(profile: ResultProfile) -> str:
    """Manufacturer, model and version; the manufacturer once."""
    model = profile.model_name
    named = model if model.startswith(profile.manufacturer) else f"{profile.manufacturer} {model}"
    return f"{named} {profile.software_version}"


def _study(quantified: Quantified, said: Phrases) -> Iterator[Labelled]:
    """Scanner, tracer with activity and uptake time, and what SUV stands on."""
    header = quantified.segmented.volumes.pet.instances[0].header
    suv, tracer = quantified.segmented.volumes.suv, quantified.selection.tracer
    unknown = said.text("unknown")
    scanner = " ".join(filter(None, (text_of(header, k) for k in ("Manufacturer", "ManufacturerModelName"))))
    yield Labelled(said.text("page_scanner"), scanner or unknown)
    nuclide = f" ({tracer.radionuclide})" if tracer.radionuclide else ""
    yield Labelled(said.text("label_tracer"), f"{quantified.selection.protocol.title}{nuclide}")
    dose, uptake_s, weight_kg = suv.injected_dose_bq, suv.uptake_time_s, suv.weight_kg
    yield Labelled(
        said.text("label_injected_dose"), unknown if dose is None else f"{said.number(dose / 1e6, 0)} MBq"
    )
    yield Labelled(
        said.text("label_uptake_time"),
        unknown if uptake_s is None else f"{said.number(uptake_s / 60, 0)} min",
    )
    yield Labelled(
        said.text("label_weight"), unknown if weight_kg is None else f"{said.short(weight_kg, 4)} kg"
    )


def _totals(quantified: Quantified, said: Phrases) -> Iterator[Labelled]:
    totals = quantified.totals
    yield Labelled(said.text("heading_lesions"), str(totals.count))
    yield Labelled(said.text("label_volume"), f"{said.number(totals.volume_ml, 2)} ml")
    yield Labelled(uptake_label(quantified, said), f"{said.number(totals.tlg_g, 2)} g")
    optional = (
        (said.text("label_suv_max"), totals.suv_max, 2, "g/ml"),
        (said.text("label_suv_mean"), totals.suv_mean, 2, "g/ml"),
        (said.text("label_suv_peak"), totals.suv_peak, 2, "g/ml"),
        ("Dmax", totals.dmax_mm, 0, "mm"),
        ("SDmax", totals.sdmax_per_m, 2, "/m"),
    )
    for label, value, decimals, unit in optional:
        if value is not None:
            yield Labelled(label, f"{said.number(value, decimals)} {unit}")


def _beside(assessed: Assessed, said: Phrases) -> Iterator[Section]:
    """What stands beside the picture."""
    quantified = assessed.quantified
    verdicts = tuple(Entry(finding.title, _category(finding, said)) for finding in of_the_study(assessed))
    yield Section(said.text("heading_findings"), verdicts, is_repeated=True)
    sites = [site for site in quantified.sites if len(quantified.sites) > 1 or site.name != NOWHERE]
    if quantified.withheld is None:
        yield Section(
            said.text("page_sites"),
            tuple(
                Entry(
                    said.translated(site.name),
                    f"{said.text('page_of_lesions', count=site.totals.count)}, "
                    f"{said.number(site.totals.volume_ml, 2)} ml",
                )
                for site in sites
            ),
        )
    yield Section(
        said.text("heading_references"),
        tuple(
            Entry(
                said.translated(region.name.replace("_", " ")),
                f"SUVmean {said.number(region.suv_mean, 2)} g/ml",
            )
            for region in quantified.segmented.references
        ),
    )


def _category(finding: Finding, said: Phrases) -> str:
    if finding.category is None:
        return said.text("indeterminate")
    meaning = finding.meaning if finding.meaning != finding.category else ""
    return f"{finding.category} ({meaning})" if meaning else finding.category


def _lesions(assessed: Assessed, identity: Identity, said: Phrases) -> Table:
    """The table of lesions: from the highest SUVmax down, which is the order of their numbers."""
    quantified = assessed.quantified
    lesions = sorted(quantified.lesions, key=lambda lesion: lesion.number)
    has_site = any(_site(lesion, said) != NONE for lesion in lesions)
    has_certainty = any(lesion.confidence is not None or lesion.uncertain for lesion in lesions)
    compared = latest_of_the_tracer(assessed)
    prior = {} if compared is None else prior_volumes(compared, said)
    columns = [
        Column(said.text("label_number"), "", 0.05),
        Column(said.text("label_name"), "", 0.17, is_number=False),
        *([Column(said.text("label_site"), "", 0.20, is_number=False)] if has_site else []),
        Column(said.text("label_volume"), "ml", 0.10),
        Column(said.text("label_suv_max"), "g/ml", 0.10),
        Column(said.text("label_suv_mean"), "g/ml", 0.10),
        Column(said.text("label_suv_peak"), "g/ml", 0.10),
        Column(uptake_label(quantified, said), "g", 0.12),
    ]
    if has_certainty:
        columns.append(Column(said.text("label_certainty"), "%", 0.11))
    if prior:
        columns.append(Column(said.text("label_prior_volume"), "ml", 0.12))
    rows = []
    for lesion in lesions:
        cells = [
            str(lesion.number),
            identity.names[lesion.number].identifier,
            *([_site(lesion, said)] if has_site else []),
            said.number(lesion.volume_ml, 2),
            said.number(lesion.suv_max, 2),
            said.number(lesion.suv_mean, 2),
            said.number(lesion.suv_peak_global, 2) + ("*" if lesion.peak_truncated else ""),
            said.number(lesion.tlg_g, 2),
        ]
        if has_certainty:
            cells.append(_certainty(lesion, said))
        if prior:
            cells.append(prior.get(lesion.number, NONE))
        rows.append(Row(tuple(cells), colour_of(lesion), lesion.volume_ml))
    is_lesion = quantified.withheld is None and quantified.segmented.claim is Claim.LESION
    title = said.text("heading_lesions" if is_lesion else "heading_regions")
    legend = [*_legend(lesions, said)]
    if any(cell.endswith(SHARED) for cell in prior.values()):
        legend.append(said.text("page_shared_legend"))
    return Table(title, tuple(columns), tuple(rows), " \u00b7 ".join(legend))


def _legend(lesions: list[Lesion], said: Phrases) -> Iterator[str]:
    if lesions:
        yield said.text("page_peak_legend")
    if any(lesion.confidence is not None for lesion in lesions):
        yield said.text("page_certainty_legend")
    if any(lesion.uncertain for lesion in lesions):
        yield said.text("page_uncertain_legend")
    if any(lesion.peak_truncated for lesion in lesions):
        yield said.text("page_truncated_legend")


def _site(lesion: Lesion, said: Phrases) -> str:
    """The organ that a lesion lies in; one that it only touches or lies near is no place of it."""
    organ = organ_of(lesion)
    return NONE if organ is None else said.translated(organ.name.replace("_", " "))


def _certainty(lesion: Lesion, said: Phrases) -> str:
    percent = "" if lesion.confidence is None else said.number(100 * lesion.confidence, 0)
    return f"{percent} ?".strip() if lesion.uncertain else percent or NONE


def _sections(assessed: Assessed, said: Phrases, dated: bool) -> Iterator[Section]:
    """What the second page says, or the rest of the first."""
    quantified = assessed.quantified
    yield Section(said.text("heading_findings"), tuple(_findings(assessed, said)))
    changes = tuple(change(quantified, follow_up, said, dated) for follow_up in assessed.follow_ups)
    yield Section(said.text("heading_change"), changes, course(assessed, said, dated))
    yield Section(
        said.text("heading_predictions"),
        tuple(_prediction(each, said) for each in spoken(assessed.predictions)),
    )
    yield Section(said.text("heading_removed"), tuple(_removed(quantified, said)))
    uncertain = tuple(
        Entry(f"{said.text('label_number')} {lesion.number}", lesion.uncertain)
        for lesion in quantified.lesions
        if lesion.uncertain
    )
    yield Section(said.text("page_uncertain_heading"), uncertain)
    told = stated(assessed.clinical)
    yield Section(said.text("heading_clinical"), (Entry("", told),) if told else ())
    yield Section(said.text("heading_quality"), tuple(_quality(assessed, said)))
    yield Section(said.text("heading_method"), tuple(_method(quantified, said)))


def _findings(assessed: Assessed, said: Phrases) -> Iterator[Entry]:
    """What rules say of the study with the grounds, then by rule what they say of single lesions."""
    for finding in of_the_study(assessed):
        cautions = "".join(said.text("finding_caution", sentence=note.sentence) for note in finding.warnings)
        yield Entry(
            f"{finding.title}: {_category(finding, said)}",
            f"{finding.reason}{cautions}",
            _grounds(finding, said),
        )
    of_lesions: dict[str, list[Finding]] = defaultdict(list)
    for finding in assessed.findings:
        if finding.lesion is not None:
            of_lesions[finding.rule].append(finding)
    for findings in of_lesions.values():
        counts = Counter(_category(finding, said) for finding in findings)
        parts = (
            f"{category}: {said.text('page_of_lesions', count=count)}"
            for category, count in counts.most_common()
        )
        yield Entry(findings[0].title, f"{'; '.join(parts)}.", _grounds(findings[0], said))


def _grounds(finding: Finding, said: Phrases) -> str:
    return (
        f"{said.text('page_criterion', criterion=finding.criterion)} "
        f"{said.text('page_source', citation=finding.citation)}"
    )


def _prediction(each: Prediction, said: Phrases) -> Entry:
    source = {"population": each.population, "performance": each.performance, "citation": each.citation}
    small = said.text("prediction_source", **source).strip()
    head = f"{each.title}, {each.outcome}"
    if each.value is None:
        return Entry(head, said.text("prediction_withheld", reason=each.withheld or ""), small)
    unit = "" if each.unit in {"", "1"} else f" {each.unit}"
    body = f"{said.text(f'prediction_{each.kind}')} {said.short(each.value, 3)}{unit}"
    if each.interval is not None:
        low, high = (said.short(limit, 3) for limit in each.interval)
        body += said.text("prediction_interval", low=low, high=high)
    if each.prediction_set is not None and each.coverage is not None:
        outcomes = said.text("prediction_or").join(each.prediction_set) or said.text("prediction_no_outcome")
        body += said.text("prediction_set", coverage=f"{each.coverage:.0%}", outcomes=outcomes)
    return Entry(head, f"{body}.", small)


def _removed(quantified: Quantified, said: Phrases) -> Iterator[Entry]:
    """By organ, all in one entry, for there are many."""
    by_organ: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for region in quantified.segmented.removed:
        by_organ[region.organ].append((region.volume_ml, region.suv_max))
    parts = [
        said.text(
            "removed_organ",
            organ=said.translated(organ),
            count=len(regions),
            volume=said.number(sum(volume for volume, _ in regions), 2),
            suv_max=said.number(max(suv for _, suv in regions), 2),
        )
        for organ, regions in by_organ.items()
    ]
    if parts:
        yield Entry("", "; ".join(parts))


def _quality(assessed: Assessed, said: Phrases) -> Iterator[Entry]:
    """Who edited the segmentation, how far it can be trusted, then every note, each once."""
    reading = assessed.quantified.segmented.reading
    if reading is not None:
        yield Entry("", difference(reading))
    quality = assessed.quantified.segmented.quality
    if quality is not None and quality.predicted_dice is not None:
        dice = quality.predicted_dice
        words = said.text(
            "quality_dice",
            dice=said.number(dice.value, 2),
            error=said.number(dice.mean_absolute_error, 2),
            patients=dice.patients,
            source=dice.source,
        )
        yield Entry("", words)
    departures = () if quality is None else tuple(each.sentence for each in quality.departures)
    for sentence in dict.fromkeys((*departures, *(note.sentence for note in assessed.all_notes))):
        yield Entry("", sentence)


def _method(quantified: Quantified, said: Phrases) -> Iterator[Entry]:
    segmented = quantified.segmented
    yield _algorithm(segmented.algorithm, said)
    if segmented.organs is not None:
        yield _algorithm(segmented.organs.algorithm, said, said.text("heading_organs"))
    protocol = quantified.selection.protocol
    pet = segmented.volumes.pet.geometry
    z, y, x = (said.short(mm, 3) for mm in pet.spacing_mm)
    yield Entry(
        "",
        f"{said.text('label_tracer')}: {protocol.title}, {said.text('label_version')} {protocol.version}. "
        f"PET: {x} \u00d7 {y} \u00d7 {z} mm, SUVbw.",
    )


def _algorithm(algorithm: Algorithm, said: Phrases, heading: str = "") -> Entry:
    """A method with its parameters, and by which model it ran."""
    parameters = ", ".join(
        f"{parameter.name} {said.short(parameter.value)}"
        + ("" if parameter.unit in {"", "1"} else f" {parameter.unit}")
        for parameter in algorithm.parameters
    )
    body = f"{algorithm.title} {algorithm.version}" + (f" ({parameters})" if parameters else "")
    if algorithm.model_digest is not None:
        name = f" {algorithm.network.package}" if algorithm.network is not None else ""
        body += f". {said.text('page_model')}{name}, SHA-256 {algorithm.model_digest[:_DIGEST_DIGITS]}"
    return Entry(heading, f"{body}, {algorithm.device}.", algorithm.citation)
