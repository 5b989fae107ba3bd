"""Texture against the IBSI's consensus values, against numpy, and where it is absent."""

from __future__ import annotations

import csv

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts
from scipy import ndimage

from app.models.cases import read_volume
from operators.quantification import heterogeneity as module
from operators.quantification.heterogeneity import (
    BIN_SUV,
    FEATURES,
    extracted,
    heterogeneity,
    method,
    texture_of,
    too_small,
)
from operators.segmentation.network.grid import onto
from operators.study.load import load_cases
from operators.volume.build import build_pet

TAGS = [feature.tag for feature in FEATURES]


@pytest.fixture(scope="module")
def phantom(shared_data):
    """Features of the IBSI's digital phantom, and the consensus by tag."""
    from zrad.preprocessing import RoiData

    folder = shared_data / "ibsi1"
    levels = nibabel.load(folder / "digital_phantom" / "image" / "phantom.nii.gz").get_fdata().T
    inside = nibabel.load(folder / "digital_phantom" / "mask" / "mask.nii.gz").get_fdata().T > 0
    masked = module._image(np.where(inside, levels, np.nan), (2.0, 2.0, 2.0))
    found = extracted(
        RoiData(
            image=module._image(levels, (2.0, 2.0, 2.0)),
            morphological_mask=module._image(inside.astype(np.int8), (2.0, 2.0, 2.0)),
            intensity_mask=masked,
            texture_discretized_image=masked,
        )
    )
    with (folder / "ibsi_1_dig_phantom.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["tag"]: row for row in csv.DictReader(file, delimiter=";")}
    return found.features, rows


@pytest.mark.data
@pytest.mark.parametrize("tag", TAGS)
def test_agrees_with_the_ibsi_consensus(phantom, tag):
    features, consensus = phantom
    reference = consensus[tag]["reference value"]
    last_digit = 10.0 ** (int(f"{abs(float(reference)):e}".split("e")[1]) - 2)  # it is given to three digits
    tolerance = float(consensus[tag]["tolerance"]) + 0.5 * last_digit
    assert features[tag] == pytest.approx(float(reference), abs=tolerance)


@pytest.mark.parametrize("feature", FEATURES, ids=TAGS)
def test_codes_are_those_that_dicom_has_of_the_ibsi(feature):
    meanings = {code: meaning for each in concepts["IBSI"].values() for code, (meaning, _) in each.items()}
    assert feature.code.scheme == "IBSI"
    assert meanings[feature.code.value] == feature.code.meaning


def ball(radius=6, side=17):
    z, y, x = np.indices((side, side, side)) - side // 2
    return z * z + y * y + x * x <= radius * radius


def uneven(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    return 8.0 + 20.0 * noise


def test_on_voxels_of_3_mm_levels_are_half_suvs_from_zero():
    inside = ball()
    values = uneven(inside.shape)
    features = texture_of(values, inside.astype(float), (3.0, 3.0, 3.0)).features
    levels = np.floor(values / BIN_SUV)
    _, counts = np.unique(levels[inside], return_counts=True)
    part = counts / counts.sum()
    assert features["ih_entropy"] == pytest.approx(-(part * np.log2(part)).sum())
    differences = []
    for step in np.argwhere(np.ones((3, 3, 3))) - 1:
        if tuple(step) > (0, 0, 0):  # 13 directions
            here = tuple(slice(max(-d, 0), n - max(d, 0)) for d, n in zip(step, inside.shape, strict=True))
            there = tuple(slice(max(d, 0), n - max(-d, 0)) for d, n in zip(step, inside.shape, strict=True))
            both = inside[here] & inside[there]
            differences.append(np.abs(levels[here] - levels[there])[both])
    assert features["cm_dissimilarity_3D_comb"] == pytest.approx(np.concatenate(differences).mean())
    assert features["cm_inv_diff_3D_comb"] == pytest.approx((1 / (1 + np.concatenate(differences))).mean())


def test_the_order_of_the_axes_does_not_matter():
    inside = ball() & (np.arange(17)[:, None, None] < 11)
    values = uneven(inside.shape)
    spacing = (5.0, 3.0, 2.0)
    expected = texture_of(values, inside.astype(float), spacing).features
    for axes in ((2, 1, 0), (1, 2, 0)):
        turned = texture_of(
            values.transpose(axes).copy(),
            inside.transpose(axes).astype(float),
            tuple(spacing[axis] for axis in axes),
        )
        assert turned.features == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "reason"),
    [
        ((4, 4, 4), (5.4, 5.4, 5.4), None),  # 64 voxels, 10.08 ml
        ((3, 3, 7), (5.5, 5.5, 5.5), "it has 63 voxels, less than 64"),
        ((10, 10, 100), (1.0, 1.0, 1.0), None),  # 10 ml
        ((10, 10, 99), (1.0, 1.0, 1.0), "its volume is 9.90 ml, less than 10 ml"),
    ],
)
def test_small_lesions_have_none(make_volume, shape, spacing_mm, reason):
    pet = make_volume(np.ones(shape, np.int16), spacing_mm=spacing_mm)
    assert too_small(np.ones(shape, bool), pet.geometry) == reason


def test_a_lesion_is_described_by_its_box_and_the_voxels_round_it(make_volume):
    inside = ball()
    stored = np.round(uneven(inside.shape) * 100).astype(np.int16)
    (box,) = ndimage.find_objects(inside.astype(int))
    pet = make_volume(stored, spacing_mm=(4.0, 3.0, 3.0), scale=0.01)
    found = heterogeneity(pet, box, inside[box])
    assert found.absent is None
    assert list(found.features) == TAGS
    far = ~ndimage.binary_dilation(inside, np.ones((3, 3, 3)), iterations=2)
    elsewhere = make_volume(np.where(far, 30000, stored), spacing_mm=(4.0, 3.0, 3.0), scale=0.01)
    assert heterogeneity(elsewhere, box, inside[box]) == found


def test_a_lesion_at_the_border_of_the_volume_is_described(make_volume):
    inside = ball(8, 17)
    pet = make_volume(
        np.round(uneven(inside.shape) * 100).astype(np.int16), spacing_mm=(3.0, 3.0, 3.0), scale=0.01
    )
    assert set(heterogeneity(pet, (slice(0, 17),) * 3, inside).features) == set(TAGS)


@pytest.mark.parametrize(
    ("values", "region", "reason"),
    [
        (np.full((17, 17, 17), 8.1), ball(), "too even"),
        (uneven((17, 17, 17)), ball() & (np.arange(17)[:, None, None] == 8), "too thin"),
        (np.full((17, 17, 17), -1.0), ball(), "too even"),
        (uneven((17, 17, 17)) + 100.0, ball(), "its uptake exceeds SUV 100"),
    ],
)
def test_what_cannot_be_computed_is_absent_with_the_reason(values, region, reason):
    found = texture_of(values, region.astype(float), (3.0, 3.0, 3.0))
    assert found.features == {}
    assert reason in found.absent


@pytest.mark.parametrize(("top", "absent"), [(99.99, False), (100.0, True)])
def test_uptake_up_to_suv_100_has_bins(top, absent):
    values = uneven((17, 17, 17))
    values[8, 8, 8] = top
    assert (texture_of(values, ball().astype(float), (3.0, 3.0, 3.0)).absent is not None) is absent


def test_voxels_below_zero_are_left_out():
    inside = ball()
    values = uneven(inside.shape)
    some = np.random.default_rng(1).random(inside.shape) < 0.1
    without = texture_of(values, (inside & ~some).astype(float), (3.0, 3.0, 3.0))
    assert texture_of(np.where(some, -3.0, values), inside.astype(float), (3.0, 3.0, 3.0)) == without


def test_without_the_library_it_is_absent_and_said(make_volume, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    pet = make_volume(np.ones((10, 10, 10), np.int16), spacing_mm=(3.0, 3.0, 3.0))
    found = heterogeneity(pet, (slice(0, 10),) * 3, np.ones((10, 10, 10), bool))
    assert found.absent == "the library for it, Z-Rad, is not installed"


def test_the_method_says_library_version_and_settings():
    assert method().startswith("Z-Rad 2")
    assert "voxels of 3 mm" in method()
    assert "bins of 0.5 g/ml from SUV 0" in method()


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(*[st.integers(3, 12)] * 3),
    spacing=st.tuples(*[st.floats(1.0, 8.0)] * 3),
    density=st.sampled_from([0.02, 0.3, 1.0]),
    top=st.sampled_from([0.3, 5.0, 105.0]),
)
@settings(max_examples=60, deadline=None)
def test_any_region_has_all_features_finite_or_a_reason(seed, shape, spacing, density, top):
    rng = np.random.default_rng(seed)
    found = texture_of(rng.random(shape) * top, (rng.random(shape) < density).astype(float), spacing)
    assert (found.absent is None) == (list(found.features) == TAGS)
    assert np.isfinite(list(found.features.values())).all()


def agreement(one, other):
    """Intraclass correlation of single measurements, absolute agreement: ICC(2,1), Shrout and Fleiss 1979."""
    table = np.stack([one, other], axis=1)
    rows, columns, n = table.mean(axis=1), table.mean(axis=0), len(table)
    between = 2 * ((rows - table.mean()) ** 2).sum() / (n - 1)
    raters = n * ((columns - table.mean()) ** 2).sum()
    residual = ((table - rows[:, None] - columns + table.mean()) ** 2).sum() / (n - 1)
    return (between - residual) / (between + residual + 2 * (raters - residual) / n)


@pytest.mark.slow
@pytest.mark.data
def test_the_features_hold_on_38_sarcomas_outlined_moved_and_noisier(shared_data, unpacked, tmp_path, capsys):
    rng = np.random.default_rng(0)
    changed = {"as drawn": [], "eroded": [], "dilated": [], "noisier": [], "moved": [], "41 %": []}
    volumes = []
    for archive in sorted((shared_data / "sts").glob("STS_*.tar.xz")):
        name = archive.name.split(".")[0]
        (case,) = load_cases(unpacked(f"sts/{archive.name}"), tmp_path)
        pet, _, _ = build_pet(next(one for one in case.study.series if one.header.Modality == "PT"))
        mask = drawn(next(unpacked("sts_pet_masks.tar.xz").rglob(f"{name}.nii.gz")), pet.geometry)
        suv, spacing_mm, shift = pet.values(), pet.geometry.spacing_mm, (0.4, 0.3, 0.45)
        noise = ndimage.gaussian_filter(rng.normal(size=suv.shape), 1.0)
        moved = ndimage.shift(mask.astype(float), shift, order=1)
        for change, values, region in (
            ("as drawn", suv, mask),
            ("eroded", suv, ndimage.binary_erosion(mask)),
            ("dilated", suv, ndimage.binary_dilation(mask)),
            ("noisier", suv * (1 + 0.1 * noise / noise.std()), mask),
            ("moved", ndimage.shift(suv, shift, order=1, mode="nearest"), moved >= 0.5),
            ("41 %", suv, mask & (suv >= 0.41 * suv[mask].max())),
        ):
            changed[change].append(texture_of(values, region.astype(float), spacing_mm).features)
        volumes.append(np.count_nonzero(mask))
    assert len(volumes) == 38
    for tag in TAGS:
        value = {change: np.array([each[tag] for each in found]) for change, found in changed.items()}
        icc = {change: agreement(value["as drawn"], value[change]) for change in changed}
        by_volume = np.corrcoef(*(np.argsort(np.argsort(one)) for one in (value["as drawn"], volumes)))[0, 1]
        with capsys.disabled():
            print(f"\n{tag}: { ({k: round(float(v), 2) for k, v in icc.items()}) }, volume {by_volume:.2f}")
        assert min(icc[change] for change in ("eroded", "dilated", "noisier", "moved")) >= 0.9
        assert icc["41 %"] >= 0.65
        assert abs(by_volume) < 0.4


def drawn(path, geometry):
    """The largest part of a drawn mask, on the PET's grid."""
    from dataclasses import replace

    values, own = read_volume(path)
    own = replace(own, frame_of_reference_uid=geometry.frame_of_reference_uid)
    labels, _ = ndimage.label(onto((values > 0).astype(np.uint8), own, geometry))
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1
