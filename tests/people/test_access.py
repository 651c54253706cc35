"""Who may do what, for every address: the role matrix of the design, walked in full."""

import uuid
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from connections.models import Credential, Deletion, Person
from connections.urls import urlpatterns

ROLES = ("victor", "ada", "linus", "margaret", "edith", "root", "stranger", "nobody")
ANY_ROLE = {"victor", "ada", "linus", "margaret", "edith", "root"}
OPERATORS = {"ada", "root"}
APPROVERS = {"linus", "root"}
CREDENTIAL_MANAGERS = {"margaret", "root"}
AUDITORS = {"edith", "root"}
EXPORTERS = OPERATORS | APPROVERS | AUDITORS
REFRESHERS = OPERATORS | APPROVERS | CREDENTIAL_MANAGERS
ADMINISTRATORS = {"root"}
EVERYBODY = set(ROLES)

# Address → method → who may; what is not named here answers 405.
MATRIX: dict[str, dict[str, set[str]]] = {
    "overview": {"GET": ANY_ROLE},
    "setup": {"GET": EVERYBODY, "POST": EVERYBODY},
    "sign-in-link": {"GET": EVERYBODY, "POST": EVERYBODY},
    "theme-set": {"POST": EVERYBODY},
    "credential-list": {"GET": ANY_ROLE},
    "credential-new": {"GET": CREDENTIAL_MANAGERS, "POST": CREDENTIAL_MANAGERS},
    "credential-detail": {"GET": ANY_ROLE},
    "credential-verify": {"POST": CREDENTIAL_MANAGERS},
    "credential-rename": {"POST": CREDENTIAL_MANAGERS},
    "credential-rotate": {"GET": CREDENTIAL_MANAGERS, "POST": CREDENTIAL_MANAGERS},
    "credential-policy": {"POST": ADMINISTRATORS},
    "credential-retire": {"GET": CREDENTIAL_MANAGERS, "POST": CREDENTIAL_MANAGERS},
    "org-connection-list": {"GET": ANY_ROLE},
    "org-connection-refresh": {"POST": REFRESHERS},
    "org-connection-export": {"GET": EXPORTERS},
    "org-connection-detail": {"GET": ANY_ROLE},
    "deletion-list": {"GET": ANY_ROLE},
    "deletion-export": {"GET": EXPORTERS},
    "deletion-new": {"GET": OPERATORS, "POST": OPERATORS},
    "deletion-detail": {"GET": ANY_ROLE},
    "deletion-execute": {"POST": OPERATORS},
    "deletion-approve": {"POST": APPROVERS},
    "deletion-decline": {"POST": APPROVERS},
    "deletion-withdraw": {"POST": APPROVERS},
    "deletion-reconcile": {"POST": OPERATORS},
    "deletion-close": {"POST": OPERATORS},
    "person-list": {"GET": ADMINISTRATORS},
    "person-new": {"GET": ADMINISTRATORS, "POST": ADMINISTRATORS},
    "person-detail": {"GET": ADMINISTRATORS},
    "person-roles": {"POST": ADMINISTRATORS},
    "person-disable": {"POST": ADMINISTRATORS},
    "person-enable": {"POST": ADMINISTRATORS},
    "person-link": {"POST": ADMINISTRATORS},
    "audit-list": {"GET": AUDITORS},
    "metrics": {"GET": ANY_ROLE},
}
NAMES = sorted({str(pattern.name) for pattern in urlpatterns})
WITHOUT_SIGN_IN = {"setup", "sign-in-link", "theme-set"}


@pytest.fixture
def deletion(grace: Person) -> Deletion:
    """Asked for by an Operator who is none of those that walk; nothing can be sent for it."""
    now = timezone.now()
    credential = Credential.objects.create(
        name="Payments EU",
        site="datadoghq.eu",
        keys_set_at=now,
        keys_set_by_name="Margaret",
        created_at=now,
        created_by_name="Margaret",
        retired_at=now,
    )
    return Deletion.objects.create(
        request_id=uuid.uuid4(),
        site=credential.site,
        connection_id=uuid.uuid4(),
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint="0123456789ab",
        is_reviewed=True,
        digest="0" * 64,
        reason="No longer needed.",
        policy="one",
        requested_at=now,
        requested_by=grace,
        requested_by_name="Grace",
    )


def address_of(name: str, *, deletion: Deletion) -> str:
    """An address of that name at which there is something."""
    if name == "org-connection-detail":
        arguments = {"site": deletion.site, "connection_id": deletion.connection_id}
        return reverse(name, kwargs=arguments)
    subject = {
        "credential": deletion.credential_id,
        "deletion": deletion.pk,
        "person": deletion.requested_by_id,
    }.get(name.partition("-")[0])
    takes_a_subject = any(
        pattern.name == name and "<uuid:pk>" in str(pattern.pattern) for pattern in urlpatterns
    )
    return reverse(name, kwargs={"pk": subject} if takes_a_subject else None)


def answer_to(client: Client, method: str, address: str) -> str:
    """What the address said of the right to ask; not whether there was something to do."""
    response = client.generic(method, address)
    if response.status_code == 403:
        return "refused"
    if response.status_code == 405:
        return "no such method"
    if response.headers.get("Location", "").startswith("/accounts/login/"):
        return "sign in first"
    return "allowed"


def expected_answer(who: str, name: str, method: str) -> str:
    """What the matrix says."""
    if who == "nobody" and name not in WITHOUT_SIGN_IN:
        return "sign in first"
    if method not in MATRIX[name]:
        return "no such method"
    return "allowed" if who in MATRIX[name][method] else "refused"


def test_the_matrix_names_every_address_and_no_other() -> None:
    assert sorted(MATRIX) == NAMES


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("name", NAMES)
def test_an_address_answers_exactly_whom_the_matrix_names(
    name: str,
    method: str,
    deletion: Deletion,
    client_of: Callable[[Person], Client],
    request: pytest.FixtureRequest,
) -> None:
    address = address_of(name, deletion=deletion)
    answers = {}
    for who in ROLES:
        client = Client() if who == "nobody" else client_of(request.getfixturevalue(who))
        answers[who] = answer_to(client, method, address)
    assert answers == {who: expected_answer(who, name, method) for who in ROLES}


def test_no_address_knows_any_other_method(
    deletion: Deletion, root: Person, client_of: Callable[[Person], Client]
) -> None:
    client = client_of(root)
    for name in NAMES:
        address = address_of(name, deletion=deletion)
        for method in ("PUT", "PATCH", "DELETE"):
            assert (name, method, answer_to(client, method, address)) == (
                name,
                method,
                "no such method",
            )


def test_nobody_approves_or_declines_their_own(
    deletion: Deletion, root: Person, client_of: Callable[[Person], Client]
) -> None:
    Deletion.objects.filter(pk=deletion.pk).update(requested_by=root)
    for name in ("deletion-approve", "deletion-decline"):
        address = address_of(name, deletion=deletion)
        assert answer_to(client_of(root), "POST", address) == "refused"


def test_whoever_asked_may_take_it_back(
    deletion: Deletion, grace: Person, client_of: Callable[[Person], Client]
) -> None:
    address = address_of("deletion-withdraw", deletion=deletion)
    assert answer_to(client_of(grace), "POST", address) == "allowed"
