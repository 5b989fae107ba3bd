"""From true uptake to a reconstructed PET: blurring, noise, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.shapes import Field
from models.petct_lesion.training.simulator.types import VOXEL_MM, Label, Tissue

FWHM_TO_SD = 2.3548


@dataclass(frozen=True, slots=True)
class Scanner:
    """How a PET was taken."""

    fwhm_mm: float
    """In plane, of the reconstructed image."""
    fwhm_z_mm: float
    noise: float
    """Relative standard deviation at SUV 1 in the middle of the body."""
    noise_grain: float
    """Width of the noise's correlation in units of the image's own."""
    edges: float
    """Overshoot of resolution modelling."""
    scale: float
    """Of the whole image."""


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Anything from a digital scanner to an old one in a hurry."""
    fwhm = float(rng.uniform(4.0, 9.0))
    return Scanner(
        fwhm_mm=fwhm,
        fwhm_z_mm=float(np.clip(fwhm * np.exp(rng.normal(0, 0.15)), 3.5, 11)),
        noise=float(np.clip(np.exp(rng.normal(np.log(0.135), 0.6)), 0.02, 0.35)),
        noise_grain=float(rng.uniform(0.75, 1.4)),
        edges=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.35 else 0.0,
        scale=float(np.clip(np.exp(rng.normal(0, 0.10)), 0.75, 1.3)),
    )


def blur(volume: Field, fwhm_zyx: tuple[float, float, float]) -> Field:
    """Separable Gaussian, millimetres."""
    for axis, fwhm in enumerate(fwhm_zyx):
        volume = ndimage.gaussian_filter1d(
            volume, fwhm / FWHM_TO_SD / VOXEL_MM, axis, mode="nearest", truncate=3.0
        )
    return volume


def spread(canvas: Canvas, scanner: Scanner) -> Field:
    """Uptake as a noiseless scanner shows it: breathing, resolution, attenuation."""
    rng = canvas.rng
    if rng.random() < 0.7:
        _breathe(canvas)
    width = (scanner.fwhm_z_mm, scanner.fwhm_mm, scanner.fwhm_mm)
    image = blur(canvas.suv, width)
    if scanner.edges:
        image = image + np.float32(scanner.edges) * (image - blur(image, width))
    return np.maximum(_attenuate(canvas, image), 0)


def reconstruct(canvas: Canvas, scanner: Scanner, image: Field) -> Field:
    """The PET, SUVbw: noise, the voxels that it was stored in, gains of beds and slices, and its scale."""
    rng = canvas.rng
    image = image + _noise(rng, canvas, image, scanner)
    image = _stored(rng, image)
    bands = rng.random()
    if bands < 0.3:
        height = int(rng.integers(20, 45))
        gains = np.exp(rng.normal(0, 0.03, image.shape[0] // height + 2))
        image *= gains[(np.arange(image.shape[0]) + int(rng.integers(height))) // height, None, None].astype(
            np.float32
        )
    if rng.random() < 0.3:
        image *= np.exp(rng.normal(0, 0.015, (image.shape[0], 1, 1))).astype(np.float32)
    image = np.maximum(image * np.float32(scanner.scale), 0)
    if rng.random() < 0.15:  # reconstructions that leave the ends of the bed dark or noisy
        image[: int(rng.integers(1, 4))] *= np.float32(rng.uniform(0.2, 1.0))
    return np.asarray(image, np.float32)


def _stored(rng: np.random.Generator, image: Field) -> Field:
    """Through the voxels of the scanner and back by linear interpolation."""
    in_plane, between = rng.uniform(2.0, 5.5), rng.uniform(2.0, 5.0)
    for axis, spacing in enumerate((between, in_plane, in_plane)):
        if spacing > 3.3:
            n = image.shape[axis]
            stored = np.arange(rng.uniform(0, spacing), n * VOXEL_MM, spacing) / VOXEL_MM
            there = np.clip(1 - np.abs(stored[:, None] - np.arange(n)), 0, 1)
            back = np.clip(1 - np.abs(np.arange(n)[:, None] - stored) * VOXEL_MM / spacing, 0, 1)
            matrix = back @ there
            matrix /= np.maximum(matrix.sum(1, keepdims=True), 1e-6)
            image = np.moveaxis(np.tensordot(matrix.astype(np.float32), image, (1, axis)), 0, axis)
    return np.ascontiguousarray(image)


def _breathe(canvas: Canvas) -> None:
    """Average over breathing about the diaphragm: the uptake moves, the CT and the truth do not."""
    rng = canvas.rng
    z = canvas.xyz[2][:, canvas.shape[1] // 2, canvas.shape[2] // 2]
    planes = np.flatnonzero((z > 270) & (z < 560))
    if planes.size < 8:
        return
    part = slice(planes[0], planes[-1] + 1)
    weight = np.exp(-(((z[part] - 410) / 80) ** 2))[:, None, None].astype(np.float32)
    block = canvas.suv[part]
    moved = ndimage.uniform_filter1d(block, int(rng.integers(2, 5)), axis=0, mode="nearest")
    if rng.random() < 0.5:
        moved = 0.6 * moved + 0.4 * np.roll(moved, int(rng.choice((-1, 1))), axis=0)
    canvas.suv[part] = block + weight * (moved - block)


def _attenuate(canvas: Canvas, image: Field) -> Field:
    """Where the correction is misled: the dome of the diaphragm, metal, scatter about hot urine."""
    rng = canvas.rng
    if rng.random() < 0.3:
        z = canvas.xyz[2]
        lung = (canvas.tissue == Tissue.LUNG) & (z > 350) & (z < 500)
        deep = int(rng.integers(3, 7))
        dome = lung.copy()
        dome[deep:] &= ~lung[:-deep]
        dome &= canvas.labels != Label.HEART
        if dome.any():
            cold = np.clip(1.4 * ndimage.uniform_filter(dome.astype(np.float32), 5), 0, 1)
            image = np.asarray(image * (1 - np.float32(rng.uniform(0.3, 0.9)) * cold), np.float32)
    hottest = float(image.max())
    if hottest > 15 and rng.random() < 0.25:
        hot = ndimage.maximum_filter(image[::2, ::2, ::2], 3) > 0.5 * hottest
        halo = blur(hot.astype(np.float32), (14.0, 60.0, 60.0))
        z, y, x = image.shape
        halo = halo.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:z, :y, :x]
        missing = np.float32(rng.uniform(0.3, 0.9)) * np.clip(halo / max(float(halo.max()), 1e-6), 0, 1)
        image = image * (1 - missing * (image < 0.2 * hottest))
    metal = canvas.hu > 2500
    if metal.any():
        around = blur(metal.astype(np.float32), (8.0, 20.0, 20.0))
        image = image * (1 + np.float32(rng.uniform(-0.3, 0.5)) * np.clip(around * 4, 0, 1))
    if rng.random() < 0.15:
        lean = np.float32(rng.uniform(-0.12, 0.12)) * np.linspace(-1, 1, image.shape[2], dtype=np.float32)
        image = image * (1 + lean)
    return np.asarray(image, np.float32)


def _noise(rng: np.random.Generator, canvas: Canvas, image: Field, scanner: Scanner) -> Field:
    """Correlated noise whose variance grows with the activity and with the body around it."""
    grain = scanner.noise_grain
    noise = rng.standard_normal(image.shape, np.float32)
    fwhm = scanner.fwhm_mm * grain, scanner.fwhm_z_mm * grain
    noise = blur(noise, (fwhm[1], fwhm[0], fwhm[0]))
    noise /= max(float(noise[::7].std()), 1e-6)
    body = canvas.tissue != Tissue.AIR
    width = body.sum(2, dtype=np.float32).mean(1) if body.any() else np.zeros(image.shape[0], np.float32)
    bulk = np.sqrt(np.clip(width / max(float(width.max()), 1.0), 0.25, 1.0))[:, None, None]
    power = np.float32(rng.uniform(0.45, 0.85))
    size = np.float32(scanner.noise) * bulk * (0.04 + np.maximum(image, 0)) ** power
    return np.asarray(noise * size * _bed_noise(rng, image.shape[0])[:, None, None], np.float32)


def _bed_noise(rng: np.random.Generator, planes: int) -> Field:
    """Noise along z: more where beds meet and where the first and the last end."""
    z = np.arange(planes)
    beds = 1 + rng.uniform(0, 0.25) * np.cos(2 * np.pi * (z / rng.uniform(25, 50) + rng.uniform()))
    ends = 1 + rng.uniform(0, 1.5) * (np.exp(-z / 2.5) + np.exp((z - planes + 1) / 2.5))
    return np.asarray(beds * ends, np.float32)
