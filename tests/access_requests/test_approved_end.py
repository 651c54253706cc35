"""The end that was approved: only brought forward in agreements, and nothing else is deleted."""

from datetime import date, timedelta

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_requests import ending
from connections.agreements.setting import set_agreements
from connections.change_requests import approvals
from connections.core.errors import ConflictError, InvalidInputError
from connections.inventory import syncs
from connections.inventory.pair_files import import_agreements
from connections.models import (
    AccessOutcome,
    Agreement,
    ApprovalPolicy,
    Credential,
    Deletion,
    Notification,
    OrgPair,
    Person,
    RequestKind,
)
from connections.notifications import agreement_ends
from connections.notifications.messages import build_message
from connections.operations.clock_release import release_clock
from sandbox.server import SandboxServer
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.sandbox import org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def end(ada: Person, listed_pair: OrgPair, clock: SettableClock) -> date:
    """The end of access that Ada was given for 30 days."""
    ends_on = clock.at.date() + timedelta(days=30)
    request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=RequestKind.CHANGE,
        wanted={
            "types": ["audit", "logs"],
            "owner_text": "SOC team",
            "purpose": "incident response",
            "ends_on": ends_on,
        },
    )
    assert Agreement.objects.get().ends_on == ends_on
    return ends_on


@pytest.mark.parametrize("days", [1, None])
def test_a_later_end_or_none_is_refused_and_says_how_to_get_one(
    ada: Person, listed_pair: OrgPair, end: date, days: int | None
):
    ends_on = end + timedelta(days=days) if days else None
    with pytest.raises(InvalidInputError) as refused:
        set_agreements(
            actor=person_actor(person=ada), pairs=[listed_pair], terms={"ends_on": ends_on}
        )
    assert "extend" in refused.value.fields["ends_on"]
    assert Agreement.objects.count() == 1


def test_it_can_be_brought_forward_and_back_but_not_further(
    ada: Person, listed_pair: OrgPair, end: date
):
    actor = person_actor(person=ada)
    for ends_on in (end - timedelta(days=7), end - timedelta(days=1), end):
        set_agreements(actor=actor, pairs=[listed_pair], terms={"ends_on": ends_on})
    set_agreements(actor=actor, pairs=[listed_pair], terms={"ends_on": end - timedelta(days=1)})
    with pytest.raises(InvalidInputError):
        set_agreements(actor=actor, pairs=[listed_pair], terms={"ends_on": None})


def test_the_reminder_says_that_org_admin_deletes_it(
    listed_pair: OrgPair,
    end: date,
    ada: Person,
    victor: Person,
    clock: SettableClock,
    settings: Settings,
):
    settings.HAS_MAIL = True
    # Ada requested it, and Victor answers for it.
    set_agreements(
        actor=command_actor(), pairs=[listed_pair], terms={"owner": victor, "owner_text": ""}
    )
    clock.advance(hours=24 * 27)
    agreement_ends.remind(actor=WORKER)
    rows = Notification.objects.filter(code="agreements.ending")
    assert set(rows.values_list("person__username", flat=True)) == {"ada", "victor"}
    row = rows.get(person=ada)
    text = build_message(row).as_text()
    assert "nothing is deleted by itself" not in text
    assert f"in 3 days; Org Admin deletes it after {end}" in text


def test_an_import_fails_at_that_line(listed_pair: OrgPair, end: date):
    later = end + timedelta(days=1)
    header = (
        "site,source_org,destination_org,owner,owner_text,purpose,ticket,ends_on,connection_types"
    )
    line = f"{','.join(listed_pair)},,SOC team,x,,{later},"
    result = import_agreements(actor=command_actor(), content=f"{header}\n{line}\n".encode())
    [failed] = result.failed
    assert "extend" in failed["error"]


def test_other_fields_can_be_changed(ada: Person, listed_pair: OrgPair, end: date):
    set_agreements(actor=person_actor(person=ada), pairs=[listed_pair], terms={"purpose": "audits"})
    assert Agreement.objects.order_by("-version")[0].ends_on == end


def test_an_end_that_no_access_request_gave_can_be_later(
    ada: Person, listed_pair: OrgPair, credential: Credential, clock: SettableClock
):
    today = clock.at.date()
    for days in (10, 20):
        set_agreements(
            actor=person_actor(person=ada),
            pairs=[listed_pair],
            terms={
                "owner_text": "SOC team",
                "purpose": "x",
                "ends_on": today + timedelta(days=days),
            },
        )
    assert Agreement.objects.count() == 2


def test_what_nobody_approved_deletes_nothing_at_its_end(
    ada: Person, linus: Person, free_pair: OrgPair, sandbox: SandboxServer, clock: SettableClock
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=free_pair,
        wanted={
            "types": ["logs"],
            "owner_text": "SOC team",
            "purpose": "incident response",
            "ends_on": clock.at.date(),
        },
    )
    # Someone else connects them first, which the approver's check finds.
    orgs = [org_named(sandbox.world, name) for name in ("Payments US", "Group SOC")]
    sandbox.world.add_connection(source_org=orgs[0], sink_org=orgs[1], connection_types=("logs",))
    digest = access_request.approval_digest
    with pytest.raises(ConflictError):
        approvals.approve(
            change_request=access_request, actor=person_actor(person=linus), digest=digest
        )
    access_request.refresh_from_db()
    assert access_request.outcome == AccessOutcome.ALREADY_EXISTS
    clock.advance(hours=48)
    assert ending.end_due(actor=WORKER) == []
    assert not Deletion.objects.exists()


def test_a_later_end_counts_even_if_the_clock_was_set_back_in_between(
    ada: Person, end: date, listed_pair: OrgPair, clock: SettableClock, credential: Credential
):
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(hours=-1)
    release_clock(actor=command_actor())
    later = end + timedelta(days=10)
    extension = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=RequestKind.EXTEND,
        wanted={"ends_on": later},
    )
    clock.advance(hours=24 * 35)
    assert ending.end_due(actor=WORKER) == []
    clock.advance(hours=24 * 10)
    assert ending.end_due(actor=WORKER) == [extension]
    assert Deletion.objects.exists()
