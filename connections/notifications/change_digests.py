"""Queues notifications about changes that need attention: one message for many changes and orgs."""

from datetime import timedelta

from django.db.models import QuerySet

from connections import audit
from connections.access import visibility
from connections.access.actor import person_actor
from connections.changes.changes import ChangeFilter, matching_changes
from connections.core import clock
from connections.models import Change, Notification, OrgPair, Person
from connections.notification_queue import outbox
from connections.notification_queue.destinations import list_event_channels
from connections.notifications.responsible import find_responsible, list_recipients

# At most one message for each destination within this time.
INTERVAL = timedelta(minutes=10)
# Changes wait this long for others, because several orgs or processes are often synced together.
GATHERING_TIME = timedelta(seconds=30)
# Without an earlier message, older changes date from before a destination was configured.
MAX_AGE = timedelta(hours=24)


def enqueue_changes() -> None:
    """Queue the changes that have not been sent yet, unless a change or message is too recent.

    Call it outside any transaction. Raises database errors.
    """
    if not list_event_channels():
        return
    now = clock.now()
    with audit.atomic():
        # Always the same row, so that only one worker at a time decides. Changes are never removed.
        Change.objects.select_for_update(no_key=True).order_by("number").first()
        last = Notification.objects.filter(code=outbox.CHANGES_DETECTED).first()
        if last and clock.elapsed_since(last.created_at, now=now) < INTERVAL:
            return
        filters = ChangeFilter(
            needs_attention=True,
            after_number=numbers_in(last)[1] if last else 0,
            since=None if last else now - MAX_AGE,
        )
        pending = matching_changes(filters)
        newest, oldest = pending.first(), pending.last()
        if newest is None or oldest is None:
            return
        if clock.elapsed_since(oldest.detected_at, now=now) < GATHERING_TIME:
            return
        outbox.enqueue_changes(
            numbers=(oldest.number, newest.number),
            people=_find_recipients(pending),
        )


def numbers_in(notification: Notification) -> tuple[int, int]:
    """The numbers of the first and the last change that a message can be about."""
    first, _, last = notification.subject_id.partition("-")
    return int(first), int(last)


def pair_of(change: Change) -> OrgPair:
    """The pair of orgs that a change is about; without IDs for a renamed org."""
    return OrgPair(change.site, change.source_org_id, change.sink_org_id)


def _find_recipients(changes: QuerySet[Change]) -> list[Person]:
    """Who can get a message about one of these changes: owners, and those who get all."""
    columns = ("site", "source_org_id", "sink_org_id")
    pairs = {OrgPair(*row) for row in changes.order_by().values_list(*columns).distinct()}
    people = {person.pk: person for person in find_responsible(pairs).by_pair.values()}
    people |= {person.pk: person for person in list_recipients()}
    return [
        person
        for _, person in sorted(people.items())
        if visibility.visible_changes(changes, actor=person_actor(person=person)).exists()
    ]
