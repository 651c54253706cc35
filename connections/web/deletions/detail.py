"""The page of one deletion: its status, the steps that a person can take, and polling."""

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse

from connections import audit, models
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_requests import ending
from connections.access_reviews.progress import find_keep_decision
from connections.change_requests import approvals, rechecks, states
from connections.change_requests.status import NextStep, RequestStatus
from connections.core.data_types import data_text
from connections.deletions.confirmations import changes_of_deletion, confirming_people
from connections.deletions.status import DeletionEnd, status_at, steps_of
from connections.deletions.texts import describe
from connections.inventory import protections
from connections.lookups import objects
from connections.models.org_connections import SnapshotFields
from connections.web.badges import deletion_badge
from connections.web.change_requests.page import (
    NextSteps,
    RequestPage,
    can_decide,
    find_steps,
    preview_note,
    version_of,
)
from connections.web.deletions import forms
from connections.web.deletions.earlier import list_earlier
from connections.web.framework import addresses
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import ServiceForm
from connections.web.overview.navigation import find_next_decision


class DeletionPage(RequestPage[models.Deletion]):
    """The page of one deletion."""

    template = "deletions/detail.html"
    name = noun = "deletion"
    url_prefix = "deletion"
    actions = (
        *("execute", "approve", "decline", "break-glass", "late-approval", "withdraw"),
        *("reconcile", "close"),
    )
    audit_filter = "deletion"

    def rows(self) -> QuerySet[models.Deletion]:
        return models.Deletion.objects.select_related(
            "credential", "requested_by", "confirmed_by", "break_glass_by", "break_glass_review"
        ).prefetch_related("attempts", "approvals")

    def find(self, *, actor: Actor, pk: UUID) -> models.Deletion:
        return objects.find_deletion(self.rows(), actor=actor, pk=pk)

    def version(self, change_request: models.Deletion, *, actor: Actor, now: datetime) -> str:
        objections = find_objections(change_request, actor=actor)
        next_steps = find_next_steps(change_request, objections=objections, actor=actor, now=now)
        return state_version(change_request, objections=objections, next_steps=next_steps, now=now)

    def status_context(
        self, change_request: models.Deletion, *, request: HttpRequest, actor: Actor, now: datetime
    ) -> dict[str, Any]:
        return _status_context(change_request, request=request, actor=actor, now=now)

    def facts_context(self, change_request: models.Deletion, *, actor: Actor) -> dict[str, Any]:
        context = super().facts_context(change_request, actor=actor)
        # Whether it belongs to a bulk deletion that this person can see.
        shows_batch = bool(visibility.visible_batch_ids([change_request], actor=actor))
        return context | {"shows_batch": shows_batch}

    def page_context(self, *, actor: Actor, form: ServiceForm | None) -> dict[str, Any]:
        if not permissions.can_comment(actor):
            return {}
        return {"comment": form if isinstance(form, forms.CommentForm) else forms.CommentForm()}

    def forms(self) -> Mapping[str, type[ServiceForm]]:
        return {
            "execution_form": forms.ExecutionForm,
            "break_glass_form": forms.BreakGlassForm,
            "late_approval_form": forms.LateApprovalForm,
        }


PAGE = DeletionPage()


def deletion_detail(request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED) -> HttpResponse:
    """One deletion: its outcome, next steps and details."""
    return PAGE.show(request, pk, refusal)


class Objections(NamedTuple):
    """Why others want to keep the connection, while the deletion can still be prevented."""

    # The newest decision of an access review, if it is to keep the connection.
    kept: models.AccessReviewDecision | None
    protection: models.Protection | None


def find_objections(deletion: models.Deletion, *, actor: Actor) -> Objections:
    """The objections that the page shows."""
    return Objections(
        kept=find_keep_decision(actor=actor, key=deletion.key) if _is_undecided(deletion) else None,
        protection=None if deletion.is_settled else protections.find_protection(deletion.key),
    )


BLOCKED_BY_PROTECTION = {NextStep.CONFIRM, NextStep.APPROVE, NextStep.BREAK_GLASS}


def find_next_steps(
    deletion: models.Deletion, *, objections: Objections, actor: Actor, now: datetime
) -> NextSteps:
    """What the person can do next, apart from what a check with Datadog would rule out."""
    next_steps = find_steps(
        deletion,
        steps_of(status_at(deletion, now=now)),
        actor=actor,
        now=now,
        # The page also shows who protected it and why.
        objection="The connection is protected." if objections.protection else "",
        others={NextStep.BREAK_GLASS: partial(_can_break_glass, deletion, actor=actor, now=now)},
    )
    ruled_out = BLOCKED_BY_PROTECTION if objections.protection else set()
    return next_steps._replace(steps=[step for step in next_steps.steps if step not in ruled_out])


def _can_break_glass(deletion: models.Deletion, *, actor: Actor, now: datetime) -> bool:
    is_allowed = permissions.can_break_glass(actor, deletion=deletion)
    is_awaiting_approval = states.can_be_approved(deletion, now=now)
    # Break glass can be used once per deletion.
    return is_allowed and is_awaiting_approval and deletion.break_glass_at is None


def state_version(
    deletion: models.Deletion, *, objections: Objections, next_steps: NextSteps, now: datetime
) -> str:
    """A value that changes whenever what the page shows changes."""
    return version_of(
        deletion,
        [objection.pk for objection in objections if objection],
        next_steps,
        deletion.break_glass_at,
        getattr(deletion, "break_glass_review", None) is not None,
        status_at(deletion, now=now).name,
        now=now,
    )


def _status_context(
    deletion: models.Deletion, *, request: HttpRequest, actor: Actor, now: datetime
) -> dict[str, Any]:
    have_expired = states.have_approvals_expired(deletion, now=now)
    is_awaiting_approval = states.can_be_approved(deletion, now=now) or have_expired
    is_deciding = is_awaiting_approval and can_decide(actor, change_request=deletion, now=now)
    preview = rechecks.preview_recheck(change_request=deletion) if is_deciding else None
    objections = find_objections(deletion, actor=actor)
    next_steps = find_next_steps(deletion, objections=objections, actor=actor, now=now)
    steps = {step.value: True for step in next_steps.steps}
    if preview and not preview.can_be_approved:
        steps.pop(NextStep.APPROVE, None)
    status = status_at(deletion, now=now)
    text = describe(
        deletion,
        status=status,
        now=now,
        approvers=tuple(approvals.names_of_possible_approvers(change_request=deletion, now=now))
        if is_awaiting_approval
        else None,
        can_approve=is_deciding,
        is_requester=actor.person is not None and actor.person.pk == deletion.requested_by_id,
        have_approvals_expired=have_expired,
        listed_by=_listed_by(deletion, actor=actor) if deletion.contradicted_at else "",
        block=next_steps.block,
    )
    is_gone = deletion.outcome in models.GONE_OUTCOMES and (
        not deletion.contradicted_at or deletion.last_check_listed is False
    )
    pair = models.OrgPair(deletion.site, deletion.source_org_id, deletion.sink_org_id)
    return {
        "restore_url": addresses.access_request_url(
            models.RequestKind.RESTORE, pair, deletion=deletion.pk
        )
        if is_gone and deletion.is_reviewed
        else "",
        "badge": deletion_badge(deletion, status=status),
        "text": text,
        "steps": steps,
        "version": state_version(deletion, objections=objections, next_steps=next_steps, now=now),
        "again_url": confirm_url(
            credential=deletion.credential_id,
            connection_id=deletion.connection_id,
            again=str(deletion.pk),
        ),
        "next_decision": find_next_decision(request, decided=deletion),
        "connection_url": addresses.connection_url(deletion.key),
        "back_url": back_url(request),
        "can_decide": is_deciding and status == RequestStatus.NEEDS_APPROVAL,
        "is_checking": status in _CHECKING
        and not deletion.last_checked_at
        and NextStep.CHECK not in next_steps.steps,
        "is_gone": is_gone,
        "confirming_people": confirming_people(deletion),
        "reason_reader": deletion.requested_by_name
        if deletion.requested_by_id
        else "the person who requested the access",
        "access_end": _access_end(deletion, actor=actor),
        "earlier_title": "Before this request",
        "earlier": list_earlier(deletion, kept=objections.kept, actor=actor)
        if is_awaiting_approval
        else [],
        "can_give_late_approval": deletion.lacks_late_approval
        and permissions.can_give_late_approval(actor, deletion=deletion),
        "preview": preview,
        "preview_note": preview_note(
            deletion,
            recheck=preview,
            without_details=""
            if deletion.is_reviewed
            else f"{deletion.requested_by_name} could not see its details either.",
        )
        if preview
        else None,
        "protection": objections.protection,
        "changes": changes_of_deletion(deletion, actor=actor),
        "changed_nothing": deletion.is_settled and not is_gone,
        **keep_context(objections.kept, now=now),
        "side": side_of(deletion.credential, connection=deletion),
    }


class AccessEnd(NamedTuple):
    """The end of approved access at which Org Admin requested the deletion."""

    # None if the access has no end, and the agreement one.
    day: date | None
    # Of the page of the request that gave the access.
    url: str
    # Why people decide, or what covers the deletion instead.
    text: str


def _access_end(deletion: models.Deletion, *, actor: Actor) -> AccessEnd | None:
    """None if a person requested the deletion, or if the actor can't see the access."""
    if deletion.requested_by_id:
        return None
    visible = visibility.visible_access_requests(actor=actor)
    access_request = visible.filter(deletion=deletion).first()
    if access_request is None:
        return None
    is_decided_by_people = deletion.confirmed_at is None or deletion.confirmed_by_id is not None
    return AccessEnd(
        day=access_request.ends_on,
        url=reverse("access-request-detail", args=[access_request.pk]),
        text=_why_people_decide(access_request, deletion)
        if is_decided_by_people
        else "Its approval covers this deletion."
        if ending.approvals_of_end(access_request)
        else "No approval was required.",
    )


def _why_people_decide(access_request: models.AccessRequest, deletion: models.Deletion) -> str:
    if access_request.types_after != sorted(deletion.connection_types):
        approved = data_text(access_request.types_after)
        why = f"It was for {approved}, and the connection has other data types."
    else:
        why = ending.why_text(ending.why_it_waits(access_request, deletion))
    return f"{why} People decide about its deletion.".strip()


def confirm_url(*, credential: UUID, connection_id: UUID, **more: str) -> str:
    """The URL of the confirmation page.

    `more` can contain `reason`, `ticket`, `request_id`, `back` as in `back_url`, and `again`, which
    is the ID of a deletion whose reason and ticket are reused. These could be too long for a URL.
    """
    query = {"credential": str(credential), "connection_id": str(connection_id)}
    typed = {name: value for name, value in more.items() if value}
    return reverse("deletion-confirm", query=query | typed)


def keep_context(kept: models.AccessReviewDecision | None, *, now: datetime) -> dict[str, Any]:
    """A decision to keep the connection, if there is one, and whether its last day has passed."""
    has_ended = kept is not None and kept.has_ended(today=now.date())
    return {"kept": kept, "keep_has_ended": has_ended}


def _is_undecided(deletion: models.Deletion) -> bool:
    """Whether people still decide whether it is sent."""
    return deletion.state in {
        models.State.REQUESTED,
        models.State.APPROVED,
        models.State.STILL_PRESENT,
    }


# Something is under way, and the page says so until the result replaces it.
_CHECKING = {
    DeletionEnd.DELETED_VERIFYING,
    RequestStatus.CHECKING,
    RequestStatus.SENDING,
}


def back_url(request: HttpRequest) -> str:
    """The list of connections from which the person came; "" if that is unknown.

    Its address is in the form, in the page's own address, or in that of the page before.
    """
    before = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    for query in (request.POST, request.GET, QueryDict(before.partition("?")[2])):
        path, _, filters = query.get("back", "").partition("?")
        if path == reverse("org-connection-list"):
            return f"{path}?{filters}" if filters else path
    return ""


def side_of(credential: models.Credential, *, connection: SnapshotFields) -> str:
    """Which side of the connection the credential's org is; "" if that is unknown."""
    sides = {connection.source_org_id: "source side", connection.sink_org_id: "destination side"}
    return sides.get(credential.org_id, "") if credential.org_id else ""


def _listed_by(deletion: models.Deletion, *, actor: Actor) -> str:
    """The credential that still listed it; "" if the actor can't see that credential."""
    for event in reversed(audit.events_of(subject=deletion)):
        if event.code == audit.EventCode.DELETION_CONTRADICTED:
            name = str(event.details.get("seen_by", ""))
            is_own = name == deletion.credential_name
            return name if is_own or permissions.can_see_everything(actor) else ""
    return ""
