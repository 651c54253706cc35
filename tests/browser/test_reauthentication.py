"""Identity checks within a page, by password and by passkey, in a real browser."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from playwright.sync_api import BrowserContext, CDPSession, Page, expect

from connections.models import AuditEvent, Credential, Person, Role
from sandbox.server import SandboxServer
from tests.browser.conftest import OpenAs, page_opener
from tests.browser.fitness import assert_fit_to_show
from tests.browser.requester import Requester, check_without_javascript
from tests.browser.test_main_path import sign_in
from tests.browser.watch import Watch
from tests.support.people import PASSWORD, let_proofs_age, make_person

DELETED = "Deleted and verified"


@pytest.fixture
def open_by_name(
    service_url: str, new_context: Callable[..., BrowserContext], watch: Watch
) -> OpenAs:
    """Like `open_as`, at the host name that passkeys need: an IP address isn't allowed."""
    address = service_url.replace("127.0.0.1", "localhost")
    return page_opener(address=address, new_context=new_context, watch=watch)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device with a built-in authenticator that can verify its owner until told otherwise."""

    session: CDPSession
    id: str

    @classmethod
    def of(cls, page: Page) -> "Device":
        """Add such a device to the page's browser."""
        session = page.context.new_cdp_session(page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        added = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return cls(session=session, id=added["authenticatorId"])

    def stop_recognizing(self) -> None:
        """Make user verification fail from now on."""
        wanted = {"authenticatorId": self.id, "isUserVerified": False}
        self.session.send("WebAuthn.setUserVerified", wanted)


def add_passkey(page: Page) -> None:
    """Set up a passkey on the pages that offer it."""
    page.goto("/accounts/2fa/")
    page.get_by_role("link", name="Add key").click()
    page.get_by_label("Sign in with this key alone").check()
    page.get_by_role("button", name="Add key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    page.goto("/accounts/2fa/webauthn/")
    expect(page.get_by_role("cell", name="Passkey", exact=True)).to_be_visible()


def sign_in_with_passkey(page: Page) -> None:
    """Sign out, and in again without typing."""
    page.goto("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


@pytest.mark.smoke
def test_a_passkey_is_set_up_signs_in_and_confirms_a_deletion(
    open_by_name: OpenAs, sandbox: SandboxServer
):
    make_person("ada", Role.OPERATOR)
    page = open_by_name(None)
    Device.of(page)
    sign_in(page, "ada")
    add_passkey(page)
    sign_in_with_passkey(page)
    requester = Requester.at(sandbox=sandbox, page=page)

    # Signing in with it counts: no identity check is needed.
    requester.fill()
    expect(page.get_by_text("Confirm it's you")).to_have_count(0)

    let_proofs_age()
    requester.fill()
    page.evaluate("window.stillHere = true")
    page.get_by_role("button", name="Use a passkey").click()
    expect(requester.headline).to_have_text(DELETED)
    assert page.evaluate("window.stillHere") is True  # no page was loaded
    assert requester.sent() == 1
    proofs = AuditEvent.objects.filter(code="person.reauthenticated")
    assert [event.details for event in proofs] == [{"method": "passkey"}]


def test_a_device_that_cannot_verify_its_owner_sends_nothing_and_the_page_says_so(
    open_by_name: OpenAs, sandbox: SandboxServer
):
    make_person("ada", Role.OPERATOR)
    page = open_by_name(None)
    device = Device.of(page)
    sign_in(page, "ada")
    add_passkey(page)
    requester = Requester.at(sandbox=sandbox, page=page)
    let_proofs_age()
    requester.fill()
    device.stop_recognizing()
    page.get_by_role("button", name="Use a passkey").click()

    heading = page.get_by_role("heading", name="No passkey received")
    expect(heading).to_be_focused()
    assert requester.sent() == 0
    # The other method is still available.
    page.get_by_label("Your password", exact=True).fill(PASSWORD)
    requester.delete_button.click()
    expect(requester.headline).to_have_text(DELETED)


@pytest.mark.sweep(every=2)
@pytest.mark.parametrize("java_script", [True, False], ids=["with JavaScript", "without"])
def test_a_deletion_prompts_for_the_password_on_its_page_and_loses_nothing(
    operator: Person, sandbox: SandboxServer, open_as: OpenAs, watch: Watch, java_script: bool
):
    watch.expect("status of 422")
    page = open_as(operator, java_script_enabled=java_script)
    requester = Requester.at(sandbox=sandbox, page=page)
    requester.fill()
    let_proofs_age()
    requester.delete_button.click()

    password = page.get_by_label("Your password", exact=True)
    expect(page.get_by_text("Nothing has been changed yet. Confirm it's you.")).to_be_visible()
    expect(password).to_be_focused()
    expect(page.get_by_label("To confirm, type")).to_have_value("Payments US")
    password.press_sequentially("not my password")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Wrong password.")).to_be_visible()
    expect(password).to_be_focused()
    expect(password).to_have_value("")
    assert requester.sent() == 0
    password.press_sequentially(PASSWORD)
    page.keyboard.press("Enter")
    if not java_script:
        check_without_javascript(page)
    expect(requester.headline).to_have_text(DELETED)
    assert requester.sent() == 1


def test_a_page_that_needs_an_identity_check_prompts_first_and_then_continues(
    administrator: Person, open_as: OpenAs
):
    page = open_as(administrator)
    let_proofs_age()
    page.goto("/people/new/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm it's you")
    password = page.get_by_label("Your password", exact=True)
    expect(password).to_be_focused()
    password.press_sequentially(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Add a person")


def test_the_reauthentication_prompt_fits_every_page_it_is_on(
    administrator: Person, sandbox: SandboxServer, open_as: OpenAs, watch: Watch
):
    page = open_as(administrator, reduced_motion="reduce")
    requester = Requester.at(sandbox=sandbox, page=page)
    let_proofs_age()
    credential = Credential.objects.get()
    for path in (
        "/accounts/reauthenticate/",
        requester.confirmation_path,
        f"/credentials/{credential.pk}/",
        f"/people/{administrator.pk}/",
    ):
        page.goto(path)
        expect(page.get_by_text("Confirm it's you").first).to_be_visible()
        assert_fit_to_show(page)
    watch.expect("status of 422")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("button", name="Save roles").click()
    expect(page.get_by_text("Nothing has been changed yet. Confirm it's you.")).to_be_visible()
    assert_fit_to_show(page)
