"""Runs a crash test's steps in the database of the processes that it crashes.

Usage: `python -m tests.faults.crashes.crash_scenario`. Each line of standard input is one step and
its values as JSON; its result is one line of standard output.

`prepare` stores a person, a credential, and waiting deletions or a bulk deletion (a draft, approved
or confirmed), and returns the credential's ID;
`pause` pauses the bulk deletion and returns when; `resume` resumes it;
`settle` waits until nothing changes any longer and returns every deletion.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import django

django.setup()

from django.db import connection  # noqa: E402 - needs the set-up
from django.db.models import Q  # noqa: E402

from connections.access.actor import command_actor, person_actor  # noqa: E402
from connections.batches import confirming, decisions, drafts, requesting, stopping  # noqa: E402
from connections.core import clock  # noqa: E402
from connections.core.datadog_keys import KeyPair  # noqa: E402
from connections.core.errors import OvertakenError  # noqa: E402
from connections.core.secret import Secret  # noqa: E402
from connections.credentials import lifecycle as credential_lifecycle  # noqa: E402
from connections.deletions import lifecycle as deletion_lifecycle  # noqa: E402
from connections.deletions import reviews, time_limits  # noqa: E402
from connections.inventory import sync  # noqa: E402
from connections.models import (  # noqa: E402
    ApprovalPolicy,
    AuditEvent,
    Batch,
    Credential,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
)
from tests.support.people import make_person  # noqa: E402


def prepare(**given: Any) -> str:
    """Store one operator, one credential, and a waiting deletion for each named connection."""
    person = make_person("ada", Role.OPERATOR)
    credential = credential_lifecycle.add_credential(
        actor=command_actor(),
        name="Payments",
        site=given["site"],
        keys=KeyPair(
            api_key=Secret(given["api_key"]), application_key=Secret(given["application_key"])
        ),
    )
    sync.sync_orgs(actor=command_actor())
    for connection_id in given["waiting"]:
        _wait(person=person, credential=credential, connection_id=UUID(connection_id))
    if given["batch"]:
        if given["until"] == "approved":
            Credential.objects.update(policy=ApprovalPolicy.ONE)
        _store_batch(
            person=person,
            connections=[f"{given['site']}/{each}" for each in given["batch"]],
            until=given["until"],
        )
    return str(credential.pk)


def _store_batch(*, person: Person, connections: list[str], until: str) -> None:
    actor = person_actor(person=person)
    batch = drafts.create_draft_from_selection(actor=actor, connections=connections)
    if until == "draft":
        return
    requesting.request_batch(
        batch=batch,
        actor=actor,
        reason="contract ended",
        ticket="",
        digest=batch.digest,
        confirmation=confirming.text_to_type(batch),
    )
    if until == "approved":
        approver = person_actor(person=make_person("linus", Role.APPROVER))
        decisions.approve_batch(batch=batch, actor=approver, digest=batch.approval_digest)


def resume() -> str:
    """Resume the bulk deletion, unless it has just ended; returns its state."""
    batch = Batch.objects.get()
    with contextlib.suppress(OvertakenError):
        stopping.resume_batch(batch=batch, actor=command_actor())
    return batch.state


def pause() -> str | None:
    """Pause the bulk deletion; returns when, by the database's clock."""
    batch = Batch.objects.get()
    stopping.pause_batch(batch=batch, actor=command_actor())
    return batch.paused_at.isoformat() if batch.paused_at else None


def _wait(*, person: Person, credential: Credential, connection_id: UUID) -> None:
    actor = person_actor(person=person)
    shown = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    now = clock.now()
    deletion = deletion_lifecycle._create(
        actor=actor,
        shown=shown,
        reason="contract ended",
        ticket="",
        request_id=uuid4(),
        requester=person,
        now=now,
    )
    # As a 429 would have left it.
    Deletion.objects.filter(pk=deletion.pk).update(
        state=State.WAITING, due_at=now, expires_at=now + time_limits.SENDING_WINDOW
    )


def settle(*, seconds: float, after: str) -> list[dict[str, Any]]:
    """Wait until nothing changes and all was checked after that time; return every row."""
    unfinished = Q(state__in=[State.SENDING, State.WAITING, State.UNKNOWN])
    unfinished |= Q(outcome=Outcome.DELETED, verified_at=None, due_at__isnull=False)
    unfinished |= Q(state=State.STILL_PRESENT, last_checked_at__lt=datetime.fromisoformat(after))
    deadline = time.monotonic() + seconds
    while Deletion.objects.filter(unfinished).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return [_row(deletion) for deletion in Deletion.objects.prefetch_related("attempts")]


def _row(deletion: Deletion) -> dict[str, Any]:
    events = AuditEvent.objects.filter(subject_id=str(deletion.pk))
    return {
        "id": str(deletion.pk),
        "connection_id": str(deletion.connection_id),
        "state": deletion.state,
        "outcome": deletion.outcome,
        "cause": deletion.cause,
        "verified": deletion.verified_at is not None,
        "contradicted": deletion.contradicted_at is not None,
        "sendings_recorded": events.filter(code="deletion.sending").count(),
        "answers_recorded": events.filter(code__startswith="deletion.answered").count(),
        "attempts": [
            {
                "claimed_at": attempt.claimed_at.isoformat(),
                "verdict": attempt.verdict,
                "http_status": attempt.http_status,
                "is_late": attempt.is_late,
                "is_answered": attempt.answered_at is not None,
            }
            for attempt in deletion.attempts.all()
        ],
    }


STEPS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "pause": pause,
    "resume": resume,
    "settle": settle,
}


def main() -> None:
    """Run each step that is read, without keeping a connection to the database in between."""
    for line in sys.stdin:
        step, given = json.loads(line)
        print(json.dumps(STEPS[step](**given)), flush=True)  # noqa: T201 - the result
        connection.close()


if __name__ == "__main__":
    main()
