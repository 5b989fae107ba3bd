"""The tables of the gateway, beside those of DBOS in the same database.

What happened to instances is told by the spool; the tables tell what happened to studies. They hold
no patient's name, number or birth date.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1
"""Raised when a table changes; a database with a higher one than ours is refused."""


class JobState(StrEnum):
    """Where one revision of a study stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    """Results exist."""
    REFUSED = "refused"
    """The MAP refused the study: ``reason_code`` and ``reason`` say why."""
    UNCHANGED = "unchanged"
    """What the MAP would select is what it selected before: no new results."""
    SUPERSEDED = "superseded"
    """A newer revision came before this one's results were registered."""
    PARKED = "parked"
    """Waits for a person: ``reason`` says what for."""


class DeliveryKind(StrEnum):
    RESULTS = "results"
    REJECTION = "rejection"
    """A Key Object note that withdraws results (IHE IOCM)."""
    STATUS = "status"
    """A short report that a study was refused or parked."""


class DeliveryState(StrEnum):
    WAITING = "waiting"
    """Not yet sent, or to be sent again."""
    SENT = "sent"
    """Stored by the destination, commitment asked for and not yet answered."""
    CONFIRMED = "confirmed"
    """Committed, or stored where no commitment is asked for."""
    WITHDRAWN = "withdrawn"
    """A newer revision came: not sent any more."""
    PARKED = "parked"
    """Waits for a person, such as after a changed patient identity, or given up after days."""


metadata = MetaData()

meta = Table("theramap_meta", metadata, Column("key", String, primary_key=True), Column("value", String))

jobs = Table(
    "theramap_job",
    metadata,
    Column("id", String, primary_key=True),  # STUDY_KEY-rREVISION
    Column("study_key", String, nullable=False),
    Column("ae_title", String, nullable=False),
    Column("study_instance_uid", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("origin", String, nullable=False),  # arrival, rerun
    Column("state", String, nullable=False),
    Column("reason_code", String),
    Column("reason", Text),
    Column("priority", Integer, nullable=False),
    Column("time", String, nullable=False),  # ISO with offset: the time stamp of its results
    Column("manifest_digest", String, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("essence", String),  # digest of what the MAP selected
    Column("deaths", Integer, nullable=False, default=0),
    Column("starts", Integer, nullable=False, default=0),
    Column("worker", String),
    Column("created_s", Float, nullable=False),
    Column("ended_s", Float),
    Column("cleaned", Boolean, nullable=False, default=False),
    UniqueConstraint("study_key", "revision"),
    Index("theramap_job_state", "state"),
)

results = Table(
    "theramap_result",
    metadata,
    Column("sop_instance_uid", String, primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id), primary_key=True, index=True),
    Column("name", String, nullable=False),  # file below the job's output folder
    Column("kind", String, nullable=False),  # seg, sr
    Column("form", String, nullable=False, default=""),  # image or segment, for an SR in two forms
    Column("sop_class_uid", String, nullable=False),
    Column("series_instance_uid", String, nullable=False),
    Column("study_instance_uid", String, nullable=False),
    Column("digest", String, nullable=False),  # SHA-256 of the file
    Column("algorithm", String, nullable=False),
    Column("model", String, index=True),  # NAME@DIGEST of each, parted by spaces
    Column("withdrawn", String),  # superseded, recalled
)

deliveries = Table(
    "theramap_delivery",
    metadata,
    Column("id", String, primary_key=True),  # JOB:KIND:DESTINATION
    Column("job_id", ForeignKey(jobs.c.id), nullable=False, index=True),
    Column("destination", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason_code", String),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False, default=0),
    Column("begun", Boolean, nullable=False, default=False),  # something of it may have arrived
    Column("created_s", Float, nullable=False),
    Column("resumed_s", Float),  # its days of trying count from here
    Column("next_s", Float),
    Column("sent_s", Float),
    Column("confirmed_s", Float),
    Index("theramap_delivery_state", "state"),
)

commitments = Table(
    "theramap_commitment",
    metadata,
    Column("transaction_uid", String, primary_key=True),
    Column("delivery_id", ForeignKey(deliveries.c.id), nullable=False, index=True),
    Column("asked_s", Float, nullable=False),
    Column("answered_s", Float),
    Column("failed", JSON),  # SOP Instance UIDs that the other side does not keep
)

workers = Table(
    "theramap_worker",
    metadata,
    Column("name", String, primary_key=True),  # the executor ID of DBOS
    Column("role", String, nullable=False),  # work, deliver
    Column("token", String, nullable=False),  # of the running process
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("heard_s", Float, nullable=False),
)

readings = Table(
    "theramap_reading",
    metadata,
    Column("answer_uid", String, primary_key=True),  # SOP Instance UID
    Column("job_id", ForeignKey(jobs.c.id), nullable=False, index=True),
    Column("study_key", String, nullable=False),
    Column("kind", String, nullable=False),  # edited_segmentation, verified_report
    Column("algorithm", String, nullable=False),
    Column("called_before", String, nullable=False),
    Column("time_s", Float, nullable=False, index=True),
    Column("lesions_before", Integer, nullable=False),
    Column("lesions_after", Integer, nullable=False),
    Column("accepted", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("regrouped", Integer, nullable=False),
    Column("added", Integer, nullable=False),
    Column("volume_before_ml", Float, nullable=False),
    Column("volume_after_ml", Float),
    Column("dice", Float),
    Column("changed_dice", JSON, nullable=False),
)

incidents = Table(
    "theramap_incident",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("time_s", Float, nullable=False),
    Column("code", String, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("job_id", String),
    Column("study_key", String),
)
