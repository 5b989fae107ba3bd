"""Priors fetched from a real Orthanc by C-GET, C-MOVE and DICOMweb, and what is left out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, JPEGLSLossless, generate_uid

from app.demo.phantom import PhantomLesion, PhantomSpec, write_phantom
from app.gateway.expected import was_expected
from app.gateway.network.peers import PeerError
from app.gateway.network.query import Identity
from app.gateway.network.retrieval import FetchError, Limits
from app.gateway.priors import OUR_MODEL, Current, PriorsFound, contradicts, current_of, fetch_priors
from app.gateway.settings import Gateway
from app.gateway.spool import Spool, hashed
from operators.domain import ResultProfile
from tests.app.gateway.spooled import change, small_study, study_uid_of
from tests.servers import Orthanc, Theramap, free_port, storescu

NOW = datetime(2025, 6, 1, 10, 30)


def report(source: Path, path: Path, model: str, sop_class: str = Comprehensive3DSRStorage) -> str:
    """Write what looks like a structured report of a study; its SOP Instance UID."""
    data = dcmread(source, stop_before_pixels=True)
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = sop_class, generate_uid(), generate_uid()
    data.Modality, data.ManufacturerModelName, data.PatientName = "SR", model, "X"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    dcmwrite(path, data, enforce_file_format=True)
    return str(data.SOPInstanceUID)


def compressed(folder: Path) -> Path:
    """A prior whose pixels are compressed."""
    spec = PhantomSpec(
        shape=(4, 16, 16),
        spacing_mm=(12.0, 12.0, 12.0),
        lesions=(PhantomLesion((0.0, 0.0, 0.0), 14.0, 8.0),),
        organs=False,
        seed=9,
        ct=False,
        patient_id="PRIOR-1",
        scan_start=NOW.replace(year=2024, month=1),
        transfer_syntax_uid=JPEGLSLossless,
    )
    write_phantom(folder, spec)
    return folder


class Site:
    """Orthanc with a patient's history, and a receiver of ours that it may send to."""

    def __init__(self, folder: Path, orthanc: Orthanc, theramap: Theramap) -> None:
        self.orthanc, self.theramap, self.folder = orthanc, theramap, folder
        self.current = small_study(folder / "current", NOW)
        self.latest = small_study(folder / "latest", NOW.replace(year=2024, month=12), seed=1)
        first = min(self.latest.iterdir())
        self.ours = report(first, self.latest / "ours.dcm", OUR_MODEL)
        self.theirs = report(first, self.latest / "theirs.dcm", "Another")
        report(first, self.latest / "dose.dcm", OUR_MODEL, EnhancedSRStorage)
        self.compressed = compressed(folder / "compressed")
        self.old = small_study(folder / "old", NOW.replace(year=2020), seed=2)
        self.later = small_study(folder / "later", NOW.replace(month=7), seed=3)
        self.namesake = change(
            small_study(folder / "namesake", NOW.replace(month=2), seed=4), PatientBirthDate="19010101"
        )
        for name in ("current", "latest", "compressed", "old", "later", "namesake"):
            extra = ["--propose-jls-lossless"] if name == "compressed" else []
            sent = storescu(folder / name, orthanc.dicom_port, "PACS", extra=extra)
            assert sent.returncode == 0, sent.stderr

    def settings(self, via: str, studies: int = 3, days: int = 730) -> Gateway:
        web = {
            "url": self.orthanc.dicomweb_url,
            "user": self.orthanc.user,
            "password_file": self.orthanc.password_file,
        }
        pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": self.orthanc.dicom_port}
        priors = {"studies": studies, "max_age_days": days, "via": via}
        content: dict[str, Any] = {
            "data": self.theramap.data,
            "remotes": [{**pacs, "dicomweb": web, "timeout_s": 10}],
            "ae_titles": [{"title": "THERAMAP", "pacs": "pacs", "priors": priors}],
        }
        return Gateway.model_validate(content)

    def fetch(
        self, place: Path, via: str = "c-get", limits: Limits | None = None, **more: int
    ) -> PriorsFound:
        settings, current = self.settings(via, **more), current_of(self.current)
        assert current is not None
        limits = limits or Limits(time.monotonic() + 30)
        return fetch_priors(settings, settings.ae_titles[0], current, place, limits)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("priors"), free_port()
    with (
        Orthanc(folder / "orthanc", {"map": ("THERAMAP", port)}) as orthanc,
        Theramap(folder / "theramap", {"gateway": {"receiver": {"port": port}}}, "receive") as theramap,
    ):
        yield Site(folder, orthanc, theramap)


@pytest.mark.parametrize("via", ["c-get", "c-move", "dicomweb"])
def test_fetches_the_earlier_studies_whole_and_as_they_are(site: Site, tmp_path: Path, via: str) -> None:
    found = site.fetch(tmp_path, via)
    assert found.study_instance_uids == (study_uid_of(site.latest), study_uid_of(site.compressed))
    first, second = found.priors
    assert (first.date, first.instances, first.folder) == ("20241201", 8, tmp_path / "prior-1")
    assert [one.sop_instance_uid for one in first.reports] == [site.ours]
    assert (second.instances, second.reports) == (4, ())
    files = {path.name for path in first.folder.iterdir()}
    assert len(files) == 9
    for source in [*site.latest.glob("P*"), *site.compressed.iterdir()]:
        sent = dcmread(source)
        folder = second.folder if source.parent == site.compressed else first.folder
        came = dcmread(folder / f"{hashed(str(sent.SOPInstanceUID))}.dcm")
        assert came.PixelData == sent.PixelData
        assert came.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert [(one.study_instance_uid, one.code) for one in found.left_out] == [
        (study_uid_of(site.namesake), "OTHER_PATIENT")
    ]
    assert not found.is_cut_short


def test_what_c_move_brings_is_not_taken_for_a_study_to_process(site: Site, tmp_path: Path) -> None:
    site.fetch(tmp_path, "c-move", studies=1)
    spool = Spool(site.theramap.data)
    folder = spool.folder("THERAMAP", study_uid_of(site.latest))
    arrivals = [status.st_mtime for status in folder.files().values()]
    assert len(arrivals) >= 8
    assert was_expected(site.theramap.data, folder, arrivals)
    assert not was_expected(site.theramap.data, folder, [*arrivals, time.time() + 60])
    assert not was_expected(site.theramap.data, spool.folder("THERAMAP", "1.2"), arrivals)


def test_number_and_age_are_limited(site: Site, tmp_path: Path) -> None:
    assert site.fetch(tmp_path / "a", studies=1).study_instance_uids == (study_uid_of(site.latest),)
    assert site.fetch(tmp_path / "b", days=60).study_instance_uids == ()


@pytest.mark.parametrize(
    ("via", "limit"),
    [("c-get", {"instances": 3}), ("c-get", {"bytes": 9_000}), ("dicomweb", {"bytes": 9_000})],
)
def test_a_prior_beyond_the_limits_leaves_nothing(
    site: Site, tmp_path: Path, via: str, limit: dict[str, int]
) -> None:
    found = site.fetch(tmp_path, via, Limits(time.monotonic() + 30, **limit), studies=1)
    assert found.priors == ()
    assert {one.code for one in found.left_out} - {"TOO_MUCH"} == {"OTHER_PATIENT", "TOO_LARGE"}
    assert list(tmp_path.iterdir()) == []


def test_a_prior_that_does_not_come_whole_is_left_out(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.gateway.network import retrieval

    def lossy(*arguments: Any) -> None:
        retrieval_get(*arguments)
        min(arguments[3].iterdir()).unlink()

    retrieval_get = retrieval.get
    monkeypatch.setattr(retrieval, "get", lossy)
    found = site.fetch(tmp_path, studies=1)
    assert found.priors == ()
    assert sorted(one.code for one in found.left_out) == ["INCOMPLETE", "INCOMPLETE", "OTHER_PATIENT"]
    assert found.is_cut_short


def test_a_stop_and_the_deadline_end_it(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="STOPPED"):
        site.fetch(tmp_path, limits=Limits(time.monotonic() + 30, stop=lambda: True))
    found = site.fetch(tmp_path, limits=Limits(time.monotonic()))
    assert {one.code for one in found.left_out} == {"OTHER_PATIENT", "OUT_OF_TIME"}
    assert found.is_cut_short


def test_a_pacs_that_is_away_is_an_error(site: Site, tmp_path: Path) -> None:
    settings, current = site.settings("c-get"), current_of(site.current)
    remote = settings.remotes[0].model_copy(update={"port": free_port()})
    away = settings.model_copy(update={"remotes": (remote,)})
    assert current is not None
    with pytest.raises(PeerError, match="UNREACHABLE"):
        fetch_priors(away, away.ae_titles[0], current, tmp_path, Limits(time.monotonic() + 5))


def test_without_a_patient_id_or_date_nothing_is_asked(site: Site, tmp_path: Path) -> None:
    settings = site.settings("c-get")
    for identity, made, code in (
        (Identity("", "", "A", "", ""), "20250601", "NO_PATIENT_ID"),
        (Identity("PRIOR-1", "", "", "", ""), "2025", "NO_DATE"),
    ):
        current = Current("1.2", identity, made, "")
        found = fetch_priors(settings, settings.ae_titles[0], current, tmp_path, Limits(time.monotonic() + 5))
        assert (found.priors, [one.code for one in found.left_out]) == ((), [code])


def test_identities_contradict_by_what_both_state() -> None:
    ours = Identity("1", "H", "A^B", "19600101", "F")
    assert not contradicts(ours, Identity("1", "H", "Married^B", "19600101", "F"))
    assert not contradicts(ours, Identity("1", "", "", "", ""))
    for other in (("2", "H", "19600101", "F"), ("1", "I", "19600101", "F"), ("1", "H", "19600102", "F")):
        assert contradicts(ours, Identity(other[0], other[1], "A^B", other[2], other[3]))
    assert contradicts(ours, Identity("1", "H", "A^B", "19600101", "M"))


def test_our_reports_are_known_by_the_name_that_we_give_them() -> None:
    assert ResultProfile.__dataclass_fields__["model_name"].default == OUR_MODEL


def test_current_of_a_folder_without_dicom_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"none")
    assert current_of(tmp_path) is None
    shutil.rmtree(tmp_path)
