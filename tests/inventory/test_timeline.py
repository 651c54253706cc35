"""The timeline of one connection on its page."""

import re
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.deletions import comments
from connections.inventory import contradictions, protections, syncs
from connections.models import (
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Outcome,
    Person,
)
from connections.web.inventory import timeline
from sandbox.entities import Connection
from sandbox.faults import RETURNS_500
from sandbox.server import SandboxServer
from tests.flows.support import Page, Requester, read, store_credential
from tests.inventory.support import links_in
from tests.support.sandbox import connection_between

ClientOf = Callable[[Person], Client]


@pytest.fixture
def connection(sandbox: SandboxServer) -> Connection:
    return connection_between(sandbox.world, "Payments US", "Group SOC")


@pytest.fixture
def requester(
    client_of: ClientOf, ada: Person, payments: Credential, connection: Connection
) -> Requester:
    return Requester(client=client_of(ada), credential=payments, connection=connection)


def open_timeline(client: Client, connection: Connection) -> Page:
    return read(client.get(f"/connections/{connection.source_org.site.name}/{connection.id}/"))


def sync_again(*credentials: Credential) -> None:
    syncs.sync_credentials(credentials=list(credentials), actor=command_actor())


def timeline_in(page: Page) -> list[str]:
    """The titles of its timeline, in order."""
    life = page.html.split("Timeline</h2>")[1].split("</section>")[0]
    titles = re.findall(r'<div class="timeline-title">(.*?)</div>', life, re.DOTALL)
    return [re.sub(r"<[^>]+>", "", title).strip() for title in titles]


def in_order(found: list[str], *wanted: str) -> bool:
    """Whether all these titles are there, in this order."""
    places = iter(found)
    return all(any(title == place for place in places) for title in wanted)


def test_the_timeline_runs_from_the_first_sync_to_the_verified_deletion(
    sandbox: SandboxServer, requester: Requester, payments: Credential, connection: Connection
):
    sandbox.world.change_connection(connection_id=connection.id, connection_types=("logs",))
    sync_again(payments)
    assert requester.delete_and_verify().outcome["data-outcome"] == "deleted"
    titles = timeline_in(open_timeline(requester.client, connection))
    assert in_order(
        titles,
        "Created in Datadog",
        "First seen by Org Admin",
        "Narrowed",
        "Requested",
        "Confirmed",
        "Sending, attempt 1",
        "Deleted",
        "Verified",
    )
    [deletion] = Deletion.objects.all()
    assert titles.count(f"Removed by {deletion.requested_by_name}") == 1
    assert not {"Listed", "Last listed"} & set(titles)


def test_a_version_that_no_complete_sync_compared_shows_what_differs(
    requester: Requester, payments: Credential, connection: Connection
):
    listed = payments.snapshots.get(connection_id=connection.id)
    created = listed.connection_created_at
    payments.snapshots.filter(pk=listed.pk).update(is_current=False)
    listed.pk, listed.first_seen_at = None, listed.first_seen_at + timedelta(seconds=1)
    listed.connection_types, listed.creator_name = [], ""
    listed.source_org_name, listed.connection_created_at = "Renamed", None
    listed.creator_is_disabled, listed.creator_is_service_account = True, False
    listed.save(force_insert=True)
    assert (
        "Source org: Payments US → Renamed; Data types: logs, metrics → none; "
        f"Created: {created:%Y-%m-%d %H:%M:%S} UTC → unknown; Creator: Dana Keller → unknown; "
        "Creator disabled: no → yes"
    ) in open_timeline(requester.client, connection).text


def test_until_a_sync_lacks_it_a_deleted_connection_was_last_listed_just_before_sending(
    requester: Requester, payments: Credential, connection: Connection
):
    requester.delete()
    Credential.objects.update(retired_at=timezone.now())
    titles = timeline_in(open_timeline(requester.client, connection))
    # The pre-send check: it is shown here and stored nowhere else.
    assert in_order(titles, "Confirmed", "Last listed", "Sending, attempt 1", "Deleted")


def test_each_entry_has_its_time_its_person_and_a_link_to_its_deletion(
    requester: Requester, client_of: ClientOf, edith: Person, connection: Connection
):
    requester.delete()
    deletion = requester.deletion()
    page = open_timeline(requester.client, connection)
    assert (f"/deletions/{deletion.pk}/", "Requested") in links_in(page.html)
    [event] = [
        event
        for event in audit.events_of(subject=deletion)
        if event.code == audit.EventCode.DELETION_REQUESTED
    ]
    assert f"{event.at:%H:%M:%S} UTC · Ada · #{event.seq}" in page.text
    assert f'href="/audit/{event.seq}/"' not in page.html
    page = open_timeline(client_of(edith), connection)
    assert f'href="/audit/{event.seq}/"' in page.html


def test_declined_and_withdrawn_deletions_are_shown_with_their_reasons(
    requester: Requester,
    client_of: ClientOf,
    linus: Person,
    payments: Credential,
    connection: Connection,
):
    Credential.objects.filter(pk=payments.pk).update(policy=ApprovalPolicy.ONE)
    requester.client.post("/deletions/new/", requester.typed())
    other = Requester(client=client_of(linus), credential=payments, connection=connection)
    page = other.open(f"/deletions/{requester.deletion().pk}/")
    other.press(page, "/decline/", reason="Still needed by the SOC.")
    requester.client.post("/deletions/new/", requester.typed())
    latest = Deletion.objects.latest("requested_at")
    requester.press(requester.open(f"/deletions/{latest.pk}/"), "/withdraw/")
    page = open_timeline(requester.client, connection)
    assert in_order(
        timeline_in(page),
        "Requested",
        "Declined",
        "Requested",
        "Withdrawn",
        "Listed",
    )
    assert "“Still needed by the SOC.”" in page.text


def test_an_unknown_outcome_and_its_later_result_are_shown(
    sandbox: SandboxServer, requester: Requester, connection: Connection
):
    sandbox.world.set_fault(fault=RETURNS_500, connection_id=connection.id)
    page = requester.delete()
    requester.press(
        requester.open(page.outcome["data-record-url"]), "/close/", reason="Nobody knows."
    )
    titles = timeline_in(open_timeline(requester.client, connection))
    assert in_order(titles, "Requested", "Sending, attempt 1", "Outcome unknown", "Unresolved")


def test_a_connection_listed_again_under_the_same_id_is_shown_as_such(
    sandbox: SandboxServer, requester: Requester, payments: Credential, connection: Connection
):
    soc = store_credential(sandbox, "Group SOC")
    requester.delete()
    sync_again(payments, soc)
    seen = OrgConnectionSnapshot.objects.filter(connection_id=connection.id).order_by("pk")
    assert not seen.filter(is_current=True).exists()
    deletion = requester.deletion()
    for old in list(seen):
        at = timezone.now() + timedelta(minutes=5)
        copy = {name: getattr(old, name) for name in ("credential", "site", "digest")}
        OrgConnectionSnapshot.objects.create(
            connection_id=old.connection_id,
            first_seen_at=at,
            last_seen_at=at,
            **copy,
            **old.snapshot_values(),
        )
    with audit.atomic():
        contradictions.flag_contradiction(
            deletion=deletion,
            at=timezone.now() + timedelta(minutes=5),
            listed_by="Group SOC",
            actor=command_actor(),
        )
    titles = timeline_in(open_timeline(requester.client, connection))
    assert titles.count("Listed again with the same ID") == 1
    assert "Datadog still lists it" in titles
    assert titles[-1] == "Listed"


def successor_of(connection: Connection, *, minutes: int) -> OrgConnectionSnapshot:
    """Another connection of the same two orgs, first seen that many minutes later."""
    old = OrgConnectionSnapshot.objects.filter(connection_id=connection.id).latest("pk")
    at = old.last_seen_at + timedelta(minutes=minutes)
    values = old.snapshot_values() | {"connection_created_at": at}
    return OrgConnectionSnapshot.objects.create(
        credential=old.credential,
        site=old.site,
        connection_id=uuid4(),
        digest=old.digest,
        first_seen_at=at,
        last_seen_at=at,
        **values,
    )


def test_a_connection_links_to_the_first_one_that_replaced_it(
    requester: Requester, payments: Credential, connection: Connection
):
    requester.delete()
    sync_again(payments)
    new = successor_of(connection, minutes=9)
    successor_of(connection, minutes=90)
    page = open_timeline(requester.client, connection)
    new_url = f"/connections/{new.site}/{new.connection_id}/"
    assert (new_url, "Recreated as another connection") in links_in(page.html)


def test_a_connection_that_is_still_listed_has_no_successor(
    requester: Requester, connection: Connection, payments: Credential
):
    successor_of(connection, minutes=9)
    assert "Recreated as" not in open_timeline(requester.client, connection).text


def test_protecting_and_unprotecting_are_shown(
    requester: Requester, ada: Person, linus: Person, connection: Connection
):
    key = OrgConnectionKey(site=connection.source_org.site.name, connection_id=UUID(connection.id))
    held = protections.protect_connection(
        actor=person_actor(person=ada), key=key, reason="The SOC needs it."
    )
    protections.remove_protection(
        actor=person_actor(person=linus), protection=held, reason="Not any more."
    )
    page = open_timeline(requester.client, connection)
    assert in_order(
        timeline_in(page), "First seen by Org Admin", "Protected", "Protection removed", "Listed"
    )
    assert "“Not any more.”" in page.text


def test_comments_are_shown(requester: Requester, connection: Connection, edith: Person):
    requester.delete()
    comments.comment_on_deletion(
        deletion=requester.deletion(), actor=person_actor(person=edith), text="Seen\nand agreed."
    )
    page = open_timeline(requester.client, connection)
    assert "Commented" in timeline_in(page)
    assert "“Seen<br>and agreed.”" in page.html


def test_a_connection_that_was_never_seen_shows_its_deletions(
    requester: Requester, payments: Credential
):
    nobody = uuid4()
    deletion = Deletion.objects.create(
        request_id=uuid4(),
        site=payments.site,
        connection_id=nobody,
        credential=payments,
        credential_name=payments.name,
        is_reviewed=False,
        digest="",
        reason="Passed on.",
        policy=ApprovalPolicy.NONE,
        state="settled",
        outcome=Outcome.ALREADY_ABSENT,
        requested_at=timezone.now(),
        requested_by_name="Ada",
        settled_at=timezone.now(),
        search_text="",
    )
    audit.record(
        code=audit.EventCode.DELETION_REQUESTED,
        actor=command_actor(),
        subject=deletion,
        sentence=audit.Sentence("Asked."),
    )
    page = read(requester.client.get(f"/connections/{payments.site}/{nobody}/"))
    assert page.status == 200
    assert "No sync has listed it." in page.text
    assert timeline_in(page)[0] == "Requested"
    assert "Visible to" not in page.text


def test_a_long_timeline_shows_its_start_and_end_and_folds_the_rest(
    requester: Requester, connection: Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(timeline, "SHOWN_FIRST", 2)
    monkeypatch.setattr(timeline, "SHOWN_LAST", 2)
    requester.delete_and_verify()
    page = open_timeline(requester.client, connection)
    titles = timeline_in(page)
    assert f"Show {len(titles) - 4} more" in page.text
    assert titles[:2] == ["Created in Datadog", "First seen by Org Admin"]
    assert titles[-1] == "Verified"


def test_the_number_of_queries_does_not_depend_on_the_number_of_deletions(
    requester: Requester,
    connection: Connection,
    payments: Credential,
    django_assert_max_num_queries: DjangoAssertNumQueries,
):
    Credential.objects.filter(pk=payments.pk).update(policy=ApprovalPolicy.ONE)
    for _ in range(4):
        requester.client.post("/deletions/new/", requester.typed())
        latest = Deletion.objects.latest("requested_at")
        requester.press(requester.open(f"/deletions/{latest.pk}/"), "/withdraw/")
    assert Deletion.objects.filter(connection_id=UUID(connection.id)).count() == 4
    with django_assert_max_num_queries(18):
        page = open_timeline(requester.client, connection)
    assert timeline_in(page).count("Withdrawn") == 4
