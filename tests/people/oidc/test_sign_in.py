"""Single sign-on: who can sign in, as whom, and who can't."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from connections.models import AuditEvent, Person, ProviderAccount
from connections.people import people
from tests.people.oidc.support import (
    START,
    connect,
    is_signed_in,
    last_event,
    redirect_back,
    sign_in_at_provider,
)
from tests.support.clock import SettableClock
from tests.support.mfa import set_up_app
from tests.support.people import person_as_administrator
from tests.support.provider import TestProvider


def test_a_connected_person_signs_in_and_the_audit_log_says_how(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    response = sign_in_at_provider(client, f"{START}?next=/deletions/")
    assert response["Location"] == "/deletions/"
    assert is_signed_in(client, ada)
    assert (
        last_event().sentence
        == "Ada signed in with single sign-on from 127.0.0.1 using an unknown browser."
    )


def test_only_the_openid_scope_is_requested_with_pkce(
    client: Client, db: None, provider: TestProvider
):
    options = parse_qs(urlsplit(client.get(START)["Location"]).query)
    assert options["scope"] == ["openid"]
    assert options["response_type"] == ["code"]
    assert options["code_challenge_method"] == ["S256"]
    assert options["redirect_uri"] == ["http://testserver/sign-in/provider/answer/"]
    assert len(options["state"][0]) >= 43
    assert len(options["nonce"][0]) >= 43
    assert "prompt" not in options


def test_a_matching_email_address_signs_no_one_in(
    client: Client, ada: Person, provider: TestProvider
):
    provider.extra = {
        "email": ada.email,
        "email_verified": True,
        "preferred_username": ada.username,
        "name": "Ada",
    }
    page = sign_in_at_provider(client)
    assert page.status_code == 403
    assert "_auth_user_id" not in client.session
    assert not ProviderAccount.objects.exists()
    assert last_event().code == "person.provider_sign_in_refused"
    assert last_event().details == {"reason": "unknown_account"}


def test_an_unknown_account_sees_the_details_an_administrator_needs(
    client: Client, ada: Person, provider: TestProvider
):
    page = sign_in_at_provider(client)
    assert "Account not connected" in page.text
    assert provider.subject in page.text
    assert provider.issuer in page.text
    assert Person.objects.count() == 1
    assert provider.subject not in last_event().text


def test_the_same_subject_at_another_issuer_is_another_person(
    client: Client, ada: Person, provider: TestProvider
):
    ProviderAccount.objects.create(
        person=ada,
        issuer="https://other.example",
        subject=provider.subject,
        created_at=ada.date_joined,
    )
    assert sign_in_at_provider(client).status_code == 403
    assert not is_signed_in(client, ada)


@pytest.mark.parametrize("other", ["248289761001 ", "248289761002", "2482897610"])
def test_a_subject_must_match_exactly(
    client: Client, ada: Person, provider: TestProvider, other: str
):
    connect(ada, provider)
    provider.subject = other
    assert sign_in_at_provider(client).status_code == 403


def test_a_disabled_person_is_refused_and_the_refusal_is_recorded(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    people.disable_person(actor=person_as_administrator(), person=ada)
    page = sign_in_at_provider(client)
    assert "Account disabled" in page.text
    assert "_auth_user_id" not in client.session
    assert last_event().subject_id == str(ada.pk)
    assert last_event().details == {"reason": "disabled"}


def test_mfa_set_up_here_is_still_required(
    client: Client, ada: Person, provider: TestProvider, settings: Settings
):
    settings.OIDC_MFA_VALUES = ["mfa"]
    provider.extra = {"amr": ["pwd", "mfa"]}
    connect(ada, provider)
    set_up_app(ada, "JBSWY3DPEHPK3PXP")
    assert sign_in_at_provider(client)["Location"] == "/accounts/2fa/authenticate/"
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("configured", "extra_claims", "is_enough"),
    [
        ([], {"amr": ["pwd", "mfa"]}, False),
        (["mfa"], {"amr": ["pwd"]}, False),
        (["mfa"], {}, False),
        (["mfa"], {"amr": "mfa"}, False),
        (["mfa"], {"amr": ["pwd", "mfa"]}, True),
        (["urn:mfa"], {"acr": "urn:mfa"}, True),
    ],
)
def test_the_providers_mfa_counts_only_with_configured_claim_values(
    client: Client,
    ada: Person,
    provider: TestProvider,
    settings: Settings,
    configured: list[str],
    extra_claims: dict[str, object],
    is_enough: bool,
):
    settings.REQUIRE_MFA = True
    settings.OIDC_MFA_VALUES = configured
    provider.extra = extra_claims
    connect(ada, provider)
    sign_in_at_provider(client)
    assert (client.get("/").status_code == 200) is is_enough


def test_the_providers_mfa_does_not_count_for_another_person(
    client: Client, ada: Person, grace: Person, provider: TestProvider, settings: Settings
):
    settings.REQUIRE_MFA = True
    settings.OIDC_MFA_VALUES = ["mfa"]
    provider.extra = {"amr": ["mfa"]}
    connect(ada, provider)
    sign_in_at_provider(client)
    client.force_login(grace)
    assert client.get("/")["Location"] == "/accounts/2fa/"


def test_the_browser_gets_a_new_session(client: Client, ada: Person, provider: TestProvider):
    connect(ada, provider)
    back = redirect_back(client)
    before = client.session.session_key
    client.get(back)
    assert is_signed_in(client, ada)
    assert client.session.session_key != before


def test_another_persons_session_ends_first(
    client: Client, ada: Person, grace: Person, provider: TestProvider
):
    connect(ada, provider)
    back = redirect_back(client)
    client.force_login(grace)
    client.get(back)
    assert is_signed_in(client, ada)
    codes = AuditEvent.objects.order_by("seq").values_list("code", "actor_id")
    assert list(codes)[-2:] == [("person.signed_out", grace.pk), ("person.signed_in", ada.pk)]


def test_a_response_can_be_used_once(client: Client, ada: Person, provider: TestProvider):
    connect(ada, provider)
    back = redirect_back(client)
    client.get(back)
    events = AuditEvent.objects.count()
    page = client.get(back)
    assert page.status_code == 403
    assert "Sign-in expired" in page.text
    assert AuditEvent.objects.count() == events


def test_a_response_in_another_browser_is_refused(
    client: Client, ada: Person, provider: TestProvider
):
    connect(ada, provider)
    other = Client()
    assert other.get(redirect_back(client)).status_code == 403
    assert "_auth_user_id" not in other.session


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"],
)
def test_it_redirects_only_to_this_host(
    client: Client, ada: Person, provider: TestProvider, elsewhere: str
):
    connect(ada, provider)
    assert sign_in_at_provider(client, f"{START}?next={elsewhere}")["Location"] == "/"


@pytest.mark.parametrize(("site", "status"), [("cross-site", False), ("same-origin", True)])
def test_another_site_cannot_start_a_sign_in(
    client: Client, db: None, provider: TestProvider, site: str, status: bool
):
    response = client.get(START, headers={"Sec-Fetch-Site": site})
    assert response["Location"].startswith(provider.issuer) is status


def test_starting_sign_ins_is_limited(client: Client, db: None, provider: TestProvider):
    statuses = [client.get(START).status_code for _ in range(31)]
    assert statuses == [302] * 30 + [429]


def test_the_sign_in_page_offers_it_by_name_and_keeps_the_destination(
    client: Client, db: None, provider: TestProvider
):
    page = client.get("/accounts/login/?next=/deletions/").text
    assert "Sign in with Example SSO" in page
    assert 'href="/sign-in/provider/?next=/deletions/"' in page


@pytest.mark.parametrize(
    "path", [START, f"{START}again/", f"{START}connect/", f"{START}answer/", f"{START}account/"]
)
def test_without_configuration_the_page_does_not_exist(client: Client, ada: Person, path: str):
    client.force_login(ada)
    response = client.get(path)
    assert response.status_code == 404 or (path == START and response["Location"] == "/")
    assert "single sign-on" not in client.get("/accounts/2fa/").text.lower()


def test_nothing_from_the_response_is_stored_in_the_logs_or_the_audit_log(
    client: Client, ada: Person, provider: TestProvider, caplog: pytest.LogCaptureFixture
):
    tokens: list[str] = []
    sign = provider.sign

    def signing(claims: dict[str, object]) -> str:
        tokens.append(sign(claims))
        return tokens[-1]

    provider.sign = signing
    provider.change_claims = lambda claims: claims | {"nonce": "another"}
    back = redirect_back(client)
    client.get(back)
    code = parse_qs(urlsplit(back).query)["code"][0]
    kept = caplog.text + repr([event.text for event in AuditEvent.objects.all()])
    assert tokens
    assert tokens[0] not in kept
    assert code not in kept


def test_a_sign_in_that_took_too_long_at_the_provider_is_refused(
    client: Client, ada: Person, provider: TestProvider, clock: SettableClock
):
    connect(ada, provider)
    back = redirect_back(client)
    clock.advance(minutes=11)
    assert "Sign-in expired" in client.get(back).text
    assert "_auth_user_id" not in client.session
