"""The database refuses to store one key pair twice."""

from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from connections.models import Credential
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_the_same_pair_of_one_site_cannot_be_stored_twice(sandbox: SandboxServer):
    stored = store_credential(sandbox, "Payments US", is_read=False)
    stored.pk, stored.name = uuid4(), "Another name"
    with pytest.raises(IntegrityError), transaction.atomic():
        stored.save(force_insert=True)


def test_a_retired_pair_can_be_stored_again(sandbox: SandboxServer, clock: SettableClock):
    stored = store_credential(sandbox, "Payments US", is_read=False)
    Credential.objects.update(retired_at=clock.at, name="Payments US (retired)")
    again = store_credential(sandbox, "Payments US", is_read=False)
    assert again.fingerprint == stored.fingerprint
