"""Hostile text from Datadog is escaped, bounded, and can't change the text direction."""

import json
from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.flows.support import Requester, read

pytestmark = pytest.mark.django_db

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)><form action=//evil.example>"
BIDI = "\u202eDROWSSAP\u2066 \u200f hidden \u200b"
# More than Attempt keeps of a body (64 KiB), and more than anyone would read.
LONG = "A very long error. " * 55_000
PAGE_BYTES = 200_000


def says(text: str) -> Fault:
    return Fault(name="says", executes=False, status=400, body=json.dumps({"errors": [text]}))


def page_after(requester: Requester, sandbox: SandboxServer, text: str) -> str:
    sandbox.world.set_fault(fault=says(text), connection_id=requester.connection.id)
    page = requester.delete()
    assert page.outcome["data-outcome"] == "refused"
    return page.html


def test_an_error_with_markup_is_shown_as_text(requester: Requester, sandbox: SandboxServer):
    html = page_after(requester, sandbox, MARKUP)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    for raw in ("<script>alert", "<img src=x", "<form action=//"):
        assert raw not in html


def test_bidirectional_control_characters_are_shown_visibly(
    requester: Requester, sandbox: SandboxServer
):
    html = page_after(requester, sandbox, BIDI)
    assert "[U+202E]DROWSSAP[U+2066] [U+200F] hidden" in html
    assert not set(BIDI[:1] + "\u2066\u200f") & set(html)


def test_exports_keep_them_unchanged(
    requester: Requester,
    sandbox: SandboxServer,
    edith: Person,
    client_of: Callable[[Person], Client],
):
    page_after(requester, sandbox, BIDI)
    response = client_of(edith).get("/deletions/export/?format=json")
    [row] = json.loads(b"".join(response))
    assert row["errors"] == [BIDI]


def test_an_error_of_a_megabyte_leaves_a_readable_page(
    requester: Requester, sandbox: SandboxServer
):
    html = page_after(requester, sandbox, LONG)
    assert "A very long error." in html
    assert len(html.encode()) < PAGE_BYTES
    for path in ("/deletions/", "/"):
        assert len(read(requester.client.get(path)).html.encode()) < PAGE_BYTES
