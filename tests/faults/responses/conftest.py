"""Ada, about to delete, and what she and the overview show of it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.test import Client

from connections.access.actor import WORKER
from connections.inventory import sync
from connections.models import Credential, Deletion, Person
from connections.operations import due
from tests.deletions.conftest import credential, make_deletion
from tests.flows.support import Page, read
from tests.support.clock import SettableClock

__all__ = ["credential", "make_deletion"]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Lets time pass, lets the product look, and reads what people are shown."""

    clock: SettableClock
    client: Client
    credential: Credential

    def work_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after a worker has passed."""
        self.clock.advance(seconds=seconds)
        due.run_due(actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def look_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after a look, whether or not one was due."""
        self.clock.advance(seconds=seconds)
        due.reconcile_all(actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def refresh_after(self, deletion: Deletion, *, seconds: float) -> Deletion:
        """The deletion after the inventory was read again."""
        self.clock.advance(seconds=seconds)
        sync.sync_credentials(credentials=[self.credential], actor=WORKER)
        deletion.refresh_from_db()
        return deletion

    def page(self, deletion: Deletion) -> Page:
        """Its own page."""
        return read(self.client.get(f"/deletions/{deletion.pk}/"))

    def is_on_overview(self, deletion: Deletion) -> bool:
        """Whether what needs somebody leads to it, with the word for a contradiction."""
        panel = (
            self.client.get("/")
            .content.decode()
            .partition("Needs your attention")[2]
            .partition("Latest deletions")[0]
        )
        is_named = "Still listed" in panel or "Reappeared" in panel
        return f"/deletions/{deletion.pk}/" in panel and is_named


@pytest.fixture
def watch(
    clock: SettableClock,
    credential: Credential,
    ada: Person,
    client_of: Callable[[Person], Client],
) -> Watch:
    """Ada's browser, and the credential of Payments US."""
    return Watch(clock=clock, client=client_of(ada), credential=credential)
