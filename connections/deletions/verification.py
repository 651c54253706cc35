"""What Datadog's lists say about a deletion: the pre-send check, and later verification."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.deletions import attempt_facts, states
from connections.deletions.states import FailRecheck, Settle
from connections.inventory import contradictions, fetching, storing, syncs
from connections.inventory.fetching import SyncResult
from connections.models import (
    GONE_OUTCOMES,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    Outcome,
    SnapshotFields,
    State,
    snapshot_digest,
)
from connections.net.http import pool

# Seconds for a check that a page waits for.
PAGE_SECONDS = 4.0


class RecheckResult(StrEnum):
    """What one sync says about a connection whose deletion is requested."""

    SAME = "same"
    CHANGED = "changed"
    ABSENT = "absent"  # a complete list lacks it
    UNREADABLE = "unreadable"  # the sync failed, so only the stored snapshot is known


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that changed since the request.

    `is_binding` says whether the approval covers it.
    """

    field: str
    was: str
    now: str
    is_binding: bool = True


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What one sync says, when it began and, if it failed, why."""

    result: RecheckResult
    at: datetime | None
    listed: SnapshotFields | None = None
    changes: tuple[FieldChange, ...] = ()
    cause: str = ""

    @property
    def can_be_approved(self) -> bool:
        """Whether what was requested is still what would be deleted, as far as is known."""
        return self.result in {RecheckResult.SAME, RecheckResult.UNREADABLE}


def preview_recheck(*, deletion: Deletion) -> Recheck:
    """Sync within PAGE_SECONDS for an approver's page. Stores nothing."""
    try:
        result = fetching.fetch(
            credential=deletion.credential,
            find=deletion.connection_id,
            deadline_seconds=PAGE_SECONDS,
        )
    except UnavailableError as error:
        result = SyncResult(cause=error.cause, started_at=clock.now())
    return compare(deletion=deletion, result=result)


def recheck_and_store(*, deletion: Deletion, actor: Actor) -> Recheck:
    """Sync for the approval itself. Store the result, so that every page shows it."""
    try:
        result = fetching.fetch(credential=deletion.credential)
        storing.store(result, actor=actor)
    except UnavailableError as error:
        result = SyncResult(cause=error.cause)
    return compare(deletion=deletion, result=result)


def compare(*, deletion: Deletion, result: SyncResult) -> Recheck:
    """Compare what one sync listed with what was requested. A pure function."""
    item = result.find(deletion.connection_id)
    if item is None:
        missing = RecheckResult.ABSENT if result.is_complete else RecheckResult.UNREADABLE
        return Recheck(result=missing, at=result.started_at, cause=result.cause)
    listed = OrgConnectionSnapshot(**storing.snapshot_values(item))
    digest = snapshot_digest(
        site=deletion.site, connection_id=str(deletion.connection_id), fields=listed
    )
    is_same = digest == deletion.digest
    return Recheck(
        result=RecheckResult.SAME if is_same else RecheckResult.CHANGED,
        at=result.started_at,
        listed=listed,
        changes=_changes(deletion, listed),
    )


def _changes(before: SnapshotFields, after: SnapshotFields) -> tuple[FieldChange, ...]:
    pairs = zip(_compared_fields(before), _compared_fields(after), strict=True)
    return tuple(
        FieldChange(field=field, was=was, now=now, is_binding=is_binding)
        for (field, was, is_binding), (_, now, _) in pairs
        if was != now
    )


def _compared_fields(fields: SnapshotFields) -> list[tuple[str, str, bool]]:
    """Each field's label, its value as text, and whether it changes what a deletion does."""
    disabled = {True: "disabled", False: "active", None: ""}[fields.creator_is_disabled]
    return [
        ("Source org", fields.source_org_name, True),
        ("Source org ID", fields.source_org_id, True),
        ("Destination org", fields.sink_org_name, True),
        ("Destination org ID", fields.sink_org_id, True),
        ("Types", ", ".join(sorted(fields.connection_types)), True),
        ("Created by", fields.creator_name, False),
        ("Creator", disabled, False),
    ]


def recheck(*, deletion: Deletion, result: SyncResult, actor: Actor) -> Recheck | None:
    """What the pre-send check says of the deletion, if it can be sent after it.

    Otherwise records why not and returns None.
    """
    comparison = compare(deletion=deletion, result=result)
    if comparison.result == RecheckResult.UNREADABLE and deletion.is_reviewed:
        record_recheck_failure(deletion=deletion, result=result, actor=actor)
        return None
    if not comparison.can_be_approved:
        settle_not_as_requested(deletion=deletion, comparison=comparison, actor=actor)
        return None
    return comparison


def settle_not_as_requested(*, deletion: Deletion, comparison: Recheck, actor: Actor) -> None:
    """Close a deletion whose connection changed or is gone since the request."""
    with lock_responses(deletion=deletion):
        facts = attempt_facts.attempts_summary_of(deletion)
        if comparison.listed:
            names = ("source_org_name", "sink_org_name", "connection_types")
            now_says = {name: getattr(comparison.listed, name) for name in names}
            transition = Settle(
                outcome=Outcome.STALE,
                cause=Cause.CHANGED_WHEN_READ,
                details={"now_says": now_says},
            )
            sentence = audit.Sentence(
                "{connection} changed after the request. {facts}",
                connection=deletion.description,
                facts=facts,
            )
        elif deletion.has_late_success:
            settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.ABSENT_WHEN_READ,
                seen_at=comparison.at or clock.now(),
            )
            return
        else:
            might_have_worked = deletion.has_ambiguous_attempt
            outcome = Outcome.GONE_UNATTRIBUTED if might_have_worked else Outcome.ALREADY_ABSENT
            transition = Settle(outcome=outcome, cause=Cause.ABSENT_WHEN_READ)
            sentence = audit.Sentence(
                "{connection} is no longer listed. {facts}",
                connection=deletion.description,
                facts=facts,
            )
        event = audit.EventDraft(
            code=transition.event_code, sentence=sentence, details=transition.details
        )
        states.apply(deletion, transition=transition, actor=actor, events=[event])


def record_recheck_failure(*, deletion: Deletion, result: SyncResult, actor: Actor) -> None:
    """Record that the pre-send check failed. Nothing is sent and the state stays."""
    details = result.failure
    sentence = audit.Sentence(
        "The pre-send check of {connection} failed. {facts}",
        connection=deletion.description,
        facts=attempt_facts.attempts_summary_of(deletion),
    )
    due_at = clock.now() + _retry_after(result) if deletion.state == State.WAITING else None
    if due_at and deletion.expires_at:
        due_at = min(due_at, deletion.expires_at)
    states.apply(
        deletion,
        transition=FailRecheck(details=details, due_at=due_at),
        actor=actor,
        events=[
            audit.EventDraft(
                code=audit.EventCode.DELETION_RECHECK_FAILED, sentence=sentence, details=details
            )
        ],
    )


def _retry_after(result: SyncResult) -> timedelta:
    """How long to wait after a failed sync: after a 429, until the org's rate limit resets."""
    if result.cause != Cause.RATE_LIMITED:
        return timedelta(seconds=60)
    resets = [limit.reset_seconds for limit in result.rate_limits if limit.is_low]
    return min(timedelta(seconds=max(resets, default=60)), time_limits.SENDING_WINDOW)


def list_with_any_credential(*, deletion: Deletion, actor: Actor) -> SyncResult:
    """Sync with the deletion's credential, then with others, until a result is conclusive."""
    result = _fetch_with_any_credential(deletion=deletion, actor=actor)
    storing.store(result, actor=actor)
    return result


@pool()
def _fetch_with_any_credential(
    *, deletion: Deletion, actor: Actor, now: datetime | None = None
) -> SyncResult:
    """Like `list_with_any_credential`, but stores all syncs except the last.

    Only credentials pinned to the source or destination org can prove absence. All syncs together
    get the deadline of one, because a person and a proxy wait for them. `now` is the database time,
    if the caller has just read it.
    """
    deadline = time.monotonic() + fetching.SYNC_SECONDS
    result = SyncResult(cause=Cause.CREDENTIAL_RETIRED)
    for credential in _credentials_of_either_org(deletion=deletion):
        storing.store(result, actor=actor)
        try:
            result = fetching.fetch(
                credential=credential,
                find=deletion.connection_id,
                now=now,
                deadline_seconds=max(deadline - time.monotonic(), 0.1),
            )
        except UnavailableError as error:
            result = SyncResult(cause=error.cause)
        now = None
        is_over = time.monotonic() >= deadline
        if is_over or is_listed(deletion=deletion, result=result) is not None:
            break
    return result


def _credentials_of_either_org(*, deletion: Deletion) -> Iterator[Credential]:
    """The deletion's own credential, then others in use of the source or destination org.

    The others are read only if they are needed.
    """
    if not deletion.credential.is_retired:
        yield deletion.credential
    orgs = {deletion.source_org_id, deletion.sink_org_id} - {""}
    in_use = Credential.objects.filter(site=deletion.site, retired_at=None, org_id__in=orgs)
    yield from in_use.exclude(pk=deletion.credential_id).order_by("name")


def is_listed(*, deletion: Deletion, result: SyncResult) -> bool | None:
    """True if it is listed, False if a complete list lacks it, None if the sync proves nothing."""
    if result.find(deletion.connection_id) is not None:
        return True
    return False if result.is_complete else None


def check_event(*, deletion: Deletion, result: SyncResult) -> audit.EventDraft:
    """The event of one check, whatever it found."""
    connection = deletion.description
    match is_listed(deletion=deletion, result=result):
        case True:
            result_text = "listed"
            sentence = audit.Sentence("Datadog lists {connection}.", connection=connection)
        case False:
            result_text = "not listed"
            sentence = audit.Sentence("Datadog doesn't list {connection}.", connection=connection)
        case None:
            result_text = "cannot tell"
            sentence = audit.Sentence(
                "The check of {connection} with Datadog failed.", connection=connection
            )
    return audit.EventDraft(
        code=audit.EventCode.DELETION_CHECKED,
        sentence=sentence,
        details=result.failure
        | {"found": result_text, "at": (result.started_at or clock.now()).isoformat()},
    )


@contextmanager
def lock_responses(*, deletion: Deletion) -> Iterator[None]:
    """A transaction during which no response to the deletion's attempts can be recorded.

    So what is decided inside from its attempts is still true at the commit. `recording.record`
    locks the same row; otherwise a 200 recorded after they were read would go unnoticed.
    """
    with audit.atomic():
        # Credentials are locked before the deletion, as everywhere else.
        storing.lock_snapshots(site=deletion.site)
        Deletion.objects.select_for_update(no_key=True).values_list("pk").get(pk=deletion.pk)
        yield


def settle_late_success(
    *,
    deletion: Deletion,
    actor: Actor,
    cause: Cause,
    seen_at: datetime,
    events: Sequence[audit.EventDraft] = (),
) -> None:
    """Close as deleted: Datadog returned a late 200, and a complete list lacks the connection.

    That list, whose sync began at `seen_at`, also verifies the deletion.
    """
    attempts = attempt_facts.attempts_of(deletion)
    sentence = audit.Sentence(
        "{connection} was deleted. {attempts} A complete sync no longer lists it.",
        connection=deletion.description,
        attempts=attempt_facts.earlier_attempts(attempts),
    )
    with audit.atomic():
        # Locked before the deletion's own row, as everywhere else.
        storing.lock_snapshots(site=deletion.site)
        settled = states.apply(
            deletion,
            transition=Settle(outcome=Outcome.DELETED, cause=cause),
            actor=actor,
            events=[
                *events,
                audit.EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence),
            ],
        )
        if settled:
            storing.record_absence(
                site=deletion.site, connection_ids=[deletion.connection_id], lacked_at=seen_at
            )
            _record_verified(deletion=deletion, actor=actor, at=seen_at)


def verify_settled(*, deletion: Deletion, actor: Actor, now: datetime | None = None) -> None:
    """Check with Datadog's lists whether a connection that was closed as gone is gone.

    After a 404, first check with every credential that has listed it. Does nothing for other
    outcomes, because a connection that was not deleted can be listed. Raises UnavailableError.
    """
    if deletion.outcome not in GONE_OUTCOMES:
        return
    if deletion.outcome == Outcome.ALREADY_ABSENT and deletion.due_at:
        sync_observing_credentials(deletions=[deletion], actor=actor)
        Deletion.objects.filter(pk=deletion.pk).update(due_at=None)
        deletion.refresh_from_db()
    else:
        verify_deleted(deletion=deletion, actor=actor, now=now)


def verify_deleted(*, deletion: Deletion, actor: Actor, now: datetime | None = None) -> None:
    """Check whether a connection that was closed as gone is gone from Datadog's list.

    If a complete list lacks it, `verified_at` is set. If it is still listed 5 minutes or more after
    the response, `contradicted_at` is set and every credential that has listed it syncs, so that
    the inventory shows it too. The outcome is never rewritten.
    """
    result = _fetch_with_any_credential(deletion=deletion, actor=actor, now=now)
    is_absent = is_listed(deletion=deletion, result=result) is False
    with audit.atomic():
        # The snapshots are locked before the deletion's own row, as everywhere both are locked. A
        # sync that can't be stored changes no snapshot.
        storing.store(result, actor=actor, deleted=[deletion.connection_id] if is_absent else [])
        contradicted = _record_verifications([deletion], result=result, actor=actor)
    if contradicted:
        sync_observing_credentials(deletions=contradicted, actor=actor)


def verify_together(*, deletions: Sequence[Deletion], result: SyncResult, actor: Actor) -> None:
    """`verify_deleted` for several deletions with one complete sync, in one transaction.

    `result` began after the responses to all of them, and hasn't been stored yet.
    """
    ids = {deletion.connection_id for deletion in deletions}
    absent = [connection_id for connection_id in ids if result.find(connection_id) is None]
    with audit.atomic():
        storing.store(result, actor=actor, deleted=absent)
        contradicted = _record_verifications(deletions, result=result, actor=actor)
    if contradicted:
        sync_observing_credentials(deletions=contradicted, actor=actor)


def _record_verifications(
    deletions: Sequence[Deletion], *, result: SyncResult, actor: Actor
) -> list[Deletion]:
    """`_record_verification` for each. Return those that this contradicts for the first time."""
    before = [deletion.pk for deletion in deletions if deletion.contradicted_at]
    for deletion in deletions:
        _record_verification(deletion=deletion, result=result, actor=actor)
    contradicted = [deletion for deletion in deletions if deletion.contradicted_at]
    return [deletion for deletion in contradicted if deletion.pk not in before]


def _record_verification(*, deletion: Deletion, result: SyncResult, actor: Actor) -> None:
    """Record what a stored sync says about a closed deletion. Refreshes the object."""
    seen_at = result.started_at or clock.now()
    listed = is_listed(deletion=deletion, result=result)
    if listed is False:
        _record_verified(deletion=deletion, actor=actor, at=seen_at)
        return
    event = check_event(deletion=deletion, result=result)
    checked = {"cause_details": {"last_check": event.details}}
    audit.record(
        code=event.code,
        actor=actor,
        subject=deletion,
        sentence=event.sentence,
        details=event.details,
        rows={"deletion": audit.changes_of(Deletion, values=checked, actor=actor)},
    )
    rows = Deletion.objects.filter(pk=deletion.pk)
    rows.update(**checked)
    if listed:
        _record_still_listed(deletion=deletion, actor=actor, at=seen_at, listed_by=result.listed_by)
    else:
        now = clock.now()
        settled_at = states.settled_at_latest(deletion, now=now)
        rows.update(due_at=_next_verification_at(deletion=deletion, settled_at=settled_at, now=now))
    deletion.refresh_from_db()


def _next_verification_at(
    *, deletion: Deletion, settled_at: datetime, now: datetime
) -> datetime | None:
    if deletion.outcome != Outcome.DELETED or deletion.verified_at:
        return None
    return states.next_verification_at(settled_at=settled_at, now=now)


def _record_verified(*, deletion: Deletion, actor: Actor, at: datetime) -> None:
    """Record that a complete list lacks it. Call it while the site's snapshots are locked.

    Based on what is stored now, because another process might have verified it in the meantime.
    After a clock was set back, what a later sync verified stays.
    """
    is_unverified = Q(verified_at=None) | Q(last_check_listed=True, verified_at__lt=at)
    rows = Deletion.objects.filter(pk=deletion.pk)
    absent = {"last_checked_at": at, "last_check_listed": False, "due_at": None}
    if not rows.filter(is_unverified).update(verified_at=at, **absent):
        rows.update(**absent)
        deletion.refresh_from_db()
        return
    for name, value in ({"verified_at": at} | absent).items():
        setattr(deletion, name, value)
    audit.record(
        code=audit.EventCode.DELETION_VERIFIED,
        actor=actor,
        subject=deletion,
        sentence=audit.Sentence(
            "A complete sync no longer lists {connection}.",
            connection=deletion.description,
        ),
        details={"at": at.isoformat()},
        rows={"deletion": audit.changed(deletion, "verified_at", actor=actor)},
    )


def _record_still_listed(*, deletion: Deletion, actor: Actor, at: datetime, listed_by: str) -> None:
    settled_at = states.settled_at_latest(deletion, now=at)
    due_at = _next_verification_at(deletion=deletion, settled_at=settled_at, now=at)
    waited = at - settled_at >= time_limits.CONTRADICTED_AFTER
    if waited or deletion.outcome != Outcome.DELETED or deletion.verified_at:
        due_at = None
        contradictions.flag_contradiction(
            deletion=deletion, at=at, listed_by=listed_by, actor=actor
        )
    Deletion.objects.filter(pk=deletion.pk).update(
        last_checked_at=at, last_check_listed=True, due_at=due_at
    )


def sync_observing_credentials(*, deletions: Sequence[Deletion], actor: Actor) -> None:
    """Sync with every credential that has listed a connection, after a 404 or a contradiction.

    If one still lists it, that contradicts a 404. Storing its sync records that.
    """
    listed_by = OrgConnectionSnapshot.objects.filter(
        site__in={deletion.site for deletion in deletions},
        connection_id__in=[deletion.connection_id for deletion in deletions],
    ).values("credential")
    credentials = Credential.objects.filter(retired_at=None, pk__in=listed_by)
    syncs.sync_credentials(credentials=list(credentials), actor=actor)
    for deletion in deletions:
        deletion.refresh_from_db()
