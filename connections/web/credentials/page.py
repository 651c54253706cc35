"""Texts and tones that the credential pages show."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.dateparse import parse_datetime

from connections.credentials.key_checks import KeyCheck, KeyCheckResult
from connections.models import Credential
from connections.wording.causes import failure_text

_REFUSED = {"unauthorized", "forbidden", "key_not_valid"}


@dataclass(frozen=True, kw_only=True)
class CredentialState:
    """The state of a credential: a badge, and a headline for its page."""

    tone: str
    icon: str
    label: str
    headline: str


def credential_state(credential: Credential) -> CredentialState:
    """The one state that matters most."""
    cause = credential.verification_cause
    if credential.is_retired:
        return CredentialState(
            tone="muted", icon="minus", label="Retired", headline="Retired. Its keys are wiped."
        )
    if credential.is_verified and credential.last_error:
        return CredentialState(
            tone="warn",
            icon="warning",
            label="Failing",
            headline="Verified, but it failed when it was last used.",
        )
    if credential.is_verified:
        org = credential.org_name or credential.org_id
        return CredentialState(
            tone="ok", icon="check", label="Verified", headline=f"Verified. It answers for {org}."
        )
    if cause == "another_org":
        return CredentialState(
            tone="danger",
            icon="cross",
            label="Another org",
            headline="Not verified: the keys answer for another org.",
        )
    if cause in _REFUSED:
        return CredentialState(
            tone="danger",
            icon="cross",
            label="Refused",
            headline="Not verified: Datadog refuses the keys.",
        )
    return CredentialState(
        tone="warn",
        icon="warning",
        label="Not verified",
        headline="Not verified." if cause else "Not verified yet.",
    )


_LABELS = {
    KeyCheck.STORED: "Stored keys",
    KeyCheck.API_KEY: "API key",
    KeyCheck.KEY_PAIR: "Key pair",
    KeyCheck.ORG: "Org",
    KeyCheck.PERMISSIONS: "Role",
    KeyCheck.LISTING: "Listing",
}
_PASSED_LABELS = {
    KeyCheck.API_KEY: "Valid",
    KeyCheck.KEY_PAIR: "Valid",
    KeyCheck.ORG: "Known",
    KeyCheck.PERMISSIONS: "Granted",
    KeyCheck.LISTING: "Works",
}


@dataclass(frozen=True, kw_only=True)
class KeyCheckRow:
    """One key check, as a line."""

    label: str
    tone: str
    icon: str
    status: str
    text: str
    quotes: list[str]


def stored_key_checks(credential: Credential) -> list[KeyCheckRow]:
    """The results of the last verification; empty before the first one."""
    return [_key_check_row(rung) for rung in credential.verification]


def key_check_rows(rungs: Iterable[KeyCheckResult]) -> list[KeyCheckRow]:
    """Results that were not stored."""
    return [_key_check_row(rung.as_data()) for rung in rungs]


def _key_check_row(rung: dict[str, Any]) -> KeyCheckRow:
    step = KeyCheck(rung["rung"])
    tone, icon, status = "muted", "minus", "Not asked"
    if rung["ok"]:
        tone, icon, status = "ok", "check", _PASSED_LABELS[step]
    elif step == KeyCheck.PERMISSIONS and rung["ok"] is False:
        tone, icon, status = "warn", "warning", "Cannot delete"
    elif rung["ok"] is False:
        tone, icon, status = "danger", "cross", "Failed"
    return KeyCheckRow(
        label=_LABELS[step],
        tone=tone,
        icon=icon,
        status=status,
        text=rung["words"],
        quotes=list(rung["errors"]),
    )


def lacks_write(credential: Credential) -> bool:
    """Whether the role is known not to grant what a deletion needs."""
    return any(
        rung["rung"] == KeyCheck.PERMISSIONS and rung["ok"] is False
        for rung in credential.verification
    )


def failure_reason(credential: Credential) -> str | None:
    """Why its last key check failed; None when it passed, or none was made."""
    if not credential.verification_cause:
        return None
    failed = [rung for rung in credential.verification if rung["ok"] is False]
    decisive = [rung for rung in failed if rung["rung"] != KeyCheck.PERMISSIONS]
    return str(decisive[0]["words"]) if decisive else None


def checked_at(credential: Credential) -> datetime | None:
    """When the key checks last ran; None before the first time."""
    return parse_datetime(credential.verification[0]["at"]) if credential.verification else None


@dataclass(frozen=True, kw_only=True)
class LastError:
    """What went wrong the last time the credential was used."""

    at: datetime | None
    text: str
    quotes: list[str]


def last_error_of(credential: Credential) -> LastError | None:
    """None when its last use went well."""
    error = credential.last_error
    if not error:
        return None
    text = failure_text(cause=error["cause"], http_status=error["http_status"])
    return LastError(at=parse_datetime(error["at"]), text=text, quotes=list(error["errors"]))


def connections_url(credential: Credential) -> str:
    """The inventory, filtered by this credential's org."""
    query = urlencode({"site": credential.site, "org": credential.org_name or credential.org_id})
    return f"{reverse('org-connection-list')}?{query}"


def deletions_url(credential: Credential) -> str:
    """The history, filtered by this credential."""
    return f"{reverse('deletion-list')}?{urlencode({'credential': str(credential.pk)})}"
