"""Health checks, headers and error pages."""

import json
from collections.abc import Callable
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, path
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from connections.access.permissions import APPROVE, SEE
from connections.core.logs import JsonFormatter
from connections.models import Person
from connections.urls import urlpatterns as own_urlpatterns
from connections.web.framework.routing import Access, View, Visitors, enforce, form_page
from orgadmin import urls as project_urls


def failing(request: HttpRequest) -> HttpResponse:
    secret_looking = "do-not-show-this"
    raise RuntimeError(secret_looking)


def unregistered(request: HttpRequest) -> HttpResponse:
    return HttpResponse("reached")


def registered(name: str, view: View, permission: Visitors = Visitors.SIGNED_IN) -> URLPattern:
    access = Access(methods=frozenset({"GET", "HEAD", "OPTIONS", "POST"}), permission=permission)
    return path(f"of-a-test/{name}/", enforce(view, access=access))


urlpatterns = [
    registered("failing", failing, Visitors.ANYONE),
    path("of-a-test/unregistered/", unregistered),
    *project_urls.urlpatterns,
]
handler500 = project_urls.handler500

with_test_views = pytest.mark.urls(__name__)


@pytest.fixture
def reader(victor: Person, client_of: Callable[[Person], Client]) -> Client:
    return client_of(victor)


@with_test_views
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_view_without_access_rules_never_runs(reader: Client, client: Client, method: str):
    for visitor in (reader, client):
        with pytest.raises(ImproperlyConfigured, match="no access rules"):
            visitor.generic(method, "/of-a-test/unregistered/")


def test_a_post_can_need_another_permission_than_a_get(victor: Person, rf: RequestFactory):
    view = form_page("x/", unregistered, SEE, post_permission=APPROVE).callback
    for request in (rf.get("/x/"), rf.post("/x/")):
        request.user = victor
        if request.method == "GET":
            assert view(request).status_code == 200
        else:
            with pytest.raises(PermissionDenied, match="approve or decline"):
                view(request)


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_health_checks_respond_to_anyone_under_any_host(
    client: Client, db: None, settings: Settings, address: str
):
    settings.SECURE_SSL_REDIRECT = True
    response = client.get(address, headers={"Host": "10.1.2.3:8000"})
    assert (response.status_code, response.text) == (200, "ok\n")
    assert response["Cache-Control"] == "no-store"
    assert client.post(address).status_code == 405


def test_the_process_is_alive_without_a_database(
    client: Client, django_db_blocker: DjangoDbBlocker
):
    with django_db_blocker.block():
        assert client.get("/healthz").status_code == 200


def test_it_is_not_ready_without_its_key_ring(client: Client, db: None, settings: Settings):
    settings.KEYRING_FILE.parent.mkdir(parents=True, exist_ok=True)
    settings.KEYRING_FILE.write_text("nonsense")
    response = client.get("/readyz")
    assert (response.status_code, response.text) == (503, "the key ring cannot be used\n")


def test_no_page_is_cached_and_every_page_has_its_request_id(client: Client, db: None):
    response = client.get("/accounts/login/")
    assert response["Cache-Control"] == "no-store"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in response["Permissions-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert len(response["X-Request-ID"]) == 32


@pytest.mark.parametrize(
    ("proxies", "request_id", "is_kept"),
    [
        (["127.0.0.1"], "6F9619FF-8B86-D011-B42D-00CF4FC964FF", True),
        (["127.0.0.1"], "x" * 64, True),
        (["127.0.0.1"], "x" * 65, False),
        (["127.0.0.1"], "", False),
        (["127.0.0.1"], "two words", False),
        (["127.0.0.1"], "one,two", False),
        (["127.0.0.1"], "line\n", False),
        (["127.0.0.1"], "\u0661\u0662", False),
        (["*"], "of-a-proxy", True),
        (["10.0.0.1"], "of-a-stranger", False),
        ([], "of-a-stranger", False),
    ],
)
def test_only_a_trusted_proxy_can_give_a_request_its_id(
    client: Client, settings: Settings, proxies: list[str], request_id: str, *, is_kept: bool
):
    settings.TRUSTED_PROXIES = proxies
    for address in ("/healthz", "/metrics"):
        given = client.get(address, headers={"X-Request-ID": request_id})["X-Request-ID"]
        assert given == request_id if is_kept else len(given) == 32


def test_records_of_a_refused_request_have_its_id_and_the_person(
    victor: Person, client_of: Callable[[Person], Client], caplog: pytest.LogCaptureFixture
):
    caplog.handler.setFormatter(JsonFormatter())
    response = client_of(victor).get("/people/")
    # The client runs in this thread, whose next record is still about this request.
    record = json.loads(caplog.handler.format(caplog.records[-1]))
    assert record["message"] == "Forbidden (Permission denied): /people/"
    assert "traceback" not in record
    assert (record["request_id"], record["person"]) == (response["X-Request-ID"], str(victor.pk))
    deletion_id = str(uuid4())
    client_of(victor).get(f"/deletions/{deletion_id}/")
    assert json.loads(caplog.handler.format(caplog.records[-1]))["deletion"] == deletion_id
    response = Client().get("/nowhere/")
    assert "person" not in json.loads(caplog.handler.format(caplog.records[-1]))


def test_a_static_file_can_be_cached(client: Client, db: None):
    response = client.get("/static/connections/app.css")
    assert response.status_code == 200
    assert "no-store" not in response["Cache-Control"]
    response.close()


def test_a_signed_out_person_is_redirected_to_the_sign_in(client: Client, db: None):
    open_to_all = {
        "setup",
        "sign-in-link",
        "appearance-set",
        "provider-start",
        "provider-callback",
        "provider-renewal",
        "provider-signed-out",
    }
    for pattern in own_urlpatterns:
        pattern_text = str(pattern.pattern)
        if pattern.name in open_to_all or "<" in pattern_text:
            continue
        response = client.get(f"/{pattern_text}")
        assert response["Location"].startswith("/accounts/login/"), pattern_text


BATCH = "/deletions/batches/0190a9a4-8a65-7000-8000-000000000001/"


@pytest.mark.parametrize(
    ("sent_from", "leads_to"),
    [
        ("http://testserver/people/?page=2", "http://testserver/people/?page=2"),
        (f"http://testserver{BATCH}?page=2", f"http://testserver{BATCH}?page=2"),
        ("http://testserver/accounts/2fa/", "http://testserver/accounts/2fa/"),
        # Where the form is shown again with an error; a GET there is 405.
        (f"http://testserver{BATCH}request/", BATCH),
        ("https://elsewhere.example/", "/"),
        ("", "/"),
    ],
)
def test_a_post_while_signed_out_says_so_and_links_back_to_its_page(
    client: Client, db: None, sent_from: str, leads_to: str
):
    response = client.post("/connections/refresh/", headers={"Referer": sent_from}, follow=True)
    assert "You were signed out, so nothing was changed." in response.text
    assert f'name="next" value="{leads_to}"' in response.text


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        (f"{BATCH}request/", BATCH),
        (f"/changes/{BATCH.split('/')[3]}/acknowledge/", "/changes/"),
        ("/connections/refresh/", "/connections/"),
        ("/appearance/", None),
    ],
)
def test_the_address_of_a_form_leads_a_browser_to_the_page_of_the_form(
    client_of: Callable[[Person], Client], ada: Person, address: str, leads_to: str | None
):
    response = client_of(ada).get(address, headers=BROWSER)
    if leads_to:
        assert (response.status_code, response["Location"]) == (302, leads_to)
    else:
        assert "This address accepts POST, not GET. Nothing was changed." in response.text
        assert response.status_code == 405
    response = client_of(ada).get(address)  # of a program
    assert (response.status_code, response["Allow"]) == (405, "POST")


@with_test_views
def test_an_error_page_shows_no_details_of_the_error(client: Client, db: None):
    client.raise_request_exception = False
    response = client.get("/of-a-test/failing/")
    assert response.status_code == 500
    assert "do-not-show-this" not in response.text
    assert "Something went wrong" in response.text
    # It is unknown here what was recorded or sent before the error.
    assert "check Deletions and Access requests first" in response.text
    assert "record was written" not in response.text


@with_test_views
def test_the_error_page_needs_no_database(client: Client, django_db_blocker: DjangoDbBlocker):
    client.raise_request_exception = False
    with django_db_blocker.block():
        assert client.get("/of-a-test/failing/").status_code == 500


def test_a_form_without_its_token_does_nothing_and_says_so(ada: Person):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    response = client.post("/people/new/", {"username": "hedy"})
    assert response.status_code == 403
    assert "Nothing was changed" in response.text


def test_a_wrong_host_is_a_400_and_an_unknown_address_a_404(client: Client, ada: Person):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    client.force_login(ada)
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert "Page not found" in response.text


def test_where_mfa_is_required_nothing_is_shown_without_it(
    ada: Person, client_of: Callable[[Person], Client], settings: Settings
):
    settings.REQUIRE_MFA = True
    client = client_of(ada)
    for url in ("/", "/deletions/", "/connections/", "/deletions/new/"):
        assert client.get(url)["Location"] == "/accounts/2fa/"
    assert client.post("/connections/refresh/")["Location"] == "/accounts/2fa/"
    assert client.get("/", headers={"HX-Request": "true"})["HX-Redirect"] == "/accounts/2fa/"


def test_where_mfa_is_required_everyone_can_still_set_it_up(
    ada: Person, client_of: Callable[[Person], Client], settings: Settings
):
    settings.REQUIRE_MFA = True
    client = client_of(ada)
    page = client.get("/accounts/2fa/", follow=True)
    assert page.status_code == 200
    assert client.get("/sign-in/").status_code == 200
    assert client.post("/appearance/", {"theme": "dark"}).status_code in {302, 303}


def test_mfa_grants_access_and_recovery_codes_alone_do_not(
    ada: Person, client_of: Callable[[Person], Client], settings: Settings
):
    settings.REQUIRE_MFA = True
    client = client_of(ada)
    Authenticator.objects.create(user=ada, type=Authenticator.Type.RECOVERY_CODES, data={})
    assert client.get("/").status_code == 302
    Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={})
    assert client.get("/").status_code == 200
