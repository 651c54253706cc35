"""Requesting other data types: the page follows the fields, and one PATCH is sent."""

import pytest
from django.utils.http import urlencode
from playwright.sync_api import expect

from connections.models import AccessOutcome, AccessRequest
from tests.browser.requester import SINK, Requester

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_says_what_is_chosen_and_changes_it(requester: Requester) -> None:
    page, connection = requester.page, requester.connection
    site = requester.credential.site
    query = {
        "kind": "change",
        "source": f"{site}/{connection.source_org.id}",
        "destination": f"{site}/{connection.sink_org.id}",
    }
    page.goto(f"/access-requests/new/?{urlencode(query)}")
    page.get_by_role("checkbox", name="audit").check()
    expect(page.locator("#access-pair")).to_contain_text("audit events")
    page.locator("#id_owner_kind_1").check()
    page.locator("#id_owner_text").fill("SOC team")
    page.get_by_label("Purpose").fill("incident response")
    page.get_by_label("Ends").fill("2099-03-31")
    page.get_by_label("Reason").fill("quarterly report")
    expect(page.locator("#access-after")).to_contain_text("After 31 Mar 2099")
    page.get_by_label("To confirm, type").fill(SINK)
    expect(page.get_by_text("Matches")).to_be_visible()
    page.get_by_role("button", name="Change data types").click()
    expect(page.locator("#outcome")).to_have_attribute("data-outcome", "changed")
    assert AccessRequest.objects.get().outcome == AccessOutcome.CHANGED
