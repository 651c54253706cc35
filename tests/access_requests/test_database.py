"""Database triggers keep what was requested, decided and sent, whatever statement is executed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import IntegrityError, connection, transaction

from connections.access.actor import person_actor
from connections.agreements.setting import Terms, set_agreements
from connections.change_requests import approvals, lifecycle
from connections.models import (
    AccessRequest,
    AccessRequestApproval,
    AccessRequestAttempt,
    ApprovalPolicy,
    Credential,
    OrgPair,
    Person,
    RequestKind,
    Role,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.people import make_person

pytestmark = [pytest.mark.django_db, pytest.mark.database]

REQUESTS, ATTEMPTS, APPROVALS = (
    f"connections_accessrequest{suffix}" for suffix in ("", "attempt", "approval")
)
KEPT = "What was requested is kept"


def sql(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def require_refused(statements: dict[str, str], *, subtests: pytest.Subtests) -> None:
    """Each statement is refused with the words that it is named after."""
    for statement, words in statements.items():
        with subtests.test(statement=statement), pytest.raises(DatabaseError, match=words):
            sql(statement)


@pytest.fixture
def request_under(ada: Person, credential: Credential, free_pair: OrgPair) -> RequestAccess:
    """Ada requests a connection under this policy."""

    def act(policy: ApprovalPolicy = ApprovalPolicy.ONE) -> AccessRequest:
        Credential.objects.update(policy=policy)
        return request_for(
            actor=person_actor(person=ada),
            pair=free_pair,
            wanted={"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"},
        )

    return act


@pytest.fixture
def requested(request_under: RequestAccess) -> AccessRequest:
    """Requested by Ada under policy one; no decision yet."""
    return request_under()


def approve(access_request: AccessRequest, person: Person) -> AccessRequest:
    return approvals.approve(
        change_request=access_request,
        actor=person_actor(person=person),
        digest=access_request.approval_digest,
        approval_round=access_request.approval_round,
    )


def store(access_request: AccessRequest, *, approver: Person, at: Any, **values: Any) -> None:
    """Store an approval without any service; `values` override the valid defaults."""
    right: dict[str, Any] = {
        "access_request": access_request,
        "approver": approver,
        "approver_name": approver.display_name,
        "requester": access_request.requested_by,
        "decision": AccessRequestApproval.Decision.APPROVED,
        "digest": access_request.approval_digest,
        "decided_at": at,
    }
    with transaction.atomic():
        AccessRequestApproval.objects.create(**right | values)


# What each column of a request is set to.
REQUESTED = {
    "kind": "'restore'",
    "site": "'x'",
    "request_id": "id",
    "digest": "'x'",
    "approval_digest": "'x'",
    "reason": "'x'",
    "ticket": "'x'",
    "policy": "'none'",
    "requested_at": "expires_at",
    "requested_by_id": "NULL",
    "source_org_id": "'x'",
    "source_org_name": "'x'",
    "sink_org_id": "'x'",
    "sink_org_name": "'x'",
    "connection_types": "'[\"x\"]'",
    "types_after": "'[\"x\"]'",
    "owner_id": "requested_by_id",
    "owner_text": "'x'",
    "purpose": "'x'",
    "ends_on": "'2030-01-01'",
    "as_agreed": "'[\"owner\"]'",
    "agreement_version": "7",
    "credential_name": "'x'",
    "credential_fingerprint": "'x'",
    "snapshot_at": "requested_at",
    "creator_name": "'x'",
}


def test_what_was_requested_is_kept(requested: AccessRequest, subtests: pytest.Subtests):
    statements = {
        f"UPDATE {REQUESTS} SET {column} = {value}": KEPT  # noqa: S608 - our own words
        for column, value in REQUESTED.items()
    }
    require_refused(statements, subtests=subtests)


def test_a_change_stays_about_the_same_connection(
    change: RequestAccess, ada: Person, subtests: pytest.Subtests
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    change()
    require_refused(
        {
            f"UPDATE {REQUESTS} SET connection_id = request_id": KEPT,  # noqa: S608
            f"UPDATE {REQUESTS} SET connection_id = NULL": KEPT,  # noqa: S608
        },
        subtests=subtests,
    )


@pytest.mark.parametrize("state", ["approved", "waiting", "sending"])
@pytest.mark.parametrize(
    ("policy", "given"), [(ApprovalPolicy.ONE, 0), (ApprovalPolicy.TWO, 0), (ApprovalPolicy.TWO, 1)]
)
def test_nothing_is_approved_or_sent_with_too_few_approvals(
    request_under: RequestAccess, linus: Person, state: str, policy: ApprovalPolicy, given: int
):
    access_request = request_under(policy)
    if given:
        approve(access_request, linus)
    with pytest.raises(IntegrityError, match="It needs more approvals"):
        sql(f"UPDATE {REQUESTS} SET state = '{state}'")  # noqa: S608 - our own words


WRONG_COPIES: dict[str, Callable[[Person], dict[str, Any]]] = {
    "another requester": lambda other: {"requester": other},
    "no requester": lambda other: {"requester": None},
    "another digest": lambda other: {"digest": "0" * 64},
    "another round": lambda other: {"round": 2},
}


def test_an_approval_must_match_and_is_never_ones_own(
    requested: AccessRequest,
    ada: Person,
    linus: Person,
    clock: SettableClock,
    subtests: pytest.Subtests,
):
    for what, wrong in WRONG_COPIES.items():
        # Also Ada, pretending that another person made the request.
        with subtests.test(what=what), pytest.raises(IntegrityError, match="must match"):
            store(requested, approver=ada, at=clock.at, **wrong(linus))
    with pytest.raises(IntegrityError, match="nobody_approves_their_own_access"):
        store(requested, approver=ada, at=clock.at)
    with pytest.raises(IntegrityError, match="declining_access_has_a_reason"):
        store(requested, approver=linus, at=clock.at, decision="declined")
    store(requested, approver=linus, at=clock.at)
    with pytest.raises(IntegrityError):
        store(requested, approver=linus, at=clock.at)


def test_a_decision_is_kept(
    requested: AccessRequest, linus: Person, clock: SettableClock, subtests: pytest.Subtests
):
    approve(requested, linus)
    require_refused(
        {
            f"UPDATE {APPROVALS} SET decision = 'declined', reason = 'x'": "A decision can't",  # noqa: S608
            f"UPDATE {APPROVALS} SET approver_id = requester_id": (  # noqa: S608
                "A decision can't|nobody_approves_their_own_access"
            ),
            f"UPDATE {APPROVALS} SET digest = 'x'": "A decision can't",  # noqa: S608
            f"UPDATE {APPROVALS} SET round = 2": "A decision can't",  # noqa: S608
            f"DELETE FROM {APPROVALS}": "A decision can't",  # noqa: S608
        },
        subtests=subtests,
    )
    barbara = make_person("barbara", Role.APPROVER)
    with pytest.raises(IntegrityError, match="must match"):
        # It no longer waits for approval.
        store(requested, approver=barbara, at=clock.at)


def unknown(
    request_under: RequestAccess, linus: Person, ada: Person, sandbox: SandboxServer
) -> AccessRequest:
    """A request whose one attempt might have worked."""
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="POST")
    approved = approve(request_under(), linus)
    actor = person_actor(person=ada)
    found = lifecycle.execute(change_request=approved, actor=actor, confirmation="Group SOC")
    assert found.state == "unknown"
    return found


def test_an_attempt_is_kept_and_belongs_to_the_current_round(
    request_under: RequestAccess,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    subtests: pytest.Subtests,
):
    access_request = unknown(request_under, linus, ada, sandbox)
    claimed = "A claimed attempt can't be changed"
    once = "can be recorded only once"
    require_refused(
        {
            f"UPDATE {ATTEMPTS} SET method = 'PATCH'": claimed,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET approval_round = 2": claimed,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET claimed_at = answered_at, epoch = 7": claimed,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET credential_name = 'x'": claimed,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET verdict = 'created'": once,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET http_status = 201": once,  # noqa: S608
            f"UPDATE {ATTEMPTS} SET is_late = NOT is_late": once,  # noqa: S608
            f"DELETE FROM {ATTEMPTS}": "An attempt can't be removed",  # noqa: S608
        },
        subtests=subtests,
    )
    attempt = AccessRequestAttempt.objects.get()
    attempt.pk, attempt.number, attempt.epoch = None, 2, 2
    for round_number in (attempt.approval_round, access_request.approval_round + 1):
        attempt.approval_round = round_number
        with (
            transaction.atomic(),
            pytest.raises(IntegrityError, match="current round"),
            transaction.atomic(),
        ):
            attempt.save(force_insert=True)


def test_what_might_have_worked_is_not_sent_again_under_the_same_approvals(
    request_under: RequestAccess,
    linus: Person,
    ada: Person,
    sandbox: SandboxServer,
    subtests: pytest.Subtests,
):
    unknown(request_under, linus, ada, sandbox)
    rounds = "An approval covers one attempt"
    approvals_missing = "It needs more approvals"
    require_refused(
        {
            f"UPDATE {REQUESTS} SET approval_round = 1": rounds,  # noqa: S608
            f"UPDATE {REQUESTS} SET approval_round = 4": rounds,  # noqa: S608
            f"UPDATE {REQUESTS} SET state = 'sending', epoch = 2": approvals_missing,  # noqa: S608
        },
        subtests=subtests,
    )


def test_an_end_is_not_extended_without_its_approvals(
    ada: Person, linus: Person, listed_pair: OrgPair, clock: SettableClock
):
    agreed = clock.at.date() + timedelta(days=30)
    terms: Terms = {"owner_text": "SOC team", "purpose": "x", "ends_on": agreed}
    set_agreements(actor=person_actor(person=ada), pairs=[listed_pair], terms=terms)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=RequestKind.EXTEND,
        wanted={"ends_on": agreed + timedelta(days=30)},
    )
    settled = f"UPDATE {REQUESTS} SET state = 'settled', outcome = 'extended', settled_at = "  # noqa: S608
    with pytest.raises(DatabaseError, match="It needs more approvals"):
        sql(f"{settled} requested_at")
    approve(access_request, linus)
    sql(f"{settled} requested_at")


def test_a_settled_request_is_kept(create: RequestAccess, subtests: pytest.Subtests):
    create()
    settled = "A settled access request can't be changed"
    require_refused(
        {
            f"UPDATE {REQUESTS} SET {change}": settled  # noqa: S608 - our own words
            for change in (
                "state = 'requested', outcome = '', settled_at = NULL",
                "outcome = 'refused'",
                "cause = 'x'",
                "epoch = 7",
                "settled_at = requested_at, settled_reason = 'x'",
                "confirmed_by_id = NULL",
                "cause_details = '{\"x\": 1}'",
                "settled_by_name = 'x'",
            )
        }
        | {f"DELETE FROM {REQUESTS}": "An access request can't be removed"},  # noqa: S608
        subtests=subtests,
    )


def test_one_access_request_of_a_pair_is_open(requested: AccessRequest):
    again = AccessRequest.objects.get()
    again.pk = again.request_id = make_person("other").pk
    # On SQLite, a trigger refuses it first.
    refused = "one_open_access_request|already exists|UNIQUE"
    with pytest.raises(IntegrityError, match=refused), transaction.atomic():
        again.save(force_insert=True)


@pytest.mark.parametrize("table", [REQUESTS, APPROVALS, ATTEMPTS])
def test_sqlite_refuses_to_replace_rows_or_move_them_over_others(
    request_under: RequestAccess, linus: Person, ada: Person, sandbox: SandboxServer, table: str
):
    if connection.vendor != "sqlite":
        pytest.skip("SQLite's own words")
    unknown(request_under, linus, ada, sandbox)
    for statement in (
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",  # noqa: S608 - our own words
        f"UPDATE OR REPLACE {table} SET rowid = rowid + 1",  # noqa: S608 - our own words
    ):
        with pytest.raises(IntegrityError, match=r"already exists|must match|can't|must belong"):
            sql(statement)


@pytest.mark.parametrize("table", [REQUESTS, APPROVALS, ATTEMPTS])
def test_postgresql_refuses_to_truncate(requested: AccessRequest, table: str):
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's own words")
    with pytest.raises(DatabaseError, match="can't be removed"):
        sql(f"SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE {table} CASCADE")
