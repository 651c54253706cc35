"""The page that `--html` writes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from connections.verifier.deletions import APPROVALS_NEEDED
from connections.verifier.events import Event

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

OUTCOMES = {
    "": "Open",
    "deleted": "Deleted: Datadog returned 200",
    "already_absent": "Not found or already gone",
    "gone_unattributed": "Gone, unproven: not proven to be this request",
    "refused": "Refused by Datadog",
    "not_sent": "Gave up",
    "stale": "Changed after review",
    "declined": "Declined by an approver",
    "withdrawn": "Withdrawn",
    "expired": "Expired",
    "unresolved": "Unresolved: closed, the outcome was never determined",
}
# Outcomes that don't say what the attempts did, so the page adds that.
_ENDED = ("already_absent", "not_sent", "stale", "declined", "withdrawn", "expired", "unresolved")
_NOTHING, _REFUSED, _UNCERTAIN, _DELETED = range(4)
_RESULT_OF_VERDICT = {
    "not_sent": _NOTHING,
    "rate_limited": _REFUSED,
    "refused": _REFUSED,
    "not_found": _REFUSED,
    "deleted": _DELETED,
}


def get_attempts_result(attempts: Iterable[dict[str, Any]]) -> int:
    """The combined result of a row's attempts, following the rules in docs/EVIDENCE.md."""
    return max(
        (_RESULT_OF_VERDICT.get(str(attempt["verdict"]), _UNCERTAIN) for attempt in attempts),
        default=0,
    )


def get_outcome_text(row: dict[str, Any]) -> str:
    """The outcome of a row, and what its attempts did if the outcome doesn't say that."""
    outcome = row["outcome"] or ""
    label = str(OUTCOMES.get(outcome, outcome))
    if not outcome:
        return f"{label} ({row['state'].replace('_', ' ')})"
    late = [
        attempt
        for attempt in row["attempts"]
        if attempt["is_late"] and attempt["verdict"] == "deleted"
    ]
    if late and outcome in ("deleted", "gone_unattributed"):
        return f"{label}. Attempt {late[-1]['number']} returned 200 late"
    if outcome not in _ENDED:
        return label
    return f"{label}. {_RESULT_TEXTS[get_attempts_result(row['attempts'])]}"


_RESULT_TEXTS = {
    _NOTHING: "Nothing was sent",
    _REFUSED: "Nothing was deleted: Datadog carried out none of the attempts",
    _UNCERTAIN: "An attempt might have worked",
    _DELETED: "Datadog returned 200 to an attempt",
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


def page_start(population: dict[str, Any], review: dict[str, Any] | None = None) -> str:
    """The page up to the access review, or up to the first deletion."""
    title = "Deletions of org connections"
    facts = [
        ("Audit log", to_html(population["origin"])),
        ("Created", format_time(population["made_at"])),
    ]
    if review:
        title = f"Access review: {review['name']}"
        facts.append(("Deletions of its connections", str(population["selected"])))
    else:
        period = population["period"]
        facts += [
            (
                "Requested from",
                format_time(period["since"]) if period["since"] else "The beginning",
            ),
            ("Requested before", format_time(period["until"])),
            ("Filter", to_html(population["filter_in_words"])),
            ("Deletions in this bundle", str(population["selected"])),
            ("Deletions in the period", str(population["in_period"])),
        ]
    facts += [(OUTCOMES.get(key, key), str(n)) for key, n in sorted(population["counts"].items())]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{to_html(title)}</h1>\n"
        "<p>verify.pyz wrote this page from a bundle that it had verified. The page proves nothing "
        "to anyone else: they verify the bundle themselves.</p>\n"
        f"{facts_table(facts)}"
    )


def page_section(row: dict[str, Any], events: Sequence[Event]) -> str:
    """One deletion."""
    source, sink = row["source_org"], row["sink_org"]
    approved = ", ".join(row["approved_by"])
    facts = [
        ("Connection", f"{to_html(row['connection_id'])} on {to_html(row['site'])}"),
        ("Source org", f"{to_html(source['name'])} ({to_html(source['id'])})"),
        ("Destination org", f"{to_html(sink['name'])} ({to_html(sink['id'])})"),
        ("Data types", to_html(", ".join(row["connection_types"]))),
        (
            "Credential",
            f"{to_html(row['credential'])} ({to_html(row['credential_fingerprint'])})",
        ),
        ("Reason", to_html(row["reason"])),
        ("Ticket", to_html(row["ticket"] or "None")),
        ("Requested by", format_person_and_time(row["requested_by"], row["requested_at"])),
        ("Approvals required", to_html(APPROVALS_NEEDED.get(row["policy"]) or "None")),
        ("Approved by", format_person_and_time(approved, row["approved_at"])),
        ("Confirmed by", format_person_and_time(row["confirmed_by"], row["confirmed_at"])),
        ("Break glass", to_html(_break_glass_text(row["broke_glass"]))),
        ("Last attempt", format_time(row["sent_at"])),
        *((f"Attempt {attempt['number']}", _attempt_text(attempt)) for attempt in row["attempts"]),
        ("Closed by", format_person_and_time(row["settled_by"], row["settled_at"])),
        ("Reason for closing", to_html(row["settled_reason"] or "None")),
        ("Verified gone", format_time(row["verified_at"])),
        ("Still listed", format_time(row["contradicted_at"])),
    ]
    return (
        f'<section id="{html.escape(row["id"])}">\n'
        f"<h2>{to_html(source['name'] or '?')} → {to_html(sink['name'] or '?')}</h2>\n"
        f'<p class="id">Deletion {html.escape(row["id"])}</p>\n'
        f'<p class="outcome">{to_html(get_outcome_text(row))}</p>\n{facts_table(facts)}'
        f"{events_table(events)}</section>\n"
    )


def events_table(events: Sequence[Event]) -> str:
    lines = "".join(
        f'<tr><td class="n">{event.seq}</td><td class="at">{format_time(event.at)}</td>'
        f'<td class="words">{to_html(event.actor)}</td><td>{to_html(event.sentence)}</td></tr>\n'
        for event in events
    )
    return (
        "<table>\n<thead><tr><th>Event</th><th>Time</th><th>Actor</th>"
        "<th>What happened</th></tr></thead>\n"
        f"<tbody>\n{lines}</tbody>\n</table>\n"
    )


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


def _break_glass_text(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "None"
    review = f"reviewed by {facts['reviewed_by']}: {facts['review_note']}"
    return (
        f"{facts['name']}: {facts['reason']} – {review if facts['reviewed_by'] else 'not reviewed'}"
    )


def _attempt_text(attempt: dict[str, Any]) -> str:
    if attempt["http_status"] is None:
        verdict = (attempt["verdict"] or "no response recorded").replace("_", " ")
        response = f"{verdict} {(attempt['cause'] or '').replace('_', ' ')}".strip()
    else:
        response = f"Datadog returned {attempt['http_status']} in {attempt['duration_ms']} ms"
    errors = "; ".join(str(error) for error in attempt["errors"])
    quoted = f". Datadog: “{errors}”" if errors else ""
    late = ", late" if attempt["is_late"] else ""
    return f"{format_time(attempt['sent_at'])}: {to_html(response + late + quoted)}"
