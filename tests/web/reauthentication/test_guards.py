"""Every POST that requires an identity check refuses without one."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from connections.models import AuditEvent, OrgConnectionSnapshot, Person
from connections.web.framework import reauthentication
from tests.support.people import PASSWORD
from tests.support.undo import undone
from tests.web.test_access import MATRIX, REAUTHENTICATED, VICTOR

ClientOf = Callable[[Person], Client]
# The values that make a POST to this URL have an effect.
ACTING: dict[str, dict[str, str]] = {
    "deletion-confirm": {"confirmation": "Payments US"},
    "batch-request": {"confirmation": "1"},
    "batch-resume": {"confirmation": "1"},
}
ASK_FIRST = {
    "credential-import",
    "credential-new",
    "credential-rotate",
    "credential-retire",
    "credential-access",
    "person-new",
    "org-connection-unprotect",
}


def acting_values(name: str) -> dict[str, str]:
    """What a POST to the URL with this name needs to have an effect."""
    if name != "access-request-new":
        return ACTING.get(name, {})
    snapshot = OrgConnectionSnapshot.objects.filter(is_current=True).earliest("pk")
    return {
        "kind": "change",
        "source": f"{snapshot.site}/{snapshot.source_org_id}",
        "destination": f"{snapshot.site}/{snapshot.sink_org_id}",
        "confirmation": snapshot.sink_org_name,
    }


def everything_stored() -> str:
    """All rows except sessions and cache."""
    out = io.StringIO()
    call_command("dumpdata", exclude=["connections.personsession"], stdout=out)
    return out.getvalue()


def test_a_guarded_post_without_an_identity_check_does_nothing_and_shows_the_prompt(
    root: Person,
    linus: Person,
    addresses: dict[str, str],
    late_client_of: ClientOf,
    subtests: pytest.Subtests,
):
    client = late_client_of(root)
    before, events = everything_stored(), AuditEvent.objects.count()
    for name in sorted(REAUTHENTICATED):
        with subtests.test(name=name):
            response: Any = client.post(addresses[name], acting_values(name))
            assert response.status_code == 422
            question = response.context["reauth_prompt"]
            assert (question["late_at"], question["takes_password"]) == (addresses[name], True)
            assert everything_stored() == before
            assert AuditEvent.objects.count() == events


def test_a_guarded_post_with_a_wrong_password_does_nothing(
    root: Person, addresses: dict[str, str], late_client_of: ClientOf, subtests: pytest.Subtests
):
    client = late_client_of(root)
    for name in sorted(REAUTHENTICATED):
        with subtests.test(name=name):
            # Only a few wrong passwords are allowed in a row.
            cache.clear()
            events = AuditEvent.objects.count()
            typed = acting_values(name) | {"step_up-password": "a wrong password"}
            response: Any = client.post(addresses[name], typed)
            assert response.status_code == 422
            # If the action isn't available now, its page has no form to show the error in.
            assert response.context["reauth_prompt"]["problem"] == reauthentication.WRONG_PASSWORD
            assert "a wrong password" not in response.content.decode()
            [event] = AuditEvent.objects.order_by("seq")[events:]
            assert event.code == "person.reauthentication_failed"


def test_a_guarded_post_with_the_right_password_is_accepted(
    root: Person, addresses: dict[str, str], late_client_of: ClientOf, subtests: pytest.Subtests
):
    for name in sorted(REAUTHENTICATED):
        with subtests.test(name=name), undone():
            client = late_client_of(root)
            typed = ACTING.get(name, {}) | {"step_up-password": PASSWORD}
            response: Any = client.post(addresses[name], typed)
            assert AuditEvent.objects.filter(code="person.reauthenticated").count() == 1
            if response.context:
                assert not response.context["reauth_prompt"]


def test_a_person_without_permission_is_refused_and_not_prompted(
    request: pytest.FixtureRequest,
    addresses: dict[str, str],
    late_client_of: ClientOf,
    subtests: pytest.Subtests,
):
    # For all people and URLs, see the matrix of `test_access`; these two can do nothing here.
    for who in (VICTOR, "stranger"):
        with subtests.test(who=who):
            client = late_client_of(request.getfixturevalue(who))
            forbidden = {name for name in REAUTHENTICATED if who not in (MATRIX[name][1] or ())}
            statuses = {
                name: client.post(addresses[name], ACTING.get(name, {})).status_code
                for name in forbidden
            }
            assert statuses == dict.fromkeys(forbidden, 403)
            shown = {name for name in ASK_FIRST if who not in (MATRIX[name][0] or ())}
            statuses = {name: client.get(addresses[name]).status_code for name in shown}
            assert statuses == dict.fromkeys(shown, 403)


def test_a_page_with_only_an_action_prompts_before_it_is_shown(
    root: Person, addresses: dict[str, str], late_client_of: ClientOf, subtests: pytest.Subtests
):
    for name in sorted(ASK_FIRST):
        with subtests.test(name=name), undone():
            client, url = late_client_of(root), addresses[name]
            response = client.get(url)
            assert (response.status_code, response["Location"]) == (
                302,
                f"/accounts/reauthenticate/?next={url.replace('/', '%2F')}",
            )
            checked = client.post(response["Location"], {"step_up-password": PASSWORD})
            assert (checked.status_code, checked["Location"]) == (303, url)
            assert client.get(url).status_code == 200
            # Opening the prompt again shows none.
            assert client.get(response["Location"])["Location"] == url


def test_an_htmx_get_redirects_the_whole_page_to_reauthentication(
    root: Person, late_client_of: ClientOf
):
    response = late_client_of(root).get("/people/new/", headers={"HX-Request": "true"})
    assert response["HX-Redirect"] == "/accounts/reauthenticate/?next=%2Fpeople%2Fnew%2F"
