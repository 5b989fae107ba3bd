"""The report says the measured numbers, in either form, and what they are worth."""

from dataclasses import replace
from itertools import pairwise

import highdicom
import numpy as np
import pytest
from pydicom.sr.codedict import codes as dictionary
from pydicom.sr.coding import Code

from operators.domain import (
    Assessed,
    Claim,
    Destination,
    Job,
    Language,
    Scale,
    SegForm,
    SrRegion,
    SupersededResult,
)
from operators.domain import Code as DomainCode
from operators.results.former import OURS
from operators.results.identity import identify
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from operators.words import TOOL_PREFIX
from tests.operators.results.conftest import assess, beside, of_other_patient, of_other_tracer

BOTH = Job(destinations=(Destination("viewer"), Destination("tools", SrRegion.SEGMENT)))


def read(file):
    return highdicom.sr.srread(file.path)


def numbers(group):
    """{(name, derivation): value}."""
    found = {}
    for measurement in group.get_measurements():
        derivation = measurement.derivation.value if measurement.derivation is not None else None
        found[measurement.name.value, derivation] = measurement.value
    return found


def texts(report):
    """{concept value: [texts]} of the qualitative evaluations."""
    found = {}
    for container in report.ContentSequence:
        if container.ConceptNameCodeSequence[0].CodeValue == "C0034375":
            for item in container.ContentSequence:
                found.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(item.get("TextValue"))
    return found


@pytest.mark.parametrize("region", list(SrRegion))
def test_every_lesion_has_its_group_with_its_numbers(make, profile, tmp_path, region):
    quantified = make(job=Job(destinations=(Destination("x", region),)))
    (file,) = write_srs(Assessed(quantified), profile, tmp_path)
    groups = read(file).content.get_volumetric_roi_measurement_groups()
    identity = identify(Assessed(quantified), profile)
    assert file.path.name == "sr.dcm"
    assert len(groups) == 2
    for lesion, group in zip(quantified.lesions, groups, strict=True):
        tracking = identity.names[lesion.number]
        prefix = TOOL_PREFIX if region is SrRegion.TOOL else ""
        assert group.tracking_identifier == prefix + tracking.identifier
        assert group.tracking_uid == tracking.uid
        assert group.finding_type.value == "TM001"
        expected = {
            ("126401", "56851009"): lesion.suv_max,
            ("126401", "373098007"): lesion.suv_mean,
            ("126401", "255605001"): lesion.suv_min,
            ("126401", "386136009"): lesion.suv_sd,
            ("126401", "126031"): lesion.suv_peak_global,
            ("TM005", None): lesion.suv_peak_local,
            ("126032", None): lesion.volume_ml,
            ("TM004", None): lesion.tlg_g,
            ("81827009", "56851009"): lesion.longest_diameter_mm,
        }
        if region is SrRegion.TOOL:
            z = lesion.suv_max_index[0] - lesion.box[0].start
            pixel_mm2 = np.prod(quantified.segmented.volumes.pet.geometry.spacing_mm[1:])
            expected["42798000", None] = lesion.mask[z].sum() * pixel_mm2
            expected["56851009", None] = lesion.suv_max
            area = next(item for item in group[0].ContentSequence if item.ValueType == "NUM")
            assert area.ConceptNameCodeSequence[0].CodeValue == "42798000"
            assert area.ContentSequence[0].ValueType == "SCOORD", "the tool draws the first number's region"
        assert numbers(group) == pytest.approx(expected, rel=1e-12)


def test_image_regions_enclose_the_lesions_pixels_on_their_slices(make, profile, tmp_path):
    quantified = make(hole=True)
    (file,) = write_srs(Assessed(quantified), profile, tmp_path)
    pet = quantified.segmented.volumes.pet
    for lesion, group in zip(
        quantified.lesions, read(file).content.get_volumetric_roi_measurement_groups(), strict=True
    ):
        inside = np.zeros(pet.geometry.shape, bool)
        first = group.roi[0].ContentSequence[0].referenced_sop_instance_uid
        assert first == pet.instances[lesion.suv_max_index[0]].sop_instance_uid
        for region in group.roi:
            uid = region.ContentSequence[0].referenced_sop_instance_uid
            z = next(z for z, instance in enumerate(pet.instances) if instance.sop_instance_uid == uid)
            points = region.value
            for (x0, y0), (x1, y1) in pairwise(points):
                if x0 == x1:
                    rows = slice(int(min(y0, y1)), int(max(y0, y1)))
                    inside[z, rows] ^= np.arange(inside.shape[2]) + 0.5 > x0
        expected = np.zeros_like(inside)
        expected[lesion.box][lesion.mask] = True
        np.testing.assert_array_equal(inside, expected)


def test_multi_frame_regions_name_the_frame(make, profile, tmp_path):
    quantified = make(multiframe=True)
    (file,) = write_srs(Assessed(quantified), profile, tmp_path)
    group = read(file).content.get_volumetric_roi_measurement_groups()[0]
    frames = [int(r.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber) for r in group.roi]
    assert sorted(frames) == [3, 4, 5, 6, 7]
    assert frames[0] == 5


def test_two_forms_are_two_instances_in_two_series(make, profile, tmp_path):
    image, segment = write_srs(Assessed(make(job=BOTH)), profile, tmp_path)
    assert (image.path.name, segment.path.name) == ("sr-image.dcm", "sr-segment.dcm")
    assert (image.destination, segment.destination) == ("viewer", "tools")
    a, b = read(image), read(segment)
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert a.SeriesInstanceUID != b.SeriesInstanceUID


def test_segment_form_points_at_the_segmentation(make, profile, tmp_path):
    quantified = make(job=BOTH)
    (seg,) = write_seg(Assessed(quantified), profile, tmp_path)
    report = read(write_srs(Assessed(quantified), profile, tmp_path)[1])
    for number, group in enumerate(report.content.get_volumetric_roi_measurement_groups(), 1):
        referenced = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedSOPInstanceUID == seg.sop_instance_uid
        assert int(referenced.ReferencedSegmentNumber) == number
    assert seg.sop_instance_uid in {evidence[2] for evidence in report.get_evidence()}


def test_no_lesions_gives_a_report_that_says_so(make, profile, tmp_path):
    (file,) = write_srs(Assessed(make(centres=())), profile, tmp_path)
    report = read(file)
    assert report.content.get_volumetric_roi_measurement_groups() == []
    assert texts(report)["121073"] == ["No region of uptake above threshold was found."]
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_report_says_that_it_is_unverified_research_and_what_to_mind(make, profile, tmp_path):
    report = read(write_srs(Assessed(make()), profile, tmp_path)[0])
    said = texts(report)
    assert "Research software" in said["TM010"][0]
    assert "unverified until a physician" in said["TM010"][0]
    assert said["TM012"] == ["Withheld: Physiological uptake has not been removed."]
    assert said["TM013"] == ["UPTAKE_TIME: Uptake time of 95 min is outside 55 to 75 min."]
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "COMPLETE")


def test_lesions_give_totals_in_words(make, profile, tmp_path):
    (total,) = texts(read(write_srs(Assessed(make(claim=Claim.LESION)), profile, tmp_path)[0]))["TM012"]
    assert total.startswith("2 lesions, volume 7.78 ml")


def test_a_lesion_has_its_site_with_its_side(make, profile, tmp_path):
    report = read(write_srs(Assessed(make(with_models=True)), profile, tmp_path)[0])
    with_code, without = report.content.get_volumetric_roi_measurement_groups()
    [site] = with_code.finding_sites
    assert (site.value.value, site.laterality.value) == ("64033007", "7771000")
    assert without.finding_sites == []


def test_the_algorithm_says_package_engine_device_and_precision(make, profile, tmp_path):
    report = read(write_srs(Assessed(make(with_models=True)), profile, tmp_path)[0])
    group = report.content.get_volumetric_roi_measurement_groups()[0]
    said = {item.ConceptNameCodeSequence[0].CodeValue: item for item in group[0].ContentSequence}
    assert said["111000"].ConceptCodeSequence[0].CodeValue == "123110"
    for part in (
        "device=cpu",
        f"model_sha256={'12' * 32}",
        "package=ours@1.0.0",
        "engine=openvino 2026.4.1",
        "provider=CPU",
        "precision=single",
        "folds=0, 1",
        "mirrored_axes=z, x",
    ):
        assert part in said["111002"].TextValue


def test_organs_removed_uptake_and_references_are_said_or_their_absence(make, profile, tmp_path):
    said = texts(read(write_srs(Assessed(make(with_models=True)), profile, tmp_path)[0]))
    assert said["TM015"][0].startswith("Our organs 2.0.0 (device cpu")
    assert said["TM016"] == ["urinary bladder: 1 region, 0.29 ml, SUVmax 25.00 g/ml"]
    assert said["TM017"] == ["liver: SUVmean 2.10 g/ml, SD 0.25 g/ml, 14.70 ml, placed by organs@2.0.0"]
    assert "has been removed in part only" in said["121073"][0]
    said = texts(read(write_srs(Assessed(make()), profile, tmp_path)[0]))
    assert said["TM015"] == ["None: no organs were segmented."]
    assert said["TM016"] == ["None."]
    assert said["TM017"] == ["None: nothing placed them."]


def test_observer_is_the_device(make, profile, tmp_path):
    report = read(write_srs(Assessed(make()), profile, tmp_path)[0])
    (observer,) = report.content.get_observer_contexts(dictionary.DCM.Device)
    assert observer.observer_identifying_attributes.name == "theramap PET/CT"


def test_superseded_report_is_its_predecessor(make, profile, tmp_path):
    earlier = SupersededResult("1.2.3.1", "1.9", "1.2.840.10008.5.1.4.1.1.88.34", "1.10")
    report = read(write_srs(Assessed(make(job=Job(supersedes=(earlier,)))), profile, tmp_path)[0])
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.10"


def test_same_input_gives_the_same_bytes(make, profile, tmp_path):
    first = write_srs(Assessed(make(job=BOTH)), profile, tmp_path / "a")
    second = write_srs(Assessed(make(job=BOTH)), profile, tmp_path / "b")
    assert [f.path.read_bytes() for f in first] == [f.path.read_bytes() for f in second]


def test_number_that_could_not_be_computed_is_absent(make, profile, tmp_path):
    quantified = make()
    lesions = tuple(replace(lesion, suv_sd=None, tlg_g=float("nan")) for lesion in quantified.lesions)
    (file,) = write_srs(Assessed(replace(quantified, lesions=lesions)), profile, tmp_path)
    found = numbers(read(file).content.get_volumetric_roi_measurement_groups()[0])
    assert ("126401", "386136009") not in found
    assert ("TM004", None) not in found


@pytest.mark.parametrize(("claim", "expected"), [(Claim.LESION, "126033"), (Claim.UPTAKE, "TM004")])
def test_uptake_times_volume_is_glycolysis_in_lesions_alone(make, profile, tmp_path, claim, expected):
    quantified = make(claim=claim)
    (file,) = write_srs(Assessed(quantified), profile, tmp_path)
    found = numbers(read(file).content.get_volumetric_roi_measurement_groups()[0])
    assert {name for name, _ in found} & {"126033", "TM004"} == {expected}
    assert found[expected, None] == quantified.lesions[0].tlg_g


def test_another_patients_prior_leaves_nothing_in_the_report(make, profile, tmp_path):
    quantified = make(claim=Claim.LESION)
    for prior, shown in ((of_other_tracer(quantified), True), (of_other_patient(quantified), False)):
        assessed = beside(quantified, prior)
        uid = prior.selection.case.study.study_instance_uid
        findings = tuple(replace(each, compared_with=uid) for each in assessed.findings)
        (file,) = write_srs(replace(assessed, findings=findings), profile, tmp_path)
        report = read(file)
        assert ("PertinentOtherEvidenceSequence" in report) == shown
        assert (uid.encode() in file.path.read_bytes()) == shown
        (change,) = texts(report)["TM033"]
        assert (change.count("2023"), change.count(" ml")) == ((1, 1) if shown else (0, 0))
    assert "is of another patient ID" in change


def test_a_negative_says_what_was_removed(make, profile, tmp_path):
    negative = replace(make(with_models=True, claim=Claim.LESION), lesions=())
    report = read(write_srs(Assessed(negative), profile, tmp_path)[0])
    assert texts(report)["121073"] == [
        "No lesion was found besides the physiological uptake that was removed."
    ]


def qualities(report):
    """The numbers among the qualitative evaluations: {concept value: (value, unit)}."""
    [container] = [
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "C0034375"
    ]
    found = {}
    for item in container.ContentSequence:
        if item.ValueType == "NUM":
            [measured] = item.MeasuredValueSequence
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            found[item.ConceptNameCodeSequence[0].CodeValue] = (measured.FloatingPointValue, unit)
    return found


def test_quality_is_said_in_words_and_numbers(make, profile, tmp_path):
    report = read(write_srs(Assessed(make(with_models=True)), profile, tmp_path)[0])
    assert qualities(report) == {"TM008": (0.815, "1")}
    [said] = texts(report)["TM018"]
    assert said == (
        "Predicted Dice 0.81; such predictions were off by 0.06 on average (38 patients; five folds). The "
        "study was compared with the training data: unlike it in one feature, named below."
    )
    for group, confidence in zip(
        report.content.get_volumetric_roi_measurement_groups(), (97.0, 58.0), strict=True
    ):
        [found] = group.get_measurements(name=dictionary.DCM.CertaintyOfFinding)
        assert (found.value, found.unit.value) == (pytest.approx(confidence), "%")
        assert found.method.value == "TM007"


def test_quality_that_is_not_known_is_said_so_and_no_number_given(make, profile, tmp_path):
    report = read(write_srs(Assessed(make()), profile, tmp_path)[0])
    assert qualities(report) == {}
    assert texts(report)["TM018"] == ["Not known: nothing predicts it for this method or model."]
    group = report.content.get_volumetric_roi_measurement_groups()[0]
    assert group.get_measurements(name=dictionary.DCM.CertaintyOfFinding) == []


def test_a_study_like_the_training_data_without_lesions_has_no_dice(make, profile, tmp_path):
    found = make(with_models=True, claim=Claim.LESION)
    quality = replace(found.segmented.quality, predicted_dice=None, departures=())
    negative = replace(found, lesions=(), segmented=replace(found.segmented, quality=quality))
    report = read(write_srs(Assessed(negative), profile, tmp_path)[0])
    assert qualities(report) == {}
    [said] = texts(report)["TM018"]
    assert said.startswith("No Dice is predicted: nothing was segmented")
    assert said.endswith("like it in all that was compared.")


def test_the_report_says_what_the_measurements_mean(make, profile, tmp_path):
    (file,) = write_srs(assess(make()), profile, tmp_path)
    rows = {}
    for container in read(file).ContentSequence:
        if container.ConceptNameCodeSequence[0].CodeValue == "C0034375":
            for item in container.ContentSequence:
                rows.setdefault(item.ConceptNameCodeSequence[0].CodeValue, []).append(item)
    (response,) = rows["112048"]
    assert response.ConceptCodeSequence[0].CodeValue == "recip.PR"
    method, grounds = response.ContentSequence
    assert method.ConceptCodeSequence[0].CodeMeaning == "RECIP 1.0"
    assert "Compared with the prior study 1.2.3.0. The volume fell by 41.5 %" in grounds.TextValue
    assert "Caution: Uptake times differ by 22 min." in grounds.TextValue
    (vision,) = rows["TM030"]
    assert vision.ConceptCodeSequence[0].CodeValue == "TM032"  # indeterminate, not a category
    (reason,) = vision.ContentSequence
    assert reason.TextValue == "Indeterminate: VISION. Physiological uptake has not been removed."
    (change,) = rows["TM033"]
    assert "157 days before" in change.TextValue
    assert "1 matched, 1 new" in change.TextValue
    (course,) = rows["TM037"]
    assert course.TextValue == "2023-08-01: 2 lesions, 20.00 ml; 2024-01-05: withheld"
    predicted, withheld = (row.TextValue for row in rows["TM034"])
    assert "probability 0.25 (95 % interval 0.1 to 0.4); at 90% coverage: no metastasis." in predicted
    assert "psa_ng_ml 12.5 ng/mL +0.30" in predicted
    assert "withheld. The diagnosis is not known." in withheld
    assert "psa ng ml 12.5 ng/mL (job.json)" in rows["TM035"][0].TextValue


def test_a_lesion_keeps_its_name_and_has_its_score(make, profile, tmp_path):
    (file,) = write_srs(assess(make()), profile, tmp_path)
    first, second = read(file).content.get_volumetric_roi_measurement_groups()
    assert (first.tracking_identifier, first.tracking_uid) == ("Lesion 7", "2.25.7")
    assert second.tracking_identifier == "Uptake 2"
    rule = Code("TM030", "99THERAMAP", "Finding by a published rule")
    (score,) = first.get_qualitative_evaluations(name=rule)
    assert score.value.value == "promise.2"
    assert not second.get_qualitative_evaluations(name=rule)


def test_lean_body_mass_backgrounds_and_doubts_are_in_the_group(make, profile, tmp_path):
    quantified = make(claim=Claim.LESION)
    janma = Code("126405", "DCM", "SUVlbm(Janma)")
    scale = Scale(
        "suvlbm_janmahasatian", "SUL", DomainCode("126405", "DCM", "SUVlbm(Janma)"),
        DomainCode("126414", "DCM", "Janmahasatian"), "g/ml{SUVlbm(Janma)}", 0.75,
    )  # fmt: skip
    first = replace(
        quantified.lesions[0], background_ratio={"liver": 3.5}, uncertain="It touches the urinary bladder."
    )
    changed = replace(quantified, lesions=(first, quantified.lesions[1]), scales=(scale,))
    (file,) = write_srs(Assessed(changed), profile, tmp_path)
    group, _ = read(file).content.get_volumetric_roi_measurement_groups()
    peak, maximum = group.get_measurements(name=janma)
    assert peak.value == pytest.approx(first.suv_peak_global * 0.75)
    assert maximum.value == pytest.approx(first.suv_max * 0.75)
    assert maximum.unit.value == "g/ml{SUVlbm(Janma)}"
    (ratio,) = group.get_measurements(name=Code("126039", "DCM", "Lesion to Background SUV Ratio"))
    assert ratio.value == 3.5
    assert "liver" in str(ratio)
    said = file.path.read_bytes()
    assert said.count(b"It touches the urinary bladder.") == 1


ALL_FORMS = Job(
    destinations=tuple(
        Destination(f"{region}-{seg_form}-{language}", region, seg_form=seg_form, language=language)
        for region in SrRegion
        for seg_form in SegForm
        for language in Language
    )
)


def test_every_form_is_an_instance_in_a_series_of_its_own(make, profile, tmp_path):
    files = write_srs(Assessed(make(job=ALL_FORMS)), profile, tmp_path)
    reports = [read(file) for file in files]
    names = [file.path.name for file in files]
    assert names[:5] == [
        "sr-image.dcm",
        "sr-segment.dcm",
        "sr-image-de.dcm",
        "sr-image-fr.dcm",
        "sr-image-es.dcm",
    ]
    assert "sr-segment-labelmap.dcm" in names
    assert "sr-segment-fractional-es.dcm" in names
    assert len(files) == 5 * 4, (
        "image regions, with tools or without, or one of three SEGs; in four languages"
    )
    for attribute in ("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber"):
        assert len({report[attribute].value for report in reports}) == len(files)
    numbers_of_series = [int(report.SeriesNumber) for report in reports]
    first = profile.series_number(16)
    assert numbers_of_series == [9302, 9303, *range(first, first + 18)]
    assert all(OURS.fullmatch(name) for name in names)
    [image] = [file for file in files if file.path.name == "sr-image.dcm"]
    assert image.destination == "image-binary-en, image-labelmap-en, image-fractional-en"


def test_a_form_is_the_same_alone_and_among_others(make, profile, tmp_path):
    alone = Job(destinations=(Destination("viewer", language=Language.FRENCH),))
    (one,) = write_srs(Assessed(make(job=alone)), profile, tmp_path / "a")
    among = write_srs(Assessed(make(job=ALL_FORMS)), profile, tmp_path / "b")
    assert one.path.name == "sr.dcm"
    [other] = [file for file in among if file.path.name == "sr-image-fr.dcm"]
    assert one.path.read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize(
    ("form", "sop_class"),
    [
        (SegForm.BINARY, "1.2.840.10008.5.1.4.1.1.66.4"),
        (SegForm.LABELMAP, "1.2.840.10008.5.1.4.1.1.66.7"),
        (SegForm.FRACTIONAL, "1.2.840.10008.5.1.4.1.1.66.4"),
    ],
)
def test_every_form_refers_to_its_own_segmentation(make, profile, tmp_path, form, sop_class):
    job = Job(destinations=(Destination("tools", SrRegion.SEGMENT, seg_form=form),))
    quantified = make(job=job, with_models=True, claim=Claim.LESION)
    (seg,) = write_seg(Assessed(quantified), profile, tmp_path)
    (file,) = write_srs(Assessed(quantified), profile, tmp_path)
    report = read(file)
    assert (seg.sop_class_uid, file.path.name) == (sop_class, "sr.dcm")
    for group in report.content.get_volumetric_roi_measurement_groups():
        referenced = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedSOPClassUID == sop_class
        assert referenced.ReferencedSOPInstanceUID == seg.sop_instance_uid
    series = highdicom.seg.segread(seg.path).SeriesInstanceUID
    assert (series, seg.sop_instance_uid) in {(each[1], each[2]) for each in report.get_evidence()}


def in_language(language):
    return Job(destinations=(Destination("x", language=Language(language)),))


@pytest.mark.parametrize(
    ("language", "status", "found", "totals", "grounds", "description"),
    [
        ("en", "Research software", "2 lesions; highest SUVmax 8.00 g/ml.", "volume 7.78 ml", "Criterion: ",
         "Measurements: lesion"),
        ("de", "Forschungssoftware", "2 Läsionen; höchster SUVmax 8,00 g/ml.", "Volumen 7,78 ml",
         "Kriterium: ", "Messungen: Läsion"),
        ("fr", "Logiciel de recherche", "2 lésions ; SUVmax le plus élevé 8,00 g/ml.", "volume 7,78 ml",
         "Critère : ", "Mesures : lésion"),
        ("es", "Software de investigación", "2 lesiones; SUVmax más alto 8,00 g/ml.", "volumen 7,78 ml",
         "Criterio: ", "Mediciones: lesión"),
    ],
)  # fmt: skip
def test_phrases_are_in_the_destinations_language(
    make, profile, tmp_path, language, status, found, totals, grounds, description
):
    (file,) = write_srs(assess(make(claim=Claim.LESION, job=in_language(language))), profile, tmp_path)
    report = read(file)
    said = texts(report)
    assert report.ContentSequence[0].ConceptCodeSequence[0].CodeValue == language
    assert report.SeriesDescription == description
    assert said["TM010"][0].startswith(status)
    assert said["121073"] == [found]
    assert totals in said["TM012"][0]
    [response] = [
        item
        for item in report.ContentSequence[-1].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "112048"
    ]
    assert grounds in response.ContentSequence[1].TextValue


def coded_and_measured(item):
    """Everything in a report but its texts."""
    rows = []
    for child in item.get("ContentSequence", ()):
        name = child.ConceptNameCodeSequence[0]
        if name.CodeValue == "121049":
            continue
        value = ()
        if child.ValueType == "CODE":
            value = (child.ConceptCodeSequence[0].CodeValue, child.ConceptCodeSequence[0].CodeMeaning)
        elif child.ValueType == "NUM":
            value = (str(child.MeasuredValueSequence[0].NumericValue),)
        rows.append((child.ValueType, name.CodeValue, name.CodeMeaning, *value))
        rows += coded_and_measured(child)
    return rows


def test_codes_and_numbers_are_the_same_in_every_language(make, profile, tmp_path):
    said = [
        coded_and_measured(read(write_srs(assess(make(claim=Claim.LESION, job=in_language(each))), profile,
                                          tmp_path / each)[0]))
        for each in Language
    ]  # fmt: skip
    assert len(said[0]) > 60
    assert said.count(said[0]) == len(said)


def test_english_text_in_another_language_says_so(make, profile, tmp_path):
    def marked(language):
        (file,) = write_srs(assess(make(job=in_language(language))), profile, tmp_path)
        return {
            item.ConceptNameCodeSequence[0].CodeValue
            for item in read(file).ContentSequence[-1].ContentSequence
            if item.ValueType == "TEXT"
            for child in item.get("ContentSequence", ())
            if child.ConceptNameCodeSequence[0].CodeValue == "121049"
            and child.ConceptCodeSequence[0].CodeValue == "en"
        }

    assert marked("en") == set()
    assert marked("de") == {"TM013", "TM014", "TM035"}, "notes, method, clinical inputs"
    (file,) = write_srs(assess(make(job=in_language("de"))), profile, tmp_path)
    assert "sind auf Englisch" in texts(read(file))["TM010"][0]
