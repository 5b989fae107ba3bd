"""UIDs and times derive from the input: the same input the same, any change another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydicom.uid import UID

from operators.domain import Assessed, Job, TrackedName
from operators.errors import ResultRefusal
from operators.results.identity import identify
from tests.operators.results.conftest import assess


def test_uids_are_valid_and_distinct_by_role(make, profile):
    identity = identify(Assessed(make()), profile)
    uids = [identity.uid(role) for role in ("seg/instance", "seg/series", "lesion/1", "lesion/2")]
    assert len(set(uids)) == 4
    assert all(UID(uid).is_valid and uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)


def test_same_input_gives_the_same_identity(make, profile):
    assert identify(Assessed(make()), profile) == identify(Assessed(make()), profile)


def test_whatever_determines_the_result_changes_the_identity(make, profile):
    quantified = make()
    segmented, volumes = quantified.segmented, quantified.segmented.volumes
    selection = quantified.selection

    def with_selection(**changes):
        changed = replace(volumes, selection=replace(selection, **changes))
        return replace(quantified, segmented=replace(segmented, volumes=changed))

    others = [
        replace(
            quantified, segmented=replace(segmented, algorithm=replace(segmented.algorithm, version="1.1"))
        ),
        replace(
            quantified, segmented=replace(segmented, algorithm=replace(segmented.algorithm, parameters=()))
        ),
        replace(
            quantified,
            segmented=replace(segmented, algorithm=replace(segmented.algorithm, model_digest="ef")),
        ),
        replace(
            quantified,
            segmented=replace(segmented, volumes=replace(volumes, pet=replace(volumes.pet, digest="x"))),
        ),
        with_selection(protocol=replace(selection.protocol, digest="x")),
        with_selection(case=replace(selection.case, job=Job(digest="x"))),
    ]
    digests = {identify(Assessed(each), profile).digest for each in [quantified, *others]}
    digests.add(identify(Assessed(quantified), replace(profile, software_version="9")).digest)
    assert len(digests) == len(others) + 2


def test_whatever_decides_a_networks_result_changes_the_identity(make, profile):
    quantified = make(with_models=True)
    segmented = quantified.segmented

    def with_run(**changes):
        run = replace(segmented.algorithm.network, **changes)
        return replace(
            quantified, segmented=replace(segmented, algorithm=replace(segmented.algorithm, network=run))
        )

    others = [
        with_run(digest="x"),
        with_run(engine="torch 2.13.0"),
        with_run(provider="cuda"),
        with_run(precision="half"),
        with_run(folds=("0",)),
        with_run(mirrored_axes=()),
        with_run(tiles=9),
        replace(quantified, segmented=replace(segmented, organs=None)),
        replace(
            quantified,
            segmented=replace(
                segmented,
                organs=replace(
                    segmented.organs, algorithm=replace(segmented.organs.algorithm, model_digest="x")
                ),
            ),
        ),
    ]
    assert (
        len({identify(Assessed(each), profile).digest for each in [quantified, *others]}) == len(others) + 1
    )


def test_the_time_that_a_network_took_changes_nothing(make, profile):
    quantified = make(with_models=True)
    algorithm = quantified.segmented.algorithm
    slower = replace(algorithm, network=replace(algorithm.network, times_s={"network": 9.0}, batch=1))
    changed = replace(quantified, segmented=replace(quantified.segmented, algorithm=slower))
    assert identify(Assessed(changed), profile) == identify(Assessed(quantified), profile)


def test_time_is_the_latest_that_the_study_states(make, profile):
    late = make(header={"AcquisitionDate": "20240106", "AcquisitionTime": "000130.5"})
    assert identify(Assessed(make()), profile).time == datetime(2024, 1, 5, 10, 20)
    assert identify(Assessed(late), profile).time == datetime(2024, 1, 6, 0, 1, 30, 500000)


def test_job_time_wins_in_the_clock_of_the_study(make, profile):
    moment = datetime(2025, 2, 3, 4, 5, tzinfo=UTC)
    assert identify(Assessed(make(job=Job(time=moment))), profile).time == datetime(2025, 2, 3, 4, 5)
    there = make(job=Job(time=moment), header={"TimezoneOffsetFromUTC": "+0200"})
    assert identify(Assessed(there), profile).time == moment.astimezone(timezone(timedelta(hours=2))).replace(
        tzinfo=None
    )


def test_refuses_a_study_without_any_time(make, profile):
    with pytest.raises(ResultRefusal) as caught:
        identify(Assessed(make(lacking=("StudyDate", "StudyTime", "SeriesDate", "SeriesTime"))), profile)
    assert caught.value.code == "TIME_UNKNOWN"


def test_what_rules_and_models_say_changes_the_identity(make, profile):
    plain, full = Assessed(make()), assess(make())
    others = (
        replace(full, findings=full.findings[:1]),
        replace(full, predictions=full.predictions[:1]),
        replace(full, follow_ups=()),
        replace(full, names={}),
        replace(full, facts=full.facts[:1]),
        replace(full, notes=()),
    )
    assert len({identify(each, profile).digest for each in (plain, full, *others)}) == len(others) + 2


def test_a_new_lesion_gets_no_name_that_another_had(make, profile):
    """Lesion 1 is the prior's number 2; the prior's number 1 is gone, and its name stays its own."""
    before = {1: TrackedName("Uptake 1", "2.25.1"), 2: TrackedName("Uptake 2", "2.25.2")}
    prior = replace(assess(make()).follow_ups[0], prior_names=before)
    names = identify(Assessed(make(), follow_ups=(prior,), names={1: before[2]}), profile).names
    assert names[1] == before[2]
    assert names[2].identifier == "Uptake 3"
    alone = identify(Assessed(make()), profile).names
    assert [name.identifier for name in alone.values()] == ["Uptake 1", "Uptake 2"]


def test_two_lesions_never_share_a_name(make, profile):
    """Of two priors that were each processed alone, both have a first lesion."""
    before = {1: TrackedName("Uptake 1", "2.25.1"), 2: TrackedName("Uptake 1", "2.25.2")}
    names = identify(Assessed(make(), names=before), profile).names
    assert [name.identifier for name in names.values()] == ["Uptake 1", "Uptake 1 (2)"]
    assert [name.uid for name in names.values()] == ["2.25.1", "2.25.2"]
