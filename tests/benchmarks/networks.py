"""The engine beside nnUNetPredictor: same weights, same real whole-body image, same run.

``python -m tests.benchmarks.networks``. A 31 M parameter nnU-Net with random weights (its time does not
depend on them), tiles of 128³, no mirroring in either. Each run is a process of its own, in turn, and ratios
are taken pair by pair.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from app.models.nnunet import convert_nnunet
from app.models.request import ImportRequest
from operators.domain import Series, Volume
from operators.segmentation.package.types import Modality, Task
from operators.study.headers import read_headers
from operators.volume.build import build_pet
from tests.nnunet_models import Model
from tests.nnunet_peer import write_results

REPOSITORY = Path(__file__).resolve().parents[2]
LARGE = Model(
    "large",
    patch=(128, 128, 128),
    spacing=(4.0, 4.0, 4.0),
    channels=("PET",),
    schemes=("ZScoreNormalization",),
    strides=(1, 2, 2, 2, 2, 2),
    features=(32, 64, 128, 256, 320, 320),
    labels=(("background", 0), ("one", 1), ("two", 2)),
)
WAYS: dict[str, dict[str, Any]] = {
    "theramap, air skipped": {},
    "theramap, nothing skipped": {"skip_air": False},
    "theramap, nothing skipped, ONNX Runtime": {"skip_air": False, "engine": "onnxruntime"},
    "theramap, nothing skipped, torch": {"skip_air": False, "engine": "torch"},
    "theramap, air skipped, bfloat16": {"precision": "bfloat16"},
}


def measure(which: str, folder: Path, image: Path, labels: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Run one chain in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.network_chain", which, str(folder), str(image)]
    command += [json.dumps(options), str(labels)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    record: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {**record, "labels": np.load(labels)}


@contextmanager
def prepared(series: Path) -> Iterator[tuple[Path, Path, Path]]:
    """The results folder, the package made of it, and the image as an array."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = write_results(work / "results", LARGE)
        package = work / "package"
        package.mkdir()
        request = ImportRequest(
            name="large",
            task=Task.LESIONS,
            sha256="0" * 64,
            importer="benchmark",
            orientation="none",
            modalities=(Modality.PET,),
            configuration=LARGE.configuration,
        )
        convert_nnunet(results.parent, package, request)
        pet = read_pet(series)
        image = work / "image.npz"
        np.savez(image, array=pet.values().astype(np.float32)[None], affine=pet.geometry.affine)
        yield results, package, image


def read_pet(folder: Path) -> Volume:
    """SUVbw of the one PET series of a folder."""
    instances, _ = read_headers(folder)
    pet = tuple(instance for instance in instances if instance.header.Modality == "PT")
    volume, _, _ = build_pet(Series(pet[0].header.SeriesInstanceUID, pet))
    return volume


def dice(ours: Any, theirs: Any) -> float:
    """The worst label's."""
    values = [
        2.0
        * np.count_nonzero((ours == one) & (theirs == one))
        / (np.count_nonzero(ours == one) + np.count_nonzero(theirs == one))
        for one in np.unique(theirs)
    ]
    return float(min(values))


def run(series: Path, repeats: int, ways: Sequence[str]) -> None:
    """Print the comparison on a PET series."""
    with prepared(series) as (results, package, image):
        with np.load(image) as stored:
            shape = stored["array"].shape[1:]
        labels = image.with_name("labels.npy")
        pairs: dict[str, list[tuple[Any, Any]]] = {way: [] for way in ways}
        for _ in range(repeats):
            theirs = measure("nnunet", results, image, labels, {})
            for way in ways:
                pairs[way].append((theirs, measure("theramap", package, image, labels, WAYS[way])))
    print(f"\n### Networks: whole-body PET {shape} (z, y, x), 31 M parameters, tiles of 128³\n")
    print("| | wall time, s | nnU-Net / this | peak, MiB | before the image | tiles (skipped) | worst Dice |")
    print("|---|---|---|---|---|---|---|")
    _row("nnUNetPredictor", [pair[0] for pair in pairs[ways[0]]], "1", "", "1")
    for way, found in pairs.items():
        ours = [pair[1] for pair in found]
        ratio = statistics.median(a["wall_s"] / b["wall_s"] for a, b in found)
        worst = min(dice(b["labels"], a["labels"]) for a, b in found)
        tiles = f"{ours[0]['tiles']} ({ours[0]['skipped']})"
        title = f"{way} ({ours[0]['engine']}, {ours[0]['precision']})"
        _row(title, ours, f"{ratio:.2f}", tiles, f"{worst:.4f}")
    for way, found in pairs.items():
        times = found[-1][1]["times_s"]
        print(f"\n{way}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items()))


def _row(title: str, records: Sequence[dict[str, Any]], ratio: str, tiles: str, worst: str) -> None:
    wall, peak, before = (_spread(records, name) for name in ("wall_s", "peak_mib", "imports_mib"))
    print(f"| {title} | {wall} | {ratio} | {peak} | {before} | {tiles} | {worst} |")


def whole_body() -> Path | None:
    """The real whole-body PET, unpacked once; None where the real images are not beside the repository."""
    archive = REPOSITORY.parent / "shared" / "data" / "sts001_wholebody_pet.tar.xz"
    folder = Path.home() / ".cache" / "theramap-bench" / "sts001_wholebody_pet"
    if not folder.is_dir():
        if not archive.is_file():
            return None
        part = folder.with_suffix(".part")
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="data")
        part.rename(folder)
    return folder / "STS_001" / "FDG_PET" / "image"


def _spread(records: Sequence[dict[str, Any]], name: str) -> str:
    values = [record[name] for record in records]
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=Path, help="Folder of a PET series in place of STS_001's.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments = parser.parse_args()
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}")
    series = arguments.series or whole_body()
    if series is None:
        sys.exit("not measured: the real whole-body PET is not beside the repository; name one with --series")
    run(series, arguments.repeats, arguments.ways)


if __name__ == "__main__":
    main()
