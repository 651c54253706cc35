"""The overview: what needs attention, and coverage."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections.models import (
    AccessKind,
    Approval,
    Credential,
    CredentialAccess,
    Deletion,
    OrgConnectionSnapshot,
    Person,
    Sync,
)
from sandbox.server import SandboxServer
from tests.access_reviews.support import decide, start
from tests.batches.support import draft
from tests.flows.support import Page, read, store_credential
from tests.support.sandbox import key_pair_of

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


def attention_items(person: Person, client_of: ClientOf) -> str:
    """The items that need this person's attention."""
    text = open_overview(client_of(person)).text.partition("Needs your attention")[2]
    return text.partition("Waiting on others")[0]


def waits_for_others(person: Person, client_of: ClientOf) -> str:
    text = open_overview(client_of(person)).text
    return text.partition("Waiting on others")[2]


def listed_id() -> UUID:
    return OrgConnectionSnapshot.objects.get(is_current=True).connection_id


def test_an_empty_overview_says_that_nothing_needs_attention(
    client_of: ClientOf, victor: Person, labs: Credential
) -> None:
    page = open_overview(client_of(victor))
    assert "All clear. No unknown outcomes; all credentials work." in page.text
    assert "1 connection" in page.text
    assert "1 org 1 site" in page.text
    assert "1 more org without a credential" in page.text
    assert "Oldest sync " in page.text


@pytest.mark.parametrize(
    ("fields", "badge"),
    [
        ({"state": "unknown"}, "Unknown"),
        ({"state": "still_present"}, "No effect"),
        ({"outcome": "deleted"}, "Deleted, unverified"),
    ],
)
def test_an_unknown_deletion_needs_people_who_can_check_it_and_is_shown_to_everyone(
    client_of: ClientOf,
    victor: Person,
    grace: Person,
    ada: Person,
    labs: Credential,
    fields: dict[str, Any],
    badge: str,
) -> None:
    add_deletion(labs, by=ada, **fields)
    todo = f"{badge} · Payments EU → Group SOC Requested by Ada 14 min ago"
    assert todo in attention_items(grace, client_of)
    assert "Nothing you can act on." in attention_items(victor, client_of)
    assert todo in waits_for_others(victor, client_of)


def test_a_bulk_deletion_has_one_line_for_all_its_unknown_deletions(
    client_of: ClientOf, ada: Person, labs: Credential
) -> None:
    batch = draft(ada, [snapshot.key.reference for snapshot in labs.snapshots.all()[:2]])
    for row in batch.rows.all():
        add_deletion(labs, by=ada, state="unknown", batch=batch, batch_row=row)
    add_deletion(labs, by=ada, state="unknown")
    items = attention_items(ada, client_of)
    assert items.count("Unknown ·") == 2
    assert items.count("Bulk deletion: Unknown · Selected connections Requested by Ada") == 1
    assert f'href="/deletions/batches/{batch.pk}/"' in open_overview(client_of(ada)).html


def test_people_not_on_the_use_list_are_not_asked_to_check(
    client_of: ClientOf, ada: Person, grace: Person, labs: Credential
) -> None:
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.USE, person=ada)
    unknown = add_deletion(labs, by=ada, state="unknown")
    add_deletion(labs, by=grace, policy="one", state="approved")
    check = f"/deletions/{unknown.pk}/reconcile/"
    assert read(client_of(ada).get(f"/deletions/{unknown.pk}/")).has_form_to(check)
    assert not read(client_of(grace).get(f"/deletions/{unknown.pk}/")).has_form_to(check)
    assert "Unknown ·" in attention_items(ada, client_of)
    assert "Nothing you can act on." in attention_items(grace, client_of)
    assert "Unknown ·" in waits_for_others(grace, client_of)
    assert "Approved ·" in waits_for_others(grace, client_of)


@pytest.mark.parametrize("fields", [{"verified_at": timezone.now()}, {"due_at": timezone.now()}])
def test_a_200_that_is_verified_or_being_verified_needs_no_attention(
    client_of: ClientOf, ada: Person, labs: Credential, fields: dict[str, Any]
) -> None:
    add_deletion(labs, by=ada, outcome="deleted", **fields)
    assert "All clear." in open_overview(client_of(ada)).text


def test_a_contradiction_needs_attention_while_it_is_still_listed(
    client_of: ClientOf, ada: Person, labs: Credential
) -> None:
    now = timezone.now()
    add_deletion(labs, by=ada, outcome="deleted", contradicted_at=now, connection_id=listed_id())
    client = client_of(ada)
    assert "Still listed ·" in open_overview(client).text
    OrgConnectionSnapshot.objects.update(is_current=False)
    assert "Still listed ·" not in open_overview(client).text


def test_a_connection_with_a_newer_unknown_deletion_is_listed_once(
    client_of: ClientOf, ada: Person, labs: Credential
) -> None:
    before: dict[str, Any] = {"outcome": "deleted", "contradicted_at": timezone.now()}
    add_deletion(labs, by=ada, connection_id=listed_id(), **before)
    add_deletion(labs, by=ada, connection_id=listed_id(), state="still_present")
    text = open_overview(client_of(ada)).text
    assert "No effect · Payments EU" in text
    assert "Still listed ·" not in text


def test_a_deletion_waiting_for_approval_needs_only_other_approvers(
    client_of: ClientOf, ada: Person, linus: Person, victor: Person, root: Person, labs: Credential
) -> None:
    add_deletion(labs, by=ada, policy="one")
    add_deletion(labs, by=root, policy="one", sink_org_name="Data Lake")
    todo, own = (f"Needs approval · Payments EU → {sink}" for sink in ("Group SOC", "Data Lake"))
    assert todo in attention_items(linus, client_of)
    for person in (ada, victor):
        assert todo not in attention_items(person, client_of)
        assert todo in waits_for_others(person, client_of)
    assert todo in attention_items(root, client_of)
    assert own in waits_for_others(root, client_of)


def test_people_not_on_the_approve_list_are_not_asked_to_approve(
    client_of: ClientOf, ada: Person, linus: Person, root: Person, labs: Credential
) -> None:
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.APPROVE, person=root)
    add_deletion(labs, by=ada, policy="one")
    assert "Needs approval" in attention_items(root, client_of)
    assert "Needs approval" not in attention_items(linus, client_of)


def test_an_approver_is_not_asked_twice(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
) -> None:
    deletion = add_deletion(labs, by=ada, policy="two")
    Approval.objects.create(
        deletion=deletion,
        approver=linus,
        requester=ada,
        decision=Approval.Decision.APPROVED,
        decided_at=timezone.now(),
    )
    assert "Needs approval" not in attention_items(linus, client_of)
    assert "Needs approval" in waits_for_others(linus, client_of)


def test_break_glass_needs_review_by_an_approver_who_neither_used_nor_requested_it(
    client_of: ClientOf, ada: Person, linus: Person, grace: Person, labs: Credential
) -> None:
    broken: dict[str, Any] = {
        "break_glass_at": timezone.now(),
        "break_glass_by": grace,
        "break_glass_reason": "x" * 30,
    }
    add_deletion(
        labs, by=ada, policy="one", outcome="deleted", verified_at=timezone.now(), **broken
    )
    assert "Late approval due" in attention_items(linus, client_of)
    assert "Late approval due" in waits_for_others(grace, client_of)


def test_an_approved_deletion_needs_its_requester(
    client_of: ClientOf, ada: Person, grace: Person, labs: Credential
) -> None:
    add_deletion(labs, by=ada, policy="one", state="approved")
    todo = "Approved · Payments EU → Group SOC"
    assert todo in attention_items(ada, client_of)
    assert todo in waits_for_others(grace, client_of)


def test_a_failing_credential_needs_its_managers(
    client_of: ClientOf, ada: Person, margaret: Person, sandbox: SandboxServer, labs: Credential
) -> None:
    sandbox.world.revoke(key_pair_of(sandbox.world, "Labs EU"))
    client = client_of(ada)
    response = client.post("/connections/refresh/", {"back": "overview"})
    assert response["Location"] == "/"
    assert "Sync failed 1 of 1 credential, oldest sync just now" in open_overview(client).text
    todo = "Failing · Labs EU"
    assert todo in attention_items(margaret, client_of)
    assert todo in waits_for_others(ada, client_of)


def test_a_credential_that_was_never_synced_does_not_count_as_synced(
    client_of: ClientOf, victor: Person, sandbox: SandboxServer, labs: Credential
) -> None:
    store_credential(sandbox, "Payments US", is_read=False)
    assert (
        "Synced 1 of 2 credentials, oldest sync just now" in open_overview(client_of(victor)).text
    )


def test_before_the_first_sync_all_credentials_count_as_never_synced(
    client_of: ClientOf, victor: Person, sandbox: SandboxServer, db: None
) -> None:
    store_credential(sandbox, "Labs EU", is_read=False)
    assert "Never synced 1 credential" in open_overview(client_of(victor)).text


def test_more_than_five_of_a_kind_link_to_the_history(
    client_of: ClientOf, ada: Person, labs: Credential
) -> None:
    for _ in range(7):
        add_deletion(labs, by=ada, state="unknown")
    page = open_overview(client_of(ada))
    assert page.text.count("Unknown · Payments EU") == 5
    assert 'href="/deletions/?status=unknown"' in page.html


def test_without_a_credential_managers_see_the_form(client_of: ClientOf, margaret: Person) -> None:
    page = open_overview(client_of(margaret))
    assert "Connect your first Datadog org" in page.text
    form = page.form_to("/credentials/new/")
    assert {"name", "api_key", "application_key"} <= set(form.fields)
    assert 'href="/credentials/import/"' in page.html


def test_without_a_credential_others_see_who_can_add_one(
    client_of: ClientOf, victor: Person, root: Person
) -> None:
    page = open_overview(client_of(victor))
    assert "once a Credential manager adds the keys of a Datadog org. Ask Root." in page.text
    assert not page.has_form_to("/credentials/new/")


def test_people_without_the_refresh_permission_see_no_button(
    client_of: ClientOf, victor: Person, ada: Person, labs: Credential
) -> None:
    assert not open_overview(client_of(victor)).has_form_to("/connections/refresh/")
    assert open_overview(client_of(ada)).has_form_to("/connections/refresh/")


def test_a_person_without_a_role_is_refused(
    client_of: ClientOf, stranger: Person, labs: Credential
) -> None:
    assert client_of(stranger).get("/").status_code == 403


@pytest.mark.database
def test_the_number_of_queries_is_bounded(
    client_of: ClientOf,
    root: Person,
    ada: Person,
    labs: Credential,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(8):
        add_deletion(labs, by=ada, policy="one")
        add_deletion(labs, by=ada, state="unknown")
        add_deletion(labs, by=ada, outcome="deleted")
    for _ in range(3):
        decide(start(root), root, decision="delete")
    Sync.objects.update(is_complete=False)
    client = client_of(root)
    with django_assert_max_num_queries(43):
        client.get("/")
