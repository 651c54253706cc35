"""The demo's past, made through the real services with the Datadog simulator."""

import http.client
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from connections.access.actor import WORKER, command_actor
from connections.core import clock
from connections.core.errors import ConflictError
from connections.core.sites import get_site
from connections.credentials import lifecycle as credential_lifecycle
from connections.deletions import approvals, reviews
from connections.deletions import lifecycle as closing
from connections.deletions import lifecycle as deletion_lifecycle
from connections.inventory import sync
from connections.models import (
    ApprovalPolicy,
    Credential,
    Deletion,
    Person,
)
from connections.operations import due
from connections.people import people
from orgadmin.demo.cast import (
    PASSWORD,
    Cast,
    add_credentials,
    add_people,
    ago,
    names_of_connections,
    protect_one,
    roles_of,
)
from sandbox.demo_world import connection_id_between


def seed() -> dict[str, Any]:
    """Fill an empty database; gives the people, their password, the link and the faults' names.

    Raises ConflictError, having changed nothing, when there is a person or a credential.
    """
    if Person.objects.exists() or Credential.objects.exists():
        raise ConflictError(
            "This database holds people or credentials, so the demo leaves it alone."
        )
    cast = Cast()
    with ago(days=31):
        add_people(cast)
    with ago(days=30):
        add_credentials(cast)
    with ago(days=9):
        protect_one(cast)
    _make_past(cast)
    sync.sync_orgs(actor=WORKER)
    link = people.make_sign_in_link(
        actor=command_actor(), person=cast.people["operator"], now=clock.now()
    )
    return {
        "people": [
            {"username": one.username, "roles": roles_of(one)} for one in cast.people.values()
        ],
        "password": PASSWORD,
        "link": link,
        "names": names_of_connections(),
    }


# --- The past -----------------------------------------------------------------------------------


def _make_past(cast: Cast) -> None:
    for step in (
        _deleted,
        _refused,
        _already_absent,
        _gone_after_a_lost_answer,
        _closed_without_knowing,
        _contradicted,
        _four_eyes_from_then_on,
        _approved_and_deleted,
        _declined,
        _withdrawn,
        _expired,
        _still_present,
        _waits_for_approval,
        _waits_for_confirmation,
        _unknown,
    ):
        step(cast)


def _deleted(cast: Cast) -> None:
    with ago(days=26, hours=3):
        _ask(
            cast,
            _Wish("Payments EU", "Payments EU", "Claims EU", "Claims reads its own logs now", 4127),
        )
    with ago(days=24, hours=7):
        _ask(cast, _Wish("Labs", "Labs Staging", "Labs", "Staging was folded into Labs", 4133))


def _refused(cast: Cast) -> None:
    with ago(days=22, hours=5):
        _ask(
            cast,
            _Wish("Group SOC", "Claims EU", "Group SOC", "SOC moved to the new tenant", 4140),
        )


def _already_absent(cast: Cast) -> None:
    source, sink = "Retail US", "Store Operations"
    # Somebody deletes it in Datadog between our last look and our DELETE.
    _set_fault("executes_then_404", source=source, sink=sink, site="Retail US", cast=cast)
    with ago(days=20, hours=2):
        _ask(cast, _Wish("Retail US", source, sink, "Store dashboards were retired", 4151))


def _gone_after_a_lost_answer(cast: Cast) -> None:
    with ago(days=17, hours=6):
        _ask(cast, _Wish("Retail US", "Loyalty", "Retail US", "Loyalty left the group", 4160))
    _work_off_later(days=17, hours=6)


def _closed_without_knowing(cast: Cast) -> None:
    with ago(days=14, hours=4):
        asked = _ask(
            cast, _Wish("Retail US", "Retail US", "Data Lake", "The lake has its own intake", 4168)
        )
    _work_off_later(days=14, hours=4)
    with ago(days=14, hours=1):
        closing.close_deletion(
            deletion=Deletion.objects.get(pk=asked.pk),
            actor=cast.actor("operator"),
            reason="Datadog answers 500 each time; support case opened, asked anew afterwards.",
        )


def _contradicted(cast: Cast) -> None:
    with ago(days=12, hours=8):
        _ask(
            cast,
            _Wish("Retail US", "Warehouse US", "Retail US", "The warehouse was sold", 4175),
        )
    _work_off_later(days=12, hours=8)


def _four_eyes_from_then_on(cast: Cast) -> None:
    with ago(days=11):
        cast.credentials["Group SOC"] = credential_lifecycle.change_policy(
            actor=cast.actor("administrator"),
            credential=cast.credentials["Group SOC"],
            policy=ApprovalPolicy.ONE,
        )


def _approved_and_deleted(cast: Cast) -> None:
    with ago(days=9, hours=5):
        asked = _ask(
            cast, _Wish("Group SOC", "Group SOC", "Data Lake EU", "Logs are shipped directly", 4181)
        )
    with ago(days=9, hours=4):
        approvals.approve_deletion(
            deletion=asked, actor=cast.actor("approver"), digest=asked.approval_digest
        )
    with ago(days=9, hours=3):
        deletion_lifecycle.execute_deletion(
            deletion=asked,
            actor=cast.actor("operator"),
            confirmation=reviews.confirmation_text(asked),
        )


def _declined(cast: Cast) -> None:
    with ago(days=7, hours=6):
        asked = _ask(
            cast, _Wish("Group SOC", "Group SOC", "Claims EU", "Audit data seems unused", 4190)
        )
    with ago(days=7, hours=2):
        approvals.decline_deletion(
            deletion=asked,
            actor=cast.actor("approver"),
            reason="The claims team queries it every month-end. Ask them first.",
        )


def _withdrawn(cast: Cast) -> None:
    with ago(days=6, hours=5):
        asked = _ask(
            cast, _Wish("Group SOC", "Group SOC", "Payments EU", "Payments has its own audit", 4194)
        )
    with ago(days=6, hours=4):
        closing.withdraw_deletion(
            deletion=asked,
            actor=cast.actor("operator"),
            reason="Payments still needs it until the end of the quarter.",
        )


def _expired(cast: Cast) -> None:
    with ago(days=5, hours=3):
        _ask(cast, _Wish("Group SOC", "Data Lake EU", "Group SOC", "No search uses it", 4199))
    with ago(days=4):
        due.run_due(actor=WORKER)


def _still_present(cast: Cast) -> None:
    with ago(days=1, hours=2):
        _ask(cast, _Wish("Labs", "Labs", "Mobile", "Mobile has its own org now", 4210))
    _work_off_later(days=1, hours=2)


def _waits_for_approval(cast: Cast) -> None:
    with ago(hours=3):
        _ask(
            cast,
            _Wish("Group SOC", "Partner Portal", "Group SOC", "The partner contract ended", 4221),
        )


def _waits_for_confirmation(cast: Cast) -> None:
    with ago(hours=2):
        asked = _ask(
            cast, _Wish("Group SOC", "Insurance EU", "Group SOC", "Insurance was divested", 4222)
        )
    with ago(hours=1):
        approvals.approve_deletion(
            deletion=asked, actor=cast.actor("approver"), digest=asked.approval_digest
        )


def _unknown(cast: Cast) -> None:
    source, sink = "Treasury", "Payments EU"
    _set_fault("reset_after_reading", source=source, sink=sink, site="Payments EU", cast=cast)
    _ask(cast, _Wish("Payments EU", source, sink, "Treasury metrics moved to the lake", 4223))


# --- How each step is made ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Wish:
    """A deletion to ask for: with the credential of which org, what, why, and its ticket."""

    credential: str
    source: str
    sink: str
    reason: str
    ticket: int


def _ask(cast: Cast, wish: _Wish) -> Deletion:
    """Ask as the Operator does on the review page; confirmed at once where that is allowed."""
    actor, credential = cast.actor("operator"), cast.credentials[wish.credential]
    connection_id = uuid.UUID(connection_id_between(source=wish.source, sink=wish.sink))
    shown = reviews.review(actor=actor, credential=credential, connection_id=connection_id)
    return deletion_lifecycle.request_deletion(
        actor=actor,
        credential=credential,
        connection_id=connection_id,
        reason=f"{wish.reason}.",
        ticket=f"OPS-{wish.ticket}",
        request_id=uuid.uuid4(),
        digest=shown.digest,
        confirmation=shown.text_to_type,
    )


def _work_off_later(*, days: int, hours: int) -> None:
    """Let the worker of that time look as often as it takes to settle what it can."""
    for seconds in (45, 120, 320):
        with clock.offset(-timedelta(days=days, hours=hours) + timedelta(seconds=seconds)):
            due.run_due(actor=WORKER)


def _set_fault(name: str, *, source: str, sink: str, site: str, cast: Cast) -> None:
    address = urlsplit(get_site(cast.credentials[site].site).base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    values = {
        "fault": name,
        "connection_id": connection_id_between(source=source, sink=sink),
        "method": "DELETE",
    }
    try:
        connection.request("POST", "/__sandbox__/faults", json.dumps(values))
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise ConflictError(f"The Datadog simulator refused the fault {name}.")
    finally:
        connection.close()
