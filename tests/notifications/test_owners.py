"""Messages about a connection go to its owner; owners are reminded before an agreement ends."""

from datetime import date, timedelta

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor, person_actor
from connections.agreements.setting import set_agreements
from connections.credentials.retirement import retire_credential
from connections.inventory.org_details import set_org_details
from connections.inventory.rate_limits import OrgKey
from connections.models import (
    AccessKind,
    AgreementReminder,
    AuditEvent,
    Credential,
    Notification,
    OrgPair,
    Person,
)
from connections.notifications import agreement_ends
from connections.notifications.messages import build_message
from connections.notifications.responsible import find_responsible
from sandbox.server import SandboxServer
from tests.agreements.support import agree, let_only, pair_between
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]

DAY = 86_400


@pytest.fixture(autouse=True)
def _mail(settings: Settings) -> None:
    settings.HAS_MAIL = True


@pytest.fixture
def payments(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Payments US")


@pytest.fixture
def pair(payments: Credential, sandbox: SandboxServer) -> OrgPair:
    return pair_between(sandbox, "Payments US", "Group SOC")


def own_source(pair: OrgPair, owner: Person) -> None:
    key = OrgKey(site=pair.site, org_id=pair.source_org_id)
    set_org_details(actor=command_actor(), orgs=[key], details={"owner": owner})


def reminded() -> list[str]:
    rows = Notification.objects.filter(code="agreements.ending")
    return list(
        rows.order_by("created_at", "person__username").values_list("person__username", flat=True)
    )


def test_the_agreements_owner_comes_before_the_orgs_and_nobody_before_everyone(
    pair: OrgPair, payments: Credential, victor: Person, edith: Person, ada: Person, root: Person
) -> None:
    def responsible() -> Person | None:
        return find_responsible([pair]).by_pair.get(pair)

    assert responsible() is None
    own_source(pair, edith)
    assert responsible() == edith
    agree(pair, actor=command_actor(), owner=victor)
    assert responsible() == victor
    # Whoever can't see it, or left, is passed over.
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    assert responsible() == edith
    Person.objects.filter(pk=edith.pk).update(is_active=False)
    assert responsible() is None


def test_an_owner_is_reminded_three_times_of_all_that_ends(
    pair: OrgPair, ada: Person, victor: Person, clock: SettableClock
) -> None:
    end = clock.now().date() + timedelta(days=20)
    agree(pair, actor=command_actor(), owner=victor, ends_on=end, purpose="Fraud\nalerts")
    for days, count in ((5, 0), (1, 1), (0.2, 1), (1, 1), (9, 1), (1, 2), (2, 3), (2, 3)):
        clock.advance(seconds=days * DAY)
        agreement_ends.remind(actor=WORKER)
        agreement_ends.remind(actor=WORKER)
        assert len(reminded()) == count
    assert set(reminded()) == {"victor"}
    assert AuditEvent.objects.filter(code="agreements.ending").count() == 3
    first = Notification.objects.filter(code="agreements.ending").order_by("created_at").first()
    assert first
    message = build_message(first)
    assert message.title == "Agreements end soon"
    assert message.as_text().splitlines()[:3] == [
        "1 agreement ends soon. After that, decide whether to delete the connection or to set a "
        "later end: nothing is deleted by itself.",
        "",
        f"- Payments US → Group SOC (sandbox-us1) ends on {end}, in 14 days: Fraud alerts",
    ]


def test_without_an_owner_those_who_get_all_messages_are_reminded(
    pair: OrgPair, ada: Person, linus: Person, victor: Person, clock: SettableClock
) -> None:
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner_text="SOC", ends_on=today + timedelta(days=15))
    clock.advance(seconds=DAY)
    agreement_ends.remind(actor=WORKER)
    assert reminded() == ["ada", "linus"]


def test_a_reminder_due_before_the_agreement_was_set_is_skipped(
    pair: OrgPair, victor: Person, clock: SettableClock
) -> None:
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner=victor, ends_on=today + timedelta(days=5))
    agreement_ends.remind(actor=WORKER)
    assert reminded() == []
    clock.advance(seconds=2 * DAY)
    agreement_ends.remind(actor=WORKER)
    assert list(AgreementReminder.objects.values_list("days", flat=True)) == [3]


def test_nobody_is_reminded_of_what_was_extended_or_is_not_listed(
    pair: OrgPair, payments: Credential, victor: Person, root: Person, clock: SettableClock
) -> None:
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner=victor, ends_on=today + timedelta(days=14))
    set_agreements(actor=command_actor(), pairs=[pair], terms={"ends_on": date(2099, 1, 1)})
    agreement_ends.remind(actor=WORKER)
    set_agreements(
        actor=command_actor(), pairs=[pair], terms={"ends_on": today + timedelta(days=14)}
    )
    retire_credential(
        actor=person_actor(person=root), credential=payments, confirmation="Payments US"
    )
    agreement_ends.remind(actor=WORKER)
    assert reminded() == []
