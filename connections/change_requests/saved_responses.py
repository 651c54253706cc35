"""Saves responses in files while the database can't store them.

Each file contains the response to one attempt and never a key. It is written atomically, synced,
and readable only by its owner. Each is recorded once, like any other response, so a late one stays
late. A file that can't be recorded stays there and is reported.
"""

import base64
import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DataError, IntegrityError, connection

from connections.access.actor import Actor
from connections.change_requests import failpoints, recording
from connections.change_requests.actions import find_attempt, nouns
from connections.change_requests.failpoints import Point
from connections.core import logs
from connections.core.causes import Cause
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.core.private_files import PrivateFileError, create_private_text, read_private_text
from connections.core.secret import Secret
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.models import AttemptFields, Person

logger = logging.getLogger(__name__)

VERSION = 1
# Each process logs these once. `doctor` reports them as long as they exist.
_logged: set[Path] = set()


class UnusableFileError(Exception):
    """A saved response that can't be recorded. The message says why."""


@dataclass(frozen=True, kw_only=True)
class SavedResponse:
    """The content of one file."""

    version: int = VERSION
    # The kind of request, by the noun of its model, and its ID.
    noun: str
    change_request_id: UUID
    epoch: int
    # By this machine's clock, because the database is unavailable.
    kept_at: datetime
    actor_kind: Any
    actor_name: str
    person_id: UUID | None
    request_id: str
    response: WriteResponse

    @property
    def actor(self) -> Actor:
        """Who sent the request to Datadog."""
        person = Person.objects.filter(pk=self.person_id).first() if self.person_id else None
        return Actor(
            kind=self.actor_kind, name=self.actor_name, person=person, request_id=self.request_id
        )


def record_or_save(
    responses: Sequence[tuple[AttemptFields, WriteResponse]], *, actor: Actor
) -> None:
    """Record responses, or save each one in a file that the database doesn't store.

    Raises ResponseNotRecordedError if one is not in the database although its request was sent.
    """
    for attempt, _ in responses:
        failpoints.hit(Point.AFTER_RESPONSE, change_request_id=attempt.change_request_id)
    for _ in range(2):
        before = connection.connection
        try:
            recording.record(responses, actor=actor)
        except Exception as error:  # noqa: BLE001 - whatever failed, the responses must be saved
            failure = error
        else:
            for attempt, _ in responses:
                failpoints.hit(Point.AFTER_RESULT, change_request_id=attempt.change_request_id)
            return
        # Django drops a broken connection, and might have opened another during the rollback.
        connection.close_if_unusable_or_obsolete()
        if connection.connection is before:
            break
        # The connection was dropped while idle, which says nothing about the database, so retry
        # once.
    if len(responses) > 1:
        # One of them might be the reason.
        _record_separately(responses, actor=actor)
        return
    [(attempt, response)] = responses
    raise _save(attempt=attempt, response=response, actor=actor) from failure


def _record_separately(
    responses: Sequence[tuple[AttemptFields, WriteResponse]], *, actor: Actor
) -> None:
    errors: list[ResponseNotRecordedError] = []
    for pair in responses:
        try:
            record_or_save([pair], actor=actor)
        except ResponseNotRecordedError as error:
            errors.append(error)
    if errors:
        # A response that is stored nowhere is the worst.
        raise max(errors, key=lambda error: error.location == ResponseLocation.NOWHERE)


def _save(
    *, attempt: AttemptFields, response: WriteResponse, actor: Actor
) -> ResponseNotRecordedError:
    """Save a response in a file. Return the error that says where it is."""
    summary = recording.response_summary(response)
    try:
        path = save(attempt=attempt, response=response, actor=actor)
    except PrivateFileError as error:
        location = ResponseLocation.NOWHERE
        with logs.about(**{attempt.parent: attempt.change_request_id}):
            logger.critical(
                "The outcome of %s %s could not be recorded anywhere (%s): %s.",
                *(attempt.parent, attempt.change_request_id, error, summary),
            )
    else:
        location = ResponseLocation.LOCALLY
        with logs.about(**{attempt.parent: attempt.change_request_id}):
            logger.error(
                "The database did not store the response to a %s. It is saved in %s.",
                *(attempt.method, path),
            )
    return ResponseNotRecordedError(
        noun=attempt.parent,
        change_request_id=attempt.change_request_id,
        response_text=summary,
        location=location,
    )


def directory() -> Path:
    """The directory of the files. It is created with the first file."""
    return Path(settings.SAVED_RESPONSES_DIRECTORY)


def save(*, attempt: AttemptFields, response: WriteResponse, actor: Actor) -> Path:
    """Write the response to a file and return its path. Raises PrivateFileError."""
    saved = SavedResponse(
        noun=attempt.parent,
        change_request_id=attempt.change_request_id,
        epoch=attempt.epoch,
        kept_at=datetime.now(UTC),
        actor_kind=actor.kind,
        actor_name=actor.name,
        person_id=actor.person.pk if actor.person else None,
        request_id=actor.request_id,
        response=response,
    )
    path = directory() / f"{attempt.change_request_id}-{attempt.epoch}.json"
    document = asdict(saved)
    document[f"{document.pop('noun')}_id"] = document.pop("change_request_id")
    create_private_text(path, Secret(json.dumps(document, default=_as_text)))
    return path


def _as_text(value: UUID | datetime | bytes) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def list_files() -> list[Path]:
    """The files that are not recorded yet."""
    return sorted(path for path in directory().glob("*.json") if path.is_file())


@contextlib.contextmanager
def locked() -> Iterator[bool]:
    """Whether only this process can record the files, until the end of the block."""
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


def check_file(path: Path) -> tuple[SavedResponse, AttemptFields]:
    """The content of a file, and the attempt it belongs to.

    Raises UnusableFileError when this database can't store it, and database errors.
    """
    saved = read_file(path)
    attempt = find_attempt(
        noun=saved.noun, change_request_id=saved.change_request_id, epoch=saved.epoch
    )
    if attempt is None:
        raise UnusableFileError(f"{path}: this database has no such attempt.")
    stored = (attempt.verdict, attempt.http_status, attempt.body_sha256, attempt.duration_ms)
    new = saved.response
    is_same = stored == (new.verdict, new.http_status, new.body_sha256, new.duration_ms)
    if attempt.answered_at and not is_same:
        raise UnusableFileError(f"{path}: another response to this attempt is already recorded.")
    return saved, attempt


def read_file(path: Path) -> SavedResponse:
    """The content of a file. Raises UnusableFileError when it can't be read or parsed."""
    try:
        return _parse(json.loads(read_private_text(path)))
    except PrivateFileError as error:
        raise UnusableFileError(str(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableFileError(
            f"{path}: it isn't a saved response of this version ({type(error).__name__})."
        ) from None


def _parse(document: dict[str, Any]) -> SavedResponse:
    if document["version"] != VERSION:
        raise ValueError("another version")
    response, person_id = document["response"], document["person_id"]
    response |= {
        "verdict": AttemptResult(response["verdict"]),
        "cause": Cause(response["cause"]) if response["cause"] else None,
        "headers": dict(response["headers"]),
        "body": base64.b64decode(response["body"], validate=True),
        "errors": tuple(response["errors"]),
    }
    [noun] = [noun for noun in nouns() if f"{noun}_id" in document]
    document |= {
        "noun": noun,
        "change_request_id": UUID(document.pop(f"{noun}_id")),
        "kept_at": datetime.fromisoformat(document["kept_at"]),
        "person_id": UUID(person_id) if person_id else None,
        "response": WriteResponse(**response),
    }
    return SavedResponse(**document)


def record_saved_responses() -> int:
    """Record every saved response that can be recorded. Return how many.

    Only one process does it at a time.

    Raises database errors when the database is unavailable. The files stay then.
    """
    recorded = 0
    if not list_files():
        return recorded
    with locked() as is_alone:
        for path in list_files() if is_alone else []:
            try:
                recorded += _record_file(path)
            except UnusableFileError as error:
                if path not in _logged:
                    _logged.add(path)
                    logger.error("A saved response can't be recorded and is kept: %s", error)  # noqa: TRY400
    return recorded


def _record_file(path: Path) -> int:
    """Record one saved response. If it was already recorded, only remove its file and return 0."""
    saved, attempt = check_file(path)
    try:
        count = recording.record(
            [(attempt, saved.response)], actor=saved.actor, kept_at=saved.kept_at
        )
    except (DataError, IntegrityError) as error:
        raise UnusableFileError(f"{path}: the database refuses it: {error}") from error
    path.unlink()
    return count
