"""API tokens: who makes, sees and revokes them, and accounts for programs."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from connections.access import permissions
from connections.access.actor import command_actor, person_actor
from connections.audit import EventCode, Sentence
from connections.audit.events import atomic, record
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import ApiToken, AuditEvent, Person, Role, Scope
from connections.people import api_tokens, people, provider_accounts, sign_in_links
from connections.people.erasure import erase_person
from tests.support.api_tokens import make_token_of
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


@pytest.fixture
def cmdb() -> Person:
    return people.add_person(
        actor=command_actor(), username="cmdb", email="", roles=[Role.OPERATOR], is_program=True
    )


def find(text: str) -> ApiToken | None:
    return api_tokens.find_token(text=text, now=clock.now())


def test_a_token_is_shown_once_and_stored_as_a_hash(ada: Person, client_of: ClientOf):
    client = client_of(ada)
    page = client.post(
        reverse("api-token-list"),
        {"name": " CMDB  sync ", "scope": ["orgs", "changes"], "expires": "7"},
    )
    token = ApiToken.objects.get()
    text = page.context["text"]
    assert text.startswith("oa1_")
    assert len(text) == 44
    assert text in page.text
    assert text not in client.get(reverse("api-token-list")).text
    assert token.token_hash not in page.text
    assert (token.person, token.name, token.scopes) == (ada, "CMDB sync", ["changes", "orgs"])
    assert token.expires_at - token.created_at == timedelta(days=7)
    assert find(text) == token
    assert find(text + "x") is None


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"name": ""}, "This field is required."),
        ({"name": "\u200b"}, "Enter a name."),
        ({"scope": []}, "This field is required."),
        ({"scope": ["keys"]}, "keys is not one of the available choices"),
        ({"expires": 366}, "less than or equal to 365"),
        ({"expires": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_field_is_named_and_the_others_are_kept(
    ada: Person, client_of: ClientOf, values: dict[str, object], error: str
):
    posted = {"name": "CMDB", "scope": ["read"], "expires": 90} | values
    page = client_of(ada).post(reverse("api-token-list"), posted)
    assert page.status_code == 422
    assert error in page.text
    assert page.context["form"]["expires"].value() == str(posted["expires"])
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"scopes": ["keys"]}, "scope"), ({"days": 366}, "expires"), ({"name": "n" * 61}, "name")],
)
def test_the_service_checks_its_input(ada: Person, wrong: dict[str, object], field: str):
    fields: dict[str, Any] = {"name": "CMDB", "scopes": ["read"], "days": 90} | wrong
    with pytest.raises(InvalidInputError) as refused:
        api_tokens.make_token(actor=command_actor(), person=ada, **fields)
    assert list(refused.value.fields) == [field]


def test_two_tokens_can_have_one_name_so_that_one_can_be_replaced(
    ada: Person, clock: SettableClock
):
    first, _ = make_token_of(ada, days=1)
    make_token_of(ada)
    make_token_of(ada, name="SIEM")
    with pytest.raises(ConflictError, match="Two tokens named “CMDB” are active"):
        make_token_of(ada)
    api_tokens.revoke_token(actor=person_actor(person=ada), token=first)
    make_token_of(ada, days=1)
    clock.advance(hours=24)
    make_token_of(ada)


def test_a_token_ends_when_it_expires_is_revoked_or_its_person_leaves(
    ada: Person, grace: Person, root: Person, clock: SettableClock
):
    texts = {}
    for name, days in (("expired", 1), ("revoked", 9), ("kept", 9)):
        texts[name] = make_token_of(ada, name=name, days=days)[1]
    texts["of one who left"] = make_token_of(grace)[1]
    clock.advance(hours=24)
    api_tokens.revoke_token(
        actor=person_actor(person=ada), token=ApiToken.objects.get(name="revoked")
    )
    disabled = people.disable_person(actor=person_actor(person=root), person=grace)
    assert [name for name, text in texts.items() if find(text)] == ["kept"]
    people.enable_person(actor=person_actor(person=root), person=disabled)
    assert find(texts["of one who left"]) is None


def test_erasing_a_person_removes_their_tokens(ada: Person):
    make_token_of(ada)
    erase_person(actor=command_actor(), person=ada)
    assert not ApiToken.objects.exists()


def test_the_last_use_is_stored_to_the_minute_and_once_a_minute(ada: Person):
    token, text = make_token_of(ada)
    now = clock.now().replace(second=40)
    minute = now.replace(second=0, microsecond=0)
    api_tokens.store_use(token=token, now=now)
    token.refresh_from_db()
    assert token.last_used_at == minute
    api_tokens.store_use(token=token, now=minute + timedelta(seconds=59))
    token.refresh_from_db()
    assert token.last_used_at == minute
    api_tokens.store_use(token=token, now=minute + timedelta(seconds=61))
    token.refresh_from_db()
    assert token.last_used_at == minute + timedelta(minutes=1)
    assert find(text) == token


def test_read_is_every_scope_but_those_that_write():
    token = ApiToken(scopes=["read"])
    assert [scope for scope in Scope if not token.allows(scope)] == [
        Scope.REQUEST_ACCESS,
        Scope.REQUEST_DELETION,
        Scope.SET_AGREEMENTS,
        Scope.SET_ORGS,
    ]
    assert ApiToken(scopes=["orgs:write"]).allows(Scope.SET_ORGS)
    assert not ApiToken(scopes=["orgs:write"]).allows(Scope.ORGS)


def test_who_cannot_export_has_no_tokens(victor: Person, ada: Person):
    with pytest.raises(PermissionDenied):
        make_token_of(victor)
    assert not api_tokens.can_hold_tokens(victor)
    assert api_tokens.can_hold_tokens(ada)


def test_no_one_makes_a_token_of_another_person(ada: Person, root: Person, linus: Person):
    for maker in (root, linus):
        with pytest.raises(PermissionDenied):
            api_tokens.make_token(
                actor=person_actor(person=maker), person=ada, name="x", scopes=["read"]
            )


def test_people_see_and_revoke_their_own_tokens_and_administrators_all(
    ada: Person, linus: Person, root: Person, client_of: ClientOf
):
    token, _ = make_token_of(ada)
    revoke = reverse("api-token-revoke", args=[token.pk])
    assert "Revoke the token" not in client_of(linus).get(reverse("api-token-list")).text
    assert client_of(linus).post(revoke).status_code == 404
    everyones = client_of(root).get(reverse("person-token-list")).text
    assert "Revoke the token CMDB of Ada" in everyones
    response = client_of(root).post(revoke)
    assert response["Location"] == reverse("person-token-list")
    token.refresh_from_db()
    assert token.revoked_at
    assert AuditEvent.objects.latest("seq").code == "api_token.revoked"
    make_token_of(ada)
    own = reverse("api-token-revoke", args=[ApiToken.objects.get(revoked_at=None).pk])
    assert client_of(ada).post(own)["Location"] == reverse("api-token-list")


def test_an_administrator_makes_tokens_of_programs_only(
    cmdb: Person, ada: Person, root: Person, client_of: ClientOf
):
    client = client_of(root)
    posted = {"name": "sync", "scope": ["read"], "expires": 90}
    page = client.post(reverse("person-token-list"), posted | {"person": ada.username})
    assert page.status_code == 422
    page = client.post(reverse("person-token-list"), posted | {"person": "cmdb"})
    assert page.status_code == 200
    assert ApiToken.objects.get().person == cmdb


def test_the_audit_log_names_the_token_of_an_action(ada: Person):
    token, text = make_token_of(ada, "orgs", name="CMDB")
    made = AuditEvent.objects.latest("seq")
    assert made.code == "api_token.made"
    assert made.details["api_token"] == {"id": str(token.pk), "name": "CMDB"}
    assert made.details["scopes"] == ["orgs"]
    assert text not in made.text
    with atomic():
        record(
            code=EventCode.ORG_DETAILS_SET,
            actor=person_actor(person=ada, token=token),
            sentence=Sentence("{actor} did it."),
        )
    done = AuditEvent.objects.latest("seq")
    assert (done.actor_id, done.details) == (
        ada.pk,
        {"token": {"id": str(token.pk), "name": "CMDB"}},
    )


def test_no_one_can_sign_in_to_an_account_for_a_program(cmdb: Person, root: Person):
    actor = person_actor(person=root)
    assert (cmdb.email, cmdb.has_usable_password()) == ("", False)
    for act in (
        lambda: sign_in_links.make_sign_in_link(actor=actor, person=cmdb, now=clock.now()),
        lambda: people.set_password(actor=actor, person=cmdb, password="a long pass phrase"),
        lambda: people.change_email(actor=actor, person=cmdb, email="cmdb@example.com"),
        lambda: provider_accounts.connect_account(
            actor=actor, person=cmdb, issuer="https://idp.example", subject="cmdb"
        ),
    ):
        with pytest.raises(ConflictError, match="no one signs in"):
            act()


def test_a_session_of_a_program_never_begins(cmdb: Person, client: Client):
    # Even if a password was set past the service.
    cmdb.set_password("a long pass phrase")
    cmdb.save()
    client.post("/accounts/login/", {"login": "cmdb", "password": "a long pass phrase"})
    assert "_auth_user_id" not in client.session


def test_a_program_is_no_administrator_approver_reviewer_or_owner(cmdb: Person, root: Person):
    actor = person_actor(person=root)
    with pytest.raises(ConflictError, match="can't be an administrator"):
        people.set_roles(actor=actor, person=cmdb, roles=[], is_administrator=True)
    with pytest.raises(InvalidInputError):
        people.add_person(
            actor=actor, username="x", email="", roles=[], is_administrator=True, is_program=True
        )
    people.set_roles(actor=actor, person=cmdb, roles=list(Role), is_administrator=False)
    assert not permissions.possible_owners().filter(pk=cmdb.pk).exists()
    assert not permissions.possible_reviewers().filter(pk=cmdb.pk).exists()
    assert not permissions.people_who_can_approve_with(credential_id=None).filter(pk=cmdb.pk)
    assert permissions.find_owner_problem(cmdb) == "cmdb is a program. Choose a person."


def test_a_program_is_added_on_the_page_and_has_no_parts_of_a_person(
    root: Person, client_of: ClientOf
):
    client = client_of(root)
    posted = {"username": "cmdb", "is_program": "on", "roles": ["Auditor"]}
    assert client.post("/people/new/", posted)["Location"] == reverse("person-token-list")
    cmdb = Person.objects.get(username="cmdb")
    page = client.get(reverse("person-detail", args=[cmdb.pk])).text
    for part in ("Email", "Break glass", "sign-in link", "Administrator"):
        assert f"<h2>{part}</h2>" not in page
    assert "Create sign-in link" not in page
    response = client.post("/people/new/", posted | {"username": "two", "email": "a@b.example"})
    assert "A program has no email address." in response.text
