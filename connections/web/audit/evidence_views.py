"""The evidence page, for auditors: checkpoints, keys and the last verification."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.core.text import pluralize
from connections.evidence import status, verification
from connections.evidence.verification import CannotVerifyError
from connections.web.lists import cursor_links, number_from, parse_after
from connections.web.rate_limits import limited
from connections.web.support import SeeOther, actor_of
from connections.wording import audit_log_badge, audit_log_text


def evidence_detail(request: HttpRequest) -> HttpResponse:
    """The page."""
    after = parse_after(request, number_from)
    page = status.get_evidence(actor=actor_of(request), after=after)
    last = page.verification
    links = cursor_links(request, page.next)
    context: dict[str, Any] = {
        "page": page,
        "badge": audit_log_badge(last, now=page.at),
        "found": audit_log_text(last),
        **{name: url and f"{url}#checkpoints" for name, url in links.items()},
    }
    return render(request, "connections/evidence_detail.html", context)


@limited("evidence", per_minute=10)
def evidence_verify(request: HttpRequest) -> HttpResponse:
    """Verify the audit log now, or have the worker do it."""
    try:
        done = verification.verify_now(actor=actor_of(request))
    except CannotVerifyError as error:
        messages.error(request, f"Not verified. {error}")
        return SeeOther(reverse("evidence-detail"))
    if done is None:
        messages.info(request, "The worker is verifying the audit log; the result appears here.")
    elif done.fault:
        messages.error(request, f"Verification failed. {done.message}")
    else:
        verified = pluralize(done.size, "event")
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
