"""Files of answers that the database did not take: recorded once, late when late, never lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.checks import ERROR
from django.db import OperationalError
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.core.errors import RecordedIn, ResponseNotRecordedError
from connections.deletions import reconciliation, sending, spool, verification
from connections.models import Deletion, Outcome, State
from connections.operations import checks
from tests.deletions.conftest import RequestDeletion, credential, make_deletion
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock

__all__ = ["credential", "make_deletion"]
pytestmark = pytest.mark.django_db

Lose = Callable[[], Deletion]


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    """A data directory of this test's own."""
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def lose(make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Delete, with a database that takes no answer; it is back afterwards."""

    def act() -> Deletion:
        def refuse(**_: object) -> bool:
            raise OperationalError("database is locked")

        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(sending, "record_response", refuse)
            with pytest.raises(ResponseNotRecordedError) as caught:
                make_deletion()
        assert caught.value.kept == RecordedIn.LOCALLY
        return Deletion.objects.get()

    return act


def problems() -> list[str]:
    """What doctor says about unusable kept responses."""
    return [
        finding.msg
        for finding in checks.run_all_checks()
        if (finding.obj, finding.level) == ("saved responses", ERROR)
    ]


def test_a_kept_response_is_recorded_like_any_other(lose: Lose) -> None:
    deletion = lose()
    assert (deletion.state, deletion.attempts.get().verdict) == (State.SENDING, "")
    assert sending.record_kept_responses() == 1
    deletion.refresh_from_db()
    attempt = deletion.attempts.get()
    assert (deletion.outcome, attempt.http_status, attempt.is_late) == ("deleted", 200, False)
    assert bytes(attempt.body) == b"{}\n"
    assert attempt.body_is_complete
    [event] = [
        one
        for one in audit.events_of(subject=deletion)
        if one.code == audit.EventCode.DELETION_ANSWERED
    ]
    assert (event.actor_name, bool(event.details["kept_at"])) == ("Ada", True)
    assert spool.kept_files() == []


def test_one_that_comes_after_the_claim_was_given_up_is_late(
    lose: Lose, clock: SettableClock
) -> None:
    deletion = lose()
    clock.advance(seconds=61)
    reconciliation.give_up_lost_claim(deletion=deletion, actor=WORKER)
    assert sending.record_kept_responses() == 1
    deletion.refresh_from_db()
    assert deletion.state == State.UNKNOWN
    assert deletion.attempts.get().is_late


def test_a_file_that_outlived_its_recording_is_not_recorded_again(lose: Lose) -> None:
    deletion = lose()
    [path] = spool.kept_files()
    text = path.read_bytes()
    sending.record_kept_responses()
    # As if the process had been killed between the two.
    path.write_bytes(text)
    path.chmod(0o600)
    events = len(audit.events_of(subject=deletion))
    assert sending.record_kept_responses() == 0
    assert len(audit.events_of(subject=deletion)) == events
    assert spool.kept_files() == []


def test_the_same_answer_handed_in_twice_is_recorded_once(lose: Lose) -> None:
    deletion = lose()
    kept, attempt = spool.check_kept(spool.kept_files()[0])
    assert sending.record_response(attempt=attempt, response=kept.response, actor=WORKER)
    assert not sending.record_response(attempt=attempt, response=kept.response, actor=WORKER)
    codes = [event.code for event in audit.events_of(subject=deletion)]
    assert codes.count(audit.EventCode.DELETION_ANSWERED) == 1
    assert audit.EventCode.DELETION_ANSWERED_LATE not in codes


def test_while_another_process_records_them_nothing_is_touched(lose: Lose) -> None:
    lose()
    with spool.locked() as is_alone:
        assert is_alone
        assert sending.record_kept_responses() == 0
    assert sending.record_kept_responses() == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1}'])
def test_one_that_cannot_be_understood_stays_and_is_named_by_the_doctor(
    lose: Lose, text: str
) -> None:
    lose()
    [path] = spool.kept_files()
    path.write_text(text)
    assert sending.record_kept_responses() == 0
    assert path.read_text() == text
    [problem] = problems()
    assert str(path) in problem


def test_one_of_another_database_stays_and_is_named_by_the_doctor(lose: Lose) -> None:
    deletion = lose()
    with triggers_off():
        deletion.attempts.update(epoch=7)
    assert sending.record_kept_responses() == 0
    assert len(spool.kept_files()) == 1
    assert "holds no such attempt" in problems()[0]


def test_one_that_others_can_read_stays_and_is_named_by_the_doctor(lose: Lose) -> None:
    lose()
    [path] = spool.kept_files()
    path.chmod(0o644)
    assert sending.record_kept_responses() == 0
    assert "chmod 600" in problems()[0]


def test_one_that_contradicts_the_record_stays_and_is_named_by_the_doctor(lose: Lose) -> None:
    lose()
    [path] = spool.kept_files()
    text = path.read_text()
    sending.record_kept_responses()
    path.write_text(text.replace('"http_status": 200', '"http_status": 403'))
    path.chmod(0o600)
    assert sending.record_kept_responses() == 0
    assert "another answer" in problems()[0]


def test_an_answer_that_no_file_takes_either_is_said_and_logged(
    make_deletion: RequestDeletion,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (data_dir / "spool").write_text("a file where the directory should be")

    def refuse(**_: object) -> bool:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(sending, "record_response", refuse)
    with pytest.raises(ResponseNotRecordedError) as caught:
        make_deletion()
    assert caught.value.kept == RecordedIn.NOWHERE
    deletion = Deletion.objects.get()
    assert deletion.state == State.SENDING
    assert f"{deletion.pk} could not be recorded anywhere" in caplog.text
    assert "Datadog returned 200" in caplog.text


def test_a_database_that_fails_after_the_recording_is_not_called_nothing_sent(
    make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise OperationalError("the database went away")

    monkeypatch.setattr(verification, "verify_deleted", fail)
    with pytest.raises(ResponseNotRecordedError) as caught:
        make_deletion()
    assert caught.value.kept == RecordedIn.IN_DATABASE
    assert Deletion.objects.get().outcome == Outcome.DELETED
