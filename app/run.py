"""One run of the MAP: an input folder through the graph, and how it ended."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
from enum import IntEnum
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from app.models.folder import models_folder
from app.settings import Settings
from operators.domain import ResultKind, ResultProfile, RunFacts
from operators.errors import InputRefusal, ProtocolRefusal
from operators.segmentation.site import SegmentationSite
from operators.trace import Listener, Trace, peak_memory_mib

STACK_BYTES = 32 * 1024 * 1024
"""Holoscan asks for a stack of 32 MiB."""

VERSIONED = (
    "theramap",
    "holoscan-cu13",
    "monai-deploy-app-sdk",
    "pydicom",
    "highdicom",
    "numpy",
    "scipy",
    "torch",
)


class ExitCode(IntEnum):
    """What the process returns."""

    COMPLETED = 0
    FAILED = 1
    """A fault of the program: the log tells."""
    REFUSED = 2
    """At least one study was refused: results.json tells why."""


def run(
    input_path: Path,
    output_path: Path,
    settings: Settings,
    *,
    method: str | None = None,
    models: Path | None = None,
    listener: Listener | None = None,
) -> tuple[ExitCode, Trace]:
    """Run every study of a folder through the graph.

    Parameters
    ----------
    input_path : Path
        Folder of DICOM files, nested as it may be, with or without a ``job.json``.
    output_path : Path
        Folder of the results: of the one study, or with a folder for each of several.
    settings : Settings
        The site's settings.
    method : str, optional
        Segmentation method in place of the job's and the protocol's.
    models : Path, optional
        Folder of model packages where the settings name none, as the MAP's ``-m``.
    listener : callable, optional
        Told of each step, for a progress display.

    Returns
    -------
    tuple of ExitCode and Trace
        How it ended, and the times and outcomes.
    """
    prepare_holoscan()
    from app.application import WRITERS, TheramapApplication
    from app.protocols import load_protocols
    from app.settings_statements import model_validations, scanners
    from operators.chain import measure_prior
    from operators.response.respond import practice_of
    from operators.response.rules import load_rules
    from operators.response.rules.errors import RuleRefusal
    from operators.results.former import remove_former_results

    trace = Trace(listener) if listener else Trace()
    versions = software_versions()
    profile = ResultProfile(
        software_version=versions["theramap"],
        manufacturer=settings.manufacturer,
        device_serial_number=settings.device_serial_number,
        seg_series_number=settings.seg_series_number,
        sr_series_number=settings.sr_series_number,
        results=default_results(settings),
    )
    output_path.mkdir(parents=True, exist_ok=True)
    if output_path.resolve() == input_path.resolve():
        sentence = "The folder of the results is the input folder; results need a folder of their own."
        trace.input_refusal = InputRefusal("OUTPUT_IS_INPUT", sentence)
        return _refuse(trace, versions, settings, output_path)
    remove_former_results(output_path)
    try:
        protocols = load_protocols(settings.protocols)
        rules = None if settings.rules is None else load_rules(settings.rules)
    except (ProtocolRefusal, RuleRefusal) as refusal:
        trace.input_refusal = refusal
        return _refuse(trace, versions, settings, output_path)
    site = segmentation_site(settings, models)
    practice = practice_of(
        partial(measure_prior, protocols=protocols, site=site),
        site.models,
        site.device,
        rules,
        scanners(settings),
        model_validations(settings),
    )
    application = TheramapApplication(
        input_path=input_path,
        output_path=output_path,
        protocols=protocols,
        profile=profile,
        versions=versions,
        site=site,
        practice=practice,
        method=method,
        writers=WRITERS,
        trace=trace,
    )
    # What the imports have left would be looked through at each collection: half the time of loading.
    gc.freeze()
    application.run()
    if trace.input_refusal:
        return _refuse(trace, versions, settings, output_path)
    refused = any(outcome.status == "refused" for outcome in trace.outcomes)
    return ExitCode.REFUSED if refused else ExitCode.COMPLETED, trace


def _refuse(
    trace: Trace, versions: dict[str, str], settings: Settings, output_path: Path
) -> tuple[ExitCode, Trace]:
    """Write why there was no study to run."""
    from operators.results.manifest import write_input_refusal

    assert trace.input_refusal is not None
    facts = RunFacts(versions, settings.device, trace.timings_s(output_path), peak_memory_mib())
    write_input_refusal(trace.input_refusal, facts, output_path)
    return ExitCode.REFUSED, trace


def default_results(settings: Settings) -> frozenset[ResultKind]:
    """What is written for a destination that does not say what it wants."""
    named = {"picture" if name == "pictures" else name for name in settings.results}
    return frozenset({ResultKind.SEG, *map(ResultKind, named)})


def segmentation_site(settings: Settings, models: Path | None = None) -> SegmentationSite:
    """What the segmentation step has to know of the settings.

    Parameters
    ----------
    settings : Settings
        Their folder of models wins.
    models : Path, optional
        The MAP's folder of models; by default that of ``HOLOSCAN_MODEL_PATH``, else the one beside the
        program. It need not be there.
    """
    own = settings.models
    folder = models_folder(own, models)
    return SegmentationSite(
        device=settings.device,
        models=folder if folder is None or own.folder or folder.is_dir() else None,
        lesions=own.lesions,
        organs=own.organs,
        physiological=own.physiological,
        engine=own.engine,
        precision=own.precision,
        mirroring=own.mirroring,
        memory_bytes=None if own.memory_gib is None else int(own.memory_gib * 2**30),
    )


def prepare_holoscan() -> None:
    """Give Holoscan its stack and the CUDA runtime, and keep its log to errors, before it is imported."""
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "ERROR")
    _load_cuda_runtime()
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    enough = soft == resource.RLIM_INFINITY or soft >= STACK_BYTES
    if not enough and (hard == resource.RLIM_INFINITY or hard >= STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, hard))


def _load_cuda_runtime() -> None:
    """Load the CUDA runtime that is installed beside us: Holoscan links it, and few machines have one."""
    try:
        found = find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        return
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        library = Path(place) / "lib" / "libcudart.so.13"
        if library.is_file():
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return


def software_versions() -> dict[str, str]:
    """Versions of everything that computes or writes."""
    return {"python": platform.python_version()} | {name: version(name) for name in VERSIONED}
