"""The log: one JSON object a line on standard error, without patients.

UIDs are logged through :func:`private`: hashed with the site's key, so that lines about one study can be
told to belong together, and nobody without the key can tell which study it was.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from app.gateway.settings import Gateway

KEY_FILE = "site.key"

_site_key: list[bytes] = []


def configure_log(role: str, gateway: Gateway, level: int = logging.INFO) -> None:
    """Begin to log as a role.

    The site's key is that of a file which all machines of the site have, or is made in the data folder on
    first use.

    Log lines of libraries pass through the same door, warnings and worse only: what pynetdicom tells
    below that names peers' data.
    """
    key_file = gateway.site_key_file
    _site_key[:] = [_own_key(gateway.data) if key_file is None else key_file.read_bytes()]
    timestamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    origin = {"role": role, "pid": os.getpid()}
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _logger, _method, event: {**origin, **event},  # in every thread, which contextvars are not
        structlog.stdlib.add_log_level,
        timestamp,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("theramap").setLevel(level)
    # Their messages and warnings quote what the peer sent, and what a header says of a patient.
    for library in ("pynetdicom", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{library}\.")


def get_logger() -> structlog.stdlib.BoundLogger:
    """Return the logger: ``log.info("instance_stored", study=private(uid))``."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("theramap")
    return logger


def private(value: str) -> str:
    """Return a UID or other identity as it may be logged: hashed with the site's key."""
    if not _site_key:
        return "unconfigured"
    return hmac.new(_site_key[0], value.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]


def _own_key(data: Path) -> bytes:
    path = data / KEY_FILE
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f".{KEY_FILE}.{secrets.token_hex(4)}")
        fresh.write_bytes(secrets.token_bytes(32))
        fresh.chmod(0o600)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # another role was as fast
        finally:
            fresh.unlink()
    return path.read_bytes()


def place_of(fault: Exception) -> str:
    """Return where a fault happened; its message could quote what must not be logged."""
    frames = traceback.extract_tb(fault.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
