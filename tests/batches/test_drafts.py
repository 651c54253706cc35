"""A plan freezes what matched, shows why a row can't be deleted, and can be changed until then."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from connections.access import visibility
from connections.access.actor import WORKER, person_actor
from connections.batches import confirming, drafts, endings, splitting
from connections.batches.drafts import PlannedConnection, PlanSource
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import InvalidInputError, OvertakenError
from connections.inventory import protections
from connections.inventory.matching import InventoryFilter, KnownOrg
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Batch,
    BatchOrigin,
    BatchRow,
    Credential,
    CredentialAccess,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Outcome,
    Person,
    RowProblem,
    State,
)
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import add_connections, draft, key_of, request, sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import connection_between, org_named

pytestmark = pytest.mark.django_db


def problems(batch: Batch) -> list[str]:
    return [row.problem for row in batch.rows.filter(removed_at=None)]


def credentials(batch: Batch) -> list[Credential | None]:
    return [row.credential for row in batch.rows.filter(removed_at=None)]


@pytest.mark.parametrize("fact", ["sends it", "owns its data", "queries its data", "lists it"])
def test_each_credential_of_a_connection_can_require_approval(fact: str, payments: Credential):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    payments.refresh_from_db()
    ids: dict[str, Any] = {
        "source_org_id": str(uuid4()),
        "sink_org_id": str(uuid4()),
        "connection_id": uuid4(),
    }
    row = BatchRow(position=7, site=payments.site, **ids)
    assert drafts.find_approvals([row]) == {}
    match fact:
        case "sends it":
            row.credential = payments
        case "owns its data":
            row.source_org_id = payments.org_id
        case "queries its data":
            row.sink_org_id = payments.org_id
        case _:
            listed = OrgConnectionSnapshot.objects.filter(credential=payments, is_current=True)
            row.connection_id = listed.earliest("pk").connection_id
    assert drafts.find_approvals([row]) == {payments: {7}}


def test_a_later_connection_is_not_in_a_plan_from_a_filter(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    add_connections(sandbox, 2)
    sync_now(payments)
    filters = InventoryFilter(text="Partner")
    batch = drafts.create_draft_from_filter(
        actor=person_actor(person=ada), filters=filters, filter_text="q=Partner"
    )
    add_connections(sandbox, 1)
    sync_now(payments)
    assert (batch.rows.count(), batch.filter_text) == (2, "q=Partner")


def test_a_plan_to_remove_an_org_has_every_connection_of_that_org_by_its_id(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    org = org_named(sandbox.world, "Payments US")
    twin = sandbox.world.add_org(name="Payments US", site=org.site)
    partner = sandbox.world.add_org(name="Partner", site=org.site)
    sandbox.world.add_key_pair(org=partner)
    sandbox.world.add_connection(source_org=twin, sink_org=partner)
    sync_now(payments, store_credential(sandbox, "Partner"))
    known = KnownOrg(org.site.name, org.id, org.name)
    batch = drafts.create_draft_from_org(actor=person_actor(person=ada), org=known)
    wanted = {key_of(each) for each in sandbox.world.connections(org=org)}
    assert {row.reference for row in batch.rows.all()} == wanted


def test_a_row_says_why_it_can_not_be_deleted_and_blocks_no_other(
    ada: Person, grace: Person, payments: Credential, sandbox: SandboxServer
):
    good, protected, taken = add_connections(sandbox, 3)
    sync_now(payments)
    site, _, connection_id = protected.partition("/")
    protections.protect_connection(
        actor=person_actor(person=grace),
        key=OrgConnectionKey(site=site, connection_id=UUID(connection_id)),
        reason="Billing needs it.",
    )
    request(draft(grace, [taken]), grace)
    unknown = f"{site}/{uuid4()}"
    batch = draft(ada, [good, protected, taken, unknown, "nonsense", good])
    assert problems(batch) == [
        "",
        RowProblem.PROTECTED,
        RowProblem.ALREADY_BEING_DELETED,
        RowProblem.NOT_VISIBLE,
        RowProblem.MALFORMED_ID,
        RowProblem.DUPLICATE,
    ]


@pytest.mark.database
def test_a_text_with_a_nul_is_a_malformed_id(ada: Person, payments: Credential):
    batch = draft(ada, [f"{payments.site}\0/{uuid4()}", "a\0b"])
    assert problems(batch) == [RowProblem.MALFORMED_ID] * 2
    assert batch.rows.filter(text="a\N{REPLACEMENT CHARACTER}b").exists()


def end_as_forbidden(batch: Batch) -> Batch:
    """End a requested bulk deletion as if Datadog had responded 403 to every row."""
    batch.deletions.update(state=State.SENDING, epoch=1)
    refused = {"outcome": Outcome.REFUSED, "cause": Cause.FORBIDDEN, "settled_at": clock.now()}
    batch.deletions.update(state=State.SETTLED, **refused)
    endings.end_due(actor=WORKER)
    batch.refresh_from_db()
    return batch


def test_planning_the_rest_again_takes_as_many_statements_for_many_rows_as_for_few(
    ada: Person, make_draft: MakeDraft
):
    counts = []
    for count in (1, 5):
        batch = end_as_forbidden(request(make_draft(count), ada))
        with CaptureQueriesContext(connection) as queries:
            drafts.create_draft_of_remaining(batch=batch, actor=person_actor(person=ada))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_rest_of_an_org_is_still_confirmed_with_its_name(ada: Person, payments: Credential):
    org = KnownOrg(payments.site, payments.org_id, payments.org_name)
    actor = person_actor(person=ada)
    batch = end_as_forbidden(request(drafts.create_draft_from_org(actor=actor, org=org), ada))
    rest = drafts.create_draft_of_remaining(batch=batch, actor=actor)
    assert (rest.origin, rest.site, rest.org_id) == (BatchOrigin.ORG, org.site, org.org_id)
    assert confirming.text_to_type(rest) == "Payments US"


def test_the_rest_of_a_filter_is_a_selection(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    add_connections(sandbox, 1)
    sync_now(payments)
    actor = person_actor(person=ada)
    batch = drafts.create_draft_from_filter(
        actor=actor, filters=InventoryFilter(text="Partner"), filter_text="q=Partner"
    )
    end_as_forbidden(request(batch, ada))
    rest = drafts.create_draft_of_remaining(batch=batch, actor=actor)
    assert (rest.origin, rest.filter_text) == (BatchOrigin.SELECTION, "")


def test_after_a_403_the_other_orgs_credential_is_preferred(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    org = org_named(sandbox.world, "Payments US")
    again = sandbox.world.add_key_pair(org=org)
    store_credential(sandbox, "Payments US", pair=again, name="Another of Payments US")
    soc = store_credential(sandbox, "Group SOC")
    wanted = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    batch = end_as_forbidden(request(draft(ada, [wanted]), ada))
    rest = drafts.create_draft_of_remaining(batch=batch, actor=person_actor(person=ada))
    assert credentials(rest) == [soc]


def test_a_credential_that_was_never_verified_is_offered(
    ada: Person, payments: Credential, make_draft: MakeDraft
):
    Credential.objects.filter(pk=payments.pk).update(verified_at=None, verification=[])
    assert credentials(make_draft(1)) == [payments]


def test_a_hidden_connection_looks_like_an_unknown_one(
    ada: Person, grace: Person, payments: Credential, sandbox: SandboxServer
):
    [hidden] = add_connections(sandbox, 1)
    sync_now(payments)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.SEE, person=grace)
    batch = draft(ada, [hidden, f"{payments.site}/{uuid4()}"])
    rows = list(batch.rows.all())
    assert problems(batch) == [RowProblem.NOT_VISIBLE] * 2
    assert [(row.source_org_name, row.credential) for row in rows] == [("", None)] * 2


def test_the_source_sides_credential_sends_a_row_and_the_destinations_alone_is_enough(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    wanted = key_of(connection_between(sandbox.world, "Group SOC", "Payments US"))
    assert credentials(draft(ada, [wanted])) == [soc]
    Credential.objects.filter(pk=soc.pk).update(
        verification=[{"check": "permissions", "ok": False, "cause": "write_not_granted"}]
    )
    assert credentials(draft(ada, [wanted])) == [payments]


def test_without_a_credential_that_can_delete_it_a_row_is_not_sent(
    ada: Person, grace: Person, make_draft: MakeDraft, payments: Credential
):
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.USE, person=grace)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.SEE, person=ada)
    assert problems(make_draft(1)) == [RowProblem.NO_CREDENTIAL]


@pytest.mark.parametrize("count", [0, 1_001])
def test_a_plan_has_1_to_1000_rows(ada: Person, count: int):
    with pytest.raises(InvalidInputError, match="connection"):
        draft(ada, ["nonsense"] * count)


def test_the_strictest_policy_of_all_credentials_holds_for_every_row(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    store_credential(sandbox, "Group SOC", policy=ApprovalPolicy.TWO)
    store_credential(sandbox, "Labs EU", policy=ApprovalPolicy.NONE)
    world = sandbox.world
    labs = key_of(connection_between(world, "Labs EU", "Data Lake EU"))
    both = key_of(connection_between(world, "Payments US", "Group SOC"))
    batch = request(draft(ada, [labs, both]), ada)
    assert set(batch.deletions.values_list("policy", flat=True)) == {ApprovalPolicy.TWO}


def test_another_credential_can_send_a_row(
    ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    wanted = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    batch = draft(ada, [wanted])
    digest = batch.digest
    actor = person_actor(person=ada)
    drafts.change_credential(batch=batch, actor=actor, connections=[wanted], credential=soc)
    assert credentials(batch) == [soc]
    assert batch.digest != digest


def test_a_credential_that_does_not_list_a_row_can_not_send_it(
    ada: Person, grace: Person, make_draft: MakeDraft, sandbox: SandboxServer
):
    batch = make_draft(1)
    labs = store_credential(sandbox, "Labs EU")
    to_labs: dict[str, Any] = {"batch": batch, "actor": person_actor(person=ada)}
    to_labs |= {"connections": [row.reference for row in batch.rows.all()], "credential": labs}
    with pytest.raises(InvalidInputError, match="can't delete"):
        drafts.change_credential(**to_labs)
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.USE, person=grace)
    to_labs["actor"] = person_actor(person=Person.objects.get(pk=ada.pk))
    with pytest.raises(PermissionDenied, match="delete connections with it"):
        drafts.change_credential(**to_labs)


def test_rows_can_be_removed_until_one_is_left(ada: Person, make_draft: MakeDraft):
    batch, actor = make_draft(2), person_actor(person=ada)
    first, last = (row.reference for row in batch.rows.all())
    drafts.remove_rows(batch=batch, actor=actor, connections=[first])
    assert drafts.count_sendable(batch) == 1
    with pytest.raises(InvalidInputError, match="at least 1 connection"):
        drafts.remove_rows(batch=batch, actor=actor, connections=[last])


def test_a_draft_can_be_split_by_credential(
    ada: Person, make_draft: MakeDraft, payments: Credential, sandbox: SandboxServer
):
    labs = store_credential(sandbox, "Labs EU")
    planned = [row.reference for row in make_draft(2).rows.all()]
    both = draft(
        ada, [*planned, key_of(connection_between(sandbox.world, "Labs EU", "Data Lake EU"))]
    )
    first, second = splitting.split_draft(batch=both, actor=person_actor(person=ada))
    assert (credentials(first), credentials(second)) == ([payments] * 2, [labs])


def test_only_its_author_changes_a_draft_and_only_for_24_hours(
    ada: Person, grace: Person, make_draft: MakeDraft, clock: SettableClock
):
    batch = make_draft(2)
    key = batch.rows.all()[0].reference
    with pytest.raises(PermissionDenied, match="Only Ada"):
        drafts.remove_rows(batch=batch, actor=person_actor(person=grace), connections=[key])
    clock.advance(hours=24)
    with pytest.raises(OvertakenError, match="expired"):
        drafts.remove_rows(batch=batch, actor=person_actor(person=ada), connections=[key])


def test_a_named_credential_is_preferred(ada: Person, payments: Credential, sandbox: SandboxServer):
    soc = store_credential(sandbox, "Group SOC")
    wanted = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    named = PlannedConnection(text=wanted, credential_id=soc.pk)
    source = PlanSource(origin=BatchOrigin.SELECTION, connections=[named])
    batch = drafts.create_draft(source=source, actor=person_actor(person=ada))
    assert credentials(batch) == [soc]


def test_a_person_sees_a_batch_when_they_see_the_credential_of_every_row(
    ada: Person, make_draft: MakeDraft, payments: Credential, sandbox: SandboxServer
):
    batch = make_draft(1)
    outsider = make_person("outsider")
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.SEE, person=ada)
    assert batch in visibility.visible_batches(actor=person_actor(person=ada))
    assert batch not in visibility.visible_batches(actor=person_actor(person=outsider))


def test_rows_are_frozen_once_requested(ada: Person, make_draft: MakeDraft):
    batch = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    with pytest.raises(IntegrityError, match="can't be changed"):
        BatchRow.objects.filter(batch=batch).update(digest="0" * 64)
