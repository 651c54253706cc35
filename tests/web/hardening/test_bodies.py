"""Request bodies are limited before they are read."""

from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from connections.models import AuditEvent, Person
from connections.urls import urlpatterns

pytestmark = pytest.mark.django_db

# Each accepts typed text; the first without signing in.
FORMS = ("/accounts/login/", "/deletions/new/", "/credentials/new/", "/people/new/")


@pytest.fixture
def client(root: Person, client_of: Callable[[Person], Client]) -> Client:
    return client_of(root)


@pytest.mark.parametrize("path", FORMS)
def test_a_body_over_the_limit_is_refused_with_a_page(client: Client, path: str):
    response = client.post(path, {"reason": "x" * 300_000})
    assert response.status_code in {400, 413}
    assert "<html" in response.text


@pytest.mark.parametrize("path", FORMS)
def test_a_thousand_fields_are_refused(client: Client, path: str):
    response = client.post(path, {f"field{number}": "x" for number in range(1000)})
    assert response.status_code == 400


@pytest.mark.parametrize("path", FORMS)
def test_a_file_upload_is_refused_everywhere(client: Client, path: str):
    response = client.post(path, {"reason": SimpleUploadedFile("a.txt", b"text")})
    assert response.status_code == 400


def test_only_an_import_accepts_a_file(client: Client):
    accesses = {pattern.name: getattr(pattern.callback, "access", None) for pattern in urlpatterns}
    accepting = [name for name, access in accesses.items() if access and access.accepts_file]
    assert accepting == ["org-import", "agreement-import", "credential-import"]
    files = {"file": SimpleUploadedFile("a.csv", b"text"), "more": SimpleUploadedFile("b", b"x")}
    assert client.post("/credentials/import/", files).status_code == 400


@pytest.mark.parametrize("path", FORMS)
def test_a_body_that_is_not_a_form_does_nothing(client: Client, path: str):
    before = AuditEvent.objects.count()
    for content_type in ("application/json", "text/xml", "multipart/form-data; boundary=x"):
        response = client.post(path, b"{\xff\x00", content_type=content_type)
        assert response.status_code in {200, 302, 400, 422}
    assert AuditEvent.objects.count() == before


def test_a_name_of_ten_thousand_letters_is_refused_with_a_message(client: Client):
    response = client.post("/people/new/", {"username": "x" * 10_000, "email": "x@example.com"})
    assert response.status_code == 422
    assert "characters" in response.text
