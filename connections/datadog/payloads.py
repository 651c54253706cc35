"""Parses Datadog's JSON into immutable values, and writes the JSON of requests.

Keeps only what Org Admin shows: a user's email address and handle are dropped here and never reach
the rest of the code. The type of every value is checked and its length is limited; an element with
an invalid value counts as malformed.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connections.core.causes import Cause

MAX_TEXT_LENGTH = 1_000
# The most characters that a database column holds.
MAX_ORG_ID_LENGTH = 64
MAX_ERRORS = 20
MAX_CONNECTION_TYPES = 50

_CONNECTION_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# PostgreSQL can't store NUL, and UTF-8 can't encode a lone surrogate.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ListedOrg:
    """A Datadog organization. `name` is "" if Datadog gives none."""

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Creator:
    """Who created a connection. None means that Datadog gave no value."""

    id: str
    name: str
    disabled: bool | None
    service_account: bool | None


@dataclass(frozen=True, kw_only=True)
class OrgConnection:
    """One org connection: `source_org` lets `sink_org` read `connection_types`.

    `id` is canonical (lower case). `connection_types` are kept unchanged, even unknown ones.
    `created_at` is aware, in UTC.
    """

    id: str
    source_org: ListedOrg
    sink_org: ListedOrg
    connection_types: tuple[str, ...]
    created_at: datetime | None
    created_by: Creator


@dataclass(frozen=True, kw_only=True)
class ConnectionList:
    """The org connections that one credential's org lists.

    It is complete if every page was a 200 with strict JSON and no `errors`; `total_filtered_count`
    was the same on every page, and equal to `total_count` and to the number of distinct IDs; and no
    ID was listed with two contents. Only a complete list proves that a connection is absent.
    `cause`, `http_status` and `errors` say why it is incomplete.
    """

    org_connections: tuple[OrgConnection, ...]
    is_complete: bool
    cause: Cause | None
    http_status: int | None
    errors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KeyOwner:
    """The org and user that own the keys, and the permissions of the user's roles.

    The scopes of the application key or access token can still forbid what a permission allows.
    The user is the creator of every connection that the keys create: `user_id` is "" and
    `is_service_account` None if Datadog gives no value.
    """

    org: ListedOrg
    user_id: str
    user_name: str
    is_service_account: bool | None
    permissions: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a list. `count` is the number of elements received, including malformed ones.

    `total` is `total_filtered_count`. `cause` says why this page alone makes the list incomplete.
    `errors` are the texts of errors that Datadog reports in addition to the data.
    """

    org_connections: tuple[OrgConnection, ...]
    count: int
    total: int | None
    cause: Cause | None
    errors: tuple[str, ...]


class PayloadError(ValueError):
    """A document that doesn't have the form that Datadog documents."""


def canonical_connection_id(text: str) -> str:
    """The ID in Datadog's form: stripped and in lower case.

    The pattern is strict because `uuid.UUID()` would accept braces, `urn:uuid:`, missing hyphens
    and full-width digits, and because a path in the ID would change the endpoint. Raises
    ValueError.
    """
    stripped = text.strip()
    if not _CONNECTION_ID.fullmatch(stripped):
        raise ValueError(
            "A connection ID looks like 12345678-90ab-cdef-1234-567890abcdef: "
            "32 digits from 0-9 and a-f in five groups."
        )
    return stripped.lower()


def parse_json(body: bytes) -> object:
    """The JSON document in `body`. Everything from Datadog is parsed with this function.

    Stricter than `json.loads`: UTF-8 only, no NaN, no Infinity (including a number too large for a
    float), and no duplicate names in one object, because parsers disagree on which value to use.
    Raises PayloadError, also for nesting that is too deep and numbers that are too long.
    """
    try:
        document: object = json.loads(
            body.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_object_of_unique_names,
        )
    except (ValueError, RecursionError):
        raise PayloadError("This is not strict JSON.") from None
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON.")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("The number is too large.")
    return number


def _object_of_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("A name appears twice in one object.")
    return members


def find_errors(body: bytes) -> list[Any] | None:
    """The `errors` list of a JSON object. None if the body has another form."""
    try:
        document = parse_json(body)
    except PayloadError:
        return None
    errors = _mapping(document).get("errors")
    return errors if isinstance(errors, list) else None


def error_texts(errors: object) -> tuple[str, ...]:
    """Datadog's error messages, limited in number and length. For an object, its detail or title.

    `errors` should be a list, but a single text or object is accepted too.
    """
    error_list = errors if isinstance(errors, list) else [errors]
    texts = (_error_text(error) for error in error_list[:MAX_ERRORS])
    return tuple(text for text in texts if text)


def get_reported_errors(document: object) -> object:
    """The `errors` of a document, of any type. Falsy if it has none."""
    return _mapping(document).get("errors")


def parse_page(document: object) -> Page | None:
    """One page of GET /api/v2/org_connections. None if it has no list of elements.

    Malformed elements are left out but counted in `count`. `included` can be missing; recordings
    show that it is when `data` is empty.
    """
    data = _mapping(document).get("data")
    if not isinstance(data, list):
        return None
    included, is_contradictory = _index_included(_mapping(document))
    errors = get_reported_errors(document)
    total = _find_count(_mapping(document), name="total_filtered_count")
    org_connections = []
    for element in data:
        try:
            org_connections.append(_parse_org_connection(element, included=included))
        except ValueError:
            continue
    cause = None
    if errors:
        cause = Cause.ERRORS_IN_RESPONSE
    elif total is None:
        cause = Cause.COUNT_MISSING
    elif _has_another_total(_mapping(document), total=total):
        cause = Cause.COUNTS_DIFFER
    elif len(org_connections) < len(data):
        cause = Cause.MALFORMED_ELEMENT
    elif is_contradictory:
        cause = Cause.CONTRADICTORY_ELEMENTS
    return Page(
        org_connections=tuple(org_connections),
        count=len(data),
        total=total,
        cause=cause,
        errors=error_texts(errors),
    )


def parse_connection(body: bytes) -> OrgConnection | None:
    """The response to a POST or PATCH. None if it is malformed or reports errors."""
    try:
        document = parse_json(body)
        if get_reported_errors(document):
            return None
        return _parse_org_connection(_mapping(document).get("data"), included={})
    except ValueError:
        return None


def body_of_create(*, sink_org_id: str, connection_types: Sequence[str]) -> bytes:
    """The body of POST /api/v2/org_connections. Raises ValueError without an org or types."""
    if not sink_org_id:
        raise ValueError("A connection needs a destination org.")
    return _body(
        attributes={"connection_types": _checked_types(connection_types)},
        relationships={"sink_org": {"data": {"type": "orgs", "id": sink_org_id}}},
    )


def body_of_update(*, connection_id: str, connection_types: Sequence[str]) -> bytes:
    """The body of PATCH /api/v2/org_connections/{id}. Raises ValueError without types."""
    return _body(
        id=connection_id, attributes={"connection_types": _checked_types(connection_types)}
    )


def _body(**members: object) -> bytes:
    return json.dumps({"data": {"type": "org_connection", **members}}).encode()


def _checked_types(connection_types: Sequence[str]) -> list[str]:
    """At least one and none twice, as Datadog requires. A string isn't a list of types."""
    types = list(connection_types)
    is_text = isinstance(connection_types, str)
    if is_text or not all(types) or not types or len(set(types)) < len(types):
        raise ValueError("A connection needs at least one data type, and each only once.")
    return types


def parse_identity(document: object) -> KeyOwner | None:
    """GET /api/v2/current_user.

    None if it names no org with a usable ID, or names one in two ways.
    """
    data = _mapping(document).get("data")
    user = _attributes(data)
    included, is_contradictory = _index_included(_mapping(document))
    org_id = _text(_relation(data, "org").get("id"))
    org = included.get(("orgs", org_id))
    if not org_id or len(org_id) > MAX_ORG_ID_LENGTH or org is None or is_contradictory:
        return None
    return KeyOwner(
        org=ListedOrg(id=org_id, name=_text(org.get("name"))),
        user_id=_text(_mapping(data).get("id")),
        user_name=_text(user.get("name")),
        is_service_account=_flag(user.get("service_account")),
        permissions=frozenset(
            _text(attributes.get("name"))
            for (kind, _), attributes in included.items()
            if kind == "permissions" and _text(attributes.get("name"))
        ),
    )


def parse_managed_orgs(document: object) -> tuple[ListedOrg, ...] | None:
    """GET /api/v2/org: every org it names. None if an org has no ID, or if there is no list."""
    data = _mapping(document).get("data")
    managed = _related(data, "managed_orgs")
    if not isinstance(managed, list):
        return None
    included, is_contradictory = _index_included(_mapping(document))
    ids = [_text(_mapping(org).get("id")) for org in (_relation(data, "current_org"), *managed)]
    if is_contradictory or not all(ids):
        return None
    return tuple(
        ListedOrg(id=org_id, name=_text(included.get(("orgs", org_id), {}).get("name")))
        for org_id in dict.fromkeys(ids)
    )


def bounded_text(text: str) -> str:
    """Datadog's text, limited in length, with characters that a database can't store replaced."""
    return _UNSTORABLE.sub("\ufffd", text[:MAX_TEXT_LENGTH])


def _parse_org_connection(
    element: object, *, included: dict[tuple[str, str], Mapping[str, Any]]
) -> OrgConnection:
    attributes = _attributes(element)
    types = attributes.get("connection_types")
    if not isinstance(types, list) or not all(isinstance(text, str) for text in types):
        raise PayloadError("An org connection without types.")
    connection_id = _text(_mapping(element).get("id"))
    return OrgConnection(
        id=canonical_connection_id(connection_id),
        source_org=_parse_org(_relation(element, "source_org"), included=included),
        sink_org=_parse_org(_relation(element, "sink_org"), included=included),
        connection_types=tuple(bounded_text(text) for text in types[:MAX_CONNECTION_TYPES]),
        created_at=_parse_time(attributes.get("created_at")),
        created_by=_parse_creator(_relation(element, "created_by"), included=included),
    )


def _parse_org(
    relation: Mapping[str, Any], *, included: dict[tuple[str, str], Mapping[str, Any]]
) -> ListedOrg:
    org_id = _text(relation.get("id"))
    if not org_id or len(org_id) > MAX_ORG_ID_LENGTH:
        raise PayloadError("An org connection without a usable ID of one of its orgs.")
    more = included.get(("orgs", org_id), {})
    return ListedOrg(id=org_id, name=_text(relation.get("name")) or _text(more.get("name")))


def _parse_creator(
    relation: Mapping[str, Any], *, included: dict[tuple[str, str], Mapping[str, Any]]
) -> Creator:
    user_id = _text(relation.get("id"))
    more = included.get(("users", user_id), {})
    return Creator(
        id=user_id,
        name=_text(relation.get("name")) or _text(more.get("name")),
        disabled=_flag(more.get("disabled")),
        service_account=_flag(more.get("service_account")),
    )


def _parse_time(value: object) -> datetime | None:
    """An ISO 8601 time in UTC. Without an offset, UTC is assumed. None if it is malformed."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            return parsed.replace(tzinfo=UTC)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _index_included(
    document: Mapping[str, Any],
) -> tuple[dict[tuple[str, str], Mapping[str, Any]], bool]:
    """The included attributes by type and ID, and whether two of them conflict."""
    index: dict[tuple[str, str], Mapping[str, Any]] = {}
    is_contradictory = False
    for item in _mappings(document.get("included")):
        key, attributes = (_text(item.get("type")), _text(item.get("id"))), _attributes(item)
        if index.setdefault(key, attributes) != attributes and key[1]:
            is_contradictory = True
    return index, is_contradictory


def _page_counts(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(_mapping(document.get("meta")).get("page"))


def _find_count(document: Mapping[str, Any], *, name: str) -> int | None:
    count = _page_counts(document).get(name)
    if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
        return count
    return None


def _has_another_total(document: Mapping[str, Any], *, total: int | None) -> bool:
    """Whether the optional `total_count` is given and differs from `total`."""
    if _page_counts(document).get("total_count") is None:
        return False
    return _find_count(document, name="total_count") != total


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        return _text(error.get("detail")) or _text(error.get("title"))
    return _text(error)


def _attributes(item: object) -> Mapping[str, Any]:
    return _mapping(_mapping(item).get("attributes"))


def _related(item: object, name: str) -> object:
    """The `data` of a relationship: one resource or a list of resources."""
    relationships = _mapping(_mapping(item).get("relationships"))
    return _mapping(relationships.get(name)).get("data")


def _relation(item: object, name: str) -> Mapping[str, Any]:
    return _mapping(_related(item, name))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterator[Mapping[str, Any]]:
    return (
        (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
    )


def _text(value: object) -> str:
    return bounded_text(value) if isinstance(value, str) else ""


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None
