"""A requester whose clock is set back."""

import pytest

from connections.change_requests.sending import ClaimedAttempt
from connections.models import Deletion, State
from tests.access_requests.conftest import create, free_pair, listed_pair
from tests.batches.conftest import make_draft, payments
from tests.deletions.conftest import RequestDeletion, credential, make_deletion

__all__ = [
    "create",
    "credential",
    "free_pair",
    "listed_pair",
    "make_deletion",
    "make_draft",
    "payments",
]


@pytest.fixture
def killed_deletion(make_deletion: RequestDeletion, monkeypatch: pytest.MonkeyPatch) -> Deletion:
    """A deletion whose process died while Datadog had the request."""

    class KilledError(Exception):
        """Simulates the end of the process."""

    def die(_: ClaimedAttempt) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("connections.change_requests.sending.send_claimed", die)
        with pytest.raises(KilledError):
            make_deletion()
    return Deletion.objects.get(state=State.SENDING)
