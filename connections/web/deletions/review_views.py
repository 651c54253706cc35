"""Choosing, reviewing and requesting a deletion."""

from collections.abc import Mapping
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse

from connections.access import approvers, visibility
from connections.access.actor import Actor
from connections.access_reviews.progress import find_keep_decision
from connections.core.errors import ConflictError, DomainError, InvalidInputError
from connections.deletions import attempt_facts, lifecycle, reviews
from connections.deletions.lifecycle import OUT_OF_DATE
from connections.deletions.reviews import Review, ReviewChangedError
from connections.lookups.objects import find_credential
from connections.models import Credential, Deletion, OrgConnectionKey
from connections.web.badges import Badge
from connections.web.deletions.forms import DeletionForm
from connections.web.deletions.review import (
    choice_form,
    deletion_form,
    no_sender_context,
    previous_deletion_context,
    previous_input,
    review_context,
)
from connections.web.deletions.status_section import keep_context
from connections.web.deletions.views import (
    deletions_with_details,
    error_status_and_text,
    notice_about,
    render_outcome,
    respond,
)
from connections.web.framework.reauthentication import requires_reauthentication
from connections.web.framework.support import actor_of, time_of, uuid_or_none, wants_fragment

REVIEW = "deletions/confirm.html"


def _new_page_with_input(request: HttpRequest) -> HttpResponse:
    """The review with the input and the reauthentication prompt."""
    actor = actor_of(request)
    recorded = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if recorded:
        return respond(request, deletion=recorded, actor=actor, is_on_review_page=True)
    try:
        credential, connection_id = _parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return _choice_page(request, data=request.POST, error=error)
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    form = DeletionForm(request.POST)
    return _review_page(request, review=review, form=form, notice="", status=422)


# Without a confirmation, this only requests approval and sends nothing.
@requires_reauthentication(
    on_missing=_new_page_with_input, when=lambda request: bool(request.POST.get("confirmation"))
)
def deletion_new(request: HttpRequest) -> HttpResponse:
    """The review of one connection. A POST requests its deletion."""
    if request.method == "POST":
        return _request_deletion(request)
    actor = actor_of(request)
    query = request.GET
    recorded = _find_requested(query.get("request_id", ""), actor=actor)
    if recorded:
        return HttpResponseRedirect(reverse("deletion-detail", args=[recorded.pk]))
    if "credential" not in query or "connection_id" not in query:
        return _choice_page(request, data=query)
    try:
        credential, connection_id = _parse_choice(query, actor=actor)
    except InvalidInputError as error:
        return _choice_page(request, data=query, error=error)
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    request_id = uuid_or_none(query.get("request_id", ""))
    typed = previous_input(query.get("again", ""), actor=actor) | query.dict()
    form = deletion_form(review, typed=typed, request_id=request_id)
    notice = "That request wasn't recorded, so nothing was sent." if request_id else ""
    return _review_page(request, review=review, form=form, notice=notice, status=200)


def _parse_choice(data: Mapping[str, str], *, actor: Actor) -> tuple[Credential, UUID]:
    """The chosen credential and connection.

    Raises InvalidInputError, and Http404 for a credential that doesn't exist or is hidden.
    """
    problems: dict[str, str] = {}
    credential = None
    pk = uuid_or_none(data.get("credential", ""))
    if pk:
        credential = find_credential(actor=actor, pk=pk)
    if credential is None:
        problems["credential"] = "Choose a credential."
    try:
        connection_id = reviews.parse_connection_id(data.get("connection_id", ""))
    except InvalidInputError as error:
        problems |= error.fields
    if problems or credential is None:
        raise InvalidInputError(problems)
    return credential, connection_id


def _find_requested(request_id: str, *, actor: Actor) -> Deletion | None:
    """The deletion that this person's form has already requested, if any."""
    wanted = uuid_or_none(request_id)
    if wanted is None or actor.person is None:
        return None
    own = visibility.visible(deletions_with_details(), actor=actor).filter(
        requested_by=actor.person
    )
    return own.filter(request_id=wanted).first()


def _request_deletion(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    try:
        credential, connection_id = _parse_choice(request.POST.dict(), actor=actor)
    except InvalidInputError as error:
        return _choice_page(request, data=request.POST, error=error)
    form = DeletionForm(request.POST)
    try:
        form.require_valid()
        typed = form.cleaned_data
        deletion = lifecycle.request_deletion(
            actor=actor,
            credential=credential,
            connection_id=connection_id,
            reason=typed["reason"],
            ticket=typed["ticket"],
            request_id=typed["request_id"],
            digest=typed["digest"],
            confirmation=typed["confirmation"],
            now=time_of(request),
        )
    except ReviewChangedError as changed:
        return _review_changed(request, form=form, changed=changed)
    except DomainError as error:
        return _request_failed(
            request, form=form, error=error, credential=credential, connection_id=connection_id
        )
    return respond(request, deletion=deletion, actor=actor, is_on_review_page=True)


def _review_changed(
    request: HttpRequest, *, form: DeletionForm, changed: ReviewChangedError
) -> HttpResponse:
    """The current review, or the deletion that ended the connection in the meantime."""
    actor, review = actor_of(request), changed.review
    ended = reviews.previous_deletion(
        actor=actor, credential=review.credential, connection_id=review.connection_id
    )
    if ended and not review.is_reviewed and form.cleaned_data["digest"]:
        text = (
            "A deletion of this connection ended after you opened this page. "
            f"{attempt_facts.not_sent_sentence_of(ended)}"
        )
        return render_outcome(
            request,
            deletion=deletions_with_details().get(pk=ended.pk),
            actor=actor,
            notice=Badge(text, "info", "info"),
            status=409,
            is_on_review_page=True,
        )
    form = deletion_form(review, typed=request.POST.dict(), request_id=form.request_id_or_none)
    return _review_page(request, review=review, form=form, notice=str(changed), status=409)


def _request_failed(
    request: HttpRequest,
    *,
    form: DeletionForm,
    error: DomainError,
    credential: Credential,
    connection_id: UUID,
) -> HttpResponse:
    """The review with the input, or the deletion if it was requested after all."""
    actor = actor_of(request)
    status, notice = error_status_and_text(error)
    recorded = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if recorded:
        return render_outcome(
            request,
            deletion=recorded,
            actor=actor,
            notice=notice_about(error, text=notice),
            status=status,
            is_on_review_page=True,
        )
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    if isinstance(error, InvalidInputError) and form.request_id_or_none:
        form.add_errors(error)
    else:
        # This form's ID is missing or was used by another person, so make a new one.
        keep = None if isinstance(error, ConflictError) else form.request_id_or_none
        form = deletion_form(review, typed=request.POST.dict(), request_id=keep)
    return _review_page(request, review=review, form=form, notice=notice, status=status)


def _choice_page(
    request: HttpRequest, *, data: QueryDict, error: InvalidInputError | None = None
) -> HttpResponse:
    """The form to choose a connection, with its errors."""
    actor = actor_of(request)
    if error:
        form = choice_form(data, actor=actor)
        form.add_errors(error)
    else:
        # Half of the query string is not an error, so fill in what is there.
        form = choice_form(actor=actor)
        form.initial = data.dict()
    context = {"form": form, "no_sender": no_sender_context(actor=actor)}
    status = 422 if error else 200
    response = render(request, "deletions/choose.html", context, status=status)
    if wants_fragment(request):
        # This replaces the whole review page.
        response["HX-Retarget"] = response["HX-Reselect"] = "#content"
        response["HX-Reswap"] = "outerHTML"
    return response


def _review_page(
    request: HttpRequest, *, review: Review, form: DeletionForm, notice: str, status: int
) -> HttpResponse:
    """The review page. For htmx only the form, or the whole review if the review changed."""
    actor = actor_of(request)
    key = OrgConnectionKey(site=review.credential.site, connection_id=review.connection_id)
    context = {
        "review": review,
        **previous_deletion_context(review, actor=actor),
        "page": review_context(review, form=form),
        **keep_context(find_keep_decision(actor=actor, key=key), now=time_of(request)),
        "form": form,
        "notice": notice,
        "is_out_of_date": notice == OUT_OF_DATE,
        "approvers_warning": approvers.missing_approvers_warning(
            credential=review.credential, policy=review.policy, requester=actor.person
        ),
    }
    if not wants_fragment(request):
        return render(request, REVIEW, context, status=status)
    if status != 409:
        return render(request, f"{REVIEW}#request_form", context, status=status)
    response = render(request, f"{REVIEW}#review", context, status=status)
    response["HX-Retarget"] = "#review"
    response["HX-Reswap"] = "outerHTML"
    return response
