"""Who approves, confirms, declines and withdraws an access request, and for how long."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from pytest_django import Settings

from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.access_requests.requesting import WantedTerms
from connections.access_requests.status import people_text
from connections.access_requests.targets import find_target
from connections.change_requests import (
    approvals,
    lifecycle,
    reconciliation,
    sending,
    states,
    verification,
)
from connections.core.causes import Cause
from connections.core.errors import BlockedError, ConflictError, InvalidInputError, OvertakenError
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    Agreement,
    ApprovalPolicy,
    Credential,
    OrgPair,
    Person,
    RequestKind,
    Role,
    approval_digest_of,
)
from connections.web.framework.addresses import connection_url
from sandbox import faults
from sandbox.entities import make_user
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.agreements.support import agree
from tests.flows.support import store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import org_named

pytestmark = pytest.mark.django_db

WANTED: WantedTerms = {"types": ["logs"], "owner_text": "SOC team", "purpose": "incident response"}
Ask = Callable[..., AccessRequest]


@pytest.fixture
def barbara(db: None) -> Person:
    """A second Approver."""
    return make_person("barbara", Role.APPROVER)


@pytest.fixture
def ask(victor: Person, credential: Credential, free_pair: OrgPair) -> Ask:
    """Victor, who can only see, requests a connection under this policy."""

    def act(
        policy: ApprovalPolicy = ApprovalPolicy.ONE, *, person: Person = victor, **wanted: object
    ) -> AccessRequest:
        Credential.objects.filter(pk=credential.pk).update(policy=policy)
        actor = person_actor(person=person)
        return request_for(actor=actor, pair=free_pair, wanted=WANTED | wanted)  # type: ignore[arg-type]

    return act


def approve(access_request: AccessRequest, person: Person, *, digest: str = "") -> AccessRequest:
    return approvals.approve(
        change_request=access_request,
        actor=person_actor(person=person),
        digest=digest or access_request.approval_digest,
        approval_round=access_request.approval_round,
    )


def confirm(access_request: AccessRequest, person: Person) -> AccessRequest:
    return lifecycle.execute(
        change_request=access_request,
        actor=person_actor(person=person),
        confirmation="Group SOC",
    )


def store_another(sandbox: SandboxServer, org_name: str, *, policy: ApprovalPolicy) -> Credential:
    """Store a credential with other keys of this org."""
    org = org_named(sandbox.world, org_name)
    pair = sandbox.world.add_key_pair(org=org)
    return store_credential(sandbox, org_name, name="another", pair=pair, policy=policy)


def sent(sandbox: SandboxServer) -> int:
    return len(sandbox.world.requests(method="POST"))


@pytest.mark.database
def test_a_viewer_requests_an_approver_approves_and_an_operator_confirms(
    ask: Ask, linus: Person, ada: Person, victor: Person, sandbox: SandboxServer
):
    access_request = ask()
    with pytest.raises(OvertakenError, match="still needs approval"):
        confirm(access_request, ada)
    assert approve(access_request, linus).state == "approved"
    assert (sent(sandbox), Agreement.objects.exists()) == (0, False)
    with pytest.raises(PermissionDenied):
        confirm(access_request, victor)
    with pytest.raises(InvalidInputError):
        lifecycle.execute(
            change_request=access_request,
            actor=person_actor(person=ada),
            confirmation="Payments US",
        )
    assert sent(sandbox) == 0
    access_request = confirm(access_request, ada)
    assert (access_request.outcome, sent(sandbox)) == (AccessOutcome.CREATED, 1)
    assert access_request.confirmed_by == ada


def test_the_connections_page_says_once_who_requested_approved_and_confirmed_it(
    ask: Ask,
    linus: Person,
    ada: Person,
    credential: Credential,
    clock: SettableClock,
    client_of: Callable[[Person], Client],
):
    created = confirm(approve(ask(), linus), ada)
    clock.advance(seconds=5)
    verification.verify(change_request=created, actor=WORKER)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    page = client_of(ada).get(connection_url(created.key))
    who = "requested by Victor, approved by Linus, confirmed by Ada"
    timeline = [(each.badge.label, each.by) for each in page.context["timeline"].first]
    assert [each for each in timeline if "Victor" in f"{each}"] == [("Created", who)]
    assert [version.set_by for version in page.context["versions"]] == [who]


def test_two_people_of_one_name_are_told_apart_by_their_usernames(
    ask: Ask, victor: Person, linus: Person, ada: Person
):
    alike = Person.objects.filter(pk__in=[victor.pk, linus.pk])
    alike.update(first_name="Alex", last_name="Kim")
    for person in (victor, linus):
        person.refresh_from_db()
    asked = ask()
    declined = approvals.decline(
        change_request=asked, actor=person_actor(person=linus), reason="Not needed."
    )
    assert people_text(declined) == ("requested by Alex Kim (victor), declined by Alex Kim (linus)")
    created = confirm(approve(ask(), linus), ada)
    assert people_text(created) == (
        "requested by Alex Kim (victor), approved by Alex Kim (linus), confirmed by Ada"
    )


@pytest.mark.database
def test_nothing_is_given_after_the_last_day(
    ask: Ask, linus: Person, ada: Person, sandbox: SandboxServer, clock: SettableClock
):
    access_request = approve(ask(ends_on=clock.at.date()), linus)
    clock.advance(hours=12)
    access_request = confirm(access_request, ada)
    assert (access_request.outcome, access_request.cause) == ("not_sent", Cause.ACCESS_ENDED)
    assert (sent(sandbox), Agreement.objects.exists()) == (0, False)


@pytest.mark.database
def test_without_a_policy_a_viewers_request_waits_for_an_operator(
    ask: Ask, ada: Person, sandbox: SandboxServer
):
    access_request = ask(ApprovalPolicy.NONE)
    assert (access_request.state, access_request.confirmed_at) == ("requested", None)
    assert sent(sandbox) == 0
    assert confirm(access_request, ada).outcome == AccessOutcome.CREATED


@pytest.mark.database
def test_two_approvals_are_those_of_two_people(
    ask: Ask, linus: Person, barbara: Person, ada: Person
):
    access_request = ask(ApprovalPolicy.TWO)
    assert approve(access_request, linus).state == "requested"
    with pytest.raises(ConflictError):
        approve(access_request, linus)
    with pytest.raises(OvertakenError):
        confirm(access_request, ada)
    assert approve(access_request, barbara).state == "approved"
    assert confirm(access_request, ada).outcome == AccessOutcome.CREATED


@pytest.mark.database
@pytest.mark.parametrize("name", ["Payments US", "Group SOC"], ids=["source", "destination"])
def test_the_strictest_credential_of_either_org_decides_also_once_it_is_retired(
    ask: Ask, sandbox: SandboxServer, name: str
):
    strict = store_another(sandbox, name, policy=ApprovalPolicy.TWO)
    access_request = ask(ApprovalPolicy.ONE)
    assert states.approvals_needed(access_request) == 2
    lifecycle.withdraw(change_request=access_request, actor=command_actor())
    Credential.objects.filter(pk=strict.pk).update(retired_at=access_request.requested_at)
    assert states.approvals_needed(ask(ApprovalPolicy.ONE)) == 2


def test_nobody_approves_their_own_and_neither_do_commands_or_the_worker(ask: Ask, linus: Person):
    access_request = ask(person=linus)
    for actor in (person_actor(person=linus), command_actor(), WORKER):
        with pytest.raises(PermissionDenied):
            approvals.approve(
                change_request=access_request, actor=actor, digest=access_request.approval_digest
            )
    assert not access_request.approvals.exists()


@pytest.mark.parametrize(
    "wanted",
    [
        {"types": ["audit", "logs"]},
        {"owner_text": "Legal"},
        {"purpose": "another purpose"},
        {"ends_on": date(2026, 5, 1)},
    ],
    ids=lambda wanted: next(iter(wanted)),
)
def test_an_approval_covers_exactly_what_was_shown(ask: Ask, linus: Person, wanted: WantedTerms):
    shown = ask(**wanted)
    lifecycle.withdraw(change_request=shown, actor=command_actor())
    access_request = ask()
    with pytest.raises(ConflictError, match="has changed since you opened it"):
        approve(access_request, linus, digest=shown.approval_digest)
    other = approval_digest_of(digest=access_request.digest, reason="other", ticket="")
    with pytest.raises(ConflictError, match="has changed since you opened it"):
        approve(access_request, linus, digest=other)


def test_a_credential_is_part_of_what_is_approved(
    ask: Ask, ada: Person, free_pair: OrgPair, sandbox: SandboxServer
):
    access_request = ask()
    other = store_another(sandbox, "Payments US", policy=ApprovalPolicy.ONE)
    lifecycle.withdraw(change_request=access_request, actor=command_actor())
    again = request_for(
        actor=person_actor(person=ada), pair=free_pair, wanted=WANTED, credential=other
    )
    assert again.credential == other
    assert again.approval_digest != access_request.approval_digest


@pytest.mark.database
def test_a_pair_that_was_connected_meanwhile_cannot_be_approved(
    ask: Ask, linus: Person, sandbox: SandboxServer
):
    access_request = ask()
    sandbox.world.add_connection(
        source_org=org_named(sandbox.world, "Payments US"),
        sink_org=org_named(sandbox.world, "Group SOC"),
        connection_types=("metrics",),
    )
    with pytest.raises(ConflictError, match="can't be approved"):
        approve(access_request, linus)
    assert access_request.outcome == AccessOutcome.STALE
    assert not access_request.approvals.exists()


@pytest.mark.database
@pytest.mark.parametrize("is_approved", [False, True])
def test_it_expires_a_day_after_the_request_or_the_last_approval(
    ask: Ask, linus: Person, ada: Person, clock: SettableClock, is_approved: bool
):
    access_request = ask()
    clock.advance(hours=23)
    if is_approved:
        approve(access_request, linus)
        clock.advance(hours=23)
    assert not lifecycle.expire(change_request=access_request, actor=WORKER)
    clock.advance(hours=1, minutes=1)
    if is_approved:
        with pytest.raises(ConflictError, match="expired"):
            confirm(access_request, ada)
    assert lifecycle.expire(change_request=access_request, actor=WORKER)
    cause = Cause.NOT_CONFIRMED_IN_TIME if is_approved else Cause.NOT_APPROVED_IN_TIME
    assert (access_request.outcome, access_request.cause) == (AccessOutcome.EXPIRED, cause)
    assert not Agreement.objects.exists()


def test_declining_needs_a_reason_and_ends_it(ask: Ask, linus: Person, victor: Person):
    access_request = ask()
    with pytest.raises(PermissionDenied):
        approvals.decline(
            change_request=access_request, actor=person_actor(person=victor), reason="no"
        )
    actor = person_actor(person=linus)
    with pytest.raises(InvalidInputError):
        approvals.decline(change_request=access_request, actor=actor, reason=" ")
    approvals.decline(change_request=access_request, actor=actor, reason="no contract")
    assert access_request.outcome == AccessOutcome.DECLINED


@pytest.mark.parametrize("who", ["victor", "linus"])
def test_its_requester_and_approvers_withdraw_it(
    ask: Ask, linus: Person, victor: Person, ada: Person, who: str
):
    access_request = ask()
    with pytest.raises(PermissionDenied):
        lifecycle.withdraw(change_request=access_request, actor=person_actor(person=ada))
    person = {"victor": victor, "linus": linus}[who]
    lifecycle.withdraw(change_request=access_request, actor=person_actor(person=person))
    assert access_request.outcome == AccessOutcome.WITHDRAWN


@pytest.mark.database
def test_an_operator_closes_an_unknown_one_and_no_one_withdraws_it(
    ask: Ask, linus: Person, ada: Person, victor: Person, sandbox: SandboxServer
):
    access_request = approve(ask(), linus)
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="POST")
    access_request = confirm(access_request, ada)
    assert access_request.state == "unknown"
    with pytest.raises(OvertakenError):
        lifecycle.withdraw(change_request=access_request, actor=person_actor(person=victor))
    with pytest.raises(PermissionDenied):
        lifecycle.close(
            change_request=access_request, actor=person_actor(person=victor), reason="x"
        )
    lifecycle.close(
        change_request=access_request, actor=person_actor(person=ada), reason="asked Datadog"
    )
    assert access_request.outcome == AccessOutcome.UNRESOLVED
    assert not Agreement.objects.exists()


@pytest.mark.database
def test_sending_again_after_an_unknown_result_needs_the_approvals_again(
    ask: Ask, linus: Person, ada: Person, clock: SettableClock, sandbox: SandboxServer
):
    access_request = approve(ask(), linus)
    sandbox.world.set_fault(fault=faults.RESET_AFTER_READING, method="POST", times=1)
    access_request = confirm(access_request, ada)
    for seconds in (36, 61):
        clock.advance(seconds=seconds)
        reconciliation.reconcile_unknown(change_request=access_request, actor=WORKER)
    assert access_request.state == "no_effect"
    with pytest.raises(OvertakenError, match="needs approval again"):
        confirm(access_request, ada)
    assert sent(sandbox) == 1
    approve(access_request, linus)
    assert confirm(access_request, ada).outcome == AccessOutcome.CREATED
    assert sent(sandbox) == 2


@pytest.mark.parametrize("who", ["ada", "linus"])
def test_everyones_permissions_are_checked_before_sending(
    ask: Ask, linus: Person, ada: Person, sandbox: SandboxServer, who: str
):
    access_request = approve(ask(), linus)
    Person.objects.get(username=who).groups.clear()
    with pytest.raises((BlockedError, PermissionDenied)):
        confirm(access_request, Person.objects.get(pk=ada.pk))
    assert sent(sandbox) == 0


def test_a_requester_who_has_lost_every_role_stops_it(
    ask: Ask, linus: Person, ada: Person, victor: Person, sandbox: SandboxServer
):
    access_request = approve(ask(), linus)
    victor.groups.clear()
    with pytest.raises(ConflictError, match="Victor no longer has permission to request access"):
        confirm(access_request, ada)
    assert sent(sandbox) == 0


# --- Whose keys create connections ---


def test_a_persons_keys_create_nothing_unless_they_are_allowed_to(
    ask: Ask, credential: Credential, sandbox: SandboxServer
):
    # Null: the keys haven't been checked since release 1.1.0.
    for is_service_account, said in ((None, "isn't known yet"), (False, "belong to a person")):
        Credential.objects.update(key_owner_is_service_account=is_service_account)
        with pytest.raises(InvalidInputError, match=said):
            ask()
    Credential.objects.update(person_can_create=True)
    assert ask().state == "requested"
    assert sent(sandbox) == 0


def test_keys_that_became_a_persons_are_not_used(
    ask: Ask, ada: Person, clock: SettableClock, sandbox: SandboxServer
):
    access_request = ask(ApprovalPolicy.NONE)
    sandbox.world.set_fault(fault=faults.rate_limited(reset="7"), method="POST")
    access_request = confirm(access_request, ada)
    Credential.objects.update(key_owner_is_service_account=False)
    clock.advance(seconds=8)
    with pytest.raises(BlockedError) as blocked:
        sending.send(change_request=access_request, actor=WORKER)
    sending.record_blocked(change_request=access_request, blocked=blocked.value, actor=WORKER)
    result = (access_request.outcome, access_request.cause)
    assert result == (AccessOutcome.NOT_SENT, Cause.CREATOR_IS_PERSON)
    assert sent(sandbox) == 1


def test_a_persons_keys_change_data_types(
    ada: Person, listed_pair: OrgPair, sandbox: SandboxServer
):
    Credential.objects.update(key_owner_is_service_account=False)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=listed_pair,
        kind=RequestKind.CHANGE,
        wanted=WANTED | {"types": ["audit"]},
    )
    assert access_request.outcome == AccessOutcome.CHANGED


# --- How long access lasts ---


@pytest.mark.parametrize(
    ("days", "is_accepted"), [(30, True), (31, False), (-1, False), (None, False)]
)
def test_access_lasts_as_long_as_the_installation_allows(
    ask: Ask, clock: SettableClock, settings: Settings, days: int | None, is_accepted: bool
):
    settings.ACCESS_MAX_DAYS = 30
    ends_on = None if days is None else clock.at.date() + timedelta(days=days)
    if is_accepted:
        assert ask(ends_on=ends_on).ends_on == ends_on
        return
    with pytest.raises(InvalidInputError) as refused:
        ask(ends_on=ends_on)
    assert [*refused.value.fields] == ["ends_on"]
    assert not AccessRequest.objects.exists()


def test_only_what_was_shown_is_requested(
    victor: Person, credential: Credential, free_pair: OrgPair
):
    actor: Actor = person_actor(person=victor)
    target = find_target(actor=actor, kind=RequestKind.CREATE, pair=free_pair)
    assert target.problem == ""
    request_for(actor=actor, pair=free_pair, wanted=WANTED)
    with pytest.raises(ConflictError, match="is open"):
        request_for(actor=actor, pair=free_pair, wanted=WANTED)


def test_what_an_approvers_check_ends_sets_no_agreement(
    create: RequestAccess, credential: Credential, linus: Person, sandbox: SandboxServer
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = create()
    sandbox.world.add_connection(
        source_org=org_named(sandbox.world, "Payments US"),
        sink_org=org_named(sandbox.world, "Group SOC"),
        connection_types=("logs",),
        created_by=make_user(name="Dana Keller"),
    )
    with pytest.raises(ConflictError):
        approvals.approve(
            change_request=access_request,
            actor=person_actor(person=linus),
            digest=access_request.approval_digest,
        )
    access_request.refresh_from_db()
    assert access_request.outcome == AccessOutcome.ALREADY_EXISTS
    assert not Agreement.objects.exists()


def test_a_request_about_an_older_agreement_is_closed_in_place_of_approved(
    ask: Ask, barbara: Person, root: Person, free_pair: OrgPair
):
    access_request = ask()
    agree(free_pair, actor=person_actor(person=root), connection_types=["logs"])
    with pytest.raises(ConflictError, match="The agreement changed after the request"):
        approvals.approve(
            change_request=access_request,
            actor=person_actor(person=barbara),
            digest=access_request.approval_digest,
        )
    access_request.refresh_from_db()
    assert (access_request.outcome, access_request.cause) == ("stale", Cause.AGREEMENT_CHANGED)
