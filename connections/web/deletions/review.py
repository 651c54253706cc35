"""What the review page shows, from a review and the input so far."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from django.urls import reverse

from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.core.causes import cause_text
from connections.core.data_types import unknown_types
from connections.core.sites import site_label, site_or_none
from connections.deletions import reviews
from connections.deletions.reviews import Review, effect_text
from connections.deletions.status import status_of
from connections.deletions.texts import approvals_needed_text, describe
from connections.models import Credential, Deletion, OrgConnectionSnapshot
from connections.people import people
from connections.web.badges import deletion_badge
from connections.web.deletions.forms import ConnectionChoiceForm, DeletionForm
from connections.web.deletions.status_section import review_url
from connections.web.framework.support import creator_flags, uuid_or_none

PREFILLED = ("reason", "ticket")


def no_sender_context(*, actor: Actor) -> dict[str, Any] | None:
    """Who can add a credential. Set if the actor can use no verified credential."""
    if any(credential.org_id for credential in visibility.usable_credentials(actor=actor)):
        return None
    return {
        "can_manage_credentials": permissions.can_manage_credentials(actor),
        "administrators": people.list_administrator_names(),
    }


def choice_form(data: Mapping[str, Any] | None = None, *, actor: Actor) -> ConnectionChoiceForm:
    """The form for the connection and the credential."""
    credentials = [
        (str(credential.pk), f"{credential.name} — {site_label(credential.site)}")
        for credential in visibility.usable_credentials(actor=actor)
    ]
    return ConnectionChoiceForm(data, credentials=credentials)


SIDES = {"source": "source side", "sink": "destination side"}


def review_context(review: Review, *, form: DeletionForm) -> dict[str, Any]:
    """Template variables of a review."""
    snapshot = review.snapshot or OrgConnectionSnapshot()
    types = snapshot.connection_types
    names = {"source": snapshot.source_org_name, "sink": snapshot.sink_org_name}
    this: dict[str, Any] = {
        "credential": review.credential.pk,
        "connection_id": review.connection_id,
    }
    typed: dict[str, Any] = {name: str(form[name].value() or "") for name in PREFILLED}
    site = review.credential.site
    return {
        "site_label": site_label(site),
        "types": types,
        "effect": effect_text(types=types, **names) if review.is_reviewed else "",
        "unknown_types": unknown_types(types),
        "creator_flags": creator_flags(snapshot),
        "side": SIDES.get(review.side, ""),
        "senders": _other_senders(review),
        "not_listed": _not_listed(review),
        "problem": _problem(review.credential),
        "request_text": _request_text(review),
        "curl": _curl(review),
        "approvals_needed": approvals_needed_text(review.policy),
        "again_url": review_url(**this, **typed),
        "connection_url": reverse("org-connection-detail", args=[site, review.connection_id]),
        # Finds the deletion that this form requested, if the response gets lost.
        "record_url": review_url(**this, request_id=str(form["request_id"].value())),
    }


def _not_listed(review: Review) -> str:
    """What the newest sync says about an unreviewed connection."""
    sync = review.last_sync
    if review.is_reviewed or sync is None:
        return ""
    if sync.is_complete:
        return f"The last sync of {review.credential.name} doesn't list it."
    return f"The last sync of {review.credential.name} failed. {cause_text(sync.cause)}"


def _other_senders(review: Review) -> list[tuple[str, str]]:
    """The name and review of each other credential that lists the connection and can send."""
    sides = {}
    if review.snapshot:
        sides = {
            review.snapshot.source_org_id: "source side",
            review.snapshot.sink_org_id: "destination side",
        }
    return [
        (
            f"{other.name} ({sides.get(other.org_id, 'other side')})",
            review_url(credential=other.pk, connection_id=review.connection_id),
        )
        for other in review.other_credentials
    ]


def previous_deletion_context(review: Review, *, actor: Actor) -> dict[str, Any]:
    """The deletion that ended this connection. Empty if the connection might still exist."""
    ended = reviews.previous_deletion(
        actor=actor, credential=review.credential, connection_id=review.connection_id
    )
    if ended is None:
        return {}
    status = status_of(ended)
    return {
        "ended": ended,
        "ended_badge": deletion_badge(ended, status=status),
        "ended_text": describe(ended, status=status),
    }


def _problem(credential: Credential) -> str | None:
    """Why the chosen credential can't send. None if it can."""
    if credential.is_retired:
        return f"{credential.name} was retired. Choose another credential."
    if not credential.org_id:
        return (
            f"{credential.name} hasn't been verified. Verify it first, or choose another "
            "credential."
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
            *_key_headers(credential),
        )
    )


def _key_headers(credential: Credential) -> list[str]:
    if credential.has_access_token:
        return [f"Authorization: Bearer …{credential.access_token_last_four}"]
    return [
        f"DD-API-KEY: …{credential.api_key_last_four}",
        f"DD-APPLICATION-KEY: …{credential.application_key_last_four}",
    ]


def _curl(review: Review) -> str:
    site = site_or_none(review.credential.site)
    base_url = site.base_url if site else f"https://{review.credential.site}"
    keys = ['-H "DD-API-KEY: $DD_API_KEY"', '-H "DD-APPLICATION-KEY: $DD_APPLICATION_KEY"']
    if review.credential.has_access_token:
        keys = ['-H "Authorization: Bearer $DD_ACCESS_TOKEN"']
    return " \\\n  ".join(
        (
            f"curl -X DELETE '{base_url}{_path(review)}'",
            "-H 'Accept: application/json'",
            *keys,
        )
    )


def deletion_form(
    review: Review, *, typed: Mapping[str, Any], request_id: UUID | None = None
) -> DeletionForm:
    """The unbound form of a review, with the earlier input."""
    return DeletionForm(
        initial={
            "credential": review.credential.pk,
            "connection_id": review.connection_id,
            "request_id": request_id or uuid4(),
            "digest": review.digest,
        }
        | {name: typed.get(name, "") for name in PREFILLED}
    )


def previous_input(again: str, *, actor: Actor) -> dict[str, str]:
    """The reason and ticket of the deletion that is requested again."""
    pk = uuid_or_none(again)
    within = visibility.visible(Deletion.objects.all(), actor=actor)
    before = within.filter(pk=pk).first() if pk else None
    return {"reason": before.reason, "ticket": before.ticket} if before else {}
