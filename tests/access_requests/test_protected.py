"""A protection protects the access: nothing takes a data type from a protected connection."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from connections.access.actor import Actor, person_actor
from connections.access_requests.actions import ChangeAction
from connections.change_requests import approvals, lifecycle, sending
from connections.core.errors import BlockedError
from connections.inventory import protections
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    Credential,
    OrgConnectionKey,
    OrgPair,
    Person,
    Protection,
    RequestKind,
    Role,
)
from sandbox.server import SandboxServer
from tests.access_requests.test_command import CHANGE, run
from tests.access_requests.test_pages import NEW, fill_in, page_of
from tests.support.access_requests import request_for
from tests.support.people import make_person

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ClientOf = Callable[[Person], Client]
LESS, MORE = ["logs"], ["audit", "logs", "metrics"]


@pytest.fixture
def actor(ada: Person) -> Actor:
    return person_actor(person=ada)


def protect(pair: OrgPair, credential: Credential) -> Protection:
    snapshot = credential.snapshots.get(sink_org_id=pair.sink_org_id)
    key = OrgConnectionKey(site=pair.site, connection_id=snapshot.connection_id)
    keeper = person_actor(person=make_person("keeper", Role.APPROVER))
    return protections.protect_connection(actor=keeper, key=key, reason="must stay")


def ask(pair: OrgPair, actor: Actor, types: list[str]) -> AccessRequest:
    return request_for(
        actor=actor,
        pair=pair,
        kind=RequestKind.CHANGE,
        wanted={"types": types, "owner_text": "SOC team", "purpose": "incident response"},
    )


def patches(sandbox: SandboxServer) -> int:
    return len(sandbox.world.requests(method="PATCH"))


def approve(asked: AccessRequest, person: Person) -> None:
    actor = person_actor(person=person)
    approvals.approve(change_request=asked, actor=actor, digest=asked.approval_digest)


def approved(
    pair: OrgPair,
    actor: Actor,
    approver: Person,
    *,
    types: list[str] = LESS,
    is_approved: bool = True,
) -> AccessRequest:
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    asked = ask(pair, actor, types)
    if is_approved:
        approve(asked, approver)
    return asked


def confirm(asked: AccessRequest, actor: Actor) -> AccessRequest:
    return lifecycle.execute(change_request=asked, actor=actor, confirmation="Group SOC")


def before_claim(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    claim = sending.claim

    def act_and_claim(*args: Any, **named: Any) -> Any:
        act()
        return claim(*args, **named)

    monkeypatch.setattr(sending, "claim", act_and_claim)


def test_a_change_that_removes_a_data_type_is_not_requested_and_a_wider_one_is_sent(
    listed_pair: OrgPair, actor: Actor, credential: Credential, sandbox: SandboxServer
):
    protect(listed_pair, credential)
    with pytest.raises(BlockedError, match="must stay"):
        ask(listed_pair, actor, LESS)
    assert not AccessRequest.objects.exists()
    assert ask(listed_pair, actor, MORE).outcome == "changed"
    assert patches(sandbox) == 1


@pytest.mark.parametrize("step", ["approval", "confirmation", "claim"])
def test_a_protection_after_the_request_stops_it_at_every_step(
    listed_pair: OrgPair,
    actor: Actor,
    linus: Person,
    credential: Credential,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
):
    asked = approved(listed_pair, actor, linus, is_approved=step != "approval")
    if step == "claim":
        before_claim(monkeypatch, lambda: protect(listed_pair, credential))
    else:
        protect(listed_pair, credential)
    with pytest.raises(BlockedError, match="must stay"):
        approve(asked, linus) if step == "approval" else confirm(asked, actor)
    assert patches(sandbox) == 0


@pytest.mark.parametrize("types", [LESS, MORE], ids=["less", "more"])
def test_the_database_lets_no_attempt_take_a_data_type_from_a_protected_connection(
    listed_pair: OrgPair,
    actor: Actor,
    linus: Person,
    credential: Credential,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
    types: list[str],
):
    asked = approved(listed_pair, actor, linus, types=types)
    protect(listed_pair, credential)
    monkeypatch.setattr(ChangeAction, "takes_away", lambda *_: False)
    refusal = pytest.raises(IntegrityError, match="is protected")
    with refusal if types == LESS else nullcontext():
        confirm(asked, actor)
    assert patches(sandbox) == (0 if types == LESS else 1)


def test_the_pages_of_the_requester_and_the_approver_show_the_protection(
    listed_pair: OrgPair,
    actor: Actor,
    ada: Person,
    linus: Person,
    credential: Credential,
    client_of: ClientOf,
):
    asked = approved(listed_pair, actor, linus, is_approved=False)
    protect(listed_pair, credential)
    page = client_of(linus).get(reverse("access-request-detail", args=[asked.pk])).text
    assert "must stay" in page
    assert reverse("access-request-approve", args=[asked.pk]) not in page
    lifecycle.withdraw(change_request=asked, actor=actor)
    page = client_of(ada).get(NEW, page_of(listed_pair, "change")).text
    assert "must stay" in page


def test_the_page_and_the_command_refuse_it_as_a_deletion(
    listed_pair: OrgPair, ada: Person, credential: Credential, client_of: ClientOf
):
    protect(listed_pair, credential)
    client = client_of(ada)
    fields = fill_in(client, listed_pair, "change", confirmation="Group SOC")
    response = client.post(NEW, fields)
    assert (response.status_code, "must stay" in response.text) == (409, True)
    code, document = run(listed_pair, *CHANGE[:1], "--types=logs", *CHANGE[2:], "--yes")
    assert (code, "protected" in document["error"]) == (5, True)
    assert not AccessRequest.objects.exists()


def test_a_dry_run_says_that_nothing_can_be_removed(listed_pair: OrgPair, credential: Credential):
    protect(listed_pair, credential)
    code, document = run(listed_pair, *CHANGE, "--dry-run")
    assert (code, "must stay" in document["error"]) == (2, True)
