"""Retiring a credential: its keys are erased, but its row and history stay."""

from django.db.models import Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.change_requests import attempt_facts, states
from connections.change_requests.actions import nouns
from connections.change_requests.states import Settle
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError, InvalidInputError
from connections.credentials.key_checks import unchanged_row
from connections.credentials.lifecycle import fold_name, unused_name
from connections.models import ChangeRequest, CommonOutcome, Credential, State, Step
from connections.models.credentials import ENVELOPE_FIELDS

# Datadog might be processing one of these, or the worker will send it again.
_BLOCKING = Q(state__in=[State.SENDING, State.WAITING, State.UNKNOWN])
_NOT_SENT_YET = Q(state__in=[State.REQUESTED, State.APPROVED])
# Its connection is deleted, and its POST is to be confirmed again.
_INTERRUPTED = Q(state=State.APPROVED, removed_at__isnull=False)
_JUST_CHANGED = (
    "The credential or its requests just changed, so it wasn't retired. Reload and try again."
)

_UNREADABLE = "No key of the key ring could decrypt them."


def list_blocking_requests(credential: Credential) -> list[ChangeRequest]:
    """The deletions and access requests that prevent the credential from being retired now."""
    deletions = credential.deletions.filter(_BLOCKING)
    return [*deletions, *credential.access_requests.filter(_BLOCKING | _INTERRUPTED)]


def list_requests_to_withdraw(credential: Credential) -> list[ChangeRequest]:
    """Those that were never sent, which retiring the credential withdraws."""
    access_requests = credential.access_requests.filter(_NOT_SENT_YET).exclude(_INTERRUPTED)
    return [*credential.deletions.filter(_NOT_SENT_YET), *access_requests]


def retire_credential(*, actor: Actor, credential: Credential, confirmation: str) -> Credential:
    """Erase the keys permanently and remove the credential's connections from the inventory.

    `confirmation` is the credential's name as the person typed it. Deletions and access requests
    that were not sent are withdrawn. The name gets a suffix so that a new credential can use it.

    Raises PermissionDenied, InvalidInputError for a wrong confirmation, and ConflictError while one
    of them is sending, waiting or unknown, when it is already retired, or when it or one of them
    changes in the meantime. Nothing is changed then.
    """
    permissions.require(permissions.can_manage_credentials(actor), "retire credentials")
    if credential.is_retired:
        raise ConflictError(f"{credential.name} is already retired.")
    if fold_name(confirmation) != fold_name(credential.name):
        raise InvalidInputError({"confirmation": f"Type {credential.name}."})
    with audit.atomic():
        _lock(credential)
        _require_no_blocking_requests(credential)
        _retire(credential, withdrawn=list_requests_to_withdraw(credential), actor=actor)
    credential.refresh_from_db()
    return credential


def retire_unreadable(*, actor: Actor, credential: Credential) -> Credential:
    """Retire a credential whose keys can't be decrypted, whatever is open.

    What might have changed something stays open: syncs of another credential of its orgs settle it,
    or a person closes it. Everything else that is open is withdrawn.

    Raises PermissionDenied, and ConflictError when the credential or one of its requests changes in
    the meantime. Nothing is changed then.
    """
    permissions.require(permissions.can_administer(actor), "retire credentials without their keys")
    with audit.atomic():
        _lock(credential)
        withdrawn = list_requests_without_effect(credential)
        _retire(credential, withdrawn=withdrawn, actor=actor, is_unreadable=True)
    credential.refresh_from_db()
    return credential


def list_requests_without_effect(credential: Credential) -> list[ChangeRequest]:
    """The open requests that have certainly changed nothing and won't without being sent again."""
    waiting = Q(state=State.WAITING)
    requests: list[ChangeRequest] = [
        *credential.deletions.filter(_NOT_SENT_YET | waiting),
        *credential.access_requests.filter(_NOT_SENT_YET | waiting, removed_at=None),
    ]
    return [each for each in requests if not each.has_ambiguous_attempt]


def _lock(credential: Credential) -> None:
    # So that it isn't rotated or renamed in the meantime.
    Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
    # Lock every request before the audit log, which the first withdrawal locks. A transaction
    # that has locked one of these rows might be waiting for the log.
    for requests in (credential.deletions, credential.access_requests):
        not_sent = requests.filter(_NOT_SENT_YET | Q(state=State.WAITING)).order_by("pk")
        list(not_sent.select_for_update(no_key=True))


def _retire(
    credential: Credential,
    *,
    withdrawn: list[ChangeRequest],
    actor: Actor,
    is_unreadable: bool = False,
) -> None:
    for change_request in withdrawn:
        _withdraw(change_request, credential=credential, actor=actor)
    _wipe(credential=credential, actor=actor, withdrawn=withdrawn, is_unreadable=is_unreadable)


def _require_no_blocking_requests(credential: Credential) -> None:
    blocking = list_blocking_requests(credential)
    if blocking:
        descriptions = ", ".join(
            f"the {each.label} {each.description} is {each.state}" for each in blocking[:3]
        )
        raise ConflictError(
            f"Can't retire {credential.name} yet: {descriptions}. Open requests need its keys to "
            "check their outcome."
        )


def _withdraw(change_request: ChangeRequest, *, credential: Credential, actor: Actor) -> None:
    sentence = audit.Sentence(
        "{credential} was retired, so the {title} {connection} was withdrawn. {facts}",
        credential=credential.name,
        title=change_request.title,
        connection=change_request.description,
        facts=attempt_facts.attempts_summary_of(change_request),
    )
    is_applied = states.apply(
        change_request,
        transition=Settle(outcome=CommonOutcome.WITHDRAWN, cause=Cause.CREDENTIAL_RETIRED),
        actor=actor,
        events=[
            audit.EventDraft(code=change_request.event_code(Step.WITHDRAWN), sentence=sentence)
        ],
    )
    if not is_applied:
        raise ConflictError(_JUST_CHANGED)


def _wipe(
    *,
    credential: Credential,
    actor: Actor,
    withdrawn: list[ChangeRequest],
    is_unreadable: bool,
) -> None:
    now, former_name = clock.now(), credential.name
    row = unchanged_row(credential, name=former_name, secret_version=credential.secret_version)
    is_wiped = row.update(
        name=unused_name(former_name, suffix=f" (retired {now:%Y-%m-%d})"),
        retired_at=now,
        retired_by_name=actor.name,
        # The fingerprint and the last four characters stay.
        **dict.fromkeys(ENVELOPE_FIELDS, ""),
    )
    if not is_wiped:
        raise ConflictError(_JUST_CHANGED)
    audit.record(
        code=EventCode.CREDENTIAL_RETIRED,
        actor=actor,
        subject=credential,
        sentence=audit.Sentence(
            "{credential} was retired and its keys were erased.",
            credential=former_name,
        ).followed_by(_UNREADABLE if is_unreadable else ""),
        details={
            "name": former_name,
            "fingerprint": credential.fingerprint,
            **{
                f"withdrawn_{noun}s": [str(each.pk) for each in withdrawn if each.noun == noun]
                for noun in nouns()
            },
        },
    )
