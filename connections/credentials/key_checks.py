"""Verifies key pairs: a series of requests to Datadog, each with its result as text.

`run_key_checks` uses the network and never the database, so threads can verify many pairs at once.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.audit.events import EventCode
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.core.sites import DatadogSite, get_site
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import KeyOwner
from connections.datadog.responses import DatadogError
from connections.inventory import sync
from connections.inventory.sync import PARALLEL_SYNCS, SyncResult
from connections.models import ApprovalPolicy, Credential
from connections.models.credentials import ENVELOPE_FIELDS
from connections.net.http import pool
from connections.wording.causes import KEYS_UNDECRYPTABLE, failure_text

# Less than the 60 s after which proxies usually end a request to Org Admin.
KEY_CHECK_SECONDS = 40.0
READ_PERMISSION = "org_connections_read"
WRITE_PERMISSION = "org_connections_write"
# The role lacks the permission to delete. The pair is still good for listing.
WRITE_NOT_GRANTED = "write_not_granted"


class KeyCheck(StrEnum):
    """The checks, in the order in which they run."""

    STORED = "stored"  # the stored keys can be decrypted; present only when they cannot
    API_KEY = "api_key"  # GET /api/v1/validate
    KEY_PAIR = "key_pair"  # GET /api/v2/validate_keys
    ORG = "org"  # GET /api/v2/current_user: the org, compared with the credential's
    PERMISSIONS = "permissions"  # what the role grants, from the same response
    LISTING = "listing"  # GET /api/v2/org_connections works


@dataclass(frozen=True, kw_only=True)
class KeyCheckResult:
    """The result of one check; `ok` is None when it did not run.

    `errors` is Datadog's own text.
    """

    check: KeyCheck
    ok: bool | None
    text: str
    cause: str = ""
    http_status: int | None = None
    errors: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """The result as stored in `Credential.verification`."""
        return {
            "rung": self.check,
            "ok": self.ok,
            "words": self.text,
            "cause": self.cause,
            "http_status": self.http_status,
            "errors": list(self.errors),
        }


@dataclass(frozen=True, kw_only=True)
class KeyReport:
    """All results of one verification.

    `identity` is the owner of the keys, if Datadog named one. `fetched` is the sync or why it
    failed; None when no request was made.
    """

    results: tuple[KeyCheckResult, ...]
    identity: KeyOwner | None = None
    fetched: SyncResult | None = None

    @property
    def failure(self) -> KeyCheckResult | None:
        """The check that failed; None when the pair is verified."""
        failed = (result for result in self.results if result.ok is False)
        return next((result for result in failed if result.check != KeyCheck.PERMISSIONS), None)

    @property
    def knows_org(self) -> bool:
        """Whether the pair belongs to the expected org."""
        return any(result.check == KeyCheck.ORG and result.ok for result in self.results)


def run_key_checks(
    *, client: DatadogClient, site: DatadogSite, org_id: str, org_name: str
) -> KeyReport:
    """Run the checks in order until one fails. Never raises DatadogError.

    `org_id` and `org_name` are the credential's org; "" when it has none yet.
    """
    deadline = time.monotonic() + KEY_CHECK_SECONDS
    results: list[KeyCheckResult] = []
    for check, send in (
        (KeyCheck.API_KEY, client.validate_api_key),
        (KeyCheck.KEY_PAIR, client.validate_key_pair),
    ):
        try:
            send(deadline_seconds=_seconds_left(deadline))
        except DatadogError as error:
            return _failed_report(results, check=check, error=error, site=site)
        results.append(
            KeyCheckResult(
                check=check, ok=True, text=_ACCEPTED_TEXTS[check].format(site=site.label)
            )
        )
    try:
        identity = client.whoami(deadline_seconds=_seconds_left(deadline))
    except DatadogError as error:
        return _failed_report(results, check=KeyCheck.ORG, error=error, site=site)
    if org_id and identity.org.id != org_id:
        result = _wrong_org_result(identity, org_id=org_id, org_name=org_name)
        fetched = SyncResult(cause=Cause.ANOTHER_ORG, http_status=200, identity=identity)
        return KeyReport(
            results=_with_skipped_checks(results, result), identity=identity, fetched=fetched
        )
    fetched = sync.fetch_connections(
        client=client, org_id=identity.org.id, deadline_seconds=_seconds_left(deadline)
    )
    results += [
        _org_result(identity),
        _permissions_result(identity),
        _listing_result(fetched, site=site),
    ]
    return KeyReport(results=tuple(results), identity=identity, fetched=fetched)


def keys_undecryptable(*, text: str) -> KeyReport:
    """The report on a credential whose stored keys cannot be decrypted: no request was made."""
    result = KeyCheckResult(check=KeyCheck.STORED, ok=False, text=text, cause=KEYS_UNDECRYPTABLE)
    return KeyReport(results=_with_skipped_checks([], result))


_ACCEPTED_TEXTS = {
    KeyCheck.API_KEY: "{site} accepts the API key.",
    KeyCheck.KEY_PAIR: "The application key is valid, and belongs to the API key's org.",
}


def _seconds_left(deadline: float) -> float:
    return max(0.1, min(10.0, deadline - time.monotonic()))


def _with_skipped_checks(
    results: list[KeyCheckResult], failed: KeyCheckResult
) -> tuple[KeyCheckResult, ...]:
    """The results so far, the failed one, and the later checks as not run."""
    checks = list(KeyCheck)
    later = checks[checks.index(failed.check) + 1 :]
    skipped = [KeyCheckResult(check=check, ok=None, text="") for check in later]
    return (*results, failed, *skipped)


def _failed_report(
    results: list[KeyCheckResult], *, check: KeyCheck, error: DatadogError, site: DatadogSite
) -> KeyReport:
    result = KeyCheckResult(
        check=check,
        ok=False,
        text=_failure_text(check, cause=error.cause, http_status=error.http_status, site=site),
        cause=error.cause,
        http_status=error.http_status,
        errors=error.errors,
    )
    fetched = SyncResult(cause=error.cause, http_status=error.http_status, errors=error.errors)
    return KeyReport(results=_with_skipped_checks(results, result), fetched=fetched)


def _failure_text(
    check: KeyCheck, *, cause: str, http_status: int | None, site: DatadogSite
) -> str:
    refused = cause in {Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.KEY_NOT_VALID}
    if not refused:
        return failure_text(cause=cause, http_status=http_status)
    status = http_status or 200
    match check:
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
                f"Datadog refuses to list the org connections ({status}). It needs "
                f"{READ_PERMISSION} in the role and, where the application key is scoped, in its "
                "scopes."
            )
        case _:
            return f"Datadog does not say which org this pair belongs to ({status})."


def _org_result(identity: KeyOwner) -> KeyCheckResult:
    as_whom = f" as {identity.user_name}" if identity.user_name else ""
    text = f"The pair answers for {_describe_org(identity)}{as_whom}."
    return KeyCheckResult(check=KeyCheck.ORG, ok=True, text=text)


def _wrong_org_result(identity: KeyOwner, *, org_id: str, org_name: str) -> KeyCheckResult:
    text = (
        f"This pair answers for another org: {_describe_org(identity)}, and this credential is for "
        f"{org_name or 'an org'} ({org_id}). Nothing of the other org is shown. Rotate the "
        "credential to a pair of its own org, or add the other org as a credential of its own."
    )
    return KeyCheckResult(
        check=KeyCheck.ORG, ok=False, text=text, cause=Cause.ANOTHER_ORG, http_status=200
    )


def _describe_org(identity: KeyOwner) -> str:
    return f"{identity.org.name or 'an org without a name'} ({identity.org.id})"


def _permissions_result(identity: KeyOwner) -> KeyCheckResult:
    granted = {name for name in (READ_PERMISSION, WRITE_PERMISSION) if name in identity.permissions}
    if WRITE_PERMISSION in granted:
        listed = " and ".join(sorted(granted))
        text = (
            f"The role grants {listed}. That the pair may delete cannot be proven without "
            "deleting: role grants it; key scopes unknown."
        )
        return KeyCheckResult(check=KeyCheck.PERMISSIONS, ok=True, text=text)
    what = (
        f"grants {READ_PERMISSION}, but not {WRITE_PERMISSION}"
        if granted
        else f"grants neither {READ_PERMISSION} nor {WRITE_PERMISSION}"
    )
    text = f"The role {what}: Datadog will refuse deletions with this pair (403)."
    return KeyCheckResult(check=KeyCheck.PERMISSIONS, ok=False, text=text, cause=WRITE_NOT_GRANTED)


def _listing_result(fetched: SyncResult, *, site: DatadogSite) -> KeyCheckResult:
    if fetched.is_complete:
        count = len(fetched.org_connections)
        noun = "org connection" if count == 1 else "org connections"
        return KeyCheckResult(check=KeyCheck.LISTING, ok=True, text=f"It lists {count} {noun}.")
    return KeyCheckResult(
        check=KeyCheck.LISTING,
        ok=False,
        text=_failure_text(
            KeyCheck.LISTING, cause=fetched.cause, http_status=fetched.http_status, site=site
        ),
        cause=fetched.cause,
        http_status=fetched.http_status,
        errors=fetched.errors,
    )


KEY_FIELDS = (
    "secret_version",
    *ENVELOPE_FIELDS,
    "fingerprint",
    "api_key_last_four",
    "application_key_last_four",
)


@dataclass(frozen=True, kw_only=True)
class KeyVerification:
    """The report on one credential's key pair, not yet stored."""

    credential: Credential
    report: KeyReport
    started_at: datetime


def verify_in_parallel(credentials: list[Credential]) -> list[KeyVerification]:
    """Verify the credentials in parallel, in the same order. Stores nothing.

    The threads only send requests: keys are decrypted in the caller's thread. Raises
    UnavailableError for a site that is no longer configured, or when the key ring is unusable.
    """
    started_at = clock.now()
    clients = [_open_client_or_report(credential) for credential in credentials]
    with pool(), ThreadPoolExecutor(max_workers=PARALLEL_SYNCS) as threads:
        futures = [
            # Each thread has a copy of the context, so that all share the connections.
            threads.submit(copy_context().run, _run_or_return_report, credential, client)
            for credential, client in zip(credentials, clients, strict=True)
        ]
        return [
            KeyVerification(credential=credential, report=future.result(), started_at=started_at)
            for credential, future in zip(credentials, futures, strict=True)
        ]


def _open_client_or_report(credential: Credential) -> DatadogClient | KeyReport:
    try:
        return sync.open_client(credential=credential)
    except UnavailableError as error:
        if error.cause != Cause.KEYS_NOT_OPENED:
            raise
        return keys_undecryptable(text=f"{error} Rotate it to a pair pasted anew.")


def _run_or_return_report(credential: Credential, client: DatadogClient | KeyReport) -> KeyReport:
    if isinstance(client, KeyReport):
        return client
    return run_key_checks(
        client=client,
        site=get_site(credential.site),
        org_id=credential.org_id,
        org_name=credential.org_name,
    )


def unchanged_row(credential: Credential, **as_read: Any) -> QuerySet[Credential]:
    """The credential's row if it is in use and these fields are unchanged since they were read.

    Updating it is a compare-and-swap: of two people who change it at once, only one succeeds.
    """
    return Credential.objects.filter(pk=credential.pk, retired_at=None, **as_read)


@audit.atomic()
def store_report(
    *, verification: KeyVerification, actor: Actor, replacement: Credential | None = None
) -> bool:
    """Store the report, the sync and the event.

    Returns False, with nothing stored, when the keys were changed or erased meanwhile. The first
    org found becomes the credential's org for good. `replacement` is an unsaved copy with a new
    encrypted key pair, which replaces the old one in the same statement.
    """
    credential, report = verification.credential, verification.report
    now = clock.now()
    row = unchanged_row(credential, secret_version=credential.secret_version)
    values = _report_values(report, now=now)
    if report.knows_org and report.identity:
        # If two first verifications run at once, the later one must have found the same org.
        row = row.filter(org_id__in=("", report.identity.org.id))
        if not credential.org_id:
            values["policy"] = _strictest_policy_of_org(credential, org_id=report.identity.org.id)
    if replacement:
        values |= {name: getattr(replacement, name) for name in KEY_FIELDS}
        values |= {"keys_set_at": now, "keys_set_by_name": actor.name}
    if not row.update(**values):
        return False
    if report.fetched:
        sync.store_sync(
            credential=credential,
            fetched=report.fetched,
            started_at=verification.started_at,
            actor=actor,
        )
    if replacement:
        _record_rotation(old=credential, new=replacement, actor=actor)
    _record_report(credential=credential, report=report, actor=actor)
    return True


def _strictest_policy_of_org(credential: Credential, *, org_id: str) -> ApprovalPolicy:
    """The strictest policy that any credential of this org has or had.

    So adding the org's keys again, or another user's keys, doesn't reduce the approvals needed:
    only an administrator can do that.
    """
    same_org = Credential.objects.filter(site=credential.site, org_id=org_id)
    return ApprovalPolicy.strictest([credential.policy, *same_org.values_list("policy", flat=True)])


def _report_values(report: KeyReport, *, now: datetime) -> dict[str, Any]:
    failure = report.failure
    values: dict[str, Any] = {
        "verification": [result.as_data() | {"at": now.isoformat()} for result in report.results],
        "verification_cause": failure.cause if failure else "",
    }
    if failure is None:
        values["verified_at"] = now
    if report.knows_org and report.identity:
        values |= {"org_id": report.identity.org.id, "org_name": report.identity.org.name}
    if report.fetched is None and failure:
        values["last_error"] = {
            "at": now.isoformat(),
            "cause": failure.cause,
            "http_status": None,
            "errors": [],
        }
    return values


def _record_rotation(*, old: Credential, new: Credential, actor: Actor) -> None:
    audit.record(
        code=EventCode.CREDENTIAL_ROTATED,
        actor=actor,
        subject=old,
        sentence=audit.Sentence(
            "{credential} was rotated to a new key pair of the same org.",
            credential=old.name,
        ),
        details={"previous_fingerprint": old.fingerprint, "fingerprint": new.fingerprint},
    )


def _record_report(*, credential: Credential, report: KeyReport, actor: Actor) -> None:
    failure, identity = report.failure, report.identity
    sentence = (
        audit.Sentence("{credential} was verified.", credential=credential.name)
        if failure is None
        else audit.Sentence(
            "{credential} was not verified. {why}", credential=credential.name, why=failure.text
        )
    )
    audit.record(
        code=EventCode.CREDENTIAL_NOT_VERIFIED if failure else EventCode.CREDENTIAL_VERIFIED,
        actor=actor,
        subject=credential,
        sentence=sentence,
        details={
            "ladder": {result.check: result.ok for result in report.results},
            "cause": failure.cause if failure else "",
            "http_status": failure.http_status if failure else None,
            "errors": list(failure.errors) if failure else [],
            "org_id": identity.org.id if identity else "",
            "org_name": identity.org.name if identity else "",
        },
    )
