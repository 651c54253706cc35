"""The confirmation page: what would be deleted, and the form that requests it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from connections.access import approvers, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import find_keep_decision
from connections.change_requests import attempt_facts
from connections.change_requests.requesting import OUT_OF_DATE
from connections.core.causes import cause_text
from connections.core.data_types import unknown_types
from connections.core.errors import ConflictError, DomainError, InvalidInputError
from connections.core.sites import site_label
from connections.core.text import uuid_or_none
from connections.deletions import confirmations, requesting
from connections.deletions.confirmations import DeletionTarget, changes_of_target
from connections.deletions.status import status_of
from connections.deletions.texts import describe
from connections.models import (
    AccessRequest,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    OrgPair,
)
from connections.web.badges import Badge, deletion_badge
from connections.web.change_requests.curl import as_curl
from connections.web.change_requests.excluded import Excluded, find_excluded
from connections.web.change_requests.page import notice_about
from connections.web.deletions import detail
from connections.web.deletions.choose import choice_page, parse_choice
from connections.web.deletions.forms import DeletionForm
from connections.web.framework import addresses, http
from connections.web.framework.actions import Refusal
from connections.web.framework.reauthentication import requires_reauthentication

_PREFILLED = ("reason", "ticket")


def _page_with_input(request: HttpRequest) -> HttpResponse:
    """The page with the input and the reauthentication prompt."""
    actor = http.actor_of(request)
    deletion = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if deletion:
        return detail.PAGE.respond(request, deletion, actor=actor, is_confirming=True)
    try:
        credential, connection_id = parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=request.POST, error=error)
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    return _page(request, target=target, form=DeletionForm(request.POST), status=422)


# Without a confirmation, this only requests approval and sends nothing.
@requires_reauthentication(
    on_missing=_page_with_input, when=lambda request: bool(request.POST.get("confirmation"))
)
def deletion_confirm(request: HttpRequest) -> HttpResponse:
    """What deleting one connection means. A POST requests its deletion."""
    if request.method == "POST":
        return _request_deletion(request)
    actor = http.actor_of(request)
    query = request.GET
    deletion = _find_requested(query.get("request_id", ""), actor=actor)
    if deletion:
        return HttpResponseRedirect(reverse("deletion-detail", args=[deletion.pk]))
    if "credential" not in query or "connection_id" not in query:
        return choice_page(request, data=query)
    try:
        credential, connection_id = parse_choice(query, actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=query, error=error)
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    request_id = uuid_or_none(query.get("request_id", ""))
    typed = _previous_input(query.get("again", ""), actor=actor) | query.dict()
    form = _empty_form(target, typed=typed, request_id=request_id)
    notice = "That request wasn't recorded, so nothing was sent." if request_id else ""
    return _page(request, target=target, form=form, notice=notice)


def _find_requested(request_id: str, *, actor: Actor) -> Deletion | None:
    """The deletion that this person's form has already requested, if any."""
    pk = uuid_or_none(request_id)
    if pk is None or actor.person is None:
        return None
    visible = visibility.visible(detail.PAGE.rows(), actor=actor)
    return visible.filter(requested_by=actor.person, request_id=pk).first()


def _request_deletion(request: HttpRequest) -> HttpResponse:
    actor = http.actor_of(request)
    try:
        credential, connection_id = parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return choice_page(request, data=request.POST, error=error)
    form = DeletionForm(request.POST)
    try:
        form.require_valid()
        arguments = form.cleaned_data | {"credential": credential, "connection_id": connection_id}
        deletion = requesting.request_deletion(actor=actor, now=http.time_of(request), **arguments)
    except confirmations.TargetChangedError as error:
        return _target_changed(request, form=form, error=error)
    except DomainError as error:
        refusal = Refusal(form=form, error=error)
        return _request_failed(request, refusal, credential=credential, connection_id=connection_id)
    return detail.PAGE.respond(request, deletion, actor=actor, is_confirming=True)


def _target_changed(
    request: HttpRequest, *, form: DeletionForm, error: confirmations.TargetChangedError
) -> HttpResponse:
    """The current page, or the deletion that ended the connection in the meantime."""
    actor, target = http.actor_of(request), error.current
    ended = confirmations.previous_deletion(
        actor=actor, credential=target.credential, connection_id=target.connection_id
    )
    if ended and not target.is_listed and form.cleaned_data["digest"]:
        text = (
            "A deletion of this connection ended after you opened this page. "
            f"{attempt_facts.not_sent_sentence_of(ended)}"
        )
        return detail.PAGE.render(
            request,
            detail.PAGE.rows().get(pk=ended.pk),
            actor=actor,
            notice=Badge(text, "info", "info"),
            status=409,
        )
    form = _empty_form(target, typed=request.POST.dict(), request_id=form.request_id_or_none)
    return _page(request, target=target, form=form, notice=str(error), status=409)


def _request_failed(
    request: HttpRequest, refusal: Refusal, *, credential: Credential, connection_id: UUID
) -> HttpResponse:
    """The page with the input, or the deletion if it was requested after all."""
    actor, form, error = http.actor_of(request), refusal.form, refusal.error
    notice = notice_about(refusal)
    deletion = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if deletion:
        return detail.PAGE.render(
            request,
            deletion,
            actor=actor,
            notice=notice,
            status=refusal.status,
        )
    target = confirmations.find_target(
        actor=actor, credential=credential, connection_id=connection_id
    )
    if isinstance(error, InvalidInputError) and form.request_id_or_none:
        form.add_errors(error)
    else:
        # This form's ID is missing or was used by another person, so make a new one.
        request_id = None if isinstance(error, ConflictError) else form.request_id_or_none
        form = _empty_form(target, typed=request.POST.dict(), request_id=request_id)
    return _page(request, target=target, form=form, notice=notice.label, status=refusal.status)


def _empty_form(
    target: DeletionTarget, *, typed: Mapping[str, Any], request_id: UUID | None
) -> DeletionForm:
    """The unbound form, with the earlier input."""
    return DeletionForm(
        initial={
            "credential": target.credential.pk,
            "connection_id": target.connection_id,
            "request_id": request_id or uuid4(),
            "digest": target.digest,
        }
        | {name: typed.get(name, "") for name in _PREFILLED}
    )


def _previous_input(again: str, *, actor: Actor) -> dict[str, str]:
    """The reason and ticket of the deletion that is requested again."""
    pk = uuid_or_none(again)
    visible = visibility.visible(Deletion.objects.all(), actor=actor)
    deletion = visible.filter(pk=pk).first() if pk else None
    return {name: getattr(deletion, name) for name in _PREFILLED} if deletion else {}


def _page(
    request: HttpRequest,
    *,
    target: DeletionTarget,
    form: DeletionForm,
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    """The page. For htmx only the form, or all of it if what would be deleted changed."""
    context = _page_context(request, target=target, form=form) | {
        "form": form,
        "notice": notice,
        "is_out_of_date": notice == OUT_OF_DATE,
    }
    name = "deletions/confirm.html"
    if not http.wants_fragment(request):
        return render(request, name, context, status=status)
    if status != 409:
        return render(request, f"{name}#request_form", context, status=status)
    response = render(request, f"{name}#page", context, status=status)
    response["HX-Retarget"] = "#confirm"
    response["HX-Reswap"] = "outerHTML"
    return response


def _page_context(
    request: HttpRequest, *, target: DeletionTarget, form: DeletionForm
) -> dict[str, Any]:
    """Template variables of the page."""
    actor, credential = http.actor_of(request), target.credential
    key = OrgConnectionKey(site=credential.site, connection_id=target.connection_id)
    snapshot = target.snapshot or OrgConnectionSnapshot()
    types = snapshot.connection_types
    back = detail.back_url(request) or reverse("org-connection-list")
    choice: dict[str, Any] = {
        "credential": credential.pk,
        "connection_id": target.connection_id,
        "back": back,
    }
    typed: dict[str, Any] = {name: str(form[name].value() or "") for name in _PREFILLED}
    ended = confirmations.previous_deletion(
        actor=actor, credential=credential, connection_id=target.connection_id
    )
    context = {
        "target": target,
        "ended": ended,
        "site_label": site_label(credential.site),
        "types": types,
        "changes": changes_of_target(target, actor=actor, now=http.time_of(request)),
        "unknown_types": unknown_types(types),
        "side": detail.side_of(credential, connection=snapshot),
        "senders": _other_senders(target, back=back),
        "excluded": _find_excluded(snapshot, actor=actor),
        "not_listed": "" if target.is_listed else _not_listed(target),
        "problem": _problem(credential),
        "curl": as_curl(credential, method="DELETE", connection_id=str(target.connection_id)),
        "approvers_warning": approvers.missing_approvers_warning(
            credential=credential, policy=target.policy, requester=actor.person
        ),
        "back_url": back,
        "choose_url": reverse(
            "deletion-confirm", query={"connection_id": target.connection_id, "back": back}
        ),
        "again_url": detail.confirm_url(**choice, **typed),
        "connection_url": addresses.connection_url(key),
        # Finds the deletion that this form requested, if the response gets lost.
        "record_url": detail.confirm_url(**choice, request_id=str(form["request_id"].value())),
        **detail.keep_context(find_keep_decision(actor=actor, key=key), now=http.time_of(request)),
    }
    if ended:
        status = status_of(ended)
        context["ended_badge"] = deletion_badge(ended, status=status)
        context["ended_text"] = describe(ended, status=status, now=http.time_of(request))
    return context


def _find_excluded(snapshot: OrgConnectionSnapshot, *, actor: Actor) -> Excluded | None:
    """The access request that confirming the deletion ends, if any."""
    pair = OrgPair(snapshot.site, snapshot.source_org_id, snapshot.sink_org_id)
    return find_excluded(AccessRequest, pair, actor=actor) if pair.source_org_id else None


def _not_listed(target: DeletionTarget) -> str:
    """Why there are no details of the connection."""
    name, sync = target.credential.name, target.last_sync
    if sync is None:
        return f"{name} was never synced"
    if sync.is_complete:
        return f"{name} doesn't list this ID"
    return f"The last sync of {name} failed. {cause_text(sync.cause)}"


def _other_senders(target: DeletionTarget, *, back: str) -> list[tuple[str, str]]:
    """The name and page of each other credential that lists the connection and can send."""
    return [
        (
            credential.name,
            detail.confirm_url(
                credential=credential.pk, connection_id=target.connection_id, back=back
            ),
        )
        for credential in target.other_credentials
    ]


def _problem(credential: Credential) -> str:
    """Why the chosen credential can't send; "" if it can."""
    if credential.is_retired:
        return f"{credential.name} was retired. Choose another credential."
    if not credential.org_id:
        return (
            f"The keys of {credential.name} haven't been checked. Check them first, or choose "
            "another credential."
        )
    return ""
