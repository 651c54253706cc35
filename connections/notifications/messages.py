"""The text of a notification, built from the audit log when it is sent by email or webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.urls import reverse

from connections import models
from connections.access import permissions, visibility
from connections.access.actor import WORKER, Actor, person_actor
from connections.access.agreement_owners import count_owned, find_owned, find_owner
from connections.access.policies import policy_change_text
from connections.access_requests.concealing import READABLE_CODES, conceal
from connections.access_requests.what_changes import changes_of_request
from connections.agreements.approved import automatic_end, find_grants
from connections.audit import EventCode
from connections.batches.what_changes import changes_of_batch
from connections.changes.changes import (
    AWAITING_QUERY,
    ChangeFilter,
    ChangeRow,
    iterate_changes,
)
from connections.changes.export import CHANGE_EXPORT_COLUMNS
from connections.changes.texts import change_subject, change_title
from connections.core.causes import Cause, FailureKind
from connections.core.sites import site_name
from connections.core.text import format_time, pluralize
from connections.deletions.confirmations import changes_of_deletion
from connections.models import with_values
from connections.notification_queue import outbox
from connections.notification_queue.outbox import NotificationSubject, get_subject
from connections.notifications import agreement_ends, change_digests
from connections.notifications.change_digests import pair_of
from connections.notifications.formats import MAX_ROWS, Message, short_name
from connections.notifications.responsible import find_responsible
from connections.notifications.titles import notification_title


def build_message(notification: models.Notification) -> Message:
    """The message for a notification. Raises DoesNotExist if its subject no longer exists."""
    if notification.event_seq is not None:
        return _event_message(notification.event_seq, reader=notification.person)
    match notification.subject_type:
        case "checkpoint":
            return _checkpoint_message(models.Checkpoint.objects.get(pk=notification.subject_id))
        case "verification":
            return _verification_message(
                models.AuditVerification.objects.get(pk=notification.subject_id)
            )
        case "changes":
            return _changes_message(notification)
        case "agreements":
            return _agreement_ends_message(notification)
        case "sync_problem":
            return _sync_problem_message(notification)
        case _:
            return _test_message(notification)


# The details of an event that the webhook gets.
_WEBHOOK_DETAILS = (
    *("state", "outcome", "cause", "reason", "ticket"),
    *("policy", "previous_policy", "org_policy", "previous_org_policy", "before", "after"),
    *("roles", "previous_roles", "is_administrator", "was_administrator"),
    "removes_second_factor",
)


def _event_message(seq: int, *, reader: models.Person | None) -> Message:
    [event] = with_values([models.AuditEvent.objects.get(pk=seq)])
    subject = get_subject(event)
    details = event.details
    if isinstance(subject, models.AccessReview):
        may_be_closed = event.code == EventCode.ACCESS_REVIEW_REPEAT_FAILED
        _require_still_waiting(subject, reader=reader, may_be_closed=may_be_closed)
    if isinstance(subject, models.AccessRequest):
        _require_visible(subject, reader=reader)
    if isinstance(subject, models.Agreement):
        _require_pair_visible(subject, reader=reader)
    if isinstance(subject, models.Credential) and not _sees(subject, reader=reader):
        return _org_policy_message(event, credential=subject)
    sentence = _sentence(event, reader=reader)
    if isinstance(subject, models.Agreement) and event.code == EventCode.AGREEMENT_SET:
        sentence = _ownership(subject, reader=reader)
    if isinstance(subject, models.AccessRequest) and event.code not in READABLE_CODES:
        [subject] = conceal([subject], actor=_actor_of(reader))
        if subject.cause == Cause.CONCEALED:
            sentence = f"{subject.pair}: Not sent. Ask {subject.cause_details['operator']} why."
            details = {"outcome": subject.outcome}
    needs_approval = (
        isinstance(subject, models.ChangeRequest | models.Batch) and subject.needs_approval
    )
    reference = _refer_to(subject, reader=reader)
    if reader and isinstance(subject, models.ChangeRequest) and find_owner(subject) == reader:
        is_still = bool(find_owned([subject], actor=person_actor(person=reader)))
        sentence = f"{sentence} {_ANSWERS if is_still else _ANSWERED}"
    if reader and isinstance(subject, models.Batch):
        sentence, reference = _about_owned(subject, sentence, reference, reader=reader)
    data: dict[str, Any] = {
        "event": event.seq,
        "by": event.actor_name,
        "subject": {"type": event.subject_type, "id": event.subject_id},
    }
    data |= {
        name: details[name] for name in _WEBHOOK_DETAILS if details.get(name) not in (None, "")
    }
    return Message(
        code=event.code,
        title=notification_title(event.code, details=details, needs_approval=needs_approval),
        about=reference.about,
        at=event.at,
        sentence=sentence,
        path=reference.path,
        seq=event.seq,
        by=event.actor_name,
        reason=str(details.get("reason") or ""),
        rows=_what_changes(event, subject, reader=reader),
        data=data | reference.data,
    )


def _what_changes(
    event: models.AuditEvent, subject: object, *, reader: models.Person | None
) -> tuple[str, ...]:
    """What a request changes, for those who are to decide about it or are told of it."""
    actor = _actor_of(reader)
    if event.code == EventCode.ACCESS_REQUEST_REQUESTED and isinstance(
        subject, models.AccessRequest
    ):
        return changes_of_request(subject, actor=actor).lines
    if event.code == EventCode.DELETION_REQUESTED and isinstance(subject, models.Deletion):
        changes = changes_of_deletion(subject, actor=actor)
        return changes.lines if changes else ()
    if event.code == EventCode.BATCH_REQUESTED and isinstance(subject, models.Batch):
        # Who answers for a part might see only that.
        is_visible = visibility.visible_batches(actor=actor).filter(pk=subject.pk).exists()
        return changes_of_batch(subject) if is_visible else ()
    return ()


_ANSWERS = "You answer for this access."
_ANSWERED = "You answered for this access until now."


def _actor_of(reader: models.Person | None) -> Actor:
    """Who reads it: a person or, for the webhook, everybody."""
    return person_actor(person=reader) if reader else WORKER


def _require_still_waiting(
    review: models.AccessReview, *, reader: models.Person | None, may_be_closed: bool
) -> None:
    """Raise DoesNotExist if the access review was closed or is now hidden from the reader."""
    visible = visibility.visible_access_reviews(actor=_actor_of(reader))
    is_over = review.is_closed and not may_be_closed
    if is_over or not visible.filter(pk=review.pk).exists():
        raise models.AccessReview.DoesNotExist


def _require_visible(access_request: models.AccessRequest, *, reader: models.Person | None) -> None:
    """Raise DoesNotExist if the access request, or its destination, is hidden from the reader."""
    visible = visibility.visible_access_requests(actor=_actor_of(reader))
    if not visible.filter(pk=access_request.pk).exists():
        raise models.AccessRequest.DoesNotExist


def _require_pair_visible(agreement: models.Agreement, *, reader: models.Person | None) -> None:
    """Raise DoesNotExist if the pair is hidden from the reader."""
    actor = _actor_of(reader)
    pairs = visibility.visible_pairs([agreement.pair], actor=actor)
    if not permissions.can_see(actor) or agreement.pair not in pairs:
        raise models.Agreement.DoesNotExist


def _sees(credential: models.Credential, *, reader: models.Person | None) -> bool:
    return credential.pk not in permissions.visibility_of(_actor_of(reader)).hidden


def _org_policy_message(event: models.AuditEvent, *, credential: models.Credential) -> Message:
    """What an approver of the org learns of a credential that is hidden from them.

    Raises DoesNotExist if its org's approvals didn't change.
    """
    details, org = event.details, credential.org_name or credential.org_id
    if "org_policy" not in details:
        raise models.Credential.DoesNotExist
    return Message(
        code=event.code,
        title=notification_title(event.code, details=details),
        about=short_name(org),
        at=event.at,
        sentence=policy_change_text(
            org=org, previous=details["previous_org_policy"], new=details["org_policy"]
        ),
        path=reverse("org-detail", args=[credential.site, credential.org_id]),
        seq=event.seq,
        by=event.actor_name,
    )


_NAMES_REVIEWERS = {
    EventCode.ACCESS_REVIEW_STARTED,
    EventCode.ACCESS_REVIEW_REVIEWERS_CHANGED,
    EventCode.ACCESS_REVIEW_OWNER_CHANGED,
}


def _sentence(event: models.AuditEvent, *, reader: models.Person | None) -> str:
    """What happened or, in an email about an access review, what it asks of the person."""
    details = event.details
    if event.code in _NAMES_REVIEWERS and reader is not None:
        due = details["due_at"][:10]
        return f"You are a reviewer of the access review “{details['name']}”, due on {due}."
    if event.code != EventCode.ACCESS_REVIEW_REMINDED or reader is None:
        return event.sentence
    verb = "was" if details["reminder"] == "overdue" else "is"
    pending = pluralize(details["pending"][str(reader.pk)], "connection")
    return (
        f"The access review “{details['name']}” {verb} due on {details['due']}. You can decide "
        f"on {pending} that still need{'s' if pending.startswith('1 ') else ''} a decision."
    )


def _ownership(agreement: models.Agreement, *, reader: models.Person | None) -> str:
    """For what the new owner answers now."""
    who = "You are" if reader else f"{agreement.owner} is"
    end = f" until {agreement.ends_on}" if agreement.ends_on else ""
    names, site = _names_of(agreement), site_name(agreement.site)
    return f"{who} now the owner of the access {names} ({site}){end}: {agreement.purpose}"


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """How a message names its event's subject, which page shows it, and fields for the webhook."""

    about: str
    path: str
    data: dict[str, Any]


def _refer_to(subject: NotificationSubject | None, *, reader: models.Person | None) -> _Reference:
    match subject:
        case models.Credential():
            return _Reference(
                about=short_name(subject.name),
                path=reverse("credential-detail", args=[subject.pk]),
                data={"site": subject.site, "credential": subject.name},
            )
        case models.Person():
            # Only administrators can see a person's page.
            is_visible = reader is None or reader.is_superuser
            return _Reference(
                about=short_name(subject.display_name),
                path=reverse("person-detail", args=[subject.pk])
                if is_visible
                else reverse("session-list"),
                data={},
            )
        case models.Hold():
            data = {"kind": subject.kind, "reason": subject.reason}
            return _Reference(about="", path=reverse("hold"), data=data)
        case models.Agreement():
            return _Reference(
                about=_names_of(subject),
                path=reverse("agreement-form", query={"pair": subject.pair.reference}),
                data={
                    "site": subject.site,
                    "source_org_id": subject.source_org_id,
                    "sink_org_id": subject.sink_org_id,
                    "version": subject.version,
                    "owner": subject.owner.username if subject.owner else None,
                    "purpose": subject.purpose,
                },
            )
        case models.AccessReview():
            return _Reference(
                about=short_name(subject.name),
                path=reverse("access-review-detail", args=[subject.pk]),
                data={"access_review": str(subject.pk), "name": subject.name},
            )
        case models.Batch():
            connections = subject.rows.filter(models.SENDABLE).count()
            return _Reference(
                about=pluralize(connections, "connection"),
                path=reverse("batch-detail", args=[subject.pk]),
                data={
                    "batch": str(subject.pk),
                    "connections": connections,
                    "approvals_needed": models.ApprovalPolicy(subject.policy).approvals_needed,
                },
            )
        case models.AccessRequest():
            end = subject.ends_on.isoformat() if subject.ends_on else None
            return _Reference(
                about=_orgs(subject),
                path=reverse("access-request-detail", args=[subject.pk]),
                data=_request_data(subject)
                | {
                    "kind": subject.kind,
                    "types_before": subject.connection_types,
                    "types_after": subject.types_after,
                    "ends_on": end,
                    "purpose": subject.purpose,
                },
            )
        case models.Deletion():
            return _Reference(
                about=_orgs(subject)
                if subject.is_reviewed
                else f"…{str(subject.connection_id)[-8:]}, not listed",
                path=reverse("deletion-detail", args=[subject.pk]),
                data=_request_data(subject),
            )
    return _Reference(about="", path=reverse("notification-list"), data={})


def _about_owned(
    batch: models.Batch, sentence: str, reference: _Reference, *, reader: models.Person
) -> tuple[str, _Reference]:
    """How many of the connections the reader answers for, who might see only those.

    Raises DoesNotExist if the bulk deletion is hidden from the reader, and no such connection left.
    """
    owned = count_owned(batch).get(reader.pk, 0)
    visible = visibility.visible_batches(actor=person_actor(person=reader))
    if not visible.filter(pk=batch.pk).exists():
        if not owned:
            raise models.Batch.DoesNotExist
        sentence = f"{batch.requested_by_name} requested a bulk deletion."
        about = pluralize(owned, "connection")
        reference = _Reference(about=about, path=reverse("deletion-list"), data={})
    if owned:
        verb = "It deleted" if batch.has_ended else "It is to delete"
        sentence += f" {verb} {pluralize(owned, 'connection')} that you answer for."
    return sentence, reference


def _names_of(agreement: models.Agreement) -> str:
    orgs = models.Org.objects.filter(site=agreement.site)
    names = dict(orgs.values_list("org_id", "name"))
    ids = (agreement.source_org_id, agreement.sink_org_id)
    return " → ".join(short_name(names.get(org_id) or org_id) for org_id in ids)


def _orgs(request: models.ChangeRequest) -> str:
    orgs = (request.source_org_name or "?", request.sink_org_name or "?")
    return " → ".join(map(short_name, orgs))


def _request_data(request: models.ChangeRequest) -> dict[str, Any]:
    connection_id = request.connection_id
    return {
        "site": request.site,
        "connection_id": str(connection_id) if connection_id else None,
        "source_org": request.source_org_name,
        "sink_org": request.sink_org_name,
        "credential": request.credential_name,
        "approvals_needed": models.ApprovalPolicy(request.policy).approvals_needed,
    }


def _checkpoint_message(checkpoint: models.Checkpoint) -> Message:
    count = pluralize(checkpoint.size, "event")
    return Message(
        code=outbox.CHECKPOINT_MADE,
        title=notification_title(outbox.CHECKPOINT_MADE, details={}),
        about=count,
        at=checkpoint.made_at,
        sentence=f"The audit log has {count}. Signed with key {checkpoint.fingerprint}.",
        path=reverse("audit-list"),
        data={
            "size": checkpoint.size,
            "root": checkpoint.root,
            "fingerprint": checkpoint.fingerprint,
            "note": checkpoint.note,
        },
    )


def _verification_message(verification: models.AuditVerification) -> Message:
    return Message(
        code=outbox.VERIFICATION_FAILED,
        title=notification_title(outbox.VERIFICATION_FAILED, details={}),
        at=verification.checked_at,
        sentence=verification.message,
        path=reverse("audit-list"),
        data={"fault": verification.fault, "first_bad_seq": verification.first_bad_seq},
    )


def _changes_message(notification: models.Notification) -> Message:
    """The message about the changes that the reader can see now. The webhook sees all."""
    reader = notification.person
    actor = person_actor(person=reader) if reader else WORKER
    first, last = change_digests.numbers_in(notification)
    filters = ChangeFilter(
        needs_attention=True,
        # The webhook gets every change, even one that was acknowledged in the meantime.
        acknowledged="no" if reader else "",
        after_number=first - 1,
        up_to_number=last,
    )
    if not permissions.can_see(actor):
        raise models.Change.DoesNotExist
    rows = list(iterate_changes(actor=actor, filters=filters))
    if reader:
        responsible = find_responsible({pair_of(row.change) for row in rows})
        rows = [row for row in rows if responsible.concerns(pair_of(row.change), person=reader)]
    count, rows = len(rows), rows[:MAX_ROWS]
    if not rows:
        raise models.Change.DoesNotExist
    sentence = f"{pluralize(count, 'change')} {'needs' if count == 1 else 'need'} attention."
    if count > len(rows):
        sentence += f" The newest {len(rows)}:"
    return Message(
        code=notification.code,
        title=notification_title(notification.code, details={}),
        about=pluralize(count, "change"),
        at=notification.created_at,
        sentence=sentence,
        path=reverse("change-list", query=AWAITING_QUERY),
        rows=tuple(_change_line(row) for row in rows),
        data={"count": count, "changes": [CHANGE_EXPORT_COLUMNS.row(row) for row in rows]},
    )


def _change_line(row: ChangeRow) -> str:
    title = change_title(row.change, deletion=row.deletion, access_request=row.access_request)
    subject = f"{change_subject(row.change)} ({site_name(row.change.site)})"
    return f"{title}: {subject}. {row.cause}".strip()


def _agreement_ends_message(notification: models.Notification) -> Message:
    """The message about the agreements that end soon. The webhook gets all of them."""
    today = notification.created_at.date()
    ending = agreement_ends.find_ending(actor=WORKER, today=today)
    agreements = list(ending.of(notification.person))
    if not agreements:
        raise models.Agreement.DoesNotExist
    names = {(org.site, org.org_id): org.name for org in models.Org.objects.all()}
    grants = find_grants([each.pair for each in agreements])
    approved = {pair: automatic_end(grant, today=today) for pair, grant in grants.items()}
    count = pluralize(len(agreements), "agreement")
    query = {"ends_within": str(max(agreement_ends.REMINDER_DAYS))}
    return Message(
        code=notification.code,
        title=notification_title(notification.code, details={}),
        about=count,
        at=notification.created_at,
        sentence=f"{count} {'ends' if len(agreements) == 1 else 'end'} soon. "
        + (_SOME_ARE_DELETED if any(approved.values()) else _NONE_IS_DELETED),
        path=reverse("agreement-list", query=query),
        rows=tuple(
            _ending_line(each, names, today=today, approved=approved.get(each.pair))
            for each in agreements[:MAX_ROWS]
        ),
        data={
            "count": len(agreements),
            "agreements": [
                {
                    "site": each.site,
                    "source_org_id": each.source_org_id,
                    "sink_org_id": each.sink_org_id,
                    "ends_on": each.ends_on.isoformat() if each.ends_on else None,
                    "deleted_after": day.isoformat() if (day := approved.get(each.pair)) else None,
                }
                for each in agreements[:MAX_ROWS]
            ],
        },
    )


_NONE_IS_DELETED = (
    "After that, decide whether to delete the connection or to set a later end: nothing is deleted "
    "by itself."
)
_SOME_ARE_DELETED = (
    "Org Admin deletes the connections that say so below: to keep one, request a later end. For "
    "the others, decide whether to delete the connection or to set a later end."
)


def _ending_line(
    agreement: models.Agreement,
    names: Mapping[tuple[str, str], str],
    *,
    today: date,
    approved: date | None,
) -> str:
    source, sink = (
        short_name(names.get((agreement.site, org_id)) or org_id)
        for org_id in (agreement.source_org_id, agreement.sink_org_id)
    )
    left = (agreement.ends_on - today).days if agreement.ends_on else 0
    when = f"in {pluralize(left, 'day')}" if left else "today"
    site = site_name(agreement.site)
    deleted = f"; Org Admin deletes it after {approved}" if approved else ""
    ends = f"ends on {agreement.ends_on}, {when}{deleted}"
    return f"{source} → {sink} ({site}) {ends}: {agreement.purpose}"


_FAILURES = {
    FailureKind.REJECTED: "Datadog has rejected the keys of {orgs}",
    FailureKind.UNREACHABLE: "Datadog hasn't responded to the syncs of {orgs}",
    FailureKind.ERROR: "The syncs of {orgs} have failed",
}


def _sync_problem_message(notification: models.Notification) -> Message:
    """The message about failing syncs of the orgs that the reader can see. The webhook sees all.

    Raises DoesNotExist if there are none, or if those that it reports as failing have recovered.
    """
    problem = models.SyncProblem.objects.get(pk=notification.subject_id)
    is_failing = notification.code == outbox.SYNCS_FAILING
    credentials = visibility.visible(
        models.Credential.objects.filter(pk__in=problem.credential_ids, retired_at=None),
        actor=_actor_of(notification.person),
        by="pk",
    )
    names = {each.org_id: each.org_name or each.org_id for each in credentials}
    has_recovered = is_failing and problem.failing_since is None
    if not names or has_recovered:
        raise models.SyncProblem.DoesNotExist
    orgs = f"{pluralize(len(names), 'org')} on {site_name(problem.site)}"
    if is_failing:
        since = format_time(problem.failing_since)
        what = _FAILURES[FailureKind(problem.cause)].format(orgs=orgs)
        sentence = f"{what} since {since}. Org Admin can't see what changes there."
    else:
        sentence = f"The syncs of {orgs} work again."
    return Message(
        code=notification.code,
        title=notification_title(notification.code, details={}),
        about=orgs,
        at=notification.created_at,
        sentence=sentence,
        path=reverse("org-list", query={"show": "failing"} if is_failing else {}),
        rows=tuple(map(short_name, sorted(names.values())[:MAX_ROWS])),
        data={
            "site": problem.site,
            "cause": problem.cause,
            "orgs": [{"org_id": org_id, "name": name} for org_id, name in sorted(names.items())],
        },
    )


def _test_message(notification: models.Notification) -> Message:
    return Message(
        code=notification.code,
        title=notification_title(notification.code, details={}),
        at=notification.created_at,
        sentence="Test notification. No action needed.",
        path=reverse("notification-list"),
    )
