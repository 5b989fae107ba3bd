"""Which package runs, and what is said when none or several could."""

from __future__ import annotations

import pytest

from operators.errors import SegmentationRefusal
from operators.segmentation.models import choose_package
from operators.segmentation.package.errors import PackageError
from operators.segmentation.package.types import Task
from operators.segmentation.site import SegmentationSite
from tests.tiny_models import FILE, write_intervals

LESION = {"lesion": 4.0}


@pytest.fixture
def site(tmp_path):
    return SegmentationSite(device="cpu", models=tmp_path)


def write_lesions(site, name, *tracers):
    return write_intervals(site.models, name, LESION, task=Task.LESIONS, tracers=tracers)


def test_the_only_package_for_the_tracer_runs(site):
    write_lesions(site, "for_psma", "psma")
    ours = write_lesions(site, "for_fdg", "fdg", "fapi")
    write_intervals(site.models, "organs", {"liver": 1.0})
    choice = choose_package(site, Task.LESIONS, "fdg")
    assert choice.package.identity == ours.identity == "for_fdg@1.0.0"
    assert choice.notes == ()
    assert choose_package(site, Task.ORGANS).package.name == "organs"


def test_one_that_has_seen_the_tracer_in_simulation_runs_where_that_will_do(site):
    write_intervals(
        site.models, "ours", LESION, task=Task.LESIONS, tracers=("fdg",), simulated_tracers=("psma",)
    )
    assert choose_package(site, Task.LESIONS, "psma").package is None
    assert choose_package(site, Task.LESIONS, "fapi", simulated=True).package is None
    choice = choose_package(site, Task.LESIONS, "psma", simulated=True)
    assert choice.package.name == "ours"
    [note] = choice.notes
    assert note.code == "MODEL_OTHER_TRACER"
    assert "made for fdg, not for psma, which it has seen in simulation only" in note.sentence
    write_lesions(site, "for_psma", "psma")
    assert choose_package(site, Task.LESIONS, "psma", simulated=True).package.name == "for_psma"


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SegmentationRefusal, match="MODEL_FOLDER_MISSING"):
        choose_package(SegmentationSite(models=tmp_path / "absent"), Task.ORGANS)


def test_none_is_told_with_what_it_would_be_for(site):
    write_lesions(site, "for_psma", "psma")
    choice = choose_package(site, Task.LESIONS, "fdg")
    assert choice.package is None
    assert choice.reason == "there is no model package for lesions of the tracer fdg"
    assert choose_package(SegmentationSite(), Task.ORGANS).package is None


def test_the_site_may_ask_for_none(site):
    write_lesions(site, "ours", "fdg")
    for task, off in ((Task.LESIONS, {"lesions": "none"}), (Task.ORGANS, {"organs": "none"})):
        choice = choose_package(SegmentationSite(models=site.models, **off), task)
        assert (choice.package, choice.reason) == (None, "the settings ask for none")


def test_weights_are_read_only_to_verify_them(site):
    package = write_lesions(site, "ours", "fdg")
    path = package.folder / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    for name in ("auto", "ours"):
        own = SegmentationSite(models=site.models, lesions=name)
        assert choose_package(own, Task.LESIONS, "fdg", verify=False).package == package
        with pytest.raises(PackageError, match="MODEL_FILE_CHANGED"):
            choose_package(own, Task.LESIONS, "fdg")


def test_several_are_refused_by_name(site):
    write_lesions(site, "one", "fdg")
    write_lesions(site, "two", "fdg")
    with pytest.raises(SegmentationRefusal) as caught:
        choose_package(site, Task.LESIONS, "fdg")
    assert caught.value.code == "MODEL_AMBIGUOUS"
    assert "one@1.0.0, two@1.0.0" in caught.value.sentence
    assert "models.lesions" in caught.value.sentence


def test_the_site_may_name_one_of_several(site):
    write_lesions(site, "one", "fdg")
    write_lesions(site, "two", "fdg")
    named = SegmentationSite(models=site.models, lesions="two")
    assert choose_package(named, Task.LESIONS, "fdg").package.name == "two"


def test_a_named_package_for_another_tracer_runs_with_a_warning(site):
    write_lesions(site, "one", "psma")
    named = SegmentationSite(models=site.models, lesions="one")
    choice = choose_package(named, Task.LESIONS, "fdg")
    assert choice.package.name == "one"
    assert [note.code for note in choice.notes] == ["MODEL_OTHER_TRACER"]


def test_a_named_package_for_another_task_is_refused(site):
    write_intervals(site.models, "organs", {"liver": 1.0})
    with pytest.raises(SegmentationRefusal, match="MODEL_TASK_WRONG"):
        choose_package(SegmentationSite(models=site.models, lesions="organs"), Task.LESIONS, "fdg")


def test_a_named_package_that_is_not_there_is_refused(site):
    with pytest.raises(PackageError) as caught:
        choose_package(SegmentationSite(models=site.models, organs="ours"), Task.ORGANS)
    assert caught.value.code == "MODEL_MISSING"
    with pytest.raises(PackageError, match="MODEL_MISSING"):
        choose_package(SegmentationSite(organs="ours"), Task.ORGANS)


def test_a_broken_package_is_passed_over_by_name(site):
    write_intervals(site.models, "broken", {"liver": 1.0})
    (site.models / "broken" / "model.json").write_text("{")
    choice = choose_package(site, Task.ORGANS)
    assert choice.package is None
    [note] = choice.notes
    assert note.code == "MODEL_PASSED_OVER"
    assert "broken" in note.sentence


def test_weights_that_were_changed_are_refused(site):
    package = write_intervals(site.models, "organs", {"liver": 1.0})
    path = package.folder / FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(PackageError) as caught:
        choose_package(site, Task.ORGANS)
    assert caught.value.code == "MODEL_FILE_CHANGED"
    assert caught.value.package == "organs"
