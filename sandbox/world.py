"""The truth that every listener of the local Datadog shares.

A `World` knows which orgs, people, keys and org connections exist, which faults are set, and
what was received. The listeners only translate it into answers, so a test can ask the world what
really happened while the product knows only what it was told.
"""

import secrets
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from sandbox.entities import READ, WRITE, Connection, KeyPair, Org, Site, User, make_user
from sandbox.fault_rules import FaultBook, FaultRule
from sandbox.faults import Fault
from sandbox.request_log import Journal, ReceivedRequest

__all__ = [
    "READ",
    "WRITE",
    "Connection",
    "KeyPair",
    "Org",
    "ReceivedRequest",
    "Site",
    "User",
    "World",
    "make_user",
]


class World:
    """Sites, orgs, keys, connections, faults and received requests; safe for many threads."""

    def __init__(self, *, sites: Iterable[str] = ()) -> None:
        self._changed = threading.Condition(threading.RLock())
        self.sites: dict[str, Site] = {}
        self.orgs: dict[str, Org] = {}
        self._key_pairs: list[KeyPair] = []
        self._revoked: set[KeyPair] = set()
        self._connections: dict[str, Connection] = {}
        self.faults = FaultBook()
        self.journal = Journal(changed=self._changed)
        self._beginning: tuple[dict[str, Connection], set[KeyPair], list[FaultRule]] | None = None
        for name in sites:
            self.add_site(name=name)

    # What exists

    def add_site(self, *, name: str) -> Site:
        """Add a site, or give the one that bears the name already."""
        with self._changed:
            return self.sites.setdefault(name, Site(name=name))

    def add_org(
        self, *, name: str, site: Site | str, id: str | None = None, public_id: str | None = None
    ) -> Org:
        """Add an org to a site, which is made when it is new."""
        home = self.add_site(name=_site_name(site))
        org_id = id or str(uuid.uuid4())
        org = Org(
            id=org_id, name=name, public_id=public_id or org_id.replace("-", "")[:9], site=home
        )
        with self._changed:
            self.orgs[org.id] = org
        return org

    def add_key_pair(
        self,
        *,
        org: Org,
        permissions: tuple[str, ...] = (READ, WRITE),
        user: User | None = None,
        scopes: tuple[str, ...] | None = None,
        api_key: str | None = None,
        application_key: str | None = None,
    ) -> KeyPair:
        """Add a key pair of the org; keys are random unless given."""
        pair = KeyPair(
            api_key=api_key or secrets.token_hex(16),
            application_key=application_key or secrets.token_hex(20),
            org=org,
            permissions=permissions,
            user=user or make_user(name="Org Admin", service_account=True),
            scopes=scopes,
        )
        with self._changed:
            self._key_pairs.append(pair)
        return pair

    def add_connection(
        self,
        *,
        source_org: Org,
        sink_org: Org,
        connection_types: tuple[str, ...] = ("logs",),
        created_at: datetime | None = None,
        created_by: User | None = None,
        id: str | None = None,
    ) -> Connection:
        """Add a connection; raises ValueError when the two orgs are not on one site."""
        if source_org.site != sink_org.site:
            raise ValueError("source and sink org belong to one site")
        connection = Connection(
            id=id or str(uuid.uuid4()),
            source_org=source_org,
            sink_org=sink_org,
            connection_types=connection_types,
            created_at=created_at or datetime.now(UTC),
            created_by=created_by or make_user(name="Dana Keller"),
        )
        with self._changed:
            self._connections[connection.id] = connection
        return connection

    def connect(
        self,
        *,
        source_org: Org,
        sink_org: Org,
        connection_types: tuple[str, ...],
        created_by: User,
        most: int,
    ) -> Connection | str:
        """Add a connection under Datadog's rules; gives "exists" or "not allowed" when it may not.

        An org has one connection to another, none to itself, and `most` destinations.
        """
        with self._changed:
            sinks = [one.sink_org for one in self.connections() if one.source_org == source_org]
            if sink_org in sinks:
                return "exists"
            if sink_org == source_org or len(sinks) >= most:
                return "not allowed"
            return self.add_connection(
                source_org=source_org,
                sink_org=sink_org,
                connection_types=connection_types,
                created_by=created_by,
            )

    def change_connection(
        self, *, connection_id: str, connection_types: tuple[str, ...]
    ) -> Connection | None:
        """Replace the connection's types; None when it does not exist."""
        with self._changed:
            connection = self._connections.get(connection_id)
            if connection is None:
                return None
            changed = replace(connection, connection_types=connection_types)
            self._connections[connection_id] = changed
            return changed

    def remove_connection(self, *, connection_id: str) -> bool:
        """Delete the connection; False when there was none."""
        with self._changed:
            removed = self._connections.pop(connection_id, None)
            self._changed.notify_all()
            return removed is not None

    def connection(self, *, connection_id: str) -> Connection | None:
        """Give the connection, or None when there is none (any more)."""
        with self._changed:
            return self._connections.get(connection_id)

    def connections(self, *, org: Org | None = None) -> list[Connection]:
        """Give all connections, or those in which the org takes part, oldest entry first."""
        with self._changed:
            everything = list(self._connections.values())
        return everything if org is None else [one for one in everything if one.joins(org)]

    def key_pairs(self) -> list[KeyPair]:
        """Give the pairs that work, in the order in which they were added."""
        with self._changed:
            return [pair for pair in self._key_pairs if pair not in self._revoked]

    def revoke(self, key_pair: KeyPair) -> None:
        """Let the pair's keys answer 403 from now on."""
        with self._changed:
            self._revoked.add(key_pair)

    def api_key_org(self, *, api_key: str, site: str) -> Org | None:
        """Give the org to which a working API key belongs on this very site."""
        for pair in self.key_pairs():
            if pair.api_key == api_key and pair.org.site.name == site:
                return pair.org
        return None

    def working_pair(self, *, api_key: str, application_key: str, site: str) -> KeyPair | None:
        """Give the pair whose application key it is, when both keys are of one org of the site."""
        org = self.api_key_org(api_key=api_key, site=site)
        for pair in self.key_pairs():
            if pair.application_key == application_key and pair.org == org:
                return pair
        return None

    # What goes wrong

    def set_fault(
        self,
        *,
        fault: Fault,
        connection_id: str | None = None,
        site: Site | str | None = None,
        org: Org | str | None = None,
        method: str = "DELETE",
        operation: str | None = None,
        times: int | None = None,
        after: int = 0,
    ) -> None:
        """Bind a fault to the requests that match all that is given; the newest binding wins.

        `operation` is one of `sandbox.fault_rules.OPERATIONS` and overrules `method`; method "GET" alone
        means the listing. `after` lets that many matching requests pass first, `times` ends the
        fault after that many.
        """
        rule = FaultRule(
            fault=fault,
            connection_id=connection_id,
            site=None if site is None else _site_name(site),
            org=org.id if isinstance(org, Org) else org,
            method=method,
            operation=operation,
            left=times,
            skip=after,
        )
        self.faults.add(rule=rule)

    def clear_faults(self) -> None:
        """Answer everything properly again."""
        self.faults.clear()

    # What was received

    def requests(
        self,
        *,
        method: str | None = None,
        site: Site | str | None = None,
        org: Org | str | None = None,
        connection_id: str | None = None,
        path: str | None = None,
    ) -> list[ReceivedRequest]:
        """Give the received requests that match all that is given, oldest first."""
        return self.journal.matching(
            method=method,
            site=None if site is None else _site_name(site),
            org=org.id if isinstance(org, Org) else org,
            connection_id=connection_id,
            path=path,
        )

    def deletes_received(self, connection_id: str) -> int:
        """Count the DELETEs for this connection that reached a listener."""
        return len(self.requests(method="DELETE", connection_id=connection_id))

    def deletes_executed(self, connection_id: str) -> int:
        """Count the DELETEs for this connection that really deleted it."""
        return sum(
            one.executed for one in self.requests(method="DELETE", connection_id=connection_id)
        )

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 5.0) -> bool:
        """Wait for the condition, looked at after each request and each effect."""
        return self.journal.wait_until(condition, seconds=seconds)

    # Back to the beginning

    def checkpoint(self) -> None:
        """Remember connections, revoked pairs and faults for `reset`."""
        with self._changed:
            self._beginning = (
                dict(self._connections),
                set(self._revoked),
                self.faults.copied(),
            )

    def reset(self) -> None:
        """Go back to the checkpoint and forget the received requests."""
        with self._changed:
            self.journal.clear()
            if self._beginning is None:
                return
            connections, revoked, rules = self._beginning
            self._connections = dict(connections)
            self._revoked = set(revoked)
            self.faults.restore(rules=rules)


def _site_name(site: Site | str) -> str:
    return site.name if isinstance(site, Site) else site
