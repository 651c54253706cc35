"""Messages about a connection go to its owner; owners are reminded before an agreement ends."""

from datetime import date, timedelta

import pytest
from django.db import IntegrityError, connection
from pytest_django import Settings

from connections.access.actor import WORKER, command_actor, person_actor
from connections.agreements.setting import Terms, set_agreements, set_separately
from connections.credentials.retirement import retire_credential
from connections.inventory.org_details import set_org_details
from connections.inventory.rate_limits import OrgKey
from connections.models import (
    AccessKind,
    Agreement,
    AgreementReminder,
    AuditEvent,
    Credential,
    Notification,
    OrgPair,
    Person,
)
from connections.notifications import agreement_ends, delivery
from connections.notifications.messages import build_message
from connections.notifications.responsible import find_responsible
from sandbox.server import SandboxServer
from tests.agreements.support import agree, let_only, pair_between
from tests.flows.support import store_credential
from tests.notifications.smtp import MailServer
from tests.support.at_once import at_once
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
):
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
):
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


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time.")
@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_send_one_reminder(pair: OrgPair, victor: Person, clock: SettableClock):
    for number in range(4):
        today = clock.now().date()
        ends_on = today + timedelta(days=15)
        agree(pair, actor=command_actor(), owner=victor, ends_on=ends_on, purpose=f"{number}")
        clock.advance(seconds=DAY)
        refused: list[IntegrityError] = []

        def remind() -> None:
            try:
                agreement_ends.remind(actor=WORKER)
            except IntegrityError as error:
                refused.append(error)  # noqa: B023 - runs within this round

        at_once([remind, remind])
        assert len(refused) <= 1
        assert reminded() == ["victor"] * (number + 1)
        assert AuditEvent.objects.filter(code="agreements.ending").count() == number + 1
        clock.advance(seconds=DAY)


def test_a_message_leaves_out_what_was_hidden_since_it_was_queued(
    pair: OrgPair,
    payments: Credential,
    sandbox: SandboxServer,
    ada: Person,
    linus: Person,
    root: Person,
    clock: SettableClock,
):
    labs = store_credential(sandbox, "Labs EU")
    other = pair_between(sandbox, "Labs EU", "Data Lake EU")
    for each in (pair, other):
        ends_on = clock.now().date() + timedelta(days=15)
        agree(each, actor=command_actor(), owner=linus, ends_on=ends_on)
    clock.advance(seconds=DAY)
    agreement_ends.remind(actor=WORKER)
    message = Notification.objects.get(code="agreements.ending", person=linus)

    def read() -> str:
        return build_message(Notification.objects.get(pk=message.pk)).as_text()

    assert "Payments US" in read()
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    assert read().startswith("1 agreement ends soon.")
    assert "Payments US" not in read()
    let_only(ada, credential=labs, kind=AccessKind.SEE, actor=person_actor(person=root))
    with pytest.raises(Agreement.DoesNotExist):
        read()


def test_without_an_owner_those_who_get_all_messages_are_reminded(
    pair: OrgPair, ada: Person, linus: Person, victor: Person, clock: SettableClock
):
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner_text="SOC", ends_on=today + timedelta(days=15))
    clock.advance(seconds=DAY)
    agreement_ends.remind(actor=WORKER)
    assert reminded() == ["ada", "linus"]


def test_a_reminder_due_before_the_agreement_was_set_is_skipped(
    pair: OrgPair, victor: Person, clock: SettableClock
):
    today = clock.now().date()
    agree(pair, actor=command_actor(), owner=victor, ends_on=today + timedelta(days=5))
    agreement_ends.remind(actor=WORKER)
    assert reminded() == []
    clock.advance(seconds=2 * DAY)
    agreement_ends.remind(actor=WORKER)
    assert list(AgreementReminder.objects.values_list("days", flat=True)) == [3]


def test_nobody_is_reminded_of_what_was_extended_or_is_not_listed(
    pair: OrgPair, payments: Credential, victor: Person, root: Person, clock: SettableClock
):
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


# --- New owners ---------------------------------------------------------------------------------


def new_owners() -> list[Person | None]:
    rows = Notification.objects.filter(code="agreement.set", channel="mail")
    return [row.person for row in rows.order_by("event_seq")]


def test_whoever_becomes_the_owner_is_notified_once(pair: OrgPair, victor: Person, grace: Person):
    agree(pair, actor=WORKER, owner=victor)
    agree(pair, actor=WORKER, owner=victor, purpose="Audits")
    assert new_owners() == [victor]
    agree(pair, actor=WORKER, owner=grace)
    assert new_owners() == [victor, grace]
    [row] = Notification.objects.filter(person=victor)
    message = build_message(row)
    sentence = (
        "You are now the owner of the access Payments US → Group SOC (sandbox-us1): Fraud alerts"
    )
    assert (message.title, message.sentence) == ("New owner of an agreement", sentence)


def test_who_makes_themself_the_owner_is_not_notified(pair: OrgPair, ada: Person):
    agree(pair, actor=person_actor(person=ada), owner=ada)
    assert new_owners() == []


def test_an_owner_without_an_account_gets_nothing(pair: OrgPair, settings: Settings):
    settings.WEBHOOK_URL = "https://hooks.example.org"
    agree(pair, actor=WORKER, owner_text="SOC team")
    assert not Notification.objects.filter(code="agreement.set").exists()


def test_a_new_owner_from_whom_the_pair_is_hidden_learns_nothing(
    pair: OrgPair, victor: Person, payments: Credential, grace: Person, root: Person
):
    agree(pair, actor=WORKER, owner=victor)
    let_only(grace, credential=payments, kind=AccessKind.SEE, actor=person_actor(person=root))
    with pytest.raises(Agreement.DoesNotExist):
        build_message(Notification.objects.get(person=victor, code="agreement.set"))


def test_several_new_agreements_of_an_owner_are_one_email(
    mail_server: MailServer, pair: OrgPair, victor: Person, sandbox: SandboxServer
):
    other = pair_between(sandbox, "Group SOC", "Payments US")
    terms: Terms = {"owner": victor, "purpose": "Fraud alerts"}
    set_separately(actor=command_actor(), lines=[(pair, terms), (other, terms)])
    assert delivery.run_due(channel=Notification.Channel.MAIL) == 1
    [mail] = mail_server.messages
    assert mail["Subject"] == "Org Admin: New owner of an agreement: 2 times"
