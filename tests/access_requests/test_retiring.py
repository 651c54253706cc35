"""Retiring a credential of which access requests are open."""

import pytest

from connections.access.actor import command_actor
from connections.core.causes import Cause
from connections.core.errors import ConflictError
from connections.credentials.retirement import retire_credential
from connections.models import AuditEvent, Credential
from sandbox import faults
from sandbox.faults import Fault
from tests.access_requests.conftest import RequestAccess

pytestmark = pytest.mark.django_db


def retire(credential: Credential) -> None:
    retire_credential(actor=command_actor(), credential=credential, confirmation=credential.name)


@pytest.mark.parametrize(
    "fault",
    [faults.RESET_AFTER_READING, faults.rate_limited(reset="7")],
    ids=["unknown", "waiting"],
)
def test_a_credential_whose_keys_a_request_needs_stays(
    create: RequestAccess, credential: Credential, fault: Fault
):
    access_request = create(fault)
    with pytest.raises(ConflictError, match=rf"the access request .* is {access_request.state}"):
        retire(credential)
    credential.refresh_from_db()
    assert not credential.is_retired


def test_what_was_not_sent_is_withdrawn(create: RequestAccess, credential: Credential):
    Credential.objects.update(policy="one")
    access_request = create()
    retire(credential)
    access_request.refresh_from_db()
    assert (access_request.outcome, access_request.cause) == ("withdrawn", Cause.CREDENTIAL_RETIRED)
    details = AuditEvent.objects.get(code="credential.retired").details
    assert details["withdrawn_access_requests"] == [str(access_request.pk)]
    assert details["withdrawn_deletions"] == []
