"""Links, redirects and passkeys name the address of Org Admin, never one that a client chose."""

import logging
from pathlib import Path

import pytest
from django.core import mail
from django.core.checks import ERROR, WARNING
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import Settings

from connections.core.own_address import own_origin
from connections.models import AuditEvent, Person
from connections.notifications.formats import Message
from connections.operations.checks import run_all_checks
from tests.people.test_sessions import signed_in
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db
RESET = "/accounts/password/reset/"
EVIL = "evil.example.com"
PATTERN = [".example.com", "127.0.0.1"]


@pytest.fixture(autouse=True)
def public(settings: Settings) -> None:
    settings.IS_LOCAL, settings.HAS_MAIL, settings.ALLOWED_HOSTS = False, True, PATTERN


@pytest.mark.parametrize(
    ("allowed", "host", "origin"),
    [
        (["a.example.com"], "a.example.com", "https://a.example.com"),
        (["a.example.com"], "A.Example.com:443", "https://a.example.com"),
        (["a.example.com"], "a.example.com:8443", ""),
        (["a.example.com", ".example.com"], EVIL, ""),
        (["*"], "a.example.com", ""),
        (["[::1]"], "[::1]:8000", "https://[::1]:8000"),
        (["localhost"], "LocalHost:8000", "https://localhost:8000"),
        (["127.0.0.1"], "127.0.0.1:25999", ""),
        # A pattern is not itself a host.
        ([".example.com"], ".example.com", ""),
        ([".example.com"], "example.com", ""),
        (["a.example.com"], "a.example.com.", ""),
        (["a.example.com"], "a.example.com:99999", ""),
    ],
)
def test_a_requests_host_counts_if_it_is_named_exactly(
    settings: Settings, allowed: list[str], host: str, origin: str
):
    settings.ALLOWED_HOSTS = allowed
    request = RequestFactory().get("/", headers={"host": host}, secure=True, SERVER_PORT="8000")
    assert own_origin(request) == origin


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        (["a.example.com"], "https://a.example.com"),
        (["a.example.com", "127.0.0.1", ".example.com"], "https://a.example.com"),
        (["a.example.com", "b.example.com"], ""),
        (["[2001:DB8::1]", "[::1]"], "https://[2001:db8::1]"),
        ([".example.com", "*"], ""),
        (["127.0.0.1", "localhost"], ""),
    ],
)
def test_without_a_request_the_only_public_host_counts(
    settings: Settings, allowed: list[str], origin: str
):
    settings.ALLOWED_HOSTS = allowed
    assert own_origin() == origin


def test_the_base_url_counts_first_and_is_written_as_browsers_do(settings: Settings):
    settings.BASE_URL = "https://Org.Example.com:443"
    request = RequestFactory().get("/", headers={"host": EVIL})
    assert own_origin(request) == own_origin() == "https://org.example.com"


def test_no_reset_link_is_mailed_for_a_host_that_a_stranger_chose(
    client: Client, ada: Person, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, logger="connections"):
        response = client.post(RESET, {"email": ada.email}, headers={"host": EVIL}, secure=True)
    # As for an address without an account.
    assert (response.status_code, response["Location"]) == (302, f"{RESET}done/")
    assert mail.outbox == []
    assert not AuditEvent.objects.exists()
    assert "Set ORGADMIN_BASE_URL" in caplog.text


def test_the_page_offers_no_reset_link_there(client: Client, settings: Settings):
    page = client.get(RESET, headers={"host": EVIL}, secure=True).text
    assert "can't email reset links from this address" in page
    assert "Send reset link" not in page
    settings.BASE_URL = "https://orgadmin.example.com"
    assert "Send reset link" in client.get(RESET, headers={"host": EVIL}, secure=True).text


def test_a_sign_in_link_names_no_host_that_only_a_pattern_allows(
    root: Person, ada: Person, settings: Settings
):
    settings.ALLOWED_HOSTS = ["testserver", ".example.com"]
    administrator = signed_in(root)
    url = reverse("person-link", kwargs={"pk": ada.pk})
    pages = [administrator.post(url, headers={"host": host}).text for host in ("testserver", EVIL)]
    assert "http://testserver/sign-in/#" in pages[0]
    assert EVIL not in pages[1]
    assert "/sign-in/#" in pages[1]


def test_a_notification_has_no_link_without_a_certain_address(clock: SettableClock):
    message = Message(code="test", title="Test", at=clock.now(), sentence="Test.", path="/notices/")
    assert "View: /notices/\n" in message.as_text()


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ({}, {ERROR}),
        ({"HAS_MAIL": False}, {WARNING}),
        ({"HAS_MAIL": False, "OIDC_ISSUER": "https://sso.example.com"}, {ERROR}),
        ({"ALLOWED_HOSTS": ["a.example.com", "b.example.com"]}, {ERROR}),
        ({"ALLOWED_HOSTS": ["a.example.com"]}, {WARNING}),
        ({"BASE_URL": "https://a.example.com"}, set()),
        ({"IS_LOCAL": True, "ALLOWED_HOSTS": ["127.0.0.1", "localhost"]}, {ERROR}),
        (
            {"IS_LOCAL": True, "ALLOWED_HOSTS": ["127.0.0.1", "localhost"], "HAS_MAIL": False},
            set(),
        ),
    ],
)
def test_doctor_reports_an_uncertain_address(
    settings: Settings, changes: dict[str, object], levels: set[int]
):
    for name, value in changes.items():
        setattr(settings, name, value)
    hint = "Set ORGADMIN_BASE_URL to the address at which people open Org Admin."
    assert {message.level for message in run_all_checks() if message.hint == hint} == levels


PRODUCT = Path(__file__).resolve().parents[2] / "connections"


def test_no_other_code_builds_this_services_address():
    """BASE_URL says only in passkeys.py and checks.py whether it is set."""
    uses = {
        path.name
        for path in PRODUCT.rglob("*.py")
        if "settings.BASE_URL" in path.read_text() or "build_absolute_uri" in path.read_text()
    }
    assert uses == {"own_address.py", "passkeys.py", "checks.py"}
