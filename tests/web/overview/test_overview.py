"""The overview: what needs attention, and facts."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections.access.actor import person_actor
from connections.models import (
    AccessKind,
    Approval,
    Batch,
    Credential,
    CredentialAccess,
    Deletion,
    OrgConnectionSnapshot,
    Person,
)
from connections.operations import heartbeats
from connections.web.overview.attention import Item, Situation
from connections.web.overview.kinds import find_items
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.support import add_connections, draft, sync_now
from tests.flows.support import Page, read, store_credential
from tests.support.sandbox import key_pair_of
from tests.support.undo import undone

ClientOf = Callable[[Person], Client]


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU")


def add_deletion(
    credential: Credential,
    *,
    by: Person | None,
    age: timedelta = timedelta(minutes=14),
    **fields: Any,
) -> Deletion:
    """Store a deletion requested that long ago."""
    now = timezone.now()
    settled = {"state": "settled", "settled_at": now} if "outcome" in fields else {}
    values: dict[str, Any] = {
        "request_id": uuid4(),
        "site": credential.site,
        "connection_id": uuid4(),
        "credential": credential,
        "credential_name": credential.name,
        "credential_fingerprint": credential.fingerprint,
        "is_reviewed": True,
        "source_org_name": "Payments EU",
        "sink_org_name": "Group SOC",
        "digest": "",
        "reason": "unused",
        "policy": "none",
        "requested_at": now - age,
        "requested_by": by,
        "requested_by_name": by.display_name if by else "command: root",
        "search_text": "",
    }
    return Deletion.objects.create(**values | settled | fields)


def open_overview(client: Client) -> Page:
    return read(client.get("/"))


def yours(person: Person, client_of: ClientOf) -> list[str]:
    """The lines for this person to act on, as "kind: what it is about, note, verb"."""
    context = client_of(person).get("/").context
    return lines([*context["first"], *context["rest"]])


def others(person: Person, client_of: ClientOf) -> list[str]:
    """The lines that wait for other people."""
    return lines(client_of(person).get("/").context["others"])


def lines(items: list[Item]) -> list[str]:
    return [f"{item.badge.label}: {about(item)}, {item.note}, {item.action}" for item in items]


def about(item: Item) -> str:
    pair = item.pair
    return f"{pair.source_org_name} to {pair.sink_org_name}" if pair else item.name


def listed_id() -> UUID:
    return OrgConnectionSnapshot.objects.get(is_current=True).connection_id


def test_an_overview_with_nothing_to_do_is_three_lines_of_facts(
    client_of: ClientOf, victor: Person, labs: Credential
):
    clear = "No unknown outcomes; all credentials work."
    without_worker = open_overview(client_of(victor)).text
    assert clear in without_worker
    assert "All clear." not in without_worker
    heartbeats.record_heartbeat(name="one", host="here", process_id=1)
    text = open_overview(client_of(victor)).text
    assert f"All clear. {clear} Since yesterday" in text
    assert "1 connection 2 orgs, 1 has no credential Synced just now Audit log not verified" in text
    assert "Waiting on others" not in text
    assert "Changed in 7 days" not in text


NOW = timezone.now()
PAYMENTS = "Payments EU to Group SOC"


OUTCOMES: list[tuple[dict[str, Any], str | None]] = [
    ({"state": "unknown"}, f"Outcome unknown: {PAYMENTS}, Requested by Ada, Check outcome"),
    (
        {"state": "still_present", "ticket": "OPS-1"},
        f"No effect: {PAYMENTS}, OPS-1 · Requested by Ada, Resolve",
    ),
    ({"outcome": "deleted"}, f"Deleted, unverified: {PAYMENTS}, Requested by Ada, Check again"),
    (
        {"state": "unknown", "is_reviewed": False, "connection_id": UUID(int=42)},
        "Outcome unknown: Connection …0000002a, Requested by Ada, Check outcome",
    ),
    ({"outcome": "deleted", "verified_at": NOW}, None),
    ({"outcome": "deleted", "due_at": NOW}, None),
]


def test_an_outcome_needs_people_who_can_check_it_and_is_shown_to_everyone(
    client_of: ClientOf, victor: Person, grace: Person, ada: Person, labs: Credential
):
    for fields, line in OUTCOMES:
        with undone():
            add_deletion(labs, by=ada, **fields)
            expected = [line] if line else []
            assert yours(grace, client_of) == expected
            assert yours(victor, client_of) == []
            assert others(victor, client_of) == expected
            text = open_overview(client_of(victor)).text
            assert ("Nothing for you to do." in text) == bool(line)
            assert ("No unknown outcomes" in text) != bool(line)


def test_a_bulk_deletion_has_one_line_for_each_open_outcome_that_counts_its_deletions(
    client_of: ClientOf, ada: Person, labs: Credential, sandbox: SandboxServer
):
    keys = add_connections(sandbox, 3, source="Labs EU")
    sync_now(labs)
    batch = draft(ada, keys)
    for row, state in zip(batch.rows.all(), ["unknown", "unknown", "still_present"], strict=True):
        add_deletion(labs, by=ada, state=state, batch=batch, batch_row=row)
    add_deletion(labs, by=ada, state="unknown")
    Batch.objects.update(requested_by_name="Ada", ticket="OPS-1")
    assert set(yours(ada, client_of)) == {
        f"Outcome unknown: {PAYMENTS}, Requested by Ada, Check outcome",
        *(
            f"{count}: Selected connections, Bulk deletion · OPS-1 · Requested by Ada, View "
            "deletions"
            for count in ("2 of 3 unknown", "1 of 3 had no effect")
        ),
    }
    assert f'href="/deletions/batches/{batch.pk}/"' in open_overview(client_of(ada)).html


def test_people_not_on_the_use_list_are_not_asked_to_check(
    client_of: ClientOf, ada: Person, grace: Person, labs: Credential
):
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.USE, person=ada)
    unknown = add_deletion(labs, by=ada, state="unknown")
    add_deletion(labs, by=grace, policy="one", state="approved")
    check = f"/deletions/{unknown.pk}/reconcile/"
    assert read(client_of(ada).get(f"/deletions/{unknown.pk}/")).has_form_to(check)
    assert not read(client_of(grace).get(f"/deletions/{unknown.pk}/")).has_form_to(check)
    assert [line[:7] for line in yours(ada, client_of)] == ["Outcome"]
    assert yours(grace, client_of) == []
    assert [line[:7] for line in others(grace, client_of)] == ["Outcome", "Approve"]


def test_a_contradiction_needs_attention_while_it_is_still_listed(
    client_of: ClientOf, ada: Person, labs: Credential
):
    add_deletion(labs, by=ada, outcome="deleted", contradicted_at=NOW, connection_id=listed_id())
    assert yours(ada, client_of) == [f"Still listed: {PAYMENTS}, Requested by Ada, Check again"]
    OrgConnectionSnapshot.objects.update(is_current=False)
    assert yours(ada, client_of) == []


def test_a_connection_with_a_newer_unknown_deletion_is_listed_once(
    client_of: ClientOf, ada: Person, labs: Credential
):
    before: dict[str, Any] = {"outcome": "deleted", "contradicted_at": NOW}
    add_deletion(labs, by=ada, connection_id=listed_id(), **before)
    add_deletion(labs, by=ada, connection_id=listed_id(), state="still_present")
    assert yours(ada, client_of) == [f"No effect: {PAYMENTS}, Requested by Ada, Resolve"]


def test_a_deletion_waiting_for_approval_needs_only_other_approvers(
    client_of: ClientOf, ada: Person, linus: Person, victor: Person, root: Person, labs: Credential
):
    add_deletion(labs, by=ada, policy="one")
    add_deletion(labs, by=root, policy="one", sink_org_name="Data Lake")
    line = f"Needs approval: {PAYMENTS}, Ada: “unused”, Decide…"
    own = "Needs approval: Payments EU to Data Lake, Root: “unused”, Decide…"
    assert yours(linus, client_of) == [line, own]
    for person in (ada, victor):
        assert (yours(person, client_of), others(person, client_of)) == ([], [line, own])
    assert (yours(root, client_of), others(root, client_of)) == ([line], [own])


def test_people_not_on_the_approve_list_are_not_asked_to_approve(
    client_of: ClientOf, ada: Person, linus: Person, root: Person, labs: Credential
):
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.APPROVE, person=root)
    add_deletion(labs, by=ada, policy="one")
    assert len(yours(root, client_of)) == 1
    assert yours(linus, client_of) == []


def test_an_approver_is_not_asked_twice(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
):
    deletion = add_deletion(labs, by=ada, policy="two")
    Approval.objects.create(
        deletion=deletion,
        approver=linus,
        requester=ada,
        decision=Approval.Decision.APPROVED,
        decided_at=timezone.now(),
    )
    assert yours(linus, client_of) == []
    assert len(others(linus, client_of)) == 1


def test_break_glass_needs_an_approver_who_neither_used_nor_requested_it(
    client_of: ClientOf, ada: Person, linus: Person, grace: Person, labs: Credential
):
    broken: dict[str, Any] = {
        "break_glass_at": NOW,
        "break_glass_by": grace,
        "break_glass_by_name": "Grace",
        "break_glass_reason": "x" * 30,
    }
    add_deletion(labs, by=ada, policy="one", outcome="deleted", verified_at=NOW, **broken)
    line = f"Late approval due: {PAYMENTS}, Break glass used by Grace, Decide…"
    assert yours(linus, client_of) == [line]
    assert others(grace, client_of) == [line]


def test_what_expires_first_comes_first(
    client_of: ClientOf, ada: Person, grace: Person, labs: Credential
):
    for hours, sink in ((3, "Later"), (1, "Sooner")):
        expires_at = timezone.now() + timedelta(hours=hours)
        add_deletion(
            labs, by=ada, policy="one", state="approved", expires_at=expires_at, sink_org_name=sink
        )
    add_deletion(labs, by=ada, state="unknown", sink_org_name="Unknown")
    expected = ["Outcome unknown: Payments EU to Unknown, Requested by Ada, Check outcome"] + [
        f"Approved: Payments EU to {sink}, Requested by Ada, Confirm…"
        for sink in ("Sooner", "Later")
    ]
    assert yours(ada, client_of) == expected
    assert "expires in 1 h" in open_overview(client_of(ada)).text
    assert [line[:8] for line in others(grace, client_of)] == ["Approved", "Approved"]


def test_a_failing_credential_needs_its_managers(
    client_of: ClientOf, ada: Person, margaret: Person, sandbox: SandboxServer, labs: Credential
):
    client = client_of(ada)
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    assert client.post("/connections/refresh/", {"back": "overview"})["Location"] == "/"
    assert yours(margaret, client_of) == []
    client.post("/connections/refresh/", {"back": "overview"})
    [line] = yours(margaret, client_of)
    assert line == "Keys rejected: Labs EU, 403 Forbidden, View credential"
    assert others(ada, client_of) == [line]
    assert "Not synced yet" in open_overview(client).text
    store_credential(sandbox, "Payments US")
    page = open_overview(client)
    assert "Synced just now , 1 org not synced" in page.text
    assert 'href="/orgs/?show=failing"' in page.html


def test_orgs_that_fail_for_the_same_reason_are_one_line(
    client_of: ClientOf, ada: Person, margaret: Person, sandbox: SandboxServer
):
    for name in ("Payments US", "Group SOC"):
        store_credential(sandbox, name)
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    for _ in range(2):
        client_of(ada).post("/connections/refresh/")
    [line] = yours(margaret, client_of)
    assert line == "Keys rejected: 2 orgs on sandbox-us1, 403 Forbidden, View orgs"
    page = open_overview(client_of(margaret))
    assert 'href="/orgs/?show=failing&amp;site=sandbox-us1"' in page.html


def test_more_than_ten_items_are_folded_and_more_of_a_kind_link_to_their_list(
    client_of: ClientOf, ada: Person, labs: Credential
):
    for _ in range(13):
        add_deletion(labs, by=ada, state="unknown")
    add_deletion(labs, by=ada, policy="one", state="approved")
    context = client_of(ada).get("/").context
    assert (context["count"], len(context["first"])) == (14, 10)
    assert [line.partition(",")[0] for line in lines(context["rest"])] == [
        "More: 3 unknown outcomes",
        f"Approved: {PAYMENTS}",
    ]
    page = open_overview(client_of(ada))
    assert "Needs your attention 14" in page.text
    assert "Show all 14" in page.text
    assert 'href="/deletions/?status=unknown"' in page.html


def test_without_a_credential_managers_see_the_form(client_of: ClientOf, margaret: Person):
    page = open_overview(client_of(margaret))
    assert "Connect your first Datadog org" in page.text
    form = page.form_to("/credentials/new/")
    assert {"name", "api_key", "application_key"} <= set(form.fields)
    assert 'href="/credentials/import/"' in page.html


def test_without_a_credential_others_see_who_can_add_one(
    client_of: ClientOf, victor: Person, root: Person
):
    page = open_overview(client_of(victor))
    assert "once a Credential manager adds the keys of a Datadog org. Ask Root." in page.text
    assert not page.has_form_to("/credentials/new/")


def test_people_without_the_refresh_permission_see_no_button(
    client_of: ClientOf, victor: Person, ada: Person, labs: Credential
):
    assert not open_overview(client_of(victor)).has_form_to("/connections/refresh/")
    assert open_overview(client_of(ada)).has_form_to("/connections/refresh/")


def test_while_nothing_waits_one_statement_says_so_for_nearly_all_kinds(
    ada: Person, django_assert_num_queries: DjangoAssertNumQueries
):
    situation = Situation(actor=person_actor(person=ada), now=timezone.now(), credentials=[])
    # The others find the hold, the clock, the newest verification and failing credentials.
    with django_assert_num_queries(5):
        assert find_items(situation) == []
