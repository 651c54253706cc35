"""What every view needs and no noun owns."""

import base64
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from connections.access.actor import Actor, person_actor
from connections.audit.export import Export, begin_export
from connections.core.tabular import CONTENT_TYPES
from connections.models import Person


class SeeOther(HttpResponseRedirect):
    """303: it was done; look there, with a GET."""

    status_code = 303


def request_id_of(request: HttpRequest) -> str:
    """The id that ties the records of this request together; also sent as X-Request-ID."""
    return getattr(request, "request_id", "")


def signed_in_person(request: HttpRequest) -> Person | None:
    """Who is signed in, or None; also on a request that failed before anyone was looked up."""
    person = getattr(request, "user", None)
    return person if isinstance(person, Person) else None


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person as the actor of what this request does.

    Raises PermissionDenied when nobody is signed in.
    """
    person = signed_in_person(request)
    if person is None:
        raise PermissionDenied("Sign in first.")
    return person_actor(person=person, request_id=request_id_of(request))


def is_local_url(request: HttpRequest, url: str) -> bool:
    """Whether `url` leads to this very host, so that redirecting there leaves nobody elsewhere."""
    return url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )


def sign_in_url_after_post(request: HttpRequest) -> str:
    """The sign-in for who sent something while signed out, which was not done.

    It leads back to the page that it was sent from: the address that it was sent to may answer
    nothing but a form.
    """
    page = request.headers.get("Referer", "")
    if not is_local_url(request, page):
        page = reverse("overview")
    return f"{reverse('account_login')}?{urlencode({'next': page, 'undone': 1})}"


def download(
    request: HttpRequest, *, export: Export, name: str
) -> HttpResponse | StreamingHttpResponse:
    """The export as an attachment; `name` is its file name without what the format adds.

    The newest checkpoint goes along in a header, and by size and root in the file's name: there
    it stays with the file and no parser of the contents meets it.
    """
    response: HttpResponse | StreamingHttpResponse
    content_type = CONTENT_TYPES[export.file_format]
    if request.method == "HEAD":
        # Nothing leaves, so nothing is recorded.
        response = HttpResponse(content_type=content_type)
    else:
        response = StreamingHttpResponse(begin_export(export=export), content_type=content_type)
    if export.checkpoint:
        name += f"-cp{export.checkpoint.size}-{export.checkpoint.root[:16]}"
        note = base64.b64encode(export.checkpoint.note.encode()).decode()
        response["X-Orgadmin-Checkpoint"] = note
    response["Content-Disposition"] = f'attachment; filename="{name}.{export.file_format}"'
    return response
