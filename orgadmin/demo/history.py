"""The demo's history, created through the real services with the Datadog simulator."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from connections.access.actor import WORKER
from connections.core import clock
from connections.core.errors import ConflictError
from connections.credentials import lifecycle as credential_lifecycle
from connections.deletions import approvals, reviews
from connections.deletions import lifecycle as deletion_lifecycle
from connections.inventory import sync
from connections.models import (
    ApprovalPolicy,
    Credential,
    Deletion,
    Person,
)
from connections.operations import due
from orgadmin.demo import simulator
from orgadmin.demo.access_reviews import close_an_access_review, start_an_access_review
from orgadmin.demo.world import (
    PASSWORD,
    DemoWorld,
    add_credentials,
    add_people,
    ago,
    allow_break_glass,
    describe_roles,
    protect_a_connection,
)
from sandbox.demo_world import connection_id_between


def seed() -> dict[str, Any]:
    """Fill an empty database; returns the people and their password.

    Raises ConflictError, having changed nothing, when there is a person or a credential.
    """
    if Person.objects.exists() or Credential.objects.exists():
        raise ConflictError(
            "This database holds people or credentials, so the demo leaves it alone."
        )
    world = DemoWorld()
    with ago(days=31):
        add_people(world)
    with ago(days=30):
        add_credentials(world)
    with ago(days=9):
        protect_a_connection(world)
    with ago(days=8):
        allow_break_glass(world)
    _create_history(world)
    sync.sync_orgs(actor=WORKER)
    return {
        "people": [
            {"username": one.username, "roles": describe_roles(one)}
            for one in world.people.values()
        ],
        "password": PASSWORD,
    }


# --- The steps ----------------------------------------------------------------------------------


def _create_history(world: DemoWorld) -> None:
    for step in (
        _deleted,
        close_an_access_review,
        _refused,
        _already_absent,
        _gone_after_a_lost_response,
        _closed_without_knowing,
        _contradicted,
        _require_approvals,
        _approved_and_deleted,
        _declined,
        _withdrawn,
        start_an_access_review,
        _expired,
        _still_present,
        _waits_for_approval,
        _waits_for_confirmation,
        _synced_an_hour_ago,
        _unknown,
        _changed_outside,
    ):
        step(world)


def _deleted(world: DemoWorld) -> None:
    with ago(days=26, hours=3):
        _request(
            world,
            _DemoRequest(
                "Payments EU", "Payments EU", "Claims EU", "Claims reads its own logs now", 4127
            ),
        )
    with ago(days=24, hours=7):
        _request(
            world,
            _DemoRequest("Labs", "Labs Staging", "Labs", "Staging was folded into Labs", 4133),
        )


def _refused(world: DemoWorld) -> None:
    with ago(days=22, hours=5):
        _request(
            world,
            _DemoRequest(
                "Group SOC", "Claims EU", "Group SOC", "SOC moved to the new tenant", 4140
            ),
        )


def _already_absent(world: DemoWorld) -> None:
    source, sink = "Retail US", "Store Operations"
    # Another client deletes it in Datadog between the last sync and the DELETE.
    _set_fault("executes_then_404", source=source, sink=sink, site="Retail US", world=world)
    with ago(days=20, hours=2):
        _request(
            world, _DemoRequest("Retail US", source, sink, "Store dashboards were retired", 4151)
        )


def _gone_after_a_lost_response(world: DemoWorld) -> None:
    with ago(days=17, hours=6):
        _request(
            world, _DemoRequest("Retail US", "Loyalty", "Retail US", "Loyalty left the group", 4160)
        )
    _run_worker_afterwards(days=17, hours=6)


def _closed_without_knowing(world: DemoWorld) -> None:
    with ago(days=14, hours=4):
        deletion = _request(
            world,
            _DemoRequest(
                "Retail US", "Retail US", "Data Lake", "The lake has its own intake", 4168
            ),
        )
    _run_worker_afterwards(days=14, hours=4)
    with ago(days=14, hours=1):
        deletion_lifecycle.close_deletion(
            deletion=Deletion.objects.get(pk=deletion.pk),
            actor=world.actor("operator"),
            reason="Datadog returns 500 each time. Support case opened, will request it again.",
        )


def _contradicted(world: DemoWorld) -> None:
    with ago(days=12, hours=8):
        _request(
            world,
            _DemoRequest("Retail US", "Warehouse US", "Retail US", "The warehouse was sold", 4175),
        )
    _run_worker_afterwards(days=12, hours=8)


def _require_approvals(world: DemoWorld) -> None:
    with ago(days=11):
        world.credentials["Group SOC"] = credential_lifecycle.change_policy(
            actor=world.actor("administrator"),
            credential=world.credentials["Group SOC"],
            policy=ApprovalPolicy.ONE,
        )


def _approved_and_deleted(world: DemoWorld) -> None:
    with ago(days=9, hours=5):
        deletion = _request(
            world,
            _DemoRequest(
                "Group SOC", "Group SOC", "Data Lake EU", "Logs are shipped directly", 4181
            ),
        )
    with ago(days=9, hours=4):
        approvals.approve_deletion(
            deletion=deletion, actor=world.actor("approver"), digest=deletion.approval_digest
        )
    with ago(days=9, hours=3):
        deletion_lifecycle.execute_deletion(
            deletion=deletion,
            actor=world.actor("operator"),
            confirmation=reviews.confirmation_text(deletion, actor=world.actor("operator")),
        )


def _declined(world: DemoWorld) -> None:
    with ago(days=7, hours=6):
        deletion = _request(
            world,
            _DemoRequest("Group SOC", "Group SOC", "Claims EU", "Audit data seems unused", 4190),
        )
    with ago(days=7, hours=2):
        approvals.decline_deletion(
            deletion=deletion,
            actor=world.actor("approver"),
            reason="The claims team queries it every month-end. Ask them first.",
        )


def _withdrawn(world: DemoWorld) -> None:
    with ago(days=6, hours=5):
        deletion = _request(
            world,
            _DemoRequest(
                "Group SOC", "Group SOC", "Payments EU", "Payments has its own audit", 4194
            ),
        )
    with ago(days=6, hours=4):
        deletion_lifecycle.withdraw_deletion(
            deletion=deletion,
            actor=world.actor("operator"),
            reason="Payments still needs it until the end of the quarter.",
        )


def _expired(world: DemoWorld) -> None:
    with ago(days=5, hours=3):
        _request(
            world, _DemoRequest("Group SOC", "Data Lake EU", "Group SOC", "No search uses it", 4199)
        )
    with ago(days=4):
        due.run_due(actor=WORKER)


def _still_present(world: DemoWorld) -> None:
    with ago(days=1, hours=2):
        _request(world, _DemoRequest("Labs", "Labs", "Mobile", "Mobile has its own org now", 4210))
    _run_worker_afterwards(days=1, hours=2)


def _waits_for_approval(world: DemoWorld) -> None:
    with ago(hours=3):
        _request(
            world,
            _DemoRequest(
                "Group SOC", "Partner Portal", "Group SOC", "The partner contract ended", 4221
            ),
        )


def _waits_for_confirmation(world: DemoWorld) -> None:
    with ago(hours=2):
        deletion = _request(
            world,
            _DemoRequest("Group SOC", "Insurance EU", "Group SOC", "Insurance was divested", 4222),
        )
    with ago(hours=1):
        approvals.approve_deletion(
            deletion=deletion, actor=world.actor("approver"), digest=deletion.approval_digest
        )


def _synced_an_hour_ago(_world: DemoWorld) -> None:
    with ago(hours=1):
        sync.sync_orgs(actor=WORKER)


def _changed_outside(world: DemoWorld) -> None:
    """What people did in Datadog within the last hour; the last sync detects it."""
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
    source, sink = "Treasury", "Payments EU"
    _set_fault("reset_after_reading", source=source, sink=sink, site="Payments EU", world=world)
    _request(
        world, _DemoRequest("Payments EU", source, sink, "Treasury metrics moved to the lake", 4223)
    )


# --- How each step is made ----------------------------------------------------------------------


@dataclass(frozen=True)
class _DemoRequest:
    """A deletion to request; `credential` is the name of its org."""

    credential: str
    source: str
    sink: str
    reason: str
    ticket: int


def _request(world: DemoWorld, wish: _DemoRequest) -> Deletion:
    """Request as the Operator does on the review page; confirmed if no approval is needed."""
    actor, credential = world.actor("operator"), world.credentials[wish.credential]
    connection_id = uuid.UUID(connection_id_between(source=wish.source, sink=wish.sink))
    review = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    return deletion_lifecycle.request_deletion(
        actor=actor,
        credential=credential,
        connection_id=connection_id,
        reason=f"{wish.reason}.",
        ticket=f"OPS-{wish.ticket}",
        request_id=uuid.uuid4(),
        digest=review.digest,
        confirmation=review.text_to_type,
    )


def _run_worker_afterwards(*, days: int, hours: int) -> None:
    """Run the worker at that time as often as it takes to settle what it can."""
    for seconds in (45, 120, 320):
        with clock.offset(-timedelta(days=days, hours=hours) + timedelta(seconds=seconds)):
            due.run_due(actor=WORKER)


def _set_fault(name: str, *, source: str, sink: str, site: str, world: DemoWorld) -> None:
    simulator.set_delete_fault(
        name,
        connection_id=connection_id_between(source=source, sink=sink),
        site=world.credentials[site].site,
    )
