"""The pages that an error returns: accessible and in bounds, like every other."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.shortcuts import render
from django.test import RequestFactory
from playwright.sync_api import expect

from tests.browser.conftest import OpenAs
from tests.browser.fitness import assert_fit_to_show
from tests.support.processes import ROOT

TEMPLATES = [path.name for path in sorted((ROOT / "templates").glob("[0-9]*.html"))]
CONTEXTS: dict[str, dict[str, Any]] = {
    "503_database.html": {
        "is_unwritable": True,
        "cause": "The disk is full.",
        "might_have_sent": True,
        "request_id": "0123456789abcdef",
    },
    "500.html": {"request_id": "0123456789abcdef"},
    "deletions/response_not_recorded.html": {
        "url": "/deletions/0b7e3c1a-0000-4000-8000-0000000000aa/",
        "text": {
            "tone": "unknown",
            "icon": "question",
            "headline": "The response couldn't be recorded.",
            "lines": ["Datadog returned 200 to attempt 1.", "Don't retry; view the deletion."],
        },
    },
}


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("template", [*TEMPLATES, "deletions/response_not_recorded.html"])
def test_an_error_page_is_accessible_and_in_bounds(
    template: str, service_url: str, open_as: OpenAs
):
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    html = render(request, template, CONTEXTS.get(template)).content
    page = open_as(None, reduced_motion="reduce")
    # The service delivers the style sheet; its own errors would need a broken service.
    page.route(
        f"{service_url}/error/", lambda route: route.fulfill(content_type="text/html", body=html)
    )
    page.goto("/error/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert_fit_to_show(page)
