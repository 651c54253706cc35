"""Folding the events of a record gives its rows, so every change of a row is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models

from connections.access.actor import Actor
from connections.audit.events import NOT_RECORDED
from connections.evidence import differing
from connections.evidence.records import KINDS, kind_of
from connections.inventory import protections
from connections.models import Deletion, Person, Protection, ProtectionRemoval
from connections.verifier.events import DELETION, ORG_CONNECTION, Event
from connections.verifier.folding import Rows, differences, fold
from tests.evidence.columns import (
    assert_each_bundled_column_counts,
    assert_each_stored_column_counts,
    assert_each_stored_row_counts,
    newest_rows,
    tables_of,
)
from tests.evidence.support import make, page_of, verified
from tests.support.append_only import triggers_off


def event(rows: dict[str, Any], *, names: dict[str, Any] | None = None) -> Event:
    return Event(
        {
            "actor": {"id": None, "kind": "worker", "name": "worker"},
            "at": "2026-01-01T00:00:00.000000Z",
            "code": "x",
            "details": {"rows": rows} | ({"names": names} if names else {}),
            "refs": {},
            "sentence": "",
            "seq": 1,
            "subject": None,
        },
        {"7": "Ada {x}"},
    )


def test_later_events_win_and_names_are_filled_in():
    folded = fold(
        [
            event({"deletion": {"state": "requested", "site": "x"}}),
            event(
                {"deletion": {"state": "sending"}, "attempt 1": {"number": 1}},
                names={"deletion": {"settled_by_name": "{name:7}"}},
            ),
        ]
    )
    assert folded == {
        "deletion": {"state": "sending", "site": "x", "settled_by_name": "Ada {x}"},
        "attempt 1": {"number": 1},
    }


def test_one_event_sets_the_same_columns_of_several_rows_and_removes_others():
    before = event({"decision 3 4": {"reason": "x"}, "decision 4": {"row_id": 2}, "reviewer 9": {}})
    assert fold([before, event({"reviewer 9": None})]) == {
        "decision 3": {"reason": "x"},
        "decision 4": {"reason": "x", "row_id": 2},
    }


def test_an_empty_value_counts_as_missing_and_false_does_not():
    folded: Rows = {"deletion": {"cause": "", "verified_at": None, "errors": [], "is_late": False}}
    assert list(differences({"deletion": {"is_late": False}}, folded)) == []
    assert list(differences({"deletion": {}}, folded)) == [
        "“is_late” of the row “deletion” is not what its events set"
    ]
    assert list(differences({}, folded)) == ["the row “deletion” is missing"]
    assert list(differences({**folded, "attempt 2": {}}, folded)) == [
        "no event records the row “attempt 2”"
    ]


def test_missing_records_are_counted_once_each_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(differing, "_MAX_MISSING", 2)
    found = differing.DifferingRecords(noun="deletion")
    for ids in (["1"], ["3", "2", "1"]):
        found.add_missing(ids)
    assert (found.count, found.ids) == (2, ["1", "2"])


def test_every_table_with_a_record_is_covered_and_every_gap_has_a_reason():
    covered = {table.model for kind in KINDS for table in tables_of(kind)}
    assert set(NOT_RECORDED) <= covered
    for model, reasons in NOT_RECORDED.items():
        names = {field.name for field in model._meta.concrete_fields}
        assert reasons.keys() <= names, model
    # A table whose rows belong to a covered one is covered too.
    for model in apps.get_app_config("connections").get_models():
        parents = {
            field.related_model
            for field in model._meta.concrete_fields
            if isinstance(field, models.ForeignKey) and field.related_model in covered
        }
        # A change has a digest of its own; a heartbeat says what a worker is doing now; a reminder
        # has an event of its own.
        if parents and model.__name__ not in {"Change", "WorkerHeartbeat", "AgreementReminder"}:
            assert model in covered, model


# --- Deletions ------------------------------------------------------------------------------------


@pytest.mark.sweep
@pytest.mark.database
@pytest.mark.usefixtures("history")
def test_each_column_of_a_deletion_its_attempts_and_approvals_counts(
    subtests: pytest.Subtests, tmp_path: Path
):
    deletion = Deletion.objects.get(approvals__isnull=False)
    kind = kind_of(DELETION)
    assert {table.name for table, _ in newest_rows(kind, deletion.pk)} == {
        *("deletion", "attempt", "approval")
    }
    assert_each_stored_column_counts(kind, deletion.pk, subtests)
    assert_each_stored_row_counts(kind, deletion.pk, subtests)
    assert_each_bundled_column_counts(make(), str(deletion.pk), tmp_path, subtests)


# --- Protections ----------------------------------------------------------------------------------


@pytest.fixture
def protected(
    history: None, actor_for: Callable[[Person], Actor], linus: Person, root: Person
) -> Protection:
    """A protection of a deleted connection, which was removed, and another one."""
    key = Deletion.objects.get(approvals__isnull=False).key
    first = protections.protect_connection(actor=actor_for(linus), key=key, reason="Audit.")
    protections.remove_protection(actor=actor_for(root), protection=first, reason="Done.")
    return protections.protect_connection(actor=actor_for(linus), key=key, reason="Again.")


@pytest.mark.sweep
@pytest.mark.database
def test_each_column_of_a_protection_and_its_removal_counts(
    protected: Protection, subtests: pytest.Subtests, tmp_path: Path
):
    kind, record = kind_of(ORG_CONNECTION), protected.connection_id
    assert_each_stored_column_counts(kind, record, subtests)
    assert_each_stored_row_counts(kind, record, subtests)
    made = make()
    assert "<th><bdi>Protection " in page_of(made.data, tmp_path)
    assert_each_bundled_column_counts(made, str(record), tmp_path, subtests)


@pytest.mark.database
def test_a_removal_of_a_protection_without_an_event_is_named(protected: Protection, root: Person):
    """The triggers let it in: only the comparison finds it."""
    ProtectionRemoval.objects.create(
        protection=protected,
        reason="because",
        removed_at=protected.protected_at,
        removed_by=root,
        protector=protected.protected_by,
    )
    code, document = verified()
    assert (code, document["fault"]) == (1, "differing_protection")
    assert document["protections"] == [str(protected.connection_id)]
    assert "no event records the row" in document["message"]


@pytest.mark.database
def test_a_removed_protection_is_named(protected: Protection):
    with triggers_off():
        ProtectionRemoval.objects.all().delete()
        Protection.objects.all().delete()
    code, document = verified()
    assert (code, document["protections"]) == (1, [str(protected.connection_id)])
