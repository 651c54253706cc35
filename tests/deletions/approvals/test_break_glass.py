"""Break glass: who can use it, what it records, and who gives late approval."""

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
from connections.change_requests import failpoints
from connections.change_requests.failpoints import Point
from connections.core.errors import BlockedError, ConflictError, InvalidInputError
from connections.deletions import break_glass
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
from connections.operations import due
from connections.people import erasure
from sandbox import faults
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from tests.deletions.approvals.conftest import (
    RequestFor,
    approve,
    confirm,
    exported_row,
)
from tests.flows.support import Page, read
from tests.support.clock import SettableClock
from tests.support.people import PASSWORD, make_person

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]
REASON = "The partner is leaking our logs now and nobody else is awake."
REVIEW_NOTE = "Called Grace; the partner confirmed the leak."


@pytest.fixture
def break_glass_user(grace: Person) -> Person:
    """Grace, an Operator with the break-glass permission."""
    Person.objects.filter(pk=grace.pk).update(has_break_glass=True)
    return Person.objects.get(pk=grace.pk)


def use_break_glass(
    deletion: Deletion, person: Person, *, reason: str = REASON, typed: str = ""
) -> Deletion:
    return break_glass.break_glass(
        deletion=deletion,
        actor=person_actor(person=person),
        break_glass_reason=reason,
        confirmation=typed or "Payments US",
    )


def approve_late(deletion: Deletion, person: Person, *, note: str = REVIEW_NOTE) -> Deletion:
    return break_glass.approve_late(deletion=deletion, actor=person_actor(person=person), note=note)


def record(client: Client, deletion: Deletion) -> Page:
    return read(client.get(f"/deletions/{deletion.pk}/"))


@pytest.mark.database
def test_it_sends_without_approvals_and_records_its_own_events(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer, wanted: Connection
):
    assert use_break_glass(requested, break_glass_user).outcome == Outcome.DELETED
    assert sandbox.world.deletes_received(wanted.id) == 1
    assert (requested.break_glass_by, requested.break_glass_reason) == (break_glass_user, REASON)
    event = AuditEvent.objects.get(code="deletion.break_glass_used")
    assert event.details["reason"] == REASON
    assert (event.details["approvals_given"], event.details["approvals_needed"]) == (0, 1)
    assert event.sentence.startswith("Grace used break glass to delete Payments US → Group SOC")


def test_break_glass_covers_one_deletion_only(
    requested: Deletion,
    break_glass_user: Person,
    request_deletion: RequestFor,
    sandbox: SandboxServer,
    wanted: Connection,
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=wanted.id)
    use_break_glass(requested, break_glass_user)
    again = request_deletion()
    assert (again.state, again.needs_approval) == (State.REQUESTED, True)


def test_existing_approvals_remain_and_only_the_missing_one_is_skipped(
    request_deletion: RequestFor, linus: Person, break_glass_user: Person
):
    deletion = approve(request_deletion(ApprovalPolicy.TWO), linus)
    assert use_break_glass(deletion, break_glass_user).outcome == Outcome.DELETED
    assert AuditEvent.objects.get(code="deletion.break_glass_used").details["approvals_given"] == 1
    assert Approval.objects.count() == 1


@pytest.mark.parametrize(
    "roles", [(), (Role.APPROVER,), (Role.VIEWER, Role.AUDITOR), (Role.CREDENTIAL_MANAGER,)]
)
def test_the_permission_is_effective_only_for_an_operator(
    requested: Deletion, roles: tuple[Role, ...]
):
    person = make_person("hedy", *roles)
    person.has_break_glass = True
    person.save()
    with pytest.raises(PermissionDenied):
        use_break_glass(requested, person)


def test_neither_the_operator_role_nor_being_an_administrator_is_enough(
    requested: Deletion, grace: Person, root: Person
):
    for person in (grace, root):
        with pytest.raises(PermissionDenied):
            use_break_glass(requested, person)


def test_commands_and_the_worker_never_break_glass(requested: Deletion):
    for actor in (command_actor(), WORKER):
        with pytest.raises(PermissionDenied):
            break_glass.break_glass(
                deletion=requested,
                actor=actor,
                break_glass_reason=REASON,
                confirmation="Payments US",
            )


@pytest.mark.parametrize("reason", ["", "urgent", " " * 40, "\u200b" * 40])
def test_it_needs_a_longer_reason(requested: Deletion, break_glass_user: Person, reason: str):
    with pytest.raises(InvalidInputError) as refused:
        use_break_glass(requested, break_glass_user, reason=reason)
    assert refused.value.fields["break_glass_reason"] == (
        "Explain in at least 30 characters why this can't wait for approval."
    )


def test_a_reason_can_be_too_long(requested: Deletion, break_glass_user: Person):
    with pytest.raises(InvalidInputError) as refused:
        use_break_glass(requested, break_glass_user, reason="x" * 4001)
    assert refused.value.fields["break_glass_reason"] == (
        "A reason can have at most 4,000 characters."
    )


def test_it_needs_the_confirmation(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer, wanted: Connection
):
    with pytest.raises(InvalidInputError) as refused:
        use_break_glass(requested, break_glass_user, typed="Payments")
    assert "confirmation" in refused.value.fields
    assert requested.break_glass_at is None
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_a_changed_connection_is_not_sent_even_with_break_glass(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer, wanted: Connection
):
    sandbox.world.change_connection(connection_id=wanted.id, connection_types=("audit",))
    assert use_break_glass(requested, break_glass_user).outcome == Outcome.STALE
    assert sandbox.world.deletes_received(wanted.id) == 0


def test_break_glass_does_not_help_a_requester_who_lost_the_permission(
    requested: Deletion, ada: Person, break_glass_user: Person
):
    ada.groups.clear()
    with pytest.raises(BlockedError):
        use_break_glass(requested, break_glass_user)
    assert Deletion.objects.get().break_glass_at is None


def test_after_a_failed_check_the_person_who_used_break_glass_confirms_again(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    use_break_glass(requested, break_glass_user)
    assert (requested.state, requested.cause) == (State.REQUESTED, "listing_failed")
    sandbox.world.clear_faults()
    assert confirm(requested, break_glass_user).outcome == Outcome.DELETED


def test_a_person_who_lost_the_break_glass_permission_cannot_send_again(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, operation="list")
    use_break_glass(requested, break_glass_user)
    Person.objects.update(has_break_glass=False)
    requested.refresh_from_db()
    with pytest.raises(BlockedError, match="can no longer use break glass"):
        confirm(requested, Person.objects.get(username="ada"))


@pytest.mark.database
def test_break_glass_that_is_revoked_during_the_pre_send_check_sends_nothing_more(
    requested: Deletion,
    break_glass_user: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
):
    connection_id = str(requested.connection_id)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="1"), connection_id=connection_id)
    use_break_glass(requested, break_glass_user)
    sandbox.world.clear_faults()
    clock.advance(seconds=2)

    def revoke(point: Point, **_: object) -> None:
        if point == Point.BEFORE_CLAIM:
            Person.objects.update(has_break_glass=False)

    monkeypatch.setattr(failpoints, "hit", revoke)
    due.run_due(actor=WORKER)
    requested.refresh_from_db()
    assert requested.cause == "person_lost_right"
    assert sandbox.world.deletes_received(connection_id) == 1


def test_break_glass_is_refused_when_no_approval_is_missing(
    requested: Deletion, linus: Person, break_glass_user: Person
):
    approve(requested, linus)
    with pytest.raises(ConflictError, match="no longer waiting for approval"):
        use_break_glass(requested, break_glass_user)


def test_break_glass_is_refused_after_24_hours(
    requested: Deletion, break_glass_user: Person, clock: SettableClock
):
    clock.advance(hours=24)
    with pytest.raises(ConflictError):
        use_break_glass(requested, break_glass_user)


@pytest.mark.database
def test_a_second_click_does_nothing_more(
    requested: Deletion, break_glass_user: Person, sandbox: SandboxServer, wanted: Connection
):
    use_break_glass(requested, break_glass_user)
    use_break_glass(Deletion.objects.get(), break_glass_user)
    assert sandbox.world.deletes_received(wanted.id) == 1
    assert AuditEvent.objects.filter(code="deletion.break_glass_used").count() == 1


INCOMPLETE: dict[str, dict[str, Any]] = {
    "no person": {"break_glass_reason": REASON},
    "no reason": {"has_person": True},
}


@pytest.mark.database
@pytest.mark.parametrize("what", INCOMPLETE)
def test_the_database_requires_person_reason_and_time_together(
    requested: Deletion, break_glass_user: Person, clock: SettableClock, what: str
):
    values = dict(INCOMPLETE[what])
    if values.pop("has_person", False):
        values["break_glass_by"] = break_glass_user
    with (
        pytest.raises(IntegrityError, match="break_glass_has_person_reason_time"),
        transaction.atomic(),
    ):
        Deletion.objects.update(break_glass_at=clock.at, **values)


@pytest.mark.database
def test_the_database_keeps_the_use_of_break_glass(requested: Deletion, break_glass_user: Person):
    use_break_glass(requested, break_glass_user)
    for change in ("break_glass_reason = 'x'", "break_glass_at = NULL, break_glass_by_id = NULL"):
        with (
            pytest.raises(IntegrityError, match="The use of break glass can't be changed"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE connections_deletion SET {change}")  # noqa: S608 - our words


@pytest.mark.database
def test_the_database_refuses_break_glass_for_a_settled_deletion(
    requested: Deletion, break_glass_user: Person, linus: Person, clock: SettableClock
):
    approve(requested, linus)
    with pytest.raises(IntegrityError, match="The use of break glass"), transaction.atomic():
        Deletion.objects.update(
            break_glass_at=clock.at, break_glass_by=break_glass_user, break_glass_reason=REASON
        )


def test_another_person_gives_late_approval_with_a_note(
    requested: Deletion, break_glass_user: Person, linus: Person
):
    use_break_glass(requested, break_glass_user)
    with pytest.raises(InvalidInputError):
        approve_late(requested, linus, note=" \u200b")
    approve_late(requested, linus)
    assert BreakGlassReview.objects.get().note == REVIEW_NOTE
    assert (
        AuditEvent.objects.get(code="deletion.break_glass_reviewed").details["reason"]
        == REVIEW_NOTE
    )
    with pytest.raises(ConflictError, match="already approved it"):
        approve_late(Deletion.objects.get(), make_person("barbara", Role.APPROVER))


@pytest.mark.parametrize("who", ["ada", "grace"])
def test_the_requester_and_the_user_of_break_glass_cannot_give_late_approval(
    requested: Deletion, break_glass_user: Person, who: str
):
    use_break_glass(requested, break_glass_user)
    Person.objects.update(is_superuser=True)
    with pytest.raises(PermissionDenied):
        approve_late(requested, Person.objects.get(username=who))


@pytest.mark.database
@pytest.mark.parametrize(
    ("reviewer", "copies", "refused_by"),
    [
        ("ada", {}, "nobody_reviews_their_own"),
        ("grace", {}, "nobody_reviews_their_own"),
        ("grace", {"breaker": "linus"}, "A review must match"),
        ("ada", {"requester": "linus"}, "A review must match"),
        ("linus", {"note": ""}, "break_glass_review_has_a_note"),
    ],
)
def test_the_database_refuses_a_review_by_the_wrong_person_or_without_a_note(
    requested: Deletion,
    break_glass_user: Person,
    linus: Person,
    clock: SettableClock,
    reviewer: str,
    copies: dict[str, str],
    refused_by: str,
):
    use_break_glass(requested, break_glass_user)
    by_name = {person.username: person for person in Person.objects.all()}
    right = {
        "breaker": break_glass_user,
        "requester": requested.requested_by,
        "note": REVIEW_NOTE,
    }
    values = right | {name: by_name.get(value, value) for name, value in copies.items()}
    with pytest.raises(IntegrityError, match=refused_by), transaction.atomic():
        BreakGlassReview.objects.create(
            deletion=requested,
            reviewer=by_name[reviewer],
            reviewer_name=reviewer,
            reviewed_at=clock.at,
            **values,
        )


@pytest.mark.database
def test_a_review_cannot_be_changed(requested: Deletion, break_glass_user: Person, linus: Person):
    approve_late(use_break_glass(requested, break_glass_user), linus)
    for statement in (
        "UPDATE connections_breakglassreview SET note = 'x'",
        "DELETE FROM connections_breakglassreview",
    ):
        with (
            pytest.raises(IntegrityError, match="A review can't be"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


def test_the_page_uses_break_glass_keeps_the_input_and_shows_it_permanently(
    requested: Deletion, break_glass_user: Person, linus: Person, client_of: ClientOf
):
    client, url = client_of(break_glass_user), f"/deletions/{requested.pk}/break-glass/"
    form = record(client, requested).form_to("/break-glass/")
    typed = form.fields | {"break_glass_reason": "urgent", "confirmation": "Payments"}
    page = read(client.post(url, typed))
    assert page.status == 422
    assert page.form_to("/break-glass/").fields["break_glass_reason"] == "urgent"
    assert page.form_to("/break-glass/").fields["confirmation"] == "Payments"
    typed |= {"break_glass_reason": REASON, "confirmation": form.attributes["data-confirm"]}
    assert client.post(url, typed).status_code == 303

    page = record(client, requested)
    assert "Grace used break glass" in page.text
    assert REASON in page.text
    assert "must give late approval" in page.text
    assert "Break glass used" in page.text
    assert not page.has_form_to("/review-glass/")
    for address in ("/", "/deletions/", "/deletions/?status=break_glass"):
        assert "Break glass" in read(client.get(address)).text

    reviewer = client_of(linus)
    assert "Late approval due" in read(reviewer.get("/")).text
    page = record(reviewer, requested)
    action = page.form_to("/review-glass/").action
    assert read(reviewer.post(action, {"note": ""})).status == 422
    assert reviewer.post(action, {"note": REVIEW_NOTE}).status_code == 303
    page = record(client, requested)
    assert "Grace used break glass" in page.text
    assert f"Late approval by Linus: “{REVIEW_NOTE}” · 2026-03-02 14:03:23 UTC" in page.text
    assert "late approval" not in read(reviewer.get("/")).text


def test_it_requires_an_identity_check_and_keeps_the_input(
    requested: Deletion, break_glass_user: Person, late_client_of: ClientOf
):
    client, url = late_client_of(break_glass_user), f"/deletions/{requested.pk}/break-glass/"
    typed = {"break_glass_reason": REASON, "confirmation": "Payments US"}
    response = client.post(url, typed)
    page = read(response)
    assert page.status == 422
    assert "Nothing has been changed yet. Confirm it's you." in page.text
    assert page.form_to("/break-glass/").fields["break_glass_reason"] == REASON
    assert Deletion.objects.get().break_glass_at is None
    assert client.post(url, typed | {"step_up-password": PASSWORD}).status_code == 303
    assert Deletion.objects.get().outcome == Outcome.DELETED


def test_a_person_without_the_permission_is_not_shown_break_glass(
    requested: Deletion, ada: Person, linus: Person, root: Person, client_of: ClientOf
):
    for person in (ada, linus, root):
        assert not record(client_of(person), requested).has_form_to("/break-glass/")


def test_an_export_shows_it_in_the_last_columns(
    requested: Deletion, break_glass_user: Person, linus: Person
):
    assert exported_row()["broke_glass"] is None
    approve_late(use_break_glass(requested, break_glass_user), linus)
    row = exported_row()
    assert list(row)[-1] == "broke_glass"
    assert row["broke_glass"] == {
        "name": "Grace",
        "at": "2026-03-02T14:03:23+00:00",
        "reason": REASON,
        "reviewed_by": "Linus",
        "reviewed_at": "2026-03-02T14:03:23+00:00",
        "review_note": REVIEW_NOTE,
    }


def test_an_administrator_grants_break_glass_to_another_person(
    root: Person, grace: Person, client_of: ClientOf
):
    client, page_url = client_of(root), f"/people/{grace.pk}/"
    form = read(client.get(page_url)).form_to("/break-glass/")
    client.post(form.action, {"allow": "yes"})
    assert Person.objects.get(pk=grace.pk).has_break_glass
    assert AuditEvent.objects.get().code == "person.break_glass_allowed"
    client.post(form.action, {"allow": "no"})
    assert not Person.objects.get(pk=grace.pk).has_break_glass
    codes = list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))
    assert codes == ["person.break_glass_allowed", "person.break_glass_forbidden"]


def test_no_one_grants_break_glass_to_themselves(root: Person, client_of: ClientOf):
    page = read(client_of(root).post(f"/people/{root.pk}/break-glass/", {"allow": "yes"}))
    assert page.status == 409
    assert "You can't give yourself break glass." in page.text
    assert not Person.objects.get().has_break_glass


def test_a_command_grants_break_glass(grace: Person):
    output = StringIO()
    call_command("change_person", "--username", "grace", "--break-glass", "--json", stdout=output)
    assert json.loads(output.getvalue())["may_break_glass"] is True
    assert Person.objects.get().has_break_glass
    call_command("change_person", "--username", "grace", "--no-break-glass", stdout=output)
    assert not Person.objects.get().has_break_glass


@pytest.mark.database
def test_the_names_of_the_people_who_used_and_reviewed_it_can_be_erased(
    requested: Deletion, break_glass_user: Person, linus: Person
):
    approve_late(use_break_glass(requested, break_glass_user), linus)
    for person in (break_glass_user, linus):
        erasure.erase_person(actor=command_actor(), person=person)
    requested = Deletion.objects.get()
    assert requested.break_glass_by_name.startswith("erased person no.")
    assert requested.break_glass_review.reviewer_name.startswith("erased person no.")
    assert not Person.objects.get(pk=break_glass_user.pk).has_break_glass
