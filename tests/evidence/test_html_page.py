"""The page that `--html` writes: every recorded column in words, and nothing of it as markup."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from connections.verifier.events import Event
from connections.verifier.page import page_end, page_start, record_section
from tests.evidence.markup import (
    MARKUP,
    assert_is_harmless,
    assert_no_leaf_becomes_markup,
    with_markup_everywhere,
)
from tests.evidence.support import Forger, Made, page_of

AT = "2026-03-02T14:03:22.000001+00:00"
EVENT = {
    "actor": {"id": None, "kind": "person", "name": "Ada"},
    "at": "2026-03-02T14:03:22.000001Z",
    "code": "deletion.requested",
    "details": {},
    "refs": {},
    "sentence": "Ada requested a deletion.",
    "seq": 7,
    "subject": None,
}
ROWS: dict[str, dict[str, Any]] = {
    "attempt 1": {"number": 1, "http_status": 200, "is_late": True, "errors": ["a", "b"]},
    "attempt 10": {"number": 10, "headers": {"date": "never"}},
    "attempt 2": {"number": 2, "verdict": "not_sent", "body_sha256": "ab"},
    "deletion": {
        "outcome": "already_absent",
        "policy": "two",
        "requested_by_name": "Ada\u202e",
        "requested_at": AT,
        "source_org_name": "Süd",
        "sink_org_name": "北",
        "connection_types": ["logs", "audit"],
        "ticket": "",
        "zone_of_a_later_release": 0,
    },
}
TEXT = """
Süd → 北
Deletion d1
Outcome Not found or already gone
Source org name Süd
Destination org name 北
Data types logs , audit
Requested by Ada[U+202E]
Requested at 2026-03-02 14:03:22 UTC
Approvals required Two
Zone of a later release 0
Attempt 1
Number 1
HTTP status 200
Errors a , b
Is late Yes
Attempt 2
Number 2
Verdict Not sent
Body SHA-256 ab
Attempt 10
Number 10
Headers
Date never
Row 3
Position 3
Problem an earlier row has the same connection
Event Time Actor What happened
7 2026-03-02 14:03:22 UTC Ada Ada requested a deletion.
"""


def words_of(section: str) -> str:
    """The text of each line, without its tags."""
    lines = (html.unescape(re.sub("<[^>]+>", " ", line)) for line in section.splitlines())
    return "\n".join(" ".join(line.split()) for line in lines if line.strip())


def test_a_record_has_every_recorded_column_in_words():
    """Also a column that this release doesn't know."""
    many = [{"position": 3, "problem": "duplicate", "is_gone": None}]
    section = record_section("Deletion", "d1", ROWS, [Event(EVENT, {})], many)
    assert words_of(section) == TEXT.strip()


def test_no_key_and_no_value_of_a_record_is_markup(made: Made):
    forger = Forger(made=made)
    events = forger.events()
    for event in events:
        for name in ("seq", "at", "actor", "sentence"):
            setattr(event, name, MARKUP)
    rows = [with_markup_everywhere(record["rows"]) for record in forger.records()]
    many = [{"position": MARKUP, "coverage": {"orgs": [{"org_name": MARKUP}, MARKUP]}}]
    sections = [record_section(MARKUP, MARKUP, each, events, many) for each in rows]
    population = json.loads(forger.files["population.json"])
    leaves = {**population, **with_markup_everywhere(population), "origin": MARKUP}
    start = page_start({**leaves, "period": {"since": MARKUP}, "counts": {MARKUP: 1}}, MARKUP)
    assert_is_harmless("".join([start, *sections, page_end([MARKUP])]))


@pytest.mark.sweep
def test_no_leaf_of_a_signed_bundle_becomes_markup(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    assert_no_leaf_becomes_markup(made, tmp_path, subtests)


def test_the_page_forbids_scripts_and_loads_nothing(made: Made, tmp_path: Path):
    head = page_of(made.data, tmp_path).partition("</head>")[0]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in head
    assert head.index("Content-Security-Policy") < head.index("<title>")


def test_a_character_that_no_page_can_contain_is_named():
    section = record_section("Deletion", "d1", {"deletion": {"reason": "a\ud800\0b"}}, [])
    assert "a[U+D800][U+0000]b" in section
