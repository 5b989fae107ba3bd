"""``theramap suv``: the volume step alone, on the one PET series of a folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.domain import Note, Series, SetAside, Suv, Volume
from operators.errors import InputRefusal, Refusal

if TYPE_CHECKING:
    from rich.console import Console

FAILED = 1
REFUSED = 2


class _UnwritableError(Exception):
    """A file that cannot be written, and why."""


def run_suv(folder: Path, json_path: Path | None, nifti_path: Path | None) -> int:
    """Compute SUVbw of the one PET series in a folder and write how.

    Parameters
    ----------
    folder : Path
        Holds exactly one PET series; other modalities beside it are passed over.
    json_path : Path, optional
        Takes what entered the computation, or the refusal.
    nifti_path : Path, optional
        Takes SUVbw as float32 with an RAS affine; not written when the series is refused.

    Returns
    -------
    int
        0; 2 when the series is refused; 1 when a file cannot be written.
    """
    try:
        return _run(folder, json_path, nifti_path)
    except _UnwritableError as error:
        _console(stderr=True).print(f"cannot write {error}", markup=False)
        return FAILED


def _run(folder: Path, json_path: Path | None, nifti_path: Path | None) -> int:
    from operators.volume.build import build_pet

    try:
        series, set_aside = _only_pet(folder)
        pet, suv, notes = build_pet(series)
    except Refusal as refusal:
        _write_json(_refusal(refusal), json_path)
        tag = f" [{refusal.tag}]" if refusal.tag else ""
        line = f"refused: {refusal.code}: {refusal.sentence}{tag}"
        _console(stderr=True).print(line, markup=False)
        return REFUSED
    record = _record(series, pet, suv, (*suv.notes, *notes), set_aside)
    _write_json(record, json_path)
    if nifti_path is not None:
        _write_nifti(pet, nifti_path)
    _report(record)
    return 0


def _refusal(refusal: Refusal) -> dict[str, Any]:
    set_aside = refusal.set_aside if isinstance(refusal, InputRefusal) else ()
    return {
        "status": "refused",
        "code": refusal.code,
        "sentence": refusal.sentence,
        "tag": refusal.tag,
        "software_version": version("theramap"),
        "set_aside": [asdict(entry) for entry in set_aside],
    }


def _only_pet(folder: Path) -> tuple[Series, tuple[SetAside, ...]]:
    from operators.study.attributes import text
    from operators.study.duplicates import absorb_duplicates
    from operators.study.headers import read_headers
    from operators.study.load import group_studies

    if not folder.is_dir():
        raise InputRefusal("INPUT_MISSING", "The series folder does not exist.")
    instances, unreadable = read_headers(folder)
    instances, duplicates = absorb_duplicates(instances, folder)
    set_aside = (*unreadable, *duplicates)
    studies = group_studies(instances)
    pets = [one for study in studies for one in study.series if text(one.header, "Modality") == "PT"]
    uids = {one.series_instance_uid for one in pets}
    damaged = [e for e in set_aside if e.series_instance_uid in uids and e.code != "DUPLICATE"]
    if damaged:
        sentence = f"A file of the series cannot be used: it {damaged[0].reason}."
        raise InputRefusal("SERIES_INCOMPLETE", sentence, None, set_aside)
    if len(pets) != 1:
        code = "SEVERAL_PET_SERIES" if pets else "NO_PET_SERIES"
        sentence = f"The folder must hold one PET series; it holds {len(pets)}."
        raise InputRefusal(code, sentence, None, set_aside)
    return pets[0], set_aside


def _record(
    series: Series, pet: Volume, suv: Suv, notes: tuple[Note, ...], set_aside: tuple[SetAside, ...]
) -> dict[str, Any]:
    low, middle, high = _statistics(pet)
    return {
        "status": "completed",
        "software_version": version("theramap"),
        "series_instance_uid": series.series_instance_uid,
        "series_digest": pet.digest,
        "units": suv.units,
        "suv_type": suv.suv_type,
        "decay_correction": suv.decay_correction,
        "reference_time": _iso(suv.reference_time),
        "reference_time_rule": suv.reference_time_rule,
        "injection_time": _iso(suv.injection_time),
        "injection_time_rule": suv.injection_time_rule,
        "uptake_time_s": suv.uptake_time_s,
        "radionuclide": suv.radionuclide,
        "half_life_s": suv.half_life_s,
        "injected_dose_bq": suv.injected_dose_bq,
        "weight_kg": suv.weight_kg,
        "height_m": suv.height_m,
        "sex": suv.sex,
        "lbm_ratio": dict(suv.lbm_ratio),
        "bsa_ratio_cm2_per_g": suv.bsa_ratio,
        "unit": pet.unit,
        "min": low,
        "median": middle,
        "max": high,
        "suvbw_factor": suv.suvbw_factor.tolist(),
        "slices": _slices(series),
        "geometry": {
            "shape_zyx": list(pet.geometry.shape),
            "spacing_zyx_mm": list(pet.geometry.spacing_mm),
            "affine_zyx_to_lps_mm": pet.geometry.affine.tolist(),
            "frame_of_reference_uid": pet.geometry.frame_of_reference_uid,
        },
        "warnings": [asdict(note) for note in notes],
        "set_aside": [asdict(entry) for entry in set_aside],
    }


def _slices(series: Series) -> list[dict[str, Any]]:
    """One entry for each slice, in the volume's order, which is that of ``suvbw_factor``."""
    from operators.study.attributes import number, numbers
    from operators.volume.frames import slices_of
    from operators.volume.geometry import sort_slices

    slices, _ = sort_slices(slices_of(series.instances))
    return [
        {
            "sop_instance_uid": one.instance.sop_instance_uid,
            "frame": one.frame,
            "position_mm": numbers(one.header, "ImagePositionPatient"),
            "rescale_slope": number(one.header, "RescaleSlope"),
        }
        for one in slices
    ]


def _statistics(pet: Volume) -> tuple[float, float, float]:
    """Minimum, median and maximum of SUVbw over all voxels."""
    import numpy as np

    values = _suvbw(pet)
    low, high = float(values.min()), float(values.max())
    return low, float(np.median(values, overwrite_input=True)), high


def _suvbw(pet: Volume) -> Any:
    """SUVbw as float32 (z, y, x), filled slice by slice."""
    import numpy as np

    values = np.empty(pet.geometry.shape, np.float32)
    for z in range(len(values)):
        values[z] = pet.values((slice(z, z + 1), slice(None), slice(None)))[0]
    return values


def _write_json(record: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        content = json.dumps(record, indent=2, allow_nan=False) + "\n"
        _replace(path, lambda temporary: temporary.write_text(content, encoding="utf-8"))


def _report(record: dict[str, Any]) -> None:
    """Say on the terminal what a user asks first; the JSON has the rest."""
    injected = record["injection_time"]
    reference = record["reference_time"]
    lines = [
        f"SUVbw min {record['min']:.3f}, median {record['median']:.3f}, max {record['max']:.3f} g/ml",
        f"units {record['units']}, decay correction {record['decay_correction']}",
        f"reference time {reference} ({record['reference_time_rule']})" if reference else "",
        f"injected at {injected} ({record['injection_time_rule']})" if injected else "",
        *(f"warning: {warning['code']}: {warning['sentence']}" for warning in record["warnings"]),
        f"{len(record['set_aside'])} other files set aside" if record["set_aside"] else "",
    ]
    console = _console()
    for line in filter(None, lines):
        console.print(line, markup=False)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _write_nifti(pet: Volume, path: Path) -> None:
    from app.nifti import save_nifti

    _replace(path, lambda temporary: save_nifti(_suvbw(pet), pet.geometry, temporary))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside the path, then rename: nobody sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            write(temporary)
            os.replace(temporary, path)  # noqa: PTH105  atomic on every platform
    except OSError as error:
        raise _UnwritableError(f"{path}: {error.strerror}") from error


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
