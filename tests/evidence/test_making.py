"""Making a bundle: what is recorded, who can, which names stay erased, and what is refused."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from pytest_django import Settings

from connections import audit
from connections.access.actor import Actor, command_actor, person_actor
from connections.audit import EventCode
from connections.audit.signing import SigningKeyError
from connections.change_requests import reconciliation
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.deletions.history import HistoryFilter
from connections.evidence import bundles, files, verification
from connections.evidence.files import BundleError
from connections.models import AuditEvent, Checkpoint, Credential, Deletion, Person
from connections.people import erasure
from sandbox.server import SandboxServer
from tests.evidence.support import (
    ASKED,
    ONLY,
    complaint,
    deletions_in,
    files_of,
    make,
    request,
    sync_all,
)
from tests.support.append_only import triggers_off
from tests.support.sandbox import org_named

pytestmark = pytest.mark.usefixtures("history")


def event(code: EventCode) -> AuditEvent:
    return AuditEvent.objects.get(code=code)


def test_a_bundle_larger_than_a_plain_zip_is_refused(monkeypatch: pytest.MonkeyPatch):
    size = len(make().data)
    monkeypatch.setattr(files, "_MAX_ZIP_BYTES", size // 2)
    with pytest.raises(BundleError, match="would be larger than"):
        make()


def document(data: bytes, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(files_of(data)[name])
    return found


@pytest.mark.database
def test_making_a_bundle_is_recorded_before_and_after(edith: Person, tmp_path: Path):
    made = make(actor=person_actor(person=edith))
    started, finished = (
        event(code)
        for code in (EventCode.EVIDENCE_BUNDLE_STARTED, EventCode.EVIDENCE_BUNDLE_FINISHED)
    )
    assert started.sentence == "Edith started an evidence bundle."
    assert started.details["filter"] == ASKED
    assert finished.details["started"] == started.seq
    assert finished.details["deletions"] == made.bundle.deletions == 4
    assert finished.details["bytes"] == made.bundle.size == len(made.data)
    assert finished.details["sha256"] == made.bundle.sha256
    assert finished.details["differing"] == 0
    # The bundle's checkpoint is also stored, and covers the event of the start.
    stored = Checkpoint.objects.get(size=finished.details["checkpoint_size"])
    assert files_of(made.data)["checkpoint.txt"].decode() == stored.note
    assert stored.size >= started.seq
    assert complaint(made.data, tmp_path) == ""
    assert verification.verify_audit_log().fault is None


@pytest.mark.parametrize("who", ["ada", "linus", "margaret", "victor", "stranger"])
def test_only_auditors_can_make_one(
    who: str, request: pytest.FixtureRequest, actor_for: Callable[[Person], Actor]
):
    with pytest.raises(PermissionDenied):
        make(actor=actor_for(request.getfixturevalue(who)))
    assert not AuditEvent.objects.filter(code__startswith="evidence_bundle.").exists()


def test_a_failed_bundle_is_recorded_as_aborted():
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        bundles.make_bundle(actor=command_actor(), filters=ONLY, query="", output=Full())
    assert event(EventCode.EVIDENCE_BUNDLE_ABORTED).details["cause"] == "OSError"
    assert not AuditEvent.objects.filter(code=EventCode.EVIDENCE_BUNDLE_FINISHED).exists()


@pytest.mark.database
def test_it_contains_exactly_the_filtered_deletions_and_counts_the_rest(tmp_path: Path):
    made = make(filters=replace(ONLY, status=("refused",)))
    facts = document(made.data, "population.json")
    assert (facts["selected"], facts["in_period"]) == (1, 4)
    assert facts["counts"] == {"refused": 1}
    assert facts["filter_in_words"] == "site sandbox-us1, status Failed"
    assert complaint(made.data, tmp_path) == ""


@pytest.mark.database
def test_a_bundle_of_an_empty_period_verifies(tmp_path: Path):
    until = datetime(2020, 1, 1, tzinfo=UTC)
    made = make(filters=HistoryFilter(since=datetime(2019, 1, 1, tzinfo=UTC), until=until))
    facts = document(made.data, "population.json")
    assert facts["period"] == {
        "since": "2019-01-01T00:00:00+00:00",
        "until": "2020-01-01T00:00:00+00:00",
        "timezone": "UTC",
    }
    assert files_of(made.data)["records.ndjson"] == b""
    assert complaint(made.data, tmp_path) == ""


@pytest.mark.database
def test_an_erased_person_is_not_named(ada: Person, linus: Person, tmp_path: Path):
    for person in (ada, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    made = make()
    text = b"".join(files_of(made.data).values()).decode(errors="replace")
    for name in ("Ada", "Linus"):
        assert f'"{name}"' not in text
        assert f">{name}<" not in text
    assert "erased person no. " in text
    assert complaint(made.data, tmp_path) == ""


def test_an_erased_name_shared_by_other_people_is_not_shown(
    ada: Person, grace: Person, tmp_path: Path
):
    Person.objects.filter(pk=grace.pk).update(first_name="Ada")
    grace.refresh_from_db()
    audit.record(
        code=EventCode.SIGNED_IN,
        actor=person_actor(person=grace),
        sentence=audit.Sentence("Ada signed in."),
    )
    erased = erasure.erase_person(actor=command_actor(), person=ada)
    assert erased.shared_names == 1
    made = make()
    closers = {row["rows"]["deletion"].get("settled_by_name") for row in deletions_in(made)}
    assert "Ada" not in closers
    assert complaint(made.data, tmp_path) == ""


def test_it_contains_a_proof_for_a_checkpoint_kept_elsewhere(tmp_path: Path):
    first = make()
    kept = files_of(first.data)["checkpoint.txt"].decode()
    with triggers_off():
        Checkpoint.objects.all().delete()
    path = tmp_path / "kept.txt"
    path.write_text(kept)
    second = make(notes=[("kept.txt", kept)])
    assert complaint(second.data, tmp_path, kept=str(path)) == ""
    with pytest.raises(InvalidInputError, match=r"kept\.txt can't be read"):
        make(notes=[("kept.txt", "x")])
    with pytest.raises(InvalidInputError, match="not of this audit log"):
        make(notes=[("kept.txt", kept.replace("orgadmin/", "orgadmin/0"))])


def test_no_bundle_is_made_of_a_damaged_log():
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute("UPDATE connections_auditevent SET text = text || ' ' WHERE seq = 2")
    with pytest.raises(BundleError, match="verify_audit"):
        make()
    assert event(EventCode.EVIDENCE_BUNDLE_ABORTED).details["cause"] == "BundleError"


@pytest.mark.database
def test_a_row_changed_without_an_event_is_reported_and_fails(tmp_path: Path):
    with triggers_off():
        Deletion.objects.filter(outcome="refused").update(outcome="declined")
    made = make()
    assert made.bundle.differing == 1
    assert (
        "“outcome” of the row “deletion” is not what its events set" in made.bundle.differences[0]
    )
    assert event(EventCode.EVIDENCE_BUNDLE_FINISHED).details["differing"] == 1
    assert "does not match its events" in complaint(made.data, tmp_path)


def test_without_a_key_nothing_is_started(settings: Settings):
    make()
    Path(settings.SIGNING_KEY_FILE).unlink()
    with pytest.raises(SigningKeyError):
        make()


def test_a_deletion_requested_by_a_command_for_a_person_verifies(
    ada: Person, sandbox: SandboxServer, tmp_path: Path
):
    credential = Credential.objects.get(name="Payments US")
    world = sandbox.world
    source, sink = org_named(world, "Payments US"), org_named(world, "Archive US")
    added = world.add_connection(source_org=source, sink_org=sink)
    sync_all(credential)
    request(credential, added.id, actor=command_actor(), requester=ada)
    made = make()
    rows = [record["rows"]["deletion"] for record in deletions_in(made)]
    [row] = [row for row in rows if row["connection_id"] == added.id]
    assert (row["requested_by_name"], row["outcome"]) == ("Ada", "deleted")
    assert complaint(made.data, tmp_path) == ""


@pytest.mark.database
def test_a_deletion_settled_by_two_checks_verifies(tmp_path: Path):
    deletion = Deletion.objects.get(state="unknown")
    for seconds in (40, 110):
        with clock.offset(timedelta(seconds=seconds)):
            reconciliation.check(change_request=deletion, actor=command_actor())
    assert (deletion.outcome, deletion.cause) == ("gone_unattributed", "listings_agree")
    made = make()
    assert made.bundle.differences == ()
    assert complaint(made.data, tmp_path) == ""
