"""A requester whose clock is set back."""

from tests.access_requests.conftest import create, free_pair, listed_pair
from tests.batches.conftest import make_draft, payments
from tests.deletions.conftest import credential, make_deletion

__all__ = [
    "create",
    "credential",
    "free_pair",
    "listed_pair",
    "make_deletion",
    "make_draft",
    "payments",
]
