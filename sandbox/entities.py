"""Datadog's nouns, as values that cannot change."""

import uuid
from dataclasses import dataclass
from datetime import datetime

READ = "org_connections_read"
WRITE = "org_connections_write"


@dataclass(frozen=True, kw_only=True)
class Site:
    """One Datadog deployment: keys, orgs and connections never reach over its edge."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Org:
    """A Datadog organization; `public_id` is the short id that Datadog shows beside the UUID."""

    id: str
    name: str
    public_id: str
    site: Site


@dataclass(frozen=True, kw_only=True)
class User:
    """A Datadog user; connections act with the data access of the one who made them."""

    id: str
    name: str
    handle: str
    email: str
    service_account: bool = False
    disabled: bool = False


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """An API key and an application key of one org.

    `permissions` are what the owner's role grants and what Datadog tells about; `scopes`, when
    given, narrow the application key further and are told by no answer.
    """

    api_key: str
    application_key: str
    org: Org
    permissions: tuple[str, ...]
    user: User
    scopes: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"KeyPair(org={self.org.name!r})"

    def may(self, permission: str) -> bool:
        """Tell whether a request with this pair is let through."""
        return permission in self.permissions and (self.scopes is None or permission in self.scopes)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An org connection: the source org lets the sink org read some kinds of its data."""

    id: str
    source_org: Org
    sink_org: Org
    connection_types: tuple[str, ...]
    created_at: datetime
    created_by: User

    def joins(self, org: Org) -> bool:
        """Tell whether the org stands at either end."""
        return org in (self.source_org, self.sink_org)


def make_user(*, name: str, service_account: bool = False, disabled: bool = False) -> User:
    """Make a user with an invented address; the id follows from the name."""
    handle = f"{name.lower().replace(' ', '.')}@example.com"
    return User(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"user:{handle}:{service_account}")),
        name=name,
        handle=handle,
        email=handle,
        service_account=service_account,
        disabled=disabled,
    )
