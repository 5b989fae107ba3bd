"""Which series prove themselves complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, EnhancedPETImageStorage
from pydicom.uid import PositronEmissionTomographyImageStorage as PetImageStorage

from app.gateway.assembler.completeness import Facts, proves_complete, read_facts, stated_images
from tests.servers import phantom_study

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def pet(slices: int = 5, stated: int | None = 5) -> list[Facts]:
    return [
        Facts("1", "1.1", PetImageStorage, 1, z + 1, stated, False, AXIAL, (0.0, 0.0, 4.0 * z))
        for z in range(slices)
    ]


def ct(slices: int = 6) -> list[Facts]:
    return [
        Facts("1", "1.2", CTImageStorage, 1, z + 1, None, False, AXIAL, (0.0, 0.0, 3.0 * z))
        for z in range(slices)
    ]


def without(facts: list[Facts], index: int) -> list[Facts]:
    return facts[:index] + facts[index + 1 :]


def changed(index: int, **values: object) -> Callable[[list[Facts]], list[Facts]]:
    return lambda facts: [
        replace(one, **values) if number == index else one  # type: ignore[arg-type]
        for number, one in enumerate(facts)
    ]


def test_a_whole_pet_and_a_whole_ct_prove_complete() -> None:
    assert proves_complete([*pet(), *ct()])
    assert proves_complete(reversed([*ct(), *pet()]))


@pytest.mark.parametrize("lacking", range(5))
def test_a_pet_without_any_of_its_slices_does_not(lacking: int) -> None:
    assert not proves_complete([*without(pet(), lacking), *ct()])


@pytest.mark.parametrize("lacking", range(1, 5))
def test_a_ct_with_a_gap_does_not(lacking: int) -> None:
    assert not proves_complete([*pet(), *without(ct(), lacking)])


@pytest.mark.parametrize(
    "damage",
    [
        changed(2, position_mm=(0.0, 0.0, 7.0)),
        changed(2, position_mm=()),
        changed(2, instance_number=None),
        changed(2, instance_number=9),
        changed(2, orientation=(1.0, 0.0, 0.0, 0.0, 0.0, -1.0)),
        lambda facts: [replace(one, position_mm=(0.0, 0.0, 0.0)) for one in facts],
        lambda facts: [replace(one, instance_number=None) for one in facts],
        lambda facts: facts[:1],
        lambda facts: [*facts, facts[0]],
    ],
)
def test_a_ct_that_is_not_regular_does_not(damage: Callable[[list[Facts]], list[Facts]]) -> None:
    assert not proves_complete([*pet(), *damage(ct())])


def test_one_of_the_two_alone_does_not() -> None:
    assert not proves_complete([])
    assert not proves_complete(pet())
    assert not proves_complete(ct())


def test_a_pet_that_states_no_number_does_not() -> None:
    assert not proves_complete([*pet(stated=None), *ct()])


def test_an_instance_that_cannot_be_read_proves_nothing() -> None:
    assert not proves_complete([*pet(), *ct(), None])


def test_a_second_incomplete_series_keeps_the_study_waiting() -> None:
    second = [replace(one, series_instance_uid="1.3") for one in without(pet(), 2)]
    assert not proves_complete([*pet(), *ct(), *second])


def test_multi_frame_objects_and_localizers_are_whole_in_themselves() -> None:
    enhanced = [
        Facts("1", "1.1", EnhancedPETImageStorage, 200, 1, None, False, (), ()),
        Facts("1", "1.2", EnhancedCTImageStorage, 300, 1, None, False, (), ()),
    ]
    assert proves_complete(enhanced)
    scout = replace(ct()[0], series_instance_uid="1.9", is_localizer=True)
    assert proves_complete([*pet(), *ct(), scout])


@pytest.mark.parametrize(
    ("values", "images"),
    [
        ({"NumberOfSlices": 71}, 71),
        ({"NumberOfSlices": 71, "SeriesType": ["WHOLE BODY", "IMAGE"], "NumberOfTimeSlices": 9}, 71),
        ({"NumberOfSlices": 47, "SeriesType": ["DYNAMIC", "IMAGE"], "NumberOfTimeSlices": 20}, 940),
        ({"NumberOfSlices": 47, "SeriesType": ["DYNAMIC", "IMAGE"]}, None),
        ({"NumberOfSlices": 47, "SeriesType": ["GATED", "IMAGE"], "NumberOfTimeSlots": 8}, 376),
        ({"NumberOfSlices": 0}, None),
        ({}, None),
    ],
)
def test_a_pet_states_how_many_images_it_has(values: dict[str, object], images: int | None) -> None:
    header = Dataset()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    assert stated_images(header) == images


def test_reads_a_real_study_and_tells_a_damaged_file(tmp_path: Path) -> None:
    files = sorted(phantom_study(tmp_path, 1).iterdir())
    facts = [read_facts(path) for path in files]
    assert proves_complete(facts)
    assert not proves_complete(facts[:-1])
    files[0].write_bytes(files[0].read_bytes()[:-100])
    assert read_facts(files[0]) is None
    files[0].write_bytes(b"none")
    assert read_facts(files[0]) is None
