"""What the IHE profile AI Results asks of a report, row by row: the table is docs/ihe-air.md."""

import re
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from operators.domain import Assessed, Claim, Destination, Job, Language, SegForm, SrRegion
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from tests.operators.results.conftest import CT_SERIES, SERIES, STUDY, assess

FORMS = {
    "image regions": Destination("x"),
    "segments": Destination("x", SrRegion.SEGMENT),
    "segments of a label map, in German": Destination(
        "x", SrRegion.SEGMENT, seg_form=SegForm.LABELMAP, language=Language.GERMAN
    ),
}


@pytest.fixture(params=FORMS)
def report(request, make, profile, tmp_path):
    """A report with everything in it, in each form."""
    quantified = make(
        job=Job(destinations=(FORMS[request.param],)), claim=Claim.LESION, with_models=True, with_ct=True
    )
    (file,) = write_srs(assess(quantified), profile, tmp_path)
    return pydicom.dcmread(file.path)


def value_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def walk(item, parents=()):
    for child in item.get("ContentSequence", ()):
        yield child, (*parents, item)
        yield from walk(child, (*parents, item))


def child_of(report, value):
    (found,) = [item for item in report.ContentSequence if value_of(item) == value]
    return found


def groups_of(report):
    return child_of(report, "126010").ContentSequence


def instances(sequence):
    """{series: {instances}} of an evidence sequence."""
    return {
        series.SeriesInstanceUID: {each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence}
        for study in sequence
        for series in study.ReferencedSeriesSequence
    }


def test_the_root_is_a_measurement_report_in_a_comprehensive_3d_sr(report):
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (report.Modality, report.ValueType, value_of(report)) == ("SR", "CONTAINER", "126000")
    (template,) = report.ContentTemplateSequence
    assert (template.MappingResource, template.TemplateIdentifier) == ("DCMR", "1500")
    assert report.StudyInstanceUID == STUDY


def test_the_report_says_its_language(report):
    (language,) = child_of(report, "121049").ConceptCodeSequence
    assert (language.CodeValue, language.CodingSchemeDesignator) in {("en", "RFC5646"), ("de", "RFC5646")}
    assert value_of(report.ContentSequence[0]) == "121049"


def test_the_observer_is_a_device_with_a_uid(report):
    assert child_of(report, "121005").ConceptCodeSequence[0].CodeValue == "121007"
    assert re.fullmatch(r"2\.25\.\d+", child_of(report, "121012").UID)
    assert child_of(report, "121014").TextValue == "theramap"
    assert child_of(report, "121015").TextValue == "theramap PET/CT"


def test_the_procedure_reported_is_the_imaging_procedure(report):
    (procedure,) = child_of(report, "121058").ConceptCodeSequence
    assert (procedure.CodeValue, procedure.CodingSchemeDesignator) == ("44136-0", "LN")


def test_the_image_library_names_every_image_that_was_measured(report):
    (group,) = child_of(report, "111028").ContentSequence
    named = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if item.ValueType == "IMAGE"]
    assert [each.ReferencedSOPInstanceUID for each in named] == [f"1.2.3.5.{z}" for z in range(1, 13)]


def test_every_group_is_a_volumetric_roi_that_is_tracked(report):
    assert len(groups_of(report)) == 2
    for group in groups_of(report):
        assert value_of(group) == "125007"
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
        items = {value_of(item): item for item in group.ContentSequence}
        assert items["112039"].TextValue
        assert re.fullmatch(r"2\.25\.\d+", items["112040"].UID)
        assert items["121071"].ConceptCodeSequence[0].CodeValue == "108369006"


def test_segments_and_groups_have_the_same_tracking(make, profile, tmp_path):
    assessed = assess(make())
    (seg,) = write_seg(assessed, profile, tmp_path)
    (sr,) = write_srs(assessed, profile, tmp_path)
    segments = [(each.TrackingID, each.TrackingUID) for each in pydicom.dcmread(seg.path).SegmentSequence]
    groups = [
        (items["112039"].TextValue, items["112040"].UID)
        for group in groups_of(pydicom.dcmread(sr.path))
        for items in [{value_of(item): item for item in group.ContentSequence}]
    ]
    assert groups == segments


def test_every_group_identifies_its_algorithm(report):
    for group in groups_of(report):
        items = {value_of(item): item for item in group.ContentSequence}
        assert (items["111001"].TextValue, items["111003"].TextValue) == ("Our network", "1.0.0")
        assert "model_sha256" in items["111002"].TextValue
        assert items["111000"].ConceptCodeSequence[0].CodeValue == "123110"
        assert {items[value].RelationshipType for value in ("111000", "111001", "111002", "111003")} == {
            "HAS CONCEPT MOD"
        }


def test_every_number_has_a_value_and_a_ucum_unit(report):
    numbers = [item for item, _ in walk(report) if item.ValueType == "NUM"]
    assert len(numbers) > 20
    for item in numbers:
        (measured,) = item.MeasuredValueSequence
        assert measured.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
        assert float(measured.NumericValue) == pytest.approx(float(measured.NumericValue))


def test_image_references_are_at_the_lowest_level(report):
    """Outside the image library, an image hangs on the region that was drawn on it, or is a segment's."""
    for item, parents in walk(report):
        if item.ValueType == "IMAGE" and value_of(parents[-1]) != "126200":
            assert "ContentSequence" not in item
            if value_of(item) == "121191":
                assert value_of(parents[-1]) == "125007"
                assert item.ReferencedSOPSequence[0].ReferencedSegmentNumber > 0
            else:
                assert (item.RelationshipType, parents[-1].ValueType) == ("SELECTED FROM", "SCOORD")


def test_every_group_says_where_by_regions_or_by_a_segment(make, profile, tmp_path):
    for name, destination in FORMS.items():
        (file,) = write_srs(Assessed(make(job=Job(destinations=(destination,)))), profile, tmp_path / name)
        for group in groups_of(pydicom.dcmread(file.path)):
            names = [value_of(item) for item in group.ContentSequence]
            regions, segments = names.count("111030"), names.count("121191")
            if name == "image regions":
                assert (regions > 0, segments) == (True, 0)
            else:
                assert (regions, segments, names.count("121232")) == (0, 1, 1)


def test_evidence_lists_every_instance_that_is_referred_to(report):
    referred = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item, _ in walk(report)
        if item.ValueType == "IMAGE"
    }
    evidence = instances(report.CurrentRequestedProcedureEvidenceSequence)
    assert referred <= set.union(*evidence.values())
    assert evidence[SERIES] == {f"1.2.3.5.{z}" for z in range(1, 13)}
    assert evidence[CT_SERIES] == {f"1.2.3.6.{z}" for z in range(1, 13)}
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == STUDY


def test_a_prior_that_was_compared_is_other_evidence(make, profile, tmp_path):
    assessed = assess(make())
    [follow_up] = assessed.follow_ups
    case = follow_up.prior.selection.case
    study = replace(case.study, study_instance_uid="1.2.3.0")
    selection = replace(follow_up.prior.selection, case=replace(case, study=study))
    volumes = replace(follow_up.prior.segmented.volumes, selection=selection)
    prior = replace(
        follow_up.prior,
        segmented=replace(follow_up.prior.segmented, volumes=volumes),
    )
    (file,) = write_srs(replace(assessed, follow_ups=(replace(follow_up, prior=prior),)), profile, tmp_path)
    [other] = pydicom.dcmread(file.path).PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == "1.2.3.0"
    assert instances([other]) == {SERIES: {f"1.2.3.5.{z}" for z in range(1, 13)}}
    (file,) = write_srs(Assessed(make()), profile, tmp_path)
    assert "PertinentOtherEvidenceSequence" not in pydicom.dcmread(file.path)


def test_every_algorithm_is_contributing_equipment_with_a_uid(report):
    scanner, software, network, organs = report.ContributingEquipmentSequence
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (software.ManufacturerModelName, software.SoftwareVersions) == ("theramap PET/CT", "0.1.0")
    for item, title, version in ((network, "Our network", "1.0.0"), (organs, "Our organs", "2.0.0")):
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (item.Manufacturer, item.ManufacturerModelName) == ("theramap", title)
        assert item.SoftwareVersions == version
        assert re.fullmatch(r"2\.25\.\d+", item.DeviceUID)
    assert network.DeviceUID != organs.DeviceUID


def test_another_model_is_another_device(make, profile, tmp_path):
    def uid(digest):
        quantified = make(with_models=True)
        network = replace(quantified.segmented.algorithm, model_digest=digest)
        changed = replace(quantified, segmented=replace(quantified.segmented, algorithm=network))
        (file,) = write_srs(Assessed(changed), profile, tmp_path)
        return pydicom.dcmread(file.path).ContributingEquipmentSequence[2].DeviceUID

    assert uid("12" * 32) == uid("12" * 32) != uid("13" * 32)


def test_the_document_is_complete_and_nobody_has_verified_it(report):
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert "VerifyingObserverSequence" not in report


def test_times_are_there_and_the_same(report):
    assert report.ContentDate == report.SeriesDate == report.InstanceCreationDate == "20240105"
    assert report.ContentTime == report.SeriesTime == report.InstanceCreationTime == "102000.000000"


def test_findings_are_codes_with_their_grounds(report):
    found = {}
    for item in child_of(report, "C0034375").ContentSequence:
        found.setdefault(value_of(item), []).append(item)
    for item in (*found["112048"], *found["TM030"]):
        assert item.ValueType == "CODE"
        assert {value_of(child) for child in item.ContentSequence} & {"112021", "TM036"}
        assert "TM031" in {value_of(child) for child in item.ContentSequence}


def test_totals_are_numbers_too(report):
    numbers = {}
    for item in child_of(report, "C0034375").ContentSequence:
        if item.ValueType == "NUM":
            derivation = [each.ConceptCodeSequence[0].CodeValue for each in item.get("ContentSequence", ())]
            measured = item.MeasuredValueSequence[0]
            numbers[value_of(item), *derivation] = (
                float(measured.NumericValue),
                measured.MeasurementUnitsCodeSequence[0].CodeValue,
            )
    volumes = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for group in groups_of(report)
        for item in group.ContentSequence
        if value_of(item) == "126032"
    ]
    assert numbers["246206008",] == (2, "1")
    assert numbers["126032", "255619001"] == (pytest.approx(sum(volumes)), "cm3")
    assert numbers["126033", "255619001"][1] == "g"
    assert numbers["126401", "56851009"][1] == "g/ml{SUVbw}"
    assert numbers["126401", "373098007"][0] == pytest.approx(
        numbers["126033", "255619001"][0] / numbers["126032", "255619001"][0]
    )


def test_withheld_totals_are_no_numbers(make, profile, tmp_path):
    (file,) = write_srs(Assessed(make()), profile, tmp_path)
    rows = child_of(pydicom.dcmread(file.path), "C0034375").ContentSequence
    assert [value_of(item) for item in rows if item.ValueType == "NUM"] == []


def test_private_codes_name_who_is_responsible(report):
    schemes = {each.CodingSchemeDesignator for each in report.CodingSchemeIdentificationSequence}
    used = {
        item.ConceptNameCodeSequence[0].CodingSchemeDesignator
        for item, _ in walk(report)
        if "ConceptNameCodeSequence" in item
    }
    assert schemes == {"99THERAMAP"}
    assert used - {"DCM", "SCT", "UMLS"} == schemes


def test_no_group_is_without_coordinates_where_viewers_draw_them(make, profile, tmp_path):
    """A TID 1501 group has none, and a viewer that expects some fails on the whole report."""
    (file,) = write_srs(assess(make()), profile, tmp_path)
    report = pydicom.dcmread(file.path)
    groups = [
        item for item, _ in walk(report) if item.ValueType == "CONTAINER" and value_of(item) == "125007"
    ]
    assert groups
    assert all(any(each.ValueType == "SCOORD" for each in group.ContentSequence) for group in groups)


def test_the_table_names_tests_that_there_are():
    root = Path(__file__).parents[3]
    table = (root / "docs" / "ihe-air.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", table))
    defined = {
        name
        for file in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert named <= defined
