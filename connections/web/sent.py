"""What a person is told when the DELETE was sent and the database then failed."""

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from connections import wording
from connections.core.errors import ResponseNotRecordedError
from connections.web.deletions.responses import wants_fragment

PAGE = "connections/response_not_recorded.html"
# Done, and its record waits: neither a failure of the act nor its outcome.
ACCEPTED = 202


def response_not_recorded_page(
    request: HttpRequest, error: ResponseNotRecordedError
) -> HttpResponse:
    """The words for it, asking the database nothing; for htmx `#outcome` alone."""
    url = reverse("deletion-detail", args=[error.deletion_id])
    context = {"words": wording.unrecorded_response_text(error), "url": url}
    # Without the request, so that nothing in the frame of a page asks the database.
    name = f"{PAGE}#outcome" if wants_fragment(request) else PAGE
    return HttpResponse(render_to_string(name, context), status=ACCEPTED)
