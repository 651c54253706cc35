"""What the review page shows, from a review and the input so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.timesince import timesince

from connections import wording
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core import clock
from connections.core.text import format_age
from connections.deletions.reviews import Review
from connections.models import Credential, Deletion, OrgConnectionSnapshot
from connections.people import people
from connections.web.deletions.forms import ConnectionChoiceForm, DeletionForm
from connections.wording.connections import creator_flags, site_label, site_name, site_or_none

PREFILLED = ("reason", "ticket")


@dataclass(frozen=True, kw_only=True)
class NoSenderPage:
    """Shown where no credential can send: who can add one."""

    can_manage_credentials: bool
    administrators: list[str]


def no_sender_page(*, actor: Actor) -> NoSenderPage | None:
    """Set while the actor can use no verified credential."""
    if any(credential.org_id for credential in visibility.usable_credentials(actor=actor)):
        return None
    return NoSenderPage(
        can_manage_credentials=permissions.can_manage_credentials(actor),
        administrators=people.list_administrator_names(),
    )


def choice_form(data: Mapping[str, Any] | None = None, *, actor: Actor) -> ConnectionChoiceForm:
    """The form for the connection and the credential."""
    credentials = [
        (str(credential.pk), f"{credential.name} — {site_label(credential.site)}")
        for credential in visibility.usable_credentials(actor=actor)
    ]
    return ConnectionChoiceForm(data, credentials=credentials)


def review_url(*, credential: UUID, connection_id: UUID, **more: str) -> str:
    """The URL of a review.

    `more` may hold `reason`, `ticket`, `request_id`, and `again`: the id of a deletion whose reason
    and ticket are reused; they could be too long for a URL.
    """
    asked = {"credential": str(credential), "connection_id": str(connection_id)}
    typed = {name: value for name, value in more.items() if value}
    return f"{reverse('deletion-new')}?{urlencode(asked | typed)}"


@dataclass(frozen=True, kw_only=True)
class TypeEffect:
    """What deleting stops for one connection type."""

    text: str
    is_known: bool


@dataclass(frozen=True, kw_only=True)
class OtherSender:
    """Another credential that lists the connection and can send."""

    name: str
    url: str


@dataclass(frozen=True, kw_only=True)
class ReviewPage:
    """A review as text."""

    site: str
    site_label: str
    types: str
    effect: str
    effects: list[TypeEffect]
    # "1 year, 8 months"; empty on its first day.
    age: str
    creator_flags: list[str]
    end: str
    senders: list[OtherSender]
    # "3 min ago, at … UTC"; empty where this credential never synced.
    last_read: str
    # What the newest sync says about an unreviewed connection.
    not_listed: str
    # Why the chosen credential cannot send, if it cannot.
    problem: str | None
    request_text: str
    curl: str
    # A new review with the same input.
    again_url: str
    connection_url: str
    # Finds the deletion that this form requested, in case our response is lost.
    record_url: str


def build_review_page(review: Review, *, form: DeletionForm) -> ReviewPage:
    """The page's content for a review."""
    snapshot = review.snapshot or OrgConnectionSnapshot()
    names = {"source": snapshot.source_org_name, "sink": snapshot.sink_org_name}
    effects = [wording.effect_of_type(kind, **names) for kind in snapshot.connection_types]
    now = clock.now()
    return ReviewPage(
        site=site_name(review.credential.site),
        site_label=site_label(review.credential.site),
        types=", ".join(snapshot.connection_types),
        effect=wording.effect_text(types=snapshot.connection_types, **names),
        effects=[TypeEffect(text=text, is_known=known) for text, known in effects],
        age=_age(snapshot.connection_created_at, now=now),
        creator_flags=creator_flags(snapshot),
        end={"source": "source end", "sink": "destination end"}.get(review.side, ""),
        senders=_senders(review),
        last_read=_last_read(review, now=now),
        not_listed=_not_listed(review),
        problem=_problem(review.credential),
        request_text=_request_text(review),
        curl=_curl(review),
        again_url=review_url(
            credential=review.credential.pk,
            connection_id=review.connection_id,
            **{name: str(form[name].value() or "") for name in PREFILLED},
        ),
        connection_url=reverse(
            "org-connection-detail", args=[review.credential.site, review.connection_id]
        ),
        record_url=review_url(
            credential=review.credential.pk,
            connection_id=review.connection_id,
            request_id=str(form["request_id"].value()),
        ),
    )


def _age(at: datetime | None, *, now: datetime) -> str:
    return timesince(at, now) if at and now - at >= timedelta(days=1) else ""


def _last_read(review: Review, *, now: datetime) -> str:
    listing = review.last_sync
    if listing is None:
        return ""
    at = f"{format_age(listing.started_at, now=now)}, at {wording.format_time(listing.started_at)}"
    return at if listing.is_complete else f"{at}, not completely"


def _not_listed(review: Review) -> str:
    listing = review.last_sync
    if review.is_reviewed or listing is None:
        return ""
    if listing.is_complete:
        return f"The newest list of {review.credential.name} does not show it."
    why = wording.cause_text(listing.cause)
    return f"The newest list of {review.credential.name} did not come whole. {why}"


def _senders(review: Review) -> list[OtherSender]:
    ends = {}
    if review.snapshot:
        ends = {
            review.snapshot.source_org_id: "source end",
            review.snapshot.sink_org_id: "destination end",
        }
    return [
        OtherSender(
            name=f"{other.name} ({ends.get(other.org_id, 'other end')})",
            url=review_url(credential=other.pk, connection_id=review.connection_id),
        )
        for other in review.other_credentials
    ]


def _problem(credential: Credential) -> str | None:
    if credential.is_retired:
        return f"{credential.name} was retired. Choose another credential."
    if not credential.org_id:
        return (
            f"{credential.name} was never verified, so nothing may be sent with it. "
            "Verify it first, or choose another credential."
        )
    return None


def _path(review: Review) -> str:
    return f"/api/v2/org_connections/{review.connection_id}"


def _request_text(review: Review) -> str:
    site = site_or_none(review.credential.site)
    credential = review.credential
    return "\n".join(
        (
            f"DELETE {_path(review)} HTTP/1.1",
            f"Host: {site.api_host if site else review.credential.site}",
            "Accept: application/json",
            f"DD-API-KEY: …{credential.api_key_last_four}",
            f"DD-APPLICATION-KEY: …{credential.application_key_last_four}",
        )
    )


def _curl(review: Review) -> str:
    site = site_or_none(review.credential.site)
    base_url = site.base_url if site else f"https://{review.credential.site}"
    return " \\\n  ".join(
        (
            f"curl -X DELETE '{base_url}{_path(review)}'",
            "-H 'Accept: application/json'",
            '-H "DD-API-KEY: $DD_API_KEY"',
            '-H "DD-APPLICATION-KEY: $DD_APPLICATION_KEY"',
        )
    )


def deletion_form(
    review: Review, *, typed: Mapping[str, Any], request_id: UUID | None = None
) -> DeletionForm:
    """The form of a review, unbound, with the earlier input."""
    return DeletionForm(
        initial={
            "credential": review.credential.pk,
            "connection_id": review.connection_id,
            "request_id": request_id or uuid4(),
            "digest": review.digest,
        }
        | {name: typed.get(name, "") for name in PREFILLED}
    )


def uuid_or_none(text: str) -> UUID | None:
    """The UUID in that text; None for any other text."""
    try:
        return UUID(text)
    except ValueError:
        return None


def previous_input(again: str, *, actor: Actor) -> dict[str, str]:
    """Reason and ticket of the deletion that is requested again."""
    pk = uuid_or_none(again)
    within = visibility.visible(Deletion.objects.all(), actor=actor)
    before = within.filter(pk=pk).first() if pk else None
    return {"reason": before.reason, "ticket": before.ticket} if before else {}
