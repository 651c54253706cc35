"""Hostile values in every URL and every form field cause no server error and no echoed markup.

`FUZZ_REQUESTS=1000 .venv/bin/python -m pytest tests/hardening -k fuzz` sends a thousand
requests to each URL; `FUZZ_SEED` sets another seed.
"""

import os
import random
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.db import transaction
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import reverse

from connections.models import Credential, Person
from tests.flows.support import REASON, Form, Page, read
from tests.support.people import PASSWORD
from tests.support.sweeps import TAKES_ALL, sample
from tests.web.test_access import MATRIX, addresses

__all__ = ["addresses"]

pytestmark = [pytest.mark.django_db, pytest.mark.slow, pytest.mark.sweep]

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "8" if TAKES_ALL else "1"))
SEED = int(os.environ.get("FUZZ_SEED", "20261125"))

MARKUP = "\"'><script>alert(1)</script>"
HOSTILE = (
    "",
    " ",
    "\0",
    "'",
    MARKUP,
    "{{ 7|add:7 }}{% debug %}",
    "%00%0d%0a",
    "a\r\nSet-Cookie: fuzz=1",
    "../../../../etc/passwd",
    "//evil.example/",
    "https://evil.example/",
    "javascript:alert(1)",
    "\\\\evil.example",
    "=HYPERLINK(0)",
    "' OR 1=1 --",
    '"; DROP TABLE connections_deletion; --',
    "\u202egnp.exe",
    "\u0661\u0662\u0663",
    "\uffff\U0001f4a9",
    "-1",
    "0",
    "9" * 40,
    "1e999",
    "NaN",
    "null",
    "true",
    "[]",
    "0000-00-00",
    "9999-12-31T23:59:59Z",
    "2026-02-30",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-fffffffffff",
    "2026-01-01T00:00:00+00:00_00000000-0000-0000-0000-000000000000",
    "*" * 5000,
    "(" * 2000,
    "\u0001" * 300,
)
# A bundle needs its own transaction for a consistent read.
ALONE = {("POST", "bundle-new")}
# What a field is filled in with otherwise, so that one hostile value does not hide behind another's
# absence.
USUAL = {
    "login": "root",
    "password": PASSWORD,
    "oldpassword": PASSWORD,
    "password1": "another long pass phrase",
    "password2": "another long pass phrase",
    "username": "hedy",
    "email": "hedy@example.com",
    "name": "Another name",
    "reason": REASON,
    "break_glass_reason": REASON,
    "note": REASON,
    "text": REASON,
    "api_key": "0123456789abcdef" * 2,
    "application_key": "0123456789abcdef" * 2 + "01234567",
}
# Parameters that some view reads, even if no form has such a field.
NAMES = ("after", "format", "q", "next", "seen", "credential", "connection_id", "site")


def fault_of_request(
    client: Client, method: str, url: str, data: dict[str, str], *, htmx: bool
) -> str:
    """What is wrong with the response, or ""; the effects of the request are rolled back."""
    before = transaction.savepoint_create()
    response, body = response_to(client, method, url, data, htmx=htmx)
    transaction.savepoint_rollback(before)
    return fault_of(response, body)


def response_to(
    client: Client, method: str, url: str, data: dict[str, str], *, htmx: bool
) -> tuple[HttpResponseBase, bytes]:
    headers = {"HX-Request": "true", "HX-Target": "outcome"} if htmx else {}
    response = (
        client.post(url, data, headers=headers)
        if method == "POST"
        else client.get(url, data, headers=headers)
    )
    return response, b"".join(response) if response.streaming else response.content


def fault_of(response: HttpResponseBase, body: bytes) -> str:
    if response.status_code >= 500:
        return f"status {response.status_code}"
    if b"<script>alert(1)" in body and "html" in response["Content-Type"]:
        return "markup came back as markup"
    if "fuzz" in response.cookies:
        return "a header was split"
    location = urlsplit(response.headers.get("Location", "") or "")
    if location.netloc or location.scheme:
        return f"led to {location.geturl()}"
    return ""


def filled(form: Form | None) -> dict[str, str]:
    """The form as a person might submit it."""
    if form is None:
        return {}
    usual = USUAL | {"confirmation": form.attributes.get("data-confirm", "")}
    return {name: value or usual.get(name, "") for name, value in form.fields.items()}


def mutated(form: dict[str, str], chance: random.Random) -> dict[str, str]:
    """The form with one to three of its fields, or some that it lacks, made hostile."""
    names = sorted({*form, *NAMES} - {"csrfmiddlewaretoken"})
    changed = chance.sample(names, k=min(len(names), chance.randint(1, 3)))
    return form | {name: chance.choice(HOSTILE) for name in changed}


@pytest.fixture
def pages(
    addresses: dict[str, str], root: Person, client_of: Callable[[Person], Client]
) -> list[Page]:
    """Every page that an administrator can open."""
    client = client_of(root)
    requested = {"credential": str(Credential.objects.get().pk), "connection_id": str(uuid4())}
    opened = [read(client.get(addresses["deletion-confirm"], requested))]
    for name, (may_get, _) in MATRIX.items():
        if may_get is not None:
            response = client.get(addresses[name])
            if not response.streaming and "html" in response["Content-Type"]:
                opened.append(read(response))
    return opened


def form_for(url: str, pages: list[Page]) -> Form | None:
    """The form that leads there: if there are several, one that posts."""
    forms = [form for page in pages for form in page.forms if form.action == url]
    return max(forms, key=lambda form: form.attributes.get("method") == "post", default=None)


def test_no_hostile_value_causes_an_error_or_is_echoed_as_markup(
    addresses: dict[str, str],
    pages: list[Page],
    root: Person,
    client_of: Callable[[Person], Client],
):
    chance = random.Random(SEED)  # noqa: S311 - to be repeatable, not secret
    wrong = []
    for name, allowed in sample(MATRIX.items(), every=2):
        client = client_of(root)  # whose identity check is at most five minutes old
        for method, who in zip(("GET", "POST"), allowed, strict=True):
            if (method, name) in ALONE:
                continue
            form = form_for(addresses[name], pages) if who else None
            for _ in range(REQUESTS if who else 0):
                data = mutated(filled(form), chance)
                fault = fault_of_request(
                    client, method, addresses[name], data, htmx=chance.random() < 0.3
                )
                if fault:
                    wrong.append(f"{method} {name} {data!r:.300}: {fault}")
    assert wrong == []


@pytest.mark.django_db(transaction=True)
def test_no_hostile_value_in_the_bundle_form_causes_an_error(
    root: Person, client_of: Callable[[Person], Client]
):
    client, url = client_of(root), reverse("bundle-new")
    form = form_for(url, [read(client.get(url))])
    assert form
    chance = random.Random(SEED)  # noqa: S311 - to be repeatable, not secret
    wrong = []
    for _ in range(REQUESTS):
        data = mutated(filled(form), chance)
        cache.clear()  # otherwise only a few bundles a minute are allowed
        fault = fault_of(*response_to(client, "POST", url, data, htmx=chance.random() < 0.3))
        if fault:
            wrong.append(f"{data!r:.300}: {fault}")
    assert wrong == []
