"""Doing without missing approvals: who may, what it leaves, and who looks back at it."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client

from connections.access.actor import WORKER, command_actor, person_actor
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.deletions import break_glass
from connections.deletions.export import deletion_row
from connections.models import (
    Approval,
    ApprovalPolicy,
    AuditEvent,
    BreakGlassReview,
    Deletion,
    Outcome,
    Person,
    Role,
    State,
)
from connections.people import erasure
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import AskFor, approve, confirm
from tests.flows.support import Page, read
from tests.support.clock import SettableClock
from tests.support.people import PASSWORD, make_person

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ClientOf = Callable[[Person], Client]
WHY = "The partner is leaking our logs now and nobody else is awake."
FOUND = "Called Grace; the partner confirmed the leak."


@pytest.fixture
def breaker(grace: Person) -> Person:
    """Grace, an Operator with the break-glass permission."""
    Person.objects.filter(pk=grace.pk).update(may_break_glass=True)
    return Person.objects.get(pk=grace.pk)


def broken(deletion: Deletion, person: Person, *, reason: str = WHY, typed: str = "") -> Deletion:
    return break_glass.break_glass(
        deletion=deletion,
        actor=person_actor(person=person),
        break_glass_reason=reason,
        confirmation=typed or "Payments US",
    )


def reviewed(deletion: Deletion, person: Person, *, note: str = FOUND) -> Deletion:
    return break_glass.review_break_glass(
        deletion=deletion, actor=person_actor(person=person), note=note
    )


def record(client: Client, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


def test_it_sends_without_the_approvals_and_says_so_in_events_of_its_own(
    asked: Deletion, breaker: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    assert broken(asked, breaker).outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(wanted.id) == 1
    assert (asked.break_glass_by, asked.break_glass_reason) == (breaker, WHY)
    event = AuditEvent.objects.get(code="deletion.break_glass_used")
    assert event.details["reason"] == WHY
    assert (event.details["approvals_given"], event.details["approvals_needed"]) == (0, 1)
    assert event.sentence.startswith("Grace used break glass to delete Payments US → Group SOC")


def test_break_glass_covers_one_deletion_only(
    asked: Deletion, breaker: Person, ask_for: AskFor, sandbox: SandboxServer, wanted: Connection
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=wanted.id)
    broken(asked, breaker)
    again = ask_for()
    assert (again.state, again.needs_approval) == (State.REQUESTED, True)


def test_given_approvals_stay_and_only_the_missing_one_is_skipped(
    ask_for: AskFor, linus: Person, breaker: Person
) -> None:
    deletion = approve(ask_for(ApprovalPolicy.TWO), linus)
    assert broken(deletion, breaker).outcome == Outcome.DELETED
    assert AuditEvent.objects.get(code="deletion.break_glass_used").details["approvals_given"] == 1
    assert Approval.objects.count() == 1


@pytest.mark.parametrize(
    "roles", [(), (Role.APPROVER,), (Role.VIEWER, Role.AUDITOR), (Role.CREDENTIAL_MANAGER,)]
)
def test_the_permission_counts_for_an_operator_only(
    asked: Deletion, roles: tuple[Role, ...]
) -> None:
    person = make_person("hedy", *roles)
    person.may_break_glass = True
    person.save()
    with pytest.raises(PermissionDenied):
        broken(asked, person)


def test_neither_the_role_nor_being_administrator_is_enough(
    asked: Deletion, grace: Person, root: Person
) -> None:
    for person in (grace, root):
        with pytest.raises(PermissionDenied):
            broken(asked, person)


def test_commands_and_the_worker_never_break_glass(asked: Deletion) -> None:
    for actor in (command_actor(), WORKER):
        with pytest.raises(PermissionDenied):
            break_glass.break_glass(
                deletion=asked, actor=actor, break_glass_reason=WHY, confirmation="Payments US"
            )


@pytest.mark.parametrize("reason", ["", "urgent", " " * 40, "\u200b" * 40])
def test_it_needs_a_longer_reason(asked: Deletion, breaker: Person, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        broken(asked, breaker, reason=reason)
    assert "break_glass_reason" in refused.value.fields


def test_it_needs_the_confirmation(
    asked: Deletion, breaker: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        broken(asked, breaker, typed="Payments")
    assert "confirmation" in refused.value.fields
    assert asked.break_glass_at is None
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_what_changed_is_not_sent_even_so(
    asked: Deletion, breaker: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    sandbox.world.change_connection(connection_id=wanted.id, connection_types=("audit",))
    assert broken(asked, breaker).outcome == Outcome.STALE
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_break_glass_does_not_help_a_requester_who_lost_the_permission(
    asked: Deletion, ada: Person, breaker: Person
) -> None:
    ada.groups.clear()
    with pytest.raises(BlockedError):
        broken(asked, breaker)
    assert Deletion.objects.get().break_glass_at is None


def test_after_a_failed_check_the_person_who_used_break_glass_confirms_again(
    asked: Deletion, breaker: Person, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    broken(asked, breaker)
    assert (asked.state, asked.cause) == (State.REQUESTED, "listing_failed")
    sandbox.world.clear_faults()
    assert confirm(asked, breaker).outcome == Outcome.DELETED


def test_a_person_who_lost_the_break_glass_permission_sends_nothing_more(
    asked: Deletion, breaker: Person, sandbox: SandboxServer
) -> None:
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    broken(asked, breaker)
    Person.objects.update(may_break_glass=False)
    asked.refresh_from_db()
    with pytest.raises(BlockedError, match="can no longer use break glass"):
        confirm(asked, Person.objects.get(username="ada"))


def test_break_glass_is_refused_when_no_approval_is_missing(
    asked: Deletion, linus: Person, breaker: Person
) -> None:
    approve(asked, linus)
    with pytest.raises(ConflictError, match="isn't waiting for approval"):
        broken(asked, breaker)


def test_break_glass_is_refused_after_24_hours(
    asked: Deletion, breaker: Person, clock: SettableClock
) -> None:
    clock.advance(hours=24)
    with pytest.raises(ConflictError):
        broken(asked, breaker)


def test_a_second_click_does_nothing_more(
    asked: Deletion, breaker: Person, sandbox: SandboxServer, wanted: Connection
) -> None:
    broken(asked, breaker)
    broken(Deletion.objects.get(), breaker)
    assert sandbox.world.deletes_received(wanted.id) == 1
    assert AuditEvent.objects.filter(code="deletion.break_glass_used").count() == 1


INCOMPLETE: dict[str, dict[str, Any]] = {
    "no person": {"break_glass_reason": WHY},
    "no reason": {"has_person": True},
}


@pytest.mark.parametrize("what", INCOMPLETE)
def test_the_database_requires_person_reason_and_time_together(
    asked: Deletion, breaker: Person, clock: SettableClock, what: str
) -> None:
    values = dict(INCOMPLETE[what])
    if values.pop("has_person", False):
        values["break_glass_by"] = breaker
    with (
        pytest.raises(IntegrityError, match="break_glass_has_person_reason_time"),
        transaction.atomic(),
    ):
        Deletion.objects.update(break_glass_at=clock.at, **values)


def test_the_database_keeps_the_use_of_break_glass(asked: Deletion, breaker: Person) -> None:
    broken(asked, breaker)
    for change in ("break_glass_reason = 'x'", "break_glass_at = NULL, break_glass_by_id = NULL"):
        with (
            pytest.raises(IntegrityError, match="Broken glass stays broken"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE connections_deletion SET {change}")  # noqa: S608 - our words


def test_the_database_refuses_break_glass_for_a_settled_deletion(
    asked: Deletion, breaker: Person, linus: Person, clock: SettableClock
) -> None:
    approve(asked, linus)
    with pytest.raises(IntegrityError, match="Broken glass stays"), transaction.atomic():
        Deletion.objects.update(
            break_glass_at=clock.at, break_glass_by=breaker, break_glass_reason=WHY
        )


def test_another_person_reviews_it_with_a_note(
    asked: Deletion, breaker: Person, linus: Person
) -> None:
    broken(asked, breaker)
    with pytest.raises(InvalidInputError):
        reviewed(asked, linus, note=" \u200b")
    reviewed(asked, linus)
    assert BreakGlassReview.objects.get().note == FOUND
    assert AuditEvent.objects.get(code="deletion.break_glass_reviewed").details["reason"] == FOUND
    with pytest.raises(ConflictError, match="already reviewed it"):
        reviewed(Deletion.objects.get(), make_person("barbara", Role.APPROVER))


@pytest.mark.parametrize("who", ["ada", "grace"])
def test_the_requester_and_the_user_of_break_glass_cannot_review_it(
    asked: Deletion, breaker: Person, who: str
) -> None:
    broken(asked, breaker)
    Person.objects.update(is_superuser=True)
    with pytest.raises(PermissionDenied):
        reviewed(asked, Person.objects.get(username=who))


@pytest.mark.parametrize(
    ("reviewer", "copies", "refused_by"),
    [
        ("ada", {}, "nobody_reviews_their_own"),
        ("grace", {}, "nobody_reviews_their_own"),
        ("grace", {"breaker": "linus"}, "A review is of one deletion"),
        ("ada", {"requester": "linus"}, "A review is of one deletion"),
        ("linus", {"note": ""}, "break_glass_review_has_a_note"),
    ],
)
def test_the_database_refuses_a_review_by_the_wrong_person_or_without_a_note(
    asked: Deletion,
    breaker: Person,
    linus: Person,
    clock: SettableClock,
    reviewer: str,
    copies: dict[str, str],
    refused_by: str,
) -> None:
    broken(asked, breaker)
    by_name = {person.username: person for person in Person.objects.all()}
    right = {"breaker": breaker, "requester": asked.requested_by, "note": FOUND}
    values = right | {name: by_name.get(value, value) for name, value in copies.items()}
    with pytest.raises(IntegrityError, match=refused_by), transaction.atomic():
        BreakGlassReview.objects.create(
            deletion=asked,
            reviewer=by_name[reviewer],
            reviewer_name=reviewer,
            reviewed_at=clock.at,
            **values,
        )


def test_a_review_stays_as_it_was_given(asked: Deletion, breaker: Person, linus: Person) -> None:
    reviewed(broken(asked, breaker), linus)
    for statement in (
        "UPDATE connections_breakglassreview SET note = 'x'",
        "DELETE FROM connections_breakglassreview",
    ):
        with (
            pytest.raises(IntegrityError, match="A review stays as it was given"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


def test_the_page_uses_break_glass_keeps_the_input_and_shows_it_permanently(
    asked: Deletion, breaker: Person, linus: Person, client_of: ClientOf
) -> None:
    client, url = client_of(breaker), f"/deletions/{asked.pk}/break-glass/"
    form = record(client, asked).form_to("/break-glass/")
    typed = form.fields | {"break_glass_reason": "urgent", "confirmation": "Payments"}
    page = read(client.post(url, typed))
    assert page.status == 422
    assert page.form_to("/break-glass/").fields["break_glass_reason"] == "urgent"
    assert page.form_to("/break-glass/").fields["confirmation"] == "Payments"
    typed |= {"break_glass_reason": WHY, "confirmation": form.attributes["data-confirm"]}
    assert client.post(url, typed).status_code == 303

    page = record(client, asked)
    assert "Grace used break glass." in page.text
    assert WHY in page.text
    assert "Not reviewed yet" in page.text
    assert "Break glass used" in page.text
    assert not page.has_form_to("/review-glass/")
    for address in ("/", "/deletions/", "/deletions/?status=break_glass"):
        assert "Break glass" in read(client.get(address)).text

    reviewer = client_of(linus)
    assert "Break glass, not reviewed" in read(reviewer.get("/")).text
    page = record(reviewer, asked)
    action = page.form_to("/review-glass/").action
    assert read(reviewer.post(action, {"note": ""})).status == 422
    assert reviewer.post(action, {"note": FOUND}).status_code == 303
    page = record(client, asked)
    assert "Grace used break glass." in page.text
    assert f"Reviewed by Linus at 2026-03-02 14:03:23 UTC: “{FOUND}”" in page.text
    assert "not reviewed" not in read(reviewer.get("/")).text


def test_it_asks_for_an_identity_check_and_keeps_the_input(
    asked: Deletion, breaker: Person, late_client_of: ClientOf
) -> None:
    client, url = late_client_of(breaker), f"/deletions/{asked.pk}/break-glass/"
    typed = {"break_glass_reason": WHY, "confirmation": "Payments US"}
    response = client.post(url, typed)
    page = read(response)
    assert page.status == 422
    assert "Nothing was changed yet. Confirm it’s you." in page.text
    assert page.form_to("/break-glass/").fields["break_glass_reason"] == WHY
    assert Deletion.objects.get().break_glass_at is None
    assert client.post(url, typed | {"step_up-password": PASSWORD}).status_code == 303
    assert Deletion.objects.get().outcome == Outcome.DELETED


def test_a_person_without_the_permission_is_not_shown_break_glass(
    asked: Deletion, ada: Person, linus: Person, root: Person, client_of: ClientOf
) -> None:
    for person in (ada, linus, root):
        assert not record(client_of(person), asked).has_form_to("/break-glass/")


def test_an_export_names_it_last(asked: Deletion, breaker: Person, linus: Person) -> None:
    assert deletion_row(asked)["broke_glass"] is None
    reviewed(broken(asked, breaker), linus)
    row = deletion_row(Deletion.objects.get())
    assert list(row)[-1] == "broke_glass"
    assert row["broke_glass"] == {
        "name": "Grace",
        "at": "2026-03-02T14:03:23+00:00",
        "reason": WHY,
        "reviewed_by": "Linus",
        "reviewed_at": "2026-03-02T14:03:23+00:00",
        "review_note": FOUND,
    }


def test_an_administrator_grants_break_glass_to_another_person(
    root: Person, grace: Person, client_of: ClientOf
) -> None:
    client, page_url = client_of(root), f"/people/{grace.pk}/"
    form = read(client.get(page_url)).form_to("/break-glass/")
    client.post(form.action, {"allow": "yes"})
    assert Person.objects.get(pk=grace.pk).may_break_glass
    assert AuditEvent.objects.get().code == "person.break_glass_allowed"
    client.post(form.action, {"allow": "no"})
    assert not Person.objects.get(pk=grace.pk).may_break_glass
    codes = list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))
    assert codes == ["person.break_glass_allowed", "person.break_glass_forbidden"]


def test_no_one_grants_break_glass_to_themselves(root: Person, client_of: ClientOf) -> None:
    page = read(client_of(root).post(f"/people/{root.pk}/break-glass/", {"allow": "yes"}))
    assert page.status == 409
    assert "You can’t give yourself break glass." in page.text
    assert not Person.objects.get().may_break_glass


def test_a_command_grants_break_glass(grace: Person) -> None:
    output = StringIO()
    call_command("change_person", "--username", "grace", "--break-glass", "--json", stdout=output)
    assert json.loads(output.getvalue())["may_break_glass"] is True
    assert Person.objects.get().may_break_glass
    call_command("change_person", "--username", "grace", "--no-break-glass", stdout=output)
    assert not Person.objects.get().may_break_glass


def test_the_names_of_the_people_who_used_and_reviewed_it_can_be_erased(
    asked: Deletion, breaker: Person, linus: Person
) -> None:
    reviewed(broken(asked, breaker), linus)
    for person in (breaker, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    asked = Deletion.objects.get()
    assert asked.break_glass_by_name.startswith("erased person no.")
    assert asked.break_glass_review.reviewer_name.startswith("erased person no.")
    assert not Person.objects.get(pk=breaker.pk).may_break_glass
