"""Access from its request to the deletion after its last day, and what its record proves."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils.http import urlencode
from playwright.sync_api import Page, Route, expect

from connections.access.actor import WORKER
from connections.access_requests import ending
from connections.deletions.history import HistoryFilter
from connections.inventory import syncs
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    Person,
    RequestKind,
    Role,
)
from connections.operations import due, heartbeats
from sandbox.server import SandboxServer
from tests.browser.conftest import OpenAs
from tests.evidence.support import make, run_verifier
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db(transaction=True)
SOURCE, SINK = "Payments US", "Group SOC"


def request_approve_and_confirm(
    open_as: OpenAs, people: list[Person], query: dict[str, str], *, button: str
) -> str:
    """A Viewer requests it, an Approver approves it, an Operator confirms it. Return its page."""
    viewer, approver, operator = people
    page = open_as(viewer)
    page.goto(f"/access-requests/new/?{urlencode(query)}")
    if query["kind"] == "create":
        page.get_by_role("checkbox", name="audit").check()
        expect(page.locator("#access-new")).to_contain_text("audit events")
        page.get_by_text("You answer for it").click()
        page.locator("#id_owner_kind_1").check()
        page.locator("#id_owner_text").fill("SOC team")
        page.get_by_label("What is it for?").fill("incident response")
    else:
        page.get_by_label("Reason").fill("quarterly report")
    page.get_by_role("radio", name="Date…").check()
    # The button waits for what the last field means, however fast it is pressed.
    page.get_by_label("Last day").evaluate(
        """(field, day) => {
            field.value = day;
            field.dispatchEvent(new Event("change", { bubbles: true }));
            field.form.querySelector("button.button-primary").click();
        }""",
        query["until"],
    )
    outcome_of(page, state="requested", outcome=None)
    address = page.url
    page.context.close()
    page = open_as(approver)
    page.goto(address)
    page.locator("#approve").get_by_role("button", name="Approve access").click()
    outcome_of(page, state="approved", outcome=None)
    page.context.close()
    page = open_as(operator)
    page.goto(address)
    page.get_by_label("To confirm, type").fill(SINK)
    expect(page.get_by_text("Matches")).to_be_visible()
    page.get_by_role("button", name=button).click()
    outcome_of(page, state="settled", outcome=None)
    page.context.close()
    return address


def outcome_of(page: Page, *, state: str, outcome: str | None) -> None:
    expect(page.locator("#outcome")).to_have_attribute("data-state", state)
    if outcome:
        expect(page.locator("#outcome")).to_have_attribute("data-outcome", outcome)


@pytest.mark.smoke
def test_access_is_requested_approved_given_extended_and_ended_and_its_record_proves_it(
    service_url: str, sandbox: SandboxServer, open_as: OpenAs, clock: SettableClock, tmp_path: Path
):
    # The browser has the real time.
    clock.at = datetime.now(UTC)
    # Where no worker runs, the page verifies the outcome itself if it polls in time.
    heartbeats.record_heartbeat(name="worker", host="here", process_id=1)
    people = [
        make_person("victor", Role.VIEWER),
        make_person("linus", Role.APPROVER),
        make_person("ada", Role.OPERATOR),
    ]
    credential = store_credential(sandbox, SOURCE, policy=ApprovalPolicy.ONE)
    former = connection_between(sandbox.world, SOURCE, SINK)
    sandbox.world.remove_connection(connection_id=former.id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    first, last = ((clock.at + timedelta(days=days)).date() for days in (3, 9))
    query = {
        "source": f"{credential.site}/{former.source_org.id}",
        "destination": f"{credential.site}/{former.sink_org.id}",
    }
    create = query | {"kind": "create", "until": first.isoformat()}
    address = request_approve_and_confirm(open_as, people, create, button="Create connection")
    given = AccessRequest.objects.get()
    created = connection_between(sandbox.world, SOURCE, SINK)
    assert (given.outcome, str(given.connection_id)) == ("created", created.id)
    assert given.policy == ApprovalPolicy.ONE

    clock.advance(minutes=1)
    due.run_due(actor=WORKER)
    given.refresh_from_db()
    assert given.verified_at == clock.at

    extend = query | {"kind": "extend", "until": last.isoformat()}
    request_approve_and_confirm(open_as, people, extend, button="Extend access")
    extension = AccessRequest.objects.get(kind=RequestKind.EXTEND)
    assert (extension.outcome, extension.ends_on) == ("extended", last)

    # Its first end passes, and then the later one.
    clock.advance(hours=24 * 5)
    assert ending.end_due(actor=WORKER) == []
    clock.advance(hours=24 * 5)
    assert ending.end_due(actor=WORKER) == [extension]
    clock.advance(minutes=1)
    due.run_due(actor=WORKER)
    extension.refresh_from_db()
    assert extension.deletion
    assert extension.deletion.verified_at == clock.at

    page = open_as(people[0])
    page.goto(f"/access-requests/{extension.pk}/")
    outcome_of(page, state="settled", outcome="extended")
    page.get_by_role("link", name="View deletion").first.click()
    outcome_of(page, state="settled", outcome="deleted")
    expect(page.locator("#outcome")).to_contain_text("Org Admin")
    page.goto(address)
    outcome_of(page, state="settled", outcome="created")

    made = make(filters=HistoryFilter(connection_id=given.connection_id))
    verdict = run_verifier(made.data, tmp_path / "elsewhere")
    assert verdict.code == 0, verdict.text
    sent = [request.method for request in sandbox.world.requests() if request.method != "GET"]
    assert sent == ["POST", "DELETE"]


def test_what_is_typed_while_the_orgs_of_a_site_are_read_stays(open_demo_as: OpenAs):
    page = open_demo_as("viewer")
    page.goto("/access-requests/new/")
    held: list[Route] = []
    page.route("**/access-requests/new/?*choosing*", lambda route: held.append(route), times=1)
    with page.expect_request("**/access-requests/new/?*choosing*"):
        page.get_by_label("Whose data").fill("Group SOC")
        page.get_by_label("Whose data").blur()
    page.get_by_label("Who queries it").fill("Cards EU")
    held[0].continue_()
    expect(page.locator("#destination-label")).to_contain_text("orgs on")
    expect(page.get_by_label("Who queries it")).to_have_value("Cards EU")
    expect(page.locator("#destination-orgs option[value^='Group SOC ']")).to_have_count(0)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Create Group SOC")
