"""Every URL × method × role against a matrix. A URL that is missing there fails."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from django.template.backends.django import Template
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.urls.converters import IntConverter
from django.utils import timezone

from connections.access.actor import WORKER, person_actor
from connections.audit.checkpoints import make_checkpoint
from connections.inventory import syncs
from connections.models import (
    ApprovalPolicy,
    Change,
    Credential,
    Deletion,
    Notification,
    OrgPair,
    Person,
    RequestKind,
)
from connections.urls import urlpatterns
from connections.web.framework.routing import ALLAUTH, Access
from sandbox.faults import rate_limited
from sandbox.server import SandboxServer
from tests.access_reviews.support import start as start_access_review
from tests.batches.support import draft
from tests.batches.support import request as request_batch
from tests.flows.support import Requester, store_credential
from tests.support.access_requests import request_for
from tests.support.api_tokens import make_token_of
from tests.support.reach_addresses import FREE, OF_MANY, OF_ONE
from tests.support.sandbox import connection_between
from tests.support.undo import undone

pytestmark = pytest.mark.django_db

ADA, LINUS, MARGARET, EDITH, VICTOR, ROOT = "ada", "linus", "margaret", "edith", "victor", "root"
CAST = (ADA, LINUS, MARGARET, EDITH, VICTOR, ROOT, "stranger")
ANY_ROLE = {ADA, LINUS, MARGARET, EDITH, VICTOR, ROOT}
OPERATOR = {ADA, ROOT}
APPROVER = {LINUS, ROOT}
MANAGER = {MARGARET, ROOT}
EXPORTER = {ADA, LINUS, EDITH, ROOT}
REFRESHER = {ADA, LINUS, MARGARET, ROOT}
PROTECTOR = {ADA, LINUS, MARGARET, ROOT}
AUDITOR = {EDITH, ROOT}
ADMINISTRATOR = {ROOT}
EVERYONE = set(CAST)

# Who can GET and who can POST; None: the method is not allowed (405).
MATRIX: dict[str, tuple[set[str] | None, set[str] | None]] = {
    "overview": (ANY_ROLE, None),
    "next-item": (ANY_ROLE, None),
    "setup": (EVERYONE, EVERYONE),
    "sign-in-link": (EVERYONE, EVERYONE),
    "appearance-set": (None, EVERYONE),
    "reauthentication": (EVERYONE, EVERYONE),
    "reauthentication-passkey": (None, EVERYONE),
    "provider-start": (EVERYONE, None),
    "provider-reauthentication": (EVERYONE, None),
    "provider-connect-start": (EVERYONE, None),
    "provider-callback": (EVERYONE, None),
    "provider-renewal": (EVERYONE, None),
    "provider-signed-out": (EVERYONE, None),
    "provider-account": (EVERYONE, EVERYONE),
    "change-emails-set": (None, EVERYONE),
    "only-alerts-set": (None, EVERYONE),
    "shortcuts": (EVERYONE, EVERYONE),
    "session-list": (EVERYONE, None),
    "session-end": (None, EVERYONE),
    "api-token-list": (EXPORTER, EXPORTER),
    # Another person's token is not found: people/test_api_tokens.py.
    "api-token-revoke": (None, EXPORTER),
    "person-token-list": (ADMINISTRATOR, ADMINISTRATOR),
    "credential-list": (ANY_ROLE, None),
    "credential-new": (MANAGER, MANAGER),
    "credential-import": (MANAGER, MANAGER),
    "credential-detail": (ANY_ROLE, None),
    "credential-verify": (None, MANAGER),
    "credential-rename": (None, MANAGER),
    "credential-rotate": (MANAGER, MANAGER),
    "credential-policy": (None, ADMINISTRATOR),
    "credential-creator": (None, ADMINISTRATOR),
    "credential-access": (ADMINISTRATOR, ADMINISTRATOR),
    "credential-retire": (MANAGER, MANAGER),
    "org-connection-list": (ANY_ROLE, None),
    "org-connection-refresh": (None, REFRESHER),
    "org-connection-export": (EXPORTER, None),
    "org-connection-detail": (ANY_ROLE, None),
    "org-connection-protect": (PROTECTOR, PROTECTOR),
    "org-connection-unprotect": (APPROVER, APPROVER),
    "org-list": (ANY_ROLE, None),
    "org-details": (OPERATOR, OPERATOR),
    "org-detail": (ANY_ROLE, None),
    "change-list": (ANY_ROLE, None),
    "change-export": (EXPORTER, None),
    "change-acknowledge": (None, EXPORTER),
    "change-acknowledge-many": (None, EXPORTER),
    # The requester of access can acknowledge that it failed, with any role.
    "problem-acknowledge": (None, ANY_ROLE),
    # Whoever owns an agreement sets a part of it, with any role: agreements/test_pages.py.
    "agreement-list": (ANY_ROLE, ANY_ROLE),
    "agreement-form": (ANY_ROLE, ANY_ROLE),
    # Only the owner, with any role: agreements/test_accepting.py.
    "agreement-accept": (None, ANY_ROLE),
    "agreement-refuse": (None, ANY_ROLE),
    "agreement-import": (ANY_ROLE, ANY_ROLE),
    "org-import": (OPERATOR, OPERATOR),
    "agreement-export": (EXPORTER, None),
    "deletion-list": (ANY_ROLE, None),
    "deletion-export": (EXPORTER, None),
    "deletion-confirm": (OPERATOR, OPERATOR),
    "deletion-detail": (ANY_ROLE, None),
    "deletion-execute": (None, OPERATOR),
    "deletion-approve": (None, APPROVER),
    "deletion-decline": (None, APPROVER),
    # A separate permission that no role includes: deletions/approvals/test_break_glass.py.
    "deletion-break-glass": (None, set()),
    "deletion-late-approval": (None, APPROVER),
    # The stored deletion is Ada's own, so she is allowed too.
    "deletion-withdraw": (None, {ADA, LINUS, ROOT}),
    "deletion-reconcile": (None, OPERATOR),
    "deletion-close": (None, OPERATOR),
    "deletion-comment": (None, EXPORTER),
    "batch-list": (ANY_ROLE, OPERATOR),
    "batch-detail": (ANY_ROLE, None),
    "batch-export": (EXPORTER, None),
    # Only the person who drafted it changes and requests it: here the administrator.
    "batch-remove": (None, {ROOT}),
    "batch-credential": (None, {ROOT}),
    "batch-split": (None, {ROOT}),
    "batch-request": (None, {ROOT}),
    # These are about one that Ada requested.
    "batch-approve": (None, APPROVER),
    "batch-decline": (None, APPROVER),
    "batch-execute": (None, OPERATOR),
    "batch-resume": (None, OPERATOR),
    "batch-pause": (None, {ADA, LINUS, ROOT}),
    "batch-cancel": (None, {ADA, LINUS, ROOT}),
    "access-request-list": (ANY_ROLE, None),
    "access-request-export": (EXPORTER, None),
    # A Viewer can request; the stored access request is Victor's own.
    "access-request-new": (ANY_ROLE, ANY_ROLE),
    "access-request-detail": (ANY_ROLE, None),
    "access-request-approve": (None, APPROVER),
    "access-request-decline": (None, APPROVER),
    "access-request-withdraw": (None, {VICTOR, LINUS, ROOT}),
    "access-request-execute": (None, OPERATOR),
    "access-request-reconcile": (None, OPERATOR),
    "access-request-close": (None, OPERATOR),
    "access-review-list": (ANY_ROLE, None),
    "access-review-new": (AUDITOR, AUDITOR),
    "access-review-detail": (ANY_ROLE, None),
    "access-review-decide": (None, EXPORTER),
    "access-review-plan": (None, OPERATOR),
    "access-review-reviewers": (AUDITOR, AUDITOR),
    "access-review-owner": (None, AUDITOR),
    "access-review-repeat": (None, AUDITOR),
    "access-review-close": (AUDITOR, AUDITOR),
    "access-review-export": (AUDITOR, None),
    "search": (ANY_ROLE, None),
    "settings": (ANY_ROLE, None),
    "settings-status": (ADMINISTRATOR, None),
    "hold": (ADMINISTRATOR, ADMINISTRATOR),
    "hold-release": (None, ADMINISTRATOR),
    "person-list": (ADMINISTRATOR, None),
    "person-new": (ADMINISTRATOR, ADMINISTRATOR),
    "person-detail": (ADMINISTRATOR, None),
    "person-roles": (None, ADMINISTRATOR),
    "person-break-glass": (None, ADMINISTRATOR),
    "person-disable": (None, ADMINISTRATOR),
    "person-enable": (None, ADMINISTRATOR),
    "person-link": (None, ADMINISTRATOR),
    "person-email": (None, ADMINISTRATOR),
    "person-sessions-end": (None, ADMINISTRATOR),
    "person-provider": (None, ADMINISTRATOR),
    "audit-list": (AUDITOR, None),
    "audit-export": (AUDITOR, None),
    "audit-detail": (AUDITOR, None),
    "evidence-detail": (AUDITOR, None),
    "evidence-verify": (None, AUDITOR),
    "bundle-new": (AUDITOR, AUDITOR),
    "checkpoint-download": (AUDITOR, None),
    "notification-list": (ADMINISTRATOR, None),
    "notification-test": (None, ADMINISTRATOR),
    "notification-retry": (None, ADMINISTRATOR),
    "metrics": (ANY_ROLE, None),
}
# URLs that need reauthentication, and why other POSTs don't.
REAUTHENTICATED = {
    "credential-new",
    "credential-import",
    "credential-verify",
    "credential-rename",
    "credential-rotate",
    "credential-policy",
    "credential-creator",
    "credential-access",
    "credential-retire",
    "deletion-confirm",
    "deletion-execute",
    "deletion-approve",
    "deletion-late-approval",
    "access-request-new",
    "access-request-execute",
    "access-request-approve",
    "batch-request",
    "batch-approve",
    "batch-execute",
    "batch-resume",
    "hold",
    "hold-release",
    "person-new",
    "person-roles",
    "person-break-glass",
    "person-disable",
    "person-enable",
    "person-link",
    "person-sessions-end",
    "person-email",
    "person-provider",
    "person-token-list",
    "api-token-list",
    "org-connection-unprotect",
}
# No role here has its permission; deletions/approvals/test_break_glass.py tests it.
REAUTHENTICATED_ELSEWHERE = {"deletion-break-glass"}
NOT_REAUTHENTICATED = {
    "setup": "nobody is signed in",
    "sign-in-link": "nobody is signed in",
    "appearance-set": "changes a colour",
    "reauthentication": "is the question",
    "reauthentication-passkey": "is the question",
    "change-emails-set": "only turns one's own emails on or off",
    "only-alerts-set": "only limits one's own emails",
    "shortcuts": "only chooses which of one's own keys act",
    "session-end": "ends the person's own",
    "api-token-revoke": "only ends a token",
    "provider-account": "asks too, as tests/people/oidc/ shows; there must be a provider",
    "org-connection-refresh": "reads",
    "org-connection-protect": "only keeps it from being deleted",
    "evidence-verify": "reads",
    "bundle-new": "reads, like an export, and is recorded",
    "notification-test": "sends a notification",
    "notification-retry": "sends a notification",
    "deletion-decline": "sends nothing and ends it",
    "deletion-withdraw": "sends nothing and ends it",
    "deletion-reconcile": "reads",
    "deletion-close": "sends nothing and ends it",
    "access-request-decline": "sends nothing and ends it",
    "access-request-withdraw": "sends nothing and ends it",
    "access-request-reconcile": "reads",
    "access-request-close": "sends nothing and ends it",
    "change-acknowledge": "only says that someone has looked",
    "change-acknowledge-many": "only says that someone has looked",
    "problem-acknowledge": "only says that someone has looked",
    "agreement-list": "sends nothing, and each version is kept",
    "agreement-form": "saves nothing",
    "agreement-import": "sends nothing, and each version is kept",
    "agreement-accept": "sends nothing and gives no one access",
    "agreement-refuse": "sends nothing and gives no one access",
    "deletion-comment": "adds to the record and changes nothing",
    "batch-list": "only makes a draft",
    "org-details": "changes no access",
    "org-import": "changes no access",
    "batch-remove": "only changes a draft",
    "batch-credential": "only changes a draft",
    "batch-split": "only changes a draft",
    "batch-decline": "sends nothing and ends it",
    "batch-pause": "sends nothing until it is resumed",
    "batch-cancel": "sends nothing and ends it",
    "access-review-new": "sends nothing",
    "access-review-decide": "sends nothing; deleting is confirmed later",
    "access-review-plan": "only makes a draft",
    "access-review-reviewers": "sends nothing",
    "access-review-owner": "sends nothing",
    "access-review-repeat": "sends nothing",
    "access-review-close": "sends nothing",
}
EXPORTS_OF_ONE = {"batch-export", "access-review-export"}
# django-allauth's own pages: account pages, or pages before signing in.
PUBLIC_OF_ALLAUTH = {
    "account_login",
    "account_logout",
    "account_inactive",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "mfa_authenticate",
    "mfa_login_webauthn",
}
SIGNED_IN_OF_ALLAUTH = {
    "account_reauthenticate",
    "account_change_password",
    "account_set_password",
    "mfa_index",
    "mfa_reauthenticate",
    "mfa_activate_totp",
    "mfa_deactivate_totp",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_download_recovery_codes",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "mfa_edit_webauthn",
}

# Registered by us in place of allauth's.
OWN_OF_ALLAUTH = {
    "mfa_activate_totp",
    "mfa_deactivate_totp",
    "mfa_add_webauthn",
    "mfa_remove_webauthn",
    "mfa_generate_recovery_codes",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
}
CLOSED_OF_ALLAUTH = {
    "account_signup",
    "account_email",
    "account_email_verification_sent",
    "account_confirm_email",
    "account_confirm_login_code",
}
ARGUMENTS_OF_ALLAUTH: dict[str, dict[str, Any]] = {
    "account_reset_password_from_key": {"uidb36": "abc", "key": "def"},
    "mfa_remove_webauthn": {"pk": 1},
    "mfa_edit_webauthn": {"pk": 1},
}


def address_of_allauth(name: str) -> str:
    """The address of one of django-allauth's pages."""
    return reverse(name, kwargs=ARGUMENTS_OF_ALLAUTH.get(name))


# Numbered sequentially, and open only to people who can see all of them.
NUMBERED = {"audit-detail", "checkpoint-download"}


def url_names(patterns: list[Any]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from url_names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def test_every_url_is_in_the_matrix():
    known = set(MATRIX) | PUBLIC_OF_ALLAUTH | SIGNED_IN_OF_ALLAUTH | CLOSED_OF_ALLAUTH
    assert set(url_names(get_resolver().url_patterns)) == known


def test_no_other_url_contains_a_sequential_number():
    counted = {
        pattern.name
        for pattern in urlpatterns
        if any(
            isinstance(converter, IntConverter) for converter in pattern.pattern.converters.values()
        )
    }
    assert counted == NUMBERED


@pytest.mark.parametrize("name", ["mfa_remove_webauthn", "mfa_edit_webauthn"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_persons_passkey_is_not_found(
    name: str, method: str, ada: Person, root: Person, client_of: Callable[[Person], Client]
):
    key = Authenticator.objects.create(user=ada, type=Authenticator.Type.WEBAUTHN, data={})
    url = reverse(name, kwargs={"pk": key.pk})
    assert status_of(client_of(root), method, url) == 404
    assert Authenticator.objects.get() == key


def test_every_url_is_listed_for_the_visibility_tests():
    assert set(MATRIX) == set(OF_ONE) | set(OF_MANY) | FREE


def patterns(of: list[Any]) -> Iterator[URLPattern]:
    for pattern in of:
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern.url_patterns)
        else:
            yield pattern


def test_every_url_declares_its_access_rules_or_is_one_of_allauths():
    declared: set[str | None] = set()
    named: set[str | None] = set()
    for pattern in patterns(get_resolver().url_patterns):
        has_rules = isinstance(getattr(pattern.callback, "access", None), Access)
        (declared if has_rules else named).add(pattern.name)
    assert declared == set(MATRIX) | OWN_OF_ALLAUTH | CLOSED_OF_ALLAUTH
    # A URL of Org Admin with the same name and path hides allauth's view.
    assert named - declared == set(ALLAUTH)


def test_reauthentication_is_declared_where_the_table_requires_it():
    declared = {
        pattern.name for pattern in patterns(get_resolver().url_patterns) if needs_proof(pattern)
    }
    assert declared == REAUTHENTICATED | REAUTHENTICATED_ELSEWHERE | {"provider-account"}


def needs_proof(pattern: URLPattern) -> bool:
    access = getattr(pattern.callback, "access", None)
    return isinstance(access, Access) and access.reauthenticate


def test_every_post_url_requires_an_identity_check_or_documents_why_not():
    posting = {name for name, (_, may_post) in MATRIX.items() if may_post is not None}
    assert posting == REAUTHENTICATED | REAUTHENTICATED_ELSEWHERE | set(NOT_REAUTHENTICATED)


@pytest.fixture
def addresses(
    ada: Person,
    root: Person,
    victor: Person,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
) -> dict[str, str]:
    """The URL of each name, with stored objects where it needs one."""
    credential = store_credential(sandbox, "Payments US")
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.set_fault(fault=rate_limited(), connection_id=connection.id)
    Requester(client=client_of(ada), credential=credential, connection=connection).delete()
    other = connection_between(sandbox.world, "Group SOC", "Payments US")
    sandbox.world.change_connection(connection_id=other.id, connection_types=("logs", "audit"))
    asked_for = sandbox.world.add_connection(
        source_org=connection.source_org,
        sink_org=sandbox.world.add_org(name="Third", site=connection.source_org.site),
    )
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    named = [f"{other.source_org.site.name}/{other.id}"]
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    drafted, requested = draft(root, named), draft(ada, named)
    request_batch(requested, ada)
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    checkpoint = make_checkpoint()
    assert checkpoint
    notice = Notification.objects.create(
        code="deletion.settled", channel="webhook", state="given_up", created_at=timezone.now()
    )
    review = start_access_review(root)
    third = credential.snapshots.get(is_current=True, sink_org_id=asked_for.sink_org.id)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = request_for(
        actor=person_actor(person=victor),
        pair=OrgPair(third.site, third.source_org_id, third.sink_org_id),
        kind=RequestKind.CHANGE,
        wanted={"types": ["audit"], "owner_text": "SOC", "purpose": "incident response"},
    )
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    about: dict[str, dict[str, Any]] = {
        "access-review": {"pk": review.pk},
        "api-token": {"pk": make_token_of(ada)[0].pk},
        "access-request": {"pk": access_request.pk},
        "credential": {"pk": Credential.objects.get().pk},
        "deletion": {"pk": Deletion.objects.get(batch=None).pk},
        "batch": {"pk": requested.pk},
        "person": {"pk": victor.pk},
        "notification": {"pk": notice.pk},
        "change": {"pk": Change.objects.latest("number").pk},
        "org-connection": {"site": credential.site, "connection_id": connection.id},
        "org": {"site": credential.site, "org_id": credential.org_id},
        "checkpoint": {"pk": checkpoint.pk},
        "audit": {"seq": 1},
        "problem": {"kind": "failed", "pk": Deletion.objects.get(batch=None).pk},
    }
    found = {}
    for name in MATRIX:
        noun = next((each for each in about if name.startswith(f"{each}-")), "")
        act = name.removeprefix(f"{noun}-")
        of_none = {
            "list",
            "new",
            "confirm",
            "import",
            "refresh",
            "details",
            "export",
            "protect",
            "keys",
            "acknowledge-many",
            "emails-set",
            "test",
            "token-list",
        }
        needs_one = noun and (act not in of_none or name in EXPORTS_OF_ONE)
        found[name] = reverse(name, kwargs=about[noun] if needs_one else None)
    for act in ("remove", "credential", "split", "request"):
        found[f"batch-{act}"] = reverse(f"batch-{act}", args=[drafted.pk])
    return found


def status_of(client: Client, method: str, url: str) -> int:
    """The status of one request, whose effects are rolled back."""
    with undone():
        response = client.generic(method, url, data=b"", content_type=FORM)
        status = int(response.status_code)
        b"".join(response) if response.streaming else None
    return status


FORM = "application/x-www-form-urlencoded"


@pytest.mark.slow
def test_each_role_can_access_exactly_what_the_matrix_allows(
    request: pytest.FixtureRequest,
    addresses: dict[str, str],
    client_of: Callable[[Person], Client],
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
):
    # What a page shows doesn't decide who can open it, and takes most of the time.
    monkeypatch.setattr(Template, "render", lambda *_: "")
    for who in CAST:
        with subtests.test(who=who):
            client = client_of(request.getfixturevalue(who))
            assert wrong_statuses(client, who, addresses) == []


def wrong_statuses(client: Client, who: str, addresses: dict[str, str]) -> list[str]:
    """The requests of this person whose status differs from the matrix."""
    wrong = []
    for name, (may_get, may_post) in MATRIX.items():
        rules = [("GET", may_get), ("POST", may_post)]
        if who == VICTOR:  # HEAD has the rule of GET, so one person with a part of it is enough
            rules.append(("HEAD", may_get))
        for method, allowed in rules:
            if allowed is None:
                continue
            status = status_of(client, method, addresses[name])
            if who in allowed:
                is_right = status not in {401, 403, 405} and status < 500
            else:
                is_right = status == 403
            if not is_right:
                wrong.append(f"{method} {name}: {status}")
    return wrong


def test_no_url_accepts_any_other_method(
    root: Person, addresses: dict[str, str], client_of: Callable[[Person], Client]
):
    # The methods of a URL don't depend on the person; an administrator is refused nothing else.
    client = client_of(root)
    statuses = {}
    for name, (may_get, may_post) in MATRIX.items():
        refused = ["GET", "HEAD"] if may_get is None else ["POST"] if may_post is None else []
        for method in ("PUT", "PATCH", "DELETE", "TRACE", *refused):
            statuses[method, name] = client.generic(method, addresses[name]).status_code
    assert {key: status for key, status in statuses.items() if status != 405} == {}


def test_no_form_is_accepted_without_its_csrf_token(addresses: dict[str, str], root: Person):
    client = Client(enforce_csrf_checks=True)
    client.force_login(root)
    posting = [addresses[name] for name, (_, may_post) in MATRIX.items() if may_post is not None]
    posting += [address_of_allauth(name) for name in PUBLIC_OF_ALLAUTH | SIGNED_IN_OF_ALLAUTH]
    counted = [url for url in posting if "Form expired" not in client.post(url).text]
    assert counted == []


@pytest.mark.parametrize("act", ["deletion-approve", "deletion-decline"])
def test_not_even_an_administrator_decides_on_their_own_request(
    act: str, root: Person, sandbox: SandboxServer, client_of: Callable[[Person], Client]
):
    client = client_of(root)
    requester = Requester(
        client=client,
        credential=store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE),
        connection=connection_between(sandbox.world, "Payments US", "Group SOC"),
    )
    requester.delete()
    assert client.post(reverse(act, args=[requester.deletion().pk])).status_code == 403


def test_no_url_is_accessible_without_signing_in(addresses: dict[str, str]):
    public = {"setup", "sign-in-link", "appearance-set"}
    public |= {f"provider-{name}" for name in ("start", "callback", "renewal", "signed-out")}
    client = Client()
    statuses = {
        (method, name): client.generic(method, url).status_code
        for method in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
        for name, url in addresses.items()
        if name not in public
    }
    assert {key: status for key, status in statuses.items() if status != 302} == {}


@pytest.mark.parametrize("name", sorted(SIGNED_IN_OF_ALLAUTH))
def test_account_pages_require_a_sign_in(name: str):
    response = Client().get(address_of_allauth(name))
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_no_one_changes_their_own_sign_in_address(
    ada: Person, client_of: Callable[[Person], Client]
):
    assert client_of(ada).get("/accounts/email/").status_code == 404


def test_signing_up_is_closed(db: None):
    response = Client().post(
        "/accounts/signup/",
        {"username": "mallory", "email": "m@example.com", "password1": "a long pass phrase"},
    )
    assert not Person.objects.filter(username="mallory").exists()
    assert response.status_code in {200, 302, 403}


@pytest.mark.parametrize("noun", ["batch", "credential", "deletion", "person"])
def test_an_unknown_url_is_a_404(noun: str, root: Person, client_of: Callable[[Person], Client]):
    url = reverse(f"{noun}-detail", kwargs={"pk": uuid4()})
    assert client_of(root).get(url).status_code == 404


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_respond_to_any_host_without_signing_in(db: None, path: str):
    assert Client().get(path, headers={"host": "10.1.2.3:9"}).status_code == 200
