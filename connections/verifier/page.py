"""The page that `--html` writes: every recorded column of every record, and its events.

A bundle's values are what its maker chose. So HTML is a type: text of any other type is escaped
where it is put into a template.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connections.verifier.events import Event
from connections.verifier.folding import Rows
from connections.verifier.labels import (
    ACCESS_KINDS,
    ACCESS_OUTCOMES,
    BATCH_STATES,
    CLOSED_AS,
    OUTCOMES,
    ROW_PROBLEMS,
)

_STYLE = """\
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:2rem auto;
max-width:56rem;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.15rem;margin:0}
h3{font-size:1rem;margin:1rem 0 0}
section{border-top:2px solid #1a1a1a;margin-top:2rem;padding-top:.75rem}
dl,dd{margin:0}dt{font-weight:600}dd bdi{white-space:pre-line}
dd ul{list-style:none;margin:0;padding:0}dd li+li{border-top:1px dotted #ccc}
.id,td dt,dd dt{color:#555;font-weight:400}.id{font-size:.85em;margin:0 0 .5rem}
.id+.record>div:first-child dd{font-weight:700}
.record>div{display:grid;grid-template-columns:15rem 1fr;gap:.75rem;border-bottom:1px solid #ccc;
padding:.2rem 0}
td dl,dd dl{display:flex;flex-wrap:wrap;gap:0 1.25rem}
td dl>div,dd dl>div{display:flex;flex-wrap:wrap;gap:0 .4rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0;border-bottom:1px solid #ccc}
th,td.at{white-space:nowrap;font-variant-numeric:tabular-nums}td.actor{min-width:7rem}
@media(max-width:36rem){.record>div{display:block}th,td.at{white-space:normal}}
@media print{body{margin:0;max-width:none;font-size:10pt}
tr,.record>div{break-inside:avoid}h2,h3,.id{break-after:avoid}thead{display:table-header-group}}
"""

# Columns that come first, in this order. The others follow by name.
_FIRST = (
    *("audit_log", "made_at", "period", "since", "filter_in_words", "filter", "deletions"),
    *(
        "selected",
        "in_period",
        "outcome",
        "state",
        "cause",
        "closed_as",
        "decision",
        "number",
        "position",
        "problem",
    ),
    *("method", "http_status", "verdict", "kind", "source_org_name", "source_org_id"),
    *("sink_org_name", "sink_org_id", "site", "connection_id", "connection_types", "types_after"),
    *("creator_name", "owner_text", "purpose", "ends_on", "reason", "ticket"),
    *("requested_by_name", "requested_at", "policy", "approver_name", "decided_by_name"),
    *("decided_at", "approved_at", "confirmed_by_name", "confirmed_at", "claimed_at"),
    *("sending_at", "answered_at", "settled_by_name", "settled_at", "settled_reason"),
)
# Columns whose values are codes, with the labels of some.
_CODES: dict[str, Mapping[str, str]] = {
    **{column: {} for column in ("assignment", "cause", "policy", "step", "verdict")},
    "outcome": {**OUTCOMES, **ACCESS_OUTCOMES},
    "state": BATCH_STATES,
    "kind": ACCESS_KINDS,
    "closed_as": CLOSED_AS,
    "decision": CLOSED_AS,
    "problem": {problem: text.reason for problem, text in ROW_PROBLEMS.items()},
}
_LABELS = {
    "": "Open",
    "connection_types": "Data types",
    "types_after": "Data types requested",
    "snapshot_at": "Listed at",
    "made_at": "Created at",
    "filter": "Filter as requested",
    "filter_in_words": "Filter",
    "policy": "Approvals required",
    "selected": "In this bundle",
}
_WORDS = {"id": "ID", "ids": "IDs", "http": "HTTP", "ms": "(ms)", "sha256": "SHA-256"}
_WORDS.update(sink="destination", batch="bulk deletion")
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)", re.ASCII)
# Characters that change the direction of the text that follows them, or that a page can't contain.
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Html(str):
    """HTML: its text is markup, and every value in it is escaped."""

    __slots__ = ()


def fill_html(template: str, *values: object) -> Html:
    """The template, which is a literal, with these values in the places of its `{}`."""
    return Html(template.format(*map(to_html, values)))


def join_html(pieces: Iterable[object], separator: str = "") -> Html:
    """These pieces of a page, one after the other."""
    return Html(separator.join(map(to_html, pieces)))


def to_html(value: object) -> Html:
    """A value of a bundle as HTML: texts, lists and documents, all of them untrusted."""
    if isinstance(value, Html):
        return value
    if isinstance(value, dict):
        return _columns(value)
    if isinstance(value, list):
        if not any(isinstance(each, dict) for each in value):
            return join_html(value, ", ")
        return fill_html("<ul>{}</ul>", join_html(fill_html("<li>{}</li>", each) for each in value))
    if isinstance(value, bool):
        return Html("Yes" if value else "No")
    text = _TIME.sub(r"\1 \2 UTC", str(value))
    text = _UNPRINTABLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)
    return Html(f"<bdi>{html.escape(text)}</bdi>")


def page_start(population: Mapping[str, Any], title: str = "") -> Html:
    """The page up to its first record. `title` is that of an access review."""
    title = title or "Evidence bundle of Org Admin"
    counts = {key: population.get(key) for key in ("selected", "in_period", "counts")}
    period = {**population["period"], "since": population["period"]["since"] or "The beginning"}
    facts = {
        **{key: value for key, value in population.items() if key not in counts},
        "audit_log": population["origin"],
        "period": period,
        "deletions": counts,
    }
    del facts["origin"]
    return fill_html(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{}</h1>\n"
        "<p>verify.pyz wrote this page from a bundle that it had verified. The page proves nothing "
        "to anyone else: they verify the bundle themselves.</p>\n{}",
        Html(html.escape(title)),
        Html(_STYLE),
        title,
        _columns(facts, "record"),
    )


def record_section(
    noun: str,
    name: str,
    rows: Rows,
    events: Sequence[Event],
    many: Sequence[Mapping[str, Any]] = (),
) -> Html:
    """One record: every recorded column of its rows, also of `many`, and its events."""
    named = sorted(rows.items(), key=lambda row: _place_of_row(row[0]))
    keys = ("source_org_name", "sink_org_name", "name")
    title = [named[0][1][key] for key in keys if named[0][1].get(key)]
    single = (
        fill_html(
            "{}{}",
            Html() if _label(row) == noun else fill_html("<h3>{}</h3>\n", _label(row)),
            _columns(columns, "record"),
        )
        for row, columns in named
        if " " not in row
    )
    numbered = [(_label(row), _columns(columns)) for row, columns in named if " " in row]
    numbered += [(f"Row {row.get('position', '')}", _columns(row)) for row in many]
    return fill_html(
        '<section>\n<h2>{}</h2>\n<p class="id">{} {}</p>\n{}{}{}</section>\n',
        join_html(title, " → ") or noun,
        noun,
        name,
        join_html(single),
        _table((fill_html("<tr><th>{}</th><td>{}</td></tr>\n", *row) for row in numbered), Html()),
        events_table(events),
    )


def events_table(events: Sequence[Event]) -> Html:
    """The events of a record."""
    head = Html(
        "<thead><tr><th>Event</th><th>Time</th><th>Actor</th><th>What happened</th></tr></thead>\n"
    )
    template = '<tr><td>{}</td><td class="at">{}</td><td class="actor">{}</td><td>{}</td></tr>\n'
    lines = (fill_html(template, each.seq, each.at, each.actor, each.sentence) for each in events)
    return _table(lines, head)


def page_end(warnings: Sequence[str]) -> Html:
    """The page after the last record: everything that needs attention."""
    items = join_html(fill_html("<li>{}</li>\n", warning) for warning in warnings)
    template = "<section>\n<h2>Needs attention</h2>\n<ul>\n{}</ul>\n</section>\n"
    return fill_html("{}</body>\n</html>\n", fill_html(template, items) if items else Html())


def _table(lines: Iterable[Html], head: Html) -> Html:
    body = join_html(lines)
    return fill_html("<table>\n{}<tbody>\n{}</tbody>\n</table>\n", head, body) if body else body


def _columns(columns: Mapping[str, Any], kind: str = "") -> Html:
    """The columns that aren't empty, each with its label."""
    pairs = (
        fill_html("<div><dt>{}</dt><dd>{}</dd></div>\n", _label(name), _value(name, value))
        for name, value in sorted(columns.items(), key=lambda column: _place(column[0]))
        if value not in _EMPTY
    )
    return fill_html('<dl class="{}">\n{}</dl>\n', Html(kind), join_html(pairs))


def _value(column: str, value: Any) -> Any:
    """A value, as words if it is a code."""
    if column not in _CODES or not isinstance(value, str):
        return value
    return _CODES[column].get(value) or value.replace("_", " ").capitalize()


def _label(name: str) -> str:
    """The name of a row or a column in words."""
    words = name.replace("_by_name", "_by").replace("_", " ").split(" ")
    text = " ".join(_WORDS.get(word, word) for word in words)
    return _LABELS.get(name) or text[:1].upper() + text[1:]


def _place(column: str) -> tuple[int, str]:
    return (_FIRST.index(column) if column in _FIRST else len(_FIRST), column)


def _place_of_row(name: str) -> tuple[bool, str, int, str]:
    """The rows without a number first, the others by number."""
    kind, _, number = name.partition(" ")
    return (bool(number), kind, len(number), number)
