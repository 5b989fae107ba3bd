"""One simulated body from one seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.petct_lesion.training.simulator.abdomen import paint_abdomen, paint_cavity
from models.petct_lesion.training.simulator.canvas import Canvas
from models.petct_lesion.training.simulator.ct import take_ct
from models.petct_lesion.training.simulator.demo import simulate_demo
from models.petct_lesion.training.simulator.form import Build, blank_canvas, draw_build, lay_outline
from models.petct_lesion.training.simulator.head import paint_head
from models.petct_lesion.training.simulator.lesions import (
    draw_count,
    drop_invisible,
    lay_lesions,
    lay_tumour,
    total_ml,
)
from models.petct_lesion.training.simulator.pelvis import paint_pelvis
from models.petct_lesion.training.simulator.physics import draw_scanner, reconstruct, spread
from models.petct_lesion.training.simulator.skeleton import paint_skeleton
from models.petct_lesion.training.simulator.soft import (
    paint_brown_fat,
    paint_procedures,
    paint_working_muscles,
)
from models.petct_lesion.training.simulator.thorax import (
    paint_breasts,
    paint_heart,
    paint_lungs,
    paint_mediastinum,
    paint_vessels,
)
from models.petct_lesion.training.simulator.types import Body, Tumour
from models.petct_lesion.training.simulator.uptake import TRACER_SHARES, TRACERS, draw_uptake

DEMO_SHARE = 0.1


def simulate_body(seed: int, tracer: str | None = None, tumours: Sequence[Tumour] = ()) -> Body:
    """Simulate a whole-body PET/CT; the same arguments give the same body.

    Parameters
    ----------
    seed : int
    tracer : str, optional
        fdg, psma, sstr or fapi; drawn when it is None.
    tumours : sequence of Tumour
        Real tumours that are laid into it besides the simulated lesions.

    Raises
    ------
    ValueError
        For a tracer that is not simulated.
    """
    rng = np.random.default_rng([seed, 0x9E7])
    drawn = TRACERS[int(rng.choice(len(TRACERS), p=TRACER_SHARES))]
    tracer = drawn if tracer is None else tracer
    if tracer not in TRACERS:
        raise ValueError(f"tracer must be one of {', '.join(TRACERS)}, not {tracer}")
    if rng.random() < DEMO_SHARE and not tumours:
        return simulate_demo(rng, tracer)
    build, scanner = draw_build(rng), draw_scanner(rng)
    count = draw_count(rng)
    uptake = draw_uptake(rng, tracer, load=min(count / 150, 1.0))
    canvas = paint_body(rng, build, uptake, tracer)
    lay_lesions(canvas, uptake, tracer, count, scanner.fwhm_mm)
    patches = [patch for patch in (lay_tumour(canvas, tumour) for tumour in tumours) if patch is not None]
    image = spread(canvas, scanner)
    for patch in patches:
        image[patch.box] += patch.weight * (patch.suv - image[patch.box])
    suv = reconstruct(canvas, scanner, image)
    lesions = drop_invisible(canvas.labels, suv, patches)
    hu = take_ct(canvas)
    return Body(
        suv=suv.astype(np.float16),
        hu=hu,
        labels=canvas.labels,
        tracer=tracer,
        facts={
            "source": "body",
            "region": build.region,
            "sex": "F" if build.female else "M",
            "fat_mm": build.fat_mm,
            "fwhm_mm": scanner.fwhm_mm,
            "noise": scanner.noise,
            "scale": scanner.scale,
            "lesions": float(lesions),
            "lesion_ml": total_ml(canvas.labels),
        },
    )


def paint_body(rng: np.random.Generator, build: Build, uptake: dict[str, float], tracer: str) -> Canvas:
    """A body without lesions: true uptake, CT numbers, labels and tissues."""
    canvas = blank_canvas(rng, build)
    hot = min(1.5, max(0.8, 1.3 * uptake["muscle"]))
    depth = lay_outline(canvas, build, uptake)
    paint_breasts(canvas, uptake, build, hot)
    paint_working_muscles(canvas, uptake, hot)
    paint_lungs(canvas, uptake)
    paint_mediastinum(canvas, uptake, build, hot)
    paint_cavity(canvas, uptake, build, depth)
    paint_skeleton(canvas, uptake, build)
    paint_head(canvas, uptake, hot)
    paint_abdomen(canvas, uptake, hot)
    paint_vessels(canvas, uptake, build, hot)
    paint_heart(canvas, uptake)
    paint_pelvis(canvas, uptake, build, hot)
    paint_brown_fat(canvas, uptake, tracer, build, hot)
    paint_procedures(canvas, uptake, build, hot)
    return canvas
