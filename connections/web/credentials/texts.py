"""Texts and badges that the credential pages show."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from connections.core.causes import KEYS_REJECTED, KEYS_UNDECRYPTABLE, Cause, failure_text
from connections.credentials.key_checks import KeyCheck
from connections.models import Credential
from connections.web.badges import Badge, CredentialStatus

_NEEDING_KEYS = {*KEYS_REJECTED, Cause.ANOTHER_ORG, KEYS_UNDECRYPTABLE}
_LABELS = {
    KeyCheck.STORED: "Stored keys",
    KeyCheck.API_KEY: "API key",
    KeyCheck.KEY_PAIR: "Key pair",
    KeyCheck.ORG: "Org",
    KeyCheck.PERMISSIONS: "Permissions",
    KeyCheck.LISTING: "Sync",
}
_SKIPPED = Badge("Not run", "muted", "minus")
_PASSED = Badge("Passed", "ok", "check")
_OUTDATED = Badge("Passed", "muted", "check")
_FAILED = Badge("Failed", "danger", "cross")


@dataclass(frozen=True, kw_only=True)
class KeyCheckRow:
    """One key check, as a line."""

    label: str
    badge: Badge
    text: str
    quotes: list[str]


def key_check_rows(
    results: Iterable[dict[str, Any]], *, are_outdated: bool = False
) -> list[KeyCheckRow]:
    """Stored key checks as lines. Outdated ones are muted."""
    return [
        KeyCheckRow(
            label=_LABELS[KeyCheck(result["check"])],
            badge=_OUTDATED if are_outdated and result["ok"] else _key_check_badge(result),
            text=result["text"],
            quotes=list(result["errors"]),
        )
        for result in results
    ]


def _key_check_badge(result: dict[str, Any]) -> Badge:
    if result["ok"] is None:
        return _SKIPPED
    if result["ok"]:
        return _PASSED
    return CredentialStatus.READ_ONLY.value if result["check"] == KeyCheck.PERMISSIONS else _FAILED


def flags_of(credential: Credential) -> list[Badge]:
    """What to know about a credential in use, in addition to its status."""
    if credential.is_retired:
        return []
    flags = {
        CredentialStatus.READ_ONLY: credential.is_read_only,
        CredentialStatus.ROTATION_DUE: credential.has_old_keys(now=timezone.now()),
    }
    return [status.value for status, is_set in flags.items() if is_set]


def problem_of(credential: Credential) -> str:
    """Why it is not verified, or why its last use failed; "" if nothing is wrong."""
    for result in credential.verification:
        if result["ok"] is False and result["check"] != KeyCheck.PERMISSIONS:
            return str(result["text"])
    return failure_text_of(credential.last_error)


def needs_keys(credential: Credential) -> bool:
    """Whether Datadog rejects its keys, or they belong to another org, so it needs other keys."""
    return credential.failure_cause in _NEEDING_KEYS and not credential.is_retired


def failure_text_of(error: dict[str, Any] | None) -> str:
    """Why a request to Datadog failed; "" without an error."""
    return failure_text(cause=error["cause"], http_status=error["http_status"]) if error else ""


def checked_at(credential: Credential) -> datetime | None:
    """When the key checks last ran. None before the first time."""
    return parse_datetime(credential.verification[0]["at"]) if credential.verification else None
