"""theramap on one folder: ``python -m tests.benchmarks.our_chain FOLDER OUT RESULTS [MODELS]``.

RESULTS is ``seg`` or ``seg,sr,pictures``; without MODELS, thresholds segment. Prints one line of JSON: wall
time of the run, memory, and the time and peak of each operator.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from app.run import prepare_holoscan, run
from app.settings import Settings
from operators.trace import peak_memory_mib

prepare_holoscan()

import app.application  # noqa: F401  the bare imports, before the clock starts


def main() -> None:
    folder, output, results = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    models = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    settings = Settings.model_validate(
        {"results": [name for name in results.split(",") if name != "seg"], "device": "cpu"}
    )
    imports_mib = peak_memory_mib()
    start = time.perf_counter()
    code, trace = run(folder, output, settings, models=models)
    wall_s = time.perf_counter() - start
    record = {
        "code": int(code),
        "wall_s": wall_s,
        "imports_mib": imports_mib,
        "peak_mib": peak_memory_mib(),
        "timings_s": trace.timings_s(output),
        "peaks_mib": trace.peaks_mib,
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
