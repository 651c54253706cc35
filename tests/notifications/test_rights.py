"""Who is notified when a safeguard or a person's roles change."""

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from connections.access.actor import Actor, person_actor
from connections.core import clock
from connections.credentials import access_lists
from connections.credentials import lifecycle as credential_lifecycle
from connections.models import AccessKind, ApprovalPolicy, Credential, Notification, Person, Role
from connections.notifications.formats import Message
from connections.notifications.messages import build_message
from connections.people import people, provider_accounts, sign_in_links
from sandbox.server import SandboxServer
from tests.credentials.support import second_pair
from tests.flows.support import store_credential
from tests.support.people import make_person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _set(settings: Settings) -> None:
    settings.HAS_MAIL = True
    settings.WEBHOOK_URL = "https://hooks.example.org/in"


@pytest.fixture
def by_root(root: Person) -> Actor:
    """The administrator who acts; Margot is another one, who is notified."""
    make_person("margot", is_administrator=True)
    return person_actor(person=root)


@pytest.fixture
def credential(sandbox: SandboxServer) -> Credential:
    return store_credential(sandbox, "Payments US", policy=ApprovalPolicy.TWO, is_read=False)


def notified_people() -> set[str]:
    """The user names of people with a queued mail; the webhook must have the event too."""
    assert Notification.objects.filter(channel=Notification.Channel.WEBHOOK).exists()
    mails = Notification.objects.filter(channel=Notification.Channel.MAIL)
    return set(mails.values_list("person__username", flat=True))


def message(*, to: Person | None = None) -> Message:
    return build_message(Notification.objects.get(person=to))


def test_approvers_and_other_administrators_are_notified_of_a_policy_change(
    credential: Credential, by_root: Actor, linus: Person, ada: Person, edith: Person
):
    credential_lifecycle.change_policy(
        actor=by_root, credential=credential, policy=ApprovalPolicy.NONE
    )
    assert notified_people() == {"linus", "margot"}
    mail = message(to=linus)
    assert mail.subject == "Org Admin: Approval policy changed: Payments US"
    assert "By: Root" in mail.as_text()
    assert mail.path == reverse("credential-detail", args=[credential.pk])
    wanted = {"previous_policy": "two", "policy": "none", "credential": "Payments US", "by": "Root"}
    assert wanted.items() <= message().data.items()


@pytest.mark.database
def test_only_approvers_who_see_the_credential_are_notified_of_its_access_lists(
    credential: Credential, by_root: Actor, linus: Person
):
    grete = make_person("grete", Role.APPROVER)
    access_lists.change_access(
        actor=by_root, credential=credential, wanted={AccessKind.SEE: [f"person:{grete.pk}"]}
    )
    assert notified_people() == {"grete", "margot"}
    assert message().data["after"]["see"] == [f"person:{grete.pk}"]


@pytest.fixture
def other(sandbox: SandboxServer, credential: Credential) -> Credential:
    """Another credential of the org, which everybody can see."""
    pair = second_pair(sandbox, "Payments US")
    return store_credential(
        sandbox, "Payments US", name="Second", pair=pair, policy=ApprovalPolicy.ONE, is_read=False
    )


@pytest.fixture
def hidden(credential: Credential, by_root: Actor) -> Credential:
    """The credential with the stricter policy, which only Vera and administrators can see."""
    vera = make_person("vera", Role.VIEWER)
    access_lists.change_access(
        actor=by_root, credential=credential, wanted={AccessKind.SEE: [f"person:{vera.pk}"]}
    )
    Notification.objects.all().delete()
    return credential


@pytest.mark.database
def test_an_approver_of_the_org_learns_of_its_policy_but_not_of_a_hidden_credential(
    hidden: Credential,
    other: Credential,
    by_root: Actor,
    linus: Person,
    client_of: Callable[[Person], Client],
):
    credential_lifecycle.change_policy(actor=by_root, credential=hidden, policy=ApprovalPolicy.NONE)
    assert notified_people() == {"linus", "margot"}
    mail = message(to=linus)
    assert mail.sentence == "The approvals needed for Payments US changed from 2 to 1."
    assert mail.subject == "Org Admin: Approval policy changed: Payments US"
    assert not mail.data
    assert client_of(linus).get(mail.path).status_code == 200
    assert "“2 approvals required” to “No approval required”" in message().sentence
    assert message().data["org_policy"] == "one"


def test_an_approver_learns_nothing_of_a_hidden_credential_that_leaves_the_policy_of_its_org(
    hidden: Credential, other: Credential, by_root: Actor, linus: Person
):
    other.policy = ApprovalPolicy.TWO
    other.save()
    credential_lifecycle.change_policy(actor=by_root, credential=hidden, policy=ApprovalPolicy.NONE)
    assert notified_people() == {"margot"}


def test_a_message_is_not_sent_to_an_approver_from_whom_its_credential_is_hidden_since(
    credential: Credential, by_root: Actor, linus: Person
):
    credential_lifecycle.allow_person_to_create(
        actor=by_root, credential=credential, allow_person=True
    )
    access_lists.change_access(
        actor=by_root, credential=credential, wanted={AccessKind.SEE: ["role:Auditor"]}
    )
    queued = Notification.objects.get(person=linus)
    with pytest.raises(Credential.DoesNotExist):
        build_message(queued)


@pytest.mark.parametrize(
    "act",
    [
        lambda actor, person: people.set_roles(
            actor=actor, person=person, roles=[Role.APPROVER], is_administrator=False
        ),
        lambda actor, person: people.set_roles(
            actor=actor, person=person, roles=[Role.OPERATOR], is_administrator=True
        ),
        lambda actor, person: people.set_break_glass(actor=actor, person=person, is_allowed=True),
        lambda actor, person: sign_in_links.make_sign_in_link(
            actor=actor, person=person, now=clock.now()
        ),
        lambda actor, person: people.change_email(
            actor=actor, person=person, email="other@example.org"
        ),
        lambda actor, person: provider_accounts.connect_account(
            actor=actor, person=person, issuer="https://sso.example.org", subject="42"
        ),
    ],
    ids=["roles", "administrator", "glass", "link", "address", "provider"],
)
def test_the_person_and_other_administrators_are_notified_of_role_changes(
    act: Callable[[Actor, Person], object], by_root: Actor, ada: Person, linus: Person
):
    act(by_root, ada)
    assert notified_people() == {"ada", "margot"}


def test_other_administrators_are_notified_of_people_added_disabled_and_enabled(
    by_root: Actor, linus: Person
):
    added = people.add_person(
        actor=by_root, username="new", email="new@example.org", roles=[Role.APPROVER]
    )
    assert notified_people() == {"margot"}
    people.disable_person(actor=by_root, person=added)
    assert notified_people() == {"margot"}
    people.enable_person(actor=by_root, person=added)
    assert notified_people() == {"margot", "new"}


def test_a_single_administrator_is_not_notified_of_their_own_action(ada: Person, root: Person):
    people.set_roles(
        actor=person_actor(person=root), person=root, roles=[Role.AUDITOR], is_administrator=True
    )
    assert notified_people() == set()


def test_the_recipient_of_a_mail_can_open_its_link(
    by_root: Actor, ada: Person, client_of: Callable[[Person], Client]
):
    people.set_break_glass(actor=by_root, person=ada, is_allowed=True)
    for notification in Notification.objects.exclude(person=None):
        assert notification.person
        path = urlsplit(build_message(notification).url).path
        assert client_of(notification.person).get(path).status_code == 200


@pytest.mark.database
def test_the_delivery_log_links_to_the_subject(
    by_root: Actor, root: Person, ada: Person, client_of: Callable[[Person], Client]
):
    people.set_break_glass(actor=by_root, person=ada, is_allowed=True)
    page = client_of(root).get(reverse("notification-list")).content.decode()
    assert f'href="{reverse("person-detail", args=[ada.pk])}"' in page
