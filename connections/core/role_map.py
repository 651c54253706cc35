"""The map from values of the identity provider's claim to roles: ORGADMIN_OIDC_ROLE_MAP."""

import json
from collections.abc import Iterable
from typing import Any

ADMINISTRATOR = "Administrator"
# Those of connections.models.Role, which can't be imported while the settings are read.
ROLE_NAMES = ("Viewer", "Operator", "Approver", "Credential manager", "Auditor", ADMINISTRATOR)
_FORM = 'Write group=Role+Role, comma-separated, or a JSON object such as {"group": ["Role"]}.'

type RoleMap = dict[str, frozenset[str]]


def parse_role_map(text: str) -> RoleMap:
    """The roles that each value of the claim gives. Empty for "". Raises ValueError."""
    text = text.strip()
    role_map: RoleMap = {}
    for value, roles in _parse_json(text) if text.startswith("{") else _parse_pairs(text):
        if not value or not roles:
            raise ValueError(_FORM)
        for role in roles:
            if role not in ROLE_NAMES:
                raise ValueError(f"There is no role {role!r}. Roles: {', '.join(ROLE_NAMES)}.")
        if value in role_map:
            raise ValueError(f"{value!r} appears twice.")
        role_map[value] = frozenset(roles)
    if text and not role_map:
        raise ValueError(f"It names no group. {_FORM} Or unset the variable.")
    return role_map


def _parse_pairs(text: str) -> Iterable[tuple[str, list[str]]]:
    for entry in text.split(",") if text else []:
        value, separator, roles = entry.partition("=")
        if not separator or "=" in roles:
            raise ValueError(_FORM)
        yield value.strip(), [role.strip() for role in roles.split("+")]


def _parse_json(text: str) -> Iterable[tuple[str, list[str]]]:
    # A list of pairs, so that a value that appears twice is noticed.
    try:
        pairs: Any = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise ValueError(_FORM) from None
    for value, roles in pairs:
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise ValueError(_FORM)
        yield value, roles
