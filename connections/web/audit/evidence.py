"""Evidence, for auditors: checkpoints, keys, the last verification, and evidence bundles."""

import tempfile
from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify

from connections.audit.signing import EVENTS_PER_CHECKPOINT, SigningKeyError
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.text import pluralize
from connections.deletions import history
from connections.deletions.history_filter import HistoryForm, current_query
from connections.evidence import status, verification
from connections.evidence.bundles import Bundle, make_bundle
from connections.evidence.files import BundleError
from connections.evidence.verification import CannotVerifyError
from connections.inventory.orgs import list_known_orgs
from connections.models import AccessReview, AuditVerification
from connections.web.audit.forms import BundleForm, initial_from_history
from connections.web.badges import audit_log_badge
from connections.web.framework.http import SeeOther, actor_of
from connections.web.framework.person_limits import limited


def audit_log_text(last: AuditVerification | None) -> str:
    """The result of the newest verification."""
    if last is None:
        return "A worker verifies it once a day."
    if last.fault and last.first_bad_seq is None:
        return last.message
    if last.fault:
        return f"First event that can't be trusted: #{last.first_bad_seq}. {last.message}"
    if not last.size:
        return "There were no events yet."
    return f"The first {pluralize(last.size, 'event')} and every checkpoint are intact."


def evidence_detail(request: HttpRequest) -> HttpResponse:
    """The evidence page: the last verification, the newest checkpoint and the signing key."""
    evidence = status.get_evidence(actor=actor_of(request))
    last = evidence.verification
    context = {
        "page": evidence,
        "badge": audit_log_badge(last, now=evidence.at),
        "result": audit_log_text(last),
        "checkpoint_hint": (
            "The worker signs one at the first event, then every "
            f"{pluralize(EVENTS_PER_CHECKPOINT, 'event')}, every hour with new events, and after "
            "each closed deletion."
        ),
    }
    return render(request, "audit/evidence.html", context)


@limited("evidence", per_minute=10)
def evidence_verify(request: HttpRequest) -> HttpResponse:
    """Verify the audit log now, or have the worker do it."""
    try:
        result = verification.verify_now(actor=actor_of(request))
    except CannotVerifyError as error:
        messages.error(request, f"Not verified. {error}")
        return SeeOther(reverse("evidence-detail"))
    if result is None:
        messages.info(request, "The worker is verifying the audit log; the result appears here.")
    elif result.fault:
        messages.error(request, f"Verification failed. {result.message}")
    else:
        verified = pluralize(result.size, "event")
        messages.success(request, f"Audit log intact: {verified} verified.")
    return SeeOther(reverse("evidence-detail"))


def checkpoint_download(request: HttpRequest, pk: int) -> HttpResponse:
    """One checkpoint as a text file, byte for byte as it was signed."""
    checkpoint = status.get_checkpoint(actor=actor_of(request), pk=pk)
    if checkpoint is None:
        raise Http404("There is no such checkpoint.")
    name = f"checkpoint-{checkpoint.size}.txt"
    return HttpResponse(
        checkpoint.note,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def bundle_new(request: HttpRequest) -> HttpResponseBase:
    """Choose deletions and access requests, and download them with their proofs."""
    actor = actor_of(request)
    if request.method == "POST":
        return _make_bundle(request)
    credentials = history.list_selectable_credentials(actor=actor)
    history_form = HistoryForm(current_query(request.GET), credentials=credentials)
    initial = initial_from_history(history_form, today=clock.now().date())
    orgs = list_known_orgs(actor=actor)
    return _render_form(request, BundleForm(credentials=credentials, orgs=orgs, initial=initial))


@limited("evidence", per_minute=10)
def _make_bundle(request: HttpRequest) -> HttpResponseBase:
    actor = actor_of(request)
    form = BundleForm(
        request.POST,
        credentials=history.list_selectable_credentials(actor=actor),
        orgs=list_known_orgs(actor=actor),
    )
    if not form.is_valid():
        return _render_form(request, form, status=422)
    kept = form.cleaned_data["checkpoint"]
    make = partial(
        make_bundle,
        actor=actor,
        filters=form.filters(),
        query=form.query(),
        notes=[("The checkpoint", kept)] if kept else [],
    )
    try:
        return bundle_response(request, make)
    except InvalidInputError as error:
        form.add_errors(error)
        return _render_form(request, form, status=422)
    except (BundleError, SigningKeyError) as error:
        form.add_error(None, str(error))
        return _render_form(request, form, status=409)


def bundle_response(
    request: HttpRequest, make: Callable[..., Bundle], *, review: AccessReview | None = None
) -> FileResponse:
    """The bundle that `make` writes to the file `output`. Raises what `make` raises.

    `review` is the access review that it is about, if any.

    It is complete before the first byte is sent, so that a failure shows a page instead of sending
    half a file.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        bundle = make(output=file)
    except BaseException:
        file.close()
        raise
    subject = f" of the access review {review.name}" if review else ""
    _add_message(request, bundle, subject=subject)
    file.seek(0)
    about = ["evidence", *(["access-review", slugify(review.name)[:60]] if review else [])]
    at = f"{bundle.until:%Y%m%dT%H%M%SZ}-cp{bundle.checkpoint_size}"
    name = "-".join([*filter(None, about), f"{at}.zip"])
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


def _add_message(request: HttpRequest, bundle: Bundle, *, subject: str) -> None:
    """Show the result on the next page, because this response is the file."""
    counts = f"{bundle.counts_text}, SHA-256 {bundle.sha256}"
    if bundle.differing:
        messages.error(
            request,
            f"The evidence bundle{subject} that was made ({counts}) does not verify. "
            f"Records that differ from their audit events: {bundle.differing}. "
            f"{bundle.differences[0]}",
        )
    else:
        messages.success(request, f"An evidence bundle{subject} was made: {counts}.")


def _render_form(request: HttpRequest, form: BundleForm, *, status: int = 200) -> HttpResponse:
    return render(request, "audit/bundle.html", {"form": form}, status=status)
