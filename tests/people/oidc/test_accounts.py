"""Connecting and disconnecting accounts at the identity provider, and who can."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from connections.access.actor import Actor, person_actor
from connections.core.errors import ConflictError, InvalidInputError
from connections.models import AuditEvent, Person, ProviderAccount
from connections.people import provider_accounts
from tests.people.oidc.support import START, connect, is_signed_in, last_event, sign_in_at_provider
from tests.support.people import just_signed_in
from tests.support.provider import TestProvider

ClientOf = Callable[[Person], Client]
PAGE = f"{START}account/"
CONNECT = f"{START}connect/"


def address(person: Person) -> str:
    return reverse("person-provider", kwargs={"pk": person.pk})


def test_an_administrator_connects_a_subject_before_its_first_sign_in(
    client: Client, ada: Person, root: Person, provider: TestProvider
):
    just_signed_in(root).post(address(ada), {"subject": provider.subject})
    assert last_event().sentence.startswith(f"The account {provider.subject} at {provider.issuer}")
    assert last_event().subject_id == str(ada.pk)
    sign_in_at_provider(client)
    assert is_signed_in(client, ada)


def test_disconnecting_ends_the_sessions_and_prevents_new_ones(
    client: Client, ada: Person, root: Person, provider: TestProvider
):
    connect(ada, provider)
    sign_in_at_provider(client)
    just_signed_in(root).post(address(ada), {"disconnect": ""})
    assert client.get("/sessions/").status_code == 302
    assert last_event().code == "provider_account.disconnected"
    assert sign_in_at_provider(Client()).status_code == 403


def test_a_person_connects_their_own_account_after_seeing_which_it_is(
    ada: Person, provider: TestProvider
):
    client = just_signed_in(ada)
    assert sign_in_at_provider(client, CONNECT)["Location"] == PAGE
    assert not ProviderAccount.objects.exists()
    assert provider.subject in client.get(PAGE).text
    assert client.post(PAGE).status_code == 303
    account = ProviderAccount.objects.get()
    assert (account.person, account.subject) == (ada, provider.subject)
    assert last_event().actor_id == ada.pk
    other = Client()
    sign_in_at_provider(other)
    assert is_signed_in(other, ada)


def test_connecting_requires_an_identity_check_before_and_after(
    ada: Person, provider: TestProvider
):
    client = just_signed_in(ada)
    sign_in_at_provider(client, CONNECT)
    forget_proof(client)
    page = client.post(PAGE)
    assert page.status_code == 422
    assert not ProviderAccount.objects.exists()
    assert client.get(CONNECT)["Location"].startswith("/accounts/reauthenticate/")


def forget_proof(client: Client) -> None:
    session = client.session
    session.pop("reauthenticated", None)
    session.save()


def test_one_persons_provider_account_is_not_connected_to_the_next_person_in_the_browser(
    ada: Person, grace: Person, provider: TestProvider
):
    client = just_signed_in(ada)
    sign_in_at_provider(client, CONNECT)
    session = client.session
    shown = session["provider_account_shown"]
    client.force_login(grace)
    session = client.session
    session["provider_account_shown"] = shown
    session.save()
    client.post(PAGE)
    assert not ProviderAccount.objects.exists()


def test_a_response_meant_to_connect_signs_no_one_in(
    client: Client, ada: Person, grace: Person, provider: TestProvider
):
    connect(grace, provider)
    mine = just_signed_in(ada)
    sign_in_at_provider(mine, CONNECT)
    assert is_signed_in(mine, ada)


def test_an_account_belongs_to_one_person_and_a_person_has_one_account(
    ada: Person, grace: Person, root: Person, provider: TestProvider
):
    connect(ada, provider)
    administrator = just_signed_in(root)
    page = administrator.post(address(grace), {"subject": provider.subject})
    assert page.status_code == 409
    assert "connected to this account" in page.text
    assert administrator.post(address(ada), {"subject": "another"}).status_code == 409
    assert ProviderAccount.objects.get().person == ada


@pytest.mark.parametrize("subject", ["", "x" * 256, "a\nb", "a\0b"])
def test_a_malformed_subject_is_refused(
    ada: Person, root: Person, provider: TestProvider, subject: str
):
    with pytest.raises(InvalidInputError):
        provider_accounts.connect_account(
            actor=person_actor(person=root), person=ada, issuer=provider.issuer, subject=subject
        )
    assert just_signed_in(root).post(address(ada), {"subject": subject}).status_code == 422


def test_only_administrators_connect_or_disconnect_accounts_of_others(
    ada: Person, grace: Person, provider: TestProvider, actor_for: Callable[[Person], Actor]
):
    connect(ada, provider)
    actor = actor_for(grace)
    with pytest.raises(PermissionDenied):
        provider_accounts.connect_account(
            actor=actor, person=ada, issuer="https://other.example", subject="1"
        )
    for person in (ada, grace):
        with pytest.raises(PermissionDenied):
            provider_accounts.disconnect_account(actor=actor, person=person, issuer=provider.issuer)
    assert just_signed_in(grace).post(address(ada), {"disconnect": ""}).status_code == 403


def test_a_refused_connection_leaves_no_event(ada: Person, grace: Person, provider: TestProvider):
    connect(ada, provider)
    count = AuditEvent.objects.count()
    with pytest.raises(ConflictError):
        connect(grace, provider)
    assert AuditEvent.objects.count() == count


def test_the_page_of_a_person_shows_which_account_is_connected(
    ada: Person, root: Person, provider: TestProvider
):
    administrator = just_signed_in(root)
    detail = reverse("person-detail", kwargs={"pk": ada.pk})
    assert 'name="subject"' in administrator.get(detail).text
    connect(ada, provider)
    page = administrator.get(detail).text
    assert provider.subject in page
    assert "Disconnect" in page


def test_account_security_shows_what_a_person_without_a_password_has(
    ada: Person, provider: TestProvider
):
    page = just_signed_in(ada).get("/accounts/2fa/").text
    assert "Not connected" in page
    connect(ada, provider)
    ada.set_unusable_password()
    ada.save()
    page = just_signed_in(ada).get("/accounts/2fa/").text
    assert "View account" in page
    assert "Set password" in page
