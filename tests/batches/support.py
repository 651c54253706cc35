"""Plans over connections of the Datadog simulator, made through the services."""

from typing import Any

from connections.access.actor import command_actor, person_actor
from connections.batches import confirming, decisions, drafts, requesting
from connections.datadog.responses import RateLimit
from connections.inventory import syncs
from connections.models import Batch, Credential, Person
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.support.sandbox import org_named

REASON = "The partner left in March."


def add_connections(
    sandbox: SandboxServer, count: int, *, source: str = "Payments US"
) -> list[str]:
    """Add connections from an org to orgs without credentials. Return them as forms name them."""
    world = sandbox.world
    org = org_named(world, source)
    added = [
        world.add_connection(
            source_org=org, sink_org=world.add_org(name=f"Partner {number}", site=org.site)
        )
        for number in range(count)
    ]
    return [key_of(each) for each in added]


def key_of(connection: Connection) -> str:
    """The connection as forms name it: "<site>/<connection ID>"."""
    return f"{connection.source_org.site.name}/{connection.id}"


def sync_now(*credentials: Credential) -> None:
    """Sync with these credentials."""
    syncs.sync_credentials(credentials=list(credentials), actor=command_actor())


def draft(person: Person, connections: list[str]) -> Batch:
    """A draft by this person."""
    return drafts.create_draft_from_selection(
        actor=person_actor(person=person), connections=connections
    )


def request(batch: Batch, person: Person, **values: Any) -> Batch:
    """The person requests the bulk deletion, which also confirms it if no approval is needed."""
    given: dict[str, Any] = {
        "reason": REASON,
        "ticket": "",
        "digest": batch.digest,
        "confirmation": confirming.text_to_type(batch),
    }
    requesting.request_batch(batch=batch, actor=person_actor(person=person), **(given | values))
    return batch


def low_limit(seconds: int) -> RateLimit:
    """A rate limit that is used up and resets in this many seconds."""
    return RateLimit(name="org_connections", limit=100, remaining=0, reset_seconds=seconds)


def approve(batch: Batch, person: Person) -> Batch:
    """The person approves the bulk deletion as it was requested."""
    decisions.approve_batch(
        batch=batch, actor=person_actor(person=person), digest=batch.approval_digest
    )
    return batch


def execute(batch: Batch, person: Person) -> Batch:
    """The person confirms the bulk deletion."""
    confirming.execute_batch(
        batch=batch,
        actor=person_actor(person=person),
        confirmation=confirming.text_to_type(batch),
    )
    return batch
