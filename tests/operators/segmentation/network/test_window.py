from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing.reductions import StorageWeakRef

from operators.errors import SegmentationRefusal
from operators.segmentation.engines.session import OutOfMemoryError
from operators.segmentation.network.ring import NotFiniteError, Ring, ring_bytes
from operators.segmentation.network.tiles import plan_tiles, tile_weights
from operators.segmentation.network.window import Progress, Sums, Window, _Stopwatch, background_logits
from operators.segmentation.package.types import Activation, Layout, Tile, Weighting
from tests.operators.segmentation.network.fakes import FakeSession, convolution, outline, stage

CPU = torch.device("cpu")
HALF = Sums(torch.float16, True, CPU)
SINGLE = Sums(torch.float32, True, CPU)


@torch.inference_mode()
def slide(image, session, stage, sums=HALF, batch=1, mirrored=(), body=None, progress=None):
    """The window's slabs put together, (class, z, y, x)."""
    plan = plan_tiles(tuple(image.shape[1:]), stage.tile, body=None if body is None else outline(body))
    window = Window(session, stage, stage.tile, plan, sums, mirrored)
    whole = torch.full((stage.channels_out, *image.shape[1:]), torch.nan, dtype=sums.dtype)
    expected_first = 0
    for slab in window.slide(image, progress or Progress(batch)):
        assert slab.first == expected_first
        expected_first += len(slab.logits)
        whole[:, slab.first : expected_first] = slab.logits.transpose(0, 1)
    assert expected_first == image.shape[1]
    return whole


def nnunet(image, networks, size, mirrored=None):
    """nnU-Net's own logits."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=mirrored is not None,
        perform_everything_on_device=False,
        device=CPU,
        verbose=False,
        allow_tqdm=False,
    )
    predictor.network = networks[0]
    # its parameters are copies: the network that it loads them into is one of ours
    predictor.list_of_parameters = [
        {name: value.clone() for name, value in network.state_dict().items()} for network in networks
    ]
    predictor.allowed_mirroring_axes = mirrored
    predictor.configuration_manager = SimpleNamespace(patch_size=size)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=networks[0][-1].out_channels)
    logits = predictor.predict_logits_from_preprocessed_data(image)
    networks[0].load_state_dict(predictor.list_of_parameters[0])
    return logits


@pytest.mark.parametrize(
    ("shape", "mirrored"),
    [((40, 37, 25), None), ((20, 17, 25), (0, 1, 2)), ((11, 40, 16), (1,)), ((16, 16, 16), None)],
)
def test_half_sums_are_bit_for_bit_those_of_nnunet(shape, mirrored):
    torch.manual_seed(1)
    image, network = torch.randn(1, *shape), convolution(1, 5)
    expected = nnunet(image, [network], (16, 16, 16), mirrored)
    found = slide(image, FakeSession(network), stage(classes=5), mirrored=mirrored or ())
    assert expected.dtype == torch.float16
    assert torch.equal(found, expected)


def test_folds_are_averaged_as_nnunet_averages_them():
    torch.manual_seed(1)
    image = torch.randn(1, 30, 33, 20)
    networks = [convolution(1, 4, seed) for seed in range(3)]
    expected = nnunet(image, networks, (16, 16, 16))
    found = slide(image, FakeSession(*networks), stage(classes=4))
    assert torch.equal(found, expected)


def test_folds_averaged_by_tile_differ_by_rounding_only():
    torch.manual_seed(1)
    image = torch.randn(1, 30, 33, 20)
    session = FakeSession(*[convolution(1, 4, seed) for seed in range(3)])
    apart = slide(image, session, stage(classes=4))
    together = slide(image, session, stage(classes=4), Sums(torch.float16, False, CPU), batch=2)
    # at the image's corners weights are so small that half precision has few digits, in nnU-Net as here
    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(together[inner], apart[inner], atol=2e-3, rtol=2e-3)


def test_a_2d_network_slides_as_nnunets():
    torch.manual_seed(1)
    image = torch.randn(1, 7, 20, 37)
    flat = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, padding=1)).eval()
    expected = nnunet(image, [flat], (16, 16), (0, 1))
    session = FakeSession(lambda tiles: flat(tiles[:, :, 0])[:, :, None])
    for batch in (1, 4, 50):
        found = slide(image, session, stage((1, 16, 16)), batch=batch, mirrored=(1, 2))
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert torch.equal(slide(image, session, stage((1, 16, 16)), mirrored=(1, 2)), expected)


def test_single_sums_are_those_of_monai():
    from monai.inferers import SlidingWindowInferer

    torch.manual_seed(1)
    image, network = torch.randn(1, 30, 41, 22), convolution(1, 4)
    tile = Tile((16, 20, 24), 1 - 0.6, Layout.DENSE, Weighting.MONAI_GAUSSIAN)
    with torch.inference_mode():
        expected = SlidingWindowInferer((16, 20, 24), 1, 0.6, "gaussian")(image[None], network)[0]
    found = slide(image, FakeSession(network), stage(tile.size, 4, tile=tile), SINGLE)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-6)


@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    size=st.tuples(*[st.integers(2, 12)] * 3),
    step=st.sampled_from([0.3, 0.5, 1.0]),
    layout=st.sampled_from(Layout),
    weighting=st.sampled_from(Weighting),
    batch=st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_the_identity_network_gives_the_image_back(shape, size, step, layout, weighting, batch):
    image = torch.rand(1, *shape)
    session = FakeSession(lambda tiles: torch.cat([tiles, -tiles], 1))
    tile = Tile(size, step, layout, weighting)
    found = slide(image, session, stage(size, 2, tile=tile), SINGLE, batch)
    torch.testing.assert_close(found, torch.cat([image, -image]), atol=2e-3, rtol=1e-3)


@given(shape=st.tuples(*[st.integers(3, 28)] * 3), step=st.sampled_from([0.5, 0.8]), batch=st.integers(1, 6))
@settings(max_examples=12, deadline=None)
def test_the_ring_equals_sums_over_the_whole_volume(shape, step, batch):
    image, network, tile = torch.randn(1, *shape), convolution(1, 3), Tile((12, 8, 10), step)
    plan = plan_tiles(shape, tile)
    weights = tile_weights(tile).double()
    padded = torch.nn.functional.pad(
        image,
        [
            w
            for b, n, m in reversed([*zip(plan.before, plan.shape, shape, strict=True)])
            for w in (b, n - m - b)
        ],
    )
    sums, counts = (
        torch.zeros(3, *plan.shape, dtype=torch.double),
        torch.zeros(plan.shape, dtype=torch.double),
    )
    with torch.inference_mode():
        for z, y, x in plan.starts:
            place = (..., slice(z, z + 12), slice(y, y + 8), slice(x, x + 10))
            sums[place] += network(padded[place][None])[0] * weights
            counts[place] += weights
    inside = (..., *(slice(b, b + n) for b, n in zip(plan.before, shape, strict=True)))
    expected = (sums / counts)[inside]
    found = slide(image, FakeSession(network), stage(tile.size, tile=tile), SINGLE, batch)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)
    halved = slide(image, FakeSession(network), stage(tile.size, tile=tile), HALF, batch)
    well = (counts[inside] > 0.1).expand_as(expected)
    torch.testing.assert_close(halved.double()[well], expected[well], atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("activation", Activation)
def test_voxels_without_a_tile_are_background(activation):
    body = torch.zeros(64, 16, 16, dtype=torch.bool)
    body[0, 0, 0] = body[63, 0, 0] = True
    one = stage(tile=Tile((16, 16, 16), 1.0), activation=activation)
    session = FakeSession(lambda tiles: tiles.expand(-1, 3, -1, -1, -1) * 0 + 1)
    found = slide(torch.zeros(1, 64, 16, 16), session, one, body=body)
    assert len(session.calls) == 2
    assert found[:, :16].unique().tolist() == found[:, 48:].unique().tolist() == [1.0]
    between = found[:, 16:48, 5, 5].unique(dim=1).flatten()
    assert torch.equal(between, background_logits(one).half())
    if activation is Activation.SOFTMAX:
        assert between.float().softmax(0).tolist() == pytest.approx([1, 0, 0], abs=1e-9)
    else:
        assert between.float().sigmoid().tolist() == pytest.approx([0, 0, 0], abs=1e-9)


def test_running_out_of_memory_halves_the_batch_and_loses_nothing():
    network = convolution(1, 3)
    image = torch.randn(1, 16, 40, 40)

    def short_of_memory(tiles):
        if len(tiles) > 2:
            raise OutOfMemoryError("no")
        return network(tiles)

    progress = Progress(9)
    session = FakeSession(short_of_memory)
    found = slide(image, session, stage(), progress=progress)
    # a layer of sixteen tiles; batches are powers of two
    assert [batch for _, batch in session.calls] == [8, 4, *[2] * 8]
    assert progress.batch == 2
    assert [note.code for note in progress.notes] == ["NETWORK_BATCH_HALVED"] * 2
    assert torch.equal(found, slide(image, FakeSession(network), stage(), batch=2))


def test_time_on_a_gpu_is_that_between_its_events(monkeypatch):
    clock = iter([1000.0, 1250.0, 5000.0, 5250.0])

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(clock)

        def elapsed_time(self, end):
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = _Stopwatch(torch.device("cuda"))
    for _ in range(2):
        with watch:
            pass
    assert watch.seconds() == 0.5


def test_the_next_batch_finds_the_memory_of_the_one_before_free():
    network, given = convolution(1, 3), []

    def counted(tiles):
        assert all(storage.expired() for storage in given)
        logits = network(tiles)
        given.append(StorageWeakRef(logits.untyped_storage()))
        return logits

    slide(torch.randn(1, 16, 40, 40), FakeSession(counted), stage(), batch=4)
    assert len(given) == 4


def test_running_out_of_memory_with_one_tile_is_raised():
    def none_left(tiles):
        raise OutOfMemoryError("no")

    with pytest.raises(OutOfMemoryError):
        slide(torch.randn(1, 16, 16, 16), FakeSession(none_left), stage())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("sums", [HALF, SINGLE])
def test_one_value_that_is_no_number_is_noticed(value, sums):
    def broken(tiles):
        logits = tiles.repeat(1, 3, 1, 1, 1)
        logits[0, 1, 3, 4, 5] = value
        return logits

    with pytest.raises(NotFiniteError):
        slide(torch.randn(1, 40, 20, 20), FakeSession(broken), stage(), sums)


def test_logits_too_large_for_half_sums_are_noticed_and_single_holds_them():
    session = FakeSession(lambda tiles: tiles.repeat(1, 3, 1, 1, 1) + 7000.0)
    image = torch.zeros(1, 20, 20, 20)
    with pytest.raises(NotFiniteError):
        slide(image, session, stage())
    torch.testing.assert_close(slide(image, session, stage(), SINGLE), torch.full((3, 20, 20, 20), 7000.0))


def test_an_output_of_another_shape_is_refused():
    with pytest.raises(SegmentationRefusal, match="MODEL_OUTPUT_WRONG") as refused:
        slide(torch.zeros(1, 16, 16, 16), FakeSession(lambda tiles: tiles), stage())
    assert "(1, 1, 16, 16, 16)" in refused.value.sentence


def test_a_ring_that_does_not_fit_is_out_of_memory():
    plan = plan_tiles((128, 30000, 30000), Tile((128, 128, 128)))
    with pytest.raises(OutOfMemoryError):
        Ring(plan, 128, 100000, 1, torch.ones(128, 128, 128), torch.zeros(100000), torch.float32, CPU)


def test_the_ring_is_as_deep_as_a_tile():
    plan = plan_tiles((1000, 300, 300), Tile((128, 128, 128)))
    assert ring_bytes(plan, 128, 118, 1, torch.float16) == 128 * 300 * 300 * 119 * 2
