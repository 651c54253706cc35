"""The downloads of one access review."""

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from connections.access_reviews.export import prepare_export
from connections.audit.signing import SigningKeyError
from connections.core.errors import ConflictError
from connections.core.tabular import CONTENT_TYPES
from connections.evidence.bundles import make_access_review_bundle
from connections.evidence.files import BundleError
from connections.lookups.objects import find_access_review
from connections.models import AccessReview
from connections.web.audit.evidence import bundle_response
from connections.web.framework import http
from connections.web.framework.person_limits import limited

BUNDLE = "bundle"


def access_review_export(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The rows as CSV, JSON or NDJSON, or with `format=bundle` the evidence bundle."""
    review = find_access_review(actor=http.actor_of(request), pk=pk)
    file_format = http.export_format(request, formats=(*CONTENT_TYPES, BUNDLE))
    if file_format == BUNDLE:
        return _send_bundle(request, review)
    return _send_rows(request, review, file_format)


@limited("export", per_minute=30)
def _send_rows(request: HttpRequest, review: AccessReview, file_format: str) -> HttpResponseBase:
    export = prepare_export(review=review, actor=http.actor_of(request), file_format=file_format)
    return http.download(request, export=export, name="access-review")


@limited("evidence", per_minute=10)
def _send_bundle(request: HttpRequest, review: AccessReview) -> HttpResponseBase:
    if request.method == "HEAD":
        # No data is sent, so no bundle is made and recorded.
        return HttpResponse(content_type="application/zip")
    make = partial(make_access_review_bundle, actor=http.actor_of(request), review=review)
    try:
        return bundle_response(request, make, review=review)
    except (ConflictError, BundleError, SigningKeyError) as error:
        messages.error(request, str(error))
        return http.redirect_to(review)
