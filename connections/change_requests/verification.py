"""What Datadog's lists say about a request that was sent, and verification of its effect."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db.models import Q

from connections import audit
from connections.access.actor import Actor
from connections.change_requests import attempt_facts, guards, states
from connections.change_requests.actions import action_of
from connections.change_requests.states import Settle
from connections.core import clock, time_limits
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.inventory import fetching, storing, syncs
from connections.inventory.fetching import SyncResult
from connections.models import ChangeRequest, Credential, OrgConnectionSnapshot, Outcome, Step
from connections.net.http import pool


def list_with_any_credential(*, change_request: ChangeRequest, actor: Actor) -> SyncResult:
    """Sync with the request's credential, then with others, until a result is conclusive."""
    result = _fetch_with_any_credential(change_request=change_request, actor=actor)
    storing.store(result, actor=actor)
    return result


@pool()
def _fetch_with_any_credential(
    *, change_request: ChangeRequest, actor: Actor, now: datetime | None = None
) -> SyncResult:
    """Like `list_with_any_credential`, but stores all syncs except the last.

    Only credentials pinned to the source or destination org can prove absence. All syncs together
    get the deadline of one, because a person and a proxy wait for them. `now` is the database time,
    if the caller has just read it.
    """
    deadline = time.monotonic() + fetching.SYNC_SECONDS
    result = SyncResult(cause=Cause.CREDENTIAL_RETIRED)
    # A list that shows the effect is stored too, which requires that the keys' org was checked.
    find = change_request.connection_id if action_of(change_request).deletes else None
    for credential in _credentials_of_either_org(change_request=change_request):
        storing.store(result, actor=actor)
        try:
            result = fetching.fetch(
                credential=credential,
                find=find,
                now=now,
                deadline_seconds=max(deadline - time.monotonic(), 0.1),
            )
        except UnavailableError as error:
            result = SyncResult(cause=error.cause)
        now = None
        is_over = time.monotonic() >= deadline
        if is_over or is_listed(change_request=change_request, result=result) is not None:
            break
    return result


def _credentials_of_either_org(*, change_request: ChangeRequest) -> Iterator[Credential]:
    """The request's own credential, then others in use of the source or destination org.

    The others are read only if they are needed.
    """
    if not change_request.credential.is_retired:
        yield change_request.credential
    orgs = {change_request.source_org_id, change_request.sink_org_id} - {""}
    in_use = Credential.objects.filter(site=change_request.site, retired_at=None, org_id__in=orgs)
    yield from in_use.exclude(pk=change_request.credential_id).order_by("name")


def is_listed(*, change_request: ChangeRequest, result: SyncResult) -> bool | None:
    """True if it is listed, False if a complete list lacks it, None if the sync proves nothing."""
    if action_of(change_request).find(change_request, result=result) is not None:
        return True
    return False if result.is_complete else None


def check_event(*, change_request: ChangeRequest, result: SyncResult) -> audit.EventDraft:
    """The event of one check, whatever it found."""
    connection = change_request.description
    match is_listed(change_request=change_request, result=result):
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
        code=change_request.event_code(Step.CHECKED),
        sentence=sentence,
        details=result.failure
        | {"found": result_text, "at": (result.started_at or clock.now()).isoformat()},
    )


@contextmanager
def lock_responses(*, change_request: ChangeRequest) -> Iterator[None]:
    """A transaction during which no response to the request's attempts can be recorded.

    So what is decided inside from its attempts is still true at the commit. `recording.record`
    locks the same row; otherwise a 200 recorded after they were read would go unnoticed.
    """
    with audit.atomic():
        # Credentials are locked before the request, as everywhere else.
        storing.lock_snapshots(site=change_request.site)
        rows = type(change_request)._default_manager.select_for_update(no_key=True)
        rows.values_list("pk").get(pk=change_request.pk)
        yield


def settle_late_success(
    *,
    change_request: ChangeRequest,
    actor: Actor,
    cause: Cause,
    seen_at: datetime,
    events: Sequence[audit.EventDraft] = (),
    connection_columns: dict[str, Any] | None = None,
) -> None:
    """Settle as done: Datadog returned a late 200, and a complete list shows its effect.

    That list, whose sync began at `seen_at`, also verifies the request.
    """
    action = action_of(change_request)
    attempts = attempt_facts.attempts_of(change_request)
    sentence = audit.Sentence(
        "{connection} was {done}. {attempts} A complete sync {lists} it.",
        done=action.done,
        lists=action.lists,
        connection=change_request.description,
        attempts=attempt_facts.earlier_attempts(attempts),
    )
    with audit.atomic():
        # Locked before the request's own row, as everywhere else.
        storing.lock_snapshots(site=change_request.site)
        settled = states.apply(
            change_request,
            transition=Settle(
                outcome=action.success, cause=cause, connection_columns=connection_columns or {}
            ),
            actor=actor,
            events=[
                *events,
                audit.EventDraft(code=change_request.event_code(Step.SETTLED), sentence=sentence),
            ],
        )
        if settled:
            if action.deletes:
                storing.record_absence(
                    site=change_request.site,
                    connection_ids=[change_request.connection_id],
                    lacked_at=seen_at,
                )
            _record_verified(
                change_request,
                is_listed=not action.deletes,
                connection_columns={},
                actor=actor,
                at=seen_at,
            )


def verify(*, change_request: ChangeRequest, actor: Actor, now: datetime | None = None) -> None:
    """Check whether a settled request has the effect that its outcome says.

    If a complete list shows the effect, `verified_at` is set. If it shows the opposite 5 minutes or
    more after the response, `contradicted_at` is set and every credential that has listed the
    connection syncs, so that the inventory shows it too. After a 404 to a DELETE, these credentials
    sync first. The outcome is never rewritten. Does nothing for outcomes that lists can't
    contradict.
    `now` is the database time, if the caller has just read it. Raises UnavailableError.
    """
    if change_request.outcome not in action_of(change_request).checked_outcomes:
        return
    if change_request.outcome == Outcome.ALREADY_ABSENT and change_request.due_at:
        sync_observing_credentials(change_requests=[change_request], actor=actor)
        type(change_request)._default_manager.filter(pk=change_request.pk).update(due_at=None)
        change_request.refresh_from_db()
        return
    result = _fetch_with_any_credential(change_request=change_request, actor=actor, now=now)
    verify_together(change_requests=[change_request], result=result, actor=actor)


def verify_together(
    *, change_requests: Sequence[ChangeRequest], result: SyncResult, actor: Actor
) -> None:
    """`verify` for several requests with one sync, in one transaction.

    `result` began after the responses to all of them, and hasn't been stored yet.
    """
    # The same sync can show it for two deletions of one connection.
    deleted = {
        change_request.connection_id
        for change_request in change_requests
        if action_of(change_request).deletes
        and is_listed(change_request=change_request, result=result) is False
    }
    with audit.atomic():
        # The snapshots are locked before the requests' own rows, as everywhere both are locked. A
        # sync that can't be stored changes no snapshot.
        storing.store(result, actor=actor, deleted=list(deleted))
        contradicted = [
            change_request
            for change_request in change_requests
            if _record_verification(change_request, result=result, actor=actor)
        ]
    if contradicted:
        sync_observing_credentials(change_requests=contradicted, actor=actor)


def _record_verification(
    change_request: ChangeRequest, *, result: SyncResult, actor: Actor
) -> bool:
    """Record what a stored sync says about a settled request. Refreshes the object.

    Return whether this contradicts it for the first time.
    """
    was_contradicted = change_request.contradicted_at is not None
    seen_at = result.started_at or clock.now()
    action = action_of(change_request)
    listed = is_listed(change_request=change_request, result=result)
    shows_effect = action.shows_effect(change_request, result=result)
    item = action.find(change_request, result=result)
    if listed is not None and shows_effect and action.confirms_success(change_request, item):
        columns = action.columns_from(change_request, item)
        _record_verified(
            change_request, is_listed=listed, connection_columns=columns, actor=actor, at=seen_at
        )
        return False
    event = check_event(change_request=change_request, result=result)
    checked = {"cause_details": {"last_check": event.details}}
    model = type(change_request)
    audit.record(
        code=event.code,
        actor=actor,
        subject=change_request,
        sentence=event.sentence,
        details=event.details,
        rows={model.noun: audit.changes_of(model, values=checked, actor=actor)},
    )
    rows = model._default_manager.filter(pk=change_request.pk)
    rows.update(**checked)
    if listed is not None:
        _record_no_effect(
            change_request,
            is_listed=listed,
            actor=actor,
            at=seen_at,
            listed_by=result.listed_by,
        )
    else:
        now = clock.now()
        settled_at = guards.happened_by(change_request.settled_at or now, now=now)
        rows.update(due_at=_next_verification_at(change_request, settled_at=settled_at, now=now))
    change_request.refresh_from_db()
    return change_request.contradicted_at is not None and not was_contradicted


def _next_verification_at(
    change_request: ChangeRequest, *, settled_at: datetime, now: datetime
) -> datetime | None:
    if change_request.outcome != action_of(change_request).success or change_request.verified_at:
        return None
    return states.next_verification_at(settled_at=settled_at, now=now)


def _record_verified(
    change_request: ChangeRequest,
    *,
    is_listed: bool,
    connection_columns: dict[str, Any],
    actor: Actor,
    at: datetime,
) -> None:
    """Record that a complete list shows the effect. Call it while the site's snapshots are locked.

    Based on what is stored now, because another process might have verified it in the meantime.
    After a clock was set back, what a later sync verified stays.
    """
    model = type(change_request)
    is_unverified = Q(verified_at=None) | Q(last_check_listed=not is_listed, verified_at__lt=at)
    rows = model._default_manager.filter(pk=change_request.pk)
    checked = {"last_checked_at": at, "last_check_listed": is_listed, "due_at": None}
    verified = {"verified_at": at} | connection_columns
    if not rows.filter(is_unverified).update(**verified, **checked):
        rows.update(**checked)
        change_request.refresh_from_db()
        return
    for name, value in (verified | checked).items():
        setattr(change_request, name, value)
    audit.record(
        code=change_request.event_code(Step.VERIFIED),
        actor=actor,
        subject=change_request,
        sentence=audit.Sentence(
            "A complete sync {lists} {connection}.",
            lists=action_of(change_request).lists,
            connection=change_request.description,
        ),
        details={"at": at.isoformat()},
        rows={model.noun: audit.changed(change_request, *verified, actor=actor)},
    )


def _record_no_effect(
    change_request: ChangeRequest, *, is_listed: bool, actor: Actor, at: datetime, listed_by: str
) -> None:
    action = action_of(change_request)
    settled_at = guards.happened_by(change_request.settled_at or at, now=at)
    due_at = _next_verification_at(change_request, settled_at=settled_at, now=at)
    is_first = change_request.last_check_listed is None and not is_listed
    if is_first and (alarm := action.unlisted_event(change_request)):
        audit.record(code=alarm.code, actor=actor, subject=change_request, sentence=alarm.sentence)
    waited = at - settled_at >= time_limits.CONTRADICTED_AFTER
    if waited or change_request.outcome != action.success or change_request.verified_at:
        due_at = None
        action.flag_contradiction(change_request, at=at, listed_by=listed_by, actor=actor)
    type(change_request)._default_manager.filter(pk=change_request.pk).update(
        last_checked_at=at, last_check_listed=is_listed, due_at=due_at
    )


def sync_observing_credentials(*, change_requests: Sequence[ChangeRequest], actor: Actor) -> None:
    """Sync with every credential that has listed a connection, after a 404 or a contradiction.

    If one still lists it, that contradicts a 404. Storing its sync records that.
    """
    listed_by = OrgConnectionSnapshot.objects.filter(
        site__in={change_request.site for change_request in change_requests},
        connection_id__in=[change_request.connection_id for change_request in change_requests],
    ).values("credential")
    credentials = Credential.objects.filter(retired_at=None, pk__in=listed_by)
    syncs.sync_credentials(credentials=list(credentials), actor=actor)
    for change_request in change_requests:
        change_request.refresh_from_db()
