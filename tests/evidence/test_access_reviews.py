"""An access review from its start to its bundle. The verifier names whatever is changed in it."""

import json
from collections.abc import Callable
from datetime import timedelta
from html import escape, unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.http import FileResponse
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_reviews import population
from connections.access_reviews.deleting import plan_deletions
from connections.audit.signing import load_signing_key
from connections.batches import drafts, running
from connections.core import clock
from connections.core.errors import ConflictError
from connections.evidence import bundles, verification
from connections.evidence.stored_events import Fault
from connections.models import (
    AccessKind,
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    AuditEvent,
    CredentialAccess,
    Deletion,
    Person,
)
from connections.people import erasure
from connections.verifier.access_reviews import access_review_differences
from connections.verifier.archive import ACCESS_REVIEW_FILE
from connections.verifier.events import ACCESS_REVIEW, Event, display_value
from connections.verifier.record_pages import access_review_row
from sandbox.server import SandboxServer
from tests.access_reviews.support import close, decide, start, states
from tests.batches.support import add_connections, request, sync_now
from tests.evidence.support import Forger, Made, complaint, files_of, page_of, run_verifier
from tests.evidence.test_document import EVIDENCE
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


def document(made: Made) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files_of(made.data)[ACCESS_REVIEW_FILE])
    return found


@pytest.mark.database
def test_a_closed_access_review_is_evidence_from_its_start_to_the_deletions(
    review: AccessReview, tmp_path: Path
) -> None:
    made = make(review)
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, "VERIFIED: every check passed." in verdict.text) == (0, True)
    assert "(6 connections, 6 decisions)" in verdict.text
    assert verdict.text.count("was to be deleted: no deletion succeeded") == 1
    assert verdict.text.count("was to be deleted: removed outside Org Admin") == 1
    assert verdict.text.count("left open without a decision that counts") == 1
    bundled = document(made)
    rows = bundled["rows"]
    assert sorted(row["closed_as"] for row in rows) == [
        *("delete", "delete", "delete", "keep", "keep", "pending")
    ]
    [deleted] = [row for row in rows if row["deletions"]]
    assert [deletion["outcome"] for deletion in deleted["deletions"]] == ["deleted"]
    assert [decision["decided_together"] for decision in deleted["decisions"]] == [3]
    assert len(bundled["appeared"]) == 1
    assert {org["org_name"] for org in bundled["coverage"]["orgs"]} == {"Payments US", "Group SOC"}
    # The names of reviewers are compared with an event, so they are not among what isn't proven.
    assert ("A reviewer looked closely" in verdict.text, "right names" in verdict.text) == (
        True,
        False,
    )
    page = page_of(made.data, tmp_path)
    assert page.count("Connections that no reviewer could decide on at the start") == 1
    assert page.count("No deletion was requested") == 1
    assert page.count("<td>Removed outside Org Admin</td>") == 1
    assert "<b>" not in page
    assert verification.verify_audit_log().fault is None


def test_a_decision_that_was_carried_out_before_the_closing_names_its_deletion(
    transactional_db: None,
    sandbox: SandboxServer,
    ada: Person,
    edith: Person,
    client_of: Callable[[Person], Client],
    tmp_path: Path,
) -> None:
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
    [row] = document(made)["rows"]
    assert (row["closed_as"], row["is_gone"]) == ("delete", True)
    assert row["deletions"] == [
        {"id": str(deletion.pk), "state": "settled", "outcome": "deleted", "contradicted_at": None}
    ]
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert (verdict.code, "decided to delete" in verdict.text) == (0, False)


def test_its_page_links_to_the_bundle(
    review: AccessReview,
    edith: Person,
    client_of: Callable[[Person], Client],
    tmp_path: Path,
) -> None:
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


def test_the_documents_name_every_key(made: Made) -> None:
    bundled = document(made)
    keys = {*bundled, *(key for row in bundled["rows"] for key in row)}
    keys |= {key for row in bundled["rows"] for decision in row["decisions"] for key in decision}
    assert [key for key in sorted(keys) if f"`{key}`" not in EVIDENCE] == []


def test_an_open_access_review_has_no_bundle(review: AccessReview) -> None:
    review.state = "open"
    with pytest.raises(ConflictError):
        make(review)


@pytest.mark.database
def test_it_still_verifies_when_its_people_are_erased(
    review: AccessReview, ada: Person, grace: Person, tmp_path: Path
) -> None:
    for person in (ada, grace):
        erasure.erase_person(actor=command_actor(), person=person)
    made = make(review)
    assert (made.bundle.differing, complaint(made.data, tmp_path)) == (0, "")
    assert verification.verify_audit_log().fault is None


def test_a_decision_by_someone_who_is_not_a_reviewer_is_named(made: Made) -> None:
    bundled = document(made)
    values = [json.loads(line) for line in files_of(made.data)["values.ndjson"].splitlines()]
    shown = {str(value["number"]): display_value(value) for value in values}
    texts = [
        json.loads(json.loads(line)["text"])
        for line in files_of(made.data)["events.ndjson"].splitlines()
    ]
    events = [Event(text, shown) for text in texts if text["subject"]]
    events = [event for event in events if event.about == (ACCESS_REVIEW, bundled["id"])]
    assert access_review_differences(bundled, bundled["rows"], events) == []
    [grace] = [reviewer for reviewer in bundled["reviewers"] if reviewer["name"] == "Grace"]
    bundled["reviewers"].remove(grace)
    events[0].details["reviewers"].remove(grace["id"])
    events[0].sentence = "Edith started it. Reviewers: Ada."
    [named] = access_review_differences(bundled, bundled["rows"], events)
    assert "Grace was not a reviewer when they decided in event" in named


def test_a_connection_gone_after_an_unknown_deletion_was_not_surely_removed_elsewhere(
    made: Made,
) -> None:
    row = row_of(document(made), "delete") | {"is_gone": True}
    deletion = INVENTED | {"state": "unknown", "outcome": None}
    assert "Removed outside Org Admin" in access_review_row(row | {"deletions": []})
    page = access_review_row(row | {"deletions": [deletion]})
    assert ("outside" in page, "Gone, but it is not proven how" in page) == (False, True)


# --- Changes of the bundle, signed with the right key ---------------------------------------------


def row_of(review: dict[str, Any], closed_as: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in review["rows"] if row["closed_as"] == closed_as)
    return row


def in_row(state: str, /, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda review: row_of(review, state).update(values)


def in_decision(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda review: row_of(review, "delete")["decisions"][0].update(values)


def row_with_deletion(review: dict[str, Any]) -> dict[str, Any]:
    [row] = [row for row in review["rows"] if row["deletions"]]
    found: dict[str, Any] = row
    return found


INVENTED = {"id": "1", "state": "settled", "outcome": "deleted", "contradicted_at": None}
LATER = "2027-01-01T00:00:00+00:00"
EDITS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "reason": (in_decision(reason="Because."), "“reason” does not match the event of decision 1"),
    "who decided": (in_decision(decided_by="Linus"), "“decided_by” does not match"),
    "when it was decided": (in_decision(decided_at=LATER), "“decided_at” does not match"),
    "how many at once": (in_decision(decided_together=1), "“decided_together” does not match"),
    "last day": (in_decision(keep_until="2030-01-01"), "“keep_until” does not match"),
    "decision": (in_decision(decision="keep"), "“decision” does not match"),
    "what was decided about": (in_decision(covered={}), "“covered” does not match"),
    "removed decision": (in_row("delete", decisions=[]), "has 0 decisions, but its events have 1"),
    "data types": (in_row("keep", connection_types=[]), "not the population recorded at its start"),
    "org": (
        in_row("keep", sink_org={"id": "1", "name": "Labs"}),
        "not the population recorded at its start",
    ),
    "removed row": (
        lambda review: review["rows"].pop(),
        "not the population recorded at its start",
    ),
    "final state": (in_row("pending", closed_as="gone"), "its final states"),
    "appeared": (lambda review: review["appeared"].pop(), "“appeared” does not match"),
    "another that appeared": (
        lambda review: review["appeared"][0].update(site="us9"),
        "connections that appeared are not those of its closing event",
    ),
    "sync at the start": (
        lambda review: review["coverage"]["orgs"][0].update(synced_at=LATER),
        "“coverage” does not match its start event",
    ),
    "org without a credential": (
        lambda review: review["coverage_at_close"]["without_credential"].pop(),
        "“coverage_at_close” does not match its closing event",
    ),
    "why rows were left open": (
        lambda review: review.update(open_reason=""),
        "“open_reason” does not match",
    ),
    "reviewers": (lambda review: review["reviewers"].pop(), "“reviewers” does not match"),
    "name of a reviewer": (
        lambda review: review["reviewers"][0].update(name="Linus"),
        "“reviewers” does not match the last event that names the reviewers",
    ),
    "everyone": (
        lambda review: review.update(is_for_everyone=True),
        "“is_for_everyone” does not match the last event that names the reviewers",
    ),
    "connections without a reviewer": (
        lambda review: review.update(without_reviewer=3),
        "“without_reviewer” does not match its start event",
    ),
    "name": (lambda review: review.update(name="Another"), "“name” does not match"),
    "who closed it": (lambda review: review.update(closed_by="Linus"), "“closed_by” does not"),
    "state": (lambda review: review.update(state="open"), "“state” does not match"),
    "which one": (
        lambda review: review.update(id="00000000-0000-4000-8000-000000000000"),
        "not the one recorded when the bundle was started",
    ),
    "outcome of a deletion": (
        lambda review: row_with_deletion(review)["deletions"][0].update(outcome="refused"),
        "does not match access-review.json",
    ),
    "deletion still listed": (
        lambda review: row_with_deletion(review)["deletions"][0].update(contradicted_at=LATER),
        "does not match access-review.json",
    ),
    "removed deletion": (
        lambda review: row_with_deletion(review)["deletions"].clear(),
        "does not match access-review.json",
    ),
    "repeated deletion": (
        lambda review: row_with_deletion(review)["deletions"].extend(
            row_with_deletion(review)["deletions"]
        ),
        "twice",
    ),
    "invented deletion": (
        in_row("pending", deletions=[INVENTED]),
        "names deletion 1, which deletions.json does not contain",
    ),
}


@pytest.mark.parametrize(("change", "named"), EDITS.values(), ids=EDITS.keys())
def test_a_change_of_the_access_review_is_named(
    made: Made, tmp_path: Path, change: Callable[[dict[str, Any]], Any], named: str
) -> None:
    forger = Forger(made=made)
    forger.edit_access_review(change)
    assert named in complaint(forger.signed(), tmp_path)


def test_a_replaced_decision_left_out_with_its_event_is_named(made: Made, tmp_path: Path) -> None:
    """The closing's digest covers only the decisions that count."""
    forger = Forger(made=made)
    replaced = '"keep_until":"20'

    def leave_out(text: str) -> str:
        return "".join(
            line
            for line in text.splitlines(keepends=True)
            if replaced not in json.loads(line)["text"]
        )

    forger.edit("events.ndjson", leave_out)
    forger.edit_access_review(lambda review: row_with(review, 2)["decisions"].pop(0))
    found = complaint(forger.signed(), tmp_path)
    assert "it does not have as many decisions as were recorded when it was closed" in found


def row_with(review: dict[str, Any], count: int) -> dict[str, Any]:
    """The row with this many decisions."""
    row: dict[str, Any] = next(row for row in review["rows"] if len(row["decisions"]) == count)
    return row


def test_an_access_review_left_out_is_refused(made: Made, tmp_path: Path) -> None:
    forger = Forger(made=made)
    del forger.files[ACCESS_REVIEW_FILE]
    assert "access-review.json is missing, or the bundle is not of one access review" in complaint(
        forger.signed(), tmp_path
    )


# --- Changes of the database by its owner ---------------------------------------------------------

ROWS = "UPDATE connections_accessreviewrow SET {} WHERE closed_as = 'keep'"
DECISIONS = "UPDATE connections_accessreviewdecision SET {} WHERE decision = 'delete'"
REVIEWS = "UPDATE connections_accessreview SET {}"
STATEMENTS = [
    ROWS.format("sink_org_name = 'Labs'"),
    ROWS.format("closed_as = 'gone'"),
    ROWS.format("review_digest = '0'"),
    DECISIONS.format("reason = 'Because.'"),
    DECISIONS.format("decided_by_name = 'Linus'"),
    DECISIONS.format("decided_together = 1"),
    DECISIONS.format("decided_at = '2026-01-01 00:00:00+00:00'"),
    "DELETE FROM connections_accessreviewdecision WHERE decision = 'delete'",
    REVIEWS.format("open_reason = 'Never mind.'"),
    REVIEWS.format("closed_by_name = 'Linus'"),
    REVIEWS.format("due_at = '2026-01-01 00:00:00+00:00'"),
    REVIEWS.format("appeared = '[]'"),
    REVIEWS.format("without_reviewer = 3"),
    "UPDATE connections_accessreviewreviewer SET name = 'Linus' WHERE name = 'Ada'",
]


@pytest.mark.database
def test_a_stored_access_review_that_was_changed_is_named(
    review: AccessReview, subtests: pytest.Subtests
) -> None:
    rows = list(AccessReviewRow.objects.all())
    decisions = AccessReviewDecision.objects.all()
    stored = [review, *rows, *decisions, *review.reviewers.all()]
    for statement in STATEMENTS:
        with subtests.test(statement=statement):
            with triggers_off(), connection.cursor() as cursor:
                cursor.execute(statement)
            report = verification.verify_audit_log()
            assert (report.fault, report.differing) == (Fault.ACCESS_REVIEW, 1)
            assert f"Access review {review.pk}: " in report.message
        with triggers_off():
            for each in stored:
                each.save()
    assert verification.verify_audit_log().fault is None
