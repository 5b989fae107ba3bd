"""One engine on one image, from the raw array to the label map, in a process of its own.

Run as ``python -m tests.benchmarks.network_chain nnunet|theramap FOLDER IMAGE.npz OPTIONS.json``; prints one
line of JSON. Loading the network is timed apart: a service does it once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

Record = dict[str, Any]


def peak_memory_mib() -> float:
    """Largest resident set of this program; ru_maxrss would begin with that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024.0


def run_nnunet(folder: Path, image: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> Record:
    """nnUNetPredictor, as it comes, without mirroring."""
    from tests.nnunet_peer import predictor_of

    began = time.perf_counter()
    predictor = predictor_of(folder)
    loaded = time.perf_counter()
    imports = peak_memory_mib()
    spacing = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    began_run = time.perf_counter()
    labels = predictor.predict_single_npy_array(image, {"spacing": spacing})
    return {
        "wall_s": time.perf_counter() - began_run,
        "load_s": loaded - began,
        "imports_mib": imports,
        "labels": np.asarray(labels),
    }


def run_theramap(
    folder: Path, image: np.ndarray[Any, Any], affine: np.ndarray[Any, Any], **options: Any
) -> Record:
    """Our predict; what it loads is in the session's cache when the time begins, as nnUNetPredictor's is."""
    from operators.domain import Geometry
    from operators.segmentation.engines.choose import open_session
    from operators.segmentation.engines.names import EngineName, Precision
    from operators.segmentation.network.predict import predict
    from operators.segmentation.network.types import Image
    from operators.segmentation.options import Options
    from operators.segmentation.package.read import read_package

    enums = {"engine": EngineName, "precision": Precision}
    chosen = Options(**{name: enums.get(name, bool)(value) for name, value in options.items()})
    began = time.perf_counter()
    package = read_package(folder)
    for stage in package.stages:
        open_session(package, stage, chosen)
    loaded = time.perf_counter()
    imports = peak_memory_mib()
    began_run = time.perf_counter()
    prediction = predict(package, Image(image, Geometry(image.shape[1:], affine, "1.2.3")), chosen)
    run = prediction.run
    return {
        "wall_s": time.perf_counter() - began_run,
        "load_s": loaded - began,
        "imports_mib": imports,
        "labels": prediction.labels,
        "engine": run.engine,
        "precision": run.precision,
        "tiles": run.tiles,
        "skipped": run.tiles_skipped,
        "times_s": dict(run.times_s),
    }


def main() -> None:
    which, folder, image, options, output = sys.argv[1:]
    torch.set_num_threads(2)
    with np.load(image) as stored:
        array, affine = stored["array"], stored["affine"]
    runner = {"nnunet": run_nnunet, "theramap": run_theramap}[which]
    record = runner(Path(folder), array, affine, **json.loads(options))
    np.save(output, record.pop("labels"))
    print(json.dumps({**record, "peak_mib": peak_memory_mib()}))


if __name__ == "__main__":
    main()
