"""Fixtures of plans, shared with the tests of the services."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from tests.batches.conftest import barbara, make_draft, payments

__all__ = ["barbara", "make_draft", "payments"]


@pytest.fixture
def operator(ada: Person, client_of: Callable[[Person], Client]) -> Client:
    """Ada, an Operator, signed in."""
    return client_of(ada)


@pytest.fixture
def approver(linus: Person, client_of: Callable[[Person], Client]) -> Client:
    """Linus, an Approver, signed in."""
    return client_of(linus)
