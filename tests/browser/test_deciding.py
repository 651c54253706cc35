"""The pages on which people decide show the facts first, then the choices, and nothing twice."""

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import FloatRect, Locator, Page, expect

from connections.models import Batch, BatchState, Deletion, State
from connections.web.badges import Badge
from connections.web.deletions import detail
from connections.web.timeline import TimelineEntry
from tests.browser.conftest import OpenAs

NOW = timezone.now()


def box(locator: Locator) -> FloatRect:
    found = locator.bounding_box()
    assert found
    return found


def open_deletion(open_demo_as: OpenAs, who: str, state: State) -> Page:
    page = open_demo_as(who)
    page.set_viewport_size({"width": 1440, "height": 900})
    deletion = Deletion.objects.filter(state=state).earliest("requested_at")
    page.goto(f"/deletions/{deletion.pk}/")
    return page


def test_an_approver_sees_the_facts_and_below_them_approve_beside_decline(open_demo_as: OpenAs):
    page = open_deletion(open_demo_as, "approver", State.REQUESTED)
    approve = box(page.get_by_role("heading", name="Approve", exact=True))
    decline = box(page.get_by_role("heading", name="Decline", exact=True))
    facts = box(page.locator("#outcome dl.facts"))
    assert approve["y"] == decline["y"]
    assert approve["x"] < decline["x"]
    assert facts["y"] + facts["height"] <= approve["y"]
    names = page.locator("#outcome dl.facts dt").all_inner_texts()
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_an_approver_decides_without_scrolling(
    width: int, height: int, open_demo_as: OpenAs, monkeypatch: pytest.MonkeyPatch
):
    decided = TimelineEntry(badge=Badge("Keep", "ok", "check"), at=NOW, by="Ada", detail="“x”")
    earlier = [decided] * (6 if width > 390 else 2)
    monkeypatch.setattr(detail, "list_earlier", lambda *_, **__: earlier)
    page = open_deletion(open_demo_as, "approver", State.REQUESTED)
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("window.scrollTo(0, 0)")

    foot = box(page.locator(".decision-foot" if width == 390 else ".decision"))
    assert foot["y"] + foot["height"] <= height
    # On a phone, everything that changes; the facts follow.
    seen = ".changes" if width == 390 else ".changes, #outcome > .facts, .before"
    for each in page.locator(f"#outcome > .org-pair, {seen}").filter(visible=True).all():
        assert box(each)["y"] + box(each)["height"] <= foot["y"]
    for name in ("Approve deletion", "Decline"):
        button = page.locator(".button:visible", has_text=name).last
        assert box(button)["height"] >= (44 if width == 390 else 34)
    if width > 390:
        expect(page.locator(".before > li:visible")).to_have_count(1)
        expect(page.get_by_text("All 6")).to_be_visible()


def test_on_a_phone_declining_begins_with_its_reason(open_demo_as: OpenAs):
    page = open_deletion(open_demo_as, "approver", State.REQUESTED)
    page.set_viewport_size({"width": 390, "height": 844})
    decline = page.locator(".decision")
    assert box(decline)["height"] <= 1
    page.get_by_role("link", name="Decline…").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    assert box(decline)["height"] > 1


def test_on_a_phone_a_bulk_deletion_is_decided_without_scrolling(open_demo_as: OpenAs):
    page = open_demo_as("approver")
    page.set_viewport_size({"width": 390, "height": 844})
    batch = Batch.objects.filter(state=BatchState.REQUESTED).earliest("created_at")
    page.goto(reverse("batch-detail", args=[batch.pk]))
    foot = box(page.locator(".decision-foot"))
    assert foot["y"] + foot["height"] <= 844
    for each in page.locator("#batch .banner, #batch .strip, .attention-list").all():
        assert box(each)["y"] + box(each)["height"] <= foot["y"]
    expect(page.get_by_role("button", name="Approve 11 connections")).to_have_count(1)
    page.get_by_role("link", name="Decline…").click()
    expect(page.get_by_label("Reason")).to_be_focused()


def test_on_a_phone_a_plan_is_read_before_it_is_confirmed(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.set_viewport_size({"width": 390, "height": 844})
    batch = Batch.objects.filter(state=BatchState.DRAFT).earliest("created_at")
    page.goto(reverse("batch-detail", args=[batch.pk]))
    form = box(page.locator(".plan-form"))
    assert box(page.locator("[data-connection]").last)["y"] < form["y"]
    page.locator(".decision-foot").get_by_role("link").click()
    expect(page.locator(".plan-form input:focus, .plan-form textarea:focus")).to_be_visible()


def test_on_a_phone_the_requester_can_cancel_a_bulk_deletion(open_demo_as: OpenAs):
    page = open_demo_as("operator")
    page.set_viewport_size({"width": 390, "height": 844})
    batch = Batch.objects.filter(state=BatchState.REQUESTED).earliest("created_at")
    page.goto(reverse("batch-detail", args=[batch.pk]))
    assert box(page.locator("#cancel"))["width"] > 44


def test_the_facts_of_an_approved_deletion_come_before_the_delete_box(open_demo_as: OpenAs):
    page = open_deletion(open_demo_as, "operator", State.APPROVED)
    facts, delete_box = (
        box(page.locator("#outcome dl.facts")),
        box(page.locator(".danger-box").first),
    )
    assert facts["y"] + facts["height"] <= delete_box["y"]


@pytest.mark.parametrize("who", ["administrator", "operator", "viewer"])
def test_the_overview_of_50_orgs_fits_on_a_screen_and_cuts_no_name(who: str, open_demo_as: OpenAs):
    page = open_demo_as(who)
    page.goto("/")
    assert page.evaluate("document.body.scrollHeight") <= 900
    page.locator(".items-more").evaluate(
        "more => { for (const folded of more.children) folded.open = true; }"
    )
    assert page.locator(".items > li").count() > 10
    for width in (390, 1024, 1280, 1366, 1440, 1536, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.body.scrollWidth") <= width
        cut = page.locator(".items :is(.item-kind, .item-text)").evaluate_all(
            "texts => texts.filter((text) => text.scrollWidth > text.clientWidth + 1).length"
        )
        assert cut == 0
