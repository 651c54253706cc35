"""Whose access requests are sent, and how many a person can have open."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from connections.access.actor import WORKER, person_actor
from connections.access_requests import requesting
from connections.change_requests import approvals, lifecycle
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError
from connections.inventory import syncs
from connections.models import (
    AccessRequest,
    AccessState,
    Agreement,
    ApprovalPolicy,
    Credential,
    OrgPair,
    Person,
    RequestKind,
)
from sandbox.server import SandboxServer
from tests.evidence.support import verified
from tests.support.access_requests import request_for
from tests.support.sandbox import org_named

pytestmark = pytest.mark.django_db
WANTED: Any = {"types": ["audit"], "owner_text": "SOC team", "purpose": "alerts"}


def request_change(pair: OrgPair, *, by: Person) -> AccessRequest:
    return request_for(
        actor=person_actor(person=by), pair=pair, kind=RequestKind.CHANGE, wanted=WANTED
    )


def test_nothing_is_sent_for_a_requester_whose_account_is_disabled(
    ada: Person,
    linus: Person,
    victor: Person,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    client_of: Any,
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = request_change(listed_pair, by=victor)
    approvals.approve(
        change_request=access_request,
        actor=person_actor(person=linus),
        digest=access_request.approval_digest,
    )
    Person.objects.filter(pk=victor.pk).update(is_active=False)
    page = client_of(ada).get(f"/access-requests/{access_request.pk}/").text
    assert "The account of Victor is disabled." in page
    with pytest.raises(BlockedError, match="disabled") as blocked:
        lifecycle.execute(
            change_request=access_request,
            actor=person_actor(person=ada),
            confirmation=access_request.sink_org_name,
        )
    assert blocked.value.cause == Cause.REQUESTER_DISABLED
    assert not sandbox.world.requests(method="PATCH")
    access_request.refresh_from_db()
    assert (access_request.state, access_request.confirmed_at) == (AccessState.APPROVED, None)


def test_a_person_has_at_most_20_open_access_requests(
    root: Person,
    credential: Credential,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
):
    assert requesting.MAX_OPEN == 20
    monkeypatch.setattr(requesting, "MAX_OPEN", 1)
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    source = org_named(sandbox.world, "Payments US")
    sink = sandbox.world.add_org(name="Third", site=source.site)
    sandbox.world.add_connection(source_org=source, sink_org=sink)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    second = listed_pair._replace(sink_org_id=sink.id)
    first = request_change(listed_pair, by=root)
    with pytest.raises(ConflictError, match="Withdraw one, or wait"):
        request_change(second, by=root)
    arguments = (
        *("--kind=change", f"--source={second.site}/{second.source_org_id}", "--reason=audit"),
        *("--destination=Third", "--types=audit", "--owner-text=SOC", "--purpose=alerts"),
    )
    with pytest.raises(CommandError) as refused:
        call_command("request_access", *arguments, "--as=root", "--yes")
    assert refused.value.returncode == 5
    assert AccessRequest.objects.get() == first
    lifecycle.withdraw(change_request=first, actor=person_actor(person=root))
    assert request_change(second, by=root).state == AccessState.REQUESTED


@pytest.mark.parametrize("owner", ["victor", "grace"])
def test_an_owner_who_requested_the_access_has_accepted_its_agreement(
    ada: Person, linus: Person, victor: Person, grace: Person, listed_pair: OrgPair, owner: str
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    person = {"victor": victor, "grace": grace}[owner]
    access_request = request_for(
        actor=person_actor(person=victor),
        pair=listed_pair,
        kind=RequestKind.CHANGE,
        wanted=WANTED | {"owner": person, "owner_text": ""},
    )
    approvals.approve(
        change_request=access_request,
        actor=person_actor(person=linus),
        digest=access_request.approval_digest,
    )
    lifecycle.execute(
        change_request=access_request,
        actor=person_actor(person=ada),
        confirmation=access_request.sink_org_name,
    )
    agreement = Agreement.objects.get()
    assert agreement.owner == person
    assert (agreement.accepted_at is not None) == (owner == "victor")
    assert verified()[0] == 0
