"""DICOMweb services that we ask of other systems (PS3.18): QIDO-RS, and WADO-RS one instance at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter

from app.gateway.network.peers import MESSAGE_BYTES, PeerError
from app.gateway.settings import Remote
from operators.study.attributes import HOSTILE_INPUT_ERRORS

CHUNK_BYTES = 1 << 18
ANY_INSTANCE = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@contextmanager
def connect(remote: Remote, max_bytes: int = MESSAGE_BYTES) -> Iterator[DICOMwebClient]:
    """Give a client of a remote's services; what fails within is raised as PeerError.

    Parameters
    ----------
    remote : Remote
        With a ``dicomweb`` section. Its ``timeout_s`` bounds the connection and each silence.
    max_bytes : int
        The most that one answer may have.

    Raises
    ------
    PeerError
        ``UNREACHABLE``, ``TLS``, ``TIMEOUT``, ``HTTP_nnn``, ``TOO_MUCH`` or ``MALFORMED``.
    """
    try:
        with _session(remote, max_bytes) as session:
            client = DICOMwebClient(_section(remote).url.rstrip("/"), session=session)
            client.set_http_retry_params(retry=False)
            yield client
    except requests.HTTPError as error:
        code = 0 if error.response is None else error.response.status_code
        raise PeerError(f"HTTP_{code:03d}", f"{remote.name} answered with HTTP status {code}") from error
    except requests.exceptions.SSLError as error:
        raise PeerError("TLS", f"{remote.name} cannot be reached by TLS") from error
    except requests.Timeout as error:
        raise PeerError("TIMEOUT", f"{remote.name} did not answer in time") from error
    except requests.ConnectionError as error:
        raise PeerError("UNREACHABLE", f"{remote.name} cannot be reached") from error
    except (requests.RequestException, ValueError) as error:
        raise PeerError("MALFORMED", f"{remote.name} did not answer as DICOMweb does") from error


def search(
    remote: Remote, path: Sequence[str], keys: Mapping[str, str], fields: Sequence[str], limit: int
) -> list[Dataset]:
    """Search by QIDO-RS (PS3.18 section 10.6).

    Parameters
    ----------
    remote : Remote
        With a ``dicomweb`` section.
    path : sequence of str
        UIDs of study and series below which to search: none for studies, one for series, two for
        instances.
    keys : mapping of str to str
        What must match, by keyword.
    fields : sequence of str
        What is asked for beside, by keyword.
    limit : int
        The most matches that are taken.

    Raises
    ------
    PeerError
        See :func:`connect`; ``TOO_MUCH``: there are more matches.
    """
    with connect(remote) as client:
        ask = (client.search_for_studies, client.search_for_series, client.search_for_instances)[len(path)]
        found = ask(*path, fields=list(fields), limit=limit + 1, search_filters=dict(keys))
    if len(found) > limit:
        raise PeerError("TOO_MUCH", f"{remote.name} answered with more than {limit} matches")
    return [_data_set(remote, match) for match in found]


def retrieve(client: DICOMwebClient, study: str, series: str, instance: str) -> bytes:
    """Return the Part 10 file of one instance as the remote has it (PS3.18 section 10.4)."""
    address = f"{client.base_url}/studies/{study}/series/{series}/instances/{instance}"
    answer = client._session.get(address, headers={"Accept": ANY_INSTANCE})
    answer.raise_for_status()
    return only_part(answer.headers.get("Content-Type", ""), answer.content)


def only_part(content_type: str, body: bytes) -> bytes:
    """Return the content of a multipart body of one part (RFC 2046 section 5.1.1).

    Raises
    ------
    ValueError
        It has no or several parts.
    """
    _, _, parameter = content_type.partition("boundary=")
    delimiter = b"--" + parameter.split(";")[0].strip().strip('"').encode()
    begin = body.find(b"\r\n\r\n")
    end = body.rfind(b"\r\n" + delimiter + b"--")
    first = body.find(delimiter)
    if len(delimiter) < 3 or not 0 <= first < begin < end or b"\r\n" + delimiter in body[begin:end]:
        raise ValueError("no multipart body of one part")
    return body[begin + 4 : end]


def _section(remote: Remote) -> Any:
    if remote.dicomweb is None:
        raise PeerError("UNREACHABLE", f"{remote.name} has no dicomweb section in the settings")
    return remote.dicomweb


def _session(remote: Remote, max_bytes: int) -> requests.Session:
    section = _section(remote)
    session = requests.Session()
    session.trust_env = False  # no proxy, password or authority but those of the settings
    session.max_redirects = 0
    if section.user is not None:
        try:
            password = section.password_file.read_text("utf-8").rstrip("\r\n")
        except OSError as error:
            raise PeerError("UNREACHABLE", f"the password file of {remote.name} cannot be read") from error
        session.auth = (section.user.encode(), password.encode())
    session.verify = True if section.ca is None else str(section.ca)
    if section.certificate is not None:
        session.cert = (str(section.certificate), str(section.key or section.certificate))
    adapter = BoundedAdapter(remote.timeout_s, max_bytes)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _data_set(remote: Remote, match: dict[str, Any]) -> Dataset:
    try:
        return Dataset.from_json(match)
    except (*HOSTILE_INPUT_ERRORS, KeyError) as error:
        raise PeerError("MALFORMED", f"{remote.name} answered with JSON that is not DICOM") from error


class BoundedAdapter(HTTPAdapter):
    """Reads answers up to a size and within a time, whatever is asked for."""

    def __init__(self, timeout_s: float, max_bytes: int) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        options |= {"stream": True, "timeout": self._timeout_s}
        answer = super().send(request, **options)
        content, deadline = bytearray(), time.monotonic() + 20 * self._timeout_s
        for chunk in answer.iter_content(CHUNK_BYTES):
            content += chunk
            if len(content) > self._max_bytes:
                answer.close()
                raise PeerError("TOO_MUCH", f"an answer has more than {self._max_bytes} bytes")
            if time.monotonic() > deadline:
                answer.close()
                raise requests.ReadTimeout("the answer takes too long", request=request)
        answer._content = bytes(content)
        return answer
