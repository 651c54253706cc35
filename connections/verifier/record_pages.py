"""Access reviews and bulk deletions on the page that `--html` writes."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connections.verifier.events import Event
from connections.verifier.folding import Rows, rows_named
from connections.verifier.labels import (
    APPROVALS_NEEDED,
    BATCH_STATES,
    CLOSED_AS,
    GONE_OUTCOMES,
    OUTCOMES,
    left_out_reason,
)
from connections.verifier.page import (
    events_table,
    facts_table,
    format_person_and_time,
    format_time,
    table,
    to_html,
)

_REVIEW_COLUMNS = ("Connection", "Data types", "Created by", "Decisions", "Result")
_SYNC_COLUMNS = ("Org", "Credential", "Last sync", "Complete", "Last complete sync")
_PLAN_COLUMNS = ("Row", "Connection", "Data types", "Deletion")
# A row of a table in the database, and the deletions of a connection.
Row = Mapping[str, Any]


def was_deleted(deletions: Iterable[Row]) -> bool:
    """Whether the connection was gone after one of these deletions and is not listed again."""
    return any(
        deletion.get("outcome") in GONE_OUTCOMES and not deletion.get("contradicted_at")
        for deletion in deletions
    )


def gone_text(row: Row, deletions: Sequence[Row]) -> str:
    """How a connection disappeared if no deletion is known to have deleted it, or ""."""
    if not row["is_gone"]:
        return ""
    # An attempt without a known outcome might have worked.
    return "gone, but it is not proven how" if deletions else "removed outside Org Admin"


def access_review_section(
    name: str,
    rows: Rows,
    review_rows: Sequence[Row],
    decisions: Mapping[Any, Sequence[Row]],
    deletions: Mapping[tuple[Any, Any], Sequence[Row]],
) -> str:
    """An access review. Decisions are by the ID of their row, deletions by site and connection."""
    review = rows["access_review"]
    reviewers = ", ".join(str(row.get("name")) for row in rows_named(rows, "reviewer"))
    others = "Everyone who can review and see the connection"
    if review.get("assignment") == "owners":
        others = "The connection's owner, or else everyone who can review and see it"
    counts = dict.fromkeys(CLOSED_AS, 0)
    for row in review_rows:
        counts[row["closed_as"]] += 1
    facts = [
        ("Filter", to_html(review.get("scope", "All connections"))),
        ("Started by", format_person_and_time(review["created_by_name"], review["created_at"])),
        ("Due", format_time(review["due_at"])),
        ("Reviewers", to_html(reviewers or others)),
        ("Connections", str(review["row_count"])),
        (
            "Connections that no reviewer could decide on at the start",
            str(review["without_reviewer"]),
        ),
        *((label, str(counts[key])) for key, label in sorted(CLOSED_AS.items())),
        ("Closed by", format_person_and_time(review["closed_by_name"], review["closed_at"])),
        ("Why connections were left open", to_html(review.get("open_reason", "None were"))),
    ]
    lines = "".join(
        _review_row(
            row,
            decisions.get(row["id"], ()),
            deletions.get((row["site"], row["connection_id"]), ()),
        )
        for row in review_rows
    )
    appeared = "".join(
        f"<li>{to_html(connection['connection_id'])} on {to_html(connection['site'])}</li>\n"
        for connection in review.get("appeared", [])
    )
    return (
        '<section id="access-review">\n<h2>Access review</h2>\n'
        f'<p class="id">ID {html.escape(name)}</p>\n{facts_table(facts)}'
        f"{_coverage(review['coverage'], 'at the start')}"
        f"{_coverage(review['coverage_at_close'], 'at the close')}"
        "<h3>Connections and decisions</h3>\n"
        f"{table(_REVIEW_COLUMNS, lines)}<p>Connections that matched the filter at the close "
        "but not at the start, so they are not part of it:</p>\n"
        f"<ul>\n{appeared or '<li>None</li>'}</ul>\n</section>\n"
    )


def _coverage(coverage: Row, when: str) -> str:
    orgs = "".join(
        f"<tr><td>{_org_text(org)}</td><td>{to_html(org['credential'])}</td>"
        f'<td class="at">{format_time(org["synced_at"])}</td>'
        f"<td>{'Yes' if org['is_complete'] else 'No'}</td>"
        f'<td class="at">{format_time(org["complete_at"])}</td></tr>\n'
        for org in coverage["orgs"]
    )
    missing = "".join(f"<li>{_org_text(org)}</li>\n" for org in coverage["without_credential"])
    return (
        f"<h3>Syncs {when}</h3>\n{table(_SYNC_COLUMNS, orgs)}"
        "<p>Orgs without a credential; connections between two of them are not known:</p>\n"
        f"<ul>\n{missing or '<li>None</li>'}</ul>\n"
    )


def _org_text(org: Row) -> str:
    place = f"{to_html(org['org_id'])} on {to_html(org['site'])}"
    return f"{to_html(org['org_name'])} ({place})"


def _connection(row: Row, place: str) -> str:
    source, sink = row.get("source_org_name", "?"), row.get("sink_org_name", "?")
    return (
        f'{to_html(source)} → {to_html(sink)}<br><span class="id">{place}</span></td>'
        f'<td class="words">{to_html(", ".join(row.get("connection_types", [])))}'
    )


def _review_row(row: Row, decisions: Sequence[Row], deletions: Sequence[Row]) -> str:
    place = f"{to_html(row['connection_id'])} on {to_html(row['site'])}"
    creator = to_html(row.get("creator_name") or row.get("creator_id") or "Unknown")
    disabled = ", disabled" if row.get("creator_is_disabled") else ""
    items = "".join(f"<li>{_decision_text(decision)}</li>\n" for decision in decisions)
    return (
        f"<tr><td>{_connection(row, place)}</td><td>{creator}{disabled}</td>"
        f'<td><p class="outcome">{CLOSED_AS[row["closed_as"]]}</p>\n<ul>\n{items}</ul></td>'
        f"<td>{_result_text(row, deletions)}</td></tr>\n"
    )


def _decision_text(decision: Row) -> str:
    until = f" until {decision['keep_until']}" if decision.get("keep_until") else ""
    together = decision["decided_together"]
    at_once = f", {together} decided at once" if together > 1 else ""
    who = format_person_and_time(decision["decided_by_name"], decision["decided_at"])
    label = f"{CLOSED_AS[decision['decision']]}{html.escape(until)}"
    return f"{label}: {to_html(decision['reason'])} – {who}{at_once}"


def _result_text(row: Row, deletions: Sequence[Row]) -> str:
    texts = [
        f'<a href="#{html.escape(deletion["id"])}">'
        f"{to_html(OUTCOMES.get(deletion.get('outcome', ''), deletion.get('outcome')))}</a>"
        f"{', still listed' if deletion.get('contradicted_at') else ''}"
        for deletion in deletions
    ]
    gone = "" if was_deleted(deletions) else gone_text(row, deletions)
    if row["closed_as"] == "delete" and gone:
        texts.append(gone[0].upper() + gone[1:])
    elif row["closed_as"] == "delete" and not texts:
        texts.append("No deletion was requested")
    return "<br>".join(texts) or "None"


def plan_section(
    name: str,
    rows: Rows,
    plan_rows: Sequence[Row],
    deletions: Mapping[Any, Row],
    events: Sequence[Event],
) -> str:
    """A bulk deletion with its plan. Deletions are by the ID of their row."""
    batch = rows["batch"]
    facts = [
        ("Status", to_html(BATCH_STATES.get(batch["state"], batch["state"]))),
        ("Deletions", str(len(deletions))),
        ("Reason", to_html(batch.get("reason"))),
        ("Ticket", to_html(batch.get("ticket", "None"))),
        ("Approvals required", to_html(APPROVALS_NEEDED.get(batch["policy"]) or "None")),
        ("Pauses at the first problem", "Yes" if batch["stop_at_first_problem"] else "No"),
        ("SHA-256 of the plan", to_html(batch["digest"])),
    ]
    lines = "".join(_plan_row(row, deletions.get(row["id"])) for row in plan_rows)
    return (
        '<section id="plan">\n<h2>Bulk deletion</h2>\n'
        f'<p class="id">ID {html.escape(name)}</p>\n{facts_table(facts)}'
        f"{events_table(events)}<h3>Plan</h3>\n{table(_PLAN_COLUMNS, lines)}</section>\n"
    )


def _plan_row(row: Row, deletion: Row | None) -> str:
    if deletion is not None:
        name = html.escape(deletion["id"])
        result = f'<a href="#{name}">{name}</a>'
    elif row.get("removed_at"):
        result = f"Removed before the request, {format_time(row['removed_at'])}"
    else:
        result = f"Left out: {to_html(left_out_reason(row['problem']))}"
    return (
        f'<tr><td class="n">{row["position"]}</td>'
        f"<td>{_connection(row, to_html(row['text']))}</td><td>{result}</td></tr>\n"
    )
