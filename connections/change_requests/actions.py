"""What is particular to each kind of request: what it sends, and what a response or a list proves.

The rest of this package calls these functions, so that every kind has the same life.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils.module_loading import import_string

from connections import audit
from connections.access.actor import Actor
from connections.change_requests.transition import Transition
from connections.core.errors import BlockedError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import OrgConnection
from connections.datadog.responses import AttemptResult, WriteResponse
from connections.inventory import protections
from connections.inventory.fetching import SyncResult
from connections.models import AttemptFields, ChangeRequest, Person, Protection, SnapshotFields

# --- What a list says about a request ---------------------------------------------------------


class RecheckResult(StrEnum):
    """What one sync says about a connection that a request is about."""

    SAME = "same"
    CHANGED = "changed"
    ABSENT = "absent"  # a complete list lacks it
    UNREADABLE = "unreadable"  # the sync failed, so only the stored snapshot is known


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """One field that changed since the request.

    `is_binding` says whether the approval covers it.
    """

    field: str
    was: str
    now: str
    is_binding: bool = True


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What one sync says, when it began and, if it failed, why."""

    result: RecheckResult
    at: datetime | None
    listed: SnapshotFields | None = None
    changes: tuple[FieldChange, ...] = ()
    cause: str = ""
    item: OrgConnection | None = None
    # Whether Datadog already is as the request would make it.
    shows_effect: bool = False

    @property
    def can_be_approved(self) -> bool:
        """Whether what was requested is still what would be sent, as far as is known."""
        return self.result in {RecheckResult.SAME, RecheckResult.UNREADABLE}


def changed_fields(before: SnapshotFields, after: SnapshotFields) -> tuple[FieldChange, ...]:
    """The fields that differ."""
    pairs = zip(_compared_fields(before), _compared_fields(after), strict=True)
    return tuple(
        FieldChange(field=field, was=was, now=now, is_binding=is_binding)
        for (field, was, is_binding), (_, now, _) in pairs
        if was != now
    )


def _compared_fields(fields: SnapshotFields) -> list[tuple[str, str, bool]]:
    """Each field's label, its value as text, and whether an approval covers it."""
    disabled = {True: "disabled", False: "active", None: ""}[fields.creator_is_disabled]
    return [
        ("Source org", fields.source_org_name, True),
        ("Source org ID", fields.source_org_id, True),
        ("Destination org", fields.sink_org_name, True),
        ("Destination org ID", fields.sink_org_id, True),
        ("Types", ", ".join(sorted(fields.connection_types)), True),
        ("Created by", fields.creator_name, False),
        ("Creator", disabled, False),
    ]


# --- What a request does -----------------------------------------------------------------------


class Action[R: ChangeRequest](ABC):
    """One kind of request to Datadog, for the requests of one model."""

    # "" if nothing is sent to Datadog: the request settles as a success once it is confirmed.
    method: ClassVar[str]
    # In "permission to …", and in "might have been …".
    permission: ClassVar[str]
    done: ClassVar[str]

    # The outcome after a response that it worked.
    success: ClassVar[str]
    # Outcomes that lists are compared with.
    checked_outcomes: ClassVar[frozenset[str]]
    # Whether it removes the connection, so that lists show its effect by not having it.
    deletes: ClassVar[bool] = False
    # Whether its requester needs the permission to send too, besides who confirmed it.
    requester_sends: ClassVar[bool] = False

    # How sentences say that lists show the effect, or don't: "A complete sync no longer lists …",
    # "… is still listed".
    lists: ClassVar[str]
    is_not_seen: ClassVar[str]

    # Whether a person can choose to send it although its pre-send check failed.
    can_skip_recheck: ClassVar[bool] = False
    # Whether its pre-send check must also read what the keys can do.
    checks_keys: ClassVar[bool] = False
    # Whether its approvals end with an attempt that might have worked.
    approved_once: ClassVar[bool] = True

    # --- Before sending -------------------------------------------------------------------------

    def can_confirm(self, change_request: R, *, person: Person | None) -> bool:
        """Whether this person can confirm it. Their permission is checked elsewhere."""
        return True

    @abstractmethod
    def confirmation_text(self, change_request: R, *, actor: Actor) -> str:
        """What this person types to confirm it."""

    def takes_away(self, change_request: R) -> bool:
        """Whether it takes the connection or a data type away, which a protection forbids."""
        return self.deletes

    @abstractmethod
    def find_block(self, change_request: R) -> BlockedError | None:
        """Why what replaces its approvals no longer counts, or None."""

    def lock_parent(self, change_request: R) -> bool:
        """Lock what decides whether it can be sent now. Return whether it can."""
        return True

    def requires_listing(self, change_request: R) -> bool:
        """Whether it can only be sent after a sync that lists what it is about."""
        return True

    @abstractmethod
    def compare(self, change_request: R, *, result: SyncResult) -> Recheck:
        """Compare what one sync listed with what was requested. Uses no database."""

    @abstractmethod
    def outcome_before_sending(self, change_request: R, comparison: Recheck) -> str:
        """The outcome of a request that this comparison shows is not to be sent any more."""

    def is_agreement_newer(self, change_request: R) -> bool:
        """Whether its approvals are about an older version of the agreement."""
        return False

    def find_block_in(self, result: SyncResult, change_request: R) -> BlockedError | None:
        """Why it can't be sent with what this sync read of its keys, or None."""
        return None

    def find_block_at(self, change_request: R, *, now: datetime) -> BlockedError | None:
        """Why it can't be claimed at this time, or None."""
        return None

    # --- Sending --------------------------------------------------------------------------------

    @abstractmethod
    def send(
        self, change_request: R, *, client: DatadogClient, deadline_seconds: float
    ) -> WriteResponse:
        """Send it once. Uses no database, so threads can call it. Never raises."""

    @abstractmethod
    def outcome_of(
        self, verdict: AttemptResult, *, was_ambiguous: bool, had_late_success: bool
    ) -> str | None:
        """The outcome that a response proves. None if it leaves the result unknown.

        `was_ambiguous` means that an earlier attempt might have worked, and `had_late_success` that
        Datadog returned a late 200 to one.
        """

    def columns_from(self, change_request: R, item: OrgConnection | None) -> dict[str, Any]:
        """The columns that a response or a list with this connection sets. None if it has none."""
        return {}

    def find_in_response(self, change_request: R, response: WriteResponse) -> OrgConnection | None:
        """The connection that a success describes."""
        return None

    def follow(self, change_request: R, transition: Transition, *, now: datetime) -> Transition:
        """The transition, or what the request does instead because it has a second step."""
        return transition

    @abstractmethod
    def after_transition(self, change_request: R, *, actor: Actor) -> None:
        """Make the changes that a new state or outcome requires, in its transaction."""

    # --- Afterwards -----------------------------------------------------------------------------

    @abstractmethod
    def find(self, change_request: R, *, result: SyncResult) -> OrgConnection | None:
        """The connection that it is about, as this sync lists it."""

    @abstractmethod
    def shows_effect(self, change_request: R, *, result: SyncResult) -> bool | None:
        """Whether Datadog is as the request would make it. None if the sync proves nothing."""

    @abstractmethod
    def find_outcome(self, change_request: R, *, result: SyncResult) -> str | None:
        """How this list would end an unknown result: "" if it shows no effect, None if it
        proves nothing.
        """

    def confirms_success(self, change_request: R, item: OrgConnection | None) -> bool:
        """Whether a list that shows the effect, with this connection, confirms a success."""
        return True

    @abstractmethod
    def settled_by_lists_sentence(self, change_request: R, *, outcome: str) -> audit.Sentence:
        """What ended an unknown result, for the audit log."""

    def unlisted_event(self, change_request: R) -> audit.EventDraft | None:
        """The alarm if the first list after a success lacks the connection, or None."""
        return None

    @abstractmethod
    def flag_contradiction(
        self, change_request: R, *, at: datetime, listed_by: str, actor: Actor
    ) -> None:
        """Set `contradicted_at` once, with its event. Call it inside a transaction."""


def protections_of(change_requests: Sequence[ChangeRequest]) -> QuerySet[Protection]:
    """The protections that forbid sending these requests, which have one site and action."""
    action = action_of(change_requests[0])
    return protections.active_protections_of(
        site=change_requests[0].site,
        connection_ids=[each.connection_id for each in change_requests if action.takes_away(each)],
    )


def action_of(change_request: ChangeRequest) -> Action[Any]:
    """The action of this request. Each kind of request names its actions in its model."""
    return _load(change_request.action)


@cache
def _load(path: str) -> Action[Any]:
    # Loaded when it is first needed, because each action is in a higher package.
    action: Action[Any] = import_string(path)
    return action


def nouns() -> list[str]:
    """The nouns of all kinds of requests."""
    return [model.noun for model in ChangeRequest.__subclasses__()]


def find_attempt(*, noun: str, change_request_id: UUID, epoch: int) -> AttemptFields | None:
    """The attempt with this epoch of a request, by the noun of its kind and its ID."""
    [model] = [model for model in ChangeRequest.__subclasses__() if model.noun == noun]
    request = model._default_manager.filter(pk=change_request_id).first()
    return request.attempts.filter(epoch=epoch).first() if request else None
