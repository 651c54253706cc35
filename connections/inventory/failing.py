"""Orgs whose syncs fail: two in a row, so that what passes within minutes isn't reported."""

from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from connections.core.causes import FailureKind, cause_text, failure_kind
from connections.core.sites import site_name
from connections.core.text import pluralize
from connections.inventory.sync_schedule import scheduled
from connections.models import Credential, Sync


@dataclass(kw_only=True)
class FailingSyncs:
    """The credentials of one site whose syncs fail for one kind of reason."""

    site: str
    kind: FailureKind
    # When the first failed sync began that no complete one has followed.
    since: datetime
    # Of the credential that has failed longest.
    cause: str
    http_status: int | None
    credentials: list[Credential] = field(default_factory=list)

    @property
    def orgs(self) -> str:
        """How many orgs of which site."""
        count = len({credential.org_id for credential in self.credentials})
        return f"{pluralize(count, 'org')} on {site_name(self.site)}"

    @property
    def reason(self) -> str:
        """Why they fail: the status of the response or, without one, a sentence."""
        if self.http_status and self.http_status != HTTPStatus.OK:
            return _status_text(self.http_status)
        return cause_text(self.cause)


def find_failing(credentials: QuerySet[Credential] | None = None) -> list[FailingSyncs]:
    """What fails among these credentials, by default all that are synced, oldest first."""
    newest = Sync.objects.filter(credential=OuterRef("pk")).order_by("-started_at", "-id")
    complete = newest.filter(is_complete=True)
    failed_since = Sync.objects.filter(
        credential=OuterRef("pk"),
        is_complete=False,
        started_at__gt=Coalesce(OuterRef("complete_at"), OuterRef("created_at")),
    ).order_by("started_at", "id")
    rows = scheduled().filter(pk__in=credentials) if credentials is not None else scheduled()
    failing = rows.annotate(
        complete_at=Subquery(complete.values("started_at")[:1]),
        is_newest_complete=Subquery(newest.values("is_complete")[:1]),
        was_complete_before=Subquery(newest.values("is_complete")[1:2]),
        failing_since=Subquery(failed_since.values("started_at")[:1]),
        sync_cause=Subquery(newest.values("cause")[:1]),
        sync_status=Subquery(newest.values("http_status")[:1]),
    ).filter(is_newest_complete=False, was_complete_before=False)
    groups: dict[tuple[str, FailureKind], FailingSyncs] = {}
    for credential in failing.order_by("failing_since", "name"):
        kind = failure_kind(credential.sync_cause)
        group = groups.setdefault(
            (credential.site, kind),
            FailingSyncs(
                site=credential.site,
                kind=kind,
                since=credential.failing_since,
                cause=credential.sync_cause,
                http_status=credential.sync_status,
            ),
        )
        group.credentials.append(credential)
    return list(groups.values())


def _status_text(status: int) -> str:
    if status in HTTPStatus:
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)
