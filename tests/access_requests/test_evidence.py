"""What is recorded of access requests: every column, their approvals, and the life of a pair."""

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connections import __version__
from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_requests import ending
from connections.access_requests.requesting import WantedTerms
from connections.audit import checkpoints
from connections.change_requests import approvals, lifecycle, reconciliation
from connections.change_requests.actions import action_of
from connections.core import clock as database_clock
from connections.deletions.history import HistoryFilter
from connections.evidence.comparison import compare_all, read_events
from connections.evidence.differing import DifferingRecords
from connections.evidence.records import compare_record, kind_of, load_rows
from connections.evidence.verification import verify_and_store, verify_audit_log
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessRequestApproval,
    AccessRequestAttempt,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    OrgPair,
    Outcome,
    Person,
    RequestKind,
)
from connections.people import erasure
from connections.verifier.events import ACCESS_REQUEST, Event
from connections.verifier.folding import Rows
from connections.verifier.messages import VerificationFailed
from connections.verifier.rules import Ends, done_without_approvals, sent_at_end
from connections.verifier.verification import Verification
from sandbox import faults
from sandbox.server import SandboxServer
from tests.evidence.columns import (
    assert_each_bundled_column_counts,
    assert_each_stored_column_counts,
    assert_each_stored_row_counts,
    differences,
    is_found,
    newest_rows,
    tampering,
)
from tests.evidence.markup import assert_no_leaf_becomes_markup
from tests.evidence.support import Forger, complaint, make, page_of, run_verifier, verified
from tests.support.access_requests import request_for
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock
from tests.support.processes import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database(every=3)]

KIND = kind_of(ACCESS_REQUEST)
TERMS: WantedTerms = {"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"}


def approve_and_confirm(
    access_request: AccessRequest, *, approver: Person | None, by: Person
) -> AccessRequest:
    """Approve what was requested, if anyone needs to, and confirm it."""
    digest, actor = access_request.approval_digest, person_actor(person=by)
    if approver:
        second = person_actor(person=approver)
        number = access_request.approval_round
        approvals.approve(
            change_request=access_request, actor=second, digest=digest, approval_round=number
        )
        access_request.refresh_from_db()
    text = action_of(access_request).confirmation_text(access_request, actor=actor)
    lifecycle.execute(change_request=access_request, actor=actor, confirmation=text)
    access_request.refresh_from_db()
    return access_request


@pytest.fixture
def approved(
    request: pytest.FixtureRequest,
    credential: Credential,
    ada: Person,
    linus: Person,
    clock: SettableClock,
) -> AccessRequest:
    """Ada requested access until the end of the year, Linus approved it, and it was given.

    The parameter is the kind; by default, a connection is created.
    """
    kind = getattr(request, "param", RequestKind.CREATE)
    is_new = kind == RequestKind.CREATE
    pair = request.getfixturevalue("free_pair" if is_new else "listed_pair")
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=pair,
        kind=kind,
        wanted={
            "types": ["logs"] if is_new else ["audit", "logs"],
            "owner": ada,
            "purpose": "incident response",
            "ends_on": date(database_clock.now().year, 12, 31),
        },
    )
    clock.advance(seconds=1)
    given = approve_and_confirm(access_request, approver=linus, by=ada)
    assert given.outcome == (AccessOutcome.CREATED if is_new else AccessOutcome.CHANGED)
    clock.advance(seconds=1)
    return given


def rows_and_events(access_request: AccessRequest) -> tuple[Rows, list[Event]]:
    """The rows of an access request as a bundle has them, and its events."""
    pk = access_request.pk
    documents, shown = read_events(subject_type=ACCESS_REQUEST, subject_ids=[str(pk)])
    events = [Event(document, shown) for document in documents[str(pk)]]
    return load_rows(KIND, ids=[pk])[pk], events


# --- Each row and column --------------------------------------------------------------------------


@pytest.mark.sweep
def test_each_column_of_an_access_request_its_attempts_and_approvals_counts(
    approved: AccessRequest, subtests: pytest.Subtests, tmp_path: Path
):
    assert {table.name for table, _ in newest_rows(KIND, approved.pk)} == {
        *("access_request", "attempt", "approval")
    }
    assert_each_stored_column_counts(KIND, approved.pk, subtests)
    assert_each_stored_row_counts(KIND, approved.pk, subtests)
    assert_each_bundled_column_counts(make(), str(approved.pk), tmp_path, subtests)


TAMPERINGS: dict[str, Callable[[AccessRequest], object]] = {
    "data types": lambda one: AccessRequest.objects.update(types_after=["audit", "logs"]),
    "last day": lambda one: AccessRequest.objects.update(ends_on=None),
    "attempt removed": lambda one: one.attempts.all()._raw_delete("default"),
    "approval removed": lambda one: one.approvals.all()._raw_delete("default"),
    "approval by the requester": lambda one: one.approvals.update(approver=one.requested_by),
    "approval without an event": lambda one: AccessRequestApproval.objects.create(
        access_request=one,
        approver=one.approvals.get().approver,
        approver_name="X",
        requester=one.requested_by,
        round=2,
        decision="approved",
        digest=one.approval_digest,
        decided_at=one.requested_at,
    ),
    "attempt without an event": lambda one: AccessRequestAttempt.objects.create(
        access_request=one,
        number=2,
        epoch=2,
        method="POST",
        was_rechecked=True,
        claimed_at=one.requested_at,
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_the_product_and_the_verifier_find_what_no_event_records(
    approved: AccessRequest, what: str, tmp_path: Path
):
    name, forger = str(approved.pk), Forger(made=make())
    with tampering():
        TAMPERINGS[what](approved)
        assert is_found(KIND, approved.pk)
        [rows] = load_rows(KIND, ids=[approved.pk]).values()
    forger.edit_records(lambda records: _record(records, name).update(rows=rows))
    problem = complaint(forger.signed(), tmp_path)
    assert problem.startswith(f"Access request {name} does not match its events")


def _record(records: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(record for record in records if record.get("id") == name)


def test_events_without_their_access_request_are_named(approved: AccessRequest):
    with tampering():
        for rows in (approved.attempts, approved.approvals):
            rows.all()._raw_delete("default")
        AccessRequest.objects.filter(pk=approved.pk)._raw_delete("default")
        report = verify_audit_log()
    assert "its events exist, but the access request itself is missing" in report.message


def test_an_access_request_without_events_is_named(approved: AccessRequest):
    with tampering():
        added = AccessRequest.objects.get()
        added.pk, added.request_id = uuid4(), uuid4()
        added.save(force_insert=True)
        [found] = differences(KIND, added.pk).values()
    assert found == "no event records the row “access_request”"


def test_the_command_names_an_access_request_that_differs(approved: AccessRequest):
    with triggers_off():
        AccessRequest.objects.update(purpose="something else")
    code, document = verified()
    assert (code, document["fault"]) == (1, "differing_access_request")
    assert document["access_requests"] == [str(approved.pk)]


def test_a_verification_that_names_an_access_request_is_stored(approved: AccessRequest):
    with triggers_off():
        AccessRequest.objects.update(purpose="something else")
    *_, stored = verify_and_store()
    assert stored
    stored.refresh_from_db()
    assert stored.fault == "differing_access_request"


# --- Approvals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("approved", [RequestKind.CREATE, RequestKind.CHANGE], indirect=True)
def test_each_attempt_needs_approvals_by_others(approved: AccessRequest):
    rows, events = rows_and_events(approved)
    assert compare_record(KIND, rows=rows, events=events) == []
    assert done_without_approvals(events) == []
    [approval] = [event for event in events if event.step == "approved"]
    without = [event for event in events if event is not approval]
    [lacking] = done_without_approvals(without) or []
    assert lacking.code == "access_request.sending"
    # The service would have recorded it like this if nothing had refused it.
    approval.actor_id = str(approved.requested_by_id)
    assert done_without_approvals(events) == [lacking]
    [key] = [name for name in rows if name.startswith("approval ")]
    for columns in (rows[key], approval.details["rows"][key]):
        columns["approver_id"] = str(approved.requested_by_id)
    assert compare_record(KIND, rows=rows, events=events) == ["its requester decided about it"]


def test_another_method_than_its_kind_is_found(approved: AccessRequest):
    rows, events = rows_and_events(approved)
    [sending] = [event for event in events if event.step == "sending"]
    for columns in (rows["attempt 1"], sending.details["rows"]["attempt 1"]):
        columns["method"] = "DELETE"
    assert compare_record(KIND, rows=rows, events=events) == ["attempt 1 is not what was requested"]


def test_an_attempt_after_a_lost_response_needs_approval_again(
    free_pair: OrgPair, ada: Person, linus: Person, sandbox: SandboxServer, clock: SettableClock
):
    """The rounds are those of deletions."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, method="POST")
    access_request = request_for(actor=person_actor(person=ada), pair=free_pair, wanted=TERMS)
    access_request = approve_and_confirm(access_request, approver=linus, by=ada)
    assert access_request.state == "unknown"
    _, events = rows_and_events(access_request)
    [sending] = [event for event in events if event.step == "sending"]
    again = Event(
        {
            **json.loads(AuditEvent.objects.get(seq=sending.seq).text),
            "seq": events[-1].seq + 1,
            "details": {"attempt": 2, "state": "sending"},
        },
        sending._texts,
    )
    assert done_without_approvals([*events, again]) == [again]


@pytest.fixture
def interrupted(
    ada: Person,
    linus: Person,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    clock: SettableClock,
) -> AccessRequest:
    """A move whose POST was lost, so that it can be confirmed again."""
    verification = [{"check": "permissions", "ok": True}]
    Credential.objects.update(policy=ApprovalPolicy.ONE, verification=verification)
    wanted: WantedTerms = {"owner_text": "SOC team", "purpose": "incident response"}
    actor = person_actor(person=ada)
    moved = request_for(actor=actor, pair=listed_pair, kind=RequestKind.MOVE, wanted=wanted)
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="POST", times=1)
    moved = approve_and_confirm(moved, approver=linus, by=ada)
    check_twice(moved, clock)
    assert moved.state == "approved"
    return moved


def check_twice(access_request: AccessRequest, clock: SettableClock) -> None:
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        reconciliation.reconcile_unknown(change_request=access_request, actor=WORKER)


def test_a_move_has_one_delete_and_then_a_post_under_its_approvals(
    interrupted: AccessRequest, ada: Person, tmp_path: Path
):
    """Also after a POST whose response was lost, because the whole move was approved."""
    moved = approve_and_confirm(interrupted, approver=None, by=ada)
    assert moved.outcome == AccessOutcome.CREATED
    rows, events = rows_and_events(moved)
    assert compare_record(KIND, rows=rows, events=events) == []
    assert done_without_approvals(events) == []
    sent = [event for event in events if event.step == "sending"]
    assert len(sent) == 3
    assert done_without_approvals([each for each in events if each.step != "approved"]) == sent
    made = make()
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert verdict.code == 0, verdict.text
    assert f"<bdi>{moved.moved_from}</bdi>" in page_of(made.data, tmp_path)
    wrong = "its POST was sent before its connection was deleted"
    for number, method in ((1, "POST"), (2, "DELETE")):
        rows, events = rows_and_events(moved)
        [sending] = [each for each in events if each.details.get("attempt") == number][:1]
        for columns in (rows[f"attempt {number}"], sending.details["rows"][f"attempt {number}"]):
            columns["method"] = method
        found = compare_record(KIND, rows=rows, events=events)
        assert (wrong in found) == (number == 1), (number, found)


@pytest.mark.parametrize(("minutes", "late"), [(58, []), (61, [3]), (76, [2, 3])])
def test_a_post_long_after_its_delete_needs_approvals_of_its_own(
    interrupted: AccessRequest, ada: Person, minutes: int, late: list[int]
):
    """An hour after the DELETE it can't be confirmed, and 15 minutes later it isn't retried."""
    moved = approve_and_confirm(interrupted, approver=None, by=ada)
    rows, events = rows_and_events(moved)
    recorded = [event.details.get("rows", {}).get("access_request") or {} for event in events]
    for columns in (rows["access_request"], *(each for each in recorded if "removed_at" in each)):
        at = datetime.fromisoformat(columns["removed_at"]) - timedelta(minutes=minutes)
        columns["removed_at"] = at.isoformat()
    assert compare_record(KIND, rows=rows, events=events) == [
        f"attempt {number} was sent too long after its connection was deleted" for number in late
    ]


def test_a_post_that_was_approved_again_after_the_hour_agrees_with_its_events(
    interrupted: AccessRequest, ada: Person, linus: Person, clock: SettableClock
):
    clock.advance(hours=2)
    assert lifecycle.expire(change_request=interrupted, actor=WORKER)
    check_twice(interrupted, clock)
    moved = approve_and_confirm(interrupted, approver=linus, by=ada)
    assert moved.outcome == AccessOutcome.CREATED
    rows, events = rows_and_events(moved)
    assert compare_record(KIND, rows=rows, events=events) == []
    assert done_without_approvals(events) == []


@pytest.mark.sweep
@pytest.mark.usefixtures("approved")
def test_no_leaf_of_an_access_request_becomes_markup(tmp_path: Path, subtests: pytest.Subtests):
    assert_no_leaf_becomes_markup(make(), tmp_path, subtests)


@pytest.mark.usefixtures("approved")
def test_an_older_verifier_could_not_check_what_it_does_not_know(tmp_path: Path):
    """It names the release whose verifier can, and still verifies what it knows."""
    old = (ROOT / "tests/releases/1.1.0/verify.pyz").read_bytes()
    verdict = run_verifier(make().data, tmp_path / "x", program=old)
    assert verdict.code == 2, verdict.text
    made_by = f"Org Admin {__version__} made it: use the verifier of"
    assert f"doesn't know, “access_request”. {made_by}" in verdict.text
    without = make(filters=HistoryFilter(status=("deleted",)))
    assert run_verifier(without.data, tmp_path / "x", program=old).code == 0


# --- The life of a pair ---------------------------------------------------------------------------


def test_one_bundle_holds_the_life_of_a_pair(
    approved: AccessRequest,
    credential: Credential,
    ada: Person,
    linus: Person,
    clock: SettableClock,
    tmp_path: Path,
):
    """Requested, approved, created, extended and, at its end, deleted."""
    pair = OrgPair(approved.site, approved.source_org_id, approved.sink_org_id)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=1)
    assert approved.ends_on
    extension = request_for(
        actor=person_actor(person=ada),
        pair=pair,
        kind=RequestKind.EXTEND,
        wanted={"ends_on": approved.ends_on.replace(year=approved.ends_on.year + 1)},
    )
    clock.advance(seconds=1)
    extension = approve_and_confirm(extension, approver=linus, by=ada)
    assert extension.outcome == AccessOutcome.EXTENDED
    clock.advance(seconds=1)
    clock.advance(seconds=2 * 366 * 86_400)
    assert ending.end_due(actor=WORKER) == [extension]
    clock.advance(seconds=1)
    deletion = Deletion.objects.get()
    assert (deletion.outcome, deletion.policy) == (Outcome.DELETED, ApprovalPolicy.ONE)
    made = make(filters=HistoryFilter(connection_id=approved.connection_id))
    assert (made.bundle.deletions, made.bundle.access_requests) == (1, 2)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert verdict.code == 0, verdict.text
    assert "1 deletion and 2 access requests requested from" in verdict.text
    assert "Of 2 attempted access requests that required approval, 2 had enough" in verdict.text
    # The approval of the access covers the deletion at its end.
    assert "Of 1 attempted deletion that required approval, 1 had enough" in verdict.text
    assert "without required approvals" not in verdict.text
    page = page_of(made.data, tmp_path)
    for record in (approved, extension, deletion):
        assert f"<bdi>{record.pk}</bdi></p>" in page
    for outcome in ("Created", "Extended: the access ends later", "Deleted: Datadog returned 200"):
        assert f"<dt><bdi>Outcome</bdi></dt><dd><bdi>{outcome}</bdi></dd>" in page
    assert f"<dt><bdi>Deletion ID</bdi></dt><dd><bdi>{deletion.pk}</bdi></dd>" in page
    # The extension is no attempt, and still needs its approvals.
    _, events = rows_and_events(extension)
    without = [event for event in events if event.step != "approved"]
    [lacking] = done_without_approvals(without) or []
    assert lacking.details["outcome"] == "extended"
    # What was approved is the deletion after the last day.
    rows, events = rows_and_events(extension)
    assert rows["access_request"]["deletion_id"] == str(deletion.pk)
    [ended] = [event for event in events if event.step == "ended"]
    ended.at = f"{extension.ends_on}T23:59:59.000000Z"
    [problem] = compare_record(KIND, rows=rows, events=events)
    assert problem == "the access ended before its last day had passed"
    # Its last event about an end names the deletion.
    ended.details["deletion"] = str(approved.pk)
    assert "its end is not the deletion that was requested then" in compare_record(
        KIND, rows=rows, events=events
    )
    # Without the access requests that population.json counts, it fails.
    forger = Forger(made=made)
    forger.edit_json(
        "population.json", lambda facts: facts["access_requests"].update(selected=1, in_period=1)
    )
    assert "do not match the access requests" in run_verifier(forger.signed(), tmp_path / "y").text


def test_the_verifier_lists_an_automatic_deletion_that_too_few_people_approved(
    approved: AccessRequest, credential: Credential, clock: SettableClock, tmp_path: Path
):
    """Also if the bundle doesn't have the access request."""
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=366 * 86_400)
    ending.end_due(actor=WORKER)
    deletion = Deletion.objects.get()
    _, events = rows_and_events(approved)
    pk = str(deletion.pk)
    documents, shown = read_events(subject_type=Deletion.noun, subject_ids=[pk])
    of_deletion = [Event(document, shown) for document in documents[pk]]
    assert len(sent_at_end(of_deletion)) == 1
    for step, unapproved, enough in (("approved", ["attempt 1"], 0), ("nothing", [], 1)):
        ends = Ends()
        ends.require_approvals(pk, of_deletion, "attempt 1")
        assert ends.count_approvals([each for each in events if each.step != step]) == enough
        assert (ends.unapproved, ends.without_access) == (unapproved, [])
    clock.advance(seconds=1)
    made = make(filters=HistoryFilter(since=clock.at - timedelta(days=1)))
    assert (made.bundle.deletions, made.bundle.access_requests) == (1, 0)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    missing = f"Deletion {deletion.pk}: the bundle doesn't have the access request"
    assert missing in verdict.text


TAMPERED_ENDS: dict[str, dict[str, object]] = {
    "its end is a deletion that a person requested": {"requested_by_id": "someone"},
    "its end is the deletion of another connection": {"connection_id": "another"},
    "other data types than approved were deleted": {"connection_types": ["audit", "logs"]},
}


@pytest.mark.parametrize("problem", TAMPERED_ENDS)
def test_the_product_and_the_verifier_compare_the_deletion_at_an_end(
    approved: AccessRequest,
    credential: Credential,
    clock: SettableClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    problem: str,
):
    """Also if the events of the deletion say the same as its row."""
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    clock.advance(seconds=366 * 86_400)
    assert ending.end_due(actor=WORKER) == [approved]
    clock.advance(seconds=1)
    made = make()
    verify = ("--fingerprint", made.key.fingerprint)
    assert run_verifier(made.data, tmp_path / "x", *verify).code == 0
    assert not differing_access_requests()
    add = Ends.add
    monkeypatch.setattr(
        Ends,
        "add",
        lambda self, name, row: add(self, name, dict(row) | TAMPERED_ENDS[problem]),
    )
    [found] = differing_access_requests()
    assert f"{approved.pk}: {problem}" in found
    path = tmp_path / "bundle.zip"
    path.write_bytes(made.data)
    with pytest.raises(VerificationFailed, match=problem):
        Verification(str(path)).run()


def differing_access_requests() -> list[str]:
    """What the verification of the audit log says about access requests."""
    differing = DifferingRecords(noun=KIND.noun)
    for _ in compare_all(KIND, differing=differing):
        pass
    return differing.descriptions


def test_who_confirmed_what_nobody_requested_is_not_the_one_who_approved_it(
    approved: AccessRequest,
):
    _, events = rows_and_events(approved)
    assert done_without_approvals(events) == []
    del events[0].details["rows"]["access_request"]["requested_by_id"]
    assert done_without_approvals(events) == []
    [approval] = [event for event in events if event.step == "approved"]
    [confirmed] = [event for event in events if event.step == "confirmed"]
    confirmed.actor_id = approval.actor_id
    assert len(done_without_approvals(events) or []) == 1


def test_a_bundle_has_the_access_requests_that_its_filter_matches(approved: AccessRequest):
    source = f"{approved.site}/{approved.source_org_id}"
    for filters, count in (
        (HistoryFilter(), 1),
        (HistoryFilter(site=(approved.site,), org=(source,)), 1),
        (HistoryFilter(person=(approved.requested_by_id or approved.pk,)), 1),
        (HistoryFilter(text="incident"), 1),
        (HistoryFilter(text="nothing like it"), 0),
        (HistoryFilter(connection_id=approved.pk), 0),
        (HistoryFilter(until=approved.requested_at), 0),
        (HistoryFilter(ticket="T-1"), 0),
        # A status is one of deletions.
        (HistoryFilter(status=("refused",)), 0),
    ):
        assert make(filters=filters).bundle.access_requests == count, filters


def test_a_bundle_of_an_earlier_release_has_no_access_requests(
    credential: Credential, tmp_path: Path
):
    checkpoints.make_checkpoint()
    forger = Forger(made=make())
    forger.edit_json("population.json", lambda facts: facts.pop("access_requests"))
    assert run_verifier(forger.signed(), tmp_path / "x").code == 0


# --- People ---------------------------------------------------------------------------------------


def test_erasing_people_leaves_no_name_and_the_record_intact(
    approved: AccessRequest, ada: Person, linus: Person
):
    for person in (ada, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    approved.refresh_from_db()
    approval = approved.approvals.get()
    names = (approved.requested_by_name, approved.confirmed_by_name, approval.approver_name)
    assert all(name.startswith("erased person no. ") for name in (*names, approved.settled_by_name))
    # As a word: a random ID can contain these letters.
    assert not re.search(rf"\b{ada.display_name.casefold()}\b", approved.search_text)
    assert verified()[0] == 0
