import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from operators.domain import Note
from operators.errors import SegmentationRefusal
from operators.segmentation.engines.names import Precision
from operators.segmentation.engines.session import DeviceLostError, EngineError, OutOfMemoryError
from operators.segmentation.network import fit, predict
from operators.segmentation.options import Options
from operators.segmentation.package.types import Tile, Weighting, Weights
from tests.operators.segmentation.network.fakes import FakeSession, image, package, stage

PLAIN = Options(skip_air=False)
SMALL = stage()
EXACT = stage(tile=Tile((16, 16, 16), weighting=Weighting.CONSTANT))
"""Where tiles agree, their mean is what each of them says."""


def threshold(tiles):
    """Label 1 above zero, 2 above one."""
    return torch.cat([tiles * 0, tiles, 2 * tiles - 1], 1)


def noise(shape=(30, 40, 36)):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def run(monkeypatch):
    """Predict with fake sessions: `open_` gets stage, options and the devices that failed."""

    def run(open_, array=None, stages=(SMALL,), options=PLAIN):
        def open_session(package, stage, options, *, without):
            session = open_(stage, options, without)
            return session, (Note("ENGINE_NOT_USED", "another engine"),) if without else ()

        monkeypatch.setattr(predict, "open_session", open_session)
        return predict.predict(package(*stages), image(noise() if array is None else array, 3.0), options)

    return run


def codes(prediction):
    return [note.code for note in prediction.notes]


def test_a_known_network_gives_the_thresholded_image(run):
    array = noise()
    found = run(lambda *_: FakeSession(threshold), array, (EXACT,))
    assert (found.labels == np.where(array > 1, 2, np.where(array > 0, 1, 0))).all()
    assert found.labels.dtype == np.uint8
    assert found.probabilities is None
    assert found.notes == ()


def test_the_run_says_what_computed(run):
    one = stage(weights=(Weights("0"), Weights("3")))
    options = replace(PLAIN, mirroring=True)
    found = run(lambda *_: FakeSession(threshold, threshold), stages=(one,), options=options).run
    assert (found.package, found.digest, found.engine) == ("fake@1.0.0", "1" * 64, "fake 1.0")
    assert (found.device, found.precision, found.folds) == ("cpu", "single", ("0", "3"))
    assert found.mirrored_axes == (0, 1, 2)
    assert (found.tiles, found.tiles_skipped, found.batch) == (3 * 4 * 4, 0, 1)
    assert set(found.times_s) == {"load", "prepare", "network", "accumulate", "finish"}
    assert all(seconds >= 0 for seconds in found.times_s.values())


def test_a_later_stage_gets_the_labels_of_the_former(run):
    low, full = EXACT, replace(stage(classes=2), name="second", channels_in=3)
    seen = []

    def open_(stage, options, without):
        if stage.name == "second":
            return FakeSession(lambda tiles: (seen.append(tiles.clone()), tiles[:, [0, 1]])[1])
        return FakeSession(threshold)

    array = np.full((16, 16, 16), 0.5)
    array[:8] = 2.0
    run(open_, array, (low, full), replace(PLAIN, labels=(1,)))
    (tile,) = seen
    assert tile[0, 1, 8:].eq(1).all()
    assert tile[0, 2, :8].eq(1).all(), "labels that are not asked for count for the next stage all the same"


def test_every_study_runs_in_the_same_thread(run):
    seen = set()

    def look(tiles):
        seen.add(threading.get_ident())
        return threshold(tiles)

    for _ in range(2):
        study = threading.Thread(target=lambda: run(lambda *_: FakeSession(look)))
        study.start()
        study.join()
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_an_empty_result_is_said(run):
    found = run(lambda *_: FakeSession(threshold), np.full((20, 20, 20), -1.0))
    assert not found.labels.any()
    assert codes(found) == ["MODEL_FOUND_NOTHING"]
    assert "fake@1.0.0" in found.notes[0].sentence


def test_a_gpu_that_vanishes_does_not_lose_the_study(run):
    calls = []

    def vanishing(tiles):
        calls.append(1)
        if len(calls) == 20:
            raise DeviceLostError("CUDA error: unspecified launch failure")
        return threshold(tiles)

    opened = []

    def open_(stage, options, without):
        opened.append(without)
        return FakeSession(threshold) if without else FakeSession(vanishing, gpu="Fake GPU", precision="half")

    found = run(open_)
    assert opened == [frozenset(), {"cuda"}]
    assert (found.labels == run(lambda *_: FakeSession(threshold)).labels).all()
    assert codes(found) == ["DEVICE_FELL_BACK", "ENGINE_NOT_USED"]
    assert found.run.device == "cpu"


def test_a_gpu_that_vanished_is_not_tried_for_the_next_stage(run):
    opened = []

    def lost(tiles):
        raise DeviceLostError("gone")

    def open_(stage, options, without):
        opened.append((stage.name, without))
        if not without:
            return FakeSession(lost, gpu="Fake GPU")
        return FakeSession(threshold if stage.name == "fullres" else lambda tiles: tiles)

    run(open_, stages=(stage(), replace(stage(), name="second", channels_in=3)))
    gone = frozenset({"cuda"})
    assert opened == [("fullres", frozenset()), ("fullres", gone), ("second", gone)]


def test_memory_that_runs_out_halves_the_batch(run, monkeypatch):
    monkeypatch.setattr(fit, "batch_for", lambda *_: 4)

    def short(tiles):
        if len(tiles) > 1:
            raise OutOfMemoryError("no")
        return threshold(tiles)

    found = run(lambda *_: FakeSession(short))
    assert codes(found) == ["NETWORK_BATCH_HALVED"] * 2
    assert found.run.batch == 1
    assert (found.labels == run(lambda *_: FakeSession(threshold)).labels).all()


def test_a_gpu_without_memory_for_one_tile_leaves_the_study_to_the_cpu(run):
    def none_left(tiles):
        raise OutOfMemoryError("no")

    found = run(
        lambda stage, options, without: (
            FakeSession(threshold) if without else FakeSession(none_left, gpu="Fake GPU")
        )
    )
    assert codes(found) == ["DEVICE_FELL_BACK", "ENGINE_NOT_USED"]
    assert found.labels.any()


def test_a_cpu_without_memory_takes_the_packages_smaller_tile(run):
    def short(tiles):
        if tiles.shape[-1] > 12:
            raise OutOfMemoryError("no")
        return threshold(tiles)

    one = stage(tile=Tile((16, 16, 16), smaller=((12, 12, 12), (8, 8, 8))))
    found = run(lambda *_: FakeSession(short), stages=(one,))
    assert codes(found) == ["NETWORK_TILE_REDUCED"]
    assert found.labels.any()


def test_too_little_free_memory_takes_a_smaller_tile_before_anything_is_run(run, monkeypatch):
    one = stage(tile=Tile((16, 16, 16), smaller=((8, 8, 8),)))
    session = FakeSession(threshold)
    monkeypatch.setattr(fit, "free_bytes", lambda device, limit: 2_500_000)
    found = run(lambda *_: session, stages=(one,))
    assert codes(found) == ["NETWORK_TILE_REDUCED"]
    assert found.run.tiles == 7 * 9 * 8


def test_too_little_free_memory_is_refused_with_what_is_needed(run, monkeypatch):
    monkeypatch.setattr(fit, "free_bytes", lambda device, limit: 100_000)
    with pytest.raises(SegmentationRefusal, match="NOT_ENOUGH_MEMORY") as refused:
        run(lambda *_: FakeSession(threshold))
    assert "0.0 GB are free" in refused.value.sentence


def test_probabilities_that_do_not_fit_are_refused_before_anything_is_run(run, monkeypatch):
    monkeypatch.setattr(fit, "free_bytes", lambda device, limit: 12_000_000)
    session = FakeSession(threshold)
    array = np.zeros((100, 200, 100))
    with pytest.raises(SegmentationRefusal, match="NOT_ENOUGH_MEMORY"):
        run(lambda *_: session, array, options=replace(PLAIN, probabilities=True))
    assert session.calls == []


def test_values_that_are_not_numbers_are_refused_by_name(run):
    def nothing(tiles):
        return threshold(tiles) * torch.nan

    opened = []
    with pytest.raises(SegmentationRefusal, match="MODEL_OUTPUT_NOT_FINITE"):
        run(lambda stage, options, _: (opened.append(options.precision), FakeSession(nothing))[1])
    assert opened == [Precision.AUTO, Precision.AUTO]


def test_half_precision_that_overflows_is_run_again_in_single(run):
    def overflowing(tiles):
        return threshold(tiles) * torch.inf

    def open_(stage, options, without):
        single = options.precision is Precision.SINGLE
        return FakeSession(threshold) if single else FakeSession(overflowing, precision="half")

    found = run(open_)
    assert codes(found) == ["NETWORK_SUMS_IN_SINGLE", "NETWORK_RUN_IN_SINGLE"]
    assert found.run.precision == "single"
    assert found.labels.any()


def test_large_logits_are_summed_in_single(run):
    found = run(lambda *_: FakeSession(lambda tiles: threshold(tiles) * 1e5))
    assert codes(found) == ["NETWORK_SUMS_IN_SINGLE"]
    assert (found.labels == run(lambda *_: FakeSession(threshold)).labels).mean() > 0.995


def test_an_engine_that_fails_is_a_refusal(run):
    def broken(tiles):
        raise EngineError("the graph is broken")

    with pytest.raises(SegmentationRefusal, match="ENGINE_FAILED") as refused:
        run(lambda *_: FakeSession(broken))
    assert "the graph is broken" in refused.value.sentence


def test_probabilities_come_with_labels(run):
    found = run(lambda *_: FakeSession(threshold), options=replace(PLAIN, probabilities=True))
    assert found.probabilities.shape == (3, 30, 40, 36)
    assert (found.probabilities.argmax(0) == found.labels).mean() > 0.999


def test_air_is_skipped_and_counted(run):
    array = np.full((24, 128, 128), -1000.0)
    array[:, 20:44, 20:44] = array[:, 90:110, 90:110] = 40.0
    tile = Tile((16, 16, 16), weighting=Weighting.CONSTANT)
    session = FakeSession(lambda tiles: torch.cat([tiles * 0, tiles / 100], 1))
    every = run(lambda *_: session, array, (stage(classes=2, tile=tile),))
    some = run(lambda *_: session, array, (stage(classes=2, tile=tile),), Options())
    assert some.run.tiles < every.run.tiles / 2
    assert some.run.tiles_skipped > 0
    assert (some.labels == every.labels).all()
    assert some.labels.sum() == 24 * (24**2 + 20**2)


def test_the_probability_of_some_labels_is_one_map(run):
    array = noise()
    exp = np.exp(np.stack([array * 0, array, 2 * array - 1]))
    found = run(lambda *_: FakeSession(threshold), array, (EXACT,), replace(PLAIN, probability_of=(1, 2)))
    assert found.probabilities is None
    assert np.abs(found.probability - exp[1:].sum(0) / exp.sum(0)).max() <= 1e-3
    assert run(lambda *_: FakeSession(threshold), array, (EXACT,)).probability is None


def test_air_that_is_not_looked_at_has_no_probability(run):
    array = np.full((24, 128, 128), -1000.0)
    array[:, 20:44, 20:44] = array[:, 90:110, 90:110] = 40.0
    tile = Tile((16, 16, 16), weighting=Weighting.CONSTANT)
    session = FakeSession(lambda tiles: torch.cat([tiles * 0, tiles * 0 + 1], 1))
    options = Options(probability_of=(1,))
    found = run(lambda *_: session, array, (stage(classes=2, tile=tile),), options)
    assert found.run.tiles_skipped > 0
    assert found.probability[:, 20:44, 20:44] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-3)
    assert not found.probability[:, 95:105, 25:35].any()  # a tile left out
    assert not found.probability[:, :5].any()  # cropped away
