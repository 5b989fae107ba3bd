"""What is logged of a UID."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import log
from app.gateway.settings import Gateway
from app.log import configure_log, private


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    handlers, key = logging.root.handlers[:], log._site_key[:]
    yield
    logging.root.handlers[:], log._site_key[:] = handlers, key


def test_machines_with_one_key_file_log_one_hash_for_a_study(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    found = set()
    for machine in ("receiver", "worker"):
        configure_log("test", Gateway(data=tmp_path / machine, site_key_file=key))
        found.add(private("1.2.3"))
        assert not (tmp_path / machine).exists()
    assert len(found) == 1


def test_machines_without_one_log_hashes_of_their_own(tmp_path: Path) -> None:
    found = set()
    for machine in ("receiver", "worker", "worker"):
        configure_log("test", Gateway(data=tmp_path / machine))
        found.add(private("1.2.3"))
        assert (tmp_path / machine / "site.key").stat().st_mode & 0o777 == 0o600
    assert len(found) == 2
