"""Ends approved access on its date: its connection is deleted as approved, or people decide.

An approval covers the last day and the deletion after it, so the deletion needs none of its own, if
there are as many as the orgs require that day. It deletes exactly what was approved. Otherwise its
deletion waits for people, without a time limit. If it can't be deleted now, it is tried again.
Either way, people are told.

The row is the queue: `end_due_at` of the access request, whose claim is moving it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import Exists, Q, QuerySet

from connections import audit
from connections.access.actor import Actor
from connections.access_requests.actions import find_pair, pair_of
from connections.agreements.agreed import find_agreements
from connections.agreements.approved import day_after, find_grants, first_end
from connections.audit import EventCode
from connections.change_requests import exclusion, lifecycle, rechecks, sending, states
from connections.change_requests.exclusion import find_open
from connections.change_requests.guards import find_hold
from connections.change_requests.states import Confirm, Settle
from connections.core import clock, logs, time_limits
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError, ConflictError, UnavailableError
from connections.datadog.payloads import OrgConnection
from connections.deletions import confirmations, requesting
from connections.inventory import fetching, protections, storing
from connections.inventory.fetching import SyncResult
from connections.models import (
    SEEN,
    AccessOutcome,
    AccessRequest,
    AccessRequestApproval,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    OrgConnectionSnapshot,
    OrgPair,
    Outcome,
    State,
    Step,
    snapshot_digest,
)

# As whom the deletion is requested.
REQUESTER = "Org Admin"
# No other worker looks at an end within this time after its claim.
CLAIM_TIMEOUT = timedelta(minutes=2)
# What could not be done is tried again.
RETRY_AFTER = timedelta(minutes=15)
# The same after a rate limit, which is reported only if it lasts.
RATE_LIMITED_FOR = timedelta(minutes=1), timedelta(hours=1)
# The same reason is recorded again.
REPEAT_AFTER = timedelta(days=1)
# How many due ends are read together, and seconds after which a pass begins with no other.
READ_TOGETHER = 100
PASS_SECONDS = 5.0
# Seconds for which a list is shared: so long that the last claim is within the limit, and longer if
# it could not be read.
SHARED_SECONDS = time_limits.LIST_WINDOW.total_seconds() - 2
FAILED_SECONDS = 60.0

# Where the sentence of the cause is about sending.
_WHY: dict[str, str] = {
    Cause.CHANGED_WHEN_READ: "Its data types differ from those approved.",
    Cause.LATER_LISTING: "It was deleted at this end and is listed again.",
    Cause.CREDENTIAL_RETIRED: "No credential of these orgs is in use.",
    Cause.LISTING_FAILED: "Datadog's list could not be read.",
    Cause.APPROVALS_MISSING: "The access has fewer approvals than the orgs now require.",
}


def why_text(cause: str) -> str:
    """Why a connection wasn't deleted at its end, in a sentence."""
    return _WHY.get(cause) or cause_text(cause)


def approvals_of_end(access_request: AccessRequest) -> int:
    """How many people approved this access, and so its end."""
    approved = access_request.approvals.filter(
        decision=AccessRequestApproval.Decision.APPROVED, digest=access_request.approval_digest
    )
    return approved.order_by().values("approver").distinct().count()


def why_it_waits(access_request: AccessRequest, deletion: Deletion) -> str:
    """The cause for which the deletion at the end of this access waits for people, or ""."""
    about = audit.reference(access_request)
    events = AuditEvent.objects.filter(
        code=EventCode.ACCESS_REQUEST_NOT_ENDED,
        subject_type=about["type"],
        subject_id=about["id"],
    )
    details = [event.details for event in events.order_by("seq")]
    causes = [each["cause"] for each in details if each.get("deletion") == str(deletion.pk)]
    return causes[-1] if causes else ""


@dataclass(kw_only=True)
class SharedLists:
    """The lists that ends of the same org share, as rows of a bulk deletion do.

    `work_between` is called before each of them is read, because that can take seconds.
    """

    work_between: Callable[[], object] = lambda: None
    _read: dict[UUID, tuple[float, SyncResult]] = field(default_factory=dict)

    def read(self, credential: Credential, *, actor: Actor) -> SyncResult:
        """A list of this credential's org that is recent enough to delete by."""
        until, result = self._read.get(credential.pk, (0.0, SyncResult()))
        if time.monotonic() < until:
            return result
        self.work_between()
        began_at = time.monotonic()
        try:
            result = fetching.fetch(credential=credential)
        except UnavailableError as error:
            result = SyncResult(cause=error.cause)
        storing.store(result, actor=actor)
        is_usable = result.is_complete
        until = began_at + SHARED_SECONDS if is_usable else time.monotonic() + FAILED_SECONDS
        self._read[credential.pk] = until, result
        return result


def end_due(
    *,
    actor: Actor,
    lists: SharedLists | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[AccessRequest]:
    """End access whose last day has passed, one after the other, for a few seconds.

    Returns the requests that gave it. Each is handled in its own transactions, so any number of
    workers can run it: whoever moves its due time first handles it, and the constraint of one open
    deletion for each connection holds for the others. Ends none while a hold is on.
    """
    lists = lists or SharedLists()
    stops_at = time.monotonic() + PASS_SECONDS
    handled: list[AccessRequest] = []
    due = AccessRequest.objects.filter(end_due_at__lte=clock.now())
    due = due.order_by("end_due_at", "site", "source_org_id", "pk")
    for pk, due_at in due.values_list("pk", "end_due_at")[:READ_TOGETHER]:
        if is_stopped() or find_hold() or (handled and time.monotonic() >= stops_at):
            break
        now = clock.now()
        claimed = AccessRequest.objects.filter(pk=pk, end_due_at=due_at)
        if not claimed.update(end_due_at=now + CLAIM_TIMEOUT):
            continue
        rows = AccessRequest.objects.select_related("deletion__credential")
        access_request = rows.get(pk=pk)
        with logs.about(access_request=pk):
            next_at = _End(grant=access_request, actor=actor, now=now, lists=lists).run()
        # Not if something has moved it since, such as the result of a deletion.
        own = AccessRequest.objects.filter(pk=pk, end_due_at=access_request.end_due_at)
        own.update(end_due_at=next_at)
        handled.append(access_request)
        lists.work_between()
    return handled


@dataclass(frozen=True, kw_only=True)
class _End:
    """The end of the access that a request gave, while this process handles it.

    Its functions return when it is due again: None while only people, or a list that shows
    something else, can change what happens.
    """

    grant: AccessRequest
    actor: Actor
    now: datetime
    lists: SharedLists

    @property
    def org_admin(self) -> Actor:
        return replace(self.actor, name=REQUESTER)

    @property
    def is_approved(self) -> bool:
        """Whether the approved day has passed, not only an earlier one in the agreement."""
        return self.grant.ends_on is not None and self.grant.ends_on < self.now.date()

    @property
    def approved_later(self) -> datetime | None:
        """When the day that was approved will have passed."""
        if self.grant.ends_on is None or self.is_approved:
            return None
        return day_after(self.grant.ends_on)

    def run(self) -> datetime | None:
        """Do what is due."""
        pair = pair_of(self.grant)
        if find_grants([pair]).get(pair) != self.grant:
            # A later request gives the access now.
            return None
        agreed = first_end(self.grant, find_agreements([pair]).get(pair))
        day = self.grant.ends_on if self.is_approved else agreed
        if day is None or day >= self.now.date():
            return day_after(day) if day else None
        deletion, open_deletion = self.grant.deletion, find_open(Deletion, pair)
        if self._is_kept(day) or not (open_deletion or _is_listed(pair)):
            return self.approved_later
        if not self._settle_open_request(pair):
            return self.now + RETRY_AFTER
        if open_deletion is None:
            return self._delete(day)
        if deletion != open_deletion:
            # People requested that one.
            return self.now + RETRY_AFTER
        return self._continue(open_deletion)

    def _is_kept(self, day: date) -> bool:
        """Whether people decided at this end that the connection stays.

        They can delete it, or request a later end.
        """
        deletion = self.grant.deletion
        if deletion is None or deletion.requested_at < day_after(day):
            return False
        # With a cause, Org Admin closed it.
        is_closed = deletion.outcome in {Outcome.WITHDRAWN, Outcome.UNRESOLVED}
        return deletion.outcome == Outcome.DECLINED or (is_closed and not deletion.cause)

    def _settle_open_request(self, pair: OrgPair) -> bool:
        """On the approved day, settle an open request that has sent nothing.

        False while one is being sent.
        """
        open_request = find_open(AccessRequest, pair)
        if open_request is None or open_request.epoch:
            return open_request is None
        if not self.is_approved:
            # People decide about the deletion, so it can be confirmed first.
            return True
        sentence = audit.Sentence(
            "The {title} {connection} is closed, because the approved access has ended.",
            title=open_request.title,
            connection=open_request.description,
        )
        return states.apply(
            open_request,
            transition=Settle(outcome=AccessOutcome.EXPIRED, cause=Cause.ACCESS_ENDED),
            actor=self.actor,
            events=[
                audit.EventDraft(code=open_request.event_code(Step.SETTLED), sentence=sentence)
            ],
        )

    # --- A deletion of this end is open -----------------------------------------------------------

    def _continue(self, deletion: Deletion) -> datetime | None:
        """Close it if it is outdated, or send it if it is to be sent by itself and wasn't yet."""
        if deletion.epoch or deletion.state not in {State.REQUESTED, State.APPROVED}:
            return self.approved_later
        if deletion.confirmed_at is None and self._close_outdated(deletion):
            return self.now + time_limits.END_RETRY_AFTER
        ends_on = self.grant.ends_on
        is_early = ends_on is not None and deletion.requested_at < day_after(ends_on)
        if not deletion.is_covered and not (self.is_approved and is_early):
            return self.approved_later
        result = self.lists.read(deletion.credential, actor=self.actor)
        item = find_pair(self.grant, result=result)
        if item and (cause := self._find_reason_to_ask(item, deletion.credential, deletion)):
            if deletion.is_covered:
                blocked = BlockedError(why_text(cause), cause=cause)
                sending.record_blocked(
                    change_request=deletion, blocked=blocked, actor=self.org_admin
                )
            self._record_not_ended(cause)
            return None
        try:
            if not deletion.is_covered and not (item and self._confirm(deletion)):
                return self.now + RETRY_AFTER
        except BlockedError:
            # An access request of these orgs was sent meanwhile.
            return self.now + RETRY_AFTER
        return self._send(deletion, result=result)

    def _close_outdated(self, deletion: Deletion) -> bool:
        """Close a deletion whose connection is no longer the one shown. Return whether it did.

        Another one is requested later, if there is still a connection to delete.
        """
        snapshot = OrgConnectionSnapshot.objects.filter(
            credential=deletion.credential, connection_id=deletion.connection_id, is_current=True
        ).first()
        if snapshot and deletion.digest == _digest_of(snapshot):
            return False
        comparison = rechecks.recheck_and_store(change_request=deletion, actor=self.actor)
        if not comparison.can_be_approved:
            rechecks.settle_not_as_requested(
                change_request=deletion, comparison=comparison, actor=self.actor
            )
        return deletion.is_settled

    def _confirm(self, deletion: Deletion) -> bool:
        """On the day that was approved, confirm what waited for people since an earlier day."""
        is_covered = bool(approvals_of_end(self.grant))
        code = EventCode.DELETION_CONFIRMED
        sentence = lifecycle.confirmed_sentence(
            deletion, actor=self.org_admin, is_covered=is_covered
        )
        details = {"skip_recheck": False, "approval_round": deletion.approval_round}
        with audit.atomic():
            excluded = exclusion.lock_excluded([deletion], actor=self.actor)
            is_confirmed = states.apply(
                deletion,
                transition=Confirm(at=self.now),
                actor=self.org_admin,
                events=[audit.EventDraft(code=code, sentence=sentence, details=details)],
            )
            if is_confirmed:
                exclusion.settle_excluded(excluded, by=[deletion], actor=self.actor)
                _record_requested(self.grant, deletion=deletion, cause="", actor=self.actor)
        return is_confirmed

    # --- None is open -----------------------------------------------------------------------------

    def _delete(self, day: date) -> datetime | None:
        """Request the deletion with the first credential that can send it, and send it."""
        candidates = self._find_credentials()
        untried = [each for each in candidates if each.pk not in self._refused_since(day)]
        earlier = self.grant.deletion
        if earlier and earlier.settled_at and not (untried and earlier.outcome == Outcome.REFUSED):
            again_at = earlier.settled_at + time_limits.END_RETRY_AFTER
            if self.now < again_at:
                return again_at
        cause: str = Cause.CREDENTIAL_RETIRED
        for credential in untried or candidates:
            if credential.is_read_only:
                cause = Cause.WRITE_NOT_GRANTED
                continue
            result = self.lists.read(credential, actor=self.actor)
            if not result.is_complete:
                # Without a time, nothing was requested.
                is_failed = result.started_at and result.cause != Cause.RATE_LIMITED
                cause = Cause.LISTING_FAILED if is_failed else result.cause
                continue
            return self._delete_listed(find_pair(self.grant, result=result), credential, result)
        retry_after, reported_after = RATE_LIMITED_FOR
        if cause == Cause.RATE_LIMITED and self.now < day_after(day) + reported_after:
            return self.now + retry_after
        self._record_not_ended(cause)
        return self.now + RETRY_AFTER

    def _find_credentials(self) -> list[Credential]:
        """Those of both orgs: first the one that gave the access, then those of the source org."""
        grant = self.grant
        in_use = Credential.objects.filter(
            site=grant.site, org_id__in=[grant.source_org_id, grant.sink_org_id], retired_at=None
        )
        return sorted(
            in_use.order_by("name"),
            key=lambda each: (each.pk != grant.credential_id, each.org_id != grant.source_org_id),
        )

    def _refused_since(self, day: date) -> set[UUID]:
        """The credentials with which Datadog refused the DELETE at this end."""
        refused = self._attempted().filter(
            outcome=Outcome.REFUSED, requested_at__gte=day_after(day)
        )
        return set(refused.values_list("credential_id", flat=True))

    def _attempted(self) -> QuerySet[Deletion]:
        """Deletions of the connection since the access was given, of which something was sent."""
        grant = self.grant
        return Deletion.objects.filter(
            site=grant.key.site,
            connection_id=grant.key.connection_id,
            requested_at__gte=grant.settled_at,
            epoch__gt=0,
        ).order_by("requested_at")

    def _delete_listed(
        self, item: OrgConnection | None, credential: Credential, result: SyncResult
    ) -> datetime | None:
        if item is None:
            return self.approved_later
        if item.id != str(self.grant.connection_id):
            self._record_not_ended(Cause.ANOTHER_CONNECTION)
            return self.now + REPEAT_AFTER
        deletion = self._request(item, credential)
        if deletion is None:
            # Read again, because the clock might have been set back.
            return clock.now() + RETRY_AFTER
        if not deletion.is_covered:
            return self.approved_later
        return self._send(deletion, result=result)

    def _request(self, item: OrgConnection, credential: Credential) -> Deletion | None:
        """Request the deletion, confirmed if it was approved. None if it can't be requested now."""
        cause = self._find_reason_to_ask(item, credential)

        def record_also(deletion: Deletion) -> None:
            self._require_still_ended()
            _record_requested(self.grant, deletion=deletion, cause=cause, actor=self.actor)

        try:
            return requesting.request_at_end(
                actor=self.org_admin,
                credential=credential,
                connection_id=UUID(item.id),
                reason=self.grant.reason,
                ticket=self.grant.ticket,
                is_confirmed=not cause,
                is_covered=bool(approvals_of_end(self.grant)),
                record_also=record_also,
            )
        except ConflictError:
            # Another process, or the clock, was faster.
            return None

    def _find_reason_to_ask(
        self, item: OrgConnection, credential: Credential, deletion: Deletion | None = None
    ) -> str:
        """Why the approval doesn't cover the deletion of this connection now. "" if it does.

        `deletion` is the one that is open, which also has the policy of its day.
        """
        grant, attempted = self.grant, self._attempted()
        might_have_worked = attempted.exclude(outcome__in=[Outcome.NOT_SENT, Outcome.REFUSED])
        if not self.is_approved:
            return Cause.END_SET_BY_HAND
        if grant.outcome not in SEEN:
            return Cause.CONNECTION_NOT_SEEN
        if sorted(item.connection_types) != grant.types_after:
            return Cause.CHANGED_WHEN_READ
        if protections.find_protection(grant.key):
            return Cause.CONNECTION_PROTECTED
        if earlier := might_have_worked.last():
            # It covers one attempt.
            return earlier.cause or Cause.LATER_LISTING
        if grant.ends_on and credential.pk in self._refused_since(grant.ends_on):
            # Every credential was tried.
            return Cause.FORBIDDEN
        target = confirmations.find_target(
            actor=self.org_admin, credential=credential, connection_id=UUID(item.id)
        )
        policy = ApprovalPolicy.strictest(
            [target.policy, deletion.policy if deletion else ApprovalPolicy.NONE]
        )
        if approvals_of_end(grant) < policy.approvals_needed:
            return Cause.APPROVALS_MISSING
        return ""

    def _require_still_ended(self) -> None:
        """Raise ConflictError if another process acted since the claim, or people extended it.

        Also if the clock was set back. Call it in the transaction that has locked the pair, so that
        this stays true.
        """
        as_read = {"deletion": self.grant.deletion, "end_due_at": self.grant.end_due_at}
        is_same = AccessRequest.objects.filter(pk=self.grant.pk, **as_read).exists()
        if not is_same or clock.now().date() < self.now.date():
            raise ConflictError("The end of this access has changed.")

    def _send(self, deletion: Deletion, *, result: SyncResult) -> datetime | None:
        """Send a deletion that the approval covers. One that is blocked is closed."""
        cause = ""
        try:
            deletion = sending.send(change_request=deletion, actor=self.org_admin, result=result)
        except BlockedError as blocked:
            sending.record_blocked(change_request=deletion, blocked=blocked, actor=self.org_admin)
            cause = blocked.cause
        except UnavailableError as error:
            cause = error.cause
        is_unsent = deletion.state == State.REQUESTED
        if is_unsent and not cause:
            is_slow = deletion.cause_details.get("cause") == Cause.LIST_TOO_SLOW
            cause = Cause.LIST_TOO_SLOW if is_slow else deletion.cause
        if cause:
            self._record_not_ended(cause)
        return self.now + RETRY_AFTER if is_unsent else None

    def _record_not_ended(self, cause: str) -> None:
        """Record why the connection still exists, unless that was recorded within a day."""
        code = EventCode.ACCESS_REQUEST_NOT_ENDED
        about = audit.reference(self.grant)
        events = AuditEvent.objects.filter(
            code=code,
            subject_type=about["type"],
            subject_id=about["id"],
            at__gt=self.now - REPEAT_AFTER,
        )
        newest = events.order_by("seq").last()
        if newest and newest.details["cause"] == cause:
            return
        audit.record(
            code=code,
            actor=self.actor,
            subject=self.grant,
            sentence=audit.Sentence(
                "Access for {connection} ended, but the connection was not deleted. {why}",
                connection=self.grant.description,
                why=why_text(cause),
            ),
            details={"cause": cause},
        )


def _is_listed(pair: OrgPair) -> bool:
    """Whether the pair has a connection.

    What the last credential of both orgs listed counts once that is retired.
    """
    in_use = Credential.objects.filter(
        site=pair.site, org_id__in=[pair.source_org_id, pair.sink_org_id], retired_at=None
    )
    listed = OrgConnectionSnapshot.objects.filter(
        Q(credential__retired_at=None) | ~Exists(in_use), **pair._asdict(), is_current=True
    )
    return listed.exists()


def _digest_of(snapshot: OrgConnectionSnapshot) -> str:
    return snapshot_digest(
        site=snapshot.site, connection_id=str(snapshot.connection_id), fields=snapshot
    )


def _record_requested(
    access_request: AccessRequest, *, deletion: Deletion, cause: str, actor: Actor
) -> None:
    """Link the deletion. `cause` is why it waits for people, if it does."""
    values = {"deletion": deletion}
    AccessRequest.objects.filter(pk=access_request.pk).update(**values)
    code, sentence = (
        EventCode.ACCESS_REQUEST_ENDED,
        audit.Sentence(
            "Access for {connection} ended, so Org Admin deletes the connection.",
            connection=access_request.description,
        ),
    )
    if cause:
        code, sentence = (
            EventCode.ACCESS_REQUEST_NOT_ENDED,
            audit.Sentence(
                "Access for {connection} ended, but people must decide about the deletion. {why}",
                connection=access_request.description,
                why=why_text(cause),
            ),
        )
    audit.record(
        code=code,
        actor=actor,
        subject=access_request,
        sentence=sentence,
        details={"deletion": str(deletion.pk)} | ({"cause": cause} if cause else {}),
        rows={"access_request": audit.changes_of(AccessRequest, values=values, actor=actor)},
    )
