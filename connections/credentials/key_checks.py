"""Verifies keys with a series of requests to Datadog, each with its result as text.

`run_key_checks` uses the network and never the database, so threads can verify many keys in
parallel.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.access.policies import credentials_of_orgs
from connections.audit import EventCode
from connections.core import clock
from connections.core.causes import KEYS_REJECTED, KEYS_UNDECRYPTABLE, Cause, failure_text
from connections.core.errors import UnavailableError
from connections.core.sites import DatadogSite, get_site
from connections.core.text import pluralize
from connections.credentials import access_lists, policies
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import KeyOwner
from connections.datadog.responses import DatadogError
from connections.inventory import fetching, storing
from connections.inventory.fetching import SyncResult
from connections.inventory.managed_orgs import (
    ManagedOrgs,
    fetch_managed_orgs,
    store_managed_orgs,
)
from connections.models import ApprovalPolicy, Credential
from connections.models.credentials import ENVELOPE_FIELDS, LAST_FOUR_FIELDS
from connections.net.http import PARALLEL_REQUESTS, pool

# Less than the 60 s after which proxies usually end a request to Org Admin.
KEY_CHECK_SECONDS = 40.0
# The longest time between two checks. Each is due up to a fifth earlier.
CHECK_INTERVAL = timedelta(days=1)
_SHORTEST = 0.8
READ_PERMISSION = "org_connections_read"
WRITE_PERMISSION = "org_connections_write"


class KeyCheck(StrEnum):
    """The checks, in the order in which they run.

    An access token skips Datadog's first two, which validate a key pair.
    """

    STORED = "stored"  # the stored keys can be decrypted; present only if they can't
    API_KEY = "api_key"  # GET /api/v1/validate
    KEY_PAIR = "key_pair"  # GET /api/v2/validate_keys
    ORG = "org"  # GET /api/v2/current_user: the org, compared with the org of the credential
    PERMISSIONS = "permissions"  # what the role grants, from the same response
    LISTING = "listing"  # GET /api/v2/org_connections works


_OF_KEY_PAIRS = (KeyCheck.API_KEY, KeyCheck.KEY_PAIR)


@dataclass(frozen=True, kw_only=True)
class KeyCheckResult:
    """The result of one check, with the fields that `Credential.verification` stores.

    `ok` is None if the check did not run. `errors` is Datadog's own text. `missing` are the
    permissions that the role lacks, None if Datadog didn't say.
    """

    check: KeyCheck
    ok: bool | None
    text: str
    cause: str = ""
    http_status: int | None = None
    errors: tuple[str, ...] = ()
    missing: tuple[str, ...] | None = None

    @property
    def text_with_quotes(self) -> str:
        """The text, followed by Datadog's own."""
        return " ".join([self.text, *(f"Datadog: '{text}'" for text in self.errors)])


@dataclass(frozen=True, kw_only=True)
class KeyReport:
    """All results of one verification.

    `identity` is the owner of the keys, if Datadog named one. `fetched` is the sync, or why it
    failed; None if no request was made. `managed_orgs` is None unless the sync is complete.
    """

    results: tuple[KeyCheckResult, ...]
    identity: KeyOwner | None = None
    fetched: SyncResult | None = None
    managed_orgs: ManagedOrgs | None = None

    @property
    def failure(self) -> KeyCheckResult | None:
        """The check that failed. None if the keys are accepted."""
        failed = (result for result in self.results if result.ok is False)
        return next((result for result in failed if result.check != KeyCheck.PERMISSIONS), None)

    @property
    def rejection(self) -> KeyCheckResult | None:
        """The check in which Datadog rejected the keys (401 or 403)."""
        failure = self.failure
        return failure if failure and failure.cause in KEYS_REJECTED else None

    @property
    def owner(self) -> KeyOwner | None:
        """The owner of the keys, if they belong to the expected org."""
        is_known = any(result.check == KeyCheck.ORG and result.ok for result in self.results)
        return self.identity if is_known else None


def run_key_checks(
    *,
    client: DatadogClient,
    site: DatadogSite,
    org_id: str,
    org_name: str,
    seconds: float = KEY_CHECK_SECONDS,
) -> KeyReport:
    """Run the checks in order until one fails. Never raises DatadogError.

    `org_id` and `org_name` are those of the credential's org, or "" if it has none yet. `seconds`
    limits all requests together.
    """
    deadline = time.monotonic() + seconds
    results: list[KeyCheckResult] = []
    check = KeyCheck.ORG if client.has_access_token else KeyCheck.API_KEY
    texts = _TOKEN_TEXTS if client.has_access_token else _KEY_PAIR_TEXTS
    try:
        if not client.has_access_token:
            client.validate_api_key(deadline_seconds=_seconds_left(deadline))
            results.append(_passed(check, f"{site.label} accepts the API key."))
            check = KeyCheck.KEY_PAIR
            client.validate_key_pair(deadline_seconds=_seconds_left(deadline))
            results.append(
                _passed(check, "The application key is valid and belongs to the API key's org.")
            )
        check = KeyCheck.ORG
        identity = client.whoami(deadline_seconds=_seconds_left(deadline))
    except DatadogError as error:
        fetched = SyncResult.from_error(error)
        results.append(_failed(check, fetched, site=site, texts=texts))
        return KeyReport(results=_with_skipped_checks(results), fetched=fetched)
    if org_id and identity.org.id != org_id:
        results.append(_wrong_org(identity, org_id=org_id, org_name=org_name))
        fetched = SyncResult(cause=Cause.ANOTHER_ORG, http_status=200, identity=identity)
        return KeyReport(results=_with_skipped_checks(results), identity=identity, fetched=fetched)
    listing_deadline = time.monotonic() + _seconds_left(deadline)
    fetched = replace(
        fetching.list_connections(client, deadline=listing_deadline),
        identity=identity,
        rate_limits=client.rate_limits,
    )
    results += [
        _passed(check, _describe_accepted(identity)),
        _permissions_result(identity, texts=texts),
        _listing_result(fetched, site=site, texts=texts),
    ]
    managed_orgs = None
    if fetched.is_complete:
        managed_orgs = fetch_managed_orgs(
            client=client, org_id=identity.org.id, deadline_seconds=_seconds_left(deadline)
        )
    return KeyReport(
        results=_with_skipped_checks(results),
        identity=identity,
        fetched=fetched,
        managed_orgs=managed_orgs,
    )


def _seconds_left(deadline: float) -> float:
    return max(0.1, min(10.0, deadline - time.monotonic()))


def _with_skipped_checks(results: list[KeyCheckResult]) -> tuple[KeyCheckResult, ...]:
    """The results, followed by the remaining checks as not run."""
    checks = list(KeyCheck)
    later = checks[checks.index(results[-1].check) + 1 :]
    return (*results, *(KeyCheckResult(check=check, ok=None, text="") for check in later))


def _passed(check: KeyCheck, text: str) -> KeyCheckResult:
    return KeyCheckResult(check=check, ok=True, text=text)


@dataclass(frozen=True, kw_only=True)
class _KindTexts:
    """How results refer to the keys: the scopes, and what each refusal means."""

    scopes: str
    refusals: dict[KeyCheck, str]


_LISTING_REFUSED = (
    "Datadog refused to list the org connections ({status}). The role needs "
    f"{READ_PERMISSION}, and so do "
)
_KEY_PAIR_TEXTS = _KindTexts(
    scopes="the application key's scopes",
    refusals={
        KeyCheck.API_KEY: "Datadog rejected the API key ({status}). It might be revoked, mistyped "
        "or from another site. It was sent to {site} only.",
        KeyCheck.KEY_PAIR: "Datadog rejected the keys ({status}). The application key might be "
        "revoked, mistyped, from another org or from another site, or its owner might be disabled. "
        "The keys were sent to {site} only.",
        KeyCheck.ORG: "Datadog didn't say which org the keys belong to ({status}).",
        KeyCheck.LISTING: f"{_LISTING_REFUSED}the application key's scopes if it has any.",
    },
)
_TOKEN_TEXTS = _KindTexts(
    scopes="the access token's scopes",
    refusals={
        KeyCheck.ORG: "Datadog rejected the access token ({status}). It might be revoked, expired, "
        "mistyped or from another site, or its owner might be disabled. It was sent to {site} "
        "only.",
        KeyCheck.LISTING: f"{_LISTING_REFUSED}the access token's scopes if it has any.",
    },
)


def _failed(
    check: KeyCheck, fetched: SyncResult, *, site: DatadogSite, texts: _KindTexts
) -> KeyCheckResult:
    text = (
        texts.refusals[check].format(status=fetched.http_status or 200, site=site.label)
        if fetched.cause in KEYS_REJECTED
        else failure_text(cause=fetched.cause, http_status=fetched.http_status)
    )
    return KeyCheckResult(
        check=check,
        ok=False,
        text=text,
        cause=fetched.cause,
        http_status=fetched.http_status,
        errors=fetched.errors,
    )


def _wrong_org(identity: KeyOwner, *, org_id: str, org_name: str) -> KeyCheckResult:
    text = (
        f"These keys belong to another org, {_describe_owner(identity)}. This credential is for "
        f"{org_name or 'an org'} ({org_id}). Nothing from the other org is shown. Rotate to keys "
        "of this credential's org, or add a credential for the other org."
    )
    return KeyCheckResult(
        check=KeyCheck.ORG, ok=False, text=text, cause=Cause.ANOTHER_ORG, http_status=200
    )


def _describe_accepted(identity: KeyOwner) -> str:
    org = f"Org {identity.org.name or identity.org.id}"
    return f"{org}; owner {identity.user_name}" if identity.user_name else org


def _describe_owner(identity: KeyOwner) -> str:
    org = f"{identity.org.name or 'an unnamed org'} ({identity.org.id})"
    return f"{org}, user {identity.user_name}" if identity.user_name else org


def _permissions_result(identity: KeyOwner, *, texts: _KindTexts) -> KeyCheckResult:
    missing = [
        name for name in (READ_PERMISSION, WRITE_PERMISSION) if name not in identity.permissions
    ]
    if WRITE_PERMISSION not in missing:
        granted = sorted({READ_PERMISSION, WRITE_PERMISSION} - set(missing))
        passed = _passed(
            KeyCheck.PERMISSIONS,
            f"The role grants {' and '.join(granted)}. Org Admin can't check "
            f"whether {texts.scopes} allow them too.",
        )
        return replace(passed, missing=tuple(missing))
    return KeyCheckResult(
        check=KeyCheck.PERMISSIONS,
        ok=False,
        text=f"Read-only: the role lacks {' and '.join(missing)}, so deletions will fail (403).",
        cause=Cause.WRITE_NOT_GRANTED,
        missing=tuple(missing),
    )


def _listing_result(fetched: SyncResult, *, site: DatadogSite, texts: _KindTexts) -> KeyCheckResult:
    if fetched.is_complete:
        count = pluralize(len(fetched.org_connections), "org connection")
        return _passed(KeyCheck.LISTING, f"Found {count}.")
    return _failed(KeyCheck.LISTING, fetched, site=site, texts=texts)


KEY_FIELDS = (
    "secret_version",
    *ENVELOPE_FIELDS,
    "fingerprint",
    *LAST_FOUR_FIELDS,
)


def verify_in_parallel(
    credentials: list[Credential], *, seconds: float = KEY_CHECK_SECONDS
) -> list[KeyReport]:
    """The reports of verifying these credentials in parallel, in the same order. Stores nothing.

    `seconds` limits each credential's requests. The threads only send requests; keys are decrypted
    in the caller's thread. Raises UnavailableError for a site that is no longer configured, or when
    the key ring is unusable.
    """
    clients = [_open_client_or_report(credential) for credential in credentials]
    with pool(), ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as threads:
        futures = [
            # Each thread gets a copy of the context so that all share the connections.
            threads.submit(copy_context().run, _run_or_return_report, credential, client, seconds)
            for credential, client in zip(credentials, clients, strict=True)
        ]
        return [future.result() for future in futures]


def _open_client_or_report(credential: Credential) -> DatadogClient | KeyReport:
    try:
        return fetching.open_client(credential=credential)
    except UnavailableError as error:
        if error.cause != Cause.KEYS_NOT_OPENED:
            raise
        text = f"{error} Rotate the credential to new keys."
        failed = KeyCheckResult(
            check=KeyCheck.STORED, ok=False, text=text, cause=KEYS_UNDECRYPTABLE
        )
        results = _with_skipped_checks([failed])
        if credential.has_access_token:
            results = tuple(result for result in results if result.check not in _OF_KEY_PAIRS)
        return KeyReport(results=results)


def _run_or_return_report(
    credential: Credential, client: DatadogClient | KeyReport, seconds: float
) -> KeyReport:
    if isinstance(client, KeyReport):
        return client
    return run_key_checks(
        client=client,
        site=get_site(credential.site),
        org_id=credential.org_id,
        org_name=credential.org_name,
        seconds=seconds,
    )


def unchanged_row(credential: Credential, **as_read: Any) -> QuerySet[Credential]:
    """The credential's row, if it is in use and these fields are unchanged since they were read.

    Updating it is a compare-and-swap: when two people change it at the same time, only one
    succeeds.
    """
    return Credential.objects.filter(pk=credential.pk, retired_at=None, **as_read)


@audit.atomic()
def store_report(
    *,
    credential: Credential,
    report: KeyReport,
    started_at: datetime,
    actor: Actor,
    replacement: Credential | None = None,
) -> bool:
    """Store the report, the sync and the event.

    `started_at` is when the verification began. Returns False, with nothing stored, when the keys
    were changed or erased in the meantime. The first org found becomes the credential's org
    permanently, and the credential starts with that org's strictest policy and its access lists.
    A worker's report has an event only if it differs from the last one.

    `replacement` is an unsaved copy with new encrypted keys, which replace the old ones in the same
    statement.
    """
    now = clock.now()
    row = unchanged_row(credential, secret_version=credential.secret_version)
    values, same_org = _report_values(credential, report, now=now), list[Credential]()
    if report.owner:
        # If two first verifications run at the same time, the later one must have found the same
        # org.
        row = row.filter(org_id__in=("", report.owner.org.id))
        if not credential.org_id:
            same_org = credentials_of_orgs([(credential.site, report.owner.org.id)])
            counted = [credential, *same_org]
            values["policy"] = ApprovalPolicy.strictest(each.policy for each in counted)
            # A policy that was changed in the meantime must not be overwritten.
            row = row.filter(policy=credential.policy)
    if replacement:
        values |= {name: getattr(replacement, name) for name in KEY_FIELDS}
        values |= {"keys_set_at": now, "keys_set_by_name": actor.name}
    if not row.update(**values):
        return False
    if report.owner and not credential.org_id:
        access_lists.copy_access_of_org(
            actor=actor, credential=credential, org_id=report.owner.org.id
        )
        policies.record_first(
            credential=credential,
            org=report.owner.org.name or report.owner.org.id,
            policy=values["policy"],
            same_org=same_org,
            actor=actor,
        )
    if report.fetched:
        result = replace(report.fetched, credential=credential, started_at=started_at)
        storing.store(result, actor=actor)
    if report.managed_orgs:
        store_managed_orgs(credential=credential, found=report.managed_orgs)
    if replacement:
        _record_rotation(old=credential, new=replacement, actor=actor)
    _record_report(credential=credential, report=report, actor=actor)
    _record_permissions(credential=credential, report=report, actor=actor)
    return True


def _differs(report: KeyReport, credential: Credential) -> bool:
    """Whether a check has another result than the one that is stored."""
    stored = {each["check"]: (each["ok"], each["cause"]) for each in credential.verification}
    return stored != {each.check: (each.ok, each.cause) for each in report.results}


def _stored_missing(credential: Credential) -> tuple[str, ...] | None:
    """The permissions that the role lacked when Datadog last said so, None if it never did."""
    for each in credential.verification:
        if each["check"] == KeyCheck.PERMISSIONS:
            before_1_2 = {True: (), False: (WRITE_PERMISSION,)}.get(each["ok"])
            missing = each.get("missing", before_1_2)
            return None if missing is None else tuple(missing)
    return None


def next_check_at(*, now: datetime) -> datetime:
    """When keys that were just checked are due again: within a day, at random, to spread out."""
    return now + CHECK_INTERVAL * random.uniform(_SHORTEST, 1)  # noqa: S311 - not for security


def _report_values(credential: Credential, report: KeyReport, *, now: datetime) -> dict[str, Any]:
    failure = report.failure
    # A check that didn't get that far must not hide that a permission is lost.
    results = [
        replace(result, missing=_stored_missing(credential))
        if result.check == KeyCheck.PERMISSIONS and result.ok is None
        else result
        for result in report.results
    ]
    values: dict[str, Any] = {
        "verification": [asdict(result) | {"at": now.isoformat()} for result in results],
        "verification_cause": failure.cause if failure else "",
        "key_check_due_at": next_check_at(now=now),
    }
    if failure is None:
        values["verified_at"] = now
    if report.owner:
        values |= {
            "org_id": report.owner.org.id,
            "org_name": report.owner.org.name,
            "key_owner_id": report.owner.user_id[:64],
            "key_owner_name": report.owner.user_name[:200],
            "key_owner_is_service_account": report.owner.is_service_account,
        }
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
            "{credential} was rotated to new keys of the same org.",
            credential=old.name,
        ),
        details={"previous_fingerprint": old.fingerprint, "fingerprint": new.fingerprint},
    )


def _record_permissions(*, credential: Credential, report: KeyReport, actor: Actor) -> None:
    """Record which permissions the role lost or has again since Datadog last said so."""
    before = _stored_missing(credential)
    now = next(each.missing for each in report.results if each.check == KeyCheck.PERMISSIONS)
    if before is None or now is None:
        return
    if lost := sorted({*now} - {*before}):
        audit.record(
            code=EventCode.CREDENTIAL_PERMISSION_LOST,
            actor=actor,
            subject=credential,
            sentence=audit.Sentence(
                "The role of the keys of {credential} no longer grants {permissions}.",
                credential=credential.name,
                permissions=" and ".join(lost),
            ),
            details={"permissions": lost},
        )
    if restored := sorted({*before} - {*now}):
        audit.record(
            code=EventCode.CREDENTIAL_PERMISSION_RESTORED,
            actor=actor,
            subject=credential,
            sentence=audit.Sentence(
                "The role of the keys of {credential} grants {permissions} again.",
                credential=credential.name,
                permissions=" and ".join(restored),
            ),
            details={"permissions": restored},
        )


def _record_report(*, credential: Credential, report: KeyReport, actor: Actor) -> None:
    if actor.kind == "worker" and not _differs(report, credential):
        return
    failure, identity = report.failure, report.identity
    sentence = (
        audit.Sentence("The keys of {credential} were accepted.", credential=credential.name)
        if failure is None
        else audit.Sentence(
            "{credential} failed its key checks. {why}",
            credential=credential.name,
            why=failure.text,
        )
    )
    audit.record(
        code=EventCode.CREDENTIAL_NOT_VERIFIED if failure else EventCode.CREDENTIAL_VERIFIED,
        actor=actor,
        subject=credential,
        sentence=sentence,
        details={
            "key_checks": {result.check: result.ok for result in report.results},
            "cause": failure.cause if failure else "",
            "http_status": failure.http_status if failure else None,
            "errors": list(failure.errors) if failure else [],
            "org_id": identity.org.id if identity else "",
            "org_name": identity.org.name if identity else "",
        },
    )
