"""Database triggers enforce the approval policy and keep a deletion's requested values."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import IntegrityError, connection, transaction

from connections.models import Approval, ApprovalPolicy, Deletion, Person, State
from tests.deletions.approvals.conftest import RequestFor, approve
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def sql(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def store(deletion: Deletion, *, approver: Person, at: Any, **values: Any) -> None:
    """Store an approval without any service; `values` override the valid defaults."""
    right: dict[str, Any] = {
        "deletion": deletion,
        "approver": approver,
        "approver_name": approver.display_name,
        "requester": deletion.requested_by,
        "decision": Approval.Decision.APPROVED,
        "digest": deletion.approval_digest,
        "decided_at": at,
    }
    with transaction.atomic():
        Approval.objects.create(**right | values)


def test_a_valid_approval_is_stored(requested: Deletion, linus: Person, clock: SettableClock):
    store(requested, approver=linus, at=clock.at)
    assert Approval.objects.count() == 1


@pytest.mark.parametrize("is_administrator", [False, True])
def test_no_one_approves_their_own_deletion(
    requested: Deletion, ada: Person, clock: SettableClock, is_administrator: bool
):
    Person.objects.update(is_superuser=is_administrator)
    with pytest.raises(IntegrityError, match="nobody_approves_their_own"):
        store(requested, approver=ada, at=clock.at)


def test_no_one_approves_twice(requested: Deletion, linus: Person, clock: SettableClock):
    store(requested, approver=linus, at=clock.at)
    with pytest.raises(IntegrityError):
        store(requested, approver=linus, at=clock.at)


WRONG_COPIES: dict[str, Callable[[Person], dict[str, Any]]] = {
    "another requester": lambda other: {"requester": other},
    "no requester": lambda other: {"requester": None},
    "another digest": lambda other: {"digest": "0" * 64},
}


def test_an_approval_must_match_the_deletions_values(
    requested: Deletion, ada: Person, grace: Person, clock: SettableClock, subtests: pytest.Subtests
):
    for what, wrong in WRONG_COPIES.items():
        # Also Ada, pretending that another person made the request.
        with subtests.test(what=what), pytest.raises(IntegrityError, match="must match"):
            store(requested, approver=ada, at=clock.at, **wrong(grace))


@pytest.mark.parametrize("state", [State.SENDING, State.WAITING])
def test_a_deletion_that_no_longer_waits_cannot_be_approved(
    request_deletion: RequestFor, linus: Person, barbara: Person, clock: SettableClock, state: State
):
    deletion = approve(request_deletion(), linus)
    Deletion.objects.update(state=state)
    with pytest.raises(IntegrityError, match="An approval must match"):
        store(deletion, approver=barbara, at=clock.at)


CHANGES = {
    "decision": "UPDATE connections_approval SET decision = 'declined', reason = 'x'",
    "approver": "UPDATE connections_approval SET approver_id = requester_id",
    "digest": "UPDATE connections_approval SET digest = 'x'",
    "remove": "DELETE FROM connections_approval",
}


def test_a_decision_cannot_be_changed(
    requested: Deletion, linus: Person, subtests: pytest.Subtests
):
    approve(requested, linus)
    refused = r"A decision can't|nobody_approves_their_own"
    for what, statement in CHANGES.items():
        with subtests.test(what=what), pytest.raises(IntegrityError, match=refused):
            sql(statement)


def test_an_approvers_name_can_be_erased(requested: Deletion, linus: Person):
    approve(requested, linus)
    sql("UPDATE connections_approval SET approver_name = 'erased person no. 2'")
    assert Approval.objects.get().approver_name == "erased person no. 2"


REQUEST_CHANGES = {
    "requester": "requested_by_id = NULL",
    "connection": "connection_id = request_id",
    "digest": "digest = 'x'",
    "what is approved": "approval_digest = 'x'",
    "policy": "policy = 'none'",
    "reason": "reason = 'x'",
    "ticket": "ticket = 'x'",
    "types": "connection_types = '[]'",
    "orgs": "source_org_name = 'x'",
    "site": "site = 'x'",
}


@pytest.mark.usefixtures("requested")
def test_the_requested_values_of_a_deletion_cannot_be_changed(subtests: pytest.Subtests):
    refused = "The request of a deletion can't be changed"
    for what, change in REQUEST_CHANGES.items():
        with subtests.test(what=what), pytest.raises(IntegrityError, match=refused):
            sql(f"UPDATE connections_deletion SET {change}")  # noqa: S608 - our own words


def test_a_deletion_cannot_be_removed_and_requested_differently(requested: Deletion):
    with pytest.raises(DatabaseError, match="A deletion can't be removed"):
        sql("DELETE FROM connections_deletion")


@pytest.mark.parametrize("state", ["approved", "sending"])
@pytest.mark.parametrize(
    ("policy", "given"), [(ApprovalPolicy.ONE, 0), (ApprovalPolicy.TWO, 0), (ApprovalPolicy.TWO, 1)]
)
def test_nothing_is_approved_or_sent_with_too_few_approvals(
    request_deletion: RequestFor, linus: Person, state: str, policy: ApprovalPolicy, given: int
):
    deletion = request_deletion(policy)
    if given:
        approve(deletion, linus)
    with pytest.raises(IntegrityError, match="The deletion needs more approvals"):
        sql(f"UPDATE connections_deletion SET state = '{state}'")  # noqa: S608 - our own words


def test_a_decline_needs_a_reason(requested: Deletion, linus: Person, clock: SettableClock):
    with pytest.raises(IntegrityError, match="declining_has_a_reason"):
        store(requested, approver=linus, at=clock.at, decision=Approval.Decision.DECLINED)


REPLACING_STATEMENTS = {
    "a decision": "INSERT OR REPLACE INTO connections_approval SELECT * FROM connections_approval",
    "a deletion": "INSERT OR REPLACE INTO connections_deletion SELECT * FROM connections_deletion",
}


@pytest.mark.parametrize("what", REPLACING_STATEMENTS)
def test_sqlite_refuses_to_replace_rows(requested: Deletion, linus: Person, what: str):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own words")
    approve(requested, linus)
    with pytest.raises(IntegrityError, match=r"The row already exists|An approval must match"):
        sql(REPLACING_STATEMENTS[what])


MOVING_STATEMENTS = {
    "a decision": "UPDATE OR REPLACE connections_approval SET rowid = rowid + 1",
    "a deletion": "UPDATE OR REPLACE connections_deletion SET rowid = rowid + 1",
}


@pytest.mark.parametrize("what", MOVING_STATEMENTS)
def test_sqlite_refuses_to_move_a_row_over_another(requested: Deletion, linus: Person, what: str):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own words")
    approve(requested, linus)
    with pytest.raises(IntegrityError, match=r"The row already exists|A decision can't"):
        sql(MOVING_STATEMENTS[what])


def test_postgresql_refuses_to_truncate_decisions(requested: Deletion, linus: Person):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's own words")
    approve(requested, linus)
    with pytest.raises(DatabaseError, match="A decision can't be removed"):
        sql("SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE connections_approval")
