"""``make bench``: the whole chain and each operator, beside the SDK's stock chain in the same run.

Each chain runs in a process of its own, in turn (A B A B …), after one warm-up each; the ratios are
taken pair by pair, so that they hold when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any, get_args

import pydicom

from app.demo.phantom import PhantomSpec, write_phantom
from app.settings import Result
from tests.benchmarks import load, networks, queue_cost

REPOSITORY = Path(__file__).resolve().parents[2]
THRESHOLD_SUV = 4.0


def study(cache: Path, shape: tuple[int, int, int], ct_shape: tuple[int, int, int], *, ct: bool) -> Path:
    """Write the phantom once and return its folder."""
    name = f"pet{'x'.join(map(str, shape))}" + (f"-ct{'x'.join(map(str, ct_shape))}" if ct else "")
    folder = cache / name
    if not folder.is_dir():
        spacing = tuple(extent / count for extent, count in zip((1000.0, 700.0, 700.0), shape, strict=True))
        part = folder.with_suffix(".part")
        spec = PhantomSpec(shape=shape, spacing_mm=spacing, ct=ct, ct_shape=ct_shape, n_lesions=10, seed=1)
        write_phantom(part, spec)
        part.rename(folder)
    return folder


def measure(module: str, *arguments: str) -> dict[str, Any]:
    """Run a chain in a process of its own and read its line of JSON."""
    with tempfile.TemporaryDirectory() as output:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", arguments[0], output, *arguments[1:]]
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    record: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return record


def above_imports(record: dict[str, Any]) -> float:
    return float(record["peak_mib"] - record["imports_mib"])


def stored_threshold(folder: Path) -> float:
    """The SUV threshold as a value of the rescaled image, for the peer that knows no SUV."""
    from operators.domain import Series
    from operators.study.headers import read_headers
    from operators.volume.build import build_pet

    instances, _ = read_headers(folder)
    pet = tuple(i for i in instances if i.header.Modality == "PT")
    _, suv, _ = build_pet(Series(pet[0].header.SeriesInstanceUID, pet))
    return THRESHOLD_SUV / float(suv.suvbw_factor[0])


def side_by_side(folder: Path, repeats: int) -> None:
    threshold = str(stored_threshold(folder))
    pairs = []
    for turn in range(repeats + 1):
        stock = measure("stock_chain", str(folder), threshold)
        ours = measure("our_chain", str(folder), "seg")
        assert ours["code"] == 0
        if turn:  # the first is a warm-up
            pairs.append((stock, ours))
    print("\n### Folder to SEG, PET alone, against the stock chain\n")
    print("| | stock chain | theramap | ratio (median of pairs) |\n|---|---|---|---|")
    _row("wall time, s", pairs, lambda record: record["wall_s"], "{:.2f}")
    _row("peak memory above the imports, MiB", pairs, above_imports, "{:.0f}")
    _row("imports, MiB", pairs, lambda record: record["imports_mib"], "{:.0f}")


def _row(title: str, pairs: list[tuple[Any, Any]], read: Any, form: str) -> None:
    stock = [read(pair[0]) for pair in pairs]
    ours = [read(pair[1]) for pair in pairs]
    ratio = statistics.median(a / b for a, b in zip(stock, ours, strict=True))
    cells = [
        f"{form.format(statistics.median(v))} ({form.format(min(v))}–{form.format(max(v))})"
        for v in (stock, ours)
    ]
    print(f"| {title} | {cells[0]} | {cells[1]} | {ratio:.2f} |")


def by_operator(folder: Path, repeats: int) -> None:
    records = [measure("our_chain", str(folder), "seg,sr,pictures") for _ in range(repeats + 1)][1:]
    assert all(record["code"] == 0 for record in records)
    print("\n### Every operator, PET with CT, all results\n")
    print("| operator | wall time, s (median) | process peak after it, MiB |\n|---|---|---|")
    for name in records[0]["timings_s"]:
        wall = statistics.median(record["timings_s"][name] for record in records)
        peak = statistics.median(record["peaks_mib"][name] for record in records)
        print(f"| {name} | {wall:.3f} | {peak:.0f} |")
    wall = statistics.median(record["wall_s"] for record in records)
    peak = statistics.median(record["peak_mib"] for record in records)
    imports = statistics.median(record["imports_mib"] for record in records)
    print(f"| whole run, graph included | {wall:.3f} | {peak:.0f} ({imports:.0f} are imports) |")


def everything(cache: Path, repeats: int) -> None:
    """Print what every kind of result of 100 lesions costs, each beside binary SEG and SR alone."""
    folder = cache / "lesions100"
    if not folder.is_dir():
        part = folder.with_suffix(".part")
        shape, ct_shape = (350, 200, 200), (350, 256, 256)
        write_phantom(
            part,
            PhantomSpec(shape=shape, spacing_mm=(3.0, 3.5, 3.5), ct_shape=ct_shape, n_lesions=100, seed=1),
        )
        part.rename(folder)
    kinds = ",".join(("seg", *(kind for kind in get_args(Result) if kind != "pictures")))
    pairs = []
    for turn in range(repeats + 1):
        plain, full = (
            measure("our_chain", str(folder), results, str(REPOSITORY / "models"))
            for results in ("seg,sr", kinds)
        )
        if turn:
            pairs.append((plain, full))
    print("\n### 100 lesions, everything on\n")
    print("| | SEG and SR | every kind | ratio (median of pairs) |\n|---|---|---|---|")
    _row("writing, s", pairs, writing_s, "{:.2f}")
    _row("whole run, s", pairs, lambda record: record["wall_s"], "{:.2f}")
    _row("peak memory, MiB", pairs, lambda record: record["peak_mib"], "{:.0f}")
    for name in pairs[0][1]["timings_s"]:
        wall = statistics.median(full["timings_s"][name] for _, full in pairs)
        print(f"| {name}, s | | {wall:.2f} | |")


def writing_s(record: dict[str, Any]) -> float:
    """Time of all that is written."""
    before = {"load", "select", "volume", "segment", "quantify", "respond"}
    return float(sum(wall for name, wall in record["timings_s"].items() if name not in before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "theramap-bench")
    parser.add_argument("--pet", type=int, nargs=3, default=(400, 400, 400), metavar=("Z", "Y", "X"))
    parser.add_argument("--ct", type=int, nargs=3, default=(400, 512, 512), metavar=("Z", "Y", "X"))
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    shape, ct_shape = tuple(arguments.pet), tuple(arguments.ct)
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
    )
    print(f"pydicom {pydicom.__version__}; PET {shape}, CT {ct_shape} (z, y, x), {arguments.repeats} repeats")
    side_by_side(study(arguments.cache, shape, ct_shape, ct=False), arguments.repeats)
    by_operator(study(arguments.cache, shape, ct_shape, ct=True), arguments.repeats)
    everything(arguments.cache, min(arguments.repeats, 3))
    queue_cost.own_cost(1000)
    queue_cost.two_workers(40, 0.5)
    load.run()
    whole_body = networks.whole_body()
    if whole_body is None:
        print("\nnetworks not measured: the real whole-body PET is not beside the repository")
    else:
        networks.run(whole_body, 3, tuple(networks.WAYS))


if __name__ == "__main__":
    main()
