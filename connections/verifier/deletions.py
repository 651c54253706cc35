"""Deletions compared with their events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from connections.verifier.events import Event
from connections.verifier.messages import VerificationFailed

# What the request event repeats unchanged.
_REQUEST_KEYS = (
    "site",
    "connection_id",
    "credential",
    "credential_fingerprint",
    "source_org",
    "sink_org",
    "connection_types",
    "is_reviewed",
    "policy",
    "reason",
    "ticket",
    "batch",
)
# From the key in an attempt's row to the key in the event of its response.
_RESPONSE_KEYS = {
    "verdict": "verdict",
    "http_status": "http_status",
    "errors": "errors",
    "body_sha256": "body_sha256",
    "duration_ms": "duration_ms",
    "cause": "response_cause",
    "headers": "headers",
    "body_is_complete": "body_is_complete",
}
APPROVALS_NEEDED = {"none": 0, "one": 1, "two": 2}
# Events that close a deletion. Its other events, such as a check, have their own causes.
_CLOSING = ("deletion.settled", "deletion.declined", "deletion.withdrawn")


def deletion_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    """How a deletion in deletions.json differs from its events."""
    if not events or events[0].code != "deletion.requested":
        return ["it has no request event"]
    found = _request_differences(row, events[0])
    found += _people_differences(row, events)
    found += _break_glass_differences(row, events)
    found += _status_differences(row, events)
    found += _attempt_differences(row, events)
    return found


def _request_differences(row: dict[str, Any], requested: Event) -> list[str]:
    wrong = [key for key in _REQUEST_KEYS if row.get(key) != requested.details.get(key)]
    if not requested.sentence.startswith(f"{row.get('requested_by')} requested deletion of "):
        wrong.append("requested_by")
    if not _is_at(row.get("requested_at"), requested, "requested_at"):
        wrong.append("requested_at")
    return [f"“{key}” does not match the request event" for key in wrong]


def _people_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    wrong = []
    # The approvals of the last attempt or, before the first attempt, the approvals so far.
    approved = approvals_of(last_event(events, "deletion.sending"), events)
    if sorted(row.get("approved_by") or []) != sorted(event.actor for event in approved):
        wrong.append("approved_by")
    enough = [event for event in approved if event.details.get("missing") == 0]
    if not _is_at(row.get("approved_at"), enough[-1] if enough else None, "approved_at"):
        wrong.append("approved_at")
    rounds = rounds_of(events)
    if any(one.details.get("approval_round", n) != n for one, n in zip(events, rounds)):
        wrong.append("approval_round")
    confirmed = last_event(events, "deletion.confirmed")
    if (row.get("confirmed_by") or "") != (confirmed.actor if confirmed else ""):
        wrong.append("confirmed_by")
    if not _is_at(row.get("confirmed_at"), confirmed, "confirmed_at"):
        wrong.append("confirmed_at")
    return [f"“{key}” does not match the events" for key in wrong]


def _break_glass_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    row_facts = row.get("broke_glass")
    break_glass, reviewed = (
        last_event(events, f"deletion.break_glass_{word}") for word in ("used", "reviewed")
    )
    if break_glass is None or type(row_facts) is not dict:
        is_same = row_facts is None and break_glass is None
    else:
        is_same = (
            row_facts.get("name") == break_glass.actor
            and row_facts.get("reason") == break_glass.details.get("reason")
            and _is_at(row_facts.get("at"), break_glass, "break_glass_at")
            and (row_facts.get("reviewed_by") or "") == (reviewed.actor if reviewed else "")
            and (row_facts.get("review_note") or "")
            == (reviewed.details["reason"] if reviewed else "")
            and _is_at(row_facts.get("reviewed_at"), reviewed, "reviewed_at")
        )
    return [] if is_same else ["“broke_glass” does not match the events"]


def _status_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    state, outcome, cause = "requested", "", ""
    settled: Event | None = None
    for event in events:
        if type(event.details.get("state")) is str:
            state, outcome = event.details["state"], event.details.get("outcome", "")
            cause = _cause_after(event, cause)
            if state == "settled" and event.code in _CLOSING:
                settled = settled or event
    verified, contradicted = (
        last_event(events, f"deletion.{word}") for word in ("verified", "contradicted")
    )
    matches = {
        "state": row.get("state") == state,
        "outcome": (row.get("outcome") or "") == outcome,
        "settled_at": _is_at(row.get("settled_at"), settled, "settled_at"),
        "settled_by": (row.get("settled_by") or "") == (settled.actor if settled else ""),
        "settled_reason": row.get("settled_reason")
        == (settled.details.get("reason", "") if settled else ""),
        "cause": (row.get("cause") or "") == (settled.details.get("cause") if settled else cause),
        "sent_at": _is_at(row.get("sent_at"), last_event(events, "deletion.sending"), "sending_at"),
        "verified_at": _is_at(row.get("verified_at"), verified, "at"),
        "contradicted_at": _is_at(row.get("contradicted_at"), contradicted, "at"),
    }
    return [f"“{key}” does not match the events" for key, is_same in matches.items() if not is_same]


def _cause_after(event: Event, cause: str) -> str:
    """The deletion's cause after one of its events."""
    if event.code == "deletion.checked":
        # The event's cause says why the check failed. The deletion keeps its own cause.
        return cause
    if event.code == "deletion.recheck_failed":
        return "listing_failed"
    return str(event.details.get("cause", ""))


def _attempt_differences(row: dict[str, Any], events: Sequence[Event]) -> list[str]:
    sent: dict[Any, Event] = {}
    responses: dict[Any, Event] = {}
    number: Any = None
    for event in events:
        if event.code == "deletion.sending":
            number = event.details.get("attempt")
            sent[number] = event
        elif event.code == "deletion.answered":
            responses[number] = event
        elif event.code == "deletion.answered_late":
            responses[event.details.get("attempt")] = event
    attempts = row.get("attempts")
    rows = attempts if type(attempts) is list else []
    if [attempt.get("number") for attempt in rows] != list(sent):
        return ["its attempts do not match the events"]
    if not responses.keys() <= sent.keys():
        return ["an event records a response to an attempt that was never made"]
    wrong = [
        str(attempt["number"]) for attempt in rows if not _matches_events(attempt, sent, responses)
    ]
    for one, sending in zip(rows, sent.values()):
        names = sorted(event.actor for event in approvals_of(sending, events))
        if sorted(one.get("approved_by") or []) != names:
            wrong.append(str(one["number"]))
    last = rows[-1] if rows else {"http_status": None, "errors": []}
    if any(row.get(key) != last.get(key) for key in ("http_status", "errors")):
        wrong.append(str(last.get("number")))
    return [f"attempt {number} does not match the events" for number in wrong]


def _matches_events(
    one: dict[str, Any], sent: dict[Any, Event], responses: dict[Any, Event]
) -> bool:
    """Whether an attempt matches its two events."""
    sending, response = sent[one["number"]], responses.get(one["number"])
    is_same_attempt = (
        one.get("credential") == sending.details.get("credential")
        and one.get("credential_fingerprint") == sending.details.get("fingerprint")
        and one.get("was_rechecked") == sending.details.get("was_rechecked")
        and one.get("epoch") == sending.details.get("epoch")
        and _is_at(one.get("sent_at"), sending, "sending_at")
    )
    if response is None:
        response_keys = ("answered_at", "is_late", *_RESPONSE_KEYS)
        return is_same_attempt and not any(one.get(key) for key in response_keys)
    return (
        is_same_attempt
        and _is_at(one.get("answered_at"), response, "answered_at")
        and one.get("is_late") == (response.code == "deletion.answered_late")
        # An empty string counts as a missing value.
        and all(
            (one.get(key) or None) == (response.details.get(event_key) or None)
            for key, event_key in _RESPONSE_KEYS.items()
        )
    )


def rounds_of(events: Sequence[Event]) -> list[int]:
    """The approval round of each event, counted from 1.

    A round ends when the outcome of an attempt becomes unknown, and when the approvals for
    another attempt after that are declined or lapse. The number is counted from the events. The
    number that an event states is not used.
    """
    rounds, number, state = [], 1, "requested"
    for event in events:
        rounds.append(number)
        before, state = state, str(event.details.get("state", state))
        is_declined = event.code == "deletion.declined" and state == "still_present"
        if (
            event.code == "deletion.approvals_lapsed"
            or is_declined
            or (state == "unknown" and before != "unknown")
        ):
            number += 1
    return rounds


def approvals_of(sending: Event | None, events: Sequence[Event]) -> list[Event]:
    """The approvals in an attempt's round before it. For None, those of the first round."""
    rounds = dict(zip((event.seq for event in events), rounds_of(events)))
    number = rounds[sending.seq] if sending else 1
    approved = [event for event in events if event.code == "deletion.approved"]
    return [
        event
        for event in approved
        if rounds[event.seq] == number and (sending is None or event.seq < sending.seq)
    ]


def sent_without_approvals(events: Sequence[Event]) -> list[Event] | None:
    """Each attempt that had too few approvals by other people in its own round.

    None if there was no attempt, or if no approval was required.
    """
    requested = events[0].details
    needed = APPROVALS_NEEDED.get(str(requested.get("policy")), 0)
    sent = [event for event in events if event.code == "deletion.sending"]
    if not needed or not sent:
        return None
    unapproved = []
    for sending in sent:
        approvers = {event.actor_id for event in approvals_of(sending, events)}
        if len(approvers - {requested.get("requested_by")}) < needed:
            unapproved.append(sending)
    return unapproved


def break_glass_for(sending: Event, events: Sequence[Event]) -> Event | None:
    """The break-glass event that replaced the approvals of an attempt, or None."""
    rounds = dict(zip((event.seq for event in events), rounds_of(events)))
    break_glass = last_event(events, "deletion.break_glass_used")
    if break_glass is None or break_glass.seq > sending.seq:
        return None
    return break_glass if rounds[break_glass.seq] == rounds[sending.seq] else None


def last_event(events: Sequence[Event], code: str) -> Event | None:
    """The last event with this code, or None."""
    return next((event for event in reversed(events) if event.code == code), None)


def parse_time(text: Any) -> datetime | None:
    """The time in a text; None for None. Raises VerificationFailed."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise VerificationFailed("A time in the bundle is not valid.")
    return at


def _is_at(text: Any, event: Event | None, key: str) -> bool:
    """Whether this is the event's time under `key`. Without an event, it must be None."""
    return parse_time(text) == parse_time(event.details.get(key) if event else None)
