"""Verifying a key pair: a ladder of questions to Datadog, each with its answer in words.

It asks the network and never the database, so that many pairs are verified in threads.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
from connections.inventory.sync import PARALLEL_LISTINGS, SyncResult
from connections.models import ApprovalPolicy, Credential
from connections.wording.causes import KEYS_UNDECRYPTABLE, failure_text

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
    rung = KeyCheckResult(rung=KeyCheck.STORED, ok=False, words=words, cause=KEYS_UNDECRYPTABLE)
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


SEALED_FIELDS = (
    "secret_version",
    "api_key_envelope",
    "application_key_envelope",
    "fingerprint",
    "api_key_last_four",
    "application_key_last_four",
)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What Datadog said about one credential's pair, not yet kept."""

    credential: Credential
    ladder: KeyReport
    started_at: datetime


def verify_in_parallel(credentials: list[Credential]) -> list[Verification]:
    """Climb the ladder of each, in parallel; gives them in the same order and stores nothing.

    The threads only ask: keys are decrypted in the caller's thread. Raises UnavailableError
    for a site that is not configured any more, and when no key pair at all can be opened.
    """
    started_at = clock.now()
    clients = [_client_or_ladder(credential) for credential in credentials]
    with ThreadPoolExecutor(max_workers=PARALLEL_LISTINGS) as pool:
        ladders = list(pool.map(_climb, credentials, clients))
    return [
        Verification(credential=credential, ladder=climbed, started_at=started_at)
        for credential, climbed in zip(credentials, ladders, strict=True)
    ]


def _client_or_ladder(credential: Credential) -> DatadogClient | KeyReport:
    try:
        return sync.open_client(credential=credential)
    except UnavailableError as error:
        if error.cause != Cause.KEYS_NOT_OPENED:
            raise
        return keys_undecryptable(words=f"{error} Rotate it to a pair pasted anew.")


def _climb(credential: Credential, client: DatadogClient | KeyReport) -> KeyReport:
    if isinstance(client, KeyReport):
        return client
    return run_key_checks(
        client=client,
        site=get_site(credential.site),
        org_id=credential.org_id,
        org_name=credential.org_name,
    )


def unchanged(credential: Credential, **as_read: Any) -> QuerySet[Credential]:
    """The row, if it is in use and these fields are still as they were read: to update it by
    compare-and-swap, so that of two managers who act at once only one does."""
    return Credential.objects.filter(pk=credential.pk, retired_at=None, **as_read)


@audit.atomic()
def store_report(
    *, verification: Verification, actor: Actor, swapped_to: Credential | None = None
) -> bool:
    """Store the ladder, the listing and the event; False, with nothing stored, when the keys
    were changed or wiped meanwhile.

    The first org that answers is pinned. `swapped_to` is an unsaved copy that bears a new
    sealed pair, which takes the place of the old one in the same statement.
    """
    credential, climbed = verification.credential, verification.ladder
    now = clock.now()
    row = unchanged(credential, secret_version=credential.secret_version)
    values = _verified_values(climbed, now=now)
    if climbed.knows_org and climbed.identity:
        # Of two first verifications the one that comes second must have found the same org.
        row = row.filter(org_id__in=("", climbed.identity.org.id))
        if not credential.org_id:
            values["policy"] = _policy_of_org(credential, org_id=climbed.identity.org.id)
    if swapped_to:
        values |= {name: getattr(swapped_to, name) for name in SEALED_FIELDS}
        values |= {"keys_set_at": now, "keys_set_by_name": actor.name}
    if not row.update(**values):
        return False
    if climbed.fetched:
        sync.store_sync(
            credential=credential,
            fetched=climbed.fetched,
            started_at=verification.started_at,
            actor=actor,
        )
    if swapped_to:
        _record_rotated(old=credential, new=swapped_to, actor=actor)
    _record_verified(credential=credential, climbed=climbed, actor=actor)
    return True


def _policy_of_org(credential: Credential, *, org_id: str) -> ApprovalPolicy:
    """The strictest policy that this org ever had here, so that adding its keys anew, or keys of
    another user, takes no second person away: only an administrator does."""
    same_org = Credential.objects.filter(site=credential.site, org_id=org_id)
    return ApprovalPolicy.strictest([credential.policy, *same_org.values_list("policy", flat=True)])


def _verified_values(climbed: KeyReport, *, now: datetime) -> dict[str, Any]:
    failure = climbed.failure
    values: dict[str, Any] = {
        "verification": [rung.as_data() | {"at": now.isoformat()} for rung in climbed.rungs],
        "verification_cause": failure.cause if failure else "",
    }
    if failure is None:
        values["verified_at"] = now
    if climbed.knows_org and climbed.identity:
        values |= {"org_id": climbed.identity.org.id, "org_name": climbed.identity.org.name}
    if climbed.fetched is None and failure:
        values["last_error"] = {
            "at": now.isoformat(),
            "cause": failure.cause,
            "http_status": None,
            "errors": [],
        }
    return values


def _record_rotated(*, old: Credential, new: Credential, actor: Actor) -> None:
    audit.record(
        code=EventCode.CREDENTIAL_ROTATED,
        actor=actor,
        subject=old,
        sentence=f"{old.name} was rotated to a new key pair of the same org.",
        details={"previous_fingerprint": old.fingerprint, "fingerprint": new.fingerprint},
    )


def _record_verified(*, credential: Credential, climbed: KeyReport, actor: Actor) -> None:
    failure, identity = climbed.failure, climbed.identity
    if failure is None:
        code, sentence = EventCode.CREDENTIAL_VERIFIED, f"{credential.name} was verified."
    else:
        code = EventCode.CREDENTIAL_NOT_VERIFIED
        sentence = f"{credential.name} was not verified. {failure.words}"
    audit.record(
        code=code,
        actor=actor,
        subject=credential,
        sentence=sentence,
        details={
            "ladder": {rung.rung: rung.ok for rung in climbed.rungs},
            "cause": failure.cause if failure else "",
            "http_status": failure.http_status if failure else None,
            "errors": list(failure.errors) if failure else [],
            "org_id": identity.org.id if identity else "",
            "org_name": identity.org.name if identity else "",
        },
    )
