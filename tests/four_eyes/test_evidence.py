"""What an auditor's verifier says of a deletion for which glass was broken."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from connections.evidence import verify
from connections.models import AuditEvent, Deletion, Person, with_values
from connections.services.history.deletion_rows import deletion_row
from tests.four_eyes.conftest import approve, confirm
from tests.four_eyes.test_break_glass import FOUND, WHY, breaker, broken, reviewed

__all__ = ["breaker"]

pytestmark = pytest.mark.django_db


def told(deletion: Deletion) -> tuple[dict[str, Any], list[verify.Event]]:
    """The row of the deletion as a bundle has it, and its events."""
    rows = AuditEvent.objects.filter(subject_id=str(deletion.pk)).order_by("seq")
    events = [
        verify.Event(
            json.loads(row.text), {str(key): text for key, text in row.shown_values.items()}
        )
        for row in with_values(rows)
    ]
    deletion = Deletion.objects.get(pk=deletion.pk)
    return json.loads(json.dumps(deletion_row(deletion))), events


def test_an_approved_deletion_says_what_its_events_say(
    asked: Deletion, linus: Person, ada: Person
) -> None:
    confirm(approve(asked, linus), ada)
    row, events = told(asked)
    assert verify.differences(row, events) == []
    assert verify.had_its_approvals(events) is True


def test_broken_glass_and_its_review_are_compared_with_their_events_and_shown(
    asked: Deletion, breaker: Person, linus: Person
) -> None:
    reviewed(broken(asked, breaker), linus)
    row, events = told(asked)
    assert verify.differences(row, events) == []
    assert verify.had_its_approvals(events) is False
    page = verify.page_section(row, events)
    assert f"Grace: {WHY} – reviewed by Linus: {FOUND}" in page


FORGED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nobody broke it": lambda row: row.update(broke_glass=None),
    "another person": lambda row: row["broke_glass"].update(name="Ada"),
    "another reason": lambda row: row["broke_glass"].update(reason="tidying up"),
    "no review": lambda row: row["broke_glass"].update(reviewed_by=None),
    "another note": lambda row: row["broke_glass"].update(review_note="all well"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_row_that_says_otherwise_is_found(
    asked: Deletion, breaker: Person, linus: Person, what: str
) -> None:
    row, events = told(reviewed(broken(asked, breaker), linus))
    FORGED[what](row)
    assert verify.differences(row, events) == ["“broke_glass” is not what the events say"]
