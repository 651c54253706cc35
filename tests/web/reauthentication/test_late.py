"""A form submitted too late is shown again with the identity check, and nothing is stored."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Credential,
    Deletion,
    Person,
    PersonSession,
    Role,
)
from sandbox.server import SandboxServer
from tests.flows.support import REASON, Requester, post_htmx, read, store_credential
from tests.support.people import PASSWORD, let_proof_age, make_person
from tests.support.sandbox import key_pair_of, org_named

ClientOf = Callable[[Person], Client]
PASSWORD_FIELD = "step_up-password"


def codes() -> list[str]:
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


@pytest.mark.parametrize("is_htmx", [False, True], ids=["page", "htmx"])
def test_a_late_deletion_sends_nothing_and_keeps_what_was_typed(
    late_requester: Requester, sandbox: SandboxServer, is_htmx: bool
):
    typed = late_requester.typed(ticket="SEC-212")
    if is_htmx:
        response = post_htmx(late_requester.client, "/deletions/new/", typed, target="request-form")
        assert b"<html" not in response.content  # type: ignore[attr-defined]
    else:
        response = late_requester.client.post("/deletions/new/", typed)
    page = read(response)
    assert page.status == 422
    form = page.form_to("/deletions/new/")
    assert {name: form.fields[name] for name in ("reason", "ticket", "confirmation")} == {
        "reason": REASON,
        "ticket": "SEC-212",
        "confirmation": "Payments US",
    }
    assert form.fields["request_id"] == typed["request_id"]
    assert form.fields[PASSWORD_FIELD] == ""
    assert "Nothing has been changed yet. Confirm it's you." in page.text
    assert not Deletion.objects.exists()
    assert sandbox.world.deletes_received(late_requester.connection.id) == 0


def test_the_confirmation_page_shows_the_identity_check_in_its_form_from_the_start(
    late_requester: Requester,
):
    page = late_requester.confirmation_page()
    assert page.status == 200
    assert page.form_to("/deletions/new/").fields[PASSWORD_FIELD] == ""
    assert "Confirm it's you" in page.text
    assert "autofocus" not in page.html


def test_the_password_in_the_same_form_sends_it(late_requester: Requester, sandbox: SandboxServer):
    page = late_requester.delete(**{PASSWORD_FIELD: PASSWORD})
    assert page.outcome["data-outcome"] == "deleted"
    assert sandbox.world.deletes_received(late_requester.connection.id) == 1
    assert "person.reauthenticated" in codes()


def test_a_wrong_password_beside_the_right_confirmation_sends_nothing(
    late_requester: Requester, sandbox: SandboxServer
):
    page = late_requester.delete(**{PASSWORD_FIELD: "not it"})
    assert (page.status, page.form_to("/deletions/new/").fields["confirmation"]) == (
        422,
        "Payments US",
    )
    assert "Wrong password." in page.text
    assert sandbox.world.deletes_received(late_requester.connection.id) == 0


def test_the_right_password_beside_a_wrong_confirmation_is_not_asked_for_again(
    late_requester: Requester, sandbox: SandboxServer
):
    page = late_requester.delete(confirmation="Payments EU", **{PASSWORD_FIELD: PASSWORD})
    form = page.form_to("/deletions/new/")
    assert (page.status, form.fields["confirmation"]) == (422, "Payments EU")
    assert PASSWORD_FIELD not in form.fields
    assert sandbox.world.deletes_received(late_requester.connection.id) == 0


def test_a_completed_action_is_shown_without_a_prompt(late_requester: Requester):
    typed = late_requester.typed(**{PASSWORD_FIELD: PASSWORD})
    late_requester.client.post("/deletions/new/", typed)
    let_proof_age(late_requester.client)
    page = late_requester.follow(
        late_requester.client.post("/deletions/new/", typed | {PASSWORD_FIELD: ""})
    )
    assert page.outcome["data-outcome"] == "deleted"


def test_requesting_approval_sends_nothing_and_needs_no_identity_check(
    ada: Person, sandbox: SandboxServer, late_requester: Requester
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    page = late_requester.delete()
    assert page.outcome["data-state"] == "requested"
    assert PASSWORD_FIELD not in late_requester.confirmation_page().html


def requested(requester: Requester) -> Deletion:
    """A deletion that waits for another person's approval."""
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    requester.delete()
    return requester.deletion()


def test_approving_prompts_on_its_page_and_counts_with_the_password(
    late_requester: Requester, linus: Person, late_client_of: ClientOf
):
    url = f"/deletions/{requested(late_requester).pk}/"
    approver = Requester(
        client=late_client_of(linus),
        credential=late_requester.credential,
        connection=late_requester.connection,
    )
    refused = approver.press(approver.open(url), "/approve/")
    assert (refused.status, refused.outcome["data-state"]) == (422, "requested")
    approved = approver.press(refused, "/approve/", **{PASSWORD_FIELD: PASSWORD})
    assert approved.outcome["data-state"] == "approved"


def test_confirming_after_the_approval_prompts_on_its_page(
    late_requester: Requester, linus: Person, client_of: ClientOf, sandbox: SandboxServer
):
    deletion = requested(late_requester)
    url = f"/deletions/{deletion.pk}/"
    approver = Requester(
        client=client_of(linus),
        credential=late_requester.credential,
        connection=late_requester.connection,
    )
    approver.press(approver.open(url), "/approve/")
    late = late_requester.confirm(late_requester.open(url))
    assert (late.status, late.form_to("/execute/").fields["confirmation"]) == (422, "Payments US")
    assert sandbox.world.deletes_received(late_requester.connection.id) == 0
    sent = late_requester.press(
        late, "/execute/", confirmation="Payments US", **{PASSWORD_FIELD: PASSWORD}
    )
    assert sent.outcome["data-outcome"] == "deleted"


def pasted(sandbox: SandboxServer) -> dict[str, str]:
    """The form of a new credential, filled in."""
    pair = key_pair_of(sandbox.world, "Payments US")
    site = org_named(sandbox.world, "Payments US").site.name
    keys = {"api_key": pair.api_key, "application_key": pair.application_key}
    return {"name": "Payments (new)", "site": site} | keys


def test_a_late_credential_form_keeps_its_name_but_not_its_keys(
    margaret: Person, late_client_of: ClientOf, sandbox: SandboxServer
):
    typed = pasted(sandbox)
    page = read(late_client_of(margaret).post("/credentials/new/", typed))
    fields = page.form_to("/credentials/new/").fields
    assert (page.status, fields["name"]) == (422, "Payments (new)")
    assert f'value="{typed["site"]}" selected' in page.html
    assert (fields["api_key"], fields["application_key"]) == ("", "")
    assert "Paste the keys again. They weren't kept." in page.text
    assert typed["api_key"] not in page.html
    assert not Credential.objects.exists()
    assert sandbox.world.requests() == []


def test_a_late_import_keeps_nothing_but_the_choice_to_rotate(
    sandbox: SandboxServer, margaret: Person, late_client_of: ClientOf
):
    lines = "name,site,api_key,application_key\ncanary0,canary1,canary2,canary3"
    typed = {"csv": lines, "file": SimpleUploadedFile("canary4", b"x"), "rotate": "on"}
    response = late_client_of(margaret).post("/credentials/import/", typed)

    assert response.status_code == 422
    content = response.content.decode()
    assert "Paste the lines or choose the file again." in content
    assert "checked" in content
    assert "canary" not in content
    assert sandbox.world.requests() == []


def test_the_first_credential_form_prompts_on_its_page_so_that_no_pasted_key_is_lost(
    margaret: Person, late_client_of: ClientOf, sandbox: SandboxServer
):
    client = late_client_of(margaret)
    assert PASSWORD_FIELD in read(client.get("/")).form_to("/credentials/new/").fields
    stored = client.post("/credentials/new/", pasted(sandbox) | {PASSWORD_FIELD: PASSWORD})
    assert stored.status_code == 303
    assert Credential.objects.get().is_verified


def test_a_late_change_of_roles_keeps_the_selection(
    root: Person, victor: Person, late_client_of: ClientOf
):
    client, url = late_client_of(root), f"/people/{victor.pk}/"
    assert "reauthentication_first" in client.get(url).content.decode()
    typed = {"roles": [Role.OPERATOR.value, Role.AUDITOR.value], "is_administrator": "on"}
    page = read(client.post(f"{url}roles/", typed))
    ticked = page.html.count("checked")
    assert (page.status, ticked) == (422, 3)
    assert PASSWORD_FIELD in page.form_to("/roles/").fields
    assert PASSWORD_FIELD not in page.form_to("/link/").fields
    victor = Person.objects.get(pk=victor.pk)
    assert victor.roles == {Role.VIEWER}
    client.post(f"{url}roles/", typed | {PASSWORD_FIELD: PASSWORD})
    assert Person.objects.get(pk=victor.pk).is_superuser


def test_the_prompt_before_a_page_redirects_back_to_it(
    root: Person, victor: Person, late_client_of: ClientOf
):
    client, url = late_client_of(root), f"/people/{victor.pk}/"
    form = read(client.get(url)).form_to(f"?next=%2Fpeople%2F{victor.pk}%2F")
    response = client.post(form.action, form.fields | {PASSWORD_FIELD: PASSWORD})
    assert (response.status_code, response["Location"]) == (303, url)
    assert PASSWORD_FIELD not in client.get(url).content.decode()


def test_the_verify_button_shows_the_prompt(
    margaret: Person, late_client_of: ClientOf, sandbox: SandboxServer
):
    credential = store_credential(sandbox, "Payments US", is_read=False)
    client, url = late_client_of(margaret), f"/credentials/{credential.pk}/verify/"
    forms = [form for form in read(client.post(url)).forms if form.action == url]
    assert [PASSWORD_FIELD in form.fields for form in forms] == [False, True]
    assert client.post(url, {PASSWORD_FIELD: PASSWORD}).status_code == 303


def rows_of_every_table() -> str:
    """Everything in the database and the cache, with decoded sessions."""
    rows: list[Any] = [session.get_decoded() for session in PersonSession.objects.all()]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - our own tables
            rows += cursor.fetchall()
    return repr(rows)


@pytest.mark.parametrize("response", ["", "an-answer-that-is-wrong"])
def test_nothing_from_a_late_form_reaches_a_session_a_table_or_a_log(
    margaret: Person,
    root: Person,
    late_client_of: ClientOf,
    sandbox: SandboxServer,
    caplog: pytest.LogCaptureFixture,
    response: str,
):
    caplog.set_level("DEBUG")
    keys = pasted(sandbox) | {"name": "typed-name-zq"}
    late_client_of(margaret).post("/credentials/new/", keys | {PASSWORD_FIELD: response})
    person = {"username": "typed-user-zq", "email": "typed-zq@example.com"}
    late_client_of(root).post("/people/new/", person | {PASSWORD_FIELD: response})
    found = rows_of_every_table() + caplog.text + repr(vars(cache))
    assert "ends_at" in found, "no session was read, so this would prove nothing"
    looked_for = [keys["api_key"], keys["application_key"], "typed-name", "typed-user", "typed-zq"]
    looked_for += [response] if response else []
    assert [text for text in looked_for if text in found] == []


def test_a_correct_password_is_stored_nowhere(
    root: Person, late_client_of: ClientOf, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    client = late_client_of(root)
    client.post(
        "/people/new/", {"username": "new", "email": "n@example.com", PASSWORD_FIELD: PASSWORD}
    )
    assert Person.objects.filter(username="new").exists()
    assert PASSWORD not in rows_of_every_table() + caplog.text


def test_an_error_page_with_debug_on_shows_no_password(
    root: Person, late_client_of: ClientOf, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    client = late_client_of(root)
    client.raise_request_exception = False
    settings.DEBUG = True
    for broken in (
        "connections.people.people.add_person",
        "connections.web.framework.reauthentication.record_reauthentication",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(broken, fail)
            typed = {"username": "new", "email": "n@example.com", PASSWORD_FIELD: PASSWORD}
            page = client.post("/people/new/", typed)
        let_proof_age(client)
        assert page.status_code == 500
        assert "broken on purpose" in page.content.decode()
        assert PASSWORD not in page.content.decode()


def test_a_person_without_a_password_sees_what_to_do_and_cannot_continue(
    late_client_of: ClientOf, victor: Person
):
    admin = make_person("invited", is_administrator=True)
    admin.set_unusable_password()
    admin.save()
    client, url = late_client_of(admin), f"/people/{victor.pk}/"
    page = client.post(f"{url}disable/", {PASSWORD_FIELD: "!"})
    assert page.status_code == 422
    assert "you don't have one" in page.content.decode()
    assert Person.objects.get(pk=victor.pk).is_active
