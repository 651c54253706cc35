"""Responses saved as files because the database failed: recorded once and never lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.checks import ERROR
from django.db import DatabaseError, OperationalError, connection
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.change_requests import failpoints, reconciliation, recording, saved_responses
from connections.change_requests.failpoints import Point
from connections.core.errors import ResponseLocation, ResponseNotRecordedError
from connections.evidence.verification import verify_audit_log
from connections.models import Checkpoint, Deletion, Outcome, State
from connections.operations import checks
from tests.deletions.conftest import RequestDeletion, credential, make_deletion
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

__all__ = ["credential", "make_deletion"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database(every=3)]

SendWithoutDatabase = Callable[[], Deletion]


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    """Where responses are saved in this test."""
    settings.SAVED_RESPONSES_DIRECTORY = tmp_path / "saved_responses"
    return tmp_path


@pytest.fixture
def send_without_database(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
) -> SendWithoutDatabase:
    """Send a DELETE whose response the database can't record; the database works afterwards."""

    def send() -> Deletion:
        def refuse(*_: object, **__: object) -> int:
            raise OperationalError("database is locked")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(recording, "record", refuse)
            with pytest.raises(ResponseNotRecordedError) as caught:
                make_deletion()
        assert caught.value.location == ResponseLocation.LOCALLY
        return Deletion.objects.get()

    return send


def problems() -> list[str]:
    """What doctor reports about unusable saved responses."""
    return [
        finding.msg
        for finding in checks.run_all_checks()
        if (finding.obj, finding.level) == ("saved responses", ERROR)
    ]


def test_a_saved_response_is_recorded_like_any_other(send_without_database: SendWithoutDatabase):
    deletion = send_without_database()
    assert (deletion.state, deletion.attempts.get().verdict) == (State.SENDING, "")
    assert saved_responses.record_saved_responses() == 1
    deletion.refresh_from_db()
    attempt = deletion.attempts.get()
    assert (deletion.outcome, attempt.http_status, attempt.is_late) == ("deleted", 200, False)
    assert bytes(attempt.body) == b"{}\n"
    assert attempt.body_is_complete
    [event] = [
        event
        for event in audit.events_of(subject=deletion)
        if event.code == audit.EventCode.DELETION_ANSWERED
    ]
    assert (event.actor_name, bool(event.details["kept_at"])) == ("Ada", True)
    assert saved_responses.list_files() == []


def test_a_response_is_kept_when_the_checkpoint_after_it_cannot_be_stored(
    make_deletion: RequestDeletion,
):
    table = Checkpoint._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO renamed")
        with pytest.raises(ResponseNotRecordedError) as caught:
            make_deletion()
        cursor.execute(f"ALTER TABLE renamed RENAME TO {table}")
    assert isinstance(caught.value.__cause__, DatabaseError)
    assert caught.value.location == ResponseLocation.LOCALLY
    deletion = Deletion.objects.get()
    # The whole transaction is undone.
    assert (deletion.state, deletion.attempts.get().verdict) == (State.SENDING, "")
    assert audit.events_of(subject=deletion)[-1].code == audit.EventCode.DELETION_SENDING
    assert saved_responses.record_saved_responses() == 1
    deletion.refresh_from_db()
    assert deletion.outcome == Outcome.DELETED
    assert Checkpoint.objects.exists()
    assert verify_audit_log().fault is None


def test_a_saved_response_recorded_after_its_claim_expired_is_late(
    send_without_database: SendWithoutDatabase, clock: SettableClock
):
    deletion = send_without_database()
    clock.advance(seconds=61)
    reconciliation.expire_lost_claim(change_request=deletion, actor=WORKER)
    assert saved_responses.record_saved_responses() == 1
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN
    assert deletion.attempts.get().is_late


def test_a_file_left_after_recording_is_not_recorded_again(
    send_without_database: SendWithoutDatabase,
):
    deletion = send_without_database()
    [path] = saved_responses.list_files()
    text = path.read_bytes()
    saved_responses.record_saved_responses()
    # As if the process had been killed before it deleted the file.
    path.write_bytes(text)
    path.chmod(0o600)
    events = len(audit.events_of(subject=deletion))
    assert saved_responses.record_saved_responses() == 0
    assert len(audit.events_of(subject=deletion)) == events
    assert saved_responses.list_files() == []


def test_recording_the_same_response_twice_records_it_once(
    send_without_database: SendWithoutDatabase,
):
    deletion = send_without_database()
    saved, attempt = saved_responses.check_file(saved_responses.list_files()[0])
    counts = [recording.record([(attempt, saved.response)], actor=WORKER) for _ in range(2)]
    assert counts == [1, 0]
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_ANSWERED) == 1
    assert audit.EventCode.DELETION_ANSWERED_LATE not in codes


def test_while_another_process_records_them_files_are_left_alone(
    send_without_database: SendWithoutDatabase,
):
    send_without_database()
    with saved_responses.locked() as is_alone:
        assert is_alone
        assert saved_responses.record_saved_responses() == 0
    assert saved_responses.record_saved_responses() == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1}'])
def test_an_unreadable_file_is_kept_logged_once_and_reported_by_doctor(
    send_without_database: SendWithoutDatabase, text: str, caplog: pytest.LogCaptureFixture
):
    send_without_database()
    [path] = saved_responses.list_files()
    path.write_text(text)
    caplog.clear()
    assert [saved_responses.record_saved_responses() for _ in range(2)] == [0, 0]
    assert path.read_text() == text
    [problem] = problems()
    assert str(path) in problem
    [logged] = [row for row in caplog.messages if str(path) in row]
    assert logged.startswith("A saved response can't be recorded and is kept: ")


def test_a_file_from_another_database_is_kept_and_reported_by_doctor(
    send_without_database: SendWithoutDatabase,
):
    deletion = send_without_database()
    with triggers_off():
        deletion.attempts.update(epoch=7)
    assert saved_responses.record_saved_responses() == 0
    assert len(saved_responses.list_files()) == 1
    assert "has no such attempt" in problems()[0]


def test_a_file_that_others_can_read_is_kept_and_reported_by_doctor(
    send_without_database: SendWithoutDatabase,
):
    send_without_database()
    [path] = saved_responses.list_files()
    path.chmod(0o644)
    assert saved_responses.record_saved_responses() == 0
    assert "chmod 600" in problems()[0]


def test_a_file_that_contradicts_the_database_is_kept_and_reported_by_doctor(
    send_without_database: SendWithoutDatabase,
):
    send_without_database()
    [path] = saved_responses.list_files()
    text = path.read_text()
    saved_responses.record_saved_responses()
    path.write_text(text.replace('"http_status": 200', '"http_status": 403'))
    path.chmod(0o600)
    assert saved_responses.record_saved_responses() == 0
    assert "another response" in problems()[0]


def test_a_response_that_cannot_be_kept_either_is_reported_and_logged(
    make_deletion: RequestDeletion,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    (data_dir / "saved_responses").write_text("a file where the directory should be")

    def refuse(*_: object, **__: object) -> int:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(recording, "record", refuse)
    with pytest.raises(ResponseNotRecordedError) as caught:
        make_deletion()
    assert caught.value.location == ResponseLocation.NOWHERE
    deletion = Deletion.objects.get()
    assert deletion.state == State.SENDING
    assert f"{deletion.pk} could not be recorded anywhere" in caplog.text
    assert "Datadog returned 200" in caplog.text


def test_a_database_failure_after_recording_changes_nothing(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OperationalError("the database went away")

    def fail_from_then_on(point: Point, **_: object) -> None:
        if point == Point.AFTER_RESULT:
            monkeypatch.setattr(CursorWrapper, "execute", fail)

    monkeypatch.setattr(failpoints, "hit", fail_from_then_on)
    deletion = make_deletion()
    monkeypatch.undo()
    assert deletion.outcome == Outcome.DELETED
    assert Deletion.objects.get().outcome == Outcome.DELETED
