"""The filter form of the history, and filters as text."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import QuerySet

from connections.core import clock
from connections.core.any_of import AnyOf
from connections.deletions.history import BREAK_GLASS, CONTRADICTED, HistoryFilter
from connections.deletions.status import STATUS_GROUPS
from connections.deletions.texts import label_of_outcome, label_of_state
from connections.models import Credential, Outcome, Person, State


def filter_text(filters: HistoryFilter) -> str:
    """A filter as text without its period: "site datadoghq.eu, outcome refused"."""
    person = Person.objects.filter(pk=filters.person).first() if filters.person else None
    credential = (
        Credential.objects.filter(pk=filters.credential).first() if filters.credential else None
    )
    parts = {
        "requested by": str(person.display_name if person else filters.person or ""),
        "credential": str(credential.name if credential else filters.credential or ""),
        "site": filters.site,
        "source or destination org": filters.org,
        "state": filters.state.replace("_", " "),
        "outcome": filters.outcome.replace("_", " "),
        "status": " or ".join(STATUS_LABELS.get(each, each) for each in filters.status),
        "ticket": filters.ticket,
        "connection": str(filters.connection_id or ""),
        "bulk deletion": str(filters.batch or ""),
        "connections of access review": str(filters.access_review or ""),
        "text": f"“{filters.text}”" if filters.text else "",
    }
    texts = [f"{name} {value}" for name, value in parts.items() if value]
    return ", ".join(texts) or "all deletions in the period"


def period_text(*, since: datetime | None, until: datetime) -> str:
    """A period in UTC from `since` (None means the beginning) until `until`, exclusive."""
    begin = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if since else "the beginning"
    return f"from {begin} until {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


PERIODS = {**{str(days): f"Last {days} days" for days in (7, 30, 90)}, "365": "Last year"}
# A calendar in the browser.
DATE = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")


def _exact(statuses: Iterable[str]) -> dict[str, str]:
    return {
        str(status): label_of_state(status) if status in State.values else label_of_outcome(status)
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
    # Older addresses can contain a state or an outcome instead.
    state = forms.ChoiceField(
        choices=State.choices, required=False, label="Status", widget=forms.HiddenInput
    )
    outcome = forms.ChoiceField(
        choices=Outcome.choices, required=False, label="Status", widget=forms.HiddenInput
    )
    person = forms.ModelChoiceField(
        Person.objects.order_by("username"), required=False, label="Requester", empty_label="Any"
    )
    org = forms.CharField(max_length=1000, required=False)
    credential = forms.ModelChoiceField(Credential.objects.none(), required=False)
    site = forms.CharField(max_length=100, required=False)
    ticket = forms.CharField(max_length=200, required=False)
    connection_id = forms.UUIDField(required=False, label="Connection ID")
    batch = forms.UUIDField(required=False, label="Bulk deletion")
    since = forms.DateField(required=False, label="From (UTC)", widget=DATE)
    until = forms.DateField(required=False, label="To (UTC)", widget=DATE)
    q = forms.CharField(max_length=200, required=False, label="Reason, ticket, org, ID")

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, credentials: QuerySet[Credential]
    ) -> None:
        super().__init__(data)
        self.fields["credential"] = forms.ModelChoiceField(
            credentials, required=False, empty_label="Any"
        )

    def filters(self) -> HistoryFilter:
        """The filters, or none if one of them is invalid. A relative period ends now."""
        if not self.is_valid():
            return HistoryFilter()
        data: dict[str, Any] = self.cleaned_data
        person, credential = data["person"], data["credential"]
        since, until = _midnight(data["since"]), _midnight(data["until"])
        if data.get("period") and since is None:
            since = clock.now() - timedelta(days=data["period"])
        return HistoryFilter(
            since=since,
            # The last day is included.
            until=_next_day(until) if until else None,
            person=person.pk if person else None,
            credential=credential.pk if credential else None,
            site=data["site"],
            org=data["org"],
            state=data.get("state", ""),
            outcome=data.get("outcome", ""),
            status=data["status"],
            ticket=data["ticket"],
            connection_id=data["connection_id"],
            batch=data["batch"],
            text=data["q"],
        )


def _next_day(at: datetime) -> datetime | None:
    try:
        return at + timedelta(days=1)
    except OverflowError:
        # `date.max` has no next day and excludes nothing.
        return None


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=UTC) if day else None
