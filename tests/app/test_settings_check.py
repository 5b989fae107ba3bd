"""Faults that need a look around are told before anything starts, and only to the role they concern."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from app.gateway.settings import Gateway
from app.settings import Settings
from app.settings_check import faults


def told(role: str = "serve", **gateway: Any) -> list[str]:
    return [str(fault) for fault in faults(Settings.model_validate({"gateway": gateway}), role)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "40", "-subj", "/CN=t"]
    for name in ("one", "other"):
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        subprocess.run([*command, *files], check=True, capture_output=True)
    return {"certificate": f"{folder}/one.pem", "key": f"{folder}/one.key", "ca": f"{folder}/other.pem"}


def test_defaults_have_no_fault() -> None:
    assert told() == []


def test_two_services_on_one_port_are_refused() -> None:
    assert told(receiver={"port": 8080}) == [
        "gateway.console.port: gateway.receiver.port is 8080 too; give each a port of its own"
    ]
    assert told(receiver={"port": 8080, "host": "127.0.0.2"}) == []


def test_stow_without_certificates_is_for_loopback_only() -> None:
    stow = {"port": 8081, "host": "0.0.0.0"}
    assert len(told(receiver={"stow": stow})) == 1
    assert told(receiver={"stow": {"port": 8081, "host": "127.0.0.1"}}) == []


def test_tls_files_must_be_there_and_belong_together(certificate: dict[str, str], tmp_path: Path) -> None:
    assert told("receive", receiver={"tls": certificate}) == []
    absent = certificate | {"key": str(tmp_path / "absent.key")}
    (sentence,) = told("receive", receiver={"tls": absent})
    assert "absent.key: No such file" in sentence
    swapped = certificate | {"certificate": certificate["ca"]}
    (sentence,) = told("receive", receiver={"tls": swapped})
    assert sentence.startswith("gateway.receiver.tls.certificate: KEY_VALUES_MISMATCH")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    (sentence,) = told("receive", receiver={"tls": certificate | {"ca": str(text)}})
    assert sentence.startswith("gateway.receiver.tls.ca: ")


def test_worker_elsewhere_needs_no_certificate_of_the_receiver() -> None:
    tls = {"certificate": "a", "key": "b", "ca": "c"}
    assert len(told("receive", receiver={"tls": tls})) == 3
    assert told("work", receiver={"tls": tls}) == []


DATABASE = "postgresql+psycopg://theramap@db/theramap"


def test_database_password_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss:w/rd\n")
    gateway = Gateway.model_validate({"database": DATABASE, "database_password_file": file})
    assert make_url(gateway.database_url).password == "p@ss:w/rd"
    assert gateway.database_url == "postgresql+psycopg://theramap:p%40ss%3Aw%2Frd@db/theramap"
    assert "w/rd" not in repr(gateway)


@pytest.mark.parametrize("role", ["serve", "receive", "work", "deliver", "console"])
def test_every_role_needs_the_database_password(tmp_path: Path, role: str) -> None:
    file = tmp_path / "password"
    (sentence,) = told(role, database=DATABASE, database_password_file=str(file))
    assert sentence == (
        f"gateway.database_password_file: {file}: No such file or directory; "
        "give a file that holds the password and that this user may read"
    )
    file.write_text("\n")
    (sentence,) = told(role, database=DATABASE, database_password_file=str(file))
    assert sentence.startswith(f"gateway.database_password_file: {file} is empty; ")
    file.write_text("secret")
    assert told(role, database=DATABASE, database_password_file=str(file)) == []


@pytest.mark.parametrize(
    ("database", "sentence"),
    [
        ("postgresql+psycopg://theramap:secret@db/theramap", "the password is in database already"),
        ("postgresql+psycopg://db/theramap", "needs a database such as"),
        ("sqlite:////var/theramap.db", "needs a database such as"),
        (None, "needs a database such as"),
    ],
)
def test_password_file_without_a_database_that_lacks_one_is_refused(
    database: str | None, sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Gateway.model_validate({"database": database, "database_password_file": "/none"})


@pytest.mark.parametrize("role", ["serve", "receive", "work", "deliver", "console"])
def test_every_role_needs_the_site_key_that_is_named(tmp_path: Path, role: str) -> None:
    file = tmp_path / "key"
    (sentence,) = told(role, site_key_file=str(file))
    assert sentence.startswith(f"gateway.site_key_file: {file}: No such file or directory; ")
    file.write_bytes(b"short")
    (sentence,) = told(role, site_key_file=str(file))
    assert sentence == (
        f"gateway.site_key_file: {file} holds fewer than 16 bytes; "
        "give a file of random bytes, the same to every machine"
    )
    file.write_bytes(bytes(16))
    assert told(role, site_key_file=str(file)) == []


def test_password_file_must_be_readable(tmp_path: Path) -> None:
    web = {"url": "http://pacs/dicom-web", "user": "u", "password_file": str(tmp_path / "password")}
    remote = {"name": "pacs", "ae_title": "P", "host": "pacs", "port": 104, "dicomweb": web}
    (sentence,) = told("deliver", remotes=[remote])
    assert "gateway.remotes (pacs).dicomweb.password_file" in sentence
    (tmp_path / "password").write_text("secret")
    assert told("deliver", remotes=[remote]) == []


def test_protocol_and_method_must_exist() -> None:
    (sentence,) = told(ae_titles=[{"title": "A", "protocol": "pmsa"}])
    assert sentence.endswith("there is no protocol pmsa; choose one of fapi, fdg, psma, sstr")
    (sentence,) = told(ae_titles=[{"title": "A", "method": "guess"}])
    assert "there is no method guess; choose one of" in sentence


def test_models_that_are_not_there_are_told_to_the_worker(tmp_path: Path) -> None:
    settings = Settings.model_validate({"models": {"folder": tmp_path / "misspelt"}})
    (fault,) = faults(settings, "work")
    assert fault.setting == "models.folder"
    assert str(tmp_path / "misspelt") in fault.sentence
    assert list(faults(settings, "receive")) == []
    (tmp_path / "misspelt").mkdir()
    assert list(faults(settings, "work")) == []
