"""docs/conformance.md says what the code negotiates: its tables against the receiver and the user agents."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import AE, build_context, build_role, evt, sop_class
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelMove,
    UnifiedProcedureStepPush,
)

from app.gateway.delivery.commitment import ask
from app.gateway.delivery.rejection import write_rejection
from app.gateway.delivery.sending import read_instance, send
from app.gateway.delivery.status_report import write_status_report
from app.gateway.network import query, retrieval
from app.gateway.network.peers import echo
from app.gateway.network.query import FoundInstance, find_study
from app.gateway.network.retrieval import Limits
from app.gateway.receiver import negotiation
from app.gateway.settings import Remote
from app.gateway.spool import Spool
from app.jobs.tables import JobState
from app.run import run
from app.settings import Settings
from tests.servers import LOOPBACK, Theramap, free_port, phantom_study

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
BATCH = 120
"""Contexts in one association; there may be 128 (PS3.8 section 7.1.1.13)."""
pytestmark = pytest.mark.timeout(120)


def table(name: str) -> list[dict[str, str]]:
    """Rows of a named table of the document."""
    text = DOCUMENT.read_text("utf-8")
    lines = text.split(f"<!-- table: {name} -->\n", 1)[1].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in _until_blank(lines)]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def _until_blank(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield line


def uids(cell: str) -> set[str]:
    return set(re.findall(r"[0-9]+(?:\.[0-9]+)+", cell))


# ---- the receiver --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theramap]:
    remote = {"name": "pacs", "ae_title": "PACS", "host": LOOPBACK, "port": free_port()}
    settings = {"gateway": {"receiver": {"processes": 1}, "remotes": [remote]}}
    with Theramap(tmp_path_factory.mktemp("receiver"), settings, role="receive") as theramap:
        yield theramap


def negotiate(
    receiver: Theramap,
    proposed: Sequence[tuple[str, Sequence[str]]],
    roles: Sequence[Any] = (),
    calling: str = "PACS",
) -> dict[str, tuple[str, ...]]:
    """Propose contexts; the transfer syntaxes of the accepted ones by abstract syntax."""
    accepted: dict[str, list[str]] = {}
    for start in range(0, len(proposed), BATCH):
        node = AE(calling)
        contexts = [build_context(*one) for one in proposed[start : start + BATCH]]
        association = node.associate(LOOPBACK, receiver.port, contexts, "THERAMAP", ext_neg=list(roles))
        assert association.is_established or association.is_aborted
        for context in association.accepted_contexts:
            accepted.setdefault(context.abstract_syntax, []).extend(context.transfer_syntax)
        if association.is_established:
            association.release()
    return {abstract: tuple(syntaxes) for abstract, syntaxes in accepted.items()}


def test_every_listed_storage_class_and_no_known_other_service_is_accepted(receiver: Theramap) -> None:
    listed = {row["UID"] for row in table("storage-sop-classes")}
    others = {row["UID"] for row in table("receiver-contexts")}
    known = {str(one) for one in negotiation._STORAGE_CLASSES}
    assert listed == known, f"not listed {sorted(known - listed)}, not known {sorted(listed - known)}"
    services = {str(value) for value in vars(sop_class).values() if isinstance(value, UID)}
    proposed = [(one, [ExplicitVRLittleEndian]) for one in sorted(listed | services)]
    assert set(negotiate(receiver, proposed)) == listed | others


def test_unknown_and_private_sop_classes_are_taken_for_storage(receiver: Theramap) -> None:
    unknown = ["1.2.840.10008.5.1.4.1.1.99999", "1.2.826.0.1.3680043.8.498.1", "2.25.1"]
    accepted = negotiate(receiver, [(one, [ExplicitVRLittleEndian]) for one in unknown])
    assert set(accepted) == set(unknown)


def test_every_listed_transfer_syntax_is_accepted_and_no_other(receiver: Theramap) -> None:
    listed = {row["UID"] for row in table("storage-transfer-syntaxes")}
    assert listed == {str(one) for one in AllTransferSyntaxes}
    accepted = negotiate(receiver, [(CTImageStorage, [one]) for one in sorted(listed)])
    assert set(accepted[CTImageStorage]) == listed
    private = "1.2.826.0.1.3680043.8.498.2"
    assert negotiate(receiver, [(CTImageStorage, [private])]) == {CTImageStorage: (private,)}
    assert negotiate(receiver, [(CTImageStorage, [private, "1.2.826.0.1.3680043.8.498.3"])]) == {}


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([JPEGBaseline8Bit, ExplicitVRBigEndian, ImplicitVRLittleEndian, ExplicitVRLittleEndian], "1.2.1"),
        ([JPEGBaseline8Bit, ExplicitVRBigEndian, ImplicitVRLittleEndian], ""),
        ([JPEGBaseline8Bit, ExplicitVRBigEndian], "1.2.2"),
    ],
)
def test_the_transfer_syntax_is_chosen_in_the_stated_order(
    receiver: Theramap, proposed: list[str], chosen: str
) -> None:
    wanted = {"1.2.1": ExplicitVRLittleEndian, "": ImplicitVRLittleEndian, "1.2.2": ExplicitVRBigEndian}
    assert negotiate(receiver, [(CTImageStorage, proposed)]) == {CTImageStorage: (wanted[chosen],)}


def test_other_services_take_the_listed_transfer_syntaxes_only(receiver: Theramap) -> None:
    for row in table("receiver-contexts"):
        accepted = set()
        for syntax in AllTransferSyntaxes:
            accepted |= set(negotiate(receiver, [(row["UID"], [syntax])]).get(row["UID"], ()))
        assert accepted == uids(row["Transfer syntaxes"]), row["Abstract syntax"]


def test_commitment_reports_are_taken_from_remotes_only_and_from_the_scp(receiver: Theramap) -> None:
    proposed = [(StorageCommitmentPushModel, [ExplicitVRLittleEndian])]
    assert negotiate(receiver, proposed, calling="STRANGER") == {}
    (row,) = (row for row in table("receiver-contexts") if row["UID"] == StorageCommitmentPushModel)
    assert row["Role"] == "SCU"
    role = build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    node = AE("PACS")
    node.add_requested_context(StorageCommitmentPushModel, [ExplicitVRLittleEndian])
    association = node.associate(LOOPBACK, receiver.port, ae_title="THERAMAP", ext_neg=[role])
    (context,) = association.accepted_contexts
    assert (context.as_scp, context.as_scu) == (True, False)
    association.release()


def test_no_listed_service_needs_a_context_that_is_not_there(receiver: Theramap) -> None:
    refused = [
        ModalityWorklistInformationFind,
        ModalityPerformedProcedureStep,
        UnifiedProcedureStepPush,
        StudyRootQueryRetrieveInformationModelMove,
    ]
    assert negotiate(receiver, [(one, [ExplicitVRLittleEndian]) for one in refused]) == {}


# ---- the user agents -----------------------------------------------------------------------------


@dataclass
class Listener:
    """An SCP that accepts everything and notes what was proposed."""

    port: int = field(default_factory=free_port)
    proposed: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    """As SCU and as SCP, by SOP class."""
    _server: Any = None

    def __enter__(self) -> Self:
        node = AE("PACS")
        known = {value for value in vars(sop_class).values() if isinstance(value, UID)}
        node.supported_contexts = []
        for one in sorted(known):
            node.add_supported_context(one, AllTransferSyntaxes, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_REQUESTED, self._note),
            (evt.EVT_C_ECHO, lambda event: 0),
            (evt.EVT_C_STORE, lambda event: 0),
            (evt.EVT_C_FIND, lambda event: iter(())),
            (evt.EVT_C_GET, lambda event: iter((0,))),
            (evt.EVT_C_MOVE, lambda event: iter((("localhost", 1), 0))),
            (evt.EVT_N_ACTION, lambda event: (0, None)),
        ]
        self._server = node.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _note(self, event: Any) -> None:
        requestor = event.assoc.requestor
        for context in requestor.requested_contexts:
            self.proposed.append((str(context.abstract_syntax), tuple(map(str, context.transfer_syntax))))
        for uid, role in requestor.role_selection.items():
            self.roles[str(uid)] = (bool(role.scu_role), bool(role.scp_role))

    def remote(self) -> Remote:
        return Remote(name="pacs", ae_title="PACS", host=LOOPBACK, port=self.port, timeout_s=5)


def heard(act: Callable[[Remote], object]) -> tuple[dict[str, set[str]], dict[str, tuple[bool, bool]]]:
    """What a user agent proposes: transfer syntaxes by abstract syntax, and roles."""
    with Listener() as listener:
        act(listener.remote())
        found: dict[str, set[str]] = {}
        for abstract, syntaxes in listener.proposed:
            found.setdefault(abstract, set()).update(syntaxes)
        return found, listener.roles


def stated(name: str, service: str) -> dict[str, set[str]]:
    return {row["UID"]: uids(row["Transfer syntaxes"]) for row in table(name) if row["Service"] == service}


def test_the_doctor_proposes_verification() -> None:
    assert heard(echo) == (stated("doctor-contexts", "echo"), {})


def test_the_query_proposes_c_find() -> None:
    assert heard(lambda remote: find_study(remote, "1.2.3")) == (stated("query-contexts", "find"), {})


def test_c_get_proposes_storage_as_scp(tmp_path: Path) -> None:
    rows = [row for row in table("query-contexts") if row["Service"] == "get"]
    syntaxes = {row["UID"] for row in table("retrieve-transfer-syntaxes")}
    storage = {row["UID"] for row in rows if row["Role"] == "SCP"}
    assert storage == {str(one) for one in retrieval.WANTED_CLASSES}
    (model,) = (row for row in rows if row["Role"] == "SCU")
    wanted = {"1.2.3": [FoundInstance(f"1.2.3.{number}", one) for number, one in enumerate(sorted(storage))]}
    act = partial(retrieval.get, study="1.2", wanted=wanted, folder=tmp_path, limits=_limits())
    expected = {model["UID"]: uids(model["Transfer syntaxes"]), **dict.fromkeys(storage, syntaxes)}
    assert heard(act) == (expected, dict.fromkeys(storage, (False, True)))


def test_c_move_proposes_the_study_root(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    ours = spool.folder("THERAMAP", "1.2")
    act = partial(
        retrieval.move,
        study="1.2",
        wanted={"1.2.3": []},
        folder=tmp_path,
        limits=_limits(),
        spool=spool,
        ours=ours,
    )
    assert heard(act) == (stated("query-contexts", "move"), {})


def _limits() -> Limits:
    return Limits(time.monotonic() + 10)


def test_the_query_asks_with_the_listed_keys() -> None:
    for level, fields, count in (
        ("STUDY", query._STUDY_FIELDS, 1),
        ("SERIES", query._SERIES_FIELDS, 2),
        ("IMAGE", query._INSTANCE_FIELDS, 3),
    ):
        rows = [row for row in table("query-keys") if row["Level"] == level]
        assert {row["Key"] for row in rows} == {*query._UNIQUE[:count], *fields}
        assert all(Tag(tag_for_keyword(row["Key"])) == _tag(row["Tag"]) for row in rows)


def test_delivery_proposes_storage_of_what_it_sends(tmp_path: Path) -> None:
    listed = stated("delivery-contexts", "store")
    images = sorted(phantom_study(tmp_path / "study", 1, 4).iterdir())
    instances = []
    for number, (sop_class_uid, syntaxes) in enumerate(sorted(listed.items())):
        (syntax,) = syntaxes
        data = pydicom.dcmread(images[number])
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
        data.file_meta.TransferSyntaxUID = UID(syntax)
        data.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        instances.append(read_instance(tmp_path / f"{number}.dcm"))
    assert heard(lambda remote: send(remote, instances, lambda: None)) == (listed, {})


def test_delivery_proposes_storage_commitment() -> None:
    def act(remote: Remote) -> None:
        ask(remote, "2.25.7", [(str(CTImageStorage), "2.25.8")], lambda *_: None)

    assert heard(act) == (stated("delivery-contexts", "commitment"), {})


# ---- what is written -----------------------------------------------------------------------------


def _tag(cell: str) -> int:
    group, element = re.fullmatch(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)", cell).groups()  # type: ignore[union-attr]
    return Tag(int(group, 16), int(element, 16))


def test_every_created_instance_has_the_listed_attributes(tmp_path: Path) -> None:
    study = phantom_study(tmp_path / "study", 1)
    assert run(study, tmp_path / "out", Settings(device="cpu"))[0] == 0
    seg, sr = (pydicom.dcmread(tmp_path / "out" / name) for name in ("seg.dcm", "sr.dcm"))
    moment = datetime(2024, 3, 5, 12, 0)
    withdrawn = SimpleNamespace(
        study_instance_uid=str(sr.StudyInstanceUID),
        series_instance_uid=str(sr.SeriesInstanceUID),
        sop_class_uid=str(sr.SOPClassUID),
        sop_instance_uid=str(sr.SOPInstanceUID),
    )
    note = write_rejection(sr, [withdrawn], "superseded", moment, tmp_path / "note.dcm")  # type: ignore[list-item]
    text = write_status_report(
        seg, str(seg.StudyInstanceUID), JobState.REFUSED, "NO_PET", "No PET.", moment, tmp_path / "text.dcm"
    )
    written = {
        "SEG": seg,
        "SR": sr,
        "KO": pydicom.dcmread(note.path),
        "TEXT": pydicom.dcmread(text.path),
    }
    classes = {row["UID"]: row["Modality"] for row in table("created-sop-classes")}
    for name, data in written.items():
        assert classes[data.SOPClassUID] == data.Modality
        assert data.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        _check_attributes(name, data)


def _check_attributes(name: str, data: pydicom.Dataset) -> None:
    for row in table("attributes"):
        if row["Instance"] not in {"all", name}:
            continue
        assert Tag(tag_for_keyword(row["Attribute"])) == _tag(row["Tag"]), row
        assert row["Presence"] in {"ALWAYS", "VNAP", "ANAP"}
        if row["Presence"] == "ALWAYS":
            assert data.get(row["Attribute"]) not in (None, "", []), f"{name}: {row['Attribute']}"
        if row["Presence"] == "VNAP":
            assert row["Attribute"] in data, f"{name}: {row['Attribute']}"


def test_every_uid_has_its_name() -> None:
    for name in ("storage-sop-classes", "storage-transfer-syntaxes"):
        for row in table(name):
            (title,) = (value for key, value in row.items() if key != "UID")
            assert UID(row["UID"]).name in (title, row["UID"])
