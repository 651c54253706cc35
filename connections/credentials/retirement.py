"""Retiring a credential: its keys are erased, but its row and history stay."""

from datetime import datetime

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.change_requests import attempt_facts, states
from connections.change_requests.states import Settle
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError, InvalidInputError
from connections.credentials.key_checks import unchanged_row
from connections.credentials.lifecycle import fold_name, unused_name
from connections.models import Credential, Deletion, Outcome, State
from connections.models.credentials import ENVELOPE_FIELDS

# Datadog might be processing one of these, or the worker will send it again.
_BLOCKING = (State.SENDING, State.WAITING, State.UNKNOWN)
_NOT_SENT_YET = (State.REQUESTED, State.APPROVED)
_JUST_CHANGED = (
    "The credential or its deletions just changed, so it wasn't retired. Reload and try again."
)


def list_blocking_deletions(credential: Credential) -> list[Deletion]:
    """The deletions that prevent the credential from being retired now."""
    return list(credential.deletions.filter(state__in=_BLOCKING))


def list_deletions_to_withdraw(credential: Credential) -> list[Deletion]:
    """The requested deletions that were never sent, which retiring the credential withdraws."""
    return list(credential.deletions.filter(state__in=_NOT_SENT_YET))


def retire_credential(*, actor: Actor, credential: Credential, confirmation: str) -> Credential:
    """Erase the keys permanently and remove the credential's connections from the inventory.

    `confirmation` is the credential's name as the person typed it. Deletions that were requested
    but not sent are withdrawn. The name gets a suffix so that a new credential can use it.

    Raises PermissionDenied, InvalidInputError for a wrong confirmation, and ConflictError while one
    of its deletions is sending, waiting or unknown, when it is already retired, or when it or one
    of them changes in the meantime. Nothing is changed then.
    """
    permissions.require(permissions.can_manage_credentials(actor), "retire credentials")
    if credential.is_retired:
        raise ConflictError(f"{credential.name} is already retired.")
    if fold_name(confirmation) != fold_name(credential.name):
        raise InvalidInputError({"confirmation": f"Type {credential.name}."})
    with audit.atomic():
        # Locked so that it isn't rotated or renamed in the meantime.
        Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
        # Lock every deletion before the audit log, which the first withdrawal locks. A transaction
        # that has locked one of these rows might be waiting for the log.
        not_sent = credential.deletions.filter(state__in=_NOT_SENT_YET).order_by("pk")
        list(not_sent.select_for_update(no_key=True))
        _require_no_blocking_deletions(credential)
        withdrawn = [
            _withdraw(deletion=deletion, credential=credential, actor=actor)
            for deletion in list_deletions_to_withdraw(credential)
        ]
        _wipe(credential=credential, actor=actor, now=clock.now(), withdrawn=withdrawn)
    credential.refresh_from_db()
    return credential


def _require_no_blocking_deletions(credential: Credential) -> None:
    blocking = list_blocking_deletions(credential)
    if blocking:
        descriptions = ", ".join(
            f"{deletion.description} is {deletion.state}" for deletion in blocking[:3]
        )
        raise ConflictError(
            f"Can't retire {credential.name} yet: {descriptions}. Open deletions need its keys to "
            "check their outcome."
        )


def _withdraw(*, deletion: Deletion, credential: Credential, actor: Actor) -> str:
    sentence = audit.Sentence(
        "{credential} was retired, so the deletion of {connection} was withdrawn. {facts}",
        credential=credential.name,
        connection=deletion.description,
        facts=attempt_facts.attempts_summary_of(deletion),
    )
    is_applied = states.apply(
        deletion,
        transition=Settle(outcome=Outcome.WITHDRAWN, cause=Cause.CREDENTIAL_RETIRED),
        actor=actor,
        events=[audit.EventDraft(code=EventCode.DELETION_WITHDRAWN, sentence=sentence)],
    )
    if not is_applied:
        raise ConflictError(_JUST_CHANGED)
    return str(deletion.pk)


def _wipe(*, credential: Credential, actor: Actor, now: datetime, withdrawn: list[str]) -> None:
    former_name = credential.name
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
        ),
        details={
            "name": former_name,
            "fingerprint": credential.fingerprint,
            "withdrawn_deletions": withdrawn,
        },
    )
