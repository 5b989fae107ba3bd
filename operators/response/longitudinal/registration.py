"""Where the places of the current study were in a prior one, checked before it is believed.

A coarse search over all shifts, a rigid alignment and a smooth deformation, on the CTs where both studies
have one in their PET's frame of reference, else on the PETs. Then landmarks that the registration did not
choose say how far it is off, and whether the two are the same anatomy at all.

Everything is computed in one thread and in one order, without random sampling: the result does not depend
on the machine's cores. (ITK's metrics sample at random and add up in parts, one for each thread.)

Not covered: the PET's own shift against its CT, by breathing or by movement between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from operators.domain import Geometry, Registration, Volumes
from operators.response.longitudinal.align import align, bring
from operators.response.longitudinal.deform import Stage, deform, jacobian
from operators.response.longitudinal.landmarks import Landmarks, match_landmarks
from operators.response.longitudinal.scene import (
    Field,
    Scene,
    Source,
    coarser,
    onto,
    see,
    usable_ct,
)
from operators.response.longitudinal.search import find_shifts

CANDIDATES = 3
"""Shifts of the coarse search that are aligned; the one that agrees best goes on."""
STAGES = (Stage(60.0, 5), Stage(36.0, 5), Stage(22.0, 6))
"""From a third of a trunk's width to the distance within which tissue moves as one."""

LEAST_OVERLAP_PERCENT = 20.0
"""Of the smaller body."""
LEAST_DICE = 0.8
"""Of the body outlines where both studies show the body. Bodies that were scaled by 10 % across have 0.9."""
LEAST_SIMILARITY = 0.7
"""Correlation of the features inside the body."""
LEAST_ALIKE_PERCENT = 50.0
"""Part of the landmarks whose surroundings are found again."""
LEAST_LANDMARKS = 8
"""Fewer say nothing."""
MOST_ERROR_MM = 10.0
"""Median error of the landmarks: beyond it, neighbouring nodes are mistaken for each other."""
MOST_ERROR_P75_MM = 5.0
"""Where the same anatomy is seen twice, three of four landmarks are found close by, whatever the rest were
mistaken for. Of simulated bodies against themselves, moved, bent, of other beds or voxels, the upper quartile
was at most 2.4 mm; of different bodies at least 5.5 mm."""
MOST_ROTATION_DEG = 30.0
"""Nobody lies turned by more; a larger turn is a wrong match."""
LEAST_JACOBIAN = 0.1
"""A smaller determinant squeezes tissue to nothing; 0 and below folds it."""
MOST_STRETCH_MM = 60.0
"""A longer displacement beyond the rigid one is no longer breathing, bending or weight."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found, on the current study's grids."""

    way: NDArray[np.float64]
    """(4, 4): LPS mm of the current study to LPS mm of the prior."""
    u: Field | None
    """(3, z, y, x): LPS mm in the current study, before `way`; on the coarse grid."""
    geometry: Geometry
    """Of the coarse grid."""


def register(current: Volumes, prior: Volumes) -> Registration:
    """Register a prior study to the current one.

    Parameters
    ----------
    current, prior : Volumes
        Neither frames of reference nor tables are trusted; bed ranges may differ.

    Returns
    -------
    Registration
        `error_mm` of its measures is the median distance between where it puts a landmark of the body and
        where the landmark's surroundings are found again
        (:mod:`operators.response.longitudinal.landmarks`), `error_p95_mm` the 95th percentile. Rejected, with
        the reason, where any check fails; the numbers that were reached are there nevertheless.
    """
    both = usable_ct(current) is not None and usable_ct(prior) is not None
    source = Source.CT if both else Source.PET
    ours, theirs = see(current, source), see(prior, source)
    if ours is None or theirs is None:
        whose = "current" if ours is None else "prior"
        return _rejected(f"No body was found in the {source} of the {whose} study.", source)
    matched = source is Source.CT
    half, their_half = coarser(ours), coarser(theirs)
    way = _align(half, their_half, matched)
    if way is None:
        return _rejected("The two studies show no part of the body in common.", source)
    before = agreement(half, their_half, Fit(way, None, half.geometry))
    u = _bend(half, their_half, way, matched)
    fit = Fit(way, u, half.geometry)
    measures, folded = agreement(half, their_half, fit), fold(half, u)
    if folded is not None or measures["similarity"] < before["similarity"]:
        fit, measures = Fit(way, None, half.geometry), before
    landmarks = _landmarks(ours, theirs, fit)
    numbers = measures | _errors(landmarks) | _extent(fit, half)
    return _judge(fit, numbers | {"similarity_rigid": before["similarity"]}, source, folded)


def _align(current: Scene, prior: Scene, matched: bool) -> NDArray[np.float64] | None:
    """The best rigid transformation; None where the bodies share nothing."""
    far, their_far = coarser(current), coarser(prior)
    found = []
    for shift in find_shifts(far, their_far, CANDIDATES):
        way = np.eye(4)
        way[:3, 3] = shift
        found.append(align(far, their_far, way, matched))
    if not found:
        return None
    alike = [agreement(far, their_far, Fit(way, None, far.geometry))["similarity"] for way in found]
    return align(current, prior, found[int(np.argmax(alike))], matched)


def _bend(current: Scene, prior: Scene, way: NDArray[np.float64], matched: bool) -> Field:
    pair = bring(current, prior, way)
    near = ndimage.maximum_filter(current.body, 5)
    return deform(current.values, pair.values, pair.known * near, current.spacing_mm, STAGES, matched)


def agreement(current: Scene, prior: Scene, fit: Fit) -> dict[str, float]:
    """How well the studies agree where both show the body: Dice, correlation, and how much is shared."""
    at = _indices(current.geometry, prior.geometry, fit)
    moved, known, body = (
        _sample(part, at) for part in (prior.values, prior.known, prior.body.astype(np.float32))
    )
    both = known * current.known > 0.5
    ours, theirs = current.body & both, (body > 0.5) & both
    shared, either = int(np.count_nonzero(ours & theirs)), ours | theirs
    total = int(np.count_nonzero(ours)) + int(np.count_nonzero(theirs))
    smaller = min(int(np.count_nonzero(current.body)), int(np.count_nonzero(prior.body)))
    return {
        "body_dice": 2 * shared / total if total else 0.0,
        "similarity": correlation(current.values[either], moved[either]),
        "overlap_percent": min(100.0 * shared / max(smaller, 1), 100.0),
    }


def correlation(a: Field, b: Field) -> float:
    """Pearson's coefficient; 0 where there is nothing to compare."""
    if a.size < 2:
        return 0.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / spread if spread > 0 else 0.0


def _indices(target: Geometry, source: Geometry, fit: Fit) -> Field:
    """Continuous indices (z, y, x) in the source of every voxel of the target, shape (3, z, y, x)."""
    turn = np.linalg.solve(source.affine, fit.way @ target.affine)
    grid = np.ix_(*[np.arange(n, dtype=np.float32) for n in target.shape])
    at = np.stack(
        [
            np.broadcast_to(sum(np.float32(turn[i, j]) * grid[j] for j in range(3)), target.shape)
            + np.float32(turn[i, 3])
            for i in range(3)
        ]
    )
    if fit.u is not None:
        step = (np.linalg.inv(source.affine) @ fit.way)[:3, :3].astype(np.float32)
        for j in range(3):
            part, _ = onto(fit.u[j], fit.geometry, target)
            for i in range(3):
                at[i] += step[i, j] * part
    return at


def _sample(values: Field, at: Field) -> Field:
    result: Field = ndimage.map_coordinates(values, at, np.float32, order=1, mode="constant", cval=0.0)
    return result


def fold(current: Scene, u: Field) -> str | None:
    """What is wrong with a deformation as such; None where nothing is."""
    least = float(jacobian(u, current.spacing_mm)[current.body].min())
    if least < LEAST_JACOBIAN:
        return f"the deformation folds tissue (Jacobian {least:.2f})"
    most = float(np.sqrt((u**2).sum(axis=0))[current.body].max())
    if most > MOST_STRETCH_MM:
        return f"the deformation moves tissue by {most:.0f} mm"
    return None


def _landmarks(current: Scene, prior: Scene, fit: Fit) -> Landmarks:
    at = _indices(current.geometry, prior.geometry, fit)
    moved, body = _sample(prior.values, at), _sample(prior.body.astype(np.float32), at) > 0.5
    first = current.geometry.affine[:3, 3]
    return match_landmarks(current.values, moved, current.body & body, first, current.spacing_mm)


def _errors(landmarks: Landmarks) -> dict[str, float]:
    count = len(landmarks.correlation)
    result = {"landmarks": float(count)}
    if count:
        result["landmarks_alike_percent"] = 100.0 * float(landmarks.alike.mean())
    result["landmarks_telling"] = float(landmarks.telling.sum())
    if landmarks.telling.any():
        away = np.linalg.norm(landmarks.away_mm[landmarks.telling], axis=1)
        names = ("error_mm", "error_p75_mm", "error_p95_mm")
        result |= dict(zip(names, np.percentile(away, (50, 75, 95)).tolist(), strict=True))
    return result


def _extent(fit: Fit, current: Scene) -> dict[str, float]:
    """How far the registration moves: the turn, the shift of the body's middle, the deformation."""
    middle = current.geometry.to_lps(np.array([ndimage.center_of_mass(current.body)]))[0]
    result = {
        "rotation_deg": float(np.degrees(Rotation.from_matrix(fit.way[:3, :3]).magnitude())),
        "shift_mm": float(np.linalg.norm(fit.way[:3, :3] @ middle + fit.way[:3, 3] - middle)),
    }
    if fit.u is not None:
        length = np.sqrt((fit.u**2).sum(axis=0))[current.body]
        result["deformation_median_mm"], result["deformation_max_mm"] = (
            float(np.median(length)),
            float(length.max()),
        )
        result["jacobian_min"] = float(jacobian(fit.u, current.spacing_mm)[current.body].min())
    return result


@dataclass(frozen=True, slots=True)
class Limit:
    """A measure, its bound, and what a reader is told when it is not kept."""

    measure: str
    least: float | None
    most: float | None
    fault: str


LIMITS = (
    Limit("overlap_percent", LEAST_OVERLAP_PERCENT, None, "they share {value:.0f} % of the smaller body"),
    Limit("rotation_deg", None, MOST_ROTATION_DEG, "the patient would be turned by {value:.0f} degrees"),
    Limit("body_dice", LEAST_DICE, None, "the body outlines agree by {value:.2f} (Dice)"),
    Limit("similarity", LEAST_SIMILARITY, None, "the images correlate by {value:.2f}"),
    Limit("landmarks_telling", LEAST_LANDMARKS, None, "only {value:.0f} landmarks were found again"),
    Limit("landmarks_alike_percent", LEAST_ALIKE_PERCENT, None,
          "the surroundings of {value:.0f} % of the landmarks were found again"),
    Limit("error_mm", None, MOST_ERROR_MM, "landmarks are off by {value:.1f} mm (median)"),
    Limit("error_p75_mm", None, MOST_ERROR_P75_MM, "landmarks are off by {value:.1f} mm (upper quartile)"),
)  # fmt: skip


def _judge(fit: Fit, measures: dict[str, float], source: Source, folded: str | None) -> Registration:
    faults = [fault for limit in LIMITS if (fault := _fault(limit, measures)) is not None]
    kind = "rigid" if fit.u is None else "rigid, then deformable"
    if faults:
        reason = (
            f"The studies do not match: {'; '.join(faults)}. Another patient or another part of the body?"
        )
    else:
        reason = (
            f"Landmarks are off by {measures['error_mm']:.1f} mm (median), body outlines agree by "
            f"{measures['body_dice']:.2f} (Dice), images correlate by {measures['similarity']:.2f}."
        )
    if folded is not None:
        reason += f" The deformable part was left out: {folded}."
    displacement, grid = None, None
    if fit.u is not None:
        displacement = np.einsum("ij,jzyx->zyxi", fit.way[:3, :3].astype(np.float32), fit.u)
        grid = fit.geometry
    return Registration(
        accepted=not faults,
        reason=reason,
        method=_method(kind, source),
        rigid=fit.way,
        displacement=displacement,
        grid=grid,
        measures=measures,
    )


def _fault(limit: Limit, measures: dict[str, float]) -> str | None:
    value = measures.get(limit.measure)
    if value is None:
        return f"{limit.measure} could not be measured"
    kept = (limit.least is None or value >= limit.least) and (limit.most is None or value <= limit.most)
    return None if kept else limit.fault.format(value=value)


def _rejected(reason: str, source: Source) -> Registration:
    return Registration(False, reason, _method("none", source), np.eye(4))


def _method(kind: str, source: Source) -> str:
    return f"{kind}; {source}; Gauss-Newton, SciPy {scipy.__version__}"
