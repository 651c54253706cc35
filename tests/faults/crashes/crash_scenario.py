"""Steps of crash tests: the test's own process takes them in the database of the others."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from unittest import mock
from uuid import UUID, uuid4

from django.db.models import Q

from connections.access.actor import command_actor, person_actor
from connections.access_requests import requesting as access_requesting
from connections.access_requests.requesting import WantedTerms, complete_terms
from connections.access_requests.targets import find_target
from connections.batches import confirming, decisions, drafts, requesting, stopping
from connections.core import clock, time_limits
from connections.core.datadog_keys import KeyPair
from connections.core.errors import OvertakenError
from connections.credentials import lifecycle as credential_lifecycle
from connections.deletions import confirmations
from connections.deletions import requesting as deletion_requesting
from connections.inventory import syncs
from connections.models import (
    AccessRequest,
    AccessState,
    ApprovalPolicy,
    AuditEvent,
    Batch,
    Credential,
    Deletion,
    OrgPair,
    Person,
    RequestKind,
    Role,
    State,
    Step,
)
from tests.support.people import make_person

SUCCESSES = ("deleted", "created", "changed")
NO_EFFECT = (State.STILL_PRESENT, AccessState.NO_EFFECT)
# How far `prepare` takes a bulk deletion.
type Until = Literal["draft", "approved", "confirmed"]


def prepare(
    *, site: str, keys: KeyPair, waiting: Sequence[str], batch: Sequence[str], until: Until
) -> str:
    """Store one operator, one credential, and a waiting deletion for each named connection.

    Those of `batch` are one bulk deletion, taken as far as `until` says. Returns the credential's
    ID.
    """
    person = make_person("ada", Role.OPERATOR)
    credential = credential_lifecycle.add_credential(
        actor=command_actor(),
        name="Payments",
        site=site,
        keys=keys,
    )
    syncs.sync_orgs(actor=command_actor())
    for connection_id in waiting:
        _wait(person=person, credential=credential, connection_id=UUID(connection_id))
    if batch:
        if until == "approved":
            Credential.objects.update(policy=ApprovalPolicy.ONE)
        connections = [f"{site}/{each}" for each in batch]
        _store_batch(person=person, connections=connections, until=until)
    return str(credential.pk)


def _store_batch(*, person: Person, connections: list[str], until: Until) -> None:
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


def resume() -> None:
    """Resume the bulk deletion, unless it has just ended."""
    batch = Batch.objects.get()
    with contextlib.suppress(OvertakenError):
        stopping.resume_batch(batch=batch, actor=command_actor())


def pause() -> None:
    """Pause the bulk deletion."""
    stopping.pause_batch(batch=Batch.objects.get(), actor=command_actor())


def _wait(*, person: Person, credential: Credential, connection_id: UUID) -> None:
    actor = person_actor(person=person)
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    now = clock.now()
    deletion = deletion_requesting._create(
        actor=actor,
        target=target,
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


def sync(*, credential_id: str) -> Credential:
    """Sync with the credential."""
    credential = Credential.objects.get(pk=credential_id)
    syncs.sync_credentials(credentials=[credential], actor=command_actor())
    return credential


def wait_for_access(*, credential_id: str, methods: Mapping[str, str]) -> None:
    """Store a waiting access request for each of these connections or destination orgs."""
    credential = sync(credential_id=credential_id)
    person = Person.objects.get(username="ada")
    # As in `apps.py`, the whole matrix leaves more than people can have.
    with mock.patch.object(access_requesting, "MAX_OPEN", 1_000):
        for target, method in methods.items():
            _wait_for_access(person=person, credential=credential, method=method, target=target)


def _wait_for_access(*, person: Person, credential: Credential, method: str, target: str) -> None:
    actor, now = person_actor(person=person), clock.now()
    kind, sink = RequestKind.CREATE, target
    if method.endswith("move"):
        kind = RequestKind.MOVE
    elif method == "PATCH":
        kind = RequestKind.CHANGE
    if not method.startswith("POST"):
        sink = credential.snapshots.get(connection_id=UUID(target)).sink_org_id
    access_target = find_target(
        actor=actor, kind=kind, pair=OrgPair(credential.site, str(credential.org_id), sink)
    )
    wanted: WantedTerms = {"owner_text": "SOC team", "purpose": "audit"}
    if kind != RequestKind.MOVE:
        wanted["types"] = ["audit"]
    access_request = access_requesting._create(
        actor=actor,
        target=access_target,
        terms=complete_terms(access_target, wanted, reason="contract began", ticket=""),
        request_id=uuid4(),
        requester=person,
        now=now,
    )
    # As a 429 would have left it.
    AccessRequest.objects.filter(pk=access_request.pk).update(
        state=State.WAITING, due_at=now, expires_at=now + time_limits.SENDING_WINDOW
    )


def settle(*, seconds: float, after: datetime) -> list[dict[str, Any]]:
    """Wait until nothing changes and all was checked after that time; return every row."""
    unfinished = Q(state__in=[State.SENDING, State.WAITING, State.UNKNOWN])
    unfinished |= Q(outcome__in=SUCCESSES, verified_at=None, due_at__isnull=False)
    unfinished |= Q(state__in=NO_EFFECT, last_checked_at__lt=after)
    deadline = time.monotonic() + seconds
    kinds: tuple[type[Deletion] | type[AccessRequest], ...] = (Deletion, AccessRequest)
    while time.monotonic() < deadline:
        if not any(kind.objects.filter(unfinished).exists() for kind in kinds):
            break
        time.sleep(0.1)
    return [_row(row) for kind in kinds for row in kind.objects.prefetch_related("attempts")]


def _row(row: Deletion | AccessRequest) -> dict[str, Any]:
    events = AuditEvent.objects.filter(subject_id=str(row.pk))
    answered = row.event_code(Step.ANSWERED)
    kind, moved_from = getattr(row, "kind", ""), getattr(row, "moved_from", None)
    targets: dict[str, list[Any]] = {
        RequestKind.CREATE: [row.sink_org_id],
        RequestKind.MOVE: [row.sink_org_id, moved_from],
    }
    return {
        # What a case calls it: a move has a case for each of its steps.
        "targets": [str(target) for target in targets.get(kind, [row.connection_id])],
        "moved_from": str(moved_from) if moved_from else "",
        "sink_org": row.sink_org_id,
        "alarms": events.filter(code="access_request.interrupted").count(),
        "id": str(row.pk),
        "connection_id": str(row.connection_id),
        "state": row.state,
        "outcome": row.outcome,
        "cause": row.cause,
        "verified": row.verified_at is not None,
        "contradicted": row.contradicted_at is not None,
        "sendings_recorded": events.filter(code=row.event_code(Step.SENDING)).count(),
        "answers_recorded": events.filter(code__startswith=answered).count(),
        "attempts": [
            {
                "claimed_at": attempt.claimed_at.isoformat(),
                "verdict": attempt.verdict,
                "http_status": attempt.http_status,
                "is_late": attempt.is_late,
                "is_answered": attempt.answered_at is not None,
            }
            for attempt in row.attempts.all()
        ],
    }
