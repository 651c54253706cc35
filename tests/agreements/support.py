"""Sets agreements about pairs of the simulator's orgs."""

from typing import Any

from connections.access.actor import Actor
from connections.agreements.setting import Terms, set_agreements
from connections.credentials import access_lists
from connections.models import AccessKind, Agreement, Credential, OrgPair, Person
from sandbox.server import SandboxServer
from tests.support.sandbox import connection_between


def pair_between(sandbox: SandboxServer, source: str, sink: str) -> OrgPair:
    """The pair of the one connection between these orgs."""
    connection = connection_between(sandbox.world, source, sink)
    site = connection.source_org.site.name
    return OrgPair(site, connection.source_org.id, connection.sink_org.id)


def let_only(person: Person, *, credential: Credential, kind: AccessKind, actor: Actor) -> None:
    """Put the person alone on the credential's access list of this kind."""
    access_lists.change_access(
        actor=actor,
        credential=credential,
        wanted={each: [f"person:{person.pk}"] if each == kind else [] for each in AccessKind},
    )


def agree(pair: OrgPair, *, actor: Actor, **terms: Any) -> Agreement:
    """Set these terms, with an owner text and a purpose unless they are given."""
    values: Terms = {"owner_text": "SOC team", "purpose": "Fraud alerts"} | terms  # type: ignore[assignment]
    [agreement] = set_agreements(actor=actor, pairs=[pair], terms=values).new
    return agreement
