"""The people page, and what every page has in common."""

from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from connections.models import AuditEvent, Person, Role, SignInLink
from connections.people import people
from tests.support.people import make_person

ClientOf = Callable[[Person], Client]


def detail(person: Person) -> str:
    return reverse("person-detail", kwargs={"pk": person.pk})


def post(name: str, person: Person) -> str:
    return reverse(f"person-{name}", kwargs={"pk": person.pk})


def test_the_list_shows_everyone_with_roles_and_state(
    root: Person, ada: Person, victor: Person, client_of: ClientOf
):
    Person.objects.filter(pk=victor.pk).update(is_active=False)
    page = client_of(root).get("/people/").text
    for expected in ("Ada", "ada@example.com", "Operator", "Administrator", "Disabled"):
        assert expected in page


def test_adding_a_person_shows_their_link_once(root: Person, client_of: ClientOf):
    client = client_of(root)
    values = {"username": "hedy", "email": "hedy@example.com", "roles": ["Viewer", "Auditor"]}
    page = client.post("/people/new/", values)
    hedy = Person.objects.get(username="hedy")
    assert hedy.roles == {Role.VIEWER, Role.AUDITOR}
    assert "http://testserver/sign-in/#" in page.text
    assert "/sign-in/#" not in client.get(detail(hedy)).text


def test_a_duplicate_name_is_refused_with_an_error_at_the_field(
    root: Person, ada: Person, client_of: ClientOf
):
    values = {"username": "Ada", "email": "new@example.com"}
    page = client_of(root).post("/people/new/", values)
    assert page.status_code == 422
    assert "Another person already uses this to sign in." in page.text
    assert "new@example.com" in page.text


def test_an_unknown_role_is_refused(root: Person, ada: Person, client_of: ClientOf):
    page = client_of(root).post(post("roles", ada), {"roles": ["Emperor"]})
    assert page.status_code == 422
    assert Person.objects.get(pk=ada.pk).roles == {Role.OPERATOR}


def test_roles_are_assigned_and_the_page_confirms_it(
    root: Person, ada: Person, client_of: ClientOf
):
    response = client_of(root).post(post("roles", ada), {"roles": ["Approver"]}, follow=True)
    assert "Roles of Ada saved." in response.text
    assert Person.objects.get(pk=ada.pk).roles == {Role.APPROVER}


def test_disabling_and_enabling_on_the_page(root: Person, ada: Person, client_of: ClientOf):
    client = client_of(root)
    client.post(post("disable", ada))
    assert "Enable" in client.get(detail(ada)).text
    client.post(post("enable", ada))
    codes = AuditEvent.objects.order_by("seq").values_list("code", flat=True)
    assert list(codes) == ["person.disabled", "person.enabled"]


def test_a_link_that_removes_the_second_factor_says_so(
    root: Person, ada: Person, client_of: ClientOf
):
    page = client_of(root).post(post("link", ada), {"removes_second_factor": "on"})
    assert "Using this link removes MFA" in page.text
    assert SignInLink.objects.get().removes_second_factor


def test_the_page_of_a_person_shows_their_events(root: Person, ada: Person, client_of: ClientOf):
    client = client_of(root)
    client.post(post("roles", ada), {"roles": ["Viewer"]})
    page = client.get(detail(ada)).text
    assert "The roles of Ada were changed to: Viewer." in page
    event = AuditEvent.objects.get(code="person.changed")
    assert f'href="/audit/{event.seq}/"' in page


def test_a_person_without_a_role_sees_who_can_give_one(
    stranger: Person, root: Person, client_of: ClientOf
):
    page = client_of(stranger).get("/metrics")
    assert page.status_code == 403
    assert "You don't have a role yet" in unescape(page.text)
    assert "Ask Root" in page.text


def test_the_theme_is_kept_in_a_cookie_for_everyone(client: Client, db: None):
    response = client.post("/appearance/", {"theme": "dark", "next": "/accounts/login/"})
    assert (response.status_code, response["Location"]) == (303, "/accounts/login/")
    assert 'data-theme="dark"' in client.get("/accounts/login/").text


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", ""],
)
def test_the_theme_switch_redirects_to_no_other_host(client: Client, db: None, elsewhere: str):
    response = client.post("/appearance/", {"theme": "dark", "next": elsewhere})
    assert response["Location"] == "/"


def test_an_unknown_theme_follows_the_system(client: Client, db: None):
    client.post("/appearance/", {"theme": '"><script>'})
    assert "theme" not in client.cookies


def test_metrics_are_available_to_people_with_a_role(victor: Person, client_of: ClientOf):
    response = client_of(victor).get("/metrics")
    assert response["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'orgadmin_deletions_total{outcome="unresolved"} 0' in response.text


def test_the_events_of_a_command_name_the_os_user(db: None, root: Person):
    from connections.access.actor import command_actor

    people.disable_person(actor=command_actor(), person=make_person("hedy"))
    assert AuditEvent.objects.get().actor_name.startswith("command: ")


def test_a_page_about_the_account_has_one_title_with_the_product(client: Client, db: None):
    assert "<title>Sign in · Org Admin</title>" in client.get("/accounts/login/").text


def test_missing_sign_ins_and_roles_are_shown_as_text(
    root: Person, stranger: Person, client_of: ClientOf
):
    page = client_of(root).get("/people/").text
    row = next(row for row in page.split("<tr") if "Stranger</a>" in row)
    assert "Never" in row
    assert "No role" in row
    assert 'data-label="last sign-in"' in row
    assert 'data-label="roles"' not in row


@pytest.mark.parametrize("path", ["disable", "break-glass"])
def test_actions_that_remove_access_need_a_second_click(
    root: Person, ada: Person, client_of: ClientOf, path: str
):
    ada.has_break_glass = True
    ada.save()
    page = client_of(root).get(f"/people/{ada.pk}/").text
    form = page.split(f'action="/people/{ada.pk}/{path}/"')[1].split("</form>")[0]
    before, _, inside = form.partition("<summary>")
    assert "<button" not in before
    assert "button-danger" in inside


@pytest.mark.parametrize(
    "path", ["signup", "email", "confirm-email", "confirm-email/abc", "login/code/confirm"]
)
def test_pages_of_allauth_that_are_not_offered_do_not_exist(
    ada: Person, client_of: ClientOf, path: str
):
    assert client_of(ada).get(f"/accounts/{path}/").status_code == 404
