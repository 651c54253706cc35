"""Access reviews compared with their events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from connections.verifier.events import Event
from connections.verifier.messages import pluralize
from connections.verifier.strict_json import get

# The part of a row that the population's digest covers.
_POPULATION_KEYS = (
    *("position", "site", "connection_id", "source_org", "sink_org", "connection_types"),
    *("created_at", "created_by", "snapshot_at", "digest", "review_digest"),
)
# From the key in the access review to the key in its start event.
_STARTED_KEYS = {
    "name": "name",
    "scope": "scope",
    "due_at": "due_at",
    "created_at": "started_at",
    "row_count": "count",
    "without_reviewer": "without_reviewer",
    "population_digest": "population_digest",
}
# What the closing event repeats unchanged.
_CLOSED_KEYS = ("closed_at", "open_reason", "counts", "closing_digest")
# What a decision event says about each of its rows.
_DECIDED_KEYS = ("decision", "reason", "keep_until", "decided_at", "decided_together")
# Outcomes after which the connection is gone.
_GONE_OUTCOMES = ("deleted", "already_absent", "gone_unattributed")
CLOSED_AS = {
    "keep": "Keep",
    "delete": "Delete",
    "gone": "Gone: no longer listed, needs no decision",
    "pending": "Left open",
}
# At most this many differences between rows are described.
_MAX_DESCRIBED = 10


def digest_of(document: dict[str, Any]) -> str:
    """SHA-256 of a document, in hex."""
    return hashlib.sha256(_ascii_json(document)).hexdigest()


def _ascii_json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


class RowsDigest:
    """Computes `digest_of` for a document whose last key is “rows”, from its rows one by one."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._digest = hashlib.sha256(_ascii_json({**document, "rows": []})[:-2])
        self._separator = b""

    def add(self, row: Any) -> None:
        """Add the next row."""
        self._digest.update(self._separator + _ascii_json(row))
        self._separator = b","

    def end(self) -> str:
        """The digest in hex. Call it once."""
        self._digest.update(b"]}")
        return self._digest.hexdigest()


def access_review_differences(
    review: dict[str, Any], rows: Iterable[dict[str, Any]], events: Sequence[Event]
) -> list[str]:
    """How an access review differs from its events. Reads each row once."""
    started, closed = (
        [event for event in events if event.code == f"access_review.{word}"]
        for word in ("started", "closed")
    )
    if len(started) != 1 or len(closed) > 1:
        return ["it does not have exactly one start event and at most one closing event"]
    found, decisions = list[str](), _decisions_by_row(events)
    population = RowsDigest({"format": "access review population 1"})
    closing = RowsDigest(
        {
            "format": "access review closing 1",
            "appeared": review.get("appeared"),
            "coverage": review.get("coverage_at_close"),
            "open_reason": review.get("open_reason"),
        }
    )
    counts, decision_count = dict.fromkeys(CLOSED_AS, 0), 0
    for row in rows:
        population.add({key: row[key] for key in _POPULATION_KEYS})
        closing.add([row["position"], row["closed_as"], _final_decision(row)])
        counts[row["closed_as"]] = counts.get(row["closed_as"], 0) + 1
        decision_count += len(row["decisions"])
        decided = decisions.pop(row["position"], [])
        if len(found) < _MAX_DESCRIBED:
            found += _row_differences(row, decided)
    found += [f"row {position} is missing, but has decisions" for position in decisions]
    found += _start_differences(review, started[0])
    found += _reviewer_differences(review, started[0], events)
    is_same_count = review.get("row_count") == sum(counts.values())
    if review.get("population_digest") != population.end() or not is_same_count:
        found.append("its rows are not the population recorded at its start")
    counts["decisions"] = decision_count
    if closed:
        found += _closing_differences(review, closed[0], counts, closing.end())
    elif review.get("state") != "open" or any(counts[state] for state in CLOSED_AS):
        found.append("it has no closing event")
    return found


def _start_differences(review: dict[str, Any], started: Event) -> Iterator[str]:
    details = started.details
    coverage = {"format": "access review coverage 1", "coverage": review.get("coverage")}
    matches = {
        **{key: review.get(key) == details.get(other) for key, other in _STARTED_KEYS.items()},
        "created_by": review.get("created_by") == started.actor,
        "coverage": digest_of(coverage) == details.get("coverage_digest"),
    }
    yield from mismatches(matches, "its start event")


def _reviewer_differences(
    review: dict[str, Any], started: Event, events: Sequence[Event]
) -> Iterator[str]:
    """Decisions by people who were not reviewers at the time, and differences in the reviewers."""
    reviewers, sentence = started.details.get("reviewers"), started.sentence
    for event in events:
        if event.code == "access_review.reviewers_changed":
            if event.details.get("previous_reviewers") != reviewers:
                yield f"event {event.seq} states the wrong previous reviewers"
            reviewers, sentence = event.details.get("reviewers"), event.sentence
        is_decision = event.code == "access_review.decided"
        if is_decision and reviewers and event.actor_id not in reviewers:
            yield f"{event.actor} was not a reviewer when they decided in event {event.seq}"
    names = {reviewer["id"]: reviewer["name"] for reviewer in review["reviewers"]}
    named = ", ".join(names[name] for name in sorted(names))
    is_same = sorted(names) == reviewers and len(names) == len(review["reviewers"])
    if names:
        is_same = is_same and sentence.endswith(f" Reviewers: {named}.")
    matches = {
        "reviewers": is_same,
        "is_for_everyone": review.get("is_for_everyone") == (not reviewers),
    }
    yield from mismatches(matches, "the last event that names the reviewers")


def _closing_differences(
    review: dict[str, Any], closed: Event, counts: dict[str, int], digest: str
) -> Iterator[str]:
    details = closed.details
    coverage = {"format": "access review coverage 1", "coverage": review.get("coverage_at_close")}
    matches = {
        **{key: review.get(key) == details.get(key) for key in _CLOSED_KEYS},
        "coverage_at_close": digest_of(coverage) == details.get("coverage_digest"),
        "appeared": len(review["appeared"]) == details.get("appeared"),
        "closed_by": review.get("closed_by") == closed.actor,
        "state": review.get("state") == "closed",
    }
    yield from mismatches(matches, "its closing event")
    if counts.pop("decisions") != details.get("decisions"):
        yield "it does not have as many decisions as were recorded when it was closed"
    if review.get("counts") != counts or review.get("closing_digest") != digest:
        yield "its final states or connections that appeared are not those of its closing event"


def mismatches(matches: dict[str, bool], what: str) -> Iterator[str]:
    for key, is_same in matches.items():
        if not is_same:
            yield f"“{key}” does not match {what}"


def _decisions_by_row(events: Sequence[Event]) -> dict[int, list[dict[str, Any]]]:
    """The decisions in the events, oldest first, by the position of their row."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        if event.code != "access_review.decided":
            continue
        common = {key: event.details.get(key) for key in _DECIDED_KEYS}
        common["decided_by"] = event.actor
        for row in get(event.details, "decisions", list, f"Event {event.seq}"):
            one = {**common, "id": row["id"], "review_digest": row["review_digest"]}
            found.setdefault(row["position"], []).append(one)
    return found


def _row_differences(row: dict[str, Any], decided: Sequence[dict[str, Any]]) -> Iterator[str]:
    name = f"row {row['position']} ({name_of(row)})"
    decisions = row["decisions"]
    if len(decisions) != len(decided):
        count = pluralize(len(decisions), "decision")
        yield f"{name} has {count}, but its events have {len(decided)}"
    for number, (one, recorded) in enumerate(zip(decisions, decided), start=1):
        matches = {key: one.get(key) == value for key, value in recorded.items()}
        digest = review_digest_of(row, one["covered"])
        matches["covered"] = one["review_digest"] == digest
        yield from mismatches(matches, f"the event of decision {number} about {name}")
    if row["closed_as"] in ("keep", "delete") and _final_decision(row) is None:
        yield f"the final state of {name} is not its last decision"


def _final_decision(row: dict[str, Any]) -> Any:
    """The ID of the decision that a row was closed with. None for a row without one."""
    last = row["decisions"][-1] if row["decisions"] else {}
    return last.get("id") if last.get("decision") == row["closed_as"] else None


def name_of(row: dict[str, Any]) -> str:
    return f"{row['connection_id']} on {row['site']}"


def was_deleted(deletions: Iterable[dict[str, Any]]) -> bool:
    """Whether the connection was gone after one of these deletions and is not listed again."""
    return any(
        deletion["outcome"] in _GONE_OUTCOMES and not deletion["contradicted_at"]
        for deletion in deletions
    )


def gone_text(row: dict[str, Any]) -> str:
    """How a connection disappeared if no deletion is known to have deleted it, or ""."""
    if not row["is_gone"]:
        return ""
    # An attempt without a known outcome might have worked.
    return "gone, but it is not proven how" if row["deletions"] else "removed outside Org Admin"


def review_digest_of(row: dict[str, Any], covered: dict[str, Any]) -> str:
    """SHA-256 of what a decision about a row covers."""
    key = {"site": row["site"], "connection_id": row["connection_id"]}
    return digest_of({"format": "access review row 1", **key, **covered})
