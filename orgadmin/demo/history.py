"""The demo's history, created with the real services and the Datadog simulator."""

import uuid
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from connections import models
from connections.access.actor import WORKER
from connections.access_reviews import closing, decisions, population
from connections.access_reviews.rows import review_rows
from connections.change_requests import approvals, lifecycle
from connections.core import clock
from connections.core.errors import ConflictError
from connections.credentials import lifecycle as credential_lifecycle
from connections.deletions import confirmations, requesting
from connections.inventory import protections, syncs
from connections.operations import due
from connections.people import people
from orgadmin.demo import access_requests, simulator
from orgadmin.demo.agreements import agree_on_most
from orgadmin.demo.world import (
    DemoWorld,
    add_credentials,
    add_people,
    ago,
)
from sandbox.demo_world import connection_id_between


def seed() -> dict[str, Any]:
    """Fill an empty database. Return the people and their password.

    Raises ConflictError, with nothing changed, if there is a person or a credential.
    """
    if models.Person.objects.exists() or models.Credential.objects.exists():
        raise ConflictError(
            "This database contains people or credentials, so the demo leaves it alone."
        )
    world = DemoWorld()
    with ago(days=31):
        add_people(world)
    with ago(days=30):
        add_credentials(world)
    _create_history(world)
    syncs.sync_orgs(actor=WORKER)
    return {
        "people": [
            {
                "username": person.username,
                "roles": people.describe_roles(
                    people.get_stored_roles(person), is_administrator=person.is_superuser
                ),
            }
            for person in world.people.values()
        ],
        "password": settings.DEMO_PASSWORD,
    }


# --- The steps ----------------------------------------------------------------------------------


def _create_history(world: DemoWorld) -> None:
    # In the order of their times, because the audit log is.
    for step in (
        _deleted,
        _started_an_access_review,
        _deleted_in_labs,
        partial(_synced, orgs=_LABS + _RETAIL, days=24),
        _decided_on_audit_events,
        _refused,
        _closed_the_access_review,
        _already_absent,
        _gone_after_a_lost_response,
        partial(_synced, orgs=_RETAIL, days=16),
        _closed_as_unresolved,
        _contradicted,
        agree_on_most,
        _require_approvals,
        _approved_and_deleted,
        _protected,
        _allowed_break_glass,
        _declined,
        _withdrawn,
        _started_a_second_access_review,
        _requested_and_forgotten,
        _decided_on_some,
        _expired,
        access_requests.ends_today,
        _started_an_access_review_by_owners,
        _decided_on_more,
        _decided_as_an_owner,
        _still_present,
        access_requests.waits_to_be_confirmed,
        access_requests.waits_for_approval,
        _waits_for_approval,
        _waits_for_confirmation,
        partial(_synced, orgs=_CHANGED, hours=1),
        _unknown,
        access_requests.restored,
        access_requests.moved,
        _changed_outside,
    ):
        step(world)


def _deleted(world: DemoWorld) -> None:
    pair = ("Payments EU", "Claims EU")
    _request(world, "Payments EU", pair, "Claims reads its own logs now", 4127, days=26, hours=3)
    _run_worker_afterwards(days=26, hours=3)


def _deleted_in_labs(world: DemoWorld) -> None:
    pair = ("Labs Staging", "Labs")
    _request(world, "Labs", pair, "Staging was folded into Labs", 4133, days=24, hours=7)
    _run_worker_afterwards(days=24, hours=7)


def _refused(world: DemoWorld) -> None:
    pair = ("Claims EU", "Group SOC")
    _request(world, "Group SOC", pair, "SOC moved to the new tenant", 4140, days=22, hours=5)


def _already_absent(world: DemoWorld) -> None:
    pair = ("Retail US", "Store Operations")
    # Another client deletes it at Datadog between the last sync and the DELETE.
    _set_fault(world, "Retail US", pair, "executes_then_404")
    _request(world, "Retail US", pair, "Store dashboards were retired", 4151, days=20, hours=2)


def _gone_after_a_lost_response(world: DemoWorld) -> None:
    pair = ("Loyalty", "Retail US")
    _request(world, "Retail US", pair, "Loyalty left the group", 4160, days=17, hours=6)
    _run_worker_afterwards(days=17, hours=6)


def _closed_as_unresolved(world: DemoWorld) -> None:
    pair, reason = ("Retail US", "Data Lake"), "The lake has its own intake"
    deletion = _request(world, "Retail US", pair, reason, 4168, days=14, hours=4)
    _run_worker_afterwards(days=14, hours=4)
    with ago(days=14, hours=1):
        lifecycle.close(
            change_request=models.Deletion.objects.get(pk=deletion.pk),
            actor=world.actor("operator"),
            reason="Datadog returns 500 each time. Support case opened, will request it again.",
        )


def _contradicted(world: DemoWorld) -> None:
    pair = ("Warehouse US", "Retail US")
    _request(world, "Retail US", pair, "The warehouse was sold", 4175, days=12, hours=8)
    _run_worker_afterwards(days=12, hours=8)


def _require_approvals(world: DemoWorld) -> None:
    with ago(days=11):
        world.credentials["Group SOC"] = credential_lifecycle.change_policy(
            actor=world.actor("administrator"),
            credential=world.credentials["Group SOC"],
            policy=models.ApprovalPolicy.ONE,
        )


def _approved_and_deleted(world: DemoWorld) -> None:
    pair, reason = ("Group SOC", "Data Lake EU"), "Logs are shipped directly"
    deletion = _request(world, "Group SOC", pair, reason, 4181, days=9, hours=5)
    _approve(world, deletion, days=9, hours=4)
    with ago(days=9, hours=3):
        lifecycle.execute(
            change_request=deletion,
            actor=world.actor("operator"),
            confirmation=confirmations.confirmation_text(deletion, actor=world.actor("operator")),
        )
    _run_worker_afterwards(days=9, hours=3)


def _protected(world: DemoWorld) -> None:
    key = models.OrgConnectionKey(
        site=world.credentials["Retail US"].site,
        connection_id=uuid.UUID(connection_id_between(source="Contact Center", sink="Retail US")),
    )
    with ago(days=9):
        protections.protect_connection(
            actor=world.actor("credentials"), key=key, reason="Month-end reports read these logs."
        )


def _allowed_break_glass(world: DemoWorld) -> None:
    operator = models.Person.objects.get(pk=world.people["operator"].pk)
    with ago(days=8):
        people.set_break_glass(actor=world.actor("administrator"), person=operator, is_allowed=True)


def _declined(world: DemoWorld) -> None:
    pair, reason = ("Group SOC", "Claims EU"), "Audit data seems unused"
    deletion = _request(world, "Group SOC", pair, reason, 4190, days=7, hours=6)
    with ago(days=7, hours=2):
        approvals.decline(
            change_request=deletion,
            actor=world.actor("approver"),
            reason="The claims team queries it every month-end. Ask them first.",
        )


def _withdrawn(world: DemoWorld) -> None:
    pair, reason = ("Group SOC", "Payments EU"), "Payments has its own audit"
    deletion = _request(world, "Group SOC", pair, reason, 4194, days=6, hours=5)
    with ago(days=6, hours=4):
        lifecycle.withdraw(
            change_request=deletion,
            actor=world.actor("operator"),
            reason="Payments still needs it until the end of the quarter.",
        )


def _requested_and_forgotten(world: DemoWorld) -> None:
    pair = ("Data Lake EU", "Group SOC")
    _request(world, "Group SOC", pair, "No search uses it", 4199, days=5, hours=3)


def _expired(_world: DemoWorld) -> None:
    with ago(days=4):
        due.run_due(actor=WORKER)


def _still_present(world: DemoWorld) -> None:
    pair = ("Labs", "Mobile")
    _request(world, "Labs", pair, "Mobile has its own org now", 4210, days=1, hours=2)
    _run_worker_afterwards(days=1, hours=2)


def _waits_for_approval(world: DemoWorld) -> None:
    pair = ("Partner Portal", "Group SOC")
    _request(world, "Group SOC", pair, "The partner contract ended", 4221, hours=3)


def _waits_for_confirmation(world: DemoWorld) -> None:
    pair, reason = ("Insurance EU", "Group SOC"), "Insurance was divested"
    deletion = _request(world, "Group SOC", pair, reason, 4222, hours=2)
    _approve(world, deletion, hours=1)


# The orgs whose connections are removed or changed. Other syncs before the last one would only cost
# time: they detect nothing.
_LABS = ("Labs", "Labs Staging")
_RETAIL = ("Retail US", "Store Operations", "Loyalty")
_CHANGED = ("Group SOC", "Customer Care EU", "Insurance EU", "Payments EU", "Labs", "Search")


def _synced(world: DemoWorld, *, orgs: tuple[str, ...], days: int = 0, hours: int = 0) -> None:
    with ago(days=days, hours=hours):
        credentials = [world.credentials[name] for name in orgs]
        syncs.sync_orgs(actor=WORKER, credentials=credentials)


def _changed_outside(world: DemoWorld) -> None:
    """What people did at Datadog within the last hour. The last sync detects it."""
    for source, sink, values in (
        ("Group SOC", "Data Lake EU", {"change": "recreate"}),
        ("Insurance EU", "Payments EU", {"connection_types": ["logs", "metrics", "audit"]}),
        ("Search", "Labs", {"change": "disable_creator"}),
        ("Customer Care EU", "Group SOC", {"connection_types": ["logs", "metrics", "audit"]}),
    ):
        names = (name for name in (source, sink) if name in world.credentials)
        simulator.change_connection(
            values,
            connection_id=connection_id_between(source=source, sink=sink),
            site=world.credentials[next(names)].site,
        )


def _unknown(world: DemoWorld) -> None:
    pair = ("Treasury", "Payments EU")
    _set_fault(world, "Payments EU", pair, "reset_after_reading")
    _request(world, "Payments EU", pair, "Treasury metrics moved to the lake", 4223)


# --- Helpers of the steps ----------------------------------------------------------------------


def _request(
    world: DemoWorld,
    org: str,
    pair: tuple[str, str],
    reason: str,
    ticket: int,
    *,
    days: int = 0,
    hours: int = 0,
) -> models.Deletion:
    """Request the deletion of this pair's connection, with the credential of `org`.

    The Operator requests it that long ago, as on the confirmation page, which also confirms
    it if no approval is needed.
    """
    with ago(days=days, hours=hours):
        actor, credential = world.actor("operator"), world.credentials[org]
        connection_id = uuid.UUID(connection_id_between(source=pair[0], sink=pair[1]))
        target = confirmations.find_target(
            actor=actor, credential=credential, connection_id=connection_id
        )
        return requesting.request_deletion(
            actor=actor,
            credential=credential,
            connection_id=connection_id,
            reason=f"{reason}.",
            ticket=f"OPS-{ticket}",
            request_id=uuid.uuid4(),
            digest=target.digest,
            confirmation=target.text_to_type,
        )


def _approve(world: DemoWorld, deletion: models.Deletion, *, days: int = 0, hours: int = 0) -> None:
    with ago(days=days, hours=hours):
        approvals.approve(
            change_request=deletion, actor=world.actor("approver"), digest=deletion.approval_digest
        )


def _run_worker_afterwards(*, days: int, hours: int) -> None:
    """Run the worker at that time as often as it takes to close what it can."""
    for seconds in (45, 120, 320):
        with clock.offset(-timedelta(days=days, hours=hours) + timedelta(seconds=seconds)):
            due.run_due(actor=WORKER)


def _set_fault(world: DemoWorld, org: str, pair: tuple[str, str], fault: str) -> None:
    simulator.set_delete_fault(
        fault,
        connection_id=connection_id_between(source=pair[0], sink=pair[1]),
        site=world.credentials[org].site,
    )


type _Choice = Callable[[models.AccessReviewRow], bool]


_AUDIT_REVIEW = "Audit events of Group SOC"
_ORG_REVIEW = "Group SOC"
_OWNERS_REVIEW = "Acquired orgs"


def _started_an_access_review(world: DemoWorld) -> None:
    """One of the audit events that Group SOC can query."""
    with ago(days=25):
        population.start_review(
            actor=world.actor("auditor"),
            name=_AUDIT_REVIEW,
            scope="type=audit&destination=Group+SOC",
            due=_today() + timedelta(days=5),
            reviewers=[],
        )


def _decided_on_audit_events(world: DemoWorld) -> None:
    with ago(days=23, hours=4):
        _decide(
            _AUDIT_REVIEW,
            world=world,
            reason="Until the bank's own SOC takes over.",
            keep_until=_today() + timedelta(days=20),
            choose=lambda row: row.source_org_name in {"Collections EU", "Lending EU"},
        )
        _decide(
            _AUDIT_REVIEW,
            world=world,
            reason="Group SOC monitors the audit events of all orgs.",
            choose=lambda row: row.source_org_name not in {"HR Systems", "Treasury"},
        )


def _closed_the_access_review(world: DemoWorld) -> None:
    with ago(days=21, hours=2):
        closing.close_review(
            review=models.AccessReview.objects.get(name=_AUDIT_REVIEW),
            actor=world.actor("auditor"),
            open_reason="Their owners are on leave. The next access review has them again.",
        )


def _started_a_second_access_review(world: DemoWorld) -> None:
    """One of everything between Group SOC and other orgs, due in five days."""
    soc = world.credentials["Group SOC"]
    with ago(days=6):
        population.start_review(
            actor=world.actor("auditor"),
            name=_ORG_REVIEW,
            scope=urlencode({"org": f"{soc.site}/{soc.org_id}"}),
            due=_today() + timedelta(days=11),
            reviewers=[world.people["operator"], world.people["approver"]],
        )


def _decided_on_some(world: DemoWorld) -> None:
    with ago(days=4, hours=3):
        _decide(
            _ORG_REVIEW,
            world=world,
            reason="Confirmed by the SOC lead.",
            choose=lambda row: row.source_org_name[0] in "CD" and row.sink_org_name == "Group SOC",
        )
        _decide(
            _ORG_REVIEW,
            world=world,
            reason="No dashboard or notebook has used it for 90 days.",
            decision=models.ReviewDecision.DELETE,
            choose=lambda row: row.source_org_name[0] in "MO",
        )


def _decided_on_more(world: DemoWorld) -> None:
    with ago(days=1, hours=5):
        _decide(
            _ORG_REVIEW,
            world=world,
            username="approver",
            reason="Needed until the migration ends.",
            keep_until=_today() + timedelta(days=120),
            choose=lambda row: row.source_org_name[0] in "PR",
        )


def _started_an_access_review_by_owners(world: DemoWorld) -> None:
    """One that repeats every month, of what the orgs acquired in 2025 share and query."""
    with ago(days=3):
        population.start_review(
            actor=world.actor("auditor"),
            name=_OWNERS_REVIEW,
            scope="group=acquired+2025",
            due=_today() + timedelta(days=14),
            reviewers=[],
            assignment=models.Assignment.OWNERS,
            repeat_months=1,
        )


def _decided_as_an_owner(world: DemoWorld) -> None:
    with ago(days=1, hours=4):
        _decide(
            _OWNERS_REVIEW,
            world=world,
            username="approver",
            reason="The team of the source org confirmed it.",
            choose=lambda row: row.source_org_name[0] in "CDL",
        )


def _today() -> date:
    return clock.now().date()


def _decide(
    review_name: str,
    *,
    world: DemoWorld,
    reason: str,
    choose: _Choice,
    decision: models.ReviewDecision = models.ReviewDecision.KEEP,
    keep_until: date | None = None,
    username: str = "operator",
) -> None:
    """Decide together on the undecided connections that `choose` accepts."""
    actor = world.actor(username)
    review = models.AccessReview.objects.get(name=review_name)
    undecided = [row.id for row in review_rows(review=review, actor=actor) if row.is_decidable]
    rows = models.AccessReviewRow.objects.filter(pk__in=undecided)
    decisions.decide(
        review=review,
        actor=actor,
        connections=[row.key.reference for row in rows if choose(row)],
        decision=decision,
        reason=reason,
        keep_until=keep_until,
    )
