"""How the page that `--html` writes describes access reviews and bulk deletions, word by word."""

import html
import re
from typing import Any

from connections.verifier.record_pages import access_review_section, plan_section

AT = "2026-03-02T14:03:22.000001+00:00"
ORG: dict[str, Any] = {"org_id": "o1", "site": "US1", "org_name": "Labs", "credential": "Labs EU"}
COVERAGE = {
    "orgs": [ORG | {"synced_at": AT, "is_complete": False, "complete_at": None}],
    "without_credential": [{"org_id": "o2", "site": "EU1", "org_name": None}],
}
DECISION: dict[str, Any] = {
    "decision": "delete",
    "decided_by_name": "Ada",
    "decided_at": AT,
    "reason": "Old.",
}

REVIEW_TEXT = """
Access review
ID r
Filter All connections
Started by Ada , 2026-03-02 14:03:22 UTC
Due 2026-03-02 14:03:22 UTC
Reviewers Everyone who can review and see the connection
Connections 5
Connections that no reviewer could decide on at the start 1
Delete 4
Gone: no longer listed, needs no decision 0
Keep 1
Left open 0
Closed by Linus , 2026-03-02 14:03:22 UTC
Why connections were left open None were
Syncs at the start
Org Credential Last sync Complete Last complete sync
Labs ( o1 on US1 ) Labs EU 2026-03-02 14:03:22 UTC No Never
Orgs without a credential; connections between two of them are not known:
None ( o2 on EU1 )
Syncs at the close
Org Credential Last sync Complete Last complete sync
Orgs without a credential; connections between two of them are not known:
None
Connections and decisions
Connection Data types Created by Decisions Result
A → B c1 on US1 logs, audit Eve Delete
Delete: Old. – Ada , 2026-03-02 14:03:22 UTC, 2 decided at once
No deletion was requested
A → B c2 on US1 logs, audit u1 , disabled Delete
Removed outside Org Admin
A → B c3 on US1 logs, audit Unknown Delete
Unresolved: closed, the outcome was never determined Gone, but it is not proven how
A → B c4 on US1 logs, audit Unknown Keep
Keep until 2026-09-01: Old. – Ada , 2026-03-02 14:03:22 UTC
Deleted: Datadog returned 200 , still listed
A → B c5 on US1 logs, audit Unknown Delete
Deleted: Datadog returned 200
Connections that matched the filter at the close but not at the start, so they are not part of it:
c9 on US1
"""
PLAN_TEXT = """
Bulk deletion
ID p
Status Finished
Deletions 1
Reason Old.
Ticket None
Approvals required 2
Pauses at the first problem Yes
SHA-256 of the plan abc
Event Time Actor What happened
Plan
Row Connection Data types Deletion
1 A → B x logs, audit d1
2 A → B x logs, audit Removed before the request, 2026-03-02 14:03:22 UTC
3 A → B x logs, audit Left out: protected
"""


def words_of(section: str) -> str:
    """The text of each paragraph, list item and table row, without its tags."""
    lines = (re.sub("<[^>]+>", " ", line) for line in section.splitlines())
    return "\n".join(" ".join(html.unescape(line).split()) for line in lines if line.strip())


def row(number: int, **more: Any) -> dict[str, Any]:
    names = {"source_org_name": "A", "sink_org_name": "B", "connection_types": ["logs", "audit"]}
    return names | {"id": number, "site": "US1", "connection_id": f"c{number}", "text": "x"} | more


def test_an_access_review_has_each_decision_and_what_became_of_its_connection() -> None:
    review = {
        "created_by_name": "Ada",
        "closed_by_name": "Linus",
        **dict.fromkeys(("created_at", "due_at", "closed_at"), AT),
        "row_count": 5,
        "without_reviewer": 1,
        "coverage": COVERAGE,
        "coverage_at_close": {"orgs": [], "without_credential": []},
        "appeared": [{"connection_id": "c9", "site": "US1"}],
    }
    rows = [
        row(1, closed_as="delete", is_gone=False, creator_name="Eve"),
        row(2, closed_as="delete", is_gone=True, creator_id="u1", creator_is_disabled=True),
        row(3, closed_as="delete", is_gone=True),
        row(4, closed_as="keep", is_gone=False),
        row(5, closed_as="delete", is_gone=True),
    ]
    kept = {"decision": "keep", "keep_until": "2026-09-01", "decided_together": 1}
    decisions = {1: [DECISION | {"decided_together": 2}], 4: [DECISION | kept]}
    deletions = {
        ("US1", "c3"): [{"id": "d3", "outcome": "unresolved"}],
        ("US1", "c4"): [{"id": "d4", "outcome": "deleted", "contradicted_at": AT}],
        ("US1", "c5"): [{"id": "d5", "outcome": "deleted"}],
    }
    words = words_of(
        access_review_section("r", {"access_review": review}, rows, decisions, deletions)
    )
    assert words == REVIEW_TEXT.strip()


def test_a_bulk_deletion_has_the_result_of_each_row_of_its_plan() -> None:
    batch = {
        "state": "finished",
        "reason": "Old.",
        "policy": "two",
        "stop_at_first_problem": True,
        "digest": "abc",
    }
    rows = [
        row(1, position=1),
        row(2, position=2, removed_at=AT),
        row(3, position=3, problem="protected"),
    ]
    words = words_of(plan_section("p", {"batch": batch}, rows, {1: {"id": "d1"}}, []))
    assert words == PLAN_TEXT.strip()
