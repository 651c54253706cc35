"""Verifying stored pairs: asking Datadog outside any transaction, and keeping what it said."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.audit.events import EventCode
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import UnavailableError
from connections.core.sites import get_site
from connections.credentials import ladder
from connections.credentials.ladder import KeyReport
from connections.datadog.client import DatadogClient
from connections.inventory import sync
from connections.inventory.org_connections import PARALLEL_LISTINGS
from connections.models import ApprovalPolicy, Credential

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
        return ladder.keys_undecryptable(words=f"{error} Rotate it to a pair pasted anew.")


def _climb(credential: Credential, client: DatadogClient | KeyReport) -> KeyReport:
    if isinstance(client, KeyReport):
        return client
    return ladder.run_key_checks(
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
