"""Adds, verifies, renames and rotates credentials, and changes their approval policy."""

import copy
import unicodedata
import uuid
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.core import clock
from connections.core.causes import KEYS_REJECTED, Cause
from connections.core.datadog_keys import DatadogKeys
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.sites import UnknownSiteError, get_site
from connections.credentials import key_checks, policies
from connections.credentials.key_checks import KeyCheck, KeyCheckResult, KeyReport, unchanged_row
from connections.credentials.keys import clean_keys, require_no_key
from connections.models import ApprovalPolicy, Credential

MAX_NAME_LENGTH = 100
_JUST_CHANGED = "The credential just changed. Reload and try again."


def require_unused_keys(
    *, actor: Actor, site: str, fingerprint: str, excluding: Credential | None = None
) -> None:
    """Raise InvalidInputError if these keys are already stored.

    The message names the other credential if it is visible.

    With the same keys in two credentials, rotating one would leave the keys usable in the other.
    """
    credentials = Credential.objects.filter(site=site, fingerprint=fingerprint, retired_at=None)
    if excluding and excluding.fingerprint == fingerprint:
        raise InvalidInputError({"api_key": "These are the current keys. Paste new ones."})
    other = credentials.first()
    if other:
        is_hidden = other.pk in permissions.visibility_of(actor).hidden
        where = "in a credential you can't see" if is_hidden else f"as “{other.name}”"
        raise InvalidInputError({"api_key": f"These keys are already stored {where}."})


def clean_name(name: str) -> str:
    """The name in normal form (NFC) with runs of white space collapsed; "" stays "".

    Raises InvalidInputError when it is too long or contains characters that can't be displayed.
    """
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if len(cleaned) > MAX_NAME_LENGTH:
        raise InvalidInputError({"name": f"Use at most {MAX_NAME_LENGTH} characters."})
    if not cleaned.isprintable():
        raise InvalidInputError({"name": "Remove the invisible character."})
    return cleaned


def fold_name(name: str) -> str:
    """The same text for names that look the same: ignores case, white space and width."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def find_by_name(name: str, *, excluding: Credential | None = None) -> Credential | None:
    """The other credential, visible or not, whose name looks the same, or None."""
    for pk, other in Credential.objects.values_list("pk", "name"):
        if fold_name(other) == fold_name(name) and not (excluding and pk == excluding.pk):
            return Credential.objects.get(pk=pk)
    return None


def require_unused_name(name: str, *, actor: Actor, excluding: Credential | None = None) -> None:
    """Raise InvalidInputError when another credential has a name that looks the same.

    This reveals that a hidden credential has the name, but not how that credential spells it.
    """
    other = find_by_name(name, excluding=excluding)
    if other:
        is_hidden = other.pk in permissions.visibility_of(actor).hidden
        other_name = name if is_hidden else other.name
        raise InvalidInputError({"name": f"Another credential is named “{other_name}”."})


def unused_name(wanted: str, *, suffix: str = "") -> str:
    """`wanted` and `suffix`, plus a number if another credential has that name."""
    used_names = {fold_name(name) for name in Credential.objects.values_list("name", flat=True)}
    number = 1
    while True:
        end = suffix + (f" {number}" if number > 1 else "")
        name = wanted[: MAX_NAME_LENGTH - len(end)].rstrip() + end
        if fold_name(name) not in used_names:
            return name
        number += 1


def name_from_org(org_name: str) -> str:
    """A credential name made from an org's name; "" if none of its characters can be displayed."""
    printable = "".join(
        character for character in org_name if character.isprintable() or character == " "
    )
    return " ".join(printable.split())[:MAX_NAME_LENGTH].rstrip()


def count_connections(credential: Credential) -> int:
    """How many org connections its newest syncs list."""
    return credential.snapshots.filter(is_current=True).count()


class KeysRefusedError(ConflictError):
    """New keys weren't stored. `field` names the key at fault; None if that isn't known."""

    def __init__(self, failure: KeyCheckResult, *, candidate: Credential, note: str = "") -> None:
        super().__init__(f"{failure.text_with_quotes} {note}".rstrip())
        key = "api_key" if failure.check == KeyCheck.API_KEY else "application_key"
        is_known = failure.cause in {*KEYS_REJECTED, Cause.ANOTHER_ORG}
        self.field = ("access_token" if candidate.has_access_token else key) if is_known else None


def add_credential(*, actor: Actor, name: str, site: str, keys: DatadogKeys) -> Credential:
    """Verify the keys of one org, store them and list its org connections.

    If Datadog can't be reached, the keys are stored unchecked, so that people needn't paste
    them again. With an empty `name`, the credential gets the org's name if Datadog returns it.

    Raises PermissionDenied, InvalidInputError, KeysRefusedError (neither repeats a key), and
    encryption.EncryptionError when nothing can be encrypted. Nothing is stored then.
    """
    permissions.require(permissions.can_manage_credentials(actor), "add credentials")
    credential = build_credential(actor=actor, name=name, site=site, keys=keys)
    _require_unused(credential, actor=actor)
    started_at = clock.now()
    [report] = key_checks.verify_in_parallel([credential])
    if rejection := report.rejection:
        record_refused_keys(
            code=EventCode.CREDENTIAL_ADD_REFUSED,
            sentence=audit.Sentence("New keys were not stored. {why}", why=rejection.text),
            credential=credential,
            failure=rejection,
            actor=actor,
        )
        raise KeysRefusedError(rejection, candidate=credential)
    try:
        store_new(
            credential=credential,
            has_name=bool(clean_name(name)),
            report=report,
            started_at=started_at,
            actor=actor,
        )
    except IntegrityError:
        # Someone stored the name or the keys between the checks and the insert.
        _require_unused(credential, actor=actor)
        raise
    credential.refresh_from_db()
    return credential


def _require_unused(credential: Credential, *, actor: Actor) -> None:
    """Raise InvalidInputError when the name or the keys of a new credential are already stored."""
    require_unused_name(credential.name, actor=actor)
    require_unused_keys(actor=actor, site=credential.site, fingerprint=credential.fingerprint)


def _verify_and_store(credentials: list[Credential], *, actor: Actor) -> list[bool]:
    """Run the key checks. Return whether each report was stored. Reads the credentials again."""
    started_at = clock.now()
    are_stored = []
    for credential, report in zip(
        credentials, key_checks.verify_in_parallel(credentials), strict=True
    ):
        are_stored.append(
            key_checks.store_report(
                credential=credential, report=report, started_at=started_at, actor=actor
            )
        )
        credential.refresh_from_db()
    return are_stored


def build_credential(*, actor: Actor, name: str, site: str, keys: DatadogKeys) -> Credential:
    """An unsaved credential with the encrypted keys. Without a name, it gets a provisional one.

    Raises InvalidInputError, which never repeats a key, and encryption.EncryptionError.
    """
    require_no_key(name, keys=keys.by_field.values())
    name, keys = clean_name(name), clean_keys(keys)
    try:
        datadog_site = get_site(site)
    except UnknownSiteError:
        raise InvalidInputError({"site": "Choose a site."}) from None
    now = clock.now()
    credential = Credential(
        id=uuid.uuid4(),
        name=name,
        site=datadog_site.site,
        policy=ApprovalPolicy(settings.FOUR_EYES),
        keys_set_at=now,
        keys_set_by_name=actor.name,
        created_at=now,
        created_by=actor.person,
        created_by_name=actor.name,
    )
    credential.seal_keys(keys)
    if not name:
        credential.name = unused_name(f"{datadog_site.name} …{credential.last_four}")
    return credential


@audit.atomic()
def store_new(
    *,
    credential: Credential,
    has_name: bool,
    report: KeyReport,
    started_at: datetime,
    actor: Actor,
) -> None:
    """Insert the credential with its first report and record both.

    Without a name from a person, it gets the org's if the report has it.

    Raises InvalidInputError when its name or keys are already stored, IntegrityError when someone
    else stores them at the same moment, and ConflictError when it changes at the same moment.
    """
    org_name = name_from_org(report.owner.org.name) if report.owner else ""
    if org_name and not has_name:
        credential.name = unused_name(org_name)
    _require_unused(credential, actor=actor)
    credential.save(force_insert=True)
    audit.record(
        code=EventCode.CREDENTIAL_ADDED,
        actor=actor,
        subject=credential,
        sentence=audit.Sentence(
            "{credential} was added on {site}.",
            credential=credential.name,
            site=get_site(credential.site).label,
        ),
        details={
            "site": credential.site,
            "fingerprint": credential.fingerprint,
            "policy": credential.policy,
        },
    )
    if not key_checks.store_report(
        credential=credential, report=report, started_at=started_at, actor=actor
    ):
        raise ConflictError("The credential just changed. Try again.")


@audit.atomic()
def record_refused_keys(
    *,
    code: EventCode,
    sentence: audit.Sentence,
    credential: Credential,
    failure: KeyCheckResult,
    actor: Actor,
    **details: object,
) -> None:
    """Record that new keys were sent to Datadog but not stored."""
    audit.record(
        code=code,
        actor=actor,
        sentence=sentence,
        details={
            **details,
            "site": credential.site,
            "fingerprint": credential.fingerprint,
            "cause": failure.cause,
            "http_status": failure.http_status,
            "errors": list(failure.errors),
        },
    )


def verify_credential(*, actor: Actor, credential: Credential) -> Credential:
    """Run the key checks with the stored keys. Store the report and the synced connections.

    Never raises DatadogError; the report says what failed. Raises PermissionDenied, and
    ConflictError when the credential is retired, its site is gone, or it was changed in the
    meantime.
    """
    permissions.require(permissions.can_manage_credentials(actor), "check keys")
    _require_in_use(credential)
    if not all(_verify_and_store([credential], actor=actor)):
        raise ConflictError("The keys changed during the check. Check again.")
    return credential


def verify_credentials(*, actor: Actor, credentials: list[Credential]) -> list[Credential]:
    """Verify many in parallel. Return them as they are stored after that, in the same order.

    The report of a credential that was rotated or retired in the meantime is dropped. Raises
    PermissionDenied, and ConflictError if one of them is retired.
    """
    permissions.require(permissions.can_manage_credentials(actor), "check keys")
    for credential in credentials:
        _require_in_use(credential)
    _verify_and_store(credentials, actor=actor)
    return credentials


def rename_credential(*, actor: Actor, credential: Credential, name: str) -> Credential:
    """Rename a credential. Past deletions keep its name at the time.

    Raises PermissionDenied, InvalidInputError, and ConflictError when it is retired or was renamed
    in the meantime.
    """
    permissions.require(permissions.can_manage_credentials(actor), "rename credentials")
    _require_in_use(credential)
    require_no_key(name)
    name = clean_name(name)
    if not name:
        raise InvalidInputError({"name": "Enter a name."})
    if name == credential.name:
        return credential
    require_unused_name(name, actor=actor, excluding=credential)
    try:
        _change_name(credential=credential, actor=actor, name=name)
    except IntegrityError:
        require_unused_name(name, actor=actor, excluding=credential)
        raise
    return credential


@audit.atomic()
def _change_name(*, credential: Credential, actor: Actor, name: str) -> None:
    previous = credential.name
    if not unchanged_row(credential, name=previous).update(name=name):
        raise ConflictError(_JUST_CHANGED)
    credential.name = name
    audit.record(
        code=EventCode.CREDENTIAL_RENAMED,
        actor=actor,
        subject=credential,
        sentence=audit.Sentence(
            "{previous} was renamed to {name}.",
            previous=previous,
            name=name,
        ),
        details={"previous_name": previous, "name": name},
    )


def rotate_credential(*, actor: Actor, credential: Credential, keys: DatadogKeys) -> Credential:
    """Replace the stored keys with new ones, once the new ones are verified for the same org.

    A key pair can be replaced by an access token and the other way around. A deletion can be in
    progress, because each attempt records the fingerprint of the keys it was sent with. Raises
    PermissionDenied, InvalidInputError (which never repeats a key), KeysRefusedError when the
    new keys can't do what the old ones did, and ConflictError when the credential is retired or was
    rotated in the meantime. Nothing is changed then.
    """
    permissions.require(permissions.can_manage_credentials(actor), "rotate credentials")
    candidate = build_rotation(actor=actor, credential=credential, keys=keys)
    started_at = clock.now()
    [report] = key_checks.verify_in_parallel([candidate])
    return store_rotation(
        actor=actor,
        credential=credential,
        candidate=candidate,
        report=report,
        started_at=started_at,
    )


def build_rotation(*, actor: Actor, credential: Credential, keys: DatadogKeys) -> Credential:
    """A copy of the credential with the new keys, to verify. It is never saved.

    Raises InvalidInputError, which never repeats a key, ConflictError when the credential is
    retired, and encryption.EncryptionError.
    """
    _require_in_use(credential)
    candidate = copy.copy(credential)
    candidate.seal_keys(clean_keys(keys))
    require_unused_keys(
        actor=actor, site=credential.site, fingerprint=candidate.fingerprint, excluding=credential
    )
    return candidate


def store_rotation(
    *,
    actor: Actor,
    credential: Credential,
    candidate: Credential,
    report: KeyReport,
    started_at: datetime,
) -> Credential:
    """Replace the credential's keys with those of the verified candidate.

    Raises KeysRefusedError, ConflictError and InvalidInputError as `rotate_credential` does.
    """
    failure = report.failure
    # If the stored keys can't list connections either, nothing is lost by replacing them with keys
    # of the same org.
    if failure and (credential.is_verified or not report.owner):
        _record_refusal(
            credential=credential,
            candidate=candidate,
            report=report,
            cause=failure.cause,
            actor=actor,
        )
        raise KeysRefusedError(failure, candidate=candidate, note="The current keys stay in use.")
    try:
        is_stored = key_checks.store_report(
            credential=credential,
            report=report,
            started_at=started_at,
            actor=actor,
            replacement=candidate,
        )
    except IntegrityError:
        # Another credential got the same keys in the meantime.
        require_unused_keys(actor=actor, site=credential.site, fingerprint=candidate.fingerprint)
        raise
    if not is_stored:
        raise ConflictError("The credential just changed. The new keys weren't stored. Try again.")
    credential.refresh_from_db()
    return credential


@audit.atomic()
def _record_refusal(
    *, credential: Credential, candidate: Credential, report: KeyReport, cause: str, actor: Actor
) -> None:
    audit.record(
        code=EventCode.CREDENTIAL_ROTATION_REFUSED,
        actor=actor,
        subject=credential,
        sentence=audit.Sentence(
            "New keys for {credential} were rejected. The stored keys stay in use.",
            credential=credential.name,
        ),
        details={
            "fingerprint": credential.fingerprint,
            "refused_fingerprint": candidate.fingerprint,
            "cause": cause,
            "answered_for_org": report.identity.org.id if report.identity else "",
        },
    )


@audit.atomic()
def change_policy(*, actor: Actor, credential: Credential, policy: ApprovalPolicy) -> Credential:
    """Set how many other people must approve deletions that are requested from now on.

    The policy of a retired one counts like every other of its org. Raises PermissionDenied, and
    ConflictError when it was changed in the meantime.
    """
    permissions.require(permissions.can_administer(actor), "change approval policies")
    previous = ApprovalPolicy(credential.policy)
    if policy == previous:
        return credential
    # Locked so that the event says how the org's policy changed.
    same_org = Credential.objects.filter(site=credential.site, org_id=credential.org_id)
    rows = same_org.order_by("pk").select_for_update(no_key=True)
    before = dict(rows.values_list("pk", "policy"))
    if not Credential.objects.filter(pk=credential.pk, policy=previous).update(policy=policy):
        raise ConflictError(_JUST_CHANGED)
    credential.policy = policy
    after = before | {credential.pk: policy}
    policies.record_change(
        credential=credential,
        sentence=audit.Sentence(
            "The approval policy of {credential} was changed from “{previous}” to “{new}”.",
            credential=credential.name,
            previous=previous.label,
            new=policy.label,
        ),
        previous=previous,
        policy=policy,
        org=credential.org_name or credential.org_id,
        of_org=(
            ApprovalPolicy.strictest(before.values()),
            ApprovalPolicy.strictest(after.values()),
        ),
        actor=actor,
    )
    return credential


@audit.atomic()
def allow_person_to_create(
    *, actor: Actor, credential: Credential, allow_person: bool
) -> Credential:
    """Set whether these keys can create connections although they belong to a person.

    Datadog deletes such a connection when the person's account is deactivated. Raises
    PermissionDenied, and ConflictError when the credential is retired or was changed meanwhile.
    """
    permissions.require(permissions.can_administer(actor), "let a person's keys create connections")
    _require_in_use(credential)
    if allow_person == credential.person_can_create:
        return credential
    rows = unchanged_row(credential, person_can_create=credential.person_can_create)
    if not rows.update(person_can_create=allow_person):
        raise ConflictError(_JUST_CHANGED)
    credential.person_can_create = allow_person
    allowed = audit.Sentence(
        "{actor} allowed the keys of {credential} to create connections although they belong to a "
        "person.",
        credential=credential.name,
    )
    forbidden = audit.Sentence(
        "{actor} no longer allows the keys of {credential} to create connections while they belong "
        "to a person.",
        credential=credential.name,
    )
    audit.record(
        code=EventCode.CREDENTIAL_CREATOR_CHANGED,
        actor=actor,
        subject=credential,
        sentence=allowed if allow_person else forbidden,
        details={"allow_person": allow_person},
    )
    return credential


def _require_in_use(credential: Credential) -> None:
    if credential.is_retired:
        raise ConflictError(f"{credential.name} is retired. Its keys are erased.")
