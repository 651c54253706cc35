"""What a timeline says about an event whose text depends on its details."""

import json
from typing import Any

import pytest

from connections.core.causes import cause_text
from connections.models import AuditEvent
from connections.web.timeline import event_text

NAMED = {"cause": "forbidden"}
CAUSE = cause_text("forbidden")
IN_FILE = {"http_status": 200, "duration_ms": 9, "kept_at": "2026-11-25T15:00:43+00:00"}
KEPT = "The database was unavailable, so the server kept it in a file at 2026-11-25 15:00:43 UTC."
QUOTED = {"http_status": 403, "duration_ms": 143, "errors": ["No", "Never"]}


@pytest.mark.parametrize(
    ("code", "details", "title", "tone", "detail"),
    [
        ("sending", {"was_rechecked": True}, "Sending", "info", "Checked just before sending."),
        ("sending", {"was_rechecked": False}, "Sending", "info", "Not checked before sending."),
        ("answered", IN_FILE, "Datadog returned 200 in 9 ms", "ok", KEPT),
        ("answered", QUOTED, "Datadog returned 403 in 143 ms", "warn", "“No”; “Never”"),
        ("answered", NAMED | {"verdict": "not_sent"}, "Not sent", "warn", CAUSE),
        ("answered", NAMED | {"verdict": "unknown"}, "No usable response", "unknown", CAUSE),
        ("answered_late", IN_FILE, "Late response", "warn", f"Datadog returned 200. {KEPT}"),
        ("answered_late", NAMED, "Late response", "warn", CAUSE),
        ("waiting", NAMED, "Waiting to retry", "warn", CAUSE),
        ("checked", {"found": "listed"}, "Checked: still listed", "muted", ""),
        ("checked", {"found": "not listed"}, "Checked: not listed", "muted", ""),
        ("checked", NAMED, "Check failed", "muted", CAUSE),
        ("settled", NAMED | {"outcome": "refused"}, "Failed", "danger", CAUSE),
        ("settled", {"outcome": "unresolved", "reason": "Ada"}, "Unresolved", "warn", "“Ada”"),
        ("confirmed", {"skip_recheck": True}, "Confirmed", "info", "Pre-send check skipped."),
        ("confirmed", {"skip_recheck": False}, "Confirmed", "info", ""),
        ("verified", {}, "Verified", "ok", "Datadog no longer lists it."),
        ("declined", {"reason": "Ask Ada first."}, "Declined", "muted", "“Ask Ada first.”"),
        ("commented", {"text": "Ada knows."}, "Commented", "muted", "“Ada knows.”"),
        ("unknown", NAMED, "Outcome unknown", "unknown", CAUSE),
    ],
)
def test_a_timeline_says_what_the_details_say(
    code: str, details: dict[str, Any], title: str, tone: str, detail: str
):
    text = event_text(event(f"deletion.{code}", attempt=2, **details))
    assert text.badge.label.removesuffix(", attempt 2").removesuffix(" to attempt 2") == title
    assert (text.badge.tone, text.detail) == (tone, detail)


def test_a_finished_bulk_deletion_lists_its_results():
    text = event_text(event("batch.finished", counts={"Deleted": 1200, "Refused": 1}))
    assert text.badge.label == "Bulk deletion finished"
    assert text.detail == "1,200 deleted, 1 refused"


def event(code: str, **details: Any) -> AuditEvent:
    return AuditEvent(code=code, text=json.dumps({"details": details}))
