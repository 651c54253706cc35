"""Passkeys, with Chromium's virtual authenticator. They need the name localhost."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from connections.models import AuditEvent, Person
from tests.support.people import PASSWORD

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def test_a_passkey_is_set_up_with_recovery_codes_and_can_sign_in_alone(
    operator: Person, service_url: str, open_as: Callable[..., Page]
):
    page = open_as(None, reduced_motion="reduce")
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    here = service_url.replace("127.0.0.1", "localhost")
    page.goto(f"{here}/accounts/login/?next=/accounts/2fa/webauthn/add/")
    page.get_by_label("Username or email").fill(operator.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_label("Sign in with this key alone").check()
    page.get_by_role("button", name="Add key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    expect(page.locator("#recovery-codes li")).to_have_count(10)
    page.get_by_role("button", name="Sign out").click()

    page.goto(f"{here}/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{here}/")
    codes = list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))
    assert codes == [
        "person.signed_in",
        "person.second_factor_added",
        "person.signed_out",
        "person.signed_in",
    ]
    assert AuditEvent.objects.latest("seq").details["ways"] == ["webauthn"]
