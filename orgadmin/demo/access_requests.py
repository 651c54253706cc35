"""The demo's access requests: two that wait, one that ends today, and two that are done."""

import uuid
from datetime import timedelta

from connections.access.actor import WORKER
from connections.access_requests.requesting import WantedTerms, request_access
from connections.access_requests.targets import find_target
from connections.change_requests import approvals, lifecycle
from connections.core import clock
from connections.models import AccessRequest, Credential, Deletion, Org, OrgPair, RequestKind
from connections.operations import due
from orgadmin.demo.world import DemoWorld, ago

TO_APPROVE = ("Group SOC", "Risk Engine")
TO_CONFIRM = ("Pricing", "Catalog")
ENDS_TODAY = ("Group SOC", "Open Banking")
RESTORED = ("Loyalty", "Retail US")
MOVED = ("Catalog", "Loyalty")


def pair_between(names: tuple[str, str]) -> OrgPair:
    """The pair of the orgs with these names, source org first. The source org has a credential."""
    source, sink = names
    site, source_id = Credential.objects.values_list("site", "org_id").get(name=source)
    return OrgPair(site, source_id, Org.objects.get(site=site, name=sink).org_id)


def ends_today(world: DemoWorld) -> None:
    """Access that was agreed until two days ago, and then approved until today."""
    today = clock.now().date()
    with ago(days=3, hours=20):
        access_request = _request(
            world,
            "viewer",
            ENDS_TODAY,
            RequestKind.EXTEND,
            {"ends_on": today},
            reason="Open Banking switches to its own dashboards three days late.",
            ticket=4203,
        )
    with ago(days=3, hours=19):
        approvals.approve(
            change_request=access_request,
            actor=world.actor("approver"),
            digest=access_request.approval_digest,
        )
    with ago(days=3, hours=18):
        lifecycle.execute(
            change_request=access_request,
            actor=world.actor("operator"),
            confirmation=ENDS_TODAY[1],
        )


def waits_to_be_confirmed(world: DemoWorld) -> None:
    """The Viewer can't confirm it, and no approval is required."""
    today = clock.now().date()
    with ago(hours=5):
        _request(
            world,
            "viewer",
            TO_CONFIRM,
            RequestKind.CHANGE,
            {
                "types": ["logs", "metrics"],
                "owner": world.people["viewer"],
                "purpose": "Find out why the shop shows other prices",
                "ends_on": today + timedelta(days=30),
            },
            reason="Wrong prices.",
            ticket=4218,
        )


def waits_for_approval(world: DemoWorld) -> None:
    """The Viewer requests a connection of an org that requires an approval."""
    today = clock.now().date()
    with ago(hours=4):
        _request(
            world,
            "viewer",
            TO_APPROVE,
            RequestKind.CREATE,
            {
                "types": ["logs"],
                "owner": world.people["viewer"],
                "purpose": "Score payments by alerts of the security center",
                "ends_on": today + timedelta(days=90),
            },
            reason="The pilot of the risk score starts this week.",
            ticket=4219,
        )


def restored(world: DemoWorld) -> None:
    """A deleted connection is created again. The demo's worker verifies it."""
    _request(
        world,
        "operator",
        RESTORED,
        RequestKind.RESTORE,
        {
            "owner_text": "Loyalty team",
            "purpose": "Check points of customers at the till",
            "ends_on": clock.now().date() + timedelta(days=60),
        },
        reason="Loyalty is back for the holiday season.",
        ticket=4224,
        restored_from=Deletion.objects.get(**pair_between(RESTORED)._asdict()),
    )


def moved(world: DemoWorld) -> None:
    """A connection whose creator left gets a service account as its creator."""
    access_request = _request(
        world,
        "operator",
        MOVED,
        RequestKind.MOVE,
        {},
        reason="Tom Aldridge has left.",
        ticket=4225,
    )
    # The worker creates it once Datadog no longer lists the old one.
    due.run_request(change_request=access_request, actor=WORKER)


def _request(
    world: DemoWorld,
    username: str,
    names: tuple[str, str],
    kind: RequestKind,
    wanted: WantedTerms,
    *,
    reason: str,
    ticket: int,
    restored_from: Deletion | None = None,
) -> AccessRequest:
    """Request access as on the confirmation page, which also sends it if it needs no one else."""
    actor, pair = world.actor(username), pair_between(names)
    target = find_target(actor=actor, kind=kind, pair=pair, restored_from=restored_from)
    number = f"OPS-{ticket}"
    return request_access(
        actor=actor,
        kind=kind,
        pair=pair,
        wanted=wanted,
        reason=reason,
        ticket=number,
        request_id=uuid.uuid4(),
        digest=target.form_digest,
        confirmation=target.text_to_type,
        restored_from=restored_from,
    )
