"""Every cell of the contract's table: what a list or a response means for a POST and a PATCH."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.utils.module_loading import import_string

from connections.access.actor import WORKER, person_actor
from connections.access_requests.actions import text_to_type
from connections.change_requests import lifecycle, reconciliation, sending, verification
from connections.core import time_limits
from connections.core.causes import Cause
from connections.datadog.responses import WriteResponse
from connections.models import (
    COMPLETED,
    AccessRequest,
    Agreement,
    Credential,
    MoveStep,
    Person,
    RequestKind,
)
from connections.operations import due
from sandbox import faults
from sandbox.entities import Connection
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.access_requests.conftest import RequestAccess
from tests.support.clock import SettableClock
from tests.support.sandbox import connection_between, key_pair_of, org_named

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=5)]

# What is stored: state, outcome, cause.
type Result = tuple[str, str, str]

METHODS = ("POST", "PATCH")
WANTED = {"POST": ("logs",), "PATCH": ("audit", "logs")}
DONE = {"POST": "created", "PATCH": "changed"}


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Requests access with one method, and confirms and checks it again."""

    method: str
    request: RequestAccess
    person: Person
    clock: SettableClock
    sandbox: SandboxServer

    @property
    def world(self) -> World:
        return self.sandbox.world

    def answer(self, fault: Fault | None) -> None:
        """Let Datadog answer the next requests like this."""
        self.world.clear_faults()
        if fault:
            self.world.set_fault(fault=fault, method=self.method)

    def confirm(self, access_request: AccessRequest, *, skip_recheck: bool = False) -> None:
        """Confirm it again, which sends it if a list allows it."""
        typed = text_to_type(sink_org_id="", sink_org_name=access_request.sink_org_name)
        actor = person_actor(person=self.person)
        lifecycle.execute(
            change_request=access_request,
            actor=actor,
            confirmation=typed,
            skip_recheck=skip_recheck,
        )

    def check(self, access_request: AccessRequest, *, seconds: float) -> None:
        """Check it against Datadog's list after this time."""
        self.clock.advance(seconds=seconds)
        reconciliation.reconcile_unknown(change_request=access_request, actor=WORKER)

    def check_twice(self, access_request: AccessRequest) -> None:
        """Check it as often as it takes to decide."""
        self.check(access_request, seconds=36)
        assert access_request.state == "unknown"
        self.check(access_request, seconds=61)

    def verify(self, access_request: AccessRequest, *, seconds: float) -> None:
        """Verify a settled one against Datadog's list after this time."""
        self.clock.advance(seconds=seconds)
        verification.verify(change_request=access_request, actor=WORKER)
        access_request.refresh_from_db()

    def without_effect(self) -> AccessRequest:
        """A request whose first attempt might have worked; two lists show that it didn't."""
        access_request = self.request(faults.RESET_AFTER_READING)
        assert access_request.state == "unknown"
        self.answer(None)
        self.check_twice(access_request)
        assert access_request.state == "no_effect"
        return access_request

    def require(self, access_request: AccessRequest, expected: Result, *, sent: int) -> None:
        """What is stored and what Datadog received, now and after everything else happened."""
        access_request.refresh_from_db()
        stored = (access_request.state, access_request.outcome, access_request.cause)
        assert stored == expected
        assert len(self.world.requests(method=self.method)) == sent
        is_completed = access_request.outcome in COMPLETED
        assert Agreement.objects.exists() == is_completed
        if is_completed:
            assert Agreement.objects.get().connection_types == sorted(WANTED[self.method])
        if access_request.state != "waiting":
            # Neither another confirmation of a settled or unknown one nor a check sends anything.
            if access_request.state in {"settled", "unknown"}:
                self.confirm(access_request)
            if access_request.awaits_outcome:
                self.check(access_request, seconds=5)
            assert len(self.world.requests(method=self.method)) == sent


@pytest.fixture(params=METHODS)
def sender(
    request: pytest.FixtureRequest, ada: Person, clock: SettableClock, sandbox: SandboxServer
) -> Sender:
    """Ada requests a new connection, or other data types of one."""
    kind = "create" if request.param == "POST" else "change"
    return Sender(
        method=request.param,
        request=request.getfixturevalue(kind),
        person=ada,
        clock=clock,
        sandbox=sandbox,
    )


# --- What others do meanwhile ---


def connect(
    sender: Sender, *types: str, ours: bool = False, old: bool = False
) -> Connection | None:
    """The pair has these data types, set by someone else or, if ours, by the owner of our keys."""
    world = sender.world
    source, sink = org_named(world, "Payments US"), org_named(world, "Group SOC")
    if sender.method == "PATCH":
        found = connection_between(world, "Payments US", "Group SOC")
        return world.change_connection(connection_id=found.id, connection_types=types)
    at = sender.clock.at
    return world.add_connection(
        source_org=source,
        sink_org=sink,
        connection_types=types,
        created_by=key_pair_of(world, "Payments US").user if ours else None,
        created_at=at - timedelta(minutes=10) if old else at,
    )


def nothing(sender: Sender) -> None:
    """Nobody does anything."""


def as_wanted(sender: Sender) -> None:
    """Someone else does what is requested."""
    connect(sender, *WANTED[sender.method])


def others(sender: Sender) -> None:
    """Someone else sets other data types."""
    connect(sender, "metrics")


def ours(sender: Sender) -> None:
    """The attempt works after all."""
    connect(sender, *WANTED[sender.method], ours=True)


def ours_before(sender: Sender) -> None:
    """The owner of our keys has connected it before the attempt."""
    connect(sender, *WANTED[sender.method], ours=True, old=True)


def ours_later(sender: Sender) -> None:
    """The owner of our keys connects it after the attempt could be carried out."""
    sender.clock.advance(seconds=151)
    connect(sender, *WANTED[sender.method], ours=True)


def ours_with_others(sender: Sender) -> None:
    """The owner of our keys connects it with other data types elsewhere."""
    connect(sender, "metrics", ours=True)


def gone(sender: Sender) -> None:
    """Someone else deletes the connection."""
    found = connection_between(sender.world, "Payments US", "Group SOC")
    sender.world.remove_connection(connection_id=found.id)


def unlistable(sender: Sender) -> None:
    """Lists are incomplete from now on."""
    sender.world.set_fault(fault=faults.INCOMPLETE_PAGE, operation="list")


type Happening = Callable[[Sender], None]

# --- A complete list right before sending ---

BEFORE: dict[str, list[tuple[Happening, Result, int]]] = {
    "POST": [
        (nothing, ("settled", "created", ""), 1),
        (as_wanted, ("settled", "already_exists", ""), 0),
        (others, ("settled", "stale", Cause.CHANGED_WHEN_READ), 0),
        (unlistable, ("requested", "", Cause.LISTING_FAILED), 0),
    ],
    "PATCH": [
        (nothing, ("settled", "changed", ""), 1),
        (as_wanted, ("settled", "already_as_requested", ""), 0),
        (others, ("settled", "stale", Cause.CHANGED_WHEN_READ), 0),
        (gone, ("settled", "stale", Cause.ABSENT_WHEN_READ), 0),
        (unlistable, ("requested", "", Cause.LISTING_FAILED), 0),
    ],
}


def cells(table: dict[str, list[tuple]]) -> list:  # type: ignore[type-arg]
    """The rows of a table by method, as parameters of a test."""
    return [
        pytest.param(method, *row, id=f"{method}-{getattr(row[0], '__name__', '')}")
        for method, rows in table.items()
        for row in rows
    ]


@pytest.mark.parametrize(
    ("sender", "happening", "expected", "sent"), cells(BEFORE), indirect=["sender"]
)
def test_the_list_right_before_sending_decides(
    sender: Sender, happening: Happening, expected: Result, sent: int
):
    happening(sender)
    access_request = sender.request()
    sender.require(access_request, expected, sent=sent)


def test_nothing_is_sent_after_an_incomplete_list_even_if_a_person_asks_to(sender: Sender):
    unlistable(sender)
    access_request = sender.request()
    sender.confirm(access_request, skip_recheck=True)
    sender.require(access_request, ("requested", "", Cause.LISTING_FAILED), sent=0)


# --- Responses ---

RETURNS_201 = Fault(name="returns_201", executes=True, status=201, body="{}\n")
# What is the same for both methods, each with its cause.
UNCLEAR: list[tuple[Fault, str]] = [
    (faults.RETURNS_500, Cause.SERVER_ERROR),
    (faults.RETURNS_404_HTML, Cause.WRONG_404),
    (faults.RETURNS_202, Cause.UNEXPECTED_STATUS),
    (faults.redirected(status=307), Cause.REDIRECT),
    (faults.EXECUTES_THEN_RESET, Cause.CONNECTION_LOST),
]
LIMITED = (faults.rate_limited(reset="7"), Cause.RATE_LIMITED)


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response, and what follows as the first one or after an ambiguous attempt."""

    fault: Fault
    first: Result
    again: Result


def responses(method: str) -> list[Response]:
    """Every response to this method."""
    done: Result = ("settled", DONE[method], "")
    worked = [faults.SETS_COOKIE, faults.TRUNCATED_BODY]
    rows = [
        *(Response(fault=fault, first=done, again=done) for fault in worked),
        Response(
            fault=faults.RETURNS_403,
            first=("settled", "refused", Cause.FORBIDDEN),
            again=("unknown", "", Cause.FORBIDDEN),
        ),
        *(
            Response(fault=fault, first=("unknown", "", cause), again=("unknown", "", cause))
            for fault, cause in UNCLEAR
        ),
        Response(
            fault=LIMITED[0], first=("waiting", "", LIMITED[1]), again=("waiting", "", LIMITED[1])
        ),
    ]
    conflict = Cause.CONFLICT
    if method == "POST":
        nowhere = Cause.DESTINATION_NOT_FOUND
        refused = ("settled", "refused", nowhere)
        exists = ("settled", "already_exists", conflict)
        return [
            *rows,
            Response(fault=RETURNS_201, first=done, again=done),
            Response(fault=faults.RETURNS_404, first=refused, again=("unknown", "", nowhere)),
            Response(fault=faults.RETURNS_409, first=exists, again=("unknown", "", conflict)),
            Response(
                fault=faults.ANOTHER_CREATES_FIRST, first=exists, again=("unknown", "", conflict)
            ),
        ]
    lost = ("settled", "gone", Cause.NOT_FOUND)
    refused = ("settled", "refused", conflict)
    unexpected = ("unknown", "", Cause.UNEXPECTED_STATUS)
    return [
        *rows,
        Response(fault=RETURNS_201, first=unexpected, again=unexpected),
        Response(fault=faults.RETURNS_404, first=lost, again=lost),
        Response(fault=faults.ANOTHER_DELETES_FIRST, first=lost, again=lost),
        Response(fault=faults.RETURNS_409, first=refused, again=("unknown", "", conflict)),
        Response(fault=faults.ANOTHER_CHANGES_FIRST, first=done, again=done),
    ]


RESPONSES = [
    pytest.param(method, response, id=f"{method}-{response.fault.name}")
    for method in METHODS
    for response in responses(method)
]


@pytest.mark.parametrize(("sender", "response"), RESPONSES, indirect=["sender"])
def test_a_response_decides(sender: Sender, response: Response):
    access_request = sender.request(response.fault)
    sender.require(access_request, response.first, sent=1)
    if access_request.outcome == "refused":
        # Datadog's words are kept.
        said = [text.format(connection_id="") for text in response.fault.errors]
        assert access_request.attempts.get().errors == said


@pytest.mark.parametrize(("sender", "response"), RESPONSES, indirect=["sender"])
def test_a_response_after_an_ambiguous_attempt_decides(sender: Sender, response: Response):
    access_request = sender.without_effect()
    sender.answer(response.fault)
    sender.confirm(access_request)
    sender.require(access_request, response.again, sent=2)


# --- Lists after an unknown result ---

NO_EFFECT = ("no_effect", "", Cause.LISTINGS_AGREE)


def listed(outcome: str) -> Result:
    """Settled by two lists."""
    return ("settled", outcome, Cause.LISTINGS_AGREE)


AFTERWARDS: dict[str, list[tuple[Happening, Fault, Result]]] = {
    "POST": [
        (nothing, faults.EXECUTES_THEN_RESET, listed("created")),
        (ours, faults.RESET_AFTER_READING, listed("created")),
        (as_wanted, faults.RESET_AFTER_READING, listed("exists_unattributed")),
        (others, faults.RESET_AFTER_READING, listed("exists_unattributed")),
        (ours_before, faults.RESET_AFTER_READING, listed("exists_unattributed")),
        (ours_later, faults.RESET_AFTER_READING, listed("exists_unattributed")),
        (ours_with_others, faults.RESET_AFTER_READING, listed("exists_unattributed")),
        (nothing, faults.RESET_AFTER_READING, NO_EFFECT),
    ],
    "PATCH": [
        (nothing, faults.EXECUTES_THEN_RESET, listed("changed")),
        (as_wanted, faults.RESET_AFTER_READING, listed("changed")),
        (others, faults.RESET_AFTER_READING, listed("changed_elsewhere")),
        (gone, faults.EXECUTES_THEN_RESET, listed("gone")),
        (nothing, faults.RESET_AFTER_READING, NO_EFFECT),
    ],
}


@pytest.mark.parametrize(
    ("sender", "happening", "fault", "expected"), cells(AFTERWARDS), indirect=["sender"]
)
def test_two_lists_decide_an_unknown_result(
    sender: Sender, happening: Happening, fault: Fault, expected: Result
):
    access_request = sender.request(fault)
    sender.answer(None)
    happening(sender)
    sender.check_twice(access_request)
    sender.require(access_request, expected, sent=1)
    if expected[1] in {"created", "exists_unattributed"}:
        found = connection_between(sender.world, "Payments US", "Group SOC")
        assert str(access_request.connection_id) == found.id


@pytest.mark.parametrize(
    ("sender", "happening", "expected"),
    cells(
        {
            method: [
                (happening, ("settled", result[1], Cause.LATER_LISTING))
                for happening, fault, result in rows
                if happening is not nothing
            ]
            for method, rows in AFTERWARDS.items()
        }
    ),
    indirect=["sender"],
)
@pytest.mark.parametrize("by_confirming", [False, True], ids=["check", "confirm"])
def test_a_later_list_decides_one_without_effect(
    sender: Sender, happening: Happening, expected: Result, by_confirming: bool
):
    access_request = sender.without_effect()
    happening(sender)
    if by_confirming:
        sender.confirm(access_request)
        is_absent = happening is gone
        cause = Cause.ABSENT_WHEN_READ if is_absent else Cause.CHANGED_WHEN_READ
        expected = (*expected[:2], cause)
    else:
        sender.check(access_request, seconds=61)
    sender.require(access_request, expected, sent=1)


def test_an_incomplete_list_decides_nothing(sender: Sender):
    access_request = sender.request(faults.EXECUTES_THEN_RESET)
    # The one that an incomplete page leaves out.
    other = sender.world.add_org(name="Other", site=access_request.site)
    source = org_named(sender.world, "Payments US")
    sender.world.add_connection(source_org=source, sink_org=other)
    for fault in (faults.INCOMPLETE_PAGE, faults.RETURNS_403, *faults.CONTRADICTIONS):
        sender.world.clear_faults()
        sender.world.set_fault(fault=fault, operation="list")
        sender.check(access_request, seconds=61)
        assert (access_request.state, access_request.last_checked_at) == ("unknown", None)
    sender.answer(None)
    sender.check_twice(access_request)
    assert access_request.outcome == DONE[sender.method]


@pytest.mark.parametrize("fault", [faults.SETS_COOKIE, faults.TRUNCATED_BODY], ids=["whole", "cut"])
def test_the_next_complete_list_verifies_a_200(sender: Sender, fault: Fault):
    access_request = sender.request(fault)
    assert access_request.verified_at is None
    unlistable(sender)
    sender.verify(access_request, seconds=61)
    assert (access_request.verified_at, access_request.contradicted_at) == (None, None)
    sender.answer(None)
    sender.verify(access_request, seconds=300)
    assert access_request.verified_at == sender.clock.at
    found = connection_between(sender.world, "Payments US", "Group SOC")
    assert str(access_request.connection_id) == found.id


@pytest.mark.parametrize("happening", [nothing, others])
def test_lists_that_do_not_show_it_contradict_a_200(sender: Sender, happening: Happening):
    access_request = sender.request(faults.RETURNS_200_WITHOUT_DELETING)
    assert access_request.outcome == DONE[sender.method]
    happening(sender)
    sender.verify(access_request, seconds=61)
    assert access_request.contradicted_at is None
    sender.verify(access_request, seconds=300)
    assert access_request.contradicted_at == sender.clock.at
    assert not access_request.verified_at
    assert access_request.outcome == DONE[sender.method]


@pytest.mark.parametrize("sender", ["POST"], indirect=True)
@pytest.mark.parametrize(
    "fault", [faults.RETURNS_200_WITHOUT_DELETING, faults.TRUNCATED_BODY], ids=["false", "cut"]
)
def test_after_a_200_without_an_id_a_connection_of_someone_else_is_not_claimed(
    sender: Sender, fault: Fault
):
    access_request = sender.request(fault)
    assert (access_request.outcome, access_request.connection_id) == ("created", None)
    sender.answer(None)
    if fault is faults.TRUNCATED_BODY:
        gone(sender)
    as_wanted(sender)
    sender.verify(access_request, seconds=61)
    sender.verify(access_request, seconds=300)
    assert (access_request.connection_id, access_request.verified_at) == (None, None)
    assert access_request.contradicted_at


@pytest.mark.parametrize("sender", ["POST"], indirect=True)
def test_a_409_after_a_lost_200_is_created_once_lists_show_our_connection(sender: Sender):
    access_request = sender.without_effect()
    # Datadog executes the first attempt after the last list that was read.
    sender.answer(faults.RETURNS_409)
    sender.confirm(access_request)
    access_request.refresh_from_db()
    assert (access_request.state, access_request.cause) == ("unknown", Cause.CONFLICT)
    ours(sender)
    sender.check_twice(access_request)
    sender.require(access_request, listed("created"), sent=2)


@pytest.mark.parametrize("sender", ["POST"], indirect=True)
def test_nothing_is_claimed_without_knowing_whose_the_keys_are(
    sender: Sender, credential: Credential
):
    access_request = sender.request(faults.EXECUTES_THEN_RESET)
    Credential.objects.update(key_owner_id="")
    sender.answer(None)
    access_request.refresh_from_db()
    sender.check_twice(access_request)
    assert access_request.outcome == "exists_unattributed"


def test_a_rate_limited_request_is_sent_again_once(sender: Sender):
    access_request = sender.request(LIMITED[0])
    assert access_request.due_at == sender.clock.at + timedelta(seconds=7)
    sender.answer(None)
    sender.clock.advance(seconds=8)
    sending.send(change_request=access_request, actor=WORKER)
    sender.require(access_request, ("settled", DONE[sender.method], ""), sent=2)


@pytest.mark.parametrize("was_ambiguous", [False, True], ids=["first", "after an ambiguous one"])
def test_what_never_left_is_tried_four_more_times(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, was_ambiguous: bool
):
    access_request = sender.without_effect() if was_ambiguous else None
    # A deadline that has passed before the attempt starts: proof that nothing was sent.
    monkeypatch.setattr(time_limits, "SEND_SECONDS", -1.0)
    if access_request:
        sender.confirm(access_request)
    access_request = access_request or sender.request()
    for seconds in (5, 15, 60, 300):
        access_request.refresh_from_db()
        assert access_request.state == "waiting"
        assert access_request.due_at == sender.clock.at + timedelta(seconds=seconds)
        sender.clock.advance(seconds=seconds - 1)
        assert due.run_due(actor=WORKER) == []
        sender.clock.advance(seconds=1)
        assert due.run_due(actor=WORKER) == [access_request]
    expected = ("unknown", "") if was_ambiguous else ("settled", "not_sent")
    sender.require(access_request, (*expected, Cause.TOO_MANY_TRIES), sent=int(was_ambiguous))


# --- A response after Org Admin stopped waiting for it ---

type RequestLate = Callable[[Fault | None], AccessRequest]


@pytest.fixture
def late(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> RequestLate:
    """Request it; the response is received after a minute, when another process gave it up."""
    send_claimed = sending.send_claimed

    def wait(claimed: sending.ClaimedAttempt) -> WriteResponse:
        response = send_claimed(claimed)
        sender.clock.advance(seconds=61)
        [other] = AccessRequest.objects.all()
        assert reconciliation.expire_lost_claim(change_request=other, actor=WORKER)
        return response

    def act(fault: Fault | None) -> AccessRequest:
        monkeypatch.setattr(sending, "send_claimed", wait)
        sender.request(fault)
        monkeypatch.setattr(sending, "send_claimed", send_claimed)
        access_request = AccessRequest.objects.get()
        assert (access_request.state, access_request.cause) == ("unknown", Cause.ANSWER_LOST)
        assert access_request.attempts.get().is_late
        return access_request

    return act


def test_after_a_late_200_one_complete_list_is_enough(sender: Sender, late: RequestLate):
    access_request = late(None)
    sender.check(access_request, seconds=1)
    sender.require(access_request, ("settled", DONE[sender.method], Cause.LATER_LISTING), sent=1)
    assert access_request.verified_at == sender.clock.at


@pytest.mark.parametrize("fault", [faults.RETURNS_403, faults.RETURNS_409])
def test_a_late_refusal_decides_nothing(sender: Sender, late: RequestLate, fault: Fault):
    access_request = late(fault)
    sender.answer(None)
    sender.check(access_request, seconds=1)
    assert access_request.state == "unknown"
    sender.check(access_request, seconds=61)
    sender.require(access_request, NO_EFFECT, sent=1)


@pytest.mark.parametrize("sender", ["POST"], indirect=True)
def test_what_replaced_a_connection_after_a_late_201_is_not_claimed(
    sender: Sender, late: RequestLate
):
    access_request = late(None)
    gone(sender)
    as_wanted(sender)
    sender.check(access_request, seconds=1)
    assert access_request.state == "unknown"
    sender.check(access_request, seconds=61)
    sender.require(access_request, listed("exists_unattributed"), sent=1)


def test_every_kind_and_every_step_of_a_move_has_its_action():
    kinds = {*RequestKind} - {RequestKind.MOVE}
    assert AccessRequest.ACTIONS.keys() == kinds | {*MoveStep}
    methods = {name: import_string(path).method for name, path in AccessRequest.ACTIONS.items()}
    assert methods == {
        "create": "POST",
        "change": "PATCH",
        "extend": "",
        "restore": "POST",
        "DELETE": "DELETE",
        "POST": "POST",
    }


def test_an_extension_has_nothing_to_send():
    action = import_string(AccessRequest.ACTIONS[RequestKind.EXTEND])
    with pytest.raises(TypeError, match="sends nothing"):
        action.send(AccessRequest(), client=None, deadline_seconds=1.0)
