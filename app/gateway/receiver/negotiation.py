"""Who may associate with us, and for what: decisions, no network (PS3.8 section 9.3, PS3.7 Annex D.3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import sop_class
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext

from app.gateway.receiver.identity import is_uid
from app.gateway.receiver.storing import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from app.gateway.settings import Gateway, LocalAe
from operators.study.attributes import HOSTILE_INPUT_ERRORS

VERIFICATION = UID("1.2.840.10008.1.1")
STORAGE_COMMITMENT = UID("1.2.840.10008.1.20.1")
APPLICATION_CONTEXT = UID("1.2.840.10008.3.1.1.1")
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
"""Of a context that proposes several transfer syntaxes the first of these is chosen; they need no codec."""
ACCEPTED, NO_REASON, NOT_SUPPORTED, NO_TRANSFER_SYNTAX = 0, 2, 3, 4
"""Result of a presentation context (PS3.8 Table 9-18)."""
MAX_CONTEXTS = 128
MAX_ITEMS = MAX_CONTEXTS + 2
USER_INFORMATION = 0x50
ITEMS = frozenset({0x10, 0x20, USER_INFORMATION})
SUB_ITEMS = frozenset({0x51, 0x54})
"""Items, and those of the user information, that say something to us: maximum length and roles."""
TITLES_BYTES = 68
"""What precedes the items."""

_STORAGE_CLASSES = frozenset(sop_class._STORAGE_CLASSES.values()) | frozenset(
    sop_class._NON_PATIENT_OBJECT_CLASSES.values()
)
_OTHER_SERVICES = (
    frozenset(value for value in vars(sop_class).values() if isinstance(value, UID)) - _STORAGE_CLASSES
)
"""SOP classes and instances that are known and are no storage: an unknown one may be a storage class."""


class Rejection(Enum):
    """Why an association is rejected: result, source and reason of the A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    ADDRESS_NOT_ALLOWED = (1, 1, 1)
    CALLING_NOT_RECOGNISED = (1, 1, 3)
    CALLED_NOT_RECOGNISED = (1, 1, 7)
    APPLICATION_CONTEXT = (1, 1, 2)
    PROTOCOL_VERSION = (1, 2, 2)
    LIMIT_EXCEEDED = (2, 3, 2)


class RejectedError(Exception):
    """The association is not accepted."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.name.lower())
        self.rejection = rejection


class MalformedRequestError(Exception):
    """The A-ASSOCIATE-RQ cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer asks for."""

    called: str
    calling: str
    max_pdu_bytes: int
    """The longest P-DATA-TF it takes; 0 is without limit (PS3.8 Annex D.1)."""
    primitive: Any


@dataclass(frozen=True, slots=True)
class Permission:
    """What a peer may do."""

    ae: LocalAe | None
    """Our AE for which it may store; None when it may not."""
    report: bool
    """Whether it may report on storage commitment."""


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def decode_request(body: bytes) -> Request:
    """Decode an A-ASSOCIATE-RQ.

    Parameters
    ----------
    body : bytes
        What follows the PDU's header.

    Raises
    ------
    RejectedError
        It asks for another protocol version or application context.
    MalformedRequestError
        It cannot be decoded.
    """
    pdu = A_ASSOCIATE_RQ()
    body = _without_others(body)
    try:
        pdu.decode(b"\x01\x00" + len(body).to_bytes(4, "big") + body)
        primitive = pdu.to_primitive()
        if not pdu.protocol_version & 1:
            raise RejectedError(Rejection.PROTOCOL_VERSION)
        if primitive.application_context_name != APPLICATION_CONTEXT:
            raise RejectedError(Rejection.APPLICATION_CONTEXT)
        if not 0 < len(primitive.presentation_context_definition_list) <= MAX_CONTEXTS:
            raise MalformedRequestError("no presentation context, or too many")
        for proposed in primitive.presentation_context_definition_list:
            if not proposed.abstract_syntax or not proposed.transfer_syntax:
                raise MalformedRequestError("a presentation context without a syntax")
        longest = primitive.maximum_length_received
    except HOSTILE_INPUT_ERRORS as error:
        raise MalformedRequestError(type(error).__name__) from error
    called, calling = (title.strip() for title in (pdu.called_ae_title, pdu.calling_ae_title))
    return Request(called, calling, int(longest or 0), primitive)


def _without_others(body: bytes) -> bytes:
    """Leave items of other types out of an A-ASSOCIATE-RQ: unknown ones are to be skipped (PS3.8 9.3.1)."""
    kept = [body[:TITLES_BYTES]]
    for kind, content in _items(body, TITLES_BYTES):
        if len(kept) > MAX_ITEMS:
            raise MalformedRequestError("too many items")
        if kind == USER_INFORMATION:
            known = (_item(sub, inner) for sub, inner in _items(content, 0) if sub in SUB_ITEMS)
            kept.append(_item(kind, b"".join(known)))
        elif kind in ITEMS:
            kept.append(_item(kind, content))
    return b"".join(kept)


def _items(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Type and content of each item (PS3.8 Table 9-12 and the like)."""
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position + 2 : position + 4], "big")
        if position + 4 > len(data) or end > len(data):
            raise MalformedRequestError("an item is longer than what is there")
        yield data[position], data[position + 4 : end]
        position = end


def _item(kind: int, content: bytes) -> bytes:
    return bytes((kind, 0)) + len(content).to_bytes(2, "big") + content


def permission(gateway: Gateway, request: Request, address: str) -> Permission:
    """Decide what a peer may do.

    Raises
    ------
    RejectedError
        Nothing.
    """
    ae = gateway.local(request.called)
    callers = [remote.ae_title for remote in gateway.remotes if remote.calling_ae_title == request.called]
    if ae is None and not callers:
        raise RejectedError(Rejection.CALLED_NOT_RECOGNISED)
    rejection = None if ae is None else refusal(ae, request.calling, address)
    report = request.calling in callers
    if rejection is not None and not report:
        raise RejectedError(rejection)
    if ae is None and not report:
        raise RejectedError(Rejection.CALLING_NOT_RECOGNISED)
    return Permission(None if rejection is not None else ae, report)


def refusal(ae: LocalAe, calling: str, address: str) -> Rejection | None:
    """Return why a peer may not store for an AE of ours; None when it may."""
    if ae.allow.addresses and not any(plain_address(address) in net for net in ae.allow.addresses):
        return Rejection.ADDRESS_NOT_ALLOWED
    if ae.allow.ae_titles and calling not in ae.allow.ae_titles:
        return Rejection.CALLING_NOT_RECOGNISED
    return None


def plain_address(address: str) -> IPv4Address | IPv6Address:
    """Return an address without zone; an IPv4 address behind an IPv6 socket is one of IPv4."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def is_storage(abstract_syntax: str) -> bool:
    """Whether a SOP class is taken for a storage class: a known one, a private or an unknown one."""
    return abstract_syntax in _STORAGE_CLASSES or (
        is_uid(abstract_syntax) and UID(abstract_syntax) not in _OTHER_SERVICES
    )


def transfer_syntax(proposed: Sequence[str]) -> str | None:
    """Choose the transfer syntax of a storage context.

    An uncompressed one first; else the first that is known; else a private one, if it is alone.
    """
    for wanted in (*UNCOMPRESSED, *(one for one in proposed if one in AllTransferSyntaxes)):
        if wanted in proposed:
            return str(wanted)
    return str(proposed[0]) if len(proposed) == 1 and is_uid(proposed[0]) else None


def accept(request: Request, may: Permission, max_pdu_bytes: int) -> tuple[dict[int, Context], bytes]:
    """Negotiate the presentation contexts.

    Returns
    -------
    tuple of dict and bytes
        The accepted contexts by their ID, and the A-ASSOCIATE-AC.
    """
    accepted: dict[int, Context] = {}
    results = []
    for proposed in request.primitive.presentation_context_definition_list:
        outcome, chosen = _judge(str(proposed.abstract_syntax), proposed.transfer_syntax, may)
        result = PresentationContext()
        result.context_id = proposed.context_id
        result.abstract_syntax = proposed.abstract_syntax
        result.transfer_syntax = [chosen]
        result.result = outcome
        results.append(result)
        if outcome == ACCEPTED:
            accepted[int(proposed.context_id)] = Context(str(proposed.abstract_syntax), chosen)
    classes = {context.abstract_syntax for context in accepted.values()}
    return accepted, _acceptance(request, results, _roles(request, classes), max_pdu_bytes)


def _judge(abstract_syntax: str, proposed: Sequence[str], may: Permission) -> tuple[int, str]:
    """Return result and transfer syntax of one context; the syntax is without meaning unless accepted."""
    if abstract_syntax in (VERIFICATION, STORAGE_COMMITMENT):
        if abstract_syntax == STORAGE_COMMITMENT and not may.report:
            return NOT_SUPPORTED, str(proposed[0])
        plain = next((one for one in UNCOMPRESSED[:2] if one in proposed), None)
        return (NO_TRANSFER_SYNTAX, str(proposed[0])) if plain is None else (ACCEPTED, str(plain))
    if may.ae is None or not is_storage(abstract_syntax):
        return NOT_SUPPORTED, str(proposed[0])
    chosen = transfer_syntax(proposed)
    return (NO_TRANSFER_SYNTAX, str(proposed[0])) if chosen is None else (ACCEPTED, chosen)


def _roles(request: Request, accepted: Iterable[str]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Answer the proposed roles (PS3.7 section D.3.3.4): the sender of instances is the SCU.

    The sender of commitment reports is the SCP, and so are we when we are asked to commit, which we do
    not serve.
    """
    answers = []
    for uid, asked in _proposed_roles(request).items():
        if uid in accepted:
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid = UID(uid)
            role.scu_role = bool(asked[0]) and uid != STORAGE_COMMITMENT
            role.scp_role = bool(asked[1]) and uid == STORAGE_COMMITMENT
            if role.scu_role or role.scp_role:  # neither cannot be said: without an answer the default holds
                answers.append(role)
    return answers


def _proposed_roles(request: Request) -> Mapping[str, tuple[bool, bool]]:
    return {
        str(item.sop_class_uid): (item.scu_role, item.scp_role)
        for item in request.primitive.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
    }


def _acceptance(
    request: Request,
    results: list[PresentationContext],
    roles: list[SCP_SCU_RoleSelectionNegotiation],
    max_pdu_bytes: int,
) -> bytes:
    longest = MaximumLengthNotification()
    longest.maximum_length_received = max_pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = request.primitive.calling_ae_title
    primitive.called_ae_title = request.primitive.called_ae_title
    primitive.result, primitive.result_source = 0, 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [longest, implementation, version, *roles]
    encoded: bytes = A_ASSOCIATE_AC(primitive).encode()
    return encoded
