"""What the overview says before the first agreement: what is there, and what to do next."""

from dataclasses import dataclass

from django.conf import settings
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import NotAgreed
from connections.core.text import join_some_names
from connections.inventory.agreed_counts import AgreedCounts
from connections.inventory.matching import KnownOrg
from connections.models import Agreement

MAX_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class FirstStep:
    """Something that the person can do and that isn't done yet."""

    label: str
    why: str
    url: str


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """The orgs without a credential, and up to four steps."""

    connections: int
    orgs: int
    without_credential: int
    # The first of their names.
    names: str
    steps: list[FirstStep]


def find_first_steps(
    *, actor: Actor, agreed: AgreedCounts, orgs: int, without_credential: list[KnownOrg]
) -> FirstSteps | None:
    """What to say before the first agreement. None after it, also to those who can't see it."""
    connections = agreed.total
    if agreed.reasons[NotAgreed.NO_AGREEMENT] < connections or Agreement.objects.exists():
        return None
    names = [org.name or org.org_id for org in without_credential]
    return FirstSteps(
        connections=connections,
        orgs=orgs,
        without_credential=len(names),
        names=join_some_names(names, limit=MAX_NAMES),
        steps=_list_steps(actor, connections=connections, without_credential=len(names)),
    )


def _list_steps(actor: Actor, *, connections: int, without_credential: int) -> list[FirstStep]:
    steps = []
    if without_credential and permissions.can_manage_credentials(actor):
        steps.append(
            FirstStep(
                label="Add the other orgs",
                why="Only an org with a credential shows its own connections.",
                url=reverse("credential-import"),
            )
        )
    is_administrator = permissions.can_administer(actor)
    person_id = actor.person.pk if actor.person else None
    approvers = permissions.people_who_can_approve_with(credential_id=None, excluded=person_id)
    if is_administrator and not approvers.exists():
        steps.append(
            FirstStep(
                label="Invite an approver",
                why="No one approves what they requested themselves.",
                url=reverse("person-new"),
            )
        )
    if connections and permissions.can_set_agreements(actor):
        steps.append(
            FirstStep(
                label="Say who answers for each connection",
                why="An agreement names the owner and the purpose of the access.",
                url=reverse("agreement-list"),
            )
        )
    if is_administrator and not settings.HAS_MAIL:
        steps.append(
            FirstStep(
                label="Turn on email",
                why="Without it, no one is notified of what they have to decide.",
                url=reverse("notification-list"),
            )
        )
    return steps
