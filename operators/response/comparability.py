"""Whether two studies may be compared, by the conditions that a rule's paper sets: warnings, not refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from operators.domain import Fact, FollowUp, Note, Quantified
from operators.response.eligibility import hottest_peak
from operators.response.known import reference_of, sul_ratio
from operators.response.rules.types import Limits
from operators.study.attributes import text

SPACING_WITHIN_MM = 0.05
"""Voxels that differ by less are those of the same reconstruction, written with other roundings."""

_SCANNER = {
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "DeviceSerialNumber": "serial number",
}
_RECONSTRUCTION = {"ReconstructionMethod": "method", "ConvolutionKernel": "filter"}

Check = Iterator[Note | str]
"""Warnings, and the names of what could not be compared."""


def comparability(
    current: Quantified, follow_up: FollowUp, limits: Limits, facts: Mapping[str, Fact]
) -> tuple[Note, ...]:
    """Compare how two studies were made.

    Parameters
    ----------
    current : Quantified
    follow_up : FollowUp
        With the prior.
    limits : Limits
        Of the rule; what it does not ask for is not compared. Tracer and segmentation always are.
    facts : mapping of str to Fact
        Clinical inputs by name.

    Returns
    -------
    tuple of Note
        One for each difference, and one that lists what could not be compared.
    """
    said = list(_checks(current, follow_up.prior, limits, facts))
    notes = tuple(each for each in said if isinstance(each, Note))
    missing = [each for each in said if isinstance(each, str)]
    if missing:
        listed = ", ".join(missing)
        notes += (Note("NOT_COMPARED", f"Could not be compared between the two studies: {listed}."),)
    return notes


def _checks(current: Quantified, prior: Quantified, limits: Limits, facts: Mapping[str, Fact]) -> Check:
    yield from _tracer(current, prior)
    yield from _segmentation(current, prior)
    if limits.uptake_time_min is not None:
        yield from _uptake_time(current, prior, limits.uptake_time_min)
    if limits.liver_percent is not None or limits.liver_sul is not None:
        yield from _liver(current, prior, limits)
    if limits.injected_dose_percent is not None:
        yield from _dose(current, prior, limits.injected_dose_percent)
    if limits.same_scanner:
        yield from _same(current, prior, _SCANNER, "SCANNERS_DIFFER", "scanner")
    if limits.same_reconstruction:
        yield from _same(current, prior, _RECONSTRUCTION, "RECONSTRUCTIONS_DIFFER", "reconstruction")
        yield from _spacing(current, prior)
    if limits.glucose_mmol_l is not None:
        yield from _glucose(facts, limits.glucose_mmol_l)
    if limits.measurable:
        yield from _measurable(prior)


def _tracer(current: Quantified, prior: Quantified) -> Check:
    names = [_ligand(each) for each in (prior, current)]
    if names[0] != names[1]:
        words = " and ".join(" ".join(part for part in name if part) or "no name" for name in names)
        yield Note("TRACERS_DIFFER", f"The two studies name different radiopharmaceuticals: {words}.")


def _ligand(quantified: Quantified) -> tuple[str, str]:
    tracer = quantified.selection.tracer
    return tracer.radionuclide or "", tracer.code.meaning if tracer.code else ""


def _segmentation(current: Quantified, prior: Quantified) -> Check:
    methods = [_method(each) for each in (prior, current)]
    if methods[0] != methods[1]:
        yield Note(
            "SEGMENTATIONS_DIFFER",
            f"The lesions were outlined by different methods, {methods[0]} and {methods[1]}: volumes and "
            "counts change with the method.",
        )


def _method(quantified: Quantified) -> str:
    algorithm = quantified.segmented.algorithm
    if algorithm.network is not None:
        return algorithm.network.package
    values = ", ".join(f"{each.name} {each.value:g}" for each in algorithm.parameters)
    return f"{algorithm.title} ({values})" if values else algorithm.title


def _uptake_time(current: Quantified, prior: Quantified, limit_min: float) -> Check:
    times = [each.segmented.volumes.suv.uptake_time_s for each in (prior, current)]
    before, now = times
    if before is None or now is None:
        yield "uptake time"
    elif abs(now - before) / 60 > limit_min:
        yield Note(
            "UPTAKE_TIMES_DIFFER",
            f"The scans began {before / 60:.0f} and {now / 60:.0f} min after injection, more than "
            f"{limit_min:g} min apart.",
        )


def _liver(current: Quantified, prior: Quantified, limits: Limits) -> Check:
    livers = []
    for each in (prior, current):
        region, ratio = reference_of(each, "liver"), sul_ratio(each)
        livers.append(None if region is None or ratio is None else region.suv_mean * ratio)
    before, now = livers
    if before is None or now is None or before <= 0:
        yield "liver uptake (SUL)"
        return
    percent = 100 * (now - before) / before
    too_far = limits.liver_percent is not None and abs(percent) > limits.liver_percent
    if too_far or (limits.liver_sul is not None and abs(now - before) >= limits.liver_sul):
        yield Note(
            "LIVER_UPTAKE_DIFFERS",
            f"The liver's SULmean was {before:.2f} and is {now:.2f} ({percent:+.0f} %), more than the rule "
            "allows.",
        )


def _dose(current: Quantified, prior: Quantified, limit_percent: float) -> Check:
    before, now = (each.segmented.volumes.suv.injected_dose_bq for each in (prior, current))
    if before is None or now is None:
        yield "injected activity"
    elif abs(now - before) > limit_percent / 100 * before:
        yield Note(
            "DOSES_DIFFER",
            f"The injected activities, {before / 1e6:.0f} and {now / 1e6:.0f} MBq, differ by more than "
            f"{limit_percent:g} %.",
        )


def _same(current: Quantified, prior: Quantified, keywords: Mapping[str, str], code: str, what: str) -> Check:
    """Whether header texts of both PET series agree; the note says which do not."""
    differing = []
    for keyword, title in keywords.items():
        before, now = (text(each.selection.pet.header, keyword) for each in (prior, current))
        if not before or not now:
            yield f"{what} ({title})"
        elif before.casefold() != now.casefold():
            differing.append(f"{title} {before} and {now}")
    if differing:
        yield Note(code, f"The two studies differ in their {what}: {'; '.join(differing)}.")


def _spacing(current: Quantified, prior: Quantified) -> Check:
    before, now = (each.segmented.volumes.pet.geometry.spacing_mm for each in (prior, current))
    if any(abs(a - b) > SPACING_WITHIN_MM for a, b in zip(before, now, strict=True)):
        shown = [" x ".join(f"{side:.2f}" for side in sides) for sides in (before, now)]
        yield Note(
            "VOXELS_DIFFER",
            f"The voxels of the two studies differ in size: {shown[0]} mm and {shown[1]} mm (z, y, x).",
        )


def _glucose(facts: Mapping[str, Fact], limit: float) -> Check:
    fact = facts.get("glucose_mmol_l")
    if fact is None or not isinstance(fact.value, int | float):
        yield "blood glucose"
    elif fact.value > limit:
        yield Note("GLUCOSE_HIGH", f"Blood glucose was {fact.value:g} mmol/l; the rule allows {limit:g}.")


def _measurable(prior: Quantified) -> Check:
    hottest = hottest_peak(prior)
    if hottest is None:
        return
    if hottest.percist_measurable is None:
        yield "whether the prior's hottest lesion is measurable by PERCIST"
    elif not hottest.percist_measurable:
        yield Note(
            "NOT_MEASURABLE",
            "The hottest lesion of the prior is too faint to be measurable by PERCIST, so that its change "
            "means little.",
        )
