"""What is particular to access requests: a POST or PATCH, and lists that show its effect."""

from datetime import datetime
from typing import Any, NoReturn, cast
from uuid import UUID

from django.db.models import Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.agreements.agreed import find_agreements, find_version
from connections.agreements.approved import schedule_end
from connections.agreements.setting import Terms, set_approved
from connections.change_requests.actions import Action, Recheck, RecheckResult, changed_fields
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError
from connections.datadog.client import DatadogClient
from connections.datadog.payloads import OrgConnection
from connections.datadog.responses import SUCCESSES, AttemptResult, WriteResponse
from connections.deletions.confirmations import typable_name
from connections.inventory import storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    AMBIGUOUS,
    COMPLETED,
    AccessOutcome,
    AccessRequest,
    AccessRequestAttempt,
    Attempt,
    ChangeRequest,
    Deletion,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    RequestKind,
    snapshot_digest,
)

# They change no data types.
KEEPING_TYPES = (RequestKind.EXTEND, RequestKind.MOVE)


def pair_of(change_request: ChangeRequest) -> OrgPair:
    """The orgs that it is about."""
    return OrgPair(change_request.site, change_request.source_org_id, change_request.sink_org_id)


def text_to_type(*, sink_org_id: str, sink_org_name: str) -> str:
    """What a person types to confirm: the destination org's name, or the end of its ID."""
    return typable_name(sink_org_name) or sink_org_id[-8:]


class AccessAction(Action[AccessRequest]):
    """What creating and changing have in common."""

    permission = "change connections"
    lists = "lists what was requested:"
    is_not_seen = "is as before"

    def confirmation_text(self, change_request: AccessRequest, *, actor: Actor) -> str:
        return text_to_type(
            sink_org_id=change_request.sink_org_id, sink_org_name=change_request.sink_org_name
        )

    def find_block(self, change_request: AccessRequest) -> BlockedError | None:
        """Nothing is sent for a person who has left, but what is interrupted is restored."""
        requester = Person.objects.filter(pk__in=[change_request.requested_by_id]).first()
        if requester is None or change_request.removed_at:
            return None
        if not requester.is_active:
            text = f"The account of {requester} is disabled. Withdraw it, or enable the account."
            return BlockedError(text, cause=Cause.REQUESTER_DISABLED)
        if permissions.can_see(person_actor(person=requester)):
            return None
        text = f"{requester} no longer has permission to request access."
        return BlockedError(text, cause=Cause.PERSON_LOST_RIGHT)

    def is_agreement_newer(self, change_request: AccessRequest) -> bool:
        """What is interrupted is restored, whatever was agreed in the meantime."""
        if change_request.agreement_version is None or change_request.removed_at:
            return False
        return find_version(pair_of(change_request)) != change_request.agreement_version

    def find_block_at(self, change_request: AccessRequest, *, now: datetime) -> BlockedError | None:
        """Nothing is given after the last day that was approved."""
        if change_request.ends_on is None or now.date() <= change_request.ends_on:
            return None
        return BlockedError(cause_text(Cause.ACCESS_ENDED), cause=Cause.ACCESS_ENDED)

    def find(self, change_request: AccessRequest, *, result: SyncResult) -> OrgConnection | None:
        """The connection that it is about. None if the list is incomplete: it might lack it."""
        if change_request.connection_id:
            return result.find(change_request.connection_id) if result.is_complete else None
        return find_pair(change_request, result=result)

    def shows_effect(self, change_request: AccessRequest, *, result: SyncResult) -> bool | None:
        item = self.find(change_request, result=result)
        if item:
            is_as_requested: bool = sorted(item.connection_types) == change_request.types_after
            return is_as_requested
        return False if result.is_complete else None

    def columns_from(
        self, change_request: AccessRequest, item: OrgConnection | None
    ) -> dict[str, Any]:
        if item is None or change_request.connection_id:
            return {}
        return {"connection_id": UUID(item.id)}

    def find_in_response(
        self, change_request: AccessRequest, response: WriteResponse
    ) -> OrgConnection | None:
        known = change_request.connection_id
        return response.find_connection(
            source_org_id=change_request.source_org_id,
            sink_org_id=change_request.sink_org_id,
            connection_id=str(known) if known else None,
        )

    def after_transition(self, change_request: AccessRequest, *, actor: Actor) -> None:
        """A completed request sets what it names in the agreement of its pair, if it was approved.

        Does nothing if the request ended as already connected before anyone approved it. Moving or
        extending what is wider than agreed doesn't agree it.
        """
        is_unapproved = change_request.epoch == 0 and change_request.lacks_approvals
        if change_request.outcome not in COMPLETED or is_unapproved:
            return
        stays = {*change_request.as_agreed}
        stays |= {"owner_text"} if "owner" in stays else set()
        stays |= {"connection_types"} if change_request.kind in KEEPING_TYPES else set()
        terms: dict[str, Any] = {
            "owner": change_request.owner,
            "owner_text": change_request.owner_text,
            "purpose": change_request.purpose,
            "ticket": change_request.ticket,
            "ends_on": change_request.ends_on,
            "connection_types": change_request.types_after,
        }
        named = cast("Terms", {name: terms[name] for name in terms.keys() - stays})
        pair = pair_of(change_request)
        set_approved(
            actor=actor,
            pair=pair,
            terms=named,
            access_request=change_request.pk,
            requester=change_request.requested_by,
        )
        others = AccessRequest.objects.filter(**pair._asdict()).exclude(pk=change_request.pk)
        others.exclude(end_due_at=None).update(end_due_at=None)
        schedule_end(change_request, agreement=find_agreements([pair]).get(pair))

    def flag_contradiction(
        self, change_request: AccessRequest, *, at: datetime, listed_by: str, actor: Actor
    ) -> None:
        if _was_followed(change_request):
            return
        values = {"contradicted_at": at}
        rows = AccessRequest.objects.filter(pk=change_request.pk, contradicted_at=None)
        if rows.update(**values):
            audit.record(
                code=audit.EventCode.ACCESS_REQUEST_CONTRADICTED,
                actor=actor,
                subject=change_request,
                sentence=audit.Sentence(
                    "Datadog doesn't list what was requested for {connection}.",
                    connection=change_request.description,
                ),
                details={"seen_by": listed_by, "outcome": change_request.outcome},
                rows={
                    "access_request": audit.changes_of(AccessRequest, values=values, actor=actor)
                },
            )


def _was_followed(access_request: AccessRequest) -> bool:
    """Whether Org Admin has sent something since that might explain what lists show."""
    pair = pair_of(access_request)
    of_pair = {
        "site": pair.site,
        "source_org_id": pair.source_org_id,
        "sink_org_id": pair.sink_org_id,
    }
    might_have_worked = AMBIGUOUS | Q(verdict__in=SUCCESSES)
    attempts = Attempt.objects.filter(
        might_have_worked, deletion__in=Deletion.objects.filter(**of_pair)
    )
    others = AccessRequestAttempt.objects.filter(
        might_have_worked, access_request__in=AccessRequest.objects.filter(**of_pair)
    ).exclude(access_request=access_request)
    since = {"claimed_at__gte": access_request.settled_at}
    return attempts.filter(**since).exists() or others.filter(**since).exists()


class CreateAction(AccessAction):
    """Creates a connection of a pair that has none."""

    method = "POST"
    done = "created"
    success = AccessOutcome.CREATED
    checked_outcomes = frozenset({AccessOutcome.CREATED})
    lists = "now lists"
    is_not_seen = "is not listed"

    def find_block(self, change_request: AccessRequest) -> BlockedError | None:
        """A connection ends with the account of a person who created it."""
        if block := super().find_block(change_request):
            return block
        credential = change_request.credential
        if credential.key_owner_is_service_account or credential.person_can_create:
            return None
        return BlockedError(cause_text(Cause.CREATOR_IS_PERSON), cause=Cause.CREATOR_IS_PERSON)

    def compare(self, change_request: AccessRequest, *, result: SyncResult) -> Recheck:
        item = find_pair(change_request, result=result)
        if item is None:
            # Nothing is created while the pair might have a connection.
            kind = RecheckResult.SAME if result.is_complete else RecheckResult.UNREADABLE
            return Recheck(result=kind, at=result.started_at, cause=result.cause)
        listed = OrgConnectionSnapshot(**storing.snapshot_values(item))
        return Recheck(
            result=RecheckResult.CHANGED,
            at=result.started_at,
            listed=listed,
            changes=changed_fields(change_request, listed),
            item=item,
            shows_effect=sorted(item.connection_types) == change_request.types_after,
        )

    def outcome_before_sending(self, change_request: AccessRequest, comparison: Recheck) -> str:
        if comparison.item and change_request.has_ambiguous_attempt:
            return outcome_of_unknown(change_request, comparison.item)
        return AccessOutcome.ALREADY_EXISTS if comparison.shows_effect else AccessOutcome.STALE

    def send(
        self, change_request: AccessRequest, *, client: DatadogClient, deadline_seconds: float
    ) -> WriteResponse:
        # This is the only line in Org Admin that can create a connection.
        return client.create_org_connection(
            sink_org_id=change_request.sink_org_id,
            connection_types=change_request.types_after,
            deadline_seconds=deadline_seconds,
        )

    def outcome_of(
        self, verdict: AttemptResult, *, was_ambiguous: bool, had_late_success: bool
    ) -> str | None:
        match verdict:
            case AttemptResult.CREATED:
                return AccessOutcome.CREATED
            case AttemptResult.ALREADY_EXISTS if not was_ambiguous:
                return AccessOutcome.ALREADY_EXISTS
            case AttemptResult.REFUSED | AttemptResult.NOT_FOUND if not was_ambiguous:
                return AccessOutcome.REFUSED
        return None

    def find_outcome(self, change_request: AccessRequest, *, result: SyncResult) -> str | None:
        item = find_pair(change_request, result=result)
        if item:
            return outcome_of_unknown(change_request, item)
        return "" if result.is_complete else None

    def confirms_success(self, change_request: AccessRequest, item: OrgConnection | None) -> bool:
        """Without an ID in the response, it could be one that someone else created."""
        if item is None or change_request.connection_id:
            return item is not None
        return outcome_of_unknown(change_request, item) == AccessOutcome.CREATED

    def settled_by_lists_sentence(
        self, change_request: AccessRequest, *, outcome: str
    ) -> audit.Sentence:
        connection = change_request.description
        if outcome == AccessOutcome.CREATED:
            return audit.Sentence(
                "{connection} is listed, and the owner of the keys created it when the attempt was "
                "made.",
                connection=connection,
            )
        return audit.Sentence(
            "{connection} is listed, but this doesn't prove that this request created it.",
            connection=connection,
        )


class ChangeAction(AccessAction):
    """Changes the data types of a connection."""

    method = "PATCH"
    done = "changed"
    success = AccessOutcome.CHANGED
    checked_outcomes = frozenset({AccessOutcome.CHANGED})
    lists = "lists the requested data types of"
    is_not_seen = "has the data types that it had before"

    def takes_away(self, change_request: AccessRequest) -> bool:
        return bool(set(change_request.connection_types) - set(change_request.types_after))

    def compare(self, change_request: AccessRequest, *, result: SyncResult) -> Recheck:
        return compare_with_snapshot(self, change_request, result=result)

    def outcome_before_sending(self, change_request: AccessRequest, comparison: Recheck) -> str:
        if change_request.has_ambiguous_attempt:
            if comparison.item is None:
                return AccessOutcome.GONE
            if comparison.shows_effect:
                return AccessOutcome.CHANGED
            return AccessOutcome.CHANGED_ELSEWHERE
        if comparison.shows_effect:
            return AccessOutcome.ALREADY_AS_REQUESTED
        return AccessOutcome.STALE

    def send(
        self, change_request: AccessRequest, *, client: DatadogClient, deadline_seconds: float
    ) -> WriteResponse:
        # This is the only line in Org Admin that can change the data types of a connection.
        return client.update_org_connection(
            connection_id=str(change_request.connection_id),
            connection_types=change_request.types_after,
            deadline_seconds=deadline_seconds,
        )

    def outcome_of(
        self, verdict: AttemptResult, *, was_ambiguous: bool, had_late_success: bool
    ) -> str | None:
        match verdict:
            case AttemptResult.CHANGED:
                return AccessOutcome.CHANGED
            case AttemptResult.NOT_FOUND:
                return AccessOutcome.GONE
            case AttemptResult.REFUSED if not was_ambiguous:
                return AccessOutcome.REFUSED
        return None

    def find_outcome(self, change_request: AccessRequest, *, result: SyncResult) -> str | None:
        item = self.find(change_request, result=result)
        if item is None:
            return AccessOutcome.GONE if result.is_complete else None
        types = sorted(item.connection_types)
        if types == change_request.types_after:
            return AccessOutcome.CHANGED
        if types == sorted(change_request.connection_types):
            return ""
        return AccessOutcome.CHANGED_ELSEWHERE

    def settled_by_lists_sentence(
        self, change_request: AccessRequest, *, outcome: str
    ) -> audit.Sentence:
        connection = change_request.description
        match outcome:
            case AccessOutcome.CHANGED:
                return audit.Sentence(
                    "{connection} has the requested data types. This doesn't prove that this "
                    "request changed them.",
                    connection=connection,
                )
            case AccessOutcome.GONE:
                return audit.Sentence("{connection} is no longer listed.", connection=connection)
        return audit.Sentence(
            "{connection} has other data types than before and than requested.",
            connection=connection,
        )


class ExtendAction(AccessAction):
    """Sets a later end. Nothing is sent to Datadog."""

    method = ""
    done = "extended"
    success = AccessOutcome.EXTENDED
    checked_outcomes = frozenset[str]()

    def compare(self, change_request: AccessRequest, *, result: SyncResult) -> Recheck:
        comparison = compare_with_snapshot(self, change_request, result=result)
        is_same = comparison.shows_effect and comparison.result == RecheckResult.CHANGED
        return comparison if not is_same else Recheck(result=RecheckResult.SAME, at=comparison.at)

    def outcome_before_sending(self, change_request: AccessRequest, comparison: Recheck) -> str:
        return AccessOutcome.STALE

    @staticmethod
    def _nothing_is_sent(*args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("An extension sends nothing to Datadog, so it has no response or effect.")

    send = outcome_of = find_outcome = settled_by_lists_sentence = _nothing_is_sent


def find_pair(access_request: AccessRequest, *, result: SyncResult) -> OrgConnection | None:
    """The connection of its pair, as a complete list shows it. Datadog allows one."""
    if not result.is_complete:
        return None
    wanted = (access_request.source_org_id, access_request.sink_org_id)
    return next(
        (
            item
            for item in result.org_connections
            if (item.source_org.id, item.sink_org.id) == wanted
        ),
        None,
    )


def outcome_of_unknown(access_request: AccessRequest, item: OrgConnection) -> str:
    """Whether a connection that is listed later is the one that this request created.

    It is if our keys' owner created it, with the requested data types, while an attempt that might
    have worked could be carried out. What the same service account created elsewhere in that time,
    with the same types, can't be told apart.
    """
    might_have_worked = AMBIGUOUS | Q(verdict=AttemptResult.CREATED)
    attempts = access_request.step_attempts.filter(might_have_worked)
    created_at, owner_id = item.created_at, access_request.credential.key_owner_id
    is_ours = (
        created_at is not None
        and any(attempt.can_have_created(created_at) for attempt in attempts)
        and owner_id != ""
        and item.created_by.id == owner_id
        and sorted(item.connection_types) == access_request.types_after
    )
    return AccessOutcome.CREATED if is_ours else AccessOutcome.EXISTS_UNATTRIBUTED


def compare_with_snapshot(
    action: AccessAction, access_request: AccessRequest, *, result: SyncResult
) -> Recheck:
    """Compare the connection with what was reviewed. One that is as requested counts as changed."""
    item = action.find(access_request, result=result)
    if item is None:
        missing = RecheckResult.ABSENT if result.is_complete else RecheckResult.UNREADABLE
        return Recheck(result=missing, at=result.started_at, cause=result.cause)
    listed = OrgConnectionSnapshot(**storing.snapshot_values(item))
    seen, reviewed = (
        snapshot_digest(
            site=access_request.site,
            connection_id=str(access_request.connection_id),
            fields=fields,
        )
        for fields in (listed, access_request)
    )
    is_as_requested = bool(action.shows_effect(access_request, result=result))
    is_same = seen == reviewed and not is_as_requested
    return Recheck(
        result=RecheckResult.SAME if is_same else RecheckResult.CHANGED,
        at=result.started_at,
        listed=listed,
        changes=changed_fields(access_request, listed),
        item=item,
        shows_effect=is_as_requested,
    )


CREATE = CreateAction()
CHANGE = ChangeAction()
EXTEND = ExtendAction()
