"""The actions on a bulk deletion."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django_htmx.http import HttpResponseClientRedirect

from connections.access import permissions
from connections.access.actor import Actor
from connections.batches import confirming, decisions, drafts, requesting, splitting, stopping
from connections.core.errors import InvalidInputError
from connections.core.text import join_some_names, pluralize, uuid_or_none
from connections.lookups.objects import find_batch, find_credential
from connections.models import Batch
from connections.web.batches import forms
from connections.web.batches.detail import batch_detail
from connections.web.framework.actions import Subject, service_action
from connections.web.framework.forms import ConfirmationForm, ReasonForm
from connections.web.framework.http import redirect_to, wants_fragment


def _has_confirmation(request: HttpRequest) -> bool:
    return bool(request.POST.get("confirmation"))


def _answer(
    request: HttpRequest, actor: Actor, batch: Batch, was_used: bool | None
) -> HttpResponse:
    """The page, which says so if what was typed wasn't used. htmx opens it as a whole."""
    if was_used is False:
        done = "confirmed" if batch.confirmed_at else "requested"
        messages.warning(
            request,
            f"This bulk deletion was already {done}, so what you just entered wasn't used.",
        )
    page = redirect_to(batch)
    return HttpResponseClientRedirect(page.url) if wants_fragment(request) else page


_action = partial(
    service_action,
    Subject(
        name="batch",
        find=lambda actor, pk: find_batch(actor=actor, pk=pk),
        page=batch_detail,
        respond=_answer,
    ),
)

# Without a confirmation, this only requests approval and sends nothing.
batch_request = _action(
    "batch-request",
    requesting.request_batch,
    form=forms.PlanRequestForm,
    reauthenticate=True,
    when=_has_confirmation,
    require=lambda actor, batch: permissions.require(
        actor.person is not None and actor.person.pk == batch.created_by_id,
        "request this bulk deletion, which another person drafted",
    ),
)
batch_approve = _action(
    "batch-approve",
    decisions.approve_batch,
    form=forms.PlanApprovalForm,
    reauthenticate=True,
    require=lambda actor, batch: permissions.require(
        permissions.can_approve_batch(actor, batch=batch), "approve or decline this bulk deletion"
    ),
)
batch_decline = _action("batch-decline", decisions.decline_batch, form=ReasonForm)
# Confirms with the typed text. A worker sends.
batch_execute = _action(
    "batch-execute", confirming.execute_batch, form=ConfirmationForm, reauthenticate=True
)
batch_pause = _action("batch-pause", stopping.pause_batch)
batch_resume = _action(
    "batch-resume",
    stopping.resume_batch,
    form=ConfirmationForm,
    reauthenticate=True,
    when=_has_confirmation,
)
batch_cancel = _action("batch-cancel", stopping.cancel_batch)


def _same_rows(request: HttpRequest, actor: Actor, batch: Batch, result: object) -> HttpResponse:
    """The plan, with the rows that the page showed."""
    query = QueryDict(request.POST.get("filters", ""))
    return redirect_to(batch, query=query)


def _of_own_draft(service: Callable[..., Any]) -> Callable[..., Any]:
    """The service. It refuses other people's drafts before it says what is wrong with the input."""

    def change(*, batch: Batch, actor: Actor, **arguments: Any) -> Any:
        drafts.require_own_draft(batch, actor=actor)
        return service(batch=batch, actor=actor, **arguments)

    return change


def _change_credential(
    *, batch: Batch, actor: Actor, connections: list[str], credential: str
) -> None:
    pk = uuid_or_none(credential)
    if pk is None:
        raise InvalidInputError({"credential": "Choose a credential."})
    drafts.change_credential(
        batch=batch,
        actor=actor,
        connections=connections,
        credential=find_credential(actor=actor, pk=pk),
    )


_change_draft = partial(_action, respond=_same_rows)

batch_remove = _change_draft("batch-remove", _of_own_draft(drafts.remove_rows), form=forms.RowsForm)
# Lets another credential send some rows.
batch_credential = _change_draft(
    "batch-credential", _of_own_draft(_change_credential), form=forms.RowSenderForm
)


def _draft_link(batch: Batch) -> tuple[str, str]:
    """The address and the name of a new draft."""
    rows = batch.rows.values_list("credential__name", flat=True)
    name = (
        f"{pluralize(len(rows), 'connection')} with {join_some_names(sorted(set(rows)), limit=3)}"
    )
    return reverse("batch-detail", args=[batch.pk]), name


batch_split = _change_draft(
    "batch-split",
    _of_own_draft(splitting.split_draft),
    form=forms.SplitForm,
    done=lambda batch, split: format_html(
        "This plan was split. Also planned: {}",
        format_html_join(", ", '<a href="{}">{}</a>', map(_draft_link, split[1:])),
    ),
)
