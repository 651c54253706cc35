"""Roles from the identity provider's groups: given, taken, and refused when they aren't known."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.access.actor import command_actor
from connections.core.role_map import ADMINISTRATOR, ROLE_NAMES, parse_role_map
from connections.models import AuditEvent, Person, Role
from connections.people import people, provider_accounts
from tests.people.oidc.support import (
    START,
    connect,
    is_signed_in,
    last_event,
    sign_in_at_provider,
)
from tests.people.oidc.test_properties import Provider
from tests.support.people import just_signed_in, make_person, person_as_administrator
from tests.support.provider import Claims, TestProvider

MAP = "deleters=Operator+Viewer, approvers=Approver, auditors=Auditor"


@pytest.fixture(autouse=True)
def role_map(settings: Settings) -> None:
    settings.OIDC_ROLE_MAP = parse_role_map(MAP)


@pytest.fixture
def person(db: None) -> Person:
    """Someone who had the role Approver in the beginning."""
    return make_person("ada", Role.APPROVER)


def roles_of(person: Person) -> set[str]:
    return set(person.groups.values_list("name", flat=True))


def test_the_groups_of_either_provider_become_roles_and_the_change_is_recorded(
    client: Client, person: Person, either_provider: Provider
):
    connect(person, either_provider)
    sign_in_at_provider(client)
    assert is_signed_in(client, person)
    assert roles_of(person) == {"Operator", "Viewer"}
    event = AuditEvent.objects.filter(code="person.changed").latest("seq")
    assert (event.actor_kind, event.actor_name) == ("provider", "identity provider")
    assert event.subject_id == str(person.pk)
    assert event.sentence == (
        "The identity provider's groups changed the roles of Ada to: Operator, Viewer."
    )
    assert event.details["previous_roles"] == ["Approver"]
    assert event.details["groups"] == ["deleters"]


def test_a_sign_in_that_changes_no_role_records_none(
    client: Client, person: Person, provider: TestProvider
):
    provider.extra = {"groups": ["approvers", "unrelated"]}
    connect(person, provider)
    sign_in_at_provider(client)
    assert roles_of(person) == {"Approver"}
    assert last_event().code == "person.signed_in"


def test_a_lost_group_ends_the_persons_other_sessions(
    client: Client, person: Person, provider: TestProvider
):
    connect(person, provider)
    other = just_signed_in(person)
    provider.extra = {"groups": ["deleters"]}
    sign_in_at_provider(client)
    assert is_signed_in(client, person)
    assert client.get("/").status_code == 200
    assert other.get("/")["Location"].startswith("/accounts/login/")


def test_a_role_that_the_map_does_not_name_stays(client: Client, provider: TestProvider, db: None):
    person = make_person("ada", Role.CREDENTIAL_MANAGER, Role.AUDITOR)
    connect(person, provider)
    provider.extra = {"groups": "approvers"}
    sign_in_at_provider(client)
    assert roles_of(person) == {"Credential manager", "Approver"}


@pytest.mark.parametrize("groups", [[], ["unrelated"], ["Deleters", "deleters "]])
def test_without_a_mapped_group_a_person_is_refused_and_keeps_no_role(
    client: Client, person: Person, provider: TestProvider, groups: list[str]
):
    person.groups.add(Group.objects.get(name="Credential manager"))
    provider.extra = {"groups": groups}
    connect(person, provider)
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "None of your groups" in page.text
    assert "_auth_user_id" not in client.session
    assert roles_of(person) == set()
    assert last_event().details == {"reason": "no_role"}


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "no_roles_claim"),
        ({"groups": None}, "no_roles_claim"),
        ({"groups": {"approvers": True}}, "no_roles_claim"),
        ({"groups": ["approvers", 5]}, "no_roles_claim"),
        ({"groups": [f"g{number}" for number in range(1001)]}, "roles_claim_too_large"),
        (
            {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "x"}}},
            "roles_claim_too_large",
        ),
        ({"_claim_names": {"groups": "src1"}, "groups": ["approvers"]}, "roles_claim_too_large"),
        ({"_claim_names": "groups", "groups": ["approvers"]}, "roles_claim_too_large"),
        ({"hasgroups": True}, "roles_claim_too_large"),
    ],
)
def test_an_absent_or_too_large_claim_refuses_the_sign_in_and_changes_no_role(
    client: Client, person: Person, provider: TestProvider, claims: Claims, reason: str
):
    provider.extra = claims
    connect(person, provider)
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "roles weren&#x27;t changed" in page.text
    assert "_auth_user_id" not in client.session
    assert roles_of(person) == {"Approver"}
    assert last_event().details == {"reason": reason}


def test_userinfo_of_another_subject_gives_no_role(
    client: Client, person: Person, provider: TestProvider
):
    connect(person, provider)
    provider.userinfo = {"sub": "another", "groups": ["approvers"]}
    assert sign_in_at_provider(client).status_code == 403
    assert last_event().details == {"reason": "bad_token"}


def test_the_token_counts_more_than_userinfo(
    client: Client, person: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_CREATE_PEOPLE = True
    connect(person, provider)
    provider.extra = {"groups": ["deleters"]}
    provider.userinfo = {"sub": provider.subject, "groups": ["approvers"], "email": "a@b.example"}
    sign_in_at_provider(client)
    assert roles_of(person) == {"Operator", "Viewer"}


@pytest.mark.parametrize(
    ("role_map", "is_administrator"),
    [("it=Operator", False), ("Administrator=Viewer", False), ("it=Administrator", True)],
)
def test_only_a_map_that_names_the_role_makes_an_administrator(
    client: Client,
    person: Person,
    provider: TestProvider,
    settings: Settings,
    role_map: str,
    is_administrator: bool,
):
    settings.OIDC_ROLE_MAP = parse_role_map(role_map)
    provider.extra = {"groups": ["it", "Administrator"], "is_superuser": True, "roles": ["admin"]}
    connect(person, provider)
    sign_in_at_provider(client)
    person.refresh_from_db()
    assert person.is_superuser is is_administrator
    assert is_signed_in(client, person)


@pytest.mark.parametrize(("count", "is_still"), [(1, True), (2, False)])
def test_the_last_administrator_is_refused_but_keeps_that_role(
    client: Client, provider: TestProvider, db: None, count: int, is_still: bool
):
    root, *_ = [make_person(f"root{number}", is_administrator=True) for number in range(count)]
    root.groups.add(Group.objects.get_or_create(name="Credential manager")[0])
    provider_accounts.connect_account(
        actor=command_actor(), person=root, issuer=provider.issuer, subject=provider.subject
    )
    provider.extra = {"groups": []}
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session
    root.refresh_from_db()
    assert root.is_superuser is is_still
    assert roles_of(root) == set()
    assert ("you are the last one" in page.text) is is_still


def test_a_disabled_person_gets_no_role(client: Client, person: Person, provider: TestProvider):
    connect(person, provider)
    people.disable_person(actor=person_as_administrator(), person=person)
    provider.extra = {"groups": ["auditors"]}
    assert sign_in_at_provider(client).status_code == 403
    assert roles_of(person) == {"Approver"}


def test_an_identity_check_changes_no_role(client: Client, person: Person, provider: TestProvider):
    connect(person, provider)
    provider.extra = {"groups": ["approvers"]}
    sign_in_at_provider(client)
    provider.extra = {"groups": ["auditors"]}
    sign_in_at_provider(client, f"{START}again/")
    assert roles_of(person) == {"Approver"}


def test_mapped_roles_are_read_only_on_the_page_of_a_connected_person(
    person: Person, root: Person, provider: TestProvider
):
    administrator = just_signed_in(root)
    page = reverse("person-detail", args=[person.pk])
    assert "disabled" not in administrator.get(page).text
    connect(person, provider)
    text = administrator.get(page).text
    assert text.count(" disabled") == 4
    assert text.count("(set by the identity provider)") == 4
    posted = {"roles": ["Auditor", "Credential manager"]}
    administrator.post(reverse("person-roles", args=[person.pk]), posted)
    assert roles_of(person) == {"Approver", "Credential manager"}


def test_a_read_only_administrator_stays_one(
    person: Person, root: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_ROLE_MAP = parse_role_map("it=Administrator")
    person.is_superuser = True
    person.save()
    connect(person, provider)
    just_signed_in(root).post(reverse("person-roles", args=[person.pk]), {"roles": ["Auditor"]})
    person.refresh_from_db()
    assert person.is_superuser
    assert roles_of(person) == {"Auditor"}


def test_the_other_roles_of_the_only_administrator_can_be_changed(
    root: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_ROLE_MAP = parse_role_map("it=Administrator")
    # Not with `connect`, which makes another administrator.
    provider_accounts.connect_account(
        actor=command_actor(), person=root, issuer=provider.issuer, subject=provider.subject
    )
    just_signed_in(root).post(reverse("person-roles", args=[root.pk]), {"roles": ["Auditor"]})
    root.refresh_from_db()
    assert root.is_superuser
    assert roles_of(root) == {"Auditor"}


def test_userinfo_is_not_asked_for_the_address_of_someone_known(
    client: Client, person: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_CREATE_PEOPLE = True
    connect(person, provider)
    provider.extra = {"groups": ["deleters"]}
    provider.userinfo = {"sub": "another"}
    sign_in_at_provider(client)
    assert is_signed_in(client, person)


def test_profile_and_email_are_asked_for_with_a_map(
    client: Client, provider: TestProvider, settings: Settings, db: None
):
    settings.OIDC_SCOPES = "openid groups profile email"
    asked = parse_qs(urlsplit(client.get(START)["Location"]).query)
    assert asked["scope"] == ["openid groups profile email"]


def test_the_map_knows_every_role():
    assert (*Role.values, ADMINISTRATOR) == ROLE_NAMES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=Viewer", {"a": {"Viewer"}}),
        (" a = Viewer + Credential manager , b=Auditor", None),
        ('{"cn=a,dc=b+c": ["Viewer", "Operator"]}', {"cn=a,dc=b+c": {"Viewer", "Operator"}}),
    ],
)
def test_a_map_is_pairs_or_json(text: str, expected: dict[str, set[str]] | None):
    wanted = {"a": {"Viewer", "Credential manager"}, "b": {"Auditor"}}
    assert parse_role_map(text) == (wanted if expected is None else expected)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=Viewer",
        "a=",
        "a=viewer",
        "a=Superuser",
        "a=Viewer=Operator",
        "a=Viewer,,b=Auditor",
        "a=Viewer,a=Auditor",
        "{",
        "{}x",
        '{"a": "Viewer"}',
        '{"a": []}',
        '{"a": [5]}',
        '{"a": {"Viewer": 1}}',
        '{"a": ["Viewer"], "a": ["Auditor"]}',
        '{"": ["Viewer"]}',
        "{}",
    ],
)
def test_any_other_map_is_refused(text: str):
    with pytest.raises(ValueError, match=r"role|Write|twice"):
        parse_role_map(text)
