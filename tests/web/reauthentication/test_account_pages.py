"""allauth's account pages require the same identity check, and replay nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import reverse

from connections.core import clock
from connections.models import AuditEvent, Person
from connections.people import sign_in_links
from tests.support.mfa import code_of, set_up_app, set_up_recovery_codes
from tests.support.people import PASSWORD, let_proof_age
from tests.web.test_access import SIGNED_IN_OF_ALLAUTH

ClientOf = Callable[[Person], Client]
SECRET = "JBSWY3DPEHPK3PXP"
NEW = "quite another pass phrase"

# Only show something, or are the prompt itself.
FREE = {
    "mfa_index",
    "mfa_list_webauthn",
    "account_reauthenticate",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
}
GUARDED = sorted(SIGNED_IN_OF_ALLAUTH - FREE)
# The page that shows the codes accepts no POST.
CASES = [(name, method) for name in GUARDED for method in ("get", "post")]
CASES.remove(("mfa_view_recovery_codes", "post"))
# Values for their forms.
TYPED = {
    "mfa_activate_totp": {"code": "123456"},
    "account_change_password": {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW},
    "account_set_password": {"password1": NEW, "password2": NEW},
    "mfa_add_webauthn": {"name": "typed-name", "credential": "{}"},
    "mfa_edit_webauthn": {"name": "typed-name"},
}


@pytest.fixture
def ada_with_mfa(ada: Person) -> Person:
    """Ada, with every sign-in method that these pages manage."""
    set_up_recovery_codes(ada)
    Authenticator.objects.create(
        user=ada, type=Authenticator.Type.WEBAUTHN, data={"name": "Key", "credential": {}}
    )
    return ada


def address(name: str, person: Person) -> str:
    if name == "mfa_activate_totp":
        Authenticator.objects.filter(type=Authenticator.Type.TOTP).delete()
    else:
        set_up_app(person, SECRET)
    needs_key = name in {"mfa_remove_webauthn", "mfa_edit_webauthn"}
    key = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).pk
    return reverse(name, kwargs={"pk": key} if needs_key else None)


def state_of(person: Person) -> Any:
    person = Person.objects.get(pk=person.pk)
    return person.password, list(Authenticator.objects.order_by("pk").values_list("pk", "data"))


@pytest.mark.parametrize("has_password", [True, False], ids=["", "without password"])
@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_page_that_changes_sign_in_methods_prompts_first_and_replays_nothing(
    name: str, has_password: bool, method: str, ada_with_mfa: Person, late_client_of: ClientOf
):
    if not has_password:
        ada_with_mfa.set_unusable_password()
        ada_with_mfa.save()
    url, client = address(name, ada_with_mfa), late_client_of(ada_with_mfa)
    session, before = dict(client.session), state_of(ada_with_mfa)
    # The identity check that was too old is gone; nothing else is.
    del session["reauthenticated"]
    response = getattr(client, method)(url, TYPED.get(name, {}) if method == "post" else None)
    question = f"/accounts/reauthenticate/?next={url.replace('/', '%2F')}"
    assert (response.status_code, response["Location"]) == (302, question)
    assert (dict(client.session), state_of(ada_with_mfa)) == (session, before)
    checked = client.post(question, {"step_up-password": PASSWORD})
    assert checked.status_code == (303 if has_password else 422)
    assert state_of(ada_with_mfa) == before
    changes = AuditEvent.objects.exclude(
        code__in=["person.reauthenticated", "person.reauthentication_failed"]
    )
    assert not changes.exists()


@pytest.mark.parametrize("name", ["mfa_activate_totp", "mfa_add_webauthn"])
def test_a_person_without_password_or_mfa_cannot_set_up_mfa_without_reauthentication(
    name: str, ada: Person, late_client_of: ClientOf
):
    ada.set_unusable_password()
    ada.save()
    response = late_client_of(ada).get(reverse(name))
    assert response["Location"].startswith("/accounts/reauthenticate/?next=")


def test_they_work_after_the_identity_check(ada: Person, late_client_of: ClientOf):
    client, url = late_client_of(ada), "/accounts/2fa/totp/activate/"
    client.post(f"/accounts/reauthenticate/?next={url}", {"step_up-password": PASSWORD})
    secret = client.get(url).context["form"].secret
    client.post(url, {"code": code_of(secret)})
    assert Authenticator.objects.filter(type=Authenticator.Type.TOTP).exists()


def test_htmx_redirects_the_whole_page_to_reauthentication(ada: Person, late_client_of: ClientOf):
    url = "/accounts/2fa/totp/activate/"
    response = late_client_of(ada).get(url, headers={"HX-Request": "true"})
    assert response["HX-Redirect"].startswith("/accounts/reauthenticate/?next=")


@pytest.mark.parametrize("password", [NEW, ""], ids=["choosing a password", "without"])
def test_a_sign_in_link_counts_as_an_identity_check_only_if_it_sets_the_password(
    root: Person, ada: Person, client: Client, actor_for: Callable[..., Any], password: str
):
    link = sign_in_links.make_sign_in_link(actor=actor_for(root), person=ada, now=clock.now())
    token = link.partition("#")[2]
    client.post("/sign-in/", {"token": token, "password": password})
    assert client.session["_auth_user_id"] == str(ada.pk)
    is_asked = client.get("/accounts/reauthenticate/").status_code == 200
    assert is_asked is (not password)


def test_a_person_who_signed_in_by_a_link_cannot_set_a_password_in_the_session(
    ada: Person, late_client_of: ClientOf
):
    ada.set_unusable_password()
    ada.save()
    client = late_client_of(ada)
    client.post("/accounts/password/set/", TYPED["account_set_password"])
    client.post("/accounts/password/change/", TYPED["account_change_password"])
    assert not Person.objects.get(pk=ada.pk).has_usable_password()


def test_password_guesses_are_limited_on_the_page_that_changes_it(ada: Person, client_of: ClientOf):
    client = client_of(ada)
    let_proof_age(client)
    for _ in range(7):
        client.post("/accounts/password/change/", TYPED["account_change_password"])
        client.post("/accounts/reauthenticate/", {"step_up-password": "guess"})
    assert Person.objects.get(pk=ada.pk).check_password(PASSWORD)
    assert AuditEvent.objects.filter(code="person.reauthentication_failed").count() == 6
