"""Names for life: read from reports of ours and of others, carried to the lesions that match."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from operators.domain import (
    Assessed,
    Correspondence,
    Destination,
    Fate,
    FollowUp,
    Registration,
    SrRegion,
    Study,
    TrackedName,
)
from operators.response.longitudinal import reports
from operators.response.longitudinal.names import carry_names, read_names
from operators.results.seg import write_seg
from operators.results.sr import write_srs
from operators.study.headers import read_headers
from operators.study.load import group_studies
from tests.operators.response.longitudinal.simulated import still
from tests.operators.response.longitudinal.test_matching import A, B, study
from tests.operators.results.conftest import build, profile

__all__ = ["profile"]


def study_in(folder: Path) -> Study:
    instances, _ = read_headers(folder)
    series = tuple(one for found in group_studies(instances) for one in found.series)
    return Study("1.2.3.1", "key", series)


def written(folder, profile, quantified, names, region=SrRegion.IMAGE):
    """Our results with given names, as the study of a folder."""
    assessed = Assessed(quantified, names=names)
    job = replace(quantified.selection.case.job, destinations=(Destination(sr_region=region),))
    case = replace(quantified.selection.case, job=job)
    volumes = quantified.segmented.volumes
    selection = replace(quantified.selection, case=case)
    quantified = replace(
        quantified, segmented=replace(quantified.segmented, volumes=replace(volumes, selection=selection))
    )
    assessed = replace(assessed, quantified=quantified)
    write_srs(assessed, profile, folder)
    write_seg(assessed, profile, folder)
    return study_in(folder)


NAMES = {1: TrackedName("Lesion 7", "2.25.7"), 2: TrackedName("Lesion 3", "2.25.3")}


@pytest.mark.parametrize("region", list(SrRegion))
def test_reads_our_own_report(tmp_path, profile, region):
    prior = build()
    names, notes = read_names(written(tmp_path, profile, prior, NAMES, region), prior)
    assert {n: (name.identifier, name.uid) for n, name in names.items()} == {
        1: ("Lesion 7", "2.25.7"),
        2: ("Lesion 3", "2.25.3"),
    }
    assert names[1].since == datetime(2024, 1, 5, 10, 20)
    assert notes == ()


@pytest.mark.parametrize("multiframe", [False, True])
def test_names_follow_the_place_and_not_the_number(tmp_path, profile, multiframe):
    then, now = build(multiframe=multiframe), build(centres=((7, 15, 12), (3, 6, 6)), multiframe=multiframe)
    names, _ = read_names(written(tmp_path, profile, then, NAMES), now)
    place = {lesion.number: lesion.suv_max_index for lesion in now.lesions}
    old = {lesion.number: lesion.suv_max_index for lesion in then.lesions}
    assert {place[n]: name.uid for n, name in names.items()} == {old[1]: "2.25.7", old[2]: "2.25.3"}


def test_a_name_whose_lesion_is_not_found_today_is_noted(tmp_path, profile):
    then, now = build(), build(centres=((3, 6, 6),))
    names, (note,) = read_names(written(tmp_path, profile, then, NAMES), now)
    assert [name.uid for name in names.values()] == ["2.25.7"]
    assert note.code == "PRIOR_NAMES_NOT_PLACED"


def test_no_report_no_names():
    assert read_names(Study("1.2", "key", ()), build()) == ({}, ())


def other_vendors_report(quantified, **group):
    """A TID 1411 group by highdicom, of a circle in space or on an image."""
    measured = highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier("2.25.99", "Metastasis A"),
        finding_type=codes.SCT.Neoplasm,
        **group,
    )
    observer = highdicom.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(uid="2.25.1"),
    )
    report = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[measured],
    )
    evidence = [instance.header for instance in quantified.segmented.volumes.pet.instances]
    return highdicom.sr.Comprehensive3DSR(
        evidence=evidence, content=report, series_number=9, series_instance_uid="2.25.2",
        sop_instance_uid="2.25.3", instance_number=1, manufacturer="Another",
    )  # fmt: skip


def circle_on_image(quantified):
    z, y, x = quantified.lesions[0].suv_max_index
    source = quantified.segmented.volumes.pet.instances[z]
    return highdicom.sr.ImageRegion(
        highdicom.sr.GraphicTypeValues.CIRCLE,
        np.array([(x + 0.5, y + 0.5), (x + 3.0, y + 0.5)]),
        highdicom.sr.SourceImageForRegion(source.header.SOPClassUID, source.sop_instance_uid),
    )


def points_in_space(quantified):
    centre = np.array(quantified.lesions[0].suv_max_lps_mm)
    corners = centre + 5 * np.concatenate([np.eye(3), -np.eye(3)])
    return highdicom.sr.VolumeSurface(
        graphic_type=highdicom.sr.GraphicTypeValues3D.ELLIPSOID, graphic_data=corners,
        frame_of_reference_uid="1.2.3.4",
        source_series=highdicom.sr.SourceSeriesForSegmentation("1.2.3.2"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["image", "space"])
def test_reads_other_vendors_reports(tmp_path, kind):
    prior = build()
    group = (
        {"referenced_regions": [circle_on_image(prior)]}
        if kind == "image"
        else {"referenced_volume_surface": points_in_space(prior)}
    )
    other_vendors_report(prior, **group).save_as(tmp_path / "sr.dcm")
    names, notes = read_names(study_in(tmp_path), prior)
    assert {n: (name.identifier, name.uid) for n, name in names.items()} == {1: ("Metastasis A", "2.25.99")}
    assert notes == ()


def test_a_replaced_report_gives_no_names(tmp_path, profile):
    prior = build()
    (tmp_path / "a").mkdir()
    written(tmp_path / "a", profile, prior, NAMES)
    first = pydicom.dcmread(tmp_path / "a" / "sr.dcm")
    second = other_vendors_report(prior, referenced_regions=[circle_on_image(prior)])
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        first.SOPClassUID,
        first.SOPInstanceUID,
    )
    series, of_study = pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = first.SeriesInstanceUID, [reference]
    of_study.StudyInstanceUID, of_study.ReferencedSeriesSequence = first.StudyInstanceUID, [series]
    second.PredecessorDocumentsSequence = [of_study]
    second.save_as(tmp_path / "later.dcm")
    names, _ = read_names(study_in(tmp_path), prior)
    assert {n: name.uid for n, name in names.items()} == {1: "2.25.99"}


def hostile(report, what):  # noqa: C901  one line a fault
    groups = [
        group
        for part in report.ContentSequence
        for group in part.get("ContentSequence", [])
        if group.ConceptNameCodeSequence[0].CodeValue == "125007"
    ]
    for group in groups:
        for node in group.ContentSequence:
            concept = node.ConceptNameCodeSequence[0].CodeValue
            if what == "no uid" and concept == "112040":
                node.UID = ""
            if what == "false uid" and concept == "112040":
                node.UID = "not a uid"
            if node.ValueType == "SCOORD":
                if what == "odd coordinates":
                    node.GraphicData = [1.0, 2.0, 3.0]
                if what == "not a number":
                    node.GraphicData = [float("nan")] * len(node.GraphicData)
                if what == "far away":
                    node.GraphicData = [1e30] * len(node.GraphicData)
                if what == "unknown image":
                    node.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.9.9"
                if what == "no graphic":
                    del node.GraphicData
    return report


@pytest.mark.parametrize(
    "what",
    ["no uid", "false uid", "odd coordinates", "not a number", "far away", "unknown image", "no graphic"],
)
def test_what_cannot_be_understood_gives_no_name(tmp_path, profile, what):
    prior = build()
    written(tmp_path, profile, prior, NAMES)
    (tmp_path / "seg.dcm").unlink()
    report = hostile(pydicom.dcmread(tmp_path / "sr.dcm"), what)
    report.save_as(tmp_path / "sr.dcm")
    names, _ = read_names(study_in(tmp_path), prior)
    assert names == {}


def test_a_damaged_or_endless_report_is_noted(tmp_path, profile, monkeypatch):
    prior = build()
    found = written(tmp_path, profile, prior, NAMES)
    data = (tmp_path / "sr.dcm").read_bytes()
    (tmp_path / "sr.dcm").write_bytes(data[: len(data) // 2])
    names, _ = read_names(found, prior)
    assert len(names) < 2
    (tmp_path / "sr.dcm").write_bytes(data)
    monkeypatch.setattr(reports, "REPORT_BYTES", 1000)
    names, (note,) = read_names(found, prior)
    assert (names, note.code) == ({}, "PRIOR_REPORT_UNREADABLE")


def test_a_segmentation_that_is_too_large_is_not_read(tmp_path, profile, monkeypatch):
    prior = build()
    found = written(tmp_path, profile, prior, NAMES, SrRegion.SEGMENT)
    monkeypatch.setattr(reports, "SEGMENTATION_VOXELS", 1000)
    names, notes = read_names(found, prior)
    assert names == {}
    assert {note.code for note in notes} == {"PRIOR_REPORT_UNREADABLE", "PRIOR_NAMES_NOT_PLACED"}


def test_nested_items_end_somewhere(tmp_path, profile, monkeypatch):
    prior = build()
    found = written(tmp_path, profile, prior, NAMES)
    monkeypatch.setattr(reports, "DEPTH", 1)
    assert read_names(found, prior)[0] == {}


@pytest.mark.data
def test_reads_dcmqis_report_and_segmentation(unpacked):
    folder = unpacked("dcmqi_seg_sr_example.tar.xz")
    found = study_in(folder / "sr-example")
    reading = reports.read_regions(found, build().segmented.volumes)
    assert (reading.reports, reading.unreadable, reading.lost) == (1, 0, 0)
    (region,) = reading.regions
    assert region.identifier
    segmentation = pydicom.dcmread(folder / "sr-example" / "seg.dcm")
    assert len(region.points) == np.count_nonzero(segmentation.pixel_array)


# ---- carrying ------------------------------------------------------------------------------------


def name(n, since=None):
    return TrackedName(f"Lesion {n}", f"2.25.{n}", since)


def after(prior, correspondences, names):
    return FollowUp(prior, None, None, still(), tuple(correspondences), names)


def test_a_matched_lesion_keeps_its_name_and_a_new_one_has_none():
    prior, current = study((A, 9, 5)), study((A, 9, 5), (B, 9, 9))
    found = after(
        prior, [Correspondence(Fate.MATCHED, (1,), (2,)), Correspondence(Fate.NEW, (), (1,))], {1: name(4)}
    )
    assert carry_names(current, [found]) == {2: name(4)}


def test_of_a_split_lesion_the_part_that_shares_most_keeps_the_name():
    prior, current = study((A, 16, 5)), study(((60, 60, 33), 4, 6), ((60, 60, 55), 6, 5))
    found = after(prior, [Correspondence(Fate.SPLIT, (1,), (1, 2))], {1: name(4)})
    assert carry_names(current, [found]) == {2: name(4)}


@pytest.mark.parametrize(
    ("names", "expected"), [({1: name(1), 2: name(2)}, name(2)), ({1: name(1)}, name(1)), ({}, None)]
)
def test_a_merged_lesion_takes_the_name_of_the_largest_that_has_one(names, expected):
    prior = study(((60, 60, 35), 4, 6), ((60, 60, 55), 6, 5))
    found = after(prior, [Correspondence(Fate.MERGED, (1, 2), (1,))], names)
    assert carry_names(study((A, 16, 5)), [found]) == ({} if expected is None else {1: expected})


def test_the_latest_priors_names_hold_and_the_earliest_tells_since_when():
    one, two = study((A, 9, 5)), study((A, 9, 5), (B, 9, 4))
    first, second = datetime(2022, 1, 1), datetime(2023, 1, 1)
    matched = [Correspondence(Fate.MATCHED, (1,), (1,)), Correspondence(Fate.MATCHED, (2,), (2,))]
    latest = after(one, matched[:1], {1: name(1, second)})
    earlier = after(two, matched, {1: name(1, first), 2: name(2, first)})
    assert carry_names(two, [latest, earlier]) == {1: name(1, first), 2: name(2, first)}


def test_a_name_is_given_once():
    prior, current = study((A, 9, 5)), study((A, 9, 5), (B, 9, 4))
    latest = after(prior, [Correspondence(Fate.MATCHED, (1,), (1,))], {1: name(1)})
    earlier = after(prior, [Correspondence(Fate.MATCHED, (1,), (2,))], {1: name(1)})
    assert carry_names(current, [latest, earlier]) == {1: name(1)}


def test_nothing_is_carried_from_a_rejected_registration():
    rejected = FollowUp(
        study((A, 9, 5)), None, None, Registration(False, "", "", np.eye(4)), (), {1: name(1)}
    )
    assert carry_names(study((A, 9, 5)), [rejected]) == {}


def test_a_segmentation_that_nothing_decodes_is_noted(tmp_path, profile):
    prior = build()
    found = written(tmp_path, profile, prior, NAMES, SrRegion.SEGMENT)
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    segmentation.file_meta.TransferSyntaxUID = RLELossless
    segmentation.PixelData = encapsulate([b"\x09" * 64])
    segmentation["PixelData"].VR = "OB"
    segmentation.save_as(tmp_path / "seg.dcm")
    names, notes = read_names(found, prior)
    assert names == {}
    assert "PRIOR_REPORT_UNREADABLE" in {note.code for note in notes}
