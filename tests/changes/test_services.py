"""Listing, acknowledging and exporting changes, by what a person can see."""

import json
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.http import Http404
from django.test.utils import CaptureQueriesContext

from connections.access.actor import Actor, command_actor
from connections.changes.acknowledgement import acknowledge_changes
from connections.changes.changes import (
    ChangeFilter,
    find_awaiting_acknowledgement,
    get_change_page,
)
from connections.core.errors import InvalidInputError
from connections.core.tabular import as_time
from connections.models import AuditEvent, Change, Credential, CredentialAccess, Person
from tests.batches.support import draft
from tests.changes.support import (
    kinds,
    make_connection,
    make_credential,
    make_deletion,
    sync,
    with_creator,
)
from tests.support.clock import SettableClock
from tests.support.query_plans import plan_of

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]

type ActorFor = Callable[[Person], Actor]
X = make_connection(1)
AUDITED = replace(X, connection_types=("logs", "audit"))


@pytest.fixture
def credential(clock: SettableClock) -> Credential:
    """A credential whose syncs found: types changed, removed, appeared, an org renamed."""
    credential = make_credential("a")
    for listed in ((X,), (AUDITED,), (), (make_connection(9, sink="lab"),)):
        sync(credential, *listed)
        clock.advance(minutes=15)
    sync(credential, make_connection(9, sink="lab"), own_name="Acme Production")
    return credential


def hide(credential: Credential) -> None:
    """Let only credential managers see it."""
    # A test that empties the tables also deletes the groups that a migration created.
    group, _ = Group.objects.get_or_create(name="Credential manager")
    CredentialAccess.objects.create(credential=credential, kind="see", group=group)


def found(actor: Actor, filters: ChangeFilter | None = None) -> list[str]:
    page = get_change_page(actor=actor, filters=filters or ChangeFilter())
    return kinds(row.change for row in page.rows)


def test_a_filter_finds(credential: Credential, ada: Person, actor_for: ActorFor):
    actor = actor_for(ada)
    everything = ["org_renamed", "appeared", "removed", "types_changed"]
    for filters, expected in (
        (ChangeFilter(), everything),
        (ChangeFilter(kind=("removed",)), ["removed"]),
        (ChangeFilter(site=("EU1",)), []),
        (ChangeFilter(org=("US1/prod",)), everything),
        (ChangeFilter(org=("US1/dev",)), ["removed", "types_changed"]),
        (ChangeFilter(org=("EU1/dev",)), []),
        (ChangeFilter(org=("dev",)), []),
        (ChangeFilter(org=("US1/prod", "US1/dev", "US1/lab")), everything),
        (ChangeFilter(kind=("removed", "appeared")), ["appeared", "removed"]),
        (ChangeFilter(text="ACME dev"), ["removed", "types_changed"]),
        (ChangeFilter(text="production"), ["org_renamed"]),
        (ChangeFilter(needs_attention=True), ["removed", "types_changed"]),
        (ChangeFilter(acknowledged="yes"), []),
        (ChangeFilter(kind=("removed",), acknowledged="no"), ["removed"]),
    ):
        assert found(actor, filters) == expected, filters


def test_pages_follow_each_other(credential: Credential, ada: Person, actor_for: ActorFor):
    actor = actor_for(ada)
    first = get_change_page(actor=actor, filters=ChangeFilter(org=("US1/prod",)), size=3)
    rest = get_change_page(
        actor=actor, filters=ChangeFilter(org=("US1/prod",)), after=first.next, size=3
    )
    assert [row.change.number for row in (*first.rows, *rest.rows)] == [4, 3, 2, 1]
    assert rest.next is None


def test_what_access_lists_hide_is_missing_everywhere(
    credential: Credential, ada: Person, edith: Person, actor_for: ActorFor
):
    hide(credential)
    actor = actor_for(ada)
    assert found(actor) == []
    assert find_awaiting_acknowledgement(actor=actor).count() == 0
    with pytest.raises(Http404):
        acknowledge_changes(
            actor=actor, change_ids=[Change.objects.earliest("number").pk], note="Seen."
        )
    assert find_awaiting_acknowledgement(actor=actor_for(edith)).count() == 2


def test_another_credential_that_lists_it_makes_a_change_visible(
    credential: Credential, ada: Person, actor_for: ActorFor, clock: SettableClock
):
    hide(credential)
    sync(make_credential("b", org_id="lab"), make_connection(9, sink="lab"))
    assert found(actor_for(ada)) == ["org_renamed", "appeared"]
    [row] = get_change_page(actor=actor_for(ada), filters=ChangeFilter(kind=("appeared",))).rows
    assert row.observed_by == []


def test_a_hidden_deletion_is_not_named(
    ada: Person, edith: Person, actor_for: ActorFor, clock: SettableClock
):
    shown, hidden = make_credential("a"), make_credential("b", org_id="dev")
    for each in (shown, hidden):
        sync(each, X)
    deletion = make_deletion(hidden, X)
    clock.advance(minutes=14)
    new = with_creator(make_connection(2), name="svc-terraform", service_account=True)
    sync(shown, replace(new, created_at=clock.now()))
    hide(hidden)
    [row] = get_change_page(actor=actor_for(ada), filters=ChangeFilter()).rows
    assert (row.deletion, row.cause) == (None, "Recreated by svc-terraform (service account).")
    [row] = get_change_page(actor=actor_for(edith), filters=ChangeFilter()).rows
    assert row.deletion == deletion
    assert row.cause == (
        "Recreated by svc-terraform (service account) 14 min after the deletion by ada on "
        "2 Mar 2026."
    )


def test_the_removals_by_a_bulk_deletion_are_one_row_for_people_who_can_see_it(
    ada: Person, edith: Person, actor_for: ActorFor, clock: SettableClock
):
    shown, hidden = make_credential("a"), make_credential("b", org_id="dev")
    items = [make_connection(number, sink=f"org{number}") for number in (1, 2, 3)]
    other = make_connection(4, source="dev", sink="org4")
    sync(shown, *items)
    sync(hidden, other)
    drafter = Person.objects.get(pk=ada.pk)  # whose visibility is read before it changes
    batch = draft(drafter, [f"US1/{item.id}" for item in (*items, other)])
    for row, item in zip(batch.rows.all(), (*items, other), strict=True):
        credential = hidden if item is other else shown
        make_deletion(credential, item, ticket="OPS-41", batch=batch, batch_row=row)
    # 1: removed; 2: widened; 3 and 4: removed; 5: removed, as only the hidden credential showed.
    for listed in (
        items[1:],
        [items[1], replace(items[2], connection_types=("logs", "audit"))],
        [],
    ):
        clock.advance(minutes=1)
        sync(shown, *listed)
    sync(hidden)
    hide(hidden)

    def rows(
        person: Person, after: int | None = None, org: tuple[str, ...] = ()
    ) -> list[tuple[int, int]]:
        page = get_change_page(
            actor=actor_for(person), filters=ChangeFilter(org=org), after=after, size=3
        )
        return [(row.change.number, row.removals) for row in page.rows]

    assert rows(edith) == [(5, 4), (2, 1)]
    assert rows(edith, 5) == [(2, 1)]
    assert rows(edith, org=("US1/org1",)) == [(1, 1)]
    assert rows(edith, org=("US1/prod",)) == [(4, 3), (2, 1)]
    assert rows(ada) == [(4, 1), (3, 1), (2, 1)]
    assert rows(ada, 2) == [(1, 1)]


def test_the_first_acknowledgement_stands(
    credential: Credential, ada: Person, linus: Person, actor_for: ActorFor
):
    first, second = Change.objects.filter(needs_attention=True).order_by("number")
    both = [first.pk, second.pk]
    for person, ids, note, new in (
        (ada, [first.pk], " Seen. ", [first]),
        (linus, both, "Also.", [second]),
        (linus, both, "Again.", []),
    ):
        assert acknowledge_changes(actor=actor_for(person), change_ids=ids, note=note) == new
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.acknowledged_by, first.note) == (ada, "Seen.")
    assert (second.acknowledged_by, second.note) == (linus, "Also.")
    events = AuditEvent.objects.filter(code="changes.acknowledged").order_by("seq")
    assert [event.details["changes"] for event in events] == [[str(first.pk)], [str(second.pk)]]
    assert found(actor_for(ada), ChangeFilter(needs_attention=True, acknowledged="no")) == []


def test_all_or_none_are_acknowledged(credential: Credential, ada: Person, actor_for: ActorFor):
    change = Change.objects.earliest("number")
    for note, ids in (("Seen.", [change.pk, uuid.uuid4()]), (" ", [change.pk]), ("Seen.", [])):
        with pytest.raises((Http404, InvalidInputError)):
            acknowledge_changes(actor=actor_for(ada), change_ids=ids, note=note)
    assert not Change.objects.filter(acknowledged_at__isnull=False).exists()


def test_who_can_acknowledge(
    credential: Credential,
    ada: Person,
    linus: Person,
    edith: Person,
    margaret: Person,
    victor: Person,
    actor_for: ActorFor,
):
    ids = list(Change.objects.order_by("number").values_list("pk", flat=True))
    for person, pk in zip((ada, linus, edith), ids, strict=False):
        assert acknowledge_changes(actor=actor_for(person), change_ids=[pk], note="Seen.")
    for actor in (actor_for(margaret), actor_for(victor), command_actor()):
        with pytest.raises(PermissionDenied):
            acknowledge_changes(actor=actor, change_ids=ids, note="Seen.")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE connections_change SET kind = 'removed' WHERE number = 1",
        "UPDATE connections_change SET needs_attention = NOT needs_attention WHERE number = 1",
        "UPDATE connections_change SET note = 'x' WHERE number = 1",
        "UPDATE connections_change SET acknowledged_at = NULL, acknowledged_by_id = NULL, note = ''"
        " WHERE number = 2",
        "UPDATE connections_change SET note = 'Another.' WHERE number = 2",
        "DELETE FROM connections_change WHERE number = 1",
    ],
)
def test_the_database_refuses_to_change_what_was_detected(
    credential: Credential, ada: Person, actor_for: ActorFor, statement: str
):
    second = Change.objects.get(number=2)
    acknowledge_changes(actor=actor_for(ada), change_ids=[second.pk], note="Seen.")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_command_lists_changes(
    credential: Credential, ada: Person, actor_for: ActorFor, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit, match="10"):
        call_command("list_changes", "--json", "--kind", "types_changed")
    [document] = json.loads(capsys.readouterr().out)["changes"]
    change = Change.objects.get(kind="types_changed")
    assert document == {
        "id": str(change.pk),
        "kind": "types_changed",
        "site": "US1",
        "connection_id": X.id,
        "org": None,
        "source_org": {"id": "prod", "name": "Acme Prod"},
        "sink_org": {"id": "dev", "name": "Acme Dev"},
        "before": {"connection_types": ["logs"]},
        "after": {"connection_types": ["logs", "audit"]},
        "widened": True,
        "needs_attention": True,
        "detected_at": change.detected_at.isoformat(),
        "recorded_at": change.recorded_at.isoformat(),
        "earliest_at": change.earliest_at.isoformat(),
        "observed_by": ["a"],
        "deletion": None,
        "access_request": None,
        "not_checked": [],
        "acknowledged_by": None,
        "acknowledged_at": None,
        "note": None,
    }
    ids = Change.objects.filter(needs_attention=True).values_list("pk", flat=True)
    acknowledge_changes(actor=actor_for(ada), change_ids=list(ids), note="Seen.")
    call_command("list_changes")
    lines = capsys.readouterr().out.splitlines()
    assert "Widened to audit  Acme Prod → Acme Dev  Added audit." in lines[-1]
    change.refresh_from_db()
    call_command("list_changes", "--json", "--kind", "types_changed")
    assert json.loads(capsys.readouterr().out)["changes"] == [
        document
        | {"acknowledged_by": "ada", "acknowledged_at": as_time(change.acknowledged_at)}
        | {"note": "Seen."}
    ]
    call_command("list_changes", "--json", "--unacknowledged", "--since", "2999-01-01")
    assert json.loads(capsys.readouterr().out) == {"changes": []}


def test_a_sync_that_lacks_connections_reads_no_whole_table(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X, make_connection(9, sink="lab"))
    clock.advance(minutes=15)
    with CaptureQueriesContext(connection) as captured:
        assert kinds(sync(credential)) == ["removed", "removed"]
    lost = [each["sql"] for each in captured if '"lost_at" IS NOT NULL' in each["sql"]]
    assert lost
    for query in lost:
        plan = plan_of(query)
        assert "SCAN connections_knownconnection" not in plan.replace(" USING", "")
        assert "Seq Scan on connections_knownconnection" not in plan
