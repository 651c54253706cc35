"""Keeps responses in files while the database cannot store them.

Each file holds the response to one attempt and never a key: it is written atomically, synced, and
readable by its owner alone. It is recorded once, by the same function as any other response, so
that a late one stays late. A file that cannot be recorded is kept and reported.
"""

import base64
import binascii
import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, connection

from connections.access.actor import Actor
from connections.core.causes import Cause
from connections.core.errors import RecordedIn, ResponseNotRecordedError
from connections.core.private_files import PrivateFileError, create_private_text, read_private_text
from connections.core.secret import Secret
from connections.datadog.client import DeleteResponse
from connections.datadog.responses import AttemptResult
from connections.deletions import responses
from connections.models import Attempt, Person

logger = logging.getLogger(__name__)

VERSION = 1
# Logged once by each process; `doctor` reports them for as long as they exist.
_named: set[Path] = set()


class UnusableFileError(Exception):
    """A kept response that cannot be recorded; the text says why."""


@dataclass(frozen=True, kw_only=True)
class KeptResponse:
    """The content of one file."""

    deletion_id: UUID
    epoch: int
    kept_at: datetime
    actor_kind: Any
    actor_name: str
    person_id: str | None
    request_id: str
    response: DeleteResponse


def directory() -> Path:
    """The directory of the files; it is made with the first of them."""
    return Path(settings.DATA_DIR) / "spool"


def record(*, attempt: Attempt, response: DeleteResponse, actor: Actor) -> None:
    """Record the response, or keep it in a file if the database does not store it.

    Raises ResponseNotRecordedError if it is not in the database, although the DELETE was sent.
    """
    before = connection.connection
    failure = _try_to_record(attempt=attempt, response=response, actor=actor)
    if failure and _lost_connection(before):
        # The connection was dropped while idle, which says nothing about the database: retry once.
        failure = _try_to_record(attempt=attempt, response=response, actor=actor)
    if failure is None:
        return
    said = responses.response_summary(response)
    try:
        path = _keep(attempt=attempt, response=response, actor=actor)
    except PrivateFileError as error:
        logger.critical(
            "The outcome of deletion %s could not be recorded anywhere (%s): %s.",
            *(attempt.deletion_id, error, said),
        )
        raise ResponseNotRecordedError(
            deletion_id=attempt.deletion_id, response_text=said, kept=RecordedIn.NOWHERE
        ) from failure
    logger.error("The database did not take the outcome of a deletion. It is kept in %s.", path)
    raise ResponseNotRecordedError(
        deletion_id=attempt.deletion_id, response_text=said, kept=RecordedIn.LOCALLY
    ) from failure


def _try_to_record(*, attempt: Attempt, response: DeleteResponse, actor: Actor) -> Exception | None:
    try:
        responses.record_response(attempt=attempt, response=response, actor=actor)
    except Exception as error:  # noqa: BLE001 - whatever failed, what came back must be kept
        return error
    return None


def _lost_connection(before: object) -> bool:
    # Django drops a broken connection, and may have opened another during the rollback.
    connection.close_if_unusable_or_obsolete()
    return connection.connection is not before


def _keep(*, attempt: Attempt, response: DeleteResponse, actor: Actor) -> Path:
    document = {
        "version": VERSION,
        "deletion": str(attempt.deletion_id),
        "epoch": attempt.epoch,
        # This machine's clock, since the database is unavailable.
        "kept_at": datetime.now(UTC).isoformat(),
        "actor": {
            "kind": actor.kind,
            "name": actor.name,
            "person": str(actor.person.pk) if actor.person else None,
            "request_id": actor.request_id,
        },
        "answer": {
            "verdict": response.verdict,
            "cause": response.cause,
            "http_status": response.http_status,
            "headers": response.headers,
            "body": base64.b64encode(response.body).decode(),
            "body_sha256": response.body_sha256,
            "body_complete": response.body_complete,
            "errors": list(response.errors),
            "retry_after_seconds": response.retry_after_seconds,
            "duration_ms": response.duration_ms,
        },
    }
    path = directory() / f"{attempt.deletion_id}-{attempt.epoch}.json"
    create_private_text(path, Secret(json.dumps(document)))
    return path


def replay() -> int:
    """Record every kept response that can be; returns how many. One process at a time does it.

    Raises database errors when it is unavailable; the files stay then.
    """
    recorded = 0
    if not kept_files():
        return recorded
    with _alone() as is_alone:
        for path in kept_files() if is_alone else []:
            try:
                recorded += _replay_one(path)
            except UnusableFileError as error:
                if path not in _named:
                    _named.add(path)
                    logger.error("A kept answer cannot be recorded and stays: %s", error)  # noqa: TRY400
    return recorded


def kept_files() -> list[Path]:
    """The files that are not recorded yet."""
    return sorted(path for path in directory().glob("*.json") if path.is_file())


@contextlib.contextmanager
def _alone() -> Iterator[bool]:
    descriptor = os.open(directory() / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _replay_one(path: Path) -> bool:
    """Whether it was recorded now; a file that was recorded already is only removed."""
    kept, attempt = check_kept(path)
    try:
        is_new = responses.record_response(
            attempt=attempt, response=kept.response, actor=_actor(kept), kept_at=kept.kept_at
        )
    except (DataError, IntegrityError) as error:
        raise UnusableFileError(f"{path}: the database refuses it: {error}") from error
    path.unlink()
    return is_new


def _actor(kept: KeptResponse) -> Actor:
    person = Person.objects.filter(pk=kept.person_id).first() if kept.person_id else None
    return Actor(
        kind=kept.actor_kind, name=kept.actor_name, person=person, request_id=kept.request_id
    )


def _is_same_response(attempt: Attempt, response: DeleteResponse) -> bool:
    stored = (attempt.verdict, attempt.http_status, attempt.body_sha256, attempt.duration_ms)
    return stored == (
        response.verdict,
        response.http_status,
        response.body_sha256,
        response.duration_ms,
    )


def check_kept(path: Path) -> tuple[KeptResponse, Attempt]:
    """The content of a file, and the attempt it belongs to.

    Raises UnusableFileError when this database cannot store it, and database errors.
    """
    kept = read_kept(path)
    attempt = Attempt.objects.filter(deletion_id=kept.deletion_id, epoch=kept.epoch).first()
    if attempt is None:
        raise UnusableFileError(f"{path}: this database holds no such attempt.")
    if attempt.answered_at and not _is_same_response(attempt, kept.response):
        raise UnusableFileError(f"{path}: another answer to this attempt is recorded already.")
    return kept, attempt


def read_kept(path: Path) -> KeptResponse:
    """The content of a file. Raises UnusableFileError when it cannot be read or parsed."""
    try:
        document = json.loads(read_private_text(path))
        return _parse(document)
    except PrivateFileError as error:
        raise UnusableFileError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise UnusableFileError(
            f"{path}: it is not a kept answer of this version ({type(error).__name__})."
        ) from None


def _parse(document: dict[str, Any]) -> KeptResponse:
    if document["version"] != VERSION:
        raise ValueError("another version")
    actor, response = document["actor"], document["answer"]
    cause = response["cause"]
    return KeptResponse(
        deletion_id=UUID(document["deletion"]),
        epoch=int(document["epoch"]),
        kept_at=datetime.fromisoformat(document["kept_at"]),
        actor_kind=actor["kind"],
        actor_name=actor["name"],
        person_id=actor["person"],
        request_id=actor["request_id"],
        response=DeleteResponse(
            verdict=AttemptResult(response["verdict"]),
            cause=Cause(cause) if cause else None,
            http_status=response["http_status"],
            headers=dict(response["headers"]),
            body=base64.b64decode(response["body"], validate=True),
            body_sha256=response["body_sha256"],
            body_complete=response["body_complete"],
            errors=tuple(response["errors"]),
            retry_after_seconds=response["retry_after_seconds"],
            duration_ms=response["duration_ms"],
        ),
    )
