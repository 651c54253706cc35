"""Connections of the Datadog simulator, and access reviews over them."""

from collections.abc import Callable

import pytest

from connections.models import AccessReview, Credential, Person
from sandbox.server import SandboxServer
from tests.access_reviews.support import start
from tests.batches.support import add_connections, sync_now
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

MakeReview = Callable[..., AccessReview]


@pytest.fixture
def payments(db: None, sandbox: SandboxServer, clock: SettableClock) -> Credential:
    """The verified credential of Payments US, synced once."""
    stored = store_credential(sandbox, "Payments US")
    clock.advance(seconds=1)
    return stored


@pytest.fixture
def make_review(edith: Person, payments: Credential, sandbox: SandboxServer) -> MakeReview:
    """Edith starts an access review of this many connections of Payments US to partners."""

    def make(count: int = 3, *reviewers: Person, days: int = 30) -> AccessReview:
        add_connections(sandbox, count)
        sync_now(payments)
        return start(edith, *reviewers, scope="q=Partner", days=days)

    return make
