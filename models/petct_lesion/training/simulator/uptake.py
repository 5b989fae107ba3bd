"""Uptake of each tissue for each tracer: round numbers of the published biodistributions, as recalled.

They are for breadth, not for reference: each body draws its own about them (log-normal), all of them are
scaled together, and a large tumour load lowers the organs (tumour sink).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Draw(NamedTuple):
    """A log-normal uptake, SUVbw."""

    median: float
    log_sd: float


TRACERS = ("fdg", "psma", "sstr", "fapi")
TRACER_SHARES = (0.55, 0.18, 0.15, 0.12)

#                    fdg             psma            sstr            fapi
TABLE: Mapping[str, tuple[tuple[float, float], ...]] = {
    "blood": ((1.6, 0.20), (1.3, 0.30), (0.9, 0.30), (1.3, 0.30)),
    "muscle": ((0.65, 0.20), (0.5, 0.25), (0.6, 0.25), (0.8, 0.30)),
    "fat": ((0.24, 0.25), (0.22, 0.30), (0.20, 0.30), (0.25, 0.30)),
    "visceral_fat": ((0.33, 0.25), (0.30, 0.30), (0.28, 0.30), (0.35, 0.30)),
    "skin": ((0.50, 0.25), (0.40, 0.30), (0.40, 0.30), (0.60, 0.30)),
    "lung": ((0.42, 0.25), (0.35, 0.25), (0.35, 0.25), (0.42, 0.25)),
    "marrow": ((1.25, 0.35), (0.65, 0.35), (0.90, 0.35), (0.60, 0.35)),
    "cortical_bone": ((0.50, 0.25), (0.35, 0.30), (0.40, 0.30), (0.45, 0.30)),
    "disc": ((0.70, 0.25), (0.50, 0.25), (0.50, 0.25), (0.60, 0.30)),
    "grey_matter": ((9.5, 0.33), (0.12, 0.40), (0.12, 0.40), (0.12, 0.40)),
    "white_matter": ((3.4, 0.30), (0.10, 0.40), (0.10, 0.40), (0.10, 0.40)),
    "csf": ((0.90, 0.30), (0.15, 0.40), (0.15, 0.40), (0.15, 0.40)),
    "spinal_cord": ((1.35, 0.22), (0.40, 0.30), (0.40, 0.30), (0.40, 0.30)),
    "pituitary": ((1.80, 0.35), (1.20, 0.40), (7.00, 0.45), (0.90, 0.40)),
    "choroid": ((1.40, 0.30), (0.90, 0.40), (1.20, 0.40), (0.50, 0.40)),
    "eye_muscle": ((3.00, 0.45), (0.80, 0.40), (0.90, 0.40), (0.90, 0.40)),
    "vitreous": ((0.50, 0.30), (0.30, 0.30), (0.30, 0.30), (0.30, 0.30)),
    "lacrimal": ((1.20, 0.40), (8.00, 0.45), (1.60, 0.50), (1.20, 0.50)),
    "parotid": ((1.80, 0.40), (16.0, 0.33), (2.20, 0.45), (1.80, 0.45)),
    "submandibular": ((2.00, 0.40), (16.0, 0.33), (2.20, 0.45), (2.50, 0.50)),
    "sublingual": ((2.40, 0.50), (6.00, 0.45), (1.60, 0.45), (1.80, 0.50)),
    "nasal": ((1.60, 0.45), (3.20, 0.50), (1.60, 0.45), (1.60, 0.45)),
    "tonsil": ((3.60, 0.45), (2.40, 0.45), (2.00, 0.45), (1.80, 0.45)),
    "pharynx": ((2.00, 0.40), (2.00, 0.45), (1.30, 0.45), (1.50, 0.45)),
    "tongue": ((1.60, 0.40), (1.10, 0.40), (0.90, 0.40), (1.10, 0.40)),
    "mouth_floor": ((2.50, 0.45), (1.80, 0.50), (1.20, 0.45), (1.50, 0.45)),
    "larynx": ((2.40, 0.60), (1.80, 0.50), (1.20, 0.45), (1.20, 0.45)),
    "thyroid": ((1.30, 0.45), (1.50, 0.45), (2.20, 0.55), (1.80, 0.55)),
    "trachea_wall": ((1.10, 0.30), (1.60, 0.45), (0.90, 0.35), (0.90, 0.35)),
    "oesophagus": ((1.50, 0.35), (1.10, 0.35), (1.00, 0.35), (1.20, 0.40)),
    "thymus": ((1.30, 0.45), (0.80, 0.35), (1.00, 0.40), (0.80, 0.40)),
    "breast": ((0.75, 0.40), (0.55, 0.40), (0.70, 0.45), (1.10, 0.50)),
    "nipple": ((1.30, 0.40), (0.80, 0.40), (0.90, 0.40), (1.50, 0.40)),
    "myocardium": ((5.00, 0.75), (1.50, 0.30), (1.20, 0.35), (1.30, 0.40)),
    "vessel_wall": ((1.90, 0.25), (1.40, 0.25), (1.20, 0.35), (1.60, 0.35)),
    "liver": ((2.20, 0.20), (6.00, 0.45), (6.50, 0.38), (1.10, 0.40)),
    "gallbladder": ((1.00, 0.45), (4.00, 1.30), (2.00, 0.70), (2.50, 1.10)),
    "spleen": ((1.80, 0.22), (7.50, 0.45), (21.0, 0.38), (1.10, 0.35)),
    "stomach": ((1.55, 0.42), (2.50, 0.50), (3.00, 0.50), (1.20, 0.50)),
    "duodenum": ((1.80, 0.45), (10.0, 0.40), (3.00, 0.45), (1.30, 0.50)),
    "jejunum": ((1.30, 0.40), (6.50, 0.50), (2.20, 0.45), (0.90, 0.45)),
    "ileum": ((1.25, 0.50), (2.20, 0.55), (1.60, 0.45), (0.80, 0.45)),
    "colon": ((1.40, 0.50), (1.30, 0.50), (1.50, 0.45), (0.80, 0.45)),
    "rectum": ((1.50, 0.50), (1.10, 0.45), (1.20, 0.45), (0.80, 0.45)),
    "pancreas": ((1.50, 0.30), (2.00, 0.40), (3.00, 0.50), (1.70, 0.60)),
    "uncinate": ((1.50, 0.30), (2.00, 0.40), (5.00, 0.55), (1.70, 0.60)),
    "adrenal": ((1.70, 0.40), (3.00, 0.50), (7.50, 0.50), (1.30, 0.45)),
    "ganglion": ((0.90, 0.30), (2.60, 0.30), (1.80, 0.40), (0.80, 0.30)),
    "renal_cortex": ((2.60, 0.25), (38.0, 0.40), (15.0, 0.35), (2.20, 0.40)),
    "renal_medulla": ((3.20, 0.40), (20.0, 0.45), (11.0, 0.40), (2.60, 0.50)),
    "renal_urine": ((9.00, 0.80), (28.0, 0.60), (18.0, 0.50), (7.00, 0.80)),
    "ureter": ((8.00, 0.80), (12.0, 0.80), (8.00, 0.70), (5.00, 0.80)),
    "bladder": ((14.0, 0.85), (18.0, 1.10), (11.0, 0.80), (9.00, 0.90)),
    "uterus": ((1.90, 0.55), (1.20, 0.40), (1.50, 0.45), (5.00, 0.60)),
    "ovary": ((1.60, 0.60), (1.00, 0.40), (1.10, 0.40), (1.40, 0.50)),
    "prostate": ((1.50, 0.35), (2.40, 0.45), (1.50, 0.45), (1.30, 0.45)),
    "testis": ((2.60, 0.35), (0.90, 0.40), (1.00, 0.40), (0.90, 0.40)),
    "urethra": ((4.00, 1.00), (6.00, 1.10), (3.00, 1.00), (3.00, 1.00)),
    "anus": ((2.20, 0.45), (1.20, 0.40), (1.20, 0.40), (1.30, 0.40)),
    "joint": ((1.30, 0.35), (0.90, 0.35), (1.10, 0.40), (2.60, 0.55)),
    "scar": ((1.50, 0.40), (0.90, 0.30), (1.10, 0.35), (2.60, 0.55)),
    "reactive_node": ((1.60, 0.25), (1.40, 0.30), (1.40, 0.30), (1.60, 0.35)),
    "brown_fat": ((4.00, 0.70), (0.50, 0.40), (0.60, 0.40), (0.40, 0.40)),
    "active_muscle": ((1.80, 0.45), (0.70, 0.30), (0.80, 0.30), (1.30, 0.40)),
}


def draw_uptake(rng: np.random.Generator, tracer: str, load: float = 0.0) -> dict[str, float]:
    """The uptakes of one body, SUVbw.

    Parameters
    ----------
    rng : numpy.random.Generator
    tracer : str
        One of `TRACERS`.
    load : float
        0 to 1: how much of the tracer the tumours take.
    """
    column = TRACERS.index(tracer)
    drawn = {name: Draw(*row[column]) for name, row in TABLE.items()}
    overall = float(np.exp(rng.normal(0, 0.10)))
    sink = 1 - 0.5 * load
    uptake = {
        name: draw.median * overall * sink * float(np.exp(np.clip(rng.normal(), -2.2, 2.2) * draw.log_sd))
        for name, draw in drawn.items()
    }
    # what is one tissue in all of its places goes up and down together
    salivary = float(np.exp(rng.normal(0, 0.2)))
    for name in ("lacrimal", "parotid", "submandibular", "sublingual"):
        uptake[name] *= salivary
    if tracer == "fdg":
        _glucose(rng, uptake)
    if tracer == "psma" and rng.random() < 0.35:
        _hepatobiliary(uptake, rng)
    return uptake


def _glucose(rng: np.random.Generator, uptake: dict[str, float]) -> None:
    """Fasting spares the myocardium; insulin drives muscle and myocardium; high glucose lowers the brain."""
    state = rng.random()
    if state < 0.12:  # recently fed or given insulin
        factor = rng.uniform(1.4, 4.0)
        uptake["muscle"] *= factor
        uptake["myocardium"] *= rng.uniform(1.0, 2.5)
        for name in ("grey_matter", "white_matter", "liver", "marrow"):
            uptake[name] *= rng.uniform(0.5, 0.9)
    elif state < 0.22:  # hyperglycaemic
        for name in ("grey_matter", "white_matter"):
            uptake[name] *= rng.uniform(0.25, 0.7)
        uptake["blood"] *= rng.uniform(1.0, 1.4)
    elif state < 0.52:  # well fasted
        uptake["myocardium"] = uptake["blood"] * rng.uniform(0.9, 1.6)
    uptake["myocardium"] = min(uptake["myocardium"], 22.0)
    marrow = rng.random()
    if marrow < 0.12:  # growth factors, anaemia, inflammation
        uptake["marrow"] *= rng.uniform(1.8, 4.0)
        uptake["spleen"] *= rng.uniform(1.0, 2.2)
    if rng.random() < 0.12:  # metformin
        for name in ("colon", "ileum", "jejunum", "rectum"):
            uptake[name] *= rng.uniform(2.0, 6.0)


def _hepatobiliary(uptake: dict[str, float], rng: np.random.Generator) -> None:
    """A ligand that leaves by the liver (as PSMA-1007): hot liver and bile, little urine, some marrow."""
    for name in ("liver", "spleen"):
        uptake[name] *= rng.uniform(1.2, 2.2)
    uptake["gallbladder"] *= rng.uniform(3, 12)
    uptake["marrow"] *= rng.uniform(1.0, 2.0)
    for name in ("bladder", "ureter", "renal_urine", "urethra"):
        uptake[name] *= rng.uniform(0.08, 0.3)
