"""What must hold beyond folding: approvals by others, running bulk deletions, reviewers.

A rule returns what is wrong with a record. `RULES` has those of each kind of record that this
verifier knows, also for kinds without any.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any

from connections.verifier.events import (
    ACCESS_REQUEST,
    ACCESS_REVIEW,
    AGREEMENT,
    BATCH,
    DELETION,
    HOLD,
    ORG_CONNECTION,
    Event,
)
from connections.verifier.folding import Rows, rows_named
from connections.verifier.labels import APPROVALS_NEEDED, GONE_OUTCOMES
from connections.verifier.messages import fill
from connections.verifier.strict_json import parse_time

# The state of a bulk deletion after each event. An approval changes it only when no other approval
# is missing.
_BATCH_STATES = {
    "batch.requested": "requested",
    "batch.approved": "approved",
    "batch.declined": "declined",
    "batch.confirmed": "running",
    "batch.paused": "paused",
    "batch.resumed": "running",
    "batch.cancelled": "cancelled",
    "batch.expired": "expired",
    "batch.finished": "finished",
}
# What a row of a plan and all its deletions have in common.
_SAME_IN_ROW = (
    *("site", "connection_id", "digest", "snapshot_at", "connection_types", "credential_id"),
    *("source_org_id", "source_org_name", "sink_org_id", "sink_org_name"),
)


def last_event(events: Sequence[Event], code: str) -> Event | None:
    """The last event with this code, or None."""
    return next((event for event in reversed(events) if event.code == code), None)


class Sent(IntEnum):
    """What attempts led to. For several attempts together, the highest value applies."""

    NOTHING = 0  # no attempt, or none that left the server
    REFUSED = 1  # Datadog refused, rate limited or did not find it, so nothing was changed
    UNCERTAIN = 2  # no usable response: it might have worked
    DONE = 3  # Datadog returned 200 or, to a POST, 201


_SENT = {
    "not_sent": Sent.NOTHING,
    "rate_limited": Sent.REFUSED,
    "refused": Sent.REFUSED,
    "not_found": Sent.REFUSED,
    "already_exists": Sent.REFUSED,
    "deleted": Sent.DONE,
    "created": Sent.DONE,
    "changed": Sent.DONE,
}


def sent_by(verdicts: Iterable[Any]) -> Sent:
    """What the attempts with these verdicts led to together.

    docs/EVIDENCE.md has the rules. An attempt without a response might have worked.
    """
    return max(
        (_SENT.get(str(verdict), Sent.UNCERTAIN) for verdict in verdicts), default=Sent.NOTHING
    )


# --- Deletions and access requests ----------------------------------------------------------------

# The states of a request that had no effect.
_NO_EFFECT = ("still_present", "no_effect")
# What an access request sends, by its kind.
_METHODS = {
    "create": {"POST"},
    "change": {"PATCH"},
    "extend": set[str](),
    "restore": {"POST"},
    "move": {"DELETE", "POST"},
}


def _request_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    if not events or events[0].step != "requested":
        yield "it has no request event"
        return
    sent = [event.details.get("attempt") for event in events if event.step == "sending"]
    if sent != [attempt.get("number") for attempt in rows_named(rows, "attempt")]:
        yield "its attempts are not those that were sent"
    for event, number in zip(events, rounds_of(events)):
        if event.details.get("approval_round", number) != number:
            yield fill("event {} states the wrong approval round", event.seq)
        if event.step == "sending":
            attempt = fill("attempt {}", event.details.get("attempt"))
            if rows.get(attempt, {}).get("approval_round") != number:
                yield fill("{} is not of the approval round in which it was sent", attempt)
    requester = rows.get(events[0].about[0], {}).get("requested_by_id")
    for approval in rows_named(rows, "approval"):
        if approval.get("approver_id") == requester:
            yield "its requester decided about it"


def _last_day(request: Mapping[str, Any]) -> str:
    """The last day of access; without an end, a day after any other."""
    return str(request.get("ends_on") or "9999-12-31")


def _access_request_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    yield from _request_problems(rows, events)
    request = rows.get(ACCESS_REQUEST, {})
    # Each names a deletion that was requested then.
    steps = ("ended", "not_ended")
    ends = [event for event in events if event.step in steps and "deletion" in event.details]
    early = [event for event in ends if event.at[:10] <= _last_day(request)]
    # On an earlier day that an agreement has, people decide.
    if any(event.details.get("cause") != "end_set_by_hand" for event in early):
        yield "the access ended before its last day had passed"
    named = [event.details["deletion"] for event in ends]
    if named[-1:] != [request[key] for key in ("deletion_id",) if request.get(key)]:
        yield "its end is not the deletion that was requested then"
    methods = _METHODS.get(str(request.get("kind")), set())
    for attempt in rows_named(rows, "attempt"):
        if attempt.get("method") not in methods:
            yield fill("attempt {} is not what was requested", attempt.get("number"))
    if request.get("kind") == "move":
        yield from _move_problems(rows, events)


# The approvals of a move cover its POST if it is confirmed this soon after the DELETE, and sent
# this soon after that.
_MOVE_WINDOW = timedelta(hours=1)
_SENDING_WINDOW = timedelta(minutes=15)


def _move_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    attempts = rows_named(rows, "attempt")
    sent = [str(attempt.get("method")) for attempt in attempts]
    removed_at = rows[ACCESS_REQUEST].get("removed_at")
    if "POST" not in sent:
        return
    if sent[0] != "DELETE" or sent != sorted(sent) or not removed_at:
        yield "its POST was sent before its connection was deleted"
        return
    until, removed_in, is_in_time = parse_time(removed_at) + _MOVE_WINDOW, 0, True
    for event, number in zip(events, rounds_of(events)):
        if event.step == "removed":
            removed_in = number
        elif number != removed_in:
            continue
        elif event.step == "confirmed":
            confirmed = event.rows.get(ACCESS_REQUEST) or {}
            is_in_time = parse_time(confirmed.get("confirmed_at") or event.at) <= until
        elif event.step == "sending":
            what = fill("attempt {}", event.details.get("attempt"))
            claimed_at = rows.get(what, {}).get("claimed_at") or event.at
            if not is_in_time or parse_time(claimed_at) > until + _SENDING_WINDOW:
                yield fill("{} was sent too long after its connection was deleted", what)


# What an access request and the deletion at its end have in common.
_SAME_AT_END = ("site", "connection_id", "source_org_id", "sink_org_id")
_COMPARED_AT_END = (*_SAME_AT_END, "connection_types", "confirmed_at", "confirmed_by_id")


class Ends:
    """Deletions: those that no person requested can be the end of access."""

    def __init__(self) -> None:
        self._by_nobody: dict[str, dict[str, Any]] = {}
        self._by_people: set[str] = set()
        # What attempts lack if too few people approved the access: by deletion, with how many.
        self._to_approve: dict[str, tuple[int, list[str]]] = {}
        # The same, where too few did.
        self.unapproved: list[str] = []

    @property
    def without_access(self) -> list[str]:
        """The deletions whose access request, whose approvals cover them, is missing."""
        return list(self._to_approve)

    def require_approvals(self, name: str, events: Sequence[Event], text: str) -> None:
        """An attempt of this deletion lacks what `text` says unless its access was approved."""
        needed = APPROVALS_NEEDED.get(str(_requested(events).get("policy")), 0)
        self._to_approve.setdefault(name, (needed, []))[1].append(text)

    def count_approvals(self, events: Sequence[Event]) -> int:
        """Take the approvals of access, by its events. Return for how many ends they are enough."""
        digest, enough = _requested(events).get("approval_digest"), 0
        approved = [event for event in events if event.step == "approved"]
        approvers = {each.actor_id for each in approved if each.details.get("digest") == digest}
        for name in {event.details.get("deletion") for event in events if event.step == "ended"}:
            needed, texts = self._to_approve.pop(str(name), (0, []))
            if len(approvers) < needed:
                self.unapproved += texts
            else:
                enough += bool(texts)
        return enough

    def add(self, name: str, deletion: Mapping[str, Any]) -> None:
        """Remember what an access request that names this deletion is compared with."""
        if deletion.get("requested_by_id"):
            self._by_people.add(name)
        else:
            self._by_nobody[name] = {key: deletion.get(key) for key in _COMPARED_AT_END}

    def problem(self, request: Mapping[str, Any]) -> str:
        """What is wrong with the deletion that this access request names. "" if nothing is.

        Also if it isn't among these deletions.
        """
        name = str(request.get("deletion_id") or "")
        if name in self._by_people:
            return "its end is a deletion that a person requested"
        deletion = self._by_nobody.get(name)
        if deletion is None:
            return ""
        if any(deletion[key] != request.get(key) for key in _SAME_AT_END):
            return "its end is the deletion of another connection"
        is_covered = deletion["confirmed_at"] and not deletion["confirmed_by_id"]
        types = sorted(deletion["connection_types"] or [])
        if is_covered and types != (request.get("types_after") or []):
            return "other data types than approved were deleted at its end without approval"
        return ""


def rounds_of(events: Sequence[Event]) -> list[int]:
    """The approval round of each event, counted from 1.

    A round ends when the outcome of an attempt becomes unknown, and when the approvals for
    another attempt after that are declined or lapse. A move is approved as a whole, so its round
    ends only when its attempts are known to have had no effect. The number is counted from the
    events. The number that an event states is not used.
    """
    is_move = bool(events) and _requested(events).get("kind") == "move"
    ended_by = "no_effect" if is_move else "unknown"
    rounds, number, state = [], 1, "requested"
    for event in events:
        rounds.append(number)
        before, state = state, str(event.details.get("state", state))
        step = event.step
        if (
            step == "approvals_lapsed"
            or (step == "declined" and state in _NO_EFFECT)
            or (state == ended_by and before != ended_by)
        ):
            number += 1
    return rounds


def done_without_approvals(events: Sequence[Event]) -> list[Event] | None:
    """Each attempt, or extension, that had too few approvals by other people in its own round.

    An approval counts if it is of exactly what was requested. None if there was no attempt or
    extension, or if no approval was required.
    """
    requested = _requested(events)
    needed = APPROVALS_NEEDED.get(str(requested.get("policy")), 0)
    if not needed or not any(_is_done(event) for event in events):
        return None
    unapproved, approvers, approved_round = [], set[Any](), 0
    # If no person requested it, the person who confirmed it needs the approval of others.
    requester = requested.get("requested_by_id")
    for event, number in zip(events, rounds_of(events)):
        if number != approved_round:
            approvers, approved_round = set(), number
        if event.step == "approved":
            if event.details.get("digest") == requested.get("approval_digest"):
                approvers.add(event.actor_id)
        elif event.step == "confirmed" and not requested.get("requested_by_id"):
            requester = event.actor_id
        elif _is_done(event) and len(approvers) - (requester in approvers) < needed:
            unapproved.append(event)
    return unapproved


def sent_at_end(events: Sequence[Event]) -> set[int]:
    """The attempts of an automatic deletion that the approvals of its access cover, by number.

    That is its first round, if no person confirmed it.
    """
    sent, confirmed_by = set[int](), None
    if not _requested(events).get("automatic"):
        return sent
    for event, number in zip(events, rounds_of(events)):
        if event.step == "confirmed":
            confirmed_by = event.actor_id
        elif event.step == "sending" and number == 1 and not confirmed_by:
            sent.add(event.seq)
    return sent


def _is_done(event: Event) -> bool:
    return event.step == "sending" or _extends(event)


def _extends(event: Event) -> bool:
    """Whether it gives access until a later day, for which nothing is sent."""
    return event.step == "settled" and event.details.get("outcome") == "extended"


def _requested(events: Sequence[Event]) -> Mapping[str, Any]:
    """The deletion or access request as it was requested."""
    return events[0].rows.get(events[0].about[0]) or {}


def break_glass_by_event(events: Sequence[Event]) -> dict[int, Event]:
    """The break-glass event that replaced the approvals of an event's round, by its number."""
    by_event: dict[int, Event] = {}
    used: tuple[int, Event] | None = None
    for event, number in zip(events, rounds_of(events)):
        if event.code == "deletion.break_glass_used":
            used = (number, event)
        if used and used[0] == number:
            by_event[event.seq] = used[1]
    return by_event


# --- Bulk deletions -----------------------------------------------------------------------------


def _batch_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    requested = [event for event in events if event.code == "batch.requested"]
    if len(requested) != 1:
        yield "it does not have exactly one request event"
        return
    batch = rows.get("batch", {})
    approved = [event for event in events if event.code == "batch.approved"]
    digest = batch.get("approval_digest")
    if any(event.details.get("approval_digest") != digest for event in approved):
        yield "an approval is not for its plan, reason and ticket"
    confirmed = last_event(events, "batch.confirmed")
    if confirmed is None:
        return
    before = {event.actor_id for event in approved if event.seq < confirmed.seq}
    others = before - {batch.get("requested_by_id")}
    if len(others) < APPROVALS_NEEDED.get(str(batch.get("policy")), 0):
        yield "it was confirmed without the required approvals"


class RunningBatch:
    """When a bulk deletion was confirmed and running, by its events."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.confirmed = last_event(events, "batch.confirmed")
        changes = [
            event
            for event in events
            if event.code in _BATCH_STATES and not event.details.get("missing")
        ]
        self._began = [event.seq for event in changes]
        self._states = [_BATCH_STATES[event.code] for event in changes]

    def allowed(self, seq: int, approval_round: int) -> bool:
        """Whether a DELETE could be sent in event `seq`.

        It was confirmed and running, or a person had confirmed that deletion individually.
        """
        if self.confirmed is None or self.confirmed.seq > seq:
            return False
        earlier = bisect_left(self._began, seq)
        is_running = earlier > 0 and self._states[earlier - 1] == "running"
        return approval_round > 1 or is_running


def plan_problems(
    plan_rows: Iterable[Mapping[str, Any]], deletions: Mapping[Any, Mapping[str, Any]]
) -> Iterator[str]:
    """How the rows of a plan differ from its deletions, which are by the ID of their row."""
    left = set(deletions)
    for position, row in enumerate(plan_rows, start=1):
        what = fill("row {}", row.get("position"))
        deletion = deletions.get(row.get("id"))
        left.discard(row.get("id"))
        is_sendable = not row.get("removed_at") and not row.get("problem")
        if row.get("position") != position:
            yield fill("{} is at place {}", what, position)
        if is_sendable and deletion is None:
            yield fill("{} has no deletion", what)
        elif not is_sendable and deletion is not None:
            yield fill("{} was left out but has a deletion", what)
        elif deletion and any(deletion.get(key) != row.get(key) for key in _SAME_IN_ROW):
            yield fill("{} has the deletion of something else", what)
    if left:
        yield "a deletion belongs to no row of the plan"


# --- Access reviews -----------------------------------------------------------------------------


def _access_review_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    reviewers: frozenset[Any] = frozenset()
    yield from _owner_problems(rows, events)
    for event in events:
        if "reviewers" in event.details:
            reviewers = frozenset(event.details["reviewers"] or ())
        is_decision = event.code == "access_review.decided"
        if is_decision and reviewers and event.actor_id not in reviewers:
            text = "{} was not a reviewer when they decided in event {}"
            yield fill(text, event.actor, event.seq)
    closed = last_event(events, "access_review.closed")
    if closed and len(rows_named(rows, "decision")) != closed.details.get("decisions"):
        yield "it does not have as many decisions as were recorded when it was closed"


def _owner_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    """Decisions that name another owner than the start, or a later change, gave their row."""
    owners: dict[Any, Any] = {}
    is_fixed = False
    for event in events:
        if event.code == "access_review.started" and "row_owners" in event.details:
            is_fixed = bool(rows.get("access_review", {}).get("has_fixed_owners"))
            for owner, positions in event.details["row_owners"].items():
                owners |= dict.fromkeys(positions, owner)
        elif event.code == "access_review.owner_changed":
            owners |= dict.fromkeys(event.details["positions"], event.details["owners"][0])
        elif event.code == "access_review.decided" and is_fixed:
            for decision in event.details["decisions"]:
                position = decision.get("position")
                stored = rows.get(f"decision {decision.get('id')}", {})
                if stored.get("owner_id") != owners.get(position):
                    yield fill("a decision about row {} names another owner", position)


def closing_problems(
    review: Mapping[str, Any],
    review_rows: Iterable[Mapping[str, Any]],
    decisions: Mapping[Any, Mapping[str, Any]],
) -> Iterator[str]:
    """Whether a closed access review has the final states that its closing digest covers.

    `decisions` has the last decision of each row, by the ID of the row.
    """
    states = []
    for row in review_rows:
        decision = decisions.get(row.get("id"), {})
        is_decided = row.get("closed_as") in ("keep", "delete")
        if is_decided and decision.get("decision") != row.get("closed_as"):
            yield fill("the final state of row {} is not its last decision", row.get("position"))
        final = decision.get("id") if is_decided else None
        states.append([row.get("position"), row.get("closed_as"), final])
    document = {
        "format": "access review closing 1",
        "appeared": review.get("appeared", []),
        "coverage": review.get("coverage_at_close"),
        "open_reason": review.get("open_reason", ""),
        "rows": states,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode("ascii")).hexdigest() != review.get("closing_digest"):
        yield "its final states are not those of its closing digest"


def was_deleted(deletions: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the connection was gone after one of these deletions and is not listed again."""
    return any(
        deletion.get("outcome") in GONE_OUTCOMES and not deletion.get("contradicted_at")
        for deletion in deletions
    )


def gone_text(row: Mapping[str, Any], deletions: Sequence[Mapping[str, Any]]) -> str:
    """How a connection disappeared if no deletion is known to have deleted it, or ""."""
    if not row["is_gone"]:
        return ""
    # An attempt without a known outcome might have worked.
    return "gone, but it is not proven how" if deletions else "removed outside Org Admin"


def decisions_by_row(rows: Rows) -> dict[Any, list[dict[str, Any]]]:
    """The decisions of an access review, oldest first, by the ID of their row."""
    by_row: dict[Any, list[dict[str, Any]]] = {}
    numbers = sorted(int(name.split(" ")[1]) for name in rows if name.startswith("decision "))
    for number in numbers:
        decision = rows[f"decision {number}"]
        by_row.setdefault(decision.get("row_id"), []).append({**decision, "id": number})
    return by_row


def _agreement_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    owner = rows.get(AGREEMENT, {}).get("owner_id")
    for event in events:
        if event.step in ("accepted", "refused") and event.actor_id != owner:
            yield fill("event {} is not by its owner", event.seq)
        if event.step == "set" and "owner_decision" in event.rows:
            yield fill("event {} decides for its owner", event.seq)


def _no_problems(rows: Rows, events: Sequence[Event]) -> Iterator[str]:
    yield from ()


# By the kind of record: what is wrong with its rows and events although they fold.
RULES: dict[str, Callable[[Rows, Sequence[Event]], Iterator[str]]] = {
    DELETION: _request_problems,
    ACCESS_REQUEST: _access_request_problems,
    BATCH: _batch_problems,
    ACCESS_REVIEW: _access_review_problems,
    ORG_CONNECTION: _no_problems,
    AGREEMENT: _agreement_problems,
    HOLD: _no_problems,
}
