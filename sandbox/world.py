"""The state of the simulated Datadog.

A `World` contains orgs, users, keys, org connections, fault rules and the received requests. Tests
read from it what really happened, while Org Admin sees only the responses.
"""

import secrets
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sandbox.entities import (
    READ,
    WRITE,
    AccessToken,
    Connection,
    KeyPair,
    Keys,
    Org,
    Site,
    User,
    make_user,
)
from sandbox.fault_rules import FaultRule, FaultRules
from sandbox.faults import Fault
from sandbox.rate_limits import RateLimits
from sandbox.request_log import ReceivedRequest, RequestLog


@dataclass(frozen=True, kw_only=True)
class _State:
    connections: dict[str, Connection]
    revoked: set[Keys]
    parents: dict[str, str | None]
    fault_rules: list[FaultRule]


class World:
    """Sites, orgs, keys, connections, fault rules and received requests. Thread-safe.

    `max_destinations` limits the connections of which one org is the source, as Datadog does on
    plans below Enterprise.
    """

    def __init__(self, *, sites: Iterable[str] = (), max_destinations: int | None = None) -> None:
        self.max_destinations = max_destinations
        # When a POST is carried out. Tests with a clock of their own replace it.
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._changed = threading.Condition(threading.RLock())
        self.sites: dict[str, Site] = {}
        self.orgs: dict[str, Org] = {}
        self._parents: dict[str, str | None] = {}
        self._key_pairs: list[KeyPair] = []
        self._access_tokens: list[AccessToken] = []
        self._revoked: set[Keys] = set()
        self._connections: dict[str, Connection] = {}
        # Deleted connections, which someone can recreate.
        self._former: dict[str, Connection] = {}
        self.fault_rules = FaultRules()
        self.rate_limits = RateLimits()
        self.request_log = RequestLog(changed=self._changed)
        self._saved_state: _State | None = None
        for name in sites:
            self.add_site(name=name)

    # Sites, orgs, keys and connections

    def add_site(self, *, name: str) -> Site:
        """Add a site, or return the existing one with this name."""
        with self._changed:
            return self.sites.setdefault(name, Site(name=name))

    def add_org(
        self, *, name: str, site: Site | str, id: str | None = None, public_id: str | None = None
    ) -> Org:
        """Add an org to a site. Add the site too if it doesn't exist."""
        org_site = self.add_site(name=_site_name(site))
        org_id = id or str(uuid.uuid4())
        org = Org(
            id=org_id, name=name, public_id=public_id or org_id.replace("-", "")[:9], site=org_site
        )
        with self._changed:
            self.orgs[org.id] = org
        return org

    def set_parent(self, *, org: Org, parent: Org | None) -> None:
        """Let the parent org manage the org. None means that no org manages it."""
        with self._changed:
            self._parents[org.id] = parent.id if parent else None

    def managed_orgs(self, *, org: Org) -> list[Org]:
        """Return the orgs that this org manages, in the order they were added."""
        with self._changed:
            return [one for one in self.orgs.values() if self._parents.get(one.id) == org.id]

    def add_key_pair(
        self,
        *,
        org: Org,
        permissions: tuple[str, ...] = (READ, WRITE),
        user: User | None = None,
        scopes: tuple[str, ...] | None = None,
        api_key: str | None = None,
        application_key: str | None = None,
        unlisted: Iterable[str] = (),
    ) -> KeyPair:
        """Add a key pair to the org, with random keys unless they are given.

        Lists for it leave out the connections whose IDs are in `unlisted`.
        """
        key_pair = KeyPair(
            api_key=api_key or secrets.token_hex(16),
            application_key=application_key or secrets.token_hex(20),
            org=org,
            permissions=permissions,
            user=user or make_user(name="Org Admin", service_account=True),
            scopes=scopes,
            unlisted=frozenset(unlisted),
        )
        with self._changed:
            self._key_pairs.append(key_pair)
        return key_pair

    def add_access_token(
        self,
        *,
        org: Org,
        permissions: tuple[str, ...] = (READ, WRITE),
        user: User | None = None,
        access_token: str | None = None,
    ) -> AccessToken:
        """Add a service access token to the org, with random characters unless it is given."""
        token = AccessToken(
            access_token=access_token or f"ddsat_{secrets.token_hex(20)}",
            org=org,
            permissions=permissions,
            user=user or make_user(name="Org Admin", service_account=True),
            scopes=None,
        )
        with self._changed:
            self._access_tokens.append(token)
        return token

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
        """Add a connection. Raises ValueError if the orgs are on different sites."""
        if source_org.site != sink_org.site:
            raise ValueError("source and sink org must be on one site")
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

    def create_connection(
        self,
        *,
        source_org: Org,
        sink_org: Org,
        connection_types: tuple[str, ...],
        created_by: User,
    ) -> Connection | str:
        """Add a connection if Datadog's rules allow it. Otherwise return "exists" or "not allowed".

        An org can have one connection to another org, none to itself, and `max_destinations` in
        total.
        """
        limit = self.max_destinations
        with self._changed:
            sinks = [
                connection.sink_org
                for connection in self.connections()
                if connection.source_org == source_org
            ]
            if sink_org in sinks:
                return "exists"
            if sink_org == source_org or (limit is not None and len(sinks) >= limit):
                return "not allowed"
            return self.add_connection(
                source_org=source_org,
                sink_org=sink_org,
                connection_types=connection_types,
                created_at=self.now(),
                created_by=created_by,
            )

    def change_connection(
        self, *, connection_id: str, connection_types: tuple[str, ...]
    ) -> Connection | None:
        """Replace the data types. Return None if the connection doesn't exist."""
        with self._changed:
            connection = self._connections.get(connection_id)
            if connection is None:
                return None
            changed = replace(connection, connection_types=connection_types)
            self._connections[connection_id] = changed
            return changed

    def remove_connection(self, *, connection_id: str) -> bool:
        """Delete the connection. Return False if it doesn't exist."""
        with self._changed:
            removed = self._connections.pop(connection_id, None)
            if removed:
                self._former[connection_id] = removed
            self._changed.notify_all()
            return removed is not None

    def recreate_connection(self, *, connection_id: str) -> Connection | None:
        """Add a connection with another ID between the orgs of one that was deleted.

        Return None if it was not deleted.
        """
        with self._changed:
            former = self._former.get(connection_id)
            if former is None:
                return None
            return self.add_connection(
                source_org=former.source_org,
                sink_org=former.sink_org,
                connection_types=former.connection_types,
                created_by=make_user(name="terraform-org-connections", service_account=True),
            )

    def disable_creator(self, *, connection_id: str) -> User | None:
        """Disable the account that created the connection, and thereby all its connections.

        Datadog would remove them later. Return None if the connection doesn't exist.
        """
        return self._update_creator(connection_id, disabled=True)

    def enable_creator(self, *, connection_id: str) -> User | None:
        """Enable the account again. Return None if the connection doesn't exist."""
        return self._update_creator(connection_id, disabled=False)

    def _update_creator(self, connection_id: str, *, disabled: bool) -> User | None:
        with self._changed:
            connection = self._connections.get(connection_id)
            if connection is None:
                return None
            creator = replace(connection.created_by, disabled=disabled)
            for one in self.connections():
                if one.created_by.id == creator.id:
                    self._connections[one.id] = replace(one, created_by=creator)
            return creator

    def connection(self, *, connection_id: str) -> Connection | None:
        """Return the connection, or None if it doesn't exist."""
        with self._changed:
            return self._connections.get(connection_id)

    def connections(self, *, org: Org | None = None) -> list[Connection]:
        """Return all connections, or those that involve the org, in the order they were added."""
        with self._changed:
            connections = list(self._connections.values())
        return (
            connections
            if org is None
            else [connection for connection in connections if connection.involves(org)]
        )

    def key_pairs(self) -> list[KeyPair]:
        """Return the key pairs that are not revoked, in the order they were added."""
        with self._changed:
            return [pair for pair in self._key_pairs if pair not in self._revoked]

    def access_tokens(self) -> list[AccessToken]:
        """Return the access tokens that are not revoked, in the order they were added."""
        with self._changed:
            return [token for token in self._access_tokens if token not in self._revoked]

    def revoke(self, keys: Keys) -> None:
        """Revoke both keys or the token. Datadog then responds to them with 403."""
        with self._changed:
            self._revoked.add(keys)

    def org_of_api_key(self, *, api_key: str, site: str) -> Org | None:
        """Return the org of an API key that works on this site."""
        for pair in self.key_pairs():
            if pair.api_key == api_key and pair.org.site.name == site:
                return pair.org
        return None

    def find_key_pair(self, *, api_key: str, application_key: str, site: str) -> KeyPair | None:
        """Return the application key's pair if both keys belong to one org of this site."""
        org = self.org_of_api_key(api_key=api_key, site=site)
        for pair in self.key_pairs():
            if pair.application_key == application_key and pair.org == org:
                return pair
        return None

    def find_access_token(self, *, access_token: str, site: str) -> AccessToken | None:
        """Return the token with this text if it is not revoked and works on this site."""
        for token in self.access_tokens():
            if token.access_token == access_token and token.org.site.name == site:
                return token
        return None

    # Faults

    def set_fault(
        self,
        *,
        fault: Fault,
        connection_id: str | None = None,
        site: Site | str | None = None,
        org: Org | str | None = None,
        sink_org: str | None = None,
        method: str = "DELETE",
        operation: str | None = None,
        times: int | None = None,
        after: int = 0,
    ) -> None:
        """Apply a fault to the requests that match every given value. The newest fault wins.

        `operation` is one of `sandbox.fault_rules.OPERATIONS` and overrides `method`; method "GET"
        alone means listing connections. The first `after` matching requests are left alone, and
        after `times` more the fault ends.
        """
        rule = FaultRule(
            fault=fault,
            connection_id=connection_id,
            site=None if site is None else _site_name(site),
            org=org.id if isinstance(org, Org) else org,
            sink_org=sink_org,
            method=method,
            operation=operation,
            remaining=times,
            skip=after,
        )
        self.fault_rules.add(rule)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.fault_rules.clear()

    # Received requests

    def requests(
        self,
        *,
        method: str | None = None,
        site: Site | str | None = None,
        org: Org | str | None = None,
        connection_id: str | None = None,
        sink_org: str | None = None,
        path: str | None = None,
    ) -> list[ReceivedRequest]:
        """Return the received requests that match every given value, oldest first."""
        return self.request_log.find(
            method=method,
            site=None if site is None else _site_name(site),
            org=org.id if isinstance(org, Org) else org,
            connection_id=connection_id,
            sink_org=sink_org,
            path=path,
        )

    def deletes_received(self, connection_id: str) -> int:
        """Count the DELETE requests received for this connection."""
        return len(self.requests(method="DELETE", connection_id=connection_id))

    def deletes_executed(self, connection_id: str) -> int:
        """Count the DELETE requests that deleted this connection."""
        return sum(
            request.executed
            for request in self.requests(method="DELETE", connection_id=connection_id)
        )

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 60.0) -> bool:
        """Wait for the condition, which is checked after each request and each execution."""
        return self.request_log.wait_until(condition, seconds=seconds)

    # Reset

    def save_state(self) -> None:
        """Save connections, revoked key pairs, parent orgs and fault rules for `reset`."""
        with self._changed:
            self._saved_state = _State(
                connections=dict(self._connections),
                revoked=set(self._revoked),
                parents=dict(self._parents),
                fault_rules=self.fault_rules.copies(),
            )

    def reset(self) -> None:
        """Restore the saved state and clear the request log."""
        with self._changed:
            self.request_log.clear()
            if self._saved_state is None:
                return
            self._connections = dict(self._saved_state.connections)
            self._former.clear()
            self._revoked = set(self._saved_state.revoked)
            self._parents = dict(self._saved_state.parents)
            self.fault_rules.replace_all(self._saved_state.fault_rules)


def _site_name(site: Site | str) -> str:
    return site.name if isinstance(site, Site) else site
