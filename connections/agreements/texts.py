"""What agreements, and the reasons why a connection isn't agreed, are called."""

from collections.abc import Iterator
from datetime import date

from connections.agreements.setting import AgreementsSet
from connections.core.data_types import in_order
from connections.core.text import format_day, join_names, pluralize
from connections.models import Agreement

# An end in so many days is soon, and then urgent.
DAYS_SOON, DAYS_URGENT = 30, 3


def result_text(result: AgreementsSet) -> str:
    """What was saved: "Saved 3 agreements. 2 already said the same."."""
    parts = []
    if result.new:
        parts.append(f"Saved {pluralize(len(result.new), 'agreement')}.")
    if result.unchanged:
        parts.append(f"{len(result.unchanged):,} already said the same.")
    return " ".join(parts)


def end_text(ends_on: date, *, today: date) -> str:
    """The last day of an agreement: "today", "in 12 days" up to 30 days ahead, or "30 Jun 2027"."""
    days = (ends_on - today).days
    if days == 0:
        return "today"
    if 0 < days <= DAYS_SOON:
        return f"in {pluralize(days, 'day')}"
    return format_day(ends_on)


def is_end_urgent(ends_on: date, *, today: date) -> bool:
    """Whether the last day has passed or is at most 3 days away."""
    return (ends_on - today).days <= DAYS_URGENT


def owner_text(agreement: Agreement) -> str:
    """The name of the person or the team that answers for the access."""
    return agreement.owner_text or str(agreement.owner)


def change_texts(version: Agreement, before: Agreement | None) -> Iterator[str]:
    """What a version changed: "Owner Ada → Victor". Of a first one, all that it says."""
    types, end = join_names(in_order(version.connection_types)), version.ends_on
    if before is None:
        yield f"Agreed: {types}" + (f" until {format_day(end)}" if end else "")
        yield f"Owner {_owners(version)}"
        yield f"Purpose “{version.purpose}”"
        if version.ticket:
            yield f"Ticket {version.ticket}"
        return
    yield from _owner_change(version, before)
    if version.connection_types != before.connection_types:
        yield f"Data types {join_names(in_order(before.connection_types))} → {types}"
    if end != before.ends_on:
        earlier = format_day(before.ends_on) if before.ends_on else "no end"
        yield f"End {earlier} → {format_day(end) if end else 'no end'}"
    if version.purpose != before.purpose:
        yield f"Purpose “{before.purpose}” → “{version.purpose}”"
    if version.ticket != before.ticket:
        yield f"Ticket {before.ticket or 'none'} → {version.ticket or 'none'}"


def _owner_change(version: Agreement, before: Agreement) -> Iterator[str]:
    if (version.owner_id, version.owner_text) == (before.owner_id, before.owner_text):
        return
    names = _owners(before), _owners(version)
    if names[0] == names[1]:
        # Two people of one name.
        names = _owners(before, by_username=True), _owners(version, by_username=True)
    yield f"Owner {names[0]} → {names[1]}"


def _owners(agreement: Agreement, *, by_username: bool = False) -> str:
    """Both the person and the team, because each can change without the other."""
    person = agreement.owner
    name = str((person.username if by_username else person) if person else "")
    return " and ".join(filter(None, (name, agreement.owner_text)))
