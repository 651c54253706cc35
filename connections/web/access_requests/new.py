"""The page that requests access: confirmation page and form in one."""

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import uuid4

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse

from connections.access import approvers, visibility
from connections.access.actor import Actor
from connections.access_requests.actions import KEEPING_TYPES
from connections.access_requests.requesting import (
    CHANGED,
    WantedTerms,
    complete_terms,
    find_problems,
    request_access,
)
from connections.access_requests.targets import (
    AccessChangedError,
    AccessTarget,
    AccessTerms,
    find_target,
)
from connections.access_requests.texts import confirm_texts, kind_title
from connections.access_requests.what_changes import changes_of_terms
from connections.core.data_types import DATA_TYPES, unknown_types
from connections.core.errors import DomainError, InvalidInputError
from connections.core.months import months_after
from connections.core.sites import site_label
from connections.core.text import join_some_names, uuid_or_none
from connections.datadog.payloads import body_of_create, body_of_update
from connections.lookups import objects
from connections.models import (
    AccessRequest,
    Agreement,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Person,
    RequestKind,
)
from connections.web.access_requests.before import list_before
from connections.web.access_requests.choose import choice_page
from connections.web.access_requests.detail import PAGE
from connections.web.access_requests.forms import (
    MONTHS,
    NO_END,
    ON_DATE,
    AccessRequestForm,
)
from connections.web.agreements.forms import PERSON, TEAM
from connections.web.change_requests.curl import as_curl
from connections.web.change_requests.page import notice_about
from connections.web.framework import addresses, http, lists
from connections.web.framework.actions import Refusal
from connections.web.framework.reauthentication import requires_reauthentication

_DEFAULT_END = "3m"
# Of possible approvers.
_MAX_NAMES = 6
# These change an agreement only in what is unfolded and changed.
_FOLDING = set(RequestKind) - {RequestKind.CREATE}
# What each data type is for, after "Labs can".
_USES = {
    "logs": "Search {source}'s logs and use them in dashboards and notebooks",
    "metrics": "Use {source}'s metrics in dashboards and notebooks",
    "audit": "Read {source}'s Audit Trail: who signed in, changed keys or permissions",
}


class _NotAPairError(Http404):
    """An org and itself, or orgs of two sites."""


class _Asked:
    """What the address or the form names: the pair, the kind, and the credential."""

    def __init__(self, data: Mapping[str, str], *, actor: Actor) -> None:
        kind = data.get("kind", RequestKind.CREATE)
        if kind not in RequestKind.values:
            raise Http404("There is no such kind of access request.")
        site, source = _org(data.get("source", ""))
        destination_site, destination = _org(data.get("destination", ""))
        if site != destination_site or source == destination:
            raise _NotAPairError("Choose two different orgs of the same site.")
        self.kind = RequestKind(kind)
        self.pair = OrgPair(site, source, destination)
        self.restored_from = _find_deletion(data.get("deletion", ""), self.pair, actor=actor)
        self.credential = _find_credential(data.get("credential", ""), actor=actor)

    def find_target(self, *, actor: Actor) -> AccessTarget:
        """What requesting it would mean."""
        return find_target(
            actor=actor,
            kind=self.kind,
            pair=self.pair,
            credential=self.credential,
            restored_from=self.restored_from,
        )


def _org(text: str) -> tuple[str, str]:
    site, separator, org_id = text.partition("/")
    if not (site and separator and org_id) or "\0" in text:
        raise Http404("This isn't an org.")
    return site, org_id


def _find_deletion(text: str, pair: OrgPair, *, actor: Actor) -> Deletion | None:
    if not text:
        return None
    pk = uuid_or_none(text)
    if pk is None:
        raise Http404("This isn't the ID of a deletion.")
    closed = Deletion.objects.filter(**pair._asdict(), settled_at__isnull=False)
    return objects.find_deletion(closed, actor=actor, pk=pk)


def _find_credential(text: str, *, actor: Actor) -> Credential | None:
    pk = uuid_or_none(text) if text else None
    return objects.find_credential(actor=actor, pk=pk) if pk else None


def _page_with_input(request: HttpRequest) -> HttpResponse:
    """The page with the input and the reauthentication prompt."""
    actor = http.actor_of(request)
    asked = _Asked(request.POST.dict(), actor=actor)
    return _page(
        request, asked.find_target(actor=actor), form=AccessRequestForm(request.POST), status=422
    )


def _is_preview(request: HttpRequest) -> bool:
    return "preview" in request.POST


@requires_reauthentication(
    on_missing=_page_with_input,
    when=lambda request: bool(request.POST.get("confirmation")) and not _is_preview(request),
)
def access_request_new(request: HttpRequest) -> HttpResponse:
    """What requesting access means. A POST requests it."""
    actor = http.actor_of(request)
    if request.method == "POST":
        return _request_access(request, actor=actor)
    if not (request.GET.get("source") and request.GET.get("destination")):
        return choice_page(request, actor=actor)
    try:
        asked = _Asked(request.GET.dict(), actor=actor)
    except _NotAPairError as error:
        return choice_page(request, actor=actor, problem=str(error))
    target = asked.find_target(actor=actor)
    return _page(request, target, form=_empty_form(target, request=request))


def _request_access(request: HttpRequest, *, actor: Actor) -> HttpResponse:
    asked = _Asked(request.POST.dict(), actor=actor)
    form = AccessRequestForm(request.POST)
    if _is_preview(request) and not http.wants_fragment(request):
        return _page(request, asked.find_target(actor=actor), form=form)
    if _is_preview(request):
        return _preview(request, asked.find_target(actor=actor), form=form)
    repeated = _find_requested(request.POST.get("request_id", ""), actor=actor)
    if repeated:
        return PAGE.respond(request, repeated, actor=actor)
    try:
        form.require_valid()
        access_request = request_access(
            actor=actor,
            kind=asked.kind,
            pair=asked.pair,
            wanted=_wanted(
                form,
                # Not one that is hidden from the person.
                asked.find_target(actor=actor).agreement,
                kind=asked.kind,
                today=http.time_of(request).date(),
                requester=actor.person,
            ),
            reason=form.cleaned_data["reason"],
            ticket=form.cleaned_data["ticket"],
            request_id=form.cleaned_data["request_id"],
            digest=form.cleaned_data["digest"],
            confirmation=form.cleaned_data["confirmation"],
            credential=asked.credential,
            restored_from=asked.restored_from,
        )
    except AccessChangedError as error:
        form.data = _without_confirmation(request.POST)
        return _page(request, error.current, form=form, notice=str(error), status=409)
    except DomainError as error:
        refusal = Refusal(form=form, error=error)
        if isinstance(error, InvalidInputError):
            form.add_errors(error)
        target = asked.find_target(actor=actor)
        notice = notice_about(refusal).label
        return _page(request, target, form=form, notice=notice, status=refusal.status)
    return PAGE.respond(request, access_request, actor=actor)


def _without_confirmation(data: QueryDict) -> QueryDict:
    """What was typed, without the confirmation, because something else is confirmed now."""
    left = data.copy()
    left["confirmation"] = ""
    return left


def _find_requested(request_id: str, *, actor: Actor) -> AccessRequest | None:
    """The access request that this person's form has already made, if any."""
    pk = uuid_or_none(request_id)
    if pk is None or actor.person is None:
        return None
    own = visibility.visible_access_requests(actor=actor).filter(requested_by=actor.person)
    return own.filter(request_id=pk).first()


def _end_of(
    form: AccessRequestForm, agreement: Agreement | None, *, kind: RequestKind, today: date
) -> date | None:
    """The last day that the form asks for."""
    ends_in = form.cleaned_data.get("ends_in")
    if ends_in in MONTHS:
        return months_after(_start_of(kind, agreement, today=today), MONTHS[ends_in])
    return None if ends_in == NO_END else form.cleaned_data.get("ends_on")


def _start_of(kind: RequestKind, agreement: Agreement | None, *, today: date) -> date:
    """The day from which access ends in so many months: its end now if it is extended."""
    ends_on = agreement.ends_on if agreement else None
    return max(today, ends_on) if ends_on and kind == RequestKind.EXTEND else today


def _wanted(
    form: AccessRequestForm,
    agreement: Agreement | None,
    *,
    kind: RequestKind,
    today: date,
    requester: Person | None,
) -> WantedTerms:
    """What the form asks for. What isn't posted, or is as agreed, stays as agreed.

    Extending or moving keeps the data types. Where nothing is agreed, the requester is the owner
    unless another is posted.
    """
    data = form.cleaned_data
    owner_kind = data.get("owner_kind")
    wanted = WantedTerms(
        owner=None if owner_kind == TEAM else data.get("owner"),
        owner_text="" if owner_kind == PERSON else data.get("owner_text", ""),
        purpose=data.get("purpose", ""),
        ends_on=_end_of(form, agreement, kind=kind, today=today),
    )
    is_owner_posted = bool({"owner", "owner_text"} & form.data.keys())
    if not is_owner_posted:
        wanted["owner"] = agreement.owner if agreement else requester
        wanted["owner_text"] = agreement.owner_text if agreement else ""
    if agreement and kind in _FOLDING:
        # The form shows only the text of an owner that has both.
        as_agreed = (None if agreement.owner_text else agreement.owner, agreement.owner_text)
        if not is_owner_posted or (wanted["owner"], wanted["owner_text"]) == as_agreed:
            del wanted["owner"], wanted["owner_text"]
        if "purpose" not in form.data or wanted["purpose"] == agreement.purpose:
            del wanted["purpose"]
        is_same_end = wanted["ends_on"] == agreement.ends_on and kind != RequestKind.EXTEND
        if not {"ends_on", "ends_in"} & form.data.keys() or is_same_end:
            del wanted["ends_on"]
    if kind not in KEEPING_TYPES:
        wanted["types"] = list(data.get("connection_types") or [])
    return wanted


def _empty_form(target: AccessTarget, *, request: HttpRequest) -> AccessRequestForm:
    """The form as it is opened: as agreed, or the data types of the deleted connection."""
    today = http.time_of(request).date()
    terms = complete_terms(target, {}, reason="", ticket="")
    agreement, query = target.agreement, request.GET
    requester = http.actor_of(request).person
    # Where nothing is agreed, who asks for access also answers for it.
    owner = terms.owner if agreement else requester
    latest = target.latest_day(today=today)
    start = _start_of(target.kind, agreement, today=today)
    ends_on: date | None = months_after(start, MONTHS[_DEFAULT_END])
    ends_in = _DEFAULT_END
    if latest and ends_on and ends_on > latest:
        ends_on, ends_in = latest, ON_DATE
    if agreement and target.kind != RequestKind.EXTEND:
        ends_on, ends_in = agreement.ends_on, ON_DATE if agreement.ends_on else NO_END
    return AccessRequestForm(
        initial={
            "kind": target.kind,
            "source": f"{target.pair.site}/{target.pair.source_org_id}",
            "destination": f"{target.pair.site}/{target.pair.sink_org_id}",
            "deletion": target.restored_from.pk if target.restored_from else "",
            "credential": target.credential.pk if target.credential else "",
            "request_id": uuid4(),
            "connection_types": query.getlist("connection_types") or list(terms.types),
            "owner": owner.username if owner else "",
            "owner_text": terms.owner_text,
            "owner_kind": TEAM if terms.owner_text else PERSON,
            "purpose": terms.purpose,
            "ends_on": ends_on,
            "ends_in": ends_in,
            "reason": query.get("reason", ""),
            "ticket": query.get("ticket", ""),
        }
    )


def _terms_of(request: HttpRequest, target: AccessTarget, form: AccessRequestForm) -> AccessTerms:
    """What the form says now, whether or not it is valid."""
    requester = http.actor_of(request).person
    if form.is_bound:
        form.is_valid()
        data = form.cleaned_data
        today = http.time_of(request).date()
        wanted = _wanted(form, target.agreement, kind=target.kind, today=today, requester=requester)
        reason, ticket = data.get("reason", ""), data.get("ticket", "")
        return complete_terms(target, wanted, reason=reason, ticket=ticket)
    initial = form.initial
    wanted = WantedTerms()
    if not target.agreement or target.kind in {RequestKind.CREATE, RequestKind.EXTEND}:
        wanted["ends_on"] = initial["ends_on"]
    if not target.agreement:
        wanted["owner"] = requester
    if target.kind not in KEEPING_TYPES:
        wanted["types"] = initial["connection_types"]
    return complete_terms(target, wanted, reason="", ticket="")


def _preview(
    request: HttpRequest, target: AccessTarget, *, form: AccessRequestForm
) -> HttpResponse:
    """What follows the fields as they change: nothing is requested."""
    context = _terms_context(request, target, _terms_of(request, target, form))
    return render(request, "access_requests/preview.html", context)


def _page(
    request: HttpRequest,
    target: AccessTarget,
    *,
    form: AccessRequestForm,
    notice: str = "",
    status: int = 200,
) -> HttpResponse:
    actor = http.actor_of(request)
    terms = _terms_of(request, target, form)
    today = http.time_of(request).date()
    start = _start_of(target.kind, target.agreement, today=today)
    form.show(target, start=start)
    open_request = target.open_request
    context = _terms_context(request, target, terms) | {
        "keeps_types": target.kind in KEEPING_TYPES,
        "folded": target.agreement if target.kind in _FOLDING else None,
        "folds_end": target.kind != RequestKind.EXTEND,
        "is_unfolded": _is_unfolded(request, target, terms, form=form),
        "form": form,
        "notice": notice,
        "is_changed": notice == CHANGED,
        "open_request": open_request,
        "open_request_url": PAGE.url(open_request)
        if open_request
        and visibility.visible_access_requests(actor=actor).filter(pk=open_request.pk).exists()
        else "",
        "instead_url": _url_instead(target, form),
        "uses": _uses(target, form),
        **confirm_texts(target.kind),
        **_approval_context(target, actor=actor),
        "cancel_url": addresses.connection_url(target.snapshot.key)
        if target.snapshot
        else reverse("access-request-list"),
        "senders": [
            (each.name, lists.current_url(request, credential=str(each.pk)))
            for each in target.other_credentials
        ],
        "before": list_before(target.pair, before=http.time_of(request), actor=actor),
    }
    return render(request, "access_requests/new.html", context, status=status)


def _is_unfolded(
    request: HttpRequest, target: AccessTarget, terms: AccessTerms, *, form: AccessRequestForm
) -> bool:
    """Whether something in the folded part is changed, or has to be."""
    problems = find_problems(target, terms, today=http.time_of(request).date())
    problems |= dict.fromkeys(form.errors, "")
    agreement, requester = target.agreement, http.actor_of(request).person
    if not agreement or target.kind not in _FOLDING:
        # Only the owner is folded.
        owner, text = (agreement.owner, agreement.owner_text) if agreement else (requester, "")
        is_other = terms.owner_text != text or (not text and terms.owner != owner)
        return is_other or "owner" in problems
    agreed = {"owner", "purpose", *({"ends_on"} if target.kind != RequestKind.EXTEND else ())}
    return not agreed <= {*terms.as_agreed} or bool(agreed & problems.keys())


def _url_instead(target: AccessTarget, form: AccessRequestForm) -> str:
    """The page that requests what fits, with the same data types; "" if nothing else fits."""
    kind, agreement = target.possible_instead, target.agreement
    types = form["connection_types"].value() or (agreement.connection_types if agreement else ())
    return addresses.access_request_url(kind, target.pair, types=types) if kind else ""


def _approval_context(target: AccessTarget, *, actor: Actor) -> dict[str, str | None]:
    """Who can approve it, and a warning if these are too few."""
    if not (target.credential and target.needs_approval):
        return {}
    people = approvers.people_who_can_approve_access(
        pair=target.pair,
        credential_id=target.credential.pk,
        excluded=actor.person.pk if actor.person else None,
    ).order_by("username")
    names = [person.display_name for person in people]
    return {
        "approvers": join_some_names(names, limit=_MAX_NAMES),
        "approvers_warning": approvers.shortage_warning(target.policy, available=people),
    }


def _as_curl(target: AccessTarget, terms: AccessTerms) -> str:
    """The requests that would be sent; "" if that isn't known yet, or if nothing is sent."""
    credential, snapshot = target.credential, target.snapshot
    is_complete = bool(terms.types) and all(terms.types)
    if credential is None or not is_complete or target.kind == RequestKind.EXTEND:
        return ""
    connection_id = str(snapshot.connection_id) if snapshot else ""
    body = body_of_create(sink_org_id=target.pair.sink_org_id, connection_types=terms.types)
    create = as_curl(credential, method="POST", body=body)
    if target.kind == RequestKind.MOVE:
        delete = as_curl(credential, method="DELETE", connection_id=connection_id)
        return f"{delete}\n\n{create}"
    if snapshot is None:
        return create
    body = body_of_update(connection_id=connection_id, connection_types=terms.types)
    return as_curl(credential, method="PATCH", connection_id=connection_id, body=body)


def _terms_context(
    request: HttpRequest, target: AccessTarget, terms: AccessTerms
) -> dict[str, Any]:
    """Template variables of what follows the fields."""
    actor = http.actor_of(request)
    # An end that was set by hand stays, but isn't a part of the request.
    is_kept = "ends_on" in terms.as_agreed
    return {
        "target": target,
        "title": kind_title(target.kind),
        "source": target.source_name or target.pair.source_org_id,
        "sink": target.sink_name or target.pair.sink_org_id,
        "site_label": site_label(target.pair.site),
        "types": list(terms.types),
        "added": target.added(terms.types) if target.snapshot else [],
        # Nothing is chosen yet where a connection is to have no data type.
        "changes": changes_of_terms(target, terms, actor=actor) if terms.types else None,
        "ends_on": terms.ends_on,
        "protection": target.protection,
        "kept_end": target.agreement.ends_on if target.agreement and is_kept else None,
        "digest": target.form_digest,
        "curl": _as_curl(target, terms),
        "unknown_types": unknown_types(terms.types),
        "approvals_needed": ApprovalPolicy(target.policy).approvals_needed,
        "latest": target.latest_day(today=http.time_of(request).date()),
    }


def _uses(target: AccessTarget, form: AccessRequestForm) -> list[tuple[str, str, bool]]:
    """Each data type with what it is for, and whether it is chosen."""
    chosen = form["connection_types"].value() or []
    had = target.snapshot.connection_types if target.snapshot else []
    names = list(dict.fromkeys([*DATA_TYPES, *had, *chosen]))
    source = target.source_name or target.pair.source_org_id
    return [
        (
            name,
            _USES.get(name, "Ask its owner what it means").format(source=source),
            name in chosen,
        )
        for name in names
    ]
