"""Bulk deletions compared with their events."""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from connections.verifier.access_reviews import mismatches
from connections.verifier.deletions import APPROVALS_NEEDED, last_event, rounds_of
from connections.verifier.events import Event
from connections.verifier.messages import require

MAX_PLAN_ROWS = 50_000
# What the request event repeats unchanged.
_PLAN_KEYS = (
    *("origin", "filter", "site", "org", "access_review", "count", "digest", "approval_digest"),
    *("policy", "reason", "ticket", "stop_at_first_problem", "requested_at", "created_at"),
)
# The state after each event. An approval changes it only when no other approval is missing.
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
# Keys that a row has in common with its deletion, and the plan with all of its deletions.
_SAME_IN_ROW = ("source_org", "sink_org", "connection_types")
_SAME_IN_PLAN = ("policy", "reason", "ticket", "requested_at")
BATCH_STATUSES = {
    "requested": "Requested",
    "approved": "Approved",
    "declined": "Declined",
    "running": "Running",
    "paused": "Paused",
    "cancelled": "Canceled",
    "expired": "Expired",
    "finished": "Finished",
}
# Why a row was left out of the plan.
LEFT_OUT = {
    "malformed_id": "invalid ID",
    "duplicate": "an earlier row has the same connection",
    "not_visible": "not listed",
    "protected": "protected",
    "already_being_deleted": "another deletion was open",
    "no_credential": "no credential could delete it",
    "changed": "changed after the plan was made",
    "kept": "the access review decided to keep it",
}


class Plan:
    """A bulk deletion and its own events, for comparison with its rows and its deletions."""

    def __init__(self, document: dict[str, Any], events: Sequence[Event]) -> None:
        self.document, self.events = document, events
        # Rows by the ID of their deletion. `deletion_differences` removes those it has compared.
        self.rows: dict[str, dict[str, Any]] = {}
        # How many rows were left out, by their problem, and how many were removed.
        self.left_out: dict[str, int] = {}
        self.removed = 0
        self.confirmed = last_event(events, "batch.confirmed")
        self._covered: list[list[Any]] = []
        self._states = _states_of(events)

    def differences(self, rows: Iterable[dict[str, Any]]) -> list[str]:
        """How the bulk deletion differs from its own events. Reads each row once."""
        plan, events = self.document, self.events
        found = list[str]()
        for position, row in enumerate(rows, start=1):
            require(position <= MAX_PLAN_ROWS, "The plan has too many rows.")
            found += [
                f"row {position}: {difference}"
                for difference in self._row_differences(row, position)
            ]
        if [event.code for event in events].count("batch.requested") != 1:
            return ["it does not have exactly one request event"]
        details = events[0].details
        matches = {key: plan.get(key) == details.get(key) for key in _PLAN_KEYS}
        matches["state"] = plan.get("state") == (self._states[-1][1] if self._states else "")
        found += mismatches(matches, "its events")
        shown: list[Any] = ["bulk deletion, version 1", plan.get("policy"), self._covered]
        if _list_digest_of(shown) != plan.get("digest") or len(self.rows) != plan.get("count"):
            found.append("its rows are not those of the plan that was requested")
        shown = [plan.get(key) for key in ("digest", "reason", "ticket", "stop_at_first_problem")]
        if _list_digest_of(["bulk deletion approval, version 1", *shown]) != plan.get(
            "approval_digest"
        ):
            found.append("its approval digest is not that of its plan, reason and ticket")
        return found + list(self._approval_differences())

    @property
    def approvals_needed(self) -> int:
        return APPROVALS_NEEDED.get(str(self.document.get("policy")), 0)

    def _row_differences(self, row: dict[str, Any], position: int) -> Iterator[str]:
        if row["position"] != position:
            yield "its position is wrong"
        if not _has_digested_names(row):
            yield "its digest is not that of its orgs and data types"
        keys = ("position", "reference", "digest", "credential_id", "problem")
        if row["removed_at"] is None:
            self._covered.append([row[key] for key in keys])
        self.removed += row["removed_at"] is not None
        if row["removed_at"] is None and row["problem"]:
            self.left_out[row["problem"]] = self.left_out.get(row["problem"], 0) + 1
        is_sendable = row["removed_at"] is None and not row["problem"]
        if is_sendable != (row["deletion"] is not None):
            yield "it has no deletion" if is_sendable else "it was left out but has a deletion"
        if row["deletion"] in self.rows:
            yield "its deletion belongs to another row"
        if row["deletion"] is not None:
            self.rows[row["deletion"]] = row

    def _approval_differences(self) -> Iterator[str]:
        approved = [event for event in self.events if event.code == "batch.approved"]
        digest = self.document.get("approval_digest")
        if any(event.details.get("approval_digest") != digest for event in approved):
            yield "an approval is not for its plan, reason and ticket"
        if self.confirmed is None:
            return
        before = {event.actor_id for event in approved if event.seq < self.confirmed.seq}
        others = before - {self.events[0].details.get("requested_by")}
        if len(others) < self.approvals_needed:
            yield "it was confirmed without the required approvals"

    def deletion_differences(self, deletion: dict[str, Any], events: Sequence[Event]) -> list[str]:
        """How a deletion differs from its row and the bulk deletion. Call it once per deletion."""
        row = self.rows.pop(deletion["id"], None)
        if row is None:
            return ["no row of the plan became this deletion"]
        reference = f"{deletion['site']}/{deletion['connection_id']}"
        matches = {
            "batch": deletion["batch"] == self.document.get("id"),
            "connection_id": reference == row["reference"],
            "digest": events[0].details.get("digest") == row["digest"] if events else False,
            **{key: deletion[key] == row[key] for key in _SAME_IN_ROW},
            **{key: deletion[key] == self.document.get(key) for key in _SAME_IN_PLAN},
        }
        found = list(mismatches(matches, f"row {row['position']} of the plan"))
        for event, number in zip(events, rounds_of(events)):
            if event.code == "deletion.sending" and not self._was_sending_allowed(event, number):
                attempt = f"attempt {event.details.get('attempt')}"
                found.append(f"{attempt} was made while the plan was not confirmed or not running")
        return found

    def _was_sending_allowed(self, sending: Event, approval_round: int) -> bool:
        """Whether the plan was running, or a person had confirmed this deletion individually."""
        if self.confirmed is None or self.confirmed.seq > sending.seq:
            return False
        before = bisect.bisect(self._states, (sending.seq, ""))
        return approval_round > 1 or self._states[before - 1][1] == "running"


def _states_of(events: Sequence[Event]) -> list[tuple[int, str]]:
    """The states of a bulk deletion, each with the number of the event that began it."""
    return [
        (event.seq, _BATCH_STATES[event.code])
        for event in events
        if event.code in _BATCH_STATES and not event.details.get("missing")
    ]


def _has_digested_names(row: dict[str, Any]) -> bool:
    """Whether a row's digest is that of its orgs and data types, or all of these are empty."""
    source, sink, types = row["source_org"], row["sink_org"], row["connection_types"]
    names = [source["id"], source["name"], sink["id"], sink["name"]]
    if not row["digest"]:
        return not any([*names, *types])
    site, _, connection_id = row["reference"].rpartition("/")
    shown = ["org connection, version 1", site, connection_id, *names, sorted(types)]
    return bool(_list_digest_of(shown) == row["digest"])


def _list_digest_of(shown: list[Any]) -> str:
    """SHA-256, in hex, of an array in the form that plans and snapshots use."""
    return hashlib.sha256(json.dumps(shown, ensure_ascii=True).encode()).hexdigest()
