"""Reports reach FHIR servers and HL7 receivers once, and what does not is tried again or told to a person."""

from __future__ import annotations

import json
import shutil
import ssl
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hl7apy.parser import parse_message
from pydantic import ValidationError

from app.doctor import examine
from app.gateway.delivery.delivery import SCRATCH
from app.gateway.delivery.endpoints import look_at
from app.gateway.delivery.recall import recall
from app.gateway.network.peers import PeerError
from app.gateway.settings import FhirEndpoint, Gateway, Hl7Endpoint
from app.jobs.jobfile import destinations
from app.jobs.tables import DeliveryState
from app.settings import Settings
from app.settings_check import faults
from operators.domain import Assessed, Claim, Destination, Job, Language, ResultKind, ResultProfile
from operators.results.fhir import write_fhir
from operators.results.hl7 import write_hl7
from tests.app.gateway import finished
from tests.app.gateway.finished import Pacs, attempt, house, reason, rejection_of, remote
from tests.app.gateway.network.test_peers import authority  # noqa: F401  a fixture
from tests.app.gateway.receivers import (
    FhirServer,
    Hl7Listener,
    acknowledge,
    answers,
    closes,
    floods,
    half_answers,
    hangs,
)
from tests.operators.results.conftest import assess, build
from tests.servers import free_port

WAITING, CONFIRMED = DeliveryState.WAITING, DeliveryState.CONFIRMED
PARKED, WITHDRAWN = DeliveryState.PARKED, DeliveryState.WITHDRAWN
BOTH_LANGUAGES = Job(
    destinations=tuple(Destination(f"endpoint-{name}", language=Language(name)) for name in ("en", "de"))
)
PROFILE = ResultProfile("0.1.0", results=frozenset({ResultKind.FHIR, ResultKind.HL7}))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A study's results with reports for endpoints, as the worker keeps them."""
    folder = tmp_path_factory.mktemp("reported") / "output"
    study = finished.phantom_results()
    shutil.copytree(study.output, folder)
    assessed = assess(build(claim=Claim.LESION, job=BOTH_LANGUAGES))
    files = [*write_fhir(assessed, PROFILE, folder), *write_hl7(assessed, PROFILE, folder)]
    _list(folder, files)
    return replace(study, output=folder)


def _list(folder, files):
    manifest = json.loads((folder / "results.json").read_bytes())
    names = {file.path.name for file in files}
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] not in names]
    for file in files:
        entry = {
            "kind": str(file.kind),
            "path": file.path.name,
            "sha256": file.sha256,
            "destination": file.destination,
        }
        manifest["files"].append({**entry, "sop_class_uid": None, "sop_instance_uid": None})
    (folder / "results.json").write_text(json.dumps(manifest))


@contextmanager
def site(folder, study, *endpoints, remotes=(), **local):
    """A gateway with endpoints, and a study whose reports were computed."""
    with house(folder, *remotes) as built:
        content = built.gateway.model_dump(mode="json")
        content["endpoints"] = [{"name": "ehr", "timeout_s": 2, **one} for one in endpoints]
        content["ae_titles"] = [{"title": "THERAMAP", "destinations": ["ehr"], **local}]
        built.gateway = Gateway.model_validate(content)
        built.study = study
        yield built


def fhir(server, **more):
    return {"kind": "fhir", "url": server.url, "version": server.version, **more}


def hl7(port, **more):
    return {"kind": "hl7", "host": "127.0.0.1", "port": port, **more}


def revise(built, monkeypatch):
    """Have the next job of the study come to other results: other instances, another report."""
    folder, found = finished._renamed(built.study, "other")
    shutil.copy(built.study.output / "results.json", folder)
    other = Assessed(build(claim=Claim.LESION, suv=9.0, job=BOTH_LANGUAGES, centres=((3, 6, 6),)))
    _list(folder, [*write_fhir(other, PROFILE, folder), *write_hl7(other, PROFILE, folder)])
    monkeypatch.setattr(finished, "_renamed", lambda *_: (folder, found))
    return built.done("ehr", other="other")


# ---- FHIR ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["r4b", "r5"])
def test_a_report_is_posted_as_it_was_computed(tmp_path, reported, version):
    with FhirServer(version) as server, site(tmp_path, reported, fhir(server)) as built:
        delivery = built.done("ehr")
        assert attempt(built, delivery) == CONFIRMED
        ((headers, body),) = server.posts
        assert body == (reported.output / f"fhir-{version}-en.json").read_bytes()
        assert headers["Content-Type"] == "application/fhir+json"
        assert "Authorization" not in headers
        assert server.statuses("DiagnosticReport") == ["preliminary"]
        assert len(server.statuses("Observation")) > 5
        assert not any((built.gateway.data / SCRATCH).iterdir())
        assert attempt(built, delivery) == CONFIRMED
        assert len(server.posts) == 1


def test_each_endpoint_gets_the_report_in_its_language(tmp_path, reported):
    with FhirServer() as server, site(tmp_path, reported, fhir(server, language="de")) as built:
        assert attempt(built, built.done("ehr")) == CONFIRMED
        (report,) = (v[-1] for k, v in server.stored.items() if k[0] == "DiagnosticReport")
        assert report["language"] == "de"
        assert report["conclusion"].startswith("2 Läsionen")


def test_a_report_that_is_posted_again_after_a_kill_is_there_once(tmp_path, reported, monkeypatch):
    class KilledError(BaseException):
        pass

    def kill(*_):
        raise KilledError

    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        delivery = built.done("ehr")
        with monkeypatch.context() as patch:
            patch.setattr(built.ledger.deliveries, "confirm", kill)
            with pytest.raises(KilledError):
                attempt(built, delivery)
        assert attempt(built, delivery) == CONFIRMED
        assert len(server.posts) == 2
        assert server.posts[0][1] == server.posts[1][1]
        assert {len(versions) for versions in server.stored.values()} == {1}


LATER = {
    "HTTP_500": answers(500, b"<html>"),
    "HTTP_503": answers(503),
    "HTTP_429": answers(429),
    "HTTP_409": answers(409),
    "MALFORMED": answers(200, b"<html>Please log in</html>"),
    "UNREACHABLE": closes,
    "ABORTED": half_answers,
    "TIMEOUT": hangs(3),
    "TOO_MUCH": floods,
}


@pytest.mark.parametrize("code", LATER)
def test_what_may_pass_is_tried_again(tmp_path, reported, code):
    with FhirServer() as server, site(tmp_path, reported, fhir(server, timeout_s=1)) as built:
        delivery = built.done("ehr")
        server.script = [LATER[code]]
        assert attempt(built, delivery) == WAITING
        assert reason(built, delivery) == code
        assert built.queued(f"deliver:{delivery}:2") == [f"deliver:{delivery}:2"]
        assert attempt(built, delivery, 2) == CONFIRMED
        assert server.statuses("DiagnosticReport") == ["preliminary"]


def test_a_server_that_is_down_is_tried_again_for_days(tmp_path, reported):
    endpoint = {"kind": "fhir", "url": f"http://127.0.0.1:{free_port()}/fhir"}
    with site(tmp_path, reported, endpoint) as built:
        delivery = built.done("ehr")
        assert (attempt(built, delivery), reason(built, delivery)) == (WAITING, "UNREACHABLE")
        built.age(delivery, 7.1)
        assert (attempt(built, delivery, 2), reason(built, delivery)) == (PARKED, "GAVE_UP")


@pytest.mark.parametrize(
    "content",
    [
        {"resourceType": "OperationOutcome"},
        {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": "x"},
        {"resourceType": "Bundle", "entry": [{"response": {"status": "400 Bad"}}]},
        ["Bundle"],
        b"[" * 100_000,
    ],
)
def test_only_the_answer_of_a_whole_transaction_counts(tmp_path, reported, content):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        delivery = built.done("ehr")
        server.script = [answers(200, content)]
        assert (attempt(built, delivery), reason(built, delivery)) == (WAITING, "MALFORMED")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 422])
def test_what_the_server_refuses_is_for_a_person(tmp_path, reported, status):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        delivery = built.done("ehr")
        server.script = [answers(status, {"resourceType": "OperationOutcome", "text": "Anna Phantom"})]
        assert (attempt(built, delivery), reason(built, delivery)) == (PARKED, f"HTTP_{status}")
        assert "Anna" not in built.ledger.deliveries.get(delivery).reason
        assert built.ledger.deliveries.resume(delivery)
        assert attempt(built, delivery, 2) == CONFIRMED


def test_no_redirect_is_followed(tmp_path, reported):
    with FhirServer() as server, FhirServer() as other, site(tmp_path, reported, fhir(server)) as built:
        delivery = built.done("ehr")
        server.script = [answers(307, b"", Location=other.url)]
        assert (attempt(built, delivery), reason(built, delivery)) == (PARKED, "REDIRECTED")
        assert not other.posts


def test_token_and_password_are_read_from_their_files(tmp_path, reported):
    secret = tmp_path / "secret"
    with FhirServer() as server:
        endpoint = fhir(server, token_file=str(secret))
        with site(tmp_path / "a", reported, endpoint) as built:
            delivery = built.done("ehr")
            assert (attempt(built, delivery), reason(built, delivery)) == (WAITING, "UNREACHABLE")
            secret.write_text("abc\nX-Injected: 1")
            assert (attempt(built, delivery, 2), reason(built, delivery)) == (WAITING, "UNREACHABLE")
            secret.write_text("abc.def\n")
            assert attempt(built, delivery, 3) == CONFIRMED
        endpoint = fhir(server, user="us", password_file=str(secret))
        with site(tmp_path / "b", reported, endpoint) as built:
            assert attempt(built, built.done("ehr")) == CONFIRMED
    sent = [headers["Authorization"] for headers, _ in server.posts]
    assert sent == ["Bearer abc.def", "Basic dXM6YWJjLmRlZg=="]


def test_a_revision_is_a_report_of_its_own_and_the_former_is_withdrawn(tmp_path, reported, monkeypatch):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        first = built.done("ehr")
        assert attempt(built, first) == CONFIRMED
        former = set(server.stored)
        second = revise(built, monkeypatch)
        assert attempt(built, second) == CONFIRMED
        assert server.statuses("DiagnosticReport") == ["preliminary", "preliminary"]
        assert attempt(built, rejection_of(first)) == CONFIRMED
        for key, versions in server.stored.items():
            withdrawn = key in former and key[0] != "Device"
            assert (versions[-1].get("status") == "entered-in-error") == withdrawn
        (report,) = (v[-1] for k, v in server.stored.items() if k[0] == "DiagnosticReport" and k in former)
        assert report["conclusion"].startswith("Withdrawn: newer images")
        before = json.dumps(list(server.stored.values()))
        assert attempt(built, rejection_of(first)) == CONFIRMED  # it is over
        assert json.dumps(list(server.stored.values())) == before


def test_a_revision_with_the_same_results_withdraws_nothing(tmp_path, reported):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        first = built.done("ehr")
        assert attempt(built, first) == CONFIRMED
        assert attempt(built, built.done("ehr")) == CONFIRMED
        assert attempt(built, rejection_of(first)) == CONFIRMED
        assert server.statuses("DiagnosticReport") == ["preliminary"]
        assert len(server.posts) == 2


def test_a_recalled_report_is_withdrawn_and_one_that_waited_never_goes(tmp_path, reported):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        arrived, waiting = built.done("ehr", "a"), built.done("ehr", "b", other="b")
        assert attempt(built, arrived) == CONFIRMED
        algorithm = reported.found.results[0].algorithm.split(" ")[0]
        assert len(recall(built.ledger, algorithm)) == 2
        assert attempt(built, rejection_of(arrived)) == CONFIRMED
        assert server.statuses("DiagnosticReport") == ["entered-in-error"]
        assert attempt(built, waiting) == WITHDRAWN
        assert len(server.posts) == 2


def test_a_report_that_is_kept_no_more_is_withdrawn_by_hand(tmp_path, reported, monkeypatch):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        first = built.done("ehr")
        attempt(built, first)
        revise(built, monkeypatch)
        built.exchange.remove_output(built.ledger.deliveries.get(first).job_id)
        assert attempt(built, rejection_of(first)) == PARKED
        assert reason(built, rejection_of(first)) == "REPORT_GONE"


@pytest.mark.parametrize("kind", ["fhir", "hl7"])
def test_a_report_that_was_changed_or_never_written_does_not_go(tmp_path, reported, kind):
    endpoint = hl7(1) if kind == "hl7" else {"kind": "fhir", "url": "http://127.0.0.1:1/fhir"}
    name = "oru-en.hl7" if kind == "hl7" else "fhir-r4b-en.json"
    folder = tmp_path / "output"
    with site(tmp_path / "a", reported, endpoint) as built:
        shutil.copytree(reported.output, folder)
        content = (folder / name).read_bytes().replace(b"preliminary", b"final      ").replace(b"P1", b"P2")
        (folder / name).write_bytes(content)
        built.study = replace(reported, output=folder)
        delivery = built.done("ehr")
        assert (attempt(built, delivery), reason(built, delivery)) == (PARKED, "RESULT_DAMAGED")
    with site(tmp_path / "b", finished.phantom_results(), endpoint) as built:
        delivery = built.done("ehr")
        assert (attempt(built, delivery), reason(built, delivery)) == (PARKED, "REPORT_NOT_WRITTEN")


def test_a_refused_study_is_no_report(tmp_path, reported):
    with FhirServer() as server, site(tmp_path, reported, fhir(server)) as built:
        assert attempt(built, built.refused("ehr")) == CONFIRMED
        assert not server.posts


def test_the_pacs_is_asked_whose_the_study_is_now(tmp_path, reported):
    with Pacs() as pacs, FhirServer() as server:
        place = remote(pacs.port)
        with site(tmp_path, reported, fhir(server), remotes=[place], pacs="pacs") as built:
            delivery = built.done("ehr")
            assert (attempt(built, delivery), reason(built, delivery)) == (WAITING, "STUDY_UNKNOWN")
            pacs.identity = {"PatientID": "SOMEBODY-ELSE", "StudyInstanceUID": reported.uid}
            assert (attempt(built, delivery, 2), reason(built, delivery)) == (PARKED, "IDENTITY_CHANGED")
            assert not server.posts


# ---- HL7 -----------------------------------------------------------------------------------------


def test_a_message_is_sent_and_acknowledged(tmp_path, reported):
    with Hl7Listener() as listener, site(tmp_path, reported, hl7(listener.port)) as built:
        delivery = built.done("ehr")
        assert attempt(built, delivery) == CONFIRMED
        (message,) = listener.received
        assert message.encode() == (reported.output / "oru-en.hl7").read_bytes()
        assert parse_message(message, find_groups=True).validate()


REPLIES = {
    "MALFORMED": [
        lambda _: b"\x0bgarbage\x1c\r",
        lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n\x1c\r",
        lambda _: b"\x0bMSH|^~\\&|\rMSA\r\x1c\r",
        lambda _: b"\x0b\x1c\r",
        lambda _: acknowledge("AA")("ANOTHER"),
        acknowledge("ZZ"),
    ],
    "TIMEOUT": [lambda _: 3.0],
    "ABORTED": [lambda _: None, lambda _: b"\x0bMSH|"],
    "TOO_MUCH": [lambda _: b"\x0b" + b"x" * 70_000],
}


@pytest.mark.parametrize(
    ("code", "number"), [(code, n) for code, all_ in REPLIES.items() for n in range(len(all_))]
)
def test_what_is_not_acknowledged_is_sent_again_as_the_same_message(tmp_path, reported, code, number):
    with Hl7Listener() as listener, site(tmp_path, reported, hl7(listener.port, timeout_s=1)) as built:
        delivery = built.done("ehr")
        listener.reply = REPLIES[code][number]
        assert (attempt(built, delivery), reason(built, delivery)) == (WAITING, code)
        listener.reply = acknowledge("CA")
        assert attempt(built, delivery, 2) == CONFIRMED
        assert listener.received[0] == listener.received[1]


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_what_the_receiver_refuses_is_for_a_person(tmp_path, reported, code):
    with Hl7Listener() as listener, site(tmp_path, reported, hl7(listener.port)) as built:
        delivery = built.done("ehr")
        listener.reply = acknowledge(code)
        assert (attempt(built, delivery), reason(built, delivery)) == (PARKED, f"ACK_{code}")


def test_a_receiver_that_was_never_reached_is_told_of_no_withdrawal(tmp_path, reported, monkeypatch):
    with site(tmp_path, reported, hl7(free_port())) as built:
        first = built.done("ehr")
        assert (attempt(built, first), reason(built, first)) == (WAITING, "UNREACHABLE")
        revise(built, monkeypatch)
        assert attempt(built, first) == WITHDRAWN
        with pytest.raises(KeyError):
            built.ledger.deliveries.get(rejection_of(first))


def test_a_withdrawn_message_is_posted_as_wrong(tmp_path, reported, monkeypatch):
    with Hl7Listener() as listener, site(tmp_path, reported, hl7(listener.port)) as built:
        first = built.done("ehr")
        attempt(built, first)
        attempt(built, revise(built, monkeypatch))
        assert attempt(built, rejection_of(first)) == CONFIRMED
        former, later, taken = listener.received
        assert parse_message(taken, find_groups=True).validate()
        fillers = [message.split("\rOBR|")[1].split("|")[2] for message in (former, later, taken)]
        assert fillers[0] == fillers[2] != fillers[1]
        statuses = {line.split("|")[11] for line in taken.split("\r") if line.startswith("OBX|")}
        assert statuses == {"W"}


# ---- settings, job.json, doctor ------------------------------------------------------------------


def gateway(endpoints, **local):
    return Gateway.model_validate(
        {"endpoints": endpoints, "remotes": [remote(1)], "ae_titles": [{"title": "A", **local}]}
    )


@pytest.mark.parametrize(
    ("endpoint", "word"),
    [
        ({"kind": "fhir", "name": "x", "url": "http://ehr.example/fhir", "token_file": "t"}, "https only"),
        ({"kind": "fhir", "name": "x", "url": "https://u:p@ehr.example/fhir"}, "pattern"),
        ({"kind": "fhir", "name": "x", "url": "https://e", "user": "u"}, "go together"),
        ({"kind": "fhir", "name": "pacs", "url": "https://e"}, "is there twice"),
        ({"kind": "mail", "name": "x"}, "kind"),
    ],
)
def test_settings_that_cannot_work_are_refused(endpoint, word):
    with pytest.raises(ValidationError, match=word):
        gateway([endpoint])


def test_an_endpoint_may_be_a_destination_and_no_pacs():
    endpoint = {"kind": "hl7", "name": "ris", "host": "h", "port": 1}
    assert gateway([endpoint], destinations=["ris", "pacs"]).destination("ris").kind == "hl7"
    with pytest.raises(ValidationError, match="the remote ris"):
        gateway([endpoint], pacs="ris")


def test_job_asks_for_what_the_endpoints_want():
    endpoints = [
        {"kind": "hl7", "name": "ris", "host": "h", "port": 1},
        {"kind": "fhir", "name": "ehr", "url": "https://e"},
        {"kind": "fhir", "name": "praxis", "url": "https://p", "language": "de"},
    ]
    both = gateway(endpoints, destinations=["pacs", "ehr"])
    assert destinations(both, both.ae_titles[0])[1:] == [
        {"name": "endpoint-en", "results": ["fhir"], "language": "en"}
    ]
    alone = gateway(endpoints, destinations=["praxis", "ris"])
    assert destinations(alone, alone.ae_titles[0]) == [
        {"name": "endpoint-de", "results": ["fhir", "hl7", "sr"], "language": "de"},
        {"name": "endpoint-en", "results": ["hl7"], "language": "en"},
    ], "without any instance a job could not be withdrawn"
    none = gateway(endpoints, destinations=["pacs"])
    assert [each["results"] for each in destinations(none, none.ae_titles[0])] == [["seg", "sr"]]


def test_doctor_asks_an_endpoint_for_what_it_is():
    with FhirServer("r5") as server:
        endpoint = FhirEndpoint.model_validate({"name": "ehr", **fhir(server)})
        assert look_at(endpoint) == "FHIR 5.0.0 answers"
        for changes, code in (
            ({"version": "r4b"}, "VERSION"),
            ({"url": server.url + "/nowhere"}, "HTTP_404"),
            ({"url": f"http://127.0.0.1:{free_port()}"}, "UNREACHABLE"),
        ):
            with pytest.raises(PeerError) as caught:
                look_at(endpoint.model_copy(update=changes))
            assert caught.value.code == code
        assert not server.posts
    with Hl7Listener() as listener:
        receiver = Hl7Endpoint.model_validate({"name": "ris", **hl7(listener.port)})
        assert look_at(receiver) == f"127.0.0.1:{listener.port} answers"
        assert not listener.received


def test_doctor_says_what_to_do_about_an_endpoint():
    with FhirServer("r5") as server:
        endpoints = [
            {"name": "ehr", **fhir(server, version="r4b")},
            {"name": "study", **fhir(server)},
            {"name": "ris", **hl7(free_port())},
        ]
        settings = Settings.model_validate({"gateway": {"endpoints": endpoints}})
        found = {
            each.subject: each for each in examine(settings) if each.subject.split(" ")[0] in {"FHIR", "HL7"}
        }
    assert {subject: str(each.mark) for subject, each in found.items()} == {
        "FHIR ehr": "failed",
        "FHIR study": "ok",
        "HL7 ris": "failed",
    }
    assert found["FHIR ehr"].remedy == "set version to the server's: r4b (also for R4) or r5"
    assert "check host, port and the firewall" in found["HL7 ris"].remedy


def test_missing_files_of_an_endpoint_are_told(tmp_path):
    endpoint = {"kind": "fhir", "name": "ehr", "url": "https://e", "token_file": str(tmp_path / "none")}
    settings = Settings.model_validate({"gateway": {"endpoints": [endpoint]}})
    (fault,) = faults(settings, "deliver")
    assert fault.setting == "gateway.endpoints (ehr).token_file"


def test_tls_shows_our_certificate_and_wants_theirs(tmp_path, reported, authority):  # noqa: F811
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority / "ca.pem"))
    server_side.verify_mode = ssl.CERT_REQUIRED
    server_side.load_cert_chain(authority / "server.pem", authority / "server.key")

    def tls(name):
        files = {"certificate": f"{name}.pem", "key": f"{name}.key", "ca": "ca.pem"}
        return {key: str(authority / file) for key, file in files.items()}

    with Hl7Listener(server_side) as listener:
        for name, state in (("stranger", WAITING), ("client", CONFIRMED)):
            endpoint = hl7(listener.port, tls=tls(name))
            with site(tmp_path / name, reported, endpoint) as built:
                delivery = built.done("ehr")
                assert attempt(built, delivery) == state
                assert reason(built, delivery) in {None, "TLS", "ABORTED"}
        with site(tmp_path / "plain", reported, hl7(listener.port)) as built:
            assert attempt(built, built.done("ehr")) == WAITING
    assert len(listener.received) == 1
