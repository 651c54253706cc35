"""An access review from its start to its bundle. The verifier names whatever is changed in it."""

import json
from collections.abc import Callable
from datetime import timedelta
from html import escape, unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.http import FileResponse
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_reviews import population
from connections.access_reviews.deleting import plan_deletions
from connections.audit.signing import load_signing_key
from connections.batches import drafts, running
from connections.core import clock
from connections.core.errors import ConflictError
from connections.evidence import bundles, contents, verification
from connections.evidence.records import kind_of
from connections.evidence.stored_events import Fault
from connections.models import (
    AccessKind,
    AccessReview,
    AccessReviewDecision,
    AuditEvent,
    CredentialAccess,
    Deletion,
    Org,
    Person,
)
from connections.people import erasure
from connections.verifier.events import ACCESS_REVIEW, DELETION
from connections.verifier.folding import rows_named
from connections.verifier.rules import (
    RULES,
    closing_problems,
    decisions_by_row,
    gone_text,
    was_deleted,
)
from sandbox.server import SandboxServer
from tests.access_reviews.support import close, decide, start, states
from tests.batches.support import add_connections, request, sync_now
from tests.evidence.columns import (
    assert_each_bundled_column_counts,
    assert_each_stored_column_counts,
    assert_each_stored_row_counts,
    newest_rows,
    tables_of,
)
from tests.evidence.markup import assert_no_leaf_becomes_markup
from tests.evidence.support import Forger, Made, complaint, page_of, run_verifier
from tests.flows.support import store_credential
from tests.support.append_only import triggers_off

NAME = "Partners, “Süd” <b>"


@pytest.fixture
def review(
    transactional_db: None, sandbox: SandboxServer, ada: Person, grace: Person, edith: Person
) -> AccessReview:
    """A closed access review of six connections, one of which Ada can't see.

    Then one is deleted.
    """
    payments = store_credential(sandbox, "Payments US", is_read=False)
    hidden = store_credential(sandbox, "Group SOC", is_read=False)
    CredentialAccess.objects.create(credential=hidden, person=grace, kind=AccessKind.SEE)
    keys = add_connections(sandbox, 5)
    [of_grace] = add_connections(sandbox, 1, source="Group SOC")
    sync_now(payments, hidden)
    made = population.start_review(
        actor=person_actor(person=edith),
        name=NAME,
        scope="q=Partner",
        due=clock.now().date() + timedelta(days=30),
        reviewers=[ada, grace],
    )
    keep_until = clock.now().date() + timedelta(days=90)
    decide(made, ada, keys[0], keep_until=keep_until)
    decide(made, ada, *keys[1:4], decision="delete", reason="The partner left.")
    decide(made, grace, keys[0], of_grace)
    assert states(made, ada) == ["keep", "delete", "delete", "delete", "pending"]
    sandbox.world.remove_connection(connection_id=keys[3].rpartition("/")[2])
    add_connections(sandbox, 1)
    sync_now(payments, hidden)
    close(made, edith, "Its owner is away until January.")
    actor = person_actor(person=ada)
    batch = plan_deletions(review=made, actor=actor).batch
    drafts.remove_rows(batch=batch, actor=actor, connections=[keys[2]])
    request(batch, ada)
    running.run_due(actor=WORKER)
    return made


_MADE: list[Made] = []


@pytest.fixture
def made(transactional_db: None, request: pytest.FixtureRequest) -> Made:
    """Its bundle, which all tests share."""
    if not _MADE:
        _MADE.append(make(request.getfixturevalue("review")))
    return _MADE[0]


def make(review: AccessReview) -> Made:
    output = BytesIO()
    bundle = bundles.make_access_review_bundle(actor=command_actor(), review=review, output=output)
    key = load_signing_key()
    return Made(
        data=output.getvalue(), bundle=bundle, key=key, first_fingerprint=key.fingerprint, kept=""
    )


@pytest.mark.database
def test_a_decision_in_place_of_the_owner_needs_attention_and_another_owner_is_a_fault(
    transactional_db: None,
    sandbox: SandboxServer,
    ada: Person,
    grace: Person,
    edith: Person,
    tmp_path: Path,
):
    payments = store_credential(sandbox, "Payments US", is_read=False)
    [key] = add_connections(sandbox, 1)
    sync_now(payments)
    Org.objects.filter(org_id=payments.org_id).update(owner=ada)
    review = start(edith, scope="q=Partner", by_owners=True)
    Person.objects.filter(pk=ada.pk).update(is_active=False)
    decide(review, grace, key)
    close(review, edith)
    made = make(review)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, verdict.text.count("Someone other than its owner decided")) == (0, 1)
    record = review_in(lines_of(made))
    rows, about = record["rows"], (ACCESS_REVIEW, record["id"])
    events = [event for event in Forger(made=made).events() if event.about == about]
    [decision] = [name for name in rows if name.startswith("decision ")]
    assert rows[decision]["owner_id"] == str(ada.pk)
    changed = rows | {decision: rows[decision] | {"owner_id": str(grace.pk)}}
    problems = [list(RULES[ACCESS_REVIEW](each, events)) for each in (rows, changed)]
    assert problems == [[], ["a decision about row 1 names another owner"]]


@pytest.mark.database
def test_a_closed_access_review_is_evidence_from_its_start_to_the_deletions(
    review: AccessReview, tmp_path: Path
):
    made = make(review)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, "VERIFIED: every check passed." in verdict.text) == (0, True)
    assert "(6 connections, 6 decisions)" in verdict.text
    assert verdict.text.count("was to be deleted: no deletion succeeded") == 1
    assert verdict.text.count("was to be deleted: removed outside Org Admin") == 1
    assert verdict.text.count("left open without a decision that counts") == 1
    records = lines_of(made)
    assert sorted(line["row"]["closed_as"] for line in records if "row" in line) == [
        *("delete", "delete", "delete", "keep", "keep", "pending")
    ]
    [deletion] = [line["rows"]["deletion"] for line in records if line.get("kind") == DELETION]
    assert deletion["outcome"] == "deleted"
    bundled = review_in(records)["rows"]
    together = [each["decided_together"] for each in rows_named(bundled, "decision")]
    assert together == [1, 3, 3, 3, 2, 2]
    bundled = bundled["access_review"]
    assert len(bundled["appeared"]) == 1
    assert {org["org_name"] for org in bundled["coverage"]["orgs"]} == {"Payments US", "Group SOC"}
    # The names of reviewers are compared with an event, so they are not among what isn't proven.
    assert ("A reviewer looked closely" in verdict.text, "right names" in verdict.text) == (
        True,
        False,
    )
    assert "<b>" not in page_of(made.data, tmp_path)
    assert verification.verify_audit_log().fault is None


@pytest.mark.sweep
def test_no_leaf_of_its_bundle_becomes_markup(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    assert_no_leaf_becomes_markup(made, tmp_path, subtests)


def test_a_decision_that_was_carried_out_before_the_closing_names_its_deletion(
    transactional_db: None,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    tmp_path: Path,
):
    payments = store_credential(sandbox, "Payments US", is_read=False)
    add_connections(sandbox, 1)
    sync_now(payments)
    review = start(edith, scope="q=Partner")
    decide(review, ada, decision="delete")
    planned = plan_deletions(review=review, actor=person_actor(person=ada))
    request(planned.batch, ada)
    running.run_due(actor=WORKER)
    sync_now(payments)
    close(review, edith)
    assert states(review, ada) == ["delete"]
    deletion = Deletion.objects.get()
    assert f"/deletions/{deletion.pk}/" in client_of(ada).get(f"/reviews/{review.pk}/").text
    made = make(review)
    [line] = [line for line in lines_of(made) if "row" in line]
    assert (line["row"]["closed_as"], line["is_gone"]) == ("delete", True)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, "decided to delete" in verdict.text) == (0, False)


def test_its_page_links_to_the_bundle(
    review: AccessReview, edith: Person, client_of: Callable[[Person], Client], tmp_path: Path
):
    client = client_of(edith)
    url = f"/reviews/{review.pk}/export/?format=bundle"
    assert url in client.get(f"/reviews/{review.pk}/").content.decode()
    response = client.get(url)
    assert isinstance(response, FileResponse)
    assert 'filename="evidence-access-review-partners-sud-b-20' in response["Content-Disposition"]
    data = response.getvalue()
    assert complaint(data, tmp_path) == ""
    page = page_of(data, tmp_path)
    assert f"<title>Access review: {escape(NAME)}</title>" in page
    shown = unescape(client.get("/evidence/").text)
    assert f"An evidence bundle of the access review {NAME} was made: 1 deletion," in shown
    events = AuditEvent.objects.filter(code__startswith="evidence_bundle.").order_by("seq")
    assert [f" of the access review {NAME}" in event.stored_sentence for event in events] == [
        True
    ] * 2


def test_an_open_access_review_has_no_bundle(review: AccessReview):
    review.state = "open"
    with pytest.raises(ConflictError):
        make(review)


def test_a_record_with_many_rows_continues_on_more_lines(
    review: AccessReview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(contents, "ROWS_PER_LINE", 4)
    made = make(review)
    assert [list(line) for line in lines_of(made)].count(["rows"]) == 2
    assert complaint(made.data, tmp_path) == ""
    forger = Forger(made=made)
    more = next(line for line in forger.records() if list(line) == ["rows"])
    forger.edit_records(lambda records: records.insert(records.index(more), more))
    assert complaint(forger.signed(), tmp_path) == "A row of a record is duplicated."


@pytest.mark.database
def test_it_still_verifies_when_its_people_are_erased(
    review: AccessReview, ada: Person, grace: Person, tmp_path: Path
):
    for person in (ada, grace):
        erasure.erase_person(actor=command_actor(), person=person)
    made = make(review)
    assert (made.bundle.differing, complaint(made.data, tmp_path)) == (0, "")
    assert verification.verify_audit_log().fault is None


type Records = list[dict[str, Any]]


def lines_of(made: Made) -> Records:
    return Forger(made=made).records()


def review_in(records: Records) -> dict[str, Any]:
    return next(line for line in records if line.get("kind") == ACCESS_REVIEW)


def test_a_decision_by_someone_who_is_not_a_reviewer_is_named(made: Made):
    record = review_in(lines_of(made))
    about = (ACCESS_REVIEW, record["id"])
    events = [event for event in Forger(made=made).events() if event.about == about]
    rule = RULES[ACCESS_REVIEW]
    assert list(rule(record["rows"], events)) == []
    [grace] = [row for row in rows_named(record["rows"], "reviewer") if row["name"] == "Grace"]
    events[0].details["reviewers"].remove(grace["person_id"])
    [named] = rule(record["rows"], events)
    assert "Grace was not a reviewer when they decided in event" in named


def test_a_connection_gone_after_an_unknown_deletion_was_not_surely_removed_elsewhere():
    row = {"is_gone": True}
    assert gone_text(row, []) == "removed outside Org Admin"
    assert gone_text(row, [{"state": "unknown"}]) == "gone, but it is not proven how"
    assert gone_text({"is_gone": False}, []) == ""
    assert was_deleted([{"outcome": "deleted"}])
    assert not was_deleted([{"outcome": "deleted", "contradicted_at": "x"}, {"outcome": "refused"}])


# --- Changes of the bundle, signed with the right key ---------------------------------------------


@pytest.mark.sweep
def test_each_column_of_an_access_review_its_rows_reviewers_and_decisions_counts(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    name = review_in(lines_of(made))["id"]
    assert_each_bundled_column_counts(made, name, tmp_path, subtests)


def without_the_review(records: Records) -> None:
    del records[records.index(review_in(records)) :]


def with_an_unknown_deletion(records: Records) -> None:
    """Without the row of its connection."""
    deletion = next(line for line in records if line.get("kind") == DELETION)
    deletion["rows"]["deletion"]["site"] = "us9"


EDITS: dict[str, tuple[Callable[[Records], Any], str]] = {
    "row removed": (lambda records: records.pop(), "“count” of the row “access_review_rows”"),
    "row repeated": (
        lambda records: records.append(records[-1]),
        "“count” of the row “access_review_rows”",
    ),
    "no access review": (without_the_review, "events of records that it does not contain"),
    "which one": (
        lambda records: review_in(records).update(id="00000000-0000-4000-8000-000000000000"),
        "does not match its events",
    ),
    "deletion of another connection": (with_an_unknown_deletion, "does not match its events"),
}


@pytest.mark.parametrize(("change", "named"), EDITS.values(), ids=EDITS.keys())
def test_a_change_of_the_access_review_is_named(
    made: Made, tmp_path: Path, change: Callable[[Records], Any], named: str
):
    forger = Forger(made=made)
    forger.edit_records(change)
    assert named in complaint(forger.signed(), tmp_path)


def test_a_replaced_decision_left_out_with_its_event_is_named(made: Made, tmp_path: Path):
    """The closing's digest covers only the decisions that count."""
    forger = Forger(made=made)
    replaced = '"keep_until":"20'
    forger.leave_out_events(
        lambda event: (
            event["code"] == "access_review.decided"
            and replaced in json.dumps(event["details"], separators=(",", ":"))
        )
    )

    def leave_out(records: Records) -> None:
        rows = review_in(records)["rows"]
        [name] = [
            name
            for name, columns in rows.items()
            if name.startswith("decision ") and "keep_until" in columns
        ]
        del rows[name]

    forger.edit_records(leave_out)
    found = complaint(forger.signed(), tmp_path)
    assert "it does not have as many decisions as were recorded when it was closed" in found


def test_an_access_review_left_out_with_its_events_is_named(made: Made, tmp_path: Path):
    forger = Forger(made=made)
    forger.leave_out_events(lambda event: event["code"].startswith("access_review."))
    forger.edit_records(without_the_review)
    found = complaint(forger.signed(), tmp_path)
    assert found.startswith("The access review is missing, or not the one recorded")


def closing_problems_after(
    made: Made, change: Callable[[dict[str, Any], Records], Any]
) -> list[str]:
    records = lines_of(made)
    rows = review_in(records)["rows"]
    review, review_rows = rows["access_review"], [line["row"] for line in records if "row" in line]
    newest = {row: some[-1] for row, some in decisions_by_row(rows).items()}
    change(review, review_rows)
    return list(closing_problems(review, review_rows, newest))


def test_the_closing_digest_covers_states_appeared_connections_coverage_and_reason(made: Made):
    digest = "its final states are not those of its closing digest"

    def keep(review: dict[str, Any], rows: Records) -> None:
        next(row for row in rows if row["closed_as"] == "delete")["closed_as"] = "keep"

    def pending(review: dict[str, Any], rows: Records) -> None:
        next(row for row in rows if row["closed_as"] == "pending")["closed_as"] = "gone"

    assert closing_problems_after(made, lambda review, rows: None) == []
    [wrong, other] = closing_problems_after(made, keep)
    assert (wrong.endswith(" is not its last decision"), other) == (True, digest)
    for change in (
        pending,
        lambda review, rows: rows.pop(),
        lambda review, rows: review["appeared"].pop(),
        lambda review, rows: review.update(open_reason="Another."),
        lambda review, rows: review["coverage_at_close"]["without_credential"].append({}),
    ):
        assert closing_problems_after(made, change) == [digest]


# --- Changes of the database by its owner ---------------------------------------------------------


@pytest.mark.database
def test_each_stored_column_of_an_access_review_counts(
    review: AccessReview, subtests: pytest.Subtests
):
    kind = kind_of(ACCESS_REVIEW)
    assert len(newest_rows(kind, review.pk)) == len(tables_of(kind))
    assert_each_stored_column_counts(kind, review.pk, subtests)
    assert_each_stored_row_counts(kind, review.pk, subtests)
    with triggers_off():
        AccessReviewDecision.objects.filter(decision="delete").delete()
    report = verification.verify_audit_log()
    assert report.differing_ids == {Fault.ACCESS_REVIEW: (str(review.pk),)}
    assert f"Access review {review.pk}: " in report.message
