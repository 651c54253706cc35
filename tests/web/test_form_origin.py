"""The page for a form that came from another address than the one the server received it for."""

import pytest
from django.test import Client
from pytest_django import Settings

pytestmark = pytest.mark.django_db


def refusal_of(origin: str, *, host: str = "testserver") -> str:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/accounts/login/", headers={"Origin": origin, "Host": host})
    assert response.status_code == 403
    return response.text


def test_it_names_both_addresses_and_what_to_fix():
    page = refusal_of("http://testserver:8443")
    for text in ("http://testserver:8443", "http://testserver<", "$http_host", "TRUSTED_ORIGINS"):
        assert text in page
    assert "expired" not in page


def test_it_asks_nobody_to_trust_a_website_that_sent_the_form():
    warning, advice = refusal_of("https://evil.example.com").split("do nothing: that website")
    assert "TRUSTED_ORIGINS" not in warning
    assert "If you did, tell" in advice


def test_a_hidden_address_is_not_called_null():
    page = refusal_of("null")
    assert "The browser didn't say which website the form came from." in page
    assert "<code>null" not in page


def test_it_names_a_scheme_that_differs():
    assert "X-Forwarded-Proto" in refusal_of("https://testserver")


def test_the_address_is_escaped():
    page = refusal_of("http://<b>x</b>")
    assert "http://&lt;b&gt;x&lt;/b&gt;" in page


@pytest.mark.parametrize("origin", ["http://testserver", "https://trusted.example.com"])
def test_from_a_right_address_the_form_has_expired(settings: Settings, origin: str):
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example.com"]
    page = refusal_of(origin)
    assert "Form expired" in page
    assert "cookies are off" in page
