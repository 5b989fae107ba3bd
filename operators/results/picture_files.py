"""The pictures of a study as files: PNG by numpy and Pillow alone, the same bytes for the same input."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from operators.domain import Assessed, ResultFile, ResultKind, ResultProfile
from operators.results.files import write_atomically
from operators.results.pictures import axial_slice, projections
from operators.results.reference_pictures import draw_references
from operators.results.removed_pictures import draw_removed

LESION_PICTURES: Final = 5


def write_pictures(assessed: Assessed, profile: ResultProfile, folder: Path) -> tuple[ResultFile, ...]:
    """Write ``mip.png``, ``lesion-1.png`` and on for the hottest, ``references.png`` and ``removed.png``.

    Parameters
    ----------
    assessed : Assessed
        The PET with its lesions, reference regions and removed uptake, and the CT if there is one.
    profile : ResultProfile
        Says whether the site wants them.
    folder : Path
        Where to write.

    Returns
    -------
    tuple of ResultFile
        The pictures, the projections first.
    """
    if ResultKind.PICTURE not in profile.results:
        return ()
    quantified = assessed.quantified
    pictures = {"mip.png": projections(quantified)}
    hottest_first = sorted(quantified.lesions, key=lambda lesion: (-lesion.suv_max, lesion.number))
    for lesion in hottest_first[:LESION_PICTURES]:
        pictures[f"lesion-{lesion.number}.png"] = axial_slice(quantified, lesion)
    regions = draw_references(quantified.segmented.volumes, quantified.segmented.references)
    if regions is not None:
        pictures["references.png"] = Image.fromarray(regions)
    removed = draw_removed(quantified.segmented)
    if removed is not None:
        pictures["removed.png"] = Image.fromarray(removed)
    return tuple(_write(folder / name, picture) for name, picture in pictures.items())


def _write(path: Path, picture: Image.Image) -> ResultFile:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return ResultFile(ResultKind.PICTURE, path, write_atomically(path, (buffer.getvalue(),)))
