"""What must hold before a deletion may be asked for; each question names the field it is about."""

from django.core.exceptions import PermissionDenied

from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.audit import lookups
from connections.core.errors import ConflictError, InvalidInputError, has_visible_text
from connections.deletions import reviews
from connections.deletions.reviews import Review
from connections.deletions.tickets import check_ticket
from connections.models import Credential, OrgConnectionKey, Person

LONGEST_REASON = 4000
OUT_OF_REACH = (
    "A credential that you may not use has to do with this connection. Nothing was sent. Ask "
    "whoever may use it."
)
OUT_OF_DATE = "This page is out of date. Nothing was sent. Open the review again."


def check_credential(*, credential: Credential, requester: Person | None) -> None:
    """Whether this credential may send what this person asks for.

    Raises InvalidInputError naming what stands against it, and PermissionDenied when the person
    may not delete connections.
    """
    if requester and not permissions.can_use(
        person_actor(person=requester), credential_id=credential.pk
    ):
        raise PermissionDenied(f"{requester} may not delete connections with {credential.name}.")
    if credential.is_retired:
        raise InvalidInputError(
            {"credential": f"{credential.name} was retired. Choose another credential."}
        )
    if not credential.org_id:
        raise InvalidInputError(
            {"credential": f"{credential.name} was never verified. Verify it first."}
        )


def check_nobody_else_sees_it(shown: Review, *, actor: Actor) -> None:
    """What another credential can show is not asked for unseen, nor called gone by this one.

    Nor is what an open deletion out of reach is about.
    """
    if shown.is_out_of_reach:
        key = OrgConnectionKey(site=shown.credential.site, connection_id=shown.connection_id)
        lookups.record_refusal(actor=actor, subject=key)
        raise ConflictError(OUT_OF_REACH)
    if not shown.is_reviewed and shown.other_credentials:
        names = ", ".join(other.name for other in shown.other_credentials)
        raise ConflictError(
            f"{shown.credential.name} does not list it, but {names} does. Nothing was sent. "
            "Choose that credential, so that you see what it is."
        )


def check_requester(shown: Review, *, requester: Person | None) -> None:
    """Raise InvalidInputError when nobody asks for what needs a second person."""
    if shown.needs_approval and requester is None:
        raise InvalidInputError(
            {
                "credential": "It needs a second person, so a person must ask: name one with "
                "--as USERNAME."
            }
        )


def check_input(*, shown: Review, reason: str, ticket: str, confirmation: str | None) -> None:
    """Raise InvalidInputError naming every field in which something typed cannot be used."""
    fields: dict[str, str] = {}
    if not has_visible_text(reason):
        fields["reason"] = "Say why: the reason stands in the record for ever."
    elif len(reason.strip()) > LONGEST_REASON:
        fields["reason"] = f"A reason has at most {LONGEST_REASON} characters."
    problem = check_ticket(ticket.strip())
    if problem:
        fields["ticket"] = problem
    if not shown.needs_approval and not reviews.confirmation_matches(
        typed=confirmation or "", expected=shown.text_to_type
    ):
        fields["confirmation"] = f"Type “{shown.text_to_type}” to confirm. Nothing was sent."
    if fields:
        raise InvalidInputError(fields)
