"""Hostile files, alone and among a good study: never a traceback, never a hang, nothing good is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.demo.phantom import PhantomSpec, write_phantom
from app.run import ExitCode, run
from app.settings import Settings

pytestmark = [pytest.mark.data, pytest.mark.timeout(240)]
SMALL = PhantomSpec(shape=(40, 48, 48), spacing_mm=(5.0, 6.0, 6.0), organs=False, n_lesions=3)


def listed(output: Path) -> set[str]:
    """Every input path that some results.json names."""
    entries = [json.loads(p.read_text()) for p in output.rglob("results.json")]
    return {entry["path"] for results in entries for entry in results["set_aside"]}


def test_corpus_alone_is_refused_and_listed(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    corpus = unpacked("malformed_dicom.tar.xz")
    code, trace = run(corpus, tmp_path / "out", Settings(device="cpu"))
    assert code == ExitCode.REFUSED
    assert all(outcome.status == "refused" for outcome in trace.outcomes)
    assert not list((tmp_path / "out").rglob("*.dcm"))
    bad = {p.relative_to(corpus).as_posix() for p in corpus.rglob("*") if p.is_file()}
    assert len(listed(tmp_path / "out") & bad) > 0


def test_good_study_among_the_corpus_gives_the_results_it_gives_alone(
    unpacked: Callable[[str], Path], tmp_path: Path
) -> None:
    corpus = unpacked("malformed_dicom.tar.xz")
    write_phantom(tmp_path / "alone", SMALL)
    shutil.copytree(tmp_path / "alone", tmp_path / "mixed" / "study")
    shutil.copytree(corpus, tmp_path / "mixed" / "corpus")
    run(tmp_path / "alone", tmp_path / "out-alone", Settings(device="cpu"))
    _, trace = run(tmp_path / "mixed", tmp_path / "out-mixed", Settings(device="cpu"))
    completed = [outcome for outcome in trace.outcomes if outcome.status == "completed"]
    assert len(completed) == 1
    folder = completed[0].results_json.parent
    for name in ("seg.dcm", "sr.dcm"):
        assert (folder / name).read_bytes() == (tmp_path / "out-alone" / name).read_bytes()
    bad = {f"corpus/{p.relative_to(corpus).as_posix()}" for p in corpus.rglob("*") if p.is_file()}
    unlisted = bad - listed(tmp_path / "out-mixed")
    assert not unlisted
