"""The filters of the audit log, and the form for an evidence bundle."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.db.models import QuerySet

from connections.audit.search import EventFilter, codes_starting_with
from connections.core.any_of import AnyOf, SearchField
from connections.core.sites import all_sites
from connections.deletions.history_filter import DATE, HistoryForm
from connections.inventory.matching import KnownOrg
from connections.models import Credential
from connections.web.framework.forms import ServiceForm
from connections.web.framework.lists import org_options, site_options

# A day or a minute. As an end, either includes all of it.
_MINUTE, _DAY = "%Y-%m-%d %H:%M", "%Y-%m-%d"
_AS_WRITTEN = {
    "invalid": "Enter a UTC date such as 2026-01-31, or a time such as 2026-01-31 14:05.",
}


def _time(label: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        required=False,
        label=label,
        input_formats=[_MINUTE, _DAY],
        error_messages=_AS_WRITTEN,
        widget=DATE,
    )


class EventFilters(forms.Form):
    """The filters of the audit log, from the query string. All are optional."""

    code = AnyOf(forms.CharField(max_length=60, label="Event"))
    actor = AnyOf(forms.CharField(max_length=200))
    since = _time("From (UTC)")
    until = _time("To (UTC)")
    deletion = forms.UUIDField(
        required=False,
        label="Deletion ID",
        error_messages={"invalid": "This isn't the ID of a deletion."},
    )
    subject = forms.CharField(max_length=64, required=False, label="Subject ID")
    request = forms.CharField(max_length=64, required=False, label="Request ID")
    q = SearchField(label="What happened")

    def clean_code(self) -> tuple[str, ...]:
        """Refuse a text that no event code starts with."""
        codes: tuple[str, ...] = self.cleaned_data["code"]
        if not all(map(codes_starting_with, codes)):
            raise forms.ValidationError("No event code starts with this.")
        return codes

    def filters(self) -> EventFilter:
        """The valid filters."""
        self.is_valid()
        data: dict[str, Any] = self.cleaned_data
        return EventFilter(
            since=data.get("since"),
            until=_end_of_period(data.get("until"), self.data.get("until", "")),
            **{name: data[name] for name in ("actor", "code", "deletion") if name in data},
            subject_id=data.get("subject", ""),
            request_id=data.get("request", ""),
            text=data.get("q", ""),
        )


def _end_of_period(at: datetime | None, written: str) -> datetime | None:
    if at is None:
        return None
    try:
        return at + (timedelta(minutes=1) if ":" in written else timedelta(days=1))
    except OverflowError:
        # 9999-12-31 has no next day.
        return None


_FILTERS = (
    "status",
    "person",
    "credential",
    "site",
    "org",
    "ticket",
    "connection_id",
    "batch",
    "q",
)


class BundleForm(ServiceForm, HistoryForm):
    """Which deletions a bundle contains, and a checkpoint to prove growth from."""

    # Django leaves out an inherited field that is set to None.
    period = None  # type: ignore[assignment]
    since = forms.DateField(
        label="From",
        required=False,
        help_text="First day (UTC). Leave empty to start with the first deletion.",
        widget=DATE,
    )
    until = forms.DateField(label="To", help_text="Last day (UTC), inclusive.", widget=DATE)
    checkpoint = forms.CharField(
        label="Earlier checkpoint",
        max_length=4000,
        required=False,
        help_text="Paste its text. The bundle then proves that the audit log only grew since then.",
        widget=forms.Textarea(attrs={"rows": 5, "class": "mono", "spellcheck": "false"}),
    )
    field_order = ("since", "until", *_FILTERS, "checkpoint")

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        credentials: QuerySet[Credential],
        orgs: Iterable[KnownOrg],
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, credentials=credentials)
        self.initial = initial or {}
        for name, label in {"person": "Person", "q": "Search"}.items():
            self.fields[name].label = label
        for name, options in {
            "site": site_options(site.site for site in all_sites()),
            "org": org_options(orgs),
        }.items():
            # A value that isn't offered stays chosen: without it, the bundle would contain more.
            others = [(each, each) for each in self[name].value() if each not in dict(options)]
            self.fields[name].widget = forms.SelectMultiple(choices=[*options, *others])

    @property
    def filter_fields(self) -> list[forms.BoundField]:
        """The filter fields other than the period."""
        return [self[name] for name in _FILTERS]

    @property
    def has_filters(self) -> bool:
        """Whether a filter field has a value or an error."""
        return any(field.value() or field.errors for field in self.filter_fields)

    def query(self) -> str:
        """The filter in the form that the audit event stores."""
        names = ("since", "until", *_FILTERS)
        entered = {name: self[name].data for name in names}
        return "&".join(
            f"{name}={each}"
            for name, value in entered.items()
            for each in (value if isinstance(value, list) else [value])
            if each
        )


def initial_from_history(history_form: HistoryForm, *, today: date) -> dict[str, Any]:
    """The form's initial values, from the filters of the history page."""
    history_form.is_valid()
    data: dict[str, Any] = {
        name: value for name, value in history_form.cleaned_data.items() if value
    }
    days = data.pop("period", None)
    if days and "since" not in data:
        data["since"] = today - timedelta(days=days)
    return {"until": today, **data}
