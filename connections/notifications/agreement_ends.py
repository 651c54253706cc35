"""Reminds owners of agreements that end soon: 14, 3 and 1 days before, at most once a day.

If Org Admin deletes the connection then, the requester of the access is reminded too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from connections import audit
from connections.access import visibility
from connections.access.actor import Actor, person_actor
from connections.agreements.approved import automatic_end, find_grants
from connections.audit import EventCode, Sentence
from connections.core import clock
from connections.core.text import pluralize
from connections.inventory.inventory import current_snapshots
from connections.models import Agreement, AgreementReminder, OrgPair, Person, newest_agreements
from connections.notification_queue import outbox
from connections.notification_queue.destinations import list_event_channels
from connections.notifications.responsible import (
    Responsible,
    find_responsible,
    gets_email,
    list_recipients,
)

REMINDER_DAYS = (14, 3, 1)


@dataclass(frozen=True, kw_only=True)
class EndingAgreements:
    """The agreements of current connections that end soon, earliest first."""

    agreements: list[Agreement]
    responsible: Responsible
    # The requesters of access whose connection Org Admin deletes at its end.
    requesters: dict[OrgPair, Person]

    def of(self, person: Person | None) -> Iterator[Agreement]:
        """Those that messages to this person are about; all of them for the webhook."""
        pairs = {agreement.pair for agreement in self.agreements}
        if person:
            pairs = visibility.visible_pairs(pairs, actor=person_actor(person=person))
        for agreement in self.agreements:
            if agreement.pair in pairs and (
                person is None
                or self.responsible.concerns(agreement.pair, person=person)
                or self.requesters.get(agreement.pair) == person
            ):
                yield agreement


def find_ending(*, actor: Actor, today: date) -> EndingAgreements:
    """The agreements that end within the longest time. `actor` can see everything."""
    ending = newest_agreements().filter(
        ends_on__gte=today, ends_on__lte=today + timedelta(days=max(REMINDER_DAYS))
    )
    columns = ("site", "source_org_id", "sink_org_id")
    listed = {OrgPair(*row) for row in current_snapshots(actor=actor).values_list(*columns)}
    rows = ending.order_by("ends_on", *columns).prefetch_related("reminders")
    agreements = [agreement for agreement in rows if agreement.pair in listed]
    pairs = {agreement.pair for agreement in agreements}
    requester_ids = {
        pair: grant.requested_by_id
        for pair, grant in find_grants(pairs).items()
        if automatic_end(grant, today=today)
    }
    people = Person.objects.in_bulk({pk for pk in requester_ids.values() if pk})
    return EndingAgreements(
        agreements=agreements,
        responsible=find_responsible(pairs),
        requesters={
            pair: people[pk]
            for pair, pk in requester_ids.items()
            if pk in people and gets_email(people[pk])
        },
    )


def remind(*, actor: Actor) -> None:
    """Queue today's messages, if someone has to be reminded and nobody was today.

    Does nothing unless email or a webhook is configured. Raises database errors.
    """
    if not list_event_channels():
        return
    now = clock.now()
    today = now.date()
    if AgreementReminder.objects.filter(sent_at__date=today).exists():
        return
    ending = find_ending(actor=actor, today=today)
    due = [
        AgreementReminder(agreement=agreement, days=days, sent_at=now)
        for agreement in ending.agreements
        for days in _due_days(agreement, today=today)
    ]
    if not due:
        return
    with audit.atomic():
        # The database refuses the same reminder from another worker.
        AgreementReminder.objects.bulk_create(due)
        audit.record(
            code=EventCode.AGREEMENTS_ENDING,
            actor=actor,
            sentence=Sentence(
                "Owners were reminded that {agreements} will end soon.",
                agreements=pluralize(len({each.agreement_id for each in due}), "agreement"),
            ),
            details={"agreements": sorted({str(each.agreement_id) for each in due})},
        )
        reminded = {each.agreement.pair for each in due}
        people = {person.pk: person for person in ending.responsible.by_pair.values()}
        people |= {person.pk: person for person in ending.requesters.values()}
        people |= {person.pk: person for person in list_recipients()}
        outbox.enqueue_agreement_ends(
            day=today.isoformat(),
            people=[
                person
                for _, person in sorted(people.items())
                if any(agreement.pair in reminded for agreement in ending.of(person))
            ],
        )


def _due_days(agreement: Agreement, *, today: date) -> list[int]:
    """The reminders that are due. One that was due before the agreement was set is left out."""
    sent = {reminder.days for reminder in agreement.reminders.all()}
    left = (agreement.ends_on - today).days if agreement.ends_on else max(REMINDER_DAYS) + 1
    notice = left + (today - agreement.set_at.date()).days
    return [days for days in REMINDER_DAYS if left <= days <= notice and days not in sent]
