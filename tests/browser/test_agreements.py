"""Agreements: the form in the bar of the selection, and one file for hundreds."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from connections.core import clock
from connections.models import Agreement, OwnerDecision
from tests.browser.fitness import assert_fit_to_show
from tests.browser.watch import Watch
from tests.support.append_only import triggers_off

pytestmark = pytest.mark.slow
OpenAs = Callable[..., Page]


def remove_agreements() -> None:
    """As if nobody had set one in the demo."""
    with triggers_off():
        OwnerDecision.objects.all().delete()
        Agreement.objects.all().delete()


def test_one_file_sets_every_connection_without_an_agreement(open_demo_as: OpenAs, tmp_path: Path):
    page = open_demo_as("administrator")
    remove_agreements()
    page.set_default_timeout(120_000)
    page.goto("/agreements/?reason=no_agreement")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV (spreadsheet)").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text("utf-8-sig"))))
    assert len(rows) > 300
    file = tmp_path / "edited.csv"
    with file.open("w", newline="") as edited:
        writer = csv.DictWriter(edited, rows[0].keys())
        writer.writeheader()
        # Some access was approved until today, so no agreement about it can end later.
        edit = {"owner": "operator", "purpose": "Everyday use", "ends_on": f"{clock.now():%F}"}
        writer.writerows(row | edit for row in rows)
    page.get_by_role("link", name="Import…").click()
    page.get_by_label("Or choose a file").set_input_files(file)
    page.get_by_role("button", name="Preview import").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text(f"{len(rows)} agreements to set.")
    page.get_by_role("button", name=f"Import {len(rows)} agreements").click()
    done = page.get_by_role("status").filter(has_text="Import complete")
    expect(done).to_contain_text(f"{len(rows)} agreements set.")
    page.goto("/agreements/")
    expect(page.locator("#count")).to_have_text(re.compile(r"^All [0-9]+ connections agreed$"))
    assert page.locator("[data-agreed=no]").count() == 0


def test_the_form_opens_with_e_keeps_what_was_typed_and_saves(open_demo_as: OpenAs, watch: Watch):
    watch.expect("status of 422")
    page = open_demo_as("operator", reduced_motion="reduce")
    remove_agreements()
    page.goto("/agreements/")
    # Without a selection, it is about the row with the focus.
    page.locator("tbody .cell-org a").first.focus()
    page.keyboard.press("e")
    bar = page.locator(".selection-bar")
    expect(bar).to_contain_text("Set owner and purpose of 1 connection")
    expect(bar.get_by_label("Person", exact=True).and_(page.locator("select"))).to_be_focused()
    page.locator("td.cell-select input").nth(1).check()
    expect(bar).to_contain_text("Set owner and purpose of 2 connections")
    bar.get_by_role("radio", name="Team or other").check()
    page.locator("#id_owner_text").fill("Data platform")
    page.keyboard.press("Enter")
    expect(page.locator("#id_purpose")).to_be_focused()
    expect(bar).to_contain_text("Enter a purpose.")
    expect(page.locator("#id_owner_text")).to_have_value("Data platform")
    assert_fit_to_show(page)
    page.locator("#id_purpose").fill("Capacity reports")
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_contain_text("Saved 2 agreements.")
    assert Agreement.objects.filter(owner_text="Data platform", version=1).count() == 2
    expect(page.locator("td.cell-select :checked")).to_have_count(0)


def test_a_refusal_in_the_bar_says_which_connections_it_is_about(
    open_demo_as: OpenAs, watch: Watch
):
    watch.expect("status of 403")
    watch.expect("Error Code 403")
    page = open_demo_as("viewer", reduced_motion="reduce")
    page.goto("/agreements/?owner=viewer")
    for number in (0, 1):
        page.locator("td.cell-select input").nth(number).check()
    page.keyboard.press("e")
    page.locator("#id_purpose").fill("Something else")
    page.keyboard.press("Enter")
    banner = page.locator("#messages")
    expect(banner).to_contain_text("Nothing was saved. As the owner, you can name another owner")
    names = page.locator("tr:has(:checked) .cell-org").all_inner_texts()
    for source, sink in zip(names[::2], names[1::2], strict=True):
        expect(banner).to_contain_text(f"{source} → {sink}")
    expect(page.locator("#id_purpose")).to_have_value("Something else")
    assert_fit_to_show(page)


def test_escape_closes_the_form_and_then_clears_the_selection(open_demo_as: OpenAs):
    page = open_demo_as("operator", reduced_motion="reduce")
    page.goto("/connections/")
    page.locator("td.cell-select input").first.check()
    page.keyboard.press("e")
    expect(page.locator("#id_purpose")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#id_purpose")).to_have_count(0)
    expect(page.get_by_role("button", name="Set owner and purpose…")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".selection-bar")).to_be_hidden()
