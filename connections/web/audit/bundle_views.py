"""The page that creates an evidence bundle: the response to its form is the file."""

import tempfile
from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.text import slugify

from connections.audit.signing_key import SigningKeyError
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.text import pluralize
from connections.deletions import history
from connections.deletions.history_filter import HistoryForm
from connections.evidence.bundles import Bundle, make_bundle
from connections.evidence.files import BundleError
from connections.models import AccessReview
from connections.web.audit.forms import BundleForm, initial_from_history
from connections.web.rate_limits import limited
from connections.web.support import actor_of


def bundle_new(request: HttpRequest) -> HttpResponseBase:
    """Choose deletions and download them with their proofs."""
    actor = actor_of(request)
    if request.method == "POST":
        return _make_bundle(request)
    credentials = history.list_selectable_credentials(actor=actor)
    history_form = HistoryForm(request.GET, credentials=credentials)
    initial = initial_from_history(history_form, today=clock.now().date())
    return _render_form(request, BundleForm(credentials=credentials, initial=initial))


@limited("evidence", per_minute=10)
def _make_bundle(request: HttpRequest) -> HttpResponseBase:
    actor = actor_of(request)
    form = BundleForm(request.POST, credentials=history.list_selectable_credentials(actor=actor))
    if not form.is_valid():
        return _render_form(request, form, status=422)
    kept = form.cleaned_data["checkpoint"]
    make = partial(
        make_bundle,
        actor=actor,
        filters=form.history_filter(),
        query=form.asked_for(),
        seed=form.cleaned_data["seed"],
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
    """The bundle that `make` writes to the file `output`. Raises as `make` does.

    `review`: the access review that it is of.

    It is complete before the first byte is sent, so that a failure shows a page, not half a file.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    try:
        bundle = make(output=file)
    except BaseException:
        file.close()
        raise
    _add_message(request, bundle, of=f" of the access review {review.name}" if review else "")
    file.seek(0)
    about = ["evidence", *(["access-review", slugify(review.name)[:60]] if review else [])]
    at = f"{bundle.until:%Y%m%dT%H%M%SZ}-cp{bundle.checkpoint_size}"
    name = "-".join([*filter(None, about), f"{at}.zip"])
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/zip")


def _add_message(request: HttpRequest, bundle: Bundle, *, of: str) -> None:
    """Show the result on the next page, since this response is the file."""
    counts = f"{pluralize(bundle.deletions, 'deletion')}, SHA-256 {bundle.sha256}"
    if bundle.differing:
        messages.error(
            request,
            f"The evidence bundle{of} that was made ({counts}) does not verify: "
            f"{bundle.differing} of its records do not say what their events say. "
            f"{bundle.differences[0]}",
        )
    else:
        messages.success(request, f"An evidence bundle{of} was made: {counts}.")


def _render_form(request: HttpRequest, form: BundleForm, *, status: int = 200) -> HttpResponse:
    return render(request, "connections/bundle_new.html", {"form": form}, status=status)
