"""A request leaves only right after a list that still allows it, and right after its claim."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from connections.access.actor import WORKER, person_actor
from connections.agreements.setting import set_agreements
from connections.change_requests import failpoints, lifecycle
from connections.change_requests.failpoints import Point
from connections.core import boot_clock
from connections.core.causes import Cause
from connections.core.errors import BlockedError
from connections.models import AccessRequest, Credential, OrgPair, Person, RequestKind
from connections.operations import due
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import read
from tests.support.access_requests import request_for
from tests.support.append_only import triggers_off
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between, org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ClientOf = Callable[[Person], Client]
AGREED: dict[str, Any] = {"owner_text": "SOC team", "purpose": "incident response"}


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Ada requests access for Payments US → Group SOC, which is sent at once."""

    kind: RequestKind
    person: Person
    pair: OrgPair
    clock: SettableClock
    sandbox: SandboxServer
    patch: pytest.MonkeyPatch

    def ask(self, **wanted: Any) -> AccessRequest:
        types = {} if self.kind == RequestKind.MOVE else {"types": ["audit", "logs"]}
        actor = person_actor(person=self.person)
        terms: Any = AGREED | types | wanted
        return request_for(actor=actor, pair=self.pair, kind=self.kind, wanted=terms)

    def confirm(self, access_request: AccessRequest) -> None:
        lifecycle.execute(
            change_request=access_request,
            actor=person_actor(person=self.person),
            confirmation="Group SOC",
        )

    def work(self, access_request: AccessRequest) -> None:
        """Let the worker do what is due next."""
        access_request.refresh_from_db()
        assert access_request.due_at
        self.clock.at = access_request.due_at
        due.run_due(actor=WORKER)
        access_request.refresh_from_db()

    def widen(self) -> None:
        """Others give the pair a data type that nobody reviewed."""
        world = self.sandbox.world
        if self.kind == RequestKind.CREATE:
            orgs = [org_named(world, name) for name in ("Payments US", "Group SOC")]
            world.add_connection(source_org=orgs[0], sink_org=orgs[1], connection_types=("rum",))
        else:
            found = connection_between(world, "Payments US", "Group SOC")
            world.change_connection(connection_id=found.id, connection_types=("logs", "rum"))

    def at(self, point: Point, *happenings: Callable[[], None]) -> None:
        """Let one of these happen each time that this point is reached."""
        left = list(happenings)

        def hit(reached: Point, *, change_request_id: UUID) -> None:
            if reached == point and left:
                left.pop(0)()

        self.patch.setattr(failpoints, "hit", hit)

    def agree_otherwise(self) -> None:
        """Someone sets another agreement of the pair."""
        terms: Any = AGREED | {"connection_types": ["logs"]}
        set_agreements(actor=person_actor(person=self.person), pairs=[self.pair], terms=terms)

    def stand_still(self) -> None:
        """Eleven seconds pass for all."""
        self.clock.advance(seconds=11)

    @property
    def lists_and_writes(self) -> list[str]:
        """The methods of the requests about connections that Datadog received."""
        requests = self.sandbox.world.requests()
        return [each.method for each in requests if "org_connections" in each.path]

    @property
    def sent(self) -> int:
        return sum(method != "GET" for method in self.lists_and_writes)


@pytest.fixture(params=[RequestKind.CREATE, RequestKind.CHANGE, RequestKind.MOVE])
def asker(
    request: pytest.FixtureRequest,
    ada: Person,
    credential: Credential,
    clock: SettableClock,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Asker:
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    is_free = request.param == RequestKind.CREATE
    return Asker(
        kind=request.param,
        person=ada,
        pair=request.getfixturevalue("free_pair" if is_free else "listed_pair"),
        clock=clock,
        sandbox=sandbox,
        patch=monkeypatch,
    )


def test_a_list_that_is_too_old_at_the_claim_is_read_again(asker: Asker):
    asker.at(Point.BEFORE_CLAIM, asker.stand_still)
    earlier = len(asker.lists_and_writes)
    asker.ask()
    assert asker.lists_and_writes[earlier:][:2] == ["GET", "GET"]
    assert asker.sent > 0


def test_what_others_did_since_a_list_that_is_too_old_is_not_undone(asker: Asker):
    def others_act() -> None:
        asker.stand_still()
        asker.widen()

    asker.at(Point.BEFORE_CLAIM, others_act)
    access_request = asker.ask()
    assert (access_request.outcome, asker.sent) == ("stale", 0)


def test_if_the_second_list_is_too_old_too_nothing_is_sent(asker: Asker, client_of: ClientOf):
    asker.at(Point.BEFORE_CLAIM, asker.stand_still, asker.stand_still)
    access_request = asker.ask()
    assert (access_request.state, asker.sent) == ("requested", 0)
    assert access_request.reason_code == Cause.LIST_TOO_SLOW
    page = client_of(asker.person).get(f"/access-requests/{access_request.pk}/")
    assert "The org&#x27;s list is too slow" in page.text
    asker.confirm(access_request)
    assert asker.sent > 0


def test_a_worker_whose_lists_are_too_old_tries_again_a_minute_later(asker: Asker):
    limited = faults.rate_limited(reset="7")
    for method in ("POST", "PATCH", "DELETE"):
        asker.sandbox.world.set_fault(fault=limited, method=method, times=1)
    access_request = asker.ask()
    asker.at(Point.BEFORE_CLAIM, asker.stand_still, asker.stand_still)
    before = asker.sent
    asker.work(access_request)
    assert (access_request.state, asker.sent) == ("waiting", before)
    asker.work(access_request)
    assert asker.sent > before


def test_nothing_is_claimed_after_the_last_day(asker: Asker):
    if asker.kind == RequestKind.MOVE:
        # A move keeps the end that was agreed.
        return
    midnight = asker.clock.at.replace(hour=23, minute=59, second=57, microsecond=0)
    asker.clock.at = midnight
    asker.at(Point.BEFORE_CLAIM, lambda: asker.clock.advance(seconds=4))
    with pytest.raises(BlockedError, match="last day"):
        asker.ask(ends_on=midnight.date())
    assert asker.sent == 0


@pytest.mark.parametrize("when", ["before confirming", "at the claim"])
def test_nothing_is_sent_once_the_agreement_changed(asker: Asker, when: str, victor: Person):
    if when == "at the claim":
        asker.at(Point.BEFORE_CLAIM, asker.agree_otherwise)
        access_request = asker.ask()
    else:
        # A Viewer's request waits for an Operator.
        access_request = replace(asker, person=victor).ask()
        asker.agree_otherwise()
        asker.confirm(access_request)
    access_request.refresh_from_db()
    assert (access_request.outcome, asker.sent) == ("stale", 0)
    assert access_request.cause == Cause.AGREEMENT_CHANGED


def test_whoever_is_to_confirm_reads_before_that_the_agreement_changed(
    asker: Asker, victor: Person, client_of: ClientOf
):
    access_request = replace(asker, person=victor).ask()
    page, client = f"/access-requests/{access_request.pk}/", client_of(asker.person)
    assert read(client.get(page)).has_form_to("/execute/")
    asker.agree_otherwise()
    changed = read(client.get(page))
    assert "The agreement changed after the request. It can no longer be sent" in changed.text
    assert not changed.has_form_to("/execute/")
    assert changed.link("Request again").startswith("/access-requests/new/")


@pytest.mark.parametrize("asker", [RequestKind.MOVE], indirect=True)
def test_a_move_goes_on_after_its_deletion_although_the_agreement_changed(asker: Asker):
    asker.at(Point.AFTER_CLAIM, asker.agree_otherwise)
    assert asker.ask().outcome == "created"


def test_what_was_requested_with_an_older_release_is_still_sent(asker: Asker, victor: Person):
    access_request = replace(asker, person=victor).ask()
    with triggers_off():
        AccessRequest.objects.update(agreement_version=None)
    access_request.refresh_from_db()
    asker.agree_otherwise()
    asker.confirm(access_request)
    assert asker.sent > 0


def test_a_process_that_stood_still_after_its_claim_sends_after_a_new_list_only(asker: Asker):
    since_boot = boot_clock.seconds_since_boot

    def stand_still() -> None:
        asker.patch.setattr(boot_clock, "seconds_since_boot", lambda: since_boot() + 11)

    asker.at(Point.AFTER_CLAIM, stand_still)
    access_request = asker.ask()
    attempt = access_request.attempts.get()
    assert (attempt.verdict, attempt.cause) == ("not_sent", Cause.FIRST_BYTE_TOO_LATE)
    assert (access_request.state, asker.sent) == ("waiting", 0)
    asker.widen()
    asker.work(access_request)
    assert (access_request.outcome, asker.sent) == ("stale", 0)
