"""A prior study beside the current one, from volumes to names."""

from dataclasses import replace

import numpy as np
import pytest

from operators.domain import Instance, Series
from operators.response.longitudinal.follow_up import follow_up
from operators.response.longitudinal.matching import match
from operators.response.longitudinal.names import carry_names
from operators.response.longitudinal.registration import register
from tests.operators.response.longitudinal.simulated import SCENARIOS, as_set, draw_anatomy, simulate
from tests.operators.response.longitudinal.test_names import NAMES, written
from tests.operators.response.longitudinal.test_registration import chest
from tests.operators.results.conftest import build, profile

__all__ = ["profile"]


def of_another_patient(quantified):
    volumes = quantified.segmented.volumes
    case = volumes.selection.case
    case = replace(case, study=replace(case.study, patient_key="other"))
    volumes = replace(volumes, selection=replace(volumes.selection, case=case))
    return replace(quantified, segmented=replace(quantified.segmented, volumes=volumes))


def test_every_lesion_of_a_bent_trunk_has_its_fate():
    case = chest()
    found = follow_up(case.current, case.prior)
    assert found.registration.accepted
    assert as_set(found.correspondences) == case.expected
    assert (found.time, found.days, found.notes) == (None, None, ())
    assert found.prior is case.prior


def test_another_patient_id_is_not_compared():
    case = chest()
    found = follow_up(case.current, of_another_patient(case.prior))
    assert not found.registration.accepted
    assert found.correspondences == ()
    assert [note.code for note in found.notes] == ["PRIOR_NOT_REGISTERED"]


def dated(quantified, date):
    """The same study on another day."""

    def later(series):
        instances = []
        for one in series.instances:
            header = one.header.copy()
            header.SeriesDate = header.AcquisitionDate = date
            header.AcquisitionTime = "103000"
            instances.append(Instance(one.path, one.sop_instance_uid, header, None))
        return Series(series.series_instance_uid, tuple(instances))

    volumes = quantified.segmented.volumes
    selection = replace(volumes.selection, pet=later(volumes.selection.pet))
    return replace(
        quantified, segmented=replace(quantified.segmented, volumes=replace(volumes, selection=selection))
    )


def test_days_and_names(tmp_path, profile):
    current, prior = dated(build(), "20240705"), dated(build(), "20240105")
    study = written(tmp_path, profile, build(), NAMES)
    case = prior.selection.case
    selection = replace(
        prior.selection, case=replace(case, study=replace(study, patient_key=case.study.patient_key))
    )
    volumes = replace(prior.segmented.volumes, selection=selection)
    prior = replace(prior, segmented=replace(prior.segmented, volumes=volumes))
    found = follow_up(current, prior)
    assert found.days == 182
    assert {n: name.uid for n, name in found.prior_names.items()} == {1: "2.25.7", 2: "2.25.3"}
    # so few voxels are no body that could be recognised: nothing is carried
    assert not found.registration.accepted
    assert carry_names(current, [found]) == {}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_whole_bodies(scenario):
    seed = 4 * (list(SCENARIOS).index(scenario) % 2)  # two bodies, in turn
    case = simulate(draw_anatomy(seed, ("psma", "fdg")[seed % 2]), SCENARIOS[scenario], seed)
    for one in (case, case.pet_only()):
        registration = register(one.current.segmented.volumes, one.prior.segmented.volumes)
        assert registration.accepted, registration.reason
        assert as_set(match(one.current, one.prior, registration)) == one.expected
        assert registration.measures["error_mm"] < 4
        assert np.isfinite(registration.displacement).all()
