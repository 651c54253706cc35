"""Who is notified of changes, when, and with which text."""

import json
from dataclasses import replace

import pytest
from django.contrib.auth.models import Group
from pytest_django import Settings

from connections.access.actor import command_actor, person_actor
from connections.changes.acknowledgement import acknowledge_changes
from connections.models import Change, CredentialAccess, Notification, Person
from connections.notifications import change_digests
from connections.notifications.change_digests import enqueue_changes
from connections.notifications.messages import build_message
from tests.agreements.support import agree
from tests.changes.support import make_connection, make_credential, sync
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)


@pytest.fixture(autouse=True)
def _destinations(settings: Settings, ada: Person, linus: Person, victor: Person) -> None:
    settings.HAS_MAIL = True
    settings.WEBHOOK_URL = "https://hook.example"
    settings.BASE_URL = "https://orgadmin.example"


def lose(name: str, clock: SettableClock, *, connection: int = 1) -> None:
    """A credential's sync finds that its connection was removed."""
    credential = make_credential(name)
    sync(credential, make_connection(connection, sink=name))
    clock.advance(minutes=1)
    sync(credential)


def enqueue(clock: SettableClock) -> None:
    """What the worker does once the newest change has waited for others."""
    clock.advance(seconds=30)
    enqueue_changes()


def queued() -> list[str]:
    """The recipients of all messages, in order."""
    rows = Notification.objects.filter(code="changes.detected").order_by("created_at", "pk")
    return sorted(row.person.username if row.person else row.channel for row in rows)


def test_one_message_for_all_orgs_of_a_sync(clock: SettableClock):
    lose("a", clock)
    lose("b", clock, connection=2)
    enqueue(clock)
    enqueue(clock)
    assert queued() == ["ada", "linus", "webhook"]
    message = build_message(Notification.objects.filter(person=None).get())
    assert message.data["count"] == 2


@pytest.mark.database
def test_at_most_one_message_in_ten_minutes_and_nothing_is_lost(clock: SettableClock):
    lose("a", clock)
    enqueue(clock)
    lose("b", clock, connection=2)
    enqueue(clock)
    assert len(queued()) == 3
    clock.advance(minutes=10)
    enqueue(clock)
    assert len(queued()) == 6
    ranges = Notification.objects.values_list("subject_id", flat=True).distinct()
    assert set(ranges) == {"1-1", "2-2"}


@pytest.mark.database
def test_changes_from_before_the_first_message_are_left_out_once_they_are_a_day_old(
    clock: SettableClock,
):
    lose("a", clock)
    clock.advance(hours=25)
    lose("b", clock, connection=2)
    enqueue(clock)
    message = build_message(Notification.objects.filter(person=None).get())
    assert [row.partition(".")[0] for row in message.rows] == [
        "Removed elsewhere: Acme Prod → B (US1)"
    ]


def test_a_change_that_was_not_sent_for_a_day_is_sent_after_an_earlier_message(
    clock: SettableClock,
):
    lose("a", clock)
    enqueue(clock)
    lose("b", clock, connection=2)
    clock.advance(hours=25)
    enqueue(clock)
    ranges = Notification.objects.values_list("subject_id", flat=True).distinct()
    assert set(ranges) == {"1-1", "2-2"}


@pytest.mark.database
def test_a_change_waits_for_others_but_not_until_all_syncs_have_ended(clock: SettableClock):
    lose("a", clock)
    enqueue_changes()
    assert queued() == []
    clock.advance(seconds=29)
    sync(make_credential("b"), make_connection(2, sink="b"))
    enqueue_changes()
    assert queued() == []
    clock.advance(seconds=1)
    enqueue_changes()
    assert len(queued()) == 3


@pytest.mark.database
def test_people_who_turned_it_off_or_are_disabled_or_see_nothing_get_none(
    clock: SettableClock, ada: Person, grace: Person, linus: Person
):
    ada.wants_change_emails, grace.is_active = False, False
    Person.objects.bulk_update([ada, grace], ["wants_change_emails", "is_active"])
    lose("a", clock)
    # A test that empties the tables also deletes the groups that a migration created.
    group, _ = Group.objects.get_or_create(name="Credential manager")
    hidden = make_credential("b")
    CredentialAccess.objects.create(credential=hidden, kind="see", group=group)
    sync(hidden, make_connection(2, sink="b"))
    clock.advance(minutes=1)
    sync(hidden)
    enqueue(clock)
    assert queued() == ["linus", "webhook"]
    message = build_message(Notification.objects.get(person=linus))
    assert [row.partition(".")[0] for row in message.rows] == [
        "Removed elsewhere: Acme Prod → A (US1)"
    ]


def test_what_needs_no_attention_is_not_sent(clock: SettableClock):
    credential = make_credential("a")
    sync(credential, X)
    clock.advance(minutes=1)
    sync(credential, X, make_connection(2, sink="lab"))
    enqueue(clock)
    assert queued() == []


def test_a_message_has_fifty_rows_and_a_link(clock: SettableClock, ada: Person):
    credential = make_credential("a")
    sync(credential, *(make_connection(number, sink=f"org-{number}") for number in range(1, 61)))
    clock.advance(minutes=1)
    sync(credential)
    enqueue(clock)
    message = build_message(Notification.objects.get(person=ada))
    assert message.sentence == "60 changes need attention. The newest 50:"
    assert len(message.rows) == 50
    body = message.as_text()
    assert body.count("- Removed elsewhere") == 50
    assert "https://orgadmin.example/changes/?attention=yes&acknowledged=no" in body


def test_names_from_outside_are_only_text_for_slack_and_one_line_in_mail(clock: SettableClock):
    credential = make_credential("a")
    evil = replace(X, sink_org=replace(X.sink_org, name="<!channel> & <https://x|y>\nBcc: eve"))
    sync(credential, evil)
    clock.advance(minutes=1)
    sync(credential)
    enqueue(clock)
    message = build_message(Notification.objects.get(person=None))
    document = json.loads(message.as_json())
    assert "&lt;!channel&gt; &amp; &lt;https://x|y&gt;" in document["text"]
    assert "<" not in document["text"]
    [change] = document["data"]["changes"]
    assert change["kind"] == "removed"
    assert "\nBcc" not in message.as_text()


def test_no_mail_asks_for_what_someone_has_acknowledged_meanwhile(
    clock: SettableClock, ada: Person, linus: Person
):
    lose("a", clock)
    lose("b", clock, connection=2)
    enqueue(clock)
    seen = [Change.objects.earliest("number").pk]
    acknowledge_changes(actor=person_actor(person=linus), change_ids=seen, note="Agreed.")
    assert build_message(Notification.objects.get(person=ada)).about == "1 change"
    assert build_message(Notification.objects.get(person=None)).about == "2 changes"


def test_a_reader_who_lost_all_roles_gets_no_message(clock: SettableClock, ada: Person):
    lose("a", clock)
    enqueue(clock)
    ada.groups.clear()
    with pytest.raises(Change.DoesNotExist):
        build_message(Notification.objects.get(person=ada))


@pytest.mark.database
def test_the_owner_of_an_agreement_gets_its_changes_instead_of_everyone(
    clock: SettableClock, victor: Person
):
    lose("a", clock)
    lose("b", clock, connection=2)
    change = Change.objects.earliest("number")
    agree(
        change_digests.pair_of(change), actor=command_actor(), owner=victor, connection_types=["x"]
    )
    enqueue(clock)
    assert queued() == ["ada", "linus", "victor", "webhook"]
    rows = Notification.objects.filter(code="changes.detected")
    counts = {
        row.person.username if row.person else "webhook": build_message(row).data["count"]
        for row in rows
    }
    assert counts == {"ada": 1, "linus": 1, "victor": 1, "webhook": 2}
