"""The page that `--html` writes."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from connections.verifier.events import Event
from connections.verifier.folding import Rows, rows_named
from connections.verifier.labels import (
    ACCESS_KINDS,
    ACCESS_OUTCOMES,
    APPROVALS_NEEDED,
    OUTCOMES,
)
from connections.verifier.rules import Sent, sent_by

_STYLE = """\
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:2rem auto;
max-width:52rem;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:0}
section{border-top:2px solid #1a1a1a;margin-top:2rem;padding-top:.75rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0;border-bottom:1px solid #ccc}
th{font-weight:600;white-space:nowrap}
td.at,td.n{white-space:nowrap;font-variant-numeric:tabular-nums}
th,td.at,td.words{overflow-wrap:break-word}
.outcome{font-weight:700;margin:.25rem 0}.id{color:#555;font-size:.85em}
@media(max-width:36rem){th{white-space:normal}td.at{white-space:normal}}
@media print{body{margin:0;max-width:none;font-size:10pt}section{break-inside:avoid-page}
tr{break-inside:avoid}thead{display:table-header-group}a{color:inherit;text-decoration:none}}
"""

# Outcomes that say what the attempts did. After any other, the page adds that.
_SAYING_WHAT_WAS_SENT = ("deleted", "gone_unattributed", "refused")


def get_outcome_text(rows: Rows) -> str:
    """The outcome of a deletion, and what its attempts did if the outcome doesn't say that."""
    deletion, attempts = rows["deletion"], rows_named(rows, "attempt")
    outcome = deletion.get("outcome", "")
    label = str(OUTCOMES.get(outcome, outcome))
    if not outcome:
        return f"{label} ({deletion['state'].replace('_', ' ')})"
    late = [
        attempt
        for attempt in attempts
        if attempt.get("is_late") and attempt.get("verdict") == "deleted"
    ]
    if late and outcome in ("deleted", "gone_unattributed"):
        return f"{label}. Attempt {late[-1]['number']} returned 200 late"
    if not outcome or outcome in _SAYING_WHAT_WAS_SENT:
        return label
    return f"{label}. {sent_text(attempts, done='deleted')}"


def sent_text(attempts: Sequence[Mapping[str, Any]], *, done: str) -> str:
    """What these attempts did. `done` is what they would have done."""
    sent = sent_by(attempt.get("verdict") for attempt in attempts)
    return _SENT_TEXTS[sent].format(done)


_SENT_TEXTS = {
    Sent.NOTHING: "Nothing was sent",
    Sent.REFUSED: "Nothing was {}: Datadog carried out none of the attempts",
    Sent.UNCERTAIN: "An attempt might have worked",
    Sent.DONE: "Datadog returned 200 to an attempt",
}


# Characters that change the direction of the text that follows them.
_DIRECTION_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def to_html(value: Any) -> str:
    """Untrusted text as HTML, with direction control characters replaced by their names."""
    named = _DIRECTION_CONTROLS.sub(lambda match: f"[U+{ord(match[0]):04X}]", str(value))
    return f"<bdi>{html.escape(named)}</bdi>"


def format_time(value: Any) -> str:
    text = str(value).replace("T", " ")
    return html.escape(text[:19] + " UTC") if value else "Never"


def format_person_and_time(name: Any, at: Any) -> str:
    return (
        ", ".join(part for part in (name and to_html(name), at and format_time(at)) if part)
        or "None"
    )


def page_start(population: Mapping[str, Any], title: str = "") -> str:
    """The page up to its first record. `title` is that of an access review or bulk deletion."""
    requests = population.get("access_requests") or {"counts": {}}
    both = "Deletions of org connections and access requests"
    title = title or (both if requests["counts"] else "Deletions of org connections")
    period = population["period"]
    facts = [
        ("Audit log", to_html(population["origin"])),
        ("Created", format_time(population["made_at"])),
        ("Requested from", format_time(period["since"]) if period["since"] else "The beginning"),
        ("Requested before", format_time(period["until"])),
        ("Filter", to_html(population["filter_in_words"])),
        ("Deletions in this bundle", str(population["selected"])),
        ("Deletions in the period", str(population["in_period"])),
    ]
    facts += [(OUTCOMES.get(key, key), str(n)) for key, n in sorted(population["counts"].items())]
    if requests["counts"]:
        facts.append(("Access requests in this bundle", str(requests["selected"])))
        facts.append(("Access requests in the period", str(requests["in_period"])))
        counts = sorted(requests["counts"].items())
        facts += [(ACCESS_OUTCOMES.get(key, key), str(n)) for key, n in counts]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{to_html(title)}</h1>\n"
        "<p>verify.pyz wrote this page from a bundle that it had verified. The page proves nothing "
        "to anyone else: they verify the bundle themselves.</p>\n"
        f"{facts_table(facts)}"
    )


def deletion_section(name: str, rows: Rows, events: Sequence[Event]) -> str:
    """One deletion."""
    row = rows["deletion"]
    facts = [
        ("Connection", f"{to_html(row.get('connection_id'))} on {to_html(row.get('site'))}"),
        *_org_facts(row),
        ("Data types", to_html(", ".join(row.get("connection_types", [])))),
        ("Created by", to_html(row.get("creator_name") or row.get("creator_id") or "Unknown")),
        *_request_facts(row, rows),
        ("Break glass", to_html(_break_glass_text(rows))),
        *_sending_facts(row, rows),
        ("Verified gone", format_time(row.get("verified_at"))),
        ("Still listed", format_time(row.get("contradicted_at"))),
    ]
    return _request_section(name, "Deletion", row, get_outcome_text(rows), facts, events)


def access_request_section(name: str, rows: Rows, events: Sequence[Event]) -> str:
    """One access request."""
    row = rows["access_request"]
    kind, connection = row.get("kind", ""), row.get("connection_id")
    place = f"on {to_html(row.get('site'))}"
    facts = [
        ("Requested", to_html(ACCESS_KINDS.get(kind, kind))),
        ("Connection", f"{to_html(connection)} {place}" if connection else f"None yet, {place}"),
        *_org_facts(row),
        ("Data types before", to_html(", ".join(row.get("connection_types", [])) or "None")),
        ("Data types requested", to_html(", ".join(row.get("types_after", [])))),
        ("Owner", to_html(row.get("owner_text") or row.get("owner_id"))),
        ("Purpose", to_html(row.get("purpose"))),
        ("Last day", to_html(row.get("ends_on") or "No end")),
        ("Deletion that it restores", to_html(row.get("restored_from_id") or "None")),
        ("Connection that it moves", to_html(row.get("moved_from") or "None")),
        ("Known to be deleted", format_time(row.get("removed_at"))),
        ("Deletion at its end", to_html(row.get("deletion_id") or "None")),
        *_request_facts(row, rows),
        *_sending_facts(row, rows),
        ("Verified", format_time(row.get("verified_at"))),
        ("Not listed as requested", format_time(row.get("contradicted_at"))),
    ]
    outcome = _access_outcome_text(rows)
    return _request_section(name, "Access request", row, outcome, facts, events)


def _access_outcome_text(rows: Rows) -> str:
    row, attempts = rows["access_request"], rows_named(rows, "attempt")
    outcome = row.get("outcome", "")
    label = str(ACCESS_OUTCOMES.get(outcome, outcome))
    if not outcome:
        return f"{label} ({row['state'].replace('_', ' ')})"
    answered = [attempt for attempt in attempts if attempt.get("verdict") == outcome]
    if answered:
        late = " late" if answered[-1].get("is_late") else ""
        return f"{label}: Datadog returned {answered[-1].get('http_status')}{late}"
    if outcome in ("created", "changed"):
        return f"{label}, by Datadog's lists. An attempt might have worked"
    return f"{label}. {sent_text(attempts, done='changed')}"


def _org_facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = {"source": "Source org", "sink": "Destination org"}
    return [
        (
            label,
            f"{to_html(row.get(f'{side}_org_name', '?'))} "
            f"({to_html(row.get(f'{side}_org_id', '?'))})",
        )
        for side, label in names.items()
    ]


def _request_facts(row: Mapping[str, Any], rows: Rows) -> list[tuple[str, str]]:
    """How a deletion or an access request was requested, approved and confirmed."""
    attempts = rows_named(rows, "attempt")
    last_round = attempts[-1].get("approval_round") if attempts else 1
    approvals = [
        approval
        for approval in rows_named(rows, "approval")
        if approval.get("decision") == "approved" and approval.get("round") == last_round
    ]
    approved_at = approvals[-1].get("decided_at") if approvals else None
    approved_by = ", ".join(str(approval.get("approver_name")) for approval in approvals)
    needed = APPROVALS_NEEDED.get(str(row.get("policy"))) or "None"
    return [
        ("Listed at", format_time(row.get("snapshot_at"))),
        ("Credential", to_html(f"{row['credential_name']} ({row['credential_fingerprint']})")),
        ("Reason", to_html(row.get("reason"))),
        ("Ticket", to_html(row.get("ticket", "None"))),
        ("Requested by", _person_and_time(row, "requested_by_name", "requested_at")),
        ("Approvals required", to_html(needed)),
        ("Approved by", format_person_and_time(approved_by, approved_at)),
        ("Confirmed by", _person_and_time(row, "confirmed_by_name", "confirmed_at")),
    ]


def _sending_facts(row: Mapping[str, Any], rows: Rows) -> list[tuple[str, str]]:
    """How a deletion or an access request was sent and closed."""
    attempts = rows_named(rows, "attempt")
    return [
        ("Last attempt", format_time(row.get("sending_at"))),
        *((f"Attempt {attempt['number']}", _attempt_text(attempt)) for attempt in attempts),
        ("Closed by", _person_and_time(row, "settled_by_name", "settled_at")),
        ("Reason for closing", to_html(row.get("settled_reason", "None"))),
    ]


def _request_section(
    name: str,
    noun: str,
    row: Mapping[str, Any],
    outcome: str,
    facts: Sequence[tuple[str, str]],
    events: Sequence[Event],
) -> str:
    names = (row.get(f"{side}_org_name", "?") for side in ("source", "sink"))
    return (
        f'<section id="{html.escape(name)}">\n'
        f"<h2>{' → '.join(map(to_html, names))}</h2>\n"
        f'<p class="id">{noun} {html.escape(name)}</p>\n'
        f'<p class="outcome">{to_html(outcome)}</p>\n{facts_table(facts)}'
        f"{events_table(events)}</section>\n"
    )


def protection_section(name: str, events: Sequence[Event]) -> str:
    """The protections that one connection ever had."""
    return f"<section>\n<h2>Protections of {to_html(name)}</h2>\n{events_table(events)}</section>\n"


def _person_and_time(row: Mapping[str, Any], name: str, at: str) -> str:
    return format_person_and_time(row.get(name), row.get(at))


def events_table(events: Sequence[Event]) -> str:
    lines = "".join(
        f'<tr><td class="n">{event.seq}</td><td class="at">{format_time(event.at)}</td>'
        f'<td class="words">{to_html(event.actor)}</td><td>{to_html(event.sentence)}</td></tr>\n'
        for event in events
    )
    return table(("Event", "Time", "Actor", "What happened"), lines)


def table(headings: Sequence[str], lines: str) -> str:
    """A table with these headings. `lines` are its rows."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n"


def page_end(warnings: Sequence[str]) -> str:
    """The page after the last deletion: everything that needs attention."""
    items = "".join(f"<li>{to_html(warning)}</li>\n" for warning in warnings)
    section = f"<section>\n<h2>Needs attention</h2>\n<ul>\n{items}</ul>\n</section>\n"
    return f"{section if items else ''}</body>\n</html>\n"


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{value}</td></tr>\n" for name, value in facts
    )
    return f"<table>\n{rows}</table>\n"


def _break_glass_text(rows: Rows) -> str:
    row, review = rows["deletion"], rows.get("break_glass_review")
    if not row.get("break_glass_at"):
        return "None"
    approved = f"late approval by {review['reviewer_name']}: {review['note']}" if review else ""
    used = f"{row['break_glass_by_name']}: {row['break_glass_reason']}"
    return f"{used} – {approved or 'no late approval'}"


def _attempt_text(attempt: Mapping[str, Any]) -> str:
    if "http_status" in attempt:
        response = f"Datadog returned {attempt['http_status']} in {attempt['duration_ms']} ms"
    else:
        verdict = attempt.get("verdict", "no response recorded").replace("_", " ")
        response = f"{verdict} {attempt.get('cause', '').replace('_', ' ')}".strip()
    method = f"{attempt['method']}: " if "method" in attempt else ""
    errors = "; ".join(str(error) for error in attempt.get("errors", []))
    quoted = f". Datadog: “{errors}”" if errors else ""
    late = ", late" if attempt.get("is_late") else ""
    return f"{format_time(attempt['claimed_at'])}: {to_html(method + response + late + quoted)}"
