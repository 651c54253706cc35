"""Who is notified of which event, in the transaction of the event."""

from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.audit import checkpoints
from connections.models import Approval, ApprovalPolicy, Deletion, Notification, Person, Role
from connections.notification_queue import outbox
from connections.notifications.titles import notification_title
from connections.people import erasure
from sandbox.server import SandboxServer
from tests.flows.support import Requester, store_credential
from tests.notifications.conftest import RecordEvent
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _set(settings: Settings) -> None:
    settings.HAS_MAIL = True
    settings.WEBHOOK_URL = "https://hooks.example.org/in"


def notified_people() -> set[str]:
    """The user names of people with a queued mail."""
    mails = Notification.objects.filter(channel=Notification.Channel.MAIL, person__isnull=False)
    return set(mails.values_list("person__username", flat=True))


def test_every_notification_has_a_title():
    others = (outbox.VERIFICATION_FAILED, "checkpoint.made", "notification.tested")
    for code in (*outbox.AUDIENCES, *others):
        assert notification_title(code, details={"outcome": "refused"}) != code


def test_possible_approvers_are_notified_and_the_requester_is_not(
    record_event: RecordEvent, ada: Person, linus: Person, root: Person, edith: Person
):
    record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert notified_people() == {"linus", "root"}


@pytest.mark.parametrize("deletion", [{"policy": ApprovalPolicy.NONE}], indirect=True)
def test_no_one_is_notified_when_no_approval_is_needed(
    record_event: RecordEvent, ada: Person, linus: Person
):
    record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert notified_people() == set()
    assert Notification.objects.get().channel == Notification.Channel.WEBHOOK


@pytest.mark.database
def test_requesting_and_approving_on_the_pages_notifies_the_other_person(
    sandbox: SandboxServer, ada: Person, linus: Person, client_of: Callable[[Person], Client]
):
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    credential = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE)
    asking = Requester(client=client_of(ada), credential=credential, connection=connection)
    approving = Requester(client=client_of(linus), credential=credential, connection=connection)
    requested = asking.delete()
    assert requested.outcome["data-state"] == "requested"
    assert notified_people() == {"linus"}
    url = reverse("deletion-detail", args=[asking.deletion().pk])
    approving.press(approving.open(url), "/approve/")
    assert notified_people() == {"linus", "ada"}


@pytest.mark.parametrize(
    "code",
    [
        audit.EventCode.DELETION_APPROVED,
        audit.EventCode.DELETION_DECLINED,
        audit.EventCode.DELETION_WITHDRAWN,
        audit.EventCode.DELETION_SETTLED,
        audit.EventCode.DELETION_UNKNOWN,
        audit.EventCode.DELETION_APPROVALS_LAPSED,
    ],
)
def test_the_requester_and_approvers_are_notified_of_the_outcome(
    record_event: RecordEvent,
    deletion: Deletion,
    ada: Person,
    linus: Person,
    root: Person,
    code: audit.EventCode,
):
    Approval.objects.create(
        deletion=deletion,
        approver=linus,
        requester=ada,
        decision=Approval.Decision.APPROVED,
        decided_at="2026-03-02T14:10:00Z",
    )
    record_event(code)
    assert notified_people() == {"ada", "linus"}
    assert Notification.objects.filter(code=code, channel=Notification.Channel.WEBHOOK).exists()


def test_approvers_are_notified_when_a_new_approval_is_needed(
    record_event: RecordEvent, deletion: Deletion, linus: Person, root: Person
):
    record_event(audit.EventCode.DELETION_STILL_PRESENT)
    assert notified_people() == {"ada", "linus", "root"}


@pytest.mark.parametrize("deletion", [{"policy": ApprovalPolicy.NONE}], indirect=True)
def test_approvers_are_not_notified_when_no_approval_is_needed(
    record_event: RecordEvent, deletion: Deletion, linus: Person, root: Person
):
    record_event(audit.EventCode.DELETION_STILL_PRESENT)
    assert notified_people() == {"ada"}


def test_people_are_not_notified_of_their_own_actions(record_event: RecordEvent, ada: Person):
    record_event(audit.EventCode.DELETION_SETTLED, by=ada)
    assert notified_people() == set()


@pytest.mark.parametrize(
    "code",
    [
        audit.EventCode.DELETION_CONTRADICTED,
        audit.EventCode.DELETION_ANSWERED_LATE,
        audit.EventCode.DELETION_STILL_UNKNOWN,
    ],
)
def test_administrators_are_notified_of_an_alarm(
    record_event: RecordEvent, code: audit.EventCode, ada: Person, root: Person, linus: Person
):
    record_event(code)
    assert notified_people() == {"ada", "root"}


def test_disabled_people_and_people_without_an_address_are_not_notified(
    record_event: RecordEvent, ada: Person, linus: Person, root: Person
):
    Person.objects.filter(pk=linus.pk).update(is_active=False)
    Person.objects.filter(pk=root.pk).update(email="")
    record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert notified_people() == set()


def test_a_person_with_several_roles_is_notified_once(record_event: RecordEvent, ada: Person):
    make_person("many", Role.APPROVER, Role.OPERATOR, Role.AUDITOR, is_administrator=True)
    record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert Notification.objects.filter(person__username="many").count() == 1


@pytest.mark.database
def test_a_rolled_back_event_queues_nothing(record_event: RecordEvent, ada: Person):
    with transaction.atomic():
        record_event(audit.EventCode.DELETION_SETTLED)
        assert Notification.objects.exists()
        transaction.set_rollback(True)
    assert not Notification.objects.exists()


def test_without_mail_and_webhook_no_row_is_written(
    record_event: RecordEvent, settings: Settings, ada: Person
):
    settings.HAS_MAIL, settings.WEBHOOK_URL = False, ""
    record_event(audit.EventCode.DELETION_SETTLED)
    assert not Notification.objects.exists()


def test_an_event_without_audience_queues_nothing(root: Person):
    audit.record(
        code=audit.EventCode.SIGNED_OUT,
        actor=person_actor(person=root),
        sentence=audit.Sentence("Gone."),
    )
    assert not Notification.objects.exists()


def test_a_row_holds_no_address_no_name_and_no_text(record_event: RecordEvent, ada: Person):
    record_event(audit.EventCode.DELETION_SETTLED, reason="canary-reason")
    for row in Notification.objects.values():
        values = " ".join(str(value) for value in row.values())
        assert not any(word in values for word in ("@", "Ada", "canary-reason"))


def test_an_erased_person_is_no_longer_notified(
    record_event: RecordEvent, ada: Person, root: Person
):
    erasure.erase_person(actor=person_actor(person=root), person=ada)
    Notification.objects.all().delete()
    record_event(audit.EventCode.DELETION_SETTLED)
    assert notified_people() == set()


def test_a_checkpoint_is_queued_for_each_recipient(settings: Settings, root: Person):
    settings.CHECKPOINT_EMAILS = ["witness@example.org", "Notary@example.net"]
    settings.CHECKPOINT_FILE = "/var/lib/witness/checkpoints"
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    checkpoints.make_checkpoint()
    rows = Notification.objects.filter(code=outbox.CHECKPOINT_MADE)
    assert sorted(rows.values_list("channel", flat=True)) == ["file", "mail", "mail", "webhook"]
    assert not any("@" in str(row) for row in rows.values())


@pytest.mark.database
def test_an_existing_checkpoint_is_not_queued_again(settings: Settings):
    audit.record(
        code=audit.EventCode.SIGNED_OUT, actor=WORKER, sentence=audit.Sentence("Something.")
    )
    checkpoints.make_checkpoint()
    checkpoints.make_checkpoint()
    assert Notification.objects.filter(code=outbox.CHECKPOINT_MADE).count() == 1


@pytest.mark.database
def test_the_same_notification_for_a_destination_is_queued_once(
    record_event: RecordEvent, ada: Person
):
    record_event()
    outbox.enqueue(events=audit.events_of(subject=Deletion.objects.get()))
    assert Notification.objects.count() == 2


@pytest.mark.database
def test_the_number_of_queries_does_not_depend_on_the_number_of_people_notified(
    record_event: RecordEvent, ada: Person, django_assert_max_num_queries: DjangoAssertNumQueries
):
    for number in range(20):
        make_person(f"approver{number}-{uuid4().hex[:4]}", Role.APPROVER)
    record_event(audit.EventCode.DELETION_APPROVED, by=ada)
    # The event's insert, the people, the time, the rows.
    with django_assert_max_num_queries(12):
        record_event(audit.EventCode.DELETION_REQUESTED, by=ada)
    assert len(notified_people()) == 20
