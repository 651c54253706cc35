"""Access reviews and bulk deletions on the page that `--html` writes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from connections.verifier.access_reviews import CLOSED_AS, gone_text, was_deleted
from connections.verifier.deletions import APPROVALS_NEEDED
from connections.verifier.events import Event
from connections.verifier.page import (
    OUTCOMES,
    events_table,
    facts_table,
    format_person_and_time,
    format_time,
    to_html,
)
from connections.verifier.plans import BATCH_STATUSES, LEFT_OUT


def access_review_start(review: dict[str, Any]) -> str:
    """The section of an access review, up to its first row."""
    reviewers = ", ".join(reviewer["name"] for reviewer in review["reviewers"])
    facts = [
        ("Filter", to_html(review["scope"] or "All connections")),
        ("Started by", format_person_and_time(review["created_by"], review["created_at"])),
        ("Due", format_time(review["due_at"])),
        ("Reviewers", to_html(reviewers or "Everyone who can review and see the connection")),
        ("Connections", str(review["row_count"])),
        (
            "Connections that no reviewer could decide on at the start",
            str(review["without_reviewer"]),
        ),
        *((CLOSED_AS.get(key, key), str(n)) for key, n in sorted(review["counts"].items())),
        ("Closed by", format_person_and_time(review["closed_by"], review["closed_at"])),
        ("Why connections were left open", to_html(review["open_reason"] or "None were")),
    ]
    return (
        '<section id="access-review">\n<h2>Access review</h2>\n'
        f'<p class="id">ID {html.escape(review["id"])}</p>\n{facts_table(facts)}'
        f"{_coverage(review['coverage'], 'at the start')}"
        f"{_coverage(review['coverage_at_close'], 'at the close')}"
        "<h3>Connections and decisions</h3>\n<table>\n<thead><tr><th>Connection</th>"
        "<th>Data types</th><th>Created by</th><th>Decisions</th><th>Result</th></tr></thead>\n"
        "<tbody>\n"
    )


def _coverage(coverage: dict[str, Any], when: str) -> str:
    orgs = "".join(
        f"<tr><td>{_org_text(org)}</td><td>{to_html(org['credential'])}</td>"
        f'<td class="at">{format_time(org["synced_at"])}</td>'
        f"<td>{'Yes' if org['is_complete'] else 'No'}</td>"
        f'<td class="at">{format_time(org["complete_at"])}</td></tr>\n'
        for org in coverage["orgs"]
    )
    missing = "".join(f"<li>{_org_text(org)}</li>\n" for org in coverage["without_credential"])
    return (
        f"<h3>Syncs {when}</h3>\n<table>\n<thead><tr><th>Org</th><th>Credential</th>"
        "<th>Last sync</th><th>Complete</th><th>Last complete sync</th></tr></thead>\n"
        f"<tbody>\n{orgs}</tbody>\n</table>\n<p>Orgs without a credential; connections between two "
        f"of them are not known:</p>\n<ul>\n{missing or '<li>None</li>'}</ul>\n"
    )


def _org_text(org: dict[str, Any]) -> str:
    return f"{to_html(org['org_name'])} ({to_html(org['org_id'])} on {to_html(org['site'])})"


def access_review_row(row: dict[str, Any]) -> str:
    """One connection in the section of an access review."""
    source, sink, creator = row["source_org"]["name"], row["sink_org"]["name"], row["created_by"]
    decisions = "".join(f"<li>{_decision_text(decision)}</li>\n" for decision in row["decisions"])
    disabled = ", disabled" if creator["disabled"] else ""
    return (
        f"<tr><td>{to_html(source or '?')} → {to_html(sink or '?')}<br>"
        f'<span class="id">{to_html(row["connection_id"])} on {to_html(row["site"])}</span></td>'
        f'<td class="words">{to_html(", ".join(row["connection_types"]))}</td>'
        f"<td>{to_html(creator['name'] or creator['id'] or 'Unknown')}{disabled}</td>"
        f'<td><p class="outcome">{CLOSED_AS.get(row["closed_as"], "")}</p>\n'
        f"<ul>\n{decisions}</ul></td>"
        f"<td>{_result_text(row)}</td></tr>\n"
    )


def _decision_text(decision: dict[str, Any]) -> str:
    until = f" until {decision['keep_until']}" if decision["keep_until"] else ""
    together = decision["decided_together"]
    at_once = f", {together} decided at once" if together > 1 else ""
    who = format_person_and_time(decision["decided_by"], decision["decided_at"])
    return (
        f"{CLOSED_AS[decision['decision']]}{until}: {to_html(decision['reason'])} – {who}{at_once}"
    )


def _result_text(row: dict[str, Any]) -> str:
    texts = [
        f'<a href="#{html.escape(deletion["id"])}">'
        f"{to_html(OUTCOMES.get(deletion['outcome'] or '', deletion['outcome']))}</a>"
        f"{', still listed' if deletion['contradicted_at'] else ''}"
        for deletion in row["deletions"]
    ]
    gone = "" if was_deleted(row["deletions"]) else gone_text(row)
    if row["closed_as"] == "delete" and gone:
        texts.append(gone[0].upper() + gone[1:])
    elif row["closed_as"] == "delete" and not texts:
        texts.append("No deletion was requested")
    return "<br>".join(texts) or "None"


def access_review_end(review: dict[str, Any]) -> str:
    """The section of an access review after its last row."""
    appeared = "".join(
        f"<li>{to_html(connection['connection_id'])} on {to_html(connection['site'])}</li>\n"
        for connection in review["appeared"]
    )
    return (
        "</tbody>\n</table>\n<p>Connections that matched the filter at the close but not at the "
        "start, so they are not part of it:</p>\n"
        f"<ul>\n{appeared or '<li>None</li>'}</ul>\n</section>\n"
    )


# --- The bulk deletion in deletions.html --------------------------------------------------------


def plan_start(plan: dict[str, Any], events: Sequence[Event]) -> str:
    """The section of a bulk deletion, up to its first row."""
    facts = [
        ("Status", to_html(BATCH_STATUSES.get(plan["state"], plan["state"]))),
        ("Deletions", str(plan["count"])),
        ("Reason", to_html(plan["reason"])),
        ("Ticket", to_html(plan["ticket"] or "None")),
        ("Approvals required", to_html(APPROVALS_NEEDED.get(plan["policy"]) or "None")),
        ("Pauses at the first problem", "Yes" if plan["stop_at_first_problem"] else "No"),
        ("SHA-256 of the plan", to_html(plan["digest"])),
    ]
    return (
        '<section id="plan">\n<h2>Bulk deletion</h2>\n'
        f'<p class="id">ID {html.escape(plan["id"])}</p>\n{facts_table(facts)}'
        f"{events_table(events)}<h3>Plan</h3>\n<table>\n<thead><tr><th>Row</th>"
        "<th>Connection</th><th>Data types</th><th>Deletion</th></tr></thead>\n<tbody>\n"
    )


def plan_row(row: dict[str, Any]) -> str:
    """One row in the section of a bulk deletion."""
    source, sink, name = row["source_org"]["name"], row["sink_org"]["name"], row["deletion"]
    if name is not None:
        result = f'<a href="#{html.escape(name)}">{html.escape(name)}</a>'
    elif row["removed_at"] is not None:
        result = f"Removed before the request, {format_time(row['removed_at'])}"
    else:
        result = f"Left out: {to_html(LEFT_OUT.get(row['problem'], row['problem']))}"
    return (
        f'<tr><td class="n">{row["position"]}</td>'
        f"<td>{to_html(source or '?')} → {to_html(sink or '?')}<br>"
        f'<span class="id">{to_html(row["reference"])}</span></td>'
        f'<td class="words">{to_html(", ".join(row["connection_types"]))}</td>'
        f"<td>{result}</td></tr>\n"
    )


def plan_end() -> str:
    """The section of a bulk deletion after its last row."""
    return "</tbody>\n</table>\n</section>\n"
