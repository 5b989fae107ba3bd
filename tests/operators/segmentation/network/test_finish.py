import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from operators.errors import SegmentationRefusal
from operators.segmentation.network import finish as finishing
from operators.segmentation.network.decide import Decision
from operators.segmentation.network.finish import finish
from operators.segmentation.network.ring import Slab
from operators.segmentation.network.types import Way
from operators.segmentation.package.types import Activation, Interpolation, Resampled, Resampling
from tests.operators.segmentation.network.fakes import LINEAR, stage, way

TORCH = Resampling(Interpolation.LINEAR)


def smooth(classes, shape, seed=0, dtype=torch.float16):
    """Logits with connected regions, (class, z, y, x)."""
    noise = np.random.default_rng(seed).standard_normal((classes, *shape))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 2, 2, 2)) * 20).to(dtype)


def slabs(logits, depth=3):
    """The logits in slabs whose memory is used anew, as the ring's is."""
    for first in range(0, logits.shape[1], depth):
        slab = logits[:, first : first + depth].transpose(0, 1).contiguous()
        yield Slab(first, slab)
        slab.fill_(torch.nan)


def nnunet(logits, shape, spacing=(1, 1, 1), new_spacing=(1, 1, 1), separate=False):
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    return resample_data_or_seg_to_shape(
        logits.clone(), shape, spacing, new_spacing, False, 1, 0, force_separate_z=separate
    )


@given(
    network=st.tuples(*[st.integers(2, 14)] * 3),
    image=st.tuples(*[st.integers(1, 24)] * 3),
    classes=st.integers(2, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_labels_are_those_of_nnunets_resampled_logits(network, image, classes, seed):
    logits = smooth(classes, network, seed)
    expected = nnunet(logits, image).argmax(0)
    found = finish(slabs(logits), stage(classes=classes), way(network, image)).labels
    assert found.dtype == np.uint8
    # double against single precision before both are rounded to half: a tie may fall to the other side
    assert (found != expected).mean() <= 0.005


@pytest.mark.parametrize("classes", [3, 60])
def test_labels_of_a_larger_image_are_those_of_nnunet(classes):
    logits = smooth(classes, (20, 40, 44))
    expected = nnunet(logits, (31, 66, 60)).argmax(0)
    found = finish(slabs(logits), stage(classes=classes), way((20, 40, 44), (31, 66, 60))).labels
    assert len(np.unique(found)) == classes
    assert (found != expected).mean() <= 1e-4


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("resampling", [LINEAR, TORCH, Resampling(Interpolation.WORLD_LINEAR)])
def test_single_voxels_and_whole_planes_are_interpolated_alike(activation, resampling, monkeypatch):
    logits = smooth(4, (12, 30, 28))
    one = stage(classes=4, activation=activation, channel_labels=(0, 1, 2, 3), output_resampling=resampling)
    there = way((12, 30, 28), (19, 41, 45), image_mm=(0.6, 0.7, 0.6))
    monkeypatch.setattr(finishing, "_DENSE_ABOVE", 2.0)
    sparse = finish(slabs(logits), one, there).labels
    monkeypatch.setattr(finishing, "_DENSE_ABOVE", -1.0)
    monkeypatch.setattr(finishing, "_BLOCK", 4 * 45 * 7)
    whole = finish(slabs(logits), one, there).labels
    assert (sparse != whole).mean() <= 1e-4
    monkeypatch.setattr(finishing._Writer, "needs_keys", lambda *_: False)  # as on a GPU
    assert (finish(slabs(logits), one, there).labels == whole).all()


def test_regions_are_thresholded_and_later_ones_win():
    logits = smooth(4, (20, 40, 44))
    resampled = nnunet(logits, (31, 66, 60))
    expected = np.zeros((31, 66, 60))
    for channel, label in enumerate((3, 1, 2, 7)):
        expected[torch.from_numpy(resampled[channel]).float().sigmoid().numpy() > 0.5] = label
    one = stage(classes=4, activation=Activation.SIGMOID, channel_labels=(3, 1, 2, 7))
    found = finish(slabs(logits), one, way((20, 40, 44), (31, 66, 60))).labels
    assert (found != expected).mean() <= 1e-4


def test_planes_are_resampled_apart_where_the_spacing_is_coarse():
    spacing, image_mm = (5.0, 1.0, 1.0), (4.0, 0.7, 0.7)
    logits = smooth(4, (9, 30, 30))
    expected = nnunet(logits, (11, 43, 43), spacing, image_mm, separate=None).argmax(0)
    one = stage(classes=4, output_resampling=Resampling(Interpolation.SPLINE, 1, 0, None))
    found = finish(slabs(logits), one, way((9, 30, 30), (11, 43, 43), spacing, image_mm)).labels
    assert (found != expected).mean() <= 1e-4


def test_torch_resampling_is_not_rounded_to_half():
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    logits = smooth(3, (12, 20, 20))
    expected = resample_torch_fornnunet(logits.clone(), (19, 33, 28), (1, 1, 1), (1, 1, 1)).argmax(0)
    one = stage(output_resampling=TORCH)
    found = finish(slabs(logits), one, way((12, 20, 20), (19, 33, 28))).labels
    assert (found != expected.numpy()).mean() <= 1e-4


def test_probabilities_are_those_of_nnunet_and_labels_stay():
    logits = smooth(3, (12, 20, 20))
    expected = torch.from_numpy(nnunet(logits, (19, 33, 28))).float().softmax(0).numpy()
    there = way((12, 20, 20), (19, 33, 28))
    alone = finish(slabs(logits), stage(), there).labels
    found = finish(slabs(logits), stage(), there, probabilities=True)
    assert found.probabilities.dtype == np.float16
    assert np.abs(found.probabilities - expected).max() <= 1e-3
    assert (found.labels == alone).mean() >= 0.9999


def test_interpolated_probabilities_decide_where_the_package_says_so():
    logits = smooth(3, (12, 20, 20), dtype=torch.float32)
    there = way((12, 20, 20), (19, 33, 28), (1.5, 1.6, 1.4), (0.9, 1.0, 1.0))
    one = stage(resampled=Resampled.PROBABILITIES, output_resampling=Resampling(Interpolation.WORLD_LINEAR))
    places = np.meshgrid(
        *(np.arange(n) * step for n, step in zip((19, 33, 28), (0.6, 1 / 1.6, 1 / 1.4), strict=True)),
        indexing="ij",
    )
    expected = np.stack(
        [
            ndimage.map_coordinates(p, places, order=1, mode="nearest")
            for p in logits.double().softmax(0).numpy()
        ]
    )
    found = finish(slabs(logits), one, there, probabilities=True)
    assert np.abs(found.probabilities - expected).max() <= 1e-3
    assert (finish(slabs(logits), one, there).labels != expected.argmax(0)).mean() <= 1e-4


@pytest.mark.parametrize("interpolation", [Interpolation.SPLINE, Interpolation.WORLD_LINEAR])
def test_labels_are_copied_from_the_nearest_voxel_where_the_package_says_so(interpolation, monkeypatch):
    logits = smooth(3, (10, 10, 10))
    one = stage(resampled=Resampled.LABELS, output_resampling=Resampling(interpolation, 1))
    there = way((10, 10, 10), (20, 20, 20), image_mm=(0.5, 0.5, 0.5))
    found = finish(slabs(logits), one, there).labels
    index = (
        (np.arange(20) // 2)
        if interpolation is Interpolation.SPLINE
        else np.rint(np.arange(20) / 2).clip(0, 9)
    )
    index = index.astype(int)
    expected = logits.numpy().argmax(0)[np.ix_(index, index, index)]
    assert (found == expected).all()
    monkeypatch.setattr(finishing._Writer, "needs_keys", lambda *_: False)  # as on a GPU
    assert (finish(slabs(logits), one, there).labels == expected).all()


def test_the_label_map_goes_back_through_crop_transposition_and_flips():
    logits = smooth(3, (6, 8, 10))
    back = Way(
        image_shape=(12, 7, 9),
        axes=(1, 2, 0),
        flipped=(True, False, True),
        box=(slice(1, 7), slice(0, 8), slice(2, 12)),
        cropped_shape=(6, 8, 10),
        cropped_spacing_mm=(1, 1, 1),
        network_shape=(6, 8, 10),
        network_spacing_mm=(1, 1, 1),
    )
    found = finish(slabs(logits), stage(), back, probabilities=True)
    frame = np.zeros((7, 9, 12), int)
    frame[1:7, 0:8, 2:12] = logits.numpy().argmax(0)
    expected = frame[::-1, :, ::-1].transpose(2, 0, 1)
    assert (found.labels == expected).all()
    outside = np.ones((12, 7, 9), bool)
    outside[frame[::-1, :, ::-1].transpose(2, 0, 1) > 0] = False
    assert found.probabilities[0][outside].min() > 1 / 3
    assert found.probabilities.sum(0, dtype=np.float32) == pytest.approx(1, abs=2e-3)
    assert found.labels.shape == (12, 7, 9)


def test_probabilities_outside_the_crop_are_background():
    back = Way(
        (4, 4, 4), (0, 1, 2), (False,) * 3, (slice(1, 3),) * 3, (2, 2, 2), (1,) * 3, (2, 2, 2), (1,) * 3
    )
    logits = torch.zeros(2, 2, 2, 2, dtype=torch.float16)
    softmax = finish(slabs(logits), stage(classes=2), back, probabilities=True).probabilities
    assert softmax[:, 0, 0, 0].tolist() == [1, 0]
    assert softmax[:, 1, 1, 1].tolist() == [0.5, 0.5]
    sigmoid = stage(classes=2, activation=Activation.SIGMOID, channel_labels=(1, 2))
    found = finish(slabs(logits), sigmoid, back, probabilities=True).probabilities
    assert found[:, 0, 0, 0].tolist() == [0, 0]


def test_labels_not_asked_for_become_background():
    logits = smooth(4, (10, 12, 14))
    there = way((10, 12, 14), (13, 20, 20))
    every = finish(slabs(logits), stage(classes=4), there).labels
    some = finish(slabs(logits), stage(classes=4), there, labels=(1, 3)).labels
    assert set(np.unique(every)) == {0, 1, 2, 3}
    assert (some == np.where(every == 2, 0, every)).all()


def test_more_than_255_labels_take_two_bytes():
    logits = torch.zeros(2, 3, 3, 3)
    logits[1] = 1
    one = stage(classes=2, channel_labels=(0, 300))
    found = finish(slabs(logits), one, way((3, 3, 3))).labels
    assert found.dtype == np.uint16
    assert np.unique(found).tolist() == [300]


def test_outputs_with_higher_splines_are_refused():
    one = stage(output_resampling=Resampling(Interpolation.SPLINE, 3, 0, False))
    with pytest.raises(SegmentationRefusal, match="OUTPUT_RESAMPLING_UNSUPPORTED"):
        finish(slabs(smooth(3, (4, 4, 4))), one, way((4, 4, 4), (5, 5, 5)))


def test_the_first_of_equal_channels_wins():
    decision = Decision(stage(classes=4), None)
    values = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0], [0.0, 3.0, 2.0], [-1.0, 0.0, 2.0]]).half()
    assert decision.keys(values).tolist() == [0, 1, 0]


@pytest.mark.parametrize("activation", Activation)
def test_keys_are_the_same_on_a_gpu(activation, monkeypatch):
    """Both ways are taken on the CPU: the GPU's is the one for any other device."""
    decision = Decision(stage(classes=5, activation=activation), None)
    values = smooth(5, (6, 7, 8), dtype=torch.float32)
    expected = decision.keys(values)

    class Elsewhere:
        type = "cuda"

    class Pretending(torch.Tensor):
        device = Elsewhere()

    with monkeypatch.context() as patched:
        arange = torch.arange

        def on_the_cpu(*arguments, device, **options):
            return arange(*arguments, **options)

        patched.setattr(torch, "arange", on_the_cpu)
        found = decision.keys(values.as_subclass(Pretending))
    assert found.as_subclass(torch.Tensor).tolist() == expected.tolist()


# ---- the summed probability of some labels -------------------------------------------------------


@given(
    network=st.tuples(*[st.integers(2, 12)] * 3),
    image=st.tuples(*[st.integers(1, 20)] * 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_summed_probability_is_the_interpolated_softmax(network, image, seed):
    logits = smooth(5, network, seed)
    one = stage(classes=5, channel_labels=(0, 3, 1, 3, 2))
    probability = logits.float().softmax(0)[[1, 3, 4]].sum(0)
    expected = torch.nn.functional.interpolate(probability[None, None], image, mode="trilinear")[0, 0]
    found = finish(slabs(logits), one, way(network, image), probability_of=(3, 2))
    assert (found.probability.dtype, found.probabilities) == (np.float16, None)
    assert np.abs(found.probability - expected.numpy()).max() <= 1e-3
    assert (found.labels == finish(slabs(logits), one, way(network, image)).labels).all()


@pytest.mark.parametrize("resampled", [Resampled.LOGITS, Resampled.PROBABILITIES, Resampled.LABELS])
def test_summed_probability_is_that_of_all_channels_where_nothing_is_between(resampled):
    logits = smooth(4, (6, 9, 8))
    there = way((6, 9, 8))
    one = stage(classes=4, resampled=resampled)
    every = finish(slabs(logits), one, there, probabilities=True).probabilities.astype(np.float32)
    found = finish(slabs(logits), one, there, probabilities=True, probability_of=(1, 3))
    assert np.abs(found.probability - every[[1, 3]].sum(0)).max() <= 2e-3


def test_regions_that_overlap_do_not_add_up():
    logits = torch.zeros(2, 3, 4, 4) + torch.tensor([2.0, 1.0]).view(2, 1, 1, 1)
    one = stage(classes=2, activation=Activation.SIGMOID, channel_labels=(1, 2))
    found = finish(slabs(logits), one, way((3, 4, 4)), probability_of=(1, 2)).probability
    assert found == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-3)


def test_summed_probability_is_zero_where_the_image_was_cropped_away_and_turned_back():
    logits = smooth(3, (4, 6, 5))
    there = Way((9, 5, 7), (1, 2, 0), (True, False, False), (slice(0, 4), slice(1, 7), slice(2, 7)),
                (4, 6, 5), (1.0, 1.0, 1.0), (4, 6, 5), (1.0, 1.0, 1.0))  # fmt: skip
    expected = np.zeros((5, 7, 9), np.float32)  # the network's frame, uncropped
    expected[there.box] = logits.float().softmax(0)[2].numpy()
    expected = np.flip(expected, 0).transpose(2, 0, 1)
    found = finish(slabs(logits), stage(), there, probability_of=(2,)).probability
    assert found.shape == (9, 5, 7)
    assert np.abs(found - expected).max() <= 1e-3
