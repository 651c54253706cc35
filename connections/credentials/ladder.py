"""Verifying a key pair: a ladder of questions to Datadog, each with its answer in words.

It asks the network and never the database, so that many pairs are verified in threads.
"""

import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from connections.core.causes import Cause
from connections.core.sites import DatadogSite
from connections.datadog.client import DatadogClient
from connections.datadog.errors import DatadogError
from connections.datadog.payloads import KeyOwner
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.wording.trouble import NOT_OPENED, failure_text

# Under the 60 s at which proxies cut a request of ours.
KEY_CHECK_SECONDS = 40.0
READ = "org_connections_read"
WRITE = "org_connections_write"
# The role does not grant what deleting needs; the pair serves all the same, to look.
WRITE_NOT_GRANTED = "write_not_granted"


class KeyCheck(StrEnum):
    """The rungs, from the ground up."""

    STORED = "stored"  # the stored keys can be decrypted; a rung only when they cannot
    API_KEY = "api_key"  # GET /api/v1/validate
    KEY_PAIR = "key_pair"  # GET /api/v2/validate_keys
    ORG = "org"  # GET /api/v2/current_user: the org, compared with the pinned one
    PERMISSIONS = "permissions"  # what the role grants, from the same answer
    LISTING = "listing"  # GET /api/v2/org_connections really works


@dataclass(frozen=True, kw_only=True)
class KeyCheckResult:
    """One question and its answer; `ok` is None when it was not asked.

    `errors` are Datadog's own words.
    """

    rung: KeyCheck
    ok: bool | None
    words: str
    cause: str = ""
    http_status: int | None = None
    errors: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """The rung as a credential keeps it."""
        return asdict(self) | {"errors": list(self.errors)}


@dataclass(frozen=True, kw_only=True)
class KeyReport:
    """All rungs of one verification.

    `identity` is whose pair it is, when Datadog told; `fetched` is the listing or why there is
    none, and is None when nothing was asked at all.
    """

    rungs: tuple[KeyCheckResult, ...]
    identity: KeyOwner | None = None
    fetched: SyncResult | None = None

    @property
    def failure(self) -> KeyCheckResult | None:
        """The rung on which it ends; None when the pair is verified."""
        failed = (rung for rung in self.rungs if rung.ok is False)
        return next((rung for rung in failed if rung.rung != KeyCheck.PERMISSIONS), None)

    @property
    def knows_org(self) -> bool:
        """Whether the pair answered for the org that it should."""
        return any(rung.rung == KeyCheck.ORG and rung.ok for rung in self.rungs)


def run_key_checks(
    *, client: DatadogClient, site: DatadogSite, org_id: str, org_name: str
) -> KeyReport:
    """Ask rung by rung until one fails; never raises for Datadog's trouble.

    `org_id` and `org_name` are the org the credential is pinned to, "" when to none yet.
    """
    deadline = time.monotonic() + KEY_CHECK_SECONDS
    rungs: list[KeyCheckResult] = []
    for step, ask in (
        (KeyCheck.API_KEY, client.validate_api_key),
        (KeyCheck.KEY_PAIR, client.validate_key_pair),
    ):
        try:
            ask(deadline_seconds=_left(deadline))
        except DatadogError as error:
            return _broken_off(rungs, step=step, error=error, site=site)
        rungs.append(
            KeyCheckResult(rung=step, ok=True, words=_ACCEPTED[step].format(site=site.label))
        )
    try:
        identity = client.whoami(deadline_seconds=_left(deadline))
    except DatadogError as error:
        return _broken_off(rungs, step=KeyCheck.ORG, error=error, site=site)
    if org_id and identity.org.id != org_id:
        rung = _another_org(identity, org_id=org_id, org_name=org_name)
        fetched = SyncResult(cause=Cause.ANOTHER_ORG, http_status=200, identity=identity)
        return KeyReport(rungs=_with_rest(rungs, rung), identity=identity, fetched=fetched)
    fetched = sync.fetch_connections(
        client=client, org_id=identity.org.id, deadline_seconds=_left(deadline)
    )
    rungs += [_org(identity), _permissions(identity), _listing(fetched, site=site)]
    return KeyReport(rungs=tuple(rungs), identity=identity, fetched=fetched)


def keys_undecryptable(*, words: str) -> KeyReport:
    """The ladder of a credential whose stored keys cannot be decrypted: nothing was asked."""
    rung = KeyCheckResult(rung=KeyCheck.STORED, ok=False, words=words, cause=NOT_OPENED)
    return KeyReport(rungs=_with_rest([], rung))


_ACCEPTED = {
    KeyCheck.API_KEY: "{site} accepts the API key.",
    KeyCheck.KEY_PAIR: "The application key is valid, and belongs to the API key's org.",
}


def _left(deadline: float) -> float:
    return max(0.1, min(10.0, deadline - time.monotonic()))


def _with_rest(rungs: list[KeyCheckResult], failed: KeyCheckResult) -> tuple[KeyCheckResult, ...]:
    """The rungs so far, the one that failed, and those above it as not asked."""
    steps = list(KeyCheck)
    above = steps[steps.index(failed.rung) + 1 :]
    rest = [KeyCheckResult(rung=step, ok=None, words="") for step in above]
    return (*rungs, failed, *rest)


def _broken_off(
    rungs: list[KeyCheckResult], *, step: KeyCheck, error: DatadogError, site: DatadogSite
) -> KeyReport:
    rung = KeyCheckResult(
        rung=step,
        ok=False,
        words=_failure_words(step, cause=error.cause, http_status=error.http_status, site=site),
        cause=error.cause,
        http_status=error.http_status,
        errors=error.errors,
    )
    fetched = SyncResult(cause=error.cause, http_status=error.http_status, errors=error.errors)
    return KeyReport(rungs=_with_rest(rungs, rung), fetched=fetched)


def _failure_words(
    step: KeyCheck, *, cause: str, http_status: int | None, site: DatadogSite
) -> str:
    refused = cause in {Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.KEY_NOT_VALID}
    if not refused:
        return failure_text(cause=cause, http_status=http_status)
    status = http_status or 200
    match step:
        case KeyCheck.API_KEY:
            return (
                f"Datadog does not accept the API key ({status}). It may be revoked, mistyped or "
                f"belong to another site. It was sent to {site.label} only, the site chosen."
            )
        case KeyCheck.KEY_PAIR:
            return (
                f"Datadog does not accept the pair ({status}). The application key may be "
                "revoked, mistyped, belong to another org or another site, or its owner is "
                f"disabled. It was sent to {site.label} only, the site chosen."
            )
        case KeyCheck.LISTING:
            return (
                f"Datadog refuses to list the org connections ({status}). It needs {READ} in the "
                "role and, where the application key is scoped, in its scopes."
            )
        case _:
            return f"Datadog does not say which org this pair belongs to ({status})."


def _org(identity: KeyOwner) -> KeyCheckResult:
    as_whom = f" as {identity.user_name}" if identity.user_name else ""
    words = f"The pair answers for {_told(identity)}{as_whom}."
    return KeyCheckResult(rung=KeyCheck.ORG, ok=True, words=words)


def _another_org(identity: KeyOwner, *, org_id: str, org_name: str) -> KeyCheckResult:
    words = (
        f"This pair answers for another org: {_told(identity)}, and this credential is for "
        f"{org_name or 'an org'} ({org_id}). Nothing of the other org is shown. Rotate the "
        "credential to a pair of its own org, or add the other org as a credential of its own."
    )
    return KeyCheckResult(
        rung=KeyCheck.ORG, ok=False, words=words, cause=Cause.ANOTHER_ORG, http_status=200
    )


def _told(identity: KeyOwner) -> str:
    return f"{identity.org.name or 'an org without a name'} ({identity.org.id})"


def _permissions(identity: KeyOwner) -> KeyCheckResult:
    granted = {name for name in (READ, WRITE) if name in identity.permissions}
    if WRITE in granted:
        listed = " and ".join(sorted(granted))
        words = (
            f"The role grants {listed}. That the pair may delete cannot be proven without "
            "deleting: role grants it; key scopes unknown."
        )
        return KeyCheckResult(rung=KeyCheck.PERMISSIONS, ok=True, words=words)
    what = f"grants {READ}, but not {WRITE}" if granted else f"grants neither {READ} nor {WRITE}"
    words = f"The role {what}: Datadog will refuse deletions with this pair (403)."
    return KeyCheckResult(rung=KeyCheck.PERMISSIONS, ok=False, words=words, cause=WRITE_NOT_GRANTED)


def _listing(fetched: SyncResult, *, site: DatadogSite) -> KeyCheckResult:
    if fetched.is_complete:
        count = len(fetched.org_connections)
        noun = "org connection" if count == 1 else "org connections"
        return KeyCheckResult(rung=KeyCheck.LISTING, ok=True, words=f"It lists {count} {noun}.")
    return KeyCheckResult(
        rung=KeyCheck.LISTING,
        ok=False,
        words=_failure_words(
            KeyCheck.LISTING, cause=fetched.cause, http_status=fetched.http_status, site=site
        ),
        cause=fetched.cause,
        http_status=fetched.http_status,
        errors=fetched.errors,
    )
