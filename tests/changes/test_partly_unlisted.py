"""A credential that stopped listing a connection is marked while another still lists it."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections.models import Person
from tests.changes.support import make_connection, make_credential, sync
from tests.flows.support import read
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

X = make_connection(1)


def test_the_page_marks_the_credential_that_sees_less(
    clock: SettableClock, ada: Person, client_of: Callable[[Person], Client]
):
    first, second = make_credential("a"), make_credential("b", org_id="dev")
    for credential in (first, second):
        sync(credential, X)
    clock.advance(minutes=15)
    sync(first)
    address = f"/connections/{first.site}/{X.id}/"
    assert "Doesn't list it" in read(client_of(ada).get(address)).text
    clock.advance(minutes=1)
    sync(second)
    text = read(client_of(ada).get(address)).text
    assert "Doesn't list it" not in text
    assert "No longer listed in Datadog." in text
