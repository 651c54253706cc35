"""A filter of the history in words, for somebody who was not there when it was set."""

from datetime import UTC, datetime

from connections.deletions.history import HistoryFilter
from connections.models import Credential, Person


def filter_words(only: HistoryFilter) -> str:
    """What a filter lets pass, its period apart: "site datadoghq.eu, outcome refused"."""
    person = Person.objects.filter(pk=only.person).first() if only.person else None
    credential = Credential.objects.filter(pk=only.credential).first() if only.credential else None
    parts = {
        "asked by": str(person.display_name if person else only.person or ""),
        "credential": str(credential.name if credential else only.credential or ""),
        "site": only.site,
        "source or destination org": only.org,
        "state": only.state.replace("_", " "),
        "outcome": only.outcome.replace("_", " "),
        "ticket": only.ticket,
        "connection": str(only.connection_id or ""),
        "words": f"“{only.text}”" if only.text else "",
    }
    told = [f"{name} {value}" for name, value in parts.items() if value]
    if only.is_contradicted:
        told.append("gone, but still listed")
    if only.is_glass_broken:
        told.append("glass broken")
    return ", ".join(told) or "every deletion in the period"


def period_words(*, since: datetime | None, until: datetime) -> str:
    """A period from `since` (None: the beginning) up to and without `until`, in UTC."""
    begin = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if since else "the beginning"
    return f"from {begin} until {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
