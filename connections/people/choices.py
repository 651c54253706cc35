"""What people choose for themselves: which emails they get, and whether single keys act."""

from enum import StrEnum

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.models import Person


class EmailChoice(StrEnum):
    """A field of the person."""

    CHANGES = "wants_change_emails"
    ONLY_ALERTS = "wants_only_alerts"


# What the event's details call the choice, and the emails that it turns on or off.
_RECORDED = {
    EmailChoice.CHANGES: ("wanted", "emails about changes and access reviews"),
    EmailChoice.ONLY_ALERTS: ("only_alerts", "emails that aren't alerts"),
}


def set_email_choice(*, actor: Actor, person: Person, choice: EmailChoice, is_wanted: bool) -> None:
    """Turn a choice on or off, only for oneself. Raises PermissionDenied."""
    permissions.require(actor.person == person, "change another person's emails")
    if getattr(person, choice) == is_wanted:
        return
    setattr(person, choice, is_wanted)
    name, emails = _RECORDED[choice]
    are_sent = is_wanted != (choice == EmailChoice.ONLY_ALERTS)
    with audit.atomic():
        person.save(update_fields=[choice])
        audit.record(
            code=EventCode.CHANGE_EMAILS_SET,
            actor=actor,
            subject=person,
            sentence=audit.Sentence(
                "{actor} turned {state} {emails}.", state="on" if are_sent else "off", emails=emails
            ),
            details={name: is_wanted},
        )


def set_single_keys(*, actor: Actor, person: Person, is_wanted: bool) -> None:
    """Let keys of one character act on the person's pages or not, only for oneself.

    Raises PermissionDenied.
    """
    permissions.require(actor.person == person, "change another person's keys")
    if person.wants_single_keys == is_wanted:
        return
    person.wants_single_keys = is_wanted
    with audit.atomic():
        person.save(update_fields=["wants_single_keys"])
        audit.record(
            code=EventCode.SINGLE_KEYS_SET,
            actor=actor,
            subject=person,
            sentence=audit.Sentence(
                "{actor} turned keys of one character {state}.",
                state="on" if is_wanted else "off",
            ),
            details={"wanted": is_wanted},
        )
