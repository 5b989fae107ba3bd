"""A package on an image: its stages in order, each prepared, slid over and brought back."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from time import perf_counter
from typing import Any

import torch
from numpy.typing import NDArray

from operators.domain import NetworkRun, Note
from operators.segmentation.engines.choose import open_session, rest_sessions
from operators.segmentation.engines.session import Facts
from operators.segmentation.network.finish import Finished, finish
from operators.segmentation.network.fit import fit
from operators.segmentation.network.prepare import prepare
from operators.segmentation.network.recover import (
    RECOVERABLE,
    Attempt,
    Situation,
    first_attempt,
    next_attempt,
)
from operators.segmentation.network.types import Image, Prediction
from operators.segmentation.network.window import Progress
from operators.segmentation.options import Options
from operators.segmentation.package.types import Package, Stage

PHASES = ("load", "prepare", "network", "accumulate", "finish")


@dataclass(slots=True)
class _Book:
    """What is written down while stages run."""

    times_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    notes: list[Note] = field(default_factory=list)
    tiles: int = 0
    skipped: int = 0
    batch: int = 0
    facts: Facts | None = None
    without: frozenset[str] = frozenset()
    """Devices that failed in this study."""


def predict(package: Package, image: Image, options: Options) -> Prediction:
    """Segment an image.

    Parameters
    ----------
    package : Package
    image : Image
        The package's inputs on one grid.
    options : Options

    Returns
    -------
    Prediction
        Label map, and probabilities when asked for, on the image's grid.

    Raises
    ------
    SegmentationRefusal
        No engine can run the package, memory does not suffice, or the network's output is no result. Running
        out of GPU memory and losing the GPU are no reasons: the study is then computed on the processor,
        and a note says so.
    """
    return _lane(os.getpid()).submit(_predict, package, image, options).result()


@cache
def _lane(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  a forked process has no threads
    """The one thread in which a process runs its networks.

    The graph has a new thread for each study, but torch remembers for each thread apart which of cuDNN's
    algorithms was the fastest: every study would begin by trying them out, for seconds.
    """
    return ThreadPoolExecutor(1, "networks")


def _predict(package: Package, image: Image, options: Options) -> Prediction:
    book = _Book()
    former: NDArray[Any] | None = None
    with torch.inference_mode():
        for stage in package.stages[:-1]:
            alone = replace(options, labels=None, probabilities=False, probability_of=())
            former = _run_stage(package, stage, image, alone, former, book).labels
        last = package.stages[-1]
        finished = _run_stage(package, last, image, options, former, book)
    rest_sessions()  # what comes after the network may need the memory
    if not finished.labels.any():
        book.notes.append(_found_nothing(package, book))
    return Prediction(
        finished.labels,
        finished.probabilities,
        _network_run(package, last, options, book),
        tuple(dict.fromkeys(book.notes)),
        finished.probability,
    )


def _run_stage(
    package: Package,
    stage: Stage,
    image: Image,
    options: Options,
    former: NDArray[Any] | None,
    book: _Book,
) -> Finished:
    attempt = first_attempt(stage, options, book.without)
    while True:
        there = Situation()
        try:
            return _try(package, stage, image, former, attempt, there, book)
        except RECOVERABLE as error:
            attempt, note = next_attempt(error, attempt, there)
        book.notes.append(note)
        book.without = attempt.without


def _try(
    package: Package,
    stage: Stage,
    image: Image,
    former: NDArray[Any] | None,
    attempt: Attempt,
    there: Situation,
    book: _Book,
) -> Finished:
    began = perf_counter()
    session, notes = open_session(package, stage, attempt.options, without=attempt.without)
    # tiles may be expected on the host by an engine that computes on a GPU
    there.on_gpu, there.device_name = session.facts.device != "cpu", session.facts.device
    there.precision = session.facts.precision
    loaded = perf_counter()
    book.times_s["load"] += loaded - began
    prepared = prepare(image, package, stage, attempt.options, session.device, former)
    began = perf_counter()
    book.times_s["prepare"] += began - loaded
    fitted = fit(session, stage, prepared, attempt)
    window = fitted.window
    there.ring, there.size = window.sums.device.type, window.tile.size
    progress = Progress(fitted.batch)
    try:
        finished = finish(
            window.slide(prepared.array, progress),
            stage,
            prepared.way,
            attempt.options.labels,
            attempt.options.probabilities,
            attempt.options.probability_of,
        )
    finally:
        book.times_s["network"] += progress.network_s
        book.times_s["accumulate"] += progress.accumulate_s
        book.times_s["finish"] += perf_counter() - began - progress.network_s - progress.accumulate_s
        book.notes += [*notes, *fitted.notes, *progress.notes]
    book.tiles += len(window.plan.starts)
    book.skipped += window.plan.skipped
    book.batch, book.facts = progress.batch, session.facts
    return finished


def _found_nothing(package: Package, book: _Book) -> Note:
    if book.tiles == 0:
        sentence = "no body was found in the image, so the network was not run"
    else:
        sentence = "the network found nothing in this image that it was asked for"
    return Note(
        "MODEL_FOUND_NOTHING",
        f"The result of the model {package.identity} is empty: {sentence}. Check that the image is of the "
        "kind for which the model was made.",
    )


def _network_run(package: Package, stage: Stage, options: Options, book: _Book) -> NetworkRun:
    facts = book.facts
    if facts is None:
        message = "a package without stages was run"
        raise ValueError(message)
    return NetworkRun(
        package=package.identity,
        digest=package.digest,
        engine=f"{facts.engine} {facts.version}",
        provider=facts.provider,
        device=facts.device,
        precision=facts.precision,
        folds=tuple(w.fold for w in stage.weights if options.folds is None or w.fold in options.folds),
        mirrored_axes=stage.mirror_axes if options.mirroring else (),
        tiles=book.tiles,
        tiles_skipped=book.skipped,
        batch=book.batch,
        times_s={phase: round(seconds, 3) for phase, seconds in book.times_s.items()},
    )
