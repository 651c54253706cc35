"""What a reading just before sending says: as reviewed, changed, gone, or not readable."""

from datetime import timedelta

from connections import audit
from connections.access.actor import Actor
from connections.core import clock
from connections.core.causes import Cause
from connections.deletions import reconciliation, states
from connections.deletions.states import EventDraft, Transition
from connections.inventory import sync
from connections.inventory.sync import SyncResult
from connections.models import Deletion, Outcome, State, snapshot_digest
from connections.wording import attempt_facts


def is_as_reviewed(*, deletion: Deletion, reading: SyncResult, actor: Actor) -> bool:
    """Whether to send, by what Datadog says now; settles or notes the deletion where not."""
    item = reading.find(deletion.connection_id)
    if item is None and reading.is_complete:
        _settle_absent(deletion=deletion, reading=reading, actor=actor)
        return False
    if item is None:
        if not deletion.is_reviewed:
            return True
        record_recheck_failure(deletion=deletion, reading=reading, actor=actor)
        return False
    fields = sync.fields_from(item)
    digest = snapshot_digest(
        site=deletion.site, connection_id=str(deletion.connection_id), fields=fields
    )
    if digest == deletion.digest:
        return True
    now_says: dict[str, object] = {
        "source_org_name": fields.source_org_name,
        "sink_org_name": fields.sink_org_name,
        "connection_types": list(fields.connection_types),
    }
    _settle_stale(deletion=deletion, actor=actor, now_says=now_says)
    return False


def _settle_absent(*, deletion: Deletion, reading: SyncResult, actor: Actor) -> None:
    with reconciliation.responses_locked(deletion=deletion):
        if deletion.has_late_success:
            reconciliation.settle_late_success(
                deletion=deletion,
                actor=actor,
                cause=Cause.ABSENT_WHEN_READ,
                seen_at=reading.started_at or clock.now(),
            )
            return
        outcome = (
            Outcome.GONE_UNATTRIBUTED if deletion.has_ambiguous_attempt else Outcome.ALREADY_ABSENT
        )
        sentence = (
            f"{deletion.description} is no longer listed. {attempt_facts.in_full_of(deletion)}"
        )
        states.apply(
            deletion=deletion,
            actor=actor,
            to=Transition(state=State.SETTLED, outcome=outcome, cause=Cause.ABSENT_WHEN_READ),
            notes=[EventDraft(code=audit.EventCode.DELETION_SETTLED, sentence=sentence)],
        )


def _settle_stale(*, deletion: Deletion, actor: Actor, now_says: dict[str, object]) -> None:
    """End it: what would be deleted is not what was reviewed."""
    facts = attempt_facts.in_full_of(deletion)
    sentence = f"{deletion.description} changed since it was reviewed. {facts}"
    note = EventDraft(
        code=audit.EventCode.DELETION_SETTLED, sentence=sentence, details={"now_says": now_says}
    )
    states.apply(
        deletion=deletion,
        actor=actor,
        to=Transition(state=State.SETTLED, outcome=Outcome.STALE, cause=Cause.CHANGED_WHEN_READ),
        notes=[note],
        cause_details={"now_says": now_says},
    )


def record_recheck_failure(*, deletion: Deletion, reading: SyncResult, actor: Actor) -> None:
    """The connection could not be read again: nothing is sent and the state stays."""
    details = {
        "cause": reading.cause,
        "http_status": reading.http_status,
        "errors": list(reading.errors),
    }
    sentence = (
        f"{deletion.description} could not be read again. {attempt_facts.in_full_of(deletion)}"
    )
    later: dict[str, object] = {}
    if deletion.state == State.WAITING:
        later["due_at"] = clock.now() + timedelta(seconds=60)
    states.apply(
        deletion=deletion,
        actor=actor,
        to=Transition(state=State(deletion.state), cause=Cause.LISTING_FAILED),
        notes=[
            EventDraft(
                code=audit.EventCode.DELETION_RECHECK_FAILED, sentence=sentence, details=details
            )
        ],
        cause_details=details,
        **later,
    )
