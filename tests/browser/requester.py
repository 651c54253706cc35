"""A person in a browser who is about to delete one connection of the simulator."""

import re
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from playwright.sync_api import Locator, Page, expect

from connections.models import Credential, Deletion
from sandbox.entities import Connection
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.flows.support import store_credential
from tests.support.sandbox import connection_between

SOURCE, SINK = "Payments US", "Group SOC"
REASON = "no longer needed since the March carve-out"


@dataclass(frozen=True, kw_only=True)
class Requester:
    """The page, the sending credential, the connection, and the requests Datadog received."""

    page: Page
    credential: Credential
    connection: Connection
    world: World

    @classmethod
    def at(cls, *, sandbox: SandboxServer, page: Page) -> Self:
        """Store the credential of the source org, and take the page."""
        return cls(
            page=page,
            credential=store_credential(sandbox, SOURCE),
            connection=connection_between(sandbox.world, SOURCE, SINK),
            world=sandbox.world,
        )

    @property
    def confirmation_path(self) -> str:
        """The address of the confirmation page."""
        return f"/deletions/new/?credential={self.credential.pk}&connection_id={self.connection.id}"

    @property
    def outcome(self) -> Locator:
        """The part of the page with the result."""
        return self.page.locator("#outcome")

    @property
    def headline(self) -> Locator:
        """The heading of the result."""
        return self.outcome.locator("h2").first

    @property
    def delete_button(self) -> Locator:
        """The button that sends the DELETE."""
        return self.page.get_by_role("button", name="Delete connection")

    def fill(self) -> None:
        """Open the confirmation page, and type a reason and the confirmation text."""
        self.page.goto(self.confirmation_path)
        self.type_confirmation()

    def type_confirmation(self) -> None:
        """Fill the confirmation page that is open."""
        self.page.get_by_label("Reason").fill(REASON)
        self.page.get_by_label("To confirm, type").fill(SOURCE)

    def delete(self) -> None:
        """Open the page, type and send; wait for the result."""
        self.fill()
        self.delete_button.click()
        expect(self.headline).to_be_visible()

    def deletion(self) -> Deletion:
        """The one deletion of the connection that is stored."""
        return Deletion.objects.get(connection_id=UUID(self.connection.id))

    def sent(self) -> int:
        """How many DELETEs of the connection Datadog received."""
        return self.world.deletes_received(self.connection.id)


def check_without_javascript(page: Page) -> None:
    """Check the response now: with JavaScript, the page does so itself where no worker runs."""
    expect(page.locator("#outcome h2").first).to_have_text(
        re.compile("^Deleted. Checking that Datadog no longer lists it…")
    )
    page.get_by_role("button", name="Check outcome").click()
