"""Brings results, rejections and status reports to their destinations, and sees to it that they are kept.

Each attempt is a workflow of its own, and what comes next is queued with the record of what happened. An
attempt that was killed is made again: it sends the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from app.gateway.delivery import commitment
from app.gateway.delivery.endpoints import post
from app.gateway.delivery.messages import Source, message_of
from app.gateway.delivery.outgoing import (
    ForAPersonError,
    HeldUpError,
    NotWantedError,
    Order,
    is_another_patient,
    prepare,
    query_via,
    require_current,
    wanted,
)
from app.gateway.delivery.sending import send
from app.gateway.network.peers import PeerError
from app.gateway.network.query import identity_of, study_identity
from app.gateway.settings import Endpoint, Gateway, Remote, Retry
from app.jobs.exchange import Exchange, ExchangeError
from app.jobs.ledger import Ledger
from app.jobs.records.deliveries import COMMITMENT_FAILED, UNCONFIRMED
from app.jobs.tables import DeliveryKind, DeliveryState
from app.log import get_logger

DAY_S = 86400.0
SCRATCH = "scratch"

References = Sequence[tuple[str, str]]
"""SOP Class and SOP Instance UIDs."""


class _OvertakenError(Exception):
    """A later attempt is under way, or the delivery was withdrawn meanwhile: what happened is recorded."""


def attempt_delivery(
    gateway: Gateway, ledger: Ledger, exchange: Exchange, delivery_id: str, attempt: int
) -> None:
    """Make one attempt at a delivery and record how it ended.

    Parameters
    ----------
    gateway : Gateway
        The settings.
    ledger, exchange
        Where everything is recorded, and where the results are.
    delivery_id : str
        The delivery; one that is not waiting for this attempt (any more) is left alone.
    attempt : int
        From 1.

    Raises
    ------
    sqlalchemy.exc.DBAPIError
        The database is away: call it again.
    """
    row = ledger.deliveries.start(delivery_id, attempt)
    if row is None:
        return
    receiver = gateway.destination(row.destination)
    if receiver is None:
        _park(ledger, row, "DESTINATION_UNKNOWN", "The settings no longer have this destination.")
        return
    if row.reason_code == COMMITMENT_FAILED and ledger.deliveries.denials(delivery_id) > 1:
        # The first denial is answered at once, those after it ever later.
        _try_later(ledger, row, attempt, receiver.retry, "COMMITMENT_DENIED", row.reason)
        return
    try:
        references = _bring(gateway, ledger, exchange, row, receiver, attempt)
    except _OvertakenError:
        _log("delivery_overtaken", row)
    except NotWantedError as error:
        ledger.deliveries.withdraw(delivery_id, error.code)
        _log("delivery_withdrawn", row, error.code)
    except ForAPersonError as error:
        _park(ledger, row, error.code, error.sentence)
    except (HeldUpError, PeerError, ExchangeError) as error:
        _try_later(ledger, row, attempt, receiver.retry, error.code, error.sentence)
    except OSError as error:
        sentence = f"Its files cannot be reached: {error.strerror}."
        _try_later(ledger, row, attempt, receiver.retry, "STORAGE", sentence)
    else:
        _secure(ledger, row, attempt, receiver, references)


def check_confirmation(
    gateway: Gateway, ledger: Ledger, exchange: Exchange, delivery_id: str, attempt: int
) -> None:
    """Look after a commitment that was asked for: when no answer has come, ask again.

    Parameters and errors are those of :func:`attempt_delivery`.
    """
    row = ledger.deliveries.get(delivery_id)
    if row.state != DeliveryState.SENT or row.attempts != attempt:
        return
    remote = gateway.remote(row.destination)
    if remote is None:
        _park(ledger, row, "DESTINATION_UNKNOWN", "The settings no longer have this destination.")
        return
    if not remote.commitment:
        ledger.deliveries.confirm(delivery_id)
        return
    if time.time() - (row.sent_s or row.created_s) > remote.retry.give_up_days * DAY_S:
        _park(ledger, row, UNCONFIRMED, "The destination stored everything and never committed to keep it.")
        return
    try:
        with _order(gateway, ledger, exchange, row, remote) as order:
            references = _references(order)
    except NotWantedError as error:
        ledger.deliveries.withdraw(delivery_id, error.code)
        return
    except ForAPersonError as error:
        _park(ledger, row, error.code, error.sentence)
        return
    except (HeldUpError, PeerError, ExchangeError, OSError):
        references = ()  # nothing to ask for now, but soon again
    again = max(remote.commitment_timeout_s, delay_s(remote.retry, delivery_id, attempt))
    transaction = commitment.transaction_uid(delivery_id, attempt + 1)
    if ledger.deliveries.ask_again(delivery_id, attempt, transaction, again) and references:
        _ask(ledger, row, remote, transaction, references)


def delay_s(retry: Retry, delivery_id: str, attempt: int) -> float:
    """Return how long after an attempt the next one is made, in seconds.

    Exponential, with a tenth more or less that is the same at each call, so that what failed at the same
    time does not come again at the same time.
    """
    growth = retry.factor ** min(attempt - 1, 100)
    digest = hashlib.sha256(f"{delivery_id}/{attempt}".encode()).digest()
    jitter = int.from_bytes(digest[:4], "big") / 2**32
    return min(retry.first_s * growth, retry.longest_s) * (0.9 + 0.2 * jitter)


def _bring(
    gateway: Gateway,
    ledger: Ledger,
    exchange: Exchange,
    row: Row[Any],
    receiver: Remote | Endpoint,
    attempt: int,
) -> References:
    """Send a remote its instances and return them, or post an endpoint its message."""
    if isinstance(receiver, Remote):
        with _order(gateway, ledger, exchange, row, receiver) as order:
            return _send(gateway, order, attempt)
    with _scratch(gateway, row) as scratch:
        source = Source(row, ledger.jobs.get(row.job_id), ledger, exchange, scratch)
        _post(gateway, receiver, source, attempt)
    return ()


def _send(gateway: Gateway, order: Order, attempt: int) -> References:
    """Send what the delivery consists of and return what that was."""
    outgoing = prepare(order)
    if outgoing is None:
        return ()
    if order.remote.check_identity:
        _require_same_patient(gateway, order.remote, order.job, outgoing.header)
    send(order.remote, outgoing.instances, lambda: _begin(order.ledger, order.delivery, attempt))
    _log("delivery_stored", order.delivery, instances=len(outgoing.instances))
    return [(one.sop_class_uid, one.sop_instance_uid) for one in outgoing.instances]


def _post(gateway: Gateway, endpoint: Endpoint, source: Source, attempt: int) -> None:
    """Post the message of a delivery to an endpoint."""
    message = message_of(endpoint, source)
    if message is None:
        return
    local = gateway.local(source.job.ae_title)
    pacs = None if local is None or local.pacs is None else gateway.remote(local.pacs)
    if endpoint.check_identity and pacs is not None and source.delivery.kind == DeliveryKind.RESULTS:
        _require_same_patient(gateway, pacs, source.job, message.header)
    post(endpoint, message.content, lambda: _begin(source.ledger, source.delivery, attempt))
    _log("delivery_stored", source.delivery)


def _begin(ledger: Ledger, row: Row[Any], attempt: int) -> None:
    """Record that from now on something may have arrived."""
    if not ledger.deliveries.begin_sending(row.id, attempt):
        raise _OvertakenError


def _require_same_patient(gateway: Gateway, remote: Remote, job: Row[Any], header: Dataset) -> None:
    """Compare the patient with what a remote now says of the study.

    A destination need not know the study, unless it is the PACS of the AE title that the study came to.
    """
    theirs = study_identity(remote, job.study_instance_uid, query_via(remote))
    if theirs is None:
        local = gateway.local(job.ae_title)
        if local is not None and local.pacs == remote.name:
            raise HeldUpError("STUDY_UNKNOWN", "The PACS does not (yet) have the study.")
    elif is_another_patient(identity_of(header), theirs):
        raise ForAPersonError("IDENTITY_CHANGED", "The study belongs to another patient there than here.")


def _secure(
    ledger: Ledger, row: Row[Any], attempt: int, remote: Remote | Endpoint, references: References
) -> None:
    """Have the destination commit to keep what it stored, if it is to be asked."""
    if not isinstance(remote, Remote) or not remote.commitment or not references:
        ledger.deliveries.confirm(row.id)
        return
    transaction = commitment.transaction_uid(row.id, attempt)
    ledger.deliveries.sent(row.id, attempt, transaction, remote.commitment_timeout_s)
    if ledger.deliveries.get(row.id).state == DeliveryState.SENT:  # else it was withdrawn meanwhile
        _ask(ledger, row, remote, transaction, references)


def _ask(ledger: Ledger, row: Row[Any], remote: Remote, transaction: str, references: References) -> None:
    def answer(transaction_uid: str, failed: Sequence[str]) -> None:
        try:
            ledger.deliveries.answer_commitment(transaction_uid, failed)
        except SQLAlchemyError as error:
            raise OSError("the database is away") from error

    try:
        commitment.ask(remote, transaction, references, answer)
    except PeerError as error:
        _log("commitment_request_failed", row, error.code)


def _references(order: Order) -> References:
    """Return what was sent; results are not fetched for that."""
    if order.delivery.kind == DeliveryKind.RESULTS:
        rows = wanted(order.ledger.results.of_job(order.job.id), order.remote)
        require_current(rows)
        return [(row.sop_class_uid, row.sop_instance_uid) for row in rows]
    outgoing = prepare(order)
    return [(one.sop_class_uid, one.sop_instance_uid) for one in outgoing.instances] if outgoing else []


@contextmanager
def _order(
    gateway: Gateway, ledger: Ledger, exchange: Exchange, row: Row[Any], remote: Remote
) -> Iterator[Order]:
    """Give an attempt at a remote all that it needs."""
    with _scratch(gateway, row) as scratch:
        yield Order(row, ledger.jobs.get(row.job_id), remote, ledger, exchange, scratch)


@contextmanager
def _scratch(gateway: Gateway, row: Row[Any]) -> Iterator[Path]:
    """Give an attempt its scratch folder: the same again after a kill, so that none is left behind."""
    name = hashlib.sha256(row.id.encode()).hexdigest()[:32]
    scratch: Path = gateway.data / SCRATCH / f"delivery-{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700, parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _try_later(
    ledger: Ledger, row: Row[Any], attempt: int, retry: Retry, code: str, sentence: str | None
) -> None:
    """Queue the next attempt, or give up after days of trying."""
    if time.time() - (row.resumed_s or row.created_s) > retry.give_up_days * DAY_S:
        days = f"{retry.give_up_days:g}"
        _park(ledger, row, "GAVE_UP", f"Not delivered in {days} days: {code}: {sentence}")
        return
    wait_s = delay_s(retry, row.id, attempt)
    ledger.deliveries.retry(row.id, attempt, code, sentence or "", wait_s)
    _log("delivery_to_be_tried_again", row, code, attempt=attempt, delay_s=round(wait_s, 1))


def _park(ledger: Ledger, row: Row[Any], code: str, sentence: str) -> None:
    ledger.deliveries.park(row.id, code, sentence)
    _log("delivery_parked", row, code)


def _log(event: str, row: Row[Any], code: str | None = None, **more: object) -> None:
    get_logger().info(event, delivery=row.id, code=code, **more)
