"""The filter form of the history, and filters as text."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from connections.core import clock
from connections.core.any_of import AnyOf, EndedSinceField, SearchField
from connections.core.text import format_time
from connections.deletions.history import BREAK_GLASS, CONTRADICTED, HistoryFilter
from connections.deletions.status import STATUS_GROUPS
from connections.models import Credential, Outcome, Person, State


def filter_text(filters: HistoryFilter) -> str:
    """A filter as text without its period: "site datadoghq.eu, outcome refused"."""
    people = Person.objects.in_bulk(filters.person)
    credentials = Credential.objects.in_bulk(filters.credential)
    names: dict[object, str] = {pk: person.display_name for pk, person in people.items()}
    names |= {pk: credential.name for pk, credential in credentials.items()} | STATUS_LABELS

    def any_of(values: Iterable[object]) -> str:
        return " or ".join(names.get(value, str(value)) for value in values)

    parts = {
        "requested by": any_of(filters.person),
        "credential": any_of(filters.credential),
        "site": any_of(filters.site),
        "source or destination org": any_of(filters.org),
        "status": any_of(filters.status),
        "ticket": filters.ticket,
        "connection": str(filters.connection_id or ""),
        "bulk deletion": str(filters.batch or ""),
        "connections of access review": str(filters.access_review or ""),
        "ended since": format_time(filters.ended_since) if filters.ended_since else "",
        "text": f"“{filters.text}”" if filters.text else "",
    }
    texts = [f"{name} {value}" for name, value in parts.items() if value]
    return ", ".join(texts) or "all deletions in the period"


def period_text(*, since: datetime | None, until: datetime) -> str:
    """A period in UTC from `since` (None means the beginning) until `until`, exclusive."""
    begin = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if since else "the beginning"
    return f"from {begin} until {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


# What the filter and its form call the same.
_SAME_NAMES = ("site", "org", "status", "ticket", "connection_id", "batch", "ended_since")
PERIODS = {**{str(days): f"Last {days} days" for days in (7, 30, 90)}, "365": "Last year"}
# A calendar in the browser.
DATE = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


def _exact(statuses: Iterable[str]) -> dict[str, str]:
    return {
        str(status): str((State if status in State.values else Outcome)(status).label)
        for status in statuses
    }


# The filter by status: under each heading all of its statuses, then each one.
STATUSES: dict[str, dict[str, str]] = {
    "Open": {"open": "All open", **_exact(STATUS_GROUPS["open"])},
    "Deleted": {**_exact([Outcome.DELETED]), CONTRADICTED: "Still listed or reappeared"},
    "Not deleted": {"not_deleted": "All not deleted", **_exact(STATUS_GROUPS["not_deleted"])},
    "Unknown": {"undetermined": "All unknown", **_exact(STATUS_GROUPS["undetermined"])},
    "Approval": {BREAK_GLASS: "Break glass"},
}
STATUS_LABELS = {code: label for group in STATUSES.values() for code, label in group.items()}


class HistoryForm(forms.Form):
    """Every filter of the history, in the order of the page. All are optional."""

    period = forms.TypedChoiceField(
        choices=[("", "Any time"), *PERIODS.items()], coerce=int, empty_value=None, required=False
    )
    # One choice for states and outcomes, because people read them as one status.
    status = AnyOf(forms.ChoiceField(label="Status", choices=STATUSES))
    person = AnyOf(
        forms.ModelChoiceField(
            Person.objects.order_by("username"), label="Requester", empty_label=None
        )
    )
    org = AnyOf(forms.CharField(max_length=1000))
    credential = AnyOf(forms.ModelChoiceField(Credential.objects.none()))
    site = AnyOf(forms.CharField(max_length=100))
    ticket = forms.CharField(max_length=200, required=False)
    connection_id = forms.UUIDField(required=False, label="Connection ID")
    batch = forms.UUIDField(required=False, label="Bulk deletion")
    since = forms.DateField(required=False, label="From (UTC)", widget=DATE)
    until = forms.DateField(required=False, label="To (UTC)", widget=DATE)
    ended_since = EndedSinceField()
    q = SearchField(label="Org, reason, ticket")

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, credentials: QuerySet[Credential]
    ) -> None:
        super().__init__(data)
        self.fields["credential"] = AnyOf(forms.ModelChoiceField(credentials, empty_label=None))

    def filters(self) -> HistoryFilter:
        """The filters, or none if one of them is invalid. A relative period ends now."""
        if not self.is_valid():
            return HistoryFilter()
        data: dict[str, Any] = self.cleaned_data
        since, until = _midnight(data["since"]), _midnight(data["until"])
        if data.get("period") and since is None:
            since = clock.now() - timedelta(days=data["period"])
        return HistoryFilter(
            since=since,
            # The last day is included.
            until=_next_day(until) if until else None,
            person=tuple(person.pk for person in data["person"]),
            credential=tuple(credential.pk for credential in data["credential"]),
            text=data["q"],
            **{name: data[name] for name in _SAME_NAMES},
        )


def current_query(query: QueryDict) -> QueryDict:
    """The parameters. Older addresses can contain a state or an outcome in place of a status."""
    current = query.copy()
    for name in ("state", "outcome"):
        for value in current.pop(name, []):
            current.appendlist("status", value)
    return current


def _next_day(at: datetime) -> datetime | None:
    try:
        return at + timedelta(days=1)
    except OverflowError:
        # `date.max` has no next day and excludes nothing.
        return None


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=UTC) if day else None
