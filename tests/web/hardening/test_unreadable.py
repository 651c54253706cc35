"""Unreadable requests get a 400 page, never a 500, and no error page reads them again."""

import json
import logging
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings as django_settings
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from fido2.utils import websafe_encode
from pytest_django import Settings

from connections.models import AuditEvent, Person
from connections.web.framework import errors
from connections.web.framework.routing import Access, Visitors, enforce
from orgadmin import urls
from orgadmin.wsgi import Application
from tests.support.passkeys import SoftKey

pytestmark = pytest.mark.django_db

FORM = "application/x-www-form-urlencoded"
LOGIN = "/accounts/login/"
KEY_LOGIN = "/accounts/2fa/webauthn/login/"
KEY_ADD = "/accounts/2fa/webauthn/add/"
UNKNOWN = "/no/such/page/"
CANARY = "canary-0123456789abcdef0123456789abcdef"
# Forms for everyone and for people, and no page.
ADDRESSES = (LOGIN, "/deletions/new/", UNKNOWN)
CHARSETS = (
    *("utf-16", "base64", "idna", "punycode", "rot13", "undefined", "zlib", "iso-8859-1", "utf-7"),
    *("nonsense", "x" * 300, "*", '"', "utf-8\\"),
)


class Browser:
    """Sends raw requests to the application that the web server runs."""

    def __init__(self, client: Client) -> None:
        self._application = Application()
        self._cookies = "; ".join(
            f"{cookie.key}={cookie.value}" for cookie in client.cookies.values()
        )

    def send(
        self,
        path: str,
        *,
        method: str = "POST",
        body: bytes = b"",
        kind: str = FORM,
        query: str = "",
    ) -> tuple[int, str]:
        """The status and the text of the response."""
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "HTTP_COOKIE": self._cookies,
            "wsgi.input": BytesIO(body),
            "wsgi.url_scheme": "http",
        }
        # Not called as a whole: its signals close the connection that a test's transaction needs.
        response = self._application.get_response(self._application.request_class(environ))
        assert isinstance(response, HttpResponse)
        return response.status_code, response.text


@pytest.fixture(params=["nobody", "signed in"])
def browser(
    request: pytest.FixtureRequest, root: Person, client_of: Callable[[Person], Client]
) -> Browser:
    client = Client() if request.param == "nobody" else client_of(root)
    # It sets the CSRF cookie, without which no body is read.
    client.get(LOGIN, follow=True)
    return Browser(client)


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_charset_other_than_utf_8_gets_a_400_page(browser: Browser, address: str):
    multipart = b'--x\r\nContent-Disposition: form-data; name="login"\r\n\r\na\xff\r\n--x--\r\n'
    responses = {
        (charset, kind): browser.send(address, body=body, kind=f"{kind}; charset={charset}")
        for charset in CHARSETS
        for kind, body in (
            (FORM, b"login=%ff&x=a\xff"),
            ("multipart/form-data; boundary=x", multipart),
        )
    }
    wrong = {key: status for key, (status, text) in responses.items() if status != 400}
    assert wrong == {}
    assert all("<html" in text for _, text in responses.values())


def test_the_charset_of_a_get_is_refused_before_its_query_is_read(browser: Browser):
    for charset in CHARSETS:
        kind = f"text/plain; charset={charset}"
        assert browser.send("/connections/", method="GET", kind=kind, query="q=%ff")[0] == 400


def test_utf_8_can_be_declared(browser: Browser):
    for name in ("utf-8", "UTF-8"):
        assert browser.send("/connections/", method="GET", kind=f"{FORM}; charset={name}")[0] != 400


@pytest.mark.parametrize(
    "kind", ["a/b; x*=nonsense''y", "a/b; x*0*=undefined''%ff", "a/b;" + "x" * 20_000]
)
def test_a_content_type_that_cannot_be_parsed_gets_a_400_page(browser: Browser, kind: str):
    status, text = browser.send("/connections/", method="GET", kind=kind)
    assert (status, "<html" in text) == (400, True)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "count", [101, django_settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1], ids=["of a page", "of any"]
)
def test_too_many_fields_get_an_error_page_and_are_not_read_again(
    browser: Browser, address: str, count: int
):
    fields = "&".join(f"field{number}=x" for number in range(count))
    status, text = browser.send(address, body=fields.encode())
    assert status == (404 if address == UNKNOWN else 400)
    assert "<html" in text
    status, _ = browser.send(address, method="GET", query=fields)
    assert status < 500


@pytest.mark.parametrize("address", ADDRESSES)
def test_too_large_a_body_gets_an_error_page(browser: Browser, address: str):
    status, text = browser.send(address, body=b"x=" + b"x" * 300_000)
    assert status == (404 if address == UNKNOWN else 400)
    assert "<html" in text


def deep(depth: int = 50_000) -> str:
    return "[" * depth


def client_data(text: str) -> str:
    """A passkey response whose client data is this text."""
    response = {
        "clientDataJSON": websafe_encode(text.encode()),
        "authenticatorData": websafe_encode(b"\0" * 37),
        "attestationObject": websafe_encode(b"\x81" * 5000),
        "signature": "AA",
        "userHandle": 5,
    }
    return json.dumps({"id": "AA", "rawId": "AA", "type": "public-key", "response": response})


PASSKEY_RESPONSES = {
    "nothing": "",
    "no JSON": "no json",
    "too deep": deep(),
    "too long a number": "9" * 5000,
    "a list": "[]",
    "an empty object": "{}",
    "other ids": json.dumps({"id": "AA", "rawId": "BB", "type": "public-key", "response": {}}),
    "a response that is none": json.dumps({"id": "AA", "rawId": "AA", "response": 5}),
    "client data too deep": client_data(deep()),
    "client data of other kinds": client_data('{"type": 1, "challenge": 2, "origin": []}'),
    "client data of a key": client_data(
        '{"type": "webauthn.create", "challenge": "AA", "origin": ""}'
    ),
}


@pytest.mark.parametrize("credential", PASSKEY_RESPONSES.values(), ids=PASSKEY_RESPONSES)
def test_any_malformed_passkey_response_is_refused_without_an_error(
    credential: str, ada: Person, client_of: Callable[[Person], Client]
):
    SoftKey(ada)
    stranger = Client()
    stranger.get(KEY_LOGIN, headers={"X-Requested-With": "XMLHttpRequest"})
    assert stranger.post(KEY_LOGIN, {"credential": credential})["Location"] == LOGIN
    assert "_auth_user_id" not in stranger.session
    half_way = Client()
    half_way.post(LOGIN, {"login": "ada", "password": "a long enough pass phrase"})
    assert (
        half_way.post("/accounts/2fa/authenticate/", {"credential": credential}).status_code == 200
    )
    assert "_auth_user_id" not in half_way.session
    owner = client_of(ada)
    owner.get(KEY_ADD)
    page = owner.post(KEY_ADD, {"credential": credential, "name": "Key"})
    assert page.status_code == 200
    assert "The key wasn't added" in page.text
    assert Authenticator.objects.filter(user=ada).count() == 1


# --- What is logged ----------------------------------------------------------------------------


def broken(request: HttpRequest) -> HttpResponse:
    """A view that fails after reading the submitted data."""
    assert request.POST.get("application_key", CANARY)
    raise RuntimeError("the view broke")


def missing(request: HttpRequest) -> HttpResponse:
    """A view that finds nothing."""
    raise Http404


OPEN = Access(methods=frozenset({"GET", "HEAD", "POST"}), permission=Visitors.ANYONE)
urlpatterns = [
    path("of-a-test/broken/", enforce(broken, access=OPEN)),
    path("of-a-test/missing/", enforce(missing, access=OPEN)),
    *urls.urlpatterns,
]
handler400, handler403 = errors.bad_request, errors.permission_denied
handler404, handler500 = errors.page_not_found, errors.server_error


@pytest.fixture
def tracebacks(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.DEBUG)

    def found() -> list[str]:
        lines = logging.Formatter()
        return [lines.format(record) for record in caplog.records if record.exc_info]

    return found


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("debug", [False, True])
def test_an_error_in_a_view_logs_its_traceback_once_and_no_key(
    browser: Browser, tracebacks: Callable[[], list[str]], settings: Settings, debug: bool
):
    settings.DEBUG = debug
    body = f"application_key={CANARY}&password={CANARY}"
    status, text = browser.send("/of-a-test/broken/", method="GET", query=body)
    (traceback,) = tracebacks()
    assert (status, "<html" in text) == (500, True)
    assert "RuntimeError: the view broke" in traceback
    assert CANARY not in traceback


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/of-a-test/missing/", UNKNOWN])
def test_an_error_in_an_error_page_logs_its_traceback_once(
    browser: Browser,
    tracebacks: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    address: str,
):
    monkeypatch.setattr(errors, "render", _failing)
    status, text = browser.send(address, method="GET")
    (traceback,) = tracebacks()
    assert (status, "<html" in text) == (500, True)
    assert "RuntimeError: the page broke" in traceback


def test_an_unknown_host_name_is_logged_in_one_line(
    client: Client, caplog: pytest.LogCaptureFixture
):
    client.get("/", headers={"Host": "10.0.0.7:8000"})
    [record] = [each for each in caplog.records if each.name == "django.security.DisallowedHost"]
    assert "10.0.0.7:8000" in record.getMessage()
    assert record.exc_info is None


def test_an_unknown_host_name_gets_a_page_that_names_the_setting(client: Client):
    response = client.get("/", headers={"Host": "10.0.0.7:8000"})
    assert response.status_code == 400
    page = response.content.decode()
    assert "isn't available under this host name" in page
    assert "ALLOWED_HOSTS" in page


@pytest.mark.urls(__name__)
def test_an_error_in_the_bad_request_page_logs_its_traceback_once(
    browser: Browser, tracebacks: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(errors, "render", _failing)
    status, _ = browser.send(LOGIN, kind=f"{FORM}; charset=base64")
    (traceback,) = tracebacks()
    assert status == 500
    assert "RuntimeError: the page broke" in traceback


def _failing(*args: Any, **kwargs: Any) -> HttpResponse:
    raise RuntimeError("the page broke")


@pytest.mark.urls(__name__)
def test_a_failing_500_page_still_responds_and_both_tracebacks_are_logged(
    browser: Browser, tracebacks: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(errors, "get_template", _failing)
    status, text = browser.send("/of-a-test/broken/", method="GET")
    assert (status, text.startswith("Something went wrong.")) == (500, True)
    page, view = tracebacks()
    assert "RuntimeError: the page broke" in page
    assert "RuntimeError: the view broke" in view


def test_a_django_log_record_is_written_by_one_handler():
    """pytest adds handlers of its own to the root; ours is the one that the settings name."""
    assert logging.getLogger("django").handlers == []
    assert logging.getLogger("django.request").handlers == []
    assert django_settings.LOGGING["root"]["handlers"] == ["stderr"]


def test_unreadable_requests_leave_no_event(browser: Browser):
    before = AuditEvent.objects.count()
    browser.send(LOGIN, body=b"login=%ff", kind=f"{FORM}; charset=base64")
    assert AuditEvent.objects.count() == before
