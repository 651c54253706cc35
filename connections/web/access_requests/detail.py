"""The page of one access request."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from connections.access import visibility
from connections.access.actor import Actor
from connections.access_requests.actions import pair_of
from connections.access_requests.concealing import conceal
from connections.access_requests.moving import kind_left
from connections.access_requests.status import (
    GAVE_NOTHING,
    AccessStatus,
    ClosedStatus,
    access_status_at,
    access_steps_of,
    confirming_people,
    describe_access,
    last_day_text,
)
from connections.access_requests.texts import confirm_texts
from connections.access_requests.what_changes import changes_of_request
from connections.change_requests import approvals, rechecks, states
from connections.change_requests.actions import action_of, protections_of
from connections.change_requests.status import NextStep, RequestStatus
from connections.core.causes import Cause, cause_text
from connections.lookups import objects
from connections.models import (
    COMPLETED,
    AccessRequest,
    Deletion,
    OrgConnectionKey,
    Protection,
    RequestKind,
)
from connections.web.access_requests.before import list_before
from connections.web.badges import access_request_badge
from connections.web.change_requests.page import (
    NextSteps,
    RequestPage,
    can_decide,
    find_steps,
    preview_note,
    version_of,
)
from connections.web.framework import addresses
from connections.web.framework.actions import NOT_REFUSED, Refusal
from connections.web.framework.forms import ConfirmationForm, ServiceForm
from connections.web.overview.navigation import find_next_decision

_OUTDATED = f"{cause_text(Cause.AGREEMENT_CHANGED)} It can no longer be sent: request it again."
# Something is under way, and the page says so until the result replaces it.
_CHECKING: set[AccessStatus] = {
    RequestStatus.CHECKING,
    RequestStatus.SENDING,
    ClosedStatus.CREATED_VERIFYING,
    ClosedStatus.CHANGED_VERIFYING,
}


class AccessRequestPage(RequestPage[AccessRequest]):
    """The page of one access request."""

    template = "access_requests/detail.html"
    name = "access_request"
    noun = "access"
    url_prefix = "access-request"
    actions = ("execute", "approve", "decline", "withdraw", "reconcile", "close")

    def rows(self) -> QuerySet[AccessRequest]:
        return _with_details(AccessRequest.objects.all())

    def find(self, *, actor: Actor, pk: UUID) -> AccessRequest:
        access_request = objects.find_access_request(actor=actor, pk=pk)
        return self.rows().get(pk=access_request.pk)

    def as_read(self, change_request: AccessRequest, *, actor: Actor) -> AccessRequest:
        return conceal([change_request], actor=actor)[0]

    def version(self, change_request: AccessRequest, *, actor: Actor, now: datetime) -> str:
        steps = _find_next_steps(change_request, actor=actor, now=now)
        status = access_status_at(change_request, now=now)
        return version_of(change_request, steps, status.name, now=now)

    def forms(self) -> dict[str, type[ServiceForm]]:
        return {"execution_form": ConfirmationForm}

    def status_context(
        self, change_request: AccessRequest, *, request: HttpRequest, actor: Actor, now: datetime
    ) -> dict[str, Any]:
        access_request = change_request
        have_expired = states.have_approvals_expired(access_request, now=now)
        is_awaiting = states.can_be_approved(access_request, now=now) or have_expired
        is_deciding = is_awaiting and can_decide(actor, change_request=access_request, now=now)
        preview = rechecks.preview_recheck(change_request=access_request) if is_deciding else None
        next_steps = _find_next_steps(access_request, actor=actor, now=now)
        steps = {step.value: True for step in next_steps.steps}
        if preview and not preview.can_be_approved:
            steps.pop(NextStep.APPROVE, None)
        if access_request.outcome in GAVE_NOTHING:
            steps[NextStep.REQUEST_AGAIN.value] = True
        status = access_status_at(access_request, now=now)
        kind = kind_left(access_request)
        pair = pair_of(access_request)
        changes = changes_of_request(access_request, actor=actor)
        text = describe_access(
            access_request,
            status=status,
            now=now,
            approvers=tuple(
                approvals.names_of_possible_approvers(change_request=access_request, now=now)
            )
            if is_awaiting
            else None,
            is_deciding=is_deciding,
            is_confirming=NextStep.CONFIRM in next_steps.steps,
            block=next_steps.block,
        )
        if NextStep.CONFIRM in next_steps.steps and _is_outdated(access_request):
            # The block says what was agreed when it was requested.
            del steps[NextStep.CONFIRM.value]
            steps[NextStep.REQUEST_AGAIN.value] = True
            text = replace(text, lines=(*text.lines, _OUTDATED))
        return {
            "badge": access_request_badge(access_request, status=status),
            "text": text,
            "steps": steps,
            "version": version_of(access_request, next_steps, status.name, now=now),
            "can_decide": is_deciding and status == RequestStatus.NEEDS_APPROVAL,
            "is_checking": status in _CHECKING
            and not access_request.last_checked_at
            and NextStep.CHECK not in next_steps.steps,
            "reason_reader": access_request.requested_by_name,
            "after_last_day": last_day_text(access_request, today=now.date()),
            "confirming_people": confirming_people(access_request),
            "earlier_title": "This pair before",
            "earlier": list_before(pair, before=access_request.requested_at, actor=actor),
            "connection_url": addresses.connection_url(access_request.key)
            if access_request.connection_id
            and access_request.connection_id != access_request.moved_from
            else "",
            "moved_from_url": addresses.connection_url(
                OrgConnectionKey(site=access_request.site, connection_id=access_request.moved_from)
            )
            if access_request.moved_from
            else "",
            "preview": preview,
            "preview_note": preview_note(
                access_request,
                recheck=preview,
                without_details="" if access_request.snapshot_at else "The pair had no connection.",
            )
            if preview
            else None,
            "protection": _find_protection(access_request),
            "protected": "Protected: no data type can be removed"
            if kind == RequestKind.CHANGE
            else "",
            "changes": changes,
            "changed_nothing": access_request.is_settled
            and access_request.outcome not in COMPLETED,
            **confirm_texts(kind),
            # Without a connection, those requested aren't marked.
            "added": changes.added if changes.now.types else [],
            "deletion_url": _deletion_url(access_request.deletion, actor=actor),
            "restored_from_url": _deletion_url(access_request.restored_from, actor=actor),
            "next_decision": find_next_decision(request, decided=access_request),
            "again_url": addresses.request_again_url(access_request),
        }


PAGE = AccessRequestPage()


def access_request_detail(
    request: HttpRequest, pk: UUID, refusal: Refusal = NOT_REFUSED
) -> HttpResponse:
    """One access request: its outcome, next steps and details."""
    return PAGE.show(request, pk, refusal)


def _is_outdated(access_request: AccessRequest) -> bool:
    return action_of(access_request).is_agreement_newer(access_request)


def _with_details(rows: QuerySet[AccessRequest]) -> QuerySet[AccessRequest]:
    return rows.select_related(
        "credential", "requested_by", "confirmed_by", "owner", "deletion", "restored_from"
    ).prefetch_related("attempts", "approvals")


def _find_next_steps(access_request: AccessRequest, *, actor: Actor, now: datetime) -> NextSteps:
    status, protection = access_status_at(access_request, now=now), _find_protection(access_request)
    allowed = access_steps_of(status)
    if protection:
        allowed = tuple(step for step in allowed if step != NextStep.APPROVE)
    # The page also shows who protected it and why.
    objection = "The connection is protected." if protection else ""
    return find_steps(access_request, allowed, actor=actor, now=now, objection=objection)


def _find_protection(access_request: AccessRequest) -> Protection | None:
    """The protection that forbids what an open request would take away."""
    if access_request.is_settled:
        return None
    return protections_of([access_request]).first()


def _deletion_url(deletion: Deletion | None, *, actor: Actor) -> str:
    if deletion is None or not visibility.is_visible(deletion, actor=actor):
        return ""
    return reverse("deletion-detail", args=[deletion.pk])
