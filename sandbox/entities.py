"""Datadog's entities as immutable values."""

import uuid
from dataclasses import dataclass
from datetime import datetime

READ = "org_connections_read"
WRITE = "org_connections_write"
MANAGE_ORGS = "org_management"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A Datadog site. Keys, orgs and connections belong to only one site."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Org:
    """A Datadog org. `public_id` is the short ID that Datadog shows next to the UUID."""

    id: str
    name: str
    public_id: str
    site: Site


@dataclass(frozen=True, kw_only=True)
class User:
    """A Datadog user. A connection has the data access of the user who created it."""

    id: str
    name: str
    handle: str
    email: str
    service_account: bool = False
    disabled: bool = False


@dataclass(frozen=True, kw_only=True, repr=False)
class Keys:
    """What authenticates a user of one org.

    `permissions` are those of the owner's role, which Datadog's API returns. `scopes`, if given,
    restrict the keys further; no response contains them. `unlisted` has the IDs of connections that
    a restriction policy hides from the owner.
    """

    org: Org
    permissions: tuple[str, ...]
    user: User
    scopes: tuple[str, ...] | None = None
    unlisted: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(org={self.org.name!r})"

    def allows(self, permission: str) -> bool:
        """Return whether the role and the scopes grant the permission."""
        return permission in self.permissions and (self.scopes is None or permission in self.scopes)


@dataclass(frozen=True, kw_only=True, repr=False)
class KeyPair(Keys):
    """An API key and an application key."""

    api_key: str
    application_key: str


@dataclass(frozen=True, kw_only=True, repr=False)
class AccessToken(Keys):
    """A personal or service access token."""

    access_token: str


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An org connection: the sink org can query some data types of the source org."""

    id: str
    source_org: Org
    sink_org: Org
    connection_types: tuple[str, ...]
    created_at: datetime
    created_by: User

    def involves(self, org: Org) -> bool:
        """Return whether the org is the source or the sink."""
        return org in (self.source_org, self.sink_org)


def make_user(*, name: str, service_account: bool = False, disabled: bool = False) -> User:
    """Return a user with an example address and an ID derived from it."""
    handle = f"{name.lower().replace(' ', '.')}@example.com"
    return User(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"user:{handle}:{service_account}")),
        name=name,
        handle=handle,
        email=handle,
        service_account=service_account,
        disabled=disabled,
    )
